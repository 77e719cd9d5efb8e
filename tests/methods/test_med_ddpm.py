"""3D-Med-DDPM: network against counts, shapes and a second implementation; training; sampling."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from cerebench.benchmark.planning.config import resolve
from cerebench.benchmark.stages import training
from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.methods.base import BadConfig, Conditions
from cerebench.methods.layers.diffusion import SAMPLERS, cosine_betas
from cerebench.methods.layers.ema import WeightAverage
from cerebench.methods.med_ddpm import (
    PAPER,
    QUICK,
    REPO,
    SMOKE,
    MedDDPM,
    MedDDPMUNet,
    step_embedding,
    unet,
)
from cerebench.methods.med_ddpm_c import MedDDPMC
from cerebench.methods.med_ddpm_mask import MedDDPMMask

VARIANTS = (MedDDPM, MedDDPMMask, MedDDPMC)


def _count(net):
    return sum(p.numel() for p in net.parameters())


def _paper_net(**changes):
    with torch.device("meta"):
        return unet(dataclasses.replace(PAPER.config, **changes), 128, 1)


def _volumes(count=4, size=16, seed=0):
    """Return blobs of different brightness on background -1."""
    rng = np.random.default_rng(seed)
    axes = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij"))
    inside = (axes**2).sum(0) < 0.5
    levels = rng.uniform(0, 0.8, (count, 1, 1, 1, 1))
    return np.where(inside, levels, -1.0).astype(np.float32)


def _data(count=4):
    volumes = _volumes(count)
    masks = (volumes > -1).astype(np.uint8)
    labels = [i % 2 for i in range(count)]
    return TrainingData(volumes, masks, labels, [str(i) for i in range(count)], "cpu")


def _build(cls=MedDDPM, **changes):
    with seeded(0, "init"):
        config = dataclasses.replace(SMOKE.config, **changes)
        return cls(config, size=16, classes=("LGG", "HGG"))


def _train(method, folder, **options):
    train(method, _data(), folder, seed=0, scope="LGG", **options)
    return method


@pytest.mark.parametrize(
    ("cls", "size", "parameters"),
    [
        (MedDDPM, 128, 40_222_977),
        (MedDDPMMask, 128, 40_224_705),
        (MedDDPMC, 128, 40_223_489),
        (MedDDPM, 64, 39_049_665),
    ],
)
@pytest.mark.parametrize("preset", [PAPER, REPO])
def test_networks_have_the_published_parameter_counts(cls, size, parameters, preset):
    with torch.device("meta"):
        method = cls(preset.config, size=size, classes=("LGG", "HGG"))
    counts = {name: _count(net) for name, net in method.nets.items()}
    assert counts == {"unet": parameters, "average": parameters}


@pytest.mark.parametrize(
    ("masks", "blocks", "parameters"),
    [(2, 1, 40_226_433), (3, 1, 40_228_161), (0, 2, 58_288_321)],
)
def test_other_published_forms_have_their_parameter_counts(masks, blocks, parameters):
    config = dataclasses.replace(PAPER.config, blocks=blocks)
    with torch.device("meta"):
        assert _count(unet(config, 128, 1, masks=masks)) == parameters


@pytest.mark.parametrize(("fold", "grid"), [(1, 16), (2, 8), (4, 4)])
def test_blocks_of_voxels_become_channels_before_the_network_and_voxels_after_it(fold, grid):
    net = unet(dataclasses.replace(SMOKE.config, fold=fold), 16, 1, masks=1)
    seen = []
    net.conv_in.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.randn(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert net(x, torch.zeros(2, dtype=torch.int64)).shape == (2, 1, 16, 16, 16)
    assert seen[0].shape == (2, 2 * fold**3, grid, grid, grid)
    block = seen[0][1, fold**3 :, 1, 0, 1]  # of the mask channel: what channels hold of a voxel
    corner = x[1, 1, fold : 2 * fold, :fold, fold : 2 * fold]
    assert torch.equal(block.sort().values, corner.flatten().sort().values)


def test_a_folded_network_puts_every_voxel_back_in_its_place():
    net = unet(dataclasses.replace(SMOKE.config, fold=2), 16, 1)
    seen = []
    net.conv_in.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    net.out.register_forward_hook(lambda module, inputs, output: seen[-1])
    x = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net(x, torch.zeros(1, dtype=torch.int64)), x)


@pytest.mark.parametrize("cls", VARIANTS)
@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_the_loss_is_that_of_the_prediction_asked_for(tmp_path, cls, prediction, loss):
    method, losses, seen = _build(cls, steps=1, prediction=prediction, loss=loss), [], []
    method.nets["unet"].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[:2]) or 0 * output + 0.25
    )
    batches, draw = [], training._Step.batch

    def watched(step, data, count):
        batches.append(draw(step, data, count))
        return batches[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Step, "batch", watched)
        _train(method, tmp_path, progress=lambda p, d, t, shown: losses.append(shown["error"]))
    (noisy, times), x0 = seen[0], batches[0].images
    a = torch.cumprod(1 - cosine_betas(4, 0.999), 0).float()[times].view(-1, 1, 1, 1, 1)
    noise = (noisy[:, :1] - a.sqrt() * x0) / (1 - a).sqrt()
    target = {"noise": noise, "x0": x0, "v": a.sqrt() * noise - (1 - a).sqrt() * x0}[prediction]
    difference = target - 0.25
    expected = difference.abs().mean() if loss == "l1" else difference.square().mean()
    assert losses[0] == pytest.approx(expected.item(), rel=1e-3)


def test_blocks_have_the_parameters_of_the_table():
    net = _paper_net()
    down = [_count(block.resnets[0]) for block in net.down_blocks]
    down[3] += _count(net.down_blocks[3].attentions[0])
    strides = [_count(block.downsampler) for block in net.down_blocks[:-1]]
    assert _count(net.time_embed) == 82_432
    assert _count(net.conv_in) == 1_792
    assert down == [238_016, 238_016, 705_408, 1_882_624, 3_213_184]
    assert strides == [110_656, 110_656, 442_496, 995_520]
    middle = net.middle_block
    parts = (middle.resnet_1, middle.attention, middle.resnet_2)
    assert [_count(part) for part in parts] == [3_606_272, 263_680, 3_606_272]
    expected = [
        5_507_584 + 6_818_432,
        3_603_584 + 3_910_720,
        1_623_424 + 1_606_912,
        471_808 + 467_648,
        2 * 356_992,
    ]
    assert [_count(block) for block in net.up_blocks] == expected
    assert _count(net.out) == 1_857


def test_layers_have_the_sizes_and_channels_of_the_table():
    net, shapes = _paper_net(), {}

    def record(name):
        return lambda module, inputs, output: shapes.update({name: tuple(output.shape[1:3])})

    for i, (down, up) in enumerate(zip(net.down_blocks, net.up_blocks, strict=True)):
        down.resnets[0].register_forward_hook(record(f"down{i}"))
        for j, block in enumerate(up.resnets):
            block.register_forward_hook(record(f"up{i}.{j}"))
    net.middle_block.register_forward_hook(record("middle"))
    with torch.device("meta"):
        out = net(torch.zeros(2, 1, 32, 32, 32), torch.zeros(2, dtype=torch.int64))
    assert out.shape == (2, 1, 32, 32, 32)
    widths = [(64, 32), (64, 16), (128, 8), (192, 4), (256, 2)]
    expected = {f"down{i}": shape for i, shape in enumerate(widths)} | {"middle": (256, 2)}
    for i, shape in enumerate(reversed(widths)):
        expected |= {f"up{i}.0": shape, f"up{i}.1": shape}
    assert shapes == expected


def test_a_forward_pass_at_the_paper_size_costs_what_was_measured():
    net = _paper_net()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, 128, 128, 128), torch.zeros(1, dtype=torch.int64))
    assert counter.get_total_flops() == pytest.approx(5.49e12, rel=1e-2)


@pytest.mark.parametrize(
    ("size", "edge", "levels"), [(128, 16, 3), (64, 16, 2), (32, 16, 1), (32, 8, 2), (32, 4, None)]
)
def test_attention_sits_at_its_edge_length_and_in_the_middle(size, edge, levels):
    config = dataclasses.replace(PAPER.config, attention=edge).for_size(size)
    with torch.device("meta"):
        net = unet(config, size, 1)
    found = [i for i, block in enumerate(net.down_blocks) if hasattr(block, "attentions")]
    assert found == ([] if levels is None else [levels])
    assert net.middle_block.attention.attn.num_heads == 1


def test_embedding_of_the_diffusion_step_has_the_golden_values():
    net, seen = _tiny((64, 64), groups=32), []
    net.time_embed.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(torch.zeros(1, 1, 4, 4, 4), torch.tensor([100]))
    assert torch.equal(seen[0], step_embedding(torch.tensor([100]), 64))
    golden = [0.86231887, 0.45609843, 0.99231024, -0.50636564, -0.88992934, 0.12377553]
    assert seen[0].shape == (1, 64)
    assert seen[0][0, [0, 1, 31, 32, 33, 63]].tolist() == pytest.approx(golden, abs=1e-6)


def _tiny(channels=(8, 16), groups=8, inputs=1, classes=None):
    torch.manual_seed(0)
    return MedDDPMUNet(
        inputs=inputs,
        outputs=1,
        channels=channels,
        blocks=1,
        attention=[False] * (len(channels) - 1) + [True],
        norm_groups=groups,
        classes=classes,
    )


def test_the_output_is_exactly_zero_before_training():
    net, x = _tiny(classes=2), torch.randn(2, 1, 16, 16, 16)
    assert torch.equal(net(x, torch.tensor([3, 200]), torch.tensor([0, 1])), torch.zeros_like(x))


def test_every_branch_starts_at_zero():
    starts = [
        p
        for name, p in _tiny().named_parameters()
        if "conv2" in name or "out_proj" in name or name.startswith("out.2")
    ]
    assert len(starts) == 2 * (8 + 4 + 1)  # residual branches, attentions, output
    assert all(not p.any() for p in starts)


class _Plain:
    """The same network written a second time, as functions of the weights."""

    def __init__(self, net, channels, groups):
        self.w, self.levels, self.groups = dict(net.named_parameters()), len(channels), groups
        self.width = channels[0]

    def conv(self, x, name, **options):
        return functional.conv3d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **options)

    def norm(self, x, name):
        return functional.group_norm(
            x, self.groups, self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5
        )

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def residual(self, x, embedding, name):
        h = self.conv(
            functional.silu(self.norm(x, f"{name}.norm1")), f"{name}.conv1.conv", padding=1
        )
        shift = self.linear(functional.silu(embedding), f"{name}.time_emb_proj")
        h = functional.silu(self.norm(h + shift[..., None, None, None], f"{name}.norm2"))
        h = self.conv(h, f"{name}.conv2.conv", padding=1)
        if f"{name}.skip_connection.conv.weight" in self.w:
            x = self.conv(x, f"{name}.skip_connection.conv")
        return x + h

    def attention(self, x, name):
        tokens = self.norm(x, f"{name}.norm").flatten(2).transpose(1, 2)
        q, k, v = (self.linear(tokens, f"{name}.attn.to_{letter}") for letter in "qkv")
        weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
        tokens = self.linear(weights @ v, f"{name}.attn.out_proj")
        return x + tokens.transpose(1, 2).reshape(x.shape)

    def __call__(self, x, times):
        k = torch.arange(self.width // 2)
        angles = times[:, None] * torch.exp(-math.log(1000) * k / (self.width // 2))
        embedding = torch.cat((angles.cos(), angles.sin()), 1)
        embedding = functional.silu(self.linear(embedding, "time_embed.0"))
        embedding = self.linear(embedding, "time_embed.2")
        h = self.conv(x, "conv_in.conv", padding=1)
        skips = [h]
        for i in range(self.levels):
            h = self.residual(h, embedding, f"down_blocks.{i}.resnets.0")
            if i == self.levels - 1:
                h = self.attention(h, f"down_blocks.{i}.attentions.0")
            skips.append(h)
            if i < self.levels - 1:
                h = self.conv(h, f"down_blocks.{i}.downsampler.op.conv", stride=2, padding=1)
                skips.append(h)
        h = self.residual(h, embedding, "middle_block.resnet_1")
        h = self.attention(h, "middle_block.attention")
        h = self.residual(h, embedding, "middle_block.resnet_2")
        for i in range(self.levels):
            for j in range(2):
                h = self.residual(
                    torch.cat((h, skips.pop()), 1), embedding, f"up_blocks.{i}.resnets.{j}"
                )
                if i == 0:
                    h = self.attention(h, f"up_blocks.{i}.attentions.{j}")
            if i < self.levels - 1:
                h = functional.interpolate(h, scale_factor=2, mode="trilinear", align_corners=False)
                h = self.conv(h, f"up_blocks.{i}.upsampler.postconv.conv", padding=1)
        return self.conv(functional.silu(self.norm(h, "out.0")), "out.2.conv", padding=1)


def test_network_agrees_with_a_second_implementation():
    net = _tiny((8, 8, 16))
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    x, times = torch.randn(2, 1, 16, 16, 16), torch.tensor([7, 180])
    with torch.no_grad():
        ours, plain = net(x, times), _Plain(net, (8, 8, 16), 8)(x, times)
    assert ours.std() > 0.1
    assert (ours - plain).abs().max() < 1e-4 * ours.std()


def test_sizes_below_the_paper_lose_their_finest_levels():
    widths = {size: PAPER.config.for_size(size).channels for size in (16, 32, 64, 128, 256)}
    assert widths[16] == (192, 256)
    assert widths[32] == (128, 192, 256)
    assert widths[64] == (64, 128, 192, 256)
    assert widths[128] == widths[256] == (64, 64, 128, 192, 256)
    assert QUICK.config.for_size(32).for_size(32) == QUICK.config.for_size(32)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 48, "power of two"),
        ({}, 8, "power of two"),
        ({"channels": (64, 72)}, 16, "channels holds 72"),
        ({"sampler": "ddim", "sampler_steps": 60}, 128, "must divide the 250"),
        ({"sampler": "euler"}, 128, "med-ddpm.sampler must be ddpm, ddim or dpmpp, got 'euler'"),
        ({"fold": 3}, 32, "med-ddpm.fold must be 1, 2, 4 or 8, got 3"),
        ({"fold": 6}, 32, "med-ddpm.fold must be 1, 2, 4 or 8, got 6"),
        ({"channels": (8, 7)}, 16, "channels must be a list of 1 or more multiples of 2"),
    ],
)
def test_impossible_settings_are_refused(changes, size, message):
    with pytest.raises(BadConfig, match=message):
        MedDDPM(dataclasses.replace(PAPER.config, **changes), size=size, classes=("LGG", "HGG"))


@pytest.mark.parametrize("cls", VARIANTS)
@pytest.mark.parametrize("preset", ["paper", "repo", "quick", "smoke"])
def test_the_sampler_is_a_setting_and_brings_its_steps(cls, preset):
    steps = {s: resolve(cls, preset, 32, {"sampler": s}).values["sampler_steps"] for s in SAMPLERS}
    all_steps = {"quick": 50, "smoke": 4}.get(preset, 250)
    expected = {"ddpm": all_steps, "ddim": 50, "dpmpp": 25}
    assert steps == {sampler: min(count, all_steps) for sampler, count in expected.items()}
    assert resolve(cls, "paper", 128).values["sampler"] == "ddpm"


def _follow(monkeypatch):
    """Record the weights of the output layer after every optimiser step."""
    weights, plain = [], WeightAverage.follow

    def follow(self, net, step):
        weights.append(net.out[2].conv.weight.detach().clone())
        plain(self, net, step)

    monkeypatch.setattr(WeightAverage, "follow", follow)
    return weights


def test_samples_come_from_the_average_of_the_weights(monkeypatch, tmp_path):
    weights = _follow(monkeypatch)
    method = _train(_build(steps=4, lr=1e-2), tmp_path)
    w = weights[0]
    for later in weights[1:]:
        w = 0.5 * w + 0.5 * later
    average = method.nets["average"].module.out[2].conv.weight
    assert torch.allclose(average, w, atol=1e-6)
    assert not torch.allclose(average, weights[-1], atol=1e-4)
    conditions = Conditions(torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        first = method.sample(conditions, [torch.Generator().manual_seed(0)])
        nn.init.normal_(method.nets["unet"].conv_in.conv.weight)
        again = method.sample(conditions, [torch.Generator().manual_seed(0)])
        nn.init.normal_(method.nets["average"].module.out[2].conv.weight)
        other = method.sample(conditions, [torch.Generator().manual_seed(0)])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("drop", "end", "expected"),
    [
        (0.1, 1.0, (1, 1, 0.1, 0.1)),
        (1.0, 0.2, (1, 0.8, 0.6, 0.4)),
        (0.1, 0.2, (1, 0.8, 0.06, 0.04)),
    ],
)
def test_the_step_size_falls_at_half_of_the_training_and_linearly(
    drop, end, expected, monkeypatch, tmp_path
):
    biases, sizes, follow = [torch.zeros(1)], [], WeightAverage.follow

    def watched(self, net, step):
        biases.append(net.out[2].conv.bias.detach().clone())
        follow(self, net, step)

    def step(self, *args, **kwargs):
        sizes.append(self.param_groups[0]["lr"])
        return plain_step(self, *args, **kwargs)

    plain_step = Adam.step
    monkeypatch.setattr(WeightAverage, "follow", watched)
    monkeypatch.setattr(Adam, "step", step)
    _train(_build(steps=4, lr=1e-3, lr_drop=drop, lr_end=end), tmp_path)
    assert sizes == pytest.approx([1e-3 * factor for factor in expected])
    # Adam's first step has the step size.
    assert abs((biases[1] - biases[0]).item()) == pytest.approx(1e-3, rel=1e-3)
    assert (PAPER.config.lr_drop, PAPER.config.lr_end) == (0.1, 1)
    assert (REPO.config.lr_drop, REPO.config.lr_end) == (1, 1)


@pytest.mark.slow
def test_the_loss_is_the_mean_absolute_error_of_the_noise_at_uniform_steps(monkeypatch, tmp_path):
    method, seen, batches, losses = _build(steps=40, batch=4), [], [], []

    def watched(self, rows, size):
        batches.append(draw(self, rows, size))
        return batches[-1]

    def predict(net, inputs, output):
        seen.append(inputs)
        return 0 * output + 0.25

    draw = training._Step.batch
    monkeypatch.setattr(training._Step, "batch", watched)
    method.nets["unet"].register_forward_hook(predict)
    train(
        method,
        _data(),
        tmp_path,
        seed=0,
        scope="LGG",
        progress=lambda phase, done, total, shown: losses.append(shown["error"]),
    )
    abar = torch.cumprod(1 - cosine_betas(4, 0.999), 0).float()
    for loss, (noisy, times), batch in zip(losses, seen, batches, strict=True):
        a = abar[times].view(-1, 1, 1, 1, 1)
        noise = (noisy - a.sqrt() * batch.images) / (1 - a).sqrt()
        assert loss == pytest.approx((noise - 0.25).abs().mean().item(), rel=1e-4)
    times = torch.cat([times for _, times in seen])
    assert torch.bincount(times, minlength=4).tolist() == pytest.approx([40] * 4, abs=20)


def test_one_batch_of_two_has_the_gradient_of_two_batches_of_one():
    net = _tiny()
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    x, noise = torch.randn(2, 2, 1, 16, 16, 16)
    times = torch.tensor([7, 180])

    def gradient(rows):
        net.zero_grad()
        for some in rows:
            loss = (net(x[some], times[some]) - noise[some]).abs().mean()
            (loss / len(rows)).backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    together, accumulated = gradient([slice(0, 2)]), gradient([slice(0, 1), slice(1, 2)])
    assert torch.allclose(together, accumulated, rtol=1e-3, atol=1e-5 * together.abs().max())


def test_masks_enter_as_a_channel_of_minus_one_and_one(monkeypatch, tmp_path):
    method, seen = _build(MedDDPMMask), []
    hook = method.nets["unet"].register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    _train(method, tmp_path)
    hook.remove()
    assert all(x.shape == (2, 2, 16, 16, 16) for x in seen)
    assert all(set(x[:, 1].unique().tolist()) == {-1.0, 1.0} for x in seen)
    with torch.no_grad():
        masks = torch.stack([torch.zeros(1, 16, 16, 16), torch.ones(1, 16, 16, 16)])
        nn.init.normal_(method.nets["average"].module.conv_in.conv.weight)
        streams = [torch.Generator().manual_seed(0) for _ in range(2)]
        one, two = method.sample(Conditions(torch.zeros(2, dtype=torch.int64), masks), streams)
    assert not torch.equal(one, two)


def test_the_mask_variant_says_when_masks_are_missing():
    with pytest.raises(ValueError, match="needs a mask per case"):
        _build(MedDDPMMask).sample(
            Conditions(torch.zeros(1, dtype=torch.int64)), [torch.Generator()]
        )


def test_labels_change_the_class_variant_by_their_embedding_alone(tmp_path):
    method = _train(_build(MedDDPMC, lr=1e-2), tmp_path)
    labels = torch.tensor([0, 1])

    def draw():
        with torch.no_grad():
            streams = [torch.Generator().manual_seed(0) for _ in labels]
            return method.sample(Conditions(labels), streams)

    one, two = draw()
    assert not torch.equal(one, two)
    table = method.nets["average"].module.class_embedding.weight
    with torch.no_grad():
        table[1] = table[0]
    one, two = draw()
    assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("cls", VARIANTS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_four_steps_of_every_sampler_give_volumes(cls, sampler, tmp_path):
    method = _train(_build(cls, sampler=sampler, lr=1e-2), tmp_path)
    masks = _data().take(torch.arange(3)).masks
    conditions = Conditions(torch.tensor([0, 1, 0]), masks)

    def draw(seeds, rows):
        given = Conditions(conditions.labels[rows], masks[rows])
        with torch.inference_mode():
            return method.sample(given, [torch.Generator().manual_seed(s) for s in seeds])

    volumes = draw((1, 2, 3), [0, 1, 2])
    assert volumes.shape == (3, 1, 16, 16, 16)
    assert volumes.dtype == torch.float32
    assert volumes.abs().max() <= 1
    assert torch.allclose(volumes[1:2], draw((2,), [1]), atol=1e-4)


@pytest.mark.slow
def test_one_volume_can_be_learned(tmp_path):
    # 200 steps: a longer phase would not log its first one.
    method, errors = _build(steps=200, batch=1, lr=2e-3, timesteps=250), []
    volumes = _volumes(1)
    data = TrainingData(volumes, None, [0], ["one"], "cpu")
    train(
        method,
        data,
        tmp_path,
        seed=0,
        scope="LGG",
        progress=lambda phase, done, total, shown: errors.append(shown.get("error")),
    )
    errors = [e for e in errors if e is not None]
    assert errors[0] == pytest.approx(0.798, abs=0.02)  # E|N(0, 1)|: the network predicts 0
    assert np.mean(errors[-30:]) < 0.5 * 0.798
