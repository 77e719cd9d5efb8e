"""Folded upsampling: the numbers, gradients and parameters of upsampling and then convolving."""

import pytest
import torch
from torch.nn import Conv3d, functional

from cerebench.methods.layers.upsampling import NARROW, UpsampleConv


def plain(layer, x):
    upsampled = functional.interpolate(x, scale_factor=2, mode="nearest")
    return functional.conv3d(upsampled, layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", [1, 5, NARROW])
def test_upsampling_and_convolution_are_computed_as_one_without_a_difference(out, bias):
    torch.manual_seed(0)
    layer = UpsampleConv(3, out, bias=bias).double()
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    expected = plain(layer, x)
    assert layer(x).shape == (2, out, 8, 10, 12)
    assert torch.allclose(layer(x), expected, atol=1e-12)
    weights = torch.randn_like(expected)
    ours = torch.autograd.grad((layer(x) * weights).sum(), (x, *layer.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), (x, *layer.parameters()))
    assert len(ours) == 2 + bias
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_those_of_a_plain_convolution(bias):
    folded, conv = UpsampleConv(4, 6, bias=bias), Conv3d(4, 6, 3, padding=1, bias=bias)
    folded.load_state_dict(conv.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(folded.parameters(), conv.parameters(), strict=True)
    )
    assert UpsampleConv(4, 6).bias is not None


@pytest.mark.parametrize("out", [1, NARROW])
def test_output_of_an_autocast_layer_stays_bf16(out):
    x = torch.randn(1, 3, 4, 4, 4).to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        y = UpsampleConv(3, out)(x)
    assert y.dtype == torch.bfloat16
