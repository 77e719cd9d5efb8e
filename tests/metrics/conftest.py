"""Sets that have features but no voxels, and sets of volumes, for the tests of metrics."""

import numpy as np
import pytest

from cerebench.metrics.base import Sets, VolumeSet


def of_features(features, prefix="v", partners=()):
    """A set that has the same features for every extractor and view, but no voxels."""
    ids = [f"{prefix}{i:04d}" for i in range(len(features))]
    kept = np.asarray(features, np.float32)
    return VolumeSet([None] * len(ids), ids, lambda _set, _extractor, _view: kept, partners)


@pytest.fixture
def feature_sets():
    """Return ``make(generated, train, test=None, pooled=None)``."""

    def make(generated, train, test=None, pooled=None):
        real = of_features(train)
        held_out = real if test is None else of_features(test, "t")
        whole = real if pooled is None else of_features(pooled, "p")
        return Sets(of_features(generated, "g"), real, held_out, whole, 0, (1.0, 1.0, 1.0))

    return make


@pytest.fixture
def volume_sets():
    """Return ``make(generated, train, test=None, partners=())`` on lists of (C, D, H, W)."""

    def make(generated, train, test=None, partners=()):
        def of(volumes, prefix, partners=()):
            return VolumeSet(volumes, [f"{prefix}{i}" for i in range(len(volumes))], None, partners)

        real = of(train, "r")
        held_out = real if test is None else of(test, "t")
        return Sets(of(generated, "g", partners), real, held_out, real, 0, (2.0, 1.0, 1.0))

    return make


@pytest.fixture
def draw():
    """Return ``draw(n, dim=6, seed=0)``: standard normal features."""
    return lambda n, dim=6, seed=0: np.random.RandomState(seed).standard_normal((n, dim))
