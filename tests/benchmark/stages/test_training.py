"""The training harness: exact resume, seeds, precision, log, and what it refuses."""

import copy
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import nn

from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.stages import training
from cerebench.benchmark.stages.training import (
    TrainingData,
    TrainingDiverged,
    derive_seed,
    load_networks,
    seeded,
    train,
)
from cerebench.core.machine import CpuTime, usable_cores
from cerebench.methods.base import (
    Conditions,
    Count,
    Method,
    MethodInfo,
    Precision,
    full_precision,
    setting,
)


@dataclass(frozen=True)
class _Config:
    precision: Precision = setting("fp32", "precision", "[ours: test]")
    steps: Count = setting(6, "steps of each phase", "[ours: test]")
    bad_step: Annotated[int, Field(ge=-1)] = setting(
        -1, "step whose loss is logged as infinite", "[ours: test]"
    )

    def for_size(self, size):
        return self


class _Toy(Method):
    """Two phases with dropout, batch norm, momentum, a schedule and kept data; one tied weight."""

    info = MethodInfo("toy", 1, "test", "none", "toy")
    Config = _Config

    def build(self):
        self.seen = []
        encoder = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.Dropout(0.5))
        decoder = nn.Sequential(nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 1, 1))
        decoder[1].weight = decoder[0].weight
        return {"encoder": encoder, "decoder": decoder}

    def train(self, data, run):
        self._phase(data, run, "first", None)
        self._phase(data, run, "second", lambda: {"shift": torch.randn(3).mean()})

    def _phase(self, data, run, name, kept):
        nets = nn.ModuleList(self.nets.values())
        opt = torch.optim.Adam(nets.parameters(), lr=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
        phase = run.phase(name, opt=opt, schedule=schedule)
        shift = phase.once("shift", kept)["shift"] if kept else 0.0
        for step in phase.steps(self.config.steps):
            batch = step.batch(data, 3)
            noisy = (
                batch.images + shift + 0.1 * step.randn(3, 1, 8, 8, 8) * step.rand(3, 1, 1, 1, 1)
            )
            out = self.nets["decoder"](self.nets["encoder"](noisy))
            loss = (out - batch.images).square().mean()
            step.descend(opt, loss)
            schedule.step()
            self.seen.append((name, step.index, step.progress, batch, out.dtype))
            phase.log(loss=loss if step.index != self.config.bad_step else float("inf"))

    def sample(self, conditions: Conditions, rngs):
        raise NotImplementedError


def _data(count=5):
    volumes = np.random.default_rng(0).uniform(-1, 1, (count, 1, 8, 8, 8)).astype(np.float16)
    ids = [f"case-{i}" for i in range(count)]
    return TrainingData(volumes, (volumes > 0).astype(np.uint8), [1] * count, ids, "cpu")


def _method(**changes):
    with seeded(3, "toy", "init"):
        return _Toy(_Config(**changes), size=8, classes=("LGG", "HGG"))


def _train(folder, method=None, **options):
    options = {"seed": 3, "scope": "LGG"} | options
    return train(method or _method(), _data(), folder, **options)


class _Killed(BaseException):
    """Stands for a signal that leaves no time to do anything."""


def _kill_after(count):
    calls = iter(range(count - 1))

    def progress(*_):
        if next(calls, None) is None:
            raise _Killed

    return progress


def _newest(folder):
    return max((folder / "checkpoint").glob("state-*.pt"))


def _same(first, second):
    a, b = (load_file(folder / "model.safetensors") for folder in (first, second))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, _train(folder)


# With a checkpoint after every step each kill loses one step and gains one; without, it loses all.
@pytest.mark.parametrize(("every", "counts"), [(0.0, [2] * 11), (1e9, range(1, 12))])
def test_killed_at_every_step_in_turn_a_training_ends_with_the_same_bits(
    tmp_path, whole, every, counts
):
    for count in counts:
        with pytest.raises(_Killed):
            _train(tmp_path, checkpoint_every=every, progress=_kill_after(count))
    cost = _train(tmp_path)
    assert _same(tmp_path, whole[0])
    assert (tmp_path / "log.jsonl").read_bytes() == (whole[0] / "log.jsonl").read_bytes()
    assert (cost.steps, cost.volumes_seen) == (whole[1].steps, whole[1].volumes_seen)
    assert not (tmp_path / "checkpoint").exists()


def test_progress_is_kept_between_kills(tmp_path):
    seen = []
    with pytest.raises(_Killed):  # killed in progress(), before the checkpoint of step 4
        _train(tmp_path, checkpoint_every=0.0, progress=_kill_after(4))
    _train(tmp_path, progress=lambda phase, step, total, scalars: seen.append((phase, step, total)))
    expected = [("first", i, 6) for i in (4, 5, 6)] + [("second", i, 6) for i in range(1, 7)]
    assert seen == expected


def test_a_stop_writes_a_checkpoint_and_the_next_call_goes_on(tmp_path, whole):
    asked = iter([False] * 7 + [True])
    with pytest.raises(Interrupted, match="Run again"):
        _train(tmp_path, stop=lambda: next(asked))
    assert [p.name[:15] for p in (tmp_path / "checkpoint").iterdir()] == ["state-00000001-"]
    assert not (tmp_path / "model.safetensors").exists()
    method = _method()
    _train(tmp_path, method)
    assert [(name, index) for name, index, *_ in method.seen] == [
        ("second", i) for i in range(1, 6)
    ]
    assert _same(tmp_path, whole[0])


def test_kept_data_are_computed_once(tmp_path):
    asked = iter([False] * 8 + [True])
    calls = []

    class Counting(_Toy):
        def train(self, data, run):
            def compute():
                calls.append(1)
                return {"shift": torch.randn(3).mean()}

            self._phase(data, run, "first", None)
            self._phase(data, run, "second", compute)

    with seeded(3, "toy", "init"):
        methods = [Counting(_Config(), size=8, classes=("a",)) for _ in range(2)]
    with pytest.raises(Interrupted):
        _train(tmp_path, methods[0], stop=lambda: next(asked))
    _train(tmp_path, methods[1])
    assert len(calls) == 1


def test_the_checkpoint_holds_tensors_and_plain_values_only(tmp_path):
    with pytest.raises(Interrupted):
        _train(tmp_path, stop=lambda: True)
    state = torch.load(_newest(tmp_path), weights_only=True)
    assert set(state["nets"]) == {"encoder", "decoder"}
    assert set(state["phases"]["first"]["tracked"]) == {"opt", "schedule"}


KILL = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads({threads})
sys.path.insert(0, {here!r})
import test_training as t
steps = iter(range(8))
def progress(*_):
    if next(steps, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
t._train(Path({folder!r}), checkpoint_every=0.0, progress=progress)
"""


@pytest.mark.slow
def test_a_killed_process_is_taken_up_by_another_with_the_same_bits(tmp_path, whole):
    threads = torch.get_num_threads()  # sums are split by thread, so the bits depend on it
    code = KILL.format(here=os.path.dirname(__file__), folder=str(tmp_path), threads=threads)
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    _train(tmp_path)
    assert _same(tmp_path, whole[0])


def test_seed_and_scope_change_the_weights_and_nothing_else_does(tmp_path, whole):
    torch.manual_seed(99)
    for name, options in {"same": {}, "seed": {"seed": 4}, "scope": {"scope": "HGG"}}.items():
        _train(tmp_path / name, **options)
        assert _same(tmp_path / name, whole[0]) is (name == "same")


def test_training_leaves_the_global_generator_as_it_was(tmp_path):
    before = torch.get_rng_state()
    _train(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_follow_from_the_names():
    assert derive_seed(0, "LGG", "init") == derive_seed(0, "LGG", "init")
    seeds = {derive_seed(0, "a"), derive_seed(1, "a"), derive_seed(0, "b"), derive_seed(0, "a", 1)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    with seeded(0, "a"):
        first = torch.rand(3)
    with seeded(0, "a"):
        assert torch.equal(first, torch.rand(3))
    with seeded(0, "b"):
        assert not torch.equal(first, torch.rand(3))


def test_steps_draw_batches_without_repetition_and_report_their_progress(tmp_path):
    method = _method()
    _train(tmp_path, method)
    for _, index, progress, batch, _ in method.seen:
        assert progress == index / 6
        assert len(set(batch.ids)) == 3
    assert len({batch.ids for *_, batch, _ in method.seen}) > 3


def test_a_batch_larger_than_the_data_repeats_every_case_equally(tmp_path):
    class Large(_Toy):
        def train(self, data, run):
            for step in run.phase("only").steps(1):
                self.ids = step.batch(data, 10).ids

    method = Large(_Config(), size=8, classes=("a",))
    _train(tmp_path, method)
    assert sorted(method.ids) == sorted([f"case-{i}" for i in range(5)] * 2)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_precision_is_that_of_the_configuration(tmp_path, precision, dtype):
    method = _method(precision=precision)
    cost = _train(tmp_path, method)
    assert {dtype_seen for *_, dtype_seen in method.seen} == {dtype}
    assert cost.precision == precision
    assert {p.dtype for net in method.nets.values() for p in net.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_full_precision_switches_autocast_off_inside_a_step(tmp_path):
    class Careful(_Toy):
        def train(self, data, run):
            for step in run.phase("only").steps(1):
                images = step.batch(data, 2).images
                with full_precision(images):
                    self.dtype = self.nets["encoder"](images).dtype

    method = Careful(_Config(precision="bf16"), size=8, classes=("a",))
    _train(tmp_path, method)
    assert method.dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_error_in_a_step_leaves_autocast_off(tmp_path, precision):
    with pytest.raises(TrainingDiverged):
        _train(tmp_path, _method(precision=precision, bad_step=2))
    assert not torch.is_autocast_enabled("cpu")


def test_a_scalar_that_is_not_finite_names_phase_step_and_scalar(tmp_path):
    with pytest.raises(TrainingDiverged, match="loss is inf at step 3 of 6 of phase first"):
        _train(tmp_path, _method(bad_step=2))


def test_an_update_leaves_gradients_of_other_networks_alone(tmp_path):
    class OneSided(_Toy):
        def train(self, data, run):
            opt = torch.optim.SGD(self.nets["decoder"].parameters(), lr=1.0)
            for step in run.phase("only", opt=opt).steps(1):
                out = self.nets["decoder"](self.nets["encoder"](step.batch(data, 2).images))
                step.descend(opt, out.square().mean())

    method = OneSided(_Config(), size=8, classes=("a",))
    before = [p.clone() for p in method.nets["decoder"].parameters()]
    _train(tmp_path, method)
    assert all(p.grad is None for p in method.nets["encoder"].parameters())
    after = method.nets["decoder"].parameters()
    for old, new in zip(before, after, strict=True):
        assert torch.allclose(new, old - new.grad)


def _descending(tmp_path, choose, **options):
    """Return the decoder's parameters before and after one step, and their last gradients."""

    class Descending(_Toy):
        def train(self, data, run):
            opts = {k: torch.optim.SGD(net.parameters(), lr=1.0) for k, net in self.nets.items()}
            for step in run.phase("only", **opts).steps(1):
                out = self.nets["decoder"](self.nets["encoder"](step.batch(data, 2).images))
                step.descend(choose(opts), 100 * out.square().mean(), **options)

    with seeded(3, "init"):
        method = Descending(_Config(), size=8, classes=("a",))
    before = {k: [p.clone() for p in net.parameters()] for k, net in method.nets.items()}
    _train(tmp_path, method)
    moved = {
        k: [old - p for old, p in zip(before[k], net.parameters(), strict=True)]
        for k, net in method.nets.items()
    }
    grads = {k: [p.grad for p in net.parameters()] for k, net in method.nets.items()}
    return moved, grads


def test_optimisers_share_a_backward_and_one_named_twice_updates_twice(tmp_path):
    moved, grads = _descending(
        tmp_path, lambda opts: (opts["encoder"], opts["decoder"], opts["decoder"])
    )
    for way, grad in zip(moved["encoder"], grads["encoder"], strict=True):
        assert torch.allclose(way, grad, atol=1e-6)
    for way, grad in zip(moved["decoder"], grads["decoder"], strict=True):
        assert torch.allclose(way, 2 * grad, atol=1e-5)
    assert max(grad.abs().max() for grad in grads["decoder"]) > 0.1


def test_clipping_limits_every_element_of_the_gradient(tmp_path):
    _, free = _descending(tmp_path / "free", lambda opts: opts["decoder"])
    moved, _ = _descending(tmp_path / "clipped", lambda opts: opts["decoder"], clip=0.5)
    assert max(grad.abs().max() for grad in free["decoder"]) > 0.5
    for way, grad in zip(moved["decoder"], free["decoder"], strict=True):
        assert torch.allclose(way, grad.clamp(-0.5, 0.5), atol=1e-6)


def test_a_step_has_a_numpy_generator_of_its_own(tmp_path):
    class Drawing(_Toy):
        def train(self, data, run):
            steps = run.phase("only").steps(3)
            self.drawn = [float(step.rng.random()) for step in steps]

    drawn = []
    for name in ("one", "two"):
        method = Drawing(_Config(), size=8, classes=("a",))
        _train(tmp_path / name, method)
        drawn.append(method.drawn)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


def test_scalars_are_logged_about_two_hundred_times_a_phase(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LOG_LINES", 3)
    shown = []
    _train(tmp_path, _method(steps=7), progress=lambda *args: shown.append(args))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["step"]) for line in lines] == [
        (phase, step) for phase in ("first", "second") for step in (3, 6, 7)
    ]
    assert shown[0][3] == {}
    assert shown[6][3]["loss"] == lines[2]["loss"]


class _Warning(_Toy):
    """Logs one scalar at its second step whatever the interval, and warns at every step."""

    def train(self, data, run):
        phase = run.phase("only")
        for step in phase.steps(6):
            phase.log(always=step.index == 1, similarity=float(step.index))
            phase.warn("collapse" if step.index == 0 else "noise")


def _warning():
    return _Warning(_Config(), size=8, classes=("a",))


def test_a_scalar_measured_rarely_can_be_logged_at_any_step(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LOG_LINES", 2)
    _train(tmp_path, _warning())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["similarity"]) for line in lines] == [(2, 1.0), (3, 2.0), (6, 5.0)]


def test_warnings_are_kept_once_each_and_outlive_an_interruption(tmp_path):
    with pytest.raises(Interrupted):
        _train(tmp_path, _warning(), stop=lambda: True)
    assert _train(tmp_path, _warning()).warnings == ("collapse", "noise")
    assert _train(tmp_path / "quiet").warnings == ()


@pytest.mark.parametrize("file", ["", "photo.jpg"])
def test_a_link_in_the_place_of_the_checkpoint_is_removed_and_not_followed(tmp_path, whole, file):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "photo.jpg").write_text("mine")
    folder = tmp_path / "training"
    folder.mkdir()
    (folder / "checkpoint").symlink_to(elsewhere / file)
    if file:  # nothing can be saved in a file, and nothing needs to be
        _train(folder, checkpoint_every=1e9)
    else:
        _train(folder)
    assert not (folder / "checkpoint").is_symlink()
    assert [p.name for p in elsewhere.iterdir()] == ["photo.jpg"]
    assert _same(whole[0], folder)


def test_the_cost_counts_steps_volumes_and_parameters(whole):
    cost = whole[1]
    assert cost.steps == {"first": 6, "second": 6}
    assert cost.volumes_seen == 36
    assert cost.parameters == {"encoder": 60, "decoder": 4 + 2 + 2 + 3}
    assert (cost.device, cost.threads) == ("cpu", torch.get_num_threads())
    assert cost.seconds > 0
    assert cost.peak_mib > 10


def test_parameters_that_training_never_changes_are_not_counted(tmp_path):
    class Averaging(_Toy):
        def build(self):
            nets = super().build()
            return nets | {"average": copy.deepcopy(nets["decoder"]).requires_grad_(False)}

        def train(self, data, run):
            super().train(data, run)
            self.nets["encoder"].requires_grad_(False)  # frozen once it is trained

    method = Averaging(_Config(steps=1), size=8, classes=("a",))
    counted = _train(tmp_path, method).parameters
    assert counted == {"encoder": 60, "decoder": 4 + 2 + 2 + 3, "average": 0}


PEAK = """
import sys
from pathlib import Path
import torch
from cerebench.benchmark.device import peak_mib
sys.path.insert(0, {here!r})
import test_training as t
t._train(Path("warm"))  # what it imports stays in memory
before = bytearray(800 * 2**20)
high = peak_mib(torch.device("cpu"))
del before
print(high, t._train(Path("own")).peak_mib)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_of_memory_is_that_of_the_training_alone(tmp_path):
    """Neither what ran before in the process counts, nor the process that started this one."""
    starting = bytearray(1600 * 2**20)
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(here=os.path.dirname(__file__))],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    del starting
    high, own = map(float, done.stdout.split())
    assert 800 < high < 1600
    assert own < high - 500


def test_seconds_add_up_over_interruptions(tmp_path, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(Interrupted):
        _train(tmp_path, stop=lambda: True)
    saved = torch.load(_newest(tmp_path), weights_only=True)["seconds"]
    assert saved >= 1
    monkeypatch.setattr(training.time, "monotonic", lambda: 0.0)
    assert _train(tmp_path).seconds == saved


def test_saved_networks_load_into_a_fresh_instance_bit_for_bit(tmp_path):
    method, fresh = _method(), _Toy(_Config(), size=8, classes=("a",))
    _train(tmp_path, method)
    load_networks(fresh.nets, tmp_path / "model.safetensors", "cpu")
    for name, net in method.nets.items():
        assert not net.training
        assert not fresh.nets[name].training
        for key, value in net.state_dict().items():
            assert torch.equal(value, fresh.nets[name].state_dict()[key])


def test_data_give_float32_batches_whether_or_not_they_fit(tmp_path, monkeypatch):
    volumes = np.random.default_rng(0).uniform(-1, 1, (4, 2, 8, 8, 8)).astype(np.float16)
    masks = (volumes[:, :1] > 0).astype(np.uint8)
    np.save(tmp_path / "volumes.npy", volumes)
    stored = np.load(tmp_path / "volumes.npy", mmap_mode="r")
    kept = TrainingData(stored, masks, [0, 1, 0, 1], list("abcd"), "cpu")
    monkeypatch.setattr(training, "MEMORY_SHARE", 0.0)
    streamed = TrainingData(stored, masks, [0, 1, 0, 1], list("abcd"), "cpu")
    for data in (kept, streamed):
        batch = data.take(torch.tensor([3, 0]))
        assert len(data) == 4
        assert torch.equal(batch.images, torch.from_numpy(volumes[[3, 0]].astype(np.float32)))
        assert torch.equal(batch.masks, torch.from_numpy(masks[[3, 0]].astype(np.float32)))
        assert batch.labels.tolist() == [1, 0]
        assert batch.ids == ("d", "a")


def test_convolution_weights_end_in_the_layout_that_was_measured_fastest(tmp_path):
    method = _method()
    _train(tmp_path, method)
    weights = [p for net in method.nets.values() for p in net.parameters() if p.dim() == 5]
    assert len(weights) == 3
    # Strides say more than is_contiguous: a single channel is contiguous in every layout.
    assert all(weight.stride(1) == 1 for weight in weights)


def test_the_example_of_the_documentation_trains_and_samples(tmp_path, page_code):
    names = {"__name__": "example"}
    exec(page_code("adding-a-method.md", "class MeanVolume"), names)
    example = names["MeanVolume"]
    assert set(example.presets) == {"paper", "quick", "smoke"}
    method = example(example.presets["quick"].config, size=8, classes=("LGG", "HGG"))
    data = _data()
    train(method, data, tmp_path, seed=0, scope="LGG")
    rngs = [torch.Generator().manual_seed(i) for i in range(200)]
    with torch.no_grad():
        samples = method.sample(Conditions(torch.zeros(200)), rngs)
    mean = data.take(torch.arange(5)).images.mean(0)
    assert samples.shape == (200, 1, 8, 8, 8)
    assert (samples.mean(0) - mean).abs().mean() < 0.1 < mean.abs().mean()


def test_data_without_masks_give_none():
    data = TrainingData(np.zeros((2, 1, 8, 8, 8), np.float16), None, [0, 0], ["a", "b"], "cpu")
    assert data.take(torch.tensor([1])).masks is None


@pytest.fixture
def used(monkeypatch):
    """Let each reading of CPU time find 3 s more of this process and 1 s more of others."""
    readings = [0]

    def read():
        readings[0] += 1
        return CpuTime(own=3.0 * readings[0], others=100.0 + readings[0])

    monkeypatch.setattr(training, "cpu_time", read)


def test_cpu_time_is_counted_from_the_start_of_a_training(tmp_path, used):
    cost = _train(tmp_path)
    assert cost.cpu_seconds == 3.0
    assert cost.other_cores == pytest.approx(1.0 / cost.seconds)
    assert cost.cores == usable_cores()


def test_cpu_time_is_kept_over_interruptions_as_wall_time_is(tmp_path, used):
    for count in (1, 2):
        with pytest.raises(Interrupted):
            _train(tmp_path, stop=lambda: True)
        state = torch.load(_newest(tmp_path), weights_only=True)
        assert (state["cpu_seconds"], state["other_cpu_seconds"]) == (3.0 * count, 1.0 * count)
    cost = _train(tmp_path)
    assert cost.cpu_seconds == 9.0
    assert cost.other_cores == pytest.approx(3.0 / cost.seconds)


def test_after_a_checkpoint_that_tells_no_cpu_time_none_is_claimed(tmp_path, used):
    with pytest.raises(Interrupted):
        _train(tmp_path, stop=lambda: True)
    path = _newest(tmp_path)
    state = torch.load(path, weights_only=True)
    del state["cpu_seconds"], state["other_cpu_seconds"]
    path.unlink()
    torch.save(state, path.with_name("state.pt"))  # as version 0.1.0 called it
    cost = _train(tmp_path)
    assert cost.seconds > 0
    assert cost.cpu_seconds is cost.other_cores is None
