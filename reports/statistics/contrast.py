"""A difference of two rows with the parts of its variance, and which row may be called best.

Every mark of a table rests on these two rules. The variance of a difference is a sum of independent
parts (generator seeds of either row, volumes or patients), each known with its own degrees of
freedom; those of the sum are Satterthwaite's (1946), and the difference over its root is compared
with Student's t. docs/statistics.md says how often that errs, by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cerebench.core.statistics import two_sided_p

SIGNIFICANT = 0.05
LEAST_SEEDS = 3  # generator seeds below which nothing is said of generators
CONFIDENCE = 0.95
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Part:
    """An independent part of a variance, and the degrees of freedom that it is known with."""

    variance: float
    df: float


@dataclass(frozen=True)
class Contrast:
    """A difference, or a single value, with its error.

    Attributes:
        difference: Of two rows, in units of the values.
        parts: Of its variance.
    """

    difference: float
    parts: tuple[Part, ...]

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(sum(part.variance for part in self.parts))

    @property
    def df(self) -> float:
        """Degrees of freedom after Satterthwaite; infinite where nothing varies."""
        known = sum(part.variance**2 / part.df for part in self.parts)
        return self.se**4 / known if known > 0 else math.inf

    @property
    def p(self) -> float | None:
        """Two-sided p of no difference; None where the error is 0 or no number."""
        if not (math.isfinite(self.se) and self.se > 0 and math.isfinite(self.difference)):
            return None
        return two_sided_p(self.difference / self.se, min(self.df, 1e9))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        from scipy.special import stdtrit

        half = float(stdtrit(min(self.df, 1e9), (1 + CONFIDENCE) / 2)) * self.se
        return self.difference - half, self.difference + half


def best(losses: Mapping[Key, float], p: Callable[[Key, Key], float | None]) -> Key | None:
    """Return the row that is better than every other one, or None where that is not shown.

    The row with the smallest loss must differ from each of the others with a two-sided p below
    0.05. It beats all of them only if it beats the nearest, so that no correction for their number
    is needed: of two equal rows one is called best in 5 % of tables, of more equal rows in fewer.

    Args:
        losses: Row to what is best when smallest.
        p: The two-sided p of two rows; None where they cannot be compared.
    """
    if len(losses) < 2:
        return None
    first = min(losses, key=losses.__getitem__)
    for other, loss in losses.items():
        if other == first:
            continue
        value = p(first, other)
        if value is None or value >= SIGNIFICANT or loss == losses[first]:
            return None
    return first
