"""3D-alpha-WGAN-C: 3D-alpha-WGAN with class labels, one model for all classes.

This is the suite's own extension of ``alpha_wgan.py`` and no baseline of any paper. Generator and
code critic get the label beside their codes, the encoder as constant channels; the critic of
volumes is a projection critic (Miyato and Koyama 2018, arXiv:1802.05637).

Departures: see ``DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cerebench.methods import alpha_wgan
from cerebench.methods.alpha_wgan import Networks, code_critic, decoder, encoder
from cerebench.methods.base import Batch, Batches, MethodInfo, Phase, Rows
from cerebench.methods.layers.adversarial import critic, critic_widths, generator_widths
from cerebench.methods.layers.label_conditioning import (
    ProjectionCritic,
    by_class,
    with_label,
    with_label_channels,
)

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
SMOKE = alpha_wgan.SMOKE


class AlphaWGANC(alpha_wgan.AlphaWGAN):
    """Autoencoding Wasserstein GAN with labels; logs what ``AlphaWGAN`` logs."""

    info = MethodInfo(
        name="alpha-wgan-c",
        version=1,
        source="ours; arXiv:1908.02498, arXiv:1802.05637",
        conditioning="class",
        label="3D-alpha-WGAN-C",
    )
    presets = {"paper": PAPER, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    def build(self) -> dict[str, nn.Module]:
        c, classes = self.config, len(self.classes)
        widths = critic_widths(c.critic_channels, self.size)
        unlabelled = critic(widths, self.channels, c.norm)
        coarse_to_fine = generator_widths(c.generator_channels, self.size)
        return {
            "encoder": encoder(widths, self.channels + classes, c.latent, c.norm),
            "generator": decoder(c.latent + classes, coarse_to_fine, self.channels, c.norm),
            "critic": ProjectionCritic(unlabelled, widths[-1], classes),
            "code_critic": code_critic(c.latent + classes, c.code_units, c.norm),
        }

    def _groups(self, data: Batches, phase: Phase) -> Sequence[Rows[Batch]]:
        return by_class(data, phase)

    def _given(self, labels: Tensor) -> Networks:
        nets, classes = self.nets, len(self.classes)
        return Networks(
            encoder=lambda x: nets["encoder"](with_label_channels(x, labels, classes)),
            generator=lambda z: nets["generator"](with_label(z, labels, classes)),
            critic=lambda x: nets["critic"](x, labels),
            code_critic=lambda z: nets["code_critic"](with_label(z, labels, classes)),
        )
