"""Settings, presets and departures of 3D-VQGAN."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from cerebench.methods.base import (
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
from cerebench.methods.layers.vq.two_stages import check_stages, fit_levels

DEPARTURES = (
    "Only the abstract of the paper (arXiv:2310.01251) could be read. Networks and values follow "
    "a description of the main script of the authors' code; a value that the description does not "
    "name is that of 3D-VQGAN-cond. Their script for BraTS, which this is not, has 5 slices in the "
    "perceptual term with weight 4, no adversarial term and warm restarts of the learning rate.",
    "Code takes the map of a channel for a code vector, since it flattens latents without moving "
    "channels last. Here a token belongs to a position.",
    "Code fills the loaded codebook with random rows at the first batch of stage 2 and moves it "
    "with every further one. Here it is initialised once and stage 1 is frozen: tokens of all "
    "training volumes are computed once.",
    "Code leaves batch norms in training mode in stage 2, so that the tokens of a volume depend on "
    "its neighbours in the batch. Here they use their running statistics there and in sampling.",
    "Code draws the scales of batch norms from N(0, 0.02^2). Here from N(1, 0.02^2).",
    "Code starts sequences with id 0, which is also a code. Here the start has an id of its own: "
    "513 ids instead of 512, 303,886,336 instead of 303,884,288 parameters.",
    "Code lets the generator's gradients leak into the discriminator's update, and trains the "
    "discriminator before its start on them. Here the discriminator gets its hinge loss alone, and "
    "stays as initialised until discriminator_start.",
    "Code sets top-k to the size of the codebook when sampling, which does nothing. Left out.",
    "Code runs 5000 and 1500 epochs. The budget here is in optimiser steps per class: 390,000 and "
    "117,000, those of 234 volumes in batches of 3 (HGG of the MIDL 2024 comparison). The smaller "
    "class gets as many, and so more epochs. The learning rate falls per step, not per epoch.",
    "bf16 autocast; the codebook is computed in float32.",
)


@dataclass(frozen=True)
class Config:
    """Settings of 3D-VQGAN; the defaults are the ``paper`` preset."""

    # networks
    latent_size: Annotated[int, Field(ge=2)] = setting(
        8, "edge of the latent grid, tokens", "[code: autoencoder]"
    )
    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting(
        (32, 64, 128, 256), "encoder channels, finest level first", "[code: autoencoder]"
    )
    bottleneck: Count = setting(512, "channels of latents and codes", "[code: autoencoder]")
    codes: Annotated[int, Field(ge=2)] = setting(512, "size of the codebook", "[code: codebook]")
    code_decay: Decay = setting(0.99, "moving average of counts and sums", "[code: codebook]")
    restart_after: CountOrZero = setting(
        0, "steps after which an unused code restarts; 0 = never", "[code: restart disabled]"
    )
    discriminator_channels: Count = setting(64, "first layer's channels", "[code: discriminator]")
    layers: Count = setting(24, "transformer blocks", "[code: transformer]")
    width: Count = setting(1024, "transformer width", "[code: transformer]")
    heads: Count = setting(16, "attention heads", "[code: transformer]")
    # stage 1
    autoencoder_steps: Count = setting(
        390_000, "length of stage 1's schedule", "[code: 5000 epochs, here of 234 volumes]"
    )
    stop_at: Annotated[float, Field(gt=0, le=1)] = setting(
        0.8, "fraction of that schedule that is run", "[code: stage 2 loads epoch 4000 of 5000]"
    )
    batch: Count = setting(3, "volumes per update", "[code: stage 1]")
    lr: Positive = setting(1e-4, "Adam step size of both networks, at the start", "[code: stage 1]")
    lr_end: NonNegative = setting(0.0, "and at the end of its cosine", "[code: stage 1]")
    beta1: Decay = setting(0.5, "Adam decay of the mean", "[code: stage 1]")
    beta2: Decay = setting(0.9, "Adam decay of the square", "[code: stage 1]")
    clip: Positive = setting(1.0, "largest element of a gradient", "[code: stage 1]")
    pixel_weight: NonNegative = setting(4.0, "weight of mean |x - y|", "[code: as 3D-VQGAN-cond]")
    perceptual: Literal["lpips-vgg", "none"] = setting(
        "lpips-vgg", "lpips-vgg or none", "[code: LPIPS on VGG16]"
    )
    perceptual_weight: NonNegative = setting(
        1.0, "weight of the perceptual term", "[code: stage 1]"
    )
    perceptual_slices: Count = setting(3, "axial slices per volume it looks at", "[code: stage 1]")
    matching_weight: NonNegative = setting(
        4.0, "weight of feature matching", "[code: as 3D-VQGAN-cond]"
    )
    gradient_weight: NonNegative = setting(
        4.0, "weight of the image gradient loss", "[code: as 3D-VQGAN-cond]"
    )
    commitment: NonNegative = setting(0.25, "weight of the commitment loss", "[code: codebook]")
    discriminator_start: Fraction = setting(
        0.5, "fraction of stage 1's schedule without adversarial terms", "[code: epoch 2500]"
    )
    # stage 2
    transformer_steps: Count = setting(
        117_000, "updates of the transformer", "[code: 1500 epochs, here of 234 volumes]"
    )
    transformer_batch: Count = setting(3, "sequences per update", "[code: stage 2]")
    transformer_lr: Positive = setting(4.5e-6, "AdamW step size at the start", "[code: stage 2]")
    transformer_lr_end: NonNegative = setting(
        4.5e-6, "and at the end of its cosine", "[code: constant, the scheduler is never called]"
    )
    weight_decay: NonNegative = setting(0.01, "of linear weights", "[code: as 3D-VQGAN-cond]")
    keep: Fraction = setting(0.5, "probability that an input token stays", "[code: stage 2]")
    # sampling
    temperature: NonNegative = setting(
        1.0, "of the token distribution; 0 = greedy", "[code: sampler]"
    )
    sample_top_p: Annotated[float, Field(gt=0, le=1)] = setting(
        0.95, "keep codes of this total probability", "[code: sampler]"
    )
    precision: Precision = setting("bf16", "autocast; the codebook stays fp32", "[ours: speed]")

    def for_size(self, size: int) -> Config:
        """Fit the number of levels to the edge length; the latent grid stays.

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
        return replace(self, channels=fit_levels("vqgan", self.channels, self.latent_size, size))


PAPER = Preset(Config(), size=128)
QUICK = PAPER.override(
    size=32,
    channels=((8, 16), "[ours: two thirds of the time of (8, 32), and as sharp]"),
    bottleneck=(32, "[ours: speed]"),
    codes=(256, "[ours: 51,200 training tokens]"),
    layers=(2, "[ours: speed]"),
    width=(64, "[ours: speed; there are 512 tokens a volume]"),
    heads=(2, "[ours: speed; 4 heads take 1.4 times as long]"),
    restart_after=(20, "[ours: short trainings never wake the codes that lose]"),
    discriminator_channels=(16, "[ours: speed; 64 tell everything apart within 100 steps]"),
    autoencoder_steps=(500, "[ours: half of 150 s of one core for both classes]"),
    stop_at=(1.0, "[ours: the learning rate ends at 0]"),
    batch=(2, "[ours: more updates in the same time]"),
    gradient_weight=(
        0.05,
        "[ours: few steps; at 4 the term is 60 times that of the pixels and darkens volumes]",
    ),
    lr=(1e-3, "[ours: few steps]"),
    perceptual=("none", "[ours: needs no weight file]"),
    transformer_steps=(650, "[ours: as autoencoder_steps]"),
    transformer_batch=(4, "[ours: more updates in the same time]"),
    transformer_lr=(4e-3, "[ours: small network, few steps]"),
    transformer_lr_end=(0.0, "[ours: settles within few steps]"),
    keep=(0.95, "[ours: few steps; at 0.5 they do not suffice to tell which tokens to believe]"),
)
LITE = QUICK.override(
    size=64,
    channels=((16, 32, 64), "[ours: twice quick's, and a level more for twice the edge]"),
    bottleneck=(128, "[ours: as channels]"),
    codes=(512, "[code: codebook]"),
    layers=(4, "[ours: a few hundred volumes need no more]"),
    width=(128, "[ours: as layers]"),
    heads=(4, "[ours: as layers]"),
    restart_after=(50, "[ours: as in quick, for more steps]"),
    discriminator_channels=(32, "[ours: 64 tell everything apart early]"),
    autoencoder_steps=(1500, "[ours: both classes in about an hour on two cores]"),
    lr=(5e-4, "[ours: half of quick's, for three times the steps]"),
    transformer_steps=(2000, "[ours: as autoencoder_steps]"),
    transformer_batch=(8, "[ours: steadier, with time for it]"),
    transformer_lr=(2e-3, "[ours: half of quick's, for three times the steps]"),
)
SMOKE = QUICK.override(
    size=16,
    latent_size=(4, "[ours: test]"),
    channels=((8, 8), "[ours: test]"),
    bottleneck=(8, "[ours: test]"),
    codes=(16, "[ours: test]"),
    discriminator_channels=(8, "[ours: test]"),
    layers=(1, "[ours: test]"),
    width=(16, "[ours: test]"),
    heads=(2, "[ours: test]"),
    autoencoder_steps=(3, "[ours: test]"),
    batch=(2, "[ours: test]"),
    transformer_steps=(2, "[ours: test]"),
    transformer_batch=(2, "[ours: test]"),
    transformer_lr=(1e-3, "[ours: test]"),
    keep=(0.5, "[ours: test]"),
    precision=("fp32", "[ours: exactness]"),
)
