"""Recipes: options change the record exactly when they change voxels."""

import numpy as np
import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.brain import extract_brain
from cerebench.datasets.scans.recipes import Brain, Roi, procedure
from cerebench.datasets.scans.roi import RECIPE, extract_roi

MM = (1.0, 1.0, 1.0)


def line(length, total=200):
    """A row of mask voxels along x, numbered from 1."""
    image = np.zeros((3, 3, total), np.float32)
    image[1, 1, 5 : 5 + length] = np.arange(1, length + 1)
    return image


def test_the_default_recipe_is_the_one_of_old_records():
    assert Roi().recipe == RECIPE
    assert procedure({}) == Roi()


def test_the_id_names_the_open_points_and_the_hash():
    assert Roi().id == (
        f"roi-v1(order=crop-average-scale,crop=128,percentile=none,wide=crop)@{RECIPE.sha256[:8]}"
    )
    assert Brain().id.startswith("brain-v1(crop=192,percentile=99.9)@")


@pytest.mark.parametrize(
    "options", [{"crop": 96}, {"percentile": 99}, {"wide": "shrink"}, {"wide": "reject"}]
)
def test_every_option_changes_the_hash(options):
    assert procedure(options).recipe.sha256 != Roi().recipe.sha256


def test_equal_values_make_equal_hashes():
    assert Roi(percentile=99).recipe.sha256 == Roi(percentile=99.0).recipe.sha256
    assert procedure({"percentile": "none"}).recipe == RECIPE


def test_a_wide_tumour_is_cut_shrunk_or_refused():
    image = line(140)
    cut = Roi().apply(image[None], image, MM, 128)
    assert cut.facts["lost_voxels"] == 12
    shrunk = Roi(wide="shrink").apply(image[None], image, MM, 70)
    assert shrunk.facts["lost_voxels"] == 0
    assert shrunk.facts["crop"] == 140
    row = shrunk.volume[0].max((0, 1))
    assert (row > -1).all()  # 140 voxels fill the whole width of 70
    with pytest.raises(DatasetError, match="140 voxels long and the crop 128"):
        Roi(wide="reject").apply(image[None], image, MM, 64)
    narrow = line(100)
    same = [Roi(wide=w).apply(narrow[None], narrow, MM, 32) for w in ("crop", "shrink", "reject")]
    assert len({loaded.volume.tobytes() for loaded in same}) == 1


def test_percentile_clips_the_brightest_voxels_of_the_tumour():
    image = line(101)
    loaded = Roi(percentile=90).apply(image[None], image, MM, 128)
    assert loaded.facts["maximum"] == 91
    assert (loaded.volume == 1).sum() == 11
    assert Roi().apply(image[None], image, MM, 128).facts["maximum"] == 101


def test_crop_decides_how_much_is_seen():
    image = line(60)
    assert Roi(crop=48).apply(image[None], image, MM, 48).facts["lost_voxels"] == 12
    assert Roi(crop=64).apply(image[None], image, MM, 64).facts["lost_voxels"] == 0


def test_working_on_the_box_alone_changes_nothing():
    rng = np.random.default_rng(0)
    image = rng.integers(-20, 900, (30, 40, 50)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[3:20, 9:31, 14:33] = rng.integers(0, 2, (17, 22, 19))
    whole = extract_roi(image, mask, MM, 24, crop=32)
    padded = [np.pad(a, 7) for a in (image, mask)]
    assert extract_roi(*padded, MM, 24, crop=32).volume.tobytes() == whole.volume.tobytes()


@pytest.fixture
def head():
    """Two channels of a skull-stripped head with a tumour, off the middle: (2, D, H, W), mask."""
    images = np.zeros((2, 40, 50, 60), np.float32)
    images[0, 5:25, 10:40, 20:50] = 100
    images[1, 5:25, 10:40, 20:50] = 7
    images[0, 10:14, 20:24, 30:34] = 200
    mask = np.zeros(images.shape[1:], np.uint8)
    mask[10:14, 20:24, 30:34] = 1
    return images, mask


def test_brain_is_centred_and_the_tumour_goes_along(head):
    loaded = extract_brain(*head, MM, 64, crop=64, percentile=None)
    volume, mask = loaded.volume, loaded.mask[0]
    inside = np.argwhere(volume[0] > -1)
    # 20 x 30 x 30 voxels in a cube of 64 start at 22, 17, 17.
    assert inside.min(0).tolist() == [22, 17, 17]
    assert inside.max(0).tolist() == [41, 46, 46]
    assert np.array_equal(volume[0] == 1, mask == 1)
    assert loaded.facts["mask_voxels"] == 64
    assert loaded.facts["box"] == [[5, 24], [10, 39], [20, 49]]


def test_brain_scales_every_channel_by_itself(head):
    loaded = extract_brain(*head, MM, 64, crop=64, percentile=None)
    assert np.unique(loaded.volume[0]).tolist() == [-1, 0, 1]
    assert np.unique(loaded.volume[1]).tolist() == [-1, 1]
    assert loaded.facts["maximum"] == [200, 7]


def test_brain_percentile_is_of_the_brain_not_of_the_air(head):
    loaded = extract_brain(*head, MM, 64, crop=64, percentile=99)
    assert loaded.facts["maximum"] == [100, 7]


def test_brain_needs_no_mask_and_counts_what_the_cube_cuts_off(head):
    images, _ = head
    loaded = extract_brain(images, None, MM, 16, crop=24)
    assert not loaded.mask.any()
    assert loaded.facts["lost_voxels"] == 20 * (30 * 30 - 24 * 24)
    with pytest.raises(DatasetError, match="no voxel above 0"):
        extract_brain(images * 0, None, MM, 16)


def test_brain_refuses_other_shapes_and_voxels(head):
    images, mask = head
    with pytest.raises(DatasetError, match="must be equal"):
        extract_brain(images, mask[:-1], MM, 16)
    with pytest.raises(DatasetError, match="needs 1 mm"):
        extract_brain(images, mask, (1.0, 1.0, 3.0), 16)


def test_a_recipe_that_cuts_the_tumour_out_refuses_a_case_without_a_mask():
    with pytest.raises(DatasetError, match="the case has no mask"):
        Roi().apply(line(4)[None], None, MM, 4)
