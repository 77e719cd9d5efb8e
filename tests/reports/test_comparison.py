from dataclasses import replace

import numpy as np
import pytest

from cerebench.core.statistics import holm
from cerebench.reports import comparison
from cerebench.reports.base import ReportError
from cerebench.reports.classification import METRICS
from cerebench.reports.comparison import check_test, compare, leader, resample
from cerebench.reports.downstream import Missing, Result, Run
from cerebench.reports.statistics import bootstrap_interval, middle, paired_bootstrap, welch


def row(name, skill, n=25, seed=0, runs=3, start=0):
    """A row whose classifier scores label 1 higher by ``skill`` than label 0."""
    rng = np.random.default_rng(seed)
    labels = (0,) * n + (1,) * n
    noise = rng.normal(size=2 * n)
    made = []
    for repeat in range(runs):
        latent = noise + 0.3 * rng.normal(size=2 * n) + skill * np.array(labels)
        scores = 1 / (1 + np.exp(skill / 2 - latent))
        values = {metric: float(of(labels, scores)) for metric, of in METRICS.items()}
        made.append(Run(start, repeat, scores, values))
    ids = tuple(f"case-{i}" for i in range(2 * n))
    return Result("method", name, name, tuple(made), ids=ids, patients=ids, labels=labels)


def drawn_of(*rows):
    return resample(rows)


def test_shared_draws_give_the_test_and_the_interval_of_single_ones():
    a, b = row("a", 1.0), row("b", 0.4, seed=1)
    drawn = drawn_of(a, b)
    for metric, of in METRICS.items():
        verdict = compare([a], b, metric, "paired_bootstrap", drawn)[a]
        assert verdict.test == paired_bootstrap(a.labels, a.patients, a.scores, b.scores, of)
        assert verdict.p == verdict.test.p
        interval = bootstrap_interval(a.labels, a.patients, a.scores, of, draws=10_000)
        assert middle(drawn[a][metric]) == interval


def test_holm_corrects_within_a_family_of_those_that_could_be_tested():
    reference, lost = row("reference", 1.0), Result("method", "lost", "lost")
    family = [row("a", 0.2, seed=1), lost, row("b", 0.6, seed=2), row("c", 1.1, seed=3)]
    drawn = drawn_of(reference, *family)
    found = compare(family, reference, "auc", "paired_bootstrap", drawn)
    made = [verdict for verdict in found.values() if verdict.test]
    assert [verdict.p for verdict in made] == holm([verdict.test.p for verdict in made])
    assert {verdict.family for verdict in made} == {3}
    assert {verdict.test.n for verdict in made} == {50}
    assert found[lost].reason == "no result to compare"


def test_too_few_cases_of_a_class_are_not_tested_by_any_test():
    a, b = row("a", 1.0, n=19), row("b", 0.2, n=19, seed=1)
    for test in comparison.TESTS:
        verdict = compare([a], b, "auc", test, drawn_of(a, b))[a]
        assert (verdict.test, verdict.p) == (None, None)
        assert "19 test cases of a class, fewer than 20" in verdict.reason
    a, b = row("a", 1.0, n=20), row("b", 0.2, n=20, seed=1)
    assert compare([a], b, "auc", "paired_bootstrap", drawn_of(a, b))[a].test is not None


def test_a_test_over_runs_has_runs_as_its_unit_and_delong_cases():
    a, b = row("a", 1.0), row("b", 0.4, seed=1)
    drawn = drawn_of(a, b)
    by = {test: compare([a], b, "auc", test, drawn)[a].test for test in comparison.TESTS}
    assert {test: (made.n, made.unit) for test, made in by.items()} == {
        "paired_bootstrap": (50, "patients"),
        "delong": (50, "cases"),
        "welch": (3, "runs"),
        "student": (3, "runs"),
        "paired": (3, "runs"),
    }
    assert by["welch"] == welch(a.values("auc"), b.values("auc"), unit="runs")
    assert "AUCs only" in compare([a], b, "f1", "delong", drawn)[a].reason


def test_runs_pair_by_seed_and_repeat_and_without_a_generator_by_repeat():
    a, b, real = row("a", 1.0), row("b", 0.4, seed=1), row("real", 0.3, seed=2, start=None)
    made = compare([a, real], b, "auc", "paired", drawn_of(a, b, real))
    differences = np.subtract(a.values("auc"), b.values("auc"))
    assert made[a].test.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert made[real].test.n == 3
    other = row("other", 0.9, seed=3, start=1)
    assert compare([other], b, "auc", "paired", drawn_of(other, b))[other].test is None


def test_other_test_cases_than_the_references_are_not_compared():
    a, b = row("a", 1.0), row("b", 0.4, n=30)
    assert "not those of the reference" in (
        compare([a], b, "auc", "paired_bootstrap", drawn_of(a, b))[a].reason
    )


def test_the_best_leads_only_when_patients_tell_it_from_the_next():
    best, near, far = row("best", 2.5), row("near", 2.4, seed=1), row("far", 0.2, seed=2)
    drawn = drawn_of(best, near, far)
    assert leader([far, best], "auc", drawn) == (best, far)
    first, second = leader([far, near, best], "auc", drawn)
    assert first is None
    assert second in (near, best)
    twin = row("twin", 2.5)  # identical generators tie
    assert leader([best, twin], "auc", drawn_of(best, twin))[0] is None


def test_a_row_that_lacks_seeds_or_cases_does_not_lead():
    best, far = row("best", 2.5), row("far", 0.2, seed=2)
    short = replace(best, missing=(Missing(1, "failed", "out of memory"),))
    assert leader([short, far], "auc", drawn_of(short, far)) == (None, far)
    few, fewer = row("few", 5.0, n=19), row("fewer", 0.1, n=19, seed=1)
    assert leader([few, fewer], "auc", drawn_of(few, fewer)) == (None, fewer)
    assert leader([best], "auc", drawn_of(best)) == (None, None)


def test_swapped_labels_are_worse_than_the_reference():
    reference, swapped = row("reference", 1.5), row("swapped", -1.5, seed=1)
    drawn = drawn_of(reference, swapped)
    verdict = compare([swapped], reference, "auc", "paired_bootstrap", drawn)[swapped]
    assert verdict.p < 0.001
    assert verdict.test.high < 0


def test_an_unknown_test_lists_those_that_exist():
    with pytest.raises(ReportError, match=r"named 'anova'\. Known: paired_bootstrap, delong"):
        check_test("anova")
