"""The arithmetic that metrics and reports share, against scipy, by hand and at its edges."""

import math

import numpy as np
import pytest
from scipy import stats

from cerebench.core.statistics import (
    Group,
    auc,
    hedges_g,
    holm,
    standard_error,
    tost_p,
    welch_p,
)

A, B = Group.of([0.80, 0.75, 0.76]), Group.of([0.70, 0.72, 0.74])  # of the specification


def draw(n, seed=0):
    return np.random.RandomState(seed).standard_normal(n)


def test_auc_counts_ordered_pairs_and_half_the_ties():
    labels = [1, 1, 0, 1, 0, 1, 0, 0]
    assert auc(labels, [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2]) == 0.8125
    assert auc(labels, np.full(8, 0.5)) == 0.5
    assert auc([1, 1, 0, 0], [0.5, 0.2, 0.5, 0.1]) == 0.625
    assert auc([True, False], [0.1, np.inf]) == 0


@pytest.mark.parametrize("decimals", [1, 2, 17])
def test_auc_equals_mann_whitney_to_the_bit(decimals):
    for seed in range(20):
        rng = np.random.RandomState(seed)
        labels = rng.permutation(np.arange(41) < 13)
        scores = np.round(rng.uniform(size=41), decimals)
        u = stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
        assert auc(labels, scores) == u / (13 * 28)


def test_auc_weighs_cases_by_how_often_they_count():
    labels, scores = np.array([0, 1, 0, 1, 1]), np.array([0.1, 0.3, 0.3, 0.2, 0.9])
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 3, 1], [1, 4, 2, 0, 0]])
    repeated = [auc(np.repeat(labels, w), np.repeat(scores, w)) for w in weights]
    np.testing.assert_allclose(auc(labels, scores, weights), repeated, rtol=1e-15)


def test_auc_of_scores_that_are_not_numbers_is_none():
    # Sorted to the end, NaN would make the best AUC of a network that has diverged.
    assert math.isnan(auc([0, 1, 1], [0.1, math.nan, math.nan]))
    assert np.isnan(auc([0, 1], [0.1, math.nan], np.ones((3, 2)))).all()


def test_welch_and_hedges_give_the_vectors_of_the_specification():
    assert standard_error(A, B)[1] == pytest.approx(3.7230769, abs=1e-6)
    assert standard_error(A, B, pooled=True)[1] == 4
    assert welch_p(A, B) == pytest.approx(0.0638112, abs=1e-7)
    assert hedges_g(A, B) == pytest.approx(1.7056057, abs=1e-7)
    assert hedges_g(A, B) / 0.8 == pytest.approx(2.1320072, abs=1e-7)  # Cohen d; J = .8


@pytest.mark.parametrize(("m", "n", "shift"), [(30, 22, 0.3), (3, 50, -1.0), (2, 2, 0.0)])
def test_tests_of_means_equal_scipy(m, n, shift):
    x, y = draw(m), 1.4 * draw(n, seed=1) + shift
    a, b = Group.of(x), Group.of(y)
    assert welch_p(a, b) == pytest.approx(stats.ttest_ind(x, y, equal_var=False).pvalue, rel=1e-9)
    for margin in (0.1, 0.7, 3.0):
        low = stats.ttest_ind(x + margin, y, equal_var=False, alternative="greater").pvalue
        high = stats.ttest_ind(x - margin, y, equal_var=False, alternative="less").pvalue
        assert tost_p(a, b, margin) == pytest.approx(max(low, high), rel=1e-9)
        assert tost_p(b, a, margin) == tost_p(a, b, margin)


def test_equivalence_needs_values_and_equal_means():
    many, other, few = draw(400), draw(400, seed=1), draw(5)
    same = Group.of(other)
    assert tost_p(Group.of(many), same, 0.5) < 1e-6
    assert tost_p(Group.of(few), same, 0.5) > 0.05  # too few to claim equality
    at_the_margin = Group.of(many - many.mean() + other.mean() + 0.5)
    assert tost_p(at_the_margin, same, 0.5) == pytest.approx(0.5)
    assert tost_p(Group.of(many + 1), same, 0.5) > 0.999


def test_groups_without_spread_give_what_is_no_number_and_no_error():
    # A jackknife may leave out the only value that differs; its other replicates must stay.
    flat, other = Group.of([1.0, 1.0]), Group.of([2.0, 2.0])
    with np.errstate(all="ignore"):
        assert math.isnan(hedges_g(flat, flat))
        assert hedges_g(other, flat) == math.inf
        assert math.isnan(welch_p(flat, flat))


def test_holm_gives_the_vector_of_the_specification_in_the_order_given():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04, 0.9, 0.6]) == pytest.approx([0.12, 1, 1])
    assert holm([]) == []
    for wrong in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match=f"p = {wrong}"):
            holm([0.1, wrong])


def test_holm_rejects_what_stepping_down_by_hand_rejects():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ps = list(rng.uniform(size=6) ** 3)
        rejected = set()
        for step, index in enumerate(np.argsort(ps)):
            if ps[index] > 0.05 / (6 - step):
                break
            rejected.add(int(index))
        assert {i for i, p in enumerate(holm(ps)) if p <= 0.05} == rejected


def test_importing_it_leaves_scipy_alone():
    import subprocess
    import sys

    code = "import sys, cerebench.core.statistics; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
