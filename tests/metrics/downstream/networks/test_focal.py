"""Focal loss: the vectors of its definition, and its limit."""

import pytest
import torch
from monai.losses import FocalLoss
from torch.nn import functional

from cerebench.metrics.downstream.networks.focal import focal_loss

LOGITS = torch.tensor([[0.0, 0.0], [2.0, -1.0], [0.5, 1.5]])
LABELS = torch.tensor([0, 0, 1])


def test_single_cases_and_their_mean_have_the_published_values():
    single = [float(focal_loss(LOGITS[i : i + 1], LABELS[i : i + 1], 2.0)) for i in range(3)]
    assert single == pytest.approx([0.173287, 0.00010928, 0.0226581], rel=5e-5)
    assert float(focal_loss(LOGITS, LABELS, 2.0)) == pytest.approx(0.0653514, rel=1e-5)


def test_exponent_zero_is_cross_entropy():
    loss = float(focal_loss(LOGITS, LABELS, 0.0))
    assert loss == pytest.approx(0.351665, rel=1e-5)
    assert loss == pytest.approx(float(functional.cross_entropy(LOGITS, LABELS)), rel=1e-6)


def test_certain_and_right_answers_have_finite_gradients():
    logits = torch.tensor([[80.0, -80.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0]), 2.0).backward()
    assert torch.isfinite(logits.grad).all()


def test_monai_averages_over_both_classes_and_is_half_of_it():
    logits = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 2
    theirs = FocalLoss(gamma=3.0, to_onehot_y=True, use_softmax=True)(logits, labels[:, None])
    assert float(focal_loss(logits, labels, 3.0)) == pytest.approx(2 * float(theirs), rel=1e-5)
