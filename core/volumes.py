"""What a volume is, a sequence of volumes made when they are indexed, and arrays in files."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]  # (C, D, H, W) in [-1, 1], background -1


class LazyVolumes(Sequence[Volume]):
    """Volumes that are made when they are indexed.

    Args:
        ids: One identifier a volume.
        make: Index to volume, (C, D, H, W) float32 in [-1, 1]; the same one at every call.
    """

    def __init__(self, ids: Sequence[str], make: Callable[[int], NDArray[np.floating]]) -> None:
        self.ids, self._make = tuple(ids), make

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Volume: ...
    @overload
    def __getitem__(self, index: slice) -> LazyVolumes: ...

    def __getitem__(self, index: int | slice) -> Volume | LazyVolumes:
        """Make the volume at an index, or choose volumes by a slice without making them."""
        if isinstance(index, slice):
            positions = range(len(self))[index]
            return LazyVolumes(self.ids[index], lambda i: self._make(positions[i]))
        return self._make(range(len(self))[index]).astype(np.float32, copy=False)


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
