"""Highest correlation of each generated volume with any training volume, mirror images included.

At most 32^3 voxels by average pooling; training volumes are mirrored in all 8 ways, because
augmentation does that and a mirrored copy is a copy. Volumes that correlate more than 95 % of the
held-out real ones do count as copies.

Source: after Dar et al. 2023, arXiv:2307.01148, who correlate learnt embeddings.
Departures: voxels instead of an embedding, which would have to be trained.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cerebench.core.volumes import write_array
from cerebench.metrics.base import Array, Better, Metric, Result, Sets, Volume, VolumeSet
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require

SIDE = 32
QUANTILE = 0.95
BLOCK = 64  # volumes compared at once
FLIPS = tuple(product((False, True), repeat=3))


def reduced(volume: Volume) -> NDArray[np.float32]:
    """Pool a volume (C, D, H, W) to at most 32 voxels an edge, mean 0 and length 1.

    A constant volume becomes zero: it correlates with nothing.
    """
    import torch  # slow to import, and not needed to plan
    from torch.nn import functional

    d, h, w = (min(SIDE, edge) for edge in volume.shape[1:])
    x = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None]
    small = functional.adaptive_avg_pool3d(x, (d, h, w))[0].numpy().astype(np.float64)
    small -= small.mean()
    length = np.linalg.norm(small)
    return (small / length if length > 1e-6 else np.zeros_like(small)).astype(np.float32)


class _Reduced:
    """Reduced volumes of a set in an unnamed temporary file, read in blocks."""

    def __init__(self, volumes: VolumeSet) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the object)
        self.count, self.shape = len(volumes), ()
        for volume in volumes:
            small = reduced(volume)
            write_array(self._file, small)
            self.shape = small.shape

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield (B, C, d, h, w), B up to 64."""
        size = int(np.prod(self.shape))
        self._file.seek(0)
        for start in range(0, self.count, BLOCK):
            rows = min(BLOCK, self.count - start)
            # Several readers may share the file: each says where it reads.
            self._file.seek(start * size * 4)
            yield np.fromfile(self._file, np.float32, rows * size).reshape(rows, *self.shape)


def _reduced(volumes: VolumeSet) -> _Reduced:
    return volumes.keep("reduced volumes", lambda: _Reduced(volumes))


def correlations(volumes: VolumeSet, train: VolumeSet) -> Array:
    """Return each volume's Pearson correlation with every training volume, the best mirror image.

    Args:
        volumes: m volumes.
        train: n >= 1 volumes of the same shape.

    Returns:
        (m, n) in [-1, 1]; 1 up to 1e-6 for a copy.
    """
    found = []
    for block in _reduced(volumes).blocks():
        row = []
        for reference in _reduced(train).blocks():
            flat = reference.reshape(len(reference), -1).T
            best = np.full((len(block), len(reference)), -1.0)
            for flips in FLIPS:
                axes = tuple(2 + axis for axis, flipped in enumerate(flips) if flipped)
                mirrored = np.flip(block, axes).reshape(len(block), -1)
                best = np.maximum(best, mirrored @ flat)
            row.append(best)
        found.append(np.concatenate(row, axis=1))
    return np.concatenate(found)


def max_correlations(volumes: VolumeSet, train: VolumeSet) -> Array:
    """Return each volume's highest Pearson correlation with any training volume or mirror image.

    Args:
        volumes: m volumes.
        train: n >= 1 volumes of the same shape.

    Returns:
        (m,) in [-1, 1]; 1 up to 1e-6 for a copy.
    """
    return correlations(volumes, train).max(axis=1)


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 1, "generated", "train")
    require(sets, 2, "test")
    ours = max_correlations(sets.generated, sets.train)
    held_out = sets.test.keep(
        f"correlations with {id(sets.train)}", lambda: max_correlations(sets.test, sets.train)
    )
    threshold = float(np.quantile(held_out, QUANTILE))
    parts = jackknife.groups(sets.generated.ids, sets.seed)
    spread = jackknife.TOO_FEW
    if jackknife.leaves_enough(parts):
        spread = jackknife.combine({"generated": [np.delete(ours, g).mean() for g in parts]})
    return spread.result(
        float(ours.mean()),
        real_value=float(held_out.mean()),
        n_real=len(sets.train),
        n_generated=len(ours),
        facts={
            "copy_threshold": threshold,
            "copies_fraction": float(np.mean(ours > threshold)),
            "highest": float(ours.max()),
            "n_test": len(held_out),
        },
    )


MAX_CORR = Metric(
    name="max-corr",
    label="max corr.",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "mean over volumes of the highest Pearson correlation with a training volume",
        "size": f"average pooling to at most {SIDE} voxels an edge",
        "mirror_images": len(FLIPS),
        "copy": f"above the {QUANTILE} quantile of test to train",
        "uncertainty": {"generated": jackknife.RECIPE},
    },
    source="after Dar et al. 2023, arXiv:2307.01148",
    blind_to=(
        "copies that were turned or shifted by more than a few voxels; where backgrounds fill the "
        "volume, unrelated cases correlate too, hence the comparison with held-out ones"
    ),
    held_out=True,
)
