"""Encoder and decoder of Medical Diffusion's VQ-GAN: convolutions that repeat the border voxels.

Source: Khader et al. 2023, Scientific Reports (arXiv:2211.03364); layers and widths of their code,
which goes back to TATS (Ge et al. 2022), written anew from a description.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.layers.group_norm import GroupNorm


def encoder(image_channels: int, width: int, levels: int, groups: int) -> nn.Sequential:
    """Return the network from volumes to features; every level halves the edge.

    Args:
        image_channels: Channels of a volume, C.
        width: Channels of the first convolution, doubled by every level.
        levels: Number of halvings, >= 1.
        groups: Groups of the normalisation; divides twice the width.

    Returns:
        Maps (B, C, S, S, S) to (B, width 2^levels, l, l, l), l = S / 2^levels.
    """
    widths = [width << level for level in range(levels + 1)]
    layers: list[nn.Module] = [PadConv(image_channels, width, 3)]
    for fine, coarse in pairwise(widths):
        layers += [PadConv(fine, coarse, 4, 2), ResBlock(coarse, groups)]
    return nn.Sequential(*layers, _norm(widths[-1], groups), nn.SiLU())


def decoder(image_channels: int, width: int, levels: int, groups: int) -> nn.Sequential:
    """Return the network from features to volumes; arguments are those of its encoder.

    The first level keeps the channels and every further one halves them, so that the last
    convolution sees 2 width channels.

    Returns:
        Maps (B, width 2^levels, l, l, l) to (B, C, S, S, S), unbounded.
    """
    top = width << levels
    widths = [top, *(width << level for level in range(levels, 0, -1))]
    layers: list[nn.Module] = [_norm(top, groups), nn.SiLU()]
    for coarse, fine in pairwise(widths):
        layers += [PadConvT(coarse, fine), ResBlock(fine, groups), ResBlock(fine, groups)]
    return nn.Sequential(*layers, PadConv(widths[-1], image_channels, 3))


class PadConv(nn.Conv3d):
    """Convolution that repeats border voxels: the edge S becomes S / stride, for even S.

    Repeated are kernel - stride voxels per axis, half of them at either end: one at each for both
    forms used here, kernel 3 with stride 1 and kernel 4 with stride 2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        padding = (kernel - stride) // 2
        super().__init__(inputs, outputs, kernel, stride, padding, padding_mode="replicate")


class PadConvT(nn.ConvTranspose3d):
    """Transposed convolution, kernel 4 and stride 2, that repeats border voxels: S becomes 2 S."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=4, stride=2, padding=3)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, 2 D, 2 H, 2 W)."""
        return super().forward(functional.pad(input, (1,) * 6, mode="replicate"), output_size)


class ResBlock(nn.Module):
    """Adds a branch of two times norm, SiLU and convolution to its input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _norm(channels, groups),
            nn.SiLU(),
            PadConv(channels, channels, 3),
            _norm(channels, groups),
            nn.SiLU(),
            PadConv(channels, channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, D, H, W) to the same shape."""
        return x + self.branch(x)


def _norm(channels: int, groups: int) -> GroupNorm:
    """Return the norm before every activation."""
    return GroupNorm(groups, channels, eps=1e-6)
