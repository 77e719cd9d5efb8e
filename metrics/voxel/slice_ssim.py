"""Structural similarity of axial slices as the released script of ALDM computes it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cerebench.metrics.base import Volume
from cerebench.metrics.voxel.schemes import ALDM_SIDE, C1, C2, RADIUS, gaussian


def stretched(volume: Volume) -> Tensor:
    """Return axial slices (D, C, 224, 224) on [0, 1], each by its own minimum and maximum."""
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume, 1, 0), dtype=np.float32))
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    unit = (x - low) / (high - low).clamp(min=1e-8)
    return functional.interpolate(
        unit, (ALDM_SIDE, ALDM_SIDE), mode="bilinear", align_corners=False
    )


def ssim_2d(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of images (B, C, H, W) with range 1, borders mirrored as torchmetrics does, (B,)."""
    taps = torch.tensor(gaussian(RADIUS))
    channels = x.shape[1]

    def smooth(images: Tensor) -> Tensor:
        images = functional.pad(images, [RADIUS] * 4, mode="reflect")
        for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
            kernel = taps.view(shape).expand(channels, *([-1] * 3))
            images = functional.conv2d(images, kernel, groups=channels)
        return images

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    cov = smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return (luminance * (2 * cov + C2) / (var_x + var_y + C2)).mean((1, 2, 3))
