"""Importance scores and the classifier that teaches them."""

import pytest
import torch
from torch import nn

from cerebench.methods.layers.vq.autoencoder import encoder
from cerebench.methods.vqgan_cond.scoring import Classifier, Scorer, standardise


def parameters(net):
    return sum(p.numel() for p in net.parameters())


# code dimension, latent edge, hidden -> parameters of scorer and classifier
@pytest.mark.parametrize(
    ("dim", "edge", "hidden", "scorer", "classifier"),
    [
        (128, 8, 1024, 442_627, 67_113_986),
        (128, 4, 1024, 442_627, 8_393_730),
        (64, 8, 256, 110_723, 8_389_890),
        (32, 8, 256, 27_715, 4_195_586),
        (64, 4, 256, 110_723, 1_049_858),
    ],
)
def test_counts_are_those_of_the_specification(dim, edge, hidden, scorer, classifier):
    with torch.device("meta"):
        f, c = Scorer(dim), Classifier(dim * edge**3, hidden, 2)
        n = standardise(torch.empty(3, dim, edge, edge, edge))
        s = f(n)
        assert s.shape == (3, 1, edge, edge, edge)
        assert c(n * s).shape == (3, 2)
    assert (parameters(f), parameters(c)) == (scorer, classifier)


def test_latents_are_standardised_over_all_channels_and_positions_of_a_volume():
    torch.manual_seed(0)
    z = torch.randn(2, 3, 4, 4, 4) * torch.tensor([2.0, 50.0]).view(2, 1, 1, 1, 1) + 7
    z[:, 1] += 5
    n = standardise(z)
    rows = z.double().flatten(1)
    expected = (rows - rows.mean(1, keepdim=True)) / (
        rows.var(1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    assert torch.allclose(n.double().flatten(1), expected, atol=1e-5)
    tiny = standardise(torch.tensor([-1e-3, 1e-3]).view(1, 2, 1, 1, 1))
    assert tiny.abs().max().item() == pytest.approx(1e-3 / (1e-6 + 1e-5) ** 0.5, rel=1e-4)


def test_untrained_logits_have_mean_0_and_variance_1_in_each_volume():
    torch.manual_seed(0)
    logits = Scorer(16).logits(standardise(torch.randn(3, 16, 4, 4, 4))).flatten(1)
    assert torch.allclose(logits.mean(1), torch.zeros(3), atol=1e-5)
    assert torch.allclose(logits.var(1, correction=0), torch.ones(3), atol=1e-3)


def test_scores_are_the_sigmoid_of_the_logits_strictly_between_0_and_1():
    torch.manual_seed(0)
    f, n = Scorer(16), standardise(torch.randn(3, 16, 4, 4, 4))
    s = f(n)
    assert torch.equal(s, torch.sigmoid(f.logits(n)))
    assert 0 < s.min() < 0.3
    assert 0.7 < s.max() < 1


def test_logits_are_convolutions_and_a_norm_of_one_group():
    torch.manual_seed(0)
    f, n = Scorer(8), torch.randn(2, 8, 4, 4, 4)
    wide, narrow, norm = f.layers[0], f.layers[2], f.layers[3]
    nn.init.constant_(norm.weight, 3.0)
    nn.init.constant_(norm.bias, -1.0)
    raw = nn.functional.conv3d(n, wide.weight, wide.bias, padding=1).relu()
    raw = nn.functional.conv3d(raw, narrow.weight, narrow.bias)
    rows = raw.flatten(1)
    spread = (rows.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    expected = 3 * (rows - rows.mean(1, keepdim=True)) / spread - 1
    assert torch.allclose(f.logits(n).flatten(1), expected, atol=1e-4)


def test_the_score_of_a_position_depends_on_its_neighbours():
    torch.manual_seed(0)
    f, n = Scorer(8), torch.randn(1, 8, 6, 6, 6)
    moved = n.clone()
    moved[..., 2, 2, 2] += 1
    changed = (f.layers[:3](moved) - f.layers[:3](n))[0, 0].abs() > 1e-7
    assert changed[1:4, 1:4, 1:4].sum() > 20
    changed[1:4, 1:4, 1:4] = False
    assert not changed.any()


def test_each_score_weighs_all_channels_of_its_position_in_the_classifier():
    torch.manual_seed(0)
    n, s = torch.randn(2, 4, 3, 3, 3), torch.rand(2, 1, 3, 3, 3)
    c = Classifier(4 * 27, 64, 2).eval()
    h = torch.stack([n[:, i] * s[:, 0] for i in range(4)], 1)
    assert torch.equal(c(n * s), c(h))
    rows = torch.cat([h[:, i].reshape(2, 27) for i in range(4)], 1)  # channel by channel
    linear, norm, last = c.layers[1], c.layers[2], c.layers[5]
    nn.init.normal_(norm.weight)
    groups = linear(rows).view(2, 32, 2)
    groups = groups - groups.mean(2, keepdim=True)
    groups = groups / (groups.square().mean(2, keepdim=True) + norm.eps).sqrt()
    expected = last((groups.flatten(1) * norm.weight + norm.bias).relu())
    assert torch.allclose(c(n * s), expected, atol=1e-5)


def test_layout_in_memory_does_not_change_the_class():
    torch.manual_seed(0)
    c, h = Classifier(4 * 27, 64, 2).eval(), torch.randn(2, 4, 3, 3, 3)
    assert torch.equal(c(h), c(h.to(memory_format=torch.channels_last_3d)))


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    c, h = Classifier(8 * 27, 64, 2), torch.randn(2, 8, 3, 3, 3)
    assert not torch.equal(c(h), c(h))
    kept = (c.layers[4](torch.ones(100_000)) > 0).float().mean().item()
    assert kept == pytest.approx(0.8, abs=0.01)
    c.eval()
    assert torch.equal(c(h), c(h))


def test_the_class_loss_reaches_encoder_and_scorer():
    torch.manual_seed(0)
    e, f, c = encoder(1, (8,), 8), Scorer(8), Classifier(8 * 8**3, 64, 2)
    n = standardise(e(torch.randn(2, 1, 16, 16, 16)))
    nn.functional.cross_entropy(c(n * f(n)), torch.tensor([0, 1]), label_smoothing=0.1).backward()
    for net in (e, f):
        slopes = [p.grad.abs().max() for p in net.parameters() if p.dim() == 5]
        assert min(slopes) > 0


def test_a_bf16_phase_gets_the_numbers_of_float32():
    torch.manual_seed(0)
    f, c = Scorer(8), Classifier(8 * 64, 64, 2).eval()
    z = torch.randn(2, 8, 4, 4, 4).bfloat16()

    def forward():
        n = standardise(z)
        s = f(n)
        return n, s, c(n * s)

    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        inside = forward()
    assert all(t.dtype == torch.float32 for t in inside)
    assert all(torch.equal(a, b) for a, b in zip(inside, forward(), strict=True))
