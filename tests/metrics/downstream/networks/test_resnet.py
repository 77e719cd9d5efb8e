"""The classifier's network: parameter counts and shapes of the published one."""

import math

import pytest
import torch
from torch import nn

from cerebench.metrics.downstream.networks.resnet import NETWORKS, resnet

COUNTS = {10: 14_356_546, 18: 33_161_026, 34: 63_470_658, 50: 46_159_170}


@pytest.mark.parametrize("depth", COUNTS)
def test_parameter_counts_are_those_of_convolutional_shortcuts_without_bias(depth):
    with torch.device("meta"):
        networks = [resnet(depth, stem, 1, 0) for stem in ("paper", "iso")]
    for network in networks:
        assert sum(p.numel() for p in network.parameters()) == COUNTS[depth]


@pytest.mark.parametrize(
    ("depth", "padded", "with_bias"),
    [
        (10, 14_182_722, 14_357_442),
        (18, 32_987_202, 33_161_922),
        (34, 63_296_834, 63_471_554),
        (50, 43_382_594, 46_163_010),
    ],
)
def test_other_shortcuts_have_other_counts(depth, padded, with_bias):
    options = {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 2}
    with torch.device("meta"):
        a = NETWORKS[depth](**options, shortcut_type="A")
        b = NETWORKS[depth](**options, shortcut_type="B", bias_downsample=True)
    found = [sum(p.numel() for p in network.parameters()) for network in (a, b)]
    assert found == [padded, with_bias]
    assert COUNTS[depth] not in found


@pytest.mark.parametrize(
    ("size", "stem", "shapes"),
    [
        (128, "paper", [(64, 128, 64, 64), (64, 64, 32, 32), (256, 64, 32, 32), (512, 32, 16, 16),
                        (1024, 16, 8, 8), (2048, 8, 4, 4)]),
        (64, "paper", [(64, 64, 32, 32), (64, 32, 16, 16), (256, 32, 16, 16), (512, 16, 8, 8),
                       (1024, 8, 4, 4), (2048, 4, 2, 2)]),
        (64, "iso", [(64, 32, 32, 32), (64, 16, 16, 16), (256, 16, 16, 16), (512, 8, 8, 8),
                     (1024, 4, 4, 4), (2048, 2, 2, 2)]),
    ],
)  # fmt: skip
def test_shapes_at_depth_50(size, stem, shapes):
    with torch.device("meta"):
        network = resnet(50, stem, 1, 0)
        volume = torch.empty(2, 1, size, size, size)
    found = []
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        getattr(network, name).register_forward_hook(
            lambda _module, _inputs, output: found.append(tuple(output.shape[1:]))
        )
    assert network(volume).shape == (2, 2)
    assert found == shapes


def test_initial_weights_are_kaiming_normal_by_fan_out_and_follow_the_seed():
    state = torch.random.get_rng_state()
    first, again, other = (resnet(10, "paper", 1, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    convolutions = [m for m in first.modules() if isinstance(m, nn.Conv3d)]
    for convolution in convolutions:
        weight = convolution.weight
        fan_out = weight.shape[0] * math.prod(weight.shape[2:])
        assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
