"""Medical Diffusion and -C as a whole: counts, both stages, labels, guidance, sampling."""

import dataclasses
import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.planning.config import resolve
from cerebench.benchmark.stages import training
from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.methods.base import BadConfig, Conditions
from cerebench.methods.layers import perceptual
from cerebench.methods.layers.diffusion import cosine_betas
from cerebench.methods.layers.ema import WeightAverage
from cerebench.methods.layers.perceptual import VGG16
from cerebench.methods.layers.vq.losses import hinge
from cerebench.methods.medical_diffusion import conditional
from cerebench.methods.medical_diffusion import method as unconditional
from cerebench.methods.medical_diffusion.codebook import Codebook
from cerebench.methods.medical_diffusion.conditional import MedicalDiffusionC
from cerebench.methods.medical_diffusion.config import PAPER, SMOKE, Config, ConfigC
from cerebench.methods.medical_diffusion.method import MedicalDiffusion
from cerebench.methods.medical_diffusion.reconstruction import (
    AUTOENCODER,
    DISCRIMINATORS,
    clipper,
    latents_of,
)

STAGE_1 = (*AUTOENCODER, *DISCRIMINATORS, "codebook", "range")
BOTH = (MedicalDiffusion, MedicalDiffusionC)


def _data(count=4, size=16):
    """Return blobs off the middle, of different brightness, on background -1."""
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij")
    inside = z**2 + y**2 + (x - 0.3) ** 2 < 0.4
    levels = rng.uniform(0, 0.8, (count, 1, 1, 1, 1))
    volumes = np.where(inside, levels, -1.0).astype(np.float32)
    labels = [i % 2 for i in range(count)]
    return TrainingData(volumes, None, labels, [str(i) for i in range(count)], "cpu")


def _build(cls=MedicalDiffusion, **changes):
    with seeded(0, "init"):
        config = dataclasses.replace(cls.presets["smoke"].config, **changes)
        return cls(config, size=16, classes=("LGG", "HGG"))


def _train(folder, cls=MedicalDiffusion, method=None, progress=None, stop=None, **changes):
    method = method or _build(cls, **changes)
    options = {"progress": progress} if progress else {}
    options |= {"stop": stop} if stop else {}
    train(method, _data(), folder, seed=0, scope="all", **options)
    return method


def _hash(method, names):
    digest = hashlib.sha256()
    for name in names:
        for key, value in sorted(method.nets[name].state_dict().items()):
            digest.update(key.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _draw(method, labels, seeds):
    with torch.inference_mode():
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        return method.sample(Conditions(torch.tensor(labels)), rngs)


class _Log:
    """Collects what a training logs."""

    def __init__(self):
        self.rows = []

    def __call__(self, phase, done, total, scalars):
        self.rows.append((phase, dict(scalars)))

    def of(self, phase):
        return [scalars for name, scalars in self.rows if name == phase]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return one trained instance per method; tests do not change them."""
    return {cls: _train(tmp_path_factory.mktemp("trained"), cls, diffusion_lr=1e-2) for cls in BOTH}


@pytest.mark.parametrize(("cls", "unet"), [(BOTH[0], 9_981_512), (BOTH[1], 10_489_800)])
def test_the_paper_presets_have_the_published_parameter_counts(cls, unet):
    preset = cls.presets["paper"]
    with torch.device("meta"):
        method = cls(preset.config, size=preset.size, classes=("LGG", "HGG"))
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in method.nets.items()}
    assert counts == {
        "encoder": 441_568,
        "to_code": 520,
        "codebook": 0,
        "from_code": 576,
        "decoder": 948_417,
        "slice_discriminator": 2_764_481,
        "volume_discriminator": 11_049_665,
        "range": 0,
        "unet": unet,
        "average": unet,
    }
    assert sum(counts[name] for name in AUTOENCODER) == 1_391_081
    assert method.nets["codebook"].vectors.shape == (16_384, 8)


def test_the_paper_preset_has_the_effective_values_of_the_code():
    c = PAPER.config
    assert c.lr == pytest.approx(2 / 4 * 1 / 8 * 3e-4)
    assert c.discriminator_start * c.autoencoder_steps == 5000
    assert (c.timesteps, c.beta_cap, c.sampler) == (300, 0.9999, "ddpm")
    assert c.for_size(128).sampler_steps == 300
    assert (c.ema_decay, c.ema_every, c.ema_start) == (0.995, 10, 2000)
    assert ConfigC().guidance == 1
    assert ConfigC().label_dropout == 0.1


def test_the_average_is_copied_to_step_1990_and_then_follows_every_ten_steps():
    c, net = PAPER.config, nn.Linear(1, 1, bias=False)
    average = WeightAverage(net, decay=c.ema_decay, every=c.ema_every, start=c.ema_start)
    for step in range(2031):
        nn.init.constant_(net.weight, step)
        average.follow(net, step)
    assert average.module.weight.item() == pytest.approx(1990.4975, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 32, "cannot work at size 32.*latent_size = 32"),
        ({}, 96, "cannot work at size 96"),
        ({"latent_size": 4}, 128, "latent_size = 4 must be a power of two, and at least 8"),
        ({"latent_size": 24}, 128, "latent_size = 24 must be a power of two"),
        ({"width": 12}, 128, "width must be a multiple of 8, of at least 8, got 12"),
        ({"head_width": 3}, 128, "head_width must be a multiple of 2, of at least 2, got 3"),
        ({"channels": 8}, 128, "norm_groups = 32 must divide"),
        ({"perceptual": "vgg"}, 128, "perceptual must be lpips-vgg or none, got 'vgg'"),
        (
            {"discriminator_start": 2.0},
            128,
            "discriminator_start must be a number from 0 to 1, got 2",
        ),
        ({"sampler": "ddim", "sampler_steps": 70}, 128, "must divide the 300"),
        ({"sampler": "euler"}, 128, "sampler must be ddpm, ddim or dpmpp, got 'euler'"),
    ],
)
def test_impossible_settings_are_refused(changes, size, message):
    config = dataclasses.replace(Config(), **changes)
    with pytest.raises(BadConfig, match=message):
        MedicalDiffusion(config, size=size, classes=("LGG", "HGG"))


@pytest.mark.parametrize("cls", BOTH)
def test_the_sampler_is_a_setting_and_brings_its_steps(cls):
    for sampler, steps in (("ddpm", 300), ("ddim", 50), ("dpmpp", 25)):
        assert resolve(cls, "paper", 64, {"sampler": sampler}).values["sampler_steps"] == steps
    assert resolve(cls, "quick", 32).values["sampler_steps"] == 25
    assert resolve(cls, "quick", 32, {"sampler": "ddpm"}).values["sampler_steps"] == 50


def test_labelled_presets_keep_values_and_sources():
    for name in ("paper", "quick", "smoke"):
        ours, plain = MedicalDiffusionC.presets[name], MedicalDiffusion.presets[name]
        shared = {f.name for f in dataclasses.fields(plain.config)}
        different = {f for f in shared if getattr(ours.config, f) != getattr(plain.config, f)}
        twice = {"autoencoder_steps", "diffusion_steps"} if name == "quick" else set()
        assert different == twice
        assert all(ours.sources[f] == plain.sources[f] for f in shared - different)


def test_weight_files_are_asked_for_where_the_perceptual_term_is_on():
    assert MedicalDiffusion.weights(PAPER.config) == (VGG16,)
    assert MedicalDiffusion.weights(SMOKE.config) == ()


def test_both_phases_log_what_the_documentation_promises(tmp_path):
    log = _Log()
    _train(tmp_path, progress=log)
    before = {"pixel", "commitment", "perplexity", "active_codes"}
    assert set(log.of("autoencoder")[0]) == before
    assert set(log.of("autoencoder")[-1]) == before | {"fooled", "matching", "discriminator"}
    assert set(log.of("diffusion")[-1]) == {"error"}


def test_discriminators_rest_until_their_start(tmp_path):
    log = _Log()
    changes = {"discriminator_start": 1.0, "diffusion_steps": 1}
    method = _train(tmp_path, progress=log, **changes)
    assert _hash(method, DISCRIMINATORS) == _hash(_build(**changes), DISCRIMINATORS)
    assert "discriminator" not in log.of("autoencoder")[-1]


def test_the_start_counts_updates_of_the_generator(tmp_path):
    log = _Log()
    changes = {"discriminator_start": 0.5, "autoencoder_steps": 6, "diffusion_steps": 1}
    _train(tmp_path, progress=log, **changes)
    assert ["discriminator" in row for row in log.of("autoencoder")] == [False] * 3 + [True] * 3


def test_the_discriminators_update_is_that_of_their_hinge_losses_alone(tmp_path):
    changes = {
        "discriminator_start": 0.0,
        "autoencoder_steps": 1,
        "clip": 1e9,
        "diffusion_steps": 1,
    }
    method, seen = _build(**changes), {name: [] for name in DISCRIMINATORS}
    for name in DISCRIMINATORS:
        method.nets[name].register_forward_pre_hook(
            lambda net, inputs, name=name: seen[name].append(inputs[0].detach().clone())
        )
    _train(tmp_path, method=method)
    fresh = _build(**changes)
    for name in DISCRIMINATORS:
        real, made, again = seen[name]
        assert torch.equal(made, again)
        net = fresh.nets[name].train()
        adam = Adam(net.parameters(), lr=method.config.lr, betas=(0.5, 0.9), fused=True)
        hinge(net(real)[-1], net(made)[-1]).backward()
        adam.step()
        for expected, got in zip(net.parameters(), method.nets[name].parameters(), strict=True):
            clear = expected.grad.abs() > 1e-5  # a bias before a batch norm has none but rounding
            assert torch.allclose(expected[clear], got[clear], atol=1e-6)
        first, last = net.initial_conv.conv.weight.grad, net.final_conv.conv.weight.grad
        assert (first.abs() > 1e-5).any()
        assert (last.abs() > 1e-5).any()


def test_slices_of_real_and_reconstructed_volumes_have_one_depth_each(tmp_path):
    changes = {"discriminator_start": 0.0, "autoencoder_steps": 1, "diffusion_steps": 1}
    method, seen = _build(**changes), {name: [] for name in DISCRIMINATORS}
    for name in DISCRIMINATORS:
        method.nets[name].register_forward_pre_hook(
            lambda net, inputs, name=name: seen[name].append(inputs[0].detach().clone())
        )
    _train(tmp_path, method=method)
    flat, deep = (seen[name] for name in DISCRIMINATORS)
    for row in range(2):
        places = [
            {d for d in range(16) if torch.equal(volume[row, :, d], slices[row])}
            for slices, volume in zip(flat, deep, strict=True)
        ]
        assert set.intersection(*places)


def _stage_1_loss(tmp_path, monkeypatch, **changes):
    """Return the loss of the first update of the autoencoder, and what was logged."""
    losses, log = [], _Log()

    plain = training._Step.descend

    def descend(self, optimiser, loss, *, clip=None):
        losses.append(loss.item())
        plain(self, optimiser, loss, clip=clip)

    with monkeypatch.context() as patch:
        patch.setattr(training._Step, "descend", descend)
        _train(tmp_path, progress=log, autoencoder_steps=1, diffusion_steps=1, **changes)
    return losses[0], log.of("autoencoder")[0]


def test_the_loss_of_stage_1_has_the_weights_of_the_code(tmp_path, monkeypatch):
    loss, terms = _stage_1_loss(tmp_path / "a", monkeypatch, discriminator_start=1.0)
    assert loss == pytest.approx(4 * terms["pixel"] + 0.25 * terms["commitment"], rel=1e-5)
    loss, terms = _stage_1_loss(tmp_path / "b", monkeypatch, discriminator_start=0.0)
    expected = 4 * terms["pixel"] + 0.25 * terms["commitment"]
    expected += terms["fooled"] + 4 * terms["matching"]
    assert loss == pytest.approx(expected, rel=1e-5)
    assert terms["matching"] > 0


def test_the_perceptual_term_enters_with_its_weight(tmp_path, monkeypatch):

    monkeypatch.setattr(training._Run, "pretrained", lambda self, name, network: network)
    stand_in = lambda a, b: (a - b).abs().mean((1, 2, 3))  # noqa: E731
    monkeypatch.setattr(perceptual, "LPIPS", lambda net: stand_in)
    loss, terms = _stage_1_loss(
        tmp_path, monkeypatch, discriminator_start=1.0, perceptual="lpips-vgg"
    )
    expected = 4 * terms["pixel"] + 0.25 * terms["commitment"] + 4 * terms["perceptual"]
    assert loss == pytest.approx(expected, rel=1e-5)
    assert terms["perceptual"] > 0


def test_gradients_are_clipped_by_their_norm_over_all_networks_of_an_optimiser():
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    sgd = SGD(parameters, lr=1.0)
    sgd.register_step_pre_hook(clipper(1.0))
    for p, gradient in zip(parameters, ([3.0, 0.0], [0.0, 4.0]), strict=True):
        p.grad = torch.tensor(gradient)
    sgd.step()
    assert torch.allclose(torch.cat(parameters), torch.tensor([-0.6, 0, 0, -0.8]), atol=1e-5)
    for p in parameters:
        p.grad = torch.full((2,), 0.1)
    sgd.step()
    moved = torch.cat(parameters) - torch.tensor([-0.6, 0, 0, -0.8])
    assert torch.allclose(moved, torch.full((4,), -0.1), atol=1e-5)


def test_step_sizes_of_both_stages_fall_linearly_to_their_fraction(tmp_path, monkeypatch):
    sizes, step = [], Adam.step

    def watched(self, *args, **kwargs):
        sizes.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Adam, "step", watched)
    stages = {"autoencoder_steps": 2, "diffusion_steps": 2, "discriminator_start": 0.0}
    _train(tmp_path, lr=1e-3, diffusion_lr=1e-2, lr_end=0.5, **stages)
    both = [1e-3, 1e-3, 0.75e-3, 0.75e-3]  # of the autoencoder, then of the discriminators
    assert sizes == pytest.approx([*both, 1e-2, 0.75e-2])
    assert PAPER.config.lr_end == 1


def test_stage_two_leaves_stage_one_as_it_was(tmp_path, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(MedicalDiffusion, "_train_diffusion", lambda *_: None)
        short = _train(tmp_path / "short")
    long = _train(tmp_path / "long", diffusion_steps=6)
    assert _hash(short, STAGE_1) == _hash(long, STAGE_1)
    assert _hash(short, ["unet"]) != _hash(long, ["unet"])


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, trained, after):
    calls, changes = iter(range(after)), {"diffusion_lr": 1e-2}
    with pytest.raises(Interrupted):
        _train(tmp_path, stop=lambda: next(calls, None) is None, **changes)
    resumed = _train(tmp_path, **changes)
    whole = trained[MedicalDiffusion]
    assert _hash(resumed, resumed.nets) == _hash(whole, whole.nets)


def test_the_codebook_starts_from_data_once(tmp_path, monkeypatch):
    starts, plain = [], Codebook.initialise
    monkeypatch.setattr(Codebook, "initialise", lambda self, z: (starts.append(1), plain(self, z)))
    calls = iter(range(1))
    with pytest.raises(Interrupted):
        _train(tmp_path, stop=lambda: next(calls, None) is None)
    _train(tmp_path)
    assert len(starts) == 1


def test_the_range_is_that_of_the_final_codebook(trained):
    for method in trained.values():
        codes, span = method.nets["codebook"].vectors, method.nets["range"]
        assert (span.low, span.high) == (codes.min(), codes.max())


def test_latents_are_those_before_the_codebook_of_volumes_and_their_mirror_images(trained):
    method, data = trained[MedicalDiffusion], _data()
    with torch.inference_mode():
        found = latents_of(method.nets, data)
        images = data.take(torch.arange(4)).images
        for name, x in (("plain", images), ("mirrored", images.flip(4))):
            z = method.nets["to_code"](method.nets["encoder"](x))
            span = method.nets["range"]
            expected = 2 * (z - span.low) / (span.high - span.low) - 1
            assert found[name].shape == (4, 8, 4, 4, 4)
            assert torch.allclose(found[name], expected, atol=1e-5)
    assert not torch.allclose(found["plain"], found["mirrored"], atol=1e-2)
    assert found["labels"].tolist() == [0, 1, 0, 1]


def test_volumes_are_mirrored_as_often_as_asked(tmp_path):
    share = {}
    originals = _data().take(torch.arange(4)).images
    changes = {"autoencoder_steps": 12, "diffusion_steps": 1, "discriminator_start": 1.0}
    for flip in (0.0, 0.5, 1.0):
        method, seen = _build(flip=flip, **changes), []
        method.nets["encoder"].register_forward_pre_hook(
            lambda net, inputs, seen=seen: seen.append(inputs[0]) if net.training else None
        )
        _train(tmp_path / str(flip), method=method)
        volumes = torch.cat(seen)
        plain = (volumes[:, None] == originals).flatten(2).all(2).any(1)
        mirrored = (volumes[:, None] == originals.flip(4)).flatten(2).all(2).any(1)
        assert (plain ^ mirrored).all()
        share[flip] = mirrored.float().mean().item()
    assert share[0.0] == 0
    assert share[1.0] == 1
    assert 0.2 < share[0.5] < 0.8


@pytest.mark.parametrize("cls", BOTH)
def test_the_diffusion_loss_is_the_mean_absolute_error_of_the_noise(cls, tmp_path, monkeypatch):
    method, log, seen = _build(cls, diffusion_steps=20), _Log(), []

    def predict(net, inputs, output):
        seen.append(inputs[:2])
        return 0 * output + 0.25

    def latents(nets, data):
        grey = torch.full((4, 8, 4, 4, 4), 0.5)
        return {"plain": grey, "mirrored": grey, "labels": torch.tensor([0, 1, 0, 1])}

    method.nets["unet"].register_forward_hook(predict)
    module = conditional if cls is MedicalDiffusionC else unconditional
    monkeypatch.setattr(module, "latents_of", latents)
    _train(tmp_path, method=method, progress=log)
    abar = torch.cumprod(1 - cosine_betas(4, 0.9999), 0).float()
    for row, (noisy, times) in zip(log.of("diffusion"), seen, strict=True):
        a = abar[times].view(-1, 1, 1, 1, 1)
        noise = (noisy - a.sqrt() * 0.5) / (1 - a).sqrt()
        assert row["error"] == pytest.approx((noise - 0.25).abs().mean().item(), rel=1e-3)
    assert {t for _, times in seen for t in times.tolist()} == {0, 1, 2, 3}


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_labels_are_hidden_as_often_as_asked(tmp_path, dropout):
    changes = {"autoencoder_steps": 1, "diffusion_steps": 40, "label_dropout": dropout}
    method, seen = _build(MedicalDiffusionC, **changes), []
    method.nets["unet"].register_forward_pre_hook(lambda net, inputs: seen.append(inputs[3]))
    _train(tmp_path, method=method)
    assert torch.cat(seen).float().mean().item() == pytest.approx(dropout, abs=0.15)
    assert torch.cat(seen).shape == (80,)


@pytest.mark.parametrize("asked", [False, True], ids=["as the data hold them", "balanced"])
def test_both_stages_draw_the_classes_as_asked(asked, tmp_path, monkeypatch):
    seen, draw = {"images": [], "plain": []}, training._Step.batch

    def watched(self, rows, size):
        batch = draw(self, rows, size)
        seen["images" if hasattr(batch, "images") else "plain"].append(batch.labels)
        return batch

    monkeypatch.setattr(training._Step, "batch", watched)
    data = _data(8)
    data._labels = torch.tensor([0] * 7 + [1])
    steps = {"autoencoder_steps": 12, "diffusion_steps": 12, "discriminator_start": 1.0}
    train(_build(MedicalDiffusionC, balanced=asked, **steps), data, tmp_path, seed=0, scope="all")
    for labels in seen.values():
        share = torch.cat(labels).float().mean().item()
        assert share == pytest.approx(0.5 if asked else 1 / 8, abs=0.15)


def test_without_labels_in_training_the_classes_learn_nothing(tmp_path):
    method = _train(tmp_path, MedicalDiffusionC, label_dropout=1.0)
    fresh = _build(MedicalDiffusionC)
    name = "embedding.weight"
    assert torch.equal(
        method.nets["unet"].get_parameter(name), fresh.nets["unet"].get_parameter(name)
    )
    assert not torch.equal(method.nets["unet"].null, fresh.nets["unet"].null)


@pytest.mark.parametrize(("scale", "forwards"), [(1.0, 1), (0.0, 2), (3.0, 2)])
def test_guidance_is_the_linear_formula_and_costs_nothing_at_one(trained, scale, forwards):
    method = trained[MedicalDiffusionC]
    net, calls = method.nets["average"], []
    x, times, labels = torch.randn(2, 8, 4, 4, 4), torch.tensor([2, 2]), torch.tensor([0, 1])
    hidden = torch.tensor([True, True])
    guided = _build(MedicalDiffusionC, guidance=scale)
    with torch.inference_mode():
        of_class, of_none = (net(x, times, labels, h) for h in (~hidden, hidden))
        handle = net.module.register_forward_hook(lambda *_: calls.append(1))
        noise = guided._guided(net, x, times, labels)
        handle.remove()
    assert len(calls) == forwards
    assert (of_class - of_none).abs().max() > 1e-3
    assert torch.allclose(noise, of_none + scale * (of_class - of_none), atol=1e-5)


def test_guidance_between_equal_predictions_changes_nothing():
    method, noise = _build(MedicalDiffusionC, guidance=7.0), torch.randn(2, 8, 4, 4, 4)
    guided = method._guided(lambda *_: noise, noise, None, torch.tensor([0, 1]))
    assert torch.allclose(guided, noise)


def test_the_label_changes_what_the_network_predicts_and_what_is_sampled(trained):
    method = trained[MedicalDiffusionC]
    x, times = torch.randn(1, 8, 4, 4, 4).repeat(2, 1, 1, 1, 1), torch.tensor([2, 2])
    with torch.inference_mode():
        one, two = method._guided(method.nets["average"], x, times, torch.tensor([0, 1]))
    assert (one - two).abs().max() > 1e-3
    one, two = _draw(method, [0, 1], (5, 5))
    assert not torch.equal(one, two)
    with pytest.raises(IndexError):
        _draw(method, [2], (5,))


@pytest.mark.parametrize("cls", BOTH)
def test_samples_are_decoded_codes_clipped_to_the_range_of_volumes(cls, trained, monkeypatch):
    method, decoded = trained[cls], []
    net = method.nets["decoder"]
    first = method.nets["from_code"].register_forward_pre_hook(
        lambda net, inputs: decoded.append(inputs[0])
    )
    last = net.register_forward_hook(lambda net, inputs, output: 5 * output)
    volumes = _draw(method, [0, 1, 0], (1, 2, 3))
    first.remove()
    last.remove()
    assert volumes.shape == (3, 1, 16, 16, 16)
    assert volumes.dtype == torch.float32
    assert volumes.abs().max() == 1
    rows = decoded[0].movedim(1, -1).flatten(0, -2)
    codes = method.nets["codebook"].vectors
    assert (rows[:, None] == codes).all(2).any(1).all()


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp"])
@pytest.mark.parametrize("cls", BOTH)
def test_samples_follow_their_own_generator_with_every_sampler(cls, sampler, trained):
    method = _build(cls, sampler=sampler)
    for name, net in trained[cls].nets.items():
        method.nets[name].load_state_dict(net.state_dict())
        method.nets[name].eval()
    together = _draw(method, [0, 1, 0], (1, 2, 3))
    assert together.isfinite().all()
    assert together.abs().max() <= 1
    assert torch.equal(together, _draw(method, [0, 1, 0], (1, 2, 3)))
    assert torch.allclose(together[1:2], _draw(method, [1], (2,)), atol=1e-4)
    assert not torch.allclose(*(volume for volume in _draw(method, [0, 0], (1, 2))))


def test_samples_come_from_the_averaged_weights(trained):
    method = _build()
    for name, net in trained[MedicalDiffusion].nets.items():
        method.nets[name].load_state_dict(net.state_dict())
        method.nets[name].eval()
    first = _draw(method, [0], (1,))
    nn.init.normal_(method.nets["unet"].first.weight)
    assert torch.equal(first, _draw(method, [0], (1,)))
    nn.init.normal_(method.nets["average"].module.first.weight)
    assert not torch.equal(first, _draw(method, [0], (1,)))


def test_diagnose_measures_reconstructions(trained):
    method, data = trained[MedicalDiffusion], _data()
    with torch.inference_mode():
        (found,) = method.diagnose(data, data, None, [])
        images = data.take(torch.arange(4)).images
        z = method.nets["to_code"](method.nets["encoder"](images))
        y = method.nets["decoder"](
            method.nets["from_code"](method.nets["codebook"](z).vectors)
        ).clamp(-1, 1)
    expected = (y - images).abs().mean((1, 2, 3, 4)).tolist()
    assert found.name == "reconstruction-l1"
    assert found.values["train"] == pytest.approx(expected, rel=1e-4)
    assert found.values["test"] == pytest.approx(expected, rel=1e-4)
    assert all(a != b for a, b in pairwise(expected))
