"""Share of generated volumes that are no copy by the distance to the nearest training case.

A volume is authentic if it lies farther from its nearest training case than that case lies from
its own nearest neighbour among the other training cases.

Source: Alaa et al. 2022, arXiv:2102.08921, section 3.3.
Departures: compared with the same number of held-out real volumes, because new cases do not score
100 % (69 % for 500 points of a 16-dimensional Gaussian).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE
from cerebench.metrics.estimators.standardise import require, standardised

BLOCK = 512  # rows of a distance matrix held at once


def authentic(x: NDArray[np.floating], train: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which items are authentic.

    Args:
        x: (m, dim).
        train: (n, dim), n >= 2.

    Returns:
        (m,) booleans.
    """
    from scipy.spatial.distance import cdist  # slow to import, and not needed to plan

    x, train = np.asarray(x, np.float64), np.asarray(train, np.float64)
    found = []
    for start in range(0, len(x), BLOCK):
        distances = cdist(x[start : start + BLOCK], train)
        nearest = distances.argmin(axis=1)
        own = cdist(train[nearest], train)
        own[np.arange(len(own)), nearest] = np.inf
        found.append(distances.min(axis=1) > own.min(axis=1))
    return np.concatenate(found)


def authpct(x: NDArray[np.floating], train: NDArray[np.floating]) -> float:
    """Compute the percentage of authentic items, 0 to 100.

    Example:
        >>> authpct([[1.0]], [[0.0], [10.0]]), authpct([[-20.0]], [[0.0], [10.0]])
        (0.0, 100.0)
    """
    return float(100 * np.mean(authentic(x, train)))


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 2, "generated", "train")
    require(sets, 1, "test")
    (x, train, test), notes = standardised(sets, "radlite-v1", "generated", "train", "test")
    ours = 100.0 * authentic(x, train)
    parts = jackknife.groups(sets.generated.ids, sets.seed)
    spread = jackknife.TOO_FEW
    if jackknife.leaves_enough(parts):
        spread = jackknife.combine({"generated": [np.delete(ours, g).mean() for g in parts]})
        if spread.se == 0:  # none is authentic, or each
            share = ours.mean() / 100
            error = 100 * jackknife.binomial_error(share, len(ours))
            spread = replace(jackknife.of_share(spread, share, len(ours)), se=error)
    return spread.result(
        float(ours.mean()),
        real_value=authpct(test, train),
        n_real=len(train),
        n_generated=len(x),
        notes=notes,
        facts={"n_test": len(test)},
    )


AUTHPCT = Metric(
    name="authpct",
    label="authentic %",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "100 x share with d(g, t*) > d(t*, train without t*), t* nearest to g",
        "distance": "Euclidean, float64 differences",
        "features": "radlite-v1",
        "standardise": STANDARDISE,
        "uncertainty": {"generated": jackknife.SHARE_RECIPE},
    },
    source="Alaa et al. 2022, arXiv:2102.08921, section 3.3",
    needs="radlite-v1",
    legend="share of volumes farther from their nearest training case than that is from its own "
    "nearest one; best near the value of held-out real volumes: below it copies, above it volumes "
    "unlike any real one",
    blind_to="quality: noise is authentic, and so are copies of training cases that occur twice",
    held_out=True,
)
