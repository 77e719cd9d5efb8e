"""Preprocessed volumes, kept on disk as memory-mapped arrays.

A dataset is prepared once per size and content into ``<cache>/<name>-<size>-<fingerprint[:16]>/``:

- ``volumes.npy``: (N, C, S, S, S) float16. Rounding changes a value in [-1, 1] by at most 2.5e-4;
  the background stays exactly -1.
- ``masks.npy``: (N, 1, S, S, S) uint8.
- ``cases.json``: fingerprint, recipe, and per case id, patient, label, class and facts, in order.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path

from cerebench.core.files import allocate, write_bytes
from cerebench.datasets.base import Case, Dataset, DatasetError, Loaded, Progress
from cerebench.datasets.folders.names import is_name, shown
from cerebench.datasets.parallel import default_workers, in_order

# A file this young may change again without a new time stamp, so its hash is not kept.
_SETTLED_NS = 2_000_000_000
_BLOCK = 16_384  # bytes; of three blocks a stamp takes a hash
_LEFTOVER_SECONDS = 7 * 24 * 3600
_JOURNAL = "journal.jsonl"
_LEFTOVER = re.compile(r"\..+-\d+-[0-9a-f]+\.partial(-\d+-\d+|\.lock)?")


@dataclass(frozen=True)
class Prepared:
    """A dataset at one size, ready to train on.

    Attributes:
        folder: Where the arrays lie.
        fingerprint: SHA-256 of file contents, recipe and size.
        ids: Case ids; all other sequences have the same order.
        patients: Patient ids.
        labels: (N,) int64, indices into the dataset's classes.
        volumes: (N, C, S, S, S) float16 in [-1, 1], background -1, memory-mapped, read-only.
        masks: (N, 1, S, S, S) uint8 in {0, 1}, memory-mapped, read-only.
    """

    folder: Path
    fingerprint: str
    ids: tuple[str, ...]
    patients: tuple[str, ...]
    labels: NDArray[np.int64]
    volumes: NDArray[np.float16]
    masks: NDArray[np.uint8]

    def positions(self, ids: Iterable[str]) -> list[int]:
        """Return where these cases stand in the arrays."""
        place = {case: index for index, case in enumerate(self.ids)}
        return [place[case] for case in ids]

    def volume(self, index: int) -> NDArray[np.float32]:
        """Return one volume (C, S, S, S) as float32."""
        return self.volumes[index].astype(np.float32)


def default_cache() -> Path:
    """Return ``$CEREBENCH_CACHE``, or the user's cache directory if that is not set."""
    chosen = os.environ.get("CEREBENCH_CACHE")
    return Path(chosen) if chosen else user_cache_path("cerebench")


def prepare(
    dataset: Dataset,
    cache: Path,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Prepared:
    """Preprocess every case of a dataset, or open what an earlier call has prepared.

    Work happens in a hidden folder that gets its name only when it is complete, so a killed
    preparation leaves nothing that could be taken for one; the next call continues it. Two at once
    do not disturb each other.

    Args:
        dataset: What to prepare.
        cache: Folder that holds all prepared datasets; created if missing.
        progress: Called with (cases done, all cases) after each case.
        workers: Processes that load cases; None for as many as suit, one where there are no files.
            More than one needs a dataset that can be pickled and, in a script, the call under
            ``if __name__ == "__main__":``.

    Returns:
        The prepared dataset.

    Raises:
        DatasetError: If cases cannot be loaded (all of them are named), or the cached folder is
            damaged.
    """
    if not is_name(dataset.info.name):
        raise DatasetError(
            f"The dataset {shown(dataset.info.name)} would be kept in a folder of its name, which "
            "must be ASCII letters, digits, '.', '_' and '-'. Rename it."
        )
    cases = list(dataset.cases())
    cache.mkdir(parents=True, exist_ok=True)
    paths = [path for case in cases for path in case.files.values()]
    fingerprint = dataset.fingerprint(file_hashes(paths, cache / "hashes.json"))
    folder = cache / f"{dataset.info.name}-{dataset.size}-{fingerprint[:16]}"
    if not folder.exists():
        with _partial(folder) as place:
            processes = workers or (default_workers(len(cases)) if paths else 1)
            rows = _fill(place, dataset, cases, progress, processes)
            manifest = {
                "fingerprint": fingerprint,
                "dataset": dataset.info.name,
                "size": dataset.size,
                "recipe": dataset.recipe.facts,
                "cases": rows,
            }
            write_bytes(place / "cases.json", json.dumps(manifest, indent=1).encode())
    return _open(folder, fingerprint)


def file_hashes(paths: Iterable[Path], index: Path) -> dict[str, str]:
    """Return the SHA-256 of files by path, reading whole only those that changed.

    A file is the one that was hashed before if its stamp is the same: size, modification time,
    inode, change time, and a hash of some blocks of it. Archives with one fixed time, and
    uncompressed scans, which all have one size, make two different files agree in the first two.

    Args:
        paths: Files to hash.
        index: JSON file that remembers stamp and hash by absolute path; created or extended
            atomically. A damaged index, or one of another form, is only a lost shortcut.

    Returns:
        Hexadecimal SHA-256 by ``str(path)``.

    Raises:
        DatasetError: If a file cannot be read.
    """
    known = _read_index(index)
    hashes, learned = {}, {}
    for path in paths:
        key = str(path.absolute())
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                stamp = _stamp(file, status)
                if known.get(key, {}).get("stamp") == stamp:
                    sha256 = known[key]["sha256"]
                else:
                    file.seek(0)
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                    if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
                        learned[key] = {"stamp": stamp, "sha256": sha256}
        except OSError as e:
            raise DatasetError(f"{path} cannot be read: {e.strerror}. Restore the file.") from e
        hashes[str(path)] = sha256
    if learned:
        index.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(index, json.dumps(known | learned).encode())
    return hashes


def _stamp(file: BinaryIO, status: os.stat_result) -> list[Any]:
    """Return what tells a file from another without reading all of it."""
    size = status.st_size
    sample = hashlib.sha256()
    for start in (0, max(0, (size - _BLOCK) // 2), max(0, size - _BLOCK)):
        file.seek(start)
        sample.update(file.read(_BLOCK))
    return [size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns, sample.hexdigest()]


def _read_index(index: Path) -> dict[str, dict[str, Any]]:
    """Return what is remembered; what has another form, such as that of 0.1.0, is forgotten."""
    try:
        content = json.loads(index.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {k: v for k, v in entries if isinstance(v, dict) and v.keys() == {"stamp", "sha256"}}


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Give a folder to fill; it takes its final name at the end.

    One process at a time holds the folder that a killed one can be continued from; a second one
    works in a folder of its own, which does not outlive it. Of bad data nothing stays; after any
    other end the first folder does.
    """
    shared = folder.with_name(f".{folder.name}.partial")
    _remove_leftovers(folder.parent)
    with _lock(shared.with_name(f"{shared.name}.lock")) as mine:
        place = (
            shared if mine else shared.with_name(f"{shared.name}-{os.getpid()}-{time.time_ns()}")
        )
        place.mkdir(exist_ok=True)
        try:
            yield place
            (place / _JOURNAL).unlink()
            try:
                place.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was faster, with the same content
                    raise
                shutil.rmtree(place)
        except BaseException as error:
            # Only an interrupted preparation can be continued: repaired files are other contents.
            if not mine or isinstance(error, DatasetError):
                shutil.rmtree(place, ignore_errors=True)
            raise


def _remove_leftovers(cache: Path) -> None:
    """Remove what killed preparations left long ago; of a link, the link alone."""
    for leftover in cache.glob(".*.partial*"):
        if not _LEFTOVER.fullmatch(leftover.name):
            continue  # the folder may hold other things of the user's
        if time.time() - leftover.lstat().st_mtime > _LEFTOVER_SECONDS:
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Tell whether this process is the only one here; the system frees the lock when it dies."""
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
        with suppress(PermissionError):  # Windows removes no open file; an empty one may stay
            path.unlink(missing_ok=True)
    finally:
        lock.release()


def _fill(
    folder: Path,
    dataset: Dataset,
    cases: Sequence[Case],
    progress: Progress | None,
    workers: int,
) -> list[dict[str, Any]]:
    """Write both arrays into the folder and return the rows of the case table.

    Every finished case is noted in a journal with a checksum of what it wrote; cases found there
    are not loaded again.
    """
    edges = (dataset.size,) * 3
    volumes = _array(
        folder / "volumes.npy", np.float16, (len(cases), len(dataset.info.channels), *edges)
    )
    masks = _array(folder / "masks.npy", np.uint8, (len(cases), 1, *edges))
    done = _journal(folder / _JOURNAL, volumes, masks)
    failures: list[str] = []
    missing = [index for index in range(len(cases)) if index not in done]
    loaded = in_order(partial(_attempt, dataset), [cases[i] for i in missing], workers)
    with (folder / _JOURNAL).open("a", encoding="utf-8") as journal:
        for index, result in zip(missing, loaded, strict=True):
            if isinstance(result, str):
                failures.append(result)
            else:
                volumes[index], masks[index] = result.volume, result.mask
                done[index] = _row(cases[index], dataset, result)
                entry = [index, _checksum(volumes, masks, index), done[index]]
                journal.write(json.dumps(entry) + "\n")
                journal.flush()
            if progress:
                progress(len(done) + len(failures), len(cases))
    failures += _repeats(done.values())
    if failures:
        way_out = ". Repair them, or leave them out with --skip-bad" * dataset.can_leave_out
        raise DatasetError(
            f"{len(failures)} of {len(cases)} cases of '{dataset.info.name}' cannot be used"
            f"{way_out}:\n" + "\n".join(failures)
        )
    volumes.flush()
    masks.flush()
    return [done[index] for index in range(len(cases))]


def _row(case: Case, dataset: Dataset, loaded: Loaded) -> dict[str, Any]:
    return {
        "id": case.id,
        "patient": case.patient,
        "label": case.label,
        "class": dataset.info.classes[case.label],
        "facts": dict(loaded.facts),
    }


def _array(path: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap:
    """Open the array of an interrupted preparation, or make a new one."""
    array = None
    with suppress(OSError, ValueError):  # there is none yet, or only its beginning
        array = np.lib.format.open_memmap(path, "r+")
    if array is None or array.shape != shape or array.dtype != kind:
        array = np.lib.format.open_memmap(path, "w+", kind, shape)
    with path.open("r+b") as file:
        allocate(file.fileno(), path.stat().st_size, path)
    return array


def _journal(
    path: Path, volumes: NDArray[np.float16], masks: NDArray[np.uint8]
) -> dict[int, dict[str, Any]]:
    """Return the rows of cases that an interrupted preparation finished, by position."""
    done = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            index, checksum, row = json.loads(line)
        except ValueError:  # the last line, cut short
            continue
        if index < len(volumes) and checksum == _checksum(volumes, masks, index):
            done[index] = row
    return done


def _checksum(volumes: NDArray[np.float16], masks: NDArray[np.uint8], index: int) -> int:
    return zlib.crc32(masks[index], zlib.crc32(volumes[index]))


def _repeats(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name cases with the same voxels: one of them could train what the other tests."""
    ids = defaultdict(list)
    for row in rows:
        for channel, content in enumerate(row["facts"].get("content", ())):
            ids[channel, content].append(row["id"])
    groups = {tuple(same) for same in ids.values() if len(same) > 1}
    return [f"{same[0]}: has the same voxels as {', '.join(same[1:])}." for same in sorted(groups)]


def _attempt(dataset: Dataset, case: Case) -> Loaded | str:
    """Load one case, or say why not: one bad case must not hide the next."""
    try:
        loaded = dataset.load(case)
    except (DatasetError, OSError) as e:
        return str(e) if case.id in str(e) else f"{case.id}: {e}"
    fault = loaded_fault(loaded, (len(dataset.info.channels), *(dataset.size,) * 3))
    return f"{case.id}: load() returned {fault}." if fault else loaded


def loaded_fault(loaded: Loaded, shape: tuple[int, ...]) -> str | None:
    """Return what is wrong with a loaded case, after "load() returned"; None if nothing is.

    Args:
        loaded: The case.
        shape: What its volume must have, (C, S, S, S).
    """
    volume, mask = loaded.volume, loaded.mask
    if volume.shape != shape:
        return f"a volume of shape {volume.shape}; expected {shape}"
    if mask.shape != (1, *shape[1:]):
        return f"a mask of shape {mask.shape}; expected {(1, *shape[1:])}"
    low, high = float(volume.min()), float(volume.max())
    if not (low >= -1 and high <= 1):  # also true for NaN
        return f"values in [{low:g}, {high:g}]; expected [-1, 1]"
    if int(mask.max()) > 1:
        return f"mask values up to {int(mask.max())}; expected 0 and 1"
    return None


def _open(folder: Path, fingerprint: str) -> Prepared:
    try:
        manifest = json.loads((folder / "cases.json").read_text())
        volumes = np.load(folder / "volumes.npy", mmap_mode="r")
        masks = np.load(folder / "masks.npy", mmap_mode="r")
    except (OSError, ValueError) as e:
        raise DatasetError(f"{folder} is damaged ({e}). Delete it and run again.") from e
    rows = manifest["cases"]
    if manifest["fingerprint"] != fingerprint or not len(rows) == len(volumes) == len(masks):
        raise DatasetError(f"{folder} does not hold what its name says. Delete it and run again.")
    return Prepared(
        folder=folder,
        fingerprint=fingerprint,
        ids=tuple(row["id"] for row in rows),
        patients=tuple(row["patient"] for row in rows),
        labels=np.array([row["label"] for row in rows], dtype=np.int64),
        volumes=volumes,
        masks=masks,
    )
