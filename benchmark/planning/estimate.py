"""``bench run --dry-run``: what would run, about how long it takes, how much memory and disk.

``counting.py`` counts the operations of training and sampling on shapes alone. Of a downstream
protocol it is one volume through the classifier, for each volume that it is trained, validated and
tested on in all repetitions. Dividing by what this machine reaches on one convolution gives a time
that is right within a factor of a few; scoring, whose time is unknown, is not included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table

from cerebench.benchmark import tables
from cerebench.benchmark.console import Console
from cerebench.benchmark.device import (
    pick_device,
    refuse_imitated_bf16,
    total_memory,
    wait_for,
)
from cerebench.benchmark.engine.rows import DatasetCommon, FolderRow, TrainedRow
from cerebench.benchmark.engine.stage import Stage, pending
from cerebench.benchmark.planning import counting
from cerebench.benchmark.planning.plan import ExperimentPlan, missing_weights, to_be_trained
from cerebench.benchmark.planning.planned import PlannedProtocol
from cerebench.benchmark.planning.reference import DatasetReference
from cerebench.benchmark.stages.downstream import DOWNSTREAM_SEED
from cerebench.benchmark.stages.training import MEMORY_SHARE
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.metrics.downstream.base import (
    Cases,
    DownstreamProtocol,
    Material,
    Passes,
    ProtocolError,
)
from cerebench.reports.formatting import duration

# What a process takes on a CPU for tensors of so many bytes, the same for all methods: compiled
# kernels, then what the allocator and kernels add. Measured: docs/performance.md, "Dry run".
KERNELS = 20 * 2**20
RESIDENT = 1.65


@dataclass(frozen=True)
class Work:
    """Floating-point operations in one precision; None where they cannot be counted."""

    flops: float | None
    precision: str


@dataclass(frozen=True)
class Tensors:
    """Bytes of tensors at the worst moment: of a training, of a shard of samples, of the data.

    Attributes:
        training: Weights, gradients, states of optimisers and what backward passes need; 0 where
            nothing is trained, None where a method looks at its data.
        sampling: Networks of all instances and what a shard of samples needs; as above.
        data: Volumes and masks of the largest training set.
        kept: What a training keeps in the memory of the host of all its cases.
    """

    training: int | None = 0
    sampling: int | None = 0
    data: int = 0
    kept: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """One cell: stages to do, work of training and sampling, work downstream, disk in MiB."""

    cell: str
    to_do: tuple[str, ...]
    generator: Work
    downstream: tuple[Work, ...]
    disk_mib: float
    tensors: Tensors


def estimate(row: TrainedRow | FolderRow, todo: Sequence[Stage]) -> Estimate:
    """Estimate what the stages that a row still needs will take."""
    common, records = row.common, {stage.record for stage in todo}
    assert isinstance(common, DatasetCommon)  # ``bench evaluate`` estimates nothing
    reference = common.reference
    classifiers = tuple(
        protocol_work(reference, planned, material(reference, samples_of(row)))
        for planned, stage in row.classifying()
        if stage.record in records
    )
    name, lines = cell_name(row), to_do(todo)
    if isinstance(row, FolderRow):
        return Estimate(name, lines, Work(0.0, ""), classifiers, 0.0, Tensors())
    trainings = sum(stage.kind == "train" for stage in todo)
    sampling = trainings or any(stage.kind == "sample" for stage in todo)
    samples = common.n * len(reference.classes) * bool(sampling)
    generator, disk, tensors = _generator(row, trainings, samples)
    return Estimate(name, lines, generator, classifiers, disk, tensors)


def cell_name(row: TrainedRow | FolderRow) -> str:
    """Return how a row's cell is called."""
    return f"{row.name} · seed {row.seed}"


def to_do(todo: Sequence[Stage]) -> tuple[str, ...]:
    """Return what is to be done, stages of one line once."""
    return tuple(dict.fromkeys(stage.line or stage.name for stage in todo))


def _generator(row: TrainedRow, trainings: int, samples: int) -> tuple[Work, float, Tensors]:
    """Return the work of trainings and samples of a method, their MiB on disk, their memory."""
    reference = row.common.reference
    with torch.device("meta"):
        method = row.build(row.scopes[0])
    networks = sum(t.nbytes for net in method.nets.values() for t in net.state_dict().values())
    nothing = counting.Counted(0.0, 0)
    cases = max(len(row.train_ids(scope)) for scope in row.scopes) if trainings else 0
    voxels = reference.size**3
    data = cases * voxels * (4 * len(reference.channels) + 1)  # float32 volumes and a mask
    try:
        trained = counting.training(method) if trainings else nothing
        drawn = counting.sampling(method) if samples else nothing
    except (RuntimeError, NotImplementedError, ValueError):
        # The method looks at its data while training; only a real run can tell.
        flops, tensors = None, Tensors(None, None, data)
    else:
        flops = trainings * trained.flops + samples * drawn.flops
        others = networks * (len(row.scopes) - 1) if samples else 0
        tensors = Tensors(trained.peak, drawn.peak + others, data, cases * trained.kept)
    weights = sum(t.numel() for net in method.nets.values() for t in net.state_dict().values())
    volumes = samples * len(reference.channels) * voxels
    disk = 4 * (weights * trainings + volumes) / 2**20
    return Work(flops, row.resolved.config.precision), disk, tensors


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
    training, reading = counting.passes(passes.build, passes.shape, trained=bool(passes.trained))
    return passes.trained * training + passes.read * reading


def machine_rate(device: torch.device, precision: str) -> float:
    """Measure FLOP/s of a 3D convolution, forward and backward, in a quarter of a second."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    layer = torch.nn.Conv3d(64, 64, 3, padding=1).to(device, dtype)
    x = torch.randn(4, 64, 16, 16, 16, device=device, dtype=dtype)
    flops = 3 * 2 * 4 * 64 * 64 * 27 * 16**3

    def once() -> None:
        layer(x).sum().backward()
        wait_for(device)

    once()
    began, repeats = time.perf_counter(), 0
    while time.perf_counter() - began < 0.2:
        once()
        repeats += 1
    return flops * repeats / (time.perf_counter() - began)


def peak_mib(tensors: Tensors, device: torch.device) -> dict[str, float | None]:
    """Return the peak memory of training and sampling, MiB; None where it cannot be told.

    On a GPU it is the tensors themselves. On a CPU it is what the process takes beside what it has
    once everything is imported.
    """
    shared = tensors.data <= MEMORY_SHARE * total_memory(device)
    data = tensors.data if shared else 0
    if device.type == "cpu":
        data += tensors.kept
    needs = {
        "training": tensors.training and tensors.training + data,
        "sampling": tensors.sampling,
    }
    if device.type == "cpu":
        needs = {what: need and KERNELS + RESIDENT * need for what, need in needs.items()}
    return {what: None if n is None else round(n / 2**20, 1) for what, n in needs.items()}


def print_estimate(plan: ExperimentPlan, device_name: str, *, as_json: bool) -> None:
    """Print the cells of a plan, one as soon as it is known, with time, memory and disk."""
    device = pick_device(device_name)
    reference = plan.common.reference
    todo = {id(row): pending(row.stages, plan.folder) for row in plan.rows}
    left = [stage for stages in todo.values() for stage in stages]
    refuse_imitated_bf16(device, to_be_trained(plan, left))
    rows, rates = plan.of_kind("method", "samples"), _Rates(device)
    protocols = [row for row in plan.of_kind("protocol") if todo[id(row)]]
    controls = sum(bool(todo[id(row)]) for row in plan.of_kind(CONTROL_KIND))
    console = tables.console()
    console.quiet = as_json
    names = [cell_name(row) for row in rows]
    lines = Lines(console, names, downstream=bool(plan.common.protocols))
    lines.begin(str(plan.folder))
    cells = []
    for row in rows:
        found = estimate(row, todo[id(row)])
        memory = peak_mib(found.tensors, device)
        cells.append(
            {
                "cell": found.cell,
                "to_do": list(found.to_do),
                "seconds": rates.seconds([found.generator]),
                "downstream_seconds": rates.seconds(found.downstream),
                "training_peak_mib": memory["training"],
                "sampling_peak_mib": memory["sampling"],
                "disk_mib": round(found.disk_mib, 1),
            }
        )
        lines.cell(cells[-1])
    baselines = {
        row.name: rates.seconds([protocol_work(reference, row.planned, material(reference))])
        for row in protocols
    }
    answer = {
        "folder": str(plan.folder),
        "cells": cells,
        "control_rows_to_score": controls,
        "protocols_to_run": baselines,
        "missing_weights": missing_weights(plan, left),
    }
    if as_json:
        print_json(answer)
    else:
        lines.end(answer, on_cpu=device.type == "cpu")


class _Rates(dict[str, float]):
    """Speed of a device by precision, measured when first needed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __missing__(self, precision: str) -> float:
        self[precision] = machine_rate(self._device, precision)
        return self[precision]

    def seconds(self, works: Sequence[Work]) -> float | None:
        """Return the time of all works; None where one cannot be counted."""
        if any(work.flops is None for work in works):
            return None
        return sum(work.flops / self[work.precision] for work in works if work.flops)


def print_json(answer: dict[str, Any]) -> None:
    """Print an answer for machines."""
    Console(highlight=False, soft_wrap=True).out(json.dumps(answer, indent=1))


class Lines:
    """The table of a dry run, whose lines are printed one by one.

    Args:
        console: Where to.
        names: Of all cells.
        downstream: Whether there are protocols.
    """

    def __init__(self, console: Console, names: Sequence[str], *, downstream: bool) -> None:
        self._console, self._downstream = console, downstream
        self._widths = (8, 10, 8, 8, 8) if downstream else (8, 8, 8, 8)
        self._gap = 2 if console.width >= 100 else 1
        room = console.width - sum(width + self._gap for width in self._widths)
        named = [*names, "real cases alone"]
        longest, word = max(map(len, named)), max(len(w) for name in named for w in name.split())
        self._name = min(longest, max(room - 18, word))
        self._rest = max(room - self._name - self._gap, 10)

    def begin(self, folder: str) -> None:
        """Print where the run would write, and what the columns are."""
        self._console.print(f"Would write {escape(folder)}", highlight=False)
        self._line(
            "cell", "to do", "about", "downstream", "train memory", "sample memory", "disk",
            style="dim",
        )  # fmt: skip

    def cell(self, row: Mapping[str, Any]) -> None:
        """Print a cell."""
        self._line(
            row["cell"],
            ", ".join(row["to_do"]) or "nothing",
            _total([row["seconds"]]),
            _total([row["downstream_seconds"]]),
            _size(row["training_peak_mib"]),
            _size(row["sampling_peak_mib"]),
            _size(row["disk_mib"]),
        )

    def end(self, answer: Mapping[str, Any], *, on_cpu: bool) -> None:
        """Print sums and what is to be known about them."""
        rows, baselines = answer["cells"], answer["protocols_to_run"]
        scored = answer["control_rows_to_score"]
        if baselines:
            named = ", ".join(baselines)
            self._line("real cases alone", named, "", _total(baselines.values()), "", "", "")
        self._line(
            "all",
            f"{scored} floor and control rows" if scored else "",
            _total(row["seconds"] for row in rows),
            _total([*(row["downstream_seconds"] for row in rows), *baselines.values()]),
            *(_most(row[f"{what}_peak_mib"] for row in rows) for what in ("training", "sampling")),
            _size(sum(row["disk_mib"] for row in rows)),
        )
        beside = "beside the 0.7 to 1 GiB of the program itself, " if on_cpu else ""
        self._console.print(
            "Times are counted operations over the speed of one convolution here, right within a "
            "factor of a few: of training steps and samples, and downstream of the classifier, for "
            "every volume it is trained, validated and tested on. Scoring is not included. Memory "
            f"is the peak of all tensors, approximate, {beside}without scoring; disk is at most.",
            style="dim",
        )
        for reason in answer["missing_weights"]:
            line = f"The run would refuse to start: {escape(reason)}"
            self._console.print(line, style="bold", highlight=False, soft_wrap=True)

    def _line(
        self, cell: str, stages: str, time: str, downstream: str, *sizes: str, style: str = ""
    ) -> None:
        table = Table(
            box=None, pad_edge=False, padding=(0, self._gap, 0, 0), show_header=False, style=style
        )
        table.add_column(width=self._name, overflow="fold")
        table.add_column(width=self._rest, overflow="fold")
        for width in self._widths:
            table.add_column(width=width, justify="right")
        times = (time, downstream) if self._downstream else (time,)
        table.add_row(*map(escape, (cell, stages, *times, *sizes)))
        self._console.print(table)


def _size(mib: float | None) -> str:
    """Format an amount of memory."""
    if mib is None:
        return "unknown"
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB" if mib else "–"


def _most(amounts: Iterable[float | None]) -> str:
    """Format the largest amount; unknown where one is."""
    found = list(amounts)
    known = [amount for amount in found if amount is not None]
    return _size(max(known, default=0.0) if len(known) == len(found) else None)


def _total(seconds: Iterable[float | None]) -> str:
    """Format the sum of times; unknown where one is."""
    times = list(seconds)
    known = [time for time in times if time is not None]
    return "unknown" if len(known) < len(times) else duration(sum(known))
