"""Do two generators differ in what a classifier gains from them? Of the very number in the cell.

A cell prints the mean of a metric over runs. Another training of the generator would give another
mean, and other test patients too: the error of a mean joins both,
``se² = variance over patients + s² / S``, with s the standard deviation (n - 1) over the means of
the S generator seeds. In a difference of two rows the patients are the same, so that only what
they do differently to both counts. A row that needs no generator has repeats in the place of seeds.

The variance over patients holds the part of the runs that is noise of single cases, which s² holds
as well: the sum errs on the safe side. Its degrees of freedom are Satterthwaite's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cerebench.reports.statistics import influence
from cerebench.reports.statistics.contrast import LEAST_SEEDS, Contrast, Part, best
from cerebench.reports.statistics.results import Result
from cerebench.reports.statistics.significance import NOTHING, Patients, StatisticsError, Test

Numbers = NDArray[np.float64]
NAME = "generators"
THRESHOLDED = ("f1", "accuracy", "precision", "recall")
LEAST_CASES = 20  # test cases of each class below which nothing is tested


@dataclass(frozen=True, eq=False)
class Estimate:
    """The mean of a metric over the runs of a row, with what its error is made of.

    Attributes:
        value: The mean; NaN where the metric of a run does not exist.
        influences: (cases,) of the mean.
        patients: Of the cases.
        units: Mean of each generator seed, or of each repeat where there is no generator.
        unit: ``generator seeds`` or ``repeats``.
        repeats: Mean of each repeat over seeds.
    """

    value: float
    influences: Numbers
    patients: Patients
    units: Numbers
    unit: str
    repeats: Numbers

    @property
    def between(self) -> Part | None:
        """Variance of the mean over seeds; None for one seed, which says nothing of others."""
        return _between(self.units)

    @property
    def sampling(self) -> Part:
        """Variance of the mean over test patients."""
        value = influence.variance(self.influences, self.patients)
        return Part(value, influence.degrees(self.patients))

    @property
    def error(self) -> Contrast:
        """The value with its error over patients and seeds, or repeats where there is one seed."""
        parts = (self.sampling, self.between or _between(self.repeats))
        return Contrast(self.value, tuple(part for part in parts if part is not None))


def _between(units: Numbers) -> Part | None:
    n = len(units)
    return Part(float(np.var(units, ddof=1)) / n, n - 1.0) if n > 1 else None


@lru_cache(maxsize=1024)  # rows of a report, each in every metric, are asked again and again
def estimate(row: Result, metric: str) -> Estimate:
    """Return the mean of a metric over the runs of a row; there must be some.

    Raises:
        StatisticsError: If a class has fewer than 2 patients.
    """
    values = np.array(row.values(metric), np.float64)
    seeds = [run.seed for run in row.runs]
    generated = any(seed is not None for seed in seeds)
    repeats = [run.repeat for run in row.runs]

    def means(names: list[Any]) -> Numbers:
        known = dict.fromkeys(names)
        return np.array([values[[other == name for other in names]].mean() for name in known])

    return Estimate(
        value=float(values.mean()),
        influences=influence.of_cases(row.labels, [run.scores for run in row.runs], metric),
        patients=influence.strata(row.labels, row.patients),
        units=means(seeds if generated else repeats),
        unit="generator seeds" if generated else "repeats",
        repeats=means(repeats),
    )


def contrast(a: Result, b: Result, metric: str) -> Contrast:
    """Return the difference of two rows, a - b, with its error over seeds and patients.

    Raises:
        StatisticsError: If that is impossible or would say nothing: other test cases, too few of
            them, fewer than 3 seeds, or a score that does not exist or comes from a classifier
            that predicts one class.
    """
    for row in (a, b):
        if why := unfit(row, metric):
            raise StatisticsError(why)
    if a.ids != b.ids:
        raise StatisticsError("its test cases are not those of the reference")
    one, two = estimate(a, metric), estimate(b, metric)
    shared = influence.variance(one.influences - two.influences, one.patients)
    parts = [Part(shared, influence.degrees(one.patients)), one.between, two.between]
    return Contrast(one.value - two.value, tuple(part for part in parts if part is not None))


def unfit(row: Result, metric: str) -> str:
    """Say why nothing can be claimed of a row in a metric; empty if something can."""
    if not row.runs:
        return "no result to compare"
    if few := too_few(row):
        return few
    if metric in THRESHOLDED and (constant := row.one_class):
        return f"no test: {constant}"
    estimated = estimate(row, metric)
    if not np.isfinite(estimated.value):
        return f"no test: the {metric} of a run does not exist"
    if (count := len(estimated.units)) < LEAST_SEEDS:
        unit = estimated.unit if count > 1 else estimated.unit.removesuffix("s")
        return (
            f"no asterisk: {count} {unit} of {row.label}; a claim about generators needs "
            f"{LEAST_SEEDS}"
        )
    return ""


def too_few(row: Result) -> str:
    """Say which class has too few test cases for any test; empty if none."""
    least = min(row.of_class())
    return f"no test: {least} test cases of a class, fewer than {LEAST_CASES}" * (
        least < LEAST_CASES
    )


def tested(row: Result, reference: Result, metric: str) -> Test:
    """Test a row against the reference, two-sided; ``n`` is the smaller number of seeds.

    Raises:
        StatisticsError: As in ``contrast``, or if neither seeds nor patients vary.
    """
    difference = contrast(row, reference, metric)
    n = min(len(estimate(one, metric).units) for one in (row, reference))
    name, unit = "t of generators over seeds and patients", "seeds"
    if difference.se <= NOTHING:
        if abs(difference.difference) > NOTHING:
            raise StatisticsError(
                f"no test: neither seeds nor patients vary, though the rows differ by "
                f"{difference.difference:g}"
            )
        return Test(name, 1.0, 0.0, 0.0, 0.0, 0.0, n, unit)
    low, high = difference.interval
    p = difference.p
    assert p is not None  # its error is more than 0
    statistic = difference.difference / difference.se
    return Test(name, p, statistic, difference.difference, low, high, n, unit)


def leader(rows: dict[Result, float], metric: str) -> Result | None:
    """Return the row that is better than every other at 5 %, or None.

    Args:
        rows: Row that competes to its mean over runs.
        metric: One of ``classification.METRICS``; higher is better.
    """

    def p(first: Result, other: Result) -> float | None:
        try:
            return tested(first, other, metric).p
        except StatisticsError:
            return None

    best_row = best({row: -value for row, value in rows.items()}, p)
    return None if best_row is None or best_row.missing else best_row


def error(result: Result, metric: str) -> Contrast | None:
    """Return the mean of a metric with its error; None where nothing varies or patients lack."""
    try:
        value = estimate(result, metric).error
    except StatisticsError:
        return None
    return value if value.se > NOTHING else None
