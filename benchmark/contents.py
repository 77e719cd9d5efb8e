"""The table of contents of a plan: what was asked, and where every record of it lies.

Reports read it and nothing else of the plan; docs/results.md describes its fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from cerebench.benchmark import config as configuration
from cerebench.benchmark import figure_data
from cerebench.benchmark.plan import Plan
from cerebench.benchmark.planned import PlannedMetric, PlannedProtocol
from cerebench.benchmark.registry import suite_version
from cerebench.benchmark.rows import ControlRow, FolderRow, TrainedRow
from cerebench.benchmark.store import SCHEMA, now


def contents(plan: Plan) -> dict[str, Any]:
    """Return the table of contents that reports read (docs/results.md)."""
    heading, common = plan.heading, plan.common
    return {
        "schema": SCHEMA,
        "kind": "experiment",
        "name": heading.name,
        "key": plan.key,
        "suite_version": suite_version(),
        "utc": now(),
        "title": heading.title,
        "cite": heading.cite,
        "preset": heading.preset,
        "seeds": list(heading.seeds),
        "samples_per_class": heading.n,
        "reference": heading.reference,
        "banner": heading.banner or None,
        "dataset": common.reference.entry(),
        "suites": list(heading.suites),
        "metrics": [metric_entry(m) for m in common.metrics],
        "rows": [
            *map(_control_entry, plan.of_kind("anchor")),
            *_grouped((row, _head(row), _cell(row)) for row in plan.of_kind("method", "samples")),
        ],
        "downstream": [_protocol_entry(p, plan) for p in common.protocols],
        "published": [dataclasses.asdict(table) for table in heading.published],
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
        "family": m.family,
        "blind_to": m.blind_to,
        "source": m.source,
        "recipe": dict(m.recipe),
        "recipe_hash": planned.recipe_hash,
        "unavailable": planned.unavailable or None,
    }


def _grouped(
    cells: Iterable[tuple[TrainedRow | FolderRow, dict[str, Any], dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return one entry a name, its seeds together."""
    entries: dict[str, dict[str, Any]] = {}
    for row, head, cell in cells:
        entries.setdefault(row.name, {**head, "cells": []})["cells"].append(cell)
    return list(entries.values())


def _control_entry(row: ControlRow) -> dict[str, Any]:
    control = row.control
    return {
        "kind": row.kind,
        "name": row.name,
        "label": row.label,
        "role": control.role,
        "note": control.note,
        "scores": row.records("score"),
        **_figures(row),
    }


def _figures(row: ControlRow | TrainedRow | FolderRow) -> dict[str, str]:
    return {name: path.as_posix() for name, path in figure_data.files(row).items()}


def _head(row: TrainedRow | FolderRow) -> dict[str, Any]:
    """Return what all seeds of a row have in common."""
    head = {"kind": row.kind, "name": row.name, "label": row.label}
    if isinstance(row, FolderRow):
        return {**head, "preset": "", "conditioning": "", "source": row.source, "differences": []}
    info = row.method.info
    return {
        **head,
        "method": info.name,
        "preset": row.preset,
        "conditioning": info.conditioning,
        "source": info.source,
        "differences": row.differences(),
    }


def _cell(row: TrainedRow | FolderRow) -> dict[str, Any]:
    """Return where the records of one seed are."""
    one = {name: found[""] for name in ("sample", "diagnosis") if (found := row.records(name))}
    return {
        "seed": row.seed,
        "folder": row.folder.as_posix(),
        "train": row.records("train"),
        **one,
        **_figures(row),
        "scores": row.records("score"),
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
        "rows": _grouped(_protocol_cells(planned, plan)),
    }


def _protocol_cells(planned: PlannedProtocol, plan: Plan) -> Iterable[Any]:
    """Yield the rows of a protocol, also where it cannot be run: the reason is in its entry."""
    for row in plan.of_kind("method", "samples", "protocol"):
        for own, stage in row.classifying():
            if own.name == planned.name:
                head = {"kind": row.kind, "name": row.name, "label": row.label}
                yield row, head, {"seed": row.seed, "record": stage.record.as_posix()}
