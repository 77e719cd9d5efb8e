"""Which tokens a masked transformer sees corrupted, chosen by their importance scores.

Half of the corrupted tokens are important ones, taken in pairs of neighbours, and become [MASK];
the other half are unimportant ones and become random codes.

Source: Zhou and Khalvati, MIDL 2024, section 2.2 and appendix B, and their released code.

Departures of mode ``paper`` from the released code, which mode ``reference`` keeps: 1. draws are
uniform, there their probability grows with the raster index of a token; 2. neighbours lie inside
the grid, there the last token of a row has its neighbour in the next row; 3. unimportant tokens
come from outside the top scores, there from all that are left; 4. tokens at the borders of slices
are not protected, there they count as the least important. Double-sided ``reference`` is ours: the
same draws with both raster neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from cerebench.methods.base import BadConfig

Grid = tuple[int, int, int]
Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """Tables of the walk.

    Attributes:
        partners: One table per side of the coin (0 along W, 1 along D, 2 along H): partners of
            each token, which are chosen together with it.
        blocked: Tokens that cannot start any more once this token did.
    """

    partners: tuple[tuple[tuple[int, ...], ...], ...]
    blocked: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Masking:
    """How tokens are corrupted.

    Attributes:
        grid: Tokens along (D, H, W); token i = (d H + h) W + w.
        ratio: Fraction of tokens that is corrupted, in [0, 1].
        top_k: Fraction of tokens that counts as important, in [0, 1]. If that is not even one
            token, all corrupted tokens are drawn without regard to scores and become random codes.
        sides: Neighbours chosen together with an important token: 1, or both (2).
        mode: ``paper``, or ``reference`` for the behaviour of the released code.
        protect_links: Whether first and last tokens of slices, at the borders between slices,
            count as the least important; ``reference`` always does.
        height_axis: Whether neighbours along H are taken as well as those along W and D.
    """

    grid: Grid
    ratio: float = 0.5
    top_k: float = 0.25
    sides: int = 1
    mode: str = "paper"
    protect_links: bool = False
    height_axis: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible settings.

        Raises:
            BadConfig: If the grid is not three positive integers, a fraction is outside [0, 1],
                ``sides`` or ``mode`` is unknown, or ``reference`` is combined with
                ``height_axis``.
        """
        if len(self.grid) != 3 or min(self.grid) < 1:
            raise BadConfig(
                f"grid = {self.grid!r} is no grid of tokens. Set it to three positive integers, "
                "tokens along D, H and W."
            )
        for name in ("ratio", "top_k"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise BadConfig(f"{name} = {value!r} is no fraction. Set it to 0, 1 or between.")
        if self.sides not in (1, 2):
            raise BadConfig(f"sides = {self.sides!r} is impossible. Set it to 1 or 2.")
        if self.mode not in ("paper", "reference"):
            raise BadConfig(f"No mode named {self.mode!r}. Set it to 'paper' or 'reference'.")
        if self.mode == "reference" and self.height_axis:
            raise BadConfig(
                "height_axis = True in mode 'reference': the released code knows no neighbours "
                "along H. Set height_axis = False, or mode = 'paper'."
            )

    def choose(self, scores: np.ndarray, rng: np.random.Generator) -> tuple[Tokens, Tokens]:
        """Choose the tokens of one volume that are corrupted.

        Args:
            scores: (L,) importance of the tokens in raster order; only their order counts.
            rng: Source of all randomness.

        Returns:
            Important and unimportant tokens, disjoint, in no particular order. With
            N = int(ratio L) there are N // 2 important ones and N - N // 2 unimportant ones;
            none and N if int(top_k L) is 0.

        Raises:
            ValueError: If there is not exactly one score per token, or a score is NaN.
        """
        order = np.argsort(-self._rankable(scores), kind="stable")
        length, size = len(order), int(self.top_k * len(order))
        count = int(self.ratio * length)
        n_important = count // 2 if size else 0
        top, rest = order[:size], order[size:]

        important = self._important(top, rest, n_important, rng)
        free = np.ones(length, dtype=bool)
        free[important] = False
        n_unimportant = count - n_important
        pool = rest[free[rest]]
        if self._reference or len(pool) < n_unimportant:
            pool = np.flatnonzero(free)
        return important, self._draw(pool, n_unimportant, rng)

    def corrupt(
        self, tokens: np.ndarray, scores: np.ndarray, codes: int, rng: np.random.Generator
    ) -> tuple[Tokens, NDArray[np.bool_]]:
        """Corrupt the tokens of a batch.

        Args:
            tokens: (B, L) integers in [0, codes), raster order; not modified.
            scores: (B, L) importance of the tokens.
            codes: Size of the codebook; also the id of [MASK].
            rng: Source of all randomness.

        Returns:
            (B, L) int64 in [0, codes]: important tokens are ``codes``, unimportant ones uniform in
            [0, codes), the others as they were; and (B, L) bool, the tokens chosen, of which a
            random code may by chance be the original one.

        Raises:
            ValueError: If the two shapes differ, or as in ``choose``.
        """
        if tokens.shape != scores.shape:
            raise ValueError(
                f"Tokens have shape {tokens.shape} and scores {scores.shape}; both must be "
                "(volumes, tokens). Compute them from the same volumes."
            )
        result = np.array(tokens, dtype=np.int64)
        places = np.zeros(result.shape, dtype=bool)
        for row, row_places, row_scores in zip(result, places, scores, strict=True):
            important, unimportant = self.choose(row_scores, rng)
            row[important] = codes
            row[unimportant] = rng.integers(codes, size=len(unimportant))
            row_places[important] = row_places[unimportant] = True
        return result, places

    @property
    def _reference(self) -> bool:
        """Whether the behaviour is that of the released code."""
        return self.mode == "reference"

    @property
    def _neighbours(self) -> Neighbours:
        """The tables of the mode."""
        if self._reference:
            return raster_neighbours(self.grid, self.sides)
        return grid_neighbours(self.grid, self.sides, self.height_axis)

    def _rankable(self, scores: np.ndarray) -> np.ndarray:
        """Return the scores as float64, those of protected tokens as the lowest."""
        values = np.array(scores, dtype=np.float64)
        if values.shape != (prod(self.grid),):
            raise ValueError(
                f"Scores have shape {values.shape}; a grid of {self.grid} needs one score for "
                f"each of {prod(self.grid)} tokens. Pass the scores of one volume, flattened."
            )
        if np.isnan(values).any():
            raise ValueError(
                f"{np.isnan(values).sum()} of {len(values)} scores are NaN; each must be a "
                "number. Look for a diverged autoencoder."
            )
        if self.protect_links or self._reference:
            area = self.grid[1] * self.grid[2]
            borders = np.arange(area, len(values), area)
            values[borders] = values[borders - 1] = -np.inf
        return values

    def _important(self, top: Tokens, rest: Tokens, count: int, rng: np.random.Generator) -> Tokens:
        """Walk from random tokens of the top; then the best of the rest, up to ``count``."""
        block = 1 + self.sides
        n_starts = count // block if self._reference else ceil(count / block)
        starts = self._draw(top, min(n_starts, len(top)), rng)
        neighbours = self._neighbours
        coins = rng.integers(len(neighbours.partners), size=len(starts))
        blocks = walk(starts.tolist(), coins.tolist(), neighbours, count)
        tokens = np.fromiter(chain.from_iterable(blocks), np.int64)
        free = np.ones(len(top) + len(rest), dtype=bool)
        free[tokens] = False
        spares = np.concatenate((rest, top))
        return np.concatenate((tokens, spares[free[spares]][: count - len(tokens)]))

    def _draw(self, pool: Tokens, count: int, rng: np.random.Generator) -> Tokens:
        """Draw without replacement: uniformly, or weighted by raster index as the reference."""
        if not self._reference:
            return rng.permutation(pool)[:count]
        # Waiting times of rates proportional to the index: the earliest ones are successive
        # weighted draws. Token 0 comes last, so that it is drawn only if no other is left.
        speed = pool / rng.exponential(size=len(pool))
        return pool[np.argsort(-speed)[:count]]


def walk(
    starts: Sequence[int], coins: Sequence[int], neighbours: Neighbours, limit: int
) -> list[tuple[int, ...]]:
    """Choose starts with their partners, in order, without any randomness of its own.

    A start is skipped if an earlier one blocked it or if the limit would be exceeded.

    Args:
        starts: Tokens to start from, each at most once.
        coins: For each start, which table of partners applies.
        neighbours: Tables of the grid.
        limit: Largest number of tokens to choose.

    Returns:
        For each start that was kept, the tokens it added: itself, unless it was chosen already,
        then its partners. No token occurs twice.
    """
    members: set[int] = set()
    blocked: set[int] = set()
    blocks = []
    for start, coin in zip(starts, coins, strict=True):
        if start in blocked:
            continue
        tokens = (start, *neighbours.partners[coin][start])
        block = tuple(token for token in tokens if token not in members)
        if len(members) + len(block) > limit:
            continue
        members.update(block)
        blocked.update(neighbours.blocked[start])
        blocks.append(block)
    return blocks


@lru_cache
def grid_neighbours(grid: Grid, sides: int = 1, height_axis: bool = False) -> Neighbours:
    """Return the tables of mode ``paper``: neighbours along W, D and, if asked, H.

    The one partner along an axis is the next token, or the previous one at the far end of the
    axis; an axis of length 1 has none. With two sides both are partners. Blocked are all.
    """
    axes = (2, 0, 1) if height_axis else (2, 0)
    both = tuple(_along(grid, axis) for axis in axes)
    return Neighbours(
        partners=tuple(tuple(pair[:sides] for pair in table) for table in both),
        blocked=tuple(tuple(chain.from_iterable(pairs)) for pairs in zip(*both, strict=True)),
    )


@lru_cache
def raster_neighbours(grid: Grid, sides: int = 1) -> Neighbours:
    """Return the tables of mode ``reference``: raster index ±1 and ± one slice.

    A neighbour outside the raster is left out.
    """
    length, area = prod(grid), grid[1] * grid[2]

    def inside(*tokens: int) -> tuple[int, ...]:
        return tuple(token for token in tokens if 0 <= token < length)

    def partners(token: int, coin: int) -> tuple[int, ...]:
        if sides == 1:
            return inside(raster_partner(token, coin, grid))
        stride = (1, area)[coin]
        return inside(token + stride, token - stride)

    return Neighbours(
        partners=tuple(tuple(partners(t, coin) for t in range(length)) for coin in (0, 1)),
        blocked=tuple(inside(t + 1, t - 1, t + area, t - area) for t in range(length)),
    )


def raster_partner(token: int, coin: int, grid: Grid) -> int:
    """Return the neighbour that the released code takes, along W (coin 0) or D (coin 1).

    Along W it is the next token, which for the last one of a row lies in another row, but the
    previous one near both ends of a slice; before token 0 this is -1.
    """
    area = grid[1] * grid[2]
    if coin == 0:
        return token + 1 if 2 < token % area < area - 2 else token - 1
    return token + area if token + area < prod(grid) else token - area


def _along(grid: Grid, axis: int) -> tuple[tuple[int, ...], ...]:
    """Return, for each token, the next and the previous one along an axis where they exist."""
    length, stride = grid[axis], prod(grid[axis + 1 :])

    def pair(token: int) -> tuple[int, ...]:
        position = token // stride % length
        after = (token + stride,) if position + 1 < length else ()
        before = (token - stride,) if position > 0 else ()
        return after + before

    return tuple(pair(token) for token in range(prod(grid)))
