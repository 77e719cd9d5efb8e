"""Is there as much detail on every scale as in real volumes? Distance of radial power spectra.

For each volume the power |FFT|^2 / voxels, mean taken away, is averaged over shells of equal
frequency (one cycle an edge wide, up to the corner, where a checkerboard lies) and put in decibels.
Between sets the shells are compared by mean and standard deviation over volumes:

    sqrt( mean over shells of (mean_g - mean_r)^2 + (sd_g - sd_r)^2 ),  dB,

in each shell the 2-Wasserstein distance of the normal distributions with these moments. 0 for equal
sets; two real sets of finite size differ, so read it beside the real floor.

Source: Durall, Keuper, Keuper 2020, arXiv:2003.01826, section 3 (azimuthally averaged spectrum).
Departures: shells of three dimensions, corners included; decibels; the spread over volumes counts.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, Better, Metric, Result, Sets, Volume, VolumeSet
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require

LEAST_POWER = 1e-10  # of noise of sd 1e-5: what float32 and an empty volume have instead of none


@lru_cache(maxsize=4)
def _shells(shape: tuple[int, int, int]) -> tuple[NDArray[np.intp], Array]:
    """Return the shell of each coefficient of ``rfftn``, flat, and how often each stands for."""
    longest = max(shape)
    axes = [np.fft.fftfreq(n) for n in shape[:2]] + [np.fft.rfftfreq(shape[2])]
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij", sparse=True)))
    times = np.full(radius.shape, 2.0)
    times[..., 0] = 1
    if shape[2] % 2 == 0:
        times[..., -1] = 1
    return np.rint(radius * longest).astype(np.intp).ravel(), times.ravel()


def spectrum(volume: Volume) -> Array:
    """Compute the radial power spectrum of a volume.

    Args:
        volume: (C, D, H, W) in [-1, 1]; channels are averaged.

    Returns:
        (K,) decibels of one unit squared, shell k at k cycles along the longest edge, k >= 1.
        White noise of sd s has 20 log10 s in every shell.
    """
    shell, times = _shells(volume.shape[1:])
    power = np.zeros(len(shell))
    for channel in volume.astype(np.float64):
        power += np.abs(np.fft.rfftn(channel - channel.mean()).ravel()) ** 2
    power /= volume[0].size * len(volume)
    counts = np.bincount(shell, times)
    sums = np.bincount(shell, times * power)
    filled = np.flatnonzero(counts[1:]) + 1  # the longest edge has coefficients in every shell
    return 10 * np.log10(sums[filled] / counts[filled] + LEAST_POWER)


def distance(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Compute the distance of two sets of spectra, (m, K) and (n, K), in dB.

    Example:
        >>> distance([[0.0, 0.0]], [[3.0, 3.0], [3.0, 3.0]])
        3.0
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean = (x.mean(axis=0) - y.mean(axis=0)) ** 2
    spread = (x.std(axis=0) - y.std(axis=0)) ** 2
    return float(np.sqrt(np.mean(mean + spread)))


def _of(volumes: VolumeSet) -> Array:
    return volumes.keep("spectra", lambda: np.array([spectrum(volume) for volume in volumes]))


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 2, "generated", "train")
    x, y = _of(sets.generated), _of(sets.train)
    spread = jackknife.over_two_sets(
        lambda i, j: distance(x[i], y[j]), sets.generated.ids, sets.train.ids, sets.seed
    )
    gap = x.mean(axis=0) - y.mean(axis=0)
    worst = int(np.abs(gap).argmax())
    return spread.result(
        distance(x, y),
        n_real=len(y),
        n_generated=len(x),
        facts={
            "high_gap": float(gap[len(gap) // 2 :].mean()),
            "low_gap": float(gap[: len(gap) // 2].mean()),
            "worst_gap": float(gap[worst]),
            "worst_shell": worst + 1,
        },
    )


SPECTRUM = Metric(
    name="spectrum",
    label="spectrum dB",
    compute=_compute,
    better=Better.LOWER,
    recipe={
        "estimator": "root mean square over shells of the differences of mean and sd over volumes",
        "shells": "one cycle along the longest edge wide, corners included, mean taken away",
        "unit": "10 log10 (|FFT|^2 / voxels + least)",
        "least": LEAST_POWER,
        "sd_ddof": 0,
        "reference": "train",
        "uncertainty": jackknife.RECIPE,
    },
    source="after Durall et al. 2020, arXiv:2003.01826, section 3",
    blind_to="phases: scrambled volumes, mirrored, turned or shifted ones; copies; class mix-up",
)
