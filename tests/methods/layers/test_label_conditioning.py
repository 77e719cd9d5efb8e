"""Labels in generators: cases by class, labels as inputs, projection critic."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from cerebench.benchmark.stages.training import TrainingData
from cerebench.methods.layers.adversarial import critic, gradient_penalty
from cerebench.methods.layers.label_conditioning import (
    ProjectionCritic,
    balanced,
    by_class,
    draw_evenly,
    labels_of,
    with_label,
    with_label_channels,
)

LABELS = [0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]


class _Phase:
    def once(self, name, compute):
        return compute()


class _Step:
    def __init__(self, index=0):
        self.index = index

    def batch(self, rows, size):
        return rows.take(torch.randperm(len(rows))[:size])


def _data():
    volumes = np.arange(11, dtype=np.float32).reshape(11, 1, 1, 1, 1) / 11
    return TrainingData(volumes, None, LABELS, [f"case-{i}" for i in range(11)], "cpu")


def test_cases_are_grouped_by_their_class():
    groups = by_class(_data(), _Phase())
    assert [len(g) for g in groups] == [2, 9]
    batch = groups[0].take(torch.tensor([1, 0]))
    assert batch.ids == ("case-3", "case-0")
    assert batch.labels.tolist() == [0, 0]
    assert batch.images.flatten().tolist() == pytest.approx([3 / 11, 0])


def test_smaller_classes_are_repeated_until_all_are_equally_frequent():
    data = _data()
    rows = balanced(data, labels_of(data, _Phase()))
    batch = rows.take(torch.arange(len(rows)))
    assert len(rows) == 18
    counts = Counter(batch.ids)
    assert sorted(counts[f"case-{i}"] for i in (0, 3)) == [4, 5]
    assert all(counts[f"case-{i}"] == 1 for i, label in enumerate(LABELS) if label)
    assert batch.labels.tolist() == [LABELS[int(name.split("-")[1])] for name in batch.ids]


def test_batches_hold_equally_many_of_each_class_whatever_the_data_hold():
    groups = by_class(_data(), _Phase())
    batch = draw_evenly(_Step(), groups, 4)
    assert batch.labels.tolist() == [0, 0, 1, 1]
    assert batch.images.shape == (4, 1, 1, 1, 1)
    assert [LABELS[int(name.split("-")[1])] for name in batch.ids] == [0, 0, 1, 1]
    drawn = {name for i in range(40) for name in draw_evenly(_Step(i), groups, 4).ids}
    assert len(drawn) == 11


def test_what_does_not_divide_goes_to_each_class_in_turn():
    groups = by_class(_data(), _Phase())
    counts = [draw_evenly(_Step(i), groups, 3).labels.sum().item() for i in range(4)]
    assert counts == [1, 2, 1, 2]
    assert draw_evenly(_Step(1), groups, 1).labels.tolist() == [1]


def test_one_group_is_drawn_from_as_it_is():
    torch.manual_seed(0)
    expected = _Step().batch(_data(), 4)
    torch.manual_seed(0)
    batch = draw_evenly(_Step(), [_data()], 4)
    assert torch.equal(batch.images, expected.images)
    assert batch.ids == expected.ids


def test_labels_are_appended_one_hot():
    code = with_label(torch.full((2, 3), 0.5), torch.tensor([1, 0]), 2)
    assert code.tolist() == [[0.5, 0.5, 0.5, 0, 1], [0.5, 0.5, 0.5, 1, 0]]
    images = with_label_channels(torch.zeros(2, 1, 2, 3, 4), torch.tensor([1, 0]), 2)
    assert images.shape == (2, 3, 2, 3, 4)
    assert [[float(channel.unique()) for channel in image] for image in images] == [
        [0, 0, 1],
        [0, 1, 0],
    ]


@pytest.mark.parametrize("head", ["dense", "patch"])
def test_the_projection_is_added_to_every_score(head):
    torch.manual_seed(0)
    net = critic((2, 4), 1, "none", head)
    labelled = ProjectionCritic(net, 4, 3)
    x, labels = torch.randn(2, 1, 16, 16, 16), torch.tensor([2, 0])
    features = net[:-1](x)
    shift = (labelled.embedding.weight[labels] * features.sum((2, 3, 4))).sum(1)
    expected = net(x) + shift[:, None, None, None, None]
    assert torch.allclose(labelled(x, labels), expected, atol=1e-6)
    assert shift.abs().min() > 1e-4
    assert not torch.allclose(labelled(x, labels), labelled(x, labels.flip(0)))


def test_the_projection_starts_in_the_range_of_the_head():
    torch.manual_seed(0)
    net = critic((2, 64), 1, "none")
    weight = ProjectionCritic(net, 64, 50).embedding.weight
    assert 0.98 / math.sqrt(64 * 64) < weight.abs().max() <= 1 / math.sqrt(64 * 64)
    assert net[-1].weight.abs().max() <= 1 / math.sqrt(64 * 64)


def test_the_penalty_takes_the_slope_in_the_volumes_alone_and_reaches_the_embedding():
    torch.manual_seed(0)
    labelled = ProjectionCritic(critic((2, 4), 1, "none"), 4, 2)
    real, fake = torch.randn(2, 1, 16, 16, 16), torch.randn(2, 1, 16, 16, 16)
    labels, t = torch.tensor([0, 1]), torch.rand(2)
    penalty = gradient_penalty(lambda x: labelled(x, labels), real, fake, t)
    penalty.backward()
    assert labelled.embedding.weight.grad.abs().max() > 0
    x = t.view(-1, 1, 1, 1, 1) * real + (1 - t.view(-1, 1, 1, 1, 1)) * fake
    x.requires_grad_()
    (slope,) = torch.autograd.grad(labelled(x, labels).sum(), x)
    expected = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)
