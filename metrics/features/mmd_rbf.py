"""Maximum mean discrepancy with a Gaussian kernel, on features.

Unlike the linear one it sees every difference between two distributions, collapse included. Mean of
five kernels exp(-d^2 / (2 s)), s = median squared distance within the real reference times 1/4,
1/2, 1, 2, 4. The bandwidth comes from the real set alone, so that all methods are measured with one
kernel; the median of the pooled sample, which some code uses, would give each its own.

Source: Gretton et al. 2012, JMLR 13, equation 3 and section 8 (permutation test).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.core.facts import PERMUTATION_P
from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets, VolumeSet
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.kernel_sums import Kernel, kernel_sums
from cerebench.metrics.estimators.standardise import BOUNDED_RECIPE, require, standardised
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
PERMUTATIONS = 1000
MOST = 2000  # volumes whose distances give the median
BLOCK = 256


def gaussian_kernel(*squared_scales: float) -> Kernel:
    """Return the mean of kernels exp(-|a - b|^2 / (2 s)), one for each s.

    Args:
        *squared_scales: s, in squared units of the features; > 0.
    """

    def kernel(a: Array, b: Array) -> Array:
        from scipy.spatial.distance import cdist  # slow to import, and not needed to plan

        squares = cdist(a, b, "sqeuclidean")
        return np.mean([np.exp(squares / (-2.0 * s)) for s in squared_scales], axis=0)

    return kernel


def mmd2_rbf(x: NDArray[np.floating], y: NDArray[np.floating], *squared_scales: float) -> float:
    """Compute the unbiased squared MMD with a Gaussian kernel.

    Args:
        x: (m, dim) features, m >= 2.
        y: (n, dim) features, n >= 2; n may differ from m.
        *squared_scales: Squared bandwidths, whose kernels are averaged.

    Returns:
        Squared MMD, dimensionless; negative values occur and are kept.

    Example:
        >>> round(mmd2_rbf([[1, 0], [1, 0]], [[0, 1], [0, 1]], 1.0), 6)
        1.264241
    """
    whole = [[np.arange(len(s))] for s in (x, y)]
    return kernel_sums(x, y, gaussian_kernel(*squared_scales), *whole).mmd2()


def squared_bandwidth(real: Array, seed: int) -> float:
    """Return the median squared distance between real features (n, dim), n >= 2.

    Raises:
        MetricError: If it is zero: at least half of the pairs are copies of each other.
    """
    from scipy.spatial.distance import pdist

    chosen = np.random.RandomState(seed).permutation(len(real))[:MOST]
    median = float(np.median(pdist(real[np.sort(chosen)], "sqeuclidean")))
    if median == 0:
        raise MetricError(
            "Half of the real volumes have the same features, so that there is no scale to compare "
            "with; different volumes were expected. Check the data for duplicates."
        )
    return median


def permutation_p(x: Array, y: Array, kernel: Kernel, seed: int) -> float:
    """Test whether two sets come from one distribution by permuting the labels of volumes.

    Args:
        x: (m, dim), m >= 2.
        y: (n, dim), n >= 2.
        kernel: Kernel of the MMD.
        seed: Seed of the permutations.

    Returns:
        (1 + number of permutations with at least the observed MMD) / (1 + permutations).
    """
    both, m = np.concatenate([x, y]), len(x)
    total = len(both)
    rng = np.random.RandomState(seed)
    labels = np.zeros((total, PERMUTATIONS + 1))  # 1 where a volume counts as x
    labels[:m, 0] = 1
    for column in range(1, PERMUTATIONS + 1):
        labels[rng.permutation(total)[:m], column] = 1
    within_x, cross, everything = np.zeros(labels.shape[1]), np.zeros(labels.shape[1]), 0.0
    for start in range(0, total, BLOCK):
        rows = slice(start, min(start + BLOCK, total))
        block = kernel(both[rows], both)
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = 0.0
        seen = block @ labels
        within_x += np.sum(labels[rows] * seen, axis=0)
        cross += np.sum((1 - labels[rows]) * seen, axis=0)
        everything += block.sum()
    n = total - m
    within_y = everything - within_x - 2 * cross
    values = within_x / (m * (m - 1)) + within_y / (n * (n - 1)) - 2 * cross / (m * n)
    reached = int(np.sum(values[1:] >= values[0] - 1e-12 * abs(everything) / total**2))
    return (1 + reached) / (1 + PERMUTATIONS)


def _kernel_of(real: VolumeSet, features: Array, extractor: str, seed: int) -> tuple[Kernel, float]:
    key = f"squared bandwidth {extractor} {seed}"
    scale = real.keep(key, lambda: squared_bandwidth(features, seed))
    return gaussian_kernel(*(factor * scale for factor in FACTORS)), scale


def rbf_metric(extractor: str, name: str, label: str, *, bounded: bool = False) -> Metric:
    """Declare the Gaussian-kernel MMD of generated to real training volumes in a feature space.

    Args:
        extractor: Name of a 3D extractor.
        name: Slug.
        label: Column header.
        bounded: Whether the extractor declares its features ``bounded``.
    """

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        (x, y), notes = standardised(sets, extractor, "generated", "train")
        kernel, scale = _kernel_of(sets.train, y, extractor, sets.seed)
        parts = (jackknife.groups(s.ids, sets.seed) for s in (sets.generated, sets.train))
        sums = kernel_sums(x, y, kernel, *parts)
        p = permutation_p(x, y, kernel, sets.seed)
        return sums.uncertainty().result(
            sums.mmd2(),
            n_real=len(y),
            n_generated=len(x),
            notes=notes,
            facts={PERMUTATION_P: p, "squared_bandwidth": scale},
        )

    return Metric(
        name=name,
        label=label,
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "unbiased squared MMD, full U-statistic",
            "kernel": "mean of exp(-d^2 / (2 s f))",
            "s": f"median squared distance within the reference, of at most {MOST} volumes",
            "f": list(FACTORS),
            "features": extractor,
            "standardise": BOUNDED_RECIPE if bounded else STANDARDISE,
            "reference": "train",
            "test": f"{PERMUTATIONS} permutations of volumes",
            "uncertainty": jackknife.RECIPE,
        },
        family="mmd",
        source="Gretton et al. 2012, JMLR 13, equation 3",
        needs=extractor,
        scale=1000.0,
        blind_to="copies of training volumes, which score below 0",
    )


MMD2_RBF = rbf_metric("radlite-v1", "mmd2-rbf", "MMD RBF")
MMD2_RBF_RADLITE2 = rbf_metric(
    "radlite-v2", "mmd2-rbf-radlite-v2", "MMD RBF[radlite-v2]", bounded=True
)
