"""Whitened components: against scikit-learn, number of components, what the distance still sees."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError
from cerebench.metrics.estimators.whiten import Whitener
from cerebench.metrics.features.frechet import FD_RAND3D, FD_RAND3D_PCA64, frechet_distance


def counted(result):
    return result.facts["n_components"]


def test_distance_equals_that_of_scikit_learns_whitened_components(feature_sets, draw):
    from sklearn.decomposition import PCA

    mixing = draw(30, 30, seed=9)
    pooled, made = draw(60, 30) @ mixing, draw(40, 30, seed=1) @ mixing + 0.5
    train = pooled[:25]
    result = FD_RAND3D_PCA64.compute(feature_sets(made, train, pooled=pooled), "")
    z = [(v - pooled.mean(0)) / pooled.std(0, ddof=1) for v in (made, train, pooled)]
    pca = PCA(12, whiten=True, svd_solver="full").fit(z[2])
    expected = frechet_distance(pca.transform(z[0]), pca.transform(z[1]))
    assert counted(result) == 12  # 60 // 5
    assert result.value == pytest.approx(expected, rel=1e-4)  # features are float32


@pytest.mark.parametrize(("n", "dim", "count"), [(400, 100, 64), (50, 100, 10), (50, 4, 4)])
def test_components_are_white_and_never_more_than_a_fifth_of_the_volumes(draw, n, dim, count):
    reference = draw(n, dim) * np.arange(1, dim + 1)
    found = Whitener.fit(reference)(reference)
    assert found.shape == (n, count)
    np.testing.assert_allclose(np.cov(found.T), np.eye(count), atol=1e-9)


def test_directions_without_spread_are_no_components(draw):
    reference = draw(60, 2) @ draw(2, 8, seed=1)
    assert Whitener.fit(reference)(reference).shape == (60, 2)


def test_fewer_features_lower_the_distance_of_equal_sets_and_keep_that_of_unequal_ones(
    feature_sets, draw
):
    train, same, moved = draw(60, 100), draw(60, 100, seed=1), 1 + draw(60, 100, seed=2)
    values = {
        (name, metric.name): metric.compute(feature_sets(made, train), "").value
        for name, made in (("same", same), ("moved", moved))
        for metric in (FD_RAND3D, FD_RAND3D_PCA64)
    }
    assert values["same", "fd-rand3d-v1-pca64"] < values["same", "fd-rand3d-v1"] / 3
    assert values["moved", "fd-rand3d-v1-pca64"] > 2 * values["same", "fd-rand3d-v1-pca64"]


def test_too_few_real_volumes_are_refused(feature_sets, draw):
    with pytest.raises(MetricError, match="9 real training volumes give 1 principal components"):
        FD_RAND3D_PCA64.compute(feature_sets(draw(20), draw(9)), "")
