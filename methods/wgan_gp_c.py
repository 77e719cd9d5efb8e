"""3D-WGAN-GP-C: 3D-WGAN-GP with class labels, one model for all classes.

This is the suite's own extension of ``wgan_gp.py`` and no baseline of any paper: it shows what a
generator gains or loses by sharing its networks between classes. The generator gets the label
beside its noise; the critic is a projection critic (Miyato and Koyama 2018, arXiv:1802.05637).

Departures: see ``DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Adam

from cerebench.methods import wgan_gp
from cerebench.methods.base import Batches, Conditions, Method, MethodInfo, Run, Step, randn
from cerebench.methods.layers.adversarial import (
    critic,
    critic_widths,
    generator,
    generator_widths,
    gradient_penalty,
    settle_statistics,
)
from cerebench.methods.layers.label_conditioning import (
    ProjectionCritic,
    by_class,
    draw_evenly,
    with_label,
)
from cerebench.methods.layers.learning_rate import linear, set_lr

Network = Callable[[Tensor], Tensor]

DEPARTURES = (
    "An extension of the suite, not a baseline of any paper: never report it as 3D-WGAN-GP.",
    "From 3D-WGAN-GP: one model for all classes; one-hot label appended to the noise; projection "
    "critic; every batch holds equally many cases of each class, whatever the data hold; "
    "generated volumes have the labels of the real batch, so that every mixture in the penalty "
    "has one label; twice the rounds, so that a class is seen as often as with one model each.",
    *wgan_gp.DEPARTURES,
)

PAPER = wgan_gp.PAPER.override(
    steps=(24_000, "[ours: two classes, each seen as often as by a model of its own]")
)
QUICK = wgan_gp.QUICK.override(
    steps=(500, "[ours: two classes, each seen as often as by a model of its own]")
)
LITE = wgan_gp.LITE.override(
    steps=(1800, "[ours: two classes, each seen as often as by a model of its own]")
)
SMOKE = wgan_gp.SMOKE


class WGANGPC(Method):
    """Wasserstein GAN with gradient penalty and labels; logs what ``WGANGP`` logs."""

    info = MethodInfo(
        name="wgan-gp-c",
        version=1,
        source="ours; arXiv:1704.00028, arXiv:1802.05637",
        conditioning="class",
        label="3D-WGAN-GP-C",
    )
    Config = wgan_gp.Config
    config: wgan_gp.Config
    presets = {"paper": PAPER, "lite": LITE, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    def build(self) -> dict[str, nn.Module]:
        """Return the generator, which gets the label beside its code, and the projection critic."""
        c, classes = self.config, len(self.classes)
        widths = critic_widths(c.critic_channels, self.size)
        volume_critic = critic(widths, self.channels, c.critic_norm, c.head)
        return {
            "generator": generator(
                c.latent + classes, generator_widths(c.generator_channels, self.size), self.channels
            ),
            "critic": ProjectionCritic(volume_critic, widths[-1], classes),
        }

    def train(self, data: Batches, run: Run) -> None:
        """Train as ``WGANGP`` does, on batches with equally many cases of each class."""
        c, nets = self.config, self.nets
        opt_g, opt_d = (
            Adam(nets[name].parameters(), lr=c.lr, betas=(c.beta1, c.beta2), fused=True)
            for name in ("generator", "critic")
        )
        phase = run.phase("adversarial", opt_g=opt_g, opt_d=opt_d)
        classes = by_class(data, phase)
        for step in phase.steps(c.steps):
            set_lr((opt_g, opt_d), linear(step.progress, c.lr, c.lr_end))
            gap = penalty = loss_g = torch.zeros(())
            for _ in range(c.critic_steps):
                batch = draw_evenly(step, classes, c.batch)
                real = batch.images  # (B, C, D, H, W) in [-1, 1]
                G, D = self._with_labels(batch.labels)
                with torch.no_grad():
                    fake = G(step.randn(c.batch, c.latent))
                gap = D(fake).mean() - D(real).mean()  # minus the Wasserstein estimate
                penalty = gradient_penalty(D, real, fake, step.rand(c.batch), c.penalty_norm)
                step.descend(opt_d, gap + c.penalty * penalty)
            for _ in range(c.generator_steps):  # labels of the last real batch; there is one
                loss_g = -D(G(step.randn(c.batch, c.latent))).mean()  # pyright: ignore[reportPossiblyUnboundVariable]
                step.descend(opt_g, loss_g)
            phase.log(critic_gap=gap, penalty=penalty, generator_loss=loss_g)
        settle_statistics(run, nets["generator"], self._generate, c.statistics)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Return what the generator makes of one code and label per sample."""
        G, _ = self._with_labels(conditions.labels)
        return G(randn(rngs, self.config.latent)).float()  # (N, C, D, H, W)

    def _with_labels(self, labels: Tensor) -> tuple[Network, Network]:
        """Return generator and critic as functions for volumes of these classes, (B,)."""
        G, D, classes = self.nets["generator"], self.nets["critic"], len(self.classes)
        return (lambda z: G(with_label(z, labels, classes))), (lambda x: D(x, labels))

    def _generate(self, step: Step) -> Tensor:
        """Generate a batch from noise of this step, the classes in turn."""
        c = self.config
        G, _ = self._with_labels(torch.arange(c.batch) % len(self.classes))
        return G(step.randn(c.batch, c.latent))
