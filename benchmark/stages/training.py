"""The harness a method trains in: phases, steps, seeds, precision, checkpoints and the log.

All randomness of a step is re-seeded from (seed, scope, phase, step). A checkpoint therefore holds
tensors, step counts and sums only, and a training that is killed at any step and started again ends
with the same weights, bit for bit on the same kind of CPU, thread count and torch version.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from cerebench.benchmark.device import (
    device_name,
    exact_arithmetic,
    global_generators,
    new_generator,
    peak_mib,
    reset_peak,
    right_convolutions,
    total_memory,
)
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.stages.checkpoints import Checkpoints
from cerebench.core import weights
from cerebench.core.files import read_json, replacing, write_json
from cerebench.core.hashing import key_of
from cerebench.core.machine import cpu_time, usable_cores, versions
from cerebench.core.records.trained import FileFact, TrainRecord
from cerebench.methods.base import Batch, Batches, Method, Rows, T
from cerebench.metrics.downstream.base import Learner

if TYPE_CHECKING:
    from cerebench.benchmark.display import Task
    from cerebench.benchmark.engine.rows import TrainedRow
    from cerebench.benchmark.engine.workbench import Workbench

CONFIG, LOG = "config.json", "log.jsonl"  # beside the weights
LOG_LINES = 200  # per phase; between them scalars stay on the device
MEMORY_SHARE = 0.25  # of the device's memory that training data may fill

Progress = Callable[[str, int, int, Mapping[str, float]], None]


class TrainingDiverged(RuntimeError):
    """A logged scalar is infinite or not a number."""


@dataclass(frozen=True)
class Cost:
    """What a training took, summed over interruptions.

    Attributes:
        seconds: Wall time spent training, without what was lost after the last checkpoint.
        cpu_seconds: CPU time of this process meanwhile, all threads together; None where an older
            version made the checkpoint that was continued.
        cores: Cores that the process could use.
        other_cores: How many of them other processes used, on average; None where not known.
        peak_mib: Peak memory, MiB: allocated on a GPU, resident in the process on a CPU.
        steps: Phase to steps done.
        volumes_seen: Volumes drawn from the data, repetitions counted.
        parameters: Network to number of trainable parameters; 0 for a running average.
        device: Name of the device.
        precision: ``fp32`` or ``bf16``.
        threads: Threads of one operation on the CPU.
        warnings: What the method told about this training, each text once.
    """

    seconds: float
    cpu_seconds: float | None
    cores: int
    other_cores: float | None
    peak_mib: float
    steps: dict[str, int]
    volumes_seen: int
    parameters: dict[str, int]
    device: str
    precision: str
    threads: int
    warnings: tuple[str, ...]


class TrainingData:
    """Training cases of one trained instance; satisfies ``methods.base.Batches``.

    Volumes and masks are moved to the device once when they fit in a quarter of its memory;
    otherwise every batch is read from the arrays, which may be memory maps.

    Args:
        volumes: (N, C, D, H, W), any float type, in [-1, 1].
        masks: (N, 1, D, H, W) uint8 in {0, 1}, or None.
        labels: N class labels.
        ids: N case identifiers.
        device: Where batches are needed.
    """

    def __init__(
        self,
        volumes: NDArray[Any],
        masks: NDArray[np.uint8] | None,
        labels: Sequence[int] | NDArray[np.integer],
        ids: Sequence[str],
        device: torch.device | str,
    ) -> None:
        self.device = torch.device(device)
        self.ids = tuple(ids)
        self._labels = torch.as_tensor(np.asarray(labels, dtype=np.int64))
        self._volumes: NDArray[Any] | Tensor = volumes
        self._masks: NDArray[np.uint8] | Tensor | None = masks
        kept = 4 * volumes.size + (0 if masks is None else masks.size)
        if kept <= MEMORY_SHARE * total_memory(self.device):
            self._volumes = torch.tensor(volumes, dtype=torch.float32, device=self.device)
            self._masks = None if masks is None else torch.tensor(masks, device=self.device)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Tensor) -> Batch:
        """Return the cases at these positions: images and masks float32 on the device."""
        return Batch(
            images=self._rows(self._volumes, indices),
            labels=self._labels[indices].to(self.device),
            masks=None if self._masks is None else self._rows(self._masks, indices),
            ids=tuple(self.ids[i] for i in indices.tolist()),
        )

    def _rows(self, source: NDArray[Any] | Tensor, indices: Tensor) -> Tensor:
        if isinstance(source, Tensor):
            return source[indices.to(self.device)].float()
        return torch.from_numpy(source[indices.numpy()].astype(np.float32)).to(self.device)


def derive_seed(seed: int, *names: str | int) -> int:
    """Return 63 bits of the SHA-256 of (seed, names): an independent seed for each purpose."""
    return int(key_of([seed, *names])[:16], 16) >> 1


@contextmanager
def seeded(seed: int, *names: str | int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators by (seed, names) and restore their state afterwards."""
    generators = global_generators(torch.device(device))
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(derive_seed(seed, *names))
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def train(
    method: Method | Learner,
    data: Batches,
    folder: Path,
    *,
    seed: int,
    scope: str,
    device: torch.device | str = "cpu",
    checkpoint_every: float = 300.0,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    key: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Cost:
    """Train a method or a classifier, or go on where an interrupted training left its checkpoint.

    Leaves ``folder/model.safetensors`` (keys ``<network>.<tensor>``) and ``folder/log.jsonl``; a
    ``folder/checkpoint/`` exists only while the training is unfinished. Networks end in eval mode.

    Args:
        method: Freshly built; its networks are moved to the device and trained in place.
        data: Training cases of this instance, batches on the device.
        folder: Where the files go; made if missing.
        seed: Training seed.
        scope: Name of the trained instance (a class, or ``all``); part of every step's seed.
        device: Where to train.
        checkpoint_every: Seconds between checkpoints.
        progress: Called after every step with (phase, steps done, total, last logged scalars).
        stop: Asked after every step; true means: write a checkpoint and stop.
        key: Identifies the training; a checkpoint of another key is passed over.
        say: Told in a line where a checkpoint is damaged.

    Raises:
        Interrupted: When ``stop`` said so. Call again with the same arguments to go on.
        TrainingDiverged: When a logged scalar is not finite.
    """
    device = torch.device(device)
    folder.mkdir(parents=True, exist_ok=True)
    _prepare(method.nets, device)
    checkpoints = Checkpoints(folder / "checkpoint", key, say)
    run = _Run(method, folder, (seed, scope), device, checkpoint_every, progress, stop, checkpoints)
    with (
        seeded(seed, scope, "train", device=device),
        exact_arithmetic(device),
        right_convolutions(method.nets.values(), device),
        run.open,
    ):
        method.train(data, run)
    for net in method.nets.values():
        net.eval()
    cost = run.cost()
    save_networks(method.nets, folder / "model.safetensors")
    checkpoints.remove()
    return cost


def save_networks(nets: Mapping[str, nn.Module], path: Path) -> None:
    """Write all networks into one safetensors file, keys ``<network>.<tensor>``, contiguous."""
    tensors = {
        # A copy each, because the format refuses tensors that share memory (tied weights).
        f"{name}.{key}": torch.clone(value.detach().cpu(), memory_format=torch.contiguous_format)
        for name, net in nets.items()
        for key, value in net.state_dict().items()
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_networks(
    nets: Mapping[str, nn.Module],
    path: Path,
    device: torch.device | str,
    fact: FileFact | None = None,
) -> None:
    """Load what ``save_networks`` wrote; networks end on the device, in eval mode.

    Args:
        nets: Network by name.
        path: The file.
        device: Where the networks go.
        fact: What a record says of the file, if there is one.

    Raises:
        Damaged: If the file is something else.
    """
    store.verify(path, fact)
    states: dict[str, dict[str, Tensor]] = {name: {} for name in nets}
    for key, value in load_file(path).items():
        name, tensor = key.split(".", 1)
        states[name][tensor] = value
    _prepare(nets, torch.device(device))
    for name, net in nets.items():
        net.load_state_dict(states[name])
        net.eval()


class _Run:
    """State of one training; satisfies ``methods.base.Run``."""

    def __init__(
        self,
        method: Method | Learner,
        folder: Path,
        names: tuple[int, str],
        device: torch.device,
        checkpoint_every: float,
        progress: Progress | None,
        stop: Callable[[], bool],
        checkpoints: Checkpoints,
    ) -> None:
        self.method, self.names, self.device = method, names, device
        self._parameters = {  # before a method can freeze what it has trained
            name: sum(p.numel() for p in net.parameters() if p.requires_grad)
            for name, net in method.nets.items()
        }
        reset_peak(device)
        self.open = ExitStack()  # iterations that an error leaves unfinished are closed with it
        self._checkpoints = checkpoints
        self._every, self._progress, self._stop = checkpoint_every, progress, stop
        self._phases: dict[str, _Phase] = {}
        saved = self._load()
        self.saved_phases: dict[str, dict[str, Any]] = saved.get("phases", {})
        self.volumes_seen: int = saved.get("volumes_seen", 0)
        self.warnings: list[str] = saved.get("warnings", [])
        self._seconds_before: float = saved.get("seconds", 0.0)
        # A checkpoint of an older version does not tell, and then nobody knows.
        none = None if saved else 0.0
        self._cpu_before: float | None = saved.get("cpu_seconds", none)
        self._others_before: float | None = saved.get("other_cpu_seconds", none)
        self._peak_before: float = saved.get("peak_mib", 0.0)
        self._log = (folder / LOG).open("a+b")
        written = self._log.seek(0, os.SEEK_END)  # less than was, if somebody cut it short
        self._log.truncate(min(saved.get("log_bytes", 0), written))
        self._log.seek(0, os.SEEK_END)
        self.open.callback(self._log.close)
        self._started = self._checkpointed = time.monotonic()
        self._cpu_started = cpu_time()

    def phase(self, name: str, **tracked: Any) -> _Phase:
        self._phases[name] = _Phase(self, name, tracked)
        return self._phases[name]

    def pretrained(self, name: str, network: nn.Module) -> nn.Module:
        wanted = network.state_dict()
        found = torch.load(weights.find(name), map_location="cpu", weights_only=True)
        network.load_state_dict({key: found[key] for key in wanted})
        return network.to(self.device).eval().requires_grad_(False)

    def after_step(self, phase: _Phase) -> None:
        """Log, show, checkpoint on time, and stop when asked to."""
        if phase.scalars:
            line = {"phase": phase.name, "step": phase.done, **phase.scalars}
            self._log.write(json.dumps(line).encode() + b"\n")
            self._log.flush()
        if self._progress is not None:
            self._progress(phase.name, phase.done, phase.total, phase.shown)
        self.pause()

    def pause(self) -> None:
        """Mark a point where everything needed to go on is in the state."""
        stopping = self._stop()
        if stopping or time.monotonic() - self._checkpointed >= self._every:
            self._save()
        if stopping:
            raise Interrupted(
                "Training was stopped; its checkpoint is on disk. Run again to go on."
            )

    def cost(self) -> Cost:
        seconds, (cpu, others) = self._seconds(), self._cpu_seconds()
        return Cost(
            seconds=seconds,
            cpu_seconds=cpu,
            cores=usable_cores(),
            other_cores=others / seconds if others is not None and seconds > 0 else None,
            peak_mib=self._peak_mib(),
            steps={name: phase.done for name, phase in self._phases.items()},
            volumes_seen=self.volumes_seen,
            parameters=self._parameters,
            device=device_name(self.device),
            precision=self.method.config.precision,
            threads=torch.get_num_threads(),
            warnings=tuple(self.warnings),
        )

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _cpu_seconds(self) -> tuple[float | None, float | None]:
        """Return the CPU time of this process and of others while it trained, where known."""
        since, now = self._cpu_started, cpu_time()
        own, others = self._cpu_before, self._others_before
        if own is not None:
            own += now.own - since.own
        if others is not None and now.others is not None and since.others is not None:
            others += max(now.others - since.others, 0.0)
        else:
            others = None
        return own, others

    def _peak_mib(self) -> float:
        return max(self._peak_before, peak_mib(self.device))

    def _save(self) -> None:
        phases = {name: phase.state() for name, phase in self._phases.items()}
        cpu, others = self._cpu_seconds()
        state = {
            "nets": {name: net.state_dict() for name, net in self.method.nets.items()},
            "phases": {**self.saved_phases, **phases},
            "volumes_seen": self.volumes_seen,
            "warnings": self.warnings,
            "seconds": self._seconds(),
            "cpu_seconds": cpu,
            "other_cpu_seconds": others,
            "peak_mib": self._peak_mib(),
            "log_bytes": self._log.tell(),
        }
        self._checkpoints.save(state)
        self._checkpointed = time.monotonic()

    def _load(self) -> dict[str, Any]:
        state = self._checkpoints.load(self._place)
        for name, net in self.method.nets.items() if state else ():
            net.load_state_dict(state["nets"][name])
        return state

    def _place(self, storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        """Return a stored tensor's memory where it was: on the host, or on this run's device.

        What a phase keeps stays on the host, and so do step counters of optimisers that lay there.
        """
        return storage if location == "cpu" else storage.to(device=self.device)


class _Phase:
    """One phase of a training; satisfies ``methods.base.Phase``."""

    def __init__(self, run: _Run, name: str, tracked: Mapping[str, Any]) -> None:
        self._run, self.name, self._tracked = run, name, tracked
        saved = run.saved_phases.get(name, {})
        self.done: int = saved.get("done", 0)
        self._kept: dict[str, Any] = saved.get("kept", {})
        for key, value in saved.get("tracked", {}).items():
            tracked[key].load_state_dict(value)
        self.total = 0
        self.scalars: dict[str, float] = {}
        self.shown: dict[str, float] = {}

    def steps(self, total: int) -> Iterator[_Step]:
        iterator = self._steps(total)
        self._run.open.callback(iterator.close)
        return iterator

    def _steps(self, total: int) -> Generator[_Step, None, None]:
        self.total = total
        bf16 = self._run.method.config.precision == "bf16"
        while self.done < total:
            self.scalars = {}
            step = _Step(self._run, self.name, self.done, total)
            # No cache of cast weights: several updates inside one step change them.
            with torch.autocast(
                self._run.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False
            ):
                yield step
            self.done += 1
            self._run.after_step(self)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self._kept:
            seed, scope = self._run.names
            with seeded(seed, scope, self.name, name, device=self._run.device), torch.no_grad():
                self._kept[name] = tree_map(lambda tensor: tensor.cpu(), compute())
            self._run.pause()
        return self._kept[name]

    def log(self, *, always: bool = False, **scalars: Tensor | float) -> None:
        current = self.done + 1
        due = current % math.ceil(self.total / LOG_LINES) == 0 or current == self.total
        if not (due or always):
            return
        for name, value in scalars.items():
            number = float(value.detach() if isinstance(value, Tensor) else value)
            if not math.isfinite(number):
                raise TrainingDiverged(
                    f"{name} is {number} at step {current} of {self.total} of phase {self.name}; "
                    "it must be finite. Lower the learning rate or set precision to fp32."
                )
            self.scalars[name] = number
        self.shown = {**self.shown, **self.scalars}

    def warn(self, text: str) -> None:
        if text not in self._run.warnings:
            self._run.warnings.append(text)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs: tensors and plain values only."""
        tracked = {key: value.state_dict() for key, value in self._tracked.items()}
        return {"done": self.done, "kept": self._kept, "tracked": tracked}


class _Step:
    """One optimiser step; satisfies ``methods.base.Step``."""

    def __init__(self, run: _Run, phase: str, index: int, total: int) -> None:
        self._run, self.index, self.progress = run, index, index / total
        names = (*run.names, phase, index)
        # Four streams, so that drawing noise first or the batch first makes no difference, and
        # dropout (which uses the global generators) repeats neither.
        self._order = torch.Generator().manual_seed(derive_seed(*names, "order"))
        self._noise = new_generator(run.device).manual_seed(derive_seed(*names, "noise"))
        self.rng = np.random.default_rng(derive_seed(*names, "numpy"))
        for generator in global_generators(run.device):
            generator.manual_seed(derive_seed(*names, "global"))

    def batch(self, data: Rows[T], size: int) -> T:
        rounds = math.ceil(size / len(data))
        order = [
            torch.randperm(len(data), generator=self._order, device="cpu") for _ in range(rounds)
        ]
        self._run.volumes_seen += size
        return data.take(torch.cat(order)[:size])

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._noise, device=self._run.device)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._noise, device=self._run.device)

    def descend(
        self, optimiser: Optimizer | Sequence[Optimizer], loss: Tensor, *, clip: float | None = None
    ) -> None:
        optimisers, trained = trained_by(optimiser)
        for each in optimisers:
            each.zero_grad()
        with torch.autocast(self._run.device.type, enabled=False):
            # Naming the parameters spares the gradients of every other network in the graph.
            loss.backward(inputs=trained)
            if clip is not None:
                nn.utils.clip_grad_value_(trained, clip)
        for each in optimisers:
            each.step()


def told(scalars: Mapping[str, float]) -> str:
    """Return logged scalars as progress shows them."""
    return " · ".join(f"{name} {value:.3g}" for name, value in scalars.items())


def trained_by(optimiser: Optimizer | Sequence[Optimizer]) -> tuple[list[Optimizer], list[Tensor]]:
    """Return the optimisers as a list, and the parameters that they train, each once."""
    optimisers = [optimiser] if isinstance(optimiser, Optimizer) else list(optimiser)
    parameters = (p for o in optimisers for group in o.param_groups for p in group["params"])
    return optimisers, list(dict.fromkeys(p for p in parameters if p.requires_grad))


def _prepare(nets: Mapping[str, nn.Module], device: torch.device) -> None:
    for net in nets.values():
        net.to(device).train()
        for tensor in net.parameters():
            if tensor.dim() == 5:
                # Not contiguous(): it keeps the strides of single-channel weights, with which
                # their layer would run in the other layout.
                tensor.data = tensor.data.to(memory_format=torch.channels_last_3d)


def stages(row: TrainedRow) -> Iterator[Stage]:
    """Return the trainings of a row, one per instance."""
    for scope in row.scopes:
        key, record = row.train_keys[scope], row.train_record(scope)
        run, mend = partial(_train_instance, row, scope), partial(_mend, row, scope)
        yield Stage(f"train {scope}", key, record, run, mend=mend)


def _mark(row: TrainedRow, scope: str, folder: Path) -> None:
    """Write ``config.json``: what a folder is being trained with."""
    told = {"key": row.train_keys[scope], "config": dict(row.resolved.values)}
    write_json(folder / CONFIG, told)


def _mend(row: TrainedRow, scope: str, root: Path, record: TrainRecord) -> Iterator[str]:
    """Restore what lies beside the weights of a finished training; say what cannot be restored."""
    folder = (root / row.train_record(scope)).parent
    for name in store.damaged(folder, record.beside or {}):
        if (folder / name).is_dir():
            yield f"{folder / name}: it is a folder where a file belongs. Move it elsewhere."
        elif name == CONFIG:
            _mark(row, scope, folder)
            yield f"{folder / name}: it was damaged or missing, and is written again."
        else:
            yield (
                f"{folder / name}: it is damaged or missing. What it told of the training is "
                f"lost; weights and scores hold. (Remove {folder} to train again.)"
            )


def _train_instance(row: TrainedRow, scope: str, bench: Workbench, task: Task) -> TrainRecord:
    """Train one instance of a row, or go on with it; a folder of another key is cleared first."""
    key, ids = row.train_keys[scope], row.train_ids(scope)
    folder = (bench.folder / row.train_record(scope)).parent
    found = read_json(folder / CONFIG)
    mark = found.get("key") if isinstance(found, dict) else None
    # Where it was damaged, checkpoints tell what they are of.
    ours = mark is None and (folder / store.MARKER).is_file() and (folder / "checkpoint").is_dir()
    if folder.exists() and mark != key and not ours:
        store.clear(folder, bench.plan.out, "train")
    store.begin(folder)
    _mark(row, scope, folder)
    cost = train(
        row.build(scope),
        bench.data(ids),
        folder,
        seed=row.seed,
        scope=scope,
        device=bench.device,
        progress=lambda phase, step, total, scalars: task.update(step, total, told(scalars), phase),
        stop=bench.stop,
        key=key,
        say=bench.display.say,
    )
    for text in cost.warnings:
        bench.display.say(f"{row.name} · {scope}: {text}")
    return TrainRecord(
        method=row.method.info.name,
        method_version=row.method.info.version,
        class_=scope,
        seed=row.seed,
        **asdict(cost),
        n_train=len(ids),
        train_ids=tuple(ids),
        versions=versions(),
        files=store.describe_files(folder, [folder / "model.safetensors"]),
        beside=store.describe_files(folder, [folder / CONFIG, folder / LOG]),
    )
