"""bf16 on a CPU: layers that oneDNN gets wrong compute in float32, and no others."""

import pytest
import torch
from torch import nn

from cerebench.benchmark.device import right_convolutions

CPU = torch.device("cpu")
# dimensions, kernel, stride, padding, edge of the map
WRONG = [
    (2, 3, 2, 1, 1),
    (3, 2, 1, 1, 1),
    (3, 3, 1, 1, 2),
    (3, 3, 2, 1, 1),
    (3, 4, 2, 2, 3),
    (3, 5, 1, 2, 4),
    (3, (1, 3, 3), 1, (0, 1, 1), (8, 2, 2)),
]
WRONG_TRANSPOSED = [(3, 2, 1, 1, 2), (3, 4, 1, 2, 4), (3, 5, 2, 2, 2), (2, 3, 2, 1, 1)]
CASES = [(False, *case) for case in WRONG] + [(True, *case) for case in WRONG_TRANSPOSED]


def layer(transposed, dimensions, kernel, stride, padding, edge):
    kinds = {
        (False, 2): nn.Conv2d,
        (False, 3): nn.Conv3d,
        (True, 2): nn.ConvTranspose2d,
        (True, 3): nn.ConvTranspose3d,
    }
    torch.manual_seed(0)
    conv = kinds[transposed, dimensions](16, 24, kernel, stride, padding)
    edges = edge if isinstance(edge, tuple) else (edge,) * dimensions
    return conv, torch.randn(2, 16, *edges)


def gradients(conv, x, bf16):
    x = x.clone().requires_grad_()
    # What the layer leaves unwritten in memory of its size would show these.
    dirt = [torch.full((n,), torch.nan) for n in (conv.weight.numel(), conv.weight.numel() // 2)]
    del dirt
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = conv(x)
    y.backward(torch.ones_like(y))
    found = y.detach(), x.grad, conv.weight.grad
    conv.weight.grad = None
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_on_maps_narrower_than_the_kernel_are_right(case):
    conv, x = layer(*case)
    expected = gradients(conv, x, bf16=False)
    with right_convolutions([conv], CPU):
        for _ in range(5):
            found = gradients(conv, x, bf16=True)
            for ours, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("edge", [3, 4, 8])
def test_wider_maps_stay_in_bf16(edge):
    conv, x = layer(False, 3, 3, 1, 1, edge)
    with right_convolutions([conv], CPU), torch.autocast("cpu", torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
        assert conv(x[..., :2, :2, :2]).dtype == torch.float32
        assert conv(x).dtype == torch.bfloat16


def test_bf16_goes_on_after_a_layer_that_failed():
    conv, x = layer(False, 3, 3, 1, 1, 2)
    wide = torch.randn(1, 16, 4, 4, 4)
    with right_convolutions([conv], CPU), torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError, match="channels"):
            conv(x[:, :3])
        assert torch.is_autocast_enabled("cpu")
        assert conv(wide).dtype == torch.bfloat16


def test_nothing_is_left_on_the_layers():
    conv, x = layer(False, 3, 3, 1, 1, 2)
    with pytest.raises(KeyError), right_convolutions([conv], CPU):
        raise KeyError
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    assert not conv._forward_hooks
    assert not conv._forward_pre_hooks


def test_fp32_and_gpus_are_left_alone():
    conv, x = layer(False, 3, 3, 1, 1, 2)
    with right_convolutions([conv], CPU):
        plain = conv(x.double().float())
    torch.testing.assert_close(plain, conv(x), rtol=0, atol=0)
    with right_convolutions([conv], torch.device("cuda")):
        assert not conv._forward_pre_hooks
