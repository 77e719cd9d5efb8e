"""What generators of token sequences report about themselves: reconstruction, codes, copies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cerebench.methods.base import Batch, Batches, Diagnostic
from cerebench.methods.layers.vq.codes import active_codes, count_codes, perplexity


def diagnose_tokens(
    train: Batches,
    test: Batches,
    samples: Tensor,
    *,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    codes: int,
) -> Sequence[Diagnostic]:
    """Return reconstruction error, use of the codebook and token and voxel memorisation.

    Args:
        train: Training volumes of one class.
        test: Held-out volumes of the class.
        samples: Token sequences of the stored samples of the class, (N, L) int64.
        encode: Maps volumes (N, C, D, H, W) to their tokens (N, L) int64.
        decode: Maps tokens (N, L) to volumes (N, C, D, H, W) in [-1, 1].
        codes: Number of codes K.
    """
    training, train_errors = _encode_and_decode(train, encode, decode)
    held_out, test_errors = _encode_and_decode(test, encode, decode)
    generated = Views(samples, torch.cat([decode(t).flatten(1) for t in samples.split(8)]))
    sets = {"train": training, "test": held_out, "generated": generated}
    hamming, voxel = {}, {}
    for name, views in sets.items():
        own = name == "train"  # a training volume is not its own neighbour
        hamming[name] = _nearest(views.tokens.float(), training.tokens.float(), 0, own)
        voxel[name] = _nearest(views.volumes, training.volumes, 1, own)
    counts = {name: count_codes(views.tokens, codes) for name, views in sets.items()}
    errors = {"train": train_errors, "test": test_errors}
    return (
        Diagnostic(
            "reconstruction-l1",
            "mean absolute error of a volume's reconstruction, on [-1, 1]; lower is better",
            {name: error.tolist() for name, error in errors.items()},
        ),
        Diagnostic(
            "codebook-perplexity",
            f"effective number of the {codes} codes in use; higher is better",
            {name: [float(perplexity(n))] for name, n in counts.items()},
        ),
        Diagnostic(
            "active-codes",
            f"how many of the {codes} codes occur at all",
            {name: [float(active_codes(n))] for name, n in counts.items()},
        ),
        Diagnostic(
            "token-hamming",
            "fraction of tokens that differ from the nearest training volume of the class; "
            "generated far below test means copying",
            hamming,
        ),
        Diagnostic(
            "voxel-l1",
            "mean absolute difference to the nearest training volume of the class, on [-1, 1]; "
            "train and test are reconstructions; generated far below test means copying",
            voxel,
        ),
    )


class Views(NamedTuple):
    """Volumes as the autoencoder sees them: (N, L) tokens, and (N, voxels) decoded from them."""

    tokens: Tensor
    volumes: Tensor


def chunks(data: Batches, size: int = 8) -> Iterator[Batch]:
    """Yield all cases in order, a few at a time."""
    for first in range(0, len(data), size):
        yield data.take(torch.arange(first, min(first + size, len(data)), device="cpu"))


def _encode_and_decode(
    data: Batches, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]
) -> tuple[Views, Tensor]:
    """Return tokens and reconstructions of volumes, and their mean absolute errors (N,)."""
    parts = []
    for batch in chunks(data):
        tokens = encode(batch.images)
        volumes = decode(tokens).flatten(1)
        errors = (volumes - batch.images.flatten(1)).abs().mean(1)
        parts.append((tokens, volumes, errors))
    tokens, volumes, errors = (torch.cat(part) for part in zip(*parts, strict=True))
    return Views(tokens, volumes), errors


def _nearest(rows: Tensor, reference: Tensor, p: int, own: bool) -> list[float]:
    """Return each row's smallest mean distance to the reference: Hamming (p = 0) or L1 (p = 1)."""
    distances = torch.cdist(rows, reference, p=p) / rows.shape[1]
    if own:
        distances.fill_diagonal_(math.inf)
    return distances.amin(1).tolist()
