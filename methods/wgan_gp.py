"""3D-WGAN-GP, the plain adversarial baseline.

Source: Gulrajani et al. 2017, arXiv:1704.00028, Algorithm 1. Networks and the ``kwon`` presets:
Kwon, Han and Kim 2019, arXiv:1908.02498, and their code (MIT licence), written anew from a
description; their 64^3 networks are extended to 128^3 as in the baselines of HA-GAN.

Departures: see ``DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

from cerebench.methods.base import (
    Batches,
    Conditions,
    Count,
    CountOrZero,
    Decay,
    Fraction,
    Method,
    MethodInfo,
    NonNegative,
    Positive,
    Precision,
    Preset,
    Run,
    randn,
    setting,
)
from cerebench.methods.layers.adversarial import (
    check_size,
    critic,
    critic_widths,
    generator,
    generator_widths,
    gradient_penalty,
    settle_statistics,
)
from cerebench.methods.layers.learning_rate import linear, set_lr

DEPARTURES = (
    "From Gulrajani et al.: 3D networks of Kwon et al.; batches of 4; the budget is counted in "
    "generator updates; the critic has no normalisation (they allow layer normalisation).",
    "From Kwon's code, in every preset but the two kwon ones: five critic updates per generator "
    "update instead of one per five, Adam (1e-4; 0, 0.9), no batch normalisation in the critic, "
    "one dense score per volume instead of 2^3 patch scores.",
    "From Kwon's code, in every preset but kwon-asis: the norm of the gradient is taken over "
    "all voxels of a volume. The code takes it per voxel, which asks for a whole-volume norm of "
    "512 at 64^3 and leaves the critic practically unpenalised.",
    "From Kwon's code, in every preset but kwon-asis: the penalised score is the mean of the "
    "patch scores, as in the loss. The code penalises their sum, 8 times that gradient.",
    "From Kwon's code, in all presets: sampling uses running batch statistics, re-estimated "
    "from prior noise after training. The code never leaves training mode, so that a sample "
    "depends on its neighbours in the batch, which the suite does not allow.",
    "kwon and kwon-asis keep batch normalisation in the critic: the penalty of a volume then "
    "also depends on its neighbours in the batch.",
    "From Kwon's code, in all presets: no flips, no intensity augmentation; the suite's volumes "
    "are used as they are.",
)


@dataclass(frozen=True)
class Config:
    """Settings of 3D-WGAN-GP; the defaults are the ``paper`` preset."""

    steps: Count = setting(
        12_000, "rounds of critic and generator updates", "[code: Kwon, iterations run]"
    )
    critic_steps: Count = setting(5, "critic updates per round", "[paper: n_critic]")
    generator_steps: Count = setting(1, "generator updates per round", "[paper: Algorithm 1]")
    penalty: NonNegative = setting(10.0, "weight of the gradient penalty", "[paper: lambda]")
    penalty_norm: Literal["volume", "voxel"] = setting(
        "volume", "gradient norm taken per volume or per voxel", "[paper: equation 3]"
    )
    lr: Positive = setting(1e-4, "Adam step size, both networks", "[paper: alpha]")
    lr_end: Fraction = setting(
        1.0,
        "fraction of lr at the end of a linear decay",
        "[paper: constant in Algorithm 1]",
    )
    beta1: Decay = setting(0.0, "Adam decay of the mean", "[paper: beta1]")
    beta2: Decay = setting(0.9, "Adam decay of the square", "[paper: beta2]")
    batch: Count = setting(4, "volumes per update", "[code: Kwon]")
    latent: Count = setting(1000, "length of z ~ N(0, I)", "[code: Kwon]")
    generator_channels: Count = setting(
        64, "outermost generator channels; doubled at each coarser level", "[code: Kwon]"
    )
    critic_channels: Count = setting(
        64, "critic channels at half resolution; the widest level has at most 8 x", "[code: Kwon]"
    )
    critic_norm: Literal["none", "batch"] = setting(
        "none", "none or batch", "[paper: section 4, no batch norm]"
    )
    head: Literal["dense", "patch"] = setting(
        "dense", "one dense score or 2^3 patch scores", "[paper: one score]"
    )
    statistics: CountOrZero = setting(
        100,
        "noise batches that re-estimate the generator's batch statistics; 0: as training left them",
        "[ours: a sample must not depend on its batch]",
    )
    precision: Precision = setting("bf16", "autocast; the penalty stays fp32", "[ours: speed]")

    def for_size(self, size: int) -> Config:
        """Check the edge length; the networks derive their levels and widths from it.

        Raises:
            BadConfig: If the size is no power of two from 16 on, or a level has no channels.
        """
        check_size(size, self.critic_channels)
        return self


PAPER = Preset(Config(), size=128)
KWON = PAPER.override(
    size=64,
    critic_steps=(1, "[code: Kwon, training notebook]"),
    generator_steps=(5, "[code: Kwon, training notebook]"),
    lr=(2e-4, "[code: Kwon, training notebook]"),
    beta1=(0.9, "[code: Kwon, training notebook]"),
    beta2=(0.999, "[code: Kwon, training notebook]"),
    critic_norm=("batch", "[code: Kwon, Model_WGAN]"),
    head=("patch", "[code: Kwon, Model_WGAN]"),
    precision=("fp32", "[code: Kwon]"),
)
KWON_ASIS = KWON.override(penalty_norm=("voxel", "[code: Kwon, norm over the channel axis]"))
QUICK = PAPER.override(
    size=32,
    steps=(250, "[ours: both classes in a minute on two cores]"),
    critic_steps=(2, "[ours: more generator updates in the same time]"),
    batch=(8, "[ours: steadier than twice the steps with 4]"),
    lr=(1e-3, "[ours: few steps; at half of it some generators never leave 0]"),
    lr_end=(0.0, "[ours: settles the oscillation of so few steps]"),
    latent=(64, "[ours: ample for 100 cases]"),
    generator_channels=(24, "[ours: speed; 16 reach the brightest voxels less often]"),
    critic_channels=(16, "[ours: speed]"),
)
LITE = QUICK.override(
    size=64,
    steps=(900, "[ours: both classes in about an hour on two cores]"),
    critic_steps=(3, "[ours: between quick and paper]"),
    lr=(5e-4, "[ours: half of quick's, for four times the steps]"),
    latent=(128, "[ours: as quick]"),
    generator_channels=(32, "[ours: an hour on two cores]"),
)
SMOKE = PAPER.override(
    size=16,
    steps=(2, "[ours: test]"),
    critic_steps=(1, "[ours: test]"),
    batch=(2, "[ours: test]"),
    latent=(8, "[ours: test]"),
    generator_channels=(4, "[ours: test]"),
    critic_channels=(4, "[ours: test]"),
    statistics=(2, "[ours: test]"),
    precision=("fp32", "[ours: exactness]"),
)


class WGANGP(Method):
    """Wasserstein GAN with gradient penalty, one instance per class.

    Logged scalars: ``critic_gap`` mean D(G(z)) - mean D(x), minus the estimated Wasserstein
    distance; ``penalty`` the gradient penalty before its weight; ``generator_loss`` -mean D(G(z)).
    """

    info = MethodInfo(
        name="wgan-gp",
        version=1,
        source="arXiv:1704.00028",
        conditioning="none",
        label="3D-WGAN-GP",
    )
    Config = Config
    config: Config
    presets = {
        "paper": PAPER,
        "kwon": KWON,
        "kwon-asis": KWON_ASIS,
        "lite": LITE,
        "quick": QUICK,
        "smoke": SMOKE,
    }
    departures = DEPARTURES

    def build(self) -> dict[str, nn.Module]:
        """Return generator and critic."""
        c = self.config
        return {
            "generator": generator(
                c.latent, generator_widths(c.generator_channels, self.size), self.channels
            ),
            "critic": critic(
                critic_widths(c.critic_channels, self.size), self.channels, c.critic_norm, c.head
            ),
        }

    def train(self, data: Batches, run: Run) -> None:
        """Update the critic a few times, then the generator, for a number of rounds."""
        c, G, D = self.config, self.nets["generator"], self.nets["critic"]
        opt_g, opt_d = (
            Adam(net.parameters(), lr=c.lr, betas=(c.beta1, c.beta2), fused=True) for net in (G, D)
        )
        phase = run.phase("adversarial", opt_g=opt_g, opt_d=opt_d)
        for step in phase.steps(c.steps):
            set_lr((opt_g, opt_d), linear(step.progress, c.lr, c.lr_end))
            gap = penalty = loss_g = torch.zeros(())
            for _ in range(c.critic_steps):
                real = step.batch(data, c.batch).images  # (B, C, D, H, W) in [-1, 1]
                with torch.no_grad():
                    fake = G(step.randn(c.batch, c.latent))
                gap = D(fake).mean() - D(real).mean()  # minus the Wasserstein estimate
                penalty = gradient_penalty(D, real, fake, step.rand(c.batch), c.penalty_norm)
                step.descend(opt_d, gap + c.penalty * penalty)
            for _ in range(c.generator_steps):
                loss_g = -D(G(step.randn(c.batch, c.latent))).mean()
                step.descend(opt_g, loss_g)
            phase.log(critic_gap=gap, penalty=penalty, generator_loss=loss_g)
        settle_statistics(run, G, lambda step: G(step.randn(c.batch, c.latent)), c.statistics)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Return what the generator makes of one code per sample."""
        return self.nets["generator"](randn(rngs, self.config.latent)).float()  # (N, C, D, H, W)
