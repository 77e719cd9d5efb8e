"""Phantoms: tumour regions of interest made by a seeded procedure, the dataset that needs no files.

A case is drawn in three moves, all in millimetres of a field of view of 128 mm, so that one case
at two sizes is one tumour at two resolutions:

1. Character. Volume, elongation, roughness, brightness, contrast and composition are drawn from
   distributions whose parameters depend on the class (``CALIBRATION``).
2. Shape. The level ``-log(rho) + random fields``, with ``rho`` the radius of an ellipsoid, is cut
   where it encloses the drawn volume: coarse fields bend it into lobes, fine ones fray its surface
   and cut off islands.
3. Intensity. A score adds up the distance from the rim, dark pools (necrosis, cysts) and texture
   on two scales. Its ranks are mapped to a beta distribution of the drawn mean and sd, so that
   *how bright* and *where* are calibrated apart from each other.

Drawing happens on the smallest multiple of the size with voxels of at most 2 mm; smaller volumes
are area averages of it, as those of real regions of interest are.

Source: own procedure, calibrated at 64^3 to statistics of 251 FLAIR regions of interest of BraTS.
Departures: no anatomy, one channel, no sub-region labels; a tumour never reaches the border.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from cerebench.core.hashing import key_of, sha256_bytes
from cerebench.datasets.base import (
    BadOption,
    Case,
    CheckReport,
    Dataset,
    DatasetError,
    DatasetInfo,
    Loaded,
    Progress,
    Recipe,
    Split,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Axes = tuple[Array, Array, Array]  # voxel centres along z, y, x, mm from the middle

FIELD_OF_VIEW = 128.0  # mm, as in the recipe of real regions of interest
SIZES = (16, 128)
MOST = 100_000  # cases per class and role
_RULE = {"train": 100, "test": 200}  # of quick runs


@dataclass(frozen=True)
class Spread:
    """A normal distribution: centre and standard deviation."""

    centre: float
    sd: float


@dataclass(frozen=True)
class Calibration:
    """Distributions of the character of one class.

    Attributes:
        volume: Square root of the volume in ml.
        lobes: Log amplitude of the field that bends the ellipsoid (spacing 0.9 radius).
        fray: Log amplitude of the field that roughens it (spacing 9 mm).
        islands: Log amplitude of the field that cuts off islands (spacing 4 mm).
        gap: Log of how far the mean of the beta distribution of intensities (before partial
            volume at the edge) lies below ``FIXED.ceiling``.
        sd: Log of the standard deviation of that distribution.
        floor: Intensity at which that distribution begins; it ends at 1.
        rim: How much darker the rim is in the score.
        pools: How much darker the pools are in the score.
        grain: Log amplitude of the fine texture relative to the coarse one.
    """

    volume: Spread
    lobes: Spread
    fray: Spread
    islands: Spread
    gap: Spread
    sd: Spread
    floor: Spread
    rim: Spread
    pools: Spread
    grain: Spread


CALIBRATION = {
    "LGG": Calibration(
        volume=Spread(9.35, 3.5),
        lobes=Spread(-1.4, 0.4),
        fray=Spread(-1.87, 0.42),
        islands=Spread(-2.7, 0.35),
        gap=Spread(-1.9, 0.44),
        sd=Spread(-1.895, 0.2),
        floor=Spread(0.04, 0.1),
        rim=Spread(2.35, 1.7),
        pools=Spread(1.5, 2.0),
        grain=Spread(-0.5, 0.6),
    ),
    "HGG": Calibration(
        volume=Spread(9.37, 3.55),
        lobes=Spread(-1.75, 0.4),
        fray=Spread(-1.08, 0.27),
        islands=Spread(-3.35, 0.4),
        gap=Spread(-1.65, 0.36),
        sd=Spread(-1.82, 0.21),
        floor=Spread(0.18, 0.16),
        rim=Spread(3.45, 1.35),
        pools=Spread(1.2, 1.2),
        grain=Spread(-0.8, 0.75),
    ),
}


@dataclass(frozen=True)
class Constants:
    """What the procedure does not draw. Lengths in mm unless said otherwise, axes z, y, x.

    Attributes:
        sqrt_ml: Range of the square root of the volume in ml; the upper end still fits the field.
        elongation: Semi-axes of the ellipsoid relative to the ball of the same volume.
        elongation_sd: Standard deviation of their logarithms.
        lobes: Spacing of the nodes of the field that bends the ellipsoid, in radii.
        fray: Spacing of the field that roughens it.
        islands: Spacing of the field that cuts off islands.
        protrusion: Fields are cut off above this (in sd): sulci notch a tumour more than it puts
            out fingers.
        wall: No tumour reaches further from the middle before it is centred.
        ceiling: Above any mean intensity.
        widest_gap: Largest distance of a mean intensity from the ceiling.
        floors: Range of the intensity at which the beta distribution begins.
        least_total: Smallest sum of its two parameters; below, it would have two peaks.
        rim_depth: Depth over which the rim brightens by a factor of e.
        pool_depth: Pools begin at half this depth and are full at one and a half.
        pool: Spacing of the field whose peaks are pools.
        texture: Spacings of the coarse texture and the grain.
        reference: Edge of the grid on which cut and ranks are made, whatever the size, voxels.
        coarsest: Edge of the coarsest grid that tumours are drawn on, voxels.
        margin: Room around the tumour on the reference grid.
        knots: Quantiles of the map from score to intensity.
    """

    sqrt_ml: tuple[float, float] = (2.5, 17.0)
    elongation: tuple[float, float, float] = (1.01, 1.21, 0.86)
    elongation_sd: float = 0.12
    lobes: float = 0.9
    fray: float = 9.0
    islands: float = 4.0
    protrusion: float = 0.7
    wall: float = 60.0
    ceiling: float = 0.95
    widest_gap: float = 0.4
    floors: tuple[float, float] = (0.0, 0.35)
    least_total: float = 1.5
    rim_depth: float = 5.0
    pool_depth: float = 6.0
    pool: float = 14.0
    texture: tuple[float, float] = (13.0, 3.0)
    reference: int = 32
    coarsest: int = 64
    margin: float = 6.0
    knots: int = 65


FIXED = Constants()


class Phantom(Dataset):
    """Tumour-ROI phantoms of two classes at any edge length from 16 to 128 voxels.

    The content of a case depends on its class and number alone; a longer rule extends a shorter
    one. The rule counts cases per class: the first ``train`` numbers of a class train, the next
    ``test`` numbers test, whatever the seed.

    Raises:
        DatasetError: If the size is outside 16 to 128, or the rule is anything but the whole
            numbers ``train`` and ``test``, both at least 1.
    """

    info = DatasetInfo(
        name="phantom",
        label="Tumour-ROI phantoms",
        classes=("LGG", "HGG"),
        channels=("flair",),
        source="Cerebench, procedure phantom-roi 1",
        licence="CC0-1.0 (generated)",
        synthetic=True,
        needs_root=False,
        split=_RULE,
    )

    def __init__(
        self,
        size: int,
        root: Path | None = None,
        rule: Mapping[str, int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(size, root, rule, options)
        if root is not None:
            raise BadOption(
                f"phantom draws its volumes itself, and would not look at {root}. Leave that out, "
                "or name the dataset of these files: --dataset scans."
            )
        if not (_is_count(size) and SIZES[0] <= size <= SIZES[1]):
            raise BadOption(
                f"phantom cannot be drawn at size {size}; sizes from {SIZES[0]} to {SIZES[1]} "
                "voxels can. Set size to 32, 64 or 128."
            )
        counts = self.rule.values()
        if set(self.rule) != {"train", "test"} or not all(_is_count(n, MOST) for n in counts):
            raise BadOption(
                f"phantom cannot be split by {self.rule}; expected cases per class as whole "
                f"numbers from 1 to {MOST}. Set split to {_RULE} or similar."
            )

    @property
    def recipe(self) -> Recipe:
        """Name, version and every constant of the procedure."""
        return Recipe(
            name="phantom-roi",
            version=1,
            settings={
                "field_of_view_mm": FIELD_OF_VIEW,
                "calibration": {name: asdict(c) for name, c in CALIBRATION.items()},
                "constants": asdict(FIXED),
                "mask": "area average >= 0.5",
                "scaling": "min-max to [-1, 1], background -1",
            },
        )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Field of view divided by size, mm."""
        voxel = FIELD_OF_VIEW / self.size
        return voxel, voxel, voxel

    @property
    def numbers(self) -> tuple[int, int]:
        """First and last number of a case of each class."""
        return 1, self.rule["train"] + self.rule["test"]

    def cases(self) -> list[Case]:
        """List training, then test cases of each class; every phantom is its own patient."""
        return [
            Case(id=case_id, patient=case_id, label=label)
            for label, name in enumerate(self.info.classes)
            for case_id in _ids(name, *self.numbers)
        ]

    def beyond(self, count: int) -> FurtherPhantoms:
        """Return the phantoms with the numbers that follow, ``count`` of each class."""
        return FurtherPhantoms(self, count)

    def fingerprint(self, hashes: Mapping[str, str]) -> str:
        """SHA-256 of recipe, size and rule as canonical JSON; there are no files to hash."""
        facts = {"recipe": self.recipe.facts, "size": self.size, "rule": self.rule}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return sha256_bytes(text.encode())

    def load(self, case: Case) -> Loaded:
        """Draw one case.

        Args:
            case: One of ``cases()``; its id decides the content.

        Returns:
            Volume (1, S, S, S) float32 in [-1, 1] with background -1 and maximum 1, mask
            (1, S, S, S) uint8. ``facts`` hold the drawn volume in ml.

        Raises:
            DatasetError: If the case is not among ``cases()``.

        Source: module docstring. Departures: none.
        """
        name = self.info.classes[case.label]
        if case.id not in _ids(name, *self.numbers):
            raise DatasetError(
                f"phantom has no {name} case '{case.id}'; expected one listed by cases(). "
                "Enlarge the split rule, or give the case the label of its class."
            )
        tumour = Tumour(CALIBRATION[name], _random(case.id))
        image, coverage = tumour.draw_volume(self.size)
        volume = 2 * image / image.max() - 1
        return Loaded(
            volume=volume[None].astype(np.float32),
            mask=(coverage >= 0.5)[None].astype(np.uint8),
            facts={"drawn_ml": tumour.ml},
        )

    def split(self, seed: int) -> Split:
        """Split by number: the first ``train`` of each class train, the others test.

        ``seed`` changes nothing: phantoms are exchangeable, and a fixed split lets a longer rule
        keep the test cases of a shorter one with as many training cases.
        """
        train, test = self.rule["train"], self.rule["test"]
        names = self.info.classes
        return Split(
            train=tuple(case_id for name in names for case_id in _ids(name, 1, train)),
            test=tuple(
                case_id for name in names for case_id in _ids(name, train + 1, train + test)
            ),
        )

    def check(self, progress: Progress | None = None, workers: int | None = None) -> CheckReport:
        """Find nothing: there are no files."""
        return CheckReport(())


class FurtherPhantoms(Phantom):
    """Phantoms beyond those of a split; they are drawn, not split.

    Args:
        phantom: Whose numbers they follow.
        count: How many of each class.
    """

    def __init__(self, phantom: Phantom, count: int) -> None:
        super().__init__(phantom.size, rule=phantom.rule)
        self._last, self._count = phantom.numbers[1], count

    @property
    def numbers(self) -> tuple[int, int]:
        """First and last number of a case of each class."""
        return self._last + 1, self._last + self._count

    def fingerprint(self, hashes: Mapping[str, str]) -> str:
        """SHA-256 of recipe, size and numbers as canonical JSON."""
        return key_of({"recipe": self.recipe.facts, "size": self.size, "numbers": self.numbers})

    def split(self, seed: int) -> Split:
        """Refuse to split.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("Phantoms beyond a split have none. Use the data set they follow.")


class Tumour:
    """One phantom in millimetres: everything random is drawn here, once, for every size.

    Args:
        calibration: Distributions of its class.
        random: Stream of this case.
    """

    def __init__(self, calibration: Calibration, random: np.random.RandomState) -> None:
        drawn = {
            f.name: s.centre + s.sd * random.standard_normal()
            for f in fields(calibration)
            for s in [getattr(calibration, f.name)]
        }
        self.ml = float(np.clip(drawn["volume"], *FIXED.sqrt_ml) ** 2)
        self.radius = (3000 * self.ml / (4 * np.pi)) ** (1 / 3)  # mm, of a ball of that volume
        stretch = np.exp(FIXED.elongation_sd * random.standard_normal(3))
        self.semi_axes = self.radius * np.array(FIXED.elongation) * stretch
        self.bumps = [
            (np.exp(drawn["lobes"]), FIXED.lobes * self.radius, _nodes(10, random)),
            (np.exp(drawn["fray"]), FIXED.fray, _nodes(18, random)),
            (np.exp(drawn["islands"]), FIXED.islands, _nodes(32, random)),
        ]
        self.pool = _nodes(12, random)
        self.texture = [
            (1.0, FIXED.texture[0], _nodes(13, random)),
            (np.exp(drawn["grain"]), FIXED.texture[1], _nodes(44, random)),
        ]
        self.rim, self.pools = drawn["rim"], max(drawn["pools"], 0.0)

        centres = _centres(FIXED.reference)
        whole = (centres, centres, centres)
        level = self._level(whole)
        count = round(1000 * self.ml / (FIELD_OF_VIEW / FIXED.reference) ** 3)
        self.cut = np.partition(level, -count, axis=None)[-count]
        inside = level >= self.cut
        self.box = [_box(inside, axis, whole[axis]) for axis in range(3)]
        shares = (np.arange(FIXED.knots) + 0.5) / FIXED.knots
        self.scores = np.quantile(self._score(whole, level - self.cut, inside), shares)
        self.intensities = _intensities(drawn["gap"], drawn["sd"], drawn["floor"], shares)

    def draw_volume(self, size: int) -> tuple[Array, Array]:
        """Return intensity times coverage, and coverage, both (S, S, S) in [0, 1]."""
        factor = -(-FIXED.coarsest // size)
        grid = size * factor
        centres = _centres(grid)
        z, y, x = (centres[(low <= centres) & (centres <= high)] for low, high in self.box)
        axes = (z, y, x)
        excess = self._level(axes) - self.cut
        voxel = FIELD_OF_VIEW / grid
        slope = np.sqrt(sum(np.square(d) for d in np.gradient(excess, voxel)))
        coverage = np.clip(0.5 + excess / (voxel * slope), 0, 1)
        inside = coverage > 0
        intensity = np.zeros_like(coverage)
        score = self._score(axes, excess, inside)
        intensity[inside] = np.interp(score, self.scores, self.intensities)
        place = _placement(coverage >= 0.5, grid)
        bright, covered = (
            _averaged(_placed(crop, place, grid), factor)
            for crop in (intensity * coverage, coverage)
        )
        return bright, covered

    def _level(self, axes: Axes) -> Array:
        """Minus the log of the ellipsoidal radius, plus fields; falls steeply at the wall."""
        z, y, x = (np.square(c / a) for c, a in zip(axes, self.semi_axes, strict=True))
        level = -0.5 * np.log(z[:, None, None] + y[:, None] + x + 1e-6)
        for amplitude, spacing, nodes in self.bumps:
            level += amplitude * np.minimum(_field(nodes, spacing, axes), FIXED.protrusion)
        z, y, x = ((c / FIXED.wall) ** 24 for c in axes)
        return level - (z[:, None, None] + y[:, None] + x)

    def _score(self, axes: Axes, excess: Array, inside: Mask) -> Array:
        """Brightness before ranking of the voxels inside: distance from the rim, pools, texture."""
        depth = self.radius * -np.expm1(-np.maximum(excess[inside], 0))  # mm, exact in an ellipsoid
        pool = np.clip(4 * _field(self.pool, FIXED.pool, axes)[inside] - 2, 0, 1)
        deep = np.clip(depth / FIXED.pool_depth - 0.5, 0, 1)
        score = self.rim * -np.expm1(-depth / FIXED.rim_depth) - self.pools * pool * deep
        for amplitude, spacing, nodes in self.texture:
            score += amplitude * _field(nodes, spacing, axes)[inside]
        return score


def _intensities(gap: float, log_sd: float, floor: float, shares: Array) -> Array:
    """Quantiles of a beta distribution on [floor, 1] of the drawn mean and sd."""
    floor = np.clip(floor, *FIXED.floors)
    room = 1 - floor
    mean = (FIXED.ceiling - min(np.exp(gap), FIXED.widest_gap) - floor) / room
    total = mean * (1 - mean) / (np.exp(log_sd) / room) ** 2 - 1
    total = max(total, FIXED.least_total)
    return floor + room * betaincinv(mean * total, (1 - mean) * total, shares)


def _nodes(count: int, random: np.random.RandomState) -> Array:
    return random.standard_normal((count, count, count))


def _field(nodes: Array, spacing: float, axes: Axes) -> Array:
    """Cubic B-spline field of about unit variance with independent nodes ``spacing`` mm apart."""
    wz, wy, wx = (_weights(c, spacing, n) for c, n in zip(axes, nodes.shape, strict=True))
    return wy @ np.tensordot(wz, nodes, 1) @ wx.T


def _weights(centres: Array, spacing: float, count: int) -> Array:
    """Cubic B-spline weights (positions, nodes) of nodes laid out around the middle."""
    t = np.abs(centres[:, None] / spacing - (np.arange(count) - (count - 1) / 2))
    spline = np.maximum(2 - t, 0) ** 3 / 6 - np.maximum(1 - t, 0) ** 3 * (2 / 3)
    return spline / np.sqrt(151 / 315)  # the integral of the squared spline: unit variance


def _centres(grid: int) -> Array:
    """Voxel centres of a grid over the field of view, mm from its middle."""
    return (np.arange(grid, dtype=np.float64) + 0.5) * (FIELD_OF_VIEW / grid) - FIELD_OF_VIEW / 2


def _extent(mask: Mask, axis: int) -> tuple[int, int]:
    """First and last index of a mask along one axis."""
    hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    return int(hit[0]), int(hit[-1])


def _box(mask: Mask, axis: int, centres: Array) -> tuple[float, float]:
    """Lowest and highest coordinate of a mask along one axis with a margin, mm."""
    first, last = _extent(mask, axis)
    return centres[first] - FIXED.margin, centres[last] + FIXED.margin


def _placement(mask: Mask, grid: int) -> list[tuple[slice, slice]]:
    """Per axis, from where to where to copy so that the box begins at (grid - length) // 2."""
    place = []
    for axis, length in enumerate(mask.shape):
        first, last = _extent(mask, axis)
        shift = (grid - (last + 1 - first)) // 2 - first
        low, high = max(0, -shift), min(length, grid - shift)
        place.append((slice(low, high), slice(low + shift, high + shift)))
    return place


def _placed(crop: Array, place: list[tuple[slice, slice]], grid: int) -> Array:
    """Copy a crop into an empty cube."""
    cube = np.zeros((grid, grid, grid))
    source, target = zip(*place, strict=True)
    cube[target] = crop[source]
    return cube


def _averaged(cube: Array, factor: int) -> Array:
    """Area average over blocks of factor^3 voxels."""
    n = len(cube) // factor
    return cube.reshape(n, factor, n, factor, n, factor).mean(axis=(1, 3, 5))


def _random(case_id: str) -> np.random.RandomState:
    """Stream of one case; RandomState because NumPy keeps its streams unchanged for good."""
    digest = hashlib.sha256(f"phantom-roi/1/{case_id}".encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))


def _ids(name: str, first: int, last: int) -> list[str]:
    return [f"phantom-{name}-{number:04d}" for number in range(first, last + 1)]


def _is_count(value: object, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
