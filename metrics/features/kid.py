"""Kernel distance (KID) between two sets of features: unbiased, so usable with few volumes.

Source: Binkowski et al. 2018, arXiv:1801.01401, section 4.
Departures: 1. one full U-statistic instead of random subsets, which only add Monte-Carlo noise at
these sizes; 2. standardised features of other extractors than Inception; 3. over slices, pairs of
one volume are left out (block form), because they resemble each other in any set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import VIEWS, Array, Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.kernel_sums import kernel_sums
from cerebench.metrics.estimators.standardise import (
    BOUNDED_RECIPE,
    finite_features,
    require,
    standardised,
)
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE


def cubic_kernel(a: Array, b: Array) -> Array:
    """Compute (a . b / dim + 1)^3 for all pairs of (m, dim) and (n, dim), as (m, n)."""
    return (a @ b.T / a.shape[1] + 1.0) ** 3


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
    whole = [[np.arange(len(group))] for group in (x, y)]
    return kernel_sums(x, y, cubic_kernel, *whole).mmd2()


def kid_metric(extractor: str, label: str, *, bounded: bool = False) -> Metric:
    """Declare the KID of generated to real training volumes in a feature space.

    Args:
        extractor: Name of a 3D extractor; its features are standardised with the pooled real
            training cases, which the error takes as fixed: all methods share them.
        label: Column header.
        bounded: Whether the extractor declares its features ``bounded``.

    Returns:
        The metric ``kid-<extractor>``, displayed times 1000.
    """

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        (x, y), notes = standardised(sets, extractor, "generated", "train")
        parts = (jackknife.groups(s.ids, sets.seed) for s in (sets.generated, sets.train))
        sums = kernel_sums(x, y, cubic_kernel, *parts)
        return sums.uncertainty().result(
            sums.mmd2(), n_real=len(y), n_generated=len(x), notes=notes
        )

    return Metric(
        name=f"kid-{extractor}",
        label=label,
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "unbiased squared MMD, full U-statistic",
            "kernel": "(a.b/dim + 1)^3",
            "features": extractor,
            "standardise": BOUNDED_RECIPE if bounded else STANDARDISE,
            "reference": "train",
            "uncertainty": jackknife.RECIPE,
        },
        source="Binkowski et al. 2018, arXiv:1801.01401, section 4, on other features",
        needs=extractor,
        scale=1000.0,
        blind_to="copies of training volumes, which score below 0",
    )


KID_RADLITE2 = kid_metric("radlite-v2", "KID[radlite-v2]", bounded=True)
KID_RADLITE = kid_metric("radlite-v1", "KID[radlite-v1]")


def slice_kid_metric(extractor: str) -> Metric:
    """Declare the KID of slices along each view, with pairs from different volumes only.

    Args:
        extractor: Name of a 2D extractor; its features are used raw, as Inception's are.

    Returns:
        The metric ``kid-<extractor>`` with three views, displayed times 1000.
    """

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        x = finite_features(sets.generated, extractor, "generated", view)
        y = finite_features(sets.train, extractor, "train", view)
        parts = (jackknife.groups(s.ids, sets.seed) for s in (sets.generated, sets.train))
        sums = kernel_sums(x, y, cubic_kernel, *parts)
        return sums.uncertainty().result(sums.mmd2(), n_real=len(y), n_generated=len(x))

    return Metric(
        name=f"kid-{extractor}",
        label=f"KID[{extractor}]",
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "unbiased squared MMD, full U-statistic, pairs of different volumes",
            "kernel": "(a.b/dim + 1)^3",
            "features": extractor,
            "standardise": None,
            "slices": "all",
            "reference": "train",
            "uncertainty": jackknife.RECIPE,
        },
        source="Binkowski et al. 2018, arXiv:1801.01401, section 4; block form: ours",
        needs=extractor,
        views=VIEWS,
        scale=1000.0,
        blind_to="whether neighbouring slices fit together, and copies, which score below 0",
    )


KID_RAND3D = kid_metric("rand3d-v1", "KID[rand3d-v1]")
KID_RAND2D = slice_kid_metric("rand2d-v1")
KID_INCEPTION = slice_kid_metric("inception")
