"""Fréchet distance between two sets of features.

Squared 2-Wasserstein distance of Gaussians with the sets' means and unbiased covariances,

    FD = |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2).

Two exact forms in float64: from features by a nuclear norm, from mergeable statistics by
eigenvalues. ``scipy.linalg.sqrtm`` is avoided because it is unstable for rank-deficient products.

Source: Dowson and Landau 1982, J. Multivariate Analysis 12; Heusel et al. 2017, arXiv:1706.08500.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cerebench.core.facts import RULING_FEATURE, RULING_MEANS, RULING_SHARE, Fact
from cerebench.metrics.base import Array, Better, Indexed, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.floor import RECIPE as FLOOR_RECIPE
from cerebench.metrics.estimators.floor import ratio
from cerebench.metrics.estimators.standardise import BOUNDED_RECIPE, require, scaling, standardised
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE
from cerebench.metrics.estimators.whiten import RECIPE as WHITEN
from cerebench.metrics.estimators.whiten import Whitener

SMALL_SAMPLE = (
    "fewer volumes than features: sampling alone lifts FD (83 features with a 1/i spectrum and "
    "trace 83: two samples of one distribution are 81 apart at 16 volumes each, 54 at 32, 8 at "
    "250), and at 32 each a generator with 0.7 times the right spread beats a perfect one; compare "
    "with what real draws of the same numbers score and with a kernel distance"
)
LEAST = 1e-9  # distances below are rounding
MOST = 0.5  # share of a distance above which one feature is named
NO_SPREAD = "degenerate: all generated volumes have the same features"


@dataclass(frozen=True)
class Gaussian:
    """Mergeable statistics of features: count, mean and scatter, float64.

    Attributes:
        n: Number of feature vectors.
        mean: (dim,).
        scatter: (dim, dim), sum of outer products of deviations from the mean.
    """

    n: int
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Gaussian:
        """Take the statistics of features (n, dim)."""
        x = np.asarray(features, dtype=np.float64)
        mean = x.mean(axis=0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def __add__(self, other: Gaussian) -> Gaussian:
        """Merge with the statistics of further features; exact up to rounding."""
        n = self.n + other.n
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(shift, shift * (self.n * other.n / n))
        return Gaussian(n, self.mean + shift * (other.n / n), scatter)

    def __sub__(self, part: Gaussian) -> Gaussian:
        """Take out features that are part of these; exact up to rounding."""
        n = self.n - part.n
        shift = self.mean - part.mean
        scatter = self.scatter - part.scatter
        scatter -= np.outer(shift, shift * (self.n * part.n / n))
        return Gaussian(n, self.mean + shift * (part.n / n), scatter)

    @property
    def covariance(self) -> Array:
        """Unbiased covariance, (dim, dim); needs n >= 2."""
        return self.scatter / (self.n - 1)


def frechet_distance(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Compute the Fréchet distance of two feature sets without a covariance matrix.

    tr (S_1 S_2)^(1/2) is the nuclear norm of X Y^T / sqrt((m - 1)(n - 1)) for centred X, Y.

    Args:
        x: (m, dim) features, m >= 2.
        y: (n, dim) features, n >= 2; n may differ from m.

    Returns:
        Distance in squared units of the features; identical sets give 0 up to rounding of either
        sign. Biased upwards for small sets.

    Example:
        >>> round(frechet_distance([[1, 2], [1, 2], [1, 2]], [[2, 2], [1, 2], [1, 2]]), 6)
        0.444444
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    gap = x.mean(axis=0) - y.mean(axis=0)
    spread = np.sum(a * a) / (len(a) - 1) + np.sum(b * b) / (len(b) - 1)
    singular = np.linalg.svd(_compact(a) @ _compact(b).T, compute_uv=False)
    shared = singular.sum() / np.sqrt((len(a) - 1) * (len(b) - 1))
    return float(gap @ gap + spread - 2.0 * shared)


def _compact(a: Array) -> Array:
    """Replace a tall matrix by its R factor: singular values of products keep their values."""
    return np.asarray(np.linalg.qr(a, mode="r")) if a.shape[0] > a.shape[1] else a


def frechet_from_statistics(a: Gaussian, b: Gaussian, root: Array | None = None) -> float:
    """Compute the Fréchet distance of two Gaussians.

    With R = S_1^(1/2), tr (S_1 S_2)^(1/2) is the sum of square roots of the eigenvalues of
    R S_2 R; negative ones, which only rounding makes, count as 0.

    Args:
        a: Statistics of one set.
        b: Statistics of the other.
        root: ``covariance_root(a)``, where it is reused.

    Returns:
        Distance in squared units of the features; identical sets give 0 to about 1e-5.
    """
    root = covariance_root(a) if root is None else root
    values = np.linalg.eigvalsh(root @ b.covariance @ root)
    gap = a.mean - b.mean
    spread = np.trace(a.scatter) / (a.n - 1) + np.trace(b.scatter) / (b.n - 1)
    return float(gap @ gap + spread - 2.0 * np.sqrt(np.maximum(values, 0.0)).sum())


def covariance_root(a: Gaussian) -> Array:
    """Compute the symmetric square root of the covariance, (dim, dim)."""
    values, vectors = np.linalg.eigh(a.covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def frechet_metric(
    extractor: str,
    label: str,
    *,
    whitened: bool = False,
    bounded: bool = False,
    floored: bool = False,
) -> Metric:
    """Declare the Fréchet distance of generated to real training volumes in a feature space.

    Args:
        extractor: Name of a 3D extractor; its features are standardised with the pooled real
            training cases, which the error takes as fixed: all methods share them.
        label: Column header.
        whitened: Whether the distance is that of at most 64 whitened principal components.
        bounded: Whether the extractor declares its features ``bounded``.
        floored: Whether tables show the ratio to the real floor.

    Returns:
        The metric ``fd-<extractor>``, or ``fd-<extractor>-pca64``.
    """
    name = f"fd-{extractor}{'-pca64' if whitened else ''}"

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        (x, y), notes = standardised(sets, extractor, "generated", "train")
        parts = [part for part in ("test", "fresh") if floored and len(getattr(sets, part))]
        held_out = np.concatenate([x[:0], *standardised(sets, extractor, *parts)[0]])
        if whitened:
            (pooled,), _ = standardised(sets, extractor, "pooled")
            whiten = Whitener.fit(pooled)
            x, y, held_out = whiten(x), whiten(y), whiten(held_out)
        value = frechet_distance(x, y)
        facts = {"n_components": x.shape[1]} if whitened else _ruled(x, y, value, sets, extractor)
        if floored:
            more, told = ratio(name, frechet_distance, sets, value, x, y, held_out)
            facts, notes = facts | more, notes + told
        spread = jackknife.over_two_sets(
            lambda i, j: frechet_distance(x[i], y[j]), sets.generated.ids, sets.train.ids, sets.seed
        )
        return spread.result(
            value,
            n_real=len(y),
            n_generated=len(x),
            notes=notes + cautions(x, y),
            facts=facts,
        )

    return Metric(
        name=name,
        label=label,
        compute=compute,
        better=Better.LOWER,
        recipe={
            "estimator": "Fréchet distance, unbiased covariances",
            "features": extractor,
            "standardise": BOUNDED_RECIPE if bounded else STANDARDISE,
            **({"components": WHITEN} if whitened else {}),
            **({"floor": FLOOR_RECIPE} if floored else {}),
            "reference": "train",
            "uncertainty": jackknife.RECIPE,
        },
        family="frechet",
        as_ratio=floored,
        source="Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
        needs=extractor,
        blind_to="copies of training volumes, which score 0",
    )


def ruling_feature(x: NDArray, y: NDArray, distance: float) -> tuple[int, float] | None:
    """Find the feature that makes most of a Fréchet distance.

    The distances of single features, (mean difference)^2 + (difference of sd)^2, add up to no more
    than the distance of all; equality holds for uncorrelated features.

    Args:
        x: (m, dim), m >= 2.
        y: (n, dim), n >= 2.
        distance: ``frechet_distance(x, y)``.

    Returns:
        Feature number and its share of the distance, if that exceeds one half, else None.
    """
    gaps = (x.mean(axis=0) - y.mean(axis=0)) ** 2
    gaps += (x.std(axis=0, ddof=1) - y.std(axis=0, ddof=1)) ** 2
    first = int(gaps.argmax())
    if gaps[first] <= MOST * max(distance, LEAST):
        return None
    return first, float(gaps[first] / distance)


def _ruled(x: Array, y: Array, distance: float, sets: Sets, extractor: str) -> dict[str, Fact]:
    """Name the feature that makes most of the distance, with its means in its own unit."""
    found = ruling_feature(x, y, distance)
    if found is None:
        return {}
    scale = scaling(sets.pooled, extractor)
    feature = int(np.flatnonzero(scale.kept)[found[0]])
    names = sets.pooled.feature_names(extractor)
    name = names[feature] if len(names) == len(scale.kept) else f"number {feature}"
    facts: dict[str, Fact] = {RULING_FEATURE: name, RULING_SHARE: found[1]}
    for side, volumes in (("generated", sets.generated), ("real", sets.train)):
        values = volumes.features(extractor)[:, feature].astype(np.float64)
        mean, sd = RULING_MEANS[side]
        facts |= {mean: values.mean(), sd: values.std(ddof=1)}
    return facts


def cautions(x: Indexed[NDArray], y: Indexed[NDArray]) -> tuple[str, ...]:
    """Say what limits a Fréchet distance of features: few volumes, or no spread.

    Args:
        x: Generated features, one entry a volume, (dim,) or (S, dim).
        y: Real features in the same form.
    """
    small = min(len(x), len(y)) < x[0].shape[-1]
    # Equal volumes may differ by rounding where they stood in different batches.
    flat = all(np.abs(x[i] - x[0]).max(initial=0.0) < 1e-5 for i in range(1, len(x)))
    return (SMALL_SAMPLE,) * bool(small) + (NO_SPREAD,) * flat


FD_RADLITE2 = frechet_metric("radlite-v2", "FD[radlite-v2]", bounded=True, floored=True)
FD_RADLITE = frechet_metric("radlite-v1", "FD[radlite-v1]")
FD_MIRP = frechet_metric("mirp-v1", "FD[mirp-v1]")
FD_RAND3D = frechet_metric("rand3d-v1", "FD[rand3d-v1]")
FD_MEDICALNET10 = frechet_metric("medicalnet-orig-resnet10", "FD[medicalnet10]")
FD_MEDICALNET18 = frechet_metric("medicalnet-orig-resnet18", "FD[medicalnet18]")
FD_MEDICALNET34 = frechet_metric("medicalnet-orig-resnet34", "FD[medicalnet34]")
FD_MEDICALNET50 = frechet_metric("medicalnet-orig-resnet50", "FD[medicalnet50]")
FD_RAND3D_PCA64 = frechet_metric("rand3d-v1", "FD[rand3d-v1-pca64]", whitened=True, floored=True)
FD_MEDICALNET10_PCA64 = frechet_metric(
    "medicalnet-orig-resnet10", "FD[medicalnet10-pca64]", whitened=True
)
FD_MEDICALNET18_PCA64 = frechet_metric(
    "medicalnet-orig-resnet18", "FD[medicalnet18-pca64]", whitened=True
)
FD_MEDICALNET34_PCA64 = frechet_metric(
    "medicalnet-orig-resnet34", "FD[medicalnet34-pca64]", whitened=True
)
FD_MEDICALNET50_PCA64 = frechet_metric(
    "medicalnet-orig-resnet50", "FD[medicalnet50-pca64]", whitened=True
)
