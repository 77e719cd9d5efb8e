import math

import pytest

from cerebench.core.statistics import Group, standard_error, welch_p
from cerebench.reports.statistics.contrast import Contrast, Part, best


def test_a_sum_of_two_parts_is_the_test_of_welch():
    a, b = Group(1.0, 0.5, 4), Group(0.2, 1.5, 6)
    made = Contrast(0.8, (Part(0.5 / 4, 3.0), Part(1.5 / 6, 5.0)))
    se, df = standard_error(a, b)
    assert (made.se, made.df) == pytest.approx((se, df))
    assert made.p == pytest.approx(welch_p(a, b))
    low, high = made.interval
    assert (low + high) / 2 == pytest.approx(0.8)
    assert Contrast(high - 0.8, made.parts).p == pytest.approx(0.05)


def test_a_part_that_is_known_well_makes_the_normal_test():
    made = Contrast(1.96, (Part(1.0, math.inf),))
    assert made.p == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("difference", [0.0, 1.0, math.nan])
def test_without_an_error_there_is_no_p(difference):
    assert Contrast(difference, ()).p is None
    assert Contrast(difference, (Part(0.0, 2.0),)).p is None
    assert Contrast(math.nan, (Part(1.0, 2.0),)).p is None


def test_the_best_must_beat_every_other_row():
    ps = {("a", "b"): 0.04, ("a", "c"): 0.01}
    losses = {"c": 3.0, "a": 1.0, "b": 2.0}
    assert best(losses, lambda *pair: ps[pair]) == "a"
    assert best(losses, lambda *pair: ps[pair] + 0.01) is None
    assert best(losses, lambda first, other: None if other == "c" else 0.01) is None
    assert best({"a": 1.0}, lambda *pair: 0.0) is None
    assert best({"a": 1.0, "b": 1.0}, lambda *pair: 0.0) is None
