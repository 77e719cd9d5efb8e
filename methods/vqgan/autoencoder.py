"""Encoder, decoder and patch discriminator of 3D-VQGAN: convolutions and batch norms.

Source: the code of Zhou et al. 2023 (Brain_MRI_Vector_Quantization), written anew from a
description.

Departures from it: scales of batch norms begin at N(1, 0.02^2) instead of N(0, 0.02^2), with which
almost nothing passes a norm; norms that are never used are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from cerebench.methods.base import N
from cerebench.methods.layers.upsampling import UpsampleConv
from cerebench.methods.layers.vq import autoencoder as shared
from cerebench.methods.layers.vq.autoencoder import FloatTanh, discriminator_levels, leaky


def encoder(image_channels: int, channels: Sequence[int], bottleneck: int) -> nn.Sequential:
    """Return the network from volumes to latents; every level halves the edge.

    Args:
        image_channels: Channels of a volume, C.
        channels: Width of each level, finest first.
        bottleneck: Channels of the latent.

    Returns:
        Maps (B, C, S, S, S) in [-1, 1] to (B, bottleneck, l, l, l), l = S / 2^len(channels).
    """
    layers: list[nn.Module] = []
    for fine, coarse in pairwise((image_channels, *channels)):
        layers += [ConvBlock(fine, coarse, 4, 2, leaky()), ResBlock(coarse, leaky())]
    layers += [ConvBlock(channels[-1], bottleneck, 3, 1, leaky()), ResBlock(bottleneck, leaky())]
    return _initialised(nn.Sequential(*layers))


def decoder(image_channels: int, channels: Sequence[int], bottleneck: int) -> nn.Sequential:
    """Return the network from latents to volumes; arguments are those of its encoder.

    Returns:
        Maps (B, bottleneck, l, l, l) to (B, C, S, S, S), float32 in [-1, 1].
    """
    layers: list[nn.Module] = []
    for coarse, fine in pairwise((bottleneck, *reversed(channels))):
        layers += [UpBlock(coarse, fine), ResBlock(fine, nn.ReLU())]
    layers += [nn.Conv3d(channels[0], image_channels, 3, padding=1), FloatTanh()]
    return _initialised(nn.Sequential(*layers))


def discriminator(image_channels: int, width: int, size: int) -> shared.Discriminator:
    """Return the patch discriminator for volumes of edge ``size``, with batch norms."""
    levels = discriminator_levels(size)
    return _initialised(shared.Discriminator(image_channels, width, levels, ConvBlock))


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, activation: (B, in, D, H, W) to (B, out, D / s, H / s, W / s)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, activation: nn.Module
    ) -> None:
        conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding=1)
        super().__init__(conv, nn.BatchNorm3d(out_channels), activation)


class UpBlock(nn.Sequential):
    """Nearest upsampling by 2 with a convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        conv = UpsampleConv(in_channels, out_channels)
        super().__init__(conv, nn.BatchNorm3d(out_channels), nn.ReLU())


class ResBlock(nn.Module):
    """Adds a branch of two convolutions, each with its norm and activation, to its input."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ConvBlock(channels, channels, 3, 1, activation),
            ConvBlock(channels, channels, 3, 1, activation),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, D, H, W) to the same shape."""
        return x + self.branch(x)


def _initialised(net: N) -> N:
    """Draw convolution weights from N(0, 0.02^2) and scales of batch norms from N(1, 0.02^2)."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.weight, mean=1, std=0.02)
    return shared.initialised(net)
