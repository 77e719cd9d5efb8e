"""Time of the radiomic features of one volume, and of several in two processes."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages import features as module
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.metrics.base import VolumeSet
from cerebench.metrics.extractors.radlite import radlite

SIZES = [32, 128]


def volume(size, seed=0):
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((size,) * 3), size / 32)
    z = np.linspace(-1, 1, size)
    inside = z[:, None, None] ** 2 + z[:, None] ** 2 + z**2 < 0.4
    return np.where(inside, np.clip(0.2 + 0.2 * field / field.std(), -0.9, 1), -1)


@pytest.mark.parametrize("size", SIZES)
def test_one_volume(benchmark, size):
    benchmark.group = f"radlite-v1 {size}^3"
    unit = (volume(size) + 1) / 2
    assert benchmark.pedantic(radlite, (unit,), rounds=3, warmup_rounds=1).shape == (83,)


@pytest.mark.parametrize("workers", [1, 2])
def test_sixteen_volumes(benchmark, tmp_path, monkeypatch, workers):
    benchmark.group = "radlite-v1 96^3, 16 volumes, processes started included"
    monkeypatch.setattr(module, "PARALLEL_VOXELS", 0)
    made = [volume(96, seed)[None].astype(np.float32) for seed in range(16)]
    cache = FeatureCache(tmp_path, Registries().extractors, workers=workers)
    group = VolumeSet(made, [str(i) for i in range(16)], cache)
    found = benchmark.pedantic(group.features, ("radlite-v1",), rounds=1)
    assert found.shape == (16, 83)
