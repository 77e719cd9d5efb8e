"""The real floor of a distance: what real volumes score that the reference lacks.

A Fréchet distance of two samples of one distribution is not 0, and depends on their sizes. Draws of
held-out cases at the same sizes give its mean and spread; a row's distance divided by that mean is
its ratio: 1 is as good as real.

At most half of the held-out cases are drawn at a time, without replacement, since draws that share
most of their cases would hide their spread; sd is corrected for the rest, sd / sqrt(1 - m / held
out). A data set that draws its cases adds fresh ones, up to ``DISTINCT`` draws' worth. Rows of more
volumes are then compared at m volumes, too, by the mean over as many draws of them. With fewer than
4 held-out cases, the reference is halved in every draw instead.

Source: [ours]; finite population correction: Cochran 1977, Sampling Techniques, section 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cerebench.core.facts import (
    FLOOR,
    FLOOR_ACROSS,
    FLOOR_M,
    FLOOR_N,
    FLOOR_OF_SITES,
    FLOOR_SD,
    FLOOR_WITHIN,
    RATIO,
    Fact,
)
from cerebench.metrics.base import Array, Sets, VolumeSet

DRAWS = 20
LEAST = 2
DISTINCT = 10  # draws that share no case, where a data set draws fresh ones
MOST_FRESH = 1000  # of a class
SITE_LEAST = 4  # cases on either side
RECIPE = {
    "draws": DRAWS,
    "of": "held-out cases without replacement, at most half of them; else halves of the reference",
    "fresh": f"as many as {DISTINCT} draws without a common case need, at most {MOST_FRESH}, of a "
    "data set that draws its cases",
    "ratio": "value at the size of the draws / mean of the draws",
    "sites": f"within and across sites of {2 * SITE_LEAST} cases or more, as many draws",
}
NONE = "no ratio to the real floor: fewer than 4 real volumes to draw from"


def fresh_cases(m: int, held_out: int) -> int:
    """Return how many fresh cases of a class the floor of m volumes uses beside those held out.

    Example:
        >>> fresh_cases(64, 200), fresh_cases(8, 200), fresh_cases(250, 200)
        (440, 0, 1000)
    """
    return min(max(DISTINCT * m - held_out, 0), MOST_FRESH)


Distance = Callable[[Array, Array], float]


@dataclass(frozen=True)
class Floor:
    """Distances between real volumes.

    Attributes:
        mean: Of the draws.
        sd: Of the draws, corrected for cases that they share.
        m: Volumes of a draw.
        n: Volumes of the reference.
        halves: Rows of the reference of each draw, where there are no held-out cases.
    """

    mean: float
    sd: float
    m: int
    n: int
    halves: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


def real_floor(distance: Distance, held_out: Array, reference: Array, m: int, seed: int) -> Floor:
    """Compute the distances between real volumes.

    Args:
        distance: Maps (m, dim) and (n, dim) to the distance.
        held_out: (t, dim), t = 0 or t >= 4.
        reference: (n, dim), n >= 4 where t = 0.
        m: Volumes of a row.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng([seed, DRAWS])
    if len(held_out):
        size, halves = min(m, len(held_out) // 2), ()
        draws = [rng.permutation(len(held_out))[:size] for _ in range(DRAWS)]
        found = [distance(held_out[draw], reference) for draw in draws]
        share = size / len(held_out)
        n = len(reference)
    else:
        n = len(reference) // 2
        size, share = min(m, n), 0.0
        orders = [rng.permutation(len(reference)) for _ in range(DRAWS)]
        halves = tuple((order[:n], order[n : n + size]) for order in orders)
        found = [distance(reference[draw], reference[kept]) for kept, draw in halves]
    spread = float(np.std(found, ddof=1) / np.sqrt(1 - share))
    return Floor(float(np.mean(found)), spread, size, n, halves)


def at_floor(distance: Distance, x: Array, reference: Array, floor: Floor, seed: int) -> float:
    """Compute a row's distance at the sizes of the floor: the mean over as many draws.

    Args:
        distance: As in ``real_floor``.
        x: (m, dim) of the row.
        reference: (n, dim).
        floor: The floor.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng([seed, DRAWS + 1])
    kept = [half[0] for half in floor.halves] or [np.arange(len(reference))] * DRAWS
    draws = [rng.permutation(len(x))[: floor.m] for _ in range(DRAWS)]
    return float(np.mean([distance(x[d], reference[k]) for d, k in zip(draws, kept, strict=True)]))


def ratio(
    name: str, distance: Distance, sets: Sets, value: float, x: Array, reference: Array,
    held_out: Array,
) -> tuple[dict[str, Fact], tuple[str, ...]]:  # fmt: skip
    """Compare a distance with its real floor.

    Args:
        name: Of the metric; the floor is kept with the reference under it.
        distance: Maps two arrays of features to the distance.
        sets: The sets.
        value: The row's distance.
        x: (m, dim) of the row.
        reference: (n, dim).
        held_out: (t, dim); t may be 0.

    Returns:
        Facts that reports know (``cerebench.core.facts``), and notes; no fact where there are too
        few cases for a floor.
    """
    if len(held_out) < 2 * LEAST:
        held_out = held_out[:0]
    if not len(held_out) and len(reference) < 2 * LEAST:
        return {}, (NONE,)
    floor = _kept(name, distance, sets.train, sets.test, held_out, reference, len(x), sets.seed)
    whole = floor.m == len(x) and not floor.halves
    own = value if whole else at_floor(distance, x, reference, floor, sets.seed)
    facts: dict[str, Fact] = {
        FLOOR: floor.mean,
        FLOOR_SD: floor.sd,
        FLOOR_M: floor.m,
        FLOOR_N: floor.n,
    }
    if floor.mean > 0:
        facts[RATIO] = own / floor.mean
    sites = (*sets.train.sites, *sets.test.sites)[: len(reference) + len(held_out)]
    if len(sites) == len(reference) + len(held_out):
        facts |= sets.train.keep(
            f"floor of sites {name} {sets.seed} {id(sets.test)}",
            lambda: floor_of_sites(
                distance, np.concatenate([reference, held_out]), sites, sets.seed
            ),
        )
    return facts, ()


def floor_of_sites(
    distance: Distance, features: Array, sites: Sequence[str], seed: int
) -> dict[str, Fact]:
    """Compare cases of one site with others of it, and with those of another site.

    Args:
        distance: Maps (m, dim) twice to the distance.
        features: (N, dim) of real cases of one class.
        sites: N sites; an empty one is not known.
        seed: Seed of the draws.

    Returns:
        Mean distance of both kinds over as many draws at equal sizes, and the size; nothing where
        fewer than two sites have 8 cases.
    """
    rows = {s: np.flatnonzero(np.array(sites) == s) for s in sorted({*sites} - {""})}
    rows = {site: own for site, own in rows.items() if len(own) >= 2 * SITE_LEAST}
    if len(rows) < 2:
        return {}
    names, rng = list(rows), np.random.default_rng([seed, DRAWS + 2])
    k = min(len(own) for own in rows.values()) // 2
    within, across = [], []
    for draw in range(DRAWS):
        first = names[draw % len(names)]
        second = names[(draw + 1 + rng.integers(len(names) - 1)) % len(names)]
        one, other = (rng.permutation(rows[site]) for site in (first, second))
        within.append(distance(features[one[:k]], features[one[k : 2 * k]]))
        across.append(distance(features[one[:k]], features[other[:k]]))
    return {
        FLOOR_WITHIN: float(np.mean(within)),
        FLOOR_ACROSS: float(np.mean(across)),
        FLOOR_OF_SITES: k,
    }


def _kept(
    name: str, distance: Distance, train: VolumeSet, test: VolumeSet, held_out: Array,
    reference: Array, m: int, seed: int,
) -> Floor:  # fmt: skip
    """Return the floor, which all rows of one size share."""
    key = f"floor {name} {m} {seed} {id(test)}"
    return train.keep(key, lambda: real_floor(distance, held_out, reference, m, seed))
