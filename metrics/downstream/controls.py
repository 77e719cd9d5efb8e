"""Controls: protocols whose answer is known, or that show what no generator adds.

``real-only`` trains from random weights on the fine-tuning set: what the first stage must beat.
``oversample`` repeats cases of the smaller class until both classes are equally large: what more
volumes of it must beat. ``shuffled-label`` pretrains as experiment 2 does, but half of the volumes
of each class carry the other label: its AUC before fine-tuning must be near .5.

Source: ours; the paper has no such rows. Settings are those of the paper's nearest protocol.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.downstream import trad_aug
from cerebench.metrics.downstream.base import Cases, Material, ProtocolInfo
from cerebench.metrics.downstream.cases import taken
from cerebench.metrics.downstream.config import FROM_SCRATCH, OneStage, presets
from cerebench.metrics.downstream.exp2 import Exp2
from cerebench.metrics.downstream.experiment import Experiment, Stage, finetuning_set
from cerebench.metrics.downstream.splits import Parts


class RealOnly(Experiment):
    """Only the fine-tuning set."""

    info = ProtocolInfo(
        name="real-only",
        label="Real only",
        version=1,
        source="ours",
        needs_samples=False,
        role="control",
        description="Trained from random weights on the real fine-tuning cases alone.",
    )
    Config = OneStage
    presets = presets(OneStage, FROM_SCRATCH)

    def training(self, material: Material, parts: Parts) -> Stage:
        """Return the fine-tuning set."""
        return Stage(finetuning_set(material, parts))


class Oversample(Experiment):
    """As traditional augmentation, but copies are not transformed."""

    info = ProtocolInfo(
        name="oversample",
        label="Oversampling",
        version=1,
        source="ours",
        needs_samples=False,
        role="control",
        description="Trained on all real cases of the larger class and those of the smaller one, "
        "repeated up to the same number.",
    )
    Config = trad_aug.Config
    presets = trad_aug.TradAug.presets

    def training(self, material: Material, parts: Parts) -> Stage:
        """Return real cases, those of the smaller class repeatedly."""
        return trad_aug.balanced(material, parts, repeated)


class ShuffledLabel(Exp2):
    """Experiment 2 without the relation of volumes to labels."""

    info = ProtocolInfo(
        name="shuffled-label",
        label="Shuffled labels",
        version=1,
        source="ours",
        needs_samples=True,
        role="control",
        description="As experiment 2, but the labels of the generated volumes are shuffled.",
    )

    def pretraining(self, material: Material, parts: Parts) -> Stage:
        """Return generated volumes, half of each class with the other label."""
        stage = super().pretraining(material, parts)
        labels = shuffled(stage.cases.labels, material.seed)
        volumes = dataclasses.replace(stage.cases, labels=labels)
        return Stage(volumes, synthetic=volumes)


def repeated(cases: Cases, count: int, seed: int) -> Cases:
    """Return cases over and over, in one random order, ``count`` altogether."""
    order = np.random.RandomState([seed, count]).permutation(len(cases))
    return taken(cases, np.resize(order, count))


def shuffled(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Give half of each class, chosen at random, the other label.

    A plain permutation would leave a relation by chance, which AUC shows however weak it is. Of an
    odd number, the smaller half changes.

    Args:
        labels: (N,) int64, 0 or 1.
        seed: Seed of the choice.
    """
    changed = labels.copy()
    for label in (0, 1):
        own = np.random.RandomState([seed, label]).permutation(np.flatnonzero(labels == label))
        changed[own[: len(own) // 2]] = 1 - label
    return changed
