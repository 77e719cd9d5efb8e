"""KID: closed form, an independent sum over pairs, unbiasedness, planted defects."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.features.kid import KID_RADLITE, kid


def volume_set(features):
    """A set that has features but no voxels."""
    ids = [f"v{i:03d}" for i in range(len(features))]
    kept = np.asarray(features, np.float32)
    return VolumeSet([None] * len(ids), ids, lambda _set, _extractor, _view: kept)


def make_sets(generated, train, pooled=None):
    real = volume_set(train)
    whole = real if pooled is None else volume_set(pooled)
    return Sets(volume_set(generated), real, real, whole, 0, (1.0, 1.0, 1.0))


def draw(n, dim=6, seed=0):
    return np.random.RandomState(seed).standard_normal((n, dim))


def test_two_repeated_points_give_the_closed_form():
    x, y = np.tile([1.0, 0.0], (3, 1)), np.tile([0.0, 1.0], (5, 1))
    assert kid(x, y) == pytest.approx(4.75, abs=1e-12)


def test_mean_over_equal_distributions_is_zero():
    values = [kid(draw(12, 3, s), draw(9, 3, 10_000 + s)) for s in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values, ddof=1) / np.sqrt(400)
    assert min(values) < 0 < max(values)


def test_equals_a_sum_over_pairs():
    x, y = draw(7), draw(9, seed=1) + 0.3

    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 6 + 1) ** 3

    within = [
        np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
        for s in (x, y)
    ]
    between = np.mean([k(a, b) for a in x for b in y])
    assert kid(x, y) == pytest.approx(sum(within) - 2 * between, rel=1e-12)


def test_equals_torchmetrics():
    reference = pytest.importorskip("torchmetrics.image.kid", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    x, y = draw(20), draw(20, seed=1) + 0.3
    expected = reference.poly_mmd(torch.from_numpy(x), torch.from_numpy(y))
    assert kid(x, y) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    "defect",
    [
        lambda x: x + 0.5,
        lambda x: x.mean(0) + 2.0 * (x - x.mean(0)),
        lambda x: np.tile(x[:3], (27, 1)),
    ],
    ids=["mean shift", "more spread, equal mean", "collapse"],
)
def test_planted_defects_raise_the_distance(defect):
    train, good = draw(80), draw(81, seed=1)
    clean = KID_RADLITE.compute(make_sets(good, train), "")
    spoilt = KID_RADLITE.compute(make_sets(defect(good), train), "")
    assert spoilt.value > clean.value + 3 * clean.se


def test_a_set_against_itself_is_negative_and_not_clipped():
    x = draw(40)
    assert kid(x, x) < 0
    assert KID_RADLITE.compute(make_sets(x, x), "").value < 0


def test_error_is_about_the_spread_over_repeated_draws():
    pooled = draw(500, 4, seed=1000)  # the error is that of a fixed standardisation
    results = [
        KID_RADLITE.compute(make_sets(draw(60, 4, s), draw(60, 4, s + 500) + 0.7, pooled), "")
        for s in range(40)
    ]
    # Skewed values and noisy errors: a factor of 1.6 either way is what 40 draws show.
    ratio = np.mean([r.se for r in results]) / np.std([r.value for r in results], ddof=1)
    assert 1 / 1.6 < ratio < 1.6


def test_order_of_volumes_changes_nothing():
    x, y = draw(33), draw(44, seed=1)
    turned = make_sets(x[::-1], y)
    turned.generated.ids = turned.generated.ids[::-1]
    a, b = KID_RADLITE.compute(make_sets(x, y), ""), KID_RADLITE.compute(turned, "")
    assert a.value == pytest.approx(b.value, rel=1e-6)
    assert a.se == pytest.approx(b.se, rel=1e-6)


def test_display_scale_is_a_thousand_and_the_value_is_not_scaled():
    x, y = draw(30), draw(40, seed=1)
    y32 = y.astype(np.float32).astype(float)
    scaled = [(f - y32.mean(0)) / y32.std(0, ddof=1) for f in (x.astype(np.float32), y32)]
    assert KID_RADLITE.scale == 1000
    assert KID_RADLITE.compute(make_sets(x, y), "").value == pytest.approx(kid(*scaled), rel=1e-9)


def test_one_volume_is_refused():
    with pytest.raises(MetricError, match="generated set has 1 volumes; at least 2"):
        KID_RADLITE.compute(make_sets(draw(1), draw(9)), "")


def test_equals_torch_fidelity():
    reference = pytest.importorskip(
        "torch_fidelity.metric_kid", reason="torch-fidelity is not installed", exc_type=ImportError
    )
    x, y = draw(20), draw(20, seed=1) + 0.3
    options = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_coef0": 1}
    theirs = reference.kernel_mmd(x, y, kid_kernel_poly_gamma=None, **options)
    assert kid(x, y) == pytest.approx(float(theirs), abs=1e-10)
