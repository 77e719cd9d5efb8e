"""Time of slice features for three views, computed once for all, beside one view at a time."""

import numpy as np
import pytest

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.features import FeatureCache, slices
from cerebench.metrics.base import VIEWS, VolumeSet
from cerebench.metrics.extractors.random_conv import Rand2d

CASES = [(32, 16), (128, 4)]


def volumes(size, count):
    return np.random.default_rng(0).uniform(-1, 1, (count, 1, size, size, size)).astype("f4")


@pytest.mark.parametrize(("size", "count"), CASES)
def test_three_views_and_two_metrics(benchmark, tmp_path, size, count):
    benchmark.group = f"rand2d-v1 {size}^3, {count} volumes, three views, asked for twice"
    cache = FeatureCache(tmp_path, Registries().extractors)

    def ask():
        for _metric in range(2):
            group = VolumeSet(volumes(size, count), [str(i) for i in range(count)], cache)
            found = [group.features("rand2d-v1", view) for view in VIEWS]
        return found

    assert benchmark.pedantic(ask, rounds=1)[2].shape == (count, size, 240)


@pytest.mark.parametrize(("size", "count"), CASES)
def test_slice_by_slice_baseline(benchmark, size, count):
    benchmark.group = f"rand2d-v1 {size}^3, {count} volumes, three views, asked for twice"
    extractor = Rand2d()

    def ask():
        for _metric in range(2):
            for view in VIEWS:
                for v in volumes(size, count):
                    found = [extractor.extract(image[None]) for image in slices(v, view)]
        return found

    assert len(benchmark.pedantic(ask, rounds=1)) == size
