"""Codebook of 3D-VQGAN: closed forms, moving sums, order of axes, first rows and dead codes."""

import math

import pytest
import torch

from cerebench.methods.vqgan.codebook import Codebook


def _codebook(vectors, decay=0.99):
    book = Codebook(*vectors.shape, decay=decay)
    book.vectors.copy_(vectors)
    book.sums.copy_(vectors)
    return book


def _latents(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _channels_first(rows):
    """Put N rows of dim numbers on a 1 x 1 x N grid of one volume."""
    return rows.T[None, :, None, None, :].clone()


@pytest.fixture
def triple():
    """Three codes in the plane and three latents; the middle code is the nearest of none."""
    book = _codebook(torch.tensor([[0.0, 0.0], [10.0, 0.0], [4.0, 0.0]]), decay=0.9)
    z = _channels_first(torch.tensor([[1.0, 0.0], [1.0, 2.0], [3.0, 1.0]]))
    return book, z


def test_worked_example_is_quantised_to_the_nearest_codes(triple):
    book, z = triple
    vectors, indices, commitment = book(z)
    assert indices.dtype == torch.int64
    assert indices.tolist() == [[[[0, 0, 2]]]]
    assert vectors[0, :, 0, 0].T.tolist() == [[0, 0], [0, 0], [4, 0]]
    # squared differences (1, 0), (1, 4), (1, 1), of 6 elements
    assert commitment.item() == pytest.approx(8 / 6)


def test_gradients_pass_the_codes_unchanged_and_the_commitment_pulls_latents_alone(triple):
    book, z = triple
    z.requires_grad_()
    weights = _latents(*z.shape)
    (book(z).vectors * weights).sum().backward()
    assert torch.equal(z.grad, weights)
    z.grad = None
    book(z).commitment.backward()
    expected = torch.tensor([[1.0, 0.0], [1.0, 2.0], [-1.0, 1.0]]) * 2 / 6
    assert torch.allclose(z.grad[0, :, 0, 0].T, expected)


def test_worked_example_moves_by_moving_counts_and_sums(triple):
    book, z = triple
    book.update(z, book(z).indices)
    # n = 2, 0, 1 and sums of latents (2, 2), (0, 0), (3, 1); counts begin at 1, sums at the codes
    counts = [0.9 + 0.1 * 2, 0.9, 0.9 + 0.1]
    sums = [(0.2, 0.2), (9.0, 0.0), (3.6 + 0.3, 0.1)]
    assert book.usage.tolist() == pytest.approx(counts)
    total = sum(counts)
    for code, (count, both) in enumerate(zip(counts, sums, strict=True)):
        smoothed = (count + 1e-7) / (total + 3e-7) * total
        expected = [s / smoothed for s in both]
        assert book.vectors[code].tolist() == pytest.approx(expected, rel=1e-5)
    assert book.vectors[1, 0].item() == pytest.approx(10, rel=1e-5)  # unused: stays
    assert book.idle.tolist() == [0, 1, 0]


def test_moving_averages_follow_a_plain_loop():
    book, plain = _codebook(_latents(6, 4)), []
    n, m = [1.0] * 6, [row.double() for row in book.vectors]
    for seed in range(5):
        z = _latents(2, 4, 3, 2, 2, seed=10 + seed)
        indices = book(z).indices
        book.update(z, indices)
        owners = [[] for _ in range(6)]
        for b, d, h, w in torch.cartesian_prod(*map(torch.arange, indices.shape)):
            owners[indices[b, d, h, w]].append(z[b, :, d, h, w].double())
        for k, members in enumerate(owners):
            n[k] = 0.99 * n[k] + 0.01 * len(members)
            m[k] = 0.99 * m[k] + 0.01 * sum(members, torch.zeros(4, dtype=torch.float64))
        total = sum(n)
        plain = [m[k] / ((n[k] + 1e-7) / (total + 6e-7) * total) for k in range(6)]
    assert torch.allclose(book.vectors.double(), torch.stack(plain), atol=1e-5)


def test_tokens_belong_to_positions_and_not_to_channels():
    """Rows equal to the latents of all positions give the latents back, not their transpose."""
    edge, dim = 2, 8  # as many channels as positions, where the reshape of the code would fit too
    z = _latents(1, dim, edge, edge, edge)
    book = _codebook(z[0].flatten(1).T.clone())
    vectors, indices, commitment = book(z)
    assert indices.flatten().tolist() == list(range(8))
    assert torch.equal(vectors, z)
    assert commitment.item() == 0
    assert not torch.allclose(z[0].flatten(1), z[0].flatten(1).T, atol=0.1)


def test_tokens_move_with_their_positions_and_do_not_depend_on_the_order_of_channels():
    book, z = _codebook(_latents(20, 8, seed=2)), _latents(1, 8, 2, 2, 2)
    indices = book(z).indices
    places = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    moved = z.flatten(2)[..., places].view_as(z)
    assert torch.equal(book(moved).indices.flatten(), indices.flatten()[places])
    assert not torch.equal(book(moved).indices, indices)
    swapped = _codebook(book.vectors[:, places])
    assert torch.equal(swapped(z[:, places]).indices, indices)


def test_lengths_of_codes_count():
    """A squared distance, not a cosine: the nearer code wins against the better direction."""
    book = _codebook(torch.tensor([[100.0, 0.0], [0.9, 0.9]]))
    assert book(_channels_first(torch.tensor([[1.0, 0.1]]))).indices.item() == 1


def test_looking_up_the_tokens_gives_the_quantised_vectors():
    book, z = _codebook(_latents(9, 5, seed=3)), _latents(2, 5, 2, 3, 4)
    vectors, indices, _ = book(z)
    assert torch.equal(book.look_up(indices), vectors)


def test_nothing_moves_without_an_update_in_any_mode():
    book, z = _codebook(_latents(9, 5)), _latents(2, 5, 2, 2, 2)
    before = {key: value.clone() for key, value in book.state_dict().items()}
    for mode in (True, False):
        book.train(mode)(z)
    for key, value in book.state_dict().items():
        assert torch.equal(value, before[key])


def test_autocast_does_not_change_the_tokens():
    book, z = _codebook(1 + 0.05 * _latents(64, 16, seed=4)), 1 + 0.05 * _latents(2, 16, 4, 4, 4)
    expected = book(z).indices
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(book(z).indices, expected)


def test_first_codes_are_different_latents_of_the_batch():
    book, z = Codebook(20, 4), _latents(2, 4, 2, 3, 4)
    book.initialise(z)
    rows = z.movedim(1, -1).reshape(-1, 4)
    # Not by matrix products, which leave up to 2e-3 between equal vectors.
    distances = torch.cdist(book.vectors, rows, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.amin(1).max() < 1e-6
    assert len(distances.argmin(1).unique()) == 20
    assert torch.equal(book.sums, book.vectors)
    assert book.usage.tolist() == [1] * 20


def test_too_few_latents_are_repeated_with_a_little_noise():
    dim, codes = 16, 400
    book, z = Codebook(codes, dim), _latents(1, dim, 2, 2, 1)
    torch.manual_seed(0)
    book.initialise(z)
    rows = z.movedim(1, -1).reshape(-1, dim)
    owners = torch.cdist(book.vectors, rows).argmin(1)
    assert torch.bincount(owners).tolist() == [100] * 4
    noise = book.vectors - rows[owners]
    assert noise.std().item() == pytest.approx(0.01 / math.sqrt(dim), rel=0.05)
    assert len(book.vectors.unique(dim=0)) == codes


def test_unused_codes_restart_only_where_asked_and_after_their_time():
    z = _latents(1, 4, 2, 2, 2)
    far = torch.full((1, 4), 50.0)
    vectors = torch.cat((z[0].flatten(1).T[:3], far))
    resting, restarting = _codebook(vectors), _codebook(vectors)
    for _ in range(3):
        assert torch.allclose(restarting.vectors[3], far[0], rtol=1e-4)
        resting.update(z, resting(z).indices)
        restarting.update(z, restarting(z).indices, restart_after=3)
    assert torch.allclose(resting.vectors[3], far[0], rtol=1e-4)
    assert torch.cdist(restarting.vectors[3:], z[0].flatten(1).T).min() < 1e-6
    assert torch.equal(restarting.sums[3], restarting.vectors[3])
    assert restarting.usage[3] == 1
    assert torch.equal(restarting.vectors[:3], resting.vectors[:3])
    assert restarting.idle[3] == 0
