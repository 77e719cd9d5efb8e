"""Feature extraction, done once: cached on disk by the content of the volumes.

Volumes are read one at a time and slices go straight to the files of their views, so that memory
does not grow with the number of volumes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cerebench.benchmark.engine.registry import Registry
from cerebench.benchmark.stages.feature_files import RowWriter, StoredRows, state_of
from cerebench.core.files import replacing
from cerebench.core.hashing import key_of, sha256_bytes
from cerebench.datasets.parallel import kills_told, leave_stopping_to_the_parent
from cerebench.metrics.base import VIEWS, Extractor, VolumeSet

BATCH, BATCH_VOXELS = 16, 2**23  # volumes per call of an extractor; features do not depend on it
SLICES = 64  # slices per call
PARALLEL_VOXELS = 2**25  # from here on processes pay: about 4 s of radiomics on one core
Extract = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_NEIGHBOURS = {"middle": (0,), "center3": (-1, 0, 1)}  # of the middle slice
_STEPS = {"every4": 4}  # from the first slice on


class FeatureCache:
    """Extract and keep raw features; the injected ``features`` of every ``VolumeSet``.

    Args:
        folder: Where the arrays are kept, one file per (set, extractor, view).
        extractors: The registry of feature spaces.
        workers: Processes that share the work of extractors which declare ``in_processes``.
        device: Where extractors that have a ``device`` run.
        say: Told in a line where a file is damaged.
    """

    def __init__(
        self,
        folder: Path,
        extractors: Registry,
        workers: int = 1,
        device: str = "cpu",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder, self._registry, self._workers = folder, extractors, workers
        self._device, self._say = device, say
        self._whole: set[Path] = set()  # files that were looked through
        self._extractors: dict[str, Extractor] = {}
        self._rows: dict[tuple[str, str], NDArray[np.float32]] = {}  # 3D features by volume hash

    def __call__(self, volumes: VolumeSet, name: str, view: str) -> Any:
        """Return what ``VolumeSet.features`` describes."""
        extractor = self._extractor(name)
        if extractor.ndim == 2:
            return self._slice_rows(volumes, name, view)
        path = self._path(volumes, name, view)
        if not self._is_whole(path):
            self._keep_intact(path, volumes, extractor)
            rows = self._volume_rows(volumes, extractor)
            with replacing(path) as temporary:
                writer = RowWriter(temporary, len(rows), path.stem)
                for row in rows:
                    writer.add(row)
            self._whole.add(path)
        return np.load(path, mmap_mode="r")

    def _is_whole(self, path: Path) -> bool:
        """Say whether a file is there and as it was written; each is looked through once."""
        if path not in self._whole and state_of(path).whole:
            self._whole.add(path)
        return path in self._whole

    def _intact(self, path: Path) -> Mapping[int, NDArray[np.float32]]:
        """Return the intact rows of a damaged file; empty where there is none. It is said."""
        if not path.exists():
            return {}
        found = state_of(path)
        lost = f"those of {len(found.damaged)} of {found.rows} volumes" if found.rows else "all"
        self._say(f"{path}: these features are damaged; {lost} are extracted again.")
        rows = np.load(path, mmap_mode="r") if found.rows else ()
        return {i: np.array(rows[i]) for i in range(found.rows) if i not in found.damaged}

    def _keep_intact(self, path: Path, volumes: VolumeSet, extractor: Extractor) -> None:
        """Take what is left of a damaged file as extracted."""
        hashes = _hashes(volumes)
        for index, row in self._intact(path).items():
            self._rows.setdefault(_row_key(extractor, hashes[index]), row)

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
        keys = [_row_key(extractor, digest) for digest in _hashes(volumes)]
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
        pool = ProcessPoolExecutor(self._workers, context, leave_stopping_to_the_parent)
        with kills_told("extracted features"), one_thread_each(), pool:

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
        if choice and self._is_whole(whole):
            return StoredRows(whole, chosen(StoredRows(whole).shape[1], choice))
        path = self._path(volumes, name, view)
        if not self._is_whole(path):
            wanted = {
                other: self._path(volumes, name, f"{other}/{choice}" if choice else other)
                for other in VIEWS
            }
            missing = {other: path for other, path in wanted.items() if not self._is_whole(path)}
            self._extract_slices(volumes, self._extractors[name], missing, choice)
            self._whole.update(missing.values())
        return StoredRows(path)

    def _extract_slices(
        self, volumes: VolumeSet, extractor: Extractor, files: dict[str, Path], choice: str
    ) -> None:
        """Read each distinct volume once and write the features of its slices along each view."""
        hashes, kept = _hashes(volumes), {view: self._intact(path) for view, path in files.items()}
        first: dict[str, int] = {}
        prepare = getattr(extractor, "prepare_volume", lambda volume: volume)
        with ExitStack() as stack:
            writers = {
                view: RowWriter(stack.enter_context(replacing(path)), len(volumes), path.stem)
                for view, path in files.items()
            }
            for index, digest in enumerate(hashes):
                copy_of, volume = first.setdefault(digest, index), None
                for view, writer in writers.items():
                    rows = writer.read(copy_of) if copy_of < index else kept[view].get(index)
                    if rows is None:
                        volume = prepare(volumes[index]) if volume is None else volume
                        rows = _slice_features(extractor, volume, view, choice)
                    writer.add(rows)


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


def _row_key(extractor: Extractor, digest: str) -> tuple[str, str]:
    """Return what identifies the features of the volume of a hash."""
    return f"{extractor.name} {extractor.version}", digest


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
