"""Feature extraction, done once: cached on disk by the content of the volumes.

Volumes are read one at a time and slices go straight to the files of their views, so that memory
does not grow with the number of volumes.
"""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cerebench.benchmark.engine.registry import Registry
from cerebench.core.files import replacing, write_array, write_bytes
from cerebench.core.hashing import key_of, sha256_bytes
from cerebench.metrics.base import VIEWS, Extractor, VolumeSet

BATCH, BATCH_VOXELS = 16, 2**23  # volumes per call of an extractor; features do not depend on it
SLICES = 64  # slices per call
PARALLEL_VOXELS = 2**25  # from here on processes pay: about 4 s of radiomics on one core
Extract = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_NEIGHBOURS = {"middle": (0,), "center3": (-1, 0, 1)}  # of the middle slice
_STEPS = {"every4": 4}  # from the first slice on


class StoredRows:
    """The slice features of a set in one file, read one volume at a time.

    Args:
        path: ``.npy`` file, (N, S, dim) float32.
        slices: Which slices to take; all of them by default.
    """

    def __init__(self, path: Path, slices: Sequence[int] | None = None) -> None:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            self.shape, _, _ = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
        self._path, self._slices = path, slices

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        count = self.shape[1] * self.shape[2]
        offset = self._start + range(len(self))[index] * count * 4
        rows = np.fromfile(self._path, np.float32, count, offset=offset).reshape(self.shape[1:])
        return rows if self._slices is None else rows[list(self._slices)]


class FeatureCache:
    """Extract and keep raw features; the injected ``features`` of every ``VolumeSet``.

    Args:
        folder: Where the arrays are kept, one file per (set, extractor, view).
        extractors: The registry of feature spaces.
        workers: Processes that share the work of extractors which declare ``in_processes``.
        device: Where extractors that have a ``device`` run.
    """

    def __init__(
        self, folder: Path, extractors: Registry, workers: int = 1, device: str = "cpu"
    ) -> None:
        self.folder, self._registry, self._workers = folder, extractors, workers
        self._device = device
        self._extractors: dict[str, Extractor] = {}
        self._rows: dict[tuple[str, str], NDArray[np.float32]] = {}  # 3D features by volume hash

    def __call__(self, volumes: VolumeSet, name: str, view: str) -> Any:
        """Return what ``VolumeSet.features`` describes."""
        extractor = self._extractor(name)
        if extractor.ndim == 2:
            return self._slice_rows(volumes, name, view)
        path = self._path(volumes, name, view)
        if not path.exists():
            buffer = io.BytesIO()
            np.save(buffer, self._volume_rows(volumes, extractor))
            write_bytes(path, buffer.getvalue())
        return np.load(path, mmap_mode="r")

    def names(self, name: str) -> Sequence[str]:
        """Return what ``VolumeSet.feature_names`` describes."""
        return getattr(self._extractor(name), "names", ())

    def bounded(self, name: str) -> bool:
        """Return what ``VolumeSet.bounded`` describes."""
        return getattr(self._extractor(name), "bounded", False)

    def _extractor(self, name: str) -> Extractor:
        if name not in self._extractors:
            extractor = self._registry.load(name)()
            if hasattr(extractor, "device"):  # before it puts its network somewhere
                extractor.device = self._device
            self._extractors[name] = extractor
        return self._extractors[name]

    def _path(self, volumes: VolumeSet, name: str, view: str) -> Path:
        extractor = self._extractors[name]
        key = key_of(
            {
                "volumes": _hashes(volumes),
                "extractor": extractor.name,
                "version": extractor.version,
                "weights": extractor.weights_sha256,
                "input": dict(extractor.input),
                "source": self._registry.source_hash(name),
                "view": view,
            }
        )
        return self.folder / key[:2] / f"{key}.npy"

    def _volume_rows(self, volumes: VolumeSet, extractor: Extractor) -> NDArray[np.float32]:
        """Extract each distinct volume once."""
        keys = [(f"{extractor.name} {extractor.version}", d) for d in _hashes(volumes)]
        first = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._rows}
        todo = list(first.items())
        voxels = volumes[0].size
        batch = max(self._workers, min(BATCH, BATCH_VOXELS // voxels))
        with self._extraction(extractor, voxels * len(todo)) as extract:
            for start in range(0, len(todo), batch):
                part = todo[start : start + batch]
                rows = extract(np.stack([volumes[i] for _, i in part]))
                self._rows.update({key: row for (key, _), row in zip(part, rows, strict=True)})
        return np.stack([self._rows[key] for key in keys])

    @contextmanager
    def _extraction(self, extractor: Extractor, voxels: int) -> Iterator[Extract]:
        """Give ``extractor.extract``, spread over processes where that pays for starting them."""
        alone = self._workers < 2 or not getattr(extractor, "in_processes", False)
        if alone or voxels < PARALLEL_VOXELS:
            yield extractor.extract
            return
        # spawn, because a forked copy of a process with threads of torch may hang
        context = multiprocessing.get_context("spawn")
        with one_thread_each(), ProcessPoolExecutor(self._workers, mp_context=context) as pool:

            def extract(batch: NDArray[np.float32]) -> NDArray[np.float32]:
                parts = [part for part in np.array_split(batch, self._workers) if len(part)]
                return np.concatenate(list(pool.map(extractor.extract, parts)))

            yield extract

    def _slice_rows(self, volumes: VolumeSet, name: str, view: str) -> StoredRows:
        """Return the features of slices; where they are missing, extract all three views at once.

        A choice of slices is read out of all slices where these are there already.
        """
        plane, _, choice = view.partition("/")
        whole = self._path(volumes, name, plane)
        if choice and whole.exists():
            return StoredRows(whole, chosen(StoredRows(whole).shape[1], choice))
        path = self._path(volumes, name, view)
        if not path.exists():
            wanted = {
                other: self._path(volumes, name, f"{other}/{choice}" if choice else other)
                for other in VIEWS
            }
            missing = {other: path for other, path in wanted.items() if not path.exists()}
            self._extract_slices(volumes, self._extractors[name], missing, choice)
        return StoredRows(path)

    def _extract_slices(
        self, volumes: VolumeSet, extractor: Extractor, files: dict[str, Path], choice: str
    ) -> None:
        """Read each distinct volume once and write the features of its slices along each view."""
        hashes = _hashes(volumes)
        first: dict[str, int] = {}
        prepare = getattr(extractor, "prepare_volume", lambda volume: volume)
        with ExitStack() as stack:
            writers = {
                view: _RowWriter(stack.enter_context(replacing(path)), len(volumes))
                for view, path in files.items()
            }
            for index, digest in enumerate(hashes):
                copy_of = first.setdefault(digest, index)
                volume = prepare(volumes[index]) if copy_of == index else None
                for view, writer in writers.items():
                    writer.add(
                        writer.read(copy_of)
                        if volume is None
                        else _slice_features(extractor, volume, view, choice)
                    )


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes that start now use one thread each: together they fill the cores already."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _RowWriter:
    """Write (N, S, dim) float32 as ``.npy``, one volume after the other."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count

    def add(self, rows: NDArray[np.float32]) -> None:
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        with self._path.open("ab") as file:
            if file.tell() == 0:
                shape = (self._count, *rows.shape)
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            write_array(file, rows)

    def read(self, index: int) -> NDArray[np.float32]:
        return StoredRows(self._path)[index]


def _hashes(volumes: VolumeSet) -> list[str]:
    return volumes.keep("hashes", lambda: [volume_hash(v) for v in volumes])


def volume_hash(volume: NDArray[np.float32]) -> str:
    """Return the SHA-256 of a volume's shape and float32 voxels."""
    data = np.ascontiguousarray(volume, dtype="<f4")
    return sha256_bytes(repr(data.shape).encode() + data.tobytes())


def slices(volume: NDArray[np.float32], view: str) -> NDArray[np.float32]:
    """Return all slices of a (C, D, H, W) volume along a view, (S, C, rows, columns)."""
    axis = {"axial": 1, "coronal": 2, "sagittal": 3}[view]
    return np.ascontiguousarray(np.moveaxis(volume, axis, 0))


def chosen(count: int, choice: str) -> list[int]:
    """Return the indices of ``middle``, ``center3`` or ``every4`` among ``count`` slices."""
    if choice in _STEPS:
        return list(range(0, count, _STEPS[choice]))
    return [count // 2 + step for step in _NEIGHBOURS[choice] if 0 <= count // 2 + step < count]


def _slice_features(
    extractor: Extractor, volume: NDArray[np.float32], view: str, choice: str
) -> NDArray[np.float32]:
    images = slices(volume, view)
    if choice:
        images = images[chosen(len(images), choice)]
    parts = [extractor.extract(images[i : i + SLICES]) for i in range(0, len(images), SLICES)]
    return np.concatenate(parts)
