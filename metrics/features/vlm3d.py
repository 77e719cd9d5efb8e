"""The MR track of the VLM3D challenge: 2.5D Fréchet distance, and MSE, PSNR and SSIM of pairs.

``fd-squeezenet1-1-vlm3d``: each volume is scaled by its 0.5 and 99.5 percentiles; every fourth
slice along each of three views is brought to 224 x 224 pixels and given to SqueezeNet 1.1, trained
on ImageNet. Per view, with means mu and unbiased covariances S of the 512 features of all these
slices, FD = |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2); ``mean`` is the mean of the
three. Squared units of the features, 0 or more, without an upper bound. The board's page calls it
FID; here that word is kept for the canonical Inception features.

``mse-vlm3d`` is the mean square of the difference on [0, 1], from 0 to 1; ``psnr-vlm3d`` is
-10 log10 of it, dB, from 0; ``ssim-vlm3d`` is the SSIM of whole volumes on [0, 1], from -1 to 1;
each the mean over all outputs that were due, one for each real volume where files are pairs by
name. An output that is missing counts as the worst value there is, 1, 0 dB or -1, as the
challenge's page says; its scorer leaves such cases out, so that a method that fails on hard cases
gains. An output that equals its partner makes PSNR infinite, and then there is no value.

Source: page of the VLM3D challenge, MR track: network, percentiles, slices, their size, measures
and missing outputs. It leaves open, and here is assumed: 1. the views are axial, coronal and
sagittal, and their mean is the value [ours: what 2.5D means elsewhere]; 2. every fourth slice
begins with index 0, empty ones are kept [ours: no choice by content]; 3. the worst values are the
bounds of the measures on [0, 1] [ours: leaving an output out then never gains]; 4. pairs are
compared as they are, without percentiles [ours: these would hide a wrong brightness]; 5. SSIM has
the three-dimensional Gaussian window of ``ssim``, 11 voxels [ours: as elsewhere in this suite];
6. missing outputs are left out of the Fréchet distance, counted and told [ours: it has no worst
value]. ``extractors/squeezenet.py`` says what is assumed of the features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cerebench.core.facts import ABSENT
from cerebench.metrics.base import VIEWS, Better, Metric, Result, Sets, Volume
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.features.slice_frechet import SLICES, compare
from cerebench.metrics.voxel.paired import absent, mean_of_pairs, psnr, ssim
from cerebench.metrics.voxel.schemes import C1, C2

EXTRACTOR = "squeezenet1-1-vlm3d"
EVERY = "every4"
MEAN = "mean"
SOURCE = "VLM3D challenge, MR track, page of the challenge"
WORST = {"mse": 1.0, "psnr": 0.0, "ssim": -1.0}


def mse(first: Volume, second: Volume) -> float:
    """Compute the mean square of the difference on [0, 1].

    Args:
        first: (C, D, H, W), float32 in [-1, 1].
        second: The same shape and range.

    Returns:
        Dimensionless, in [0, 1]; 0 for equal volumes.

    Example:
        >>> black, white = np.full((1, 4, 4, 4), -1, "f4"), np.full((1, 4, 4, 4), 1, "f4")
        >>> mse(black, white)
        1.0
    """
    gap = (first.astype(np.float64) - second) / 2
    return float(np.mean(gap * gap))


def _frechet(sets: Sets, view: str) -> Result:
    """Compute the distance along a view, or the mean of the three.

    Raises:
        MetricError: If a set has fewer than 2 volumes, or features are not finite.
    """
    require(sets, 2, "generated", "train")
    views = VIEWS if view == MEAN else (view,)
    along = [_along(sets, one) for one in views]
    lost = absent(sets)
    due = len(set(sets.generated.expected))
    missing = (f"{len(lost)} of {due} outputs are missing: a Fréchet distance leaves them out",)
    return _joined(along).result(
        float(np.mean([result.value for result in along])),
        n_real=len(sets.train),
        n_generated=len(sets.generated),
        notes=_cautions_of(along) + missing * bool(lost),
        facts={
            side: sum(int(result.facts[side]) for result in along)
            for side in ("real_slices", "generated_slices")
        }
        | {ABSENT: len(lost)},
    )


def _along(sets: Sets, view: str) -> Result:
    """Compute the distance along a view once: the mean needs it, too."""
    kept = sets.generated.keep(f"distances {EXTRACTOR} {view}", dict)
    against = (sets.train, sets.seed)
    if against not in kept:
        kept[against] = compare(sets, EXTRACTOR, view, EVERY)
    return kept[against]


def _cautions_of(found: list[Result]) -> tuple[str, ...]:
    """Return what limits the distances, once; what is said of errors is said of their mean."""
    told = [note for result in found for note in result.notes]
    return tuple(dict.fromkeys(note for note in told if note not in jackknife.TOO_FEW.notes))


def _joined(found: list[Result]) -> jackknife.Uncertainty:
    """Return the error of a mean of distances, all of which leave out the same volumes."""
    if any(result.se is None for result in found):
        return jackknife.TOO_FEW
    return jackknife.combine(
        {
            side: np.mean([result.replicates[side] for result in found], axis=0).tolist()
            for side in ("generated", "real")
        }
    )


FD_VLM3D = Metric(
    name=f"fd-{EXTRACTOR}",
    label="FD[squeezenet1-1]-2.5D",
    compute=_frechet,
    better=Better.LOWER,
    recipe={
        "estimator": "Fréchet distance, unbiased covariances; mean: of the three views",
        "features": EXTRACTOR,
        "standardise": None,
        "slices": SLICES[EVERY],
        "missing": "left out",
        "reference": "train",
        "uncertainty": jackknife.RECIPE,
    },
    family="frechet",
    source=SOURCE,
    needs=EXTRACTOR,
    views=(MEAN, *VIEWS),
    blind_to="whether neighbouring slices fit together; brightness and contrast of a whole volume, "
    "which the percentiles remove; copies, which score 0",
)
_BLUR = "it prefers a blurred average to a sharp volume that differs in detail"


def _paired(
    name: str,
    measure: Callable[[Volume, Volume], float],
    better: Better,
    recipe: dict[str, Any],
    blind_to: str,
) -> Metric:
    """Declare the mean of a measure over all outputs that were due."""
    worst = WORST[name]

    def compute(sets: Sets, view: str) -> Result:
        return mean_of_pairs(sets, measure, worst)

    return Metric(
        name=f"{name}-vlm3d",
        label=f"{name.upper()} (VLM3D)",
        compute=compute,
        better=better,
        recipe={
            "range": [0, 1],
            **recipe,
            "pairs": "each volume with its partner",
            "missing": worst,
            "uncertainty": {"generated": jackknife.RECIPE},
        },
        source=SOURCE,
        blind_to=blind_to,
        least=1,
    )


_WINDOW = "11 or the largest odd that fits, sigma 1.5, valid"
MSE_VLM3D = _paired("mse", mse, Better.LOWER, {}, _BLUR)
PSNR_VLM3D = _paired("psnr", psnr, Better.HIGHER, {"peak": 1, "unit": "dB"}, _BLUR)
SSIM_VLM3D = _paired(
    "ssim",
    ssim,
    Better.HIGHER,
    {"window": _WINDOW, "c1": C1, "c2": C2},
    f"large empty backgrounds raise it; {_BLUR}",
)
