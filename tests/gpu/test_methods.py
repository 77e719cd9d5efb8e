"""Every method on a real GPU: steps, resumes, samples, diagnoses and maps."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from cerebench.benchmark.conformance import methods as conformance
from cerebench.benchmark.device import device_name, exact_arithmetic, has_bf16
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.stages.sampling import sample_shard
from cerebench.benchmark.stages.training import load_networks, train
from cerebench.methods.base import has_hook

METHODS = Registries().methods.names()
GANS = [name for name in METHODS if "wgan" in name]


def subject(name, **settings):
    """A method whose smoke preset has these settings."""
    found = conformance.Subject(name, Registries())
    smoke = found.cls.presets["smoke"]
    config = dataclasses.replace(smoke.config, **settings)
    presets = {**found.cls.presets, "smoke": dataclasses.replace(smoke, config=config)}
    found.cls = type(found.cls)(found.cls.__name__, (found.cls,), {"presets": presets})
    return found


def sampled(s, method, where):
    return sample_shard(method, 0, 0, conformance.CLASSES[0], 0, where, s.training_masks())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_does_on_a_gpu_all_that_a_run_asks_of_it(gpu, name, precision):
    """Trained in pieces, each of which goes on from the file of the one before."""
    if precision == "bf16" and not has_bf16(gpu):
        pytest.skip(f"{device_name(gpu)} has no bf16")
    conformance.use_on(gpu, subject(name, precision=precision))


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_does_the_same_steps_and_says_on_what(gpu, tmp_path, name):
    s = subject(name)
    data, options = s.data_on(gpu), {"seed": 0, "scope": s.scope, "device": gpu}
    whole = train(s.build(), data, tmp_path / "whole", **options)
    assert whole.device == device_name(gpu)
    assert whole.peak_mib > 0
    pieces = 0
    while True:
        method, pieces = s.build(), pieces + 1
        try:
            cost = train(method, data, tmp_path / "pieces", **options, stop=lambda: True)
        except Interrupted:
            continue
        break
    assert pieces > 1
    assert (cost.steps, cost.volumes_seen) == (whole.steps, whole.volumes_seen)
    logs = []
    for folder in ("whole", "pieces"):
        lines = (tmp_path / folder / "log.jsonl").read_text().splitlines()
        logs.append([(line["phase"], line["step"]) for line in map(json.loads, lines)])
    assert logs[0] == logs[1]
    states = [t for net in method.nets.values() for t in net.state_dict().values()]
    assert {t.device for t in states} == {gpu}
    assert all(torch.isfinite(t).all() for t in states if t.is_floating_point())


@pytest.mark.parametrize("name", METHODS)
def test_samples_are_volumes_and_follow_their_generators(gpu, tmp_path, name):
    s = subject(name)
    method = s.build()
    train(method, s.data_on(gpu), tmp_path, seed=0, scope=s.scope, device=gpu)
    first, again = (sampled(s, method, gpu) for _ in "ab")
    assert np.abs(first).max() <= 1
    assert np.allclose(first, again, atol=1e-5)
    assert first.std(axis=0).max() > 0


@pytest.mark.parametrize("name", GANS)
def test_a_generator_samples_the_same_on_both_devices(gpu, tmp_path, name):
    """The noise is the host's, and float32 is exact on both."""
    s = subject(name)
    method, twin = s.build(), s.build()
    train(method, s.data_on(gpu), tmp_path, seed=0, scope=s.scope, device=gpu)
    load_networks(twin.nets, tmp_path / "model.safetensors", "cpu")
    here, there = sampled(s, twin, torch.device("cpu")), sampled(s, method, gpu)
    assert np.abs(here - there).max() < 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_importance_maps_lie_on_the_gpu(gpu, tmp_path, name):
    s = subject(name)
    if not has_hook(s.cls, "explain"):
        pytest.skip(f"{name} draws no maps")
    method = s.build()
    train(method, s.data_on(gpu), tmp_path, seed=0, scope=s.scope, device=gpu)
    images = s.data_on(gpu).take(torch.arange(2, device="cpu")).images
    with torch.inference_mode(), exact_arithmetic(gpu):
        maps = method.explain(images)
    assert maps.device == gpu
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1
