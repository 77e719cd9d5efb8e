"""How well scores tell two classes apart: AUC, F1, accuracy, precision, recall. numpy only.

``scores`` are p(label 1), as protocols record them. Every function takes how often each case
counts, so that one call evaluates thousands of bootstrap draws.

Source: Zhou and Khalvati, MIDL 2024, Tables 2, 5, 6. Their printed precision and recall fit the
printed F1 and accuracy for one positive class only, so nothing here is averaged over classes but
what ``summary`` calls macro. Which class they count as positive is not said; ours is label 1 (HGG).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cerebench.core import statistics
from cerebench.reports.base import ReportError

Numbers = NDArray[np.float64]
THRESHOLD = 0.5  # above which label 1 is predicted


class Statistic(Protocol):
    """What the patient bootstrap can resample: the functions of this module."""

    def __call__(
        self, labels: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None
    ) -> Numbers: ...


def auc(labels: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None) -> Numbers:
    """Area under the ROC curve: P(score of a 1 > score of a 0) + P(equal) / 2, dimensionless.

    Args:
        labels: (N,) of 0 and 1, both present.
        scores: (N,) finite, larger for label 1; any scale.
        weights: (..., N) how often each case counts, both classes more than 0; None: once.

    Returns:
        (...) float64 in [0, 1]; a number without axes for one set of weights.

    Raises:
        ReportError: If an input is not as described.
    """
    return statistics.auc(*checked(labels, scores, weights))


def accuracy(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: float = THRESHOLD,
    weights: ArrayLike | None = None,
) -> Numbers:
    """Share of cases on the right side of the threshold; label 1 is predicted above it.

    Args, returns and errors as in ``auc``.
    """
    hit, false, missed, passed = _confusion(labels, scores, 1, threshold, weights)
    return (hit + passed) / (hit + false + missed + passed)


def precision(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    positive: int = 1,
    threshold: float = THRESHOLD,
    weights: ArrayLike | None = None,
) -> Numbers:
    """Share of the cases called ``positive`` that are; NaN if none is called so.

    Args, returns and errors as in ``auc``; ``positive`` is the label that counts, 0 or 1.
    """
    hit, false, _, _ = _confusion(labels, scores, positive, threshold, weights)
    return _share(hit, hit + false)


def recall(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    positive: int = 1,
    threshold: float = THRESHOLD,
    weights: ArrayLike | None = None,
) -> Numbers:
    """Share of the ``positive`` cases that are called so. Arguments as in ``precision``."""
    hit, _, missed, _ = _confusion(labels, scores, positive, threshold, weights)
    return _share(hit, hit + missed)


def f1(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    positive: int = 1,
    threshold: float = THRESHOLD,
    weights: ArrayLike | None = None,
) -> Numbers:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN).

    Arguments as in ``precision``.
    """
    hit, false, missed, _ = _confusion(labels, scores, positive, threshold, weights)
    return _share(2 * hit, 2 * hit + false + missed)


METRICS: dict[str, Statistic] = {
    "auc": auc,
    "f1": f1,
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
}


def summary(labels: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """Return every metric of ``METRICS`` for label 1 as positive, and what the papers leave open.

    ``f1-negative``, ``precision-negative`` and ``recall-negative`` take label 0 as positive;
    ``f1-macro``, ``precision-macro`` and ``recall-macro`` are means of both.

    Raises:
        ReportError: As in ``auc``.
    """
    values = {name: float(metric(labels, scores)) for name, metric in METRICS.items()}
    for name, metric in (("f1", f1), ("precision", precision), ("recall", recall)):
        values[f"{name}-negative"] = float(metric(labels, scores, positive=0))
        values[f"{name}-macro"] = (values[name] + values[f"{name}-negative"]) / 2
    return values


def _confusion(
    labels: ArrayLike,
    scores: ArrayLike,
    positive: int,
    threshold: float,
    weights: ArrayLike | None,
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Count true positives, false positives, false negatives and true negatives."""
    truth, given, counts = checked(labels, scores, weights)
    called = given > threshold
    if positive == 0:
        truth, called = ~truth, ~called
    groups = np.stack([truth & called, ~truth & called, truth & ~called, ~truth & ~called])
    hit, false, missed, passed = np.moveaxis(counts @ groups.T.astype(np.float64), -1, 0)
    return hit, false, missed, passed


def _share(part: Numbers, whole: Numbers) -> Numbers:
    """Return a quotient, NaN where there is nothing to be a share of."""
    return np.divide(part, whole, out=np.full_like(np.asarray(part), np.nan), where=whole > 0)


def checked(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> tuple[NDArray[np.bool_], Numbers, Numbers]:
    """Return which cases have label 1, their scores, and how often each counts.

    Raises:
        ReportError: If there is not one label and one finite score a case, or a class is missing.
    """
    truth, given = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != given.shape:
        raise ReportError(
            f"Labels of shape {truth.shape} and scores of shape {given.shape}; expected one label "
            "and one score a case."
        )
    if set(np.unique(truth)) != {0, 1}:
        raise ReportError(
            f"Labels are {sorted(set(truth.tolist()))}; expected 0 and 1, both present."
        )
    if not np.isfinite(given).all():
        raise ReportError(f"{np.sum(~np.isfinite(given))} scores are not finite numbers.")
    counts = np.ones(len(truth)) if weights is None else np.asarray(weights, np.float64)
    return truth == 1, given, counts
