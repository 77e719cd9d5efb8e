"""Mean foreground volume: millilitres, near the real mean, with an error that sees spread."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.voxel.foreground import FOREGROUND_VOLUME, foreground_volumes

SPACING = (2.0, 3.0, 4.0)


def group(counts, name="v"):
    """Return volumes of 8^3 with so many bright voxels each."""
    volumes = np.full((len(counts), 1, 8, 8, 8), -1, np.float32)
    for volume, count in zip(volumes, counts, strict=True):
        volume.reshape(-1)[:count] = 0.5
    return VolumeSet(volumes, [f"{name}{i}" for i in range(len(counts))])


def compute(generated, train):
    train = group(train, "t")
    return FOREGROUND_VOLUME.compute(Sets(group(generated), train, train, train, 0, SPACING), "")


def test_volumes_are_millilitres():
    assert foreground_volumes(group([0, 1, 100]), SPACING) == pytest.approx([0, 0.024, 2.4])


def test_the_threshold_is_two_percent_of_the_range():
    v = np.full((1, 1, 8, 8, 8), -1, np.float32)
    v[0, 0, 0, 0, :3] = [-0.97, -0.95, 1.0]  # .015, .025 and 1 on [0, 1]
    assert foreground_volumes(VolumeSet(v, ["a"]), (10, 10, 10)) == pytest.approx([2.0])


def test_the_means_of_both_sets_are_reported():
    found = compute([100, 200], [50, 150, 250, 350])
    assert found.value == pytest.approx(150 * 0.024)
    assert found.real_value == pytest.approx(200 * 0.024)
    assert (found.n_generated, found.n_real) == (2, 4)


def test_the_error_is_that_of_a_mean():
    counts = np.random.RandomState(0).randint(50, 400, 10)
    expected = (counts * 0.024).std(ddof=1) / np.sqrt(10)
    assert compute(counts, [100, 200]).se == pytest.approx(expected)
    assert compute([200] * 10, [100, 200]).se == pytest.approx(0, abs=1e-12)


def test_equal_means_with_another_spread_show_in_the_facts():
    narrow, wide = compute([190, 210] * 5, [200, 200]), compute([100, 300] * 5, [200, 200])
    assert narrow.value == pytest.approx(wide.value)
    assert narrow.facts == pytest.approx({"sd": 0.24, "real_sd": 0})
    assert wide.facts == pytest.approx({"sd": 2.4, "real_sd": 0})


def test_no_volumes_are_an_error():
    with pytest.raises(MetricError):
        compute([], [100])
