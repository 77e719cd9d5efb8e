"""Time of the linear MMD in one streaming pass beside the Gram matrix of all volumes in memory."""

import tracemalloc

import numpy as np
import pytest

from cerebench.metrics.base import Sets, VolumeSet
from cerebench.metrics.voxel.mmd import MMD2_LINEAR

CASES = [
    pytest.param(32, 100, id="32"),
    pytest.param(128, 40, id="128"),
]


class Synthetic:
    """Volumes made when indexed: a base field with a factor of its own, no set in memory."""

    def __init__(self, size, count, seed):
        self.base = np.random.default_rng(0).uniform(-1, 1, (1, size, size, size)).astype("f4")
        self.factors = np.random.default_rng(seed).uniform(0.5, 1, count).astype("f4")

    def __len__(self):
        return len(self.factors)

    def __getitem__(self, index):
        return self.base * self.factors[index]


def as_sets(size, count):
    made, real = (
        VolumeSet(Synthetic(size, count, seed), [str(i) for i in range(count)]) for seed in (1, 2)
    )
    return Sets(made, real, real, real, 0, (1.0, 1.0, 1.0))


def by_gram(sets):
    """The unbiased estimate from all inner products, float64, both sets in memory."""
    x, y = (
        np.stack([v.ravel() for v in s]).astype(float) + 1 for s in (sets.generated, sets.train)
    )
    m, n = len(x), len(y)
    xx, yy, xy = x @ x.T, y @ y.T, x @ y.T
    within = (xx.sum() - np.trace(xx)) / (m * (m - 1)) + (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return (within - 2 * xy.mean()) / x.shape[1]


@pytest.mark.parametrize(("size", "count"), CASES)
def test_streaming(benchmark, size, count):
    benchmark.group = f"linear MMD {size}^3, {count} + {count} volumes"
    tracemalloc.start()
    result = benchmark.pedantic(lambda: MMD2_LINEAR.compute(as_sets(size, count), ""), rounds=1)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    benchmark.extra_info["peak_mib"] = round(peak, 1)
    print(f"peak memory of numpy {peak:.0f} MiB")  # noqa: T201
    assert np.isfinite(result.value)


@pytest.mark.parametrize(("size", "count"), CASES[:1])
def test_gram_baseline_has_the_same_value(benchmark, size, count):
    benchmark.group = f"linear MMD {size}^3, {count} + {count} volumes"
    sets = as_sets(size, count)
    value = benchmark.pedantic(by_gram, (sets,), rounds=1)
    assert value == pytest.approx(MMD2_LINEAR.compute(sets, "").value, abs=1e-9)
