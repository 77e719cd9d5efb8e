"""Lesion volumes: tests against scipy, equivalence, transport cost, what is and is not seen."""

import numpy as np
import pytest
from scipy import stats

from cerebench.metrics.base import MetricError
from cerebench.metrics.voxel.lesion_volume import (
    LESION_VOLUME,
    PARTS,
    effect,
    ks_distance,
    w2_squared,
)


def test_distribution_and_effect_equal_scipy_and_have_no_sign(draw):
    x, y = draw(30, 1)[:, 0], 1.4 * draw(22, 1, seed=1)[:, 0] + 0.3
    assert ks_distance(x, y) == pytest.approx(stats.ks_2samp(x, y).statistic, abs=1e-12)
    t = stats.ttest_ind(x, y).statistic
    g = abs(t) * np.sqrt(1 / 30 + 1 / 22) * (1 - 3 / (4 * 50 - 1))
    assert effect(x, y) == effect(y, x) == pytest.approx(g, rel=1e-12)


def test_transport_to_a_moved_and_shuffled_copy_is_the_squared_step(draw):
    y = draw(40, 3)
    x = (y + np.array([0.3, -0.2, 0.1]))[::-1]
    assert w2_squared(x, y) == pytest.approx(0.14, abs=1e-12)


def test_transport_in_one_dimension_equals_the_assignment(draw):
    x, y = draw(20, 1), 2 * draw(20, 1, seed=1) + 1
    padded = [np.hstack([s, np.zeros((20, 1))]) for s in (x, y)]
    assert w2_squared(x, y) == pytest.approx(w2_squared(*padded), rel=1e-12)
    with pytest.raises(MetricError, match="equal numbers are needed"):
        w2_squared(x[:5], y)


def lesions(volumes, size=16):
    """Volumes with a given number of foreground voxels."""
    found = []
    for count in volumes:
        v = np.full(size**3, -1, np.float32)
        v[: int(count)] = 0.5
        found.append(v.reshape(1, size, size, size))
    return found


def compute(sets):
    return {part: LESION_VOLUME.compute(sets, part) for part in PARTS}


def test_equal_volumes_are_equivalent_and_larger_ones_are_not(volume_sets):
    rng = np.random.RandomState(0)
    real, good = (lesions(rng.normal(1000, 200, 60)) for _ in range(2))
    large = lesions(rng.normal(1300, 200, 60))
    same, other = compute(volume_sets(good, real)), compute(volume_sets(large, real))
    assert same["TOST p"].value < 0.05 < 0.9 < other["TOST p"].value
    for part in ("|g|", "KS", "W2²"):
        assert other[part].value > same[part].value + 3 * same[part].se
    assert same["TOST p"].se is None
    for result in other.values():
        # 2 mm^3 a voxel; the facts are in ml
        assert result.facts["difference_ml"] == pytest.approx(0.6, abs=0.15)
        assert result.facts["margin_ml"] == pytest.approx(0.2, abs=0.05)
        assert result.facts["welch_p"] < 1e-6 < 0.05 < same["KS"].facts["welch_p"]


def test_collapse_to_the_mean_volume_is_seen_by_the_distribution_alone(volume_sets):
    rng = np.random.RandomState(1)
    volumes = rng.normal(1000, 200, 60)
    found = compute(volume_sets(lesions([volumes.mean()] * 60), lesions(volumes)))
    assert found["TOST p"].value < 0.05  # the means agree
    assert found["|g|"].value < 0.05
    assert found["KS"].value > 0.4
    assert found["W2²"].value > 0.5


def test_texture_and_place_are_not_seen(volume_sets):
    rng = np.random.RandomState(2)
    real = lesions(rng.normal(1000, 200, 30))
    moved = [np.roll(np.where(v > -1, -0.5, -1).astype(np.float32), 5, 1) for v in real]
    found = compute(volume_sets(moved, real))
    assert (found["|g|"].value, found["KS"].value, found["W2²"].value) == (0, 0, 0)
    assert "shape, place, texture and intensity" in LESION_VOLUME.blind_to


def test_volumes_without_spread_are_refused(volume_sets):
    with pytest.raises(MetricError, match="background value"):
        LESION_VOLUME.compute(volume_sets(lesions([5, 6, 7]), lesions([9, 9, 9])), "KS")
