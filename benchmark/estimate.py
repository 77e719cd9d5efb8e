"""``bench run --dry-run``: what would run, about how long it takes and how much disk it needs.

One step of every phase is traced on torch's meta device, which has shapes but no data, and its
floating-point operations are counted. Dividing by what this machine reaches on one convolution
gives a time that is right within a factor of a few; scoring and downstream protocols, whose time
is unknown, are not included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry

from cerebench.benchmark import tables
from cerebench.benchmark.plan import SHARD, Cell, Plan, missing_weights
from cerebench.benchmark.runner import pending, pending_anchor, pending_baselines
from cerebench.benchmark.sampling import pick_device
from cerebench.benchmark.training import trained_by
from cerebench.methods.base import Batch, Conditions, Rows, T
from cerebench.reports.formatting import duration


@dataclass(frozen=True)
class Estimate:
    """One cell: stages to do, floating-point operations of training and sampling, disk in MiB.

    ``flops`` is None where a method cannot be traced without data.
    """

    cell: str
    to_do: tuple[str, ...]
    flops: float | None
    precision: str
    disk_mib: float


def estimate(plan: Plan, cell: Cell) -> Estimate:
    """Estimate what a cell still needs."""
    todo = pending(plan, cell)
    stages = [f"train {scope}" for scope in todo.train]
    stages += ["sample"] * todo.sample + ["score"] * bool(todo.metrics)
    stages += ["diagnosis"] * todo.diagnosis + [p.name for p in todo.protocols]
    name = f"{cell.name} · seed {cell.seed}"
    if cell.method is None:
        return Estimate(name, tuple(stages), 0.0, "", 0.0)
    info, n = plan.dataset.info, plan.experiment.samples_per_class
    with torch.device("meta"):
        method = cell.method(
            cell.resolved.config,
            size=plan.dataset.size,
            classes=info.classes,
            channels=len(info.channels),
        )
    shards = -(-n // SHARD) * len(info.classes) if todo.sample else 0
    try:
        flops = len(todo.train) * training_flops(method) if todo.train else 0.0
        flops += shards * sampling_flops(method) if shards else 0.0
    except (RuntimeError, NotImplementedError, ValueError):
        flops = None  # the method looks at its data while training; only a real run can tell
    weights = sum(t.numel() for net in method.nets.values() for t in net.state_dict().values())
    volumes = n * len(info.classes) * len(info.channels) * plan.dataset.size**3
    disk = 4 * (weights * len(todo.train) + (volumes if todo.sample else 0)) / 2**20
    return Estimate(name, tuple(stages), flops, cell.resolved.config.precision, disk)


def training_flops(method: Any) -> float:
    """Count the operations of one training of a method that lives on the meta device."""
    run = _CountingRun(method)
    with torch.device("meta"):
        method.train(_MetaData(method), run)
    return run.flops


def sampling_flops(method: Any) -> float:
    """Count the operations of one shard of samples."""
    rngs = [torch.Generator().manual_seed(0) for _ in range(SHARD)]
    asked = _MetaData(method).take(torch.arange(SHARD))
    masks = asked.masks if method.info.conditioning == "mask" else None
    with torch.device("meta"), torch.no_grad(), _Counter() as counter:
        method.sample(Conditions(asked.labels, masks), rngs)
    return counter.flops


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


class _MetaData:
    """Training data without voxels."""

    def __init__(self, method: Any) -> None:
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

    def __init__(self, method: Any) -> None:
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
        with torch.no_grad(), _Counter() as counter:
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
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    once()
    began, repeats = time.perf_counter(), 0
    while time.perf_counter() - began < 0.4:
        once()
        repeats += 1
    return flops * repeats / (time.perf_counter() - began)


def print_estimate(plan: Plan, device_name: str, *, as_json: bool) -> None:
    """Print the cells of a plan with estimated time and disk."""
    device = pick_device(device_name)
    estimates = [estimate(plan, cell) for cell in plan.cells]
    rates = {p: machine_rate(device, p) for p in {e.precision for e in estimates if e.flops}}
    rows = [
        {
            "cell": e.cell,
            "to_do": list(e.to_do),
            "seconds": e.flops / rates[e.precision] if e.flops else e.flops,
            "disk_mib": round(e.disk_mib, 1),
        }
        for e in estimates
    ]
    anchors = sum(bool(pending_anchor(plan, a)) for a in plan.anchors)
    lacking = missing_weights(c for c in plan.cells if pending(plan, c).train)
    if as_json:
        answer = {
            "folder": str(plan.folder),
            "cells": rows,
            "anchor_rows_to_score": anchors,
            "protocols_to_run": [p.name for p in pending_baselines(plan)],
            "missing_weights": lacking,
        }
        print_json(answer)
        return
    console = tables.console()
    _print_rows(rows, anchors, plan, console)
    for reason in lacking:
        line = f"The run would refuse to start: {escape(reason)}"
        console.print(line, style="bold", highlight=False, soft_wrap=True)


def print_json(answer: dict[str, Any]) -> None:
    """Print an answer for machines."""
    Console(highlight=False, soft_wrap=True).out(json.dumps(answer, indent=1))


def _print_rows(rows: list[dict[str, Any]], anchors: int, plan: Plan, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("cell", "to do"):
        table.add_column(column, header_style="dim", overflow="fold")
    for column in ("time, about", "disk, at most"):
        table.add_column(column, header_style="dim", justify="right")
    for row in rows:
        known = row["seconds"] is not None
        table.add_row(
            escape(row["cell"]),
            ", ".join(row["to_do"]) or "nothing",
            duration(row["seconds"]) if known else "unknown",
            f"{row['disk_mib']:.0f} MiB",
        )
    times = [row["seconds"] for row in rows]
    total = "unknown" if None in times else duration(sum(times))
    table.add_section()
    disk = sum(row["disk_mib"] for row in rows)
    others = [f"{anchors} floor and control rows", *(p.name for p in pending_baselines(plan))]
    table.add_row("all", ", ".join(others), total, f"{disk:.0f} MiB")
    console.print(f"Would write {escape(str(plan.folder))}", highlight=False)
    console.print(table)
    console.print(
        "Times are counted operations over the speed of one convolution here: right within a "
        "factor of a few, without scoring and without downstream protocols.",
        style="dim",
    )
