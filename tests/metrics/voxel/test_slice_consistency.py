"""Slice consistency: closed forms, jitter of slices that slice metrics cannot see, boundaries."""

import numpy as np
import pytest

from cerebench.datasets.phantom import Phantom
from cerebench.metrics.base import VIEWS, MetricError
from cerebench.metrics.controls import add_noise, blur
from cerebench.metrics.voxel.slice_consistency import SLICE_CONSISTENCY, autocorrelation


@pytest.fixture(scope="module")
def phantoms():
    """40 training and 80 other phantoms of one class."""
    phantom = Phantom(32, rule={"train": 40, "test": 80})
    chosen = set(phantom.split(0).train)
    cases = [c for c in phantom.cases() if c.label == 0]
    train = [phantom.load(c).volume for c in cases if c.id in chosen]
    return train, [phantom.load(c).volume for c in cases if c.id not in chosen]


def jitter(volume, most, axis, rng):
    """Move each slice along an axis by up to ``most`` voxels within its plane."""
    moved = np.moveaxis(volume, axis + 1, 1).copy()
    for i in range(moved.shape[1]):
        moved[:, i] = np.roll(moved[:, i], tuple(rng.integers(-most, most + 1, 2)), axis=(1, 2))
    return np.moveaxis(moved, 1, axis + 1)


def value(volume_sets, generated, train, view="axial"):
    return SLICE_CONSISTENCY.compute(volume_sets(generated, train), view)


def test_it_is_the_weighted_correlation_of_neighbouring_slices():
    v = np.random.RandomState(0).standard_normal((1, 5, 4, 3))
    x = v[0] - v.mean()
    for axis in range(3):
        s = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        cross = sum(s[i] @ s[i + 1] for i in range(len(s) - 1))
        held = sum(s[i] @ s[i] + s[i + 1] @ s[i + 1] for i in range(len(s) - 1))
        assert autocorrelation(v)[axis] == pytest.approx(2 * cross / held)


def test_slices_of_a_first_order_process_have_its_coefficient():
    rng = np.random.RandomState(0)
    for rho in (0.2, 0.9):
        slices = [rng.standard_normal((60, 60))]
        for _ in range(99):
            slices.append(rho * slices[-1] + np.sqrt(1 - rho**2) * rng.standard_normal((60, 60)))
        assert autocorrelation(np.array(slices)[None])[0] == pytest.approx(rho, abs=0.01)


def test_equal_slices_have_one_opposite_ones_minus_one_and_noise_none():
    plane = np.random.RandomState(0).standard_normal((1, 1, 8, 8))
    plane -= plane.mean()
    assert autocorrelation(np.repeat(plane, 6, axis=1))[0] == pytest.approx(1)
    signs = np.array([1, -1] * 3).reshape(1, 6, 1, 1)
    assert autocorrelation(plane * signs)[0] == pytest.approx(-1)
    noise = np.random.RandomState(1).standard_normal((1, 24, 24, 24))
    assert np.abs(autocorrelation(noise)).max() < 0.04


def test_scale_and_offset_change_nothing():
    v = np.random.RandomState(0).standard_normal((2, 6, 7, 8))
    np.testing.assert_allclose(autocorrelation(3 * v - 5), autocorrelation(v))


def test_views_are_the_axes_of_the_volume(volume_sets):
    plane = np.random.RandomState(0).standard_normal((8, 8)).astype(np.float32)
    axial = np.repeat(plane[None, None], 8, axis=1)  # equal along D
    for k, view in enumerate(VIEWS):
        turned = np.moveaxis(axial, 1, k + 1)
        found = value(volume_sets, [turned] * 3, [turned] * 3, view).value
        others = [
            value(volume_sets, [turned] * 3, [turned] * 3, o).value for o in VIEWS if o != view
        ]
        assert found > 0.999
        assert max(others) < 0.5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_jitter_of_slices_is_seen_along_its_axis_in_order_and_not_along_others(
    phantoms, volume_sets, axis
):
    train, other = phantoms
    rng = np.random.default_rng(axis)
    made = other[:40]
    for view in VIEWS:
        real = [
            value(volume_sets, [other[i] for i in rng.permutation(80)[:40]], train, view).value
            for _ in range(10)
        ]
        ladder = [
            value(volume_sets, [jitter(v, k, axis, rng) for v in made], train, view).value
            for k in (1, 2, 4)
        ]
        if view == VIEWS[axis]:
            assert min(real) > ladder[0] > ladder[1] > ladder[2]
        else:
            assert min(real) - 0.01 < min(ladder)
            assert max(ladder) < max(real) + 0.01


def test_blur_raises_and_noise_lowers_it_in_order(phantoms, volume_sets):
    train, other = phantoms
    rng = np.random.default_rng(0)
    real = value(volume_sets, other[:40], train)
    up = [value(volume_sets, [blur(v, s) for v in other[:40]], train).value for s in (0.5, 1, 2)]
    down = [
        value(volume_sets, [add_noise(v, s, rng) for v in other[:40]], train).value
        for s in (0.05, 0.1, 0.2)
    ]
    assert real.value < up[0] < up[1] < up[2]
    assert real.value > down[0] > down[1] > down[2]
    assert abs(real.value - real.real_value) < 0.02


def test_slices_in_another_order_are_seen(phantoms, volume_sets):
    train, other = phantoms
    order = np.random.default_rng(0).permutation(32)
    shuffled = [v[:, order] for v in other[:20]]
    assert value(volume_sets, shuffled, train).value < 0.75
    assert value(volume_sets, shuffled, train, "coronal").value > 0.85


def test_real_draws_have_the_real_value_and_the_error_says_how_nearly(phantoms, volume_sets):
    train, other = phantoms
    found = [value(volume_sets, other[i : i + 30], train) for i in (0, 25, 50)]
    for result in found:
        assert abs(result.value - result.real_value) < 5 * result.se
    assert np.std([r.value for r in found]) < 3 * found[0].se


def test_a_spread_over_volumes_is_a_fact(phantoms, volume_sets):
    train, other = phantoms
    one = value(volume_sets, [other[0]] * 9, train)
    assert one.facts["sd"] == pytest.approx(0)
    assert one.facts["real_sd"] > 0.005


def test_constant_volumes_are_left_out_and_counted(phantoms, volume_sets):
    train, other = phantoms
    flat = np.full((1, 32, 32, 32), -1, np.float32)
    some = value(volume_sets, [*other[:9], flat, flat], train)
    assert some.value == value(volume_sets, other[:9], train).value
    assert (some.n_generated, some.facts["flat"]) == (9, 2)
    assert any("2 constant volumes" in note for note in some.notes)
    with pytest.raises(MetricError, match="All generated volumes are constant"):
        value(volume_sets, [flat] * 4, train)
    with pytest.raises(MetricError, match="All real volumes are constant"):
        value(volume_sets, train[:4], [flat] * 4)


def test_one_volume_has_a_value_and_no_error(phantoms, volume_sets):
    train, other = phantoms
    result = value(volume_sets, other[:1], train)
    assert (result.n_generated, result.se) == (1, None)


def test_no_volume_and_one_slice_are_refused(volume_sets):
    v = np.random.RandomState(0).standard_normal((1, 4, 4, 4))
    with pytest.raises(MetricError, match="generated set has 0 volumes"):
        value(volume_sets, [], [v, v])
    with pytest.raises(MetricError, match="one slice"):
        value(volume_sets, [v[:, :1]], [v[:, :1]])
