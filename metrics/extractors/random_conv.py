"""``rand3d-v1`` and ``rand2d-v1``: convolution networks with fixed random weights.

Random features rank generators much as trained ones do (Naeem et al. 2020; Lee et al. 2022,
arXiv:2208.09218) and need no file. Four strided convolutions; the features are the spatial means of
all four activations. Weights come from ``numpy.random.RandomState``, whose stream NumPy has frozen,
and are pinned by a hash.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cerebench.core.hashing import sha256_bytes
from cerebench.metrics.estimators.exact import exact_float32

WIDTHS = (1, 16, 32, 64, 128)
SLOPE = 0.2


def random_weights(seed: int, ndim: int) -> list[NDArray[np.float32]]:
    """Draw the kernels, layer by layer, N(0, 2 / (kernel size x input channels)).

    Args:
        seed: Seed of the frozen NumPy stream.
        ndim: 2 or 3 spatial dimensions.

    Returns:
        Four little-endian float32 arrays (out, in, 3, ..., 3), kernel axes (D,) H, W.
    """
    rng = np.random.RandomState(seed)
    weights = []
    for fan_in, out in pairwise(WIDTHS):
        drawn = rng.standard_normal((out, fan_in, *(3,) * ndim))
        weights.append((drawn * np.sqrt(2.0 / (3**ndim * fan_in))).astype("<f4"))
    return weights


def weights_hash(weights: list[NDArray[np.float32]]) -> str:
    """Return the SHA-256 of the weights' bytes, in order."""
    return sha256_bytes(b"".join(w.tobytes() for w in weights))


class RandomConv:
    """Shared by both: four convolutions of stride 2, LeakyReLU(0.2), spatial means of each."""

    name: str
    version = 1
    dim = sum(WIDTHS[1:])
    ndim: int
    seed: int
    weights_sha256: str
    device: str | torch.device = "cpu"  # set before the first volume

    def __init__(self) -> None:
        self.input = {"range": "[-1, 1]", "resize": None, "seed": self.seed}
        self._drawn = random_weights(self.seed, self.ndim)

    @cached_property
    def weights(self) -> list[Tensor]:
        """The kernels on the device."""
        return [torch.from_numpy(w).to(self.device) for w in self._drawn]

    @torch.no_grad()
    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map volumes or slices to features.

        Args:
            batch: (B, C, D, H, W) or (B, C, H, W), float32 in [-1, 1].

        Returns:
            (B, 240) float32; with several channels, the features of each, one after the other.
        """
        b, c, *space = batch.shape
        x = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32))
        with exact_float32():
            features = self._forward(x.reshape(b * c, 1, *space).to(self.device))
        return features.reshape(b, c * self.dim).cpu().numpy()

    def _forward(self, x: Tensor) -> Tensor:
        conv: Callable[..., Tensor] = functional.conv3d if self.ndim == 3 else functional.conv2d
        means = []
        for weight in self.weights:
            x = functional.leaky_relu(conv(x, weight, stride=2, padding=1), SLOPE)
            means.append(x.flatten(2).mean(dim=2))
        return torch.cat(means, dim=1)


class Rand3d(RandomConv):
    """240 features of a volume; sees geometry and diversity more than fine texture."""

    name = "rand3d-v1"
    ndim = 3
    seed = 20240101
    weights_sha256 = "5f91df860412b36b03575843d199dd18dc1e94d47dbe690dca3ea52672f8e6c3"


class Rand2d(RandomConv):
    """240 features of a slice; the offline companion of Inception."""

    name = "rand2d-v1"
    ndim = 2
    seed = 20240102
    weights_sha256 = "577e4f3a221ea32628ba7125128e9a48d5e02f66159236534e99b02130d1c53a"
