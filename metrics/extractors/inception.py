"""The Inception network of the Fréchet Inception Distance, 2048 features of a slice.

The network of pytorch-fid, which is the TensorFlow graph of 2015-12-05 (Szegedy et al. 2015,
arXiv:1512.00567; Heusel et al. 2017, arXiv:1706.08500), filled from a local, verified file: the
constructor of pytorch-fid itself would download.

``inception`` gives pool3, 2048 features, and is the only feature space that prints as FID.
``inception-64``, ``-192`` and ``-768`` are taken earlier; ``inception-rgb`` sees slices as the
released script of ALDM shows them; ``inception-unverified`` is a file of the right name and layout
whose SHA-256 is not the canonical one.

Departures from the paper's network, all in the weights' own graph: average pools leave the padding
out; the last block pools by maximum; batch norm uses eps 1e-3.
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

WEIGHTS = "inception-2015-12-05"
SIDE = 299
BATCH = 32
RGB_SIDE = 224
# Number of features -> last module before the spatial mean, as in pytorch-fid.
TAPS = {64: "maxpool1", 192: "maxpool2", 768: "Mixed_6e"}


class Inception:
    """The extractor; its weights are verified before a feature is computed.

    Raises:
        MissingWeights: If the verified weight file is not on this machine.
    """

    name = "inception"
    version = 1
    dim = 2048
    ndim = 2
    channels = (1,)
    device: str | torch.device = "cpu"  # set before the first slice
    input: Mapping[str, Any] = {
        "preprocessing": "inception-pt",
        "quantise": "rint((v + 1) * 127.5), clipped to [0, 255]",
        "channels": "replicated to 3",
        "resize": f"{SIDE}, bilinear, align_corners=False, no antialias",
        "range": "[-1, 1]",
        "layer": "pool3",
    }

    def __init__(self) -> None:
        self.path = self._find()
        self.weights_sha256 = sha256_file(self.path)

    def _find(self) -> Path:
        return weights.find(WEIGHTS)

    @cached_property
    def network(self) -> nn.Module:
        """The network on its device; built when first used, since plans only need its identity."""
        return tapped(load_network(self.path), self.dim).to(self.device)

    def prepare(self, slices: Tensor) -> Tensor:
        """Turn slices into what the network saw in training, (B, 3, 299, 299)."""
        return preprocess(slices)

    @torch.no_grad()
    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map slices to features.

        Args:
            batch: (B, 1, H, W), float32 in [-1, 1].

        Returns:
            (B, dim) float32.

        Raises:
            MetricError: If the slices do not have the number of channels that is expected.
        """
        if batch.shape[1] not in self.channels:
            expected = "one is" if self.channels == (1,) else "one or three are"
            raise MetricError(
                f"Inception features were asked of slices with {batch.shape[1]} channels; "
                f"{expected} expected. Score the channels one at a time."
            )
        # TF32 would change features in the third digit, and with them the published meaning.
        with exact_float32():
            parts = torch.from_numpy(np.ascontiguousarray(batch)).split(BATCH)
            features = [self.network(self.prepare(part.to(self.device))).cpu() for part in parts]
        return torch.cat(features).numpy()


class Inception64(Inception):
    """64 features, after the first pooling."""

    name, dim = "inception-64", 64
    input = {**Inception.input, "layer": "spatial mean after the first max pooling"}


class Inception192(Inception):
    """192 features, after the second pooling."""

    name, dim = "inception-192", 192
    input = {**Inception.input, "layer": "spatial mean after the second max pooling"}


class Inception768(Inception):
    """768 features, before the last reduction."""

    name, dim = "inception-768", 768
    input = {**Inception.input, "layer": "spatial mean of Mixed_6e"}


class InceptionRGB(Inception):
    """Pool3 features of slices as ALDM's released script shows them to the network."""

    name = "inception-rgb"
    channels = (1, 3)
    input = {
        "stretch": "each channel of each slice to [0, 1] by its own minimum and maximum",
        "first_resize": f"{RGB_SIDE}, bilinear, align_corners=False, no antialias",
        "quantise": "truncated to 8 bits",
        "channels": "three modalities as RGB, or one replicated",
        "resize": f"{SIDE}, bilinear, align_corners=False, no antialias",
        "layer": "pool3",
    }

    def prepare(self, slices: Tensor) -> Tensor:
        """Stretch, resize, truncate to 8 bits and resize again."""
        low, high = slices.amin((2, 3), keepdim=True), slices.amax((2, 3), keepdim=True)
        unit = (slices - low) / (high - low).clamp(min=1e-8)
        small = functional.interpolate(
            unit, (RGB_SIDE, RGB_SIDE), mode="bilinear", align_corners=False
        )
        pixels = (small * 255).floor() / 255
        large = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return (2.0 * large - 1.0).expand(-1, 3, -1, -1)


class InceptionUnverified(Inception):
    """The same network from a file whose SHA-256 is another: its numbers are not called FID."""

    name = "inception-unverified"

    def _find(self) -> Path:
        return weights.find_unverified(WEIGHTS)


def tapped(network: nn.Module, dim: int) -> nn.Module:
    """Cut a loaded network behind the layer with ``dim`` features and take the spatial mean."""
    if dim == Inception.dim:
        return network
    kept = []
    for name, module in network.named_children():
        kept.append(module)
        if name == TAPS[dim]:
            break
    return nn.Sequential(*kept, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def preprocess(slices: Tensor) -> Tensor:
    """Turn (B, 1, H, W) in [-1, 1] into what the network saw in training, (B, 3, 299, 299).

    As if each slice had been saved as an 8-bit image: that is how published values were made.
    """
    pixels = ((slices + 1.0) * 127.5).round().clamp(0.0, 255.0) / 255.0
    large = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return (2.0 * large - 1.0).expand(-1, 3, -1, -1)


def load_network(path: Path) -> nn.Module:
    """Build the network and fill it from a verified file; it maps images to pool3 features.

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
    # Names and shapes are proven above; strict would only ask for batch counters, which are unused.
    network.load_state_dict(state, strict=False)
    network.fc = nn.Identity()  # pool3, not the 1008 classes
    return network.eval().requires_grad_(False)


def build_network() -> Any:
    """Assemble pytorch-fid's network, class head included, without weights.

    Raises:
        MissingWeights: If torchvision, which it is made of, does not work with this torch.
    """
    try:
        from pytorch_fid import inception as fid
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch build raises
        raise MissingWeights(
            f"The Inception network needs a torchvision that matches torch, got: {error}. "
            "Install both together: pip install --force-reinstall torch torchvision"
        ) from error
    network = fid._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for name, inputs, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        setattr(network, f"Mixed_{name}", fid.FIDInceptionA(inputs, pool_features=pooled))
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        setattr(network, f"Mixed_{name}", fid.FIDInceptionC(768, channels_7x7=width))
    network.Mixed_7b, network.Mixed_7c = fid.FIDInceptionE_1(1280), fid.FIDInceptionE_2(2048)
    return network
