"""Which features count: constant ones and repetitions of others are left out, and named."""

import numpy as np
import pytest

from cerebench.metrics.estimators.standardise import LEAST_CASES, Standardiser
from cerebench.metrics.extractors import radlite
from cerebench.metrics.features.frechet import FD_RADLITE


def draw(n, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_a_linear_function_of_an_earlier_feature_is_left_out_and_named():
    x = draw(30)
    x[:, 3] = 1 - 2 * x[:, 1]
    scale = Standardiser.fit(x)
    assert scale.repeats.tolist() == [-1, -1, -1, 1, -1]
    assert scale(x).shape == (30, 4)
    assert scale(x).std(axis=0, ddof=1) == pytest.approx(np.ones(4))
    names = ["a", "minimum", "b", "range", "c"]
    assert scale.notes(names)[0].endswith("range (minimum)")
    assert "number 3 (number 1)" in scale.notes()[0]


def test_close_is_not_equal():
    x = draw(30)
    x[:, 3] = x[:, 1] + 0.01 * x[:, 3]  # correlation .99995
    assert Standardiser.fit(x).kept.all()


def test_constant_features_repeat_nothing():
    x = draw(30)
    x[:, [1, 3]] = 2.0
    scale = Standardiser.fit(x)
    assert scale.kept.tolist() == [True, False, True, False, True]
    assert (scale.repeats == -1).all()
    assert scale.notes() == (
        "left out, without spread over real training cases: number 1, number 3",
    )


def test_few_cases_prove_no_repetition():
    """Any two features of two cases lie on a line."""
    assert Standardiser.fit(draw(2)).kept.all()
    x = draw(LEAST_CASES)
    x[:, 4] = x[:, 0]
    assert not Standardiser.fit(x).kept[4]
    assert Standardiser.fit(x[:-1]).kept[4]


def scaled_by_their_extremes(n, seed, top=1.0):
    """Volumes (n, 1, 16, 16, 16) in [-1, 1]: noise in balls of varied radius, maximum ``top``."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(16) - 7.5] * 3, indexing="ij"))
    distance = np.sqrt((grid**2).sum(axis=0))
    volumes = []
    for _ in range(n):
        inside = distance < rng.uniform(4, 7)
        v = inside * rng.uniform(size=inside.shape)
        volumes.append((2 * top * v / v.max() - 1)[None].astype(np.float32))
    return volumes


def test_a_maximum_of_95_percent_does_not_rule_the_distance(feature_sets):
    """Every real maximum is 1, so the range is 1 minus the minimum and hardly varies."""
    extractor = radlite.Radlite()
    train, same, dim = (
        extractor.extract(np.stack(scaled_by_their_extremes(40, seed, top)))
        for seed, top in ((0, 1.0), (1, 1.0), (2, 0.95))
    )
    near = FD_RADLITE.compute(feature_sets(same, train), "").value
    far = FD_RADLITE.compute(feature_sets(dim, train), "").value
    at = radlite.NAMES.index("range")
    alone = ((dim[:, at].mean() - train[:, at].mean()) / train[:, at].std(ddof=1)) ** 2
    assert near < far  # it is still seen, by features of all voxels
    assert alone > 3 * far
