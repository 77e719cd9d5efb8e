"""What quantised latents are, and how often each code of a codebook occurs among them.

Every method with a codebook has a ``Codebook`` of its own; they differ in distance and update.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Quantised(NamedTuple):
    """Latents replaced by their nearest codes.

    Attributes:
        vectors: (B, dim, D, H, W) float32, the codes; their gradient reaches the latents as if
            the codes were the latents.
        indices: (B, D, H, W) int64 in [0, K).
        commitment: Scalar, mean over all elements of the squared difference between latents and
            codes, without its weight. No gradient to the codes.

    The latents are those that the codebook compares: normalised ones in 3D-VQGAN-cond, whose codes
    have length 1 and whose commitment lies in [0, 4 / dim].
    """

    vectors: Tensor
    indices: Tensor
    commitment: Tensor


def count_codes(indices: Tensor, codes: int) -> Tensor:
    """Count how often each of K codes occurs in indices (int64, any shape): (K,) float32."""
    flat = indices.flatten()
    # Not bincount: its length depends on the data, which the meta device cannot follow.
    counts = torch.zeros(codes, device=flat.device)
    return counts.index_add_(0, flat, torch.ones(len(flat), device=flat.device))


def sums_by_code(vectors: Tensor, indices: Tensor, codes: int) -> Tensor:
    """Add up the rows of vectors (N, dim) that share an index (N,): (codes, dim)."""
    return vectors.new_zeros(codes, vectors.shape[1]).index_add_(0, indices, vectors)


def perplexity(counts: Tensor) -> Tensor:
    """Return exp(-Σ p ln p), p = counts / Σ counts: the number of codes that carry the tokens.

    Args:
        counts: (K,) float, non-negative, not all 0: ``count_codes``, or a codebook's average

    Returns:
        Scalar in [1, K], dimensionless: K where all codes are used equally often.
    """
    return torch.special.entr(counts / counts.sum()).sum().exp()


def active_codes(counts: Tensor) -> Tensor:
    """Return how many codes were used at all, a scalar int64; counts (K,) as in ``perplexity``."""
    return (counts > 0).sum()
