"""Who is better downstream, and how sure that is: rows of a protocol against a reference row.

A claim rests on test patients: both rows' predictions, averaged over runs, on the same draws of
patients. Runs share one test set, so a test over a few of them leaves out the larger part of the
uncertainty; it stands beside and earns no asterisk. A family, within which Holm corrects, is one
metric of one protocol and all rows of one kind against the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cerebench.core.statistics import holm
from cerebench.reports.base import ReportError
from cerebench.reports.classification import METRICS
from cerebench.reports.downstream import Numbers, Result
from cerebench.reports.statistics import (
    Patients,
    StatisticsError,
    Test,
    delong,
    of_draws,
    paired_t,
    student,
    welch,
)

DRAWS = 10_000  # of the patient bootstrap behind a claim
LEAST_CASES = 20  # test cases of each class below which nothing is tested
SIGNIFICANT = 0.05
# Name on the command line: words for a caption, and whether it is over cases.
TESTS = {
    "paired_bootstrap": (f"paired patient bootstrap, {DRAWS:,} draws", True),
    "delong": ("DeLong", True),
    "welch": ("Welch t test over runs", False),
    "student": ("Student t test over runs", False),
    "paired": ("paired t test over runs", False),
}
Drawn = Mapping[Result, Mapping[str, Numbers]]


@dataclass(frozen=True)
class Verdict:
    """A row against the reference in one metric.

    Attributes:
        test: None where it cannot be made, for which ``reason`` is given.
        p: Of the test, corrected by Holm.
        family: Number of tests that it was corrected for.
    """

    test: Test | None = None
    p: float | None = None
    family: int = 0
    reason: str = ""


def check_test(name: str) -> None:
    """Refuse an unknown test.

    Raises:
        ReportError: Listing those that exist.
    """
    if name not in TESTS:
        raise ReportError(f"There is no test named '{name}'. Known: {', '.join(TESTS)}.")


def resample(results: Sequence[Result]) -> dict[Result, dict[str, Numbers]]:
    """Evaluate rows on common draws of test patients.

    Returns:
        Row to metric to (DRAWS,) values of its prediction averaged over runs; rows without runs,
        or with too few patients to draw from, are left out.
    """
    sets: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if result.runs:
            sets.setdefault(result.ids, []).append(result)
    drawn: dict[Result, dict[str, Numbers]] = {}
    for rows in sets.values():
        labels = np.asarray(rows[0].labels)
        try:
            patients = Patients(labels, rows[0].patients)
        except StatisticsError:
            continue
        parts = {row: {metric: [] for metric in METRICS} for row in rows}
        for weights in patients.draw(DRAWS, seed=0):
            for row, metrics in parts.items():
                for metric, values in metrics.items():
                    values.append(METRICS[metric](labels, row.scores, weights=weights))
        for row, metrics in parts.items():
            drawn[row] = {metric: np.concatenate(values) for metric, values in metrics.items()}
    return drawn


def compare(
    family: Sequence[Result], reference: Result | None, metric: str, test: str, drawn: Drawn
) -> dict[Result, Verdict]:
    """Test every row of a family against the reference.

    Args:
        family: Rows, without the reference.
        reference: Row of the reference method; None where it has none.
        metric: One of ``classification.METRICS``.
        test: One of ``TESTS``.
        drawn: As from ``resample``, of these rows.
    """
    made: dict[Result, Test] = {}
    reasons: dict[Result, str] = {}
    for row in family:
        try:
            made[row] = _test(row, reference, metric, test, drawn)
        except StatisticsError as error:
            reasons[row] = str(error)
    corrected = dict(zip(made, holm([one.p for one in made.values()]), strict=True))
    return {
        row: Verdict(made[row], corrected[row], len(made))
        if row in made
        else Verdict(reason=reasons[row])
        for row in family
    }


def _test(row: Result, reference: Result | None, metric: str, test: str, drawn: Drawn) -> Test:
    """Test one row against the reference.

    Raises:
        StatisticsError: If that is impossible or would say nothing.
    """
    if reference is None or not reference.runs:
        raise StatisticsError("the reference has no result")
    if not row.runs:
        raise StatisticsError("no result to compare")
    if few := too_few(row):
        raise StatisticsError(few)
    if not TESTS[test][1]:
        return _over_runs(row, reference, metric, test)
    if row.ids != reference.ids:
        raise StatisticsError("its test cases are not those of the reference")
    if test == "delong":
        if metric != "auc":
            raise StatisticsError("DeLong compares AUCs only")
        return delong(row.labels, row.scores, reference.scores)
    of = METRICS[metric]
    observed = float(of(row.labels, row.scores) - of(row.labels, reference.scores))
    differences = drawn[row][metric] - drawn[reference][metric]
    return of_draws(differences, observed, len(set(row.patients)))


def too_few(row: Result) -> str:
    """Say which class has too few test cases for any test; empty if none."""
    least = min(row.of_class())
    return f"no test: {least} test cases of a class, fewer than {LEAST_CASES}" * (
        least < LEAST_CASES
    )


def _over_runs(row: Result, reference: Result, metric: str, test: str) -> Test:
    if test != "paired":
        over = {"welch": welch, "student": student}[test]
        return over(row.values(metric), reference.values(metric), unit="runs")
    a, b = ({(r.seed, r.repeat): r.values[metric] for r in one.runs} for one in (row, reference))
    # Rows without a generator have no seed; their repeats still have the reference's splits.
    if {seed for seed, _ in a} == {None} and len({seed for seed, _ in b}) == 1:
        b = {(None, repeat): value for (_, repeat), value in b.items()}
    common = [place for place in a if place in b]
    if not common:
        raise StatisticsError("no runs of the same seed and repeat to pair")
    return paired_t([a[place] for place in common], [b[place] for place in common], unit="runs")


def leader(
    results: Sequence[Result], metric: str, drawn: Drawn
) -> tuple[Result | None, Result | None]:
    """Return the best row, if it is not tied with the next, and the second best.

    Best by the mean over runs. Tied: the paired patient bootstrap of the best against the next,
    corrected by Holm over all others, has p >= 0.05. A row that lacks seeds does not lead.
    """
    ranked = sorted(
        (row for row in results if row.runs), key=lambda row: -fmean(row.values(metric))
    )
    if len(ranked) < 2:
        return None, None
    best, second = ranked[:2]
    verdict = compare(ranked[1:], best, metric, "paired_bootstrap", drawn)[second]
    untied = (
        not best.missing
        and verdict.test is not None
        and verdict.p is not None
        and verdict.p < SIGNIFICANT
        and verdict.test.difference < 0
    )
    return (best if untied else None), second
