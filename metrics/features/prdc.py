"""Precision, recall, density and coverage: fidelity and diversity told apart by neighbourhoods.

A ball around every real volume reaches to its k-th nearest real neighbour. Precision: generated
volumes inside any ball. Density: balls per generated volume, divided by k. Coverage: real volumes
with a generated one inside their ball. Recall: real volumes inside a ball around any generated one.

Source: Kynkäänniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797, section 3.
Departures: both sets are drawn to equal size, 20 times, because coverage of a perfect generator is
0.97 at 250 + 250 volumes but 0.9999 at 51 real and 250 generated ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import BOUNDED_RECIPE, require, standardised
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE
from cerebench.metrics.estimators.subsample import RECIPE as SUBSAMPLE
from cerebench.metrics.estimators.subsample import equal_draws

NEIGHBOURS = 5
PARTS = ("precision", "recall", "density", "coverage")
SHARES = ("precision", "recall", "coverage")  # of volumes; density counts balls
BLOCK = 512  # rows of a distance matrix held at once


def radii(x: Array, k: int) -> Array:
    """Return each item's distance to its k-th nearest other item, (n,), for x (n, dim), n > k."""
    from scipy.spatial.distance import cdist  # slow to import, and not needed to plan

    # The item itself is the nearest one, at distance exactly 0.
    blocks = (np.asarray(cdist(x[i : i + BLOCK], x), np.float64) for i in range(0, len(x), BLOCK))
    return np.concatenate([np.partition(block, k, axis=1)[:, k] for block in blocks])


def prdc(
    generated: NDArray[np.floating], real: NDArray[np.floating], k: int = NEIGHBOURS
) -> dict[str, float]:
    """Compute the four numbers.

    Args:
        generated: (m, dim) features, m > k.
        real: (n, dim) features, n > k.
        k: Neighbours that define a ball; balls are open.

    Returns:
        ``precision``, ``recall`` and ``coverage`` in [0, 1]; ``density`` >= 0, 1 on average for
        equal distributions.

    Example:
        >>> prdc([[0.5], [10.0], [11.0]], [[0.0], [1.0], [2.0], [3.0]], k=1)["coverage"]
        0.5
    """
    from scipy.spatial.distance import cdist

    x, y = np.asarray(generated, np.float64), np.asarray(real, np.float64)
    radius_x, radius_y = radii(x, k), radii(y, k)
    inside, balls = 0, 0
    recalled, covered = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for start in range(0, len(x), BLOCK):
        distances = cdist(x[start : start + BLOCK], y)
        in_ball = distances < radius_y
        inside += int(in_ball.any(axis=1).sum())
        balls += int(in_ball.sum())
        covered |= in_ball.any(axis=0)
        recalled |= (distances < radius_x[start : start + BLOCK, None]).any(axis=0)
    return {
        "precision": inside / len(x),
        "recall": float(recalled.mean()),
        "density": balls / (k * len(x)),
        "coverage": float(covered.mean()),
    }


def expected_coverage(m: int, n: int, k: int = NEIGHBOURS) -> float:
    """Return the coverage of equal distributions: 1 - prod over i = 1..k of (n - i)/(m + n - i)."""
    i = np.arange(1, k + 1)
    return float(1 - np.prod((n - i) / (m + n - i)))


def prdc_metric(extractor: str, *, bounded: bool = False) -> Metric:
    """Declare precision, recall, density and coverage in a feature space, as parts of one metric.

    Density rises where few volumes are repeated, so that ``radlite-v2``, which tables show by
    default, goes without it.

    Args:
        extractor: Name of a 3D extractor; its features are standardised with the pooled real
            training cases.
        bounded: Whether the extractor declares its features ``bounded``.
    """

    def numbers(sets: Sets) -> tuple[dict[str, float], dict[str, jackknife.Uncertainty]]:
        (x, y), _ = standardised(sets, extractor, "generated", "train")
        draws = equal_draws(sets.generated.ids, sets.train.ids, sets.seed)
        found = [prdc(x[i], y[j]) for i, j in draws]
        values = {part: float(np.mean([f[part] for f in found])) for part in PARTS}
        errors = _errors(x, y, draws[0], sets)
        size = len(draws[0][0])
        shares = {p: jackknife.of_share(errors[p], values[p], size) for p in SHARES}
        return values, errors | shares

    def compute(sets: Sets, view: str) -> Result:
        require(sets, NEIGHBOURS + 1, "generated", "train")
        size = min(len(sets.generated), len(sets.train))
        _, notes = standardised(sets, extractor, "generated", "train")
        key = f"prdc {extractor} {sets.seed} {id(sets.train)}"
        values, errors = sets.generated.keep(key, lambda: numbers(sets))
        facts: dict[str, float] = {"equal_n": size}
        if view == "coverage":
            facts["expected_coverage"] = expected_coverage(size, size)
        return errors[view].result(
            values[view], n_real=len(sets.train), n_generated=len(sets.generated),
            notes=notes, facts=facts,
        )  # fmt: skip

    return Metric(
        name=f"prdc-{extractor}",
        label=f"PRDC[{extractor}]",
        compute=compute,
        better=Better.HIGHER,
        recipe={
            "k": NEIGHBOURS,
            "balls": "open, k-th neighbour without the item itself",
            "distance": "Euclidean, float64",
            "features": extractor,
            "standardise": BOUNDED_RECIPE if bounded else STANDARDISE,
            "subsample": SUBSAMPLE,
            "reference": "train",
            "uncertainty": {**jackknife.SHARE_RECIPE, "of": "the first draw"},
        },
        source="Naeem et al. 2020, arXiv:2002.09797, section 3",
        needs=extractor,
        views=SHARES if bounded else PARTS,
        least=NEIGHBOURS + 1,
        blind_to="copies of training volumes, which score best, and what the features do not show",
    )


def _errors(
    x: Array, y: Array, draw: tuple[NDArray[np.intp], NDArray[np.intp]], sets: Sets
) -> dict[str, jackknife.Uncertainty]:
    """Jackknife all four numbers of one draw together, since they share their distances."""
    rows, columns = draw
    parts = {
        "generated": jackknife.groups([sets.generated.ids[i] for i in rows], sets.seed),
        "real": jackknife.groups([sets.train.ids[j] for j in columns], sets.seed),
    }
    if not all(jackknife.leaves_enough(p, NEIGHBOURS + 1) for p in parts.values()):
        return dict.fromkeys(PARTS, jackknife.Uncertainty(notes=(TOO_FEW,)))
    left = {
        "generated": [prdc(x[np.delete(rows, g)], y[columns]) for g in parts["generated"]],
        "real": [prdc(x[rows], y[np.delete(columns, g)]) for g in parts["real"]],
    }
    return {
        part: jackknife.combine({role: [f[part] for f in found] for role, found in left.items()})
        for part in PARTS
    }


TOO_FEW = f"no standard error: leaving out a group would leave {NEIGHBOURS} volumes or fewer"
PRDC_RADLITE2 = prdc_metric("radlite-v2", bounded=True)
PRDC_RADLITE = prdc_metric("radlite-v1")
PRDC_RAND3D = prdc_metric("rand3d-v1")
