import numpy as np
import pytest

from cerebench.reports.statistics import influence
from cerebench.reports.statistics.classification import METRICS
from cerebench.reports.statistics.significance import StatisticsError, delong, paired_bootstrap

N = 200
LABELS = np.repeat([0, 1], N // 2)
IDS = [f"p{i}" for i in range(N)]


def scores(seed=0, runs=3, skill=1.0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=N) + skill * LABELS + 0.5 * rng.normal(size=(runs, N))
    return 1 / (1 + np.exp(skill / 2 - latent))


def mean(metric, given, weights=None):
    return np.mean([METRICS[metric](LABELS, run, weights=weights) for run in given], axis=0)


@pytest.mark.parametrize("metric", METRICS)
def test_influences_say_what_leaving_a_case_out_does(metric):
    given, found = scores(), influence.of_cases(LABELS, scores(), metric)
    assert found.sum() == pytest.approx(0, abs=1e-12)
    left = np.array([mean(metric, given, np.delete(np.eye(N), i, 0).sum(0)) for i in range(N)])
    assert mean(metric, given) - left == pytest.approx(found, abs=2e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_their_variance_is_that_of_the_bootstrap(metric):
    patients = influence.strata(LABELS, IDS)
    drawn = np.concatenate([mean(metric, scores(), w) for w in patients.draw_weights(4000, 1)])
    found = influence.variance(influence.of_cases(LABELS, scores(), metric), patients)
    assert found == pytest.approx(np.var(drawn), rel=0.1)


def test_of_auc_it_is_exactly_that_of_delong_ties_included():
    a, b = scores().round(1), scores(1).round(1)
    difference = influence.of_cases(LABELS, a, "auc") - influence.of_cases(LABELS, b, "auc")
    se = influence.variance(difference, influence.strata(LABELS, IDS)) ** 0.5
    made = delong(LABELS, a, b)
    assert made.difference / made.statistic == pytest.approx(se, rel=1e-9)
    assert made.difference == pytest.approx(mean("auc", a) - mean("auc", b))


def test_cases_of_one_patient_are_no_independent_cases():
    found = influence.of_cases(LABELS, scores(), "auc")
    single = influence.variance(found, influence.strata(LABELS, IDS))
    twice = influence.variance(
        np.repeat(found, 2) / 2, influence.strata(np.repeat(LABELS, 2), np.repeat(IDS, 2).tolist())
    )
    assert twice == pytest.approx(single)


def test_precision_without_a_positive_call_has_no_influence():
    assert np.isnan(influence.of_cases([0, 0, 1, 1], [[0.1, 0.2, 0.3, 0.4]], "precision")).all()


def test_the_bootstrap_refuses_a_score_that_does_not_exist():
    low = np.full(N, 0.1)
    with pytest.raises(StatisticsError, match="does not exist"):
        paired_bootstrap(LABELS, IDS, low, scores()[0], METRICS["precision"], draws=50)
