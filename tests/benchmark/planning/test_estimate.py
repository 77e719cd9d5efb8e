"""Operations that a dry run counts on the meta device."""

import contextlib
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning import counting, estimate
from cerebench.benchmark.planning.config import resolve
from cerebench.benchmark.planning.counting import Counter
from cerebench.benchmark.planning.estimate import Lines, Tensors, peak_mib, protocol_flops
from cerebench.benchmark.stages.downstream import HarnessTrainer
from cerebench.methods.layers.vq.transformer import Transformer
from cerebench.methods.med_ddpm import MedDDPM
from cerebench.methods.med_ddpm_c import MedDDPMC
from cerebench.methods.med_ddpm_mask import MedDDPMMask
from cerebench.metrics.base import LazyVolumes
from cerebench.metrics.downstream.base import Cases, Material
from cerebench.metrics.downstream.exp2 import Exp2
from cerebench.metrics.downstream.medicalnet import MedicalNetHead
from cerebench.metrics.extractors.medicalnet import MedicalNet, ResNet


def _counts(cls):
    with torch.device("meta"):
        method = cls(cls.presets["smoke"].config, size=16, classes=("LGG", "HGG"))
    return counting.training(method).flops, counting.sampling(method).flops


@pytest.fixture(scope="module")
def unconditional():
    return _counts(MedDDPM)


@pytest.mark.parametrize("cls", [MedDDPMMask, MedDDPMC], ids=lambda cls: cls.info.name)
def test_methods_that_need_masks_or_labels_are_counted_too(cls, unconditional):
    """A mask is one more channel of the first layer, a label one row of a table."""
    for conditioned, plain in zip(_counts(cls), unconditional, strict=True):
        assert plain <= conditioned < 1.1 * plain
        assert (conditioned > plain) == (cls is MedDDPMMask)


@pytest.mark.parametrize("name", ["med-ddpm-c", "medical-diffusion", "medical-diffusion-c"])
def test_a_network_traced_once_counts_as_often_as_it_is_called(name, monkeypatch):
    """Its sampler has another network call, or pair of calls, for every diffusion step."""
    cls = Registries().methods.load(name)
    fast = _counts(cls)
    monkeypatch.setattr(counting, "_traced_once", lambda *_: contextlib.nullcontext())
    assert _counts(cls) == fast


def test_a_network_is_not_traced_anew_for_every_step(monkeypatch):
    config = dataclasses.replace(MedDDPM.presets["smoke"].config, timesteps=40)
    with torch.device("meta"):
        method = MedDDPM(config, size=16, classes=("LGG", "HGG"))
    calls, forward = [], type(method.nets["unet"]).forward
    monkeypatch.setattr(
        type(method.nets["unet"]), "forward", lambda *a, **k: calls.append(1) or forward(*a, **k)
    )
    counting.sampling(method)
    assert len(calls) == 1
    assert "forward" not in vars(method.nets["average"])


@pytest.mark.parametrize("length", [7, 64])
def test_all_tokens_at_once_count_as_much_as_one_after_the_other(length):
    batch, vocabulary, width, layers = 3, 20, 32, 2
    with torch.device("meta"):
        network = Transformer(vocabulary, length, width, layers, heads=2)
        start, uniforms = torch.zeros(batch, dtype=torch.int64), torch.rand(batch, length)
    with Counter() as counted:
        drawn = network.generate(start, uniforms, codes=16)
    assert drawn.shape == (batch, length)
    products = length * (layers * 2 * 12 * width**2 + 2 * width * vocabulary)
    attention = layers * sum(4 * before * width for before in range(1, length + 1))
    half_a_key = layers * 2 * width * length  # an even number of tokens has no middle one
    expected = products + attention + half_a_key * (length % 2 == 0)
    assert counted.flops == batch * expected


class _RandomEncoder(MedicalNet):
    """The smallest encoder, without its weight file."""

    depth, dim, network = 10, 512, ResNet(10).eval().requires_grad_(False)

    def __init__(self):
        pass


class _Head(MedicalNetHead):
    encoder = _RandomEncoder


def _given():
    """Return 7 + 9 development and 5 test cases and 4 generated volumes of each class."""
    rng = np.random.default_rng(0)

    def cases(name, labels):
        ids = tuple(f"{name}-{i}" for i in range(len(labels)))
        volumes = rng.uniform(-1, 1, (len(labels), 1, 16, 16, 16)).astype(np.float32)
        return Cases(LazyVolumes(ids, volumes.__getitem__), np.array(labels), ids, ids)

    development = cases("dev", [0] * 7 + [1] * 9)
    test, synthetic = cases("test", [0, 1, 0, 1, 1]), cases("fake", [0, 1] * 4)
    return Material(development, test, synthetic, ("LGG", "HGG"), 0)


@pytest.mark.parametrize(
    ("cls", "preset", "settings"),
    [
        (Exp2, "smoke", {"repeats": 1, "pretrain_epochs": 2}),
        (Exp2, "quick", {"repeats": 2, "finetune_per_class": 5, "finetune_epochs": 3}),
        (_Head, "smoke", {"repeats": 3, "finetune_per_class": 5, "finetune_epochs": 4}),
    ],
)
def test_operations_of_a_protocol_are_those_of_a_run(cls, preset, settings, tmp_path):
    protocol = cls(resolve(cls, preset, overrides=settings).config)
    given = _given()
    trainer = HarnessTrainer(
        tmp_path, "key", torch.device("cpu"), lambda *_: None, stop=lambda: False
    )
    with Counter() as counter:
        protocol.run(given, trainer)
    unread = {
        name: dataclasses.replace(getattr(given, name), volumes=())
        for name in ("development", "test", "synthetic")
    }
    counted = protocol_flops(protocol, dataclasses.replace(given, **unread), (1, 16, 16, 16))
    assert counted == pytest.approx(counter.flops, rel=1e-9)


def test_an_operation_counts_the_same_when_its_results_are_remembered():
    """The second training of a method is put together from what the first one left."""
    counting._KNOWN.clear()
    first = _counts(MedDDPMC)
    assert counting._KNOWN
    assert _counts(MedDDPMC) == first


def test_the_peak_is_that_of_the_tensors_alive_together():
    memory = counting.Memory()
    with torch.device("meta"), torch.no_grad(), Counter(memory):
        x = torch.zeros(256, dtype=torch.float32)
        for _ in range(3):
            x = x + 1  # the old one lives until the new one is there
        x.view(16, 16)
    assert (memory.held, memory.peak) == (1024, 2048)


def test_training_on_a_cpu_needs_its_data_too_and_sampling_does_not():
    tensors, device = Tensors(training=2**30, sampling=2**29), torch.device("cpu")
    more = dataclasses.replace(tensors, data=2**28)
    plain, with_data = peak_mib(tensors, device), peak_mib(more, device)
    assert with_data["training"] > plain["training"] + 255
    assert with_data["sampling"] == plain["sampling"]
    assert peak_mib(Tensors(None, None), device) == {"training": None, "sampling": None}
    assert peak_mib(Tensors(), device) == {"training": 0, "sampling": 0}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("what", ["training", "sampling"])
@pytest.mark.parametrize("name", ["wgan-gp", "vqgan"])
def test_predicted_memory_is_that_of_a_process(name, what):
    """All seven methods are in docs/performance.md; these are quick, and unlike each other."""
    cls, cases, size = Registries().methods.load(name), 36, 32
    with torch.device("meta"):
        method = cls(cls.presets["quick"].config, size=size, classes=("LGG", "HGG"))
    trained, drawn = counting.training(method), counting.sampling(method)
    tensors = Tensors(trained.peak, drawn.peak, cases * size**3 * 5, cases * trained.kept)
    predicted = peak_mib(tensors, torch.device("cpu"))[what]
    script = Path(__file__).parent / "real_memory.py"
    command = [sys.executable, str(script), name, "quick", str(size), str(cases), what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert predicted == pytest.approx(float(done.stdout), rel=0.3)


def test_a_cell_is_printed_at_once_with_days_where_it_takes_days():
    console = Console(width=100, record=True, file=io.StringIO())
    lines = Lines(console, ["wgan-gp · seed 0"], downstream=False)
    lines.cell(
        {
            "cell": "wgan-gp · seed 0",
            "to_do": ["train LGG", "sample"],
            "seconds": 7.8 * 86400,
            "downstream_seconds": 0.0,
            "training_peak_mib": 6.1 * 1024,
            "sampling_peak_mib": 300.0,
            "disk_mib": None,
        }
    )
    printed = console.export_text()
    for part in ("wgan-gp · seed 0", "train LGG, sample", "7.8 d", "6.1 GiB", "300 MiB", "unknown"):
        assert part in printed


def test_a_cell_is_printed_before_the_next_one_is_counted(bench, monkeypatch):
    printed, before, count = io.StringIO(), [], estimate.estimate

    def watched(*asked):
        before.append(printed.getvalue())
        return count(*asked)

    monkeypatch.setattr(estimate, "estimate", watched)
    monkeypatch.setattr(estimate.tables, "console", lambda: Console(width=100, file=printed))
    code, _, err = bench("run", "tiny.toml", "--methods", "wgan-gp,alpha-wgan", "--dry-run")
    assert code == 0, err
    first, second = before
    assert "wgan-gp · seed 0" not in first
    assert "wgan-gp · seed 0" in second
    assert "alpha-wgan · seed 0" not in second
