"""The recipe ``roi``: from a scan and a segmentation to a tumour region of interest.

Zhou & Khalvati, MIDL 2024, section 3 and appendix A.2: the image times the tumour mask,
centre-cropped on the mask to 128 voxels of 1 mm, scaled to [-1, 1]. What the paper leaves open is
decided in ``RECIPE.settings``. One box is taken from the whole mask and cropped once: a box per
slice would shear the tumour, and dropping empty slices inside it would move its parts together.

All arrays are (D, H, W) = z, y, x of the RAS+ array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import DatasetError, Loaded, Recipe

CROP = 128

RECIPE = Recipe(
    name="roi",
    version=1,
    settings={
        "axes": "z, y, x of the RAS+ array",
        "voxel_mm": 1.0,
        "mask": "segmentation > 0",
        "negatives": "set to 0",
        "crop": CROP,
        "placement": "one box from the whole mask, n voxels long, starts at (crop - n) // 2",
        "wider_than_crop": "centre-cropped, starts at (n - crop) // 2 of the box",
        "order": "mask, crop, average, normalise",
        "resize": "area average of the crop",
        "percentile_clipping": None,
        "normalise": "minimum to -1 and maximum to 1 per volume; a constant volume to -1",
        "mask_at_size": "area average >= 0.5",
    },
)

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def extract_roi(
    image: NDArray[np.float32],
    segmentation: NDArray,
    spacing: tuple[float, float, float],
    size: int,
    crop: int = CROP,
    *,
    percentile: float | None = None,
    wide: str = "crop",
) -> Loaded:
    """Apply the recipe to one scan.

    Args:
        image: Scan (D, H, W), or one per channel (C, D, H, W), in any unit, background 0; negative
            values are set to 0. Every channel is scaled by itself.
        segmentation: (D, H, W), tumour > 0.
        spacing: Voxel edge lengths (D, H, W), mm; 1 mm within 0.01.
        size: Edge length S of the result, 1 to ``crop`` voxels.
        crop: Edge length of the crop before averaging, voxels.
        percentile: Intensities above this percentile of the tumour, in (0, 100], are clipped to it
            before averaging; None leaves them.
        wide: What becomes of a tumour wider than the crop: ``crop`` keeps its middle, ``shrink``
            averages a cube as wide as the tumour, ``reject`` refuses the case.

    Returns:
        Volume (C, S, S, S) float32 in [-1, 1], background exactly -1; mask (1, S, S, S) uint8;
        facts: ``box`` (lowest and highest mask index per axis), ``mask_voxels``, ``lost_voxels``
        (mask voxels outside the crop), ``negative_voxels`` (inside the mask), ``minimum`` and
        ``maximum`` before scaling (lists for several channels), and, for a shrunk tumour,
        ``crop``.

    Raises:
        DatasetError: If the shapes differ, the voxels are not 1 mm, the mask is empty, or the
            tumour is wider than the crop and ``wide`` is ``reject``.

    Source: MIDL 2024, section 3 and appendix A.2.
    Departures: see ``RECIPE.settings`` for the points the paper leaves open.
    """
    images = image[None] if image.ndim == 3 else image
    check_geometry(images.shape[1:], segmentation.shape, spacing)
    mask = segmentation > 0
    if not mask.any():
        raise DatasetError(
            "the segmentation is empty; a tumour voxel must be > 0. Correct or remove the case."
        )
    box = bounding_box(mask)
    edge = _edge(box, crop, wide)
    # Everything outside the box becomes background, so only the box is worked on.
    part = tuple(slice(low, high + 1) for low, high in box)
    images, mask = images[(slice(None), *part)], mask[part]
    depth, height, width = mask.shape
    local = ((0, depth - 1), (0, height - 1), (0, width - 1))
    cropped_mask = centre_crop(mask, local, edge)
    averaged = np.stack(
        [area_average(centre_crop(_inside(i, mask, percentile), local, edge), size) for i in images]
    )
    lows, highs = averaged.min((1, 2, 3)), averaged.max((1, 2, 3))
    facts = {
        "box": [list(pair) for pair in box],
        "mask_voxels": int(mask.sum()),
        "lost_voxels": int(mask.sum() - cropped_mask.sum()),
        "negative_voxels": int((images[:, mask] < 0).any(0).sum()),
        "minimum": lows.tolist() if len(lows) > 1 else float(lows[0]),
        "maximum": highs.tolist() if len(highs) > 1 else float(highs[0]),
    }
    if edge != crop:
        facts["crop"] = edge
    mask_at_size = area_average(cropped_mask, size) >= 0.5
    volume = np.stack([scale(channel) for channel in averaged])
    return Loaded(volume, mask_at_size.astype(np.uint8)[None], facts)


def check_geometry(
    image: tuple[int, ...], segmentation: tuple[int, ...], spacing: tuple[float, float, float]
) -> None:
    """Refuse an image and a mask of different shape, and voxels that are not 1 mm.

    Raises:
        DatasetError: With both shapes, or the voxel size.
    """
    if image != segmentation:
        raise DatasetError(
            f"the image has shape {image} and the segmentation {segmentation} (z, y, x); they must "
            "be equal. Resample one onto the other."
        )
    if not np.allclose(spacing, 1.0, rtol=0, atol=0.01):
        raise DatasetError(
            f"the voxels measure {tuple(round(mm, 3) for mm in spacing)} mm (z, y, x); the recipe "
            "needs 1 mm in every direction. Resample the scan first."
        )


def _edge(box: Box, crop: int, wide: str) -> int:
    """Return the edge of the cube that is cut out, voxels."""
    longest = max(high - low + 1 for low, high in box)
    if longest <= crop or wide == "crop":
        return crop
    if wide == "shrink":
        return longest
    raise DatasetError(
        f"the tumour is {longest} voxels long and the crop {crop}; the option wide=reject refuses "
        "it. Use wide=crop or wide=shrink, or remove the case."
    )


def _inside(
    image: NDArray[np.float32], mask: NDArray[np.bool_], percentile: float | None
) -> NDArray[np.float32]:
    """Return the tumour on a background of 0, its brightest voxels clipped if asked for."""
    masked = np.where(mask, np.maximum(image, 0), np.float32(0))
    if percentile is None:
        return masked
    return np.minimum(masked, np.float32(np.percentile(masked[mask], percentile)))


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """Return the lowest and the highest index of the mask along each of its three axes."""
    spans = []
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append((int(inside[0]), int(inside[-1])))
    return spans[0], spans[1], spans[2]


def centre_crop(volume: NDArray, box: Box, edge: int) -> NDArray:
    """Copy a box to the centre of a cube of zeros.

    Along each axis a box of n voxels starts at ``(edge - n) // 2``; of a longer one the middle
    ``edge`` voxels are kept, from ``(n - edge) // 2`` on.

    Args:
        volume: (D, H, W).
        box: Lowest and highest index per axis.
        edge: Edge length of the result, voxels.

    Returns:
        (edge, edge, edge) of the same dtype.
    """
    source, target = [], []
    for low, high in box:
        length = high - low + 1
        kept = min(length, edge)
        first = low + (length - kept) // 2
        start = (edge - kept) // 2
        source.append(slice(first, first + kept))
        target.append(slice(start, start + kept))
    cube = np.zeros((edge, edge, edge), dtype=volume.dtype)
    cube[tuple(target)] = volume[tuple(source)]
    return cube


def area_average(cube: NDArray, size: int) -> NDArray[np.float64]:
    """Shrink a cube by averaging over the input voxels that each output voxel touches.

    Output voxel i averages the input from ``floor(i n / size)`` up to ``ceil((i + 1) n / size)``
    along each axis, as PyTorch's ``interpolate(mode="area")`` does. Sums are taken before the one
    division, so whole numbers give the same bits on every machine.

    Args:
        cube: (n, n, n).
        size: Edge length of the result, 1 to n.

    Returns:
        (size, size, size) float64.
    """
    edge = cube.shape[0]
    if size == edge:
        return cube.astype(np.float64)
    windows = averaging_windows(edge, size)  # (size, n)
    sums = cube.astype(np.float64)
    for _ in range(3):
        # Each pass shrinks the last axis and puts it first: after three, the order is restored.
        sums = np.moveaxis(sums @ windows.T, -1, 0)
    counts = windows.sum(axis=1)
    return sums / (counts[:, None, None] * counts[:, None] * counts)


def averaging_windows(edge: int, size: int) -> NDArray[np.float64]:
    """Return (size, edge) zeros and ones: row i marks the input that output voxel i averages."""
    outputs = np.arange(size)[:, None]
    inputs = np.arange(edge)[None, :]
    starts = outputs * edge // size
    ends = -(-(outputs + 1) * edge // size)
    return ((inputs >= starts) & (inputs < ends)).astype(np.float64)


def scale(volume: NDArray[np.float64]) -> NDArray[np.float32]:
    """Map the minimum to -1 and the maximum to 1, exactly; a constant volume becomes all -1."""
    low, high = volume.min(), volume.max()
    if low == high:
        return np.full(volume.shape, -1, dtype=np.float32)
    return (2 * ((volume - low) / (high - low)) - 1).astype(np.float32)
