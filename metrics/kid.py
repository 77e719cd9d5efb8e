"""Kernel distance (KID) between two sets of features: unbiased, so usable with few volumes.

Source: Binkowski et al. 2018, arXiv:1801.01401, section 4.
Departures: 1. one full U-statistic instead of random subsets, which only add Monte-Carlo noise at
these sizes; 2. standardised features of other extractors than Inception.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics import jackknife
from cerebench.metrics.base import Array, Better, Metric, Result, Sets
from cerebench.metrics.standardise import RECIPE as STANDARDISE
from cerebench.metrics.standardise import require, standardised


def cubic_kernel(a: Array, b: Array) -> Array:
    """Compute (a . b / dim + 1)^3 for all pairs of (m, dim) and (n, dim), as (m, n)."""
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def mmd2_from_kernels(xx: Array, yy: Array, xy: Array) -> float:
    """Compute the unbiased squared MMD from kernel matrices.

    Mean of xx over i != j, plus the same of yy, minus twice the mean of xy.

    Args:
        xx: (m, m), m >= 2.
        yy: (n, n), n >= 2.
        xy: (m, n).

    Returns:
        Squared MMD; negative about half of the time when the sets match.
    """
    m, n = xy.shape
    within_x = (xx.sum() - np.trace(xx)) / (m * (m - 1))
    within_y = (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return float(within_x + within_y - 2.0 * xy.mean())


def kid(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Compute the KID of two feature sets: unbiased squared MMD with the cubic kernel.

    Args:
        x: (m, dim) features, m >= 2.
        y: (n, dim) features, n >= 2; n may differ from m.

    Returns:
        KID, unscaled. Negative for a set against itself: pairs of equal items count between the
        sets but not within.

    Example:
        >>> kid([[1, 0], [1, 0]], [[0, 1], [0, 1]])
        4.75
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return mmd2_from_kernels(cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y))


def kid_metric(extractor: str, label: str) -> Metric:
    """Declare the KID of generated to real training volumes in a feature space.

    Args:
        extractor: Name of a 3D extractor; its features are standardised with the pooled real
            training cases, which the error takes as fixed: all methods share them.
        label: Column header.

    Returns:
        The metric ``kid-<extractor>``, displayed times 1000.
    """

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        (x, y), notes = standardised(sets, extractor, "generated", "train")
        xx, yy, xy = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)
        spread = jackknife.over_two_sets(
            lambda i, j: mmd2_from_kernels(xx[np.ix_(i, i)], yy[np.ix_(j, j)], xy[np.ix_(i, j)]),
            sets.generated.ids,
            sets.train.ids,
            sets.seed,
        )
        value = mmd2_from_kernels(xx, yy, xy)
        return spread.result(value, n_real=len(y), n_generated=len(x), notes=notes)

    return Metric(
        name=f"kid-{extractor}",
        label=label,
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "unbiased squared MMD, full U-statistic",
            "kernel": "(a.b/dim + 1)^3",
            "features": extractor,
            "standardise": STANDARDISE,
            "reference": "train",
            "uncertainty": jackknife.RECIPE,
        },
        source="Binkowski et al. 2018, arXiv:1801.01401, section 4, on other features",
        needs=extractor,
        scale=1000.0,
        blind_to="copies of training volumes, which score below 0",
    )


KID_RADLITE = kid_metric("radlite-v1", "KID[radlite-v1]")
