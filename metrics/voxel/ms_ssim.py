"""Multi-scale structural similarity between pairs of volumes of one set: its diversity.

Volumes of one set that resemble each other more than real ones do show that a generator collapses;
less, that it makes noise. The number is therefore best when it is nearest to the real set's own.

``ms-ssim`` is the definition of Wang et al. on [0, 1]. ``ms-ssim-kwon`` repeats the computation
behind the field's tables: wide window with mirrored borders, constants of range 1 on data in
[-1, 1], and the last scale raised to four times its weight.

Sources: Wang, Simoncelli, Bovik 2003; Kwon et al. 2019 (3dbraingen, pytorch_ssim).
Departures: 1. the window follows the size of the volume, because 11 voxels at 5 scales need 176;
2. a negative scale term counts as 0 instead of making the value NaN; 3. pairs are drawn without
replacement from a fixed set and are the same for all methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets, Volume

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SIGMA = 1.5  # voxels, at every scale
C1, C2 = 0.01**2, 0.03**2  # for a data range of 1
PAIRS = 1000
CACHE_BYTES = 512 * 2**20
SLAB_VOXELS = 2**17  # filtered at once: few enough to stay in the processor's cache


@dataclass(frozen=True)
class Scheme:
    """A definition of MS-SSIM for volumes of one size.

    Attributes:
        taps: Weights of the window along each axis; odd number, sum 1.
        exponents: One a scale, finest first.
        mirrored: Mirror the volume at its borders (the edge voxel twice) and keep its size, instead
            of using only windows that lie inside.
        unit_range: Map [-1, 1] to [0, 1] first.
    """

    taps: tuple[float, ...]
    exponents: tuple[float, ...]
    mirrored: bool
    unit_range: bool

    @property
    def radius(self) -> int:
        """Voxels of the window to each side of its centre."""
        return len(self.taps) // 2

    @property
    def label(self) -> str:
        """Window and number of scales, for example ``win7/sc5``."""
        return f"win{len(self.taps)}/sc{len(self.exponents)}"


def standard_scheme(shape: Sequence[int]) -> Scheme:
    """Return the definition of Wang et al. with a window that fits the volume.

    Window k = largest odd number up to min(11, S // 16) and at least 3, S the shortest edge; where
    3 voxels do not fit at 5 scales, coarse scales are dropped and the weights divided by their sum.

    Args:
        shape: (C, D, H, W) or (D, H, W), voxels.

    Returns:
        The scheme: 128 voxels give win7/sc5, 64 give win3/sc5, 32 give win3/sc4.

    Raises:
        MetricError: If an edge is shorter than 3 voxels.

    Source: Wang, Simoncelli, Bovik 2003, equation 7; window rule: ours.
    """
    shortest = min(shape[-3:])
    if shortest < 3:
        raise MetricError(
            f"Volumes of shape {tuple(shape)} are too small for MS-SSIM, which needs 3 voxels "
            "along every axis. Use larger volumes."
        )
    fitting = min(11, shortest // 16)
    window = max(3, fitting - 1 + fitting % 2)
    scales = max(m for m in range(1, len(WEIGHTS) + 1) if shortest >> (m - 1) >= window)
    weights = WEIGHTS[:scales]
    if scales < len(WEIGHTS):
        weights = tuple(w / sum(weights) for w in weights)
    return Scheme(gaussian(window // 2), weights, mirrored=False, unit_range=True)


def kwon_scheme(shape: Sequence[int]) -> Scheme:
    """Return the computation behind the field's tables.

    Window of 13 voxels (4 standard deviations to each side) with mirrored borders; the exponents
    are the weights but for the last one, which is 4 w_5 = 0.5332; data in [-1, 1] as they are.

    Args:
        shape: (C, D, H, W) or (D, H, W), voxels.

    Raises:
        MetricError: If an edge is shorter than 16 voxels.

    Source: Kwon et al. 2019, pytorch_ssim of 3dbraingen.
    """
    if min(shape[-3:]) < 16:
        raise MetricError(
            f"Volumes of shape {tuple(shape)} are too small for ms-ssim-kwon, which halves them "
            "four times and needs 16 voxels along every axis. Use ms-ssim instead."
        )
    return Scheme(gaussian(6), (*WEIGHTS[:-1], 4 * WEIGHTS[-1]), mirrored=True, unit_range=False)


def gaussian(radius: int) -> tuple[float, ...]:
    """Return a Gaussian window of 2 radius + 1 voxels, standard deviation 1.5, sum 1.

    The weights are float32 numbers whose rounding errors are put right at the ends: a sum that is
    off by 1e-7 would bias every variance, a difference of two filtered images.
    """
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA) ** 2)
    rounded = (weights / weights.sum()).astype(np.float32)
    rounded[[0, -1]] += (1 - rounded.sum(dtype=np.float64)) / 2
    return tuple(rounded.tolist())


@dataclass(frozen=True)
class Pyramid:
    """A volume at every scale, with what SSIM needs of it alone.

    Attributes:
        floor: Smallest intensity; it is subtracted from ``images`` and ``means``.
        images: Per scale (C, D, H, W), float32 at the finest and float64 at the others; mirrored
            schemes extend D by the window's radius.
        means: Local means, per scale.
        spreads: Half of (local variance + C2 / 2), per scale.
    """

    floor: float
    images: tuple[Tensor, ...]
    means: tuple[Tensor, ...]
    spreads: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(t.nbytes for t in (*self.images, *self.means, *self.spreads))


def pyramid(volume: Volume, scheme: Scheme) -> Pyramid:
    """Prepare a volume, (C, D, H, W) float32 in [-1, 1], for ``scale_terms``."""
    image = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))
    if scheme.unit_range:
        image = (image + 1) * 0.5
    # Variances are differences of squares: they stay exact in float32 where the background is 0.
    floor = float(image.min())
    image = image - floor
    images, means, spreads = [], [], []
    for scale in range(len(scheme.exponents)):
        if scale:
            # The finest scale has a small exponent; at the others float32 would cost 1e-5.
            image = nnf.avg_pool3d(image, 2).double()
        extended = _mirror(image, -3, scheme.radius) if scheme.mirrored else image
        mean, spread = _local_moments(extended, scheme)
        images.append(extended)
        means.append(mean)
        spreads.append(spread)
    return Pyramid(floor, tuple(images), tuple(means), tuple(spreads))


def _local_moments(image: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Means and spreads, as ``Pyramid`` stores them, of an image (C, D, H, W) at one scale."""
    means, spreads = [], []
    for taken, _ in _slabs(image.shape, scheme):
        slab = image[:, taken]
        mean = smooth(slab, scheme)
        variance = smooth(slab * slab, scheme).addcmul_(mean, mean, value=-1)
        means.append(mean)
        spreads.append(variance.add_(C2 / 2).mul_(0.5))
    return torch.cat(means, 1), torch.cat(spreads, 1)


def _slabs(shape: Sequence[int], scheme: Scheme) -> Iterator[tuple[slice, slice]]:
    """Cut images (..., D, H, W) along D: planes to filter, and the planes that come out.

    Large temporary arrays cost more than the arithmetic on them; slabs stay in the cache.
    """
    depth = shape[-3] - 2 * scheme.radius
    step = max(1, SLAB_VOXELS * shape[-3] // math.prod(shape))
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        yield slice(start, stop + 2 * scheme.radius), slice(start, stop)


def smooth(images: Tensor, scheme: Scheme) -> Tensor:
    """Average (..., D, H, W) with the scheme's window; D loses a window's radius at either end.

    Sums of shifted copies are several times faster here than a convolution or a product with a
    banded matrix: 5 against 90 and 20 ms for a window of 7 on 128^3 voxels and one processor core.
    """
    for axis in (-3, -2, -1):
        if scheme.mirrored and axis != -3:
            images = _mirror(images, axis, scheme.radius)
        size = images.shape[axis] - 2 * scheme.radius
        total = images.narrow(axis, 0, size) * scheme.taps[0]
        for offset, weight in enumerate(scheme.taps[1:], start=1):
            total.add_(images.narrow(axis, offset, size), alpha=weight)
        images = total
    return images


def _mirror(images: Tensor, axis: int, radius: int) -> Tensor:
    """Extend by ``radius`` voxels to both sides; short axes are mirrored more than once."""
    while radius > 0:
        size = images.shape[axis]
        step = min(radius, size)
        head = images.narrow(axis, 0, step).flip(axis)
        tail = images.narrow(axis, size - step, step).flip(axis)
        images = torch.cat([head, images, tail], axis)
        radius -= step
    return images


def scale_terms(first: Sequence[Pyramid], second: Sequence[Pyramid], scheme: Scheme) -> Array:
    """Compare volumes one to one at every scale; only the products of the two are filtered here.

    Args:
        first: B pyramids.
        second: B pyramids of equal shape.
        scheme: The scheme all pyramids were made with.

    Returns:
        (B, scales): mean contrast-structure term of each scale, at the last one times luminance.
    """
    last = len(scheme.exponents) - 1
    terms = np.zeros((len(first), last + 1))
    for scale in range(last + 1):
        shape = (len(first), *first[0].images[scale].shape)
        for taken, out in _slabs(shape, scheme):
            x, y = (torch.stack([p.images[scale][:, taken] for p in s]) for s in (first, second))
            mean_x, mean_y = (
                torch.stack([p.means[scale][:, out] for p in s]) for s in (first, second)
            )
            spread = torch.stack([p.spreads[scale][:, out] for p in first])
            spread += torch.stack([p.spreads[scale][:, out] for p in second])
            covariance = smooth(x.mul_(y), scheme).addcmul_(mean_x, mean_y, value=-1)
            similarity = covariance.add_(C2 / 2).div_(spread)  # (B, C, D, H, W)
            if scale == last:
                similarity *= _luminance(mean_x + _floors(first), mean_y + _floors(second))
            terms[:, scale] += similarity.sum(-1).sum((1, 2, 3), dtype=torch.float64).numpy()
        terms[:, scale] /= first[0].means[scale].numel()
    return terms


def _luminance(mean_x: Tensor, mean_y: Tensor) -> Tensor:
    return (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)


def _floors(pyramids: Sequence[Pyramid]) -> Tensor:
    return torch.tensor([p.floor for p in pyramids]).view(-1, 1, 1, 1, 1)


def combine(terms: Array, exponents: Sequence[float]) -> tuple[Array, NDArray[np.bool_]]:
    """Multiply scale terms, each to its exponent; negative ones and NaN count as 0.

    Args:
        terms: (B, scales), in [-1, 1].
        exponents: One a scale.

    Returns:
        MS-SSIM of the B pairs, in [0, 1], and which of them had a term set to 0.
    """
    bad = ~(terms >= 0)
    return np.prod(np.where(bad, 0.0, terms) ** np.asarray(exponents), axis=1), bad.any(axis=1)


def ms_ssim(first: Volume, second: Volume, scheme: Scheme) -> float:
    """MS-SSIM of two volumes.

    Args:
        first: (C, D, H, W), float32 in [-1, 1].
        second: The same shape and range.
        scheme: ``standard_scheme(first.shape)`` or ``kwon_scheme(first.shape)``.

    Returns:
        Similarity in [0, 1]; 1 for equal volumes.

    Raises:
        MetricError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise MetricError(
            f"Volumes of shapes {first.shape} and {second.shape} cannot be compared; "
            "MS-SSIM needs equal shapes. Resample one of them."
        )
    terms = scale_terms([pyramid(first, scheme)], [pyramid(second, scheme)], scheme)
    return float(combine(terms, scheme.exponents)[0][0])


@dataclass(frozen=True)
class PairTable:
    """Similarities of random pairs of one set.

    Attributes:
        n: Volumes in the set.
        pairs: (P, 2) indices i < j.
        values: (P,) similarities.
        n_zero: Pairs with a scale term that was set to 0.
        label: Window and scales, for example ``win7/sc5``.
    """

    n: int
    pairs: NDArray[np.int64]
    values: Array
    n_zero: int
    label: str


def draw_pairs(n: int, seed: int, most: int = PAIRS) -> NDArray[np.int64]:
    """Draw min(most, n (n - 1) / 2) different pairs i < j of n volumes.

    The draw sorts raw PCG64 words, whose stream NumPy never changes between releases.

    Returns:
        (P, 2) indices in the order drawn; the same for equal n and seed.
    """
    pairs = np.stack(np.triu_indices(n, k=1), axis=1)
    order = np.argsort(np.random.PCG64(seed).random_raw(len(pairs)), kind="stable")
    return pairs[order[:most]]


def pair_table(
    volumes: Sequence[Volume],
    pairs: NDArray[np.int64],
    scheme: Scheme,
    cache_bytes: int = CACHE_BYTES,
) -> PairTable:
    """Compare pairs of volumes, filtering each volume as few times as the memory allows.

    Args:
        volumes: N volumes, (C, D, H, W) float32 in [-1, 1], equal shapes.
        pairs: (P, 2) indices.
        scheme: The definition, made for this shape.
        cache_bytes: Memory for prepared volumes.

    Returns:
        The similarities in the order of ``pairs``; they do not depend on ``cache_bytes``.

    Raises:
        MetricError: If the shapes differ.
    """
    room = max(4, cache_bytes // _checked(volumes, 0, scheme).nbytes)
    # Pairs are taken tile by tile, so that the volumes of a tile are prepared once.
    tile, batch = room // 2, max(1, SLAB_VOXELS // volumes[0].size)
    load = lru_cache(maxsize=room)(lambda index: _checked(volumes, index, scheme))
    order = np.lexsort((pairs[:, 1], pairs[:, 0], pairs[:, 1] // tile, pairs[:, 0] // tile))
    terms = np.empty((len(pairs), len(scheme.exponents)))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        first, second = ([load(int(i)) for i in pairs[rows, side]] for side in (0, 1))
        terms[rows] = scale_terms(first, second, scheme)
    values, zero = combine(terms, scheme.exponents)
    return PairTable(len(volumes), pairs, values, int(zero.sum()), scheme.label)


def _checked(volumes: Sequence[Volume], index: int, scheme: Scheme) -> Pyramid:
    volume = volumes[index]
    if volume.shape != volumes[0].shape:
        raise MetricError(
            f"Volume {index} has shape {volume.shape}, the first one {volumes[0].shape}; "
            "MS-SSIM needs equal shapes. Resample the set to one size."
        )
    return pyramid(volume, scheme)


def delete_one_volume(table: PairTable) -> Array:
    """Mean similarity of the pairs that remain when each volume in turn is left out.

    Returns:
        (n,) means; NaN where no pair remains (n = 2).
    """
    sums, counts = np.zeros(table.n), np.zeros(table.n)
    for side in (0, 1):
        np.add.at(sums, table.pairs[:, side], table.values)
        np.add.at(counts, table.pairs[:, side], 1.0)
    remaining = len(table.values) - counts
    left = table.values.sum() - sums
    return np.divide(left, remaining, out=np.full(table.n, np.nan), where=remaining > 0)


def metric_function(
    name: str, scheme_for: Callable[[Sequence[int]], Scheme], most: int = PAIRS
) -> Callable[[Sets, str], Result]:
    """Make ``compute`` of one variant; pair tables are kept on the sets, the real one for all.

    Args:
        name: Name of the metric.
        scheme_for: Shape of a volume to the definition.
        most: Pairs that are drawn of each set; all where there are fewer.
    """

    def table_of(sets: Sets, which: str) -> PairTable:
        volumes = getattr(sets, which)

        def make() -> PairTable:
            scheme = scheme_for(volumes[0].shape)
            return pair_table(volumes, draw_pairs(len(volumes), sets.seed, most), scheme)

        return volumes.keep(f"{name} pairs, seed {sets.seed}", make)

    def compute(sets: Sets, view: str) -> Result:
        generated, real = table_of(sets, "generated"), table_of(sets, "train")
        leave_out = delete_one_volume(generated)
        n = generated.n
        return Result(
            value=float(generated.values.mean()),
            real_value=float(real.values.mean()),
            n_real=real.n,
            n_generated=n,
            se=float(np.sqrt((n - 1) * np.var(leave_out))) if n > 2 else None,
            uncertainty="delete-one-volume jackknife" if n > 2 else "",
            replicates={
                "generated": leave_out.tolist() if n > 2 else [],
                "real": delete_one_volume(real).tolist() if real.n > 2 else [],
            },
            notes=(generated.label,),
            facts=_counts(generated, "") | _counts(real, "real_"),
        )

    return compute


def _counts(table: PairTable, prefix: str) -> dict[str, float]:
    counts = {f"{prefix}n_pairs": len(table.values), f"{prefix}n_zero_pairs": table.n_zero}
    if len(table.values) > 1:
        counts[f"{prefix}pair_sd"] = float(np.std(table.values, ddof=1))
    return counts


_SHARED = {
    "sigma": SIGMA,
    "weights": list(WEIGHTS),
    "c1": C1,
    "c2": C2,
    "pooling": "mean 2x2x2",
    "pairs": PAIRS,
    "draw": "without replacement, raw PCG64 words",
    "reference": "train",
}
_BLIND = (
    "It compares generated volumes with each other alone: any set of realistic diversity passes, "
    "whatever it shows."
)

MS_SSIM = Metric(
    name="ms-ssim",
    label="MS-SSIM",
    compute=metric_function("ms-ssim", standard_scheme),
    better=Better.NEAR_REAL,
    recipe={
        **_SHARED,
        "range": [0, 1],
        "window": "largest odd <= min(11, S // 16), at least 3",
        "scales": "largest M <= 5 with S // 2^(M - 1) >= window, weights renormalised if M < 5",
        "border": "valid",
        "last_exponent": "w_M",
    },
    family="ms-ssim",
    source="Wang, Simoncelli, Bovik 2003, Asilomar, equation 7",
    blind_to=_BLIND,
)

MS_SSIM_KWON = Metric(
    name="ms-ssim-kwon",
    label="MS-SSIM (Kwon)",
    compute=metric_function("ms-ssim-kwon", kwon_scheme),
    better=Better.NEAR_REAL,
    recipe={
        **_SHARED,
        "range": [-1, 1],
        "window": 13,
        "scales": 5,
        "border": "mirrored, edge voxel twice",
        "last_exponent": "4 w_5",
    },
    family="ms-ssim",
    source="Kwon et al. 2019, arXiv:1908.02498, code 3dbraingen/pytorch_ssim",
    blind_to=_BLIND,
)
