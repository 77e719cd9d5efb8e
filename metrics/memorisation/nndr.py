"""Nearest-neighbour distance ratio: does one training case stand out as the origin of a volume?

Mean over generated volumes of d1 / d2, the distances to the nearest and to the second nearest
training case. A copy has 0; a new case has about as far to one as to the next.

Source: Lowe 2004, IJCV 60, section 7.1; as a measure of privacy Zhao et al. 2021,
arXiv:2102.08369.
Departures: the mean in place of the 5th percentile, which is a fact; the same of held-out real
cases beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.memorisation import closeness


def nndr(distances: NDArray[np.floating]) -> Array:
    """Compute the ratio of each volume.

    Args:
        distances: (m, n) to the training cases, n >= 2.

    Returns:
        (m,) in [0, 1]; 0 for a copy, also of a case that occurs twice.

    Example:
        >>> nndr([[2.0, 8.0, 4.0], [0.0, 0.0, 1.0]])
        array([0.5, 0. ])
    """
    near = np.partition(np.asarray(distances, np.float64), 1, axis=1)
    first, second = near[:, 0], near[:, 1]
    return np.where(first > 0, first / np.where(second > 0, second, 1.0), 0.0)


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 2, "generated", "train")
    require(sets, 1, "test")
    ours = nndr(closeness.distances(sets, "generated", "train", view))
    held_out = nndr(closeness.distances(sets, "test", "train", view))
    parts = jackknife.groups(sets.generated.ids, sets.seed)
    spread = jackknife.TOO_FEW
    if jackknife.leaves_enough(parts):
        spread = jackknife.combine({"generated": [np.delete(ours, g).mean() for g in parts]})
    return spread.result(
        float(np.sort(ours).mean()),  # sorted: equal sets in another order have equal values
        real_value=float(np.sort(held_out).mean()),
        n_real=len(sets.train),
        n_generated=len(ours),
        notes=closeness.notes(sets, view, "generated"),
        facts={
            "percentile_5": float(np.quantile(ours, 0.05)),
            "real_percentile_5": float(np.quantile(held_out, 0.05)),
            "n_test": len(held_out),
        },
    )


NNDR = Metric(
    name="nndr",
    label="NNDR",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "mean of d(g, nearest train) / d(g, second nearest train)",
        "spaces": closeness.RECIPE,
        "uncertainty": {"generated": jackknife.RECIPE},
    },
    source="Lowe 2004, IJCV 60, section 7.1; Zhao et al. 2021, arXiv:2102.08369",
    needs=closeness.EXTRACTOR,
    views=closeness.SPACES,
    blind_to="quality; near copies of a training case that occurs twice, almost alike",
    held_out=True,
)
