"""3D-Med-DDPM: denoising diffusion in voxels, one U-Net per class.

Source: Dorjsembe et al. 2024, IEEE J. Biomed. Health Inform. (arXiv:2305.18453) and the authors'
code (GPL-3.0), written anew from a description. Network: MONAI's diffusion U-Net with the three
changes that make it theirs; schedules and samplers: diffusers. ``med_ddpm_mask.py`` and
``med_ddpm_c.py`` are its variants for masks and class labels.

Departures: see ``DEPARTURES``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.utils import pixelshuffle, pixelunshuffle
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Adam

from cerebench.methods.base import (
    BadConfig,
    Batches,
    Conditions,
    Count,
    CountOrZero,
    Decay,
    Fraction,
    Method,
    MethodInfo,
    Positive,
    Precision,
    Preset,
    Run,
    network,
    setting,
)
from cerebench.methods.layers.diffusion import (
    BetaCap,
    Diffusion,
    DiffusionLoss,
    Prediction,
    Sampler,
    cosine_betas,
    error,
    sampler_steps,
)
from cerebench.methods.layers.ema import WeightAverage
from cerebench.methods.layers.learning_rate import linear, set_lr

MAX_PERIOD = 1000  # of the timestep embedding; 10 000 is usual elsewhere

Even = Annotated[int, Field(ge=2, multiple_of=2)]  # an embedding has cosines and sines

DEPARTURES = (
    "The paper conditions on masks. As a baseline of class-wise generation the method is used "
    "without: unconditional, one model per class, by the branch that the code has for it. Which "
    "form the comparison paper used is not published. med-ddpm-mask is the conditioned one.",
    "From the code: volumes come scaled as a whole to [-1, 1]. Theirs are scaled slice by slice, "
    "which removes the contrast between axial slices.",
    "From the code: two volumes in one batch instead of two batches of one with accumulated "
    "gradients. Nothing in the network mixes volumes, so the gradient is the same.",
    "From the code: the mean loss is not divided by the batch size once more.",
    "From the code: attention is computed in one fused operation instead of being recomputed in "
    "the backward pass; the result is the same.",
    "The code keeps the step size constant; its author speaks of a schedule, and a second-hand "
    "report gives a tenth of it from half of the training on. paper follows the report, repo "
    "the code.",
    "Training starts from random weights; the code's default starts from published ones.",
    "The fast samplers are those of diffusers. The code's own ten-step path belongs to another "
    "network and is not followed.",
)


@dataclass(frozen=True)
class Config:
    """Settings of 3D-Med-DDPM; the defaults are the ``paper`` preset."""

    steps: Count = setting(100_000, "optimiser steps, per trained model", "[code: README]")
    batch: Count = setting(2, "volumes per step", "[code: batch 1, gradients accumulated twice]")
    lr: Positive = setting(1e-5, "Adam step size", "[code: default]")
    lr_drop: Fraction = setting(
        0.1, "factor of lr from half of the training on", "[paper: as reported by a reader]"
    )
    lr_end: Fraction = setting(
        1.0, "fraction of lr at the end of a linear decay, besides lr_drop", "[code: no decay]"
    )
    channels: Annotated[tuple[Even, ...], Field(min_length=1)] = setting(
        (64, 64, 128, 192, 256),
        "channels of the levels, finest first",
        "[code: 1, 1, 2, 3, 4 x 64]",
    )
    fold: Literal[1, 2, 4, 8] = setting(
        1,
        "edge of the blocks of voxels that become channels before the network; 1 folds nothing",
        "[code: none]",
        since="0.2.0",
    )
    blocks: Count = setting(1, "residual blocks per level", "[code: script]")
    attention: CountOrZero = setting(
        16,
        "edge length of the level with attention, voxels; the middle always has it, 0: only there",
        "[code: attention_resolutions]",
    )
    norm_groups: Count = setting(32, "groups of the normalisation", "[code: GroupNorm]")
    timesteps: Count = setting(250, "diffusion steps T, cosine schedule", "[paper: T]")
    beta_cap: BetaCap = setting(0.999, "largest beta", "[code: cosine schedule]")
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
    ema_every: Count = setting(10, "optimiser steps between updates of the average", "[code: EMA]")
    ema_start: CountOrZero = setting(
        2000, "steps whose weights are copied, not averaged", "[code: EMA]"
    )
    sampler: Sampler = setting("ddpm", "ddpm, ddim or dpmpp", "[paper: ancestral sampling]")
    sampler_steps: CountOrZero = setting(
        0,
        "network evaluations per sample; 0 takes the sampler's default",
        "[ours: it is all T for ddpm, as in the paper]",
    )
    precision: Precision = setting(
        "fp32", "autocast of training; samples are drawn in fp32", "[code: fp16 off]"
    )

    def for_size(self, size: int) -> Config:
        """Drop the finest levels that would leave a coarsest grid below 8^3; settle the sampler.

        Folding makes all grids smaller by its factor, the coarsest too.

        Raises:
            BadConfig: If the size is no power of two from 16 on, or settings do not go together.
        """
        if size < 16 or size & (size - 1):
            raise BadConfig(
                f"med-ddpm cannot work at size {size}; it halves the volume down to 8 voxels or "
                "more and needs a power of two from 16 on. Set --size 16, 32, 64 or 128."
            )
        levels = min(len(self.channels), (size // 8).bit_length())
        misfits = [width for width in self.channels if width % self.norm_groups]
        if misfits:
            raise BadConfig(
                f"channels holds {misfits[0]}, which norm_groups = {self.norm_groups} does not "
                "divide. Change one of the two."
            )
        return dataclasses.replace(
            self,
            channels=self.channels[-levels:],
            sampler_steps=sampler_steps(self.sampler, self.sampler_steps, self.timesteps),
        )

    def process(self) -> Diffusion:
        """Return the diffusion process that training and sampling follow."""
        betas = cosine_betas(self.timesteps, self.beta_cap)
        return Diffusion(betas, prediction=self.prediction)

    def lr_at(self, progress: float) -> float:
        """Return the step size at a fraction of the training, in [0, 1)."""
        return linear(progress, self.lr, self.lr_end) * (1 if progress < 0.5 else self.lr_drop)


PAPER = Preset(Config(), size=128)
REPO = PAPER.override(lr_drop=(1.0, "[code: constant]"))
QUICK = PAPER.override(
    size=32,
    steps=(1300, "[ours: both classes in about two minutes on two cores]"),
    lr=(2e-3, "[ours: few steps]"),
    lr_drop=(1.0, "[ours: lr_end instead]"),
    lr_end=(0.0, "[ours: few steps, so the last ones settle]"),
    channels=((16, 32, 32), "[ours: speed]"),
    fold=(2, "[ours: a third of the time of a step]"),
    attention=(0, "[ours: speed; only the middle has it]"),
    norm_groups=(4, "[ours: narrow levels]"),
    timesteps=(50, "[ours: few steps; as good as 250]"),
    prediction=("x0", "[ours: after few steps noise estimates leave noise, v a body in noise]"),
    loss=("l2", "[ours: by l1 the best guess of a volume that is hardly seen is an empty one]"),
    ema_decay=(0.98, "[ours: averages over the last tenth of so few steps]"),
    ema_every=(1, "[ours: few steps]"),
    ema_start=(100, "[ours: few steps]"),
    sampler=("dpmpp", "[ours: half of the evaluations]"),
    precision=("bf16", "[ours: speed]"),
)
LITE = QUICK.override(
    size=64,
    steps=(2500, "[ours: both classes in about an hour on two cores]"),
    lr=(1e-3, "[ours: half of quick's, for twice the steps]"),
    channels=((32, 48, 64, 64), "[ours: one level more than quick, for twice the edge]"),
    norm_groups=(8, "[ours: wider levels than quick]"),
    timesteps=(100, "[ours: between quick and paper]"),
    ema_decay=(0.995, "[code: EMA]"),
)
SMOKE = PAPER.override(
    size=16,
    steps=(3, "[ours: test]"),
    lr=(1e-4, "[ours: test]"),
    channels=((8, 16), "[ours: test]"),
    attention=(0, "[ours: test]"),
    norm_groups=(8, "[ours: test]"),
    timesteps=(4, "[ours: test]"),
    ema_decay=(0.5, "[ours: test]"),
    ema_every=(1, "[ours: test]"),
    ema_start=(1, "[ours: test]"),
)


class MedDDPM(Method):
    """Unconditional diffusion in voxels, one instance per class.

    Logged scalars: ``error``, the loss: by default the mean of abs(noise - predicted noise), 0.798
    at the start, where the network predicts 0. Sampling uses the averaged weights.
    """

    info = MethodInfo(
        name="med-ddpm",
        version=1,
        source="arXiv:2305.18453",
        conditioning="none",
        label="3D-Med-DDPM",
    )
    Config = Config
    config: Config
    presets = {"paper": PAPER, "repo": REPO, "lite": LITE, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    def build(self) -> dict[str, nn.Module]:
        """Return the noise predictor and the average of its weights."""
        return with_average(unet(self.config, self.size, self.channels), self.config)

    def train(self, data: Batches, run: Run) -> None:
        """Predict the noise that was mixed into volumes at random diffusion steps."""
        c, net = self.config, self.nets["unet"]
        average = network(self.nets, "average", WeightAverage)
        process = c.process()
        adam = Adam(net.parameters(), lr=c.lr, fused=True)
        phase = run.phase("denoising", adam=adam)
        for step in phase.steps(c.steps):
            set_lr((adam,), c.lr_at(step.progress))
            volumes = step.batch(data, c.batch).images  # in [-1, 1]
            times = process.times(step.rand(c.batch))
            noise = step.randn(*volumes.shape)
            noisy = process.noised(volumes, noise, times)  # (B, C, D, H, W)
            target = process.target(volumes, noise, times)
            loss = error(net(noisy, times), target, c.loss)
            step.descend(adam, loss)
            average.follow(net, step.index)
            phase.log(error=loss)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Take the predicted noise away from pure noise, step by step."""
        c, net = self.config, self.nets["average"]
        return c.process().draw(
            net,
            rngs,
            (self.channels, *[self.size] * 3),
            sampler=c.sampler,
            steps=c.sampler_steps,
        )  # (N, C, D, H, W)


def with_average(net: MedDDPMUNet, config: Config) -> dict[str, nn.Module]:
    """Return the network that is trained and the average of its weights, from which to sample."""
    average = WeightAverage(
        net, decay=config.ema_decay, every=config.ema_every, start=config.ema_start
    )
    return {"unet": net, "average": average}


def unet(
    config: Config, size: int, channels: int, *, masks: int = 0, classes: int | None = None
) -> MedDDPMUNet:
    """Return the network for volumes of an edge length, with mask channels or class labels."""
    edges = [size // config.fold >> level for level in range(len(config.channels))]
    return MedDDPMUNet(
        inputs=channels + masks,
        outputs=channels,
        channels=config.channels,
        blocks=config.blocks,
        attention=[edge == config.attention for edge in edges],
        norm_groups=config.norm_groups,
        fold=config.fold,
        classes=classes,
    )


class MedDDPMUNet(DiffusionModelUNet):
    """The noise predictor: MONAI's U-Net with the upsampling, steps and start of 3D-Med-DDPM.

    Three changes: trilinear instead of nearest upsampling; a longest period of 1000 in the
    embedding of the diffusion step; the projections that leave an attention start at zero, like
    every other branch, so that the output is exactly 0 before training.

    Args:
        inputs: Channels of the noisy volume and of what is concatenated to it.
        outputs: Channels of the prediction.
        channels: Channels of the levels, finest first.
        blocks: Residual blocks per level.
        attention: Per level, whether its blocks have attention, with one head.
        norm_groups: Groups of the normalisation; divides all channels.
        fold: Edge of the blocks of voxels that become channels before the first convolution and
            voxels again after the last.
        classes: Number of class labels, or None.

    Source: the authors' U-Net, after guided diffusion (Dhariwal and Nichol 2021).
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        blocks: int,
        attention: Sequence[bool],
        norm_groups: int,
        fold: int = 1,
        classes: int | None = None,
    ) -> None:
        super().__init__(
            spatial_dims=3,
            in_channels=inputs * fold**3,
            out_channels=outputs * fold**3,
            num_res_blocks=blocks,
            channels=channels,
            attention_levels=attention,
            norm_num_groups=norm_groups,
            norm_eps=1e-5,
            num_head_channels=channels,
            num_class_embeds=classes,
            use_flash_attention=True,
        )
        self.fold = fold
        for name, module in self.named_modules():
            if isinstance(module, nn.Upsample):
                module.mode, module.align_corners = "trilinear", False
            if isinstance(module, nn.GroupNorm):
                module.register_forward_pre_hook(_contiguous)
                module.register_forward_hook(_channels_last)
            if isinstance(module, nn.Linear) and name.endswith("attn.out_proj"):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)

    # MONAI's further inputs, context and residuals from outside, have no part in this network.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, timesteps: Tensor, class_labels: Tensor | None = None
    ) -> Tensor:
        """Map (B, inputs, D, H, W), steps (B,) and labels (B,) to (B, outputs, D, H, W)."""
        if self.fold > 1:
            x = pixelunshuffle(x, 3, self.fold)
        embedding = self.time_embed(step_embedding(timesteps, self.block_out_channels[0]))
        if class_labels is not None:
            embedding = embedding + self.class_embedding(class_labels)
        h = self.conv_in(x)
        skips = [h]
        for block in self.down_blocks:
            h, more = block(hidden_states=h, temb=embedding)
            skips += more
        h = self.middle_block(hidden_states=h, temb=embedding)
        for block in self.up_blocks:
            resnets = block.get_submodule("resnets")
            assert isinstance(resnets, nn.ModuleList)
            first = len(skips) - len(resnets)
            h = block(hidden_states=h, res_hidden_states_list=skips[first:], temb=embedding)
            skips = skips[:first]
        h = self.out(h)
        return pixelshuffle(h, 3, self.fold) if self.fold > 1 else h


def step_embedding(times: Tensor, width: int) -> Tensor:
    """Return cosines, then sines of the steps (B,) at width / 2 frequencies: (B, width) float32.

    Frequency k of K = width / 2 is 1000^(-k / K), in radians per step.
    """
    k = torch.arange(width // 2, dtype=torch.float64, device=times.device)
    angles = times[:, None] * MAX_PERIOD ** (-2 * k / width)
    return torch.cat((angles.cos(), angles.sin()), 1).float()


def _contiguous(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
    """Give a normalisation its input in the layout that it is fast in, while there are gradients.

    On a CPU, backward through a normalisation costs 20 times as much in the layout that suits
    convolutions as in this one; with both conversions it costs 6 times as much.
    """
    return (inputs[0].contiguous(),) if torch.is_grad_enabled() else None


def _channels_last(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
    """Give the activation and convolution after a norm, and their gradients, one layout."""
    if torch.is_grad_enabled():
        return output.contiguous(memory_format=torch.channels_last_3d)
    return None
