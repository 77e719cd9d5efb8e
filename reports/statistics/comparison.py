"""Rows of a protocol against a reference row: a claim about generators, and a test beside it.

The claim is that of ``statistics/generators.py``: seeds and patients, on the number of the cell.
The tests of ``TESTS`` say something else and stand beside it: those over patients compare the
classifiers that were trained, whatever another training of a generator would give; those over runs
leave out which patients the test set holds. A family, within which Holm corrects, is one metric of
one protocol and all rows of one kind against the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike

from cerebench.core.statistics import holm
from cerebench.reports.base import ReportError
from cerebench.reports.statistics import generators
from cerebench.reports.statistics.classification import METRICS
from cerebench.reports.statistics.results import Numbers, Result
from cerebench.reports.statistics.significance import (
    StatisticsError,
    Test,
    delong,
    paired_bootstrap,
    paired_t,
    student,
    welch,
)

DRAWS = 2000  # of the patient bootstrap
CLAIM = generators.NAME  # the test that alone gives asterisks
# Name on the command line: words for a caption, and whether it is over cases.
TESTS = {
    "paired_bootstrap": (f"paired patient bootstrap, {DRAWS:,} draws", True),
    "delong": ("DeLong", True),
    "welch": ("Welch t test over runs", False),
    "student": ("Student t test over runs", False),
    "paired": ("paired t test over runs", False),
}


@dataclass(frozen=True)
class Verdict:
    """A row against the reference in one metric.

    Attributes:
        test: None where it cannot be made, for which ``reason`` is given.
        p: Of the test, corrected by Holm.
        family: Number of tests that it was corrected for.
        reason: Why there is no test.
        difference: Of the means over runs, also where nothing is tested; None without them.
    """

    test: Test | None = None
    p: float | None = None
    family: int = 0
    reason: str = ""
    difference: float | None = None


def check_test(name: str) -> None:
    """Refuse an unknown test.

    Raises:
        ReportError: Listing those that exist.
    """
    if name not in TESTS:
        raise ReportError(f"There is no test named '{name}'. Known: {', '.join(TESTS)}.")


def compare(
    family: Sequence[Result], reference: Result | None, metric: str, test: str
) -> dict[Result, Verdict]:
    """Test every row of a family against the reference.

    Args:
        family: Rows, without the reference.
        reference: Row of the reference method; None where it has none.
        metric: One of ``classification.METRICS``.
        test: ``CLAIM`` or one of ``TESTS``.
    """
    made: dict[Result, Test] = {}
    reasons: dict[Result, str] = {}
    for row in family:
        try:
            made[row] = _test(row, reference, metric, test)
        except StatisticsError as error:
            reasons[row] = str(error)
    corrected = dict(zip(made, holm([one.p for one in made.values()]), strict=True))
    verdicts = {}
    for row in family:
        apart = _apart(row, reference, metric)
        if row in made:
            verdicts[row] = Verdict(made[row], corrected[row], len(made), difference=apart)
        else:
            verdicts[row] = Verdict(reason=reasons[row], difference=apart)
    return verdicts


def _apart(row: Result, reference: Result | None, metric: str) -> float | None:
    if reference is None or not reference.runs or not row.runs:
        return None
    apart = fmean(row.values(metric)) - fmean(reference.values(metric))
    return apart if np.isfinite(apart) else None


def _test(row: Result, reference: Result | None, metric: str, test: str) -> Test:
    """Test one row against the reference.

    Raises:
        StatisticsError: If that is impossible or would say nothing.
    """
    if reference is None or not reference.runs:
        raise StatisticsError("the reference has no result")
    if not row.runs:
        raise StatisticsError("no result to compare")
    if few := generators.too_few(row):
        raise StatisticsError(few)
    if test == CLAIM:
        return generators.tested(row, reference, metric)
    if not TESTS[test][1]:
        return _over_runs(row, reference, metric, test)
    if row.ids != reference.ids:
        raise StatisticsError("its test cases are not those of the reference")
    a, b = (np.array([run.scores for run in one.runs]) for one in (row, reference))
    if test == "delong":
        if metric != "auc":
            raise StatisticsError("DeLong compares AUCs only")
        return delong(row.labels, a, b)
    return paired_bootstrap(row.labels, row.patients, a, b, partial(_mean, metric), draws=DRAWS)


def _mean(
    metric: str, labels: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None
) -> Numbers:
    """Return the mean of a metric over runs, ``scores`` (runs, N)."""
    runs = np.asarray(scores)
    return np.mean([METRICS[metric](labels, run, weights=weights) for run in runs], axis=0)


def _over_runs(row: Result, reference: Result, metric: str, test: str) -> Test:
    if test != "paired":
        over = {"welch": welch, "student": student}[test]
        return over(row.values(metric), reference.values(metric), unit="runs")
    a, b = _by_run(row, metric), _by_run(reference, metric)
    # Rows without a generator have no seed; their repeats still have the reference's splits.
    if {seed for seed, _ in a} == {None} and len({seed for seed, _ in b}) == 1:
        b |= {(None, repeat): value for (_, repeat), value in b.items()}
    common = [place for place in a if place in b]
    if not common:
        raise StatisticsError("no runs of the same seed and repeat to pair")
    return paired_t([a[place] for place in common], [b[place] for place in common], unit="runs")


def _by_run(row: Result, metric: str) -> dict[tuple[int | None, int], float]:
    """Return the value of a metric of every run by its seed and repeat."""
    return {(run.seed, run.repeat): run.values[metric] for run in row.runs}
