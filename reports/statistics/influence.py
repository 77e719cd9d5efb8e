"""How much each patient moves a classification metric that is averaged over runs.

The influence of a case is what the metric gains from it, to first order, less its share of the
mean. Summed over the cases of each patient, influences give the variance over patients: for AUC
with one case a patient exactly that of DeLong et al. 1988, for the other metrics, which are
quotients of counts, that of the delta method. Influences of two rows are of the same patients, so
that those of a difference are their differences: a case that is hard for both cancels.

Source: Hampel 1974 (influence); DeLong et al. 1988, by mid-ranks as in Sun and Xu 2014.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cerebench.reports.statistics.classification import THRESHOLD
from cerebench.reports.statistics.significance import Patients, placements

Numbers = NDArray[np.float64]


def of_cases(labels: ArrayLike, scores: ArrayLike, metric: str) -> Numbers:
    """Return the influence of each case on the mean of a metric over runs.

    Args:
        labels: (N,) of 0 and 1, both present.
        scores: (runs, N) p(label 1).
        metric: One of ``classification.METRICS``.

    Returns:
        (N,) float64; NaN where the metric of a run does not exist (precision, if no case is called
        positive).
    """
    truth, given = np.asarray(labels) == 1, np.atleast_2d(np.asarray(scores, np.float64))
    if metric == "auc":
        ones, zeros = placements(truth, given)
        influences = np.empty(given.shape)
        influences[:, truth] = (ones - ones.mean(axis=1, keepdims=True)) / truth.sum()
        influences[:, ~truth] = (zeros - zeros.mean(axis=1, keepdims=True)) / (~truth).sum()
        return influences.mean(axis=0)
    part, whole = _quotient(metric, truth, given > THRESHOLD)
    total = whole.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = part.sum(axis=1, keepdims=True) / total
        return ((part - value * whole) / total).mean(axis=0)


def _quotient(
    metric: str, truth: NDArray[np.bool_], called: NDArray[np.bool_]
) -> tuple[Numbers, Numbers]:
    """Return what each case adds to numerator and denominator of a metric, both (runs, N)."""
    hit = (truth & called).astype(np.float64)
    if metric == "accuracy":
        return (truth == called).astype(np.float64), np.ones(called.shape)
    if metric == "recall":
        return hit, np.broadcast_to(truth, called.shape).astype(np.float64)
    if metric == "precision":
        return hit, called.astype(np.float64)
    if metric == "f1":
        return 2 * hit, truth.astype(np.float64) + called
    raise ValueError(f"No influence is known for '{metric}'.")


def variance(influences: Numbers, patients: Patients) -> float:
    """Return the variance over patients that influences of cases give.

    Patients of one class, or with cases of both, are a stratum, as in the bootstrap.

    Args:
        influences: (N,) of one row, or their difference for two.
        patients: Of the cases.
    """
    of_patient = np.bincount(patients.of_case, weights=influences, minlength=patients.n)
    total = 0.0
    for stratum in patients.strata:
        n = len(stratum)
        total += n * float(np.var(of_patient[stratum], ddof=1))
    return total


def degrees(patients: Patients) -> float:
    """Return the degrees of freedom of a variance over patients."""
    return float(patients.n - len(patients.strata))


def strata(labels: Sequence[int], patients: Sequence[str]) -> Patients:
    """Return the patients of cases.

    Raises:
        StatisticsError: If a class has fewer than 2.
    """
    return Patients(np.asarray(labels), patients)
