"""3D-VQGAN as a whole: counts, presets, both training stages, sampling."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.optim import Adam

from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.datasets.phantom import Phantom
from cerebench.methods.base import BadConfig, Conditions
from cerebench.methods.layers.perceptual import VGG16
from cerebench.methods.layers.vq.losses import hinge
from cerebench.methods.vqgan.config import LITE, PAPER, QUICK, SMOKE, Config
from cerebench.methods.vqgan.method import VQGAN, corrupt

STAGE_1 = ("encoder", "to_code", "codebook", "from_code", "decoder", "discriminator")


def _build(config, size=16):
    with seeded(0, "init"):
        return VQGAN(config, size=size, classes=("LGG", "HGG"))


@pytest.fixture(scope="module")
def data():
    """Return six phantoms of one class."""
    phantom = Phantom(16, rule={"train": 6, "test": 1})
    wanted = set(phantom.split(0).train)
    cases = [c for c in phantom.cases() if c.id in wanted and c.label == 1]
    volumes = np.stack([phantom.load(c).volume for c in cases])
    return TrainingData(volumes, None, [1] * 6, [c.id for c in cases], "cpu")


def _train(folder, config, data, **options):
    method = _build(config)
    train(method, data, folder, seed=0, scope="HGG", **options)
    return method


def _hash(method, names):
    digest = hashlib.sha256()
    for name in names:
        for key, value in sorted(method.nets[name].state_dict().items()):
            digest.update(key.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_the_paper_preset_has_the_published_parameter_counts():
    with torch.device("meta"):
        method = VQGAN(PAPER.config, size=PAPER.size, classes=("LGG", "HGG"))
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in method.nets.items()}
    assert counts == {
        "encoder": 25_158_368,
        "to_code": 262_656,
        "codebook": 0,
        "from_code": 262_656,
        "decoder": 9_405_505,
        "discriminator": 11_049_665,
        "transformer": 303_886_336,
    }
    assert method.nets["codebook"].vectors.shape == (512, 512)


def test_the_paper_preset_is_the_main_script():
    c = PAPER.config
    assert (c.perceptual_slices, c.perceptual_weight, c.commitment) == (3, 1.0, 0.25)
    assert (c.lr, c.lr_end, c.beta1, c.beta2, c.clip) == (1e-4, 0.0, 0.5, 0.9, 1.0)
    assert (c.discriminator_start, c.stop_at, c.restart_after) == (0.5, 0.8, 0)
    assert (c.keep, c.temperature, c.sample_top_p) == (0.5, 1.0, 0.95)
    assert c.transformer_lr == c.transformer_lr_end == 4.5e-6
    assert VQGAN.weights(c) == (VGG16,)
    assert VQGAN.weights(QUICK.config) == ()


def test_levels_follow_the_size():
    assert Config().for_size(64).channels == (64, 128, 256)
    assert QUICK.config.for_size(64).channels == (8, 8, 16)
    assert LITE.config.for_size(32).channels == (32, 64)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 48, "vqgan cannot work at size 48"),
        ({}, 8, "vqgan cannot work at size 8"),
        ({"perceptual": "vgg"}, 128, "vqgan.perceptual must be lpips-vgg or none, got 'vgg'"),
        ({"keep": 1.5}, 128, "vqgan.keep must be a number from 0 to 1, got 1.5"),
        ({"stop_at": -1}, 128, "vqgan.stop_at must be a number above 0 and at most 1, got -1"),
        ({"stop_at": 0.2, "autoencoder_steps": 2}, 128, "stop_at = 0.2 of .* = 2 leaves no step"),
        ({"heads": 3}, 128, "heads = 3 must divide the transformer's width = 1024"),
        ({"latent_size": 1}, 128, "latent_size must be a whole number of at least 2, got 1"),
    ],
)
def test_impossible_settings_are_refused_with_field_and_value(changes, size, message):
    with pytest.raises(BadConfig, match=message):
        VQGAN(replace(Config(), **changes), size=size, classes=("LGG", "HGG"))


class _Log:
    """Collects what a training logs, through the progress callback."""

    def __init__(self):
        self.rows = []

    def __call__(self, phase, step, total, scalars):
        self.rows.append((phase, step, dict(scalars)))

    def last(self, phase):
        return [scalars for name, _, scalars in self.rows if name == phase][-1]


def test_both_phases_log_what_the_documentation_promises(tmp_path, data):
    log = _Log()
    _train(tmp_path, replace(SMOKE.config, stop_at=0.7), data, progress=log)
    names = "pixel gradient matching commitment discriminator balance perplexity active_codes"
    assert set(log.last("autoencoder")) - {"discriminator"} == set(names.split()) - {
        "discriminator"
    }
    assert log.last("transformer")["cross_entropy"] == pytest.approx(math.log(17), abs=0.3)
    assert sum(phase == "autoencoder" for phase, _, _ in log.rows) == 2  # round(0.7 of 3)


def test_the_loss_is_the_weighted_sum_of_the_terms():
    method = _build(replace(SMOKE.config, gradient_weight=PAPER.config.gradient_weight))
    one = torch.ones(())
    parts = {"pixel": 4, "gradient": 4, "matching": 4, "commitment": 0.25, "perceptual": 1}
    for name, weight in parts.items():
        assert method._weigh({name: one}) == weight
    assert method._weigh(dict.fromkeys(parts, one)) == 13.25


def test_the_discriminator_rests_until_its_start(tmp_path, data):
    config = replace(SMOKE.config, discriminator_start=1.0)
    log = _Log()
    method = _train(tmp_path, config, data, progress=log)
    fresh = _build(config)
    assert torch.equal(
        _weights(method.nets["discriminator"]), _weights(fresh.nets["discriminator"])
    )
    assert not torch.equal(_weights(method.nets["encoder"]), _weights(fresh.nets["encoder"]))
    assert log.last("autoencoder")["balance"] == 0
    assert "discriminator" not in log.last("autoencoder")


def test_the_discriminators_update_is_that_of_its_hinge_loss_alone(tmp_path, data):
    config = replace(SMOKE.config, discriminator_start=0.0, autoencoder_steps=1, clip=1e9)
    method = _build(config)
    seen = []
    handle = method.nets["discriminator"].register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].detach().clone())
    )
    train(method, data, tmp_path, seed=0, scope="HGG")
    handle.remove()
    real, _, reconstruction = seen

    alone = _build(config).nets["discriminator"].train()
    optimiser = Adam(alone.parameters(), lr=config.lr, betas=(0.5, 0.9), fused=True)
    hinge(alone(real)[0], alone(reconstruction)[0]).backward()
    optimiser.step()
    for expected, got in zip(
        alone.parameters(), method.nets["discriminator"].parameters(), strict=True
    ):
        assert torch.allclose(expected, got, atol=1e-7)


def test_stage_two_leaves_stage_one_as_it_was_statistics_and_codebook_included(
    tmp_path, data, monkeypatch
):
    with monkeypatch.context() as without:
        without.setattr(VQGAN, "_train_transformer", lambda *_: None)
        short = _train(tmp_path / "short", SMOKE.config, data)
    long = _train(tmp_path / "long", replace(SMOKE.config, transformer_steps=5), data)
    assert _hash(short, STAGE_1) == _hash(long, STAGE_1)
    assert _hash(short, ["transformer"]) != _hash(long, ["transformer"])


def test_the_codebook_is_initialised_once_and_then_only_moves(tmp_path, data, monkeypatch):
    method = _build(SMOKE.config)
    book, calls = method.nets["codebook"], []
    initialise = book.initialise
    monkeypatch.setattr(book, "initialise", lambda z: (calls.append(1), initialise(z)))
    stops = iter([False, True])
    with pytest.raises(Interrupted):
        train(method, data, tmp_path, seed=0, scope="HGG", stop=lambda: next(stops))
    train(method, data, tmp_path, seed=0, scope="HGG")
    assert calls == [1]


def test_tokens_are_computed_once_with_the_running_statistics(tmp_path, data):
    method = _build(SMOKE.config)
    modes = []
    method.nets["encoder"].register_forward_hook(lambda net, *_: modes.append(net.training))
    train(method, data, tmp_path, seed=0, scope="HGG")
    assert modes == [True] * SMOKE.config.autoencoder_steps + [False]


def test_tokens_of_a_volume_do_not_depend_on_its_neighbours(tmp_path, data):
    # The running statistics need a while; with the paper's weight several codes are used by then.
    settled = replace(SMOKE.config, autoencoder_steps=30, gradient_weight=4.0)
    method = _train(tmp_path, settled, data)
    images = data.take(torch.arange(6)).images
    with torch.inference_mode():
        together = method._encode(images)
        alone = torch.cat([method._encode(image[None]) for image in images])
    assert len(together.unique()) > 1
    assert torch.equal(together, alone)


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_stopped_training_goes_on_to_the_same_bits_in_both_stages(tmp_path, data, after):
    config = replace(SMOKE.config, restart_after=1)
    whole = _train(tmp_path / "whole", config, data)
    calls = iter(range(after))
    with pytest.raises(Interrupted):
        _train(tmp_path / "cut", config, data, stop=lambda: next(calls, None) is None)
    resumed = _train(tmp_path / "cut", config, data)
    assert _hash(resumed, resumed.nets) == _hash(whole, whole.nets)


class _Noise:
    """A step that only draws."""

    def __init__(self):
        self._generator = torch.Generator().manual_seed(0)

    def rand(self, *shape):
        return torch.rand(shape, generator=self._generator)


def test_corruption_keeps_tokens_independently_and_puts_uniform_codes_elsewhere():
    tokens = torch.full((400, 64), 16)  # the code 16 itself is never drawn, so changes show
    corrupted = corrupt(tokens, _Noise(), keep=0.7, codes=16)
    kept = (corrupted == 16).float()
    assert kept.mean().item() == pytest.approx(0.7, abs=0.01)
    spread = kept.mean(1).std().item()  # of independent choices: sqrt(p q / 64)
    assert spread == pytest.approx(math.sqrt(0.21 / 64), rel=0.15)
    share = torch.bincount(corrupted[corrupted != 16], minlength=16) / (kept == 0).sum()
    assert share.numel() == 16
    assert (share - 1 / 16).abs().max() < 0.01
    assert torch.equal(corrupt(tokens, _Noise(), keep=1.0, codes=16), tokens)


def test_sequences_start_with_an_id_that_no_code_has(tmp_path, data):
    method = _build(replace(SMOKE.config, keep=1.0))
    inputs = []
    method.nets["transformer"].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    train(method, data, tmp_path, seed=0, scope="HGG")
    volumes = data.take(torch.arange(6)).images
    with torch.inference_mode():
        known = {tuple(row.tolist()) for row in method._encode(volumes)[:, :-1]}
    for batch in inputs:
        assert (batch[:, 0] == SMOKE.config.codes).all()
        assert {tuple(row.tolist()) for row in batch[:, 1:]} <= known


def test_samples_depend_on_their_own_generator_alone_and_use_codes_only(tmp_path, data):
    method = _train(tmp_path, SMOKE.config, data)

    def sample(seeds):
        rngs = [torch.Generator().manual_seed(s) for s in seeds]
        with torch.inference_mode():
            return method.sample(Conditions(torch.ones(len(seeds), dtype=torch.int64)), rngs)

    together, alone = sample([1, 2, 3]), sample([2])
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    assert not torch.allclose(together[1], together[0], atol=1e-3)
    assert together.abs().max() <= 1
    with torch.inference_mode():
        tokens = method._draw([torch.Generator().manual_seed(s) for s in range(20)])
    assert tokens.min() >= 0
    assert tokens.max() < SMOKE.config.codes


def test_top_p_is_that_of_the_settings(tmp_path, data):
    method = _build(replace(SMOKE.config, sample_top_p=1e-6))
    for net in method.nets.values():
        net.eval()
    with torch.inference_mode():
        tokens = method._draw([torch.Generator().manual_seed(s) for s in range(5)])
    assert (tokens == tokens[0]).all()  # only the likeliest code is left


def test_diagnose_reports_the_reconstruction_and_its_tokens(tmp_path, data):
    method = _train(tmp_path, SMOKE.config, data)
    conditions = Conditions(torch.ones(3, dtype=torch.int64))
    rngs = [torch.Generator().manual_seed(i) for i in range(3)]
    with torch.inference_mode():
        told = {d.name: d.values for d in method.diagnose(data, data, conditions, rngs)}
        images = data.take(torch.arange(6)).images
        tokens = method._encode(images)
        errors = (method._decode(tokens) - images).abs().mean(dim=(1, 2, 3, 4))
    assert told["reconstruction-l1"]["train"] == pytest.approx(errors.tolist(), rel=1e-5)
    assert told["active-codes"]["train"] == [float(len(tokens.unique()))]
    assert told["token-hamming"]["test"] == [0.0] * 6  # the training volumes again
    assert len(told["token-hamming"]["generated"]) == 3


@pytest.mark.slow
def test_few_steps_learn_to_reconstruct_with_the_running_statistics(tmp_path, data):
    config = replace(
        SMOKE.config,
        channels=(8, 16),
        bottleneck=32,
        codes=64,
        discriminator_start=1.0,
        autoencoder_steps=80,
        batch=4,
        layers=2,
        width=64,
        transformer_steps=60,
        transformer_batch=8,
    )
    log = _Log()
    method = _train(tmp_path, config, data, progress=log)
    pixel = [s["pixel"] for phase, _, s in log.rows if phase == "autoencoder"]
    assert np.mean(pixel[-20:]) < 0.4 * np.mean(pixel[:5])
    images = data.take(torch.arange(6)).images
    with torch.inference_mode():
        error = (method._decode(method._encode(images)) - images).abs().mean()
    assert error < 1.5 * np.mean(pixel[-20:])
    assert log.last("transformer")["cross_entropy"] < 0.7 * math.log(65)
