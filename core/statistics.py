"""AUC, Welch, equivalence, effect size and Holm: what metrics and reports both compute.

Plain arithmetic in float64: nothing is refused here, and a quotient without a denominator is NaN or
infinite. scipy gives the distributions of t; it is imported where it is used, because that takes
longer than planning or a report without tests should wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Numbers:
    """Area under the ROC curve: P(score of a 1 > score of a 0) + P(equal) / 2, dimensionless.

    Args:
        labels: (N,) of 0 and 1 or booleans, both present.
        scores: (N,), larger for label 1; any scale.
        weights: (..., N) how often each case counts, both classes more than 0; None: once.

    Returns:
        (...) float64 in [0, 1], a number without axes for one set of weights; NaN if a score is.

    Example:
        >>> float(auc([1, 1, 0, 0], [0.5, 0.2, 0.5, 0.1]))
        0.625
    """
    truth, given = np.asarray(labels) == 1, np.asarray(scores, np.float64)
    counts = np.ones(len(truth)) if weights is None else np.asarray(weights, np.float64)
    if np.isnan(given).any():
        return np.full(counts.shape[:-1], np.nan)
    one, zero = np.flatnonzero(truth), np.flatnonzero(~truth)
    zero = zero[np.argsort(given[zero], kind="stable")]
    counts = np.moveaxis(counts, -1, 0)  # cases first: whole rows of draws are moved and added
    below = np.zeros((zero.size + 1, *counts.shape[1:]))  # 0s up to each place in their order
    np.cumsum(counts[zero], axis=0, out=below[1:])
    ones = counts[one]
    lower, upper = (np.searchsorted(given[zero], given[one], side) for side in ("left", "right"))
    won = np.einsum("i...,i...", ones, below[lower])
    if (lower != upper).any():
        won = (won + np.einsum("i...,i...", ones, below[upper])) / 2
    return won / (ones.sum(axis=0) * below[-1])


@dataclass(frozen=True)
class Group:
    """What a comparison of means needs to know of a set of values.

    Attributes:
        mean: Their mean.
        variance: Their variance (n - 1).
        n: Their number, at least 2.
    """

    mean: float
    variance: float
    n: int

    @classmethod
    def of(cls, values: ArrayLike) -> Group:
        """Describe values, (n,)."""
        x = np.asarray(values, np.float64)
        return cls(float(np.mean(x)), float(np.var(x, ddof=1)), len(x))


def standard_error(a: Group, b: Group, *, pooled: bool = False) -> tuple[float, float]:
    """Return the standard error of mean a - mean b, and its degrees of freedom.

    Args:
        a: One group.
        b: The other.
        pooled: Whether both have one variance (Student) or each its own (Welch 1947).
    """
    df = float(a.n + b.n - 2)
    if pooled:
        return np.sqrt(_pooled(a, b) * (1 / a.n + 1 / b.n)), df
    v, w = a.variance / a.n, b.variance / b.n
    if v + w > 0:
        df = (v + w) ** 2 / (v**2 / (a.n - 1) + w**2 / (b.n - 1))
    return np.sqrt(v + w), float(df)


def two_sided_p(t: float, df: float) -> float:
    """Return the p-value of a t statistic."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def welch_p(a: Group, b: Group) -> float:
    """Return the two-sided p-value of Welch's test of equal means."""
    se, df = standard_error(a, b)
    return two_sided_p((a.mean - b.mean) / se, df)


def tost_p(a: Group, b: Group, margin: float) -> float:
    """Return the p-value of equivalence: the larger of two one-sided Welch tests.

    Args:
        a: One group.
        b: The other.
        margin: Largest difference of means that counts as none, in the unit of the values.

    Returns:
        Small where the means are shown to differ by less than the margin; about 1 where they do
        not, whether they differ or there are too few values to tell.

    Source: Schuirmann 1987.
    """
    from scipy.special import stdtr

    se, df = standard_error(a, b)
    nearer = margin - abs(a.mean - b.mean)  # distance to the nearer margin: the larger p
    return float(stdtr(df, -(nearer / se)))


def hedges_g(a: Group, b: Group) -> float:
    """Return J (mean a - mean b) / pooled sd, J = 1 - 3 / (4 df - 1), df = n_a + n_b - 2.

    Source: Hedges 1981, eq. 6e.
    """
    return float((a.mean - b.mean) / np.sqrt(_pooled(a, b)) * _correction(a, b))


def holm(ps: Sequence[float]) -> list[float]:
    """Correct the p-values of one family for their number (Holm 1979), in the order given.

    Raises:
        ValueError: If one is not a number from 0 to 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    if bad := [p for p in ps if not 0 <= p <= 1]:
        raise ValueError(f"Holm got p = {bad[0]}; expected numbers from 0 to 1.")
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, ps[index] * (len(ps) - rank)))
        corrected[index] = largest
    return corrected


def _pooled(a: Group, b: Group) -> float:
    return ((a.n - 1) * a.variance + (b.n - 1) * b.variance) / (a.n + b.n - 2)


def _correction(a: Group, b: Group) -> float:
    return 1 - 3 / (4 * (a.n + b.n - 2) - 1)
