"""Vendi score and extrapolated Fréchet distance: closed forms, law, refusals, planted defects."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError
from cerebench.metrics.features.fd_infinity import (
    FD_INF_RADLITE,
    fd_infinity_metric,
    frechet_infinity,
)
from cerebench.metrics.features.frechet import frechet_distance
from cerebench.metrics.features.vendi import VENDI_RADLITE, vendi


def test_orthogonal_groups_count_as_many_as_they_are():
    x = np.repeat(np.eye(5), 4, axis=0)
    assert vendi(x) == pytest.approx(5, abs=1e-9)
    assert vendi(np.tile([[3.0, -1.0]], (7, 1))) == pytest.approx(1, abs=1e-9)


def test_vendi_equals_the_definition_on_the_gram_matrix(draw):
    x = draw(30, 8)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / 30)
    values = values[values > 1e-12]
    assert vendi(x) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-9)


def test_vendi_does_not_see_length_and_bears_a_zero_row(draw):
    x = draw(20)
    assert vendi(x * np.arange(1, 21)[:, None]) == pytest.approx(vendi(x), rel=1e-12)
    assert np.isfinite(vendi(np.vstack([x, np.zeros(6)])))


def test_collapse_lowers_vendi_and_noise_does_not(feature_sets, draw):
    train = draw(100) * [5, 3, 1, 0.5, 0.2, 0.1] @ np.linalg.qr(draw(6, 6, 9))[0]
    good = draw(100, seed=1) * [5, 3, 1, 0.5, 0.2, 0.1] @ np.linalg.qr(draw(6, 6, 9))[0]
    clean = VENDI_RADLITE.compute(feature_sets(good, train), "")
    collapsed = VENDI_RADLITE.compute(feature_sets(np.tile(good[:2], (50, 1)), train), "")
    noise = VENDI_RADLITE.compute(feature_sets(50 * draw(100, seed=2), train), "")
    assert clean.value == pytest.approx(clean.real_value, abs=0.5)
    assert collapsed.value < 2.001 < clean.value
    assert noise.value > collapsed.value
    assert "noise has the most" in VENDI_RADLITE.blind_to


def test_real_vendi_is_that_of_equally_many_volumes(feature_sets, draw):
    result = VENDI_RADLITE.compute(feature_sets(draw(8, 40), draw(300, 40, seed=1)), "")
    assert result.facts == {"equal_n": 8}
    assert result.real_value < 8


def test_extrapolation_takes_the_bias_away(draw):
    plain, extrapolated = [], []
    for seed in range(4):
        x, y = draw(500, 64, seed), draw(500, 64, 50 + seed)
        plain.append(frechet_distance(x, y))
        extrapolated.append(frechet_infinity(x, y, seed))
    assert np.mean(plain) == pytest.approx(4.43, abs=0.3)
    assert abs(np.mean(extrapolated)) < 0.5


def test_a_true_distance_stays(draw):
    x, y = draw(400, 8), draw(400, 8, seed=1) + 1
    assert frechet_infinity(x, y, 0) == pytest.approx(8, abs=1.5)


def test_too_few_volumes_are_refused(feature_sets, draw):
    with pytest.raises(MetricError, match=r"needs 415 \(5 a feature\)"):
        FD_INF_RADLITE.compute(feature_sets(draw(90, 83), draw(90, 83, seed=1)), "")


def test_a_shift_raises_the_value_and_order_changes_nothing(feature_sets, draw):
    metric = fd_infinity_metric("radlite-v1")
    x, y = draw(60), draw(70, seed=1)
    clean = metric.compute(feature_sets(x, y), "")
    moved = metric.compute(feature_sets(x + 1.5, y), "")
    turned = feature_sets(x[::-1], y)
    turned.generated.ids = turned.generated.ids[::-1]
    again = metric.compute(turned, "")
    assert moved.value > clean.value + 3 * clean.se
    assert (again.value, again.se) == pytest.approx((clean.value, clean.se), rel=1e-9)
