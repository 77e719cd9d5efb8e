"""Distances to real cases and what is made of them: NNDR, DCR, membership inference."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.memorisation import closeness
from cerebench.metrics.memorisation.dcr import DCR, dcr
from cerebench.metrics.memorisation.max_corr import max_correlations
from cerebench.metrics.memorisation.membership import MEMBERSHIP, attack_auc, true_positive_rate
from cerebench.metrics.memorisation.nndr import NNDR, nndr

METRICS = (NNDR, DCR, MEMBERSHIP)


def volumes(n, seed, size=6):
    rng = np.random.RandomState(seed)
    return [rng.uniform(-1, 1, (1, size, size, size)).astype(np.float32) for _ in range(n)]


def features(sets, metric=NNDR):
    return metric.compute(sets, closeness.FEATURES)


# Distances.


def test_voxel_distance_is_that_of_normalised_volumes_under_the_best_flip(volume_sets):
    made, train = volumes(3, 0), volumes(4, 1)
    found = closeness.distances(volume_sets(made, train), "generated", "train", "voxels")

    def normal(v):
        flat = v.astype(np.float64).ravel() - v.mean(dtype=np.float64)
        return flat / np.linalg.norm(flat)

    for i, v in enumerate(made):
        for j, t in enumerate(train):
            flips = [
                np.linalg.norm(normal(np.flip(v, axes)) - normal(t))
                for axes in [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]
            ]
            assert found[i, j] == pytest.approx(min(flips), abs=1e-5)


@pytest.mark.parametrize("axes", [(), (1,), (2, 3)])
def test_a_copy_has_distance_exactly_zero_mirrored_or_not(volume_sets, axes):
    train = volumes(5, 0)
    made = [np.flip(v, axes).copy() for v in train]
    found = closeness.distances(volume_sets(made, train), "generated", "train", "voxels")
    assert (np.diag(found) == 0).all()
    assert (found[~np.eye(5, dtype=bool)] > 0.5).all()


def test_feature_distance_is_euclidean_in_the_scaling_of_real_cases(feature_sets, draw):
    x, train = draw(5, seed=1) * 3, draw(30)
    found = closeness.distances(feature_sets(x, train), "generated", "train", "features")
    scale = train.astype(np.float32)
    z = [(s.astype(np.float32) - scale.mean(0)) / scale.std(0, ddof=1) for s in (x, train)]
    np.testing.assert_allclose(found, cdist(*z), rtol=1e-5)


def test_distances_to_other_sets_are_not_mixed_up(draw):
    """Held-out cases stay while generated and training sets change."""
    from ..conftest import of_features

    test = of_features(draw(9, seed=1), "t")
    for seed in range(20):
        real = of_features(draw(12, seed=50 + seed))
        sets = Sets(test, real, test, real, 0, (1.0, 1.0, 1.0))
        found = closeness.distances(sets, "test", "train", "features")
        fresh = Sets(of_features(draw(9, seed=1)), real, test, real, 0, (1.0, 1.0, 1.0))
        np.testing.assert_array_equal(
            found, closeness.distances(fresh, "generated", "train", "features")
        )


def test_max_correlation_is_the_highest_of_all(volume_sets):
    sets = volume_sets(volumes(7, 0), volumes(70, 1))
    found = closeness.distances(sets, "generated", "train", "voxels")
    best = max_correlations(sets.generated, sets.train)
    np.testing.assert_allclose(1 - found.min(axis=1) ** 2 / 2, best, atol=1e-6)


# Closed forms.


def test_ratio_is_of_the_nearest_to_the_second_nearest():
    assert nndr(np.array([[3.0, 4.0, 9.0]]))[0] == 0.75
    assert nndr(np.array([[5.0, 5.0]]))[0] == 1
    assert nndr(np.array([[0.0, 0.0, 2.0]]))[0] == 0  # a copy of a case that occurs twice


def test_ratio_of_nearest_neighbours_in_one_dimension():
    """On a line of unit steps a point at u from the nearest has u / (1 - u), mean 2 ln 2 - 1."""
    points = np.random.RandomState(0).uniform(100, 900, 20000)[:, None]
    values = nndr(np.abs(points - np.arange(1000)[None]))
    assert values.mean() == pytest.approx(2 * np.log(2) - 1, abs=3 * values.std() / 141)


def test_closest_record_is_a_ratio_of_medians_without_a_unit():
    assert dcr([1.0, 3.0, 100.0], [4.0, 6.0, 8.0]) == 0.5
    assert dcr([10.0, 30.0, 1000.0], [40.0, 60.0, 80.0]) == 0.5


def test_attack_ranks_members_against_others():
    from sklearn.metrics import roc_auc_score

    members, others = np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0])
    assert attack_auc(members, others) == pytest.approx((2 + 1.5 + 1) / 6)
    score = -np.concatenate([members, others])
    assert attack_auc(members, others) == pytest.approx(roc_auc_score([1, 1, 1, 0, 0], score))


@pytest.mark.parametrize(("count", "allowed"), [(100, 1), (199, 1), (200, 2), (1000, 10)])
def test_at_most_one_percent_of_non_members_are_called_members(count, allowed):
    others = np.random.RandomState(count).permutation(np.arange(count, dtype=float))
    members = np.array([allowed - 0.5, allowed + 0.5, -1.0])
    assert true_positive_rate(members, others) == pytest.approx(2 / 3)
    threshold = np.sort(others)[allowed]
    assert np.sum(others < threshold) == allowed


def test_rates_of_scikit_learn_agree():
    from sklearn.metrics import roc_curve

    rng = np.random.RandomState(0)
    members, others = rng.uniform(0, 1, 300), rng.uniform(0.2, 1.2, 400)
    labels = np.repeat([1, 0], [300, 400])
    fpr, tpr, _ = roc_curve(labels, -np.concatenate([members, others]), drop_intermediate=False)
    assert true_positive_rate(members, others) == pytest.approx(tpr[fpr <= 0.01].max())


# What they see.


@pytest.mark.parametrize("space", closeness.SPACES)
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_new_cases_have_the_value_of_held_out_ones(metric, space):
    found = []
    for s in range(12):
        sets = with_both(s, volumes(24, 100 + s), volumes(24, 200 + s), volumes(24, 300 + s))
        found.append(metric.compute(sets, space))
    gap = [r.value - r.real_value for r in found]
    assert abs(np.mean(gap)) < 3.5 * np.std(gap) / np.sqrt(len(gap))
    assert all(r.se > 0 for r in found)


def with_both(seed, made, train, test):
    """Sets whose features are means of blocks of their voxels."""

    def of(group, prefix):
        ids = [f"{prefix}{i:03d}" for i in range(len(group))]

        def blocks(volumes, _name, _view):
            cut = [v.reshape(3, 2, 3, 2, 3, 2).mean(axis=(1, 3, 5)).ravel() for v in volumes]
            return np.array(cut, np.float32)

        return VolumeSet(group, ids, blocks)

    real = of(train, "r")
    return Sets(of(made, "g"), real, of(test, "t"), real, 0, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("space", closeness.SPACES)
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_the_nearer_to_training_cases_the_worse(metric, space):
    train, test, fresh = volumes(30, 1), volumes(30, 2), volumes(30, 3)
    values = []
    for share in (0, 0.6, 0.8, 1):  # of a training case in each generated volume
        made = [share * t + (1 - share) * f for t, f in zip(train, fresh, strict=True)]
        values.append(metric.compute(with_both(0, made, train, test), space).value)
    if metric is MEMBERSHIP:
        assert values[0] < values[1] <= values[2] <= values[3] == 1
        assert values[1] > 0.8
    else:
        assert values[0] > values[1] > values[2] > values[3] == 0


def test_copies_of_half_of_the_training_cases_leak_those(feature_sets, draw):
    train, test = draw(100), draw(120, seed=1)
    result = features(feature_sets(train[:50], train, test), MEMBERSHIP)
    rest = features(feature_sets(draw(50, seed=2), train, test), MEMBERSHIP)
    assert result.value == pytest.approx(0.75, abs=0.1)
    assert result.facts["tpr_at_fpr_01"] == pytest.approx(0.5, abs=0.05)
    assert rest.facts["tpr_at_fpr_01"] < 0.1
    assert rest.value == pytest.approx(0.5, abs=0.12)


def test_too_few_non_members_have_no_rate_but_a_reason(feature_sets, draw):
    few = features(feature_sets(draw(9, seed=2), draw(30), draw(99, seed=1)), MEMBERSHIP)
    assert "tpr_at_fpr_01" not in few.facts
    assert any("needs 100 held-out cases of a class, there are 99" in note for note in few.notes)
    many = features(feature_sets(draw(9, seed=2), draw(30), draw(100, seed=1)), MEMBERSHIP)
    assert "tpr_at_fpr_01" in many.facts
    assert not any("true-positive" in note for note in many.notes)


def test_noise_is_far_by_the_closest_record_and_near_one_by_the_ratio(feature_sets, draw):
    sets = feature_sets(20 * draw(40, seed=2), draw(40), draw(40, seed=1))
    assert features(sets, DCR).value > 5
    assert features(sets, NNDR).value > features(sets, NNDR).real_value


def test_a_few_copies_are_in_the_facts_where_the_median_is_blind(feature_sets, draw):
    train = draw(50)
    made = np.concatenate([train[:4], draw(36, seed=2)])
    sets = feature_sets(made, train, draw(50, seed=1))
    result = features(sets, DCR)
    assert result.value > 0.8
    assert result.facts["least"] == result.facts["percentile_5"] == 0
    assert result.facts["real_percentile_5"] > 0.2
    assert features(sets, NNDR).facts["percentile_5"] == 0


# Boundaries.


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_order_changes_nothing(metric, feature_sets, draw):
    x, train, test = draw(30), draw(40, seed=1), draw(50, seed=2)
    turned = feature_sets(x[::-1], train[::-1], test[::-1])
    for own in (turned.generated, turned.train, turned.test):
        own.ids = own.ids[::-1]
    a, b = features(feature_sets(x, train, test), metric), features(turned, metric)
    assert a.value == pytest.approx(b.value, rel=1e-9)
    assert a.se == pytest.approx(b.se, rel=1e-9)


def test_too_few_cases_are_refused(feature_sets, draw):
    with pytest.raises(MetricError, match="train set has 1 volumes; at least 2"):
        features(feature_sets(draw(9), draw(1), draw(9, seed=2), draw(9)), NNDR)
    with pytest.raises(MetricError, match="test set has 1 volumes; at least 2"):
        features(feature_sets(draw(9), draw(9), draw(1, seed=2)), DCR)
    with pytest.raises(MetricError, match="test set has 1 volumes; at least 2"):
        features(feature_sets(draw(9), draw(9), draw(1, seed=2)), MEMBERSHIP)


def test_held_out_cases_that_are_training_cases_are_refused(feature_sets, draw):
    with pytest.raises(MetricError, match="At least half of the test volumes equal a training"):
        features(feature_sets(draw(9, seed=3), draw(20), draw(20)), DCR)


def test_one_generated_volume_has_a_value_for_the_attack(feature_sets, draw):
    result = features(feature_sets(draw(1, seed=3), draw(20), draw(20, seed=1)), MEMBERSHIP)
    assert 0 <= result.value <= 1
    assert result.se is None


def test_held_out_cases_among_the_generated_ones_are_no_non_members(feature_sets, draw):
    test = draw(20, seed=1)
    with pytest.raises(MetricError, match="20 held-out cases equal a generated volume"):
        features(feature_sets(test, draw(20), test), MEMBERSHIP)


def test_two_volumes_without_an_object_are_no_copies_of_each_other(feature_sets, draw):
    x, train, test = draw(9, seed=2) + 9, draw(20) + 9, draw(9, seed=1) + 9
    train[:2], test[0], x[:3] = 0, 0, 0
    sets = feature_sets(x, train, test)
    found = closeness.distances(sets, "generated", "train", "features")
    assert found.min() > 0
    assert (found[:3, :2] == found[:3].max(axis=1, keepdims=True)).all()
    assert (found[3:, :2] > 0).all()
    assert closeness.distances(sets, "test", "train", "features").min() > 0
    assert features(sets, NNDR).value > 0.3


def test_a_set_against_itself_in_another_order_has_the_real_value(feature_sets, draw):
    test = draw(20, seed=1)
    result = features(feature_sets(test[::-1], draw(30), test), NNDR)
    assert result.value == result.real_value
