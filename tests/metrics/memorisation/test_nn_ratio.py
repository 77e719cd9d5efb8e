"""Nearest-neighbour ratio: exact distances, copies, far volumes, boundaries."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.memorisation.nn_ratio import NN_RATIO, expected_ratio, nearest, nn_ratio


def volume_set(features):
    """A set that has features but no voxels."""
    ids = [f"v{i:03d}" for i in range(len(features))]
    kept = np.asarray(features, np.float32)
    return VolumeSet([None] * len(ids), ids, lambda _set, _extractor, _view: kept)


def make_sets(generated, train, test):
    real = volume_set(train)
    return Sets(volume_set(generated), real, volume_set(test), real, 0, (1.0, 1.0, 1.0))


def draw(n, dim=6, seed=0):
    return np.random.RandomState(seed).standard_normal((n, dim))


def test_a_copy_has_distance_exactly_zero():
    x = draw(50, 300) * 100 + 1000
    assert (nearest(x, x) == 0).all()


def test_distance_to_a_near_copy_is_exact():
    x = draw(20, 100) + 1e4
    near = x.copy()
    near[:, 0] += 2**-10
    np.testing.assert_allclose(nearest(near, x), 2**-10, rtol=1e-12)


def test_ratio_is_the_fraction_strictly_below_the_interpolated_quantile():
    held_out = np.arange(21.0)  # 5 % quantile is 1
    assert nn_ratio(np.array([0.0, 0.999, 1.0, 5.0]), held_out) == 0.5
    assert nn_ratio(np.array([0.09, 0.11]), np.array([0.0, 2.0])) == 0.5  # quantile 0.1


def test_training_copies_score_one_and_noise_scores_zero():
    train, test = draw(60), draw(60, seed=1)
    assert NN_RATIO.compute(make_sets(train, train, test), "").value == 1
    assert NN_RATIO.compute(make_sets(train + 1e-3, train, test), "").value == 1
    assert NN_RATIO.compute(make_sets(5 * draw(60, seed=2), train, test), "").value == 0


def test_new_cases_score_about_one_in_twenty():
    result = NN_RATIO.compute(make_sets(draw(2000, seed=3), draw(60), draw(2000, seed=2)), "")
    assert result.value == pytest.approx(0.05, abs=0.02)
    assert result.real_value == expected_ratio(2000) == pytest.approx(0.05, abs=1e-3)


def test_the_target_is_what_new_cases_score_at_this_number_of_them():
    result = NN_RATIO.compute(make_sets(draw(60, seed=3), draw(60), draw(16, seed=2)), "")
    assert result.real_value == result.facts["expected_of_new_cases"] == pytest.approx(1.75 / 17)


@pytest.mark.parametrize("tests", [10, 25, 101])
def test_expected_ratio_is_that_of_repeated_draws(tests):
    rng = np.random.RandomState(0)
    values = [nn_ratio(rng.rand(50), rng.rand(tests)) for _ in range(3000)]
    error = np.std(values, ddof=1) / np.sqrt(3000)
    assert abs(np.mean(values) - expected_ratio(tests)) < 3 * error


def test_distances_are_taken_in_standardised_features():
    train, test, generated = draw(40), draw(40, seed=1), draw(40, seed=2)
    generated[:4] = train[:4]
    scale = np.array([1e4, 1, 1, 1e-4, 1, 1])
    plain = NN_RATIO.compute(make_sets(generated, train, test), "")
    scaled = NN_RATIO.compute(make_sets(generated * scale, train * scale, test * scale), "")
    assert plain.value >= 0.1
    assert scaled.value == plain.value


def test_error_is_not_zero_where_no_volume_is_close():
    far = NN_RATIO.compute(make_sets(draw(60) + 50, draw(60), draw(60, seed=1)), "")
    p = 2 / 64
    assert far.value == 0
    assert far.se == pytest.approx(np.sqrt(p * (1 - p) / 64))
    assert far.facts["binomial_low"] == 0
    assert far.facts["binomial_high"] == pytest.approx(1 - 0.025 ** (1 / 60))
    assert far.facts["n_test"] == 60


def test_order_changes_nothing():
    x, train, test = draw(30), draw(40, seed=1), draw(50, seed=2)
    turned = make_sets(x[::-1], train[::-1], test[::-1])
    turned.test.ids = turned.test.ids[::-1]
    a, b = NN_RATIO.compute(make_sets(x, train, test), ""), NN_RATIO.compute(turned, "")
    assert (a.value, a.se) == (b.value, b.se)


def test_test_cases_among_the_training_cases_are_refused():
    train = draw(40)
    with pytest.raises(MetricError, match="test volumes have the features of a training volume"):
        NN_RATIO.compute(make_sets(draw(40, seed=1), train, train), "")


def test_one_test_volume_is_refused():
    with pytest.raises(MetricError, match="test set has 1 volumes; at least 2"):
        NN_RATIO.compute(make_sets(draw(9), draw(9, seed=1), draw(1, seed=2)), "")
