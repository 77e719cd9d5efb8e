"""The table of contents of an experiment: what was asked, and where every record of it lies.

Reports read it and nothing else of the plan; docs/results.md describes its fields.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cerebench.benchmark import config as configuration
from cerebench.benchmark.data import left_out
from cerebench.benchmark.errors import BadConfig
from cerebench.benchmark.plan import (
    Anchor,
    Cell,
    Plan,
    PlannedMetric,
    PlannedProtocol,
    figure_files,
    train_ids,
)
from cerebench.benchmark.registry import suite_version
from cerebench.benchmark.store import SCHEMA, now
from cerebench.datasets.splits import split_sha256
from cerebench.metrics.suites import asked


def _told(cell: Cell) -> str:
    """Say what a sample folder tells about its generator's training."""
    if cell.samples is None or cell.samples.training is None:
        return "not known"
    n = len(cell.samples.training)
    return f"told: {n}, {len(cell.leaked) or 'none'} of them in the test set"


def contents(plan: Plan) -> dict[str, Any]:
    """Return the table of contents that reports read (docs/results.md)."""
    experiment, dataset = plan.experiment, plan.dataset
    return {
        "schema": SCHEMA,
        "kind": "experiment",
        "name": experiment.name,
        "key": plan.key,
        "suite_version": suite_version(),
        "utc": now(),
        "title": experiment.title,
        "cite": experiment.cite,
        "preset": experiment.preset,
        "seeds": list(experiment.seeds),
        "samples_per_class": experiment.samples_per_class,
        "reference": experiment.reference,
        "banner": _banner(plan) or None,
        "dataset": _dataset_entry(plan),
        "suites": asked(experiment.metrics),
        "metrics": [metric_entry(m) for m in plan.metrics],
        "rows": [_anchor_entry(a) for a in plan.anchors] + _cell_entries(plan, dataset.size),
        "downstream": [_protocol_entry(p, plan) for p in plan.protocols],
        "published": [dataclasses.asdict(table) for table in experiment.published],
    }


def _banner(plan: Plan) -> str:
    """Return what stands above every table: leaked test cases first."""
    leaks = [f"{c.name} was trained on {len(c.leaked)} test cases" for c in plan.cells if c.leaked]
    parts = [f"leakage allowed: {', '.join(leaks)}"] if leaks else []
    usual = plan.experiment.banner(synthetic=plan.dataset.info.synthetic)
    return "; ".join([*parts, *([usual] if usual else [])])


def _dataset_entry(plan: Plan) -> dict[str, Any]:
    dataset, info = plan.dataset, plan.dataset.info
    recipe, test = dataset.recipe, set(plan.split.test)
    counts = {}
    for index, name in enumerate(info.classes):
        ids = [c.id for c in plan.cases if c.label == index]
        n_test = sum(i in test for i in ids)
        n_train = len(train_ids(plan.cases, plan.split, info.classes, name))
        counts[name] = {"train": n_train, "test": n_test}
    return {
        "name": info.name,
        "label": info.label,
        "size": dataset.size,
        "fingerprint": plan.fingerprint,
        "classes": list(info.classes),
        "channels": list(info.channels),
        "spacing": list(dataset.spacing),
        "synthetic": info.synthetic,
        "source": info.source,
        "licence": info.licence,
        "recipe": {**recipe.facts, "id": dataset.recipe_id, "sha256": recipe.sha256},
        "split": {
            "sha256": split_sha256(plan.split, plan.cases),
            "file": plan.split_file,
            "published": bool(plan.experiment.split_file),
        },
        "counts": counts,
        **left_out(dataset),
    }


def metric_entry(planned: PlannedMetric) -> dict[str, Any]:
    """Return what reports need to know about a metric."""
    m = planned.metric
    return {
        "name": m.name,
        "version": m.version,
        "label": m.label,
        "better": str(m.better),
        "views": list(m.views),
        "scale": m.scale,
        "never_bold": m.never_bold,
        "blind_to": m.blind_to,
        "source": m.source,
        "recipe": dict(m.recipe),
        "recipe_hash": planned.recipe_hash,
        "unavailable": planned.unavailable or None,
    }


def _protocol_entry(planned: PlannedProtocol, plan: Plan) -> dict[str, Any]:
    """Return what reports need to know about a protocol, with the records of its rows."""
    info, resolved = planned.protocol.info, planned.resolved
    paper = configuration.resolve(type(planned.protocol), "paper")
    return {
        "name": info.name,
        "label": info.label,
        "version": info.version,
        "source": info.source,
        "role": info.role,
        "needs_samples": info.needs_samples,
        "description": info.description,
        "preset": resolved.preset,
        "config": dict(resolved.values),
        "differences": configuration.differences(resolved, paper),
        "recipe_hash": planned.recipe_hash,
        "unavailable": planned.unavailable or None,
        "rows": _protocol_rows(planned, plan),
    }


def _protocol_rows(planned: PlannedProtocol, plan: Plan) -> list[dict[str, Any]]:
    """Return one row per generator, or the protocol's own."""
    name = planned.name
    if planned.key:
        cells = [{"seed": None, "record": planned.record.as_posix()}]
        label = planned.protocol.info.label
        return [{"kind": "protocol", "name": name, "label": label, "cells": cells}]
    rows: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        if name in cell.downstream_keys:
            head = {"kind": _kind(cell), "name": cell.name, "label": cell.label, "cells": []}
            record = cell.record("downstream", name).as_posix()
            row = rows.setdefault(cell.name, head)
            row["cells"].append({"seed": cell.seed, "record": record})
    return list(rows.values())


def _kind(cell: Cell) -> str:
    return "method" if cell.samples is None else "samples"


def _anchor_entry(anchor: Anchor) -> dict[str, Any]:
    control = anchor.control
    return {
        "kind": "anchor",
        "name": control.name,
        "label": control.label,
        "role": control.role,
        "note": control.note,
        "scores": {name: anchor.record(name).as_posix() for name in anchor.score_keys},
        **{name: path.as_posix() for name, path in figure_files(Path("_real"), ()).items()},
    }


def _cell_entries(plan: Plan, size: int) -> list[dict[str, Any]]:
    """Return one row per method or sample folder, its seeds together."""
    rows: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        if cell.name not in rows:
            rows[cell.name] = _row_head(cell, plan.experiment.preset, size)
        entry: dict[str, Any] = {
            "seed": cell.seed,
            "folder": cell.folder.as_posix(),
            "train": {s: cell.record("train", s).as_posix() for s in cell.scopes},
            "sample": cell.record("sample", "").as_posix(),
            **{name: path.as_posix() for name, path in cell.figure_data.items()},
            "scores": {n: cell.record("score", n).as_posix() for n in cell.score_keys},
        }
        if cell.diagnosis_key:
            entry["diagnosis"] = cell.record("diagnosis", "").as_posix()
        rows[cell.name]["cells"].append(entry)
    return list(rows.values())


def _paper_settings(method: Any, size: int) -> configuration.Resolved:
    """Return the paper preset fitted to this size, or to its own where it cannot work at this."""
    try:
        return configuration.resolve(method, "paper", size)
    except BadConfig:
        return configuration.resolve(method, "paper", method.presets["paper"].size)


def _row_head(cell: Cell, preset: str, size: int) -> dict[str, Any]:
    if cell.resolved is None:
        source = f"a folder of samples; which cases it was trained on is {_told(cell)}"
        head = {"kind": _kind(cell), "preset": "", "conditioning": "", "source": source}
        return {**head, "name": cell.name, "label": cell.label, "differences": [], "cells": []}
    paper = _paper_settings(cell.method, size)
    return {
        "kind": _kind(cell),
        "name": cell.name,
        "label": cell.label,
        "method": cell.method.info.name,
        "preset": preset,
        "conditioning": cell.method.info.conditioning,
        "source": cell.method.info.source,
        "differences": configuration.differences(cell.resolved, paper),
        "cells": [],
    }
