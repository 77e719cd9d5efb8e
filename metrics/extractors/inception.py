"""The Inception network of the Fréchet Inception Distance, 2048 features of a slice.

The network of pytorch-fid, which is the TensorFlow graph of 2015-12-05 (Szegedy et al. 2015,
arXiv:1512.00567; Heusel et al. 2017, arXiv:1706.08500), filled from a local, verified file: the
constructor of pytorch-fid itself would download.

Departures from the paper's network, all in the weights' own graph: average pools leave the padding
out; the last block pools by maximum; batch norm uses eps 1e-3.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cerebench.metrics import weights
from cerebench.metrics.base import MetricError, MissingWeights

WEIGHTS = "inception-2015-12-05"
SIDE = 299
BATCH = 32


class Inception:
    """The extractor; its weights are verified before a feature is computed.

    Raises:
        MissingWeights: If the verified weight file is not on this machine.
    """

    name = "inception"
    version = 1
    dim = 2048
    ndim = 2
    input = {
        "preprocessing": "inception-pt",
        "quantise": "rint((v + 1) * 127.5), clipped to [0, 255]",
        "channels": "replicated to 3",
        "resize": f"{SIDE}, bilinear, align_corners=False, no antialias",
        "range": "[-1, 1]",
        "layer": "pool3",
    }

    def __init__(self) -> None:
        self.path = weights.find(WEIGHTS)
        self.weights_sha256 = weights.sha256(self.path)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def network(self) -> nn.Module:
        """The network on its device; built when first used, since plans only need its identity."""
        return load_network(self.path).to(self.device)

    @torch.no_grad()
    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map slices to pool3 features.

        Args:
            batch: (B, 1, H, W), float32 in [-1, 1].

        Returns:
            (B, 2048) float32.

        Raises:
            MetricError: If the slices do not have exactly one channel.
        """
        if batch.shape[1] != 1:
            raise MetricError(
                f"Inception features were asked of slices with {batch.shape[1]} channels; one is "
                "expected. Score the channels one at a time."
            )
        # TF32 would change features in the third digit, and with them the published meaning.
        with torch.backends.cudnn.flags(allow_tf32=False):
            parts = torch.from_numpy(np.ascontiguousarray(batch)).split(BATCH)
            features = [self.network(preprocess(part.to(self.device))).cpu() for part in parts]
        return torch.cat(features).numpy()


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
