"""Structural similarity of two volumes, scale by scale, from what each needs only once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from cerebench.metrics.base import Array, MetricError, Volume
from cerebench.metrics.voxel.schemes import (
    C1,
    C2,
    PAIRS,
    Scheme,
)

SLAB_VOXELS = 2**17  # filtered at once: few enough to stay in the processor's cache
DRAW_BLOCK = 2**20  # pairs whose words are held at once while some are drawn


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


CACHE_BYTES = 512 * 2**20


def combine(terms: Array, exponents: Sequence[float]) -> tuple[Array, NDArray[np.bool_]]:
    """Multiply scale terms, each to its exponent; negative ones and NaN count as 0.

    Args:
        terms: (B, scales), in [-1, 1].
        exponents: One a scale.

    Returns:
        MS-SSIM of the B pairs, in [0, 1], and which of them had a term set to 0.
    """
    bad = ~(terms >= 0)
    return np.prod(np.where(bad, 0.0, terms) ** np.asarray(exponents), axis=1), np.any(bad, axis=1)


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

    Each pair has a raw PCG64 word, whose stream NumPy never changes between releases; the pairs
    with the smallest words are drawn. Words are looked at block by block, so memory does not grow
    with the number of pairs.

    Returns:
        (P, 2) indices in the order drawn; the same for equal n and seed.
    """
    total, generator = n * (n - 1) // 2, np.random.PCG64(seed)
    words, drawn = np.empty(0, np.uint64), np.empty(0, np.int64)
    for start in range(0, total, DRAW_BLOCK):
        block = generator.random_raw(min(DRAW_BLOCK, total - start))
        # Of equal words the earlier one wins, so a later one must be smaller.
        able = np.flatnonzero(block < words[-1]) if len(words) == most else np.arange(len(block))
        words, drawn = np.append(words, block[able]), np.append(drawn, start + able)
        first = np.argsort(words, kind="stable")[:most]
        words, drawn = words[first], drawn[first]
    # Pairs are numbered row by row: (0, 1), (0, 2), …, (1, 2), …
    i = np.arange(n)
    row_starts = i * (2 * n - i - 1) // 2
    rows = np.searchsorted(row_starts[:-1], drawn, side="right") - 1
    return np.stack([rows, drawn - row_starts[rows] + rows + 1], axis=1)


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
