"""Patch discriminators of slices and volumes, MONAI's with the padding and start of the reference.

Source: Isola et al. 2017, arXiv:1611.07004, as in Medical Diffusion's code: kernel 4, padding 2
everywhere, strides 2, 2, 2, 1, 1, batch norm in the middle, weights as torch starts them.
"""

from __future__ import annotations

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn


def patch_discriminator(dims: int, image_channels: int, width: int) -> PatchDiscriminator:
    """Return a discriminator of slices (``dims`` = 2) or volumes (3).

    Args:
        dims: Number of spatial axes.
        image_channels: Channels of its input.
        width: Channels of the first layer, doubled by the next three.

    Returns:
        Maps (B, image_channels, ...) to five feature maps; the last holds the logits, one channel,
        where high means real. Edges for an input of 32: 17, 9, 5, 6, 7.
    """
    net = PatchDiscriminator(
        spatial_dims=dims,
        channels=width,
        in_channels=image_channels,
        num_layers_d=3,
        kernel_size=4,
        bias=True,
        padding=2,
    )
    last = net.get_submodule("final_conv.conv")
    assert isinstance(last, nn.Conv2d | nn.Conv3d)
    last.padding = (2,) * dims  # MONAI pads this layer by 1 whatever it is told
    for module in net.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()  # MONAI starts with N(0, 0.02²)
    return net


def axial_slices(volumes: Tensor, depths: Tensor) -> Tensor:
    """Return slice ``depths[b]`` of each volume b.

    Args:
        volumes: (B, C, D, H, W).
        depths: (B,) int64 in [0, D).

    Returns:
        (B, C, H, W).
    """
    return volumes[torch.arange(len(volumes), device=volumes.device), :, depths]
