"""Share of generated volumes that are copies of a training case, by voxels or by features.

A volume is a copy if, by one of two distances to its nearest training case, it is nearer than new
real cases come: nearer than every held-out case, and beyond the bound that one more held-out case
would pass with probability 0.5 % (a prediction bound of Student's t on log distances). By voxels it
must also stand out: at most 0.7 of the distance to its fifth nearest training case, since a mean or
blurred volume correlates with all of them.

The two complete each other: voxels find copies that were blurred, made noisy or changed in
brightness, and mirrored ones; features find those that were shifted, turned or mirrored.

Source: own; the threshold from held-out real cases is that of Dar et al. 2023, arXiv:2307.01148,
in whose form (95th percentile) a twentieth of new cases are copies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.memorisation import closeness
from cerebench.metrics.memorisation.nn_ratio import Pair

RISK = 0.005  # that a new case passes the bound of one distance, where log distances are normal
LEAST = 8  # held-out cases; fewer give no bound
RANK, STANDS_OUT = 5, 0.7  # by voxels: share of the distance to the fifth nearest


def bound(held_out: NDArray[np.floating]) -> float:
    """Return the distance to the nearest training case below which a volume is a copy.

    min(smallest held-out distance, exp(mean - t sd sqrt(1 + 1/n))), mean and sd (ddof 1) of the
    logarithms of n held-out distances, t the 99.5 % quantile of Student with n - 1 degrees.

    Args:
        held_out: (n,) distances of held-out cases to the nearest training case, above 0, n >= 2.

    Example:
        >>> round(bound([1.0, 1.0, 1.0]), 12)
        1.0
    """
    from scipy.stats import t  # half a second that planning should not wait for

    logs = np.log(np.asarray(held_out, np.float64))
    n = len(logs)
    reach = t.ppf(1 - RISK, n - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / n)
    return float(np.exp(min(logs.min(), logs.mean() - reach)))


def stands_out(distances: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which volumes are much nearer to one training case than to the fifth nearest.

    Args:
        distances: (m, n) to the training cases; the farthest counts where n < 5.

    Returns:
        (m,); all True for n = 1, which has nothing to compare with.
    """
    near = np.sort(np.asarray(distances, np.float64), axis=1)
    if near.shape[1] == 1:
        return np.ones(len(near), bool)
    return near[:, 0] <= STANDS_OUT * near[:, min(RANK, near.shape[1]) - 1]


def copied(sets: Sets) -> tuple[dict[str, NDArray[np.bool_]], dict[str, float]]:
    """Tell which generated volumes are copies by each distance, and the bound of each.

    Raises:
        MetricError: If there are fewer than 8 held-out cases, or one equals a training case.
    """
    require(sets, LEAST, "test")
    require(sets, 1, "generated", "train")
    found, bounds = {}, {}
    for space in closeness.SPACES:
        held_out = closeness.distances(sets, "test", "train", space).min(axis=1)
        if (same := np.flatnonzero(held_out == 0)).size:
            raise MetricError(
                f"{same.size} test volumes equal a training volume, the first is "
                f"{sets.test.ids[same[0]]}, so that new cases cannot be told from copies; disjoint "
                "sets were expected. Check the split for duplicates."
            )
        bounds[space] = bound(held_out)
        ours = closeness.distances(sets, "generated", "train", space)
        found[space] = ours.min(axis=1) < bounds[space]
        if space == closeness.VOXELS:
            found[space] &= stands_out(ours)
    return found, bounds


def closest_pairs(sets: Sets, count: int) -> list[Pair]:
    """Return the generated volumes that are nearest to being copies, the nearest first.

    Nearest in units of the bound of either distance, beside the training case that is nearest by
    that one, so that blurred copies stand with those that were shifted.

    Args:
        sets: The sets.
        count: Most pairs to return; a generated volume occurs once.

    Raises:
        MetricError: As in ``copied``.
    """
    _, bounds = copied(sets)
    spaces = [closeness.distances(sets, "generated", "train", s) for s in closeness.SPACES]
    units = [d / bounds[s] for s, d in zip(closeness.SPACES, spaces, strict=True)]
    least = np.array([u.min(axis=1) for u in units])  # (spaces, m)
    order = np.argsort(least.min(axis=0), kind="stable")[:count]
    at = [int(units[int(least[:, i].argmin())][i].argmin()) for i in order]
    return [Pair(int(i), j, float(spaces[0][i, j])) for i, j in zip(order, at, strict=True)]


def _compute(sets: Sets, view: str) -> Result:
    found, bounds = copied(sets)
    either: Array = np.any(list(found.values()), axis=0).astype(np.float64)
    parts = jackknife.groups(sets.generated.ids, sets.seed)
    spread = jackknife.TOO_FEW
    if jackknife.leaves_enough(parts):
        spread = jackknife.combine({"generated": [np.delete(either, g).mean() for g in parts]})
        spread = jackknife.of_share(spread, float(either.mean()), len(either))
    return spread.result(
        float(either.mean()),
        n_real=len(sets.train),
        n_generated=len(either),
        notes=closeness.notes(sets, closeness.FEATURES, "generated"),
        facts={
            "voxel": float(found[closeness.VOXELS].mean()),
            "feature": float(found[closeness.FEATURES].mean()),
            "voxel_correlation_from": 1 - bounds[closeness.VOXELS] ** 2 / 2,
            "feature_distance_below": bounds[closeness.FEATURES],
            "n_test": len(sets.test),
        },
    )


COPIES = Metric(
    name="copies",
    label="copies",
    compute=_compute,
    better=Better.LOWER,
    recipe={
        "estimator": "share of generated volumes that are copies in either space",
        "copy": "nearer to train than every test case and than a one-sided prediction bound of "
        "log distances",
        "risk": RISK,
        "least_test": LEAST,
        "voxels_also": f"at most {STANDS_OUT:g} of the distance to the {RANK}th nearest train",
        "spaces": closeness.RECIPE,
        "uncertainty": {"generated": jackknife.SHARE_RECIPE},
    },
    source="after Dar et al. 2023, arXiv:2307.01148",
    needs=closeness.EXTRACTOR,
    least=1,
    neighbours=closest_pairs,
    blind_to="copies changed in both ways at once, say shifted by voxels and blurred; quality",
    held_out=True,
)
