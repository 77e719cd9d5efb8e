"""Fréchet distance of 2D slices, one number per view and choice of slices.

Which slices enter makes different metrics, so the choice is part of the name: all (empty ones too,
which are alike in any set and lower the value), those with foreground (``-fg``), the middle one
(``-middle``) or the middle one and its neighbours (``-center3``). Features are used raw: canonical
Inception features define FID that way, and the same is done for other slice extractors. Slices of
one volume are correlated, so errors come from leaving out whole volumes.

Source: Heusel et al. 2017, arXiv:1706.08500; slices along three views as in Zhou and Khalvati 2024;
middle slices as in Tudosiu et al. 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import (
    VIEWS,
    Array,
    Better,
    Indexed,
    Metric,
    MetricError,
    Result,
    Sets,
    VolumeSet,
)
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import finite_features, require
from cerebench.metrics.extractors.radlite import THRESHOLD
from cerebench.metrics.features.frechet import (
    Gaussian,
    cautions,
    covariance_root,
    frechet_from_statistics,
)

CANONICAL = "inception"
LEAST_FOREGROUND = 0.01  # fraction of a slice's voxels
CHUNK = 2**22  # features summarised at once
SLICES = {
    "all": "all",
    "fg": f"at least {LEAST_FOREGROUND:g} of the voxels above {THRESHOLD:g} on [0, 1]",
    "middle": "index S // 2",
    "center3": "index S // 2 and its two neighbours",
    "every4": "every fourth, from index 0",
}


def slice_label(extractor: str, slices: str = "all") -> str:
    """Return the column header: ``FID`` is reserved for the canonical Inception features."""
    if extractor == CANONICAL:
        return "FID" if slices == "all" else f"FID {slices}"
    return f"FD[{extractor}]" if slices == "all" else f"FD[{extractor}] {slices}"


def slice_frechet_metric(extractor: str, slices: str = "all") -> Metric:
    """Declare the slice Fréchet distance of generated to real training volumes.

    Args:
        extractor: Name of a 2D extractor.
        slices: ``all``, ``fg``, ``middle``, ``center3`` or ``every4``.

    Returns:
        The metric ``fd-<extractor>`` with three views, ``fid`` for the canonical Inception; the
        choice of slices is appended to the name unless it is ``all``.
    """

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        return compare(sets, extractor, view, slices)

    name = "fid" if extractor == CANONICAL else f"fd-{extractor}"
    return Metric(
        name=name if slices == "all" else f"{name}-{slices}",
        label=slice_label(extractor, slices),
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "Fréchet distance, unbiased covariances",
            "features": extractor,
            "standardise": None,
            "slices": SLICES[slices],
            "reference": "train",
            "uncertainty": jackknife.RECIPE,
        },
        family="frechet",
        source="Heusel et al. 2017, arXiv:1706.08500, eq. 6",
        needs=extractor,
        views=VIEWS,
        blind_to="whether neighbouring slices fit together, and copies, which score 0",
    )


def foreground_slices(volumes: VolumeSet, view: str) -> list[NDArray[np.bool_]]:
    """Tell which slices along a view show at least 1 % foreground, (S,) for each volume."""

    def look() -> list[dict[str, NDArray[np.bool_]]]:
        return [
            {
                name: ((v[0] + 1) / 2 > THRESHOLD).mean(axis=others) >= LEAST_FOREGROUND
                for name, others in zip(VIEWS, ((1, 2), (0, 2), (0, 1)), strict=True)
            }
            for v in volumes
        ]

    return [shown[view] for shown in volumes.keep("foreground slices", look)]


class _Chosen:
    """The features of the foreground slices of each volume, read when indexed."""

    def __init__(self, features: Indexed[NDArray], chosen: Sequence[NDArray[np.bool_]]) -> None:
        self._features, self._chosen = features, chosen

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> NDArray:
        return self._features[index][self._chosen[index]]


def chosen_features(
    volumes: VolumeSet, extractor: str, role: str, view: str, slices: str
) -> Indexed[NDArray]:
    """Return the features of the chosen slices, one entry (slices, dim) a volume."""
    if slices == "all":
        return finite_features(volumes, extractor, role, view)
    if slices != "fg":
        return finite_features(volumes, extractor, role, f"{view}/{slices}")
    features = finite_features(volumes, extractor, role, view)
    return _Chosen(features, foreground_slices(volumes, view))


def compare(sets: Sets, extractor: str, view: str, slices: str) -> Result:
    """Compute the Fréchet distance of the chosen slices along one view, with its error.

    Args:
        sets: At least 2 generated and 2 training volumes.
        extractor: Name of a 2D extractor.
        view: ``axial``, ``coronal`` or ``sagittal``.
        slices: Key of ``SLICES``.
    """
    x = chosen_features(sets.generated, extractor, "generated", view, slices)
    y = chosen_features(sets.train, extractor, "train", view, slices)
    parts_x = by_group(x, sets.generated.ids, sets.seed, "generated")
    parts_y = by_group(y, sets.train.ids, sets.seed, "train")
    generated, real = reduce(add, parts_x), reduce(add, parts_y)
    root = covariance_root(real)
    spread = _uncertainty(parts_x, parts_y, generated, real, root)
    return spread.result(
        frechet_from_statistics(real, generated, root),
        n_real=len(y),
        n_generated=len(x),
        notes=cautions(x, y) if slices != "fg" else (),
        facts={"real_slices": real.n, "generated_slices": generated.n},
    )


def by_group(
    features: Indexed[NDArray], ids: Sequence[str], seed: int, role: str
) -> list[Gaussian]:
    """Summarise the slices of each jackknife group of volumes; groups without slices are left out.

    Raises:
        MetricError: If there are fewer than 2 slices in all.
    """
    parts = []
    for group in jackknife.groups(ids, seed):
        summed = [Gaussian.of(rows) for rows in _chunks(features, group)]
        if summed:
            parts.append(reduce(add, summed))
    if sum(part.n for part in parts) < 2:
        raise MetricError(
            f"The {role} volumes have fewer than 2 slices of this choice; a covariance needs 2. "
            "Check that the volumes show an object."
        )
    return parts


def _chunks(features: Indexed[NDArray], group: NDArray[np.intp]) -> Iterator[NDArray]:
    """Read the slices of a group of volumes, not more at a time than memory should hold."""
    held: list[NDArray] = []
    for index in group:
        held.append(np.asarray(features[index]))
        if sum(rows.size for rows in held) > CHUNK:
            yield np.concatenate(held)
            held = []
    if sum(map(len, held)):
        yield np.concatenate(held)


def _uncertainty(
    parts_x: list[Gaussian], parts_y: list[Gaussian], x: Gaussian, y: Gaussian, root_y: Array
) -> jackknife.Uncertainty:
    """Jackknife from the groups' statistics, so that no feature is read twice."""
    # Two groups are two volumes: without one of them nothing is left to compare.
    least = min(s.n - max(p.n for p in parts) for s, parts in ((x, parts_x), (y, parts_y)))
    if min(len(parts_x), len(parts_y)) < 3 or least < 2:
        return jackknife.TOO_FEW
    root_x = covariance_root(x)
    return jackknife.combine(
        {
            "generated": [frechet_from_statistics(y, x - part, root_y) for part in parts_x],
            "real": [frechet_from_statistics(x, y - part, root_x) for part in parts_y],
        }
    )


FD_RAND2D = slice_frechet_metric("rand2d-v1")
FD_RAND2D_FG = slice_frechet_metric("rand2d-v1", "fg")
FD_RAND2D_MIDDLE = slice_frechet_metric("rand2d-v1", "middle")
FD_RAND2D_CENTER3 = slice_frechet_metric("rand2d-v1", "center3")
FID = slice_frechet_metric(CANONICAL)
FD_UNVERIFIED = slice_frechet_metric("inception-unverified")
FID_FG = slice_frechet_metric(CANONICAL, "fg")
FID_MIDDLE = slice_frechet_metric(CANONICAL, "middle")
FID_CENTER3 = slice_frechet_metric(CANONICAL, "center3")
