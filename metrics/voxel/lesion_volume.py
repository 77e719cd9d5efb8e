"""Do generated lesions have the volumes of real ones? Difference, distribution and equivalence.

"Not significantly different" would reward small sets and strict levels, so equivalence is tested:
two one-sided Welch tests of whether the difference of the means lies within half a standard
deviation of the real volumes.

Source: Schuirmann 1987 (TOST); Hedges 1981 (g); foreground rule: that of radlite-v1; transport cost
after Jafrasteh 2025 (WASABI), exact for one volume a case.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cerebench.core.facts import WELCH_P
from cerebench.core.statistics import Group, hedges_g, tost_p, welch_p
from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets, VolumeSet
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.estimators.subsample import equal_draws
from cerebench.metrics.extractors.radlite import THRESHOLD
from cerebench.metrics.voxel.foreground import foreground_volumes

MARGIN = 0.5  # standard deviations of the real volumes
PARTS = ("TOST p", "|g|", "KS", "W2²")


def effect(x: Array, y: Array) -> float:
    """Return the absolute Hedges g of two sets of values."""
    return abs(hedges_g(Group.of(x), Group.of(y)))


def ks_distance(x: Array, y: Array) -> float:
    """Return the largest gap between the two empirical distribution functions, 0 to 1."""
    both = np.sort(np.concatenate([x, y]))
    shares = [np.searchsorted(np.sort(s), both, side="right") / len(s) for s in (x, y)]
    return float(np.abs(shares[0] - shares[1]).max())


def w2_squared(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Compute the squared 2-Wasserstein distance of two sets of equal size: mean matched cost.

    Args:
        x: (n, dim) values.
        y: (n, dim) values.

    Raises:
        MetricError: If the sizes differ.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape:
        raise MetricError(
            f"Sets of {len(x)} and {len(y)} items have no one-to-one matching; equal numbers are "
            "needed. Draw from the larger one."
        )
    if x.shape[1] == 1:  # sorted values match at least cost
        return float(np.mean((np.sort(x, axis=0) - np.sort(y, axis=0)) ** 2))
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(x, y, "sqeuclidean")
    return float(cost[linear_sum_assignment(cost)].mean())


def transport(x: Array, y: Array, seed: int) -> float:
    """Compute ``w2_squared`` of sets of any size: the mean over draws of equal numbers.

    Args:
        x: (m, dim) values.
        y: (n, dim) values.
        seed: Seed of the draws.
    """
    ours, real = ([str(i) for i in range(len(s))] for s in (x, y))
    return float(np.mean([w2_squared(x[i], y[j]) for i, j in equal_draws(ours, real, seed)]))


def _volumes(group: VolumeSet, spacing: tuple[float, float, float]) -> Array:
    return group.keep("foreground volumes", lambda: foreground_volumes(group, spacing))


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 3, "generated", "train")
    ours, real = (_volumes(group, sets.spacing) for group in (sets.generated, sets.train))
    sd = float(np.std(real, ddof=1))
    if sd == 0:
        raise MetricError(
            "All real volumes have the same foreground, so that there is no spread to compare "
            "with. Check the background value: it must be -1."
        )
    spread = jackknife.Uncertainty()
    if view != "TOST p":  # a p-value has no error of its own
        statistic = _statistics(sets, real, sd)[view]
        spread = jackknife.over_two_sets(
            lambda i, j: statistic(ours[i], real[j]), sets.generated.ids, sets.train.ids, sets.seed
        )
        value = statistic(ours, real)
    else:
        value = tost_p(Group.of(ours), Group.of(real), MARGIN * sd)
    return spread.result(
        value,
        n_real=len(real),
        n_generated=len(ours),
        facts={
            WELCH_P: welch_p(Group.of(ours), Group.of(real)),
            "difference_ml": ours.mean() - real.mean(),
            "margin_ml": MARGIN * sd,
        },
    )


def _statistics(sets: Sets, real: Array, sd: float) -> dict[str, Callable[[Array, Array], float]]:
    centre = float(real.mean())

    def standardised(x: Array, y: Array) -> float:
        ours, theirs = (((s - centre) / sd)[:, None] for s in (x, y))
        return transport(ours, theirs, sets.seed)

    return {"|g|": effect, "KS": ks_distance, "W2²": standardised}


LESION_VOLUME = Metric(
    name="lesion-volume",
    label="lesion volume",
    compute=_compute,
    better=Better.LOWER,
    recipe={
        "volume": f"voxels above {THRESHOLD} on [0, 1] times the voxel volume",
        "equivalence": f"TOST of Welch, margin {MARGIN} sd of the real volumes",
        "effect": "absolute Hedges g",
        "distribution": "Kolmogorov-Smirnov distance",
        "transport": "squared 2-Wasserstein distance of volumes standardised with the real ones, "
        "equal numbers",
        "reference": "train",
        "uncertainty": jackknife.RECIPE,
    },
    source="Schuirmann 1987; Hedges 1981; transport after Jafrasteh 2025",
    views=PARTS,
    least=3,
    blind_to="everything but the size of the foreground: shape, place, texture and intensity",
)
