"""Mean brightness around the body."""

import numpy as np
import pytest

from cerebench.metrics.base import Sets, VolumeSet
from cerebench.metrics.voxel.background import BACKGROUND, stray_brightness


def cube(size=24, low=8, high=16):
    volume = np.full((1, size, size, size), -1, np.float32)
    volume[0, low:high, low:high, low:high] = 0.6
    return volume


def with_speckle(share, seed=0):
    volume, rng = cube(), np.random.default_rng(seed)
    outside = np.ones(volume.shape[1:], bool)
    outside[4:20, 4:20, 4:20] = False
    chosen = rng.permutation(np.flatnonzero(outside))[: round(share * outside.sum())]
    volume[0].ravel()[chosen] = -0.8  # .1 on [0, 1]
    return volume


def test_a_clean_volume_has_none_and_an_empty_one_too():
    assert stray_brightness(cube()) == 0
    assert stray_brightness(np.full((1, 12, 12, 12), -1, np.float32)) == 0


def test_a_volume_that_is_body_all_over_has_no_background_left():
    assert stray_brightness(np.ones((1, 12, 12, 12), np.float32)) == 1


def test_it_is_the_mean_over_the_voxels_around_the_body():
    found = [stray_brightness(with_speckle(share)) for share in (0.01, 0.05, 0.2)]
    counted = [np.count_nonzero(with_speckle(s)[0] == np.float32(-0.8)) for s in (0.01, 0.05, 0.2)]
    outside = 24**3 - 1000 - 728  # the body of a cube of 8, blurred, and two voxels around it
    assert found == sorted(found)
    assert np.allclose(found, 0.1 * np.array(counted) / outside, rtol=0.1)


@pytest.mark.parametrize("amplitude", [0.005, 0.02, 0.1])
def test_a_checkerboard_over_a_faint_haze_never_makes_it_darker(amplitude):
    haze = np.where(cube() > 0, cube(), -0.98)  # .01 on [0, 1]
    sign = np.indices(haze.shape).sum(axis=0) % 2 * 2 - 1
    assert stray_brightness(np.clip(haze + 2 * amplitude * sign, -1, 1)) >= (
        stray_brightness(haze) - 1e-6
    )


def test_what_fades_within_two_voxels_of_the_body_is_its_edge():
    for distance, counts in ((1, False), (2, False), (5, True)):
        volume = cube()
        volume[0, 12, 12, 16 + distance] = -0.8
        assert (stray_brightness(volume) > 0) == counts


def test_the_metric_is_the_mean_and_is_compared_with_that_of_real_volumes():
    def made(name, volumes):
        return VolumeSet(volumes, [f"{name}{i}" for i in range(len(volumes))])

    speckled = [with_speckle(0.1 * i, i) for i in range(4)]
    real = made("r", [cube()] * 3 + [with_speckle(0.1)])
    result = BACKGROUND.compute(Sets(made("g", speckled), real, real, real, 0, (1.0,) * 3), "")
    assert result.value == pytest.approx(np.mean([stray_brightness(v) for v in speckled]))
    assert result.real_value == pytest.approx(stray_brightness(with_speckle(0.1)) / 4)
    assert result.facts["most"] == pytest.approx(stray_brightness(speckled[3]))
    assert result.se == pytest.approx(
        np.std([stray_brightness(v) for v in speckled], ddof=1) / 2, rel=1e-9
    )
