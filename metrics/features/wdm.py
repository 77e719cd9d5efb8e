"""The protocol of WDM (wavelet diffusion): a MedicalNet-50 Fréchet distance and MS-SSIM, n = 1000.

``fd-medicalnet-orig-resnet50-wdm``: FD = |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2)
with means mu and unbiased covariances S of 2048 raw features of 1000 generated and 1000 real
training volumes. Squared units of the features, 0 or more. WDM prints it as FID; here that word is
kept for the canonical Inception features.

``ms-ssim-wdm``: mean MS-SSIM over pairs of different volumes of the generated set, 5 scales,
Gaussian window of 7 voxels, standard deviation 1.5, volumes on [0, 1]; dimensionless, in [0, 1].

Both take the first 1000 volumes in the order of their names. With fewer they are computed all the
same and say so: 1000 volumes in 2048 dimensions leave both covariances without full rank, so that a
Fréchet distance at another n is another number. The published reference is a whole-brain T1 set
of 128^3 voxels at 2 mm, clipped at quantiles .001 and .999; a table of anything else does not
compare with it.

Source: Friedrich et al. 2024, arXiv:2402.19043, table 2; code wdm-3d, evaluation scripts.
Departures: 1. where there are fewer than 1000 volumes the script leaves unfilled rows in its
array, which are zero feature vectors; here they are absent; 2. the script takes files in the order
of the directory, here by name; 3. MS-SSIM is the mean of 20,000 seeded pairs, or of all where there
are fewer, not of all 499,500 [ours: cost; its standard error is given]; 4. MS-SSIM is best nearest
to that of the real set, not lowest [ours: less than real is noise].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import (
    Better,
    LazyVolumes,
    Metric,
    MetricError,
    Result,
    Sets,
    VolumeSet,
)
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import finite_features, require
from cerebench.metrics.features.frechet import cautions, frechet_distance
from cerebench.metrics.voxel import ms_ssim
from cerebench.metrics.voxel.ms_ssim import metric_function
from cerebench.metrics.voxel.schemes import WEIGHTS, Scheme, gaussian

EXTRACTOR = "medicalnet-orig-resnet50-wdm"
N = 1000
PAIRS = 20_000
RADIUS = 3  # a window of 7 voxels
SHORTEST = 7 << (len(WEIGHTS) - 1)  # the window fits the coarsest scale
SOURCE = "Friedrich et al. 2024, arXiv:2402.19043, table 2; code wdm-3d"


def first_rows(ids: Sequence[str]) -> NDArray[np.intp]:
    """Return the positions of the first 1000 volumes in the order of their names."""
    return np.argsort(np.asarray(ids), kind="stable")[:N]


def label_of_n(generated: int, real: int) -> tuple[str, ...]:
    """Say that numbers of volumes are not those of the protocol; nothing where they are.

    Example:
        >>> label_of_n(64, 1000)
        ('n 64/1000 instead of 1000/1000: not the number that WDM prints',)
    """
    used = (min(generated, N), min(real, N))
    if used == (N, N):
        return ()
    return (f"n {used[0]}/{used[1]} instead of {N}/{N}: not the number that WDM prints",)


def wdm_scheme(shape: Sequence[int]) -> Scheme:
    """Return the definition of MS-SSIM in WDM's evaluation.

    Args:
        shape: (C, D, H, W) or (D, H, W), voxels.

    Raises:
        MetricError: If an edge is shorter than 112 voxels, where the window does not fit.
    """
    if min(shape[-3:]) < SHORTEST:
        raise MetricError(
            f"Volumes of shape {tuple(shape)} are too small for ms-ssim-wdm, whose window of 7 "
            f"voxels at 5 scales needs {SHORTEST} along every axis. Use ms-ssim instead."
        )
    return Scheme(gaussian(RADIUS), WEIGHTS, mirrored=False, unit_range=True)


def _frechet(sets: Sets, view: str) -> Result:
    """Compute the distance of the raw features.

    Raises:
        MetricError: If a set has fewer than 2 volumes, or features are not finite.
    """
    require(sets, 2, "generated", "train")
    rows, ids = {}, {}
    for role in ("generated", "train"):
        volumes: VolumeSet = getattr(sets, role)
        taken = first_rows(volumes.ids)
        rows[role] = np.asarray(finite_features(volumes, EXTRACTOR, role))[taken]
        ids[role] = [volumes.ids[i] for i in taken]
    x, y = rows["generated"], rows["train"]
    spread = jackknife.over_two_sets(
        lambda i, j: frechet_distance(x[i], y[j]), ids["generated"], ids["train"], sets.seed
    )
    return spread.result(
        frechet_distance(x, y),
        n_real=len(y),
        n_generated=len(x),
        notes=label_of_n(len(x), len(y)) + cautions(x, y),
        facts={"n_of_protocol": N},
    )


def _first(volumes: VolumeSet) -> VolumeSet:
    """Return the first 1000 volumes of a set, the same object at every call."""

    def cut() -> VolumeSet:
        taken = first_rows(volumes.ids).tolist()
        ids = [volumes.ids[i] for i in taken]
        return VolumeSet(LazyVolumes(ids, lambda index: volumes[taken[index]]), ids)

    return volumes.keep(f"first {N} by name", cut)


_SIMILARITY = metric_function("ms-ssim-wdm", wdm_scheme, PAIRS)


def _similarity(sets: Sets, view: str) -> Result:
    """Compute MS-SSIM of the first 1000 volumes of both sets.

    Raises:
        MetricError: If a set has fewer than 2 volumes, shapes differ, or the window does not fit.
    """
    require(sets, 2, "generated", "train")
    few = replace(sets, generated=_first(sets.generated), train=_first(sets.train))
    result = _SIMILARITY(few, view)
    told = label_of_n(len(few.generated), len(few.train))
    return replace(result, notes=(*told, *result.notes), facts={**result.facts, "n_of_protocol": N})


FD_WDM = Metric(
    name=f"fd-{EXTRACTOR}",
    label="FD[medicalnet50]-WDM",
    compute=_frechet,
    better=Better.LOWER,
    recipe={
        "estimator": "Fréchet distance, unbiased covariances",
        "features": EXTRACTOR,
        "standardise": None,
        "n": f"first {N} of each set by name; fewer are labelled",
        "reference": "train",
        "uncertainty": jackknife.RECIPE,
    },
    family="frechet",
    source=SOURCE,
    needs=EXTRACTOR,
    blind_to="copies of training volumes, which score 0",
)
MS_SSIM_WDM = Metric(
    name="ms-ssim-wdm",
    label="MS-SSIM (WDM)",
    compute=_similarity,
    better=Better.NEAR_REAL,
    recipe={
        "sigma": ms_ssim.SIGMA,
        "weights": list(WEIGHTS),
        "c1": ms_ssim.C1,
        "c2": ms_ssim.C2,
        "pooling": "mean 2x2x2",
        "range": [0, 1],
        "window": 2 * RADIUS + 1,
        "scales": len(WEIGHTS),
        "border": "valid",
        "last_exponent": "w_5",
        "pairs": PAIRS,
        "draw": "without replacement, raw PCG64 words",
        "n": f"first {N} of each set by name; fewer are labelled",
        "reference": "train",
    },
    family="ms-ssim",
    source=SOURCE,
    blind_to="what the volumes show: it compares generated volumes with each other alone",
)
