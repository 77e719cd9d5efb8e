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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from cerebench.datasets.base import (
    Case,
    Dataset,
    DatasetError,
    DatasetInfo,
    Finding,
    Loaded,
    Recipe,
    Split,
)

Array = NDArray[np.float64]
Axes = tuple[Array, Array, Array]  # voxel centres along z, y, x, mm from the middle

FIELD_OF_VIEW = 128.0  # mm, as in the recipe of real regions of interest
SIZES = (16, 128)


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
        fray: Log amplitude of the field that roughens it (spacing 0.35 radius).
        islands: Log amplitude of the field that cuts off islands (spacing 4 mm).
        mean: Logit of the mean intensity before partial volume at the edge.
        contrast: Logit of sd^2 / (mean (1 - mean)), before partial volume.
        rim: How much darker the rim is in the score.
        pools: How much darker the pools are in the score.
        grain: Log amplitude of the fine texture relative to the coarse one.
    """

    volume: Spread
    lobes: Spread
    fray: Spread
    islands: Spread
    mean: Spread
    contrast: Spread
    rim: Spread
    pools: Spread
    grain: Spread


CALIBRATION = {
    "LGG": Calibration(
        volume=Spread(9.4, 3.7),
        lobes=Spread(-1.3, 0.35),
        fray=Spread(-2.2, 0.65),
        islands=Spread(-3.1, 0.4),
        mean=Spread(1.4, 0.4),
        contrast=Spread(-1.75, 0.33),
        rim=Spread(2.2, 1.9),
        pools=Spread(1.5, 2.0),
        grain=Spread(-0.8, 0.4),
    ),
    "HGG": Calibration(
        volume=Spread(9.4, 3.5),
        lobes=Spread(-1.2, 0.35),
        fray=Spread(-1.6, 0.5),
        islands=Spread(-3.1, 0.6),
        mean=Spread(1.2, 0.37),
        contrast=Spread(-1.65, 0.36),
        rim=Spread(3.0, 1.4),
        pools=Spread(1.5, 1.5),
        grain=Spread(-0.7, 0.4),
    ),
}

SMALLEST = 2.0  # lower end of the square root of the volume in ml
LARGEST = 17.0  # upper end: what still fits into the field of view
ELONGATION = (0.97, 1.25, 0.83)  # semi-axes up-down, front-back, left-right
ELONGATION_SD = 0.12  # of their logarithms
WALL = 60.0  # mm: no voxel of a tumour lies further from the middle before it is centred
REFERENCE = 32  # grid on which the cut and the ranks are made, whatever the size
COARSEST = 64  # drawing grids are at least this fine
MARGIN = 6.0  # mm around the tumour on the reference grid
KNOTS = 65  # quantiles of the map from score to intensity


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
        split={"train": 100, "test": 200},
    )

    def __init__(
        self, size: int, root: Path | None = None, rule: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(size, root, rule)
        if not SIZES[0] <= size <= SIZES[1]:
            raise DatasetError(
                f"phantom cannot be drawn at size {size}; sizes from {SIZES[0]} to {SIZES[1]} "
                "voxels can. Set size to 32, 64 or 128."
            )
        if set(self.rule) != {"train", "test"} or not all(map(_is_count, self.rule.values())):
            raise DatasetError(
                f"phantom cannot be split by {self.rule}; expected cases per class as whole "
                "numbers of at least 1. Set split to {'train': 100, 'test': 200} or similar."
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
                "sqrt_ml": [SMALLEST, LARGEST],
                "elongation": list(ELONGATION),
                "elongation_sd": ELONGATION_SD,
                "wall_mm": WALL,
                "reference_grid": REFERENCE,
                "coarsest_grid": COARSEST,
                "margin_mm": MARGIN,
                "knots": KNOTS,
                "mask": "area average >= 0.5",
                "scaling": "min-max to [-1, 1], background -1",
            },
        )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Field of view divided by size, mm."""
        voxel = FIELD_OF_VIEW / self.size
        return voxel, voxel, voxel

    def cases(self) -> list[Case]:
        """List training, then test cases of each class; every phantom is its own patient."""
        return [
            Case(id=id, patient=id, label=label)
            for label, name in enumerate(self.info.classes)
            for id in _ids(name, 1, self.rule["train"] + self.rule["test"])
        ]

    def fingerprint(self, hashes: Mapping[str, str]) -> str:
        """SHA-256 of recipe, size and rule as canonical JSON; there are no files to hash."""
        facts = {"recipe": asdict(self.recipe), "size": self.size, "rule": self.rule}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def load(self, case: Case) -> Loaded:
        """Draw one case.

        Args:
            case: One of ``cases()``; its id decides the content.

        Returns:
            Volume (1, S, S, S) float32 in [-1, 1] with background -1 and maximum 1, mask
            (1, S, S, S) uint8. ``facts`` hold the drawn volume in ml.

        Source: module docstring. Departures: none.
        """
        name = self.info.classes[case.label]
        tumour = Tumour(CALIBRATION[name], _random(case.id))
        image, coverage = tumour.draw(self.size)
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
            train=tuple(id for name in names for id in _ids(name, 1, train)),
            test=tuple(id for name in names for id in _ids(name, train + 1, train + test)),
        )

    def check(self) -> Sequence[Finding]:
        """Find nothing: there are no files."""
        return []


class Tumour:
    """One phantom in millimetres: everything random is drawn here, once, for every size.

    Args:
        calibration: Distributions of its class.
        random: Stream of this case.
    """

    def __init__(self, calibration: Calibration, random: np.random.RandomState) -> None:
        def latent(name: str) -> float:
            spread = getattr(calibration, name)
            return spread.centre + spread.sd * random.standard_normal()

        self.ml = float(np.clip(latent("volume"), SMALLEST, LARGEST) ** 2)
        self.radius = (3000 * self.ml / (4 * np.pi)) ** (1 / 3)  # mm, of a ball of that volume
        stretch = ELONGATION * np.exp(ELONGATION_SD * random.standard_normal(3))
        self.axes = self.radius * stretch
        self.bumps = [
            (np.exp(latent("lobes")), 0.9 * self.radius, random.standard_normal((10, 10, 10))),
            (np.exp(latent("fray")), 0.35 * self.radius, random.standard_normal((16, 16, 16))),
            (np.exp(latent("islands")), 4.0, random.standard_normal((32, 32, 32))),
        ]
        mean, contrast = _logistic(latent("mean")), _logistic(latent("contrast"))
        self.beta = mean * (1 / contrast - 1), (1 - mean) * (1 / contrast - 1)
        self.rim, self.pools = latent("rim"), max(latent("pools"), 0.0)
        grain = np.exp(latent("grain"))

        whole = (_centres(REFERENCE),) * 3
        level = self._level(whole)
        count = round(self.ml * 1000 / (FIELD_OF_VIEW / REFERENCE) ** 3)
        self.cut = np.partition(level, -count, axis=None)[-count]
        inside = level >= self.cut
        self.box = [_box(inside, axis, whole[axis]) for axis in range(3)]

        self.pool = random.standard_normal((12, 12, 12))
        self.texture = [
            (1.0, 13.0, random.standard_normal((13, 13, 13))),
            (grain, 3.0, random.standard_normal((44, 44, 44))),
        ]
        score = self._score(whole, level - self.cut, inside)
        shares = (np.arange(KNOTS) + 0.5) / KNOTS
        self.scores = np.quantile(score, shares)
        self.intensities = betaincinv(*self.beta, shares)

    def draw(self, size: int) -> tuple[Array, Array]:
        """Return intensity times coverage, and coverage, both (S, S, S), in [0, 1]."""
        factor = -(-COARSEST // size)
        grid = size * factor
        centres = _centres(grid)
        axes = tuple(centres[(low <= centres) & (centres <= high)] for low, high in self.box)
        excess = self._level(axes) - self.cut
        voxel = FIELD_OF_VIEW / grid
        slope = np.sqrt(sum(np.square(d) for d in np.gradient(excess, voxel)))
        coverage = np.clip(0.5 + excess / (voxel * slope), 0, 1)
        inside = coverage > 0
        image = np.zeros_like(coverage)
        score = self._score(axes, excess, inside)
        image[inside] = np.interp(score, self.scores, self.intensities) * coverage[inside]
        return _averaged(_centred(image, coverage, grid), factor), _averaged(
            _centred(coverage, coverage, grid), factor
        )

    def _level(self, axes: Axes) -> Array:
        """Minus the log of the ellipsoidal radius, plus fields; falls steeply at the wall."""
        z, y, x = (np.square(c / a) for c, a in zip(axes, self.axes, strict=True))
        level = -0.5 * np.log(z[:, None, None] + y[:, None] + x + 1e-6)
        for amplitude, spacing, nodes in self.bumps:
            level += amplitude * _field(nodes, spacing, axes)
        z, y, x = ((c / WALL) ** 24 for c in axes)
        return level - (z[:, None, None] + y[:, None] + x)

    def _score(self, axes: Axes, excess: Array, inside: NDArray[np.bool_]) -> Array:
        """Brightness before ranking, of the voxels inside: depth, pools and texture."""
        depth = self.radius * -np.expm1(-np.maximum(excess[inside], 0))  # mm
        pool = np.clip(4 * _field(self.pool, 14.0, axes)[inside] - 2, 0, 1)
        deep = np.clip(depth / 6 - 0.5, 0, 1)
        score = self.rim * -np.expm1(-depth / 5) - self.pools * pool * deep
        for amplitude, spacing, nodes in self.texture:
            score += amplitude * _field(nodes, spacing, axes)[inside]
        return score


def _field(nodes: Array, spacing: float, axes: Axes) -> Array:
    """Cubic B-spline field of about unit variance with independent nodes ``spacing`` mm apart."""
    wz, wy, wx = (_weights(c, spacing, n) for c, n in zip(axes, nodes.shape, strict=True))
    return wy @ np.tensordot(wz, nodes, 1) @ wx.T


def _weights(centres: Array, spacing: float, count: int) -> Array:
    """Cubic B-spline weights (positions, nodes) of nodes laid out around the middle."""
    t = np.abs(centres[:, None] / spacing - (np.arange(count) - (count - 1) / 2))
    spline = np.maximum(2 - t, 0) ** 3 / 6 - np.maximum(1 - t, 0) ** 3 * (2 / 3)
    return spline / 0.6925  # root of the mean over positions of the squared weights' sum


def _centres(grid: int) -> Array:
    """Voxel centres of a grid over the field of view, mm from its middle."""
    return (np.arange(grid) + 0.5) * (FIELD_OF_VIEW / grid) - FIELD_OF_VIEW / 2


def _box(inside: NDArray[np.bool_], axis: int, centres: Array) -> tuple[float, float]:
    """Lowest and highest coordinate of a mask along one axis with a margin, mm."""
    hit = centres[inside.any(axis=tuple({0, 1, 2} - {axis}))]
    return hit[0] - MARGIN, hit[-1] + MARGIN


def _centred(crop: Array, coverage: Array, grid: int) -> Array:
    """Lay a crop into an empty cube so that the box of its mask begins at (grid - length) // 2."""
    cube = np.zeros((grid,) * 3)
    mask = coverage >= 0.5
    source, target = [], []
    for axis, length in enumerate(crop.shape):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        shift = (grid - (hit[-1] + 1 - hit[0])) // 2 - hit[0]
        first, last = max(0, -shift), min(length, grid - shift)
        source.append(slice(first, last))
        target.append(slice(first + shift, last + shift))
    cube[tuple(target)] = crop[tuple(source)]
    return cube


def _averaged(cube: Array, factor: int) -> Array:
    """Area average over blocks of factor^3 voxels."""
    n = len(cube) // factor
    return cube.reshape(n, factor, n, factor, n, factor).mean(axis=(1, 3, 5))


def _random(id: str) -> np.random.RandomState:
    """Stream of one case; RandomState because NumPy keeps its streams unchanged for good."""
    digest = hashlib.sha256(f"phantom-roi/1/{id}".encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))


def _ids(name: str, first: int, last: int) -> list[str]:
    return [f"phantom-{name}-{number:04d}" for number in range(first, last + 1)]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
