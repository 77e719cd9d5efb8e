"""Patch discriminators: counts, map sizes, start, and the slices they see."""

import pytest
import torch
from torch import nn

from cerebench.methods.layers.vq.losses import hinge
from cerebench.methods.medical_diffusion.discriminator import axial_slices, patch_discriminator


@pytest.mark.parametrize(("dims", "parameters"), [(2, 2_764_481), (3, 11_049_665)])
@pytest.mark.parametrize(("size", "edges"), [(32, [17, 9, 5, 6, 7]), (128, [65, 33, 17, 18, 19])])
def test_discriminators_have_the_published_counts_and_map_sizes(dims, parameters, size, edges):
    with torch.device("meta"):
        net = patch_discriminator(dims, 1, 64)
        maps = net(torch.zeros(1, 1, *[size] * dims))
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert [tuple(m.shape[2:]) for m in maps] == [(edge,) * dims for edge in edges]
    assert [m.shape[1] for m in maps] == [64, 128, 256, 512, 1]


def test_hidden_maps_are_leaky_and_the_middle_ones_normalised_over_the_batch():
    net = patch_discriminator(2, 1, 8)
    maps = net(torch.randn(4, 1, 32, 32))
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 3
    raw = [torch.where(m < 0, m / 0.2, m) for m in maps[1:4]]
    for m in raw:
        assert m.mean((0, 2, 3)).abs().max() < 1e-4
        assert m.var((0, 2, 3), correction=0).mean().item() == pytest.approx(1, abs=0.05)


def test_weights_start_as_those_of_torch():
    net = patch_discriminator(3, 1, 8)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv3d)]
    assert len(convolutions) == 5
    for conv in convolutions:
        bound = conv.weight[0].numel() ** -0.5  # uniform in [-bound, bound]
        assert conv.weight.abs().max() <= bound
        assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_hinge_of_undecided_logits_is_one():
    assert hinge(torch.zeros(2, 1, 7, 7), torch.zeros(2, 1, 7, 7)).item() == 1.0


def test_slices_are_axial_and_one_per_volume():
    volumes = torch.arange(2 * 2 * 3 * 4 * 5.0).view(2, 2, 3, 4, 5)
    slices = axial_slices(volumes, torch.tensor([2, 0]))
    assert torch.equal(slices, torch.stack((volumes[0, :, 2], volumes[1, :, 0])))
