"""Files that are either complete or not there, also when the process is killed; JSON in them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOTHING = 2**16  # bytes: what is left where a write has failed
_CLOSED = 0o077
_UMASK = os.umask(_CLOSED)  # it can be read only by setting it
os.umask(_UMASK)
_MODE = 0o666 & ~_UMASK


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write; it takes the place of ``path`` in one step when complete.

    Readers see the old file or the new one, also after a crash. The umask says who may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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


def allocate(file: int, size: int, place: Path | str) -> None:
    """Reserve the space of a file before it is mapped: a full disk would kill who writes the map.

    Args:
        file: Descriptor, open for writing.
        size: Bytes.
        place: What the error names: the file, or its folder if it has no name.

    Raises:
        OSError: If there is too little space.
    """
    if not hasattr(os, "posix_fallocate"):  # as on macOS and Windows
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system without
            return
        raise OSError(
            error.errno, f"{error.strerror} for {size / 2**20:,.1f} MiB", str(place)
        ) from error


def write_array(file: IO[bytes], array: NDArray[Any]) -> None:
    """Write the bytes of an array where a file stands.

    Raises:
        OSError: If there is too little space; numpy says so without the number of the error.
    """
    try:
        array.tofile(file)
    except OSError as error:
        if error.errno:
            raise
        place = file.name if isinstance(file.name, str) else tempfile.gettempdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place) from error


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
    except (
        FileNotFoundError,
        IsADirectoryError,
        NotADirectoryError,
        json.JSONDecodeError,
        UnicodeDecodeError,
    ):
        return None
