"""Controls: protocols whose answer is known, or that show what no generator adds.

``real-only`` trains from random weights on the fine-tuning set: what the first stage must beat.
``oversample`` repeats cases of the smaller class until both classes are equally large: what more
volumes of it must beat. ``shuffled-label`` pretrains as experiment 2 does, but half of the volumes
of each class carry the other label: its AUC before fine-tuning must be near .5.

Source: ours; the paper has no such rows. Settings are those of the paper's nearest protocol.
"""

from __future__ import annotations

from cerebench.metrics.downstream.base import Material, ProtocolInfo
from cerebench.metrics.downstream.config import OneStage, presets
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
    presets = presets(OneStage)

    def training(self, material: Material, parts: Parts) -> Stage:
        """Return the fine-tuning set."""
        return Stage(finetuning_set(material, parts))
