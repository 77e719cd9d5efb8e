"""Codebook: closed forms, k-means, gradients, precision, order of axes and dead codes."""

import math

import pytest
import torch
from torch.nn import functional

from cerebench.methods.layers.vq.codes import active_codes, count_codes, perplexity
from cerebench.methods.vqgan_cond.codebook import Codebook, nearest, spherical_kmeans


def _codebook(vectors, decay=0.99):
    book = Codebook(*vectors.shape, decay=decay)
    book.vectors.copy_(vectors)
    return book


def _random_book(codes=40, dim=6, decay=0.99, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(codes, dim, generator=generator)
    return _codebook(functional.normalize(rows, dim=1), decay)


def _latents(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _channels_first(rows):
    """Put N rows of dim numbers on a 1 x 1 x N grid of one volume."""
    return rows.T[None, :, None, None, :].clone()


@pytest.fixture
def triple():
    """The worked example of the specification: three codes in the plane, three latents."""
    book = _codebook(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), decay=0.9)
    z = _channels_first(torch.tensor([[2.0, 0.0], [0.6, 0.8], [0.8, 0.6]]))
    return book, z


def test_worked_example_is_quantised_to_its_known_codes(triple):
    book, z = triple
    vectors, indices, commitment = book(z)
    assert indices.dtype == torch.int64
    assert indices.tolist() == [[[[0, 1, 0]]]]
    assert vectors[0, :, 0, 0].T.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert commitment.item() == pytest.approx(0.1333333, abs=1e-6)


def test_worked_example_has_its_known_gradient_of_the_commitment(triple):
    book, z = triple
    z.requires_grad_()
    book(z).commitment.backward()
    expected = torch.tensor([[0.0, 0.0], [0.16, -0.12], [-0.12, 0.16]])
    assert torch.allclose(z.grad[0, :, 0, 0].T, expected, atol=1e-6)


def test_worked_example_moves_to_its_known_codes(triple):
    book, z = triple
    book.update(z, book(z).indices)
    expected = torch.tensor([[0.999495, 0.031770], [0.061109, 0.998131], [-1.0, 0.0]])
    assert torch.allclose(book.vectors, expected, atol=1e-6)
    assert torch.equal(book.vectors[2], torch.tensor([-1.0, 0.0]))
    assert torch.allclose(book.usage, torch.tensor([0.2, 0.1, 0.0]), atol=1e-7)
    assert book.idle.tolist() == [0, 0, 1]


def test_perplexity_of_known_counts():
    assert perplexity(torch.tensor([2.0, 1.0, 0.0])).item() == pytest.approx(1.889882, abs=1e-6)
    assert perplexity(torch.full((7,), 3.0)).item() == pytest.approx(7, abs=1e-5)
    assert perplexity(torch.tensor([0.0, 5.0])).item() == pytest.approx(1)


def test_perplexity_ignores_the_scale_and_stays_below_the_number_of_active_codes():
    counts = count_codes(_random_book()(_latents(2, 6, 3, 4, 5)).indices, 40)
    assert counts.sum() == 120
    assert 1 < perplexity(counts) < active_codes(counts) <= 40
    assert perplexity(counts).item() == pytest.approx(perplexity(counts / 7).item(), rel=1e-5)


def test_counts_are_those_of_bincount():
    indices = torch.randint(9, (2, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    assert (
        count_codes(indices, 11).tolist()
        == torch.bincount(indices.flatten(), minlength=11).tolist()
    )
    assert active_codes(count_codes(indices, 11)) == 9


# --- k-means ------------------------------------------------------------------------------------


def test_kmeans_of_four_points_finds_both_sides():
    points = functional.normalize(
        torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]), dim=1
    )
    means = spherical_kmeans(points, points[[0, 3]])
    assert torch.allclose(means, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), atol=1e-6)
    assert count_codes(nearest(points, means), 2).tolist() == [2, 2]


def test_kmeans_keeps_a_mean_that_has_no_members_or_whose_members_cancel():
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    initial = torch.tensor([[0.0, 1.0], [0.0, -1.0]])  # ties: all members go to the first
    assert torch.equal(spherical_kmeans(points, initial), initial)


def test_kmeans_follows_a_plain_loop():
    points = functional.normalize(_latents(60, 5), dim=1)
    means = points[:8].clone()
    for _ in range(10):
        owner = [max(range(8), key=lambda k, p=p: float(p @ means[k])) for p in points]
        for k in range(8):
            members = [p for p, o in zip(points, owner, strict=True) if o == k]
            if members:
                total = torch.stack(members).sum(0)
                means[k] = total / total.norm()
    assert torch.allclose(spherical_kmeans(points, points[:8]), means, atol=1e-5)


def test_initialising_clusters_the_latents_from_a_random_subset_of_them():
    z = _latents(2, 6, 2, 3, 4)
    units = functional.normalize(z.movedim(1, -1).reshape(-1, 6), dim=1)
    book = Codebook(10, 6)
    torch.manual_seed(5)
    book.initialise(z)
    torch.manual_seed(5)
    expected = spherical_kmeans(units, units[torch.randperm(48)[:10]])
    # Not bits: sums over channels round differently in another memory layout.
    assert torch.allclose(book.vectors, expected, atol=1e-6)
    assert torch.allclose(book.vectors.norm(dim=1), torch.ones(10), atol=1e-6)
    closeness = (units @ book.vectors.T).max(1).values.mean()
    random = (units @ Codebook(10, 6).vectors.T).max(1).values.mean()
    assert closeness > random + 0.05


def test_as_many_latents_as_codes_are_all_taken_over():
    z = _latents(1, 6, 2, 2, 3)
    book = Codebook(12, 6)
    book.initialise(z)
    assert sorted(book(z).indices.flatten().tolist()) == list(range(12))
    assert book(z).commitment < 1e-12


def test_fewer_latents_than_codes_are_repeated():
    z = _latents(1, 6, 1, 1, 3)
    book = Codebook(32, 6)
    book.initialise(z)
    assert torch.allclose(book.vectors.norm(dim=1), torch.ones(32), atol=1e-6)
    units = functional.normalize(z[0, :, 0, 0].T, dim=1)
    assert (book.vectors @ units.T).max(1).values.min() > 1 - 1e-6


def test_an_initialised_codebook_survives_saving_and_loading():
    z = _latents(2, 6, 2, 3, 4)
    book, other = Codebook(10, 6), Codebook(10, 6)
    book.initialise(z)
    book.update(z, book(z).indices)
    other.load_state_dict(book.state_dict())
    assert set(book.state_dict()) == {"vectors", "usage", "idle"}
    assert all(torch.equal(a, b) for a, b in zip(book.buffers(), other.buffers(), strict=True))
    assert torch.equal(book(z).indices, other(z).indices)


# --- lookup -------------------------------------------------------------------------------------


def test_lookup_takes_the_code_at_the_smallest_distance():
    book, z = _random_book(), _latents(2, 6, 3, 4, 5)
    units = functional.normalize(z, dim=1).movedim(1, -1)
    distance = (units[..., None, :] - book.vectors).double().square().sum(-1)
    assert torch.equal(book(z).indices, distance.argmin(-1))


def test_length_of_the_latents_does_not_matter():
    book, z = _random_book(), _latents(2, 6, 3, 4, 5)
    assert torch.equal(book(z).indices, book(5 * z).indices)
    assert book(z).commitment.item() == pytest.approx(book(5 * z).commitment.item(), rel=1e-5)


def test_quantised_vectors_are_the_codes_of_their_indices_and_of_unit_length():
    book, z = _random_book(), _latents(2, 6, 3, 4, 5)
    quantised = book(z)
    assert quantised.vectors.shape == z.shape
    assert torch.equal(quantised.vectors, book.look_up(quantised.indices))
    assert torch.equal(
        quantised.vectors[1, :, 2, 0, 3], book.vectors[quantised.indices[1, 2, 0, 3]]
    )
    assert torch.allclose(quantised.vectors.norm(dim=1), torch.ones(2, 3, 4, 5), atol=1e-6)


def test_permuting_positions_permutes_the_indices_and_nothing_else():
    book, z = _random_book(dim=60), _latents(2, 60, 3, 4, 5)  # as many channels as positions
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    shuffled = z.flatten(2)[:, :, order].view_as(z)
    assert torch.equal(book(shuffled).indices.flatten(1), book(z).indices.flatten(1)[:, order])
    assert len(book(z).indices.unique()) > 10


def test_permuting_channels_of_latents_and_codes_together_changes_no_index():
    book, z = _random_book(), _latents(2, 6, 3, 4, 5)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.equal(_codebook(book.vectors[:, order])(z[:, order]).indices, book(z).indices)
    assert not torch.equal(book(z[:, order]).indices, book(z).indices)


def test_autocast_changes_no_index_of_concentrated_latents():
    direction = _latents(128, seed=4)
    z = direction.view(1, -1, 1, 1, 1) + 0.1 * _latents(3, 128, 4, 4, 4)
    units = functional.normalize(z.movedim(1, -1).reshape(-1, 128), dim=1)
    book = _codebook(units[:96].clone())
    moved = _codebook(book.vectors)
    plain = book(z)
    book.update(z, plain.indices)
    with torch.autocast("cpu", torch.bfloat16):
        inside = moved(z)
        moved.update(z, inside.indices)
        rounded = (units @ units[:96].T).argmax(-1)
    assert torch.equal(inside.indices, plain.indices)
    assert inside.vectors.dtype == inside.commitment.dtype == torch.float32
    assert torch.equal(inside.commitment, plain.commitment)
    assert torch.equal(book.vectors, moved.vectors)
    # What the rule protects from: the same lookup in bfloat16 takes other codes.
    assert (rounded != plain.indices.flatten()).float().mean() > 0.1


def test_autocast_changes_no_cluster():
    z = _latents(128, seed=4).view(1, -1, 1, 1, 1) + 0.1 * _latents(2, 128, 4, 4, 4)
    books = Codebook(32, 128), Codebook(32, 128)
    for book, enabled in zip(books, (False, True), strict=True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            book.initialise(z)
    assert torch.equal(books[0].vectors, books[1].vectors)


def test_bfloat16_latents_are_quantised_in_float32():
    book, z = _random_book(), _latents(2, 6, 3, 4, 5).bfloat16()
    assert torch.equal(book(z).indices, book(z.float()).indices)
    assert book(z).vectors.dtype == torch.float32


# --- gradients ----------------------------------------------------------------------------------


def test_gradient_passes_the_codes_as_if_they_were_the_normalised_latents():
    book, weight = _random_book(), _latents(2, 6, 3, 4, 5, seed=2)
    z = _latents(2, 6, 3, 4, 5).requires_grad_()
    (through,) = torch.autograd.grad((book(z).vectors * weight).sum(), z)
    (direct,) = torch.autograd.grad((functional.normalize(z, dim=1) * weight).sum(), z)
    assert torch.allclose(through, direct, atol=1e-6)
    assert direct.abs().max() > 0.1
    assert not any(b.requires_grad for b in book.buffers())
    assert not list(book.parameters())


def test_commitment_is_the_mean_over_elements_and_bounded():
    book = _random_book(codes=1)
    opposite = -book.vectors.view(1, 6, 1, 1, 1) * 3
    assert book(opposite).commitment.item() == pytest.approx(4 / 6, rel=1e-5)
    z = _latents(2, 6, 3, 4, 5)
    units = functional.normalize(z, dim=1)
    codes = book.vectors.view(1, 6, 1, 1, 1)
    expected = (units - codes).square().mean()
    assert book(z).commitment.item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_update_before_the_backward_pass_does_not_change_the_gradient():
    z = _latents(2, 6, 3, 4, 5).requires_grad_()
    gradients = []
    for early in (False, True):
        book = _random_book(decay=0.5)
        quantised = book(z)
        loss = quantised.commitment + quantised.vectors.square().sum(1)[0, 0, 0, 0]
        if early:
            book.update(z, quantised.indices)
        gradients += torch.autograd.grad(loss, z)
    assert torch.equal(*gradients)


# --- moving averages ----------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_quantising_changes_no_buffer(training):
    book = _random_book().train(training)
    before = {name: b.clone() for name, b in book.named_buffers()}
    book(_latents(2, 6, 3, 4, 5))
    assert all(torch.equal(before[name], b) for name, b in book.named_buffers())


def test_update_follows_a_plain_loop_over_codes():
    book, z = _random_book(decay=0.8), _latents(2, 6, 2, 2, 3)
    indices = book(z).indices
    units = functional.normalize(z.movedim(1, -1).reshape(-1, 6), dim=1)
    expected = book.vectors.clone()
    for k in range(40):
        members = units[indices.flatten() == k]
        if len(members):
            centre = members.mean(0) / members.mean(0).norm()
            row = 0.8 * expected[k] + 0.2 * centre
            expected[k] = row / row.norm()
    book.update(z, indices)
    assert torch.allclose(book.vectors, expected, atol=1e-6)


def test_rows_keep_unit_length_and_unused_ones_their_bits():
    book = _random_book(codes=200)
    for seed in range(50):
        z = _latents(1, 6, 2, 3, 4, seed=seed)
        indices = book(z).indices
        before = book.vectors.clone()
        book.update(z, indices)
        used = count_codes(indices, 200) > 0
        assert torch.equal(book.vectors[~used], before[~used])
        assert (book.vectors[used] != before[used]).any(1).all()
        assert torch.allclose(book.vectors.norm(dim=1), torch.ones(200), atol=1e-6)


def test_usage_and_idleness_follow_their_recursions():
    book = _random_book(codes=200)
    usage, idle = torch.zeros(200), torch.zeros(200)
    for seed in range(20):
        z = _latents(1, 6, 2, 3, 4, seed=seed)
        indices = book(z).indices
        counts = torch.bincount(indices.flatten(), minlength=200)
        usage = 0.99 * usage + 0.01 * counts
        idle = torch.where(counts > 0, 0, idle + 1)
        book.update(z, indices)
    assert torch.allclose(book.usage, usage, atol=1e-6)
    assert book.idle.tolist() == idle.tolist()
    assert 20 in idle
    assert 0 in idle


def test_dead_codes_stay_dead_unless_a_restart_is_asked_for():
    book = _random_book(codes=200)
    z = _latents(1, 6, 2, 3, 4)
    start = book.vectors.clone()
    for _ in range(30):
        book.update(z, book(z).indices)
    dead = book.idle == 30
    assert dead.sum() > 150
    assert torch.equal(book.vectors[dead], start[dead])


def test_a_restart_moves_exactly_the_idle_codes_onto_latents_of_the_batch():
    book = _random_book(codes=200)
    z = _latents(1, 6, 2, 3, 4)
    for _ in range(2):
        book.update(z, book(z).indices, restart_after=3)
    dead, before = book.idle == 2, book.vectors.clone()
    assert dead.any()
    book.update(z, book(z).indices, restart_after=3)
    units = functional.normalize(z.movedim(1, -1).reshape(-1, 6), dim=1)
    closeness = (book.vectors @ units.T).max(1).values
    assert (closeness[dead] > 1 - 1e-6).all()
    assert (book.vectors[dead] != before[dead]).any(1).all()
    assert (closeness[~dead] < 1 - 1e-6).any()
    assert not book.idle.any()
    assert len(book.vectors[dead].unique(dim=0)) > 12  # different latents, not one


def test_everything_runs_where_tensors_have_no_values():
    with torch.device("meta"):
        book = Codebook(16, 6)
        z = torch.empty(2, 6, 2, 2, 3)
    book.initialise(z)
    quantised = book(z)
    book.update(z, quantised.indices, restart_after=2)
    assert quantised.vectors.shape == z.shape
    assert quantised.indices.shape == (2, 2, 2, 3)
    assert book.look_up(quantised.indices).shape == z.shape
    assert perplexity(count_codes(quantised.indices, 16)).shape == ()
    assert active_codes(book.usage).shape == ()


def test_fresh_codes_are_different_directions_of_unit_length():
    torch.manual_seed(0)
    vectors = Codebook(512, 16).vectors
    assert torch.allclose(vectors.norm(dim=1), torch.ones(512), atol=1e-6)
    # Mean of 512 unit vectors: each coordinate has variance 1 / (16 · 512); 5 sd.
    assert vectors.mean(0).abs().max() < 5 / math.sqrt(16 * 512)
    assert len(vectors.unique(dim=0)) == 512
