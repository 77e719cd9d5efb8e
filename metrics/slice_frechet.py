"""Fréchet distance of 2D slices, one number per view.

All slices of all volumes enter, empty ones too. Features are used raw: canonical Inception
features define FID that way, and the same is done for other slice extractors. Slices of one volume
are correlated, so errors come from leaving out whole volumes.

Source: Heusel et al. 2017, arXiv:1706.08500; slices along three views as in Zhou and Khalvati 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics import jackknife
from cerebench.metrics.base import VIEWS, Array, Better, Metric, Result, Sets
from cerebench.metrics.frechet import (
    Gaussian,
    cautions,
    covariance_root,
    frechet_from_statistics,
)
from cerebench.metrics.standardise import finite_features, require

CANONICAL = "inception"


def slice_label(extractor: str) -> str:
    """Return the column header: ``FID`` is reserved for the canonical Inception features."""
    return "FID" if extractor == CANONICAL else f"FD[{extractor}]"


def slice_frechet_metric(extractor: str) -> Metric:
    """Declare the slice Fréchet distance of generated to real training volumes.

    Args:
        extractor: Name of a 2D extractor.

    Returns:
        The metric ``fd-<extractor>`` with three views; ``fid`` for the canonical Inception.
    """

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        return _compare(sets, extractor, view)

    return Metric(
        name="fid" if extractor == CANONICAL else f"fd-{extractor}",
        label=slice_label(extractor),
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "Fréchet distance, unbiased covariances",
            "features": extractor,
            "standardise": None,
            "slices": "all",
            "reference": "train",
            "uncertainty": jackknife.RECIPE,
        },
        source="Heusel et al. 2017, arXiv:1706.08500, eq. 6",
        needs=extractor,
        views=VIEWS,
        blind_to="whether neighbouring slices fit together, and copies, which score 0",
    )


def _compare(sets: Sets, extractor: str, view: str) -> Result:
    x = finite_features(sets.generated, extractor, "generated", view)
    y = finite_features(sets.train, extractor, "train", view)
    parts_x = _by_group(x, sets.generated.ids, sets.seed)
    parts_y = _by_group(y, sets.train.ids, sets.seed)
    generated, real = reduce(add, parts_x), reduce(add, parts_y)
    root = covariance_root(real)
    spread = _uncertainty(parts_x, parts_y, generated, real, root)
    counts = (f"real_slices={real.n}", f"generated_slices={generated.n}")
    return spread.result(
        frechet_from_statistics(real, generated, root),
        n_real=len(y),
        n_generated=len(x),
        notes=counts + cautions(x, y),
    )


def _by_group(features: NDArray[np.float32], ids: Sequence[str], seed: int) -> list[Gaussian]:
    """Summarise the slices of each jackknife group of volumes, features (N, S, dim)."""
    groups = jackknife.groups(ids, seed)
    return [Gaussian.of(features[g].reshape(-1, features.shape[2])) for g in groups]


def _uncertainty(
    parts_x: list[Gaussian], parts_y: list[Gaussian], x: Gaussian, y: Gaussian, root_y: Array
) -> jackknife.Uncertainty:
    """Jackknife from the groups' statistics, so that no feature is read twice."""
    # Two groups are two volumes: without one of them nothing is left to compare.
    if min(len(parts_x), len(parts_y)) < 3:
        return jackknife.TOO_FEW
    root_x = covariance_root(x)
    return jackknife.combine(
        {
            "generated": [frechet_from_statistics(y, x - part, root_y) for part in parts_x],
            "real": [frechet_from_statistics(x, y - part, root_x) for part in parts_y],
        }
    )


FD_RAND2D = slice_frechet_metric("rand2d-v1")
FID = slice_frechet_metric(CANONICAL)
