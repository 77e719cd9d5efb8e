"""Volumes in ``.npy`` and ``.npz`` files, one or a stack of them, read one at a time.

An array says nothing of its axes and its voxel size: it is taken as (D, H, W) = z, y, x with voxels
of 1 mm. Whether it can be used is told from its header, before memory is set aside for it, and
objects are never unpickled.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import psutil
from numpy.lib import format as npy
from numpy.typing import NDArray

from cerebench.core.hashing import sha256_bytes
from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.headers import Grid
from cerebench.datasets.scans.volumes import Stored, refuse_not_finite

SUFFIXES = (".npy", ".npz")
_EXPECTED = "(D, H, W), (N, D, H, W) or (N, 1, D, H, W)"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_UNPACKED = 3  # .npz files kept in memory: real, generated and training volumes


@dataclass(frozen=True)
class Stack:
    """What the header of a file says.

    Attributes:
        path: The file.
        shape: Of the array as it is stored.
        dtype: Its type of number.
        order: ``C`` or ``F``: which axis runs slowest.
        offset: Bytes before the values.
        volumes: (N, D, H, W): how many volumes it holds, and their shape.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Any
    offset: int
    volumes: tuple[int, int, int, int]

    def __len__(self) -> int:
        return self.volumes[0]

    def __getitem__(self, position: int) -> NDArray[Any]:
        """Return one volume (D, H, W) as it is stored."""
        if self.path.suffix.lower() == ".npz":
            facts = self.path.stat()
            array = _unpacked(self.path, facts.st_mtime_ns, facts.st_size)
        else:
            array = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)
        return np.ascontiguousarray(array.reshape(self.volumes)[position])


def open_stack(path: Path) -> Stack:
    """Read the header of an array file.

    Args:
        path: A ``.npy`` file, or a ``.npz`` file with one array.

    Raises:
        DatasetError: If it is no such file, is cut short, does not hold real numbers, has another
            number of axes than one volume or a stack of them, no voxels, or several arrays; or if
            it would not fit into memory where it must be unpacked.
    """
    with _opened(path) as (file, length):
        shape, fortran, dtype = _header(file)
        offset = file.tell()
    if dtype.kind not in "iuf":
        raise DatasetError(
            f"{path} stores {_kind(dtype)}; real numbers are expected. Save it anew with "
            "numpy.save(path, array.astype('float32'))."
        )
    announced = math.prod(shape) * dtype.itemsize + offset
    if announced > length or min(shape, default=0) < 0:
        raise DatasetError(
            f"{path} is cut short, or its header is damaged: it announces the shape {shape} in "
            f"{announced} bytes and has {length}. Copy it again."
        )
    volumes = _volumes(path, shape)
    free = psutil.virtual_memory().available
    if path.suffix.lower() == ".npz" and announced > free:
        raise DatasetError(
            f"{path} takes {announced / 2**30:.1f} GiB once unpacked, and {free / 2**30:.1f} GiB "
            "of memory are free. Save it with numpy.save: .npy is read one volume at a time."
        )
    return Stack(path, shape, dtype, "F" if fortran else "C", offset, volumes)


def read_array(path: Path, position: int, like: Grid | None = None) -> Stored:
    """Read one volume of a stack.

    Args:
        path: The file.
        position: Which volume, from 0.
        like: Axes to take; (D, H, W) of the array are then the third, second and first of these.

    Raises:
        DatasetError: If the file cannot be used, or a value is not finite.
    """
    stored = _values(path, position)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes Inf, and is refused
        values = stored.astype(np.float32)
    refuse_not_finite(f"{path}[{position}]", values)
    grid = Grid(values.shape[::-1], np.eye(4), silent=True)
    if like is not None:
        grid = Grid(grid.shape, like.affine)
        turned = nib.as_closest_canonical(nib.Nifti1Image(values.T, like.affine))
        values = np.ascontiguousarray(np.asarray(turned.dataobj).T)
    z, y, x = grid.turned_spacing
    return Stored(values, (z, y, x), None, grid)


def sha256_of(path: Path, position: int) -> str:
    """Return the SHA-256 of one volume: of its values, their type and the shape."""
    values = _values(path, position)
    return sha256_bytes(f"{values.dtype.str} {values.shape} ".encode() + values.tobytes())


def _values(path: Path, position: int) -> NDArray[Any]:
    stack = open_stack(path)
    if position >= len(stack):
        raise DatasetError(f"{path} has no volume {position} any more. Run the command again.")
    return stack[position]


def _volumes(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (N, D, H, W); an axis of 1 for channels may stand behind N or at the end.

    Raises:
        DatasetError: If the shape is none of a stack.
    """
    if 0 in shape:
        raise DatasetError(f"{path} has shape {shape} and thus no voxels. Replace or remove it.")
    axes = shape
    if len(axes) == 5 and axes[1] == 1:
        axes = (axes[0], *axes[2:])
    elif len(axes) in (4, 5) and axes[-1] == 1:
        axes = axes[:-1]
    if len(axes) not in (3, 4):
        raise DatasetError(
            f"{path} has shape {shape}; {_EXPECTED} is expected. Save one channel of each volume."
        )
    count, depth, height, width = axes if len(axes) == 4 else (1, *axes)
    return count, depth, height, width


def _kind(dtype: np.dtype[Any]) -> str:
    return "a table" if dtype.names else str(dtype)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version}")
    return _HEADERS[version](file)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Yield the file, or the only one in a ``.npz``, and its length in bytes.

    Raises:
        DatasetError: If it cannot be read, which also is said of what goes wrong in the block.
    """
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as packed:
                member = _only(path, packed)
                with packed.open(member) as file:
                    yield file, member.file_size
        else:
            with path.open("rb") as file:
                yield file, path.stat().st_size
    except DatasetError:
        raise
    except FileNotFoundError as e:
        raise DatasetError(f"{path} does not exist.") from e
    except PermissionError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}. Correct its permissions.") from e
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as e:
        raise DatasetError(f"{path} is damaged or cut short. Copy it again.") from e
    # What a header can do wrong, and ways to pack (encryption) that are not read.
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RuntimeError) as e:
        raise DatasetError(
            f"{path} is no file of numpy.save or numpy.savez, or its header is damaged. Save it "
            "anew."
        ) from e


def _only(path: Path, packed: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = packed.infolist()
    if len(members) != 1:
        names = ", ".join(ascii(member.filename.removesuffix(".npy")) for member in members[:5])
        listed = f" ({names}{', …' if len(members) > 5 else ''})" * bool(members)
        raise DatasetError(
            f"{path} holds {len(members)} arrays{listed}; one is expected. Save each set of "
            "volumes in a file of its own with numpy.save."
        )
    return members[0]


@lru_cache(_UNPACKED)
def _unpacked(path: Path, mtime_ns: int, size: int) -> NDArray[Any]:
    """Return the whole array of a ``.npz`` file, which cannot be read in parts."""
    with _opened(path) as (file, _):
        shape, fortran, dtype = _header(file)
        data = file.read()
        values = np.frombuffer(data, dtype, math.prod(shape))
        return values.reshape(shape, order="F" if fortran else "C")
