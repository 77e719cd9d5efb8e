"""Features are extracted once, and exactly those of the volumes asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from cerebench.benchmark.stages.features import FeatureCache, slices, volume_hash
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
    for ndim, view, seen in ((3, "", 3), (2, "axial", 3 * (4 + 5 + 6))):
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


def test_one_view_brings_the_others_and_reads_each_volume_once_more(tmp_path):
    extractor, v = Means(2), volumes(4)
    group = VolumeSet(v, list("abcd"), cache(tmp_path, extractor))
    group.features("means", "axial")
    seen = extractor.seen
    for view, axis in (("axial", 2), ("coronal", 3), ("sagittal", 4)):
        others = tuple({1, 2, 3, 4} - {axis})
        found = group.features("means", view)
        assert len(found) == 4
        assert found.shape == (4, v.shape[axis], 1)
        for i in range(4):
            np.testing.assert_allclose(found[i][:, 0], v.mean(axis=others)[i], atol=1e-6)
    assert extractor.seen == seen


@pytest.mark.parametrize(("choice", "picked"), [("middle", slice(3, 4)), ("center3", slice(2, 5))])
@pytest.mark.parametrize("whole_first", [True, False])
def test_a_choice_of_slices_is_that_of_all_slices(tmp_path, choice, picked, whole_first):
    extractor, v = Means(2), volumes(3)
    group = VolumeSet(v, list("abc"), cache(tmp_path, extractor))
    if whole_first:
        group.features("means", "sagittal")
        before = extractor.seen
    found = group.features("means", f"sagittal/{choice}")
    np.testing.assert_allclose(found[1][:, 0], v[1].mean((0, 1, 2))[picked], atol=1e-6)
    if whole_first:
        assert extractor.seen == before
    else:
        assert extractor.seen == 3 * 3 * (picked.stop - picked.start)


@pytest.mark.parametrize("whole_first", [True, False])
def test_every_fourth_slice_begins_with_the_first(tmp_path, whole_first):
    extractor, v = Means(2), volumes(3)
    group = VolumeSet(v, list("abc"), cache(tmp_path, extractor))
    if whole_first:
        group.features("means", "sagittal")
    found = group.features("means", "sagittal/every4")
    np.testing.assert_allclose(found[1][:, 0], v[1].mean((0, 1, 2))[[0, 4]], atol=1e-6)
    # 4, 5 and 6 slices along the views
    assert extractor.seen == 3 * ((4 + 5 + 6) if whole_first else (1 + 2 + 2))


def test_a_volume_is_prepared_once_before_it_is_cut(tmp_path):
    class Scaled(Means):
        def __init__(self):
            super().__init__(2)
            self.prepared = []

        def prepare_volume(self, volume):
            self.prepared.append(volume.shape)
            return volume / np.abs(volume).max()

    extractor, v = Scaled(), volumes(2)[[0, 1, 0]]
    group = VolumeSet(v, list("abc"), cache(tmp_path, extractor))
    found = {view: group.features("means", view) for view in ("axial", "sagittal")}
    assert extractor.prepared == [(1, 4, 5, 6)] * 2
    expected = v[1][0].mean((0, 1)) / np.abs(v[1]).max()
    np.testing.assert_allclose(found["sagittal"][1][:, 0], expected, atol=1e-6)


def test_an_interrupted_extraction_leaves_no_file(tmp_path):
    class Broken(Means):
        def extract(self, batch):
            if self.seen > 20:
                raise RuntimeError("out of memory")
            return super().extract(batch)

    group = VolumeSet(volumes(4), list("abcd"), cache(tmp_path, Broken(2)))
    with pytest.raises(RuntimeError):
        group.features("means", "axial")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.slow
def test_processes_give_the_same_features(tmp_path, monkeypatch):
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.stages import features as module

    monkeypatch.setattr(module, "PARALLEL_VOXELS", 0)
    v = np.random.RandomState(0).uniform(-1, 1, (5, 1, 8, 8, 8)).astype(np.float32)
    found = [
        VolumeSet(
            v, list("abcde"), FeatureCache(tmp_path / str(n), Registries().extractors, workers=n)
        ).features("radlite-v1")
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(*found)


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def exchange(path):
    other = next(p for p in path.parents[1].rglob("*.npy") if p.stat().st_size and p != path)
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


# What is done to a file of 5 volumes -> how many of them are extracted again.
DAMAGE = {
    "the first row": (lambda p: flip(p, 128), 1),
    "the last row": (lambda p: flip(p, -4 * 6 - 1), 1),
    "a checksum": (lambda p: flip(p, -4 * 3), 1),
    "the head": (lambda p: flip(p, 70), 5),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-7]), 5),
    "emptied": (lambda p: p.write_bytes(b""), 5),
    "deleted": (lambda p: p.unlink(), 5),
    "exchanged": (exchange, 5),
    "no checksums, as before 0.2.0": (lambda p: p.write_bytes(p.read_bytes()[: -4 * 6]), 0),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_damaged_is_extracted_again_and_said(tmp_path, damage, ndim):
    view, ids, extractor = ("axial" if ndim == 2 else ""), list("abcde"), Means(ndim)
    found = VolumeSet(volumes(5), ids, cache(tmp_path, extractor)).features("means", view)
    expected = [np.array(found[i]) for i in range(5)]
    if ndim == 3:
        VolumeSet(volumes(5, 1), ids, cache(tmp_path, extractor)).features("means", view)
    per_volume, whole = extractor.seen // (5 if ndim == 2 else 10), tmp_path.rglob("*.npy")
    path = next(p for p in whole if np.array_equal(np.load(p)[0], expected[0]))
    do, lost = DAMAGE[damage]
    do(path)
    said, again = [], Means(ndim)
    damaged = cache(tmp_path, again)
    damaged._say = said.append
    found = VolumeSet(volumes(5), ids, damaged).features("means", view)
    assert all(np.array_equal(found[i], expected[i]) for i in range(5))
    both = damage == "exchanged" and ndim == 2  # another view of the same volumes
    assert len(said) == (damage not in ("deleted", "no checksums, as before 0.2.0")) + both
    assert not said or any(str(path) in line for line in said)
    if ndim == 3:
        assert again.seen == lost * per_volume
    more = Means(ndim)
    VolumeSet(volumes(5), ids, cache(tmp_path, more)).features("means", view)
    assert more.seen == 0
