"""Nearest-neighbour upsampling and the convolution after it, computed as one layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NARROW = 8  # output channels below which a transposed convolution wastes its vectors


class UpsampleConv(nn.Conv3d):
    """Nearest-neighbour upsampling by 2 followed by a 3^3 convolution, computed as one.

    Upsampling repeats each voxel, so along an axis an even output voxel sees two coarse voxels
    with weights (w0, w1 + w2), an odd one with (w0 + w1, w2): 64 instead of 216 multiplications
    per coarse voxel, and no upsampled copy in memory. Parameters are those of a plain 3^3
    convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in, D, H, W) to (B, out, 2D, 2H, 2W)."""
        # The same sums in two arrangements; each is the faster one for its number of channels.
        folded = _folded_by_parity if self.out_channels < NARROW else _folded_transposed
        return folded(input, self.weight, self.bias)


def _folded_transposed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As a transposed convolution with the mirrored kernel summed over neighbouring taps."""
    kernel = weight.flip(2, 3, 4).transpose(0, 1)
    for before, after in (
        ((0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 1)),
        ((0, 0, 1, 0, 0, 0), (0, 0, 0, 1, 0, 0)),
        ((1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0)),
    ):
        kernel = functional.pad(kernel, before) + functional.pad(kernel, after)
    return functional.conv_transpose3d(x, kernel, bias, stride=2, padding=1)


def _folded_by_parity(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As one 2^3 convolution with eight outputs, even or odd along each axis, then interleaved."""
    for axis in (2, 3, 4):
        first, middle, last = weight.unbind(axis)
        even = torch.stack((first, middle + last), axis)
        odd = torch.stack((first + middle, last), axis)
        weight = torch.cat((even, odd))
    y = functional.conv3d(x, weight, None if bias is None else bias.repeat(8), padding=1)
    y = y.unflatten(1, (2, 2, 2, -1))  # (B, parity of W, of H, of D, out, D + 1, H + 1, W + 1)
    y = torch.stack((y[:, 0, ..., :-1], y[:, 1, ..., 1:]), -1)
    y = torch.stack((y[:, 0, ..., :-1, :, :], y[:, 1, ..., 1:, :, :]), -3)
    y = torch.stack((y[:, 0, :, :-1], y[:, 1, :, 1:]), 3)
    return y.flatten(6, 7).flatten(4, 5).flatten(2, 3)  # (B, out, 2D, 2H, 2W)
