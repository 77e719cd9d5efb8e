"""What a volume is, and a sequence of volumes that are made when they are indexed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

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
