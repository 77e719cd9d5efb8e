"""The quick classifier: any shape, empty volumes, two contrasts, and what it cannot see."""

import pytest
import torch

from cerebench.metrics.downstream.networks.two_conv import CHANNELS, mean_and_spread, two_conv


def volumes(*shape, seed=0):
    """Return noise inside the central half of every axis, background around it."""
    torch.manual_seed(seed)
    made = torch.full((2, *shape), -1.0)
    inside = tuple(slice(n // 4, n - n // 4) for n in shape[1:])
    made[(..., *inside)] = torch.rand_like(made[(..., *inside)])
    return made


@pytest.mark.parametrize(
    "shape", [(1, 16, 16, 16), (1, 32, 32, 32), (2, 64, 64, 64), (2, 24, 16, 40), (1, 128, 20, 17)]
)
def test_any_shape_from_16_on_and_any_contrasts_give_two_logits(shape):
    network = two_conv(shape[0], 0)
    assert network(volumes(*shape)).shape == (2, 2)


def test_parameters_are_those_of_the_page():
    assert sum(p.numel() for p in two_conv(1, 0).parameters()) == 1_414


def test_a_volume_without_foreground_gives_numbers_and_gradients():
    network = two_conv(1, 0)
    empty = torch.full((3, 1, 32, 32, 32), -1.0)
    logits = network(empty)
    logits.square().sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_mean_and_spread_are_those_of_the_voxels_inside():
    torch.manual_seed(0)
    maps = torch.randn(1, CHANNELS[1], 4, 4, 4)
    inside = (torch.rand(1, 1, 4, 4, 4) < 0.3).float()
    chosen = maps[0][:, inside[0, 0].bool()]
    expected = torch.cat([chosen.mean(1), chosen.var(1, correction=0).sqrt()])
    torch.testing.assert_close(mean_and_spread(maps, inside)[0], expected, atol=1e-4, rtol=1e-3)
    nothing = mean_and_spread(maps, torch.zeros_like(inside))[0]
    assert nothing[: CHANNELS[1]].abs().max() == 0
    assert nothing.abs().max() < 0.01


def test_initial_weights_follow_the_seed_and_leave_the_generator_alone():
    state = torch.random.get_rng_state()
    first, again, other = (two_conv(1, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
