"""Schedules of step sizes: values at the ends and in the middle."""

import pytest
import torch
from torch.optim import SGD

from cerebench.methods.layers.learning_rate import cosine, linear, set_lr


@pytest.mark.parametrize(("progress", "expected"), [(0, 2.0), (0.5, 1.25), (1, 0.5)])
def test_linear_falls_to_a_fraction_of_the_start(progress, expected):
    assert linear(progress, 2.0, 0.25) == expected


@pytest.mark.parametrize(("progress", "expected"), [(0, 2.0), (0.5, 1.125), (1, 0.25)])
def test_cosine_falls_to_a_rate_of_its_own(progress, expected):
    assert cosine(progress, 2.0, 0.25) == pytest.approx(expected, rel=1e-12)


def test_cosine_is_flat_at_both_ends():
    assert cosine(0.01, 1.0, 0.0) > linear(0.01, 1.0, 0.0)
    assert cosine(0.99, 1.0, 0.0) < linear(0.99, 1.0, 0.0)


def test_all_groups_of_all_optimisers_get_the_rate():
    weights = [torch.zeros(1, requires_grad=True) for _ in range(3)]
    pair = SGD([{"params": weights[:1]}, {"params": weights[1:2], "lr": 5.0}], lr=1.0)
    set_lr((pair, single := SGD(weights[2:], lr=2.0)), 0.5)
    assert [group["lr"] for o in (pair, single) for group in o.param_groups] == [0.5] * 3
