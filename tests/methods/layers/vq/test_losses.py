"""Losses of the autoencoder phase against closed forms and a loop over slices."""

import pytest
import torch
from torch.nn import functional

from cerebench.methods.layers.vq.losses import (
    adaptive_weight,
    feature_matching,
    gradient_loss,
    hinge,
)

SOBEL = (
    torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]),
)


def slice_loop(x, y):
    """The definition: both filters over every slice of both volumes, orientation by orientation."""
    total = 0
    for axis in (2, 3, 4):
        for sobel in SOBEL:
            kernel = sobel[None, None].to(x.dtype)
            errors = []
            for a, b in zip(x.unbind(axis), y.unbind(axis), strict=True):
                a, b = (
                    functional.conv2d(v.flatten(0, 1)[:, None], kernel, padding=1) for v in (a, b)
                )
                errors.append((a - b).square().mean())
            total = total + torch.stack(errors).mean()
    return total


def test_an_impulse_away_from_the_borders_costs_72_over_the_number_of_voxels():
    x = torch.zeros(1, 1, 8, 8, 8)
    x[0, 0, 3, 4, 2] = 1
    assert gradient_loss(x, torch.zeros_like(x)).item() == 0.140625


def test_a_constant_costs_what_its_borders_cost():
    x = torch.ones(1, 1, 8, 8, 8)
    assert gradient_loss(x, torch.zeros_like(x)).item() == 21.375


@pytest.mark.parametrize("shape", [(1, 1, 6, 6, 6), (3, 2, 6, 6, 6), (2, 1, 2, 2, 2)])
def test_value_and_gradients_equal_those_of_a_loop_over_slices(shape):
    torch.manual_seed(0)
    x, y = (torch.randn(shape, requires_grad=True) for _ in range(2))
    ours, theirs = gradient_loss(x, y), slice_loop(x.double(), y.double())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    slopes = torch.autograd.grad(3 * ours, (x, y))
    expected = torch.autograd.grad(3 * theirs, (x, y))
    for a, b in zip(slopes, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_gradient_loss_is_the_same_in_any_layout_in_memory():
    torch.manual_seed(0)
    x, y = torch.randn(2, 2, 3, 6, 6, 6)
    last = x.to(memory_format=torch.channels_last_3d)
    assert gradient_loss(last, y).item() == pytest.approx(gradient_loss(x, y).item(), rel=1e-6)


def test_gradient_loss_is_symmetric_and_zero_for_equal_volumes():
    torch.manual_seed(0)
    x, y = torch.randn(2, 2, 1, 6, 6, 6)
    assert gradient_loss(x, y).item() == gradient_loss(y, x).item() > 1
    assert gradient_loss(x, x).item() == 0


def test_gradient_loss_of_bf16_volumes_is_computed_in_float32():
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 1, 6, 6, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        loss = gradient_loss(x, y)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slice_loop(x.double(), y.double()).item(), rel=1e-6)


def test_gradient_loss_refuses_a_second_derivative_instead_of_returning_a_wrong_one():
    x = torch.randn(1, 1, 4, 4, 4, requires_grad=True)
    loss = gradient_loss(x, torch.zeros_like(x)).square()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_feature_matching_is_the_sum_over_layers_of_mean_distances():
    real = [torch.zeros(2, 3, 4, 4, 4), torch.ones(2, 5, 2, 2, 2)]
    generated = [torch.full((2, 3, 4, 4, 4), -0.5), torch.full((2, 5, 2, 2, 2), 3.0)]
    generated[0][0] = 1.5
    assert feature_matching(real, generated).item() == (0.5 + 1.5) / 2 + 2
    assert feature_matching(real, real).item() == 0


def test_feature_matching_gives_the_real_branch_no_gradient():
    real, generated = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    feature_matching([real], [generated]).backward()
    assert real.grad is None
    assert torch.equal(generated.grad, (generated - real).detach().sign() / 6)


def test_feature_matching_refuses_lists_of_unequal_length():
    with pytest.raises(ValueError, match="shorter"):
        feature_matching([torch.zeros(1)], [])


@pytest.mark.parametrize(
    ("real", "generated", "loss"),
    [(2, -2, 0), (0, 0, 1), (-1, 3, 3), (0.5, -2, 0.25), (5, 0.5, 0.75)],
)
def test_hinge_is_half_the_sum_of_both_margins(real, generated, loss):
    logits = torch.full((2, 1, 5, 5, 5), float(real)), torch.full((2, 1, 5, 5, 5), float(generated))
    assert hinge(*logits).item() == loss


def test_hinge_averages_after_the_margin_not_before():
    assert hinge(torch.tensor([3.0, -1.0]), torch.tensor([-3.0, 1.0])).item() == 1.0


def losses(pixel_slope, adversarial_slope):
    weight = torch.zeros(4, requires_grad=True)
    return (
        (weight * torch.full((4,), pixel_slope)).sum(),
        (weight * torch.full((4,), adversarial_slope)).sum(),
        weight,
    )


@pytest.mark.parametrize(
    ("pixel", "adversarial", "expected"),
    [
        (1.0, 4.0, 2 / (8 + 1e-4)),
        (3.0, 3.0, 6 / (6 + 1e-4)),
        (5.0, 0.1, 1.0),
        (1e-4, 0.0, 1.0),
        (2.5e-5, 0.0, 0.5),
        (0.0, 1.0, 0.0),
    ],
)
def test_adaptive_weight_is_the_bounded_ratio_of_gradient_norms(pixel, adversarial, expected):
    found = adaptive_weight(*losses(pixel, adversarial))
    assert not found.requires_grad
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert found.item() <= 1


def test_adaptive_weight_keeps_the_graph_and_leaves_no_gradients():
    pixel, adversarial, weight = losses(1.0, 2.0)
    scale = adaptive_weight(pixel, adversarial, weight)
    assert weight.grad is None
    (pixel + scale * adversarial).backward()
    assert torch.allclose(weight.grad, torch.full((4,), 1 + 2 * scale.item()))


def test_adaptive_weight_is_float32_in_a_bf16_phase():
    torch.manual_seed(0)
    last = torch.nn.Conv3d(4, 1, 1)
    x, y = torch.randn(2, 4, 4, 4, 4), torch.randn(2, 1, 4, 4, 4)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        out = last(x).float()
        scale = adaptive_weight((out - y).abs().mean(), -out.square().mean(), last.weight)
    assert scale.dtype == torch.float32
    assert 0 < scale <= 1
