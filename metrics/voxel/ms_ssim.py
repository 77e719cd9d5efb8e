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

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cerebench.metrics.base import Array, Better, Metric, Result, Sets
from cerebench.metrics.voxel.schemes import (
    C1,
    C2,
    PAIRS,
    SIGMA,
    WEIGHTS,
    Scheme,
    kwon_scheme,
    standard_scheme,
)

if TYPE_CHECKING:
    from cerebench.metrics.voxel.pyramids import PairTable


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
        from cerebench.metrics.voxel.pyramids import draw_pairs, pair_table  # imports torch

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
    counts: dict[str, float] = {
        f"{prefix}n_pairs": len(table.values),
        f"{prefix}n_zero_pairs": table.n_zero,
    }
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
