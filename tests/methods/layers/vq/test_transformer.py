"""Transformer of 3D-VQGAN-cond: counts, causality, first loss, decay groups and sampling."""

import math

import pytest
import torch
from scipy import stats
from torch.nn import functional
from torch.optim import AdamW

from cerebench.methods.base import BadConfig
from cerebench.methods.layers.vq.transformer import (
    Transformer,
    class_tokens,
    decay_groups,
    draw,
    shift,
)

CODES = 12
VOCABULARY = CODES + 3  # codes, mask, two classes
LENGTH = 16
PAPER = (1027, 512, 1024, 24, 16)

# vocabulary, length, width, layers, heads -> parameters
COUNTS = {
    PAPER: 304_939_008,
    (1027, 1024, 1024, 24, 16): 305_463_296,
    (515, 512, 1024, 24, 16): 303_890_432,
    (512, 512, 1024, 24, 16): 303_884_288,
    (513, 512, 1024, 24, 16): 303_886_336,
    (259, 512, 256, 6, 8): 5_002_752,
    (131, 512, 128, 4, 4): 892_416,
    (67, 64, 64, 2, 2): 112_768,
}


def _network(std=0.15, seed=0, width=32, layers=2, heads=4):
    """A network whose logits depend strongly on every input, unlike a fresh one."""
    torch.manual_seed(seed)
    net = Transformer(VOCABULARY, LENGTH, width, layers, heads).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(std * torch.randn_like(p))
    return net


def _uniforms(batch, length=LENGTH, seed=1):
    return torch.rand(batch, length, generator=torch.Generator().manual_seed(seed))


def _starts(batch):
    return class_tokens(torch.arange(batch) % 2, CODES)


def _loss(net, labels, tokens, codes=CODES):
    logits = net(shift(labels, tokens, codes))
    return functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())


def _train(net, labels, tokens, steps):
    optimiser = AdamW(decay_groups(net, 0.01), lr=3e-3, betas=(0.9, 0.95))
    for _ in range(steps):
        optimiser.zero_grad()
        _loss(net, labels, tokens).backward()
        optimiser.step()
    return net.eval()


def _parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("shape", COUNTS, ids=str)
def test_parameter_counts_are_those_of_the_specification(shape):
    vocabulary, length, width, layers, _ = shape
    with torch.device("meta"):
        net = Transformer(*shape)
    formula = layers * (12 * width**2 + 13 * width) + (2 * vocabulary + length + 2) * width
    assert _parameters(net) == formula == COUNTS[shape]


def test_parts_of_the_published_size_have_the_counts_of_the_specification():
    with torch.device("meta"):
        net = Transformer(*PAPER)
    assert [_parameters(block) for block in net.blocks] == [12_596_224] * 24
    assert _parameters(net.tokens) == _parameters(net.head) == 1_051_648
    assert net.positions.numel() == 512 * 1024
    assert _parameters(net.norm) == 2048
    assert net.tokens.weight is not net.head.weight


def test_forward_at_the_published_size_traces_without_memory():
    with torch.device("meta"):
        logits = Transformer(*PAPER)(torch.zeros(2, 512, dtype=torch.int64))
    assert logits.shape == (2, 512, 1027)
    assert logits.is_meta


def test_initial_values_follow_the_specification():
    torch.manual_seed(0)
    net = Transformer(259, 64, 256, 2, 8)
    assert not net.positions.any()
    for name, p in net.named_parameters():
        if p.ndim == 2 and name != "positions":
            assert p.std().item() == pytest.approx(0.02, rel=0.02), name
            assert abs(p.mean().item()) < 0.001, name
        elif name.endswith("bias"):
            assert not p.any(), name
        elif "norm" in name:
            assert (p == 1).all(), name


def test_blocks_are_those_of_a_written_out_pre_norm_transformer():
    net = _network(layers=1, heads=4)
    tokens = torch.randint(VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))

    def dense(x, layer):
        return x @ layer.weight.T + layer.bias

    def norm(x, layer):
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * layer.weight + layer.bias

    (block,), a = net.blocks, net.blocks[0].attention
    x = net.tokens.weight[tokens] + net.positions[:9]
    y = norm(x, block.attention_norm)
    q, k, v = (dense(y, f).view(2, 9, 4, 8).transpose(1, 2) for f in (a.query, a.key, a.value))
    scores = q @ k.transpose(2, 3) / math.sqrt(8) + torch.full((9, 9), -math.inf).triu(1)
    x = x + dense((scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 9, 32), a.out)
    hidden = dense(norm(x, block.mlp_norm), block.mlp[0])
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    x = x + dense(gelu, block.mlp[2])
    assert torch.allclose(net(tokens), norm(x, net.norm) @ net.head.weight.T, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("changed", [0, 1, 7, LENGTH - 1])
def test_an_input_alters_no_earlier_logit_and_every_later_one(changed):
    net = _network()
    tokens = torch.arange(LENGTH).remainder(CODES).unsqueeze(0)
    tokens[:, 0] = class_tokens(torch.tensor([0]), CODES)
    other = tokens.clone()
    other[:, changed] = class_tokens(torch.tensor([1]), CODES) if changed == 0 else CODES
    difference = (net(tokens) - net(other)).abs().amax(dim=(0, 2))
    assert (difference[:changed] == 0).all()
    assert (difference[changed:] > 1e-3).all()


@torch.no_grad()
def test_order_of_the_history_matters_through_the_positions():
    net = _network()
    tokens = torch.tensor([[13, 1, 2, 3, 4]])
    swapped = torch.tensor([[13, 2, 1, 3, 4]])
    assert (net(tokens) - net(swapped))[:, -1].abs().max() > 1e-3
    net.positions.zero_()
    net.blocks = net.blocks[:1]  # one block sees its history as a set, but for the positions
    assert torch.allclose(net(tokens)[:, -1], net(swapped)[:, -1], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1027, 512, 1024, 1, 16), (259, 512, 256, 6, 8)], ids=str)
def test_first_loss_is_that_of_the_specification(shape):
    torch.manual_seed(0)
    vocabulary, length, width, *_ = shape
    codes = vocabulary - 3
    net = Transformer(*shape).eval()
    tokens = torch.randint(codes, (2, length))
    loss = _loss(net, torch.tensor([0, 1]), tokens, codes).item()
    assert loss == pytest.approx(math.log(vocabulary) + 0.0002 * width, abs=0.15)


def test_decay_groups_partition_the_parameters_of_the_published_size():
    with torch.device("meta"):
        net = Transformer(*PAPER)
    decaying, free = decay_groups(net, 0.01)
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert len(decaying["params"]) == 145
    assert len(free["params"]) == 244
    assert sum(p.numel() for p in decaying["params"]) == 303_041_536
    assert sum(p.numel() for p in free["params"]) == 1_897_472
    grouped = [id(p) for p in decaying["params"] + free["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in net.parameters()}


def test_only_weights_of_linear_layers_shrink_where_there_is_no_gradient():
    net = _network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = AdamW(decay_groups(net, 0.5), lr=0.1)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimiser.step()
    for name, p in net.named_parameters():
        linear = p.ndim == 2 and name not in ("tokens.weight", "positions")
        assert torch.allclose(p, before[name] * (0.95 if linear else 1.0)), name


def test_shift_puts_the_class_token_in_front_and_drops_the_last_token():
    tokens = torch.tensor([[4, 5, 6], [7, 8, 9]])
    expected = torch.tensor([[13, 4, 5], [14, 7, 8]])
    assert torch.equal(shift(torch.tensor([0, 1]), tokens, CODES), expected)
    assert torch.equal(class_tokens(torch.tensor([1, 0]), 1024), torch.tensor([1026, 1025]))


def test_one_sequence_is_learned_by_heart():
    torch.manual_seed(0)
    tokens = torch.randint(CODES, (1, LENGTH))
    labels = torch.tensor([0])
    net = _train(Transformer(VOCABULARY, LENGTH, 32, 2, 4), labels, tokens, 120)
    assert _loss(net, labels, tokens) < 0.05


def test_each_class_returns_the_sequence_it_was_taught():
    torch.manual_seed(0)
    tokens, labels = torch.randint(CODES, (2, LENGTH)), torch.tensor([0, 1])
    assert not torch.equal(*tokens)
    net = _train(Transformer(VOCABULARY, LENGTH, 32, 2, 4), labels, tokens, 150)
    starts = class_tokens(torch.tensor([1, 0, 1]), CODES)
    got = net.generate(starts, _uniforms(3), codes=CODES, temperature=0)
    assert torch.equal(got, tokens[[1, 0, 1]])


def _logits_of_steps(net, *arguments, **settings):
    """Return drawn tokens and the logits of every step, (B, steps, V)."""
    steps = []
    handle = net.head.register_forward_hook(lambda _m, _i, logits: steps.append(logits.detach()))
    drawn = net.generate(*arguments, **settings)
    handle.remove()
    return drawn, torch.cat(steps, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("length", [LENGTH, 5])
def test_cached_logits_equal_uncached_ones(length):
    net, labels = _network(layers=3), torch.tensor([0, 1, 0])
    uniforms = _uniforms(3, length)
    drawn, cached = _logits_of_steps(net, class_tokens(labels, CODES), uniforms, codes=CODES)
    uncached = net(shift(labels, drawn, CODES))
    assert uncached.std() > 0.5  # else every network would pass
    assert torch.allclose(cached, uncached, atol=1e-4, rtol=0)


@torch.no_grad()
def test_cached_logits_follow_uncached_ones_under_autocast():
    net, labels = _network(layers=3), torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        drawn, cached = _logits_of_steps(net, class_tokens(labels, CODES), _uniforms(2), codes=12)
        uncached = net(shift(labels, drawn, CODES))
    assert cached.dtype == uncached.dtype == torch.bfloat16
    error = (cached.float() - uncached.float()).square().mean().sqrt()
    assert error < 0.05 * uncached.float().std()


@torch.no_grad()
def test_tokens_are_those_of_the_plain_loop():
    net, uniforms = _network(), _uniforms(4)
    sequence = _starts(4).unsqueeze(1)
    for i in range(LENGTH):
        logits = net(sequence)[:, -1, :CODES]
        cumulative = logits.softmax(-1).cumsum(-1)
        token = (cumulative <= uniforms[:, i : i + 1]).sum(1, keepdim=True)
        sequence = torch.cat((sequence, token), dim=1)
    assert torch.equal(net.generate(_starts(4), uniforms, codes=CODES), sequence[:, 1:])


def test_a_volume_takes_exactly_its_number_of_steps_of_one_token():
    net = _network()
    calls = []
    net.blocks[0].register_forward_hook(lambda _m, inputs, _o: calls.append(inputs[0].shape))
    drawn = net.generate(_starts(2), _uniforms(2), codes=CODES)
    assert calls == [(2, 1, 32)] * LENGTH
    assert drawn.shape == (2, LENGTH)
    assert drawn.dtype == torch.int64


def test_512_tokens_take_512_steps():
    torch.manual_seed(0)
    net = Transformer(VOCABULARY, 512, 16, 1, 2).eval()
    drawn, logits = _logits_of_steps(net, _starts(1), _uniforms(1, 512), codes=CODES)
    assert drawn.shape == (1, 512)
    assert logits.shape == (1, 512, VOCABULARY)
    assert len(drawn.unique()) == CODES


@pytest.mark.parametrize("temperature", [0.0, 1.0, 100.0])
def test_mask_and_class_tokens_are_never_drawn_even_where_they_are_the_most_probable(temperature):
    net = _network()
    net.norm.bias.data[0] = 50.0
    net.head.weight.data[CODES:, 0] = 1.0
    net.head.weight.data[:CODES, 0] = 0.0
    settings = {"codes": CODES, "temperature": temperature}
    drawn, logits = _logits_of_steps(net, _starts(32), _uniforms(32), **settings)
    assert (logits.argmax(-1) >= CODES).all()
    assert drawn.min() >= 0
    assert drawn.max() < CODES


def test_a_sequence_does_not_depend_on_the_batch_it_is_drawn_in():
    net, starts, uniforms = _network(), _starts(7), _uniforms(7)
    together = net.generate(starts, uniforms, codes=CODES)
    alone = [net.generate(starts[i : i + 1], uniforms[i : i + 1], codes=CODES)[0] for i in range(7)]
    assert torch.equal(together, torch.stack(alone))
    reverse = net.generate(starts.flip(0), uniforms.flip(0), codes=CODES)
    assert torch.equal(together, reverse.flip(0))
    assert len(together.unique(dim=0)) == 7


def test_a_token_depends_on_its_own_random_number_and_those_before():
    net, uniforms = _network(), _uniforms(1)
    other = uniforms.clone()
    other[:, 8] = (other[:, 8] + 0.5) % 1
    first, second = (net.generate(_starts(1), u, codes=CODES) for u in (uniforms, other))
    assert torch.equal(first[:, :8], second[:, :8])
    assert first[0, 8] != second[0, 8]


def test_sampling_leaves_parameters_and_global_random_state_alone():
    net = _network()
    before = [p.detach().clone() for p in net.parameters()]
    state = torch.get_rng_state()
    drawn = net.generate(_starts(2), _uniforms(2), codes=CODES)
    assert torch.equal(drawn, net.generate(_starts(2), _uniforms(2), codes=CODES))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


def test_pairs_of_drawn_tokens_have_the_probabilities_of_the_network():
    torch.manual_seed(0)
    codes, n = 4, 20_000
    net = Transformer(codes + 3, 2, 16, 1, 2).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.25 * torch.randn_like(p))
        start = class_tokens(torch.tensor([1]), codes)
        prefixes = torch.stack((start.expand(codes), torch.arange(codes)), dim=1)
        logits = net(prefixes)[..., :codes]
    first, second = logits[0, 0].softmax(-1), logits[:, 1].softmax(-1)
    joint = (first.unsqueeze(1) * second).double()
    assert (joint * n).min() > 20  # chi-squared holds
    assert second.std(0).max() > 0.05  # the second token depends on the first
    drawn = net.generate(start.expand(n), _uniforms(n, 2), codes=codes)
    counts = torch.bincount(drawn[:, 0] * codes + drawn[:, 1], minlength=codes**2)
    assert stats.chisquare(counts, (joint / joint.sum() * n).flatten()).pvalue > 0.01


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_random_draws_have_the_probabilities_of_the_softmax(temperature):
    n = 50_000
    logits = torch.tensor([0.0, 1.5, -1.0, 0.7, 0.1, -0.4])
    drawn = draw(logits.expand(n, -1), _uniforms(1, n)[0], temperature)
    expected = (logits.double() / temperature).softmax(-1) * n
    assert stats.chisquare(torch.bincount(drawn, minlength=6), expected).pvalue > 0.01


def test_evenly_spaced_numbers_give_every_id_its_share():
    n = 10_000
    logits = torch.tensor([0.0, 1.5, -1.0, 0.7, 0.1, -0.4])
    drawn = draw(logits.expand(n, -1), (torch.arange(n) + 0.5) / n)
    counts = torch.bincount(drawn, minlength=6)
    assert (counts - logits.softmax(-1) * n).abs().max() <= 1
    assert (drawn.diff() >= 0).all()


def test_the_extreme_random_numbers_give_ids_that_are_possible():
    logits = torch.tensor([-math.inf, 0.0, 1.0, -math.inf]).expand(2, -1)
    edges = torch.tensor([0.0, 1 - 2**-24])
    assert draw(logits, edges).tolist() == [1, 2]
    assert draw(logits, edges, top_k=1).tolist() == [2, 2]


@pytest.mark.parametrize("filters", [{"top_k": 1}, {"top_p": 1e-6}])
def test_the_narrowest_filter_is_greedy(filters):
    net, starts, uniforms = _network(), _starts(6), _uniforms(6)
    greedy = net.generate(starts, uniforms, codes=CODES, temperature=0)
    assert torch.equal(net.generate(starts, uniforms, codes=CODES, **filters), greedy)
    assert not torch.equal(net.generate(starts, uniforms, codes=CODES), greedy)


def test_greedy_tokens_are_the_most_probable_and_ignore_the_random_numbers():
    net, starts = _network(), _starts(2)
    drawn, logits = _logits_of_steps(net, starts, _uniforms(2), codes=CODES, temperature=0)
    assert torch.equal(drawn, logits[..., :CODES].argmax(-1))
    assert torch.equal(
        drawn, net.generate(starts, _uniforms(2, seed=9), codes=CODES, temperature=0)
    )


# probabilities 0.4, 0.3, 0.15, 0.1, 0.05 in another order -> ids that may be drawn
@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 4}, [0, 1, 3, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.39}, [3]),
        ({"top_p": 0.41}, [1, 3]),
        ({"top_p": 0.84}, [1, 3, 4]),
        ({"top_p": 0.86}, [0, 1, 3, 4]),
        ({"top_k": 3, "top_p": 0.41}, [1, 3]),
        ({"top_k": 2, "top_p": 0.84}, [1, 3]),
    ],
    ids=str,
)
def test_filters_keep_the_right_ids_in_the_right_proportions(filters, kept):
    n = 20_000
    probabilities = torch.tensor([0.1, 0.3, 0.05, 0.4, 0.15])
    drawn = draw(probabilities.log().expand(n, -1), _uniforms(1, n)[0], **filters)
    counts = torch.bincount(drawn, minlength=5)
    assert counts.nonzero().flatten().tolist() == kept
    share = probabilities[kept].double()
    if len(kept) > 1:
        assert stats.chisquare(counts[kept], share / share.sum() * n).pvalue > 0.01


def test_a_filter_keeps_only_so_many_of_equally_probable_ids():
    drawn = draw(torch.zeros(1000, 8), _uniforms(1, 1000)[0], top_k=3)
    assert len(drawn.unique()) == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"codes": 0}, "codes is 0"),
        ({"codes": VOCABULARY + 1}, "the vocabulary"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
    ids=str,
)
def test_impossible_settings_of_the_sampler_are_refused(setting, message):
    with pytest.raises(BadConfig, match=message):
        _network().generate(_starts(1), _uniforms(1), **{"codes": CODES, **setting})


@pytest.mark.parametrize(
    ("uniforms", "message"),
    [
        (torch.zeros(2, LENGTH), "for 1 sequences"),
        (torch.zeros(LENGTH), "for 1 sequences"),
        (torch.zeros(1, LENGTH + 1), "positions for 16"),
        (torch.ones(1, LENGTH), r"outside \[0, 1\)"),
        (torch.full((1, LENGTH), math.nan), r"outside \[0, 1\)"),
    ],
)
def test_wrong_random_numbers_are_refused(uniforms, message):
    with pytest.raises(ValueError, match=message):
        _network().generate(_starts(1), uniforms, codes=CODES)


def test_a_diverged_network_is_not_sampled_in_silence():
    net = _network()
    net.head.weight.data[3] = math.nan
    with pytest.raises(FloatingPointError, match="NaN"):
        net.generate(_starts(1), _uniforms(1), codes=CODES)


def test_sequences_longer_than_the_positions_and_uneven_heads_are_refused():
    with pytest.raises(ValueError, match="17 tokens"):
        _network()(torch.zeros(1, LENGTH + 1, dtype=torch.int64))
    with pytest.raises(BadConfig, match="5 heads do not divide a width of 32"):
        Transformer(VOCABULARY, LENGTH, 32, 1, 5)
