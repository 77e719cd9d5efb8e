"""Verdicts on made-up numbers, whose answer is known."""

import numpy as np
import pytest

from cerebench.metrics.base import Better
from cerebench.metrics.verdicts import Value, judge

DRAWS = [Value(v, 10.0) for v in (4.0, 5.0, 6.0, 7.0, 8.0)]  # sd 1.58


def levels(*means, real=10.0):
    """Three seeds around each mean."""
    return [[Value(m + shift, real) for shift in (-0.01, 0.0, 0.01)] for m in means]


def test_a_distance_that_grows_with_the_defect_is_ordered_from_where_it_leaves_the_draws():
    verdict = judge(DRAWS, levels(6, 9, 20), Better.LOWER)
    assert (verdict.word, verdict.seen_from) == ("ordered", 1)


@pytest.mark.parametrize(
    ("means", "word"),
    [
        ((6, 7, 6.5), "blind"),
        ((6, 7, 3), "inverted"),  # better than every draw
        ((3, 6, 9), "inverted"),
        ((9, 30, 20), "inverted"),  # a stronger level is better by more than an sd
        ((30, 20, 19, 18.5), "inverted"),  # in small steps
        ((9, 10, 9.5), "seen"),  # a fall within an sd
        ((5, 8, 4.5), "blind"),  # a fall among what real draws do
        ((5, 6, 30), "ordered"),  # the strongest alone is seen
        ((30, 5, 40), "inverted"),
        ((30,), "seen"),
    ],
)
def test_what_a_distance_may_do(means, word):
    assert judge(DRAWS, levels(*means), Better.LOWER).word == word


def test_a_score_that_falls_with_the_defect_is_ordered():
    draws = [Value(v) for v in (0.9, 0.95, 0.93)]
    assert judge(draws, [[Value(0.8)] * 3, [Value(0.5)] * 3], Better.HIGHER).word == "ordered"
    assert judge(draws, [[Value(0.97)] * 3, [Value(0.99)] * 3], Better.HIGHER).word == "inverted"


def test_near_real_is_judged_by_the_distance_to_the_real_value():
    draws = [Value(v, 10.0) for v in (9.0, 10.0, 11.0)]
    assert judge(draws, levels(8, 5), Better.NEAR_REAL).word == "ordered"
    assert judge(draws, levels(12, 15), Better.NEAR_REAL).word == "ordered"
    assert judge(draws, levels(8, 15), Better.NEAR_REAL).word == "ordered"


def test_near_real_has_a_better_side_only_where_draws_lie_on_one_side_of_the_real_value():
    both = [Value(v, 10.0) for v in (9.0, 10.5, 11.0)]
    assert judge(both, levels(10.0, 10.0), Better.NEAR_REAL).word == "blind"
    above = [Value(v, 10.0) for v in (10.5, 11.0, 11.5)]
    assert judge(above, levels(10.0, 10.0), Better.NEAR_REAL).word == "inverted"


def test_a_fall_near_the_real_value_is_measured_by_the_spread_of_the_statistic():
    """Draws at both sides, sd 2.2, whose distances spread by .5."""
    draws = [Value(v, 10.0) for v in (8.0, 12.0, 7.5, 12.5, 8.5, 11.5)]
    assert judge(draws, levels(5, 6.5), Better.NEAR_REAL).word == "seen"
    assert judge(draws, levels(3, 6.5), Better.NEAR_REAL).word == "inverted"


def test_two_of_three_seeds_must_agree():
    two = [[Value(9), Value(9), Value(5)]]
    one = [[Value(9), Value(5), Value(5)]]
    assert judge(DRAWS, two, Better.LOWER).word == "seen"
    assert judge(DRAWS, one, Better.LOWER).word == "blind"


def test_what_only_a_weak_level_shows_is_not_seen():
    verdict = judge(DRAWS, levels(9, 7.9, 7.5), Better.LOWER)
    assert (verdict.word, verdict.seen_from) == ("blind", None)
    assert judge(DRAWS, levels(9, 7.9, 12), Better.LOWER).seen_from == 2


def test_one_seed_must_be_inverted_by_more():
    """Draws: 4 to 8, sd 1.58."""

    def word(*values):
        return judge(DRAWS, [[Value(v)] for v in values], Better.LOWER).word

    assert [word(3.9), word(2.5), word(2.3)] == ["blind", "blind", "inverted"]
    assert [word(20, 18), word(20, 17), word(20, 16.8)] == ["seen", "seen", "inverted"]


def test_a_fall_must_be_in_two_of_three_seeds_too():
    high = [Value(20), Value(20), Value(20)]
    one, two = [Value(12), Value(20), Value(20)], [Value(12), Value(12), Value(20)]
    assert judge(DRAWS, [high, one], Better.LOWER).word == "seen"
    assert judge(DRAWS, [high, two], Better.LOWER).word == "inverted"


def test_there_is_no_verdict_without_values():
    assert judge(DRAWS[:1], levels(9), Better.LOWER) is None
    assert judge(DRAWS, [], Better.LOWER) is None
    assert judge(DRAWS, [[Value(9)], []], Better.LOWER) is None
    assert judge(DRAWS, [[Value(9)]], Better.NEAR_REAL) is None  # it has no real value


@pytest.mark.parametrize("better", [Better.LOWER, Better.HIGHER, Better.NEAR_REAL])
def test_a_metric_that_knows_nothing_is_seldom_said_to_see(better):
    """2 of 3 seeds beyond 20 draws: 3 / 23^2 on each side, three levels in step, about 2 %."""
    rng = np.random.default_rng(0)

    def draw(count):
        return [Value(v, 0.0) for v in rng.standard_normal(count)]

    words = []
    for _ in range(1000):
        seeds = draw(3)  # a defect that does nothing leaves a seed's value as it is
        words.append(judge(draw(20), [seeds] * 3, better).word)
    assert words.count("blind") >= 965


def test_a_constant_metric_is_blind():
    same = [Value(1.0)] * 20
    assert judge(same, [[Value(1.0)] * 3] * 3, Better.LOWER).word == "blind"
