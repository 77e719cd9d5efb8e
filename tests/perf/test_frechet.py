"""Time of the Fréchet distance of 250 + 250 vectors of 2048 features beside a matrix root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from cerebench.metrics.features.frechet import frechet_distance

CASES = [
    pytest.param(250, 512, id="512"),
    pytest.param(250, 2048, id="2048"),
]


def features(n, dim):
    scale = 1 / np.sqrt(np.arange(1, dim + 1))
    return [np.random.default_rng(s).standard_normal((n, dim)) * scale for s in (0, 1)]


def by_matrix_root(x, y):
    a, b = np.cov(x.T), np.cov(y.T)
    gap = x.mean(0) - y.mean(0)
    # A small multiple of the identity: the product of rank-deficient matrices has no stable root.
    root = sqrtm((a + 1e-6 * np.eye(len(a))) @ (b + 1e-6 * np.eye(len(b)))).real
    return gap @ gap + np.trace(a) + np.trace(b) - 2 * np.trace(root)


@pytest.mark.parametrize(("n", "dim"), CASES)
def test_from_features(benchmark, n, dim):
    benchmark.group = f"FD {n} + {n}, {dim} features"
    assert benchmark.pedantic(frechet_distance, features(n, dim), rounds=3, warmup_rounds=1) > 0


@pytest.mark.parametrize(("n", "dim"), CASES)
def test_matrix_root_baseline_has_about_the_same_value(benchmark, n, dim):
    benchmark.group = f"FD {n} + {n}, {dim} features"
    x, y = features(n, dim)
    value = benchmark.pedantic(by_matrix_root, (x, y), rounds=1)
    assert value == pytest.approx(frechet_distance(x, y), rel=0.05)
