"""The recipe ``brain``: the whole brain at one size, for methods that need its surroundings.

Skull-stripped scans have a background of exactly 0. The brain is where any channel is above 0; one
cube is centred on its box, averaged to the size and scaled to [-1, 1]. The tumour mask goes along
in the same frame.

All arrays are (D, H, W) = z, y, x of the RAS+ array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import DatasetError, Loaded
from cerebench.datasets.scans.roi import (
    area_average,
    bounding_box,
    centre_crop,
    check_geometry,
    scale,
)

CROP = 192  # mm; the longest axis of an adult brain is about 180
PERCENTILE = 99.9


def extract_brain(
    images: NDArray[np.float32],
    segmentation: NDArray | None,
    spacing: tuple[float, float, float],
    size: int,
    crop: int = CROP,
    percentile: float | None = PERCENTILE,
) -> Loaded:
    """Apply the recipe to one scan.

    Args:
        images: Skull-stripped scans (C, D, H, W) in any unit, background 0; negative values are
            set to 0. Every channel is scaled by itself.
        segmentation: (D, H, W), tumour > 0; None if there is none.
        spacing: Voxel edge lengths (D, H, W), mm; 1 mm within 0.01.
        size: Edge length S of the result, 1 to ``crop`` voxels.
        crop: Edge length of the cube before averaging, voxels.
        percentile: Intensities above this percentile of the brain, in (0, 100], are clipped to it;
            None leaves them.

    Returns:
        Volume (C, S, S, S) float32 in [-1, 1]; tumour mask (1, S, S, S) uint8, all 0 without a
        segmentation; facts: ``box`` (lowest and highest brain index per axis), ``brain_voxels``,
        ``mask_voxels``, ``lost_voxels`` (tumour voxels outside the cube, or brain voxels where
        there is no tumour), ``minimum`` and ``maximum`` per channel before scaling.

    Raises:
        DatasetError: If the shapes differ, the voxels are not 1 mm, or there is no brain.

    Source: own recipe, after the preprocessing of Med-DDPM and WDM-3D. Departures: none.
    """
    shape = images.shape[1:]
    tumour = np.zeros(shape, bool) if segmentation is None else segmentation > 0
    check_geometry(shape, tumour.shape, spacing)
    brain = np.any(images > 0, axis=0)
    if not brain.any():
        raise DatasetError("the scan has no voxel above 0. Replace or remove the case.")
    box = bounding_box(brain)
    cubes = []
    for image in images:
        values = np.where(brain, np.maximum(image, 0), np.float32(0))
        if percentile is not None:
            values = np.minimum(values, np.float32(np.percentile(values[brain], percentile)))
        cubes.append(area_average(centre_crop(values, box, crop), size))
    mask = centre_crop(tumour, box, crop)
    counted, kept = (tumour, mask) if tumour.any() else (brain, centre_crop(brain, box, crop))
    facts = {
        "box": [list(pair) for pair in box],
        "brain_voxels": int(brain.sum()),
        "mask_voxels": int(tumour.sum()),
        "lost_voxels": int(counted.sum() - kept.sum()),
        "minimum": [float(cube.min()) for cube in cubes],
        "maximum": [float(cube.max()) for cube in cubes],
    }
    at_size = (area_average(mask, size) >= 0.5).astype(np.uint8)
    return Loaded(np.stack([scale(cube) for cube in cubes]), at_size[None], facts)
