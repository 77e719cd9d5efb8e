"""How far generated volumes lie from real cases: two distances, computed once for all that ask.

``features`` is Euclidean on bounded ``radlite-v2`` features, ``voxels`` Euclidean on volumes of at
most 32^3 voxels, mean 0 and length 1, the best of 8 mirror images: sqrt(2 (1 - r)) for the
correlation r of ``max-corr``. Each sees copies that the other misses: features those that were
turned or shifted, voxels those that were blurred or made noisy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Sets, VolumeSet
from cerebench.metrics.estimators.standardise import BOUNDED_RECIPE, standardised
from cerebench.metrics.memorisation.max_corr import FLIPS, SIDE, correlations

FEATURES, VOXELS = "features", "voxels"
SPACES = (FEATURES, VOXELS)  # views of the metrics on distances
EXTRACTOR = "radlite-v2"
SAME = 1 - 1e-6  # correlation from which float32 volumes are one
RECIPE = {
    FEATURES: {
        "extractor": EXTRACTOR,
        "standardise": BOUNDED_RECIPE,
        "distance": "Euclidean, float64 differences",
        "no_object_in_both": "the farthest distance of the row",
    },
    VOXELS: {
        "size": f"average pooling to at most {SIDE} voxels an edge",
        "distance": "sqrt(2 (1 - r)), r the highest Pearson correlation over mirror images",
        "mirror_images": len(FLIPS),
        "same_from": SAME,
    },
}


def distances(sets: Sets, left: str, right: str, space: str) -> Array:
    """Return all distances between two sets.

    Args:
        sets: The sets; ``pooled`` scales features.
        left: Role of the rows: ``generated``, ``train`` or ``test``, m >= 1.
        right: Role of the columns, n >= 1.
        space: ``features`` or ``voxels``.

    Returns:
        (m, n) float64, dimensionless; exactly 0 for a copy. By features, two volumes in which no
        object is seen are as far apart as the farthest.

    Raises:
        MetricError: If features are not finite or do not vary.
    """
    of, to = getattr(sets, left), getattr(sets, right)

    def compute() -> tuple[VolumeSet, VolumeSet, Array]:
        if space == VOXELS:
            r = correlations(of, to)
            found = np.sqrt(2 * (1 - np.where(r >= SAME, 1.0, r)))
        else:
            found = _euclidean(*standardised(sets, EXTRACTOR, left, right)[0])
            found = _unlike(found, *(_seen(s) for s in (of, to)))
        return to, sets.pooled, found  # kept, too, so that no other sets can have their addresses

    return of.keep(f"{space} to {id(to)}, scaled by {id(sets.pooled)}", compute)[2]


def best_correlated(
    volumes: VolumeSet, train: VolumeSet, rows: Sequence[int]
) -> tuple[NDArray[np.intp], Array]:
    """Return the training case of highest voxel correlation for some volumes of a set.

    Args:
        volumes: The set.
        train: Training cases, n >= 1.
        rows: Which of its volumes.

    Returns:
        Positions in ``train`` and correlations, each (len(rows),).
    """
    some = VolumeSet([volumes[i] for i in rows], [volumes.ids[i] for i in rows])
    found = correlations(some, train)
    at = found.argmax(axis=1)
    return at, found[np.arange(len(at)), at]


def notes(sets: Sets, space: str, *roles: str) -> tuple[str, ...]:
    """Return what a reader must know of the features of some sets; nothing of voxels."""
    return standardised(sets, EXTRACTOR, *roles)[1] if space == FEATURES else ()


def _seen(volumes: VolumeSet) -> NDArray[np.bool_]:
    """Tell in which volumes the extractor saw an object: it gives the others zeros."""
    return np.any(volumes.features(EXTRACTOR), axis=1)


def _unlike(distances: Array, left: NDArray[np.bool_], right: NDArray[np.bool_]) -> Array:
    """Put two volumes in which nothing was seen as far apart as the farthest case.

    Their features are equal, and that says nothing of the volumes.
    """
    unseen = ~left[:, None] & ~right[None]
    return np.where(unseen, distances.max(axis=1, keepdims=True), distances)


def _euclidean(x: NDArray[np.floating], y: NDArray[np.floating]) -> Array:
    from scipy.spatial.distance import cdist  # slow to import, and not needed to plan

    # A difference taken directly: the matrix-product shortcut gives copies a distance.
    return np.asarray(cdist(np.asarray(x, np.float64), np.asarray(y, np.float64)), np.float64)
