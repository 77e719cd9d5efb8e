"""Traditional augmentation: one training on all real cases, the smaller class filled with copies.

The larger class has all its development cases (the paper: 234 HGG), the smaller class its
fine-tuning cases (51 LGG) and transformed copies of them up to the same number (183).

Source: Zhou and Khalvati, MIDL 2024, row "Trad. Aug." of Tables 2 (a) and 5.
Departures: those of ``experiment.py`` and ``augmentation.py``. Copies of a validation case do not
train, which leaves the smaller class a few volumes short of the larger one in every repetition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cerebench.core.bounds import Count, Positive
from cerebench.core.settings import setting
from cerebench.metrics.downstream.base import Cases, Material, ProtocolInfo
from cerebench.metrics.downstream.config import (
    FROM_SCRATCH,
    SMOKE,
    Batch,
    Changes,
    OneStage,
    presets,
)
from cerebench.metrics.downstream.data.augmentation import copies
from cerebench.metrics.downstream.data.cases import joined, taken
from cerebench.metrics.downstream.data.splits import Parts
from cerebench.metrics.downstream.experiment import Experiment, Stage, finetuning_set


@dataclass(frozen=True)
class Config(OneStage):
    """Settings of a single training on all real cases and copies."""

    finetune_epochs: Count = setting(
        50, "epochs of the only stage", "[ours: as in pretraining; the paper gives none]"
    )
    finetune_batch: Batch = setting(
        8, "volumes per step of the only stage", "[paper: batch of Trad. Aug.]"
    )
    finetune_lr: Positive = setting(
        1e-2, "Adam step size of the only stage", "[paper: learning rate of Trad. Aug.]"
    )


FEWER: Changes = {
    "finetune_epochs": (30, "[ours: as many volumes seen as by training on real cases alone]")
}
FEWEST: Changes = {"finetune_epochs": SMOKE["finetune_epochs"]}


def balanced(material: Material, parts: Parts, fill: Callable[[Cases, int, int], Cases]) -> Stage:
    """Return all cases of the larger class, the fine-tuning cases of the smaller one, and copies.

    Args:
        material: Real cases and the seed.
        parts: Their purposes.
        fill: (cases, number of copies, seed) to copies.
    """
    smaller = taken(material.development, parts.finetune[parts.smaller])
    larger = finetuning_set(material, parts), taken(material.development, parts.pool)
    added = fill(smaller, len(parts.pool), material.seed)
    missing = len(parts.pool) - len(added)
    note = (
        f"{missing} of {len(parts.pool)} copies are missing: each of {len(smaller)} cases of "
        f"{material.classes[parts.smaller]} is copied once by each transform."
    )
    return Stage(joined(*larger, added), notes=(note,) if missing else ())


class TradAug(Experiment):
    """A single stage on real cases and transformed copies."""

    info = ProtocolInfo(
        name="trad-aug",
        label="Trad. Aug.",
        version=1,
        source="Zhou and Khalvati, MIDL 2024, Tables 2 (a) and 5",
        needs_samples=False,
        role="baseline",
        description="Trained on all real cases of the larger class, those of the smaller one and "
        "transformed copies of these.",
    )
    Config = Config
    presets = presets(Config, FROM_SCRATCH, FEWER, FEWEST)

    def training(self, material: Material, parts: Parts) -> Stage:
        """Return real cases and copies, equally many of both classes where pairs suffice."""
        return balanced(material, parts, copies)
