"""Upsampling folded into the convolution beside upsampling and convolving, in the same run.

Prints the ratios; times decide nothing. Run with ``pytest tests/perf -s``.
"""

import time

import pytest
import torch
from torch.nn import functional

from cerebench.methods.layers.upsampling import UpsampleConv


@pytest.mark.parametrize(
    ("inner", "outer", "size"), [(96, 48, 4), (48, 24, 8), (24, 1, 16)], ids=str
)
def test_folded_upsampling_beside_the_plain_form(benchmark, inner, outer, size):
    torch.manual_seed(0)
    layer = UpsampleConv(inner, outer, bias=False)
    x = torch.randn(8, inner, size, size, size).to(memory_format=torch.channels_last_3d)

    def plain(x):
        return functional.conv3d(functional.interpolate(x, scale_factor=2), layer.weight, padding=1)

    def step(forward):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            y = forward(x)
        y.float().square().mean().backward()

    def seconds(forward):
        return min(_timed(step, forward) for _ in range(5))

    benchmark.pedantic(step, (layer,), rounds=5, warmup_rounds=1)
    ratio = seconds(plain) / seconds(layer)
    benchmark.extra_info.update(plain_over_folded=ratio)
    print(f"\n{inner}->{outer} at {size}^3: plain / folded = {ratio:.1f}")  # noqa: T201
    assert torch.allclose(layer(x), plain(x), atol=1e-4)


def _timed(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began
