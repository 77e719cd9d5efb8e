"""C_T, authenticity and highest correlation: what each says of copies, new cases and noise."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import mannwhitneyu

from cerebench.metrics.base import MetricError
from cerebench.metrics.memorisation.authpct import AUTHPCT, authpct
from cerebench.metrics.memorisation.ct_z import CT_Z, ct_z
from cerebench.metrics.memorisation.max_corr import MAX_CORR, max_correlations, reduced


def test_authenticity_of_two_points():
    train = np.array([[0.0], [10.0]])
    assert authpct(np.array([[1.0]]), train) == 0
    assert authpct(np.array([[-20.0]]), train) == 100
    assert authpct(np.array([[1.0], [-20.0], [30.0]]), train) == pytest.approx(200 / 3)


def test_copies_are_not_authentic(draw):
    train = draw(40)
    assert authpct(train, train) == 0


def test_copies_have_an_error_although_none_is_authentic(feature_sets, draw):
    train = draw(40)
    result = AUTHPCT.compute(feature_sets(train, train, draw(20, seed=1)), "")
    p = 2 / 44
    assert result.value == 0
    assert result.se == pytest.approx(100 * np.sqrt(p * (1 - p) / 44))


def test_new_cases_are_not_all_authentic(draw):
    # 69.3, standard deviation 2.2, over ten draws of a separate few lines of numpy.
    values = [authpct(draw(500, 16, s), draw(500, 16, 70 + s)) for s in range(6)]
    assert np.mean(values) == pytest.approx(69.3, abs=3 * 2.2 / np.sqrt(6))


def test_authenticity_is_compared_with_held_out_cases(feature_sets, draw):
    train, test = draw(60), draw(50, seed=1)
    result = AUTHPCT.compute(feature_sets(train, train, test), "")
    scale = train.astype(np.float32)
    z = [(s.astype(np.float32) - scale.mean(0)) / scale.std(0, ddof=1) for s in (test, train)]
    assert result.value == 0
    assert result.real_value == pytest.approx(authpct(*z), abs=2.1)
    assert result.real_value > 30


def test_z_is_the_normal_form_of_mann_whitney(draw):
    x, y = np.abs(draw(40, 1))[:, 0], np.abs(draw(30, 1, seed=1))[:, 0] + 0.2
    u = mannwhitneyu(x, y).statistic
    assert ct_z(x, y) == pytest.approx((u - 600) / np.sqrt(1200 * 71 / 12), rel=1e-12)


def test_z_of_equal_distributions_is_standard_normal(draw):
    z = [ct_z(draw(30, 1, s)[:, 0], draw(20, 1, 900 + s)[:, 0]) for s in range(400)]
    assert abs(np.mean(z)) < 3 / np.sqrt(400)
    assert np.std(z) == pytest.approx(1, abs=0.12)


def test_copies_have_a_strongly_negative_z_and_noise_a_positive_one(feature_sets, draw):
    train, test = draw(60), draw(60, seed=1)
    assert CT_Z.compute(feature_sets(train, train, test), "").value < -8
    assert CT_Z.compute(feature_sets(6 * draw(60, seed=2), train, test), "").value > 8
    fresh = CT_Z.compute(feature_sets(draw(60, seed=3), train, test), "")
    assert abs(fresh.value) < 3
    assert fresh.real_value == 0


def test_z_has_an_error_near_one(feature_sets, draw):
    result = CT_Z.compute(feature_sets(draw(80, seed=3), draw(60), draw(80, seed=1)), "")
    assert 0.5 < result.se < 2


def test_a_few_copies_among_many_are_not_seen_by_z(feature_sets, draw):
    train, test, some = draw(60), draw(60, seed=1), draw(60, seed=2)
    some[:3] = train[:3]
    assert abs(CT_Z.compute(feature_sets(some, train, test), "").value) < 3
    assert "a few copies" in CT_Z.blind_to


@pytest.mark.parametrize(("metric", "least"), [(CT_Z, 2), (AUTHPCT, 1)])
def test_no_held_out_cases_are_refused(feature_sets, draw, metric, least):
    with pytest.raises(MetricError, match=f"test set has 0 volumes; at least {least}"):
        metric.compute(feature_sets(draw(9), draw(9, seed=1), draw(0)), "")


def blobs(n, seed=0, size=16):
    rng = np.random.RandomState(seed)
    shape = (1, size, size, size)
    fields = [gaussian_filter(rng.standard_normal(shape), (0, 2, 2, 2)) for _ in range(n)]
    return [np.tanh(6 * f).astype(np.float32) for f in fields]


def test_a_copy_correlates_with_one(volume_sets):
    train, test = blobs(12), blobs(12, 1)
    result = MAX_CORR.compute(volume_sets(train, train, test), "")
    assert result.value == pytest.approx(1, abs=1e-6)
    assert result.facts["copies_fraction"] == 1
    assert result.facts["highest"] == pytest.approx(1, abs=1e-6)
    assert result.real_value < 0.9


@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_a_mirrored_copy_is_found(volume_sets, axes):
    train = blobs(6)
    mirrored = [np.flip(v, axes).copy() for v in train]
    sets = volume_sets(mirrored, train, blobs(6, 1))
    assert max_correlations(sets.generated, sets.train).min() == pytest.approx(1, abs=1e-6)


def test_a_mirrored_copy_is_not_found_without_mirroring(volume_sets, monkeypatch):
    from cerebench.metrics.memorisation import max_corr

    monkeypatch.setattr(max_corr, "FLIPS", ((False, False, False),))
    train = blobs(6)
    sets = volume_sets([v[:, :, :, ::-1].copy() for v in train], train, blobs(6, 1))
    assert max_correlations(sets.generated, sets.train).max() < 0.9


def test_correlation_equals_numpy(volume_sets):
    x, y = blobs(1)[0], blobs(1, 5)[0]
    every = [np.flip(y, axes) for axes in ((), 1, 2, 3, (1, 2), (1, 3), (2, 3), (1, 2, 3))]
    expected = max(np.corrcoef(x.ravel(), f.ravel())[0, 1] for f in every)
    sets = volume_sets([x], [y])
    assert max_correlations(sets.generated, sets.train)[0] == pytest.approx(expected, abs=1e-6)


def test_a_copy_in_other_contrast_is_found_and_new_cases_are_not(volume_sets):
    train, test = blobs(12), blobs(40, 1)
    gamma = [0.5 * v - 0.2 for v in train]
    copied = MAX_CORR.compute(volume_sets(gamma, train, test), "")
    assert copied.facts["copies_fraction"] == 1
    fresh = MAX_CORR.compute(volume_sets(blobs(40, 2), train, test), "")
    assert fresh.facts["copies_fraction"] < 0.2
    assert fresh.facts["n_test"] == 40


def test_large_volumes_are_pooled_and_small_or_constant_ones_kept():
    big = np.random.RandomState(0).uniform(-1, 1, (1, 64, 64, 64)).astype(np.float32)
    pooled = big.reshape(1, 32, 2, 32, 2, 32, 2).mean((2, 4, 6))
    pooled = pooled - pooled.mean()
    np.testing.assert_allclose(reduced(big), pooled / np.linalg.norm(pooled), atol=1e-6)
    assert reduced(big[:, :8, :8, :8]).shape == (1, 8, 8, 8)
    assert not reduced(np.full((1, 8, 8, 8), -1, np.float32)).any()
