"""Codebook of Euclidean moving averages, and the range of values that its codes span.

Source: van den Oord et al. 2017, arXiv:1711.00937, appendix A.1 (moving averages); start from data
and random restarts: TATS (Ge et al. 2022), which Medical Diffusion's code follows.

Departures: 1. always in float32; 2. nothing moves outside ``initialise`` and ``update``, whatever
the mode of the module, since the reference codebook keeps moving when a wrapper is put into train
mode; 3. ``restart_resets_stats`` may give restarted codes statistics of their own, off by default.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.base import full_precision
from cerebench.methods.layers.vq.codes import Quantised, count_codes, sums_by_code

EPSILON = 1e-7  # smooths the moving counts
START_NOISE = 0.01  # length of the noise on repeated vectors, where a batch has fewer than K
ROWS = 4096  # distances to all codes are computed for so many latents at a time


class Codebook(nn.Module):
    """K vectors; a latent is replaced by the nearest one.

    All state is in buffers, so that it is saved and resumed with the networks.

    Attributes:
        vectors: (K, dim) float32, the codes e; random until ``initialise``.
        counts: (K,) float32, moving average N of the number of latents per update.
        sums: (K, dim) float32, moving average of the sum of those latents.
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self, codes: int, dim: int, decay: float = 0.99, *, restart_resets_stats: bool = False
    ) -> None:
        super().__init__()
        self.decay, self.restart_resets_stats = decay, restart_resets_stats
        vectors = torch.randn(codes, dim)
        self.register_buffer("vectors", vectors)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", vectors.clone())

    @torch.no_grad()
    def initialise(self, z: Tensor) -> None:
        """Set codes and sums to random latents of (B, dim, D, H, W), and all counts to 1.

        Call it at the first step of a training and never again. No flag is kept here: the step
        counter of the training is stored with every checkpoint and survives a resume. Random
        numbers come from torch's global generator.
        """
        vectors = _draw(_rows(z), len(self.vectors))
        self.vectors.copy_(vectors)
        self.sums.copy_(vectors)
        self.counts.fill_(1)

    def forward(self, z: Tensor) -> Quantised:
        """Quantise latents (B, dim, D, H, W); no buffer changes in any mode."""
        with full_precision(z):
            rows = z.float().movedim(1, -1)  # (B, D, H, W, dim)
            indices = nearest(rows.detach().flatten(0, -2), self.vectors).view(rows.shape[:-1])
            codes = functional.embedding(indices, self.vectors)
            # The gradient of rows + (codes - rows).detach(), with exactly the codes as values.
            through = codes + (rows - rows.detach())
            commitment = (rows - codes).square().mean()
        return Quantised(through.movedim(-1, 1), indices, commitment)

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor) -> None:
        """Move all codes towards the means of their latents, and restart those hardly used.

        N = decay N + (1 - decay) count, sums likewise; e = sums / w with
        w = (N + 1e-7) / (sum N + K 1e-7) sum N. Codes with N < 1 become random latents of this
        batch, from torch's global generator.

        Args:
            z: Latents, (B, dim, D, H, W).
            indices: Their codes, (B, D, H, W) int64, as ``forward`` returned them.
        """
        with full_precision(z):
            rows, flat, codes = _rows(z), indices.flatten(), len(self.vectors)
            self.counts.lerp_(count_codes(flat, codes), 1 - self.decay)
            self.sums.lerp_(sums_by_code(rows, flat, codes), 1 - self.decay)
            total = self.counts.sum()
            weights = (self.counts + EPSILON) / (total + codes * EPSILON) * total
            idle = self.counts < 1
            fresh = _draw(rows, codes)
            means = self.sums / weights[:, None]
            self.vectors.copy_(torch.where(idle[:, None], fresh, means))
            if self.restart_resets_stats:
                self.sums.copy_(torch.where(idle[:, None], fresh, self.sums))
                self.counts.masked_fill_(idle, 1)


class LatentRange(nn.Module):
    """Linear map between latents and about [-1, 1], fixed by the extreme entries of a codebook.

    Attributes:
        low: Scalar float32, the smallest entry of all codes; -1 until ``snapshot``.
        high: Scalar float32, the largest; 1 until ``snapshot``.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(-1.0))
        self.register_buffer("high", torch.tensor(1.0))

    @torch.no_grad()
    def snapshot(self, codes: Tensor) -> None:
        """Take the range of codes of any shape."""
        self.low.copy_(codes.amin())
        self.high.copy_(codes.amax())

    def normalise(self, z: Tensor) -> Tensor:
        """Map low to -1 and high to 1; latents beyond the codes stay beyond."""
        return 2 * (z - self.low) / (self.high - self.low) - 1

    def restore(self, z: Tensor) -> Tensor:
        """Undo ``normalise``."""
        return (z + 1) / 2 * (self.high - self.low) + self.low


def nearest(rows: Tensor, codes: Tensor) -> Tensor:
    """Return the index of the code at the smallest Euclidean distance.

    Args:
        rows: (N, dim) float32.
        codes: (K, dim) float32.

    Returns:
        (N,) int64 in [0, K).
    """
    # |row - code|² without |row|², which is the same for all codes.
    squares = codes.square().sum(1)
    return torch.cat(
        [torch.addmm(squares, part, codes.T, alpha=-2).argmin(1) for part in rows.split(ROWS)]
    )


def _rows(z: Tensor) -> Tensor:
    """Return one row per position: (B·D·H·W, dim) float32, in the order of flattened indices."""
    return z.detach().float().movedim(1, -1).flatten(0, -2)


def _draw(rows: Tensor, count: int) -> Tensor:
    """Draw ``count`` of the rows (N, dim); fewer are repeated with a little noise."""
    n, dim = rows.shape
    if n < count:
        rows = rows.repeat(math.ceil(count / n), 1)
        rows = rows + START_NOISE / math.sqrt(dim) * torch.randn_like(rows)
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]
