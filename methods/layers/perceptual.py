"""LPIPS on axial slices: how different two volumes look to a network trained on photographs.

The perceptual term of every autoencoder here: both VQGANs and Medical Diffusion.

Source: Zhang et al. 2018, arXiv:1801.03924, version 0.1 with VGG16. Its learned heads ship with
torchmetrics; the VGG16 weights are a file of their own (``VGG16``), which the harness provides.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from cerebench.methods.base import Run
from cerebench.methods.layers.vq.losses import total

VGG16 = "vgg16-imagenet"  # name of the weight file

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of the colours of ImageNet


class VGG16Features(nn.Module):
    """Convolutions of VGG16, without its classifier; 14,714,688 parameters.

    Names of the tensors are those of torchvision's network, so its weight files fit.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._taps: list[int] = []  # last layer of each block
        channels = (3, *(width for width, _ in BLOCKS))
        for (before, width), (_, depth) in zip(pairwise(channels), BLOCKS, strict=True):
            if self._taps:
                layers.append(nn.MaxPool2d(2))
            for index in range(depth):
                layers.append(nn.Conv2d(width if index else before, width, 3, padding=1))
                layers.append(nn.ReLU(inplace=True))
            self._taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what comes out of each block before its pooling.

        Args:
            x: Normalised colour images, (B, 3, H, W); H and W at least 16.

        Returns:
            Five maps, (B, 64, H, W) to (B, 512, H/16, W/16), after relu1_2, 2_2, 3_3, 4_3 and 5_3.
        """
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                taps.append(x)
        return taps


class LPIPS(nn.Module):
    """Learned perceptual distance between two images; frozen.

    Sum over five taps of the backbone of the mean over positions of
    sum_c w_c (a_c / |a| - b_c / |b|)^2, where a and b are the features of the two images at one
    position, |.| is their norm over channels (plus 1e-10) and w >= 0 are the learned heads.

    Args:
        backbone: Maps (B, 3, H, W) to five maps with 64, 128, 256, 512 and 512 channels, as
            ``VGG16Features`` does; it is frozen and put into eval mode.

    Attributes:
        shift: (3, 1, 1) float32, what is subtracted from the colours.
        scale: (3, 1, 1) float32, what they are divided by then.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        device = next(backbone.parameters()).device
        # Convolutions of flat images with channels last are faster on CPU and GPU.
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.heads = nn.ParameterList(head.to(device) for head in _heads())
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            self.register_buffer(name, torch.tensor(values, device=device).view(-1, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compare images pair by pair.

        Args:
            x: (B, 1, H, W) or (B, 3, H, W) in [-1, 1]; one channel is taken as grey.
            y: Same shape and range.

        Returns:
            (B,) float32, dimensionless, >= 0; 0 for equal images. Differentiable in x and y.
        """
        maps = zip(self._unit_maps(x), self._unit_maps(y), self.heads, strict=True)
        return total((w * (a - b).square()).sum(1).mean((1, 2)) for a, b, w in maps)

    def _unit_maps(self, x: Tensor) -> list[Tensor]:
        """Return the features in float32, of norm 1 over channels at every position."""
        maps = [m.float() for m in self.backbone((x - self.shift) / self.scale)]
        return [m / (torch.linalg.vector_norm(m, dim=1, keepdim=True) + 1e-10) for m in maps]


def perceptual_network(run: Run, setting: str) -> LPIPS | None:
    """Return the network that a ``perceptual`` setting asks for, or None where it is ``none``."""
    return None if setting == "none" else LPIPS(run.pretrained(VGG16, VGG16Features()))


def slice_depths(uniforms: Tensor, size: int, margin: int | None = None) -> Tensor:
    """Turn uniform numbers into depths of axial slices.

    Args:
        uniforms: (n, B) in [0, 1): n draws for each of B volumes.
        size: Number of axial slices.
        margin: Slices at either end that are never drawn, fewer than half of them; by default 30
            of every 128, as in the code of Zhou and Khalvati 2024.

    Returns:
        (n, B) int64, uniform in [margin, size - margin).
    """
    margin = 30 * size // 128 if margin is None else margin
    return margin + (uniforms * (size - 2 * margin)).long()


def slice_loss(lpips: LPIPS, real: Tensor, generated: Tensor, depths: Tensor) -> Tensor:
    """Sum over draws of the mean LPIPS of one axial slice per volume.

    A volume of several channels counts as several grey volumes: each channel is compared on its
    own, at the same depths, and the mean runs over volumes and channels.

    Args:
        lpips: The distance; it runs once, on all slices.
        real: (B, C, D, H, W) in [-1, 1]; no gradient flows into it.
        generated: Same shape and range.
        depths: (n, B) int64 in [0, D), for example from ``slice_depths``.

    Returns:
        Scalar float32, differentiable in ``generated``.
    """
    distances = lpips(_slices(real.detach(), depths), _slices(generated, depths))  # (n * B * C,)
    return len(depths) * distances.mean()


def _slices(volumes: Tensor, depths: Tensor) -> Tensor:
    """Return slice ``depths[i, b]`` of each channel of volume b: (n * B * C, 1, H, W)."""
    rows = torch.arange(len(volumes), device=volumes.device)
    return volumes[rows, :, depths].flatten(0, 2).unsqueeze(1)


def _heads() -> list[Tensor]:
    """Return the five heads, (C, 1, 1) each, from the installed torchmetrics (not imported)."""
    spec = find_spec("torchmetrics")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    path = Path(folder) / "functional" / "image" / "lpips_models" / "vgg.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].view(-1, 1, 1) for i in range(len(BLOCKS))]
