"""A sequence of volumes that are made when they are indexed."""

import numpy as np

from cerebench.core.volumes import LazyVolumes


def volumes(indexed=None):
    def make(index):
        if indexed is not None:
            indexed.append(index)
        return np.full((1, 2, 2, 2), index, np.float64)

    return LazyVolumes(["a", "b", "c", "d"], make)


def test_a_volume_is_made_as_float32_when_it_is_indexed():
    indexed = []
    assert volumes(indexed)[-1].dtype == np.float32
    assert indexed == [3]


def test_a_slice_chooses_volumes_without_making_them():
    indexed = []
    chosen = volumes(indexed)[1::2]
    assert (chosen.ids, len(chosen), indexed) == (("b", "d"), 2, [])
    assert chosen[1].max() == 3
