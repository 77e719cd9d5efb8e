"""3D-alpha-WGAN-C: 3D-alpha-WGAN with class labels, one model for all classes.

This is the suite's own extension of ``alpha_wgan.py`` and no baseline of any paper. Generator and
code critic get the label beside their codes, the encoder as constant channels; the critic of
volumes is a projection critic (Miyato and Koyama 2018, arXiv:1802.05637).

Departures: see ``DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam

from cerebench.methods import alpha_wgan
from cerebench.methods.alpha_wgan import code_critic, decoder, encoder
from cerebench.methods.base import Batches, Conditions, Method, MethodInfo, Run, Step, randn
from cerebench.methods.layers.adversarial import (
    critic,
    critic_widths,
    generator_widths,
    gradient_penalty,
    settle_statistics,
)
from cerebench.methods.layers.collapse import Watch
from cerebench.methods.layers.label_conditioning import (
    ProjectionCritic,
    by_class,
    draw_evenly,
    with_label,
    with_label_channels,
)
from cerebench.methods.layers.learning_rate import linear, set_lr

Network = Callable[[Tensor], Tensor]

DEPARTURES = (
    "An extension of the suite, not a baseline of any paper: never report it as 3D-alpha-WGAN.",
    "From 3D-alpha-WGAN: one model for all classes; one-hot label appended to the codes that "
    "generator and code critic get, and as constant channels to the encoder's input; projection "
    "critic; every batch holds equally many cases of each class, whatever the data hold; "
    "generated volumes have the labels of the real batch; twice the rounds, so that a class is "
    "seen as often as with one model each.",
    "The code critic sees labels so that the codes of each class, not only of all together, "
    "approach the prior from which that class is sampled.",
    *alpha_wgan.DEPARTURES,
)

PAPER = alpha_wgan.PAPER.override(
    steps=(24_000, "[ours: two classes, each seen as often as by a model of its own]")
)
QUICK = alpha_wgan.QUICK.override(
    steps=(600, "[ours: two classes, each seen as often as by a model of its own]")
)
LITE = alpha_wgan.LITE.override(
    steps=(1800, "[ours: two classes, each seen as often as by a model of its own]")
)
SMOKE = alpha_wgan.SMOKE


class Networks(NamedTuple):
    """The four networks as functions of volumes or codes, for the labels of one batch."""

    encoder: Network
    generator: Network
    critic: Network
    code_critic: Network


class AlphaWGANC(Method):
    """Autoencoding Wasserstein GAN with labels; logs what ``AlphaWGAN`` logs."""

    info = MethodInfo(
        name="alpha-wgan-c",
        version=1,
        source="ours; arXiv:1908.02498, arXiv:1802.05637",
        conditioning="class",
        label="3D-alpha-WGAN-C",
    )
    Config = alpha_wgan.Config
    config: alpha_wgan.Config
    presets = {"paper": PAPER, "lite": LITE, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    def build(self) -> dict[str, nn.Module]:
        """Return the four networks of ``AlphaWGAN``, all with room for the label."""
        c, classes = self.config, len(self.classes)
        widths = critic_widths(c.critic_channels, self.size)
        volume_critic = critic(widths, self.channels, c.norm)
        coarse_to_fine = generator_widths(c.generator_channels, self.size)
        return {
            "encoder": encoder(widths, self.channels + classes, c.latent, c.norm),
            "generator": decoder(c.latent + classes, coarse_to_fine, self.channels, c.norm),
            "critic": ProjectionCritic(volume_critic, widths[-1], classes),
            "code_critic": code_critic(c.latent + classes, c.code_units, c.norm),
        }

    def train(self, data: Batches, run: Run) -> None:
        """Train as ``AlphaWGAN`` does, on batches with equally many cases of each class."""
        c, nets = self.config, self.nets
        opt_e, opt_g, opt_d, opt_c = (
            Adam(nets[name].parameters(), lr=c.lr, betas=(c.beta1, c.beta2), fused=True)
            for name in ("encoder", "generator", "critic", "code_critic")
        )
        phase = run.phase(
            "adversarial", encoder=opt_e, generator=opt_g, critic=opt_d, code_critic=opt_c
        )
        classes = by_class(data, phase)
        watch = Watch(phase, classes, pairs=c.watch_pairs, every=c.watch_every, total=c.steps)
        for step in phase.steps(c.steps):
            set_lr((opt_e, opt_g, opt_d, opt_c), linear(step.progress, c.lr, c.lr_end))

            batch = draw_evenly(step, classes, c.batch)
            x = batch.images  # (B, C, D, H, W) in [-1, 1]
            E, G, D, C = self._with_labels(batch.labels)
            code = E(x)  # (B, latent)
            rebuilt, fresh = G(code), G(step.randn(c.batch, c.latent))
            reconstruction = (rebuilt - x).abs().mean()
            scores = C(code).mean() + D(rebuilt).mean() + D(fresh).mean()
            loss_g = c.reconstruction * reconstruction - scores
            step.descend([opt_e] + [opt_g] * c.generator_updates, loss_g)

            batch = draw_evenly(step, classes, c.batch)
            x, z = batch.images, step.randn(c.batch, c.latent)
            E, G, D, C = self._with_labels(batch.labels)
            with torch.no_grad():
                code = E(x).float()
                rebuilt, fresh = G(code), G(z)
            gap = D(rebuilt).mean() + D(fresh).mean() - 2 * D(x).mean()
            penalty = gradient_penalty(D, x, fresh, step.rand(c.batch))
            penalty = penalty + gradient_penalty(D, x, rebuilt, step.rand(c.batch))
            step.descend(opt_d, gap + c.penalty * penalty)

            code_gap = -C(z).mean()
            if c.code_critic == "both":
                code_gap = code_gap + C(code).mean()
            code_penalty = gradient_penalty(C, code, z, step.rand(c.batch))
            step.descend(opt_c, code_gap + c.penalty * code_penalty)

            phase.log(
                reconstruction=reconstruction,
                generator_loss=loss_g,
                critic_gap=gap,
                penalty=penalty,
                code_gap=code_gap,
                code_penalty=code_penalty,
            )
            watch.look(step, partial(self._generate, step))
        settle_statistics(run, nets["generator"], self._generate, c.statistics)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Return what the generator makes of one code and label per sample."""
        generate = self._with_labels(conditions.labels).generator
        return generate(randn(rngs, self.config.latent)).float()  # (N, C, D, H, W)

    def _with_labels(self, labels: Tensor) -> Networks:
        """Return the networks as functions for volumes of these classes, (B,)."""
        nets, classes = self.nets, len(self.classes)
        return Networks(
            encoder=lambda x: nets["encoder"](with_label_channels(x, labels, classes)),
            generator=lambda z: nets["generator"](with_label(z, labels, classes)),
            critic=lambda x: nets["critic"](x, labels),
            code_critic=lambda z: nets["code_critic"](with_label(z, labels, classes)),
        )

    def _generate(self, step: Step) -> Tensor:
        """Generate a batch from noise of this step, the classes in turn."""
        c = self.config
        labels = torch.arange(c.batch) % len(self.classes)
        return self._with_labels(labels).generator(step.randn(c.batch, c.latent))
