import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cerebench.reports.statistics.classification import accuracy, auc, f1
from cerebench.reports.statistics.significance import (
    StatisticsError,
    Test,
    bootstrap_interval,
    critical_difference,
    delong,
    friedman,
    from_summary,
    paired_bootstrap,
    paired_t,
    student,
    welch,
)

A, B = (0.80, 0.75, 0.76), (0.70, 0.72, 0.74)  # of the specification of metrics, section 8
RUNS = {"unit": "runs"}

# Tissue volumes of SynthAnatomy (SASHIMI 2022), 10^3 mm^3: n of each set, then mean, standard
# deviation and whether it is printed as not significantly different from real, for GM, WM, CSF and
# deep GM of the real set, the VQ-VAE and the VAE.
TISSUES = """
young 113 | 595 32, 460 29, 280 21, 40 3 | 587 24 ns, 472 20 ns, 283 11 ns, 40 2 ns | 576 1, 444 1, 234 1, 34 0
old   106 | 587 31, 457 29, 283 22, 40 3 | 576 22 ns, 465 20 ns, 310 14, 39 2 ns    | 560 1, 434 1, 250 1, 33 0
small 108 | 596 30, 462 27, 270 17, 41 3 | 594 19 ns, 477 18, 280 12, 41 2 ns       | 572 1, 444 1, 235 1, 35 0
big   156 | 589 34, 459 30, 283 19, 41 3 | 574 20, 467 17 ns, 307 15, 39 2          | 570 1, 442 1, 246 1, 34 0
CN     29 | 530 51, 430 40, 309 32, 40 5 | 554 19 ns, 458 18 ns, 299 12 ns, 39 2 ns | 518 5 ns, 440 4 ns, 258 3, 34 1
AD     36 | 526 47, 443 36, 330 28, 38 3 | 532 38 ns, 446 20 ns, 298 27, 37 3 ns    | 510 5 ns, 443 4 ns, 269 4, 34 1
"""  # noqa: E501


def cases(seed, n=25, shift_a=1.0, shift_b=1.0):
    """Return n + n patients with the scores of two methods that share half of their noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n)
    shared = rng.normal(size=2 * n)
    a, b = (
        shift * labels + (shared + rng.normal(size=2 * n)) / math.sqrt(2)
        for shift in (shift_a, shift_b)
    )
    return labels, [f"p{i}" for i in range(2 * n)], a, b


# Runs


def test_student_welch_and_paired_give_the_vectors_of_the_specification():
    s, w, p = student(A, B, **RUNS), welch(A, B, **RUNS), paired_t(A, B, **RUNS)
    assert (s.statistic, s.p) == pytest.approx((2.6111648, 0.0593473), abs=1e-7)
    assert (w.statistic, w.p) == pytest.approx((2.6111648, 0.0638112), abs=1e-7)
    assert (p.statistic, p.p) == pytest.approx((1.9867985, 0.1853118), abs=1e-7)
    assert (p.low, p.high) == pytest.approx((-0.0582811, 0.1582811), abs=1e-7)
    assert p.statistic / math.sqrt(3) == pytest.approx(1.1470787, abs=1e-7)  # d_z
    df = 3.7230769
    half = stats.t.ppf(0.975, df) * 0.05 / 2.6111648
    assert (w.low, w.high) == pytest.approx((0.05 - half, 0.05 + half), abs=1e-7)
    assert {(t.n, t.unit) for t in (s, w, p)} == {(3, "runs")}


def test_the_vectors_of_the_downstream_specification():
    a, b = (0.74, 0.77, 0.80), (0.69, 0.72, 0.75)
    for test in (student(a, b, **RUNS), welch(a, b, **RUNS)):
        assert (test.statistic, test.p) == pytest.approx((2.041, 0.1108), abs=5e-4)
    paired = paired_t(a, (0.70, 0.72, 0.74), **RUNS)
    assert (paired.statistic, paired.p) == pytest.approx((8.660, 0.01307), abs=5e-4)


@pytest.mark.parametrize(
    ("first", "second", "printed", "with_student", "with_welch"),
    [
        ((0.77, 0.03), (0.72, 0.03), 0.02, 0.111, 0.111),
        ((0.71, 0.02), (0.67, 0.02), 0.03, 0.070, 0.070),
        ((0.80, 0.02), (0.78, 0.04), 0.04, 0.482, 0.496),
        ((0.74, 0.02), (0.71, 0.06), 0.03, 0.458, 0.484),
    ],
)
def test_the_p_values_of_the_paper_do_not_follow_from_its_means(
    first, second, printed, with_student, with_welch
):
    pooled = from_summary(*first, 3, *second, 3, equal_var=True, **RUNS)
    separate = from_summary(*first, 3, *second, 3, **RUNS)
    assert (pooled.p, separate.p) == pytest.approx((with_student, with_welch), abs=6e-4)
    assert pooled.p > 2 * printed


@pytest.mark.parametrize("equal_var", [True, False])
def test_all_48_flags_of_synthanatomy_follow_from_its_summaries(equal_var):
    significant, judged = 2.083e-5, []
    for line in TISSUES.strip().splitlines():
        head, *sets = line.split("|")
        n = int(head.split()[1])
        real, *models = ([entry.split() for entry in group.split(",")] for group in sets)
        for model, tissue in itertools.product(models, range(4)):
            (mean, sd), (other, spread, *flag) = real[tissue], model[tissue]
            spread = max(float(spread), 0.3)  # 0 is a rounded standard deviation
            test = from_summary(
                float(mean), float(sd), n, float(other), spread, n, equal_var, unit="patients"
            )
            judged.append((test.p >= significant, flag == ["ns"]))
    assert len(judged) == 48
    assert sum(ours == theirs for ours, theirs in judged) == 48
    assert sum(flag for _, flag in judged) == 21


def test_from_summary_is_the_test_of_the_values():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=7), rng.normal(1, 3, size=4)
    for equal_var in (True, False):
        whole = stats.ttest_ind(a, b, equal_var=equal_var)
        ours = (student if equal_var else welch)(a, b, **RUNS)
        assert (ours.statistic, ours.p) == pytest.approx((whole.statistic, whole.pvalue), rel=1e-12)
        interval = whole.confidence_interval()
        assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
        assert ours.n == 4


def test_rank_tests_cannot_tell_three_runs_apart():
    # Why none is offered: these are the smallest p-values there are.
    assert stats.mannwhitneyu((4, 5, 6), (1, 2, 3)).pvalue == pytest.approx(0.1)
    assert stats.wilcoxon((0.1, 0.2, 0.3)).pvalue == pytest.approx(0.25)
    assert stats.mannwhitneyu(A, B).pvalue == pytest.approx(0.1)


def test_identical_runs_tie_and_a_constant_lead_is_not_judged():
    assert paired_t(A, A, **RUNS).p == 1
    assert welch((0.5, 0.5), (0.5, 0.5), **RUNS).p == 1
    for lead in (lambda: paired_t((0.80, 0.78, 0.76), (0.78, 0.76, 0.74), **RUNS),
                 lambda: welch((0.8, 0.8), (0.7, 0.7), **RUNS)):  # fmt: skip
        with pytest.raises(StatisticsError, match="without any spread says nothing"):
            lead()


# Cases


def slow_delong(labels, a, b):
    """AUC difference and its variance from all pairs, as DeLong et al. wrote it."""
    psi = [
        (s[labels == 1][:, None] > s[labels == 0])
        + 0.5 * (s[labels == 1][:, None] == s[labels == 0])
        for s in (a, b)
    ]
    ones, zeros = np.cov([p.mean(1) for p in psi]), np.cov([p.mean(0) for p in psi])
    covariance = ones / psi[0].shape[0] + zeros / psi[0].shape[1]
    contrast = np.array([1, -1])
    return psi[0].mean() - psi[1].mean(), contrast @ covariance @ contrast


@pytest.mark.parametrize("rounded", [False, True])
def test_delong_by_ranks_equals_delong_by_pairs(rounded):
    labels, _, a, b = cases(4, n=30)
    labels = np.r_[labels[:50], labels[:10]]  # 40 and 20
    a, b = (np.round(s) if rounded else s for s in (a, b))
    difference, variance = slow_delong(labels, a, b)
    test = delong(labels, a, b)
    z = difference / math.sqrt(variance)
    assert test.difference == pytest.approx(difference, abs=1e-12)
    assert test.statistic == pytest.approx(z, rel=1e-9)
    assert test.p == pytest.approx(2 * stats.norm.cdf(-abs(z)), rel=1e-9)
    assert test.high - test.low == pytest.approx(2 * 1.959964 * math.sqrt(variance), rel=1e-6)
    assert (test.n, test.unit) == (60, "cases")
    assert delong(labels, b, a).p == test.p


def test_delong_of_equal_rankings_is_a_tie_and_of_opposite_ones_no_test():
    labels = np.repeat([0, 1], 5)
    scores = np.arange(10.0)
    assert delong(labels, scores, np.exp(scores)).p == 1
    with pytest.raises(StatisticsError, match="differ by 1 alike"):
        delong(labels, scores, -scores)


def test_the_bootstrap_agrees_with_delong():
    labels, patients, a, b = cases(1, n=100, shift_a=1.6, shift_b=1.2)
    drawn = paired_bootstrap(labels, patients, a, b, auc, draws=4000)
    exact = delong(labels, a, b)
    assert drawn.difference == pytest.approx(exact.difference, abs=1e-12)
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.006)
    assert drawn.p == pytest.approx(exact.p, abs=0.02)
    assert (drawn.n, drawn.unit) == (200, "patients")


def test_the_bootstrap_of_accuracy_has_the_spread_of_its_formula():
    labels, patients, a, b = cases(5, n=150)
    a, b = a > 0.5, b > 0.5
    per_case = (a == labels).astype(float) - (b == labels)
    spread = math.sqrt(sum(per_case[labels == c].var() for c in (0, 1)) / 150) / 2
    drawn = paired_bootstrap(labels, patients, a, b, accuracy, draws=4000)
    assert drawn.high - drawn.low == pytest.approx(2 * 1.96 * spread, rel=0.08)


def test_the_bootstrap_draws_patients_not_cases():
    labels, patients, a, _ = cases(2, n=40)
    twice = np.repeat(labels, 5), np.repeat(patients, 5), np.repeat(a, 5)
    of_patients = bootstrap_interval(*twice, auc, draws=1000)
    assert of_patients == pytest.approx(bootstrap_interval(labels, patients, a, auc, 1000))
    of_cases = bootstrap_interval(twice[0], [f"{i}" for i in range(400)], twice[2], auc, draws=1000)
    assert np.ptp(of_patients) > 1.8 * np.ptp(of_cases)  # sqrt(5), were cases independent


def test_every_draw_keeps_the_number_of_patients_of_each_class():
    labels = np.r_[np.zeros(3, int), np.ones(30, int)]
    seen = []

    def share(labels, scores, *, weights=None):
        weights = np.ones(33) if weights is None else weights
        seen.append(np.atleast_2d(weights))
        return weights @ labels / weights.sum(axis=-1)

    bootstrap_interval(labels, list(map(str, range(33))), labels, share, draws=1200)
    drawn = np.concatenate(seen)
    assert drawn.shape == (1200, 33)
    assert (drawn[:, labels == 0].sum(axis=1) == 3).all()
    assert (drawn[:, labels == 1].sum(axis=1) == 30).all()
    # Multinomial: variance of a count is 1 - 1/k.
    assert drawn[:, labels == 1].var() == pytest.approx(1 - 1 / 30, abs=0.03)


def test_the_bootstrap_holds_its_level_and_finds_a_difference():
    null = [paired_bootstrap(*cases(s), auc, draws=300).p for s in range(200)]
    assert 0.01 < np.mean(np.array(null) < 0.05) < 0.10
    assert 0.40 < np.mean(np.array(null) < 0.50) < 0.60
    real = [paired_bootstrap(*cases(s, shift_a=2), auc, draws=300).p for s in range(100)]
    assert np.mean(np.array(real) < 0.05) > 0.5


def test_the_interval_of_one_method_covers_its_true_auc():
    truth = stats.norm.cdf(1 / math.sqrt(2))
    intervals = [bootstrap_interval(*cases(s)[:3], auc, draws=400) for s in range(300)]
    assert 0.90 < np.mean([low < truth < high for low, high in intervals]) < 0.98


def test_a_bootstrap_is_repeatable_and_its_p_value_follows_its_interval():
    given = cases(9)
    first, again = (paired_bootstrap(*given, f1, draws=500, seed=3) for _ in range(2))
    assert first == again
    assert paired_bootstrap(*given, f1, draws=500, seed=4) != first
    for seed in range(30):
        test = paired_bootstrap(*cases(seed, shift_a=1.6), auc, draws=999)
        assert (test.p < 0.05) == (test.low > 0 or test.high < 0) or abs(test.p - 0.05) < 0.003


def test_identical_predictions_tie():
    labels, patients, a, _ = cases(0)
    test = paired_bootstrap(labels, patients, a, a, auc, draws=100)
    assert (test.p, test.difference, test.low, test.high) == (1, 0, 0, 0)


def test_the_bootstrap_refuses_what_it_cannot_draw():
    with pytest.raises(StatisticsError, match="at least 2 of each class, got 1"):
        bootstrap_interval([0, 1, 1], ["a", "b", "c"], [0.1, 0.2, 0.3], auc)
    with pytest.raises(StatisticsError, match="3 labels and 2 patients"):
        bootstrap_interval([0, 1, 1], ["a", "b"], [0.1, 0.2, 0.3], auc)


# Many tests


def test_friedman_gives_the_vector_of_the_specification():
    table = [[0.9, 0.8, 0.7], [0.85, 0.8, 0.6], [0.9, 0.7, 0.75], [0.8, 0.78, 0.7]]
    test, ranks = friedman(table, unit="data sets")
    assert (test.statistic, test.p) == pytest.approx((6.5, 0.0387742), abs=1e-7)
    assert ranks == (1, 2.25, 2.75)
    assert (test.difference, test.n, test.unit) == (1.75, 4, "data sets")
    k, n = 3, 4
    by_hand = 12 * n / (k * (k + 1)) * (sum(r**2 for r in ranks) - k * (k + 1) ** 2 / 4)
    assert test.statistic == pytest.approx(by_hand)
    assert friedman(np.ones((5, 3)), unit="tasks")[0].p == 1
    with pytest.raises(StatisticsError, match="a value is missing"):
        friedman([[1, 2, 3], [1, 2, math.nan]], unit="tasks")


def test_critical_differences_give_the_published_quantiles_and_need_five_blocks():
    assert critical_difference(7, 10) == pytest.approx(2.848348, abs=1e-6)
    published = (1.960, 2.344, 2.569, 2.728, 2.850, 2.948, 3.031, 3.102, 3.164)  # Demsar, table 5
    for k, q in enumerate(published, start=2):
        assert critical_difference(k, 5) == pytest.approx(q * math.sqrt(k * (k + 1) / 30), rel=3e-4)
    with pytest.raises(StatisticsError, match="7 methods over 4 blocks"):
        critical_difference(7, 4)


# What a p-value must have


@pytest.mark.parametrize("lacking", [{"n": 0}, {"unit": " "}, {"p": math.nan}, {"p": 1.5}])
def test_a_p_value_without_n_or_unit_cannot_be_made(lacking):
    whole = {"name": "Welch t", "p": 0.04, "statistic": 2.0, "difference": 0.1, "low": 0.0,
             "high": 0.2, "n": 3, "unit": "runs"}  # fmt: skip
    assert Test(**whole).n == 3
    with pytest.raises(StatisticsError, match="Welch t"):
        Test(**whole | lacking)
    for name in ("n", "unit"):
        with pytest.raises(TypeError):
            Test(**{key: value for key, value in whole.items() if key != name})


def test_too_few_runs_are_refused_with_what_to_do():
    with pytest.raises(StatisticsError, match=r"got 3 and 1.*--seeds"):
        welch(A, (0.7,), **RUNS)
    with pytest.raises(StatisticsError, match="at least 2 pairs of runs, got 1"):
        paired_t((0.8,), (0.7,), **RUNS)
    with pytest.raises(StatisticsError, match="got 3 and 2 values; expected pairs"):
        paired_t(A, A[:2], **RUNS)
    with pytest.raises(StatisticsError, match="expected a list of finite numbers"):
        welch(A, (0.7, math.nan), **RUNS)
