"""3D-VQGAN-cond as a whole: counts, presets, both training stages, what it tells about itself."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.optim import Adam

from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.planning.config import resolve
from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.datasets.phantom import Phantom
from cerebench.methods.base import BadConfig, Conditions
from cerebench.methods.layers.learning_rate import cosine
from cerebench.methods.layers.vq.losses import hinge
from cerebench.methods.vqgan_cond.config import LITE, PAPER, QUICK, REFERENCE_CODE, SMOKE, Config
from cerebench.methods.vqgan_cond.method import VQGANCond

STAGE_1 = ("encoder", "to_code", "codebook", "from_code", "decoder", "scorer", "classifier")


def _build(config, size=16):
    with seeded(0, "init"):
        return VQGANCond(config, size=size, classes=("LGG", "HGG"))


def _data(count=6, size=16):
    """Return as many phantoms of each class."""
    phantom = Phantom(size, rule={"train": count, "test": 1})
    wanted = set(phantom.split(0).train)
    cases = [c for c in phantom.cases() if c.id in wanted]
    loaded = [phantom.load(c) for c in cases]
    volumes, masks = (np.stack([getattr(x, k) for x in loaded]) for k in ("volume", "mask"))
    return TrainingData(volumes, masks, [c.label for c in cases], [c.id for c in cases], "cpu")


def _train(folder, config, data=None, **options):
    method = _build(config)
    train(method, data or _data(), folder, seed=0, scope="all", **options)
    return method


def _hash(method, names):
    digest = hashlib.sha256()
    for name in names:
        for key, value in sorted(method.nets[name].state_dict().items()):
            digest.update(key.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _counts(config, size):
    with torch.device("meta"):
        method = VQGANCond(config, size=size, classes=("LGG", "HGG"))
    return {name: sum(p.numel() for p in net.parameters()) for name, net in method.nets.items()}


@pytest.mark.parametrize("preset", [PAPER, REFERENCE_CODE])
def test_the_paper_presets_have_the_published_parameter_counts(preset):
    counts = _counts(preset.config, preset.size)
    assert counts == {
        "encoder": 25_156_384,
        "to_code": 65_664,
        "codebook": 0,
        "from_code": 66_048,
        "decoder": 9_403_713,
        "scorer": 442_627,
        "classifier": 67_113_986,
        "discriminator": 11_049_665,
        "transformer": 304_939_008,
    }
    assert sum(counts[name] for name in STAGE_1) == 102_248_422


# specs: channels, bottleneck, code_dim, latent_size, hidden; encoder, decoder, to, from, D, classes
SCALED = {
    "mid64": (64, (32, 64, 128, 256), 512, 128, 8, 1024, 24_971_840, 9_292_929, 65_664, 66_048),
    "mid64-l4": (64, (32, 64, 128, 256), 512, 128, 4, 1024, 25_156_384, 9_403_713, 65_664, 66_048),
    "lite64": (64, (32, 64, 128), 256, 64, 8, 256, 6_245_664, 2_324_033, 16_448, 16_640),
    "mid32": (32, (32, 64, 128, 256), 512, 128, 8, 1024, 24_230_016, 8_850_177, 65_664, 66_048),
    "lite32": (32, (32, 64), 128, 64, 8, 256, 1_517_088, 553_665, 8_256, 8_320),
    "tiny32": (32, (16, 32), 64, 32, 8, 256, 380_176, 138_593, 2_080, 2_112),
    "tiny32-l4": (32, (16, 32, 64), 128, 64, 4, 256, 1_562_768, 581_409, 8_256, 8_320),
}
HEADS = {  # discriminator, scorer, classifier
    "mid64": (2_643_137, 442_627, 67_113_986),
    "mid64-l4": (2_643_137, 442_627, 8_393_730),
    "lite64": (2_643_137, 110_723, 8_389_890),
    "mid32": (537_025, 442_627, 67_113_986),
    "lite32": (537_025, 110_723, 8_389_890),
    "tiny32": (537_025, 27_715, 4_195_586),
    "tiny32-l4": (537_025, 110_723, 1_049_858),
}


@pytest.mark.parametrize("name", SCALED)
def test_smaller_configurations_have_the_counts_of_the_parametric_form(name):
    size, channels, bottleneck, dim, latent, hidden, *expected = SCALED[name]
    config = replace(
        Config(),
        channels=channels,
        bottleneck=bottleneck,
        code_dim=dim,
        latent_size=latent,
        classifier_width=hidden,
    )
    counts = _counts(config, size)
    first = [counts[net] for net in ("encoder", "decoder", "to_code", "from_code")]
    assert first == expected
    heads = tuple(counts[net] for net in ("discriminator", "scorer", "classifier"))
    assert heads == HEADS[name]


def test_larger_volumes_get_more_levels_and_smaller_ones_fewer():
    assert Config().for_size(64).channels == (64, 128, 256)
    assert QUICK.config.for_size(64).channels == (8, 8, 16)
    assert QUICK.config.for_size(128).channels == (8, 8, 8, 16)
    assert LITE.config.for_size(32).channels == (32, 64)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 48, "cannot work at size 48"),
        ({}, 8, "cannot work at size 8"),
        ({"bottleneck": 100}, 128, "bottleneck must be a multiple of 8, of at least 8, got 100"),
        (
            {"channels": (12, 24, 48, 96)},
            128,
            r"1 or more multiples of 8, .* got \(12, 24, 48, 96\)",
        ),
        ({"classifier_width": 32}, 128, "must be a multiple of 32, of at least 64, got 32"),
        ({"heads": 3}, 128, "heads = 3 must divide the transformer's width = 1024"),
        ({"perceptual": "vgg"}, 128, "vqgan-cond.perceptual must be lpips-vgg or none, got 'vgg'"),
        ({"loss_on": "masked"}, 128, "loss_on must be all or corrupted, got 'masked'"),
        ({"loss_on": "corrupted", "mask_ratio": 0.001}, 128, "mask_ratio = 0.001 of 8.3 tokens"),
        ({"stop_at": 1.5}, 128, "stop_at must be a number above 0 and at most 1, got 1.5"),
        ({"sides": 3}, 128, "sides must be 1 or 2, got 3"),
        ({"mode": "other"}, 128, "mode must be paper or reference, got 'other'"),
        ({"mode": "reference", "height_axis": True}, 128, "Set height_axis = False"),
    ],
)
def test_impossible_settings_are_refused_with_field_and_value(changes, size, message):
    with pytest.raises(BadConfig, match=message):
        VQGANCond(replace(Config(), **changes), size=size, classes=("LGG", "HGG"))


@pytest.mark.parametrize("start", [1e-4, 5e-5])
@pytest.mark.parametrize("end", [0.0, 3e-7])
def test_the_cosine_has_the_published_ends_and_middle(start, end):
    assert cosine(0, start, end) == pytest.approx(start)
    assert cosine(0.5, start, end) == pytest.approx((start + end) / 2)
    assert cosine(1, start, end) == pytest.approx(end, abs=1e-18)
    assert cosine(0.25, 1, 0) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_reference_code_stops_early_on_the_whole_schedule():
    config = REFERENCE_CODE.config
    assert round(config.stop_at * config.autoencoder_steps) == 752_000
    assert (config.lr, config.lr_end, config.mode) == (5e-5, 3e-7, "reference")


class _Log:
    """Collects what a training logs, through the progress callback."""

    def __init__(self):
        self.rows = []

    def __call__(self, phase, step, total, scalars):
        self.rows.append((phase, step, dict(scalars)))

    def last(self, phase):
        return [scalars for name, _, scalars in self.rows if name == phase][-1]


def test_both_phases_log_what_the_documentation_promises(tmp_path):
    log = _Log()
    _train(tmp_path, SMOKE.config, progress=log)
    assert set(log.last("autoencoder")) == {
        "pixel",
        "gradient",
        "matching",
        "commitment",
        "class",
        "discriminator",
        "balance",
        "perplexity",
        "active_codes",
    }
    assert "cross_entropy" in log.last("transformer")


@pytest.mark.parametrize("mean_start", [True, False])
def test_the_decoder_starts_at_the_mean_of_the_data_only_if_told(tmp_path, mean_start):
    config = replace(SMOKE.config, mean_start=mean_start, autoencoder_steps=1, lr=1e-12, batch=12)
    data = _data()  # twelve volumes, all in the first batch
    bias = _train(tmp_path, config, data).nets["decoder"][-2].bias
    mean = data.take(torch.arange(12)).images.mean()
    untrained = _build(config).nets["decoder"][-2].bias
    assert torch.allclose(bias, mean.atanh() if mean_start else untrained, atol=1e-5)


def test_the_discriminator_rests_until_its_start(tmp_path):
    config = replace(SMOKE.config, discriminator_start=1.0)
    log = _Log()
    method = _train(tmp_path, config, progress=log)
    assert _hash(method, ["discriminator"]) == _hash(_build(config), ["discriminator"])
    assert log.last("autoencoder")["balance"] == 0
    assert "discriminator" not in log.last("autoencoder")


def test_the_discriminators_update_is_that_of_its_hinge_loss_alone(tmp_path):
    config = replace(SMOKE.config, discriminator_start=0.0, autoencoder_steps=1, clip=1e9)
    data = _data()
    method = _build(config)
    seen = {}

    def watch(module, inputs, output):
        seen.setdefault("inputs", []).append(inputs[0].detach().clone())

    handle = method.nets["discriminator"].register_forward_hook(watch)
    train(method, data, tmp_path, seed=0, scope="all")
    handle.remove()
    real, _, reconstruction = seen["inputs"]

    alone = _build(config).nets["discriminator"].train()
    optimiser = Adam(alone.parameters(), lr=config.lr, betas=(0.5, 0.9), fused=True)
    hinge(alone(real)[0], alone(reconstruction)[0]).backward()
    optimiser.step()
    for expected, got in zip(
        alone.parameters(), method.nets["discriminator"].parameters(), strict=True
    ):
        assert torch.allclose(expected, got, atol=1e-7)


def test_only_the_class_term_trains_scorer_and_classifier(tmp_path):
    config = replace(SMOKE.config, class_share=0.0, autoencoder_steps=2)
    method = _train(tmp_path, config)
    names = ["scorer", "classifier"]
    assert _hash(method, names) == _hash(_build(config), names)
    method = _train(tmp_path / "with", replace(config, class_share=0.2))
    assert _hash(method, names) != _hash(_build(config), names)


def test_scores_change_neither_tokens_nor_reconstructions():
    method, volumes = _build(SMOKE.config), _data().take(torch.arange(3)).images
    for net in method.nets.values():
        net.eval()
    with torch.inference_mode():
        tokens, scores = method._encode(volumes)
        decoded = method._decode(tokens.flatten(1))
        for name in ("scorer", "classifier"):
            for weights in method.nets[name].parameters():
                weights.normal_(generator=torch.Generator().manual_seed(weights.numel()))
        other, moved = method._encode(volumes)
        assert not torch.allclose(moved, scores, atol=0.1)
        assert torch.equal(other, tokens)
        assert torch.equal(method._decode(other.flatten(1)), decoded)


def test_stage_two_leaves_stage_one_as_it_was(tmp_path, monkeypatch):
    config = replace(SMOKE.config, codes=64)
    names = [*STAGE_1, "discriminator"]
    with monkeypatch.context() as without:
        without.setattr(VQGANCond, "_train_transformer", lambda *_: None)
        short = _train(tmp_path / "short", config)
    long = _train(tmp_path / "long", replace(config, transformer_steps=6))
    assert _hash(short, names) == _hash(long, names)
    assert _hash(short, ["transformer"]) != _hash(long, ["transformer"])


def test_tokens_are_computed_once(tmp_path):
    method = _build(SMOKE.config)
    calls = []
    method.nets["encoder"].register_forward_hook(lambda *_: calls.append(1))
    train(method, _data(), tmp_path, seed=0, scope="all")
    in_stage_one, chunks_of_twelve_volumes = SMOKE.config.autoencoder_steps, 2
    assert len(calls) == in_stage_one + chunks_of_twelve_volumes


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_stopped_training_goes_on_to_the_same_bits_in_both_stages(tmp_path, after):
    whole = _train(tmp_path / "whole", SMOKE.config)
    calls = iter(range(after))
    with pytest.raises(Interrupted):
        _train(tmp_path / "cut", SMOKE.config, stop=lambda: next(calls, None) is None)
    resumed = _train(tmp_path / "cut", SMOKE.config)
    assert _hash(resumed, resumed.nets) == _hash(whole, whole.nets)


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 0.0},
        {"top_k": 0.5},
        {"sides": 2},
        {"mode": "reference"},
        {"height_axis": True},
        {"loss_on": "corrupted"},
        {"restart_after": 1},
    ],
    ids=str,
)
def test_ablations_change_the_training_that_they_concern(tmp_path, changes):
    config = replace(SMOKE.config, transformer_steps=3, codes=64)  # enough that some are unused
    plain = _train(tmp_path / "plain", config)
    changed = _train(tmp_path / "changed", replace(config, **changes))
    first = "restart_after" in changes
    assert (_hash(plain, STAGE_1) != _hash(changed, STAGE_1)) == first
    assert _hash(plain, ["transformer"]) != _hash(changed, ["transformer"])


def test_the_loss_on_corrupted_tokens_ignores_the_others(tmp_path):
    config = replace(SMOKE.config, loss_on="corrupted", mask_ratio=0.0, transformer_steps=1)
    with pytest.raises(BadConfig, match="mask_ratio"):
        _build(config)


def test_overrides_of_the_command_line_reach_the_masking():
    resolved = resolve(VQGANCond, "quick", 32, {"top_k": 0.5, "sides": 2, "mode": "reference"})
    masking = resolved.config.for_size(32).masking()
    assert (masking.top_k, masking.sides, masking.mode) == (0.5, 2, "reference")


def test_explain_repeats_the_scores_of_the_latent_grid():
    method = _build(SMOKE.config)
    for net in method.nets.values():
        net.eval()
    volumes = _data().take(torch.arange(3)).images
    with torch.inference_mode():
        maps = method.explain(volumes)
        _, scores = method._encode(volumes)
    assert maps.shape == (3, 1, 16, 16, 16)
    assert torch.equal(maps[:, :, ::4, ::4, ::4], scores)
    assert torch.equal(maps[..., 0:4], maps[..., 0:1].expand(-1, -1, -1, -1, 4))
    assert maps.std() > 0.05


def test_diagnose_finds_copies(tmp_path, monkeypatch):
    method = _train(tmp_path, SMOKE.config)
    data = _data()
    train_set, test_set = _Part(data, range(8)), _Part(data, range(8, 12))
    rngs = [torch.Generator().manual_seed(i) for i in range(4)]
    conditions = Conditions(torch.zeros(4, dtype=torch.int64))

    def found():
        with torch.inference_mode():
            told = method.diagnose(train_set, test_set, conditions, rngs)
        return {d.name: d.values for d in told}

    free = found()
    assert {name: len(values) for name, values in free["token-hamming"].items()} == {
        "train": 8,
        "test": 4,
        "generated": 4,
    }
    assert max(free["token-hamming"]["generated"]) > 0
    assert all(0 <= v <= 1 for values in free["token-hamming"].values() for v in values)
    copies = method._encode(train_set.take(torch.arange(4)).images)[0].flatten(1)
    monkeypatch.setattr(method, "_draw", lambda *_: copies)
    assert found()["token-hamming"]["generated"] == [0.0] * 4
    assert max(found()["voxel-l1"]["generated"]) < 1e-6


def test_diagnose_measures_reconstruction_and_codes(tmp_path):
    method = _train(tmp_path, SMOKE.config)
    data = _data()
    part = _Part(data, range(5))
    conditions = Conditions(torch.zeros(2, dtype=torch.int64))
    rngs = [torch.Generator().manual_seed(i) for i in range(2)]
    with torch.inference_mode():
        told = {d.name: d.values for d in method.diagnose(part, part, conditions, rngs)}
        images = part.take(torch.arange(5)).images
        tokens = method._encode(images)[0]
        errors = (method._decode(tokens.flatten(1)) - images).abs().mean(dim=(1, 2, 3, 4))
    assert told["reconstruction-l1"]["train"] == pytest.approx(errors.tolist(), rel=1e-5)
    counts = torch.bincount(tokens.flatten())
    assert told["active-codes"]["train"] == [float((counts > 0).sum())]
    share = counts[counts > 0] / counts.sum()
    entropy = -(share * share.log()).sum()
    assert told["codebook-perplexity"]["train"] == pytest.approx([math.exp(entropy)], rel=1e-5)


class _Part:
    """Some rows of training data."""

    def __init__(self, data, rows):
        self._data, self._rows = data, torch.tensor(list(rows))

    def __len__(self):
        return len(self._rows)

    def take(self, indices):
        return self._data.take(self._rows[indices])


def test_samples_depend_on_their_own_generator_and_label_alone(tmp_path):
    method = _train(tmp_path, replace(SMOKE.config, transformer_steps=5))

    def sample(seeds, labels):
        rngs = [torch.Generator().manual_seed(s) for s in seeds]
        with torch.inference_mode():
            return method.sample(Conditions(torch.tensor(labels)), rngs)

    together, alone = sample([1, 2, 3], [0, 1, 0]), sample([2], [1])
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    assert together.abs().max() <= 1


@pytest.mark.slow
def test_a_few_hundred_steps_learn_to_reconstruct_and_to_honour_the_label(tmp_path):
    """The end-to-end test of the specification, on two classes that differ in brightness."""
    config = replace(
        QUICK.config,
        channels=(16, 16),  # with 8 the last activations can all die in so few steps
        bottleneck=32,
        code_dim=16,
        codes=64,
        discriminator_channels=8,
        layers=2,
        latent_size=4,
        width=64,
        heads=4,
        mask_ratio=0.5,
        autoencoder_steps=200,
        batch=4,
        mean_start=False,  # the paper's start, weights and start of the discriminator
        gradient_weight=4.0,
        discriminator_start=0.2,
        restart_after=20,
        transformer_steps=400,
        transformer_batch=16,
        precision="fp32",
    )
    data = _data(16)
    volumes = data.take(torch.arange(len(data)))
    bright = volumes.labels.view(-1, 1, 1, 1, 1) == 1
    images = torch.where(bright, volumes.images, -1 + 0.4 * (volumes.images + 1))
    two = TrainingData(images.numpy(), None, volumes.labels.numpy(), data.ids, "cpu")
    log = _Log()
    method = _train(tmp_path, config, two, progress=log)
    pixel = [s["pixel"] for phase, _, s in log.rows if phase == "autoencoder"]
    assert np.mean(pixel[-20:]) < 0.3 * np.mean(pixel[:5])
    assert log.last("autoencoder")["active_codes"] > 4
    assert log.last("transformer")["cross_entropy"] < 0.7 * math.log(67)

    def peaks(label):
        rngs = [torch.Generator().manual_seed(s) for s in range(8)]
        with torch.inference_mode():
            made = method.sample(Conditions(torch.full((8,), label)), rngs)
        assert torch.isfinite(made).all()
        return made.flatten(1).amax(1)

    assert peaks(1).median() > peaks(0).median() + 0.3
