"""Preprocessed volumes, kept on disk as memory-mapped arrays.

A dataset is prepared once per size and content into ``<cache>/<name>-<size>-<fingerprint[:16]>/``:

- ``volumes.npy``: (N, C, S, S, S) float16. Rounding changes a value in [-1, 1] by at most 2.5e-4;
  the background stays exactly -1.
- ``masks.npy``: (N, 1, S, S, S) uint8.
- ``cases.json``: fingerprint, recipe, and per case id, patient, label, class, facts and the CRC-32
  of its volume and mask, in order; and the hash of itself.

What is damaged is loaded again. A checksum a case is enough against damage, and cheaper than a
hash: looking through all cases costs less than reading them from a disk.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path

from cerebench.core.files import read_sealed, write_sealed
from cerebench.core.volumes import allocate
from cerebench.datasets.base import Case, Dataset, DatasetError, Loaded, Progress
from cerebench.datasets.folders.names import is_name, shown
from cerebench.datasets.parallel import default_workers, in_order

# A file this young may change again without a new time stamp, so its hash is not kept.
_SETTLED_NS = 2_000_000_000
_BLOCK = 16_384  # bytes; of three blocks a stamp takes a hash
_LEFTOVER_SECONDS = 7 * 24 * 3600
_JOURNAL = "journal.jsonl"
_CASES, _VOLUMES, _MASKS = "cases.json", "volumes.npy", "masks.npy"
_CHECKSUM = "crc32"
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
    say: Callable[[str], None] = lambda line: None,
) -> Prepared:
    """Preprocess every case of a dataset, or open what an earlier call has prepared.

    Work happens in a hidden folder that gets its name only when it is complete, so a killed
    preparation leaves nothing that could be taken for one; the next call continues it. Of several
    processes at once one works and the others wait.

    Args:
        dataset: What to prepare.
        cache: Folder that holds all prepared datasets; created if missing.
        progress: Called with (cases done, all cases) after each case, and now and then while
            another process prepares the same.
        workers: Processes that load cases; None for as many as suit, one where there are no files.
            More than one needs a dataset that can be pickled and, in a script, the call under
            ``if __name__ == "__main__":``.
        say: Told in a line what was damaged and is loaded again.

    Returns:
        The prepared dataset.

    Raises:
        DatasetError: If cases cannot be loaded (all of them are named), loading damaged ones again
            gives other voxels, or memory does not suffice.
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
    if folder.exists() and _open(folder, fingerprint) is None:
        say(f"{folder}: these prepared cases are damaged; all are loaded again.")
        _discard(folder)
    if not folder.exists():
        with _partial(folder, lambda: progress and progress(0, len(cases))) as place:
            if place is not None:
                processes = workers or (default_workers(len(cases)) if paths else 1)
                rows = _fill(place, dataset, cases, progress, processes)
                manifest = {
                    "fingerprint": fingerprint,
                    "dataset": dataset.info.name,
                    "size": dataset.size,
                    "recipe": dataset.recipe.facts,
                    "cases": rows,
                }
                write_sealed(place / _CASES, manifest)
    prepared = _open(folder, fingerprint)
    if prepared is None:
        raise DatasetError(f"{folder} was damaged while it was written. Run again.")
    _mend(prepared, dataset, cases, say)
    return prepared


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
        write_sealed(index, known | learned)
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
    entries = (read_sealed(index) or {}).items()
    return {k: v for k, v in entries if isinstance(v, dict) and v.keys() == {"stamp", "sha256"}}


@contextmanager
def _partial(folder: Path, waiting: Callable[[], Any]) -> Iterator[Path | None]:
    """Give a folder to fill, which takes its final name at the end; None if another process did.

    One process at a time holds it; ``waiting`` is called now and then by the others. Of bad data
    nothing stays; after any other end the folder does, to be continued from.
    """
    place = folder.with_name(f".{folder.name}.partial")
    _remove_leftovers(folder.parent)
    with _lock(place.with_name(f"{place.name}.lock"), waiting):
        if folder.exists():
            yield None
            return
        place.mkdir(exist_ok=True)
        try:
            yield place
            (place / _JOURNAL).unlink()
            place.rename(folder)
        except DatasetError:
            # Only an interrupted preparation can be continued: repaired files are other contents.
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
def _lock(path: Path, waiting: Callable[[], Any]) -> Iterator[None]:
    """Be the only process here; the system frees the lock when one dies."""
    lock = FileLock(path, timeout=0.2)
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            waiting()
    try:
        yield
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
        folder / _VOLUMES, np.float16, (len(cases), len(dataset.info.channels), *edges)
    )
    masks = _array(folder / _MASKS, np.uint8, (len(cases), 1, *edges))
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
                checksum = _checksum(volumes, masks, index)
                row = _row(cases[index], dataset, result)
                done[index] = {**row, _CHECKSUM: checksum}
                entry = [index, checksum, row]
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
            done[index] = {**row, _CHECKSUM: checksum}
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


def _open(folder: Path, fingerprint: str) -> Prepared | None:
    """Open what was prepared; None where it cannot be what was written.

    Raises:
        DatasetError: If memory does not suffice.
        OSError: If a file is there and cannot be read.
    """
    manifest = read_sealed(folder / _CASES)
    if manifest is None or manifest.get("fingerprint") != fingerprint:
        return None
    rows = manifest["cases"]
    try:
        volumes = np.load(folder / _VOLUMES, mmap_mode="r")
        masks = np.load(folder / _MASKS, mmap_mode="r")
    except (FileNotFoundError, IsADirectoryError, ValueError, EOFError, SyntaxError, TokenError):
        return None
    except OSError as e:
        if e.errno != errno.ENOMEM:
            raise
        raise DatasetError(
            f"{folder} cannot be opened: memory or address space does not suffice for its volumes. "
            "Close other programs, lift the limit (ulimit -v), or ask for a smaller --size."
        ) from e
    if not len(rows) == len(volumes) == len(masks) or volumes.dtype != np.float16:
        return None
    return Prepared(
        folder=folder,
        fingerprint=fingerprint,
        ids=tuple(row["id"] for row in rows),
        patients=tuple(row["patient"] for row in rows),
        labels=np.array([row["label"] for row in rows], dtype=np.int64),
        volumes=volumes,
        masks=masks,
    )


def _discard(folder: Path) -> None:
    """Remove a damaged folder; of a link, the link alone.

    Raises:
        DatasetError: If it holds something else besides.
    """
    if folder.is_symlink():
        return folder.unlink()
    try:
        for name in (_CASES, _VOLUMES, _MASKS):
            (folder / name).unlink(missing_ok=True)
        return folder.rmdir()
    except OSError as e:
        raise DatasetError(
            f"{folder} is damaged and cannot be made anew ({e.strerror}: {e.filename}). Move what "
            "is not of Cerebench elsewhere, delete the folder and run again."
        ) from e


def _mend(
    prepared: Prepared, dataset: Dataset, cases: Sequence[Case], say: Callable[[str], None]
) -> None:
    """Load the cases again whose voxels are not those that were written.

    Raises:
        DatasetError: If that does not give the same voxels.
    """
    path, volumes, masks = prepared.folder / _CASES, prepared.volumes, prepared.masks
    manifest = read_sealed(path) or {}
    rows, by_id = manifest["cases"], {case.id: case for case in cases}
    now = [_checksum(volumes, masks, index) for index in range(len(rows))]
    if not all(_CHECKSUM in row for row in rows):  # of an older version, which wrote none
        rows = [{**row, _CHECKSUM: found} for row, found in zip(rows, now, strict=True)]
        return write_sealed(path, {**manifest, "cases": rows})
    lost = [i for i, row in enumerate(rows) if row[_CHECKSUM] != now[i]]
    if not lost:
        return None
    volumes = np.load(prepared.folder / _VOLUMES, mmap_mode="r+")
    masks = np.load(prepared.folder / _MASKS, mmap_mode="r+")
    for index in lost:
        name = rows[index]["id"]
        result = _attempt(dataset, by_id[name])
        if not isinstance(result, str):
            volumes[index], masks[index] = result.volume, result.mask
        if isinstance(result, str) or _checksum(volumes, masks, index) != rows[index][_CHECKSUM]:
            why = result if isinstance(result, str) else "loading it gave other voxels than before"
            raise DatasetError(
                f"{prepared.folder}: the prepared case {name} is damaged, and {why}. Delete the "
                "folder and run again: all cases are then loaded anew."
            )
    volumes.flush()
    masks.flush()
    names = ", ".join(rows[i]["id"] for i in lost[:3]) + ", …" * (len(lost) > 3)
    say(
        f"{prepared.folder}: {len(lost)} damaged prepared case{'s' * (len(lost) != 1)} loaded "
        f"again to the same voxels: {names}."
    )
    return None
