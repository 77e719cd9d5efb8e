"""``radlite-v2`` and ``-v1``: 83 radiomic features of one volume, by published definitions.

Shape, first-order, histogram and grey-level co-occurrence (GLCM) features follow the Image
Biomarker Standardisation Initiative (IBSI; Zwanenburg et al. 2020, Radiology 295), whose digital
phantom pins them in the tests. Laplacian-of-Gaussian and Haar energies add texture at several
scales. No weights, no randomness.

Choices: 1. grey levels are 32 fixed bins of [0, 1], equal for all volumes; 2. lengths are in
voxels; 3. the mask is a rule, the same for real and generated volumes; 4. logarithms of voxel
count and energy, because their raw distributions are far from Gaussian.

The two versions differ in the mask and in what a distance makes of the features. That of v1 is a
threshold of every voxel: speckle in the background becomes foreground, its features are thousands
of real standard deviations away, and more noise comes out *closer* than less. v2 asks for the mean
of 27 voxels and for parts of some size, and its features are bounded (``standardise.Bounded``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, label, uniform_filter

from cerebench.metrics.base import Array

THRESHOLD = 0.02
BODY = 0.15  # mean of a voxel and its 26 neighbours; noise of sd .2 on empty background has .08
LEAST_VOXELS = 27
LEVELS = 32
SIGMAS = (1.0, 2.0, 4.0)
HAAR_LEVELS = 2

_MOMENTS = ("mean", "sd", "skewness", "kurtosis", "p10", "p90")
_HAAR = ("HHH", "HHL", "HLH", "HLL", "LHH", "LHL", "LLH")
NAMES = (
    *("ln voxel count", "major axis", "minor axis", "least axis", "elongation", "flatness"),
    *("mean", "variance", "skewness", "excess kurtosis", "median", "minimum", "p10", "p90"),
    *("maximum", "interquartile range", "range", "mean absolute deviation"),
    *("robust mean absolute deviation", "mean absolute deviation from the median"),
    *("coefficient of variation", "quartile coefficient of dispersion", "ln energy"),
    *("root mean square", "histogram entropy", "histogram uniformity"),
    *("joint maximum", "joint average", "joint variance", "joint entropy"),
    *("difference average", "difference variance", "difference entropy"),
    *("sum average", "sum variance", "sum entropy", "angular second moment", "contrast"),
    *("dissimilarity", "inverse difference", "normalised inverse difference"),
    *("inverse difference moment", "normalised inverse difference moment", "inverse variance"),
    *("correlation", "autocorrelation", "cluster tendency", "cluster shade"),
    *("cluster prominence", "information correlation 1", "information correlation 2"),
    *(f"LoG {sigma:g} {name}" for sigma in SIGMAS for name in _MOMENTS),
    *(f"Haar {level} {band}" for level in range(1, HAAR_LEVELS + 1) for band in _HAAR),
)

# One of each pair of opposite neighbours: the 13 directions of a symmetric co-occurrence matrix.
DIRECTIONS = tuple(d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0))


class Radlite:
    """Features inside a threshold; fewer than 27 foreground voxels become an all-zero row."""

    name = "radlite-v1"
    version = 1
    dim = 83
    ndim = 3
    weights_sha256 = None
    names = NAMES
    in_processes = True  # many small array operations: threads would wait for each other
    input = {
        "range": "[-1, 1] mapped to [0, 1]",
        "mask": f"v > {THRESHOLD}",
        "least_voxels": LEAST_VOXELS,
        "lengths": "voxels",
        "levels": LEVELS,
        "log_sigmas": list(SIGMAS),
        "haar_levels": HAAR_LEVELS,
    }

    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map volumes to features.

        Args:
            batch: (B, C, D, H, W), float32 in [-1, 1].

        Returns:
            (B, 83) float32; with several channels, the features of each, one after the other.
        """
        return channel_by_channel(self._features, batch)

    @staticmethod
    def _features(channel: Array) -> Array:
        return radlite(channel)


class Radlite2(Radlite):
    """Features inside a mask that speckle does not reach; no body is an all-zero row."""

    name = "radlite-v2"
    bounded = True
    input = {
        **Radlite.input,
        "mask": f"parts of at least {LEAST_VOXELS} voxels of mean of 3^3 > {BODY}",
        "scaling": "bounded",
    }

    @staticmethod
    def _features(channel: Array) -> Array:
        return radlite(channel, body(channel))


def body(volume: Array) -> NDArray[np.bool_]:
    """Tell which voxels belong to an object: bright with their neighbours, in parts of some size.

    Args:
        volume: (D, H, W) in [0, 1], background 0.

    Returns:
        (D, H, W): where the mean of 3 x 3 x 3 voxels (the edge repeated) exceeds 0.15, without
        face-connected parts of fewer than 27 voxels.
    """
    parts = np.empty(volume.shape, np.int32)
    label(uniform_filter(volume, 3, mode="nearest") > BODY, output=parts)
    sizes = np.bincount(parts.ravel(), minlength=1)
    sizes[0] = 0
    return (sizes >= LEAST_VOXELS)[parts]


def channel_by_channel(
    features: Callable[[Array], Array], batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute the features of (D, H, W) in [0, 1] of every channel and put them side by side.

    Args:
        features: Function of one channel, float64.
        batch: (B, C, D, H, W), float32 in [-1, 1].

    Returns:
        (B, C times the number of features) float32.
    """
    rows = [
        np.concatenate([features((channel.astype(np.float64) + 1.0) / 2.0) for channel in volume])
        for volume in batch
    ]
    return np.stack(rows).astype(np.float32)


def is_degenerate(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which rows of (N, dim) features come from volumes with too little foreground.

    An all-zero row means nothing else: the first feature is ln of at least 27 voxels.
    """
    return ~np.any(features, axis=-1)


def radlite(volume: Array, mask: NDArray[np.bool_] | None = None) -> Array:
    """Compute the 83 features: shape 6, first-order 18, histogram 2, GLCM 25, LoG 18, Haar 14.

    Haar features are of the whole volume, all others of the foreground.

    Args:
        volume: (D, H, W), float64 in [0, 1].
        mask: (D, H, W), the foreground; None for what exceeds 0.02.

    Returns:
        (83,) float64, all finite; zeros where fewer than 27 voxels are foreground.
    """
    mask = volume > THRESHOLD if mask is None else mask
    if np.count_nonzero(mask) < LEAST_VOXELS:
        return np.zeros(Radlite.dim)
    box = _bounding_box(mask)
    inside = mask[box]
    x = volume[box][inside]
    levels = np.clip(np.floor(LEVELS * x), 0, LEVELS - 1).astype(np.intp) + 1
    labelled = np.zeros(inside.shape, dtype=np.intp)
    labelled[inside] = levels
    return np.concatenate(
        [
            shape_features(inside),
            first_order_features(x),
            histogram_features(np.bincount(levels)),
            glcm_features(glcm(labelled, LEVELS)),
            *(_log_features(log_response(volume, sigma, box)[inside]) for sigma in SIGMAS),
            haar_features(volume),
        ]
    )


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def shape_features(mask: NDArray[np.bool_], spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Array:
    """Compute ln of the voxel count, the three principal axis lengths, elongation and flatness.

    An axis is 4 sqrt(eigenvalue) of the covariance (ddof 1, which is what reproduces the IBSI
    reference) of the voxel coordinates; elongation is second over first axis, flatness third over
    first.

    Args:
        mask: (D, H, W), at least two voxels set.
        spacing: Voxel edge lengths (D, H, W); axes come out in their unit.

    Returns:
        (6,) float64.
    """
    points = np.stack(np.nonzero(mask)) * np.asarray(spacing)[:, None]
    variances = np.linalg.eigvalsh(np.cov(points))[::-1]
    axes = 4.0 * np.sqrt(np.maximum(variances, 0.0))
    return np.array([np.log(points.shape[1]), *axes, axes[1] / axes[0], axes[2] / axes[0]])


def first_order_features(x: Array) -> Array:
    """Compute 18 statistics of the intensities in the mask, moments with ddof 0.

    Order: mean, variance, skewness, excess kurtosis, median, minimum, 10th and 90th percentile,
    maximum, interquartile range, range, mean absolute deviation, the same of the values within the
    10th to 90th percentile, mean absolute deviation from the median, coefficient of variation,
    quartile coefficient of dispersion, ln energy, root mean square.

    Args:
        x: (n,) float64 intensities of at least 0, some positive.

    Returns:
        (18,) float64; skewness and kurtosis of constant input are 0.
    """
    mean, sd, skew, kurtosis = _moments(x)
    low, p10, p25, median, p75, p90, high = np.percentile(x, [0, 10, 25, 50, 75, 90, 100])
    core = x[(x >= p10) & (x <= p90)]
    energy = np.dot(x, x)
    return np.array(
        [
            mean,
            sd**2,
            skew,
            kurtosis,
            median,
            low,
            p10,
            p90,
            high,
            p75 - p25,
            high - low,
            np.abs(x - mean).mean(),
            np.abs(core - core.mean()).mean(),
            np.abs(x - median).mean(),
            sd / mean,
            (p75 - p25) / (p75 + p25) if p75 > 0 else 0.0,
            np.log(energy),
            np.sqrt(energy / x.size),
        ]
    )


def _moments(x: Array) -> tuple[float, float, float, float]:
    """Mean, sd (ddof 0), skewness and excess kurtosis."""
    mean = x.mean()
    centred = x - mean
    squares = centred * centred
    variance = squares.mean()
    # Rounding leaves constant input a variance near 1e-33, whose ratios would be noise.
    if variance < 1e-20:
        return mean, np.sqrt(variance), 0.0, 0.0
    skew = np.dot(squares, centred) / x.size / variance**1.5
    return mean, np.sqrt(variance), skew, np.dot(squares, squares) / x.size / variance**2 - 3.0


def histogram_features(counts: NDArray[np.intp]) -> Array:
    """Compute entropy (bits) and uniformity (sum of squares) of a histogram of counts."""
    p = counts / counts.sum()
    return np.array([_entropy(p), np.dot(p, p)])


def _entropy(p: Array) -> float:
    p = p[p > 0]
    return float(-np.sum(p * np.log2(p)))


def _weighed(places: NDArray[np.intp], weights: Array, count: int) -> Array:
    """Add weights up by place: numpy's own types say that ``bincount`` gave integers."""
    return np.asarray(np.bincount(places.ravel(), weights.ravel(), count), np.float64)


def glcm(levels: NDArray[np.intp], count: int) -> Array:
    """Build the grey-level co-occurrence matrix at distance 1, symmetric, all directions merged.

    Args:
        levels: (D, H, W) integers: 1 to ``count`` inside the mask, 0 outside; pairs with a voxel
            outside are not counted.
        count: Number of grey levels L.

    Returns:
        (L, L) float64 that sums to 1 (all zero where no two mask voxels touch).
    """
    padded = np.pad(levels, 1)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    flat = padded.ravel()
    at = np.flatnonzero(flat)
    here = flat[at] * (count + 1)
    pairs = np.zeros((count + 1) ** 2)
    for direction in DIRECTIONS:
        there = flat[at + int(np.dot(direction, strides))]
        pairs += np.bincount(here + there, minlength=pairs.size)
    inside = pairs.reshape(count + 1, count + 1)[1:, 1:]
    symmetric = inside + inside.T
    return symmetric / max(symmetric.sum(), 1.0)


def glcm_features(p: Array) -> Array:
    """Compute the 25 IBSI features of a co-occurrence matrix.

    Order: joint maximum, average, variance, entropy; difference average, variance, entropy; sum
    average, variance, entropy; angular second moment, contrast, dissimilarity, inverse difference
    and its normalised form, inverse difference moment and its normalised form, inverse variance,
    correlation (1 if flat), autocorrelation, cluster tendency, shade and prominence, first (0 if
    flat) and second measure of information correlation.

    Args:
        p: (L, L) symmetric float64 that sums to 1; grey levels count from 1.

    Returns:
        (25,) float64; entropies in bits.
    """
    count = len(p)
    level = np.arange(1, count + 1)
    i, j = level[:, None], level[None, :]
    marginal = p.sum(axis=1)
    mean = np.dot(level, marginal)
    variance = np.dot((level - mean) ** 2, marginal)
    k = np.arange(count)
    difference = _weighed(np.abs(i - j), p, count)
    total = np.arange(2 * count + 1)
    sums = _weighed(i + j, p, total.size)
    difference_mean, sum_mean = np.dot(k, difference), np.dot(total, sums)
    cluster = total - 2.0 * mean
    autocorrelation = float(np.sum(i * j * p))
    return np.array(
        [
            p.max(),
            mean,
            variance,
            _entropy(p),
            difference_mean,
            np.dot((k - difference_mean) ** 2, difference),
            _entropy(difference),
            sum_mean,
            np.dot((total - sum_mean) ** 2, sums),
            _entropy(sums),
            np.sum(p * p),
            np.dot(k**2, difference),
            difference_mean,
            np.sum(difference / (1 + k)),
            np.sum(difference / (1 + k / count)),
            np.sum(difference / (1 + k**2)),
            np.sum(difference / (1 + (k / count) ** 2)),
            np.sum(difference[1:] / k[1:] ** 2),
            (autocorrelation - mean**2) / variance if variance > 1e-12 else 1.0,
            autocorrelation,
            np.dot(cluster**2, sums),
            np.dot(cluster**3, sums),
            np.dot(cluster**4, sums),
            *_information_correlation(p, marginal),
        ]
    )


def _information_correlation(p: Array, marginal: Array) -> tuple[float, float]:
    joint, single = _entropy(p), _entropy(marginal)
    # For symmetric p both cross entropies with the product of the marginals equal 2 H(marginal).
    independent = 2.0 * single
    first = (joint - independent) / single if single > 1e-12 else 0.0
    return first, float(np.sqrt(max(1.0 - np.exp(-2.0 * (independent - joint)), 0.0)))


@lru_cache(maxsize=64)
def _filter_matrix(size: int, sigma: float, order: int) -> Array:
    """Return the (size, size) matrix of a Gaussian derivative filter along one axis.

    A dense product uses BLAS and is many times faster than a sliding window at these sizes.
    """
    return gaussian_filter1d(np.eye(size), sigma, axis=0, order=order)


def log_response(volume: Array, sigma: float, box: tuple[slice, ...]) -> Array:
    """Compute the scale-normalised Laplacian of Gaussian, sigma^2 (d_zz + d_yy + d_xx), in a box.

    Args:
        volume: (D, H, W) float64; borders are mirrored (edge voxel repeated).
        sigma: Standard deviation of the Gaussian, voxels, cut off at 4 sigma.
        box: Where the response is wanted; it still sees the whole volume.

    Returns:
        float64 response of the shape of ``box``.
    """
    smooth, curve = (
        [_filter_matrix(n, sigma, order)[s] for n, s in zip(volume.shape, box, strict=True)]
        for order in (0, 2)
    )
    along_x = volume @ smooth[2].T
    plane = smooth[1] @ along_x
    plane_curvature = curve[1] @ along_x + smooth[1] @ (volume @ curve[2].T)
    response = _along_z(curve[0], plane) + _along_z(smooth[0], plane_curvature)
    return sigma**2 * response


def _along_z(matrix: Array, volume: Array) -> Array:
    return (matrix @ volume.reshape(len(volume), -1)).reshape(-1, *volume.shape[1:])


def _log_features(x: Array) -> Array:
    return np.array([*_moments(x), *np.percentile(x, [10, 90])])


def haar_features(volume: Array) -> Array:
    """Compute ln(mean square + 1e-12) of the 7 detail bands of two orthonormal Haar levels.

    Args:
        volume: (D, H, W) float64, sizes of at least 4; a last odd plane is left out.

    Returns:
        (14,) float64: first level, then second, bands in the order HHH, HHL, HLH, HLL, LHH, LHL,
        LLH (axes D, H, W; H is the detail).
    """
    features, low = [], volume
    for _ in range(HAAR_LEVELS):
        low, *details = _haar_bands(low)
        features += [np.log(np.mean(band * band) + 1e-12) for band in details[::-1]]
    return np.array(features)


def _haar_bands(volume: Array) -> list[Array]:
    """Split into 8 half-size bands, LLL first, HHH last."""
    bands = [volume]
    for axis in range(3):
        half = volume.shape[axis] // 2
        even = [slice(None)] * 3
        odd = [slice(None)] * 3
        even[axis], odd[axis] = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        bands = [
            (band[tuple(even)] + sign * band[tuple(odd)]) / np.sqrt(2.0)
            for band in bands
            for sign in (1.0, -1.0)
        ]
    return bands
