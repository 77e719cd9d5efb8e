"""What a table says about several seeds, and which method may be called best. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from cerebench.reports.tidy import OK, Value


@dataclass(frozen=True)
class Summary:
    """One table cell in numbers.

    Attributes:
        value: Mean over the seeds that have a value.
        spread: Standard deviation over seeds (n - 1); the standard error of the value where only
            one seed was asked for; None where neither exists.
        real_value: The same statistic of the real set, or None.
        got: Seeds that have a value; ``asked``: seeds that should have one.
        better: ``lower``, ``higher`` or ``near-real``.
    """

    value: float
    spread: float | None
    real_value: float | None
    got: int
    asked: int
    better: str

    @property
    def difference(self) -> float | None:
        """Distance to the value of the real set, or None where there is none."""
        return None if self.real_value is None else abs(self.value - self.real_value)

    @property
    def loss(self) -> float | None:
        """What ranks methods, smallest best; None where the metric cannot rank this cell."""
        if self.better == "near-real":
            return self.difference
        return -self.value if self.better == "higher" else self.value


def summarise(values: Sequence[Value]) -> Summary | None:
    """Summarise the values of one row, class, metric and view, one a seed.

    Returns:
        The summary, or None if no seed has a value.
    """
    good = [value for value in values if value.status == OK and value.value is not None]
    if not good:
        return None
    numbers = [float(value.value) for value in good if value.value is not None]
    over_seeds = stdev(numbers) if len(numbers) > 1 else None
    reals = [value.real_value for value in good if value.real_value is not None]
    return Summary(
        value=fmean(numbers),
        spread=good[0].se if len(values) == 1 else over_seeds,
        real_value=fmean(reals) if reals else None,
        got=len(good),
        asked=len(values),
        better=good[0].better,
    )


def leader(summaries: Mapping[int, Summary]) -> int | None:
    """Return the row that is best and not within the uncertainty of the next, or None.

    The lead must exceed sqrt(spread1^2 + spread2^2). Nothing leads when fewer than two rows can be
    ranked, when either has no uncertainty, or when the best lacks seeds.
    """
    ranked = sorted((s.loss, row) for row, s in summaries.items() if s.loss is not None)
    if len(ranked) < 2:
        return None
    (loss, row), (next_loss, next_row) = ranked[:2]
    first, second = summaries[row], summaries[next_row]
    if first.spread is None or second.spread is None or first.got < first.asked:
        return None
    return row if next_loss - loss > math.hypot(first.spread, second.spread) else None


def runner_up(summaries: Mapping[int, Summary]) -> int | None:
    """Return the row that is second best by its value alone, or None where rows tie for it."""
    seconds = [row for row, rank in ranks(summaries).items() if rank == 2]
    return seconds[0] if len(seconds) == 1 else None


def ranks(summaries: Mapping[int, Summary]) -> dict[int, int]:
    """Rank the rows that can be ranked: 1 is best; equal losses share the better rank."""
    losses = {row: s.loss for row, s in summaries.items() if s.loss is not None}
    return {row: 1 + sum(other < loss for other in losses.values()) for row, loss in losses.items()}
