"""Copies: one transform each, geometry by centroids, background, pairs, and lazy reading."""

from collections import Counter

import numpy as np
import pytest

from cerebench.metrics.base import LazyVolumes
from cerebench.metrics.downstream.base import Cases
from cerebench.metrics.downstream.data.augmentation import TRANSFORMS, augmented, copies

SHAPE = (20, 24, 24)
CENTRE = (np.array(SHAPE) - 1) / 2


@pytest.fixture
def blob():
    """A blob, 2 slices above, 3 rows before and 2 columns right of the centre; the rest is -1."""
    axes = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    squared = sum((a - c - o) ** 2 for a, c, o in zip(axes, CENTRE, (2.0, -3.0, 2.0), strict=True))
    volume = 2 * np.exp(-squared / 6) - 1
    return np.where(squared < 20, volume, -1)[None].astype(np.float32)


def mass(volume):
    return float((volume.astype(np.float64) + 1).sum())


def offset(volume):
    """Centroid of a volume relative to its centre: along D, H and W, voxels."""
    weight = volume[0].astype(np.float64) + 1
    axes = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return [float((a * weight).sum() / weight.sum() - c) for a, c in zip(axes, CENTRE, strict=True)]


def test_rotation_turns_axial_slices_by_30_degrees(blob):
    moved = augmented(blob, "rotation", 0)
    d, h, w = offset(blob)
    angle = np.deg2rad(30)
    turned = [d, h * np.cos(angle) - w * np.sin(angle), h * np.sin(angle) + w * np.cos(angle)]
    assert offset(moved) == pytest.approx(turned, abs=0.05)
    assert mass(moved) == pytest.approx(mass(blob), rel=0.01)


def test_scale_enlarges_by_half_about_the_centre(blob):
    moved = augmented(blob, "scale", 0)
    assert offset(moved) == pytest.approx([1.5 * o for o in offset(blob)], abs=0.1)
    assert mass(moved) == pytest.approx(1.5**3 * mass(blob), rel=0.02)


def test_flip_mirrors_left_and_right(blob):
    np.testing.assert_allclose(augmented(blob, "flip", 0), blob[:, :, :, ::-1], atol=1e-6)


def test_elastic_deformation_moves_voxels_a_little_by_its_seed(blob):
    first, again, other = (augmented(blob, "elastic", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05
    assert np.abs(first - blob).max() > 0.05
    assert offset(first) == pytest.approx(offset(blob), abs=2)
    assert mass(first) == pytest.approx(mass(blob), rel=0.3)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_background_stays_exactly_background_and_values_in_range(transform, blob):
    moved = augmented(blob, transform, 3)
    assert moved.shape == blob.shape
    assert moved.dtype == np.float32
    assert moved.max() <= 1
    assert moved.max() > 0.5
    border = np.ones(SHAPE, bool)
    border[1:-1, 1:-1, 1:-1] = False
    if transform != "scale":  # which may push the object over the border
        assert (moved[0][border] == -1).all()
    assert np.count_nonzero(moved == -1) > 0.3 * moved.size
    assert (augmented(np.full_like(blob, -1), transform, 3) == -1).all()


def numbered(count, read):
    ids = tuple(f"case-{i:02d}" for i in range(count))

    def make(index):
        read.append(index)
        return np.full((1, 4, 4, 4), index / count, np.float32)

    return Cases(LazyVolumes(ids, make), np.zeros(count, np.int64), ids, ids)


def test_183_of_204_pairs_are_used_each_once():
    read = []
    made = copies(numbered(51, read), 183, seed=0)
    assert len(made) == 183
    assert len(set(made.ids)) == 183
    assert set(made.labels) == {0}
    counts = Counter(name.rsplit("-", 1)[1] for name in made.ids)
    assert set(counts) == set(TRANSFORMS)
    assert min(counts.values()) > 40
    assert all(name.startswith(patient) for name, patient in zip(made.ids, made.patients))  # noqa: B905
    assert max(Counter(made.patients).values()) == 4
    assert not read


def test_a_copy_is_made_of_its_own_case_when_it_is_read():
    read = []
    made = copies(numbered(6, read), 10, seed=0)
    index = next(i for i, name in enumerate(made.ids) if name.endswith("flip"))
    source = int(made.patients[index].removeprefix("case-"))
    assert float(made.volumes[index].max()) == pytest.approx(source / 6)
    assert read == [source]


def test_the_choice_follows_the_seed_and_stops_where_pairs_end():
    cases = numbered(6, [])
    assert copies(cases, 10, 0).ids == copies(cases, 10, 0).ids
    assert copies(cases, 10, 0).ids != copies(cases, 10, 1).ids
    assert copies(cases, 10, 0).ids == copies(cases, 12, 0).ids[:10]
    assert len(copies(cases, 99, 0)) == 24
