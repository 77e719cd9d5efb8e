"""Features in files, a checksum with each row, so that damage is seen when they are read.

A file is what numpy writes (``.npy``, float32, one entry of the first axis a volume), and behind it
CRC-32s: one of each row and its place, then one of the head and of the file's name, which is the
key of what it holds. CRC-32 because it is against damage and not against forgery: a row is small,
so that 4 bytes suffice, and it costs a fraction of SHA-256 on processors without instructions for
that.
"""

from __future__ import annotations

import os
import tokenize
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cerebench.core.files import replacing
from cerebench.core.volumes import write_array

_BYTES = 4  # of a checksum


class StoredRows:
    """The slice features of a set in one file, read one volume at a time.

    Args:
        path: ``.npy`` file, (N, S, dim) float32.
        slices: Which slices to take; all of them by default.
    """

    def __init__(self, path: Path, slices: Sequence[int] | None = None) -> None:
        with path.open("rb") as file:
            self.shape, self._start = _head(file)
        self._path, self._slices = path, slices

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        count = self.shape[1] * self.shape[2]
        offset = self._start + range(len(self))[index] * count * 4
        rows = np.fromfile(self._path, np.float32, count, offset=offset).reshape(self.shape[1:])
        return rows if self._slices is None else rows[list(self._slices)]


class RowWriter:
    """Write rows of float32 one after the other.

    Args:
        path: The file, which is empty.
        count: How many rows there will be.
        key: What the file is called when it is complete.
    """

    def __init__(self, path: Path, count: int, key: str) -> None:
        self._path, self._count, self._key = path, count, key
        self._checks: list[int] = []

    def add(self, rows: NDArray[np.float32]) -> None:
        """Write the next row; the last one completes the file."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        with self._path.open("ab") as file:
            if not self._checks:
                shape = (self._count, *rows.shape)
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            write_array(file, rows)
            self._checks.append(_check(rows, len(self._checks)))
        if len(self._checks) == self._count:
            _append(self._path, self._checks, self._key)

    def read(self, index: int) -> NDArray[np.float32]:
        """Return a row (S, dim) that was written."""
        return StoredRows(self._path)[index]


@dataclass(frozen=True)
class State:
    """What is left of a file.

    Attributes:
        rows: How many rows it has; 0 where nothing of it can be used.
        damaged: Which of them are not what was written.
    """

    rows: int = 0
    damaged: frozenset[int] = frozenset()

    @property
    def whole(self) -> bool:
        """Say whether all of it is as it was written."""
        return self.rows > 0 and not self.damaged


def state_of(path: Path) -> State:
    """Say what of a file is as it was written; one of an older version is given checksums."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            shape, start = _head(file)
            row = 4 * int(np.prod(shape[1:]))
            end, n = start + row * shape[0], shape[0]
            if n < 1 or size not in (end, end + _BYTES * (n + 1)):
                return State()
            file.seek(start)
            checks = [_check(file.read(row), index) for index in range(n)]
            kept = np.frombuffer(file.read(), "<u4").tolist()
            if kept and kept.pop() != _head_check(file, start, path.stem):
                return State()
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError):
        return State()
    if not kept:
        _complete(path, checks)
        kept = checks
    pairs = enumerate(zip(checks, kept, strict=True))
    return State(n, frozenset(index for index, (now, then) in pairs if now != then))


def _head(file: BinaryIO) -> tuple[tuple[int, ...], int]:
    """Return the shape of the array, and where it begins."""
    np.lib.format.read_magic(file)
    shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return shape, file.tell()


def _check(row: NDArray[np.float32] | bytes, index: int) -> int:
    return zlib.crc32(row if isinstance(row, bytes) else row.data, index)


def _head_check(file: BinaryIO, start: int, key: str) -> int:
    file.seek(0)
    return zlib.crc32(file.read(start), zlib.crc32(key.encode()))


def _append(path: Path, checks: Sequence[int], key: str) -> None:
    with path.open("r+b") as file:
        _, start = _head(file)
        checks = [*checks, _head_check(file, start, key)]
        file.seek(0, os.SEEK_END)
        file.write(np.array(checks, "<u4").tobytes())


def _complete(path: Path, checks: Sequence[int]) -> None:
    """Put the checksums behind a file that has none."""
    data = path.read_bytes()
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        _append(temporary, checks, path.stem)
