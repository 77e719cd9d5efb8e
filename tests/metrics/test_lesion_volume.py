"""Lesion volumes: tests against scipy, equivalence, transport cost, what is and is not seen."""

import numpy as np
import pytest
from scipy import stats

from cerebench.metrics.base import MetricError
from cerebench.metrics.lesion_volume import (
    LESION_VOLUME,
    PARTS,
    hedges_g,
    ks_distance,
    tost_p,
    w2_squared,
    welch,
    welch_p,
)

A, B = np.array([0.80, 0.75, 0.76]), np.array([0.70, 0.72, 0.74])


def test_welch_of_the_published_vector():
    assert welch(A, B)[1] == pytest.approx(3.7230769, abs=1e-6)
    assert welch_p(A, B) == pytest.approx(0.0638112, abs=1e-6)
    assert hedges_g(A, B) == pytest.approx(1.7056057, abs=1e-6)


def test_tests_equal_scipy(draw):
    x, y = draw(30, 1)[:, 0], 1.4 * draw(22, 1, seed=1)[:, 0] + 0.3
    assert welch_p(x, y) == pytest.approx(stats.ttest_ind(x, y, equal_var=False).pvalue, rel=1e-9)
    assert ks_distance(x, y) == pytest.approx(stats.ks_2samp(x, y).statistic, abs=1e-12)
    low = stats.ttest_ind(x + 0.7, y, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(x - 0.7, y, equal_var=False, alternative="less").pvalue
    assert tost_p(x, y, 0.7) == pytest.approx(max(low, high), rel=1e-9)


def test_equivalence_needs_volumes_and_equal_means(draw):
    many, few = draw(400, 1)[:, 0], draw(5, 1)[:, 0]
    other = draw(400, 1, seed=1)[:, 0]
    assert tost_p(many, other, 0.5) < 1e-6
    assert tost_p(few, other, 0.5) > 0.05  # too few to claim equality
    assert tost_p(many - many.mean() + other.mean() + 0.5, other, 0.5) == pytest.approx(0.5)
    assert tost_p(many + 1, other, 0.5) > 0.999


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
    # 2 mm^3 a voxel; the note is in ml
    difference = next(n for n in other["KS"].notes if n.startswith("difference_ml"))
    assert float(difference.split("=")[1]) == pytest.approx(0.6, abs=0.15)


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
