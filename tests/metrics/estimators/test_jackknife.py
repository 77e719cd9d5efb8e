"""The jackknife's formula, its groups, and what it refuses."""

import numpy as np
import pytest

from cerebench.metrics.estimators.jackknife import (
    TOO_FEW,
    binomial_error,
    combine,
    groups,
    leaves_enough,
    of_share,
    over_two_sets,
    standard_error,
)


def names(count):
    return [f"case-{i:03d}" for i in range(count)]


def test_error_of_a_mean_is_sd_over_root_n():
    x = np.random.RandomState(0).standard_normal(30)
    replicates = [np.delete(x, i).mean() for i in range(30)]
    assert standard_error(replicates) == pytest.approx(x.std(ddof=1) / np.sqrt(30), rel=1e-12)


def test_error_of_a_mean_over_ten_groups_is_that_of_the_group_means():
    x = np.random.RandomState(1).standard_normal(40)
    parts = groups(names(40), seed=3)
    means = np.array([x[g].mean() for g in parts])
    replicates = [np.delete(x, g).mean() for g in parts]
    assert standard_error(replicates) == pytest.approx(means.std(ddof=1) / np.sqrt(10), rel=1e-12)


def test_errors_of_two_sets_add_in_squares():
    both = combine({"generated": [0.0, 1.0], "real": [0.0, 2.0, 4.0]})
    assert both.se == pytest.approx(np.sqrt(0.25 + 2 / 3 * 8))
    assert both.uncertainty == "delete-group jackknife over volumes, 2 and 3 groups"


def test_error_of_a_difference_of_means_equals_the_formula():
    rng = np.random.RandomState(2)
    x, y = rng.standard_normal(10), rng.standard_normal(10)
    spread = over_two_sets(lambda i, j: x[i].mean() - y[j].mean(), names(10), names(10), 0)
    assert spread.se == pytest.approx(np.sqrt(x.var(ddof=1) / 10 + y.var(ddof=1) / 10))
    assert {role: len(v) for role, v in spread.replicates.items()} == {"generated": 10, "real": 10}


def test_groups_hold_every_volume_once_and_are_nearly_equal():
    parts = groups(names(47), seed=0)
    assert sorted(np.concatenate(parts)) == list(range(47))
    assert {len(g) for g in parts} == {4, 5}
    assert len(groups(names(4), seed=0)) == 4


def test_groups_follow_the_ids_not_the_order():
    ids = names(25)
    turned = ids[::-1]
    first = [{ids[i] for i in g} for g in groups(ids, seed=5)]
    assert first == [{turned[i] for i in g} for g in groups(turned, seed=5)]
    assert first != [{ids[i] for i in g} for g in groups(ids, seed=6)]


def test_two_volumes_give_no_error_and_say_so():
    assert not leaves_enough(groups(names(2), seed=0))
    spread = over_two_sets(lambda i, j: 0.0, names(2), names(20), 0)
    assert spread.se is None
    assert "fewer than 2 volumes" in spread.notes[0]


def test_a_share_of_few_items_has_an_error_where_leaving_out_changes_nothing():
    assert binomial_error(1.0, 21) == pytest.approx(np.sqrt(0.08 * 0.92 / 25))
    assert binomial_error(0.3, 10**6) == pytest.approx(np.sqrt(0.21 / 1e6), rel=1e-4)
    flat, spread = (combine({"generated": v}) for v in ([1.0] * 10, [0.9, 1.0] * 5))
    assert of_share(flat, 1.0, 21).se == binomial_error(1.0, 21)
    assert "Agresti-Coull" in of_share(flat, 1.0, 21).uncertainty
    assert of_share(spread, 0.95, 21) == spread
    assert of_share(TOO_FEW, 1.0, 3) == TOO_FEW
