"""Encoder, decoder and discriminator of 3D-VQGAN: layers, shapes and first weights."""

import pytest
import torch
from torch import nn

from cerebench.methods.layers.vq.autoencoder import final_convolution
from cerebench.methods.vqgan.autoencoder import ResBlock, decoder, discriminator, encoder


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_shapes_of_latents_volumes_and_logits():
    x = torch.rand(2, 1, 32, 32, 32)
    z = encoder(1, (8, 16), 24)(x)
    assert z.shape == (2, 24, 8, 8, 8)
    y = decoder(1, (8, 16), 24)(z)
    assert y.shape == x.shape
    assert y.abs().max() < 1
    logits, features = discriminator(1, 8, 32)(x)
    assert logits.shape == (2, 1, 5, 5, 5)
    assert [tuple(f.shape[1:3]) for f in features] == [(8, 16), (16, 8)]


def test_the_last_convolution_sees_neighbours_and_has_865_parameters():
    last = final_convolution(decoder(1, (32, 64), 64))
    assert last.kernel_size == (3, 3, 3)
    assert parameters(last) == 865


def test_every_convolution_of_a_residual_block_has_a_norm_of_its_own():
    block = ResBlock(8, nn.ReLU())
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm3d)]
    assert len(norms) == 2
    assert norms[0].weight is not norms[1].weight
    x = torch.randn(2, 8, 4, 4, 4)
    assert (block(x) - x).min() >= 0


@pytest.mark.parametrize(
    "net", [encoder(1, (16, 32), 64), decoder(1, (16, 32), 64), discriminator(1, 16, 64)]
)
def test_norms_begin_near_one_and_convolutions_near_zero(net):
    assert not [m for m in net.modules() if isinstance(m, nn.GroupNorm)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    scales = torch.cat([m.weight for m in norms])
    assert scales.mean().item() == pytest.approx(1, abs=0.01)
    assert scales.std().item() == pytest.approx(0.02, rel=0.3)
    assert all((m.bias == 0).all() for m in norms)
    weights = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Conv3d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)


def test_a_volume_depends_on_its_batch_in_training_alone():
    torch.manual_seed(0)
    e, x = encoder(1, (8, 8), 8), torch.randn(3, 1, 16, 16, 16)
    assert not torch.allclose(e(x)[:1], e(x[:1]), atol=1e-3)
    e.eval()
    assert torch.allclose(e(x)[:1], e(x[:1]), atol=1e-5)
