from dataclasses import replace

import numpy as np
import pytest

from cerebench.reports.statistics import generators
from cerebench.reports.statistics.results import Missing, Result, ScoredRun, scored
from cerebench.reports.statistics.significance import StatisticsError


def row(name="a", skill=1.0, seeds=3, repeats=2, n=25, spread=0.1, start=0):
    """A row of one generator: seeds differ in skill by ``spread``, cases are the same for all."""
    labels = (0,) * n + (1,) * n
    rng, own = np.random.default_rng(0), np.random.default_rng(sum(map(ord, name)))
    case = rng.normal(size=2 * n)
    runs = []
    for seed in range(seeds):
        extra = spread * own.normal()
        for repeat in range(repeats):
            latent = case + 0.4 * own.normal(size=2 * n) + (skill + extra) * np.array(labels)
            scores = 1 / (1 + np.exp(skill / 2 - latent))
            of = None if start is None else start + seed
            runs.append(ScoredRun(of, repeat, scores, scored(labels, scores)))
    ids = tuple(f"case-{i}" for i in range(2 * n))
    return Result("method", name, name, tuple(runs), ids=ids, patients=ids, labels=labels)


def constant(made, run=0, positive=True):
    """Let a run call every case the same."""
    told = made.runs[run]
    scores = np.clip(told.scores, 0.51, 1) if positive else np.clip(told.scores, 0, 0.5)
    runs = list(made.runs)
    runs[run] = replace(told, scores=scores, values=scored(made.labels, scores))
    return replace(made, runs=tuple(runs))


@pytest.mark.parametrize("metric", ["auc", "f1", "accuracy", "precision", "recall"])
def test_the_difference_tested_is_that_of_the_printed_means(metric):
    a, b = row("a", 1.4), row("b", 0.6)
    made = generators.tested(a, b, metric)
    assert made.difference == pytest.approx(np.mean(a.values(metric)) - np.mean(b.values(metric)))
    assert made.low < made.difference < made.high
    assert (made.n, made.unit) == (3, "seeds")


def test_the_error_joins_patients_and_seeds():
    a = row("a", seeds=4)
    found = generators.estimate(a, "auc")
    means = np.reshape(a.values("auc"), (4, 2)).mean(axis=1)
    assert found.units == pytest.approx(means)
    joined = found.sampling.variance + np.var(means, ddof=1) / 4
    assert found.error.se**2 == pytest.approx(joined)
    assert found.between.df == 3


def test_seeds_that_differ_more_make_the_claim_less_sure():
    b = row("b", 0.8)
    steady, shaky = row("a", 1.6, spread=0.0, repeats=1), row("a", 1.6, spread=1.2, repeats=1)
    ps = [generators.tested(one, b, "auc").p for one in (steady, shaky)]
    assert ps[0] < ps[1]
    shares = [generators.contrast(one, b, "auc").parts for one in (steady, shaky)]
    assert shares[0][1].variance < shares[1][1].variance


def test_what_is_hard_for_both_rows_cancels():
    a, b = row("a", 1.2), row("b", 1.0)
    shared = generators.contrast(a, b, "auc").parts[0].variance
    apart = sum(generators.estimate(one, "auc").sampling.variance for one in (a, b))
    assert shared < 0.5 * apart


@pytest.mark.parametrize(("seeds", "count"), [(1, "1 generator seed of"), (2, "2 generator seeds")])
def test_fewer_than_three_generator_seeds_give_no_claim_and_say_so(seeds, count):
    far, reference = row("a", 4.0, seeds=seeds, repeats=3), row("b", 0.1)
    for pair in ((far, reference), (reference, far)):
        with pytest.raises(StatisticsError, match=f"{count}.*needs 3"):
            generators.tested(*pair, "auc")
    assert generators.leader({far: 0.99, reference: 0.5}, "auc") is None


def test_a_row_without_a_generator_has_repeats_in_the_place_of_seeds():
    real = row("real", 0.3, seeds=1, repeats=3, start=None)
    made = generators.tested(real, row("b", 1.6), "auc")
    assert generators.estimate(real, "auc").unit == "repeats"
    assert made.difference < 0


def test_one_seed_has_the_error_of_patients_and_repeats():
    found = generators.estimate(row(seeds=1, repeats=3), "auc")
    assert found.between is None
    assert [part.df for part in found.error.parts] == [48.0, 2.0]


@pytest.mark.parametrize("positive", [True, False])
def test_a_run_that_predicts_one_class_is_not_tested_but_in_auc(positive):
    a, b = constant(row("a", 1.4), positive=positive), row("b", 0.4)
    assert a.one_class == "1 of 6 runs predict one class for every case"
    for pair in ((a, b), (b, a)):
        with pytest.raises(StatisticsError, match="predict one class"):
            generators.tested(*pair, "f1")
    assert generators.tested(a, b, "auc").p < 0.05
    assert row().one_class == ""


def test_other_test_cases_too_few_and_missing_rows_are_not_compared():
    a, b = row("a", 1.0), row("b", 0.4, n=30)
    with pytest.raises(StatisticsError, match="not those of the reference"):
        generators.tested(a, b, "auc")
    with pytest.raises(StatisticsError, match="19 test cases of a class, fewer than 20"):
        generators.tested(row("a", n=19), row("b", n=19), "auc")
    with pytest.raises(StatisticsError, match="no result"):
        generators.tested(Result("method", "x", "x"), a, "auc")


def test_rows_that_are_equal_or_differ_without_any_spread():
    a = row("a")
    assert generators.tested(a, a, "auc").p > 0.99
    perfect = row("p", 60.0, spread=0.0)
    assert generators.tested(perfect, perfect, "auc").p == 1.0


def test_the_best_beats_every_other_row_or_nobody_leads():
    best, near, far = row("best", 2.5), row("near", 2.4), row("far", 0.2)

    def leader(*rows):
        return generators.leader({r: float(np.mean(r.values("auc"))) for r in rows}, "auc")

    assert leader(best, far) is best
    assert leader(far, near, best) is None
    lost = replace(best, missing=(Missing(3, "failed", "out of memory"),))
    assert leader(lost, far) is None


def test_the_seeds_of_the_reference_count_as_those_of_the_row():
    steady, shaky = row("a", 1.6, spread=0.0, repeats=1), row("b", 0.8, spread=1.2, repeats=1)
    made = generators.contrast(steady, shaky, "auc")
    own = generators.estimate(shaky, "auc").between
    assert own in made.parts
    turned = generators.contrast(shaky, steady, "auc")
    assert sum(p.variance for p in turned.parts) == pytest.approx(
        sum(p.variance for p in made.parts)
    )
