"""Controls: protocols whose answer is known, or that show what no generator adds.

``real-only`` trains from random weights on the fine-tuning set: what the first stage must beat.
``oversample`` repeats cases of the smaller class until both classes are equally large: what more
volumes of it must beat. ``shuffled-label`` pretrains as experiment 2 does, but in every repetition
another half of the volumes of each class carries the other label: its AUC must be one that chance
gives. One shuffle would say nothing of labels: over shuffles AUC has a standard deviation near .1.

Source: ours; the paper has no such rows. Settings are those of the paper's nearest protocol.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cerebench.core.settings import setting
from cerebench.metrics.downstream import trad_aug
from cerebench.metrics.downstream.base import (
    Cases,
    Material,
    Passes,
    ProtocolInfo,
    Repeat,
    Trainer,
)
from cerebench.metrics.downstream.config import (
    AFTER_PRETRAINING,
    FROM_SCRATCH,
    SMOKE,
    Changes,
    OneStage,
    presets,
)
from cerebench.metrics.downstream.data import splits
from cerebench.metrics.downstream.data.cases import per_class, taken
from cerebench.metrics.downstream.data.splits import Parts
from cerebench.metrics.downstream.exp2 import ALL, Exp2
from cerebench.metrics.downstream.exp2 import Config as Exp2Config
from cerebench.metrics.downstream.experiment import Experiment, Stage, finetuning_set
from cerebench.metrics.downstream.networks.classifier import Classifier, predict


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


LEAST_SHUFFLES = 10
AGAIN = "[ours: fewer shuffles give no interval to judge their mean AUC by]"
FEW_SHUFFLES: Changes = {**ALL, "repeats": (LEAST_SHUFFLES, AGAIN)}

SHORT_SHUFFLES: Changes = {
    **FEW_SHUFFLES,
    "pretrain_epochs": (12, "[ours: ten trainings in the time of three of experiment 2]"),
}
FEW_LITE_SHUFFLES: Changes = {
    **FEW_SHUFFLES,
    "pretrain_epochs": (4, "[ours: ten trainings in the time of three of experiment 2]"),
}
SHORTEST_SHUFFLES: Changes = {**FEW_SHUFFLES, "pretrain_epochs": SMOKE["pretrain_epochs"]}


@dataclass(frozen=True)
class ShuffledConfig(Exp2Config):
    """Settings of the first stage of experiment 2; those of fine-tuning are not used."""

    repeats: Annotated[int, Field(ge=LEAST_SHUFFLES)] = setting(
        LEAST_SHUFFLES, "repetitions, each with its own shuffle of the labels", AGAIN
    )


class ShuffledLabel(Exp2):
    """The first stage of experiment 2 without the relation of volumes to labels.

    Nothing is fine-tuned, since the right answer is known before: real labels would repair it.
    """

    info = ProtocolInfo(
        name="shuffled-label",
        label="Shuffled labels",
        version=2,
        source="ours",
        needs_samples=True,
        role="control",
        description="Pretrained as in experiment 2, the labels of the generated volumes shuffled "
        "anew in every repetition; not fine-tuned.",
    )
    Config = ShuffledConfig
    presets = presets(
        ShuffledConfig, AFTER_PRETRAINING, SHORT_SHUFFLES, SHORTEST_SHUFFLES, FEW_LITE_SHUFFLES
    )

    def work(self, material: Material, shape: tuple[int, ...]) -> list[Passes]:
        """Count the volumes and the test cases of all repetitions."""
        parts = splits.divide(material.development, self.config.finetune_per_class, material.seed)
        cases, repeats = len(self.pretraining(material, parts).cases), self.config.repeats
        trained, read = repeats * self.config.pretrain_epochs * cases, repeats * len(material.test)
        return [Passes(lambda: self.network(material.seed, shape[0]), shape, trained, read)]

    def _repeat(
        self,
        number: int,
        material: Material,
        parts: Parts,
        first: Stage | None,
        last: Stage,
        trainer: Trainer,
    ) -> Repeat:
        seed = material.seed + number
        assert first is not None  # of experiment 2
        labels = shuffled(first.cases.labels, seed)
        cases = dataclasses.replace(first.cases, labels=labels)
        network = self.network(seed, len(material.development.volumes[0]))
        learner = Classifier(network, self._pretrain())
        trainer.fit(learner, cases, f"repeat-{number}/pretrain", seed)
        told = tuple(predict(network, trainer.data(material.test)).tolist())
        counts = {"pretrain": per_class(cases, material.classes)}
        return Repeat(
            seed=seed,
            predictions=told,
            validation_ids=(),
            validation_auc=None,
            epoch=self.config.pretrain_epochs,
            before_finetuning=told,
            n=counts,
            n_synthetic=counts,
        )


def repeated(cases: Cases, count: int, seed: int) -> Cases:
    """Return cases over and over, in one random order, ``count`` altogether."""
    order = np.random.RandomState([seed, count]).permutation(len(cases))
    return taken(cases, np.resize(order, count))


def shuffled(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Give half of each class, chosen at random, the other label.

    A plain permutation would leave a relation by chance, which AUC shows however weak it is. Of an
    odd number, label 0 changes the smaller half and label 1 the larger one, so that classes of
    equal size are left without any.

    Args:
        labels: (N,) int64, 0 or 1.
        seed: Seed of the choice.
    """
    changed = labels.copy()
    for label in (0, 1):
        own = np.random.RandomState([seed, label]).permutation(np.flatnonzero(labels == label))
        changed[own[: (len(own) + label) // 2]] = 1 - label
    return changed
