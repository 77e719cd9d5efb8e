"""Copies of real volumes by one of four transforms: rotation, scale, flip, elastic deformation.

Copies are made when they are read and are the same at every reading. All pairs of a transform and a
case are listed and shuffled once, and the first ones are used, so that a copy differs from its case
by one transform and no copy occurs twice.

Source: Zhou and Khalvati, MIDL 2024, traditional augmentation: rotation 30 degrees, scale 1.5,
left-right flip, elastic deformation.
Ours, because the paper does not say: rotation by +30 degrees in axial slices; scale about the
centre, cropped to the old size; trilinear interpolation with background (-1) outside; the elastic
deformation and its ranges in voxels, whatever the size of the volume; copies made beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from monai.transforms.spatial.array import Rand3DElastic
from numpy.typing import NDArray
from scipy import ndimage

from cerebench.metrics.base import LazyVolumes
from cerebench.metrics.downstream.base import Cases

Intensities = NDArray[np.float32]  # (C, D, H, W) in [0, 2], background 0

ANGLE = 30.0  # degrees, from H towards W
SCALE = 1.5
ELASTIC_SIGMA = (5.0, 8.0)  # voxels
ELASTIC_MAGNITUDE = (50.0, 150.0)  # voxels, before smoothing; about half a voxel after it


def rotation(volume: Intensities, seed: int) -> Intensities:
    """Turn every axial slice by 30 degrees."""
    turned = ndimage.rotate(volume, ANGLE, axes=(2, 3), reshape=False, order=1)
    return np.asarray(turned, np.float32)


def scale(volume: Intensities, seed: int) -> Intensities:
    """Enlarge by 1.5 about the centre and crop."""
    centre = (np.array(volume.shape[1:]) - 1) / 2
    matrix = np.eye(3) / SCALE
    offset = centre - matrix @ centre
    channels = [
        # scipy has no types, and its default, a number, says nothing of arrays.
        ndimage.affine_transform(channel, matrix, offset, order=1)  # pyright: ignore[reportArgumentType]
        for channel in volume
    ]
    return np.asarray(np.stack(channels), np.float32)


def flip(volume: Intensities, seed: int) -> Intensities:
    """Mirror left and right."""
    return volume[..., ::-1]


def elastic(volume: Intensities, seed: int) -> Intensities:
    """Move every voxel by smoothed noise of this seed."""
    deform = Rand3DElastic(ELASTIC_SIGMA, ELASTIC_MAGNITUDE, prob=1, padding_mode="border")
    deform.set_random_state(seed)
    return np.asarray(deform(torch.tensor(np.ascontiguousarray(volume))))


TRANSFORMS: Mapping[str, Callable[[Intensities, int], Intensities]] = {
    "rotation": rotation,
    "scale": scale,
    "flip": flip,
    "elastic": elastic,
}


def augmented(volume: NDArray[np.float32], transform: str, seed: int) -> NDArray[np.float32]:
    """Return one copy.

    Args:
        volume: (C, D, H, W) float32 in [-1, 1].
        transform: Key of ``TRANSFORMS``.
        seed: Seed of the elastic deformation; 0 to 2^32 - 1.

    Returns:
        (C, D, H, W) float32 in [-1, 1]; exactly -1 where only background was.
    """
    # Background is 0 while transforming, so that interpolation keeps it and what comes in from
    # outside is background.
    moved = TRANSFORMS[transform](np.asarray(volume, np.float32) + 1, seed)
    return np.clip(moved - 1, -1, 1).astype(np.float32)


def copies(cases: Cases, count: int, seed: int) -> Cases:
    """Return copies of cases, at most one for each pair of a transform and a case.

    Args:
        cases: What is copied; a copy has the label and the patient of its case.
        count: Number of copies; all pairs there are where it is larger.
        seed: Seed of the choice and of the elastic deformations.
    """
    pairs = [(transform, i) for transform in TRANSFORMS for i in range(len(cases))]
    chosen = np.random.RandomState([seed, len(pairs)]).permutation(len(pairs))[:count]
    kept = [pairs[number] for number in chosen]
    seeds = np.random.RandomState([seed, 1]).randint(2**32, size=len(pairs), dtype=np.uint32)
    sources = [i for _, i in kept]
    ids = tuple(f"{cases.ids[i]}-{transform}" for transform, i in kept)

    def make(index: int) -> NDArray[np.float32]:
        transform, i = kept[index]
        return augmented(cases.volumes[i], transform, int(seeds[chosen[index]]))

    return Cases(
        volumes=LazyVolumes(ids, make),
        labels=cases.labels[sources],
        ids=ids,
        patients=tuple(cases.patients[i] for i in sources),
    )
