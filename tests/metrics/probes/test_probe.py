"""The probe and its metrics: what they know, which mix-ups they see, when they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from cerebench.metrics.base import MetricError, Sets
from cerebench.metrics.estimators.standardise import Standardiser
from cerebench.metrics.probes import probe
from cerebench.metrics.probes.c2st import C2ST, with_squares
from cerebench.metrics.probes.class_fidelity import CLASS_FIDELITY
from cerebench.metrics.probes.probe import (
    Probe,
    auc,
    balanced_accuracy,
    centred,
    information,
    out_of_fold,
    two_class_auc,
    uninformed,
)
from cerebench.metrics.probes.trts import TRTS
from cerebench.metrics.probes.tstr import TSTR

from ..conftest import of_features

GAP = 2.0  # between class means, sd: AUC .92
DIM = 6


def classes(n, seed, gap=GAP, count=2, spread=1.0):
    """Normal features of each class, whose means lie on a line ``gap`` apart."""
    rng = np.random.RandomState(seed)
    shift = np.eye(DIM)[0]
    return [spread * rng.standard_normal((n, DIM)) + gap * k * shift for k in range(count)]


def joint(generated, train=None, test=None):
    """Return the sets of the first class, with all of them."""
    train = classes(100, 1) if train is None else train
    test = classes(200, 2) if test is None else test
    pooled = of_features(np.concatenate(train), "p")
    every = {
        f"c{k}": Sets(
            of_features(own, f"g{k}"), of_features(a, f"r{k}"), of_features(b, f"t{k}"), pooled,
            0, (1.0, 1.0, 1.0),
        )
        for k, (own, a, b) in enumerate(zip(generated, train, test, strict=True))
    }  # fmt: skip
    return replace(every["c0"], classes=every)


def mixed(groups, share):
    """Exchange a share of two classes."""
    k = round(share * len(groups[0]))
    a, b = groups
    return [np.concatenate([a[k:], b[:k]]), np.concatenate([b[k:], a[:k]])]


def logs(*groups):
    return [np.log(np.asarray(group)) for group in groups]


# What the parts compute.


def test_information_is_one_bit_for_certainty_and_none_for_a_guess():
    sure = [[1 - 1e-12, 1e-12]], [[1e-12, 1 - 1e-12]]
    assert information(logs(*sure)) == pytest.approx(1)
    assert information(logs([[0.5, 0.5]], [[0.5, 0.5]])) == pytest.approx(0)
    assert information(logs(*[[[1 / 3] * 3]] * 3)) == pytest.approx(0)
    assert information(logs([[0.25, 0.75]], [[0.75, 0.25]])) == pytest.approx(-1)


def test_information_weighs_classes_and_not_volumes():
    told = logs([[0.8, 0.2]] * 9, [[0.5, 0.5]])
    assert information(told) == pytest.approx((np.log2(1.6) + 0) / 2)


def test_uninformed_is_the_mean_over_shuffled_labels():
    rng = np.random.RandomState(0)
    rows = rng.dirichlet([1, 1], 40)
    draws = []
    for _ in range(4000):
        order = rng.permutation(40)
        draws.append(information(logs(rows[order[:20]], rows[order[20:]])))
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(uninformed(logs(rows[:20], rows[20:])) - np.mean(draws)) < 4 * error


def test_centring_takes_a_common_shift_away_and_nothing_else():
    rng = np.random.RandomState(0)
    margin = [rng.standard_normal(30) - 1, rng.standard_normal(20) + 1]
    as_logs = [np.stack([-np.logaddexp(0, m), -np.logaddexp(0, -m)], axis=1) for m in margin]
    moved = [m + 7 for m in margin]
    shifted = [np.stack([-np.logaddexp(0, m), -np.logaddexp(0, -m)], axis=1) for m in moved]
    assert information(shifted) < information(as_logs) - 1
    assert information(centred(shifted)) == pytest.approx(information(centred(as_logs)))
    middle = (margin[0].mean() + margin[1].mean()) / 2
    own = [np.logaddexp(0, margin[0] - middle), np.logaddexp(0, middle - margin[1])]
    expected = 1 - (own[0].mean() + own[1].mean()) / 2 / np.log(2)
    assert information(centred(as_logs)) == pytest.approx(expected)


def test_auc_counts_pairs_and_ties_as_half():
    assert two_class_auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 0.875


@pytest.mark.parametrize("count", [2, 3, 4])
def test_auc_and_accuracy_agree_with_scikit_learn(count):
    rng = np.random.RandomState(count)
    rows = rng.dirichlet(np.ones(count), 20 * count)
    labels = np.repeat(np.arange(count), 20)
    told = logs(*np.split(rows, count))
    # one-vs-rest on the odds, which order one class as its probability does
    score = rows[:, 1] if count == 2 else rows
    assert auc(told) == pytest.approx(roc_auc_score(labels, score, multi_class="ovr"))
    right = [np.mean(part.argmax(1) == k) for k, part in enumerate(np.split(rows, count))]
    assert balanced_accuracy(told) == pytest.approx(np.mean(right))


def test_the_probe_is_that_of_scikit_learn_and_the_same_every_time():
    groups = classes(50, 0)
    labels = np.repeat([0, 1], 50)
    model = LogisticRegression(C=0.3, max_iter=5000).fit(np.concatenate(groups), labels)
    x = np.concatenate(classes(20, 9))
    found = Probe.fit(groups).log_probabilities(x)
    np.testing.assert_allclose(found, model.predict_log_proba(x), rtol=1e-4)
    assert np.isfinite(Probe.fit(groups).log_probabilities(1e6 * x)).all()
    np.testing.assert_array_equal(found, Probe.fit(groups).log_probabilities(x))


def test_classes_count_alike_however_many_volumes_they_have():
    a, b = classes(400, 0)
    few = Probe.fit([a, b[:40]])
    middle = few.log_probabilities(np.full((1, DIM), 0) + np.eye(DIM)[0] * GAP / 2)
    assert middle[0] == pytest.approx(np.log([0.5, 0.5]), abs=0.3)


def test_nobody_is_read_by_a_probe_that_was_fitted_on_them():
    groups = [np.random.RandomState(k).standard_normal((40, 30)) for k in (0, 1)]
    folds = [np.array_split(np.arange(40), 5)] * 2
    inside = Probe.fit(groups)
    own = auc([inside.log_probabilities(g) for g in groups])
    assert own > 0.8  # 30 features of nothing
    assert auc(out_of_fold(groups, folds)) < 0.65


# class-fidelity


def test_fidelity_is_one_minus_the_log_loss_of_centred_odds_in_bits():
    generated = classes(64, 3)
    result = CLASS_FIDELITY.compute(joint(generated), "")
    train = [g.astype(np.float32) for g in classes(100, 1)]
    scale = Standardiser.fit(np.concatenate(train))
    x = [scale(g.astype(np.float32)) for g in generated]
    model = LogisticRegression(C=0.3, max_iter=5000)
    model.fit(scale(np.concatenate(train)), np.repeat([0, 1], 100))
    odds = [model.decision_function(part) for part in x]
    odds = np.concatenate(odds) - (odds[0].mean() + odds[1].mean()) / 2
    loss = log_loss(np.repeat([0, 1], 64), 1 / (1 + np.exp(-odds)))
    assert result.value == pytest.approx(1 - loss / np.log(2), rel=1e-3)
    assert result.facts["floor"] < 0 < result.real_value == result.facts["ceiling"] < 1
    assert result.n_real == 100
    assert result.n_generated == 64
    assert result.se > 0


def test_fidelity_of_real_draws_is_that_of_held_out_cases():
    values = [CLASS_FIDELITY.compute(joint(classes(64, 50 + s)), "").value for s in range(40)]
    real = CLASS_FIDELITY.compute(joint(classes(64, 50), test=classes(4000, 2)), "").real_value
    assert abs(np.mean(values) - real) < 3 * np.std(values) / np.sqrt(40)
    errors = [CLASS_FIDELITY.compute(joint(classes(64, 50 + s)), "").se for s in range(8)]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


@pytest.mark.parametrize("metric", [CLASS_FIDELITY, TRTS, TSTR], ids=lambda m: m.name)
def test_more_mix_up_is_worse_and_half_of_it_is_outside_all_real_draws(metric):
    draws = [metric.compute(joint(classes(64, 50 + s)), "").value for s in range(10)]
    values = []
    for share in (0.1, 0.25, 0.5, 0.75, 1):
        found = [metric.compute(joint(mixed(classes(64, 70 + s), share)), "").value for s in (0, 1)]
        values.append(np.mean(found))
    if metric is not TSTR:  # a probe trained on few wrong labels ranks almost as well
        assert values == sorted(values, reverse=True)
        assert values[1] < min(draws)
    assert values[2] < min(draws)
    assert values[4] < values[2]


def test_fidelity_falls_with_mix_up_by_the_share_that_is_exchanged():
    """Odds that are linear in the share: AUC of a mix is a mean over which label is which."""
    groups = classes(400, 5)
    found = [TRTS.compute(joint(mixed(groups, share)), "").value for share in (0, 0.5, 1)]
    assert found[1] == pytest.approx(0.5, abs=0.03)
    assert found[0] + found[2] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("metric", [CLASS_FIDELITY, TRTS], ids=lambda m: m.name)
def test_a_caricature_is_no_better_than_real(metric):
    result = metric.compute(joint(classes(64, 3, gap=2 * GAP)), "")
    assert result.value > result.real_value + 3 * result.se
    assert metric.better == "near-real"


def test_a_shift_of_both_classes_is_no_loss_of_class():
    plain, moved = classes(64, 3), [g + 1.5 * np.eye(DIM)[0] for g in classes(64, 3)]
    values = [CLASS_FIDELITY.compute(joint(g), "") for g in (plain, moved)]
    assert values[0].value == pytest.approx(values[1].value, abs=1e-5)
    assert values[1].facts["bits_uncentred"] < values[0].facts["bits_uncentred"] - 0.1


def test_without_held_out_cases_the_ceiling_is_cross_validated():
    none = [np.empty((0, DIM))] * 2
    result = CLASS_FIDELITY.compute(joint(classes(64, 3), test=none), "")
    assert result.facts["ceiling_from"] == "5-fold cross-validation"
    assert result.real_value == pytest.approx(
        CLASS_FIDELITY.compute(joint(classes(64, 3)), "").real_value, abs=0.15
    )
    assert TSTR.compute(joint(classes(64, 3), test=none), "").facts["tested_on"] == "the reference"


def test_three_classes_have_one_value():
    train, test = classes(100, 1, count=3), classes(100, 2, count=3)
    result = CLASS_FIDELITY.compute(joint(classes(64, 3, count=3), train, test), "")
    assert result.facts["most"] == pytest.approx(np.log2(3))
    assert abs(result.value - result.real_value) < 0.2
    exchanged = classes(64, 3, count=3)
    exchanged[1:] = exchanged[:0:-1]
    assert CLASS_FIDELITY.compute(joint(exchanged, train, test), "").value < 0


@pytest.mark.parametrize("metric", [CLASS_FIDELITY, TRTS, TSTR], ids=lambda m: m.name)
def test_order_of_volumes_changes_nothing(metric):
    sets = joint(classes(64, 3))
    turned = joint([g[::-1] for g in classes(64, 3)])
    for own in turned.classes.values():
        own.generated.ids = own.generated.ids[::-1]
    a, b = metric.compute(sets, ""), metric.compute(turned, "")
    assert a.value == pytest.approx(b.value, rel=1e-5)
    assert a.se == pytest.approx(b.se, rel=1e-3)


@pytest.mark.parametrize("metric", [CLASS_FIDELITY, TRTS, TSTR], ids=lambda m: m.name)
def test_one_class_is_refused_and_so_are_few_volumes(metric):
    sets = joint(classes(64, 3))
    with pytest.raises(MetricError, match="at least two were expected"):
        metric.compute(replace(sets, classes={}), "")
    alone = joint(classes(64, 3, count=1), classes(64, 1, count=1), classes(64, 2, count=1))
    with pytest.raises(MetricError, match="there is 1 class;"):
        metric.compute(alone, "")
    few = [classes(64, 3)[0], classes(4, 3)[1]]
    with pytest.raises(MetricError, match="generated set of class c1 has 4 volumes; at least 5"):
        metric.compute(joint(few), "")
    with pytest.raises(MetricError, match="train set of class c0 has 3 volumes"):
        metric.compute(joint(classes(64, 3), train=[classes(3, 1)[0], classes(9, 1)[1]]), "")


def test_five_volumes_a_class_are_enough():
    for metric in (CLASS_FIDELITY, TRTS, TSTR):
        assert np.isfinite(metric.compute(joint(classes(5, 3)), "").value)


# tstr and trts


def test_synthetic_volumes_of_the_real_distribution_train_as_well_as_real_ones():
    found = [TSTR.compute(joint(classes(100, 50 + s)), "") for s in range(10)]
    assert np.mean([r.value for r in found]) == pytest.approx(found[0].facts["trtr"], abs=0.02)
    assert found[0].real_value == found[0].facts["trtr"]


def test_tstr_is_the_auc_of_a_probe_on_generated_volumes():
    generated = classes(64, 3)
    train, test = classes(100, 1), classes(200, 2)
    scale = Standardiser.fit(np.concatenate(train).astype(np.float32))
    x = scale(np.concatenate(generated).astype(np.float32))
    model = LogisticRegression(C=0.3, max_iter=5000).fit(x, np.repeat([0, 1], 64))
    score = model.decision_function(scale(np.concatenate(test).astype(np.float32)))
    expected = roc_auc_score(np.repeat([0, 1], 200), score)
    assert TSTR.compute(joint(generated, train, test), "").value == pytest.approx(
        expected, abs=1e-4
    )


def test_collapse_to_one_volume_a_class_is_seen_by_tstr_alone():
    rng = np.random.RandomState(5)
    rows = [g[rng.randint(len(g))] for g in classes(30, 3)]
    for k in (0, 1):  # one each, off to a side that has nothing to do with class
        rows[k] = rows[k] + 3 * (1 - 2 * k) * np.eye(DIM)[1]
    collapsed = [np.repeat(row[None], 64, axis=0) for row in rows]
    draws = [TSTR.compute(joint(classes(64, 50 + s)), "").value for s in range(10)]
    assert TSTR.compute(joint(collapsed), "").value < min(draws)


def test_fewer_real_volumes_are_taken_where_fewer_are_generated():
    few, many = (TSTR.compute(joint(classes(n, 3)), "") for n in (5, 100))
    assert few.facts["trtr"] < many.facts["trtr"]


# c2st


def two(generated, train, feature_sets, pooled=None):
    return feature_sets(generated, train, pooled=pooled)


def test_two_samples_of_one_distribution_are_not_told_apart(feature_sets, draw):
    values = [
        C2ST.compute(feature_sets(draw(64, seed=s), draw(64, seed=900 + s)), "").value
        for s in range(40)
    ]
    assert abs(np.mean(values) - 0.5) < 3 * np.std(values) / np.sqrt(40) + 0.01
    assert np.std(values) < 0.1


def test_c2st_grows_with_a_shift_and_with_a_spread(feature_sets, draw):
    train = draw(64, seed=1)
    draws = [C2ST.compute(feature_sets(draw(64, seed=s), train), "").value for s in range(10, 20)]
    shifts = [
        C2ST.compute(feature_sets(draw(64, seed=2) + s * np.eye(6)[0], train), "").value
        for s in (1, 2, 4)
    ]
    spreads = [
        C2ST.compute(feature_sets(s * draw(64, seed=2), train), "").value for s in (1.5, 2, 4)
    ]
    for ladder in (shifts, spreads):
        assert max(draws) < ladder[0] < ladder[1] < ladder[2]
    narrow = C2ST.compute(feature_sets(0.3 * draw(64, seed=2), train), "").value
    assert narrow > max(draws)


def test_c2st_is_the_auc_of_out_of_fold_odds(feature_sets, draw):
    x, y = draw(60, seed=2) + 0.7 * np.eye(6)[0], draw(60, seed=1)
    result = C2ST.compute(feature_sets(x, y), "")
    scale = Standardiser.fit(y.astype(np.float32))
    real, made = (with_squares(scale(g.astype(np.float32))) for g in (y, x))
    rng = np.random.RandomState(0)
    aucs = []
    for _ in range(5):  # other folds: the same up to the noise of the folds
        folds = np.array_split(rng.permutation(60), 5)
        score = np.empty((2, 60))
        for fold in folds:
            kept = np.setdiff1d(np.arange(60), fold)
            model = LogisticRegression(C=0.3, max_iter=5000)
            model.fit(np.concatenate([real[kept], made[kept]]), np.repeat([0, 1], len(kept)))
            score[0, fold] = model.decision_function(real[fold])
            score[1, fold] = model.decision_function(made[fold])
        aucs.append(roc_auc_score(np.repeat([0, 1], 60), score.ravel()))
    assert result.value == pytest.approx(np.mean(aucs), abs=4 * np.std(aucs) + 0.02)
    assert result.real_value == 0.5


def test_copies_come_out_below_one_half(feature_sets, draw):
    train = draw(64, 30, seed=1)
    assert C2ST.compute(feature_sets(train, train), "").value < 0.3


def test_sets_are_compared_at_equal_numbers(feature_sets, draw):
    result = C2ST.compute(feature_sets(draw(20, seed=2), draw(64, seed=1)), "")
    assert (result.n_real, result.n_generated) == (20, 20)


def test_four_volumes_are_too_few(feature_sets, draw):
    with pytest.raises(MetricError, match="generated set has 4 volumes; at least 5"):
        C2ST.compute(feature_sets(draw(4), draw(40, seed=1)), "")


def test_features_that_are_not_finite_are_named(feature_sets, draw):
    x = draw(20)
    x[3, 2] = np.nan
    with pytest.raises(MetricError, match="the first is g0003"):
        C2ST.compute(feature_sets(x, draw(40, seed=1)), "")


def test_the_recipe_holds_every_choice():
    assert probe.RECIPE["C"] == probe.C == 0.3
    for metric in (CLASS_FIDELITY, TRTS, TSTR, C2ST):
        assert metric.recipe["reference"] == "train"
        assert metric.needs == probe.FEATURES == "radlite-v2"
        assert metric.joint == (metric is not C2ST)


def test_volumes_that_the_probe_is_tested_on_are_refused():
    test = classes(100, 2)
    with pytest.raises(MetricError, match="128 generated volumes equal real ones"):
        TSTR.compute(joint([g[:64] for g in test], test=test), "")
    copies = [
        np.concatenate([g[:10], other[:54]]) for g, other in zip(test, classes(64, 9), strict=True)
    ]
    assert TSTR.compute(joint(copies, test=test), "").value > 0.8


def test_a_saturated_auc_has_an_error(feature_sets, draw):
    result = C2ST.compute(feature_sets(draw(40, seed=2) + 30, draw(40)), "")
    assert result.value == 1
    assert 0.01 < result.se < 0.1


def test_a_class_that_cannot_be_read_from_real_cases_is_noted():
    same = [classes(100, seed, gap=0) for seed in (1, 2, 3)]
    blind = CLASS_FIDELITY.compute(joint(same[2], same[0], same[1]), "")
    assert blind.real_value <= 0
    assert any("cannot be seen on these data" in note for note in blind.notes)
    assert not CLASS_FIDELITY.compute(joint(classes(64, 3)), "").notes
