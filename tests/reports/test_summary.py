import statistics
from dataclasses import replace

import pytest

from cerebench.reports.summary import Summary, leader, ranks, runner_up, summarise
from cerebench.reports.tidy import FAILED, Value

ONE = Value(
    dataset="d", size=16, fingerprint="f", row=0, kind="method", method="m", label="M", role="",
    preset="quick", seed=0, value=2.0, se=0.5, better="lower",
)  # fmt: skip


def test_one_seed_shows_its_standard_error():
    assert summarise([ONE]) == Summary(2.0, 0.5, None, 1, 1, "lower")


def test_several_seeds_show_their_own_spread_and_not_the_standard_error():
    found = summarise([replace(ONE, seed=i, value=v) for i, v in enumerate((1.0, 2.0, 6.0))])
    assert found.value == 3.0
    assert found.spread == statistics.stdev((1.0, 2.0, 6.0)) == pytest.approx(7**0.5)
    assert (found.got, found.asked) == (3, 3)


def test_a_missing_seed_is_counted_and_never_averaged():
    lost = replace(ONE, seed=2, value=None, status=FAILED, reason="why")
    found = summarise([ONE, replace(ONE, seed=1, value=4.0), lost])
    assert (found.value, found.got, found.asked) == (3.0, 2, 3)
    alone = summarise([ONE, lost])
    assert (alone.value, alone.spread, alone.got) == (2.0, None, 1)
    assert summarise([lost]) is None


def cell(value: float, spread: float | None = 0.1, better: str = "lower", **changes) -> Summary:
    return replace(Summary(value, spread, None, 1, 1, better), **changes)


def test_the_best_leads_only_outside_the_uncertainty_of_the_next():
    assert leader({0: cell(1.0), 1: cell(1.15)}) == 0
    assert leader({0: cell(1.0), 1: cell(1.14)}) is None
    assert leader({0: cell(1.0, 0.0), 1: cell(1.14, 0.1)}) == 0


def test_the_direction_of_a_metric_decides_who_leads():
    high = {0: cell(1.0, better="higher"), 1: cell(2.0, better="higher")}
    assert leader(high) == 1
    near = {
        0: cell(0.1, 0.01, "near-real", real_value=0.6),
        1: cell(0.7, 0.01, "near-real", real_value=0.6),
    }
    assert leader(near) == 1


def test_nobody_leads_alone_without_uncertainty_or_with_missing_seeds():
    assert leader({0: cell(1.0)}) is None
    assert leader({0: cell(1.0, None), 1: cell(9.0)}) is None
    assert leader({0: cell(1.0), 1: cell(9.0, None)}) is None
    assert leader({0: cell(1.0, got=2, asked=3), 1: cell(9.0)}) is None
    assert leader({0: cell(1.0, better="near-real"), 1: cell(9.0, better="near-real")}) is None


def test_the_second_best_is_one_row_or_none():
    assert runner_up({5: cell(2.0), 7: cell(1.0), 9: cell(3.0)}) == 5
    assert runner_up({5: cell(2.0), 7: cell(1.0), 9: cell(2.0)}) is None
    assert runner_up({5: cell(1.0), 7: cell(1.0), 9: cell(2.0)}) is None
    assert runner_up({5: cell(1.0), 7: cell(1.0, None, "near-real")}) is None


def test_ranks_count_the_strictly_better_and_ties_share():
    assert ranks({5: cell(2.0), 7: cell(1.0), 9: cell(2.0)}) == {5: 2, 7: 1, 9: 2}
