"""Maximum mean discrepancy with the linear kernel, on voxels, in one pass over each set.

Three numbers with one name in the literature. ``mmd2-kwon`` is the number that the field prints:
the biased estimate on batches of B = 1, not divided by the number of voxels. ``mmd2-genmodels`` is
the same with B = 8, per voxel. ``mmd2-linear`` is the unbiased estimate per voxel. All see the mean
volume of a set and, through their estimators, its total variance, nothing else.

Source: Gretton et al. 2012, JMLR 13; Kwon et al. 2019 (3dbraingen, Test.ipynb) for ``mmd2-kwon``;
Tudosiu et al. 2022 and MONAI GenerativeModels (metrics/voxel/mmd.py) for ``mmd2-genmodels``.
Departures: the expectation over random batches is computed in closed form, so that there is no
Monte Carlo error; the notebook repeats 100 random passes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cerebench.core.volumes import write_array
from cerebench.metrics.base import (
    Array,
    Better,
    Indexed,
    Metric,
    MetricError,
    Result,
    Sets,
    VolumeSet,
)

GROUPS = 10  # of the delete-group jackknife
GENMODELS_BATCH = 8
BACKGROUND = -1.0


@dataclass(frozen=True)
class VoxelSums:
    """Sums of a set of volumes: all that a linear-kernel MMD needs, whatever the set's size.

    The background value is subtracted first: the linear MMD does not change, and sums of numbers
    near zero lose no digits.

    Attributes:
        n: Number of volumes.
        total: Sum of the volumes minus the background, (P,) float64 with P voxels (and channels).
        squares: Sum over volumes of the squared norm of (volume - background).
    """

    n: int
    total: Array
    squares: float

    def __add__(self, other: Self) -> VoxelSums:
        """Merge with the sums of other volumes of the same shape."""
        return VoxelSums(self.n + other.n, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: Self) -> VoxelSums:
        """Leave out volumes that were summed before."""
        return VoxelSums(self.n - other.n, self.total - other.total, self.squares - other.squares)

    @property
    def mean(self) -> Array:
        """Mean volume minus the background, (P,)."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """Mean squared distance to the mean volume (divisor n), summed over voxels."""
        mean = self.mean
        return self.squares / self.n - float(mean @ mean)


def voxel_sums(volumes: Iterable[NDArray[np.floating]]) -> VoxelSums:
    """Sum volumes in one pass.

    Args:
        volumes: At least one volume; any shape, equal for all; floating point in [-1, 1].

    Returns:
        Their sums, float64; memory of one volume, however many there are.

    Raises:
        MetricError: If there is no volume, or the shapes differ.
    """
    return sum_groups(volumes, groups=1)[0]


def sum_groups(volumes: Iterable[NDArray[np.floating]], groups: int) -> list[VoxelSums]:
    """Sum volumes in one pass, the i-th into group i mod ``groups``; empty groups are left out.

    Args:
        volumes: As for ``voxel_sums``.
        groups: Number of groups; >= 1.

    Returns:
        One ``VoxelSums`` a group, ``min(groups, number of volumes)`` of them.

    Raises:
        MetricError: If there is no volume, or the shapes differ.
    """
    totals: list[Array] = []
    counts, squares = [0] * groups, [0.0] * groups
    shape: tuple[int, ...] | None = None
    for index, volume in enumerate(volumes):
        shape = shape or volume.shape
        if volume.shape != shape:
            raise MetricError(
                f"Volume {index} has shape {volume.shape}, the first one {shape}; "
                "MMD needs equal shapes. Resample the set to one size."
            )
        x = volume.astype(np.float64).reshape(-1) - BACKGROUND
        group = index % groups
        if group == len(totals):
            totals.append(x)
        else:
            totals[group] += x
        counts[group] += 1
        squares[group] += float(x @ x)
    if not totals:
        raise MetricError("The set is empty; MMD needs at least one volume.")
    return [VoxelSums(*g) for g in zip(counts, totals, squares, strict=False)]


class StoredSums:
    """Sums of groups of volumes, kept in an unnamed temporary file and read one at a time.

    Ten float64 volumes a set would be the largest thing in memory: 336 MB for two sets at 128^3.

    Args:
        groups: The sums, as they are finished.
    """

    def __init__(self, groups: Iterable[VoxelSums]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the object)
        self._facts: list[tuple[int, float]] = []
        self._voxels = 0
        for group in groups:
            self._voxels = self._voxels or group.total.size
            if group.total.size != self._voxels:
                raise MetricError(
                    f"Volumes have {self._voxels} and {group.total.size} voxels; MMD needs equal "
                    "shapes. Resample the set to one size."
                )
            write_array(self._file, group.total)
            self._facts.append((group.n, group.squares))

    def __len__(self) -> int:
        return len(self._facts)

    def __getitem__(self, index: int) -> VoxelSums:
        n, squares = self._facts[index]
        place = range(len(self))[index] * self._voxels * 8
        self._file.seek(place)
        return VoxelSums(n, np.fromfile(self._file, np.float64, self._voxels), squares)


def mmd2_kwon(x: VoxelSums, y: VoxelSums, batch: int = 1) -> float:
    """Expected biased MMD² of batches of B, drawn without replacement from two sets.

    ``|mean x - mean y|² + V_x / B (m - B) / (m - 1) + V_y / B (n - B) / (n - 1)``, V with divisor
    m and n. With B = 1 this is the mean squared distance over all pairs (x, y): it is not zero for
    equal distributions, and it is smallest for a generator collapsed onto the real mean volume.

    Args:
        x: Sums of m >= B volumes.
        y: Sums of n >= B volumes of the same shape.
        batch: B, volumes per batch; >= 1.

    Returns:
        Biased MMD², sum over voxels of squared intensity; not scaled, never below zero but for
        rounding.

    Raises:
        MetricError: If a set is smaller than B, or the shapes differ.

    Source: Kwon et al. 2019, Test.ipynb of 3dbraingen.
    """
    for name, sums in (("first", x), ("second", y)):
        if not 1 <= batch <= sums.n:
            raise MetricError(
                f"Batches of {batch} cannot be drawn from the {sums.n} volumes of the {name} set; "
                "B must lie between 1 and the set size."
            )
    return squared_gap(x, y) + _batch_variance(x, batch) + _batch_variance(y, batch)


def mmd2_unbiased(x: VoxelSums, y: VoxelSums) -> float:
    """Unbiased MMD² of two sets, ``|mean x - mean y|² - S_x / m - S_y / n``, S with divisor m - 1.

    Args:
        x: Sums of m >= 2 volumes.
        y: Sums of n >= 2 volumes of the same shape.

    Returns:
        MMD², sum over voxels of squared intensity. Negative values occur and are kept.

    Raises:
        MetricError: If a set has fewer than 2 volumes, or the shapes differ.

    Source: Gretton et al. 2012, equation 3, with the linear kernel.
    """
    if min(x.n, y.n) < 2:
        raise MetricError(
            f"The unbiased MMD needs 2 volumes per set, got {x.n} and {y.n}. Sample more volumes."
        )
    return squared_gap(x, y) - x.variance / (x.n - 1) - y.variance / (y.n - 1)


def squared_gap(x: VoxelSums, y: VoxelSums) -> float:
    """Return the squared distance of the two mean volumes, summed over voxels."""
    if x.total.shape != y.total.shape:
        raise MetricError(
            f"The sets have {x.total.size} and {y.total.size} voxels per volume; "
            "MMD needs equal shapes. Resample one of them."
        )
    gap = x.mean - y.mean
    return float(gap @ gap)


def delete_group(
    estimate: Callable[[VoxelSums, VoxelSums], float],
    x: Indexed[VoxelSums],
    y: Indexed[VoxelSums],
) -> tuple[float, float, dict[str, list[float]]]:
    """Estimate from grouped sums, with its delete-group jackknife.

    ``SE² = (G - 1) / G sum_g (estimate without g - their mean)²`` for each set; the two add.

    Args:
        estimate: Function of the sums of the two sets.
        x: Sums of the generated groups; at least 2.
        y: Sums of the real groups; at least 2.

    Returns:
        The estimate, its standard error, and the leave-out values by set.
    """
    all_x, all_y = _merge(x), _merge(y)
    replicates = {
        "generated": [estimate(all_x - group, all_y) for group in x],
        "real": [estimate(all_x, all_y - group) for group in y],
    }
    variance = sum((len(r) - 1) * float(np.var(r)) for r in replicates.values())
    return estimate(all_x, all_y), float(np.sqrt(variance)), replicates


def _batch_variance(sums: VoxelSums, batch: int) -> float:
    if sums.n == batch:
        return 0.0  # the batch is the whole set; also avoids 0 / 0 for a single volume
    return sums.variance / batch * (sums.n - batch) / (sums.n - 1)


def _merge(groups: Indexed[VoxelSums]) -> VoxelSums:
    merged = groups[0]
    for index in range(1, len(groups)):
        merged = merged + groups[index]
    return merged


def _grouped(volumes: VolumeSet) -> Indexed[VoxelSums]:
    """Sum the groups one after the other, each volume read once, and keep them on disk."""

    def part(first: int) -> VoxelSums:
        return voxel_sums(volumes[i] for i in range(first, len(volumes), GROUPS))

    def make() -> StoredSums:
        if not len(volumes):
            return StoredSums([voxel_sums(volumes)])  # raises: the set is empty
        return StoredSums(part(first) for first in range(min(GROUPS, len(volumes))))

    return volumes.keep("voxel sums", make)


def _result(sets: Sets, estimate: Callable[[VoxelSums, VoxelSums], float], least: int) -> Result:
    """Score generated against train; the standard error needs ``least`` volumes in every leave-out.

    Sums are kept on both sets, so that further metrics and methods do not read them again.
    """
    x, y = _grouped(sets.generated), _grouped(sets.train)
    n_generated, n_real = len(sets.generated), len(sets.train)
    if min(n_generated, n_real) <= least:
        value = estimate(_merge(x), _merge(y))
        return Result(value=value, n_real=n_real, n_generated=n_generated)
    value, se, replicates = delete_group(estimate, x, y)
    return Result(
        value=value,
        n_real=n_real,
        n_generated=n_generated,
        se=se,
        uncertainty=f"delete-group jackknife, {len(x)} + {len(y)} groups",
        replicates=replicates,
    )


def _compute_kwon(sets: Sets, view: str) -> Result:
    return _result(sets, mmd2_kwon, 1)


def _compute_linear(sets: Sets, view: str) -> Result:
    voxels = sets.train[0].size

    def per_voxel(x: VoxelSums, y: VoxelSums) -> float:
        return mmd2_unbiased(x, y) / voxels

    return _result(sets, per_voxel, 2)


def _compute_genmodels(sets: Sets, view: str) -> Result:
    voxels, least = sets.train[0].size, min(len(sets.train), len(sets.generated))
    if least < GENMODELS_BATCH:
        raise MetricError(
            f"The smaller set has {least} volumes; batches of {GENMODELS_BATCH} are drawn from "
            "each. Sample more volumes, or use mmd2-linear."
        )

    def per_voxel(x: VoxelSums, y: VoxelSums) -> float:
        return mmd2_kwon(x, y, GENMODELS_BATCH) / voxels

    # Leaving out a group must leave a batch: the largest group has ceil(n / 10) volumes.
    return _result(sets, per_voxel, GENMODELS_BATCH + -(-least // GROUPS) - 1)


_SHARED = {
    "kernel": "linear",
    "range": [-1, 1],
    "reference": "train",
    "jackknife_groups": GROUPS,
    "group": "index mod groups",
}

MMD2_KWON = Metric(
    name="mmd2-kwon",
    label="MMD",
    compute=_compute_kwon,
    better=Better.LOWER,
    recipe={**_SHARED, "estimator": "expected biased, without replacement", "batch": 1}
    | {"normalisation": "sum over voxels"},
    family="mmd",
    source="Kwon et al. 2019, arXiv:1908.02498, code 3dbraingen/Test.ipynb",
    scale=1e-4,
    blind_to=(
        "It rewards collapse: the spread of the generated set enters with a plus sign, so the real "
        "mean volume repeated scores better than a perfect generator."
    ),
    never_bold=True,
)

MMD2_GENMODELS = Metric(
    name="mmd2-genmodels",
    label="bMMD",
    compute=_compute_genmodels,
    better=Better.LOWER,
    recipe={**_SHARED, "estimator": "expected biased, without replacement"}
    | {"batch": GENMODELS_BATCH, "normalisation": "per voxel"},
    family="mmd",
    source="Tudosiu et al. 2022, SASHIMI; code GenerativeModels, metrics/voxel/mmd.py",
    least=GENMODELS_BATCH,
    blind_to=(
        "It rewards collapse, and two real sets differ by about (V_x + V_y) / 8: the spread of "
        "the generated set enters with a plus sign."
    ),
    never_bold=True,
)

MMD2_LINEAR = Metric(
    name="mmd2-linear",
    label="MMD linear",
    compute=_compute_linear,
    better=Better.LOWER,
    recipe={**_SHARED, "estimator": "unbiased", "normalisation": "per voxel"},
    family="mmd",
    source="Gretton et al. 2012, JMLR 13, equation 3",
    blind_to=(
        "It compares mean volumes alone: sets with equal means and any difference in spread, shape "
        "or texture score the same."
    ),
)
