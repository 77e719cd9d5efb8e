"""The ROI recipe: where voxels land, what is averaged, and what the facts say."""

import numpy as np
import pytest
import torch

from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.roi import (
    RECIPE,
    area_average,
    bounding_box,
    centre_crop,
    extract_roi,
    scale,
)

MM = (1.0, 1.0, 1.0)


def _line(length, total=160):
    """A scan with one row of mask voxels along x, numbered from 1; the box starts at 7."""
    image = np.zeros((5, 6, total), np.float32)
    image[2, 3, 7 : 7 + length] = np.arange(1, length + 1)
    return image


@pytest.mark.parametrize(
    ("length", "first", "last", "first_value", "last_value"),
    [
        (6, 61, 66, 1, 6),  # even: (128 - 6) // 2
        (7, 60, 66, 1, 7),  # odd: the half goes down
        (128, 0, 127, 1, 128),
        (129, 0, 127, 1, 128),  # one too long: nothing is cut before, one after
        (135, 0, 127, 4, 131),  # (135 - 128) // 2 = 3 are cut before, 4 after
    ],
)
def test_box_is_placed_by_the_floor_rule(length, first, last, first_value, last_value):
    image = _line(length)
    cube = centre_crop(image, bounding_box(image > 0), 128)
    row = cube[63, 63]  # a box one voxel long starts at (128 - 1) // 2
    assert cube.sum() == row.sum()
    inside = np.flatnonzero(row)
    assert (inside[0], inside[-1]) == (first, last)
    assert (row[first], row[last]) == (first_value, last_value)


def test_voxels_outside_the_crop_are_counted():
    image = _line(135)
    facts = extract_roi(image, image, MM, 128).facts
    assert facts["mask_voxels"] == 135
    assert facts["lost_voxels"] == 7
    assert facts["box"] == [[2, 2], [3, 3], [7, 141]]


def test_axes_keep_their_order():
    image = np.zeros((9, 9, 9), np.float32)
    image[1:3, 1:5, 1:7] = 1  # 2 in z, 4 in y, 6 in x
    volume = extract_roi(image, image, MM, 16, crop=16).volume[0]
    spans = [high - low + 1 for low, high in bounding_box(volume > -1)]
    assert spans == [2, 4, 6]


def test_a_straight_line_through_a_growing_tumour_stays_straight():
    image = np.zeros((30, 64, 64), np.float32)
    for z in range(30):
        image[z, 20 : 24 + z, 20 : 24 + z] = 1  # grows to one side
    image[:, 21, 22] = 5
    cube = extract_roi(image, image, MM, 128).volume[0]
    where = np.argwhere(cube == 1)
    assert len(where) == 30
    assert len({(y, x) for _, y, x in where}) == 1


def test_empty_slices_inside_the_tumour_are_kept():
    image = np.zeros((20, 4, 4), np.float32)
    image[2:5, 1, 1] = 1
    image[11:13, 1, 1] = 1
    volume = extract_roi(image, image, MM, 16, crop=16).volume[0]
    assert np.flatnonzero((volume > -1).any((1, 2))).tolist() == [2, 3, 4, 11, 12]


def test_every_label_counts_as_tumour_without_changing_intensity():
    image = np.full((4, 4, 4), 10, np.float32)
    segmentation = np.zeros_like(image)
    segmentation[1, 1, :] = [0, 1, 2, 4]
    loaded = extract_roi(image, segmentation, MM, 4, crop=4)
    assert loaded.mask.sum() == 3
    assert np.unique(loaded.volume).tolist() == [-1, 1]


def test_area_average_comes_before_normalisation():
    image = np.zeros((2, 2, 4), np.float32)
    image[0, 0, :] = [8, 8, 4, 0]
    segmentation = np.ones_like(image)
    loaded = extract_roi(image, segmentation, MM, 2, crop=4)
    # Averages over 2 x 2 x 2 cells: 16 / 8 = 2 and 4 / 8 = 0.5 lie in one row, 0 elsewhere.
    assert (loaded.facts["minimum"], loaded.facts["maximum"]) == (0.0, 2.0)
    assert sorted(loaded.volume.ravel())[-2:] == [-0.5, 1.0]


@pytest.mark.parametrize("size", [1, 5, 12, 16, 24, 31, 32])
def test_area_average_equals_the_torch_reference(size):
    cube = np.random.default_rng(size).integers(0, 999, (32, 32, 32)).astype(np.float32)
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(cube)[None, None].double(), size=(size,) * 3, mode="area"
    )[0, 0].numpy()
    assert np.allclose(area_average(cube, size), reference, rtol=1e-12)


def test_area_average_does_not_mix_axes():
    cube = np.zeros((8, 8, 8))
    cube[0, 2, 7] = 8
    assert np.argwhere(area_average(cube, 4)).tolist() == [[0, 1, 3]]


def test_half_covered_voxels_belong_to_the_mask():
    segmentation = np.zeros((6, 6, 6), np.float32)
    segmentation[0:3, :, :] = 1  # of 4 outputs along z, the second covers inputs 1, 2: all tumour
    segmentation[3, 0:3, :] = 1
    mask = extract_roi(segmentation + 1, segmentation, MM, 3, crop=6).mask[0]
    # The box is centred: z 0..3 moves to 1..4. Output 0 covers inputs 0 and 1: exactly half.
    assert mask[0].all()
    assert mask[1].all()
    assert mask[2, 0].all()
    assert not mask[2, 2].any()


def test_range_is_exactly_minus_one_to_one():
    scaled = scale(np.array([[[3.0, 3.1, 7.3]]]))
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (-1, 1)
    assert scaled[0, 0, 1] == pytest.approx(2 * 0.1 / 4.3 - 1, abs=1e-6)


def test_a_constant_volume_becomes_minus_one():
    assert (scale(np.full((2, 2, 2), 7.0)) == -1).all()
    segmentation = np.ones((2, 2, 2), np.float32)
    assert (extract_roi(0 * segmentation, segmentation, MM, 4, crop=4).volume == -1).all()


def test_negative_values_become_background_and_are_counted():
    image = np.array([[[-5.0, 0.0, 2.0, 4.0]]], np.float32)
    loaded = extract_roi(image, np.ones_like(image), MM, 4, crop=4)
    assert loaded.facts["negative_voxels"] == 1
    assert loaded.facts["minimum"] == 0
    assert sorted(loaded.volume.ravel())[-2:] == [0, 1]


def test_result_has_the_contract_s_shapes_and_types():
    image = _line(9)
    loaded = extract_roi(image, image, MM, 24)
    assert loaded.volume.shape == loaded.mask.shape == (1, 24, 24, 24)
    assert loaded.volume.dtype == np.float32
    assert loaded.mask.dtype == np.uint8


@pytest.mark.parametrize(
    ("shape", "spacing", "fill", "message"),
    [
        ((4, 4, 5), MM, 1, r"\(4, 4, 4\) and the segmentation \(4, 4, 5\)"),
        ((4, 4, 4), (1.0, 1.0, 1.02), 1, "needs 1 mm"),
        ((4, 4, 4), MM, 0, "segmentation is empty"),
    ],
)
def test_unusable_scans_are_refused(shape, spacing, fill, message):
    image = np.ones((4, 4, 4), np.float32)
    with pytest.raises(DatasetError, match=message):
        extract_roi(image, np.full(shape, fill, np.float32), spacing, 4, crop=4)


def test_spacing_within_a_hundredth_counts_as_one_millimetre():
    image = np.ones((4, 4, 4), np.float32)
    assert extract_roi(image, image, (1.0, 0.995, 1.009), 4, crop=4).mask.all()


def test_recipe_names_every_open_point():
    assert (RECIPE.name, RECIPE.version) == ("roi", 1)
    assert {
        "order",
        "percentile_clipping",
        "wider_than_crop",
        "axes",
        "negatives",
        "placement",
        "resize",
        "normalise",
        "mask_at_size",
        "crop",
        "voxel_mm",
    } <= set(RECIPE.settings)
