"""What the control with shuffled labels says: is its mean AUC one that chance gives?

Each repeat trains on another shuffle, and a shuffle gives every volume either label alike. Without
a leak, AUCs of repeats therefore lie around 0.5 alike on both sides, whatever the test patients
are, and their mean within 0.5 ± t s / √n in 95 % of runs: the null interval. One shuffle alone says
nothing: over shuffles AUC has a standard deviation near 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, stdev

from cerebench.reports.formatting import number
from cerebench.reports.statistics.contrast import Contrast, Part
from cerebench.reports.statistics.results import Result
from cerebench.reports.values.downstream import SHUFFLED, ProtocolResults

CHANCE = 0.5  # AUC of a classifier that knows nothing
LEAST_SHUFFLES = 10
SHUFFLED_EVERY_REPEAT = 2  # version of the protocol from which each repeat has its own shuffle


@dataclass(frozen=True)
class Null:
    """Mean AUC of shuffled labels, and the interval that it has without a leak."""

    mean: float
    low: float
    high: float
    shuffles: int

    @property
    def leaks(self) -> bool:
        """Whether the mean lies outside."""
        return not self.low <= self.mean <= self.high


def null(block: ProtocolResults, row: Result) -> Null | str:
    """Return the null interval of a row, or why there is none."""
    aucs = row.values("auc")
    if block.version < SHUFFLED_EVERY_REPEAT:
        return "recorded with one shuffle for all repeats, which says nothing; run it again"
    if len(aucs) < LEAST_SHUFFLES:
        return f"{len(aucs)} shuffles, fewer than {LEAST_SHUFFLES}, say nothing"
    variance = stdev(aucs) ** 2 / len(aucs)
    low, high = Contrast(CHANCE, (Part(variance, len(aucs) - 1.0),)).interval
    return Null(fmean(aucs), low, high, len(aucs))


def notes(block: ProtocolResults) -> Iterator[str]:
    """Yield what the control says of each row; nothing for another protocol."""
    for row in block.results if block.name == SHUFFLED else ():
        if not row.runs:
            continue
        verdict = null(block, row)
        if isinstance(verdict, str):
            yield f"{row.label}: {verdict}."
            continue
        width = max(verdict.high - verdict.low, math.ulp(1))
        low, high = (number(end, width).partition(" ± ")[0] for end in (verdict.low, verdict.high))
        interval = f"[{low}, {high}] that chance gives ({verdict.shuffles} shuffles, 95 %)"
        mean = f"{row.label}: mean AUC before fine-tuning {verdict.mean:.3f}"
        if verdict.leaks:
            yield f"{mean} lies outside the interval {interval}: labels leak."
        else:
            yield f"{mean} lies in the interval {interval}, as it must."
