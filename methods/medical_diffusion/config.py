"""Settings, presets and departures of Medical Diffusion and Medical Diffusion-C."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cerebench.methods.base import (
    BadConfig,
    Count,
    CountOrZero,
    Decay,
    Fraction,
    NonNegative,
    Positive,
    Precision,
    Preset,
    setting,
)
from cerebench.methods.layers.diffusion import (
    BetaCap,
    Diffusion,
    DiffusionLoss,
    Prediction,
    Sampler,
    cosine_betas,
    sampler_steps,
)
from cerebench.methods.medical_diffusion.unet import GROUPS

DEPARTURES = (
    "The settings of the comparison paper are not published. These are the code's: the widths of "
    "its README command, a latent of 32^3 (a factor of 4 at 128^3, as in its second LIDC run).",
    "The code's BraTS loader resizes whole brains to 64^3 and cannot be run as released. Volumes "
    "are the dataset's tumour regions here.",
    "Step size of stage 1: 1.875e-5, what the code's scaling makes of 3e-4 for one GPU and a batch "
    "of 2. The discriminators start at 5000 updates of the generator: the code's 10,000 count "
    "those of both networks.",
    "Length of stage 1: 50,000 updates, inferred from the names of checkpoints. Stage 2: 100,000 "
    "instead of the 700,000 of the settings file; released checkpoints stopped at 34,000 and "
    "78,000.",
    "From the code: a resumed training does not start its codebook again, and the codebook does "
    "not move in stage 2. Theirs does both.",
    "From the code: the range of latents is taken once, after stage 1, and saved. Theirs is "
    "computed from the live codebook.",
    "The code's settings file names another objective and 250 sampling steps; neither is read. As "
    "in the code: the noise is predicted, and all 300 steps are taken.",
    "From the code: twenty latents in one batch instead of two batches of ten with accumulated "
    "gradients. Nothing in the network mixes latents, so the gradient is the same.",
    "From the code: stage 2 reads latents of all training volumes and of their mirror images that "
    "are computed once, instead of encoding every batch. Volumes are mirrored left to right; the "
    "code flips another axis for some data sets.",
    "From the code: optimiser and averaged weights hold the noise predictor alone, not the frozen "
    "networks of stage 1.",
    "From the code: neither discriminator looks at anything before its start. Theirs are computed "
    "with weight 0, which moves only running means that nothing uses.",
    "fp32 throughout in paper; the code trains stage 1 in fp16.",
    "Decoded volumes are clipped to [-1, 1], since the decoder is unbounded.",
    "The fast samplers are those of diffusers and not in the code.",
)


@dataclass(frozen=True)
class Config:
    """Settings of Medical Diffusion; the defaults are the ``paper`` preset."""

    # stage 1: networks
    latent_size: Annotated[int, Field(ge=2)] = setting(
        32, "edge of the latent grid; the networks halve volumes down to it", "[code: README]"
    )
    channels: Count = setting(
        16, "channels of the first convolution, doubled by every level", "[code: n_hiddens]"
    )
    norm_groups: Count = setting(
        32, "groups of the autoencoder's normalisation", "[code: num_groups]"
    )
    code_dim: Count = setting(8, "length of a code, channels of the latent", "[code: README]")
    codes: Annotated[int, Field(ge=2)] = setting(16_384, "size of the codebook", "[code: README]")
    code_decay: Decay = setting(0.99, "moving average of the codes", "[code: codebook]")
    restart_resets_stats: bool = setting(
        False, "whether a restarted code gets statistics of its own", "[code: codebook]"
    )
    discriminator_channels: Count = setting(
        64, "first layer's channels of both discriminators", "[code: disc_channels]"
    )
    # stage 1: training
    autoencoder_steps: Count = setting(
        50_000, "updates of the autoencoder", "[code: names of checkpoints]"
    )
    batch: Count = setting(2, "volumes per update", "[code: README]")
    lr: Positive = setting(
        1.875e-5, "Adam step size of both optimisers", "[code: 3e-4 x batch 2 / 4 x one GPU / 8]"
    )
    lr_end: Fraction = setting(
        1.0, "fraction of the step size at the end of a linear decay, both stages", "[code: none]"
    )
    beta1: Decay = setting(0.5, "Adam decay of the mean", "[code: stage 1]")
    beta2: Decay = setting(0.9, "Adam decay of the square", "[code: stage 1]")
    clip: Positive = setting(1.0, "largest norm of an optimiser's gradient", "[code: README]")
    pixel_weight: NonNegative = setting(4.0, "weight of mean |x - y|", "[code: l1_weight]")
    commitment: NonNegative = setting(0.25, "weight of the commitment loss", "[code: codebook]")
    perceptual: Literal["lpips-vgg", "none"] = setting(
        "lpips-vgg", "lpips-vgg or none", "[code: LPIPS on VGG16]"
    )
    perceptual_weight: NonNegative = setting(4.0, "weight of the perceptual term", "[code: README]")
    adversarial_weight: NonNegative = setting(
        1.0, "weight of either discriminator's opinion", "[code: image and video weights]"
    )
    matching_weight: NonNegative = setting(4.0, "weight of feature matching", "[code: README]")
    discriminator_start: Fraction = setting(
        0.1,
        "fraction of stage 1 without discriminators: 5000 updates of the generator, which the "
        "code counts as 10,000",
        "[code: README]",
    )
    flip: Fraction = setting(
        0.5, "probability of a left-right mirrored volume, both stages", "[code: RandomFlip]"
    )
    # stage 2
    width: Annotated[int, Field(ge=GROUPS, multiple_of=GROUPS)] = setting(
        32, "channels of the noise predictor's first level", "[code: README]"
    )
    mults: Annotated[tuple[Count, ...], Field(min_length=1)] = setting(
        (1, 2, 4, 8), "channels of its levels in widths, finest first", "[code: README]"
    )
    heads: Count = setting(8, "attention heads", "[code: Unet3D]")
    head_width: Annotated[int, Field(ge=2, multiple_of=2)] = setting(
        32, "features of one head", "[code: Unet3D]"
    )
    diffusion_steps: Count = setting(
        100_000, "updates of the noise predictor", "[ours: the file's 700,000 were never run]"
    )
    diffusion_batch: Count = setting(
        20, "latents per update", "[code: batch 10, gradients accumulated twice]"
    )
    diffusion_lr: Positive = setting(1e-4, "Adam step size", "[code: README]")
    timesteps: Count = setting(300, "diffusion steps T, cosine schedule", "[code: README]")
    beta_cap: BetaCap = setting(0.9999, "largest beta", "[code: cosine schedule]")
    prediction: Prediction = setting(
        "noise",
        "what the network predicts: noise, x0 or v",
        "[code: predicts the noise]",
        since="0.2.0",
    )
    loss: DiffusionLoss = setting(
        "l1",
        "mean of the absolute (l1) or squared (l2) errors of the prediction",
        "[code: l1]",
        since="0.2.0",
    )
    ema_decay: Decay = setting(0.995, "weight of the past in the averaged weights", "[code: EMA]")
    ema_every: Count = setting(10, "updates between updates of the average", "[code: EMA]")
    ema_start: CountOrZero = setting(
        2000, "updates whose weights are copied, not averaged", "[code: EMA]"
    )
    # sampling
    sampler: Sampler = setting("ddpm", "ddpm, ddim or dpmpp", "[code: ancestral sampling]")
    sampler_steps: CountOrZero = setting(
        0,
        "network evaluations per sample; 0 takes the sampler's default",
        "[ours: it is all T for ddpm, as in the code]",
    )
    precision: Precision = setting(
        "fp32", "autocast of both stages; samples are drawn in fp32", "[code: stage 2]"
    )

    def for_size(self, size: int) -> Config:
        """Check that volumes halve down to the latent grid; settle the sampler.

        The latent grid stays at every size, levels of the autoencoder come and go.

        Raises:
            BadConfig: If the size is not the latent grid doubled a few times, or settings
                do not go together.
        """
        if size < 16 or size & (size - 1) or size <= self.latent_size:
            raise BadConfig(
                f"medical-diffusion cannot work at size {size}: it must be a power of two from 16 "
                f"on, and larger than latent_size = {self.latent_size}. Set --size, or "
                "latent_size to a power of two below the size."
            )
        coarsest = 1 << len(self.mults) - 1
        if self.latent_size & (self.latent_size - 1) or self.latent_size < coarsest:
            raise BadConfig(
                f"latent_size = {self.latent_size} must be a power of two, and at least {coarsest} "
                f"for the {len(self.mults)} levels of mults. Change one of the two."
            )
        if 2 * self.channels % self.norm_groups:
            raise BadConfig(
                f"norm_groups = {self.norm_groups} must divide twice the channels = "
                f"{self.channels}. Change one of the two."
            )
        evaluations = sampler_steps(self.sampler, self.sampler_steps, self.timesteps)
        return dataclasses.replace(self, sampler_steps=evaluations)

    def process(self) -> Diffusion:
        """Return the diffusion process that stage 2 and sampling follow."""
        betas = cosine_betas(self.timesteps, self.beta_cap)
        return Diffusion(betas, prediction=self.prediction)


@dataclass(frozen=True)
class ConfigC(Config):
    """Settings of Medical Diffusion-C; the defaults are the ``paper`` preset."""

    label_width: Count = setting(
        128, "length of the vectors of the classes", "[ours: as long as the step embedding]"
    )
    label_dropout: Fraction = setting(
        0.1, "probability that training hides a label", "[ours: usual for guidance]"
    )
    balanced: bool = setting(
        False,
        "whether classes are drawn equally often, instead of as often as the data hold them",
        "[ours: no sampler is mentioned]",
    )
    guidance: NonNegative = setting(
        1.0,
        "s: noise of no class + s (noise of the class - noise of no class); 1 is the class alone",
        "[ours: no guidance is mentioned]",
    )


def with_labels(preset: Preset) -> Preset:
    """Return the preset of Medical Diffusion-C with the values of one of Medical Diffusion."""
    names = [field.name for field in dataclasses.fields(preset.config)]
    config = ConfigC(**{name: getattr(preset.config, name) for name in names})
    return Preset(config, preset.size, preset.sources)


PAPER = Preset(Config(), size=128)
QUICK = PAPER.override(
    size=32,
    latent_size=(8, "[ours: a factor of 4, as in paper]"),
    channels=(8, "[ours: speed]"),
    norm_groups=(8, "[ours: narrow levels]"),
    code_dim=(4, "[ours: few steps; samples of 8 are more alike than real volumes]"),
    codes=(1024, "[ours: as code_dim]"),
    restart_resets_stats=(
        True,
        "[ours: otherwise a restarted code falls back at the next update, and short trainings "
        "use few]",
    ),
    discriminator_channels=(16, "[ours: speed]"),
    autoencoder_steps=(300, "[ours: under a minute for a class on two cores]"),
    lr=(1e-3, "[ours: few steps]"),
    lr_end=(0.0, "[ours: few steps; at a constant size the background never settles at -1]"),
    discriminator_start=(0.6, "[ours: few steps; at .9 reconstructions are blurred]"),
    perceptual=("none", "[ours: needs no weight file]"),
    width=(16, "[ours: speed]"),
    mults=((1, 2, 4), "[ours: a latent of 8^3]"),
    heads=(4, "[ours: speed]"),
    head_width=(16, "[ours: speed]"),
    diffusion_steps=(600, "[ours: as autoencoder_steps]"),
    diffusion_batch=(8, "[ours: more updates in the same time]"),
    diffusion_lr=(4e-3, "[ours: few steps]"),
    ema_decay=(0.98, "[ours: averages over the last tenth of so few steps]"),
    ema_every=(1, "[ours: few steps]"),
    ema_start=(100, "[ours: few steps]"),
    timesteps=(50, "[ours: few steps]"),
    prediction=("x0", "[ours: after few steps noise estimates leave blobs or nothing]"),
    loss=("l2", "[ours: l1 leaves bodies too small after few steps]"),
    sampler=("dpmpp", "[ours: half of the evaluations]"),
    precision=("bf16", "[ours: speed]"),
)
LITE = QUICK.override(
    size=64,
    latent_size=(16, "[ours: a factor of 4, as in paper]"),
    autoencoder_steps=(800, "[ours: both classes in about an hour on two cores]"),
    code_dim=(8, "[code: README]"),
    codes=(2048, "[ours: twice quick's, for eight times the latents]"),
    width=(32, "[code: width]"),
    diffusion_steps=(1200, "[ours: as autoencoder_steps]"),
    diffusion_lr=(2e-3, "[ours: half of quick's, for twice the steps]"),
    timesteps=(100, "[ours: between quick and paper]"),
    ema_decay=(0.995, "[code: EMA]"),
)
SMOKE = QUICK.override(
    size=16,
    latent_size=(4, "[ours: test]"),
    code_dim=(8, "[ours: test]"),
    codes=(64, "[ours: test]"),
    discriminator_channels=(8, "[ours: test]"),
    autoencoder_steps=(3, "[ours: test]"),
    discriminator_start=(0.3, "[ours: test]"),
    width=(8, "[ours: test]"),
    mults=((1, 2), "[ours: test]"),
    heads=(2, "[ours: test]"),
    head_width=(8, "[ours: test]"),
    diffusion_steps=(3, "[ours: test]"),
    diffusion_batch=(2, "[ours: test]"),
    timesteps=(4, "[ours: test]"),
    prediction=("noise", "[ours: as in paper]"),
    loss=("l1", "[ours: as in paper]"),
    sampler=("ddpm", "[ours: as in paper]"),
    ema_decay=(0.5, "[ours: test]"),
    ema_start=(1, "[ours: test]"),
    precision=("fp32", "[ours: exactness]"),
)
_TWICE = "[ours: two classes, each seen as often as by a model of its own]"
PAPER_C = with_labels(PAPER)
QUICK_C = with_labels(QUICK).override(
    autoencoder_steps=(450, "[ours: half as many again, since stage 1 sees no labels]"),
    diffusion_steps=(2 * QUICK.config.diffusion_steps, _TWICE),
    guidance=(2.0, "[ours: few steps leave classes alike; a probe's AUC .66 at 1, .82 at 2]"),
)
LITE_C = with_labels(LITE).override(
    autoencoder_steps=(2 * LITE.config.autoencoder_steps, _TWICE),
    diffusion_steps=(2 * LITE.config.diffusion_steps, _TWICE),
    guidance=(2.0, "[ours: as quick]"),
)
SMOKE_C = with_labels(SMOKE)
