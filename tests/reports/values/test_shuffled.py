from dataclasses import replace

import numpy as np
import pytest

from cerebench.reports.statistics.results import Result, ScoredRun
from cerebench.reports.values import shuffled
from cerebench.reports.values.downstream import ProtocolResults


def block(aucs, version=2, name="shuffled-label"):
    runs = tuple(ScoredRun(0, i, np.zeros(2), {"auc": auc}) for i, auc in enumerate(aucs))
    row = Result("method", "m", "M", runs)
    facts = {"role": "control", "needs_samples": True, "description": "", "source": ""}
    more = {"preset": "paper", "config": {}, "differences": ()}
    return ProtocolResults(name=name, label="S", version=version, results=(row,), **facts, **more)


AROUND = np.tile([0.42, 0.58, 0.47, 0.55, 0.44], 2)


def test_the_null_interval_is_that_of_student_around_chance():
    told = shuffled.null(block(AROUND), block(AROUND).results[0])
    half = 2.262157 * AROUND.std(ddof=1) / 10**0.5
    assert (told.low, told.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert not told.leaks


def test_labels_leak_only_outside_the_interval():
    (inside,) = shuffled.notes(block(AROUND))
    assert "lies in the interval [0." in inside
    assert "leak" not in inside
    for shift in (0.2, -0.2):
        (outside,) = shuffled.notes(block(AROUND + shift))
        assert "lies outside" in outside
        assert outside.endswith("labels leak.")


def test_one_shuffle_for_all_repeats_or_few_of_them_say_nothing():
    (old,) = shuffled.notes(block(AROUND + 0.3, version=1))
    assert "one shuffle for all repeats" in old
    (few,) = shuffled.notes(block(AROUND[:9] + 0.3))
    assert few == "M: 9 shuffles, fewer than 10, say nothing."
    assert "leak" not in old + few


def test_other_protocols_and_rows_without_a_run_say_nothing():
    assert list(shuffled.notes(block(AROUND, name="exp2"))) == []
    empty = replace(block(AROUND), results=(Result("method", "m", "M"),))
    assert list(shuffled.notes(empty)) == []


def test_without_a_leak_one_run_in_twenty_lies_outside():
    rng = np.random.default_rng(0)
    draws = (block(rng.normal(0.5, 0.09, 10)) for _ in range(2000))
    share = np.mean([shuffled.null(made, made.results[0]).leaks for made in draws])
    assert share == pytest.approx(0.05, abs=0.015)
