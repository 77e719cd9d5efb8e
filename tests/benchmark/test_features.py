"""Features are extracted once, and exactly those of the volumes asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from cerebench.benchmark.features import FeatureCache, slices, volume_hash
from cerebench.metrics.base import VolumeSet


class Means:
    """An extractor that counts its calls; 3D: one mean a volume, 2D: one a slice."""

    name, version, dim, weights_sha256, input = "means", 1, 1, None, {}

    def __init__(self, ndim=3):
        self.ndim, self.seen = ndim, 0

    def extract(self, batch):
        self.seen += len(batch)
        return batch.reshape(len(batch), -1).mean(1, keepdims=True)


def cache(folder, extractor):
    registry = SimpleNamespace(load=lambda _: lambda: extractor, source_hash=lambda _: None)
    return FeatureCache(folder, registry)


def volumes(n, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, (n, 1, 4, 5, 6)).astype(np.float32)


def test_features_belong_to_their_volumes(tmp_path):
    v = volumes(40)
    found = VolumeSet(v, list(map(str, range(40))), cache(tmp_path, Means())).features("means")
    assert np.allclose(found[:, 0], v.mean((1, 2, 3, 4)), atol=1e-6)


def test_a_second_process_extracts_nothing(tmp_path):
    first, second = Means(), Means()
    ids = list(map(str, range(5)))
    a = VolumeSet(volumes(5), ids, cache(tmp_path, first)).features("means")
    b = VolumeSet(volumes(5), ids, cache(tmp_path, second)).features("means")
    assert (first.seen, second.seen) == (5, 0)
    assert np.array_equal(a, b)


def test_repeated_volumes_are_extracted_once(tmp_path):
    v = volumes(3)[[0, 1, 0, 2, 1, 0]]
    for ndim, view, seen in ((3, "", 3), (2, "axial", 12)):
        extractor = Means(ndim)
        group = VolumeSet(v, list("abcdef"), cache(tmp_path / str(ndim), extractor))
        found = group.features("means", view)
        assert extractor.seen == seen
        assert np.array_equal(found[0], found[2])
        assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"weights_sha256": "abc"}, {"input": {"range": [0, 1]}}]
)
def test_another_version_weights_or_input_is_extracted_anew(tmp_path, change):
    VolumeSet(volumes(2), ["a", "b"], cache(tmp_path, Means())).features("means")
    other = Means()
    vars(other).update(change)
    VolumeSet(volumes(2), ["a", "b"], cache(tmp_path, other)).features("means")
    assert other.seen == 2


def test_views_are_slices_along_their_axis():
    v = volumes(1)[0]
    for view, axis in (("axial", 0), ("coronal", 1), ("sagittal", 2)):
        cut = slices(v, view)
        assert len(cut) == v.shape[1 + axis]
        assert np.array_equal(cut[2, 0], np.take(v[0], 2, axis=axis))


def test_the_hash_sees_shape_and_values():
    v = volumes(1)[0]
    assert volume_hash(v) == volume_hash(v.copy())
    assert volume_hash(v) != volume_hash(v.reshape(1, 5, 4, 6))
    changed = v.copy()
    changed[0, 0, 0, 0] = np.nextafter(v[0, 0, 0, 0], np.float32(2))
    assert volume_hash(v) != volume_hash(changed)
