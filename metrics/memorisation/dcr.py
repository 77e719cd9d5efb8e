"""Distance to the closest record, in units of what new real cases have.

Median over generated volumes of the distance to the nearest training case, divided by the same
median of held-out real cases: 0 for copies, 1 for new cases, far above 1 for volumes unlike any.

Source: Park et al. 2018, arXiv:1806.03384 (distance to the closest record).
Departures: a ratio of medians in place of mean and sd of distances, which have no unit that two
data sets share.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Better, Metric, MetricError, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.memorisation import closeness


def dcr(generated: NDArray[np.floating], test: NDArray[np.floating]) -> float:
    """Compute the ratio of medians.

    Args:
        generated: (m,) distances of generated volumes to the nearest training case.
        test: (n,) the same of held-out real volumes; their median is above 0.

    Example:
        >>> dcr([0.0, 1.0, 5.0], [2.0, 2.0])
        0.5
    """
    return float(np.median(generated) / np.median(test))


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 2, "generated", "test")
    require(sets, 1, "train")
    near = closeness.distances(sets, "generated", "train", view).min(axis=1)
    held_out = closeness.distances(sets, "test", "train", view).min(axis=1)
    if np.median(held_out) == 0:
        raise MetricError(
            "At least half of the test volumes equal a training volume, so that new cases have no "
            "distance; disjoint sets were expected. Check the split for duplicates."
        )
    spread = jackknife.over_two_sets(
        lambda i, j: dcr(near[i], held_out[j]), sets.generated.ids, sets.test.ids, sets.seed
    )
    unit = np.median(held_out)
    return spread.result(
        dcr(near, held_out),
        real_value=1.0,
        n_real=len(sets.train),
        n_generated=len(near),
        notes=closeness.notes(sets, view, "generated"),
        facts={
            "percentile_5": float(np.quantile(near, 0.05) / unit),
            "real_percentile_5": float(np.quantile(held_out, 0.05) / unit),
            "least": float(near.min() / unit),
            "unit": float(unit),
            "n_test": len(held_out),
        },
    )


DCR = Metric(
    name="dcr",
    label="DCR",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "median d(generated, nearest train) / median d(test, nearest train)",
        "spaces": closeness.RECIPE,
        "uncertainty": jackknife.RECIPE,
    },
    source="after Park et al. 2018, arXiv:1806.03384",
    needs=closeness.EXTRACTOR,
    views=closeness.SPACES,
    blind_to="copies that are fewer than half of the volumes; its fact ``least`` sees one",
    held_out=True,
)
