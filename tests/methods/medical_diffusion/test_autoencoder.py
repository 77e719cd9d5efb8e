"""Encoder and decoder: counts, sizes, and convolutions that keep constants constant."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from cerebench.methods.medical_diffusion.autoencoder import (
    PadConv,
    PadConvT,
    ResBlock,
    decoder,
    encoder,
)


def _count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("levels", "coding", "decoding"),
    [(1, 88_800, 177_473), (2, 441_568, 948_417), (3, 1_851_616, 4_030_401)],
)
def test_networks_have_the_published_parameter_counts(levels, coding, decoding):
    with torch.device("meta"):
        assert _count(encoder(1, 16, levels, 32)) == coding
        assert _count(decoder(1, 16, levels, 32)) == decoding


def test_layers_have_the_channels_and_sizes_of_the_table():
    def trace(net, x):
        for layer in net:
            x = layer(x)
            yield tuple(x.shape[1:3])

    with torch.device("meta"):
        down = list(trace(encoder(1, 16, 2, 32), torch.zeros(1, 1, 32, 32, 32)))
        up = list(trace(decoder(1, 16, 2, 32), torch.zeros(1, 64, 8, 8, 8)))
    assert down == [(16, 32), (32, 16), (32, 16), (64, 8), (64, 8), (64, 8), (64, 8)]
    assert up == [(64, 8), (64, 8), *[(64, 16)] * 3, *[(32, 32)] * 3, (1, 32)]


def test_a_convolution_of_ones_counts_its_voxels_everywhere():
    for kernel, stride in ((3, 1), (4, 2)):
        layer = PadConv(1, 1, kernel, stride)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        y = layer(torch.ones(1, 1, 6, 8, 10))
        assert y.shape[2:] == (6 // stride, 8 // stride, 10 // stride)
        assert torch.equal(y, torch.full_like(y, kernel**3))


def test_a_transposed_convolution_of_ones_maps_ones_to_eight_everywhere():
    layer = PadConvT(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    y = layer(torch.ones(1, 1, 3, 4, 5))
    assert torch.equal(y, torch.full((1, 1, 6, 8, 10), 8.0))


def test_border_voxels_are_repeated_on_both_sides_of_every_axis():
    x = torch.randn(1, 1, 4, 6, 8)
    padded = functional.pad(x, (1,) * 6, mode="replicate")
    for kernel, stride in ((3, 1), (4, 2)):
        layer = PadConv(1, 2, kernel, stride)
        expected = functional.conv3d(padded, layer.weight, layer.bias, stride)
        assert torch.allclose(layer(x), expected, atol=1e-5)
    layer = PadConvT(1, 2)
    expected = functional.conv_transpose3d(padded, layer.weight, layer.bias, 2)
    assert torch.allclose(layer(x), expected[:, :, 3:-3, 3:-3, 3:-3], atol=1e-5)


def test_a_residual_block_adds_norm_activation_convolution_twice():
    block, x = ResBlock(8, 4), torch.randn(2, 8, 4, 4, 4)
    norm1, _, conv1, norm2, _, conv2 = block.branch
    nn.init.normal_(norm1.weight)
    h = x
    for norm, conv in ((norm1, conv1), (norm2, conv2)):
        h = functional.silu(functional.group_norm(h, 4, norm.weight, norm.bias, 1e-6))
        h = conv(h)
    assert torch.allclose(block(x), x + h, atol=1e-5)


def test_the_decoder_is_unbounded():
    net = decoder(1, 8, 1, 8)
    nn.init.constant_(net[-1].bias, 7.0)
    assert net(torch.randn(1, 16, 4, 4, 4)).mean() > 3
