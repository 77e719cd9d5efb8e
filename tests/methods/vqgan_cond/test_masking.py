"""Masking: invariants, deterministic walks, statistics on independent scores, degenerate cases."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy import stats

from cerebench.methods.base import BadConfig
from cerebench.methods.vqgan_cond.masking import (
    Masking,
    grid_neighbours,
    raster_neighbours,
    raster_partner,
    walk,
)

CUBE = (8, 8, 8)
GRIDS = (CUBE, (4, 4, 4), (2, 2, 2), (3, 4, 5), (1, 8, 8))
RATIOS = (0, 0.1, 0.25, 0.5, 0.75, 1)
TOPS = (0, 0.05, 0.25, 0.5, 1)
VARIANTS = {
    "single": {},
    "double": {"sides": 2},
    "links": {"protect_links": True},
    "height": {"height_axis": True},
    "double height": {"sides": 2, "height_axis": True},
    "reference": {"mode": "reference"},
    "double reference": {"mode": "reference", "sides": 2},
}


def _tokens(blocks):
    return {token for block in blocks for token in block}


def _size(grid):
    return int(np.prod(grid))


def _near(values, golden, digit, draws):
    """Whether the mean of values agrees with a published mean of as many draws as stated.

    The bound is the rounding of the published number, half its last digit, plus 4 standard
    errors of the difference of the two means.
    """
    values = np.asarray(values, dtype=float)
    error = values.std(0, ddof=1) * np.sqrt(1 / len(values) + 1 / draws)
    return bool(np.all(np.abs(values.mean(0) - golden) <= digit / 2 + 4 * error))


@pytest.fixture(scope="module")
def drawn():
    """Choices on independent uniform scores by mode: scores, important and unimportant tokens."""
    rng = np.random.default_rng(0)

    def draw(masking, n):
        scores = rng.random((n, 512))
        return [(row, *masking.choose(row, rng)) for row in scores]

    return {
        "paper": draw(Masking(CUBE), 2000),
        "reference": draw(Masking(CUBE, mode="reference"), 480),
        "random": draw(Masking(CUBE, top_k=0), 480),
        "random reference": draw(Masking(CUBE, top_k=0, mode="reference"), 480),
    }


def _slice_fractions(draws):
    """Fraction of corrupted tokens by depth slice, one row a draw: (n, 8)."""
    return np.array([np.bincount(np.r_[i, u] // 64, minlength=8) / 64 for _, i, u in draws])


def _inside_top(draws, which):
    return [len(np.intersect1d(np.argsort(-d[0])[:128], d[which])) for d in draws]


# --- invariants ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("constant", [False, True], ids=["random scores", "constant scores"])
def test_both_sets_have_their_sizes_and_share_nothing(grid, variant, constant):
    rng, size = np.random.default_rng(0), _size(grid)
    for ratio, top in product(RATIOS, TOPS):
        masking = Masking(grid, ratio, top, **VARIANTS[variant])
        scores = np.zeros(size) if constant else rng.random(size)
        important, unimportant = masking.choose(scores, rng)
        total = int(ratio * size)
        n_important = total // 2 if int(top * size) else 0
        assert len(set(important.tolist())) == len(important) == n_important
        assert len(set(unimportant.tolist())) == len(unimportant) == total - n_important
        assert not set(important.tolist()) & set(unimportant.tolist())
        chosen = np.r_[important, unimportant]
        assert total == 0 or (chosen.min() >= 0 and chosen.max() < size)


def test_unimportant_tokens_avoid_the_top_scores():
    rng = np.random.default_rng(0)
    for grid, sides in product(GRIDS, (1, 2)):
        scores = rng.random(_size(grid))
        _, unimportant = Masking(grid, sides=sides).choose(scores, rng)
        top = np.argsort(-scores)[: int(0.25 * _size(grid))]
        assert not np.intersect1d(top, unimportant).size


def test_unimportant_tokens_come_from_everywhere_when_the_rest_is_too_small():
    scores = np.arange(64.0)
    _, unimportant = Masking((4, 4, 4), ratio=1, top_k=0.75).choose(
        scores, np.random.default_rng(0)
    )
    assert len(np.intersect1d(np.argsort(-scores)[:48], unimportant)) > 0


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("grid", [CUBE, (3, 4, 5)], ids=str)
def test_important_tokens_are_top_ones_their_neighbours_or_the_best_of_the_rest(grid, sides):
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.random(_size(grid))
        important, _ = Masking(grid, sides=sides).choose(scores, rng)
        order = np.argsort(-scores)
        n_top = len(order) // 4
        top, rest = set(order[:n_top].tolist()), order[n_top:].tolist()
        place = {t: np.array(np.unravel_index(t, grid)) for t in range(len(order))}
        starts = [place[t] for t in important.tolist() if t in top]
        chosen = set(important.tolist())

        def touches(token, starts=starts, place=place):
            steps = [np.abs(place[token] - s) for s in starts]
            return any(s.sum() == 1 and s[1] == 0 for s in steps)

        fills = [k for k, t in enumerate(rest) if t in chosen and not touches(t)]
        assert all(t in chosen for t in rest[: max(fills, default=-1) + 1])


# --- the walk -----------------------------------------------------------------------------------

TABLES = {"paper": grid_neighbours(CUBE), "reference": raster_neighbours(CUBE)}


@pytest.mark.parametrize("mode", TABLES)
def test_known_starts_give_known_tokens_in_both_modes(mode):
    starts = [10, 11, 74, 200]
    temporal = walk(starts, [1] * 4, TABLES[mode], 128)
    spatial = walk(starts, [0] * 4, TABLES[mode], 128)
    assert temporal == [(10, 74), (200, 264)]
    assert spatial == [(10, 11), (200, 201)]


@pytest.mark.parametrize(
    ("token", "coin", "partner"),
    [
        *((a, 0, b) for a, b in ((0, 1), (7, 6), (64, 65), (66, 67), (71, 70), (126, 127))),
        (127, 0, 126),
        *((a, 1, b) for a, b in ((447, 511), (448, 384), (511, 447))),
    ],
)
def test_neighbours_of_the_paper_stay_in_the_grid(token, coin, partner):
    assert walk([token], [coin], TABLES["paper"], 128) == [(token, partner)]


@pytest.mark.parametrize(
    ("token", "coin", "partner"),
    [
        *((a, 0, b) for a, b in ((64, 63), (65, 64), (66, 65), (67, 68), (71, 72), (125, 126))),
        (126, 0, 125),
        *((a, 1, b) for a, b in ((447, 511), (448, 384), (500, 436), (511, 447))),
    ],
)
def test_neighbours_of_the_reference_follow_the_raster(token, coin, partner):
    assert walk([token], [coin], TABLES["reference"], 128) == [(token, partner)]


def test_token_zero_of_the_reference_has_a_partner_outside_that_is_left_out():
    assert raster_partner(0, 0, CUBE) == -1
    assert walk([0], [0], TABLES["reference"], 128) == [(0,)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_partners_are_one_step_away_along_the_axis_of_the_coin(grid):
    tables = grid_neighbours(grid, height_axis=True)
    for axis, partners in zip((2, 0, 1), tables.partners, strict=True):
        for token in range(_size(grid)):
            start = np.array(np.unravel_index(token, grid))
            expected = np.eye(3, dtype=int)[axis]
            inside = start + expected if start[axis] + 1 < grid[axis] else start - expected
            reached = [tuple(np.unravel_index(p, grid)) for p in partners[token]]
            assert reached == ([tuple(inside)] if grid[axis] > 1 else [])


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_two_sides_are_all_neighbours_inside_the_grid(grid):
    for axis, partners in zip((2, 0), grid_neighbours(grid, sides=2).partners, strict=True):
        for token in range(_size(grid)):
            start = np.array(np.unravel_index(token, grid))
            places = [start + s * np.eye(3, dtype=int)[axis] for s in (1, -1)]
            inside = [tuple(p) for p in places if 0 <= p[axis] < grid[axis]]
            assert [tuple(np.unravel_index(p, grid)) for p in partners[token]] == inside


@pytest.mark.parametrize("height", [False, True])
def test_no_two_starts_are_neighbours(height):
    grid = (3, 4, 5)
    rng, axes = np.random.default_rng(0), 3 if height else 2
    tables = grid_neighbours(grid, height_axis=height)
    touched_along_height = False
    for _ in range(50):
        order = rng.permutation(60)
        kept = [b[0] for b in walk(order.tolist(), rng.integers(axes, size=60), tables, 60)]
        # A start that an earlier one had chosen would be blocked: the first token is the start.
        places = [np.array(np.unravel_index(t, grid)) for t in kept]
        steps = [np.abs(a - b) for i, a in enumerate(places) for b in places[:i]]
        assert not any(s.sum() == 1 and (height or s[1] == 0) for s in steps)
        touched_along_height |= any(s.sum() == 1 and s[1] == 1 for s in steps)
    assert touched_along_height != height


def test_two_starts_may_share_a_partner_which_counts_once():
    assert walk([8, 10], [0, 0], grid_neighbours(CUBE, sides=2), 128) == [(8, 9), (10, 11)]


def test_the_walk_never_exceeds_its_limit_but_goes_on_with_smaller_blocks():
    tables = grid_neighbours(CUBE, sides=2)
    # Three tokens each in the middle of a row, two at its end.
    assert walk([10, 20, 32], [0, 0, 0], tables, 5) == [(10, 11, 9), (32, 33)]
    assert walk([10], [0], tables, 2) == []
    assert walk([9, 11], [0, 0], tables, 5) == [(9, 10, 8), (11, 12)]  # 10 is there already


def test_an_odd_number_of_important_tokens_gets_a_start_for_its_half_block():
    # One slice only: a start whose coin says D has no partner and fits alone.
    scores, rng = np.arange(64.0), np.random.default_rng(0)
    masking = Masking((1, 8, 8), ratio=2 / 64, top_k=1 / 64)
    hits = sum(masking.choose(scores, rng)[0].tolist() == [63] for _ in range(400))
    assert 160 < hits < 240  # a fair coin, 4 standard errors


def test_the_double_sided_walk_fills_what_its_blocks_of_three_leave_open():
    rng = np.random.default_rng(0)
    for ratio in (0.5, 0.49, 0.48):  # 128, 125 and 122 important tokens, none divisible by 3
        important, _ = Masking(CUBE, ratio, sides=2).choose(rng.random(512), rng)
        assert len(important) % 3 > 0
        assert len(set(important.tolist())) == int(ratio * 512) // 2


# --- statistics on independent scores -----------------------------------------------------------


def test_paper_mode_has_its_published_statistics(drawn):
    rng = np.random.default_rng(1)
    kept = []
    for _ in range(2000):
        starts = rng.permutation(512)[:64]  # the top quarter of independent scores is any quarter
        kept.append(len(walk(starts.tolist(), rng.integers(2, size=64), TABLES["paper"], 128)))
    assert _near(kept, 52.6, 0.1, 2000)
    assert _near(_inside_top(drawn["paper"], 1), 63.0, 0.1, 2000)
    assert max(_inside_top(drawn["paper"], 2)) == 0


def test_paper_mode_corrupts_all_depths_alike(drawn):
    fractions = _slice_fractions(drawn["paper"])
    assert fractions.mean() == 0.5
    assert np.all((fractions.mean(0) > 0.45) & (fractions.mean(0) < 0.55))
    # Published extremes, rounded to 0.001: a mild effect of the edges, sampling error 0.0014.
    assert _near(fractions[:, 0], 0.475, 0.001, 2000)
    assert _near(fractions[:, 6], 0.528, 0.001, 2000)


@pytest.mark.parametrize("height", [False, True])
def test_paper_mode_takes_every_token_now_and_then(height):
    masking, rng = Masking((4, 4, 4), height_axis=height), np.random.default_rng(0)
    counts = np.zeros(64)
    for _ in range(600):
        important, _ = masking.choose(rng.random(64), rng)
        counts[important] += 1
    # 16 of 64 tokens each time: 150 of 600, sd 10.6; edges have fewer neighbours, hence the width.
    assert counts.sum() == 600 * 16
    assert 75 < counts.min() < counts.max() < 225


def test_replacement_without_scores_is_uniform_over_depths(drawn):
    assert _slice_p_value(drawn["random"]) > 0.01
    assert _slice_p_value(drawn["random reference"]) < 1e-9
    assert all(len(important) == 0 for _, important, _ in drawn["random"])


def _slice_p_value(draws):
    """Chi-squared test of equal slices.

    Drawing 256 of 512 without replacement shrinks all variances by 256 / 511.
    """
    observed = _slice_fractions(draws).sum(0) * 64
    expected = len(draws) * 256 / 8
    statistic = ((observed - expected) ** 2 / expected).sum() * 511 / 256
    return stats.chi2.sf(statistic, 7)


def test_reference_mode_corrupts_late_depths_more_by_the_published_amounts(drawn):
    fractions = _slice_fractions(drawn["reference"])
    assert _near(fractions, [0.15, 0.30, 0.41, 0.50, 0.57, 0.63, 0.71, 0.73], 0.01, 480)
    assert all(a < b for a, b in pairwise(fractions.mean(0)))
    assert fractions.mean(0)[0] < 0.45
    assert fractions.mean(0)[-1] > 0.55


def test_reference_mode_masks_few_of_the_top_scores_and_replaces_some(drawn):
    # Published as about 60 and about 20: rounded to 5.
    assert _near(_inside_top(drawn["reference"], 1), 60, 5, 480)
    assert _near(_inside_top(drawn["reference"], 2), 20, 5, 480)


def test_weighted_draws_follow_the_raster_index():
    """The first of two tokens is drawn with probability index / sum of indices."""
    masking, rng = (
        Masking((1, 1, 4), ratio=0.25, top_k=0, mode="reference"),
        np.random.default_rng(0),
    )
    n = 6000
    counts = np.bincount(
        [int(masking.choose(np.zeros(4), rng)[1][0]) for _ in range(n)], minlength=4
    )
    assert counts[0] == 0
    assert stats.chisquare(counts[1:], n * np.array([1, 2, 3]) / 6).pvalue > 0.01


def test_reference_mode_never_starts_at_a_link_between_slices():
    scores = np.zeros(512)
    links = np.r_[64 * np.arange(1, 8), 64 * np.arange(1, 8) - 1]
    scores[links] = 1.0
    scores[[0, 511]] = 0.5  # the very first and last token are no links
    rng = np.random.default_rng(0)

    def hits(**settings):
        masking = Masking(CUBE, ratio=0.1, top_k=14 / 512, **settings)
        chosen = [masking.choose(scores, rng)[0] for _ in range(100)]
        return np.mean([np.isin(links, c).sum() for c in chosen])

    # Neighbours of other tokens may still be links: 14 of 512, by chance.
    assert hits() > 5
    assert hits(protect_links=True) < 2
    assert hits(mode="reference") < 2


def test_scores_decide_which_tokens_are_masked():
    scores, rng = np.zeros(512), np.random.default_rng(0)
    scores[320:384] = 1.0  # slice 5
    important, unimportant = Masking(CUBE, ratio=0.125, top_k=0.125).choose(scores, rng)
    assert set((important // 64).tolist()) <= {4, 5, 6}
    assert np.mean(important // 64 == 5) > 0.5
    assert 5 not in unimportant // 64


# --- corruption of tokens -----------------------------------------------------------------------


def _corrupt(masking, codes=1024, volumes=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (volumes, _size(masking.grid))
    tokens = rng.integers(codes, size=shape).astype(np.int16)
    scores = rng.random(shape).astype(np.float16)
    return tokens, *masking.corrupt(tokens, scores, codes, rng)


@pytest.mark.parametrize("mode", ["paper", "reference"])
def test_a_quarter_becomes_mask_a_quarter_random_and_half_stays(mode):
    tokens, corrupted, changed = _corrupt(Masking(CUBE, mode=mode), volumes=20)
    assert corrupted.dtype == np.int64
    assert changed.dtype == bool
    assert ((corrupted == 1024).sum(1) == 128).all()
    assert (changed.sum(1) == 256).all()
    assert np.array_equal(corrupted[~changed], tokens[~changed])
    assert corrupted.min() >= 0
    assert corrupted.max() == 1024
    random = changed & (corrupted < 1024)
    # One in 1024 random codes is the original one: 2.5 of 2560 expected, sd 1.6.
    assert (corrupted == tokens)[random].sum() <= 10


def test_random_codes_are_uniform():
    _, corrupted, changed = _corrupt(Masking(CUBE), codes=16, volumes=40)
    codes = corrupted[changed & (corrupted < 16)]
    assert len(codes) == 40 * 128
    assert stats.chisquare(np.bincount(codes, minlength=16)).pvalue > 0.01


def test_corruption_modifies_no_input():
    rng = np.random.default_rng(0)
    tokens, scores = rng.integers(9, size=(2, 512)), rng.random((2, 512))
    copies = tokens.copy(), scores.copy()
    Masking(CUBE, mode="reference").corrupt(tokens, scores, 9, rng)
    assert np.array_equal(tokens, copies[0])
    assert np.array_equal(scores, copies[1])


@pytest.mark.parametrize("mode", ["paper", "reference"])
def test_corruption_is_reproducible_from_a_seed_and_differs_between_seeds_and_volumes(mode):
    masking = Masking(CUBE, mode=mode)
    rng = np.random.default_rng(0)
    tokens, scores = np.zeros((2, 512), dtype=int), np.tile(rng.random(512), (2, 1))
    first, again, other = (
        masking.corrupt(tokens, scores, 64, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    assert not np.array_equal(first[1][0], first[1][1])


@pytest.mark.parametrize("mode", ["paper", "reference"])
def test_no_corruption_at_ratio_zero_and_no_clean_token_at_ratio_one(mode):
    tokens, corrupted, changed = _corrupt(Masking(CUBE, ratio=0, mode=mode))
    assert np.array_equal(tokens, corrupted)
    assert not changed.any()
    _, corrupted, changed = _corrupt(Masking(CUBE, ratio=1, mode=mode))
    assert changed.all()
    assert ((corrupted == 1024).sum(1) == 256).all()


@pytest.mark.parametrize("mode", ["paper", "reference"])
@pytest.mark.parametrize("top", [0, 1 / 513])
def test_without_a_single_top_token_nothing_is_masked(mode, top):
    _, corrupted, changed = _corrupt(Masking(CUBE, top_k=top, mode=mode))
    assert (changed.sum(1) == 256).all()
    assert corrupted.max() < 1024


def test_a_top_set_smaller_than_the_starts_is_filled_with_the_best_of_the_rest():
    scores, rng = np.random.default_rng(0).permutation(512) / 512, np.random.default_rng(1)
    for mode in ("paper", "reference"):
        important, _ = Masking(CUBE, top_k=10 / 512, mode=mode).choose(scores, rng)
        ranks = np.flatnonzero(np.isin(np.argsort(-scores), important))
        assert len(important) == 128
        assert np.median(ranks) < 90  # 10 starts at most; the others are the best there are


def test_eight_tokens_are_enough():
    tokens, corrupted, changed = _corrupt(Masking((2, 2, 2)), codes=4, volumes=50)
    assert ((corrupted == 4).sum(1) == 2).all()
    assert (changed.sum(1) == 4).all()
    assert np.array_equal(corrupted[~changed], tokens[~changed])


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["paper", "reference"])
def test_nan_scores_are_refused(mode):
    scores = np.ones(512)
    scores[[64, 70]] = np.nan  # the first one is a link token
    with pytest.raises(ValueError, match="2 of 512 scores are NaN"):
        Masking(CUBE, mode=mode).choose(scores, np.random.default_rng(0))


def test_scores_of_another_grid_are_refused():
    with pytest.raises(ValueError, match=r"shape \(64,\).*512 tokens"):
        Masking(CUBE).choose(np.ones(64), np.random.default_rng(0))


def test_tokens_and_scores_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 8\) and scores \(3, 8\)"):
        Masking((2, 2, 2)).corrupt(
            np.zeros((2, 8), int), np.zeros((3, 8)), 4, np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": (8, 8)}, r"grid = \(8, 8\).*three positive"),
        ({"grid": (8, 0, 8)}, r"grid = \(8, 0, 8\).*three positive"),
        ({"ratio": 1.5}, r"ratio = 1\.5.*Set it"),
        ({"ratio": float("nan")}, "ratio = nan.*Set it"),
        ({"top_k": -0.1}, r"top_k = -0\.1.*Set it"),
        ({"sides": 3}, "sides = 3.*1 or 2"),
        ({"mode": "papr"}, "'papr'.*'paper' or 'reference'"),
        ({"mode": "reference", "height_axis": True}, "height_axis = True.*False"),
    ],
)
def test_impossible_settings_are_refused_with_their_value_and_the_next_step(settings, message):
    with pytest.raises(BadConfig, match=message):
        Masking(**{"grid": CUBE, **settings})
