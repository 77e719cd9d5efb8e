"""Are generated volumes nearer to training cases than held-out real ones, as a rank statistic?

Source: Meehan, Chaudhuri, Dasgupta 2020, arXiv:2004.05675, without cells: they need 100 test cases.
"""

from __future__ import annotations

import numpy as np

from cerebench.metrics.base import Array, Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE
from cerebench.metrics.estimators.standardise import require, standardised
from cerebench.metrics.memorisation.nn_ratio import nearest


def ct_z(generated: Array, test: Array) -> float:
    """Compute the Mann-Whitney Z of generated against held-out distances.

    U counts pairs in which the generated volume is farther from the training set, ties as half;
    Z = (U - m n / 2) / sqrt(m n (m + n + 1) / 12).

    Args:
        generated: (m,) distances of generated volumes to the nearest training case.
        test: (n,) the same of held-out real volumes.

    Returns:
        Z, dimensionless: about N(0, 1) for new cases, far below 0 for copies, far above for
        volumes unlike any real one.

    Example:
        >>> round(ct_z([0.0, 0.0], [1.0, 2.0, 3.0]), 4)
        -1.7321
    """
    from scipy.stats import rankdata  # half a second that planning should not wait for

    m, n = len(generated), len(test)
    ranks = rankdata(np.concatenate([generated, test]))
    u = ranks[:m].sum() - m * (m + 1) / 2
    return float((u - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12))


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 2, "generated", "test")
    require(sets, 1, "train")
    (x, train, test), notes = standardised(sets, "radlite-v1", "generated", "train", "test")
    near, held_out = nearest(x, train), nearest(test, train)
    spread = jackknife.over_two_sets(
        lambda i, j: ct_z(near[i], held_out[j]), sets.generated.ids, sets.test.ids, sets.seed
    )
    return spread.result(
        ct_z(near, held_out),
        real_value=0.0,
        n_real=len(train),
        n_generated=len(x),
        notes=notes,
        facts={"n_test": len(test)},
    )


CT_Z = Metric(
    name="ct-z",
    label="C_T",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "Mann-Whitney Z of d(generated, train) against d(test, train), no cells",
        "distance": "Euclidean, float64 differences",
        "features": "radlite-v1",
        "standardise": STANDARDISE,
        "uncertainty": jackknife.RECIPE,
    },
    source="Meehan et al. 2020, arXiv:2004.05675",
    needs="radlite-v1",
    legend="rank statistic (Z) of the distance to the nearest training case, against held-out real "
    "volumes; best near 0: far below copies, far above volumes unlike any real one",
    blind_to=(
        "a few copies among many volumes, copies that were flipped or changed in intensity; its "
        "size grows with the numbers of volumes"
    ),
    held_out=True,
)
