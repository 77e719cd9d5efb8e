"""3D-WGAN-GP: networks, penalty, update order and sampling, against closed forms and counts."""

import copy
import dataclasses
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.methods.base import BadConfig, Batch, Conditions
from cerebench.methods.wgan_gp import (
    DEPARTURES,
    KWON,
    KWON_ASIS,
    PAPER,
    SMOKE,
    WGANGP,
    critic,
    critic_widths,
    generator,
    generator_widths,
    gradient_penalty,
)

# size, generator channels, critic channels, latent -> generator, critic with batch norm, without
COUNTS = {
    "64": (64, 64, 64, 1000, 37_449_280, 11_049_665, 11_047_873),
    "128": (128, 64, 64, 1000, 84_407_872, 11_178_849, 11_176_929),
    "128 narrow": (128, 32, 64, 1000, 37_503_776, 11_178_849, 11_176_929),
    "32": (32, 64, 64, 1000, 17_508_928, 2_643_137, 2_642_369),
    "32 wide": (32, 128, 128, 1000, 37_229_696, 10_529_153, None),
    "tiny 32": (32, 8, 8, 32, 85_192, 43_673, None),
    "tiny 16": (16, 8, 8, 32, 37_512, 9_785, None),
}


def _parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_specification(name):
    size, g, d, latent, count_g, count_d, count_plain = COUNTS[name]
    with torch.device("meta"):
        net = generator(latent, generator_widths(g, size), 1)
        critics = {n: critic(critic_widths(d, size), 1, n, "dense") for n in ("batch", "none")}
        patch = critic(critic_widths(d, size), 1, "batch", "patch")
    assert _parameters(net) == count_g
    assert _parameters(critics["batch"]) == _parameters(patch) == count_d
    assert count_plain is None or _parameters(critics["none"]) == count_plain


def test_buffer_counts_at_64_are_those_of_the_specification():
    with torch.device("meta"):
        g = generator(1000, generator_widths(64, 64), 1)
        d = critic(critic_widths(64, 64), 1, "batch", "patch")
    assert sum(b.numel() for b in g.buffers()) == 1924
    assert sum(b.numel() for b in d.buffers()) == 1795


def test_totals_of_the_presets_are_those_of_the_specification():
    with torch.device("meta"):
        kwon = WGANGP(KWON.config, size=64, classes=("LGG", "HGG"))
        paper = WGANGP(PAPER.config, size=128, classes=("LGG", "HGG"))
    assert sum(map(_parameters, kwon.nets.values())) == 48_498_945
    # 95,586,721 with batch normalisation in the critic, which has 1,920 parameters
    assert sum(map(_parameters, paper.nets.values())) == 95_586_721 - 1_920


@pytest.mark.parametrize("widths", [(7, 5, 3), (12, 9), (4, 6, 2, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_counts_follow_the_closed_forms_for_any_widths(widths, channels):
    latent, w, pairs = 11, widths, list(pairwise(widths))
    g = 64 * latent * w[0] + 2 * w[0] + sum(27 * a * b + 2 * b for a, b in pairs)
    g += 27 * w[-1] * channels + 64 * w[0]
    d = 64 * channels * w[0] + w[0] + sum(64 * a * b + 3 * b for a, b in pairs) + 64 * w[-1] + 1
    with torch.device("meta"):
        assert _parameters(generator(latent, widths, channels)) == g
        assert _parameters(critic(widths, channels, "batch", "dense")) == d


@pytest.mark.parametrize(
    ("size", "expected_g", "expected_d"),
    [
        (128, (1024, 512, 256, 128, 64), (32, 64, 128, 256, 512)),
        (64, (512, 256, 128, 64), (64, 128, 256, 512)),
        (32, (256, 128, 64), (64, 128, 256)),
        (16, (128, 64), (64, 128)),
    ],
)
def test_widths_are_those_of_the_table(size, expected_g, expected_d):
    assert generator_widths(64, size) == expected_g
    assert critic_widths(64, size) == expected_d


def _shapes(net, x):
    shapes = []
    for layer in net:
        x = layer(x)
        if isinstance(layer, nn.Conv3d | nn.Unflatten):
            shapes.append(tuple(x.shape[1:3]))
    return shapes, x


@pytest.mark.parametrize(
    ("size", "g", "d"),
    [
        (
            128,
            [(1024, 4), (512, 8), (256, 16), (128, 32), (64, 64), (1, 128)],
            [(32, 64), (64, 32), (128, 16), (256, 8), (512, 4)],
        ),
        (
            64,
            [(512, 4), (256, 8), (128, 16), (64, 32), (1, 64)],
            [(64, 32), (128, 16), (256, 8), (512, 4)],
        ),
        (32, [(256, 4), (128, 8), (64, 16), (1, 32)], [(64, 16), (128, 8), (256, 4)]),
    ],
)
def test_every_layer_has_the_shape_of_the_specification(size, g, d):
    with torch.device("meta"):
        shapes, x = _shapes(generator(1000, generator_widths(64, size), 1), torch.empty(2, 1000))
        assert shapes == g
        dense, scores = _shapes(critic(critic_widths(64, size), 1, "none", "dense"), x)
        patch, patches = _shapes(critic(critic_widths(64, size), 1, "batch", "patch"), x)
    assert dense == [*d, (1, 1)]
    assert patch == [*d, (1, 2)]
    assert scores.shape == (2, 1, 1, 1, 1)
    assert patches.shape == (2, 1, 2, 2, 2)


def test_layers_are_those_of_the_specification():
    g, d = generator(8, (4, 2), 1), critic((2, 4, 8), 1, "batch", "dense")
    names = [type(layer).__name__ for layer in g]
    stage = ["BatchNorm3d", "ReLU", "UpsampleConv"]
    assert names == ["Linear", "Unflatten", *stage, *stage, "Tanh"]
    assert [layer.bias is not None for layer in g if hasattr(layer, "bias")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    names = [type(layer).__name__ for layer in d]
    stage = ["Conv3d", "BatchNorm3d", "LeakyReLU"]
    assert names == ["Conv3d", "LeakyReLU", *stage, *stage, "Conv3d"]
    assert all(layer.bias is not None for layer in d if isinstance(layer, nn.Conv3d))
    assert {layer.negative_slope for layer in d if isinstance(layer, nn.LeakyReLU)} == {0.2}


def test_generator_output_lies_in_the_range_of_tanh():
    x = generator(8, (4, 2), 1)(50 * torch.randn(2, 8))
    assert x.shape == (2, 1, 16, 16, 16)
    assert x.abs().max() <= 1


def _linear(w):
    return lambda x: (x * w).flatten(1).sum(1)


def _volumes(edge, count=2):
    torch.manual_seed(1)
    return torch.randn(count, 1, edge, edge, edge), torch.randn(count, 1, edge, edge, edge)


@pytest.mark.parametrize(
    ("edge", "slope", "voxel", "volume"),
    [
        (8, 1.0, 9.13565, 0.0),
        (8, math.sqrt(8**3), 0.0, 4677.45),
        (16, 1.0, 9.68994, 0.0),
        (16, 3.0, 9.08447, 40.0),
        (64, 1.0, 9.96098, 0.0),
        (64, math.sqrt(64**3), 0.0, 2_611_210.0),
        (64, 3.0, 9.88316, 40.0),
    ],
)
def test_penalty_of_a_linear_critic_is_that_of_the_table(edge, slope, voxel, volume):
    real, fake = _volumes(edge)
    w = torch.full((1, 1, edge, edge, edge), slope / math.sqrt(edge**3))
    t = torch.rand(2)
    found = {m: 10 * gradient_penalty(_linear(w), real, fake, t, m) for m in ("voxel", "volume")}
    assert found["voxel"].item() == pytest.approx(voxel, rel=1e-5, abs=1e-5)
    assert found["volume"].item() == pytest.approx(volume, rel=1e-5, abs=1e-5)


def test_penalty_is_taken_at_the_mixture_with_one_weight_a_volume():
    real, fake = _volumes(4)
    seen = []

    def spy(x):
        seen.append(x.detach().clone())
        return x.square().flatten(1).sum(1) / 2

    t = torch.tensor([0.25, 1.0])
    penalty = gradient_penalty(spy, real, fake, t)
    mixture = torch.stack([0.25 * real[0] + 0.75 * fake[0], real[1]])
    assert torch.allclose(seen[0], mixture)
    norms = mixture.flatten(1).norm(dim=1)
    assert penalty.item() == pytest.approx((norms - 1).square().mean().item(), rel=1e-5)


def test_penalty_of_a_patch_critic_uses_the_mean_score():
    real, fake = _volumes(8)
    w = torch.full((1, 1, 8, 8, 8), 2 / math.sqrt(8**3))

    def patches(x):  # eight equal scores
        return _linear(w)(x)[:, None].expand(-1, 8)

    assert gradient_penalty(patches, real, fake, torch.rand(2)).item() == pytest.approx(1, rel=1e-5)
    # as in the reference code: the sum has 8 times the slope, voxel by voxel
    as_is = gradient_penalty(patches, real, fake, torch.rand(2), "voxel").item()
    assert as_is == pytest.approx((8 * 2 / math.sqrt(8**3) - 1) ** 2, rel=1e-5)


def test_penalty_reaches_the_weights_by_double_backward():
    real, fake = _volumes(16)
    net = critic((2, 4), 1, "none", "dense")
    gradient_penalty(net, real, fake, torch.rand(2)).backward()
    slopes = [layer.weight.grad.abs().max() for layer in net if isinstance(layer, nn.Conv3d)]
    assert min(slopes) > 0


def test_penalty_is_float32_under_autocast():
    real, fake = _volumes(16)
    net = critic((2, 4), 1, "none", "dense")
    t = torch.rand(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradient_penalty(net, real, fake, t)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, gradient_penalty(net, real, fake, t))


def test_the_best_slope_between_two_points_is_one_plus_distance_over_twice_the_weight():
    distance, weight = 4.0, 10.0
    real = torch.zeros(4, 1, 1, 1, 1, dtype=torch.float64)
    fake = real - distance
    slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([slope], lr=0.02)

    def score(x):
        return (slope * x).flatten(1).sum(1)

    for _ in range(200):
        optimiser.zero_grad()
        gap = score(fake).mean() - score(real).mean()
        (gap + weight * gradient_penalty(score, real, fake, torch.rand(4))).backward()
        optimiser.step()
    assert slope.item() == pytest.approx(1.2, abs=1e-4)


@pytest.mark.parametrize(("norm", "coupled"), [("none", False), ("batch", True)])
def test_only_batch_norm_couples_the_volumes_of_a_batch(norm, coupled):
    torch.manual_seed(0)
    x = torch.randn(3, 1, 16, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(critic((4, 8), 1, norm, "dense")(x)[0].sum(), x)
    assert slope[0].abs().max() > 0
    assert bool((slope[1:] != 0).any()) is coupled


class _Step:
    """Stand-in for the harness that records which network every update belongs to."""

    def __init__(self, log, index):
        self.log, self.index, self.progress = log, index, 0.0

    def batch(self, data, size):
        self.log.append("data")
        return Batch(data[:size], torch.zeros(size, dtype=torch.int64), None, ("a",) * size)

    def randn(self, *shape):
        return torch.randn(shape)

    def rand(self, *shape):
        return torch.rand(shape)

    def descend(self, optimiser, loss):
        self.log.append(optimiser)
        optimiser.zero_grad()
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        loss.backward(inputs=trained)
        optimiser.step()


class _Phase:
    def __init__(self, name, log):
        self.name, self.log_of_updates = name, log

    def steps(self, total):
        return (_Step(self.log_of_updates, i) for i in range(total))

    def log(self, **scalars):
        assert all(math.isfinite(float(v.detach())) for v in scalars.values())


class _Run:
    def __init__(self):
        self.updates, self.tracked = [], {}

    def phase(self, name, **tracked):
        self.tracked |= tracked
        return _Phase(name, self.updates)


def _tiny(preset=SMOKE, **changes):
    torch.manual_seed(0)
    tiny = {n: getattr(SMOKE.config, n) for n in ("latent", "generator_channels", "batch")}
    tiny |= {"critic_channels": 4, "statistics": 2, "steps": 1, "precision": "fp32"}
    config = dataclasses.replace(preset.config, **tiny | changes)
    return WGANGP(config, size=16, classes=("LGG", "HGG"))


def _snapshot(net):
    return copy.deepcopy({k: v for k, v in net.named_parameters()})


@pytest.mark.parametrize(
    ("preset", "critic_updates", "generator_updates"), [(PAPER, 5, 1), (KWON, 1, 5)]
)
def test_updates_alternate_in_the_ratio_of_the_preset(preset, critic_updates, generator_updates):
    method, run = _tiny(preset, steps=2), _Run()
    method.train(torch.randn(4, 1, 16, 16, 16), run)
    names = {id(optimiser): name for name, optimiser in run.tracked.items()}
    order = [u if u == "data" else names[id(u)] for u in run.updates]
    assert order == (["data", "opt_d"] * critic_updates + ["opt_g"] * generator_updates) * 2


@pytest.mark.parametrize("preset", [PAPER, KWON, KWON_ASIS])
def test_every_update_changes_its_own_network_only(preset, monkeypatch):
    method, run = _tiny(preset), _Run()
    nets = {"opt_g": method.nets["generator"], "opt_d": method.nets["critic"]}
    descend = _Step.descend

    def watched(self, optimiser, loss):
        name = next(n for n, o in run.tracked.items() if o is optimiser)
        before = {n: _snapshot(net) for n, net in nets.items()}
        descend(self, optimiser, loss)
        for n, net in nets.items():
            changed = [not torch.equal(p, before[n][k]) for k, p in net.named_parameters()]
            assert any(changed) if n == name else not any(changed)

    monkeypatch.setattr(_Step, "descend", watched)
    method.train(torch.randn(4, 1, 16, 16, 16), run)
    assert run.updates.count("data") == method.config.critic_steps


def test_optimisers_have_the_settings_of_the_preset():
    for preset, lr, betas in ((PAPER, 1e-4, (0.0, 0.9)), (KWON, 2e-4, (0.9, 0.999))):
        run = _Run()
        _tiny(preset).train(torch.randn(4, 1, 16, 16, 16), run)
        for optimiser in run.tracked.values():
            assert (optimiser.defaults["lr"], optimiser.defaults["betas"]) == (lr, betas)


def test_training_moves_the_generator_towards_the_data():
    torch.manual_seed(0)
    method = _tiny(steps=40, critic_steps=1, lr=3e-3, batch=4)
    data = torch.full((4, 1, 16, 16, 16), -0.9)
    z = torch.randn(8, method.config.latent)
    before = (method.nets["generator"](z) - data[:1]).abs().mean().item()
    method.train(data, _Run())
    after = (method.nets["generator"](z) - data[:1]).abs().mean().item()
    assert after < 0.5 * before


def _rngs(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _ask(count):
    return Conditions(torch.zeros(count, dtype=torch.int64))


@pytest.fixture(scope="module")
def trained():
    method = _tiny(steps=2, statistics=100)
    method.train(torch.randn(4, 1, 16, 16, 16), _Run())
    for net in method.nets.values():
        net.eval()
    return method


@torch.no_grad()
def test_a_sample_depends_on_its_generator_alone(trained):
    together = trained.sample(_ask(3), _rngs(1, 2, 3))
    alone = torch.cat([trained.sample(_ask(1), _rngs(seed)) for seed in (1, 2, 3)])
    assert together.shape == (3, 1, 16, 16, 16)
    assert together.dtype == torch.float32
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(together, trained.sample(_ask(3), _rngs(1, 2, 3)))
    assert not torch.allclose(together[:1], trained.sample(_ask(1), _rngs(4)), atol=1e-3)


@torch.no_grad()
def test_batch_statistics_are_those_of_prior_noise(trained):
    stem, norm = trained.nets["generator"][0], trained.nets["generator"][2]
    torch.manual_seed(5)
    levels = stem(torch.randn(2000, trained.config.latent)).unflatten(1, (-1, 64))
    spread = levels.var(dim=(0, 2)).sqrt()
    assert norm.momentum == 1 / 100  # the last of 100 batches with equal weights
    assert torch.allclose(norm.running_mean, levels.mean(dim=(0, 2)), atol=0.1 * spread.max())
    assert torch.allclose(norm.running_var, levels.var(dim=(0, 2)), rtol=0.2)


@pytest.mark.parametrize("size", [8, 48, 100])
def test_a_size_that_is_no_power_of_two_is_refused_with_the_next_step(size):
    with pytest.raises(BadConfig, match=rf"size {size}.*Set --size 16, 32, 64 or 128"):
        PAPER.config.for_size(size)


def test_impossible_settings_are_refused():
    for changes, text in (
        ({"head": "wide"}, "wgan-gp.head must be dense or patch, got 'wide'"),
        ({"critic_norm": "layer"}, "wgan-gp.critic_norm must be none or batch"),
        ({"penalty_norm": "l1"}, "wgan-gp.penalty_norm must be volume or voxel"),
    ):
        with pytest.raises(BadConfig, match=text):
            WGANGP(dataclasses.replace(PAPER.config, **changes), size=64, classes=("LGG", "HGG"))
    with pytest.raises(BadConfig, match="critic_channels = 1 leaves no channel at size 256"):
        dataclasses.replace(PAPER.config, critic_channels=1).for_size(256)


def test_presets_hold_the_values_of_their_sources():
    paper, kwon = SimpleNamespace(**vars(PAPER.config)), SimpleNamespace(**vars(KWON.config))
    assert (PAPER.size, KWON.size, WGANGP.presets["quick"].size, SMOKE.size) == (128, 64, 32, 16)
    assert (paper.steps, paper.batch, paper.latent, paper.penalty) == (12_000, 4, 1000, 10.0)
    assert (paper.head, paper.critic_norm, paper.penalty_norm) == ("dense", "none", "volume")
    assert (kwon.steps, kwon.head, kwon.critic_norm) == (12_000, "patch", "batch")
    assert dataclasses.replace(KWON_ASIS.config, penalty_norm="volume") == KWON.config
    assert WGANGP.departures == DEPARTURES


@pytest.mark.slow
def test_one_step_of_the_paper_preset_trains_at_128(tmp_path):
    config = dataclasses.replace(PAPER.config, steps=1, batch=1, statistics=1)
    with seeded(0, "init"):
        method = WGANGP(config, size=128, classes=("LGG", "HGG"))
    before = {n: [p.clone() for p in net.parameters()] for n, net in method.nets.items()}
    volume = np.random.RandomState(0).uniform(-1, 1, (1, 1, 128, 128, 128)).astype(np.float16)
    cost = train(
        method, TrainingData(volume, None, [0], ["a"], "cpu"), tmp_path, seed=0, scope="LGG"
    )
    assert cost.steps == {"adversarial": 1, "statistics": 1}
    assert cost.parameters == {"generator": 84_407_872, "critic": 11_176_929}
    for name, net in method.nets.items():
        assert all(torch.isfinite(p).all() for p in net.parameters())
        pairs = zip(before[name], net.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs)
