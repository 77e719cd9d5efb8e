"""What a table says about several seeds, with one error for seeds and volumes. Pure functions.

Another training would give another value, and other volumes too: the error of a mean joins both. A
seed has generated volumes of its own, so that the spread over seeds holds their sampling, while the
real volumes are the same for every seed and every row. Metrics record what leaving out a group of
real volumes does (``replicates``), the groups being the same in every row of one recipe. In a mean
over seeds, and in the difference of two rows, these values are combined group by group: what the
real volumes do to both alike cancels, as patients do in ``statistics/generators.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, variance

import numpy as np
from numpy.typing import NDArray

from cerebench.core.records.rows import CONTROL_KIND
from cerebench.reports.statistics.contrast import LEAST_SEEDS, Contrast, Part, best
from cerebench.reports.values.tidy import OK, Value

Numbers = NDArray[np.float64]
USUAL_GROUPS = 10  # of the jackknife; 9 degrees of freedom where a record does not tell
NONE: Numbers = np.empty(0)
EXACT = Part(0.0, math.inf)


@dataclass(frozen=True, eq=False)
class Real:
    """What the real volumes do to a value: leave-out values, or only how large it is.

    Attributes:
        left: (groups,) the value, mean over seeds, without each group; empty where not recorded.
        variance: Of the value through the real volumes.
        same: What two rows must share for their groups to be the same.
    """

    left: Numbers
    variance: float
    same: tuple[object, ...] = ()

    @property
    def part(self) -> Part:
        """The variance as a part of that of one row."""
        return Part(self.variance, (len(self.left) or USUAL_GROUPS) - 1.0)


@dataclass(frozen=True, eq=False)
class Summary:
    """One table cell in numbers.

    Attributes:
        value: Mean over the seeds that have a value; of a p-value the largest, which is one that
            all of them are as the test says.
        real_value: The same statistic of the real set, or what new real volumes would score.
        got: Seeds that have a value; ``asked``: seeds that should have one.
        better: ``lower``, ``higher`` or ``near-real``; empty where nothing is ranked.
        kind: ``method``, ``samples`` or ``CONTROL_KIND``.
        own: Variance of the value that other generated volumes and other seeds would give; None
            where it is not known.
        real: Variance that the real volumes give the value.
        target: Variance of ``real_value``, 0 where it is a constant.
        whole: Whether the error holds volumes; without that nothing is called best.
    """

    value: float
    real_value: float | None
    got: int
    asked: int
    better: str
    kind: str = "method"
    own: Part | None = None
    real: Real = field(default_factory=lambda: Real(NONE, 0.0))
    target: Part = EXACT
    whole: bool = True

    @property
    def error(self) -> float | None:
        """Standard error of the value, seeds and volumes joined; None where it is not known."""
        return None if self.own is None else math.sqrt(self.own.variance + self.real.variance)

    @property
    def difference(self) -> float | None:
        """Distance to the value of the real set, or None where there is none."""
        return None if self.real_value is None else abs(self.value - self.real_value)

    @property
    def loss(self) -> float | None:
        """What ranks methods, smallest best; None where the metric cannot rank this cell."""
        if not self.better:
            return None
        if self.better == "near-real":
            return self.difference
        return -self.value if self.better == "higher" else self.value


def is_p(view: str) -> bool:
    """Tell whether a view of a metric is a p-value: its last word is ``p``."""
    return view.split()[-1:] == ["p"]


def summarise(values: Sequence[Value]) -> Summary | None:
    """Summarise the values of one row, class, metric and view, one a seed.

    Returns:
        The summary, or None if no seed has a value.
    """
    good = [value for value in values if value.status == OK and value.value is not None]
    if not good:
        return None
    first, seeds = good[0], len(good)
    numbers = [float(value.value) for value in good if value.value is not None]
    reals = [value.real_value for value in good if value.real_value is not None]
    counts = {"got": seeds, "asked": len(values), "kind": first.kind}
    if is_p(first.view):
        return Summary(max(numbers), None, better="", **counts)
    own, real = _errors(good, numbers)
    return Summary(
        value=fmean(numbers),
        real_value=fmean(reals) if reals else None,
        better=first.better,
        own=own,
        real=real,
        target=_target(first),
        whole=all(value.se is not None for value in good),
        **counts,
    )


def _errors(good: Sequence[Value], numbers: Sequence[float]) -> tuple[Part | None, Real]:
    """Return the variance of a mean over seeds that is its own, and that of the real volumes."""
    first, seeds = good[0], len(good)
    errors = [value.se**2 for value in good if value.se is not None]
    between = variance(numbers) if seeds > 1 else 0.0
    if len(errors) < seeds:
        alone = Part(between / seeds, seeds - 1.0) if seeds > 1 else None
        return alone, Real(NONE, 0.0)
    if seeds > 1 and not all(any(value.replicates.values()) for value in good):
        # Which part of the error the seeds share is not recorded: taken as all of it.
        return Part(between / seeds, seeds - 1.0), Real(NONE, fmean(errors))
    parts = [_of_real(value) for value in good]
    left = [replicates for replicates, _ in parts if len(replicates)]
    whole = len(left) == seeds and len({len(replicates) for replicates in left}) == 1
    mean = np.mean(left, axis=0) if whole else NONE
    same = (first.recipe_hash, first.n_real, first.n_generated)
    real = Real(mean, jackknife(mean) if whole else fmean(v for _, v in parts), same)
    sampled = fmean(max(0.0, e - v) for e, (_, v) in zip(errors, parts, strict=True))
    groups = len(first.replicates.get("generated", ())) or USUAL_GROUPS
    df = seeds - 1.0 if seeds > 1 else groups - 1.0
    # The spread over seeds holds the sampling of generated volumes; by chance it may be smaller.
    return Part(max(between, sampled) / seeds, df), real


def jackknife(left: Sequence[float] | Numbers) -> float:
    """Return the variance that leave-one-group-out values give: (G - 1) / G times their sum."""
    values = np.asarray(left, np.float64)
    return float((len(values) - 1) * np.var(values)) if len(values) > 1 else 0.0


def _finite(value: Value, side: str) -> Numbers:
    """Return the leave-out values of a set; none if one is missing."""
    left = value.replicates.get(side, ())
    if any(one is None or not math.isfinite(one) for one in left):
        return NONE
    return np.array(left, np.float64)


def _holds(value: Value) -> bool:
    """Tell whether the real leave-out values are of the value, not of the real set's own number.

    A metric near that of the real set may record those of the real set's own number (MS-SSIM). They
    are no part of the error of the value, which is then too small to hold both.
    """
    real, generated = (jackknife(_finite(value, side)) for side in ("real", "generated"))
    squared = (value.se or 0.0) ** 2
    return value.better != "near-real" or squared >= (real + generated) * (1 - 1e-6)


def _of_real(value: Value) -> tuple[Numbers, float]:
    """Return the leave-out values that the real volumes give a value, and their variance."""
    if not _holds(value):
        return NONE, 0.0
    left = _finite(value, "real")
    return left, min(jackknife(left), (value.se or 0.0) ** 2)


def _target(value: Value) -> Part:
    """Return the variance of the real set's own value.

    Where a metric recorded none, it is taken as that of the generated value at the number of real
    volumes. A metric whose own error holds the real volumes aims at a constant.
    """
    left = _finite(value, "real")
    if value.better != "near-real" or (len(left) and _holds(value)):
        return EXACT
    if len(left):
        return Part(jackknife(left), len(left) - 1.0)
    ratio = (value.n_generated or 1) / (value.n_real or 1)
    return Part((value.se or 0.0) ** 2 * ratio, USUAL_GROUPS - 1.0)


def contrasts(a: Summary, b: Summary) -> tuple[Contrast, ...]:
    """Return the differences that must all be more than 0 for row a to be better than row b.

    Of a metric near that of the real set these are two: b is further from a's value on its side,
    and further from the real value on the other. In the first the real value cancels, in the
    second it counts twice.

    Raises:
        ValueError: If an error is not known.
    """
    if a.own is None or b.own is None or not (a.whole and b.whole):
        raise ValueError("an error is not known")
    own = (a.own, b.own)
    if a.better != "near-real":
        sign = -1.0 if a.better == "higher" else 1.0
        return (Contrast(sign * (b.value - a.value), own + _shared(a.real, b.real, -1)),)
    if a.real_value is None or b.real_value is None:
        raise ValueError("there is no real value")
    side = 1.0 if b.value >= b.real_value else -1.0
    apart, around = b.value - a.value, a.value + b.value - a.real_value - b.real_value
    target = Part(4 * (a.target.variance + b.target.variance) / 2, min(a.target.df, b.target.df))
    return (
        Contrast(side * apart, own + _shared(a.real, b.real, -1)),
        Contrast(side * around, (*own, target, *_shared(a.real, b.real, 1))),
    )


def _shared(a: Real, b: Real, sign: int) -> tuple[Part, ...]:
    """Return the variance that the real volumes give b + sign * a, group by group if they can."""
    if len(a.left) and len(a.left) == len(b.left) and a.same == b.same:
        return (Part(jackknife(b.left + sign * a.left), len(a.left) - 1.0),)
    return (a.part, b.part)


def leader(summaries: Mapping[int, Summary]) -> int | None:
    """Return the row that is better than every other at 5 %, or None.

    Nothing leads where fewer than two rows can be ranked, where a row has no error, where the best
    lacks seeds, or where a method was trained with fewer than 3: what another training would give
    is then not known.

    Args:
        summaries: Row to its cell; rows that may not be called best are left out by the caller.
    """
    able = {row: s for row, s in summaries.items() if s.loss is not None}
    if any(s.kind == "method" and s.got < LEAST_SEEDS for s in able.values()):
        return None

    def p(first: int, other: int) -> float | None:
        try:
            made = contrasts(able[first], able[other])
        except ValueError:
            return None
        ps = [one.p if one.difference > 0 else None for one in made]
        return None if None in ps else max(one for one in ps if one is not None)

    best_row = best({row: s.loss for row, s in able.items() if s.loss is not None}, p)
    return None if best_row is None or able[best_row].got < able[best_row].asked else best_row


def runner_up(summaries: Mapping[int, Summary]) -> int | None:
    """Return the row that is second best by its value alone, or None where rows tie for it."""
    seconds = [row for row, rank in ranks(summaries).items() if rank == 2]
    return seconds[0] if len(seconds) == 1 else None


def ranks(summaries: Mapping[int, Summary]) -> dict[int, int]:
    """Rank the rows that can be ranked: 1 is best; equal losses share the better rank."""
    losses = {row: s.loss for row, s in summaries.items() if s.loss is not None}
    return {row: 1 + sum(other < loss for other in losses.values()) for row, loss in losses.items()}


def competing(summaries: Mapping[int, Summary], left_out: Iterable[int]) -> dict[int, Summary]:
    """Return the cells of rows that may be called best: no control, no marked row."""
    out = set(left_out)
    return {row: s for row, s in summaries.items() if row not in out and s.kind != CONTROL_KIND}
