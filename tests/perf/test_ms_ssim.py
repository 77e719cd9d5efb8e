"""Time of MS-SSIM over pairs beside MONAI's on the same pairs; the table shows the ratio.

MONAI has the standard definition alone; it is the baseline of both variants.
"""

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ms_ssim
from scipy.ndimage import gaussian_filter

from cerebench.metrics.voxel.pyramids import draw_pairs, pair_table
from cerebench.metrics.voxel.schemes import kwon_scheme, standard_scheme

CASES = [
    pytest.param(32, 16, 60, id="32"),
    pytest.param(64, 6, 12, id="64"),
    pytest.param(128, 4, 4, id="128"),
]


def volumes_and_pairs(size, count, pairs):
    rng = np.random.default_rng(0)
    # A common part keeps every scale term away from zero, where MONAI's float32 loses digits.
    fields = [gaussian_filter(rng.standard_normal((size,) * 3), 1) for _ in range(count + 1)]
    mixed = [np.tanh(2 * fields[0] + f)[None].astype(np.float32) for f in fields[1:]]
    return mixed, draw_pairs(count, 0, pairs)


def monai_values(volumes, pairs, scheme):
    units = [torch.from_numpy((v + 1) / 2)[None] for v in volumes]
    options = {"kernel_size": len(scheme.taps), "weights": scheme.exponents}
    return [compute_ms_ssim(units[i], units[j], 3, 1.0, **options).item() for i, j in pairs]


def run(benchmark, size, rounds, function, *arguments):
    benchmark.group = f"ms-ssim {size}^3, {len(arguments[1])} pairs"
    return benchmark.pedantic(function, arguments, rounds=rounds, warmup_rounds=rounds - 1)


@pytest.mark.parametrize(("size", "count", "pairs"), CASES)
def test_standard(benchmark, size, count, pairs):
    volumes, drawn = volumes_and_pairs(size, count, pairs)
    scheme = standard_scheme(volumes[0].shape)
    table = run(benchmark, size, 2, pair_table, volumes, drawn, scheme)
    assert table.values.shape == (pairs,)


@pytest.mark.parametrize(("size", "count", "pairs"), CASES)
def test_kwon(benchmark, size, count, pairs):
    volumes, drawn = volumes_and_pairs(size, count, pairs)
    scheme = kwon_scheme(volumes[0].shape)
    table = run(benchmark, size, 2, pair_table, volumes, drawn, scheme)
    assert table.values.shape == (pairs,)


@pytest.mark.parametrize(("size", "count", "pairs"), CASES)
def test_monai_baseline_has_the_same_values(benchmark, size, count, pairs):
    volumes, drawn = volumes_and_pairs(size, count, pairs)
    scheme = standard_scheme(volumes[0].shape)
    theirs = run(benchmark, size, 1, monai_values, volumes, drawn, scheme)
    np.testing.assert_allclose(pair_table(volumes, drawn, scheme).values, theirs, atol=1e-5)
