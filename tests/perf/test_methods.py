"""Training steps and sampling at 32^3 beside a plain form of the same, in the same run.

Three forms of a training: in the harness; bare, the same networks and precision in a loop that
draws batches and updates; and plain, that loop in float32 with contiguous tensors, upsampling and
convolution one after the other, filters run over every slice, Adam one operation at a time and the
gradients of all networks in every backward pass. Prints plain / harness, and what share of the time
the harness is. Times decide nothing; what is asserted is that the plain form is the same method.
Run with ``pytest tests/perf -s``; the ratios mean something only on a machine with as many free
cores as threads.
"""

import dataclasses
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cerebench.benchmark.stages.training import (
    TrainingData,
    load_networks,
    seeded,
    train,
    trained_by,
)
from cerebench.methods.alpha_wgan import AlphaWGAN
from cerebench.methods.base import Conditions
from cerebench.methods.layers.upsampling import UpsampleConv
from cerebench.methods.med_ddpm import MedDDPM
from cerebench.methods.medical_diffusion.method import MedicalDiffusion
from cerebench.methods.vqgan import method as vqgan

SIZE, STEPS, SHARD = 32, 3, 4
# The quick presets, cut to a few steps in which every term of the losses takes part.
CUTS = {
    AlphaWGAN: {"steps": STEPS, "statistics": 0, "watch_every": 10**9, "watch_pairs": 1},
    MedDDPM: {"steps": STEPS, "sampler_steps": 3},
    MedicalDiffusion: {
        "autoencoder_steps": STEPS,
        "diffusion_steps": STEPS,
        "discriminator_start": 0.0,
        "timesteps": 3,
    },
    vqgan.VQGAN: {
        "autoencoder_steps": STEPS,
        "transformer_steps": STEPS,
        "discriminator_start": 0.0,
    },
}
SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def _method(cls, **changes):
    config = dataclasses.replace(cls.presets["quick"].config, **CUTS[cls], **changes)
    with seeded(0, "init"):
        return cls(config, size=SIZE, classes=("LGG", "HGG"))


def _data():
    volumes = np.random.default_rng(0).uniform(-1, 1, (16, 1, SIZE, SIZE, SIZE)).astype(np.float32)
    return TrainingData(volumes, None, [0] * 16, [str(i) for i in range(16)], "cpu")


class _PlainUpsampleConv(UpsampleConv):
    def forward(self, x):
        return functional.conv3d(
            functional.interpolate(x, scale_factor=2.0), self.weight, self.bias, padding=1
        )


def _plain_gradient_loss(x, y):
    total = 0
    for axis in (2, 3, 4):
        slices = [v.movedim(axis, 1).flatten(0, 1) for v in (x, y)]  # (B slices, C, ., .)
        for kernel in (SOBEL, SOBEL.T):
            a, b = (functional.conv2d(v, kernel[None, None], padding=1) for v in slices)
            total = total + (a - b).square().mean()
    return total


def _make_plain(method):
    for net in method.nets.values():
        for module in net.modules():
            module._forward_pre_hooks.clear()
            module._forward_hooks.clear()
            if isinstance(module, UpsampleConv):
                module.__class__ = _PlainUpsampleConv
            elif isinstance(module, nn.GroupNorm):
                module.__class__ = nn.GroupNorm
        for parameter in net.parameters():
            parameter.data = parameter.data.contiguous()


class _BareRun:
    """A loop around the steps of a method and nothing else."""

    def __init__(self, half, plain):
        self.half, self.plain, self.seconds = half, plain, {}

    def phase(self, name, **tracked):
        for optimiser in tracked.values():
            for group in optimiser.param_groups:
                group["fused"] = group["fused"] and not self.plain
        self.seconds[name] = []
        return _BarePhase(self, self.seconds[name])


class _BarePhase:
    def __init__(self, run, seconds):
        self._run, self._seconds = run, seconds

    def steps(self, total):
        for index in range(total):
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=self._run.half, cache_enabled=False):
                yield _BareStep(self._run, index, index / total)
            self._seconds.append(time.perf_counter() - began)

    @torch.no_grad()
    def once(self, name, compute):
        return compute()

    def log(self, **scalars):
        pass

    def warn(self, text):
        pass


class _BareStep:
    def __init__(self, run, index, progress):
        self._plain, self.index, self.progress = run.plain, index, progress
        self.randn, self.rand = torch.randn, torch.rand

    def batch(self, data, size):
        return data.take(torch.randint(len(data), (size,)))

    def descend(self, optimiser, loss, *, clip=None):
        optimisers, trained = trained_by(optimiser)
        for each in optimisers:
            each.zero_grad()
        with torch.autocast("cpu", enabled=False):
            loss.backward(inputs=None if self._plain else trained)
            if clip is not None:
                nn.utils.clip_grad_value_(trained, clip)
        for each in optimisers:
            each.step()


def _harnessed(cls, folder):
    """Train in the harness; return the seconds of each phase's steps."""
    method, ends = _method(cls), {}
    began = time.perf_counter()
    train(
        method,
        _data(),
        folder,
        seed=0,
        scope="LGG",
        progress=lambda phase, *_: ends.setdefault(phase, [began]).append(time.perf_counter()),
    )
    return {phase: np.diff(times)[1:] for phase, times in ends.items()}


def _bare(cls, folder, *, plain):
    method = _method(cls, precision="fp32") if plain else _method(cls)
    load_networks(method.nets, folder / "model.safetensors", "cpu")  # in the harness's layout
    if plain:
        _make_plain(method)
    for net in method.nets.values():
        net.train()
    run = _BareRun(method.config.precision == "bf16", plain)
    method.train(_data(), run)
    return {phase: seconds[1:] for phase, seconds in run.seconds.items()}


def _sampled(cls, folder, *, plain):
    """Return a shard of samples of the trained networks, and its seconds."""
    method = _method(cls)
    load_networks(method.nets, folder / "model.safetensors", "cpu")
    if plain:
        _make_plain(method)
    rngs = [torch.Generator().manual_seed(i) for i in range(SHARD)]
    began = time.perf_counter()
    with torch.inference_mode():
        volumes = method.sample(Conditions(torch.zeros(SHARD, dtype=torch.int64)), rngs)
    return volumes, time.perf_counter() - began


@pytest.mark.parametrize("cls", CUTS, ids=lambda cls: cls.info.name)
def test_a_step_and_a_sample_beside_plain_ones(cls, benchmark, tmp_path, monkeypatch):
    harness = benchmark.pedantic(_harnessed, (cls, tmp_path), rounds=1)
    bare = _bare(cls, tmp_path, plain=False)
    with monkeypatch.context() as patched:
        patched.setattr(vqgan, "gradient_loss", _plain_gradient_loss)
        plain = _bare(cls, tmp_path, plain=True)
    ours, seconds = _sampled(cls, tmp_path, plain=False)
    reference, plain_seconds = _sampled(cls, tmp_path, plain=True)
    ratios = {"sampling": plain_seconds / seconds}
    for phase, times in harness.items():
        ratios[phase] = min(plain[phase]) / min(times)
        ratios[f"{phase} harness share"] = 1 - min(bare[phase]) / min(times)
    benchmark.extra_info.update(ratios, threads=torch.get_num_threads())
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    print(f"\n{cls.info.name} at {SIZE}^3, plain / ours: {shown}")  # noqa: T201
    assert (ours - reference).abs().mean() < 1e-3
    x, y = torch.rand(2, 1, 1, 8, 8, 8)
    assert torch.allclose(vqgan.gradient_loss(x, y), _plain_gradient_loss(x, y), rtol=1e-4)
