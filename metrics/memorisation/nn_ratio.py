"""Do generated volumes lie closer to training cases than new real cases do?

Source: the nearest-neighbour test behind Meehan et al. 2020, arXiv:2004.05675, and Dar et al. 2023,
arXiv:2307.01148, with the threshold taken from held-out real cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cerebench.core.facts import EXPECTED
from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE
from cerebench.metrics.estimators.standardise import require, standardised

QUANTILE = 0.05
FEATURES = "radlite-v1"


def neighbours(
    x: NDArray[np.floating], reference: NDArray[np.floating]
) -> tuple[NDArray[np.intp], Array]:
    """Find each item's nearest reference item by Euclidean distance.

    Differences are taken directly in float64: the matrix-product shortcut loses exactly the small
    distances that matter here, and gives items a distance to themselves.

    Args:
        x: (m, dim).
        reference: (n, dim), n >= 1.

    Returns:
        Rows of the reference, (m,), and distances, (m,) float64, exactly 0 for a copy.
    """
    from scipy.spatial.distance import cdist  # slow to import, and not needed to plan

    x, reference = np.asarray(x, np.float64), np.asarray(reference, np.float64)
    distances = np.asarray(cdist(x, reference), np.float64)
    at = distances.argmin(axis=1)
    return at, distances[np.arange(len(at)), at]


def nearest(x: NDArray[np.floating], reference: NDArray[np.floating]) -> Array:
    """Return the distance of each item (m, dim) to its nearest reference item (n, dim), (m,)."""
    return neighbours(x, reference)[1]


@dataclass(frozen=True)
class Pair:
    """A generated volume and the training case nearest to it, as positions in their sets."""

    generated: int
    train: int
    distance: float


def closest_pairs(sets: Sets, count: int) -> list[Pair]:
    """Return the generated volumes that lie closest to a training case, the closest first.

    Args:
        sets: The sets; features and distance are those of ``nn-ratio``.
        count: Most pairs to return; a generated volume occurs once.

    Raises:
        MetricError: If there is no training case, or no feature varies.
    """
    require(sets, 1, "generated", "train")
    (x, train), _ = standardised(sets, FEATURES, "generated", "train")
    at, distances = neighbours(x, train)
    order = np.argsort(distances, kind="stable")[:count]
    return [Pair(int(i), int(at[i]), float(distances[i])) for i in order]


def nn_ratio(generated: Array, test: Array) -> float:
    """Compute the fraction of generated distances below the 5 % quantile of the test distances.

    Args:
        generated: (m,) distances of generated volumes to the nearest training case.
        test: (n,) the same of held-out real volumes; the quantile interpolates linearly.

    Returns:
        Fraction: ``expected_ratio`` of new cases (0.05 where many are held out), 1 of copies, 0 of
        volumes far from all real ones.

    Example:
        >>> nn_ratio([0.0, 0.0, 9.0, 9.0], [1.0, 2.0, 3.0])
        0.5
    """
    return float(np.mean(np.asarray(generated) < np.quantile(test, QUANTILE)))


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 2, "generated", "test")
    require(sets, 1, "train")
    (x, train, test), notes = standardised(sets, FEATURES, "generated", "train", "test")
    near, held_out = nearest(x, train), nearest(test, train)
    if np.quantile(held_out, QUANTILE) == 0:
        raise MetricError(
            "At least 5 % of the test volumes have the features of a training volume, so copies "
            "cannot be told from new cases; disjoint sets were expected. Check the split for "
            "duplicates."
        )
    value = nn_ratio(near, held_out)
    spread = _uncertainty(value, near, held_out, sets)
    return spread.result(
        value,
        real_value=expected_ratio(len(held_out)),
        n_real=len(train),
        n_generated=len(x),
        notes=notes,
        facts=_interval(value, len(near), len(held_out)),
    )


def _uncertainty(value: float, near: Array, held_out: Array, sets: Sets) -> jackknife.Uncertainty:
    """Add the binomial error of the fraction and the jackknife error of the threshold.

    The binomial part is that of Agresti and Coull (two successes and two failures added), because
    the plain one is 0 where no generated volume, or each, is close.
    """
    parts = jackknife.groups(sets.test.ids, sets.seed)
    if not jackknife.leaves_enough(parts):
        return jackknife.TOO_FEW
    left = [nn_ratio(near, np.delete(held_out, g)) for g in parts]
    threshold = jackknife.standard_error(left)
    binomial = jackknife.binomial_error(value, len(near))
    return jackknife.Uncertainty(
        se=float(np.hypot(binomial, threshold)),
        uncertainty="binomial (Agresti-Coull) and delete-group jackknife over test volumes",
        replicates={"real": left},
    )


def _interval(value: float, count: int, tests: int) -> dict[str, float]:
    """Return the exact 95 % binomial interval, and what a perfect generator would score."""
    from scipy.stats import binomtest  # half a second that planning should not wait for

    exact = binomtest(round(value * count), count).proportion_ci(0.95)
    return {
        "binomial_low": exact.low,
        "binomial_high": exact.high,
        "n_test": tests,
        EXPECTED: expected_ratio(tests),
    }


def expected_ratio(tests: int) -> float:
    """Compute the ratio that new real cases have on average, given the number of test volumes.

    The interpolated quantile of n draws lies at order statistic 0.05 (n - 1) + 1, below which a
    further draw falls with probability (0.05 (n - 1) + 1) / (n + 1): 0.05 only for large n.
    """
    return (QUANTILE * (tests - 1) + 1) / (tests + 1)


NN_RATIO = Metric(
    name="nn-ratio",
    label="NN ratio",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "fraction of d(generated, train) below a quantile of d(test, train)",
        "quantile": QUANTILE,
        "distance": "Euclidean, float64 differences",
        "features": FEATURES,
        "standardise": STANDARDISE,
        "uncertainty": {"generated": "binomial, Agresti-Coull", "test": jackknife.RECIPE},
    },
    source="after Meehan et al. 2020, arXiv:2004.05675",
    needs=FEATURES,
    neighbours=closest_pairs,
    legend="share of volumes nearer to a training case than 95 % of held-out real ones are; best "
    "near the value of new real cases: above it copies, below it volumes unlike any real one",
    blind_to="copies that were flipped or changed in intensity, and quality: noise scores 0",
    held_out=True,
)
