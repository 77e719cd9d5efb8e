"""The table of contents of a plan: what was asked, and where every record of it lies.

Reports read it and nothing else of the plan; docs/results.md describes its fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cerebench.benchmark.engine import rows as planned_rows
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.registry import suite_version
from cerebench.benchmark.engine.rows import ControlRow, FolderRow, TrainedRow
from cerebench.benchmark.planning import config as configuration
from cerebench.benchmark.planning.plan import Plan
from cerebench.benchmark.planning.planned import PlannedMetric, PlannedProtocol
from cerebench.benchmark.stages import figure_data
from cerebench.core.records.base import Misfit
from cerebench.core.records.contents import (
    Contents,
    MetricEntry,
    ProtocolCell,
    ProtocolEntry,
    ProtocolRow,
)
from cerebench.core.records.data import DatasetEntry, PublishedTable
from cerebench.core.records.files import dump, read
from cerebench.core.records.rows import (
    CONTROL_KIND,
    CellEntry,
    ControlEntry,
    Difference,
    GeneratorRow,
)
from cerebench.metrics.base import Better

Generated = TrainedRow | FolderRow
Classified = Generated | planned_rows.ProtocolRow


def contents(plan: Plan) -> Contents:
    """Return the table of contents that reports read (docs/results.md)."""
    heading, common = plan.heading, plan.common
    generators = _grouped(plan.of_kind("method", "samples"))
    return Contents(
        name=heading.name,
        key=plan.key,
        suite_version=suite_version(),
        utc=store.now(),
        title=heading.title,
        cite=heading.cite,
        preset=heading.preset,
        seeds=tuple(heading.seeds),
        samples_per_class=heading.n,
        reference=heading.reference,
        banner=heading.banner or None,
        dataset=DatasetEntry(**common.reference.entry()),
        suites=tuple(heading.suites),
        metrics=tuple(metric_entry(m) for m in common.metrics),
        rows=(*map(_control, plan.of_kind(CONTROL_KIND)), *map(_generator, generators)),
        downstream=tuple(_protocol(p, plan) for p in common.protocols),
        published=tuple(PublishedTable(**dataclasses.asdict(t)) for t in heading.published),
        # What figures show of volumes is of any run with these settings, whatever its numbers.
        keys={
            stage.record.as_posix(): stage.key
            for row in plan.rows
            for stage in row.stages
            if stage.kind != "figures"
        },
    )


def publish(plan: Plan) -> None:
    """Write the table of contents, unless the newest of its name says the same already.

    Raises:
        Misfit: As from ``store.replace``.
    """
    path, made = plan.table_of_contents, contents(plan)
    found = _read(path)
    if found is None or dump(dataclasses.replace(found, utc=made.utc)) != dump(made):
        return store.replace(path, made)
    others = [p for p in path.parent.glob(f"experiment-{made.name}-????????.json") if p != path]
    if any(other.utc >= found.utc for other in map(_read, others) if other):
        return store.replace(path, made)  # its time makes it the newest
    store.seal(path, Contents)
    return None


def _read(path: Path) -> Contents | None:
    try:
        found = read(Contents, path)
    except Misfit:
        return None
    return found[1] if found else None


def metric_entry(planned: PlannedMetric) -> MetricEntry:
    """Return what reports need to know about a metric."""
    m = planned.metric
    return MetricEntry(
        name=m.name,
        version=m.version,
        label=m.label,
        better=Better(m.better).value,
        views=tuple(m.views),
        scale=m.scale,
        as_ratio=m.as_ratio,
        never_bold=m.never_bold,
        family=m.family,
        blind_to=m.blind_to,
        legend=m.legend,
        source=m.source,
        recipe=dict(m.recipe),
        recipe_hash=planned.recipe_hash,
        unavailable=planned.unavailable or None,
    )


def _grouped(rows: Iterable[Generated]) -> list[list[Generated]]:
    """Return the rows of one name, its seeds, together."""
    by_name: dict[str, list[Generated]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return list(by_name.values())


def _control(row: ControlRow) -> ControlEntry:
    control = row.control
    return ControlEntry(
        kind=CONTROL_KIND,
        name=row.name,
        label=row.label,
        role=control.role,
        note=control.note,
        scores=row.records("score"),
        **_figures(row),
    )


def _figures(row: ControlRow | Generated) -> dict[str, str]:
    return {name: path.as_posix() for name, path in figure_data.files(row).items()}


def _generator(seeds: Sequence[Generated]) -> GeneratorRow:
    """Return one entry for all seeds of a row, which have all but cells in common."""
    row, cells = seeds[0], tuple(map(_cell, seeds))
    head = {"kind": row.kind, "name": row.name, "label": row.label, "cells": cells}
    if isinstance(row, FolderRow):
        empty = {"preset": "", "conditioning": "", "differences": ()}
        return GeneratorRow(**head, **empty, source=row.source)
    info = row.method.info
    return GeneratorRow(
        **head,
        method=info.name,
        preset=row.preset,
        conditioning=info.conditioning,
        source=info.source,
        differences=_differences(row.differences()),
    )


def _differences(rows: Iterable[Mapping[str, Any]]) -> tuple[Difference, ...]:
    return tuple(Difference(**row) for row in rows)


def _cell(row: Generated) -> CellEntry:
    """Return where the records of one seed are."""
    return CellEntry(
        seed=row.seed,
        folder=row.folder.as_posix(),
        train=row.records("train"),
        sample=row.records("sample").get("", ""),
        diagnosis=row.records("diagnosis").get("", ""),
        **_figures(row),
        scores=row.records("score"),
    )


def _protocol(planned: PlannedProtocol, plan: Plan) -> ProtocolEntry:
    """Return what reports need to know about a protocol, with the records of its rows."""
    info, resolved = planned.protocol.info, planned.resolved
    paper = configuration.resolve_paper(type(planned.protocol))
    rows: dict[str, Classified] = {}
    cells: dict[str, list[ProtocolCell]] = {}
    for row, place in _classified(planned, plan):
        rows.setdefault(row.name, row)
        cells.setdefault(row.name, []).append(ProtocolCell(seed=row.seed, record=place))
    return ProtocolEntry(
        name=info.name,
        label=info.label,
        version=info.version,
        source=info.source,
        role=info.role,
        needs_samples=info.needs_samples,
        description=info.description,
        preset=resolved.preset,
        config=dict(resolved.values),
        differences=_differences(configuration.differences(resolved, paper)),
        recipe_hash=planned.recipe_hash,
        unavailable=planned.unavailable or None,
        rows=tuple(
            ProtocolRow(kind=row.kind, name=name, label=row.label, cells=tuple(cells[name]))
            for name, row in rows.items()
        ),
    )


def _classified(planned: PlannedProtocol, plan: Plan) -> Iterator[tuple[Classified, str]]:
    """Yield the rows of a protocol with the place of its record, also where it cannot be run."""
    for row in plan.of_kind("method", "samples", "protocol"):
        for own, stage in row.classifying():
            if own.name == planned.name:
                yield row, stage.record.as_posix()
