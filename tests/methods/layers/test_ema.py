"""Averaged weights: the rule of updates, against its closed form."""

import pytest
import torch
from torch import nn

from cerebench.methods.layers.ema import WeightAverage


def _counting(steps, **rule):
    """Return the average of a single weight that equals s after optimiser step s."""
    net = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = WeightAverage(net, **rule)
    values = []
    for step in range(steps + 1):
        net.weight.data.fill_(step)
        average.follow(net, step)
        values.append(average.module.weight.item())
    return values


def test_average_after_step_2030_is_that_of_the_specification():
    assert _counting(2030, decay=0.995, every=10, start=2000)[-1] == pytest.approx(1990.4975)


def test_weights_are_copied_at_multiples_until_the_start():
    values = _counting(1999, decay=0.995, every=10, start=2000)
    assert values == [step - step % 10 for step in range(2000)]


def test_from_the_start_on_the_past_weighs_as_much_as_the_decay():
    values = _counting(8, decay=0.75, every=2, start=4)
    at_4 = 0.75 * 2 + 0.25 * 4
    at_6 = 0.75 * at_4 + 0.25 * 6
    assert values == pytest.approx([0, 0, 2, 2, at_4, at_4, at_6, at_6, 0.75 * at_6 + 0.25 * 8])


def test_state_continues_where_it_was_saved():
    net, rule = nn.Linear(2, 2), {"decay": 0.9, "every": 1, "start": 1}
    straight, stopped = WeightAverage(net, **rule), WeightAverage(net, **rule)
    weights = torch.randn(6, 2, 2, generator=torch.Generator().manual_seed(0))
    for step, value in enumerate(weights):
        if step == 3:
            saved, stopped = stopped.state_dict(), WeightAverage(nn.Linear(2, 2), **rule)
            stopped.load_state_dict(saved)
        net.weight.data.copy_(value)
        straight.follow(net, step)
        stopped.follow(net, step)
    assert torch.equal(straight.module.weight, stopped.module.weight)
    assert not torch.equal(straight.module.weight, weights[-1])


def test_average_is_not_trained_and_buffers_are_kept_equal():
    net = nn.BatchNorm1d(3)
    average = WeightAverage(net, decay=0.9, every=1, start=0)
    net(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    average.follow(net, 1)
    assert not any(p.requires_grad for p in average.parameters())
    assert torch.equal(average.module.running_mean, net.running_mean)
    assert net.running_mean.abs().min() > 0
