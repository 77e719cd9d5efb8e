"""3D-alpha-WGAN: networks, losses, update order and sampling, against closed forms and counts."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from cerebench.benchmark.stages import training
from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.methods.alpha_wgan import (
    DEPARTURES,
    PAPER,
    QUICK,
    REFERENCE,
    SMOKE,
    SN,
    AlphaWGAN,
    code_critic,
    decoder,
    encoder,
)
from cerebench.methods.base import BadConfig, Conditions
from cerebench.methods.layers.adversarial import (
    critic,
    critic_widths,
    generator_widths,
    gradient_penalty,
)

# size, generator and critic channels, latent, units -> generator, critic, encoder, code critic
COUNTS = {
    "64": (64, 64, 64, 1000, 4096, 37_416_512, 11_049_665, 43_785_896, 20_901_889),
    "128": (128, 64, 64, 1000, 4096, 84_342_336, 11_178_849, 43_915_080, 20_901_889),
    "128 narrow": (128, 32, 64, 1000, 4096, 37_471_008, 11_178_849, 43_915_080, 20_901_889),
    "32": (32, 64, 64, 1000, 4096, 17_492_544, 2_643_137, 19_011_752, 20_901_889),
    "32 wide": (32, 128, 128, 1000, 4096, 37_196_928, 10_529_153, 43_265_384, 20_901_889),
    "tiny 32": (32, 8, 8, 32, 64, 83_144, 43_673, 107_192, 6_593),
    "tiny 16": (16, 8, 8, 32, 64, 36_488, 9_785, 41_560, 6_593),
}


def _parameters(net):
    return sum(p.numel() for p in net.parameters())


def _buffers(net):
    return sum(b.numel() for b in net.buffers())


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_specification(name):
    size, g, d, latent, units, *expected = COUNTS[name]
    changes = {"generator_channels": g, "critic_channels": d, "latent": latent, "code_units": units}
    with torch.device("meta"):
        method = AlphaWGAN(
            dataclasses.replace(PAPER.config, **changes), size=size, classes=("LGG", "HGG")
        )
    order = ("generator", "critic", "encoder", "code_critic")
    assert [_parameters(method.nets[n]) for n in order] == expected


def test_totals_and_buffers_are_those_of_the_specification():
    with torch.device("meta"):
        kwon = AlphaWGAN(REFERENCE.config, size=64, classes=("LGG", "HGG"))
        paper = AlphaWGAN(PAPER.config, size=128, classes=("LGG", "HGG"))
    assert sum(map(_parameters, kwon.nets.values())) == 113_153_962
    assert sum(map(_parameters, paper.nets.values())) == 160_338_154
    buffers = {name: _buffers(net) for name, net in kwon.nets.items()}
    assert buffers == {"encoder": 1795, "generator": 1924, "critic": 1795, "code_critic": 16_386}


@pytest.mark.parametrize("widths", [(7, 5, 3), (12, 9), (4, 6, 2, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_counts_follow_the_closed_forms_for_any_widths(widths, channels):
    latent, units, w, pairs = 11, 13, widths, list(pairwise(widths))
    g = 64 * latent * w[0] + 2 * w[0] + sum(27 * a * b + 2 * b for a, b in pairs)
    e = 64 * channels * w[0] + w[0] + sum(64 * a * b + 3 * b for a, b in pairs)
    c = latent * units + units**2 + 2 * 3 * units + units + 1
    with torch.device("meta"):
        assert _parameters(decoder(latent, widths, channels, "batch")) == g + 27 * w[-1] * channels
        found = _parameters(encoder(widths, channels, latent, "batch"))
        assert found == e + 64 * w[-1] * latent + latent
        assert _parameters(code_critic(latent, units, "batch")) == c


@pytest.mark.parametrize(
    ("size", "stages"),
    [
        (128, [(32, 64), (64, 32), (128, 16), (256, 8), (512, 4), (1000, 1)]),
        (64, [(64, 32), (128, 16), (256, 8), (512, 4), (1000, 1)]),
        (32, [(64, 16), (128, 8), (256, 4), (1000, 1)]),
    ],
)
def test_shapes_are_those_of_the_table(size, stages):
    with torch.device("meta"):
        x, found = torch.zeros(2, 1, size, size, size), []
        for layer in encoder(critic_widths(64, size), 1, 1000, "batch"):
            x = layer(x)
            if isinstance(layer, nn.Conv3d):
                found.append(tuple(x.shape[1:3]))
        assert found == stages
        assert x.shape == (2, 1000)
        volumes = decoder(1000, generator_widths(64, size), 1, "batch")(x)
        assert volumes.shape == (2, 1, size, size, size)
        scores = critic(critic_widths(64, size), 1, "batch")(volumes)
        assert scores.shape == (2, 1, 1, 1, 1)
        assert code_critic(1000, 4096, "batch")(x).shape == (2, 1)


def test_the_first_layer_is_the_transposed_convolution_of_one_voxel():
    torch.manual_seed(0)
    net = decoder(6, (8, 4), 1, "batch")
    plain = nn.ConvTranspose3d(6, 8, 4, bias=False)
    bound = (8 * 4**3) ** -0.5
    for weight in (net[0].weight, plain.weight):  # the same range at the start
        assert 0.98 * bound < weight.abs().max() <= bound
    plain.weight.data = net[0].weight.data.T.reshape(6, 8, 4, 4, 4).clone()
    z = torch.randn(3, 6)
    expected = plain(z[..., None, None, None])
    assert torch.allclose(net[1](net[0](z)), expected, atol=1e-6)


def test_layers_are_those_of_the_specification():
    names = [type(layer).__name__ for layer in code_critic(4, 8, "batch")]
    stage = ["Linear", "BatchNorm1d", "LeakyReLU"]
    assert names == [*stage, *stage, "Linear"]
    names = [type(layer).__name__ for layer in encoder((4, 8), 1, 6, "batch")]
    assert names == [
        "Conv3d",
        "LeakyReLU",
        "Conv3d",
        "BatchNorm3d",
        *stage[2:],
        "Conv3d",
        "Flatten",
    ]


def test_spectral_networks_normalise_critics_by_weights_and_the_rest_by_instance():
    method = _tiny(SN)
    kinds = {n: {type(m) for m in net.modules()} for n, net in method.nets.items()}
    norms = {nn.BatchNorm1d, nn.BatchNorm3d, nn.InstanceNorm3d}
    assert all(kinds[n] & norms == {nn.InstanceNorm3d} for n in ("encoder", "generator"))
    slopes = {m.negative_slope for m in method.nets["generator"].modules() if _leaky(m)}
    assert slopes == {0.01}
    for name in ("critic", "code_critic"):
        assert not kinds[name] & norms
        layers = [m for m in method.nets[name].modules() if isinstance(m, nn.Conv3d | nn.Linear)]
        assert len(layers) == 3
        for layer in layers:
            for _ in range(50):  # in training mode every look is one power iteration
                weight = layer.weight
            assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(
                1, abs=1e-3
            )


def _leaky(module):
    return isinstance(module, nn.LeakyReLU)


@torch.no_grad()
def test_a_spectral_critic_changes_no_faster_than_its_layers_allow():
    torch.manual_seed(0)
    net = critic((4, 8), 1, "spectral")
    for _ in range(30):
        net(torch.randn(1, 1, 16, 16, 16))
    net.eval()
    a, b = torch.randn(8, 1, 16, 16, 16), torch.randn(8, 1, 16, 16, 16)
    ratio = (net(a) - net(b)).flatten().abs() / (a - b).flatten(1).norm(dim=1)
    # sqrt((k/s)^3) for each k4 s2 layer; the head sees every voxel once
    assert 0 < ratio.max() <= math.sqrt(8) ** 2


@torch.no_grad()
def test_a_convolution_of_spectral_norm_one_may_stretch_up_to_the_overlap_of_its_windows():
    layer = nn.Conv3d(1, 1, 4, 2, 1, bias=False)
    layer.weight.fill_(1 / 8)
    assert layer.weight.flatten(1).norm() == 1
    x = torch.ones(1, 1, 32, 32, 32)
    for _ in range(60):  # power iteration of the convolution itself
        y = layer(x)
        x = nn.functional.conv_transpose3d(y, layer.weight, stride=2, padding=1)
        x = x / x.norm()
    stretch = layer(x).norm().item()
    assert stretch == pytest.approx(2.789, abs=2e-3)
    assert stretch < math.sqrt(8)
    assert spectral_norm(layer).weight.norm().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("norm", "coupled"), [("spectral", False), ("batch", True)])
def test_only_batch_norm_couples_the_inputs_of_a_batch(norm, coupled):
    torch.manual_seed(0)
    nets = (
        (critic((4, 8), 1, norm), torch.randn(3, 1, 16, 16, 16)),
        (code_critic(6, 16, norm), torch.randn(3, 6)),
    )
    for net, x in nets:
        x.requires_grad_()
        (slope,) = torch.autograd.grad(net(x)[0].sum(), x)
        assert slope[0].abs().max() > 0
        assert bool((slope[1:] != 0).any()) is coupled


def test_the_penalty_of_codes_is_that_of_a_linear_critic():
    torch.manual_seed(0)
    w = torch.tensor([3.0, 0.0, 4.0])
    penalty = gradient_penalty(lambda z: z @ w, torch.randn(5, 3), torch.randn(5, 3), torch.rand(5))
    assert penalty.item() == pytest.approx(16, rel=1e-5)  # (5 - 1)^2
    seen = []

    def spy(z):
        seen.append(z.detach())
        return z.sum(1)

    first, second = torch.zeros(2, 3), torch.ones(2, 3)
    gradient_penalty(spy, first, second, torch.tensor([0.25, 1.0]))  # t multiplies the first
    assert torch.allclose(seen[0], torch.tensor([[0.75] * 3, [0.0] * 3]))


def _tiny(preset=SMOKE, **changes):
    tiny = {"latent": 8, "generator_channels": 4, "critic_channels": 4, "code_units": 8}
    tiny |= {"batch": 4, "statistics": 2, "steps": 1, "precision": "fp32", "watch_pairs": 2}
    config = dataclasses.replace(preset.config, **tiny | changes)
    with seeded(0, "init"):
        return AlphaWGAN(config, size=16, classes=("LGG", "HGG"))


def _data(count=8):
    volumes = np.random.default_rng(0).uniform(-1, 1, (count, 1, 16, 16, 16)).astype(np.float32)
    return TrainingData(volumes, None, [1] * count, [str(i) for i in range(count)], "cpu")


def _first(optimiser):
    return optimiser.param_groups[0]["params"][0]


@pytest.fixture
def updates(monkeypatch):
    """Return a list that every update of a training appends itself to.

    Each is (names of the networks updated, loss, which networks' parameters changed).
    """
    seen, descend = [], training._Step.descend

    def watched(self, optimiser, loss, **options):
        nets = self._run.method.nets
        before = {n: [p.clone() for p in net.parameters()] for n, net in nets.items()}
        descend(self, optimiser, loss, **options)
        group = optimiser if isinstance(optimiser, list | tuple) else [optimiser]
        names = [
            next(n for n, net in nets.items() if _first(o) is next(net.parameters())) for o in group
        ]
        changed = {
            n
            for n, net in nets.items()
            if any(not torch.equal(a, b) for a, b in zip(before[n], net.parameters(), strict=True))
        }
        seen.append((names, loss.item(), changed))

    monkeypatch.setattr(training._Step, "descend", watched)
    return seen


def _train(method, folder, data=None):
    return train(method, data or _data(), folder, seed=0, scope="LGG")


ROUND = [["encoder", "generator", "generator"], ["critic"], ["code_critic"]]


@pytest.mark.parametrize("preset", [PAPER, REFERENCE, SN])
def test_a_round_updates_one_two_one_one_from_two_batches_and_nothing_else(
    preset, tmp_path, updates
):
    cost = _train(_tiny(preset, steps=2), tmp_path)
    assert [names for names, _, _ in updates] == ROUND * 2
    assert [changed for _, _, changed in updates] == [set(names) for names in ROUND * 2]
    assert cost.volumes_seen == 2 * 2 * 4


def test_the_generator_moves_two_steps_and_the_encoder_one_in_the_first_round(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(training._Step, "descend", _only_the_first(training._Step.descend))
    method = _tiny(lr=2e-4, statistics=0)
    before = {n: [p.clone() for p in net.parameters()] for n, net in method.nets.items()}
    _train(method, tmp_path)
    for name, moves in (("encoder", 1), ("generator", 2)):
        for old, new in zip(before[name], method.nets[name].parameters(), strict=True):
            clear = new.grad.abs() > 1e-4  # far above Adam's eps
            # Adam's first steps along a constant gradient have the length of the step size
            expected = old - moves * 2e-4 * new.grad.sign()
            assert torch.allclose(new[clear], expected[clear], atol=2e-7)
    assert any((p.grad.abs() > 1e-4).any() for p in method.nets["generator"].parameters())


def _only_the_first(descend):
    state = {"left": 1}

    def once(self, optimiser, loss, **options):
        if state["left"]:
            state["left"] -= 1
            descend(self, optimiser, loss, **options)

    return once


class _Constant(nn.Module):
    """A critic whose score is a parameter, whatever it sees."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))

    def forward(self, x):
        return self.value + 0 * x.flatten(1).sum(1)


class _Flat(nn.Module):
    """The code of a volume is its voxels, times a parameter."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x.flatten(1)


class _Volume(_Flat):
    def forward(self, z):
        return self.scale * z.unflatten(1, (1, 16, 16, 16))


def test_losses_of_stub_networks_are_those_by_hand(tmp_path, updates):
    method = _tiny(latent=16**3, statistics=0, lr=1e-12)
    score_c, score_d = 0.3, 0.7
    method.nets = {
        "encoder": _Flat(),
        "generator": _Volume(),
        "critic": _Constant(score_d),
        "code_critic": _Constant(score_c),
    }
    _train(method, tmp_path)
    losses = [loss for _, loss, _ in updates]
    # x_e = x, so no L1 term; the slopes of constant critics are 0, so each penalty is 1
    assert losses == pytest.approx([-score_c - 2 * score_d, 2 * 10, 10], abs=1e-4)


def test_the_reconstruction_is_weighted_ten_times(tmp_path, updates):
    method = _tiny(latent=16**3, statistics=0, lr=1e-12)
    method.nets = {
        "encoder": _Flat(),
        "generator": _Volume(),
        "critic": _Constant(0),
        "code_critic": _Constant(0),
    }
    method.nets["encoder"].scale.data.fill_(3.0)  # |3x - x| = 2|x|, and |x| = 1
    data = TrainingData(np.ones((8, 1, 16, 16, 16), np.float32), None, [1] * 8, "abcdefgh", "cpu")
    _train(method, tmp_path, data)
    assert updates[0][1] == pytest.approx(20, rel=1e-5)


def _slopes(net):
    return [None if p.grad is None else p.grad.sum().item() for p in net.parameters()]


@pytest.mark.parametrize("mode", ["both", "prior"])
def test_the_gradient_of_the_code_critic_is_that_of_its_terms(mode, tmp_path, monkeypatch):
    method = _tiny(penalty=0.0, code_critic=mode, statistics=0)
    linear = method.nets["code_critic"] = nn.Linear(8, 1, bias=False)
    seen = []
    linear.register_forward_hook(lambda net, inputs, out: seen.append(inputs[0].detach()))
    phases = []
    descend = training._Step.descend

    def watched(self, optimiser, loss, **options):
        before = _slopes(method.nets["encoder"])
        descend(self, optimiser, loss, **options)
        phases.append(_slopes(method.nets["encoder"]) != before)

    monkeypatch.setattr(training._Step, "descend", watched)
    _train(method, tmp_path)
    assert phases == [True, False, False]  # only the first phase reaches the encoder
    prior = seen[1].mean(0)  # calls: the encoder's codes in phase 1, then z, then codes
    expected = -prior if mode == "prior" else seen[2].mean(0) - prior
    assert torch.allclose(linear.weight.grad[0], expected, atol=1e-6)
    assert prior.abs().max() > 0.1


def test_the_best_slope_of_the_critic_is_that_of_one_penalty_as_both_sides_double():
    distance, weight = 4.0, 10.0
    real = torch.zeros(4, 1, 1, 1, 1, dtype=torch.float64)
    fake = real - distance
    slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([slope], lr=0.01)

    def score(x):
        return (slope * x).flatten(1).sum(1)

    for _ in range(200):
        optimiser.zero_grad()
        gap = 2 * score(fake).mean() - 2 * score(real).mean()
        penalty = sum(gradient_penalty(score, real, fake, torch.rand(4)) for _ in range(2))
        (gap + weight * penalty).backward()
        optimiser.step()
    assert slope.item() == pytest.approx(1.2, abs=1e-4)


def test_the_step_size_decays_to_the_given_fraction(tmp_path, monkeypatch):
    seen, descend = [], training._Step.descend

    def watched(self, optimiser, loss, **options):
        group = optimiser if isinstance(optimiser, list) else [optimiser]
        seen.append({o.param_groups[0]["lr"] for o in group})
        descend(self, optimiser, loss, **options)

    monkeypatch.setattr(training._Step, "descend", watched)
    _train(_tiny(steps=4, lr=1.0e-3, lr_end=0.5), tmp_path)
    assert [lr for (lr,) in seen[::3]] == pytest.approx([1e-3, 8.75e-4, 7.5e-4, 6.25e-4])
    assert seen[0::3] == seen[1::3] == seen[2::3]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    method = _tiny(steps=2, statistics=100)
    _train(method, tmp_path_factory.mktemp("trained"))
    return method


def _rngs(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _ask(count):
    return Conditions(torch.zeros(count, dtype=torch.int64))


@torch.no_grad()
def test_a_sample_depends_on_its_generator_alone(trained):
    together = trained.sample(_ask(3), _rngs(1, 2, 3))
    alone = torch.cat([trained.sample(_ask(1), _rngs(seed)) for seed in (1, 2, 3)])
    assert together.shape == (3, 1, 16, 16, 16)
    assert together.dtype == torch.float32
    assert together.abs().max() <= 1
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(together, trained.sample(_ask(3), _rngs(1, 2, 3)))
    assert not torch.allclose(together[:1], trained.sample(_ask(1), _rngs(4)), atol=1e-3)


@torch.no_grad()
def test_batch_statistics_are_those_of_prior_noise(trained):
    stem, norm = trained.nets["generator"][0], trained.nets["generator"][2]
    torch.manual_seed(5)
    levels = stem(torch.randn(2000, trained.config.latent)).unflatten(1, (-1, 64))
    spread = levels.var(dim=(0, 2)).sqrt()
    assert torch.allclose(norm.running_mean, levels.mean(dim=(0, 2)), atol=0.1 * spread.max())
    assert torch.allclose(norm.running_var, levels.var(dim=(0, 2)), rtol=0.2)


def test_instance_norms_need_no_statistics(tmp_path):
    assert _train(_tiny(SN), tmp_path).steps == {"adversarial": 1}


def test_twenty_rounds_bring_reconstructions_and_samples_nearer_to_the_data(tmp_path):
    method = _tiny(steps=20, lr=3e-3, statistics=20)
    volumes = np.full((8, 1, 16, 16, 16), -0.9, np.float32)
    data = TrainingData(volumes, None, [1] * 8, list("abcdefgh"), "cpu")
    with torch.no_grad():
        before = (method.sample(_ask(8), _rngs(*range(8))) + 0.9).abs().mean()
    _train(method, tmp_path, data)
    with torch.no_grad():
        after = (method.sample(_ask(8), _rngs(*range(8))) + 0.9).abs().mean()
    assert after < 0.5 * before


def test_presets_hold_the_values_of_their_sources():
    paper = PAPER.config
    assert [p.size for p in (PAPER, REFERENCE, SN, QUICK, SMOKE)] == [128, 64, 128, 32, 16]
    assert (paper.steps, paper.batch, paper.latent, paper.code_units) == (12_000, 4, 1000, 4096)
    assert (paper.reconstruction, paper.penalty, paper.generator_updates) == (10.0, 10.0, 2)
    assert (paper.lr, paper.beta1, paper.beta2, paper.lr_end) == (2e-4, 0.9, 0.999, 1.0)
    assert (paper.norm, paper.code_critic, paper.watch_every) == ("batch", "both", 500)
    changes = {"code_critic": "both", "precision": paper.precision}
    assert dataclasses.replace(REFERENCE.config, **changes) == paper
    assert dataclasses.replace(SN.config, norm="batch", latent=1000, precision="bf16") == paper
    assert AlphaWGAN.departures == DEPARTURES


def test_impossible_settings_are_refused():
    for changes, text in (
        ({"norm": "layer"}, "alpha-wgan.norm must be batch or spectral, got 'layer'"),
        ({"code_critic": "none"}, "alpha-wgan.code_critic must be both or prior, got 'none'"),
        ({"batch": 1}, "batch = 1 leaves batch norm nothing to compare"),
    ):
        with pytest.raises(BadConfig, match=text):
            AlphaWGAN(dataclasses.replace(PAPER.config, **changes), size=64, classes=("LGG", "HGG"))
    with pytest.raises(BadConfig, match=r"size 48.*Set --size 16, 32, 64 or 128"):
        PAPER.config.for_size(48)
