"""MedicalNet: 3D residual networks trained on 23 segmentation data sets, in their own topology.

First convolution and pooling halve twice, the second stage once; the third and fourth stage keep
the resolution and are dilated by 2 and 4 instead. Libraries that load the same tensors into a
network with strides there compute other features. The features are the spatial means of the last
stage: 512 of ResNet-10, -18 and -34, 2048 of ResNet-50.

Source: Chen, Ma, Zheng 2019, arXiv:1904.00625; code MedicalNet/models/resnet.py; weights
resnet_<depth>_23dataset.pth.
Departures: intensities are standardised over the foreground of each volume and the background is
set to their minimum; the original fills it with random noise.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cerebench.core import weights
from cerebench.core.hashing import sha256_file
from cerebench.metrics.base import MetricError, MissingWeights
from cerebench.metrics.estimators.exact import exact_float32
from cerebench.metrics.extractors.radlite import LEAST_VOXELS, THRESHOLD

STAGES = ((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))  # width, stride, dilation
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class Block(nn.Module):
    """Two 3^3 convolutions, or 1^3, 3^3 and 1^3 to four times the width, and a shortcut.

    The shortcut is a convolution, or (``padded``) every stride-th voxel with empty channels added.
    """

    def __init__(
        self, inputs: int, width: int, stride: int, dilation: int, *, deep: bool, padded: bool
    ) -> None:
        super().__init__()
        self.outputs = 4 * width if deep else width
        self.stride, self.deep = stride, deep
        wide = {"padding": dilation, "dilation": dilation, "bias": False}
        if deep:
            self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
            self.conv2 = nn.Conv3d(width, width, 3, stride=stride, **wide)
            self.conv3 = nn.Conv3d(width, self.outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(self.outputs)
        else:
            self.conv1 = nn.Conv3d(inputs, width, 3, stride=stride, **wide)
            self.conv2 = nn.Conv3d(width, width, 3, **wide)
        self.bn1, self.bn2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        if not padded and (stride != 1 or inputs != self.outputs):
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, self.outputs, 1, stride=stride, bias=False),
                nn.BatchNorm3d(self.outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, D / stride, H / stride, W / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.deep:
            y = self.bn3(self.conv3(functional.relu(y)))
        return functional.relu(y + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if hasattr(self, "downsample"):
            return self.downsample(x)
        x = x[..., :: self.stride, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, 0, 0, 0, self.outputs - x.shape[1]))


class ResNet(nn.Module):
    """The network without its segmentation head; maps (B, 1, D, H, W) to (B, features)."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        width = 64
        for number, (count, stage) in enumerate(zip(BLOCKS[depth], STAGES, strict=True), 1):
            planes, stride, dilation = stage
            blocks = []
            for index in range(count):
                step = stride if index == 0 else 1
                options = {"deep": depth >= 50, "padded": depth in (18, 34)}
                blocks.append(Block(width, planes, step, dilation, **options))
                width = blocks[-1].outputs
            setattr(self, f"layer{number}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Return the spatial means of the last stage."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool3d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3, 4))


def standardised(volume: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Bring the foreground of a volume (1, D, H, W) to mean 0 and sd 1, the rest to its minimum.

    Returns:
        The volume, or None where fewer than 27 voxels are foreground.
    """
    inside = (volume + 1) / 2 > THRESHOLD
    if np.count_nonzero(inside) < LEAST_VOXELS:
        return None
    values = volume[inside].astype(np.float64)
    scaled = (volume - values.mean()) / max(values.std(), 1e-8)
    return np.where(inside, scaled, scaled[inside].min()).astype(np.float32)


class MedicalNet:
    """The extractor of one depth; its weights are verified before a feature is computed.

    Raises:
        MissingWeights: If the weight file is not on this machine.
    """

    version = 1
    ndim = 3
    depth: int
    dim: int
    name: str
    device: str | torch.device = "cpu"  # set before the first volume
    input = {
        "channels": 1,
        "foreground": f"(v + 1) / 2 > {THRESHOLD}",
        "intensity": "z-score over the foreground of the volume; background at its minimum",
        "layer": "spatial mean of stage 4",
        "topology": "original: strides 2 2 1 1, dilations 1 1 2 4",
    }

    def __init__(self) -> None:
        self.path = weights.find(f"medicalnet-resnet{self.depth}")
        self.weights_sha256 = sha256_file(self.path)

    @cached_property
    def network(self) -> nn.Module:
        """The network on its device; built when first used, since plans only need its identity."""
        return load_network(self.path, self.depth).to(self.device)

    def prepare(self, volume: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Turn a volume (1, D, H, W) in [-1, 1] into the network's input; None: no object."""
        return standardised(volume)

    @torch.no_grad()
    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map volumes to features, one volume at a time.

        Args:
            batch: (B, 1, D, H, W), float32 in [-1, 1].

        Returns:
            (B, dim) float32; a row of zeros for a volume without an object.

        Raises:
            MetricError: If the volumes do not have exactly one channel.
        """
        if batch.shape[1] != 1:
            raise MetricError(
                f"MedicalNet features were asked of volumes with {batch.shape[1]} channels; one is "
                "expected. Score the channels one at a time."
            )
        rows = np.zeros((len(batch), self.dim), np.float32)
        with exact_float32():
            for row, volume in zip(rows, batch, strict=True):
                ready = self.prepare(volume)
                if ready is not None:
                    row[:] = self.network(torch.from_numpy(ready)[None].to(self.device)).cpu()[0]
        return rows


def load_network(path: Path, depth: int) -> nn.Module:
    """Build the network of a depth and fill it from a file.

    Raises:
        MissingWeights: If the tensors in the file are not those of this network.
    """
    state = stored_tensors(path)
    network = ResNet(depth)
    own = network.state_dict()
    expected, found = (
        weights.layout_hash((n, tuple(t.shape)) for n, t in s.items()) for s in (own, state)
    )
    if found != expected:
        raise MissingWeights(
            f"{path} holds {len(state)} tensors that are not those of MedicalNet's ResNet-{depth}. "
            "Run: bench weights import FILE"
        )
    network.load_state_dict(state, strict=False)  # batch counters may be absent, and are unused
    return network.eval().requires_grad_(False)


def stored_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, without what its training put around them."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    stored = stored.get("state_dict", stored)
    return {name.removeprefix("module."): tensor for name, tensor in stored.items()}


def layout_of(path: Path) -> str:
    """Return the ``layout_hash`` of the tensors in a file, or an empty string if it holds none."""
    try:
        return weights.layout_hash((n, tuple(t.shape)) for n, t in stored_tensors(path).items())
    except Exception:  # torch raises what it likes where a file is none of its own
        return ""


class MedicalNet10(MedicalNet):
    """512 features of ResNet-10."""

    name, depth, dim = "medicalnet-orig-resnet10", 10, 512


class MedicalNet18(MedicalNet):
    """512 features of ResNet-18."""

    name, depth, dim = "medicalnet-orig-resnet18", 18, 512


class MedicalNet34(MedicalNet):
    """512 features of ResNet-34."""

    name, depth, dim = "medicalnet-orig-resnet34", 34, 512


class MedicalNet50(MedicalNet):
    """2048 features of ResNet-50; more than most sets have volumes."""

    name, depth, dim = "medicalnet-orig-resnet50", 50, 2048


class MedicalNet50WDM(MedicalNet50):
    """2048 features of ResNet-50 as the evaluation of WDM feeds it.

    Intensities on [0, 1] without the z-score of the network's training, and axes x, y, z of the
    array that BraTS stores (L, P, S), which the network tells from z, y, x. For comparison with
    published values alone. A volume without an object has features like any other.
    """

    name = "medicalnet-orig-resnet50-wdm"
    input = {
        **{k: v for k, v in MedicalNet.input.items() if k != "foreground"},
        "intensity": "(v + 1) / 2, no z-score",
        "axes": "x, y, z of the LPS array",
    }

    def prepare(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (1, W, H, D), x and y mirrored, on [0, 1]."""
        turned = volume.transpose(0, 3, 2, 1)[:, ::-1, ::-1]
        return np.ascontiguousarray((turned + 1) / 2, dtype=np.float32)
