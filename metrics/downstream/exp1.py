"""Experiment 1: generated volumes of the smaller class balance the larger one in pretraining.

The pool (cases of the larger class that do not fine-tune; the paper: 183 HGG) stands beside equally
many generated volumes of the smaller class (LGG); then the real fine-tuning set follows.

Source: Zhou and Khalvati, MIDL 2024, Table 2 (a), Table 5 and appendix A.2.
Departures: those of ``experiment.py``. The main text gives the paper's own method generated volumes
of both classes, the appendix gives real HGG to every method; ``hgg_source`` chooses one for all
methods, and ``real`` is the default, because then only the generator differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cerebench.core.bounds import CountOrZero
from cerebench.core.settings import setting
from cerebench.metrics.downstream.base import Material, ProtocolError, ProtocolInfo
from cerebench.metrics.downstream.config import (
    AFTER_PRETRAINING,
    Changes,
    TwoStages,
    presets,
)
from cerebench.metrics.downstream.data import splits
from cerebench.metrics.downstream.data.cases import joined, taken
from cerebench.metrics.downstream.data.splits import Parts
from cerebench.metrics.downstream.experiment import Experiment, Stage, finetuning_set, generated


@dataclass(frozen=True)
class Config(TwoStages):
    """Settings of experiment 1."""

    hgg_source: Literal["real", "synthetic"] = setting(
        "real",
        "source of the larger class in pretraining: the real pool or as many generated volumes",
        "[paper: appendix A.2]",
    )
    synthetic_per_class: CountOrZero = setting(
        0,
        "at most so many volumes of each class in pretraining; 0: as many as the pool has",
        "[paper: 183, the whole pool]",
    )


FEW: Changes = {"synthetic_per_class": (64, "[ours: what the quickstart generates]")}
FEWEST: Changes = {"synthetic_per_class": (8, "[ours: tests]")}


class Exp1(Experiment):
    """The first stage holds generated volumes of the smaller class at least."""

    info = ProtocolInfo(
        name="exp1",
        label="Experiment 1",
        version=1,
        source="Zhou and Khalvati, MIDL 2024, Tables 2 (a) and 5",
        needs_samples=True,
        role="experiment",
        description="Pretrained on the larger class and as many generated volumes of the smaller "
        "one, fine-tuned on real cases.",
    )
    Config = Config
    presets = presets(Config, AFTER_PRETRAINING, FEW, FEWEST)

    def demand(self, development: Mapping[str, int]) -> dict[str, int]:
        """Return as many volumes as are taken of the pool: of the smaller class, or of both."""
        names, counts = list(development), list(development.values())
        size = splits.sizes(counts, self.config.finetune_per_class)
        each = self._each(size.pool, names[size.larger])
        return {names[label]: each for label in self._generated_labels(size.larger)}

    def pretraining(self, material: Material, parts: Parts) -> Stage:
        """Return equally many volumes of both classes."""
        each = self._each(len(parts.pool), material.classes[parts.larger])
        volumes = generated(material, dict.fromkeys(self._generated_labels(parts.larger), each))
        if self.config.hgg_source == "synthetic":
            return Stage(volumes, synthetic=volumes)
        pool = taken(material.development, parts.pool[:each])
        return Stage(joined(pool, volumes), synthetic=volumes)

    def training(self, material: Material, parts: Parts) -> Stage:
        """Return the fine-tuning set."""
        return Stage(finetuning_set(material, parts))

    def _generated_labels(self, larger: int) -> list[int]:
        return [0, 1] if self.config.hgg_source == "synthetic" else [1 - larger]

    def _each(self, pool: int, larger: str) -> int:
        """Return how many volumes of each class pretrain."""
        if pool == 0:
            raise ProtocolError(
                f"No case of the larger class, {larger}, is left beyond its fine-tuning set, so "
                "there is nothing to pretrain on. Set finetune_per_class below the size of the "
                "smaller class."
            )
        return min(pool, self.config.synthetic_per_class or pool)
