"""Unbiased kernel distances (squared MMD) between two sets, block by block.

Only sums of the kernel between jackknife groups are kept, so memory does not grow with the square
of the number of volumes, and leaving a group out costs nothing. Items of one volume (its slices)
are never paired with each other: they resemble each other in any set, which would raise the value
of two samples of one distribution.

Source: Gretton et al. 2012, JMLR 13, equation 3; pairs of one volume left out: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Indexed
from cerebench.metrics.estimators import jackknife

CHUNK = 1024  # items compared at once: a block of 8 MB

Kernel = Callable[[Array, Array], Array]  # (m, dim), (n, dim) -> (m, n)
Features = Indexed[NDArray[np.floating]]  # one entry a volume: (dim,) or (items, dim)


@dataclass(frozen=True)
class PairSums:
    """Sums of the kernel and numbers of pairs by group: ``sums[g, h]``, ``counts[g, h]``."""

    sums: Array
    counts: Array

    def mean(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> float:
        """Mean of the kernel over all pairs of the kept groups."""
        kept = np.ix_(rows, columns)
        return float(self.sums[kept].sum() / self.counts[kept].sum())


@dataclass(frozen=True)
class KernelSums:
    """All that an unbiased squared MMD and its jackknife need."""

    within_x: PairSums
    within_y: PairSums
    between: PairSums

    def mmd2(
        self, rows: NDArray[np.intp] | None = None, columns: NDArray[np.intp] | None = None
    ) -> float:
        """Compute the squared MMD of the kept groups of x and y; all of them by default."""
        rows = np.arange(len(self.within_x.sums)) if rows is None else rows
        columns = np.arange(len(self.within_y.sums)) if columns is None else columns
        within = self.within_x.mean(rows, rows) + self.within_y.mean(columns, columns)
        return within - 2.0 * self.between.mean(rows, columns)

    def uncertainty(self) -> jackknife.Uncertainty:
        """Jackknife over the groups of either set, or say that there are too few volumes."""
        sizes = len(self.within_x.sums), len(self.within_y.sums)
        # Two groups are two volumes: without one of them there is no pair within the set.
        if min(sizes) < 3:
            return jackknife.TOO_FEW
        left_x, left_y = ([np.delete(np.arange(n), g) for g in range(n)] for n in sizes)
        return jackknife.combine(
            {
                "generated": [self.mmd2(rows=kept) for kept in left_x],
                "real": [self.mmd2(columns=kept) for kept in left_y],
            }
        )


def kernel_sums(
    x: Features,
    y: Features,
    kernel: Kernel,
    groups_x: Sequence[jackknife.Rows],
    groups_y: Sequence[jackknife.Rows],
) -> KernelSums:
    """Sum a kernel over all pairs of different volumes.

    Args:
        x: Generated features, one entry a volume: (dim,), or (items, dim) with any number of items.
        y: Real features in the same form.
        kernel: Symmetric function of two lists of items.
        groups_x: Volumes of each jackknife group of x; together every volume once.
        groups_y: The same of y.
    """
    label_x, label_y = _labels(groups_x), _labels(groups_y)
    return KernelSums(
        _within(x, label_x, len(groups_x), kernel),
        _within(y, label_y, len(groups_y), kernel),
        _between(x, y, label_x, label_y, kernel),
    )


@dataclass(frozen=True)
class _Items:
    """Some items with the volume and the group that each belongs to."""

    rows: Array
    volume: NDArray[np.intp]
    groups: Array  # one-hot, (items, groups)


def _labels(groups: Sequence[jackknife.Rows]) -> NDArray[np.intp]:
    labels = np.empty(sum(map(len, groups)), dtype=np.intp)
    for number, rows in enumerate(groups):
        labels[rows] = number
    return labels


def _chunks(features: Features, labels: NDArray[np.intp], count: int) -> Iterator[_Items]:
    """Cut the items of all volumes into chunks; volumes are read one after the other."""
    held: list[Array] = []
    volumes: list[int] = []

    def flush() -> _Items:
        volume = np.repeat(np.array(volumes, dtype=np.intp), [len(h) for h in held])
        one_hot = np.eye(count)[labels[volume]]
        return _Items(np.concatenate(held), volume, one_hot)

    for index in range(len(features)):
        rows = np.atleast_2d(np.asarray(features[index], dtype=np.float64))
        if held and sum(map(len, held)) + len(rows) > CHUNK:
            yield flush()
            held, volumes = [], []
        held.append(rows)
        volumes.append(index)
    if held:
        yield flush()


def _within(features: Features, labels: NDArray[np.intp], count: int, kernel: Kernel) -> PairSums:
    sums, counts = np.zeros((count, count)), np.zeros((count, count))
    for i, a in enumerate(_chunks(features, labels, count)):
        for j, b in enumerate(_chunks(features, labels, count)):
            if j > i:
                break  # the kernel is symmetric
            block = kernel(a.rows, b.rows)
            apart = np.ones_like(block)
            if i == j:
                apart = (a.volume[:, None] != b.volume[None, :]).astype(np.float64)
                block = block * apart
            for total, part in ((sums, block), (counts, apart)):
                found = a.groups.T @ part @ b.groups
                total += found if i == j else found + found.T
    return PairSums(sums, counts)


def _between(
    x: Features, y: Features, label_x: NDArray[np.intp], label_y: NDArray[np.intp], kernel: Kernel
) -> PairSums:
    shape = int(label_x.max()) + 1, int(label_y.max()) + 1
    sums, counts = np.zeros(shape), np.zeros(shape)
    for a in _chunks(x, label_x, shape[0]):
        for b in _chunks(y, label_y, shape[1]):
            sums += a.groups.T @ kernel(a.rows, b.rows) @ b.groups
            counts += np.outer(a.groups.sum(0), b.groups.sum(0))
    return PairSums(sums, counts)
