"""Equal numbers of volumes for statistics that depend on them: seeded draws, averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

REPEATS = 20
RECIPE = {"draw": "both sets to the size of the smaller, without replacement", "repeats": REPEATS}

Rows = NDArray[np.intp]


def equal_draws(
    generated_ids: Sequence[str], real_ids: Sequence[str], seed: int
) -> list[tuple[Rows, Rows]]:
    """Draw sets of equal size, whatever order the volumes come in.

    Args:
        generated_ids: One identifier a generated volume.
        real_ids: One identifier a real volume.
        seed: Seed of the draws.

    Returns:
        Row numbers of both sets for each draw: 20 draws, or everything once where the sets have
        equal sizes.
    """
    ours, real = (np.argsort(np.asarray(ids), kind="stable") for ids in (generated_ids, real_ids))
    if len(ours) == len(real):
        return [(ours, real)]
    size = min(len(ours), len(real))
    rng = np.random.RandomState(seed)

    def some(rows: Rows) -> Rows:
        return rows[rng.permutation(len(rows))[:size]]

    return [(some(ours), some(real)) for _ in range(REPEATS)]


def subsample(ids: Sequence[str], count: int, seed: int) -> Rows:
    """Draw ``count`` of the volumes without replacement, whatever order they come in.

    Args:
        ids: One identifier a volume.
        count: Volumes to draw, at most all of them.
        seed: Seed of the draw.

    Returns:
        Row numbers, (count,).
    """
    rows = np.argsort(np.asarray(ids), kind="stable")
    return rows[np.random.RandomState(seed).permutation(len(rows))[:count]]
