"""Fréchet distance: closed forms, two forms against each other, planted defects."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.features.frechet import (
    FD_RADLITE,
    Gaussian,
    frechet_distance,
    frechet_from_statistics,
    frechet_metric,
    ruling_feature,
)


def gaussian(mean, covariance, n=100):
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    return Gaussian(n, mean, covariance * (n - 1))


def volume_set(features):
    """A set that has features but no voxels."""
    ids = [f"v{i:03d}" for i in range(len(features))]
    kept = np.asarray(features, np.float32)
    return VolumeSet([None] * len(ids), ids, lambda _set, _extractor, _view: kept)


def make_sets(generated, train, pooled=None, seed=0):
    real = volume_set(train)
    whole = real if pooled is None else volume_set(pooled)
    return Sets(volume_set(generated), real, real, whole, seed, (1.0, 1.0, 1.0))


def draw(n, dim=6, seed=0):
    return np.random.RandomState(seed).standard_normal((n, dim))


def test_equal_covariances_give_the_squared_mean_difference():
    a, b = gaussian(np.zeros(4), np.eye(4)), gaussian(np.full(4, 0.5), np.eye(4))
    assert frechet_from_statistics(a, b) == pytest.approx(1.0, abs=1e-9)


def test_commuting_covariances_give_the_difference_of_roots():
    a = gaussian(np.zeros(4), np.diag([1, 4, 9, 16]))
    b = gaussian(np.zeros(4), np.diag([4, 1, 16, 9]))
    assert frechet_from_statistics(a, b) == pytest.approx(4.0, abs=1e-9)


def test_general_covariances_give_the_closed_form_in_two_dimensions():
    a, b = gaussian([1, 0], [[2, 1], [1, 2]]), gaussian([0, 2], np.diag([1, 3]))
    assert frechet_from_statistics(a, b) == pytest.approx(5.516685226452117, abs=1e-9)
    assert frechet_from_statistics(b, a) == pytest.approx(5.516685226452117, abs=1e-9)


def test_three_points_against_a_repeated_one():
    value = frechet_distance([[1, 2], [1, 2], [1, 2]], [[2, 2], [1, 2], [1, 2]])
    assert value == pytest.approx(4 / 9, abs=1e-9)


@pytest.mark.parametrize("n", [12, 300])
def test_a_set_is_at_zero_from_itself(n):
    x = draw(n, dim=40)
    assert abs(frechet_distance(x, x)) < 1e-9
    assert abs(frechet_from_statistics(Gaussian.of(x), Gaussian.of(x))) < 1e-5


def test_isotropic_gaussians_give_the_squared_difference_of_sds():
    a, b = gaussian(np.ones(5), 4 * np.eye(5)), gaussian(np.ones(5), 0.25 * np.eye(5))
    assert frechet_from_statistics(a, b) == pytest.approx(5 * 1.5**2, abs=1e-9)


def test_scale_enters_squared_and_rotation_and_translation_not_at_all():
    x, y = draw(30), 2 * draw(50, seed=1) + 1
    value = frechet_distance(x, y)
    turn, _ = np.linalg.qr(draw(6, seed=2))
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * value, rel=1e-9)
    assert frechet_distance(x @ turn + 7, y @ turn + 7) == pytest.approx(value, rel=1e-9)


def test_merged_statistics_equal_one_pass():
    x = draw(100) + 50
    merged = Gaussian.of(x[:37]) + Gaussian.of(x[37:])
    whole = Gaussian.of(x)
    assert merged.n == whole.n
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, np.cov(x.T), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-12, atol=1e-10)


def test_taking_features_out_undoes_a_merge():
    x = draw(100) + 50
    rest, expected = Gaussian.of(x) - Gaussian.of(x[:30]), Gaussian.of(x[30:])
    assert rest.n == expected.n
    np.testing.assert_allclose(rest.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(rest.scatter, expected.scatter, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("m", "n", "dim"), [(10, 14, 30), (40, 60, 8), (10, 60, 30)])
def test_feature_form_equals_statistics_form(m, n, dim):
    x, y = draw(m, dim), 1.5 * draw(n, dim, seed=1)
    stated = frechet_from_statistics(Gaussian.of(x), Gaussian.of(y))
    assert frechet_distance(x, y) == pytest.approx(stated, rel=1e-5)


def test_equals_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    a, b = gaussian([1, 0], [[2, 1], [1, 2]]), gaussian([0, 2], np.diag([1, 3]))
    tensors = [torch.from_numpy(t) for g in (a, b) for t in (g.mean, g.covariance)]
    assert frechet_from_statistics(a, b) == pytest.approx(
        float(fid._compute_fid(*tensors)), abs=1e-8
    )


def test_metric_standardises_with_the_pooled_training_cases():
    train, generated = 10 * draw(40), 10 * draw(30, seed=1) + 5
    pooled = np.concatenate([train, 10 * draw(40, seed=2) + 3])
    scaled = [(f - pooled.mean(0)) / pooled.std(0, ddof=1) for f in (generated, train)]
    result = FD_RADLITE.compute(make_sets(generated, train, pooled), "")
    assert result.value == pytest.approx(frechet_distance(*scaled), rel=1e-5)
    assert (result.n_generated, result.n_real) == (30, 40)


def test_features_without_spread_are_left_out_and_listed():
    train, generated = draw(40), draw(40, seed=1)
    train[:, [1, 4]] = 0.25
    generated[:, 1] = 99
    result = FD_RADLITE.compute(make_sets(generated, train), "")
    assert any("number 1, number 4" in note for note in result.notes)
    assert result.value < 10


@pytest.mark.parametrize(
    "defect",
    [
        lambda x: x + 0.5,
        lambda x: x.mean(0) + 2.0 * (x - x.mean(0)),
        lambda x: x.mean(0) + 0.3 * (x - x.mean(0)),
        lambda x: np.tile(x[:5], (16, 1)),
    ],
    ids=["mean shift", "more spread, equal mean", "less spread, equal mean", "collapse"],
)
def test_planted_defects_raise_the_distance(defect):
    train, good = draw(80), draw(80, seed=1)
    clean = FD_RADLITE.compute(make_sets(good, train), "")
    spoilt = FD_RADLITE.compute(make_sets(defect(good), train), "")
    assert spoilt.value > clean.value + 3 * clean.se


def test_copies_of_the_training_set_score_zero():
    train = draw(50)
    assert FD_RADLITE.compute(make_sets(train, train), "").value == pytest.approx(0, abs=1e-9)


def test_order_of_volumes_changes_nothing():
    x, y = draw(33), draw(44, seed=1)
    turned = make_sets(x[::-1], y)
    turned.generated.ids = turned.generated.ids[::-1]
    a, b = FD_RADLITE.compute(make_sets(x, y), ""), FD_RADLITE.compute(turned, "")
    assert a.value == pytest.approx(b.value, rel=1e-9)
    assert a.se == pytest.approx(b.se, rel=1e-6)


def test_replicates_give_the_error():
    result = FD_RADLITE.compute(make_sets(draw(60), draw(60, seed=1)), "")
    squares = [9 / 10 * np.sum((v - np.mean(v)) ** 2) for v in result.replicates.values()]
    assert result.se == pytest.approx(np.sqrt(sum(squares)))
    assert {role: len(v) for role, v in result.replicates.items()} == {"generated": 10, "real": 10}


def test_error_is_about_the_spread_over_repeated_draws():
    pooled = draw(500, 4, seed=1000)  # the error is that of a fixed standardisation
    results = [
        FD_RADLITE.compute(make_sets(draw(60, 4, s), draw(60, 4, s + 500) + 0.7, pooled), "")
        for s in range(40)
    ]
    # The distance is skewed and each error noisy: a factor of 1.6 either way is what 40 draws show.
    ratio = np.mean([r.se for r in results]) / np.std([r.value for r in results], ddof=1)
    assert 1 / 1.6 < ratio < 1.6


def test_few_volumes_and_zero_covariance_are_noted():
    few = FD_RADLITE.compute(make_sets(draw(4), draw(40, seed=1)), "")
    assert any(note.startswith("fewer volumes than features") for note in few.notes)
    many = FD_RADLITE.compute(make_sets(draw(40), draw(40, seed=1)), "")
    assert (many.notes, many.facts) == ((), {})
    same = FD_RADLITE.compute(make_sets(np.ones((40, 6)), draw(40, seed=1)), "")
    assert any(note.startswith("degenerate: all generated") for note in same.notes)
    assert np.isfinite(same.value)


def test_shares_of_single_features_add_up_to_the_distance_where_they_are_uncorrelated():
    x, y = (np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]) for _ in range(2))
    y = y * [1.0, 4.0] + [2.0, 0.0]  # gaps: 2^2 of means; (3 sd)^2 of spreads, sd^2 = 4 / 3
    distance = frechet_distance(x, y)
    assert distance == pytest.approx(4 + 9 * 4 / 3)
    assert ruling_feature(x, y, distance) == (1, pytest.approx(12 / 16))
    twice = np.hstack([x, x]), np.hstack([y, y])  # all features doubled: shares halve
    assert ruling_feature(*twice, frechet_distance(*twice)) is None


def test_equal_sets_have_no_ruling_feature():
    x = draw(20)
    assert ruling_feature(x, x, frechet_distance(x, x)) is None


def test_a_feature_that_makes_most_of_the_distance_is_named_in_its_own_unit():
    real, made = draw(40), draw(40, seed=1)
    real[:, 2] = 5.0  # left out, so that numbers of features shift
    made[:, 4] = made[:, 4] * 3 + 50

    class Features:
        def __call__(self, volumes, extractor, view):
            return rows[volumes.ids[0]]

        def names(self, extractor):
            return ["a", "b", "c", "d", "range", "f"]

    rows = {"r0": real.astype(np.float32), "g0": made.astype(np.float32)}
    sets = [VolumeSet([None] * 40, [f"{k}{i}" for i in range(40)], Features()) for k in "gr"]
    result = FD_RADLITE.compute(Sets(*sets, sets[1], sets[1], 0, (1.0, 1.0, 1.0)), "")
    assert result.facts["ruling_feature"] == "range"
    assert 0.9 < result.facts["ruling_share"] < 1
    for side, values in (("generated", made[:, 4]), ("real", real[:, 4])):
        assert result.facts[f"ruling_{side}_mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert result.facts[f"ruling_{side}_sd"] == pytest.approx(values.std(ddof=1), rel=1e-6)
    unnamed = FD_RADLITE.compute(make_sets(made, real), "")
    assert unnamed.facts == result.facts | {"ruling_feature": "number 4"}
    assert result.notes[0].endswith("training cases: c")
    assert unnamed.value == result.value


def test_volumes_without_object_are_counted():
    generated = draw(40)
    generated[[3, 9]] = 0
    result = FD_RADLITE.compute(make_sets(generated, draw(40, seed=1)), "")
    assert "degenerate: 2 of 40 generated volumes show no object" in result.notes


def test_one_volume_is_refused():
    with pytest.raises(MetricError, match="generated set has 1 volumes; at least 2"):
        FD_RADLITE.compute(make_sets(draw(1), draw(9)), "")
    with pytest.raises(MetricError, match="train set has 1 volumes; at least 2"):
        FD_RADLITE.compute(make_sets(draw(9), draw(1)), "")


def test_features_that_are_not_finite_are_refused_by_name():
    generated = draw(9)
    generated[4, 2] = np.nan
    with pytest.raises(MetricError, match="1 generated volumes, the first is v004"):
        FD_RADLITE.compute(make_sets(generated, draw(9)), "")


def test_constant_real_features_are_refused():
    with pytest.raises(MetricError, match="All 6 features are constant"):
        FD_RADLITE.compute(make_sets(draw(9), np.ones((9, 6))), "")


def test_another_extractor_costs_one_line():
    metric = frechet_metric("rand3d-v1", "FD[rand3d-v1]")
    assert (metric.name, metric.needs) == ("fd-rand3d-v1", "rand3d-v1")
    assert metric.recipe != FD_RADLITE.recipe


def test_equals_torch_fidelity():
    fid = pytest.importorskip(
        "torch_fidelity.metric_fid", reason="torch-fidelity is not installed", exc_type=ImportError
    )
    x, y = (np.random.RandomState(s).standard_normal((60, 8)) * (1 + s) + s for s in (0, 1))
    sides = [{"mu": s.mean(0), "sigma": np.cov(s.T)} for s in (x, y)]
    theirs = fid.fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(x, y) == pytest.approx(float(theirs), rel=1e-8)


def test_equals_pytorch_fid_where_its_matrix_root_still_works():
    fid = pytest.importorskip("pytorch_fid.fid_score", exc_type=ImportError)
    x, y = (np.random.RandomState(s).standard_normal((60, 8)) * (1 + s) + s for s in (0, 1))
    sides = [(s.mean(0), np.cov(s.T)) for s in (x, y)]
    try:
        theirs = fid.calculate_frechet_distance(*sides[0], *sides[1])
    except TypeError:
        pytest.skip("SciPy 1.18 removed the argument that pytorch-fid passes to sqrtm")
    assert frechet_distance(x, y) == pytest.approx(float(theirs), rel=1e-6)
