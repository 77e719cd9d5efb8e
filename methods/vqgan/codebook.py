"""Codebook of free vectors, each the moving average of the latents that chose it.

Source: the code of Zhou et al. 2023 (Brain_MRI_Vector_Quantization), written anew from a
description; the moving sums go back to van den Oord et al. 2017, arXiv:1711.00937, appendix A.

Departures: 1. channels are moved last before latents become rows; the code reshapes (B, C, D, H, W)
to (-1, C), so that a row is the map of a channel and not the vector of a position; 2. nothing moves
outside ``initialise`` and ``update``; the code overwrites the codebook with random rows when its
stage 2 begins, and moves it from then on; 3. always in float32; 4. ``restart_after`` may revive
dead codes, off by default.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.base import full_precision
from cerebench.methods.layers.vq.codes import Quantised, count_codes, sums_by_code

SMOOTHING = 1e-7  # added to the moving counts, so that none is 0


class Codebook(nn.Module):
    """K vectors; a latent is replaced by the one at the smallest Euclidean distance.

    Attributes:
        vectors: (K, dim) float32; random until ``initialise``.
        sums: (K, dim) float32, moving average of the sum of a code's latents per update.
        usage: (K,) float32, moving average of their number.
        idle: (K,) int64, updates since a code was last used.
    """

    vectors: Tensor
    sums: Tensor
    usage: Tensor
    idle: Tensor

    def __init__(self, codes: int, dim: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("vectors", torch.randn(codes, dim))
        self.register_buffer("sums", self.vectors.clone())
        self.register_buffer("usage", torch.ones(codes))
        self.register_buffer("idle", torch.zeros(codes, dtype=torch.int64))

    @torch.no_grad()
    def initialise(self, z: Tensor) -> None:
        """Set the codes to random ones of these latents, (B, dim, D, H, W), each of count 1.

        Call it at the first step of a training and never again. No flag is kept here: the step
        counter of the training is stored with every checkpoint and survives a resume. Random
        numbers come from torch's global generator.
        """
        with full_precision(z):
            self.vectors.copy_(_draw_rows(_rows(z), len(self.vectors)))
        self.sums.copy_(self.vectors)
        self.usage.fill_(1)
        self.idle.zero_()

    def forward(self, z: Tensor) -> Quantised:
        """Quantise latents (B, dim, D, H, W); no buffer changes in any mode.

        The codes' gradient reaches the latents unchanged. The commitment is the mean over all
        elements of the squared difference of latents and codes, without its weight.
        """
        with full_precision(z):
            latents = z.float().movedim(1, -1)  # (B, D, H, W, dim)
            indices = nearest(latents.detach(), self.vectors)
            codes = functional.embedding(indices, self.vectors)
            # The gradient of latents + (codes - latents).detach(), with exactly the codes as values
            through = codes + (latents - latents.detach())
            commitment = (codes - latents).square().mean()
        return Quantised(through.movedim(-1, 1), indices, commitment)

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor, restart_after: int = 0) -> None:
        """Move every code to the moving average of its latents.

        With n the number and s the sum of the latents of code k, N the moving count and m the
        moving sum: N becomes decay N + (1 - decay) n, m becomes decay m + (1 - decay) s, and the
        code becomes m / ((N + 1e-7) / (sum N + K 1e-7) sum N). A code that is never used therefore
        stays where it is while N is far above 1e-7, and falls towards 0 afterwards.

        Args:
            z: Latents, (B, dim, D, H, W).
            indices: Their codes, (B, D, H, W) int64, as ``forward`` returned them.
            restart_after: Updates without use after which a code is replaced by a random latent of
                this batch, with count 1, drawn from torch's global generator; 0 for never.
        """
        with full_precision(z):
            rows = _rows(z)
            counts = count_codes(indices, len(self.vectors))
            self.usage.lerp_(counts, 1 - self.decay)
            self.sums.lerp_(sums_by_code(rows, indices.flatten(), len(counts)), 1 - self.decay)
            total = self.usage.sum()
            smoothed = (self.usage + SMOOTHING) / (total + len(counts) * SMOOTHING) * total
            self.vectors.copy_(self.sums / smoothed[:, None])
            self.idle.copy_(torch.where(counts > 0, 0, self.idle + 1))
            if restart_after > 0:
                self._restart(rows, self.idle >= restart_after)

    def look_up(self, indices: Tensor) -> Tensor:
        """Return the codes (B, dim, D, H, W) float32 of indices (B, D, H, W) int64."""
        return functional.embedding(indices, self.vectors).movedim(-1, 1)

    def _restart(self, rows: Tensor, dead: Tensor) -> None:
        """Replace dead codes, (K,) bool, by random ones of the latents (N, dim)."""
        fresh = _draw_rows(rows, len(self.vectors))
        for buffer in (self.vectors, self.sums):
            buffer.copy_(torch.where(dead[:, None], fresh, buffer))
        self.usage.masked_fill_(dead, 1)
        self.idle.masked_fill_(dead, 0)


def nearest(latents: Tensor, codes: Tensor) -> Tensor:
    """Return the index of the code of smallest |z|² + |e|² - 2 z·e, the first of equal ones.

    Args:
        latents: (..., dim) float32.
        codes: (K, dim) float32.

    Returns:
        (...) int64 in [0, K).
    """
    # |z|² is the same for all codes, and adding it would only cost digits.
    return (codes.square().sum(1) - 2 * latents @ codes.T).argmin(-1)


def _rows(z: Tensor) -> Tensor:
    """Return one row per position: (B·D·H·W, dim) float32, in the order of flattened indices."""
    return z.float().movedim(1, -1).flatten(0, -2)


def _draw_rows(rows: Tensor, count: int) -> Tensor:
    """Draw rows from torch's global generator.

    Where there are fewer than asked, all are repeated and get noise of deviation 0.01 / sqrt(dim),
    so that no two drawn ones are equal.
    """
    n, dim = rows.shape
    if n < count:
        rows = rows.repeat(math.ceil(count / n), 1)
        rows = rows + torch.randn_like(rows) * (0.01 / math.sqrt(dim))
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]
