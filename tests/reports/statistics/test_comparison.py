import numpy as np
import pytest

from cerebench.core.statistics import holm
from cerebench.reports.base import ReportError
from cerebench.reports.statistics import comparison
from cerebench.reports.statistics.classification import METRICS
from cerebench.reports.statistics.comparison import CLAIM, check_test, compare
from cerebench.reports.statistics.results import Result, ScoredRun
from cerebench.reports.statistics.significance import paired_bootstrap, welch


def row(name, skill, n=25, seed=0, runs=3, start=0, seeds=1):
    """A row whose classifier scores label 1 higher by ``skill`` than label 0."""
    rng = np.random.default_rng(seed)
    labels = (0,) * n + (1,) * n
    noise = rng.normal(size=2 * n)
    made = []
    for number in range(runs * seeds):
        latent = noise + 0.3 * rng.normal(size=2 * n) + skill * np.array(labels)
        scores = 1 / (1 + np.exp(skill / 2 - latent))
        values = {metric: float(of(labels, scores)) for metric, of in METRICS.items()}
        of = None if start is None else start + number // runs
        made.append(ScoredRun(of, number % runs, scores, values))
    ids = tuple(f"case-{i}" for i in range(2 * n))
    return Result("method", name, name, tuple(made), ids=ids, patients=ids, labels=labels)


@pytest.mark.parametrize("test", [CLAIM, *comparison.TESTS])
def test_every_test_is_of_the_difference_of_the_means(test):
    rows = [row("a", 1.0, seeds=3), row("b", 0.4, seed=1, seeds=3)]
    for metric in METRICS if test != "delong" else ("auc",):
        verdict = compare(rows[:1], rows[1], metric, test)[rows[0]]
        means = [np.mean(one.values(metric)) for one in rows]
        assert verdict.test.difference == pytest.approx(means[0] - means[1], abs=1e-12)
        assert verdict.difference == pytest.approx(verdict.test.difference, abs=1e-12)


def test_for_one_run_the_bootstrap_is_that_of_single_predictions():
    a, b = row("a", 1.0, runs=1), row("b", 0.4, seed=1, runs=1)
    for metric, of in METRICS.items():
        made = compare([a], b, metric, "paired_bootstrap")[a].test
        scores = (one.runs[0].scores for one in (a, b))
        assert made == paired_bootstrap(a.labels, a.patients, *scores, of, comparison.DRAWS)


def test_holm_corrects_within_a_family_of_those_that_could_be_tested():
    reference, lost = row("reference", 1.0, seeds=3), Result("method", "lost", "lost")
    few = row("few", 1.0, seed=4)
    family = [
        row(name, skill, seed=seed, seeds=3)
        for seed, (name, skill) in enumerate({"a": 0.2, "b": 0.6, "c": 1.1}.items(), 1)
    ]
    found = compare([*family, lost, few], reference, "auc", CLAIM)
    made = [verdict for verdict in found.values() if verdict.test]
    assert [verdict.p for verdict in made] == holm([verdict.test.p for verdict in made])
    assert {verdict.family for verdict in made} == {3}
    assert found[lost].reason == "no result to compare"
    assert found[lost].difference is None
    assert "1 generator seed of few" in found[few].reason
    assert found[few].difference is not None


def test_too_few_cases_of_a_class_are_not_tested_by_any_test():
    a, b = row("a", 1.0, n=19), row("b", 0.2, n=19, seed=1)
    for test in comparison.TESTS:
        verdict = compare([a], b, "auc", test)[a]
        assert (verdict.test, verdict.p) == (None, None)
        assert "19 test cases of a class, fewer than 20" in verdict.reason
    a, b = row("a", 1.0, n=20), row("b", 0.2, n=20, seed=1)
    assert compare([a], b, "auc", "paired_bootstrap")[a].test is not None


def test_a_test_over_runs_has_runs_as_its_unit_and_delong_cases():
    a, b = row("a", 1.0), row("b", 0.4, seed=1)
    by = {test: compare([a], b, "auc", test)[a].test for test in comparison.TESTS}
    assert {test: (made.n, made.unit) for test, made in by.items()} == {
        "paired_bootstrap": (50, "patients"),
        "delong": (50, "cases"),
        "welch": (3, "runs"),
        "student": (3, "runs"),
        "paired": (3, "runs"),
    }
    assert by["welch"] == welch(a.values("auc"), b.values("auc"), unit="runs")
    assert "AUCs only" in compare([a], b, "f1", "delong")[a].reason


def test_runs_pair_by_seed_and_repeat_and_without_a_generator_by_repeat():
    a, b, real = row("a", 1.0), row("b", 0.4, seed=1), row("real", 0.3, seed=2, start=None)
    made = compare([a, real], b, "auc", "paired")
    differences = np.subtract(a.values("auc"), b.values("auc"))
    assert made[a].test.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert made[real].test.n == 3
    other = row("other", 0.9, seed=3, start=1)
    assert compare([other], b, "auc", "paired")[other].test is None


def test_other_test_cases_than_the_references_are_not_compared():
    a, b = row("a", 1.0), row("b", 0.4, n=30)
    assert "not those of the reference" in (compare([a], b, "auc", "paired_bootstrap")[a].reason)


def test_an_unknown_test_lists_those_that_exist():
    with pytest.raises(ReportError, match=r"named 'anova'\. Known: paired_bootstrap, delong"):
        check_test("anova")
