"""Mean volume of what is not background: the plainest thing that a generator can get wrong.

Intensity features are taken inside the foreground, so their numbers need this one beside them.
Source: the foreground rule of the radiomics mask (v > 0.02 on [0, 1]).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Better, Metric, Result, Sets, Volume, VolumeSet
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.extractors.radlite import THRESHOLD


def foreground(volume: Volume) -> NDArray[np.bool_]:
    """Tell which voxels of a (C, D, H, W) volume in [-1, 1] are not background, (D, H, W).

    The first channel decides.
    """
    return (volume[0] + 1) / 2 > THRESHOLD


def foreground_voxels(volume: Volume) -> int:
    """Count the voxels of a (C, D, H, W) volume in [-1, 1] that are not background."""
    return int(np.count_nonzero(foreground(volume)))


def foreground_volumes(volumes: VolumeSet, spacing: tuple[float, float, float]) -> Array:
    """Measure the foreground of each volume.

    Args:
        volumes: (C, D, H, W) float32 in [-1, 1] each; the first channel counts.
        spacing: Voxel edge lengths (D, H, W), mm.

    Returns:
        (N,) float64, ml.
    """
    voxels = [foreground_voxels(v) for v in volumes]
    return np.array(voxels, dtype=np.float64) * (np.prod(spacing) / 1000)


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 1, "generated", "train")
    ours, real = (
        group.keep(
            "foreground volumes", lambda group=group: foreground_volumes(group, sets.spacing)
        )
        for group in (sets.generated, sets.train)
    )
    spread = jackknife.over_mean(ours, sets.generated.ids, sets.seed)
    return spread.result(
        float(ours.mean()),
        real_value=float(real.mean()),
        n_real=len(real),
        n_generated=len(ours),
        facts={"sd": ours.std(), "real_sd": real.std()},
    )


FOREGROUND_VOLUME = Metric(
    name="foreground-volume",
    label="foreground ml",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "mean volume of voxels above the threshold",
        "threshold": THRESHOLD,
        "range": [0, 1],
        "reference": "train",
        "uncertainty": jackknife.RECIPE,
    },
    source="threshold of radlite-v1",
    blind_to="It compares means alone: equal means can hide too little or too much variety.",
)
