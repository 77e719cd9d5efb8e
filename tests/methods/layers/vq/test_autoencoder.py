"""Encoder, decoder and discriminator: counts and shapes of the specification, block by block."""

import pytest
import torch
from torch import nn

from cerebench.methods.layers.upsampling import UpsampleConv
from cerebench.methods.layers.vq.autoencoder import (
    ConvBlock,
    Discriminator,
    ResBlock,
    UpBlock,
    decoder,
    discriminator_levels,
    encoder,
    final_convolution,
    start_at_mean,
)

# size, channels, bottleneck, latent edge -> parameters of encoder, decoder, discriminator
PRESETS = {
    "paper": (128, (32, 64, 128, 256), 512, 8, 25_156_384, 9_403_713, 11_049_665),
    "mid64": (64, (64, 128, 256), 512, 8, 24_971_840, 9_292_929, 2_643_137),
    "mid64, latent 4": (64, (32, 64, 128, 256), 512, 4, 25_156_384, 9_403_713, 2_643_137),
    "lite64": (64, (32, 64, 128), 256, 8, 6_245_664, 2_324_033, 2_643_137),
    "mid32": (32, (128, 256), 512, 8, 24_230_016, 8_850_177, 537_025),
    "lite32": (32, (32, 64), 128, 8, 1_517_088, 553_665, 537_025),
    "tiny32": (32, (16, 32), 64, 8, 380_176, 138_593, 537_025),
    "tiny32, latent 4": (32, (16, 32, 64), 128, 4, 1_562_768, 581_409, 537_025),
}
# parameters and output shape (channels, edge) of every layer at 128^3
ENCODER = [
    (2_144, 32, 64),
    (55_424, 32, 64),
    (131_264, 64, 32),
    (221_440, 64, 32),
    (524_672, 128, 16),
    (885_248, 128, 16),
    (2_097_920, 256, 8),
    (3_539_968, 256, 8),
    (3_540_480, 512, 8),
    (14_157_824, 512, 8),
]
DECODER = [
    (3_539_712, 256, 16),
    (3_539_968, 256, 16),
    (885_120, 128, 32),
    (885_248, 128, 32),
    (221_376, 64, 64),
    (221_440, 64, 64),
    (55_392, 32, 128),
    (55_424, 32, 128),
    (33, 1, 128),
    (0, 1, 128),
]
DISCRIMINATOR = [
    (4_160, 64, 64),
    (524_672, 128, 32),
    (2_097_920, 256, 16),
    (8_390_144, 512, 8),
    (32_769, 1, 5),
]


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def table(layers, x):
    rows = []
    for layer in layers:
        x = layer(x)
        assert x.shape[2] == x.shape[3] == x.shape[4]
        rows.append((parameters(layer), x.shape[1], x.shape[2]))
    return rows


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_and_latent_edge_of_every_preset_are_those_of_the_specification(preset):
    size, channels, bottleneck, edge, count_e, count_g, count_d = PRESETS[preset]
    with torch.device("meta"):
        e, g = encoder(1, channels, bottleneck), decoder(1, channels, bottleneck)
        d = Discriminator(1, levels=discriminator_levels(size))
        x = torch.empty(1, 1, size, size, size)
        z = e(x)
        assert z.shape == (1, bottleneck, edge, edge, edge)
        assert g(z).shape == x.shape
        assert d(x)[0].shape == (1, 1, 5, 5, 5)
    assert (parameters(e), parameters(g), parameters(d)) == (count_e, count_g, count_d)


def test_every_layer_at_128_has_the_count_and_shape_of_the_specification():
    with torch.device("meta"):
        channels = (32, 64, 128, 256)
        x, z = torch.empty(1, 1, 128, 128, 128), torch.empty(1, 512, 8, 8, 8)
        assert table(encoder(1, channels, 512), x) == ENCODER
        assert table(decoder(1, channels, 512), z) == DECODER
        assert table(Discriminator(1).layers, x) == DISCRIMINATOR


@pytest.mark.parametrize(("size", "levels"), [(128, 3), (64, 2), (32, 1), (16, 0)])
def test_logits_of_the_discriminator_are_5_cubed_at_every_size(size, levels):
    assert discriminator_levels(size) == levels
    with torch.device("meta"):
        logits, features = Discriminator(2, 8, levels)(torch.empty(3, 2, size, size, size))
    assert logits.shape == (3, 1, 5, 5, 5)
    edges = [(3, 8 * 2**i, *[size // 2 ** (i + 1)] * 3) for i in range(levels + 1)]
    assert [tuple(f.shape) for f in features] == edges


def test_features_are_the_activations_of_the_layers_before_the_logits():
    torch.manual_seed(0)
    d, x = Discriminator(1, 8, 1), torch.randn(2, 1, 32, 32, 32)
    logits, features = d(x)
    first = nn.functional.leaky_relu(d.layers[0][0](x), 0.2)
    assert torch.equal(features[0], first)
    second = nn.functional.group_norm(
        d.layers[1][0](first), 8, d.layers[1][1].weight, d.layers[1][1].bias, 1e-6
    )
    second = nn.functional.leaky_relu(second, 0.2)
    assert torch.allclose(features[1], second, atol=1e-6)
    assert torch.allclose(logits, d.layers[2](second), atol=1e-6)


def test_blocks_of_any_width_follow_the_closed_forms():
    relu = nn.ReLU()
    for c, o, k in ((8, 16, 3), (24, 8, 4)):
        assert parameters(ConvBlock(c, o, k, 1, relu)) == k**3 * c * o + 3 * o
        assert parameters(ResBlock(c, relu)) == 54 * c * c + 4 * c
        assert parameters(UpBlock(c, o)) == 27 * c * o + 3 * o


def test_both_norms_of_a_residual_block_are_one_module_with_8_groups():
    block = ResBlock(16, nn.ReLU())
    norms = [m for m in block.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 1
    assert (norms[0].num_groups, norms[0].eps) == (8, 1e-6)
    assert [n for n, _ in block.named_parameters() if "norm" in n] == ["norm.weight", "norm.bias"]


def test_a_residual_block_adds_activations_to_its_input():
    torch.manual_seed(0)
    x, block = torch.randn(2, 16, 4, 4, 4), ResBlock(16, nn.ReLU())
    nn.init.normal_(block.norm.bias)
    nn.init.normal_(block.norm.weight)

    def stage(x, conv):
        w = (block.norm.weight, block.norm.bias)
        return nn.functional.group_norm(conv(x), 8, *w, eps=1e-6).relu()

    expected = stage(stage(x, block.conv1), block.conv2)
    added = block(x) - x
    assert added.min() >= 0
    assert added.max() > 1
    assert torch.allclose(added, expected, atol=1e-5)
    assert (ResBlock(16, nn.LeakyReLU(0.2))(x) - x).min() < 0


def test_activations_are_leaky_in_the_encoder_and_discriminator_only():
    def slopes(net):
        return {
            getattr(m, "negative_slope", 0)
            for m in net.modules()
            if isinstance(m, nn.ReLU | nn.LeakyReLU)
        }

    assert slopes(encoder(1, (8,), 8)) == slopes(Discriminator(1, 8, 1)) == {0.2}
    assert slopes(decoder(1, (8,), 8)) == {0}


def test_the_decoder_upsamples_by_the_folded_convolution():
    layers = [m for m in decoder(1, (8, 16), 24).modules() if isinstance(m, UpsampleConv)]
    assert [(m.in_channels, m.out_channels) for m in layers] == [(24, 16), (16, 8)]


def test_decoder_output_lies_in_the_open_range_of_tanh():
    torch.manual_seed(0)
    g = decoder(2, (8, 16), 16)
    y = g(30 * torch.randn(2, 16, 4, 4, 4))
    assert y.shape == (2, 2, 16, 16, 16)
    assert y.abs().max() < 1
    assert y.std() > 1e-3


def test_a_final_convolution_of_zeros_leaves_the_tanh_of_its_bias():
    g = decoder(2, (8,), 16)
    last = final_convolution(g)
    assert (last.kernel_size, last.out_channels) == ((1, 1, 1), 2)
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.5, -2.0])
    y = g(torch.randn(1, 16, 4, 4, 4))
    expected = torch.tanh(torch.tensor([0.5, -2.0])).view(1, 2, 1, 1, 1)
    assert torch.equal(y, expected.expand_as(y))


def test_a_decoder_that_starts_at_the_mean_has_larger_weights_and_the_means_of_all_channels():
    net = decoder(2, (8, 8), 8)
    volumes = torch.rand(3, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0)) - 1
    volumes[:, 1] *= 0.2
    start_at_mean(net, volumes)
    assert net[-2].weight.std() > 0.1  # 0.02 everywhere else
    net[-2].weight.data.zero_()
    expected = torch.stack([volumes[:, 0].mean(), volumes[:, 1].mean()]).view(1, 2, 1, 1, 1)
    with torch.no_grad():
        made = net(torch.randn(1, 8, 4, 4, 4))
    assert torch.allclose(made, expected.expand_as(made), atol=1e-6)


def test_empty_volumes_leave_the_bias_finite():
    net = decoder(1, (8,), 8)
    start_at_mean(net, torch.full((2, 1, 4, 4, 4), -1.0))
    assert torch.allclose(net[-2].bias.tanh(), torch.tensor([-0.999]))


def test_convolutions_start_at_a_spread_of_0_02_with_default_biases_and_plain_norms():
    torch.manual_seed(0)
    for net in (encoder(1, (32, 64), 64), decoder(1, (32, 64), 64), Discriminator(1, 64, 1)):
        for m in net.modules():
            if isinstance(m, nn.Conv3d) and m.weight.numel() > 10_000:
                assert m.weight.std().item() == pytest.approx(0.02, rel=0.03)
                assert abs(m.weight.mean().item()) < 1e-3
            if isinstance(m, nn.Conv3d):
                bound = m.weight[0].numel() ** -0.5
                assert 0 < m.bias.abs().max() <= bound
            if isinstance(m, nn.GroupNorm):
                assert torch.equal(m.weight, torch.ones_like(m.weight))
                assert not m.bias.any()


def test_bf16_activations_keep_type_and_layout_and_the_volume_is_float32():
    e, g = encoder(1, (8, 16), 24), decoder(1, (8, 16), 24)
    for p in (*e.parameters(), *g.parameters()):
        if p.dim() == 5:
            p.data = p.data.to(memory_format=torch.channels_last_3d)
    seen = []
    for block in (*e, *g[:-2]):
        block.register_forward_hook(lambda module, inputs, y: seen.append(y))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        y = g(e(torch.randn(2, 1, 16, 16, 16)))
    assert y.dtype == torch.float32
    assert len(seen) == 10
    assert all(t.dtype == torch.bfloat16 for t in seen)
    assert all(t.is_contiguous(memory_format=torch.channels_last_3d) for t in seen)


def test_norms_compute_what_torch_computes_in_value_and_gradient():
    torch.manual_seed(0)
    norm = ResBlock(16, nn.ReLU()).norm.double()
    plain = nn.GroupNorm(8, 16, eps=1e-6).double()
    for p, q in zip(norm.parameters(), plain.parameters(), strict=True):
        q.data = nn.init.normal_(p.data).clone()
    x = torch.randn(2, 16, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    x_last = x.detach().to(memory_format=torch.channels_last_3d).requires_grad_()
    ours, theirs = norm(x_last), plain(x)
    assert torch.allclose(ours, theirs)
    ours.pow(3).sum().backward()
    theirs.pow(3).sum().backward()
    assert torch.allclose(x_last.grad, x.grad)
    assert torch.allclose(norm.weight.grad, plain.weight.grad)
    assert torch.allclose(norm.bias.grad, plain.bias.grad)


def test_a_volume_does_not_depend_on_its_neighbours_in_the_batch():
    torch.manual_seed(0)
    e, g, d = encoder(1, (8,), 8), decoder(1, (8,), 8), Discriminator(1, 8, 0)
    x = torch.randn(3, 1, 16, 16, 16)
    assert torch.allclose(g(e(x))[:1], g(e(x[:1])), atol=1e-5)
    assert torch.allclose(d(x)[0][:1], d(x[:1])[0], atol=1e-5)
