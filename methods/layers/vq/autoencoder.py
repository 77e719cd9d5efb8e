"""Autoencoder and patch discriminator of the two VQGANs of Zhou et al.

``encoder``, ``decoder`` and their blocks are those of 3D-VQGAN-cond: convolutions and group norms
only. 3D-VQGAN has batch norms and therefore blocks of its own; it takes the discriminator, the
activations and the start of the weights from here.

Source: Zhou and Khalvati, MIDL 2024, appendix A; widths and initialisation of their code, written
anew from a description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from cerebench.methods.base import N
from cerebench.methods.layers.group_norm import GroupNorm
from cerebench.methods.layers.upsampling import UpsampleConv

GROUPS = 8  # every number of channels but that of an image is a multiple of it


def encoder(image_channels: int, channels: Sequence[int], bottleneck: int) -> nn.Sequential:
    """Return the network from volumes to latents; every level halves the edge.

    Args:
        image_channels: Channels of a volume, C.
        channels: Width of each level, finest first; multiples of 8.
        bottleneck: Channels of the latent, a multiple of 8.

    Returns:
        Maps (B, C, S, S, S) in [-1, 1] to (B, bottleneck, l, l, l), l = S / 2^len(channels).
    """
    layers: list[nn.Module] = []
    for fine, coarse in pairwise((image_channels, *channels)):
        layers += [ConvBlock(fine, coarse, 4, 2, leaky()), ResBlock(coarse, leaky())]
    layers += [ConvBlock(channels[-1], bottleneck, 3, 1, leaky()), ResBlock(bottleneck, leaky())]
    return initialised(nn.Sequential(*layers))


def decoder(image_channels: int, channels: Sequence[int], bottleneck: int) -> nn.Sequential:
    """Return the network from latents to volumes; arguments are those of its encoder.

    Returns:
        Maps (B, bottleneck, l, l, l) to (B, C, S, S, S), float32 in [-1, 1].
    """
    layers: list[nn.Module] = []
    for coarse, fine in pairwise((bottleneck, *reversed(channels))):
        layers += [UpBlock(coarse, fine), ResBlock(fine, nn.ReLU())]
    layers += [nn.Conv3d(channels[0], image_channels, 1), FloatTanh()]
    return initialised(nn.Sequential(*layers))


def final_convolution(decoder: nn.Sequential) -> nn.Conv3d:
    """Return the last layer of a decoder with weights, which the adaptive weight looks at."""
    last = decoder[-2]
    assert isinstance(last, nn.Conv3d)
    return last


@torch.no_grad()
def start_at_mean(decoder: nn.Sequential, volumes: Tensor) -> None:
    """Begin the last layer of a decoder at the mean of volumes, with weights of torch's size.

    A tumour fills a twentieth of its volume, so the first updates only darken. The small weights
    of ``initialised`` all turn negative by that; from then on a voxel is brightest where every
    unit is off, and no gradient reaches the inside of a tumour any more. It ends at one intensity,
    that of the bias. Larger weights keep their signs, and a bias at the mean leaves less to darken.

    Args:
        decoder: As ``decoder`` returns it; its last convolution is overwritten, with weights from
            torch's global generator.
        volumes: (B, C, D, H, W) in [-1, 1].
    """
    last = final_convolution(decoder)
    last.reset_parameters()
    mean = volumes.float().mean(dim=(0, 2, 3, 4)).clamp(-0.999, 0.999)
    assert last.bias is not None
    last.bias.copy_(mean.atanh())


def discriminator_levels(size: int) -> int:
    """Return the ``levels`` with which a discriminator ends in 5^3 logits, for a size >= 16."""
    return size.bit_length() - 5  # log2(size) - 4


class Discriminator(nn.Module):
    """Patch discriminator whose hidden layers serve feature matching.

    Args:
        image_channels: Channels of a volume.
        width: Channels of the first layer, doubled by every further one; a multiple of 8.
        levels: Layers with a norm between the first and the last.
        block: Makes such a layer; arguments are those of ``ConvBlock``, the default.
    """

    def __init__(
        self,
        image_channels: int,
        width: int = 64,
        levels: int = 3,
        block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        block = block or ConvBlock
        widths = [width * 2**i for i in range(levels + 1)]
        first = nn.Sequential(nn.Conv3d(image_channels, width, 4, 2, 1), leaky())
        hidden = (block(a, b, 4, 2, leaky()) for a, b in pairwise(widths))
        self.layers = nn.ModuleList((first, *hidden, nn.Conv3d(widths[-1], 1, 4)))
        initialised(self)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map (B, C, S, S, S) to logits (B, 1, n, n, n) and the outputs of all layers before.

        n = S / 2^(levels + 1) - 3; high logits mean real.
        """
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features.pop(), features


class ConvBlock(nn.Sequential):
    """Convolution, group norm, activation: (B, in, D, H, W) to (B, out, D / s, H / s, W / s)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, activation: nn.Module
    ) -> None:
        conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding=1)
        super().__init__(conv, _norm(out_channels), activation)


class UpBlock(nn.Sequential):
    """Nearest upsampling by 2 with a convolution, group norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(UpsampleConv(in_channels, out_channels), _norm(out_channels), nn.ReLU())


class ResBlock(nn.Module):
    """Adds a branch of two convolutions, each with norm and activation, to its input.

    Both norms are one module, and nothing follows the sum, as in the reference code.
    """

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm = _norm(channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, D, H, W) to the same shape."""
        y = self.activation(self.norm(self.conv1(x)))
        return x + self.activation(self.norm(self.conv2(y)))


class FloatTanh(nn.Tanh):
    """Tanh in float32: one of bf16 is exactly -1, without a gradient, from -3.1 on."""

    def forward(self, input: Tensor) -> Tensor:
        """Map a tensor of any shape and precision to float32 in [-1, 1]."""
        return super().forward(input.float())


def _norm(channels: int) -> GroupNorm:
    """Return the norm that follows every convolution but the last."""
    return GroupNorm(GROUPS, channels, eps=1e-6)


def leaky() -> nn.LeakyReLU:
    """Return the activation of encoders and discriminators."""
    return nn.LeakyReLU(0.2)


def initialised(net: N) -> N:
    """Draw convolution weights from N(0, 0.02^2); biases and norms keep torch's defaults."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.normal_(module.weight, std=0.02)
    return net
