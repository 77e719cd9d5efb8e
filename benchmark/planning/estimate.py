"""``bench run --dry-run``: what would run, about how long it takes and how much disk it needs.

One step of every phase is traced on torch's meta device, which has shapes but no data, and its
floating-point operations are counted. Of a downstream protocol it is one volume through the
classifier, for each volume that it is trained, validated and tested on in all repetitions. Dividing
by what this machine reaches on one convolution gives a time that is right within a factor of a few;
scoring, whose time is unknown, is not included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry

from cerebench.benchmark import tables
from cerebench.benchmark.console import Console
from cerebench.benchmark.device import pick_device, refuse_imitated_bf16, wait_for
from cerebench.benchmark.engine.rows import DatasetCommon, FolderRow, TrainedRow
from cerebench.benchmark.engine.stage import Stage, pending
from cerebench.benchmark.planning.plan import ExperimentPlan, missing_weights, to_be_trained
from cerebench.benchmark.planning.planned import PlannedProtocol
from cerebench.benchmark.planning.reference import DatasetReference
from cerebench.benchmark.stages.downstream import DOWNSTREAM_SEED
from cerebench.benchmark.stages.training import trained_by
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.methods.base import Batch, Conditions, Method, Rows, T
from cerebench.metrics.downstream.base import (
    Cases,
    DownstreamProtocol,
    Material,
    Passes,
    ProtocolError,
)
from cerebench.reports.formatting import duration


@dataclass(frozen=True)
class Work:
    """Floating-point operations in one precision; None where they cannot be counted."""

    flops: float | None
    precision: str


@dataclass(frozen=True)
class Estimate:
    """One cell: stages to do, work of training and sampling, work downstream, disk in MiB."""

    cell: str
    to_do: tuple[str, ...]
    generator: Work
    downstream: tuple[Work, ...]
    disk_mib: float


def estimate(row: TrainedRow | FolderRow, todo: Sequence[Stage]) -> Estimate:
    """Estimate what the stages that a row still needs will take."""
    lines = tuple(dict.fromkeys(stage.line or stage.name for stage in todo))
    common, records = row.common, {stage.record for stage in todo}
    assert isinstance(common, DatasetCommon)  # ``bench evaluate`` estimates nothing
    reference = common.reference
    classifiers = tuple(
        protocol_work(reference, planned, material(reference, samples_of(row)))
        for planned, stage in row.classifying()
        if stage.record in records
    )
    name = f"{row.name} · seed {row.seed}"
    if isinstance(row, FolderRow):
        return Estimate(name, lines, Work(0.0, ""), classifiers, 0.0)
    trainings = sum(stage.kind == "train" for stage in todo)
    sampling = trainings or any(stage.kind == "sample" for stage in todo)
    generator, disk = _generator(row, trainings, common.n * len(reference.classes) * sampling)
    return Estimate(name, lines, generator, classifiers, disk)


def _generator(row: TrainedRow, trainings: int, samples: int) -> tuple[Work, float]:
    """Return the work of trainings and samples of a method, and their MiB on disk."""
    reference = row.common.reference
    with torch.device("meta"):
        method = row.build(row.scopes[0])
    try:
        flops = trainings * training_flops(method) if trainings else 0.0
        flops += samples * sampling_flops(method) if samples else 0.0
    except (RuntimeError, NotImplementedError, ValueError):
        flops = None  # the method looks at its data while training; only a real run can tell
    weights = sum(t.numel() for net in method.nets.values() for t in net.state_dict().values())
    volumes = samples * len(reference.channels) * reference.size**3
    return Work(flops, row.resolved.config.precision), 4 * (weights * trainings + volumes) / 2**20


def training_flops(method: Method) -> float:
    """Count the operations of one training of a method that lives on the meta device."""
    run = _CountingRun(method)
    with torch.device("meta"):
        method.train(_MetaData(method), run)
    return run.flops


def sampling_flops(method: Method) -> float:
    """Count the operations of one sample.

    One, because noise has values on the meta device too: seconds' worth of it for each sample of a
    diffusion model at 128³.
    """
    rngs = [torch.Generator().manual_seed(0)]
    asked = _MetaData(method).take(torch.arange(1))
    masks = asked.masks if method.info.conditioning == "mask" else None
    with (
        torch.device("meta"),
        torch.no_grad(),
        _Counter() as counter,
        _traced_once(method, counter),
    ):
        method.sample(Conditions(asked.labels, masks), rngs)
    return counter.flops


def samples_of(row: TrainedRow | FolderRow) -> dict[str, int]:
    """Return how many generated volumes a row has by class."""
    if isinstance(row, FolderRow):
        return {name: len(volumes) for name, volumes in row.given.items()}
    return dict.fromkeys(row.common.reference.classes, row.common.n)


def material(reference: DatasetReference, samples: Mapping[str, int] | None = None) -> Material:
    """Return what a protocol gets, without voxels.

    Args:
        reference: The data.
        samples: Generated volumes by class; None for a protocol that needs none.
    """
    classes, synthetic = tuple(reference.classes), None
    if samples is not None:
        names = [(f"{c}/{i}", k) for k, c in enumerate(classes) for i in range(samples[c])]
        synthetic = _cases((name, name, label) for name, label in names)
    parts = [set(reference.split.train), set(reference.split.test)]
    development, test = (
        _cases((c.id, c.patient, c.label) for c in reference.cases if c.id in part)
        for part in parts
    )
    return Material(development, test, synthetic, classes, DOWNSTREAM_SEED)


def _cases(rows: Iterable[tuple[str, str, int]]) -> Cases:
    """Return cases, given as (id, patient, label), whose volumes nobody may read."""
    ids, patients, labels = zip(*rows, strict=True)
    return Cases((), np.array(labels, np.int64), ids, patients)


def protocol_work(reference: DatasetReference, planned: PlannedProtocol, given: Material) -> Work:
    """Estimate one protocol on this material."""
    shape = (len(reference.channels), *[reference.size] * 3)
    try:
        flops = protocol_flops(planned.protocol, given, shape)
    except ProtocolError:
        flops = None  # it will fail
    return Work(flops, planned.resolved.config.precision)


def protocol_flops(
    protocol: DownstreamProtocol, given: Material, shape: tuple[int, ...]
) -> float | None:
    """Count the operations of all repetitions: training in each stage, validation, prediction.

    Args:
        protocol: Configured.
        given: What it is given; volumes are not read.
        shape: (C, D, H, W) of a volume.

    Returns:
        Floating-point operations, or None where the protocol does not tell.

    Raises:
        ProtocolError: If the material does not suffice.
    """
    work = protocol.work(given, shape)
    return None if work is None else sum(_flops(passes) for passes in work)


def _flops(passes: Passes) -> float:
    """Count the operations of one network."""
    with torch.device("meta"):
        network = passes.build()
    batch = torch.zeros(2, *passes.shape, device="meta")  # batch statistics need two
    with torch.no_grad(), _Counter() as forward:
        network(batch)
    training = 0.0
    if passes.trained:
        with _Counter() as counter:
            network(batch).sum().backward()
        training = counter.flops
    return (passes.trained * training + passes.read * forward.flops) / len(batch)


class _Counter(TorchDispatchMode):
    """Adds up the operations of matrix products and convolutions, forward and backward.

    ``torch.utils.flop_counter.FlopCounterMode`` would also track modules, which breaks gradient
    penalties.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


@contextmanager
def _traced_once(method: Method, counter: _Counter) -> Iterator[None]:
    """Trace a network once for inputs of the same shapes, and count it as often as it is called.

    A sampler calls its network a thousand times; without gradients all calls do the same work.
    """
    nets = list(method.nets.values())
    for net in nets:
        net.forward = _counted(net.forward, counter)
    try:
        yield
    finally:
        for net in nets:
            del net.forward


def _counted(forward: Callable[..., Any], counter: _Counter) -> Callable[..., Any]:
    """Return a network's ``forward`` that repeats what it has returned and cost before."""
    known: dict[Any, tuple[float, Any]] = {}

    def again(*inputs: Any, **named: Any) -> Any:
        leaves, form = tree_flatten((inputs, named))
        asked = (str(form), tuple(getattr(leaf, "shape", repr(leaf)) for leaf in leaves))
        if asked in known:
            flops, out = known[asked]
            counter.flops += flops
            return tree_map(torch.empty_like, out)
        before = counter.flops
        out = forward(*inputs, **named)
        known[asked] = counter.flops - before, out
        return out

    return again


class _MetaData:
    """Training data without voxels."""

    def __init__(self, method: Method) -> None:
        self._shape = (method.channels, *[method.size] * 3)

    def __len__(self) -> int:
        return 1024

    def take(self, indices: Tensor) -> Batch:
        n = len(indices)
        images = torch.zeros(n, *self._shape, device="meta")
        labels = torch.zeros(n, dtype=torch.int64, device="meta")
        return Batch(images, labels, images[:, :1], ("",) * n)


class _CountingRun:
    """A harness that runs one step of every phase and multiplies by the number of steps."""

    def __init__(self, method: Method) -> None:
        self.method, self.flops = method, 0.0

    def phase(self, name: str, **tracked: Any) -> _CountingPhase:
        return _CountingPhase(self)

    def pretrained(self, name: str, network: torch.nn.Module) -> torch.nn.Module:
        return network.requires_grad_(False)


class _CountingPhase:
    def __init__(self, run: _CountingRun) -> None:
        self._run = run

    def steps(self, total: int) -> Iterator[_CountingStep]:
        with _Counter() as counter:
            yield _CountingStep()
        self._run.flops += total * counter.flops

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        with torch.no_grad(), _Counter() as counter, _traced_once(self._run.method, counter):
            kept = compute()
        self._run.flops += counter.flops
        return tree_map(lambda tensor: torch.zeros_like(tensor, device="cpu"), kept)

    def log(self, *, always: bool = False, **scalars: Tensor | float) -> None:
        """Log nothing."""

    def warn(self, text: str) -> None:
        """Warn of nothing."""


class _CountingStep:
    index, progress = 0, 0.0

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def batch(self, data: Rows[T], size: int) -> T:
        return data.take(torch.zeros(size, dtype=torch.int64, device="cpu"))

    def randn(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device="meta")

    rand = randn

    def descend(
        self, optimiser: Optimizer | Sequence[Optimizer], loss: Tensor, *, clip: float | None = None
    ) -> None:
        _, trained = trained_by(optimiser)
        loss.backward(inputs=trained)


def machine_rate(device: torch.device, precision: str) -> float:
    """Measure FLOP/s of a 3D convolution, forward and backward, in about half a second."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    layer = torch.nn.Conv3d(64, 64, 3, padding=1).to(device, dtype)
    x = torch.randn(4, 64, 16, 16, 16, device=device, dtype=dtype)
    flops = 3 * 2 * 4 * 64 * 64 * 27 * 16**3

    def once() -> None:
        layer(x).sum().backward()
        wait_for(device)

    once()
    began, repeats = time.perf_counter(), 0
    while time.perf_counter() - began < 0.4:
        once()
        repeats += 1
    return flops * repeats / (time.perf_counter() - began)


def print_estimate(plan: ExperimentPlan, device_name: str, *, as_json: bool) -> None:
    """Print the cells of a plan with estimated time and disk."""
    device = pick_device(device_name)
    reference = plan.common.reference
    todo = {id(row): pending(row.stages, plan.folder) for row in plan.rows}
    left = [stage for stages in todo.values() for stage in stages]
    refuse_imitated_bf16(device, to_be_trained(plan, left))
    estimates = [estimate(row, todo[id(row)]) for row in plan.of_kind("method", "samples")]
    baselines = {
        row.name: protocol_work(reference, row.planned, material(reference))
        for row in plan.of_kind("protocol")
        if todo[id(row)]
    }
    works = [w for e in estimates for w in (e.generator, *e.downstream)] + [*baselines.values()]
    rates = {p: machine_rate(device, p) for p in {w.precision for w in works if w.flops}}
    answer = {
        "folder": str(plan.folder),
        "cells": [
            {
                "cell": e.cell,
                "to_do": list(e.to_do),
                "seconds": _seconds([e.generator], rates),
                "downstream_seconds": _seconds(e.downstream, rates),
                "disk_mib": round(e.disk_mib, 1),
            }
            for e in estimates
        ],
        "control_rows_to_score": sum(bool(todo[id(r)]) for r in plan.of_kind(CONTROL_KIND)),
        "protocols_to_run": {name: _seconds([work], rates) for name, work in baselines.items()},
        "missing_weights": missing_weights(plan, left),
    }
    if as_json:
        print_json(answer)
        return
    console = tables.console()
    _print_rows(answer, console)
    for reason in answer["missing_weights"]:
        line = f"The run would refuse to start: {escape(reason)}"
        console.print(line, style="bold", highlight=False, soft_wrap=True)


def _seconds(works: Sequence[Work], rates: Mapping[str, float]) -> float | None:
    """Return the time of all works; None where one cannot be counted."""
    if any(work.flops is None for work in works):
        return None
    return sum(work.flops / rates[work.precision] for work in works if work.flops)


def print_json(answer: dict[str, Any]) -> None:
    """Print an answer for machines."""
    Console(highlight=False, soft_wrap=True).out(json.dumps(answer, indent=1))


def _print_rows(answer: dict[str, Any], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("cell", "to do"):
        table.add_column(column, header_style="dim", overflow="fold")
    for column in ("train and sample, about", "downstream, about", "disk, at most"):
        table.add_column(column, header_style="dim", justify="right")
    rows, baselines = answer["cells"], answer["protocols_to_run"]
    generators = [row["seconds"] for row in rows]
    classifiers = [row["downstream_seconds"] for row in rows]
    for row, generator, classifier in zip(rows, generators, classifiers, strict=True):
        table.add_row(
            escape(row["cell"]),
            escape(", ".join(row["to_do"])) or "nothing",
            _total([generator]),
            _total([classifier]),
            f"{row['disk_mib']:.0f} MiB",
        )
    if baselines:
        named = escape(", ".join(baselines))
        table.add_row("real cases alone", named, "", _total(baselines.values()), "")
    table.add_section()
    table.add_row(
        "all",
        f"{answer['control_rows_to_score']} floor and control rows",
        _total(generators),
        _total([*classifiers, *baselines.values()]),
        f"{sum(row['disk_mib'] for row in rows):.0f} MiB",
    )
    console.print(f"Would write {escape(answer['folder'])}", highlight=False)
    console.print(table)
    console.print(
        "Times are counted operations over the speed of one convolution here, right within a "
        "factor of a few: of training steps and samples, and downstream of the classifier, for "
        "every volume it is trained, validated and tested on. Scoring is not included.",
        style="dim",
    )


def _total(seconds: Iterable[float | None]) -> str:
    """Format the sum of times; unknown where one is."""
    times = list(seconds)
    known = [time for time in times if time is not None]
    return "unknown" if len(known) < len(times) else duration(sum(known))
