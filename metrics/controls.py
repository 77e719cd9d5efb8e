"""Sets that every table shows beside the methods: a real one, and ones that are wrong on purpose.

The floor is what a perfect generator scores, because a real set differs from another one too. The
controls say what a metric must punish (collapse, blur, noise) and what it cannot see. All are made
of m volumes, like the methods' rows, since most metrics depend on the size of the set.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cerebench.metrics.base import Indexed, LazyVolumes, MetricError, Volume


@dataclass(frozen=True)
class Control:
    """A row of the table that no method made.

    Attributes:
        name: Slug.
        label: Row header.
        role: ``floor`` (a real set) or ``control`` (a set with a known fault).
        note: What the set is, one sentence.
        build: ``(train, test, m, seed)`` to m volumes with their ids, made lazily. Sets made from
            held-out volumes are shorter where there are fewer than m of these. With equal seed a
            longer set begins with the shorter one.
        version: Changes when the set does.
        halved: The reference is one half of the training cases, and ``build`` gets the other half
            as ``train``.
        held_out: The set is nothing without held-out cases; the other controls then take the
            reference in their place.
        seen: ``build`` gets as ``train`` what generators were trained on, where that is not the
            reference.
    """

    name: str
    label: str
    role: Literal["floor", "control"]
    note: str
    build: Callable[[Indexed[Volume], Indexed[Volume], int, int], LazyVolumes]
    version: int = 1
    halved: bool = False
    held_out: bool = False
    seen: bool = False


def scramble_phases(volume: Volume, rng: np.random.Generator) -> NDArray[np.float64]:
    """Give a volume random phases and keep its amplitude spectrum and its mean.

    Args:
        volume: (C, D, H, W); all channels get the same phases.
        rng: Source of the phases: those of white noise, so that the result is real.

    Returns:
        (C, D, H, W); not clipped, values may leave [-1, 1].
    """
    axes = (-3, -2, -1)
    spectrum = np.fft.rfftn(volume.astype(np.float64), axes=axes)
    noise = np.fft.rfftn(rng.standard_normal(volume.shape[-3:]), axes=axes)
    scrambled = np.abs(spectrum) * (noise / np.abs(noise))
    scrambled[..., 0, 0, 0] = spectrum[..., 0, 0, 0]
    return np.fft.irfftn(scrambled, s=volume.shape[-3:], axes=axes)


def blur(volume: Volume, sigma: float) -> NDArray[np.floating]:
    """Smooth each channel with a Gaussian of ``sigma`` voxels; the borders are mirrored.

    The weights sum to one, so that blurring on [-1, 1] is the same as on [0, 1].
    """
    return gaussian_filter(volume, (0, sigma, sigma, sigma))


def add_noise(volume: Volume, sigma: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Add white noise of standard deviation ``sigma`` on [0, 1] (twice that here) and clip."""
    return np.clip(volume + 2 * sigma * rng.standard_normal(volume.shape), -1, 1)


def _generator(seed: int, control: str, index: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(control.encode()), index])


def _require(volumes: Indexed[Volume], what: str) -> None:
    if len(volumes) == 0:
        raise MetricError(f"There is no {what} volume to build a control from. Add {what} cases.")


def _order(volumes: Indexed[Volume], seed: int, what: str) -> NDArray[np.int64]:
    """Order in which the volumes of a set are taken; the same for all controls made of it."""
    _require(volumes, what)
    return _generator(seed, f"order of {what}").permutation(len(volumes))


def _from_held_out(
    name: str, change: Callable[[Volume, np.random.Generator], NDArray[np.floating]]
) -> Callable[[Indexed[Volume], Indexed[Volume], int, int], LazyVolumes]:
    """Controls made by changing held-out volumes, each with its own random numbers."""

    def build(train: Indexed[Volume], test: Indexed[Volume], m: int, seed: int) -> LazyVolumes:
        order = _order(test, seed, "test")[:m]
        return LazyVolumes(
            [f"{name}-test{source}" for source in order],
            lambda index: change(test[order[index]], _generator(seed, name, index)),
        )

    return build


def _as_they_are(train: Indexed[Volume], test: Indexed[Volume], m: int, seed: int) -> LazyVolumes:
    order = _order(train, seed, "training")[:m]
    return LazyVolumes([f"real-{source}" for source in order], lambda index: train[order[index]])


def _train_copies(train: Indexed[Volume], test: Indexed[Volume], m: int, seed: int) -> LazyVolumes:
    order = np.resize(_order(train, seed, "training"), m)
    ids = [f"train-copies-{i}-train{source}" for i, source in enumerate(order)]
    return LazyVolumes(ids, lambda index: train[order[index]])


def _one_repeated(train: Indexed[Volume], test: Indexed[Volume], m: int, seed: int) -> LazyVolumes:
    source = _order(train, seed, "training")[0]
    return LazyVolumes(
        [f"one-repeated-{i}-train{source}" for i in range(m)], lambda _: train[source]
    )


def _mean(volumes: Indexed[Volume]) -> Volume:
    total = np.zeros(volumes[0].shape)
    for index in range(len(volumes)):
        total += volumes[index]
    return (total / len(volumes)).astype(np.float32)


def _mean_volume(train: Indexed[Volume], test: Indexed[Volume], m: int, seed: int) -> LazyVolumes:
    _require(train, "training")
    mean = cache(partial(_mean, train))
    return LazyVolumes([f"mean-volume-{i}" for i in range(m)], lambda _: mean())


def _noise(train: Indexed[Volume], test: Indexed[Volume], m: int, seed: int) -> LazyVolumes:
    _require(train, "training")
    shape = train[0].shape
    return LazyVolumes(
        [f"noise-{i}" for i in range(m)],
        lambda index: _generator(seed, "noise", index).uniform(-1, 1, shape),
    )


CONTROLS: tuple[Control, ...] = (
    Control(
        name="real-halves",
        label="real, half vs half",
        role="floor",
        note="One half of the reference scored against the other, split by patient: half of the "
        "numbers of volumes, so that Fréchet distances are higher than at full size.",
        build=_as_they_are,
        halved=True,
    ),
    Control(
        name="real-heldout",
        label="real, held out",
        role="floor",
        note="Held-out cases, drawn without replacement; all of them where fewer than asked.",
        build=_from_held_out("real-heldout", lambda volume, rng: volume),
        held_out=True,
    ),
    Control(
        name="train-copies",
        label="training copies",
        role="control",
        note="Training cases, repeated where more are asked: a generator that memorises. Where no "
        "training cases are given, those of the reference.",
        build=_train_copies,
        seen=True,
    ),
    Control(
        name="mean-volume",
        label="mean volume",
        role="control",
        note="The mean training volume, repeated: collapse onto the mean.",
        build=_mean_volume,
    ),
    Control(
        name="one-repeated",
        label="one real repeated",
        role="control",
        note="One training case, repeated: collapse onto a realistic volume.",
        build=_one_repeated,
    ),
    Control(
        name="blur-1",
        label="real, blurred 1",
        role="control",
        note="Real cases blurred with a Gaussian of 1 voxel; held out, if there are any.",
        build=_from_held_out("blur-1", lambda volume, rng: blur(volume, 1)),
    ),
    Control(
        name="blur-2",
        label="real, blurred 2",
        role="control",
        note="Real cases blurred with a Gaussian of 2 voxels; held out, if there are any.",
        build=_from_held_out("blur-2", lambda volume, rng: blur(volume, 2)),
    ),
    Control(
        name="noise-0.1",
        label="real + noise 0.1",
        role="control",
        note="Real cases with Gaussian noise of standard deviation 0.1 on [0, 1], clipped.",
        build=_from_held_out("noise-0.1", lambda volume, rng: add_noise(volume, 0.1, rng)),
    ),
    Control(
        name="phase-scrambled",
        label="phase-scrambled",
        role="control",
        note="Real cases with random phases and their own amplitude spectrum, clipped to [-1, 1].",
        build=_from_held_out(
            "phase-scrambled", lambda volume, rng: np.clip(scramble_phases(volume, rng), -1, 1)
        ),
    ),
    Control(
        name="noise",
        label="noise",
        role="control",
        note="Independent uniform voxels in [-1, 1]: no anatomy at all.",
        build=_noise,
    ),
)
