"""Experiment 2: pretrain on generated volumes of both classes, fine-tune on real cases.

Source: Zhou and Khalvati, MIDL 2024, Table 2 (b) and Table 6: 250 generated volumes of each class,
then 51 + 51 real cases.
Departures: those of ``experiment.py``. With ``synthetic_per_class = 0`` all generated volumes are
used, equally many of each class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cerebench.core.bounds import CountOrZero
from cerebench.core.settings import setting
from cerebench.metrics.downstream.base import Material, ProtocolInfo
from cerebench.metrics.downstream.config import (
    AFTER_PRETRAINING,
    Changes,
    TwoStages,
    presets,
)
from cerebench.metrics.downstream.data.splits import Parts
from cerebench.metrics.downstream.experiment import Experiment, Stage, finetuning_set, generated


@dataclass(frozen=True)
class Config(TwoStages):
    """Settings of experiment 2."""

    synthetic_per_class: CountOrZero = setting(
        250,
        "generated volumes of each class; 0: all there are",
        "[paper: 250 per class]",
    )


ALL: Changes = {"synthetic_per_class": (0, "[ours: what the run has generated]")}


class Exp2(Experiment):
    """Everything in the first stage is generated."""

    info = ProtocolInfo(
        name="exp2",
        label="Experiment 2",
        version=1,
        source="Zhou and Khalvati, MIDL 2024, Tables 2 (b) and 6",
        needs_samples=True,
        role="experiment",
        description="Pretrained on generated volumes of both classes, fine-tuned on real cases.",
    )
    Config = Config
    presets = presets(Config, AFTER_PRETRAINING, ALL, light=ALL)

    def demand(self, development: Mapping[str, int]) -> dict[str, int]:
        """Return the same number of both classes; one of each where all there are will be used."""
        super().demand(development)
        return dict.fromkeys(development, self.config.synthetic_per_class or 1)

    def pretraining(self, material: Material, parts: Parts) -> Stage:
        """Return generated volumes, equally many of both classes."""
        assert material.synthetic is not None  # demanded by ``needs_samples``
        there = np.bincount(material.synthetic.labels, minlength=2)
        each = self.config.synthetic_per_class or max(1, there.min())
        volumes = generated(material, {0: each, 1: each})
        return Stage(volumes, synthetic=volumes)

    def training(self, material: Material, parts: Parts) -> Stage:
        """Return the fine-tuning set."""
        return Stage(finetuning_set(material, parts))
