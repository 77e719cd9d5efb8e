"""Runs on disk: keys, records that are written last and atomically, and failures.

A stage is done when its record fits its schema (``cerebench.core.records``), its key matches and
the SHA-256 of every file it vouches for holds. Nothing is rounded.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cerebench.benchmark.errors import Damaged, ForeignFolder
from cerebench.core.files import unfinished, write_bytes, write_json
from cerebench.core.hashing import sha256_file
from cerebench.core.records.base import File, Misfit, Record, RecordHead
from cerebench.core.records.cells import Failure
from cerebench.core.records.files import dump, parse, read, sealed
from cerebench.core.records.trained import FileFact

Recorded = TypeVar("Recorded", bound=Record)
MARKER = ".cerebench"  # in every folder that a stage makes and may have to remove

# What a stage writes into its folder, by relative path; folders end in a slash. Version 0.1.0 left
# no marker, so its folders are known by holding nothing else.
_TRAINING = r"model\.safetensors|config\.json|log\.jsonl|record\.json|failure\.json"
_TRAINING += r"|checkpoint/|checkpoint/state(-\d+-[0-9a-f]{64})?\.pt"
_WRITTEN = {
    "train": _TRAINING,
    "downstream": rf"repeat-\d+/((pretrain|finetune)/({_TRAINING})?)?",
    "sample": r"dataset_description\.json|README|\.bidsignore|participants\.(tsv|json)"
    r"|training_cases\.tsv|record\.json|failure\.json"
    r"|sub-[^/]+/|sub-[^/]+/anat/|(sub-[^/]+)/anat/\2_[^/]+\.(nii\.gz|json)",
}


def now() -> str:
    """Return the time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finite(value: float | None) -> float | None:
    """Return the number, or None for NaN and infinities, which JSON does not have."""
    return float(value) if value is not None and math.isfinite(value) else None


def describe_files(folder: Path, files: Iterable[Path]) -> dict[str, FileFact]:
    """Return what a record vouches for: relative path to SHA-256, size and times of change."""
    described = {}
    for path in sorted(files):
        stat = path.stat()
        described[path.relative_to(folder).as_posix()] = FileFact(
            sha256=sha256_file(path),
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            ctime_ns=stat.st_ctime_ns,
        )
    return described


def file_holds(path: Path, fact: FileFact, *, hashed: bool = False) -> bool:
    """Say whether a file has its recorded content.

    Args:
        path: The file.
        fact: What was recorded of it.
        hashed: Hash it in any case, as before its content is read. Else that is skipped where size,
            modification and change time are as recorded; the last of them cannot be set, so that
            no copy or exchange that keeps the others is taken for the same file.
    """
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not path.is_file() or stat.st_size != fact.size:
        return False
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    unchanged = not hashed and times == (fact.mtime_ns, fact.ctime_ns)
    return unchanged or sha256_file(path) == fact.sha256


def damaged(folder: Path, files: Mapping[str, FileFact], *, hashed: bool = False) -> list[str]:
    """Return the names of recorded files that are gone or hold something else.

    Args:
        folder: Where they lie.
        files: What was recorded of them.
        hashed: Hash all of them (``found_intact``), not only those of other size or times.
    """
    holds = found_intact if hashed else file_holds
    return [name for name, fact in files.items() if not holds(folder / name, fact)]


def found_intact(path: Path, fact: FileFact) -> bool:
    """Hash a file and say whether it is what was recorded of it.

    The time of change of one that is not is set to now, so that the next question whether it holds
    is not answered by size and times, and the stage that made it is done again.
    """
    if file_holds(path, fact, hashed=True):
        return True
    with suppress(OSError):  # it is gone, or of somebody else
        os.utime(path)
    return False


def verify(path: Path, fact: FileFact | None) -> None:
    """Refuse a file that is about to be read and is not what its record says: ``found_intact``.

    Args:
        path: The file.
        fact: What the record says; None where none tells.

    Raises:
        Damaged: If the content is another one, or gone.
    """
    if fact is None or found_intact(path, fact):
        return
    raise Damaged(
        f"{path} is not what its record vouches for, though size and time may be. The bench run "
        "that made it makes it again."
    )


def files_hold(folder: Path, files: Mapping[str, FileFact]) -> bool:
    """Say whether every file has its recorded content."""
    return all(file_holds(folder / name, fact) for name, fact in files.items())


def write(path: Path, whole: File, **head: str) -> None:
    """Write a file that has a schema.

    Args:
        path: Where to write.
        whole: Its content.
        head: ``key`` and ``utc`` of a record.

    Raises:
        Misfit: If a field is not what the schema says; nothing was written.
    """
    content = dump(whole, **head)
    # What JSON does not have stands for an object, so that its field is named.
    parse(type(whole), json.dumps(content, default=lambda value: {}).encode(), path)
    write_json(path, sealed(content))


def seal(path: Path, kind: type[File]) -> bool:
    """Give a file of an older version the hash of itself, and change nothing else of it.

    Args:
        path: Where it lies.
        kind: What it is.

    Returns:
        Whether it had none.
    """
    found = read(kind, path)
    if found is None or found[0].sha256 is not None:
        return False
    write_json(path, sealed(json.loads(path.read_bytes())))
    return True


def replace(path: Path, whole: File) -> None:
    """Write a file that every run writes, unless what is there must not be lost.

    Raises:
        Misfit: If a newer version wrote what is there, or it is a folder, and as in ``write``.
    """
    if path.is_dir():
        raise Misfit(path, "it is a folder where a file belongs. Move it elsewhere")
    try:
        read(type(whole), path)
    except Misfit as fault:
        if fault.newer:
            raise
    write(path, whole)


def write_record(path: Path, key: str, record: Recorded) -> Recorded:
    """Write the record that marks a stage as done, and clear its failure.

    Raises:
        Misfit: As in ``write``.
    """
    write(path, record, key=key, utc=now())
    failure = failure_path(path)
    if not failure.is_dir():  # what is in the way belongs to somebody else
        failure.unlink(missing_ok=True)
    return record


def misfit(path: Path, kind: type[File]) -> str:
    """Say what is wrong with a file; empty where there is none, or it fits."""
    try:
        read(kind, path)
    except Misfit as fault:
        return str(fault)
    return ""


def read_claim(path: Path, key: str, kind: type[Recorded]) -> Recorded | None:
    """Return a finished stage's record if its key matches, whatever became of its files.

    One that does not fit its schema is none, so that the stage is done again.

    Raises:
        Misfit: If a newer version wrote it, whose result must not be lost.
    """
    try:
        whole = read(kind, path)
    except Misfit as fault:
        if fault.newer:
            raise
        return None
    if whole is None:
        return None
    head, record = whole
    return record if isinstance(head, RecordHead) and head.key == key else None


def read_record(path: Path, key: str, kind: type[Recorded]) -> Recorded | None:
    """Return a finished stage's record if its key matches and its files hold, else None.

    Raises:
        Misfit: As in ``read_claim``.
    """
    record = read_claim(path, key, kind)
    if record is None:
        return None
    return record if files_hold(path.parent, getattr(record, "files", {})) else None


def failure_path(record: Path) -> Path:
    """Return where a stage that would write this record leaves its failure."""
    name = "failure.json" if record.name == "record.json" else f"{record.stem}.failure.json"
    return record.with_name(name)


def read_failure(record: Path) -> Failure | None:
    """Return why the stage of this record failed; None where it did not, or nobody can read it."""
    try:
        found = read(Failure, failure_path(record))
    except Misfit:
        return None
    return found[1] if found else None


def write_failure(record: Path, stage: str, error: BaseException) -> None:
    """Record why a stage failed, beside where its record would be."""
    failure = Failure(
        stage=stage,
        reason=str(error) or type(error).__name__,
        error=type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
        utc=now(),
    )
    if not failure_path(record).is_dir():  # as above
        write(failure_path(record), failure)


def forget(folders: Iterable[Path]) -> None:
    """Remove the records and arrays in folders of stages, so that these are done again."""
    for folder in folders:
        for pattern in ("record.json", "*@*.json", "*.npz"):
            for path in folder.glob(pattern) if not folder.is_symlink() else ():
                path.unlink()


def begin(folder: Path) -> None:
    """Make a stage's folder, marked as ours; one that exists stays as it is."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    text = "Cerebench made this folder and removes it when its settings change.\n"
    write_bytes(folder / MARKER, text.encode())


def clear(folder: Path, root: Path, stage: str) -> None:
    """Remove a stage's folder whose key no longer matches, if it is known to be ours.

    That is a folder which lies in the store and is reached without a link, and which either has the
    marker that ``begin`` leaves, or holds nothing but what the stage writes. Links inside are
    removed, never followed.

    Args:
        folder: What to remove.
        root: The store: the folder of results, or a cell.
        stage: ``train``, ``sample`` or ``downstream``.

    Raises:
        ForeignFolder: If it is not known to be ours. Nothing was removed.
    """
    if fault := _foreign(folder, root, stage):
        raise ForeignFolder(
            f"{folder} is in the way of a new result, but {fault}, so it was left alone. Move it "
            "elsewhere and run again."
        )
    shutil.rmtree(folder)


def _foreign(folder: Path, root: Path, stage: str) -> str:
    """Return why a folder may not be ours to remove, or an empty string."""
    place, store = Path(os.path.abspath(folder)), Path(os.path.abspath(root))
    if place == store or not place.is_relative_to(store):
        return f"it does not lie in {root}"
    real = os.path.realpath(folder)  # unlike resolve(), it copes with links in a circle
    if real != os.path.join(os.path.realpath(root), place.relative_to(store)):
        return f"it, or a folder above it, is a link to {real}"
    if not folder.is_dir():
        return "it is no folder"
    if (folder / MARKER).is_file():
        return ""
    strange = next((name for name in _entries(folder) if not _is_written(name, stage)), None)
    return f"it holds {strange}, which no stage writes" if strange else ""


def _entries(folder: Path) -> Iterator[str]:
    """Yield everything below a folder by relative path; folders, unlike links, end in a slash."""
    for place, below, files in os.walk(folder):
        here = Path(place).relative_to(folder)
        links = {name for name in below if (Path(place) / name).is_symlink()}
        for name in sorted([*below, *files]):
            yield (here / name).as_posix() + "/" * (name in below and name not in links)


def _is_written(name: str, stage: str) -> bool:
    """Say whether a stage leaves a file or folder of this relative path."""
    parent, slash, last = name.rpartition("/") if not name.endswith("/") else ("", "", name)
    last = unfinished(last) or last  # a killed process leaves files without their name
    return last == MARKER or re.fullmatch(_WRITTEN[stage], f"{parent}{slash}{last}") is not None
