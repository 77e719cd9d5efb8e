"""Runs on disk: keys, records that are written last and atomically, and failures.

A stage is done when its record says ``ok``, its key matches and the SHA-256 of every file it
vouches for holds. Nothing is rounded.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cerebench.core.hashing import canonical, key_of, sha256_file  # noqa: F401

SCHEMA = 1


def now() -> str:
    """Return the time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write; it takes the place of ``path`` in one step when complete.

    Readers see the old file or the new one, also after a crash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; see ``replacing``."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; floats keep all their digits, NaN and infinities raise."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return what ``write_json`` writes."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any | None:
    """Return the content of a JSON file, or None where there is none or it is cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def finite(value: float | None) -> float | None:
    """Return the number, or None for NaN and infinities, which JSON does not have."""
    return float(value) if value is not None and math.isfinite(value) else None


def describe_files(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return what a record vouches for: relative path to SHA-256, size and times of change."""
    described = {}
    for path in sorted(files):
        stat = path.stat()
        described[path.relative_to(folder).as_posix()] = {
            "sha256": sha256_file(path),
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "ctime_ns": stat.st_ctime_ns,
        }
    return described


def file_holds(path: Path, fact: Mapping[str, Any]) -> bool:
    """Say whether a file has its recorded content.

    The hash is skipped where size, modification and change time are as recorded; the last of them
    cannot be set, so that no copy or exchange that keeps the others is taken for the same file.
    """
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not path.is_file() or stat.st_size != fact["size"]:
        return False
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    unchanged = times == (fact["mtime_ns"], fact.get("ctime_ns"))
    return unchanged or sha256_file(path) == fact["sha256"]


def damaged(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of recorded files that are gone or hold something else."""
    return [name for name, fact in files.items() if not file_holds(folder / name, fact)]


def files_hold(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> bool:
    """Say whether every file has its recorded content."""
    return all(file_holds(folder / name, fact) for name, fact in files.items())


def write_record(path: Path, kind: str, key: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write the record that marks a stage as done, and clear its failure."""
    head = {"schema": SCHEMA, "kind": kind, "status": "ok", "key": key, "utc": now()}
    record = {**head, **fields}
    write_json(path, record)
    failure_path(path).unlink(missing_ok=True)
    return record


def read_claim(path: Path, key: str) -> dict[str, Any] | None:
    """Return a finished stage's record if its key matches, whatever became of its files."""
    record = read_json(path)
    if not isinstance(record, dict) or record.get("status") != "ok" or record.get("key") != key:
        return None
    return record


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """Return a finished stage's record if its key matches and its files hold, else None."""
    record = read_claim(path, key)
    if record is None:
        return None
    return record if files_hold(path.parent, record.get("files", {})) else None


def failure_path(record: Path) -> Path:
    """Return where a stage that would write this record leaves its failure."""
    name = "failure.json" if record.name == "record.json" else f"{record.stem}.failure.json"
    return record.with_name(name)


def write_failure(record: Path, stage: str, error: BaseException) -> None:
    """Record why a stage failed, beside where its record would be."""
    fields = {
        "schema": SCHEMA,
        "kind": "failure",
        "stage": stage,
        "reason": str(error) or type(error).__name__,
        "error": type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)),
        "utc": now(),
    }
    write_json(failure_path(record), fields)


def clear(folder: Path) -> None:
    """Remove a stage's folder whose key no longer matches."""
    shutil.rmtree(folder, ignore_errors=False)
