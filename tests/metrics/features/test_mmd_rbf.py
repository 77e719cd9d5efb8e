"""Gaussian-kernel MMD: closed forms, population value, frozen bandwidth, permutation test."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError
from cerebench.metrics.features.mmd_rbf import (
    MMD2_RBF,
    gaussian_kernel,
    mmd2_rbf,
    permutation_p,
    squared_bandwidth,
)


def test_two_points_give_the_closed_form():
    x, y = np.tile([1.0, 0.0], (3, 1)), np.tile([0.0, 1.0], (5, 1))
    assert mmd2_rbf(x, y, 1.0) == pytest.approx(1.2642411176571153, abs=1e-12)


def test_published_vectors_of_one_dimension():
    a = mmd2_rbf(np.zeros((2, 1)), np.ones((2, 1)), 1.0)
    b = mmd2_rbf(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0], [2.0]]), 1.0)
    assert a == pytest.approx(0.786938681, abs=1e-9)
    assert b == pytest.approx(-0.262312894, abs=1e-9)  # negative, and not clipped


def test_mean_over_draws_is_the_population_value(draw):
    values = [mmd2_rbf(draw(40, 3, s) + 0.5, draw(30, 3, 5000 + s), 4.0) for s in range(300)]
    error = np.std(values, ddof=1) / np.sqrt(300)
    assert abs(np.mean(values) - 0.0659587027) < 3 * error


def test_several_bandwidths_are_averaged(draw):
    x, y = draw(20), draw(25, seed=1) + 0.4
    expected = np.mean([mmd2_rbf(x, y, s) for s in (0.5, 2.0)])
    assert mmd2_rbf(x, y, 0.5, 2.0) == pytest.approx(expected, rel=1e-12)


def test_bandwidth_is_the_median_within_the_real_set(draw):
    y = draw(31)
    squares = [np.sum((a - b) ** 2) for i, a in enumerate(y) for b in y[:i]]
    assert squared_bandwidth(y, 0) == pytest.approx(np.median(squares), rel=1e-12)


def test_the_generated_set_does_not_change_the_kernel(feature_sets, draw):
    train = draw(40)
    found = [
        MMD2_RBF.compute(feature_sets(g, train), "").facts["squared_bandwidth"]
        for g in (draw(30, seed=1), 9 * draw(30, seed=2) + 5)
    ]
    assert found[0] == found[1] > 0


@pytest.mark.parametrize(
    "defect",
    [
        lambda x: x + 0.5,
        lambda x: x.mean(0) + 2.0 * (x - x.mean(0)),
        lambda x: np.tile(x[:3], (27, 1)),
        lambda x: np.tile(x.mean(0), (81, 1)),
    ],
    ids=["mean shift", "more spread, equal mean", "collapse", "the mean repeated"],
)
def test_planted_defects_raise_the_value_and_are_significant(feature_sets, draw, defect):
    train, good = draw(80), draw(81, seed=1)
    clean = MMD2_RBF.compute(feature_sets(good, train), "")
    spoilt = MMD2_RBF.compute(feature_sets(defect(good), train), "")
    assert spoilt.value > clean.value + 3 * clean.se
    assert spoilt.facts["permutation_p"] == 1 / 1001


def test_p_values_of_equal_distributions_are_uniform(draw):
    kernel = gaussian_kernel(6.0)
    p = np.array([permutation_p(draw(12, 3, s), draw(9, 3, 900 + s), kernel, s) for s in range(80)])
    # Kolmogorov-Smirnov distance to the uniform law; 5 % point for 80 values is 0.15.
    grid = np.sort(p)
    assert max(np.arange(1, 81) / 80 - grid) < 0.15
    assert max(grid - np.arange(80) / 80) < 0.15


def test_the_observed_value_is_the_statistic_that_is_permuted(draw):
    # The only split of two far clusters that reaches the observed value is that split.
    x, y = draw(30), draw(30, seed=1) + 50
    assert permutation_p(x, y, gaussian_kernel(4.0), 0) == pytest.approx(1 / 1001)


def test_copies_of_the_training_set_score_below_zero(feature_sets, draw):
    train = draw(40)
    assert MMD2_RBF.compute(feature_sets(train, train), "").value < 0


def test_identical_real_volumes_are_refused(feature_sets, draw):
    train = np.tile(draw(1), (20, 1))
    train[0] += 1
    with pytest.raises(MetricError, match="no scale to compare"):
        MMD2_RBF.compute(feature_sets(draw(10), train), "")
