"""The vectorised gradient loss beside a loop over slices, forward and backward, in the same run.

Prints the ratios; times decide nothing. Run with ``pytest tests/perf -s``.
"""

import time

import pytest
import torch
from torch.nn import functional

from cerebench.methods.layers.vq.losses import gradient_loss

SOBEL = (
    torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None],
    torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])[None, None],
)


def slice_loop(x, y):
    """Both filters over each slice of both volumes, as the definition says."""
    total = 0
    for axis in (2, 3, 4):
        for kernel in SOBEL:
            for i in range(x.shape[axis]):
                a, b = (
                    functional.conv2d(v.select(axis, i), kernel.to(v), padding=1) for v in (x, y)
                )
                total = total + (a - b).square().mean() / x.shape[axis]
    return total


@pytest.mark.parametrize("size", [32, 64, 128])
def test_gradient_loss_beside_a_loop_over_slices(benchmark, size):
    torch.manual_seed(0)
    x, y = torch.rand(2, 1, 1, size, size, size)
    y.requires_grad_()

    def step(loss):
        return torch.autograd.grad(loss(x, y), y)[0]

    def seconds(loss):
        return min(_timed(step, loss) for _ in range(5))

    benchmark.pedantic(step, (gradient_loss,), rounds=5, warmup_rounds=1)
    ratio = seconds(slice_loop) / seconds(gradient_loss)
    benchmark.extra_info.update(loop_over_vectorised=ratio)
    print(f"\n{size}^3: loop over slices / vectorised = {ratio:.1f}")  # noqa: T201
    assert torch.allclose(step(gradient_loss), step(slice_loop), atol=1e-6)


def _timed(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began
