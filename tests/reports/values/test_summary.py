import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from cerebench.reports.statistics.contrast import Part
from cerebench.reports.values.summary import (
    NONE,
    Real,
    Summary,
    competing,
    contrasts,
    is_p,
    jackknife,
    leader,
    ranks,
    runner_up,
    summarise,
)
from cerebench.reports.values.tidy import FAILED, Value

ONE = Value(
    dataset="d", size=16, fingerprint="f", row=0, kind="method", method="m", label="M", role="",
    preset="quick", seed=0, value=2.0, se=0.5, better="lower", n_real=100, n_generated=50,
)  # fmt: skip
REAL = [1.9, 2.1, 2.0, 2.05, 1.95]
GENERATED = [2.2, 1.8, 2.1, 1.9, 2.0]


def recorded(real=REAL, generated=GENERATED, **changes):
    """A value whose error is made of its leave-out values, as metrics record it."""
    squared = jackknife(real) + jackknife(generated)
    left = {"real": tuple(real), "generated": tuple(generated)}
    return replace(ONE, se=squared**0.5, replicates=left, **changes)


def seeds(*numbers, **changes):
    return [recorded(seed=i, value=v, **changes) for i, v in enumerate(numbers)]


def test_one_seed_shows_its_standard_error():
    for value in (ONE, recorded()):
        assert summarise([value]).error == pytest.approx(value.se)
    found = summarise([ONE])
    assert (found.value, found.real_value, found.got, found.asked) == (2.0, None, 1, 1)


def test_several_seeds_join_their_spread_with_the_error_of_the_real_volumes():
    found = summarise(seeds(1.0, 2.0, 6.0))
    assert found.value == 3.0
    spread = statistics.variance((1.0, 2.0, 6.0))
    assert found.error**2 == pytest.approx(spread / 3 + jackknife(REAL))
    assert found.own.df == 2


def test_without_recorded_sides_the_whole_error_counts_beside_the_spread():
    found = summarise([replace(ONE, seed=i, value=v) for i, v in enumerate((1.0, 2.0, 6.0))])
    assert found.error**2 == pytest.approx(statistics.variance((1.0, 2.0, 6.0)) / 3 + 0.5**2)


def test_seeds_that_agree_by_chance_keep_the_error_of_their_generated_volumes():
    found = summarise(seeds(2.0, 2.0, 2.0))
    assert found.error**2 == pytest.approx(jackknife(GENERATED) / 3 + jackknife(REAL))


def test_a_missing_seed_is_counted_and_never_averaged():
    lost = replace(ONE, seed=2, value=None, status=FAILED, reason="why")
    found = summarise([ONE, replace(ONE, seed=1, value=4.0), lost])
    assert (found.value, found.got, found.asked) == (3.0, 2, 3)
    alone = summarise([ONE, lost])
    assert (alone.value, alone.got, alone.asked) == (2.0, 1, 2)
    assert summarise([lost]) is None


def test_p_values_are_not_averaged_and_rank_nothing():
    ps = [replace(ONE, seed=i, value=p, se=None, view="TOST p") for i, p in enumerate((0.01, 0.2))]
    found = summarise(ps)
    assert (found.value, found.error, found.loss) == (0.2, None, None)
    assert [is_p(view) for view in ("TOST p", "p", "", "|g|", "top")] == [True, True] + [False] * 3


def cell(value: float, error: float | None = 0.1, better: str = "lower", **changes) -> Summary:
    own = None if error is None else Part(error**2, 1e6)
    return replace(Summary(value, None, 3, 3, better, own=own), **changes)


def test_the_best_leads_only_where_it_is_better_at_5_percent():
    apart = 1.96 * 0.1 * 2**0.5
    assert leader({0: cell(1.0), 1: cell(1.001 + apart)}) == 0
    assert leader({0: cell(1.0), 1: cell(0.999 + apart)}) is None
    assert leader({0: cell(1.0), 1: cell(2.0), 2: cell(0.999 + apart)}) is None
    assert leader({0: cell(1.0, 0.0), 1: cell(1.14, 0.1)}) is None


def test_what_the_real_volumes_do_to_both_rows_cancels():
    wide = [1.0, 3.0, 2.0, 2.5, 1.5]
    a = summarise(seeds(1.0, 1.1, 0.9, real=wide))
    b = summarise(seeds(2.0, 2.1, 1.9, real=[one + 1 for one in wide]))
    (made,) = contrasts(a, b)
    assert made.parts[-1].variance == pytest.approx(0)
    assert leader({0: a, 1: b}) == 0
    for same in ({"recipe_hash": "other"}, {"n_real": 99}, {"n_generated": 49}):
        other = summarise(seeds(2.0, 2.1, 1.9, real=[one + 1 for one in wide], **same))
        assert len(contrasts(a, other)[0].parts) == 4
        assert leader({0: a, 1: other}) is None


def test_groups_of_seeds_are_averaged_before_they_are_squared():
    turned = [2 - (one - 2) for one in REAL]
    values = [recorded(seed=0), recorded(seed=1, real=turned)]
    assert summarise(values).real.variance == pytest.approx(0)


def test_the_direction_of_a_metric_decides_who_leads():
    high = {0: cell(1.0, better="higher"), 1: cell(2.0, better="higher")}
    assert leader(high) == 1
    near = {
        0: cell(0.1, 0.01, "near-real", real_value=0.6),
        1: cell(0.7, 0.01, "near-real", real_value=0.6),
    }
    assert leader(near) == 1


def test_the_error_of_the_real_value_counts_where_rows_lie_on_both_sides_of_it():
    def rows(other, target):
        told = {"better": "near-real", "real_value": 0.6, "target": Part(target**2, 1e6)}
        return {0: cell(0.62, 0.01, **told), 1: cell(other, 0.01, **told)}

    assert leader(rows(0.5, 0.0)) == 0
    assert leader(rows(0.5, 0.1)) is None  # a real value of .55 would turn them round
    assert leader(rows(0.9, 0.02)) == 0
    assert leader(rows(0.70, 0.1)) is None


def test_the_real_sets_own_leave_out_values_are_no_error_of_the_value():
    near = {"better": "near-real", "real_value": 2.5}
    told = replace(recorded(**near), se=jackknife(GENERATED) ** 0.5)  # as MS-SSIM records it
    found = summarise([told])
    assert found.error**2 == pytest.approx(jackknife(GENERATED))
    assert found.target.variance == pytest.approx(jackknife(REAL))
    threshold = summarise([recorded(**near)])  # as the nearest-neighbour ratio records it
    assert threshold.error**2 == pytest.approx(jackknife(GENERATED) + jackknife(REAL))
    assert threshold.target.variance == 0
    silent = replace(told, replicates={"generated": tuple(GENERATED)})
    assert summarise([silent]).target.variance == pytest.approx(silent.se**2 * 50 / 100)


def test_nobody_leads_alone_without_an_error_or_with_missing_seeds():
    assert leader({0: cell(1.0)}) is None
    assert leader({0: cell(1.0, None), 1: cell(9.0)}) is None
    assert leader({0: cell(1.0), 1: cell(9.0, None)}) is None
    assert leader({0: cell(1.0, whole=False), 1: cell(9.0)}) is None
    assert leader({0: cell(1.0, asked=4), 1: cell(9.0)}) is None
    assert leader({0: cell(1.0, better="near-real"), 1: cell(9.0, better="near-real")}) is None


def test_methods_of_fewer_than_three_seeds_let_nobody_lead_and_folders_do():
    assert leader({0: cell(1.0), 1: cell(9.0)}) == 0
    for few in ({0: cell(1.0, got=2, asked=2), 1: cell(9.0)}, {0: cell(1.0), 1: cell(9.0, got=2)}):
        assert leader(few) is None
    folders = {i: cell(v, got=1, asked=1, kind="samples") for i, v in enumerate((1.0, 9.0))}
    assert leader(folders) == 0


def test_marked_rows_and_controls_do_not_compete():
    rows = {0: cell(0.1), 1: cell(1.0), 2: cell(9.0), 3: cell(0.0, kind="anchor")}
    assert list(competing(rows, {0: "copying"})) == [1, 2]


def test_the_second_best_is_one_row_or_none():
    assert runner_up({5: cell(2.0), 7: cell(1.0), 9: cell(3.0)}) == 5
    assert runner_up({5: cell(2.0), 7: cell(1.0), 9: cell(2.0)}) is None
    assert runner_up({5: cell(1.0), 7: cell(1.0), 9: cell(2.0)}) is None
    assert runner_up({5: cell(1.0), 7: cell(1.0, None, "near-real")}) is None


def test_ranks_count_the_strictly_better_and_ties_share():
    assert ranks({5: cell(2.0), 7: cell(1.0), 9: cell(2.0)}) == {5: 2, 7: 1, 9: 2}


def test_a_jackknife_of_the_mean_is_its_variance():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    left = [np.delete(values, i).mean() for i in range(4)]
    assert jackknife(left) == pytest.approx(values.var(ddof=1) / 4)
    assert jackknife([1.0]) == 0.0
    assert math.isinf(cell(1.0).target.df)
    assert Real(NONE, 1.0).part.df == 9
