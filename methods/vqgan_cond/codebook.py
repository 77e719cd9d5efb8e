"""Codebook of unit vectors, learnt by moving averages.

Source: Zhou and Khalvati, MIDL 2024, section 2.1, and their released code. The lookup on the unit
sphere and the moving average of normalised means go back to ViT-VQGAN and BEiT v2.

Departures: 1. always in float32, since the released lookup runs in float16; 2. nothing moves
outside ``initialise`` and ``update``, in train mode neither, since the released codebook keeps
drifting in later phases; 3. ``restart_after`` may revive dead codes, off by default.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.base import full_precision
from cerebench.methods.layers.vq.codes import Quantised, count_codes, sums_by_code


class Codebook(nn.Module):
    """K unit vectors; a latent is replaced by the one of largest cosine.

    Attributes:
        vectors: (K, dim) float32, rows of length 1; random until ``initialise``.
        usage: (K,) float32, moving average of the number of latents per update.
        idle: (K,) int64, updates since a code was last used.
    """

    vectors: Tensor
    usage: Tensor
    idle: Tensor

    def __init__(self, codes: int, dim: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("vectors", functional.normalize(torch.randn(codes, dim), dim=1))
        self.register_buffer("usage", torch.zeros(codes))
        self.register_buffer("idle", torch.zeros(codes, dtype=torch.int64))

    @torch.no_grad()
    def initialise(self, z: Tensor) -> None:
        """Set the codes to spherical k-means of these latents, (B, dim, D, H, W).

        Call it at the first step of a training and never again. No flag is kept here: the step
        counter of the training is stored with every checkpoint and survives a resume. The initial
        means are drawn from torch's global generator.
        """
        with full_precision(z):
            units = _unit_rows(z)
            initial = _draw_rows(units, len(self.vectors))
            self.vectors.copy_(spherical_kmeans(units, initial))

    def forward(self, z: Tensor) -> Quantised:
        """Quantise latents (B, dim, D, H, W) of any length; no buffer changes in any mode."""
        with full_precision(z):
            units = _unit(z)  # (B, D, H, W, dim)
            indices = nearest(units.detach(), self.vectors)
            codes = functional.embedding(indices, self.vectors)
            # The gradient of units + (codes - units).detach(), with exactly the codes as values.
            through = codes + (units - units.detach())
            commitment = (codes - units).square().mean()
        return Quantised(through.movedim(-1, 1), indices, commitment)

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor, restart_after: int = 0) -> None:
        """Move every used code towards the mean direction of its latents; unused ones stay.

        With c the normalised sum of the normalised latents of code e, and l2 the normalisation:
        e becomes l2(decay e + (1 - decay) c).

        Args:
            z: Latents, (B, dim, D, H, W).
            indices: Their codes, (B, D, H, W) int64, as ``forward`` returned them.
            restart_after: Updates without use after which a code is replaced by a random
                normalised latent of this batch, drawn from torch's global generator; 0 for never.
        """
        with full_precision(z):
            units = _unit_rows(z)
            counts = count_codes(indices, len(self.vectors))
            centres = functional.normalize(
                sums_by_code(units, indices.flatten(), len(counts)), dim=1
            )
            averages = functional.normalize(torch.lerp(centres, self.vectors, self.decay), dim=1)
            used = counts > 0
            self.vectors.copy_(torch.where(used[:, None], averages, self.vectors))
            self.usage.lerp_(counts, 1 - self.decay)
            self.idle.copy_(torch.where(used, 0, self.idle + 1))
            if restart_after > 0:
                self._restart(units, self.idle >= restart_after)

    def look_up(self, indices: Tensor) -> Tensor:
        """Return the codes (B, dim, D, H, W) float32 of indices (B, D, H, W) int64."""
        return functional.embedding(indices, self.vectors).movedim(-1, 1)

    def _restart(self, units: Tensor, dead: Tensor) -> None:
        """Replace dead codes, (K,) bool, by random ones of the directions (N, dim)."""
        fresh = _draw_rows(units, len(self.vectors))
        self.vectors.copy_(torch.where(dead[:, None], fresh, self.vectors))
        self.idle.masked_fill_(dead, 0)


def nearest(units: Tensor, codes: Tensor) -> Tensor:
    """Return the index of the closest code, the first one of equally close ones.

    Among rows of length 1 the largest cosine is the smallest distance |u|² + |e|² - 2 u·e: both
    squares are the same for all codes. Lengths are 1 up to rounding, so the two forms can differ
    only where two codes are equally close up to 1e-7, and either choice is right there.

    Args:
        units: (..., dim) float32 of any positive length.
        codes: (K, dim) float32 rows of length 1.

    Returns:
        (...) int64 in [0, K).
    """
    return (units @ codes.T).argmax(-1)


def spherical_kmeans(vectors: Tensor, initial: Tensor, iterations: int = 10) -> Tensor:
    """Cluster directions: assign to the mean of largest cosine, then normalise the means.

    A mean without members, or whose members cancel, stays as it is.

    Args:
        vectors: (N, dim) float32, rows of length 1.
        initial: (K, dim) float32, rows of length 1: the means to begin with.
        iterations: Number of assignments and means.

    Returns:
        (K, dim) float32, rows of length 1.
    """
    means = initial
    for _ in range(iterations):
        sums = sums_by_code(vectors, nearest(vectors, means), len(means))
        lengths = sums.norm(dim=1, keepdim=True)
        means = torch.where(lengths > 1e-6, functional.normalize(sums, dim=1), means)
    return means


def _unit(z: Tensor) -> Tensor:
    """Move channels last and normalise every position: (B, D, H, W, dim) float32."""
    return functional.normalize(z.float().movedim(1, -1), dim=-1, eps=1e-12)


def _unit_rows(z: Tensor) -> Tensor:
    """Return one direction per position: (B·D·H·W, dim), in the order of flattened indices."""
    return _unit(z).flatten(0, -2)


def _draw_rows(vectors: Tensor, count: int) -> Tensor:
    """Draw rows from torch's global generator; repeated only where there are fewer than asked."""
    n, device = len(vectors), vectors.device
    if n >= count:
        return vectors[torch.randperm(n, device=device)[:count]]
    return vectors[torch.randint(n, (count,), device=device)]
