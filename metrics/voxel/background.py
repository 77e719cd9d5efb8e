"""Mean brightness around the body, which is 0 in real volumes but for stray structures.

Features of ``radlite-v2`` are taken inside the body, a mask that speckle cannot capture; what that
mask leaves out is seen here, but for the two voxels next to it, where edges fade: speckle, haze,
halos. A volume with body everywhere has no background left and counts as 1. The mean and not the
share of voxels above a threshold, because that share rises with a weak checkerboard, which lifts
faint voxels over any threshold, and falls with a strong one.

Source: [ours: body rule and threshold of radlite-v2].
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation

from cerebench.metrics.base import Array, Better, Metric, Result, Sets, Volume, VolumeSet
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.extractors.radlite import BODY, body

MARGIN = 2  # voxels around the body that count as its edge


def stray_brightness(volume: Volume) -> float:
    """Return the mean brightness of the voxels around the body, 0 to 1.

    Args:
        volume: (C, D, H, W) in [-1, 1]; the first channel counts.
    """
    unit = (volume[0].astype(np.float64) + 1) / 2
    outside = np.logical_not(binary_dilation(body(unit), iterations=MARGIN))
    return float(unit[outside].mean()) if outside.any() else 1.0


def _means(volumes: VolumeSet) -> Array:
    found = volumes.keep(
        "stray brightness", lambda: [stray_brightness(volume) for volume in volumes]
    )
    return np.asarray(found, dtype=np.float64)


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 1, "generated", "train")
    ours, real = _means(sets.generated), _means(sets.train)
    spread = jackknife.over_mean(ours, sets.generated.ids, sets.seed)
    return spread.result(
        float(ours.mean()),
        real_value=float(real.mean()),
        n_real=len(real),
        n_generated=len(ours),
        facts={"most": ours.max(), "real_most": real.max()},
    )


BACKGROUND = Metric(
    name="background",
    label="background",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "mean over volumes of the mean brightness around the body",
        "margin": f"{MARGIN} voxels, face-connected",
        "body": BODY,
        "range": [0, 1],
        "reference": "train",
        "uncertainty": jackknife.RECIPE,
    },
    source="ours: what the body of radlite-v2 leaves out",
    scale=10000.0,
    blind_to="everything inside the body, and two voxels around it",
)
