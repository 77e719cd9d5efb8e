"""Definitions of structural similarity: windows, scales, constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cerebench.metrics.base import MetricError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


SIGMA = 1.5  # voxels, at every scale
PAIRS = 1000
RADIUS = 5  # of windows of 11 voxels
ALDM_SIDE = 224  # edge that the released script of ALDM resizes slices to
C1, C2 = 0.01**2, 0.03**2  # for a data range of 1


@dataclass(frozen=True)
class Scheme:
    """A definition of MS-SSIM for volumes of one size.

    Attributes:
        taps: Weights of the window along each axis; odd number, sum 1.
        exponents: One a scale, finest first.
        mirrored: Mirror the volume at its borders (the edge voxel twice) and keep its size, instead
            of using only windows that lie inside.
        unit_range: Map [-1, 1] to [0, 1] first.
    """

    taps: tuple[float, ...]
    exponents: tuple[float, ...]
    mirrored: bool
    unit_range: bool

    @property
    def radius(self) -> int:
        """Voxels of the window to each side of its centre."""
        return len(self.taps) // 2

    @property
    def label(self) -> str:
        """Window and number of scales, for example ``win7/sc5``."""
        return f"win{len(self.taps)}/sc{len(self.exponents)}"


def standard_scheme(shape: Sequence[int]) -> Scheme:
    """Return the definition of Wang et al. with a window that fits the volume.

    Window k = largest odd number up to min(11, S // 16) and at least 3, S the shortest edge; where
    3 voxels do not fit at 5 scales, coarse scales are dropped and the weights divided by their sum.

    Args:
        shape: (C, D, H, W) or (D, H, W), voxels.

    Returns:
        The scheme: 128 voxels give win7/sc5, 64 give win3/sc5, 32 give win3/sc4.

    Raises:
        MetricError: If an edge is shorter than 3 voxels.

    Source: Wang, Simoncelli, Bovik 2003, equation 7; window rule: ours.
    """
    shortest = min(shape[-3:])
    if shortest < 3:
        raise MetricError(
            f"Volumes of shape {tuple(shape)} are too small for MS-SSIM, which needs 3 voxels "
            "along every axis. Use larger volumes."
        )
    fitting = min(11, shortest // 16)
    window = max(3, fitting - 1 + fitting % 2)
    scales = max(m for m in range(1, len(WEIGHTS) + 1) if shortest >> (m - 1) >= window)
    weights = WEIGHTS[:scales]
    if scales < len(WEIGHTS):
        weights = tuple(w / sum(weights) for w in weights)
    return Scheme(gaussian(window // 2), weights, mirrored=False, unit_range=True)


def kwon_scheme(shape: Sequence[int]) -> Scheme:
    """Return the computation behind the field's tables.

    Window of 13 voxels (4 standard deviations to each side) with mirrored borders; the exponents
    are the weights but for the last one, which is 4 w_5 = 0.5332; data in [-1, 1] as they are.

    Args:
        shape: (C, D, H, W) or (D, H, W), voxels.

    Raises:
        MetricError: If an edge is shorter than 16 voxels.

    Source: Kwon et al. 2019, pytorch_ssim of 3dbraingen.
    """
    if min(shape[-3:]) < 16:
        raise MetricError(
            f"Volumes of shape {tuple(shape)} are too small for ms-ssim-kwon, which halves them "
            "four times and needs 16 voxels along every axis. Use ms-ssim instead."
        )
    return Scheme(gaussian(6), (*WEIGHTS[:-1], 4 * WEIGHTS[-1]), mirrored=True, unit_range=False)


def gaussian(radius: int) -> tuple[float, ...]:
    """Return a Gaussian window of 2 radius + 1 voxels, standard deviation 1.5, sum 1.

    The weights are float32 numbers whose rounding errors are put right at the ends: a sum that is
    off by 1e-7 would bias every variance, a difference of two filtered images.
    """
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA) ** 2)
    rounded = (weights / weights.sum()).astype(np.float32)
    rounded[[0, -1]] += (1 - rounded.sum(dtype=np.float64)) / 2
    return tuple(rounded.tolist())
