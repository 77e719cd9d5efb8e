"""What a ladder of defects says about a metric: seen, in order, blind, or inverted.

Source: ours. Real draws at the same numbers of volumes are the yardstick: a defect that no draw
reaches is seen, whatever the metric's own standard error is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cerebench.metrics.base import Better

SHARE = 2 / 3  # of the seeds that must agree

Word = Literal["ordered", "seen", "blind", "inverted"]


@dataclass(frozen=True)
class Value:
    """A metric of one set; ``real`` is the same statistic of the real one, where it has one."""

    value: float
    real: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a metric makes of a defect.

    Attributes:
        word: ``ordered``: seen, and a stronger level is worse. ``seen``: outside the range of the
            real draws on the worse side in two of three seeds, at some level and all stronger
            ones. ``inverted``: outside on the better side, or a stronger level better than a weaker
            one that is seen, by more than the standard deviation of the draws, either in two of
            three seeds. ``blind``: neither. A single seed has no second one to agree with: an
            inversion must then exceed either bound by one more standard deviation.
        seen_from: Position of the weakest level from which on it is seen; None where it is not.
    """

    word: Word
    seen_from: int | None = None


def badness(found: Value, better: Better) -> float:
    """Return a value on a scale where more is worse."""
    if better is Better.NEAR_REAL:
        assert found.real is not None
        return abs(found.value - found.real)
    return found.value if better is Better.LOWER else -found.value


def judge(
    draws: Sequence[Value], levels: Sequence[Sequence[Value]], better: Better
) -> Verdict | None:
    """Judge a metric on one defect.

    Args:
        draws: The metric of real draws, at least 2.
        levels: Of each level, weak to strong, the metric for each seed; seeds without a value are
            left out.
        better: Direction of the metric.

    Returns:
        The verdict; None where draws or a level have no value, or none to be near to.
    """
    if len(draws) < 2 or not levels or not all(levels):
        return None
    every = [*draws, *(value for level in levels for value in level)]
    if better is Better.NEAR_REAL and any(value.real is None for value in every):
        return None
    null = np.array([badness(draw, better) for draw in draws])
    low, high = _better_side(draws, better), null.max()
    bad = [np.array([badness(value, better) for value in level]) for level in levels]
    worse = [bool(np.mean(level > high) >= SHARE - 1e-9) for level in bad]
    # Of the statistic itself: distances to a real value on both sides of it spread less.
    sd = float(np.std([draw.value - (draw.real or 0.0) for draw in draws], ddof=1))
    slack = sd if max(map(len, bad)) == 1 else 0.0
    nicer = any(np.mean(level < low - slack) >= SHARE - 1e-9 for level in bad)
    means = np.array([level.mean() for level in bad])
    falls = _falls(bad, worse, sd + slack)
    seen = [k for k in range(len(worse)) if all(worse[k:])]
    if nicer or falls:
        return Verdict("inverted", seen[0] if seen else None)
    if not seen:
        return Verdict("blind")
    steps = np.diff(means[max(seen[0] - 1, 0) :])
    return Verdict("ordered" if len(steps) and bool(np.all(steps > 0)) else "seen", seen[0])


def _falls(bad: Sequence[np.ndarray], seen: Sequence[bool], least: float) -> bool:
    """Tell whether a stronger level is better than a weaker one that is seen, in enough seeds.

    All weaker levels count: a fall in many small steps is one, too. What rises and falls among real
    draws says nothing.
    """
    for stronger in range(1, len(bad)):
        for weaker in range(stronger):
            n = min(len(bad[weaker]), len(bad[stronger]))
            fall = bad[weaker][:n] - bad[stronger][:n] > least
            if seen[weaker] and np.mean(fall) >= SHARE - 1e-9:
                return True
    return False


def _better_side(draws: Sequence[Value], better: Better) -> float:
    """Return what no draw is better than.

    A statistic that the draws place on both sides of the real value cannot be better than they are.
    """
    if better is not Better.NEAR_REAL:
        return min(badness(draw, better) for draw in draws)
    apart = [draw.value - draw.real for draw in draws if draw.real is not None]
    return min(map(abs, apart)) if min(apart) > 0 or max(apart) < 0 else 0.0
