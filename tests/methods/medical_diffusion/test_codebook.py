"""Codebook against MONAI's and closed forms: start, restart, persistence; the latent range."""

import math

import pytest
import torch
from monai.networks.layers.vector_quantizer import EMAQuantizer

from cerebench.methods.medical_diffusion import codebook
from cerebench.methods.medical_diffusion.codebook import Codebook, LatentRange, nearest


def _latents(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _state(book):
    return {key: value.clone() for key, value in book.state_dict().items()}


def _step(book, z):
    quantised = book(z)
    book.update(z, quantised.indices)
    return quantised


def _equal(one, two):
    return all(torch.equal(one[key], two[key]) for key in one)


def test_moving_averages_are_those_of_monai_while_nothing_restarts():
    book = Codebook(6, 4)
    reference = EMAQuantizer(3, 6, 4, decay=0.99, epsilon=1e-7, commitment_cost=0.25).train()
    reference.embedding.weight.data.copy_(book.vectors)
    reference.ema_w.copy_(book.vectors)
    book.counts.fill_(50)
    reference.ema_cluster_size.fill_(50)
    for seed in range(3):
        z = _latents(2, 4, 3, 4, 5, seed=seed)
        ours = _step(book, z)
        vectors, loss, indices = reference(z)
        assert torch.equal(ours.indices, indices)
        assert torch.allclose(ours.vectors, vectors, atol=1e-6)
        assert 0.25 * ours.commitment.item() == pytest.approx(loss.item(), rel=1e-5)
        assert torch.allclose(book.vectors, reference.embedding.weight, atol=1e-6)
        assert torch.allclose(book.counts, reference.ema_cluster_size)


def test_one_update_has_the_closed_form():
    book = Codebook(2, 1)
    book.vectors.copy_(torch.tensor([[0.0], [10.0]]))
    book.sums.copy_(torch.tensor([[0.0], [20.0]]))
    book.counts.copy_(torch.tensor([3.0, 2.0]))
    z = torch.tensor([1.0, 2.0, 3.0, 9.0]).view(1, 1, 1, 1, 4)
    _step(book, z)
    assert book.counts.tolist() == pytest.approx([0.99 * 3 + 0.03, 0.99 * 2 + 0.01])
    assert book.sums.flatten().tolist() == pytest.approx([0.06, 0.99 * 20 + 0.09])
    assert book.vectors.flatten().tolist() == pytest.approx([0.06 / 3, 19.89 / 1.99], rel=1e-5)


def test_codes_used_less_than_once_restart_from_the_batch_and_no_others():
    book = Codebook(8, 4)
    book.counts.copy_(torch.tensor([0.5, 5.0] * 4))
    z = _latents(1, 4, 4, 4, 4)
    before = _state(book)
    _step(book, z)
    fewer = book.counts < 1
    rows = z.movedim(1, -1).flatten(0, -2)
    hits = torch.tensor([(rows == vector).all(1).any().item() for vector in book.vectors])
    assert fewer.any()
    assert not fewer.all()
    assert torch.equal(hits, fewer)
    total = book.counts.sum()
    weights = (book.counts + 1e-7) / (total + 8e-7) * total
    assert torch.allclose(book.vectors[~fewer], (book.sums / weights[:, None])[~fewer])
    # Counts and sums of restarted codes go on as if nothing had happened.
    count = torch.bincount(nearest(rows, before["vectors"]), minlength=8)
    assert torch.allclose(book.counts, 0.99 * before["counts"] + 0.01 * count)


def test_restarted_codes_get_statistics_of_their_own_where_asked():
    book = Codebook(4, 2, restart_resets_stats=True)
    book.vectors[3] = 100.0  # never the nearest
    book.counts[3] = 0.5
    _step(book, _latents(1, 2, 4, 4, 4))
    assert book.counts[3] == 1
    assert torch.equal(book.sums[3], book.vectors[3])


def test_a_codebook_starts_as_random_latents_of_the_first_batch():
    book, z = Codebook(16, 4), _latents(1, 4, 4, 4, 4)
    book.initialise(z)
    rows = z.movedim(1, -1).flatten(0, -2)
    assert all((rows == vector).all(1).any() for vector in book.vectors)
    assert len(book.vectors.unique(dim=0)) == 16
    assert torch.equal(book.sums, book.vectors)
    assert torch.equal(book.counts, torch.ones(16))


def test_too_few_latents_are_repeated_with_a_little_noise():
    book, z = Codebook(4000, 8), _latents(1, 8, 1, 1, 2)
    book.initialise(z)
    rows = z.movedim(1, -1).flatten(0, -2)
    nearby = torch.cdist(book.vectors, rows).argmin(1)
    noise = book.vectors - rows[nearby]
    assert len(book.vectors.unique(dim=0)) == 4000
    assert torch.bincount(nearby).tolist() == [2000, 2000]
    assert noise.std().item() == pytest.approx(0.01 / math.sqrt(8), rel=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_looking_up_never_moves_a_buffer(training):
    book = Codebook(8, 4).train(training)
    before = _state(book)
    book(_latents(1, 4, 4, 4, 4))
    assert _equal(before, _state(book))


def test_the_gradient_passes_the_codes_unchanged():
    book, z = Codebook(8, 4), _latents(1, 4, 3, 3, 3).requires_grad_()
    slope = _latents(1, 4, 3, 3, 3, seed=2)
    quantised = book(z)
    (gradient,) = torch.autograd.grad((quantised.vectors * slope).sum(), z, retain_graph=True)
    assert torch.allclose(gradient, slope)
    (gradient,) = torch.autograd.grad(quantised.commitment, z)
    assert torch.allclose(gradient, 2 * (z - quantised.vectors).detach() / z.numel(), atol=1e-7)


def test_values_are_exactly_codes_at_the_smallest_distance(monkeypatch):
    monkeypatch.setattr(codebook, "ROWS", 7)  # several parts
    book, z = Codebook(20, 4), 3 * _latents(2, 4, 3, 3, 3)
    quantised = book(z)
    rows = z.movedim(1, -1).flatten(0, -2)
    closest = torch.cdist(rows.double(), book.vectors.double()).argmin(1)
    assert torch.equal(quantised.indices.flatten(), closest)
    assert torch.equal(quantised.vectors.movedim(1, -1).flatten(0, -2), book.vectors[closest])
    again = book(quantised.vectors)
    assert torch.equal(again.indices, quantised.indices)


def test_all_state_survives_saving():
    book = Codebook(8, 4)
    _step(book, _latents(1, 4, 4, 4, 4))
    fresh = Codebook(8, 4)
    fresh.load_state_dict(_state(book))
    z = _latents(1, 4, 4, 4, 4, seed=5)
    for each in (book, fresh):
        torch.manual_seed(0)
        _step(each, z)
    assert _equal(_state(book), _state(fresh))


def test_half_precision_reaches_neither_lookup_nor_update():
    books = [Codebook(8, 4) for _ in range(2)]
    books[1].load_state_dict(_state(books[0]))
    z = _latents(1, 4, 4, 4, 4)
    for book, half in zip(books, (False, True), strict=True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            _step(book, z)
    assert _equal(_state(books[0]), _state(books[1]))


def test_the_range_maps_the_extreme_entries_of_the_codes_to_minus_one_and_one():
    span, codes = LatentRange(), _latents(50, 8) * 3 + 1
    span.snapshot(codes)
    ends = torch.stack((codes.min(), codes.max()))
    assert span.normalise(ends).tolist() == pytest.approx([-1, 1])
    z = 5 * _latents(3, 8, 2, 2, 2)
    assert torch.allclose(span.restore(span.normalise(z)), z, atol=1e-5)
    assert span.normalise(z).abs().max() > 1  # beyond the codes, and not clipped
    fresh = LatentRange()
    fresh.load_state_dict(_state(span))
    assert torch.equal(fresh.normalise(z), span.normalise(z))
