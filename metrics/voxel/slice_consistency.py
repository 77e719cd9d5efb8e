"""Do neighbouring slices fit together? Autocorrelation of volumes one voxel along each axis.

Of a volume with its mean taken away, along an axis of S slices x_1 to x_S:

    r = 2 sum <x_i, x_i+1> / sum (|x_i|^2 + |x_i+1|^2),  i = 1 to S - 1,

the correlation of neighbouring slices, weighted by what they hold. 1 for slices that are all
equal, 0 for unrelated ones; lower where slices are shifted against each other or differ in
brightness, higher where a volume is blurred. The value is the mean over volumes, near the real one.
Metrics on slices see none of this: a volume and its slices in any order are one to them.

Source: own; r is the lag-one autocorrelation (Box and Jenkins 1970) of a series of
slices, with both ends weighted alike.
"""

from __future__ import annotations

import numpy as np

from cerebench.metrics.base import (
    VIEWS,
    Array,
    Better,
    Metric,
    MetricError,
    Result,
    Sets,
    Volume,
    VolumeSet,
)
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require

FLAT = 1e-12  # mean square below which a volume is constant


def autocorrelation(volume: Volume) -> Array:
    """Compute the correlation of neighbouring slices along D, H and W.

    Args:
        volume: (C, D, H, W), two voxels an edge or more; each channel has its own mean.

    Returns:
        (3,) in [-1, 1]; NaN for a constant volume.

    Example:
        >>> import numpy as np
        >>> turns = np.array([1.0, -1.0, 1.0, -1.0]).reshape(1, 4, 1, 1)
        >>> autocorrelation(turns * np.ones((1, 4, 2, 2)))
        array([-1.,  1.,  1.])
    """
    x = volume.astype(np.float64)
    x -= x.mean(axis=(1, 2, 3), keepdims=True)
    if np.mean(x**2) < FLAT:
        return np.full(3, np.nan)
    found = np.empty(3)
    for axis in range(3):
        slices = np.moveaxis(x, axis + 1, 0)
        here, there = slices[:-1], slices[1:]
        held = np.sum(here**2) + np.sum(there**2)
        found[axis] = 2 * np.sum(here * there) / held if held > 0 else 0.0
    return found


def _of(volumes: VolumeSet) -> Array:
    """Return the values of a set, (N, 3), in one pass for all views."""
    return volumes.keep(
        "autocorrelation", lambda: np.array([autocorrelation(v) for v in volumes]).reshape(-1, 3)
    )


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 1, "generated", "train")
    if min(sets.train[0].shape[1:]) < 2:
        raise MetricError("Volumes with one slice have no neighbouring ones; give 3D volumes.")
    axis = VIEWS.index(view)
    ours, real = _of(sets.generated)[:, axis], _of(sets.train)[:, axis]
    kept = np.flatnonzero(np.isfinite(ours))
    if not kept.size or not np.isfinite(real).any():
        role = "real" if kept.size else "generated"
        raise MetricError(
            f"All {role} volumes are constant, so that slices have no correlation; volumes with "
            "structure were expected. Look at the volumes."
        )
    flat = len(ours) - len(kept)
    notes = (f"{flat} constant volumes, which have no correlation, are left out",) if flat else ()
    ids = [sets.generated.ids[i] for i in kept]
    parts = jackknife.groups(ids, sets.seed)
    spread = jackknife.TOO_FEW
    if jackknife.leaves_enough(parts):
        left = [np.delete(ours[kept], g).mean() for g in parts]
        spread = jackknife.combine({"generated": left})
    return spread.result(
        float(ours[kept].mean()),
        real_value=float(np.nanmean(real)),
        n_real=len(real),
        n_generated=len(kept),
        notes=notes,
        facts={
            "sd": float(ours[kept].std()),
            "real_sd": float(np.nanstd(real)),
            "least": float(ours[kept].min()),
            "flat": flat,
        },
    )


SLICE_CONSISTENCY = Metric(
    name="slice-consistency",
    label="slice corr.",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "mean over volumes of 2 sum <x_i, x_i+1> / sum (|x_i|^2 + |x_i+1|^2)",
        "centre": "mean of each volume and channel",
        "constant_below": FLAT,
        "reference": "train",
        "uncertainty": {"generated": jackknife.RECIPE},
    },
    source="own; lag-one autocorrelation, Box and Jenkins 1970",
    views=VIEWS,
    least=1,
    blind_to="what the slices show: mirrored, mixed-up and copied volumes; collapse",
)
