"""Whole networks in the engine's memory layout, with folded layers and hooks, beside plain ones."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.training import seeded
from cerebench.methods.base import Conditions
from cerebench.methods.layers.upsampling import UpsampleConv

METHODS = ("wgan-gp", "alpha-wgan", "med-ddpm", "medical-diffusion", "vqgan", "vqgan-cond")


class _PlainUpsampleConv(UpsampleConv):
    def forward(self, x):
        upsampled = functional.interpolate(x, scale_factor=2.0)
        return functional.conv3d(upsampled, self.weight, self.bias, padding=1)


def _method(name):
    """Return a method whose every parameter takes part: many start at zero."""
    cls = Registries().methods.load(name)
    with seeded(0, "init"):
        method = cls(cls.presets["smoke"].config, size=16, classes=("LGG", "HGG"))
        for net in method.nets.values():
            for parameter in net.eval().parameters():
                parameter.data += 0.05 * torch.randn_like(parameter)
    return method


def _laid_out(method):
    for net in method.nets.values():
        for parameter in net.parameters():
            if parameter.dim() == 5:
                parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
    return method


def _made_plain(method):
    """Take away all that is there for speed; return how many modules had something of it."""
    changed = 0
    for module in (m for net in method.nets.values() for m in net.modules()):
        changed += bool(module._forward_pre_hooks or module._forward_hooks)
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
        if isinstance(module, UpsampleConv):
            module.__class__ = _PlainUpsampleConv
            changed += 1
        elif isinstance(module, nn.GroupNorm) and type(module) is not nn.GroupNorm:
            module.__class__ = nn.GroupNorm
            changed += 1
    return changed


def _sampled(method):
    rngs = [torch.Generator().manual_seed(i) for i in range(3)]
    with torch.inference_mode():
        return method.sample(Conditions(torch.tensor([0, 1, 1])), rngs)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_there_for_speed_changes_no_sample(name):
    fast = _method(name)
    plain = copy.deepcopy(fast)
    assert _made_plain(plain) > 0
    made, expected = _sampled(_laid_out(fast)), _sampled(plain)
    assert expected.std() > 0.01
    assert (made - expected).abs().mean() < 1e-4
