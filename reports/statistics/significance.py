"""Significance tests and intervals on the values and predictions in records.

Runs of a training are compared by t tests, cases of a common test set by ``paired_bootstrap`` or
``delong``. Neither alone says anything of generators: the spread between runs leaves out which
patients the test set holds, a test over patients what another training would give. A claim joins
both and is made in ``cerebench.reports.statistics.generators``.

Every test is of ``a`` against ``b``, two-sided; differences are a - b; standard deviations divide
by n - 1. The arithmetic that metrics use too is in ``cerebench.core.statistics``;
here it gets its checks, its interval and its n. scipy does the distributions and Friedman; the rest
is written from the papers named at each function. scipy.stats takes half a second to import, so
that it is left to the few functions that need more of it than the distributions of scipy.special.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from cerebench.core import statistics as core
from cerebench.core.statistics import Group
from cerebench.reports.base import ReportError
from cerebench.reports.statistics.classification import Statistic, checked

Numbers = NDArray[np.float64]
CONFIDENCE = 0.95
LEAST_BLOCKS = 5  # blocks under a critical difference; Demsar 2006, sec. 3.2.2, wants more still
DRAWS_AT_ONCE = 500  # bootstrap draws held in memory together
NOTHING = 1e-12  # spread, relative to the values, that only rounding has made


class StatisticsError(ReportError):
    """A test cannot be made of these values; the message says why."""


@dataclass(frozen=True)
class Test:
    """A p-value with everything that it must not be printed without.

    Attributes:
        name: Of the test.
        p: In [0, 1], two-sided, not corrected.
        statistic: t, z or chi squared; None where the test has none.
        difference: Estimate of a - b, in units of the values.
        low: Lower end of the 95 % interval of the difference; None: no interval.
        high: Upper end.
        n: Independent units behind p: pairs, or the size of the smaller group.
        unit: What is counted, in the plural: ``runs``, ``patients``, ``cases``.
    """

    __test__: ClassVar[bool] = False  # not a test of pytest

    name: str
    p: float
    statistic: float | None
    difference: float
    low: float | None
    high: float | None
    n: int
    unit: str

    def __post_init__(self) -> None:
        """Refuse a p-value that nobody could judge.

        Raises:
            StatisticsError: If n, unit or p is none.
        """
        if self.n < 1 or not self.unit.strip():
            raise StatisticsError(
                f"{self.name}: n = {self.n}, unit {self.unit!r}; a p-value needs a number of "
                "independent units and what they are."
            )
        if not 0 <= self.p <= 1:
            raise StatisticsError(f"{self.name}: p = {self.p}; expected a number from 0 to 1.")


# Tests over runs ---------------------------------------------------------------------------------


def welch(a: ArrayLike, b: ArrayLike, *, unit: str) -> Test:
    """Compare two independent groups, each with its own variance (Welch 1947).

    Args:
        a: (N,) values, N >= 2.
        b: (M,) values, M >= 2.
        unit: What n counts, for example ``runs``.

    Raises:
        StatisticsError: As in ``from_summary``.
    """
    return from_summary(*_described(a), *_described(b), unit=unit)


def student(a: ArrayLike, b: ArrayLike, *, unit: str) -> Test:
    """Compare two independent groups of one variance, to reproduce papers; else as ``welch``."""
    return from_summary(*_described(a), *_described(b), equal_var=True, unit=unit)


def from_summary(
    mean1: float,
    sd1: float,
    n1: int,
    mean2: float,
    sd2: float,
    n2: int,
    equal_var: bool = False,
    *,
    unit: str,
) -> Test:
    """Compare two groups of which only mean, standard deviation and size are known.

    Args:
        mean1: Mean of the first group; ``sd1`` its standard deviation, ``n1`` >= 2 its size.
        sd1: Standard deviation (n - 1) of the first group, >= 0.
        n1: Size of the first group.
        mean2: Mean of the second group.
        sd2: Its standard deviation.
        n2: Its size.
        equal_var: Whether both groups have one variance (Student) or each its own (Welch).
        unit: What n counts.

    Raises:
        StatisticsError: If a group has fewer than 2 values, or neither has any spread while the
            means differ.
    """
    name = "Student t" if equal_var else "Welch t"
    se, df = _error(Group(mean1, sd1**2, n1), Group(mean2, sd2**2, n2), equal_var=equal_var)
    size = max(abs(mean1), abs(mean2))
    return _t_test(name, mean1 - mean2, se, df, min(n1, n2), unit, size)


def paired_t(a: ArrayLike, b: ArrayLike, *, unit: str) -> Test:
    """Compare two methods by the differences of pairs (same split, same seed).

    Args:
        a: (N,) values, N >= 2.
        b: (N,) values of the same pairs in the same order.
        unit: What n counts, for example ``runs``.

    Raises:
        StatisticsError: If the values do not pair, are fewer than 2, or differ by a constant that
            is not 0.
    """
    a, b = _finite(a), _finite(b)
    if a.shape != b.shape:
        raise StatisticsError(f"paired t got {a.size} and {b.size} values; expected pairs.")
    if a.size < 2:
        raise StatisticsError(f"paired t needs at least 2 pairs of {unit}, got {a.size}.")
    differences, size = a - b, float(np.abs([a, b]).max(initial=0))
    se = float(differences.std(ddof=1)) * math.sqrt(1 / a.size)
    return _t_test("paired t", float(differences.mean()), se, a.size - 1.0, a.size, unit, size)


def _described(values: ArrayLike) -> tuple[float, float, int]:
    """Return mean, standard deviation (n - 1; 0 for one value) and number."""
    a = _finite(values)
    return float(a.mean()), float(a.std(ddof=1)) if a.size > 1 else 0.0, a.size


def _finite(values: ArrayLike) -> Numbers:
    a = np.asarray(values, np.float64)
    if a.ndim != 1 or not a.size or not np.isfinite(a).all():
        raise StatisticsError(f"Got {a.tolist()}; expected a list of finite numbers.")
    return a


def _error(one: Group, two: Group, *, equal_var: bool) -> tuple[float, float]:
    """Return the standard error of a difference of means, and its degrees of freedom."""
    if min(one.n, two.n) < 2:
        raise StatisticsError(
            f"A t test needs at least 2 values in each group, got {one.n} and {two.n}. "
            "Run more seeds: bench run --seeds N."
        )
    se, df = core.standard_error(one, two, pooled=equal_var)
    return float(se), df


def _t_test(
    name: str, difference: float, se: float, df: float, n: int, unit: str, size: float
) -> Test:
    """Return the two-sided test of a difference; ``size`` is that of the values compared."""
    if se <= NOTHING * size:
        if abs(difference) > NOTHING * size:
            raise StatisticsError(
                f"{name} of {n} {unit} without any spread says nothing, though the means differ "
                f"by {difference:g}."
            )
        return Test(name, 1.0, 0.0, 0.0, 0.0, 0.0, n, unit)
    half = float(special.stdtrit(df, (1 + CONFIDENCE) / 2)) * se
    return Test(
        name=name,
        p=core.two_sided_p(difference / se, df),
        statistic=difference / se,
        difference=difference,
        low=difference - half,
        high=difference + half,
        n=n,
        unit=unit,
    )


# Tests over cases of a common test set ---------------------------------------------------------


def paired_bootstrap(
    labels: ArrayLike,
    patients: Sequence[str],
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    statistic: Statistic,
    draws: int = 10_000,
    seed: int = 0,
) -> Test:
    """Compare two methods on common patients by drawing patients again and again.

    A draw takes as many patients as there are of each class, with replacement within the class,
    with all cases of theirs and the scores of both methods. The interval holds the middle 95 % of
    the differences; p = 2 min(share at most 0, share at least 0), the observed sample counted as
    one more draw, so that p < 0.05 where the interval leaves out 0.

    Args:
        labels: (N,) of 0 and 1.
        patients: N patients; one may have several cases.
        scores_a: (N,) p(label 1) by the first method; also (runs, N) where the statistic takes it.
        scores_b: By the second.
        statistic: ``auc`` or another function of ``cerebench.reports.statistics.classification``.
        draws: Number of draws.
        seed: Of the draws.

    Raises:
        StatisticsError: If the inputs differ in length, a class has fewer than 2 patients, or the
            statistic does not exist in the sample or a draw.
        ReportError: As in ``statistic``.

    Source: Efron and Tibshirani 1993, ch. 13 and 15 (percentile interval, stratified draws).
    """
    labels, a, b = np.asarray(labels), np.asarray(scores_a), np.asarray(scores_b)
    people = Patients(labels, patients)
    differences = np.concatenate(
        [
            statistic(labels, a, weights=w) - statistic(labels, b, weights=w)
            for w in people.draw_weights(draws, seed)
        ]
    )
    observed = float(statistic(labels, a) - statistic(labels, b))
    if not (np.isfinite(differences).all() and np.isfinite(observed)):
        raise StatisticsError("The score does not exist in every draw of patients.")
    low, high = middle(differences)
    tail = 1 + min(np.sum(differences <= 0), np.sum(differences >= 0))
    return Test(
        name="paired patient bootstrap",
        p=min(1.0, 2 * float(tail) / (differences.size + 1)),
        statistic=None,
        difference=observed,
        low=low,
        high=high,
        n=people.n,
        unit="patients",
    )


def bootstrap_interval(
    labels: ArrayLike,
    patients: Sequence[str],
    scores: ArrayLike,
    statistic: Statistic,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % interval of one method's statistic over patients.

    Draws, arguments and errors as in ``paired_bootstrap``.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    drawn = Patients(labels, patients).draw_weights(draws, seed)
    return middle(np.concatenate([statistic(labels, scores, weights=w) for w in drawn]))


def delong(labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike) -> Test:
    """Compare two correlated AUCs on common cases, which must be independent of each other.

    Args:
        labels: (N,) of 0 and 1, at least 2 of each.
        scores_a: (N,) p(label 1) by the first method, or (runs, N): its AUC is the mean over runs.
        scores_b: (N,) or (runs, N) by the second.

    Raises:
        StatisticsError: If a class has fewer than 2 cases, or no case varies while the AUCs differ.
        ReportError: As in ``cerebench.reports.statistics.classification.auc``.

    Source: DeLong et al. 1988, by mid-ranks as in Sun and Xu 2014.
    """
    truth = np.asarray(labels) == 1
    for scores in (*np.atleast_2d(scores_a), *np.atleast_2d(scores_b)):
        checked(labels, scores)
    m, n = int(truth.sum()), int((~truth).sum())
    if min(m, n) < 2:
        raise StatisticsError(f"DeLong needs at least 2 cases of each class, got {n} and {m}.")
    a, b = (
        [part.mean(axis=0) for part in placements(truth, np.atleast_2d(np.asarray(s, np.float64)))]
        for s in (scores_a, scores_b)
    )
    ones, zeros = a[0] - b[0], a[1] - b[1]
    difference = float(ones.mean())
    se = math.sqrt(np.var(ones, ddof=1) / m + np.var(zeros, ddof=1) / n)
    if se <= NOTHING:
        if abs(difference) > NOTHING:
            raise StatisticsError(
                f"DeLong cannot judge AUCs that differ by {difference:g} alike in every case."
            )
        return Test("DeLong", 1.0, 0.0, 0.0, 0.0, 0.0, m + n, "cases")
    half = float(special.ndtri((1 + CONFIDENCE) / 2)) * se
    return Test(
        name="DeLong",
        p=float(2 * special.ndtr(-abs(difference) / se)),
        statistic=difference / se,
        difference=difference,
        low=difference - half,
        high=difference + half,
        n=m + n,
        unit="cases",
    )


def placements(truth: NDArray[np.bool_], scores: Numbers) -> tuple[Numbers, Numbers]:
    """Return which share of the other class each case is on the right side of, ties a half.

    Args:
        truth: (N,) whether a case has label 1; both occur.
        scores: (runs, N).

    Returns:
        Of the cases with label 1, (runs, ones), and with label 0, (runs, zeros); the mean of either
        is the AUC.
    """
    ones, zeros = scores[:, truth], scores[:, ~truth]
    shares = []
    for own, other in ((ones, np.sort(zeros, axis=1)), (-zeros, np.sort(-ones, axis=1))):
        share = np.empty(own.shape)
        for run, (mine, theirs) in enumerate(zip(own, other, strict=True)):
            below = np.searchsorted(theirs, mine, "left") + np.searchsorted(theirs, mine, "right")
            share[run] = below / (2 * len(theirs))
        shares.append(share)
    return shares[0], shares[1]


# Many tests, many methods ----------------------------------------------------------------------


def friedman(table: ArrayLike, *, unit: str) -> tuple[Test, tuple[float, ...]]:
    """Test whether k methods rank alike over independent blocks (Friedman 1937; ties corrected).

    Args:
        table: (blocks, k) values, higher better, k >= 3; blocks are independent data sets or
            tasks. Views, classes and seeds of one data set are not.
        unit: What the blocks are, for example ``data sets``.

    Returns:
        The test, its difference being the widest gap of mean ranks, and the k mean ranks; 1 is
        best, ties share the mean.

    Raises:
        StatisticsError: If there are fewer than 2 blocks or 3 methods, or a value is missing.
    """
    from scipy import stats

    values = np.asarray(table, np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 3:
        raise StatisticsError(
            f"Friedman got a table of shape {values.shape}; expected at least 2 {unit} (rows) and "
            "3 methods (columns)."
        )
    if not np.isfinite(values).all():
        raise StatisticsError("Friedman needs every method in every block; a value is missing.")
    ranks = stats.rankdata(-values, axis=1).mean(axis=0)
    tied = np.ptp(values, axis=1).max() == 0
    chi2, p = (0.0, 1.0) if tied else stats.friedmanchisquare(*values.T)
    gap = float(np.ptp(ranks))
    test = Test("Friedman", float(p), float(chi2), gap, None, None, len(values), unit)
    return test, tuple(map(float, ranks))


def critical_difference(k: int, n: int) -> float:
    """Return how far two mean ranks must lie apart to differ at 5 % (Nemenyi, in Demsar 2006).

    CD = q sqrt(k (k + 1) / (6 n)), q = quantile of the studentised range / sqrt(2).

    Args:
        k: Methods, >= 2.
        n: Independent blocks.

    Raises:
        StatisticsError: If there are fewer than 5 blocks, where the approximation does not hold.
    """
    from scipy import stats

    if k < 2 or n < LEAST_BLOCKS:
        raise StatisticsError(
            f"No critical difference of {k} methods over {n} blocks; expected at least 2 methods "
            f"and {LEAST_BLOCKS} independent blocks. Show mean ranks without it."
        )
    q = float(stats.studentized_range.ppf(CONFIDENCE, k, np.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * n))


class Patients:
    """How often each case counts in draws of patients, stratified by class.

    Patients with cases of both classes are a stratum of their own.
    """

    def __init__(self, labels: NDArray[np.int64], patients: Sequence[str]) -> None:
        if labels.shape != (len(patients),):
            raise StatisticsError(f"Got {labels.size} labels and {len(patients)} patients.")
        _, self.of_case = np.unique(np.asarray(patients), return_inverse=True)
        self.n = int(self.of_case.max(initial=-1)) + 1
        zeros, ones = (np.bincount(self.of_case[labels == c], minlength=self.n) for c in (0, 1))
        kinds = (zeros > 0) + 2 * (ones > 0)
        self.strata = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
        if short := [len(stratum) for stratum in self.strata if len(stratum) < 2]:
            raise StatisticsError(
                f"A bootstrap over patients needs at least 2 of each class, got {short[0]}; those "
                "with cases of both classes are a class of their own."
            )

    def draw_weights(self, draws: int, seed: int) -> Iterator[Numbers]:
        """Yield arrays (at most DRAWS_AT_ONCE, N) of counts until there are ``draws`` rows.

        The counts of one case over all draws lie together in memory, as ``auc`` reads them.
        """
        rng = np.random.default_rng(seed)
        for start in range(0, draws, DRAWS_AT_ONCE):
            rows = min(DRAWS_AT_ONCE, draws - start)
            counts = np.zeros((self.n, rows))
            for stratum in self.strata:
                k = len(stratum)
                drawn = rows * rng.integers(k, size=(rows, k)) + np.arange(rows)[:, None]
                often = np.bincount(drawn.ravel(), minlength=rows * k).reshape(k, rows)
                counts[stratum] = often
            yield counts[self.of_case].T


def middle(values: Numbers) -> tuple[float, float]:
    """Return the ends of the middle 95 % of draws."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
