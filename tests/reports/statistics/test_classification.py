import numpy as np
import pytest

from cerebench.reports.base import ReportError
from cerebench.reports.statistics.classification import (
    METRICS,
    accuracy,
    auc,
    f1,
    precision,
    recall,
    summary,
)

LABELS = [1, 1, 0, 1, 0, 1, 0, 0]
SCORES = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2]


def cases(seed, n=60):
    """Labels and scores with ties, also across classes and on the threshold."""
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, rng.integers(2, size=n - 2)]
    return labels, np.round(np.clip(0.5 + 0.2 * (labels - 0.5) + 0.2 * rng.normal(size=n), 0, 1), 1)


def test_the_vector_of_the_specification():
    expected = {"auc": 0.8125, "f1": 2 / 3, "accuracy": 0.625, "precision": 0.6, "recall": 0.75}
    found = summary(LABELS, SCORES)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert list(METRICS) == list(expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_equal_those_of_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    oracle = pytest.importorskip("torchmetrics.functional.classification")
    labels, scores = cases(seed)
    given = torch.tensor(scores), torch.tensor(labels)
    other = torch.tensor(scores <= 0.5).int(), 1 - given[1]  # a score on the threshold is label 0
    pairs = [
        (accuracy(labels, scores), oracle.binary_accuracy(*given)),
        (precision(labels, scores), oracle.binary_precision(*given)),
        (recall(labels, scores), oracle.binary_recall(*given)),
        (f1(labels, scores), oracle.binary_f1_score(*given)),
        (auc(labels, scores), oracle.binary_auroc(*given)),
        (f1(labels, scores, threshold=0.65), oracle.binary_f1_score(*given, threshold=0.65)),
        (f1(labels, scores, positive=0), oracle.binary_f1_score(*other)),
    ]
    for ours, theirs in pairs:
        assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_weight_is_the_number_of_times_that_a_case_is_there(metric):
    labels, scores = cases(7)
    counts = np.random.default_rng(8).integers(4, size=(3, len(labels)))
    weighted = metric(labels, scores, weights=counts)
    assert weighted.shape == (3,)
    for value, row in zip(weighted, counts, strict=True):
        repeated = metric(np.repeat(labels, row), np.repeat(scores, row))
        assert value == pytest.approx(float(repeated), abs=1e-12)


def test_auc_is_the_share_of_pairs_in_order_with_ties_counted_half():
    labels, scores = cases(3)
    ones, zeros = scores[labels == 1][:, None], scores[labels == 0][None]
    expected = np.mean((ones > zeros) + 0.5 * (ones == zeros))
    assert float(auc(labels, scores)) == pytest.approx(expected, abs=1e-12)
    assert float(auc(labels, -scores)) == pytest.approx(1 - expected, abs=1e-12)


def test_the_summary_tells_the_other_class_and_the_macro_mean():
    found = summary(LABELS, SCORES)
    assert found["precision-negative"] == pytest.approx(2 / 3)
    assert found["recall-negative"] == pytest.approx(0.5)
    assert found["f1-macro"] == pytest.approx((2 / 3 + 4 / 7) / 2)


def test_a_class_that_nobody_calls_has_f1_of_zero_and_no_precision():
    assert np.isnan(precision([0, 1], [0.1, 0.2]))
    assert float(f1([0, 1], [0.1, 0.2])) == 0
    assert float(f1([0, 1], [0.1, 0.2], positive=0)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [0.1, 0.2], r"shape \(3,\) and scores of shape \(2,\)"),
        ([1, 1], [0.1, 0.2], r"Labels are \[1\]; expected 0 and 1"),
        ([1, 2], [0.1, 0.2], r"Labels are \[1, 2\]"),
        ([0, 1], [0.1, np.nan], "1 scores are not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, scores, message):
    with pytest.raises(ReportError, match=message):
        auc(labels, scores)
