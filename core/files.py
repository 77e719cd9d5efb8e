"""Files that are either complete or not there, also when the process is killed; JSON in them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cerebench.core.hashing import seal_of
from cerebench.core.machine import began, mark

if TYPE_CHECKING:
    pass

_NOTHING = 2**16  # bytes: what is left where a write has failed
_CLOSED = 0o077
_UMASK = os.umask(_CLOSED)  # it can be read only by setting it
os.umask(_UMASK)
_MODE = 0o666 & ~_UMASK
# A file that has not taken its name yet: ".<name>.<system>-<process>-<letters>.part". Versions
# before 0.2.0 did not tell whose it is: ".<name>.<8 letters>".
_UNFINISHED = re.compile(
    r"\.(?P<name>[^/]+)\.((?P<system>[0-9a-f]{8})-(?P<pid>\d+)-\w+\.part|\w{8}|\d+\.tmp)"
)
_OURS = re.compile(r".+\.(json|jsonl|npy|npz|gz|tsv|csv|safetensors|pt|md|tex|txt)|README|\.\w+")
_AGE = 24 * 3600  # seconds after which a file whose owner nobody can ask for is a leftover


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write; it takes the place of ``path`` in one step when complete.

    Readers see the old file or the new one, also after a crash. The umask says who may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f"{mark()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(".part", f".{path.name}.{owner}", path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.chmod(_MODE)
        temporary.replace(path)
    except BaseException as error:
        full = shutil.disk_usage(path.parent).free < _NOTHING
        temporary.unlink(missing_ok=True)
        if full and isinstance(error, Exception) and not isinstance(error, OSError):
            # Libraries that write themselves, as those of tensors, say it in their own words.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # what the system does not tell of a disk that is full
        raise


def unfinished(name: str) -> str:
    """Return the name that a temporary file of ``replacing`` was to take; empty for another."""
    found = _UNFINISHED.fullmatch(name)
    return found["name"] if found else ""


def sweep(folder: Path, *, below: bool = True) -> int:
    """Remove what killed processes left of files that they were writing; return how many.

    A file of a process that lives is never removed. Where that cannot be asked (another machine,
    an older version), it must not have changed for a day. Links are not followed, and hidden
    folders, which processes at work use, are left alone.

    Args:
        folder: Where to look; it need not exist.
        below: Whether to look in the folders below, too.
    """
    removed = 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if name.startswith(".") and _is_left(path):
                with suppress(OSError):
                    path.unlink()
                    removed += 1
        if not below:
            break
    return removed


def _is_left(path: Path) -> bool:
    found = _UNFINISHED.fullmatch(path.name)
    if not found or not (found["system"] or _OURS.fullmatch(found["name"])):
        return False
    if found["system"] == mark():
        return not began(int(found["pid"]))
    with suppress(OSError):
        return time.time() - path.lstat().st_mtime > _AGE
    return False


def write_where_different(path: Path, data: bytes) -> bool:
    """Write a small file unless it has this content: then its times stay as a record knows them.

    Returns:
        Whether it was written.
    """
    if path.is_file() and path.read_bytes() == data:
        return False
    write_bytes(path, data)
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; see ``replacing``."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; floats keep all their digits, NaN and infinities raise."""
    write_bytes(path, json_bytes(value))


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with the hash of itself, atomically."""
    write_json(path, {"sha256": seal_of(content), **content})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return a JSON object without its hash; None where there is none, or not what was written.

    One without a hash is of an older version and taken as it is.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    try:
        holds = content.get("sha256") in (None, seal_of(content))
    except (ValueError, RecursionError):
        return None
    content.pop("sha256", None)
    return content if holds else None


def json_bytes(value: Any) -> bytes:
    """Return what ``write_json`` writes."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any | None:
    """Return the content of a JSON file, or None where there is none or it is cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, RecursionError):
        return None
