"""Unet3D: counts, shapes, golden attention values, and what mixes with what."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from cerebench.methods.layers.group_norm import GroupNorm
from cerebench.methods.medical_diffusion.unet import (
    AlongDepth,
    Attention,
    InSlices,
    LabelledUnet3D,
    LinearAttention,
    PositionBias,
    ResBlock,
    Unet3D,
    relative_buckets,
    rotate,
    step_embedding,
)

PAPER = {"width": 32, "mults": (1, 2, 4, 8), "heads": 8, "head_width": 32}
TINY = {"width": 8, "mults": (1, 2), "heads": 2, "head_width": 4}


def _count(net):
    return sum(p.numel() for p in net.parameters())


def _golden(parameters):
    """Fill the k-th parameter with sin(0.37 k + 0.011 i), k from 1, i the flat index."""
    for k, p in enumerate(parameters, 1):
        index = torch.arange(p.numel(), dtype=torch.float64)
        p.data = torch.sin(0.37 * k + 0.011 * index).float().view(p.shape)


def _found(y):
    return [y.sum().item(), y.abs().mean().item(), y.flatten()[0].item()]


@pytest.mark.parametrize(
    ("width", "parameters"), [(16, 3_019_944), (32, 9_981_512), (64, 35_730_312)]
)
def test_networks_have_the_published_parameter_counts(width, parameters):
    with torch.device("meta"):
        assert _count(Unet3D(8, **{**PAPER, "width": width})) == parameters


def test_labels_add_the_published_parameters():
    with torch.device("meta"):
        assert _count(LabelledUnet3D(8, classes=2, condition=128, **PAPER)) == 10_489_800
        one_hot = Unet3D(8, condition=2, **PAPER)
    assert _count(one_hot) + 2 == 9_989_450  # with a null vector


def test_blocks_have_the_parameters_of_the_table():
    with torch.device("meta"):
        net = Unet3D(8, **PAPER)
    assert _count(net.time) == 20_736
    assert _count(net.bias) == 256
    assert _count(net.first) == 12_576
    assert _count(net.first_depth) == 32_800
    assert _count(net.last_block) + _count(net.last) == 30_184

    def row(level):
        return [_count(p) for p in (level.block1, level.block2, level.slices, level.depth)]

    assert [row(level) for level in net.down] == [
        [26_880, 26_880, 32_832, 32_800],
        [74_304, 90_624, 65_664, 65_600],
        [263_296, 328_704, 131_328, 131_200],
        [985_344, 1_247_232, 262_656, 262_400],
    ]
    assert [_count(layer) for layer in net.shrink] == [16_416, 65_600, 262_272]
    middle = [_count(net.middle[name]) for name in ("block1", "slices", "depth", "block2")]
    assert middle == [1_247_232, 262_400, 262_400, 1_247_232]
    assert [row(level) for level in net.up] == [
        [836_736, 328_704, 131_328, 131_200],
        [217_664, 90_624, 65_664, 65_600],
        [58_656, 26_880, 32_832, 32_800],
        [38_176, 26_880, 32_832, 32_800],
    ]
    assert [_count(layer) for layer in net.grow] == [262_272, 65_600, 16_416]


def test_layers_have_the_channels_and_sizes_of_the_table():
    shapes = {}

    def record(name):
        return lambda module, inputs, output: shapes.update({name: tuple(output.shape[1:4])})

    with torch.device("meta"):
        net = Unet3D(8, **PAPER)
        for i in range(4):
            net.down[i].register_forward_hook(record(f"down{i}"))
            net.up[i].register_forward_hook(record(f"up{i}"))
        net.middle["slices"].register_forward_hook(record("middle"))
        out = net(torch.zeros(2, 8, 32, 32, 32), torch.zeros(2, dtype=torch.int64))
    assert out.shape == (2, 8, 32, 32, 32)
    assert shapes == {
        "down0": (32, 32, 32),
        "down1": (64, 32, 16),
        "down2": (128, 32, 8),
        "down3": (256, 32, 4),
        "middle": (256, 32, 4),
        "up0": (128, 32, 4),
        "up1": (64, 32, 8),
        "up2": (32, 32, 16),
        "up3": (32, 32, 32),
    }


@pytest.mark.parametrize(
    ("rotary", "golden"),
    [
        (False, [-2.4263115, 28.3668404, -36.2023048]),
        (True, [12.7260590, 24.1347485, -36.2287445]),
    ],
)
def test_full_attention_has_the_golden_values(rotary, golden):
    attention = Attention(8, 2, 4, rotary=rotary)
    _golden((attention.qkv.weight, attention.out.weight))
    attention.double()
    y = attention(torch.linspace(-1, 1, 240, dtype=torch.float64).view(2, 3, 5, 8))
    (total, *others), (golden_total, *golden_others) = _found(y), golden
    assert others == pytest.approx(golden_others, rel=1e-5, abs=1e-4)
    # The golden values were made in float32: the sum of 240 values of 28 is theirs to 240 * 28 of
    # its rounding, and processors differ by as much.
    rounding = y.abs().sum().item() * torch.finfo(torch.float32).eps / 2
    assert total == pytest.approx(golden_total, abs=rounding)


def test_linear_attention_has_the_golden_values():
    attention = LinearAttention(8, 2, 4)
    _golden((attention.qkv.weight, attention.out.weight, attention.out.bias))
    x = torch.linspace(-1, 1, 144).view(1, 8, 2, 3, 3)
    y = attention(x.movedim(1, -1).flatten(2, 3)).unflatten(2, (3, 3)).movedim(-1, 1)
    assert _found(y) == pytest.approx([134.2124176, 1.4522330, -0.2632263], rel=1e-5)


def test_attention_with_bias_agrees_with_the_formula_in_value_and_gradient():
    attention, bias = Attention(6, 2, 4), torch.randn(2, 5, 5, requires_grad=True)
    tokens = torch.randn(3, 2, 5, 6)
    q, k, v = attention.qkv(tokens).unflatten(-1, (3, 2, 4)).permute(3, 0, 1, 4, 2, 5)
    scores = q @ k.transpose(-1, -2) / math.sqrt(4) + bias
    expected = attention.out((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))
    y = attention(tokens, bias)
    assert torch.allclose(y, expected, atol=1e-5)
    slope = torch.randn_like(y)
    ours, plain = (torch.autograd.grad((z * slope).sum(), bias)[0] for z in (y, expected))
    assert plain.abs().max() > 1e-3
    assert torch.allclose(ours, plain, atol=1e-5)


def test_rotation_has_the_golden_vectors_and_depends_on_distance_alone():
    x = torch.tensor([1.0, 2, 3, 4]).repeat(3, 1)
    golden = [[1, 2, 3, 4], [-1.1426, 1.9221, 2.9599, 4.0298], [-2.2347, 0.0770, 2.9194, 4.0592]]
    for row, expected in zip(rotate(x).tolist(), golden, strict=True):
        assert row == pytest.approx(expected, abs=1e-4)
    wide = rotate(torch.tensor([1.0, 0.0] * 16).repeat(2, 1))[1, ::2].acos()
    assert wide[:3].tolist() == pytest.approx([1, 0.5623, 0.3162], abs=1e-4)
    q, k = (rotate(torch.randn(1, 8).repeat(9, 1)) for _ in range(2))
    scores = q @ k.T
    assert torch.allclose(scores[1:, 1:], scores[:-1, :-1], atol=1e-4)


def test_buckets_have_the_golden_rows():
    buckets = relative_buckets(32)
    first = "0 17 18 19 20 21 22 23 24 24 25 25 26 26 27 27 28 28 28 28 29 29 29 30 30 30 30"
    last = "13 13 13 12 12 12 12 11 11 10 10 9 9 8 8 7 6 5 4 3 2 1 0"
    assert buckets[0].tolist() == [*map(int, first.split()), *[31] * 5]
    assert buckets[31].tolist() == [*[15] * 5, *[14] * 4, *map(int, last.split())]
    assert torch.equal(buckets[1:, 1:], buckets[:-1, :-1])


def test_the_position_bias_is_one_number_per_head_and_bucket():
    bias = PositionBias(2)
    table, found = bias.table.weight, bias(12)
    assert found.shape == (2, 12, 12)
    assert torch.equal(found[1, 0, 3], table[19, 1])
    assert torch.equal(found[0, 11, 3], table[8, 0])


def test_embedding_of_the_diffusion_step_has_the_golden_values():
    found = step_embedding(torch.tensor([100]), 32)[0, [0, 1, 15, 16, 17, 31]].tolist()
    golden = [-0.50636564, -0.6517409, 0.00999983, 0.86231887, -0.75844169, 0.99995]
    assert found == pytest.approx(golden, abs=1e-6)


def test_a_residual_block_scales_and_shifts_after_its_first_norm():
    block, x, e = ResBlock(8, 16, 4), torch.randn(2, 8, 2, 4, 4), torch.randn(2, 4)

    def norm(h):
        return functional.group_norm(h, 8, eps=1e-5)

    scale, shift = block.modulation(functional.silu(e))[..., None, None, None].chunk(2, 1)
    h = functional.silu(norm(block.conv1(x)) * (1 + scale) + shift)
    h = functional.silu(norm(block.conv2(h)))
    assert torch.allclose(block(x, e), h + block.skip(x), atol=1e-5)


def test_attentions_see_normalised_channels_and_add_to_their_input():
    x, seen = 3 * torch.randn(2, 8, 3, 4, 5) + 1, []
    bias = torch.zeros(2, 3, 3)
    layers = [AlongDepth(8, 2, 4), InSlices(LinearAttention(8, 2, 4), 8)]
    shapes = [(2, 4, 5, 3, 8), (2, 3, 20, 8)]
    for layer, shape, given in zip(layers, shapes, ((x, bias), (x,)), strict=True):
        layer.attention.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
        layer(*given)
        tokens = seen.pop()
        assert tokens.shape == shape
        assert tokens.mean(-1).abs().max() < 1e-5
        assert tokens.var(-1, correction=0).mean().item() == pytest.approx(1, abs=1e-3)
        for p in layer.attention.out.parameters():
            nn.init.zeros_(p)
        assert torch.equal(layer(*given), x)


def _net():
    torch.manual_seed(0)
    return Unet3D(4, **TINY)


def test_nothing_but_attention_along_depth_mixes_axial_slices():
    net = _net()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, GroupNorm):
                setattr(module, name, nn.Identity())
    x, times = torch.randn(1, 4, 6, 4, 4), torch.tensor([7])
    changed = x.clone()
    changed[:, :, 2] += 1

    def difference():
        with torch.no_grad():
            return (net(changed, times) - net(x, times)).abs().amax((0, 1, 3, 4))

    everywhere = difference()
    assert (everywhere > 1e-6).all()
    depths = [module for module in net.modules() if isinstance(module, AlongDepth)]
    assert len(depths) == 1 + 2 + 1 + 2  # first, down, middle, up
    for module in depths:
        nn.init.zeros_(module.attention.out.weight)
    alone = difference()
    assert alone[2] > 1e-3
    assert alone[[0, 1, 3, 4, 5]].max() == 0


def test_order_along_depth_matters():
    net, x = _net(), torch.randn(1, 4, 6, 4, 4)
    with torch.no_grad():
        one = net(x, torch.tensor([7]))
        two = net(x.flip(2), torch.tensor([7])).flip(2)
    assert (one - two).abs().max() > 1e-3


def test_every_parameter_gets_a_gradient():
    net = _net()
    net(torch.randn(2, 4, 6, 4, 4), torch.tensor([7, 3])).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert net.bias.table.weight.grad.abs().max() > 0


def test_labels_act_through_their_vectors_and_hidden_ones_through_none():
    torch.manual_seed(0)
    net = LabelledUnet3D(4, classes=2, condition=16, **TINY)
    x, times = torch.randn(1, 4, 4, 4, 4).repeat(2, 1, 1, 1, 1), torch.tensor([7, 7])
    labels, shown = torch.tensor([0, 1]), torch.tensor([False, False])
    with torch.no_grad():
        one, two = net(x, times, labels, shown)
        assert (one - two).abs().max() > 1e-3
        one, two = net(x, times, labels, ~shown)
        assert torch.allclose(one, two, atol=1e-6)
        mixed = net(x, times, labels, torch.tensor([True, False]))
        assert torch.allclose(mixed[0], one, atol=1e-6)
        assert not torch.allclose(mixed[1], two, atol=1e-4)
        net.null.normal_()
        assert not torch.allclose(net(x, times, labels, ~shown)[0], one, atol=1e-4)
        with pytest.raises(IndexError):
            net(x, times, torch.tensor([0, 2]), shown)
