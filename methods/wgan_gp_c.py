"""3D-WGAN-GP-C: 3D-WGAN-GP with class labels, one model for all classes.

This is the suite's own extension of ``wgan_gp.py`` and no baseline of any paper: it shows what a
generator gains or loses by sharing its networks between classes. The generator gets the label
beside its noise; the critic is a projection critic (Miyato and Koyama 2018, arXiv:1802.05637).

Departures: see ``DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cerebench.methods import wgan_gp
from cerebench.methods.base import Batch, Batches, MethodInfo, Phase, Rows
from cerebench.methods.layers.adversarial import critic, critic_widths, generator, generator_widths
from cerebench.methods.layers.label_conditioning import ProjectionCritic, by_class, with_label

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
SMOKE = wgan_gp.SMOKE


class WGANGPC(wgan_gp.WGANGP):
    """Wasserstein GAN with gradient penalty and labels; logs what ``WGANGP`` logs."""

    info = MethodInfo(
        name="wgan-gp-c",
        version=1,
        source="ours; arXiv:1704.00028, arXiv:1802.05637",
        conditioning="class",
        label="3D-WGAN-GP-C",
    )
    presets = {"paper": PAPER, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    def build(self) -> dict[str, nn.Module]:
        c, classes = self.config, len(self.classes)
        widths = critic_widths(c.critic_channels, self.size)
        unlabelled = critic(widths, self.channels, c.critic_norm, c.head)
        return {
            "generator": generator(
                c.latent + classes, generator_widths(c.generator_channels, self.size), self.channels
            ),
            "critic": ProjectionCritic(unlabelled, widths[-1], classes),
        }

    def _groups(self, data: Batches, phase: Phase) -> Sequence[Rows[Batch]]:
        return by_class(data, phase)

    def _given(self, labels: Tensor) -> tuple[wgan_gp.Network, wgan_gp.Network]:
        G, D, classes = self.nets["generator"], self.nets["critic"], len(self.classes)
        return (lambda z: G(with_label(z, labels, classes))), (lambda x: D(x, labels))
