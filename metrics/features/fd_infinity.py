"""Fréchet distance extrapolated to infinitely many volumes, where there are enough for that.

Distances of subsets at 15 sizes are regressed on 1 / size; the intercept is the value. Both sets
shrink, because both lift the distance; subsampling the generated one alone leaves half of the bias.
With fewer volumes than features the distance is not linear in 1 / size and the extrapolation
fails (15.6 became 15.8 instead of 0 with 2048 features and 1000 volumes), so it is refused below
five volumes a feature.

Source: Chong and Forsyth 2020, arXiv:1911.07023, section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE
from cerebench.metrics.estimators.standardise import require, standardised
from cerebench.metrics.features.frechet import frechet_distance

SIZES = 15
PER_FEATURE = 5


def frechet_infinity(x: NDArray[np.floating], y: NDArray[np.floating], seed: int) -> float:
    """Extrapolate the Fréchet distance to infinite sets.

    Args:
        x: (m, dim) features.
        y: (n, dim) features; sizes run from a fifth of the smaller set to all of it.
        seed: Seed of the subsets, drawn without replacement.

    Returns:
        Distance in squared units of the features; values below 0 occur for equal distributions.
    """
    rng = np.random.RandomState(seed)
    whole = min(len(x), len(y))
    sizes = np.round(np.linspace(whole / PER_FEATURE, whole, SIZES)).astype(int)
    values = [
        frechet_distance(x[rng.permutation(len(x))[:n]], y[rng.permutation(len(y))[:n]])
        for n in sizes
    ]
    return float(np.polyfit(1.0 / sizes, values, 1)[1])


def fd_infinity_metric(extractor: str) -> Metric:
    """Declare the extrapolated Fréchet distance in a feature space."""

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        (x, y), notes = standardised(sets, extractor, "generated", "train")
        _refuse_few(x, y, extractor)
        by_id = [np.argsort(s.ids, kind="stable") for s in (sets.generated, sets.train)]
        order = [{int(row): place for place, row in enumerate(rows)} for rows in by_id]

        def value(i: NDArray[np.intp], j: NDArray[np.intp]) -> float:
            ours, real = (
                sorted(rows.tolist(), key=place.__getitem__)
                for rows, place in zip((i, j), order, strict=True)
            )
            return frechet_infinity(x[ours], y[real], sets.seed)

        spread = jackknife.over_two_sets(value, sets.generated.ids, sets.train.ids, sets.seed)
        return spread.result(
            value(np.arange(len(x)), np.arange(len(y))),
            n_real=len(y),
            n_generated=len(x),
            notes=notes,
        )

    return Metric(
        name=f"fd-inf-{extractor}",
        label=f"FD∞[{extractor}]",
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "intercept of Fréchet distances over 1 / size, both sets subsampled",
            "sizes": f"{SIZES} from a fifth of the smaller set to all of it",
            "refused_below": f"{PER_FEATURE} volumes a feature",
            "features": extractor,
            "standardise": STANDARDISE,
            "reference": "train",
            "uncertainty": jackknife.RECIPE,
        },
        family="frechet",
        source="Chong and Forsyth 2020, arXiv:1911.07023, section 3",
        needs=extractor,
        blind_to="copies of training volumes",
    )


def _refuse_few(x: Array, y: Array, extractor: str) -> None:
    count, needed = min(len(x), len(y)), PER_FEATURE * x.shape[1]
    if count < needed:
        raise MetricError(
            f"The smaller set has {count} volumes; extrapolating {x.shape[1]} features of "
            f"{extractor} needs {needed} ({PER_FEATURE} a feature). Use fd-{extractor} and KID "
            "beside the floor instead."
        )


FD_INF_RADLITE = fd_infinity_metric("radlite-v1")
