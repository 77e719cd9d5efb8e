"""Settings, presets and departures of 3D-VQGAN-cond."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from cerebench.methods.layers.vq.autoencoder import GROUPS
from cerebench.methods.layers.vq.two_stages import check_stages, fit_levels
from cerebench.methods.vqgan_cond.masking import Masking

Grouped = Annotated[int, Field(ge=GROUPS, multiple_of=GROUPS)]  # channels that a norm groups

DEPARTURES = (
    "Paper, equation 4, speaks of masked tokens predicted from unmasked ones. As in the code, the "
    "transformer is causal: it predicts every clean token from the class and the corrupted tokens "
    "before it, and sampling is plain autoregression over all tokens.",
    "Paper: loss on masked tokens. Code and default here: on all tokens (loss_on).",
    "Code draws mask positions with probability proportional to their raster index, takes raster "
    "neighbours that wrap around rows, protects 14 tokens at slice borders and corrupts unchosen "
    "important tokens as unimportant ones. Default here (mode=paper): uniform draws, true "
    "neighbours along W and D, no protected tokens, unimportant ones from outside the top set; "
    "mode=reference reproduces the code.",
    "Code lets the generator's gradients leak into the discriminator's update, and trains the "
    "discriminator before its start on them. Here the discriminator gets its hinge loss alone, and "
    "stays as initialised until discriminator_start.",
    "Code lets the codebook drift during stage 2. Here stage 1 is frozen: tokens and scores of all "
    "training volumes are computed once.",
    "Code computes the codebook's similarities in fp16. Here in float32.",
    "Code sets the transformer's context to the number of codes. Here it is the number of tokens.",
    "Learning rate: the paper's 1e-4 to 0 by default, the code's 5e-5 to 3e-7 in reference-code; "
    "in both it falls along a cosine per step, not per epoch.",
    "Paper writes a two-sided codebook loss and squared sums. As in the code: commitment loss "
    "with moving-average codes, and means.",
    "Paper writes one score per region from that region alone. As in the code, the scoring "
    "network sees 3^3 neighbours and standardises scores within a volume.",
    "As in the code, and unlike the paper's text: 1x1x1 final convolution, one GroupNorm shared by "
    "both convolutions of a residual block, an adversarial term weighted by the ratio of gradient "
    "norms, at most 1.",
    "bf16 autocast instead of fp16 with loss scaling.",
    "Paper: 10,000 and 5,000 epochs of batches of 3. The budget here is in optimiser steps: "
    "940,000 and 470,000, those of the code's 282 training volumes.",
    "Code keeps three training volumes for pictures. Here all training volumes train.",
    "Preprocessing is the dataset's: one crop around the whole tumour instead of the code's crop, "
    "which shears a tumour from slice to slice.",
)


@dataclass(frozen=True)
class Config:
    """Settings of 3D-VQGAN-cond; the defaults are the ``paper`` preset."""

    # networks
    latent_size: Annotated[int, Field(ge=2)] = setting(
        8, "edge of the latent grid, tokens", "[paper: appendix B]"
    )
    channels: Annotated[tuple[Grouped, ...], Field(min_length=1)] = setting(
        (32, 64, 128, 256), "encoder channels, finest level first", "[code: autoencoder]"
    )
    bottleneck: Grouped = setting(512, "channels at the latent grid", "[code: autoencoder]")
    code_dim: Grouped = setting(128, "length of a code vector", "[code: autoencoder]")
    codes: Annotated[int, Field(ge=2)] = setting(1024, "size of the codebook", "[paper: section 3]")
    code_decay: Decay = setting(0.99, "moving average of code vectors", "[code: codebook]")
    restart_after: CountOrZero = setting(
        0, "steps after which an unused code restarts; 0 = never", "[code: no restart]"
    )
    mean_start: bool = setting(
        False,
        "start the decoder's last layer at the mean of the first batch, with torch's weights",
        "[code: small weights, as everywhere]",
    )
    classifier_width: Annotated[int, Field(ge=64, multiple_of=32)] = setting(
        1024, "hidden units of the class head", "[code: classifier]"
    )
    classifier_dropout: Annotated[float, Field(ge=0, lt=1)] = setting(
        0.2, "dropout of the class head", "[code: classifier]"
    )
    discriminator_channels: Grouped = setting(64, "first layer's channels", "[code: discriminator]")
    layers: Count = setting(24, "transformer blocks", "[code: transformer]")
    width: Count = setting(1024, "transformer width", "[code: transformer]")
    heads: Count = setting(16, "attention heads", "[code: transformer]")
    # stage 1
    autoencoder_steps: Count = setting(
        940_000, "length of stage 1's schedule", "[paper: 10k epochs]"
    )
    stop_at: Annotated[float, Field(gt=0, le=1)] = setting(
        1.0, "fraction of that schedule that is run", "[paper: all epochs]"
    )
    batch: Count = setting(3, "volumes per update", "[paper: section 3]")
    lr: Positive = setting(
        1e-4, "Adam step size of both networks, at the start", "[paper: section 3]"
    )
    lr_end: NonNegative = setting(0.0, "and at the end of its cosine", "[paper: section 3]")
    beta1: Decay = setting(0.5, "Adam decay of the mean", "[code: stage 1]")
    beta2: Decay = setting(0.9, "Adam decay of the square", "[code: stage 1]")
    clip: Positive = setting(1.0, "largest element of a gradient", "[code: stage 1]")
    pixel_weight: NonNegative = setting(4.0, "weight of mean |x - y|", "[paper: lambda 1]")
    perceptual: Literal["lpips-vgg", "none"] = setting(
        "lpips-vgg", "lpips-vgg or none", "[code: LPIPS on VGG16]"
    )
    perceptual_weight: NonNegative = setting(
        1.0, "weight of the perceptual term", "[paper: lambda 2]"
    )
    perceptual_slices: Count = setting(6, "axial slices per volume it looks at", "[code: stage 1]")
    matching_weight: NonNegative = setting(4.0, "weight of feature matching", "[paper: lambda 3]")
    gradient_weight: NonNegative = setting(
        4.0, "weight of the image gradient loss", "[paper: lambda 4]"
    )
    codebook_weight: NonNegative = setting(
        1.0, "weight of the commitment loss", "[paper: lambda 5]"
    )
    commitment: NonNegative = setting(1.0, "beta inside the commitment loss", "[paper: beta]")
    generation_share: NonNegative = setting(0.8, "weight of all terms but the class", "[paper: C1]")
    class_share: NonNegative = setting(0.2, "weight of the class term", "[paper: C2]")
    label_smoothing: Fraction = setting(0.1, "of the class term", "[code: classifier]")
    discriminator_start: Fraction = setting(
        0.2, "fraction of stage 1's schedule without adversarial terms", "[code: epoch 2000]"
    )
    # stage 2
    transformer_steps: Count = setting(470_000, "updates of the transformer", "[paper: 5k epochs]")
    transformer_batch: Count = setting(3, "sequences per update", "[paper: section 3]")
    transformer_lr: Positive = setting(4.5e-6, "AdamW step size at the start", "[paper: section 3]")
    transformer_lr_end: NonNegative = setting(
        1e-8, "and at the end of its cosine", "[code: stage 2]"
    )
    weight_decay: NonNegative = setting(0.01, "of linear weights", "[code: stage 2]")
    mask_ratio: Fraction = setting(0.5, "fraction of tokens corrupted", "[paper: alpha]")
    top_k: Fraction = setting(
        0.25, "fraction of tokens that count as important", "[paper: appendix B]"
    )
    sides: Literal[1, 2] = setting(
        1, "neighbours masked along an axis, 1 or 2", "[paper: appendix B]"
    )
    mode: Literal["paper", "reference"] = setting(
        "paper", "masking as the paper or the reference code", "[paper: 2.3]"
    )
    height_axis: bool = setting(False, "also mask neighbours along H", "[code: W and D only]")
    protect_links: bool = setting(
        False, "never mask the tokens at slice borders", "[paper: not mentioned]"
    )
    loss_on: Literal["all", "corrupted"] = setting(
        "all", "all or corrupted tokens", "[code: all tokens]"
    )
    # sampling
    temperature: NonNegative = setting(
        1.0, "of the token distribution; 0 = greedy", "[code: sampler]"
    )
    sample_top_k: CountOrZero = setting(0, "keep the k likeliest codes; 0 = all", "[code: sampler]")
    sample_top_p: Annotated[float, Field(gt=0, le=1)] = setting(
        1.0, "keep codes of this total probability", "[code: sampler]"
    )
    precision: Precision = setting("bf16", "autocast; the codebook stays fp32", "[paper: AMP]")

    def for_size(self, size: int) -> Config:
        """Fit the number of levels to the edge length; the latent grid stays.

        Smaller volumes drop the finest levels of ``channels``, larger ones get more, each with half
        the channels (at least 8).

        Raises:
            BadConfig: If the size is not the latent grid doubled a few times, or settings
                do not go together.
        """
        check_stages(
            autoencoder_steps=self.autoencoder_steps,
            stop_at=self.stop_at,
            width=self.width,
            heads=self.heads,
        )
        if self.loss_on == "corrupted" and int(self.mask_ratio * self.latent_size**3) == 0:
            raise BadConfig(
                f"mask_ratio = {self.mask_ratio} of {self.latent_size}^3 tokens leaves "
                "loss_on=corrupted no token to count. Raise it, or set loss_on to all."
            )
        channels = fit_levels("vqgan-cond", self.channels, self.latent_size, size)
        config = replace(self, channels=channels)
        config.masking()  # checks the settings of stage 2
        return config

    def masking(self) -> Masking:
        """Return how stage 2 corrupts tokens."""
        edge = self.latent_size
        return Masking(
            (edge, edge, edge),
            ratio=self.mask_ratio,
            top_k=self.top_k,
            sides=self.sides,
            mode=self.mode,
            protect_links=self.protect_links,
            height_axis=self.height_axis,
        )


PAPER = Preset(Config(), size=128)
REFERENCE_CODE = PAPER.override(
    lr=(5e-5, "[code: stage 1]"),
    lr_end=(3e-7, "[code: stage 1]"),
    stop_at=(0.8, "[code: stage 2 loads epoch 8000 of 10,000]"),
    mode=("reference", "[code: masking]"),
)
QUICK = PAPER.override(
    size=32,
    channels=((8, 16), "[ours: speed]"),
    bottleneck=(32, "[ours: speed]"),
    code_dim=(32, "[ours: as bottleneck]"),
    codes=(64, "[ours: few steps; with 128 the samples do not tell their class]"),
    classifier_width=(64, "[ours: as bottleneck]"),
    layers=(2, "[ours: speed; there are 512 tokens a volume]"),
    width=(96, "[ours: as layers]"),
    heads=(3, "[ours: as layers]"),
    discriminator_channels=(16, "[ours: at 64 it wins at once against so small a decoder]"),
    restart_after=(
        40,
        "[ours: an autoencoder's first latents lie close together, and short trainings never wake "
        "the codes that lose; 252 instead of 31 active codes, error .045 instead of .056]",
    ),
    mean_start=(
        True,
        "[ours: from small weights the tumour of most short trainings ends at one intensity]",
    ),
    autoencoder_steps=(800, "[ours: a minute of one core]"),
    batch=(2, "[ours: more updates in the same time]"),
    lr=(1e-3, "[ours: few steps]"),
    perceptual=("none", "[ours: needs no weight file]"),
    gradient_weight=(0.1, "[ours: at 4 it outweighs the pixel term 60 to 1 for so few steps]"),
    discriminator_start=(0.5, "[ours: later than in paper, for a small decoder]"),
    transformer_steps=(1500, "[ours: under four minutes of one core; the label needs them]"),
    transformer_batch=(8, "[ours: more updates in the same time]"),
    transformer_lr=(2e-3, "[ours: small network, few steps]"),
    mask_ratio=(0.1, "[ours: at .5 few steps do not suffice to tell which tokens to believe]"),
)
LITE = QUICK.override(
    size=64,
    channels=((16, 32, 64), "[ours: twice quick's, and a level more for twice the edge]"),
    bottleneck=(128, "[ours: as channels]"),
    code_dim=(64, "[ours: as channels]"),
    codes=(256, "[ours: between quick and paper]"),
    classifier_width=(256, "[ours: as channels]"),
    layers=(4, "[ours: a few hundred volumes need no more]"),
    width=(128, "[ours: as layers]"),
    heads=(4, "[ours: as layers]"),
    discriminator_channels=(32, "[ours: at 64 it wins early against a narrow decoder]"),
    restart_after=(80, "[ours: as in quick, for more steps]"),
    autoencoder_steps=(2500, "[ours: about an hour for both stages on two cores]"),
    lr=(5e-4, "[ours: half of quick's, for three times the steps]"),
    transformer_steps=(3000, "[ours: as autoencoder_steps]"),
    transformer_lr=(1e-3, "[ours: half of quick's, for twice the steps]"),
)
SMOKE = QUICK.override(
    size=16,
    latent_size=(4, "[ours: test]"),
    channels=((8, 8), "[ours: test]"),
    bottleneck=(8, "[ours: test]"),
    code_dim=(8, "[ours: test]"),
    codes=(16, "[ours: test]"),
    classifier_width=(64, "[ours: test]"),
    discriminator_channels=(8, "[ours: test]"),
    layers=(1, "[ours: test]"),
    width=(16, "[ours: test]"),
    heads=(2, "[ours: test]"),
    autoencoder_steps=(3, "[ours: test]"),
    lr=(5e-4, "[ours: test]"),
    discriminator_start=(0.2, "[ours: test]"),
    transformer_steps=(2, "[ours: test]"),
    transformer_batch=(2, "[ours: test]"),
    transformer_lr=(1e-3, "[ours: test]"),
    mask_ratio=(0.5, "[paper: alpha]"),
    precision=("fp32", "[ours: exactness]"),
)
