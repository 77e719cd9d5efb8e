"""Does a generator collapse while it trains? Similarity of its samples beside that of real volumes.

MS-SSIM as in MONAI, on [0, 1], with the window and scales that fit the size: only 128^3 and larger
volumes have room for a window of 7 voxels and five scales. Values of different sizes must not be
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cerebench.methods.base import Batch, Phase, Rows, Step, full_precision

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first
TOLERANCE = 0.05  # MS-SSIM above the real value from which samples count as collapsed


def window_and_weights(size: int) -> tuple[int, tuple[float, ...]]:
    """Return the edge of the window, voxels, and the weights of the scales for an edge length.

    The window is the largest odd number up to min(11, size / 16), at least 3; scales too coarse
    for it are dropped and the other weights divided by their sum.
    """
    limit = min(11, size // 16)
    window = max(3, limit - 1 + limit % 2)
    weights = [w for scale, w in enumerate(WEIGHTS) if size >> scale >= window]
    total = 1.0 if len(weights) == len(WEIGHTS) else sum(weights)
    return window, tuple(w / total for w in weights)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM of volumes paired one to one.

    Args:
        first: (B, C, S, S, S) in [-1, 1], S >= 16.
        second: Same shape and range.

    Returns:
        (B,) in [0, 1], 1 for equal volumes.
    """
    from monai.metrics.regression import compute_ms_ssim  # takes seconds to import

    window, weights = window_and_weights(first.shape[-1])
    x, y = ((v.float() + 1) / 2 for v in (first, second))
    with full_precision(x):
        return compute_ms_ssim(x, y, 3, kernel_size=window, weights=weights).flatten()


def similarity_of_real(groups: Sequence[Rows[Batch]], pairs: int) -> Tensor:
    """Mean MS-SSIM of random pairs of different volumes, each pair from one group.

    Uses torch's global generator. A group of a single volume counts as 1.
    """
    values = []
    for i in range(pairs):
        group = groups[i % len(groups)]
        first = torch.randint(len(group), (1,), device="cpu")
        offset = torch.randint(1, max(2, len(group)), (1,), device="cpu")
        pair = group.take(torch.cat((first, (first + offset) % len(group)))).images
        values.append(similarity(pair[:1], pair[1:]))
    return torch.cat(values).mean()


class Watch:
    """Measures the samples of a training every so many steps, and judges the last ones.

    Args:
        phase: Gets ``ms_ssim`` and ``ms_ssim_real``, and a warning when the similarity at the
            last step exceeds that of real volumes by more than ``TOLERANCE``.
        groups: Real volumes; pairs are made inside a group.
        pairs: Pairs of samples, and of real volumes.
        every: Steps between measurements.
        total: Steps of the phase.
    """

    def __init__(
        self, phase: Phase, groups: Sequence[Rows[Batch]], *, pairs: int, every: int, total: int
    ) -> None:
        self._phase, self._pairs, self._every, self._total = phase, pairs, every, total
        self.real = float(phase.once("real-similarity", lambda: similarity_of_real(groups, pairs)))

    def look(self, step: Step, generate: Callable[[], Tensor]) -> None:
        """Measure now if it is time; ``generate`` draws a batch, equal labels in equal places."""
        done = step.index + 1
        if done % self._every and done != self._total:
            return
        values: list[Tensor] = []
        with torch.no_grad():
            while sum(map(len, values)) < self._pairs:
                values.append(similarity(generate(), generate()))
        ms_ssim = float(torch.cat(values)[: self._pairs].mean())
        self._phase.log(always=True, ms_ssim=ms_ssim, ms_ssim_real=self.real)
        if done == self._total and ms_ssim > self.real + TOLERANCE:
            self._phase.warn(
                f"Mode collapse is likely: samples resemble each other (MS-SSIM {ms_ssim:.3f}, "
                f"{self._pairs} pairs) more than real volumes do ({self.real:.3f})."
            )
