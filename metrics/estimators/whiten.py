"""Principal components with unit variance: fewer features than volumes, for Fréchet distances.

With n volumes and more than n features a Fréchet distance measures mostly n. Components are those
of the standardised features of the pooled real training cases, never of generated volumes, so that
all methods share them.

Source: Heusel et al. 2017, arXiv:1706.08500, for the distance; number of components: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cerebench.metrics.base import Array, MetricError

COMPONENTS = 64
VOLUMES_EACH = 5  # real volumes that a component needs
LEAST_VOLUMES = 2 * VOLUMES_EACH
RANK_TOLERANCE = 1e-6  # of the largest sd; features are float32
RECIPE = {
    "fitted_on": "standardised features of pooled real training cases",
    "components": f"min({COMPONENTS}, N // {VOLUMES_EACH})",
    "whiten": "sd of each component, ddof 1",
}


@dataclass(frozen=True)
class Whitener:
    """Projects on principal components and divides by their standard deviations."""

    mean: Array
    projection: Array  # (dim, components)

    @classmethod
    def fit(cls, reference: Array) -> Whitener:
        """Take at most min(64, N // 5) components of reference features (N, dim).

        Raises:
            MetricError: If there are fewer than 10 volumes.
        """
        n = len(reference)
        if n < LEAST_VOLUMES:
            raise MetricError(
                f"{n} real training volumes give {n // VOLUMES_EACH} principal components; at "
                f"least {LEAST_VOLUMES} volumes are needed. Use the distance without -pca64."
            )
        mean = reference.mean(axis=0)
        _, singular, axes = np.linalg.svd(reference - mean, full_matrices=False)
        count = min(COMPONENTS, n // VOLUMES_EACH)
        kept = np.flatnonzero(singular[:count] > RANK_TOLERANCE * singular[0])
        return cls(mean, axes[kept].T * (np.sqrt(n - 1) / singular[kept]))

    def __call__(self, features: Array) -> Array:
        """Map standardised features (N, dim) to (N, components) float64."""
        return (features - self.mean) @ self.projection
