"""Standard errors by leaving out groups of volumes (delete-group jackknife).

The volume is the unit: slices and pairs of one volume are not independent. A bootstrap would
repeat volumes, which inflates Fréchet distances and U-statistics, so it is never used for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cerebench.core.facts import Fact
from cerebench.metrics.base import Result

GROUPS = 10
RECIPE = {"method": "delete-group jackknife over volumes of each set", "groups": GROUPS}

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Uncertainty:
    """What a ``Result`` says about its error: the fields of the same names, and one more note."""

    se: float | None = None
    uncertainty: str = ""
    replicates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def result(
        self,
        value: float,
        *,
        n_real: int,
        n_generated: int,
        real_value: float | None = None,
        notes: Sequence[str] = (),
        facts: Mapping[str, Fact] | None = None,
    ) -> Result:
        """Return a metric's result with this error; arguments as in ``Result``."""
        return Result(
            value=value,
            real_value=real_value,
            n_real=n_real,
            n_generated=n_generated,
            se=self.se,
            uncertainty=self.uncertainty,
            replicates=self.replicates,
            notes=(*notes, *self.notes),
            facts=facts or {},
        )


TOO_FEW = Uncertainty(
    notes=("no standard error: leaving out a group would leave fewer than 2 volumes",)
)


def groups(ids: Sequence[str], seed: int, count: int = GROUPS) -> list[Rows]:
    """Split volumes into random groups of nearly equal size, whatever order they come in.

    Args:
        ids: One identifier a volume.
        seed: Seed of the split.
        count: Number of groups; fewer volumes make one group each.

    Returns:
        Row numbers of each group; together they are every row once.
    """
    by_id = np.argsort(np.asarray(ids), kind="stable")
    shuffled = by_id[np.random.RandomState(seed).permutation(len(ids))]
    return np.array_split(shuffled, min(count, len(ids)))


def leaves_enough(parts: Sequence[Rows], least: int = 2) -> bool:
    """Tell whether at least ``least`` volumes stay when any one group is left out."""
    return sum(map(len, parts)) - max(map(len, parts)) >= least


def standard_error(replicates: Sequence[float]) -> float:
    """Compute the jackknife error of leave-one-group-out values.

    SE^2 = (G - 1) / G * sum over g of (theta_g - mean of theta)^2.

    Args:
        replicates: The statistic without group g, G >= 2 values.

    Returns:
        Standard error, in the unit of the statistic. For the mean of n values in n groups it is
        sd / sqrt(n).

    Source: Tukey 1958; Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 11.
    """
    values = np.asarray(replicates, dtype=np.float64)
    count = len(values)
    return float(np.sqrt((count - 1) / count * np.sum((values - values.mean()) ** 2)))


def combine(replicates: Mapping[str, Sequence[float]]) -> Uncertainty:
    """Add the squared errors of independent sets and describe how the sum was made."""
    squares = [standard_error(values) ** 2 for values in replicates.values()]
    counts = sorted({len(values) for values in replicates.values()})
    described = " and ".join(map(str, counts))
    return Uncertainty(
        se=float(np.sqrt(sum(squares))),
        uncertainty=f"delete-group jackknife over volumes, {described} groups",
        replicates=replicates,
    )


def binomial_error(share: float, count: int) -> float:
    """Compute the standard error of a share of ``count`` items, two of each kind added.

    The plain form is 0 where no item counts, or each, however few there are.

    Source: Agresti and Coull 1998, The American Statistician 52.
    """
    n = count + 4
    p = (share * count + 2) / n
    return float(np.sqrt(p * (1 - p) / n))


def of_share(spread: Uncertainty, share: float, count: int) -> Uncertainty:
    """Return the error of a share, for which a jackknife error of 0 means nothing.

    Args:
        spread: Jackknife error, in the unit of ``share``.
        share: 0 to 1.
        count: Items that it is a share of.
    """
    if spread.se != 0:
        return spread
    told = "binomial (Agresti-Coull) where no volume that is left out changes the value"
    return replace(spread, se=binomial_error(share, count), uncertainty=told)


SHARE_RECIPE = {**RECIPE, "saturated": "binomial, Agresti-Coull"}


def over_two_sets(
    statistic: Callable[[Rows, Rows], float],
    generated_ids: Sequence[str],
    real_ids: Sequence[str],
    seed: int,
) -> Uncertainty:
    """Jackknife a statistic of two sets: groups of either are left out while the other is whole.

    Args:
        statistic: Maps the kept rows of the generated and of the real set to the value.
        generated_ids: One identifier a generated volume.
        real_ids: One identifier a real volume.
        seed: Seed of the groups.

    Returns:
        Error and replicates by set; no error where a set would shrink below 2 volumes.
    """
    parts = {"generated": groups(generated_ids, seed), "real": groups(real_ids, seed)}
    if not all(map(leaves_enough, parts.values())):
        return TOO_FEW
    generated, real = np.arange(len(generated_ids)), np.arange(len(real_ids))
    return combine(
        {
            "generated": [statistic(np.delete(generated, g), real) for g in parts["generated"]],
            "real": [statistic(generated, np.delete(real, g)) for g in parts["real"]],
        }
    )


def over_mean(values: NDArray[np.floating], ids: Sequence[str], seed: int) -> Uncertainty:
    """Jackknife the mean of one value a generated volume.

    Args:
        values: (N,).
        ids: One identifier a volume.
        seed: Seed of the groups.
    """
    parts = groups(ids, seed)
    if not leaves_enough(parts):
        return TOO_FEW
    return combine({"generated": [np.delete(values, g).mean() for g in parts]})
