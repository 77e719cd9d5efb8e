"""SqueezeNet 1.1 trained on ImageNet, 512 features of a slice: the spatial mean of its last map.

torchvision's network, filled from a local, verified file; nothing is downloaded. Slices are seen as
its ImageNet training showed images, but for the size: 224 x 224 pixels, three equal channels on
[0, 1], minus mean and divided by standard deviation of ImageNet.

``squeezenet1-1`` takes slices as they are. ``squeezenet1-1-vlm3d`` first scales each whole volume
by its 0.5 and 99.5 percentiles, as the MR track of the VLM3D challenge asks.

Source: Iandola et al. 2016, arXiv:1602.07360; torchvision, models.squeezenet1_1.
Departures: none known; the challenge's page gives percentiles, slice size and network, and leaves
open: 1. the layer, here the map before the classifier [ours: the usual place of Fréchet features];
2. the resize, here bilinear, not antialiased, whatever the shape of the slice [ours: as for FID];
3. the voxels of the percentiles, here all, background included, and clipping outside of them
[ours: a mask would be a choice of its own]; 4. a volume whose percentiles are equal, here empty
[ours: there is nothing to scale].
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cerebench.core import weights
from cerebench.core.hashing import sha256_file
from cerebench.metrics.base import MetricError, MissingWeights
from cerebench.metrics.estimators.exact import exact_float32

WEIGHTS = "squeezenet1-1-imagenet"
SIDE = 224
BATCH = 32
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, on [0, 1]
PERCENTILES = (0.5, 99.5)


class SqueezeNet:
    """The extractor; its weights are verified before a feature is computed.

    Raises:
        MissingWeights: If the verified weight file is not on this machine.
    """

    name = "squeezenet1-1"
    version = 1
    dim = 512
    ndim = 2
    device: str | torch.device = "cpu"  # set before the first slice
    input: Mapping[str, Any] = {
        "intensity": "(v + 1) / 2",
        "resize": f"{SIDE}, bilinear, align_corners=False, no antialias",
        "channels": "replicated to 3",
        "normalise": {"mean": list(MEAN), "sd": list(SD)},
        "layer": "spatial mean of the last map before the classifier",
    }

    def __init__(self) -> None:
        self.path = weights.find(WEIGHTS)
        self.weights_sha256 = sha256_file(self.path)

    @cached_property
    def network(self) -> nn.Module:
        """The network on its device; built when first used, since plans only need its identity."""
        return load_network(self.path).to(self.device)

    @torch.no_grad()
    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map slices to features.

        Args:
            batch: (B, 1, H, W), float32 in [-1, 1].

        Returns:
            (B, 512) float32.

        Raises:
            MetricError: If the slices do not have exactly one channel.
        """
        if batch.shape[1] != 1:
            raise MetricError(
                f"SqueezeNet features were asked of slices with {batch.shape[1]} channels; one is "
                "expected. Score the channels one at a time."
            )
        with exact_float32():
            parts = torch.from_numpy(np.ascontiguousarray(batch)).split(BATCH)
            features = [self.network(preprocess(part.to(self.device))).cpu() for part in parts]
        return torch.cat(features).numpy()


class SqueezeNetVLM3D(SqueezeNet):
    """The same features of volumes that are scaled by their percentiles."""

    name = "squeezenet1-1-vlm3d"
    input = {
        **SqueezeNet.input,
        "volume": f"percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of all voxels of the volume "
        "to [-1, 1], clipped",
    }

    def prepare_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale a whole volume before it is cut into slices."""
        return by_percentiles(volume)


def by_percentiles(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map the 0.5 and 99.5 percentiles of a volume to -1 and 1, and clip what is outside.

    Args:
        volume: (C, D, H, W), any range.

    Returns:
        The same shape, float32 in [-1, 1]; -1 everywhere where both percentiles are equal.
    """
    low, high = np.percentile(volume.astype(np.float64), PERCENTILES)
    if high <= low:
        return np.full(volume.shape, -1, np.float32)
    unit = np.clip((volume.astype(np.float64) - low) / (high - low), 0, 1)
    return (2 * unit - 1).astype(np.float32)


def preprocess(slices: Tensor) -> Tensor:
    """Turn (B, 1, H, W) in [-1, 1] into what the network saw in training, (B, 3, 224, 224)."""
    sized = functional.interpolate(slices, (SIDE, SIDE), mode="bilinear", align_corners=False)
    mean, sd = (slices.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, SD))
    return ((sized + 1) / 2 - mean) / sd


def load_network(path: Path) -> nn.Module:
    """Build the network and fill it from a verified file; it maps images to 512 features.

    Raises:
        MissingWeights: If the tensors in the file are not those of this network, or the installed
            torchvision does not work with the installed torch.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    found = weights.layout_hash((name, tuple(t.shape)) for name, t in state.items())
    if found != weights.KNOWN[WEIGHTS].layout_sha256:
        raise MissingWeights(
            f"{path} holds {len(state)} tensors that are not those of {WEIGHTS}. "
            "Run: bench weights import FILE"
        )
    network = build_network()
    network.load_state_dict(state)
    return pooled(network).eval().requires_grad_(False)


def pooled(network: Any) -> nn.Module:
    """Cut the classifier off and take the spatial mean of the last map, (B, 512)."""
    return nn.Sequential(network.features, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build_network() -> Any:
    """Assemble torchvision's network, classifier included, without weights.

    Raises:
        MissingWeights: If torchvision does not work with this torch.
    """
    try:
        from torchvision.models import squeezenet1_1
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch build raises
        raise MissingWeights(
            f"SqueezeNet needs a torchvision that matches torch, got: {error}. "
            "Install both together: pip install --force-reinstall torch torchvision"
        ) from error
    return squeezenet1_1(weights=None)
