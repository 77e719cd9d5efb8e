"""Kernel sums: equal to plain sums over pairs, whatever the blocks and groups; block form."""

import numpy as np
import pytest

from cerebench.metrics.estimators import jackknife, kernel_sums
from cerebench.metrics.estimators.kernel_sums import kernel_sums as sums_of
from cerebench.metrics.features.kid import KID_RAND2D, cubic_kernel, kid


def parts(n):
    return jackknife.groups([f"v{i:03d}" for i in range(n)], 0)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_blocks_do_not_change_the_value(draw, monkeypatch, chunk):
    monkeypatch.setattr(kernel_sums, "CHUNK", chunk)
    x, y = draw(23), draw(31, seed=1) + 0.2
    found = sums_of(x, y, cubic_kernel, parts(23), parts(31))
    m, n = 23, 31
    xx, yy, xy = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)
    plain = (xx.sum() - np.trace(xx)) / (m * (m - 1)) + (yy.sum() - np.trace(yy)) / (n * (n - 1))
    assert found.mmd2() == pytest.approx(plain - 2 * xy.mean(), rel=1e-11)


def test_leaving_out_a_group_equals_computing_without_it(draw):
    x, y = draw(23), draw(31, seed=1) + 0.2
    groups_x, groups_y = parts(23), parts(31)
    found = sums_of(x, y, cubic_kernel, groups_x, groups_y).uncertainty()
    without_x = [kid(np.delete(x, g, 0), y) for g in groups_x]
    without_y = [kid(x, np.delete(y, g, 0)) for g in groups_y]
    np.testing.assert_allclose(found.replicates["generated"], without_x, rtol=1e-10)
    np.testing.assert_allclose(found.replicates["real"], without_y, rtol=1e-10)


def clustered(n, seed, slices=8, dim=6):
    """Slices that share most of their variance with the others of their volume."""
    rng = np.random.RandomState(seed)
    common = rng.standard_normal((n, 1, dim))
    return common + 0.3 * rng.standard_normal((n, slices, dim))


def test_pairs_of_one_volume_raise_plain_kid_and_not_the_block_form(feature_sets):
    block, plain = [], []
    for seed in range(40):
        x, y = clustered(20, seed), clustered(25, 700 + seed)
        block.append(KID_RAND2D.compute(feature_sets(x, y), "axial").value)
        plain.append(kid(x.reshape(-1, 6), y.reshape(-1, 6)))
    error = np.std(block, ddof=1) / np.sqrt(len(block))
    assert abs(np.mean(block)) < 3 * error
    assert np.mean(plain) > 10 * error


def test_block_form_sees_a_shift(feature_sets):
    x, y = clustered(30, 0), clustered(30, 1)
    clean = KID_RAND2D.compute(feature_sets(x, y), "axial")
    moved = KID_RAND2D.compute(feature_sets(x + 1, y), "axial")
    assert moved.value > clean.value + 3 * clean.se


def test_two_volumes_have_no_error(draw):
    assert (
        sums_of(draw(2), draw(2, seed=1), cubic_kernel, parts(2), parts(2)).uncertainty().se is None
    )
