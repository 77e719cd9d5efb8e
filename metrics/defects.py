"""Defects of known strength that are planted in real volumes to measure what a metric sees.

A defect is a list of levels from weak to strong, one where it has no strength. A level turns what
a perfect generator would have made, unseen real volumes, into a set with that fault and with as
many volumes. Levels of one defect get equal random numbers, so that strength alone differs.
Strengths of intensity are on [0, 1], lengths in voxels unless they say mm.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Indexed, LazyVolumes, Volume
from cerebench.metrics.controls import blur

Change = Callable[[Volume, np.random.Generator, "Material"], NDArray[np.floating]]
Chosen = Callable[["Material", np.random.Generator], list[Volume]]


@dataclass(frozen=True)
class Material:
    """The real volumes of one class that defects are made of.

    Attributes:
        clean: What a perfect generator would have made: m unseen volumes.
        unseen: All volumes that the reference lacks, with those of ``clean``.
        train: The reference, which generators are trained on.
        others: Unseen volumes of the other classes; empty where there is one class.
        spacing: Voxel edge lengths (D, H, W), mm.
        seed: Seed of everything random.
    """

    clean: Sequence[Volume]
    unseen: Sequence[Volume]
    train: Indexed[Volume]
    others: Sequence[Volume]
    spacing: tuple[float, float, float]
    seed: int

    @property
    def m(self) -> int:
        """Number of volumes of every set."""
        return len(self.clean)

    def rng(self, what: str, index: int = 0) -> np.random.Generator:
        """Return the random numbers of a defect, or of one volume with it."""
        return np.random.default_rng([self.seed, zlib.crc32(what.encode()), index])


@dataclass(frozen=True)
class Level:
    """A defect at one strength.

    Attributes:
        label: The strength with its unit.
        build: Makes the m volumes, (C, D, H, W) in [-1, 1].
        least: Volumes per set from which on the level is a defect at all.
        least_mm: Largest voxels, along W, in which it is one.
    """

    label: str
    build: Callable[[Material], LazyVolumes]
    least: int = 2
    least_mm: float = math.inf

    def suits(self, material: Material) -> bool:
        """Tell whether these volumes can have it."""
        return material.m >= self.least and material.spacing[2] <= self.least_mm


@dataclass(frozen=True)
class Defect:
    """A fault at one or several strengths.

    Attributes:
        name: Slug.
        label: What tables call it, with the unit of its levels.
        levels: From weak to strong.
        copies: Whether its volumes are those of the training set. Distances to that set are then
            better by construction, and only metrics that look for copies can be asked about it.
        other_class: Whether it needs a second class.
        cubes: Whether it needs volumes of equal edges.
    """

    name: str
    label: str
    levels: tuple[Level, ...]
    copies: bool = False
    other_class: bool = False
    cubes: bool = False

    def levels_for(self, material: Material) -> list[Level]:
        """Return the levels that these volumes can have."""
        edges = set(material.clean[0].shape[-3:])
        if (self.other_class and not len(material.others)) or (self.cubes and len(edges) > 1):
            return []
        return [level for level in self.levels if level.suits(material)]


def _each(name: str, change: Change) -> Callable[[Material], LazyVolumes]:
    """Change every clean volume with random numbers of its own."""

    def build(material: Material) -> LazyVolumes:
        def made(index: int) -> Volume:
            volume = change(material.clean[index], material.rng(name, index), material)
            return np.clip(volume, -1, 1).astype(np.float32)

        return _named(made, material.m)

    return build


def _chosen(name: str, choose: Chosen) -> Callable[[Material], LazyVolumes]:
    """Take m volumes from somewhere; they are read when indexed."""

    def build(material: Material) -> LazyVolumes:
        volumes = choose(material, material.rng(name))
        return _named(lambda index: volumes[index], material.m)

    return build


def _named(read: Callable[[int], Volume], m: int) -> LazyVolumes:
    return LazyVolumes([f"{i:05d}" for i in range(m)], read)


def _on_unit(change: Callable[[NDArray], NDArray]) -> Change:
    """Change intensities on [0, 1]; the background of 0 stays where ``change(0)`` is 0."""
    return lambda volume, rng, material: 2 * change((volume.astype(np.float64) + 1) / 2) - 1


def _noise(volume: Volume, rng: np.random.Generator, _: Material, sd: float, where: str) -> NDArray:
    """Add white noise; in the background it is cut off at the darkest value."""
    inside = volume > -1
    chosen = {"background": ~inside, "foreground": inside, "both": True}[where]
    return volume + 2 * sd * rng.standard_normal(volume.shape) * chosen


def _bias(volume: Volume, rng: np.random.Generator, _: Material, strength: float) -> NDArray:
    """Multiply by 1 ± strength: a random field of second order over the whole volume."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in volume.shape[-3:]), indexing="ij")
    terms = [*axes, *(a * b for i, a in enumerate(axes) for b in axes[i:])]
    weights = rng.standard_normal(len(terms))
    field = sum((w * t for w, t in zip(weights, terms, strict=True)), np.zeros(()))
    field = 2 * (field - field.min()) / (field.max() - field.min()) - 1
    return (volume + 1) * (1 + strength * field) - 1


def _checkerboard(volume: Volume, _rng: object, _: Material, amplitude: float) -> NDArray:
    """Add ± amplitude in turns from voxel to voxel of the foreground."""
    sign = np.indices(volume.shape[-3:]).sum(axis=0) % 2 * 2 - 1
    return volume + 2 * amplitude * sign * (volume > -1)


def _ringing(volume: Volume, _rng: object, _: Material, share: float) -> NDArray:
    """Mix in what is left without the upper half of the frequencies along each axis."""
    axes = (-3, -2, -1)
    spectrum = np.fft.fftn(volume.astype(np.float64) + 1, axes=axes)
    for axis, n in zip(axes, volume.shape[-3:], strict=True):
        low = np.abs(np.fft.fftfreq(n)) <= 0.25
        spectrum *= low.reshape([-1 if a == axis else 1 for a in axes])
    return (1 - share) * volume + share * (np.fft.ifftn(spectrum, axes=axes).real - 1)


def _jitter(volume: Volume, rng: np.random.Generator, _: Material, most: int) -> NDArray:
    """Move every axial slice within its plane, each by up to so many voxels on its own."""
    moved = np.full_like(volume, -1)
    # Drawn at unit strength, so that levels differ in strength alone.
    steps = np.rint(most * rng.uniform(-1, 1, (volume.shape[1], 2))).astype(int)
    for d, (h, w) in enumerate(steps):
        moved[:, d] = _moved(volume[:, d], h, w)
    return moved


def _moved(image: NDArray, h: int, w: int) -> NDArray:
    """Move (C, H, W) by whole voxels and fill with background."""
    moved = np.roll(image, (h, w), axis=(1, 2))
    moved[:, slice(0, h) if h >= 0 else slice(h, None)] = -1
    moved[:, :, slice(0, w) if w >= 0 else slice(w, None)] = -1
    return moved


def _shift(volume: Volume, _rng: object, material: Material, mm: float) -> NDArray:
    """Move to the right, along W, by whole voxels, since anything else would blur."""
    step = round(mm / material.spacing[2])
    moved = np.full_like(volume, -1)
    moved[..., step:] = volume[..., : volume.shape[-1] - step]
    return moved


def _size_of(volume: Volume) -> int:
    """Number of foreground voxels, by which modes are told apart."""
    return int(np.count_nonzero(volume[0] > -1))


def _without_the_largest(material: Material, rng: np.random.Generator, share: float) -> list:
    """Put others in the place of the volumes whose foreground is largest, repeated if too few."""
    sizes = [_size_of(volume) for volume in material.unseen]  # begins with those of ``clean``
    order = np.argsort(sizes, kind="stable")
    kept = set(order[: max(1, round((1 - share) * len(order)))].tolist())
    # One order for all levels: what takes a place at one strength keeps it if it may.
    queue = [i for i in rng.permutation(len(sizes)).tolist() if i in kept and i >= material.m]
    spare = iter(np.resize(queue or sorted(kept), material.m).tolist())
    return [material.unseen[i if i in kept else next(spare)] for i in range(material.m)]


def _few(material: Material, _rng: object, modes: int) -> list[Volume]:
    return [material.clean[i % modes] for i in range(material.m)]


def _mixed(material: Material, rng: np.random.Generator, share: float) -> list[Volume]:
    """Put volumes of other classes in the place of some."""
    count = round(share * material.m)
    wrong = np.resize(rng.permutation(len(material.others)), count)
    return [material.others[i] for i in wrong.tolist()] + [
        material.clean[i] for i in range(count, material.m)
    ]


def _copied(
    material: Material, rng: np.random.Generator, share: float, change: Change | None
) -> list[Volume]:
    """Put training volumes, perhaps changed a little, in the place of some."""
    count = max(1, round(share * material.m))
    sources = np.resize(rng.permutation(len(material.train)), count)
    copies = [material.train[i] for i in sources.tolist()]
    if change is not None:
        copies = [
            np.clip(change(volume, material.rng("copy", i), material), -1, 1).astype(np.float32)
            for i, volume in enumerate(copies)
        ]
    return copies + [material.clean[i] for i in range(count, material.m)]


def _mean(material: Material, _rng: object) -> list[Volume]:
    volumes = (np.asarray(volume, np.float64) for volume in material.train)
    total = sum(volumes, np.zeros(()))
    return [(total / len(material.train)).astype(np.float32)] * material.m


def _voxels(name: str, label: str, unit: str, change: Callable[..., NDArray], *strengths: float,
            **fixed: object) -> Defect:  # fmt: skip
    """Return a defect of every volume, with ``change(volume, rng, material, strength)``."""

    def level(strength: float) -> Level:
        def apply(v: Volume, rng: np.random.Generator, material: Material) -> NDArray:
            return change(v, rng, material, strength, **fixed)

        return Level(f"{strength:g}{unit}", _each(name, apply))

    return Defect(name, label, tuple(map(level, strengths)))


def _intensity(name: str, label: str, change: Callable[[NDArray, float], NDArray],
               *strengths: float) -> Defect:  # fmt: skip
    return _voxels(
        name, label, "",
        lambda v, rng, material, s: _on_unit(lambda u: change(u, s))(v, rng, material),
        *strengths,
    )  # fmt: skip


def _single(name: str, label: str, change: Callable[[Volume], NDArray], **facts: bool) -> Defect:
    """Return a defect of every volume that has no strength."""
    return Defect(name, label, (Level("", _each(name, lambda v, rng, m: change(v))),), **facts)


def _sets(name: str, label: str, unit: str, choose: Callable[..., list], *shares: float,
          **facts: bool) -> Defect:  # fmt: skip
    """Return a defect of the choice of volumes, with ``choose(material, rng, share)``."""
    levels = (
        Level(f"{100 * share:g}{unit}", _chosen(name, partial(choose, share=share)))
        for share in shares
    )
    return Defect(name, label, tuple(levels), **facts)


def _copies(name: str, label: str, change: Change | None) -> Defect:
    return _sets(name, label, " %", partial(_copied, change=change), 0.25, 0.5, 1, copies=True)


DEFECTS: tuple[Defect, ...] = (
    _voxels("blur", "blur, σ", "", lambda v, rng, material, s: blur(v, s), 0.5, 1, 2),
    *(
        _voxels(f"noise-{where}", f"noise, {where}, sd", "", _noise, 0.05, 0.1, 0.2, where=where)
        for where in ("background", "foreground", "both")
    ),
    _intensity("gamma-below-1", "gamma below 1", lambda u, g: u**g, 0.85, 0.7),
    _intensity("gamma-above-1", "gamma above 1", lambda u, g: u**g, 1.2, 1.4),
    _intensity("brightness", "brightness, factor", lambda u, f: f * u, 0.95, 0.9, 0.8),
    Defect(
        "bias-field",
        "bias field, ±",
        tuple(
            Level(f"{100 * s:g} %", _each("bias-field", partial(_bias, strength=s)))
            for s in (0.1, 0.2, 0.4)
        ),
    ),
    _voxels("checkerboard", "checkerboard, ±", "", _checkerboard, 0.02, 0.05, 0.1),
    _voxels("ringing", "Gibbs ringing, share", "", _ringing, 0.25, 0.5, 1),
    _voxels("slice-jitter", "slice jitter, voxels", "", _jitter, 1, 2, 4),
    Defect(
        "shift",
        "shift to the right",
        tuple(
            Level(f"{mm} mm", _each("shift", partial(_shift, mm=mm)), least_mm=mm)
            for mm in (2, 4, 8)
        ),
    ),
    _single("axes-swapped", "axes D and W swapped", lambda v: v.swapaxes(1, 3), cubes=True),
    _single("flip-left-right", "flip, left-right", lambda v: v[..., ::-1]),
    _single("flip-up-down", "flip, up-down", lambda v: v[:, ::-1]),
    _sets("mode-drop", "largest missing", " %", _without_the_largest, 0.25, 0.5, 0.75),
    Defect(
        "few-modes",
        "distinct volumes",
        tuple(
            Level(str(k), _chosen("few-modes", partial(_few, modes=k)), least=k + 1)
            for k in (32, 16, 8)
        ),
    ),
    _sets("class-mix-up", "of another class", " %", _mixed, 0.1, 0.25, 0.5, other_class=True),
    Defect("other-class", "all of another class",
           (Level("", _chosen("other-class", partial(_mixed, share=1))),), other_class=True),
    Defect("mean-volume", "mean volume", (Level("", _chosen("mean-volume", _mean)),)),
    _single("empty", "empty", lambda v: np.full_like(v, -1)),
    _single("saturated", "saturated foreground", lambda v: np.where(v > -1, 1.0, -1.0)),
    _copies("copies", "copies", None),
    _copies("copies-noisy", "copies with noise .02",
            partial(_noise, sd=0.02, where="foreground")),
    _copies("copies-blurred", "copies blurred by ½", lambda v, rng, material: blur(v, 0.5)),
    _copies("copies-flipped", "copies flipped", lambda v, rng, material: v[..., ::-1]),
)  # fmt: skip
