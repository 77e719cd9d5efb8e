"""From cached raw features to comparable ones: checks, and scaling with real training cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, MetricError, Sets, VolumeSet

LEAST_SD = 1e-8
REPEATED = 1 - 1e-6  # absolute correlation from which two features are one
LEAST_CASES = 8  # fewer real cases correlate by chance
RECIPE = {
    "with": "pooled real training cases",
    "ddof": 1,
    "drop_sd_below": LEAST_SD,
    "drop_repeated_from": REPEATED,
}
BOUND = 5.0  # sd of the reference that a feature reaches at most
LEAST_IQR = 1e-3  # of the sd: a smaller one says nothing of the spread
BOUNDED_RECIPE = {
    "with": "pooled real training cases",
    "centre": "median",
    "scale": "interquartile range / 1.349, or sd where that is below .001 sd",
    "bound": f"{2 * BOUND:g} / pi arctan(pi z / {2 * BOUND:g})",
    "drop_sd_below": LEAST_SD,
    "drop_repeated_from": REPEATED,
}


@dataclass(frozen=True)
class Standardiser:
    """Subtracts a mean, divides by a standard deviation, and drops features that add nothing.

    Dropped are features without spread over the reference, and those that repeat an earlier one
    there (a linear function of it). Where volumes are scaled by their own minimum and maximum, the
    maximum is constant and the range is 1 minus the minimum: standardised by the tiny spread of
    the minimum, a range of .95 would outweigh all other features together.

    Attributes:
        mean: Of every feature, (dim,).
        sd: Standard deviation of every feature, (dim,).
        repeats: Position of the earlier feature that one repeats, or -1, (dim,).
    """

    mean: Array
    sd: Array
    repeats: NDArray[np.intp]

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Standardiser:
        """Take mean and sd (ddof 1) of reference features (N, dim), N >= 2.

        Repeated features are looked for among 8 reference volumes or more.
        """
        x = np.asarray(features, dtype=np.float64)
        mean, sd = x.mean(axis=0), x.std(axis=0, ddof=1)
        fitted = cls(mean, sd, _repeats(x, mean, sd))
        if not fitted.kept.any():
            raise MetricError(
                f"All {x.shape[1]} features are constant over the {len(x)} real training volumes; "
                "features that vary were expected. Check that the dataset's volumes differ."
            )
        return fitted

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which features vary over the reference, each in its own way, and are used, (dim,)."""
        return (self.sd >= LEAST_SD) & (self.repeats < 0)

    def __call__(self, features: NDArray[np.float32]) -> Array:
        """Map raw features (N, dim) to (N, number of kept features) float64."""
        x = np.asarray(features, dtype=np.float64)[:, self.kept]
        return (x - self.mean[self.kept]) / self.sd[self.kept]

    def notes(self, names: Sequence[str] = ()) -> tuple[str, ...]:
        """Name the dropped features, if there are any; by number where they have no names."""
        called = (
            names if len(names) == len(self.sd) else [f"number {i}" for i in range(len(self.sd))]
        )
        flat = [called[i] for i in np.flatnonzero(self.sd < LEAST_SD).tolist()]
        earlier = enumerate(self.repeats.tolist())
        repeated = [f"{called[i]} ({called[first]})" for i, first in earlier if first >= 0]
        notes = []
        if flat:
            notes.append(f"left out, without spread over real training cases: {', '.join(flat)}")
        if repeated:
            notes.append(
                "left out, over real training cases a linear function of the feature in brackets: "
                + ", ".join(repeated)
            )
        return tuple(notes)


@dataclass(frozen=True)
class Bounded(Standardiser):
    """Centres on the median, divides by the interquartile range, and bounds each feature.

    A feature z sd from the median becomes 10 / pi arctan(pi z / 10): nearly itself among real
    cases, below 5 however far it is, and always further where z is. So no feature alone can make a
    distance, and a stronger fault still comes out further than a weaker one.

    Attributes:
        mean: Median of every feature, (dim,).
        sd: Interquartile range / 1.349 (that of a Gaussian is its sd), or the sd where most values
            are equal, (dim,).
    """

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Bounded:
        """Take median and interquartile range of reference features (N, dim), N >= 2."""
        plain = Standardiser.fit(features)
        x = np.asarray(features, dtype=np.float64)
        low, median, high = np.percentile(x, [25, 50, 75], axis=0)
        wide = (high - low) / 1.349
        return cls(median, np.where(wide > LEAST_IQR * plain.sd, wide, plain.sd), plain.repeats)

    def __call__(self, features: NDArray[np.float32]) -> Array:
        """Map raw features (N, dim) to (N, number of kept features) float64, each within +-5."""
        z = super().__call__(features)
        return 2 * BOUND / np.pi * np.arctan(np.pi * z / (2 * BOUND))


def scaling(pooled: VolumeSet, extractor: str) -> Standardiser:
    """Return how the features of an extractor become comparable, from the pooled real cases."""
    kind = Bounded if pooled.bounded(extractor) else Standardiser
    return kind.fit(finite_features(pooled, extractor, "pooled real"))


def _repeats(x: Array, mean: Array, sd: Array) -> NDArray[np.intp]:
    """Return for each feature of x (N, dim) the first earlier one that it repeats, or -1."""
    flat = sd < LEAST_SD
    scaled = np.where(flat, 0.0, (x - mean) / np.where(flat, 1.0, sd))
    correlation = np.abs(scaled.T @ scaled) / (len(x) - 1)
    same = np.tril(correlation >= REPEATED, -1) & (len(x) >= LEAST_CASES)
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def finite_features(
    volumes: VolumeSet, extractor: str, role: str, view: str = ""
) -> NDArray[np.float32]:
    """Return the raw features of a set, or say which volumes have features that are not finite."""
    features = volumes.features(extractor, view)

    def look() -> list[int]:
        return [i for i in range(len(features)) if not np.isfinite(features[i]).all()]

    broken = volumes.keep(f"broken features {extractor} {view}", look)
    if broken:
        raise MetricError(
            f"{extractor} gives features that are not finite for {len(broken)} {role} volumes, "
            f"the first is {volumes.ids[broken[0]]}; finite voxels in [-1, 1] were expected. "
            "Check that volume."
        )
    return features


def standardised(sets: Sets, extractor: str, *roles: str) -> tuple[list[Array], tuple[str, ...]]:
    """Return the features of the named sets, standardised, and what to note about them.

    Args:
        sets: The sets; ``pooled`` gives mean and sd.
        extractor: Name of a 3D extractor.
        *roles: Which sets: ``generated``, ``train``, ``test``.

    Returns:
        One (N, kept features) float64 array a role, and notes: features that were left out, and
        degenerate volumes (all features 0, which is how an extractor says that it saw no object).
    """
    require(sets, 2, "pooled")
    scale = scaling(sets.pooled, extractor)
    arrays, notes = [], list(scale.notes(sets.pooled.feature_names(extractor)))
    for role in roles:
        volumes: VolumeSet = getattr(sets, role)
        raw = finite_features(volumes, extractor, role)
        empty = int(np.sum(~raw.any(axis=1)))
        if empty:
            notes.append(f"degenerate: {empty} of {len(raw)} {role} volumes show no object")
        arrays.append(scale(raw))
    return arrays, tuple(notes)


def require(sets: Sets, least: int, *roles: str) -> None:
    """Refuse sets with fewer than ``least`` volumes.

    Raises:
        MetricError: If a named set is smaller; the text names it, its size and the way out.
    """
    for role in roles:
        count = len(getattr(sets, role))
        if count < least:
            remedy = "Sample more" if role == "generated" else "Use a split with more"
            raise MetricError(
                f"The {role} set has {count} volumes; at least {least} are needed. "
                f"{remedy} volumes of this class."
            )
