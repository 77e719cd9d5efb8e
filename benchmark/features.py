"""Feature extraction, done once: cached on disk by the content of the volumes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cerebench.benchmark import store
from cerebench.benchmark.registry import Registry
from cerebench.metrics.base import Extractor, VolumeSet

BATCH = 16  # images per call of an extractor; features do not depend on it


class FeatureCache:
    """Extract and keep raw features; the injected ``features`` of every ``VolumeSet``.

    Args:
        folder: Where the arrays are kept, one file per (set, extractor, view).
        extractors: The registry of feature spaces.
    """

    def __init__(self, folder: Path, extractors: Registry) -> None:
        self.folder, self._registry = folder, extractors
        self._extractors: dict[str, Extractor] = {}
        self._rows: dict[tuple[str, str], NDArray[np.float32]] = {}  # 3D features by volume hash

    def __call__(self, volumes: VolumeSet, name: str, view: str) -> NDArray[np.float32]:
        """Return (N, dim) features of a 3D extractor, (N, S, dim) of a 2D one along a view."""
        if name not in self._extractors:
            self._extractors[name] = self._registry.load(name)()
        extractor = self._extractors[name]
        hashes = volumes.keep("hashes", lambda: [volume_hash(v) for v in volumes])
        key = store.key_of(
            {
                "volumes": hashes,
                "extractor": extractor.name,
                "version": extractor.version,
                "weights": extractor.weights_sha256,
                "input": dict(extractor.input),
                "source": self._registry.source_hash(name),
                "view": view,
            }
        )
        path = self.folder / key[:2] / f"{key}.npy"
        if not path.exists():
            rows = self._extract(volumes, hashes, extractor, view)
            buffer = io.BytesIO()
            np.save(buffer, rows)
            store.write_bytes(path, buffer.getvalue())
        return np.load(path, mmap_mode="r")

    def _extract(
        self, volumes: VolumeSet, hashes: Sequence[str], extractor: Extractor, view: str
    ) -> NDArray[np.float32]:
        """Extract each distinct volume once."""
        if extractor.ndim == 2:
            distinct: dict[str, NDArray[np.float32]] = {}
            for index, digest in enumerate(hashes):
                if digest not in distinct:
                    distinct[digest] = _slice_features(extractor, volumes[index], view)
            return np.stack([distinct[d] for d in hashes])
        keys = [(f"{extractor.name} {extractor.version}", d) for d in hashes]
        first = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._rows}
        todo = list(first.items())
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]
            rows = extractor.extract(np.stack([volumes[i] for _, i in part]))
            self._rows.update({key: row for (key, _), row in zip(part, rows, strict=True)})
        return np.stack([self._rows[key] for key in keys])


def volume_hash(volume: NDArray[np.float32]) -> str:
    """Return the SHA-256 of a volume's shape and float32 voxels."""
    data = np.ascontiguousarray(volume, dtype="<f4")
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()


def slices(volume: NDArray[np.float32], view: str) -> NDArray[np.float32]:
    """Return all slices of a (C, D, H, W) volume along a view, (S, C, rows, columns)."""
    axis = {"axial": 1, "coronal": 2, "sagittal": 3}[view]
    return np.ascontiguousarray(np.moveaxis(volume, axis, 0))


def _slice_features(
    extractor: Extractor, volume: NDArray[np.float32], view: str
) -> NDArray[np.float32]:
    images = slices(volume, view)
    parts = [extractor.extract(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    return np.concatenate(parts)
