"""Our values in the layout of Tables 1 to 7 of Zhou and Khalvati, MIDL 2024.

Each table is made for any experiment that has what it needs: 1 image quality by class, 2
classification in both downstream experiments, 3 and 4 the ablations of vqgan-cond, 5 and 6 all
metrics of either downstream experiment, 7 MedicalNet against the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cerebench.core.records.contents import Contents, MetricEntry
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import DASH, number, plain
from cerebench.reports.tables import notes
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.table import (
    ARROWS,
    Column,
    Table,
    TableBlock,
    TableCell,
    TableRow,
    best_of,
    score,
)
from cerebench.reports.values.labels import row_labels
from cerebench.reports.values.marks import explanation, marked_label, marks
from cerebench.reports.values.summary import summarise
from cerebench.reports.values.tidy import Value, values

if TYPE_CHECKING:
    from cerebench.reports.values.study import Study

SOURCE = "in the layout of Table {} of Zhou and Khalvati (MIDL 2024)"
MMD = ("mmd2-kwon",)
SIMILARITY = ("ms-ssim-kwon", "ms-ssim")
SLICES = ("fid", "fd-rand2d-v1")  # the second needs no weights, and its label says what it is
ABLATIONS = {3: ("top_k", "share of important tokens"), 4: ("sides", "masked neighbours")}


def build(experiment: RecordedExperiment, told: Study | None) -> dict[int, Table]:
    """Build the tables that an experiment has records for, by their number in the paper.

    Args:
        experiment: Table of contents with its folder.
        told: Its downstream protocols, as from ``sections.study``.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    found = _image_quality(experiment)
    if told is not None:
        from cerebench.reports.tables.paper_classification import build as build_classification

        found |= build_classification(told)
    return dict(sorted(found.items()))


@dataclass
class _Quality:
    """Image metrics of the methods of an experiment."""

    experiment: RecordedExperiment
    found: list[Value]
    labels: list[str]
    shown: list[int]  # rows of methods and folders of samples
    marked: Collection[int] = ()
    footnotes: Footnotes = field(default_factory=Footnotes)

    def metric(self, names: Sequence[str]) -> MetricEntry | None:
        """Return the first metric of these that could be computed."""
        told = {metric.name: metric for metric in self.experiment.contents.metrics}
        able = (told[name] for name in names if name in told and not told[name].unavailable)
        return next(able, None)

    def at(self, class_: str, metric: MetricEntry, view: str) -> dict[int, list[Value]]:
        """Return the values of each row shown, one a seed."""
        place = (class_, metric.name, view)
        return {
            row: [v for v in self.found if v.row == row and (v.class_, v.metric, v.view) == place]
            for row in self.shown
        }


def _image_quality(experiment: RecordedExperiment) -> dict[int, Table]:
    contents, found = experiment.contents, values(experiment)
    rows = contents.rows
    shown = [i for i, row in enumerate(rows) if row.kind != CONTROL_KIND]
    marked = marks(contents, found)
    labels = [marked_label(label, marked.get(i, {})) for i, label in enumerate(row_labels(rows))]
    told = _Quality(experiment, found, labels, shown, marked)
    columns = [
        (metric, view, head, detail)
        for names, heads in ((MMD, ("MMD", "10⁴")), (SIMILARITY, ("", "%")), (SLICES, ("", "")))
        if (metric := told.metric(names)) is not None
        for view, head, detail in _heads(metric, *heads)
    ]
    if not shown or told.metric(MMD) is None or told.metric(SIMILARITY) is None:
        return {}
    explained = [f"{labels[row]}: {explanation(why)}." for row, why in marked.items()]
    ablation = _ablated(contents)
    if ablation:
        columns = [column for column in columns if column[0].name in (*MMD, *SIMILARITY)]
        return {ablation: _ablation(told, ablation, columns, explained)}
    return {1: _table1(told, columns, explained)}


def _heads(metric: MetricEntry, head: str, unit: str) -> Iterator[tuple[str, str, str]]:
    """Yield view, head and detail of each column of a metric."""
    label, arrow = plain(head or metric.label), ARROWS[metric.better]
    for view in metric.views:
        letter = f"-{view[0].upper()}" if view else ""
        yield view, f"{label}{letter}", f"{f'({unit}) ' * bool(unit)}{arrow}"


def _ablated(contents: Contents) -> int:
    """Return the number of the ablation table that all rows make up together; 0: none."""
    rows = [row for row in contents.rows if row.kind == "method"]
    if len({row.method or row.name for row in rows}) != 1 or len(rows) < 2:
        return 0
    for table, (setting, _) in ABLATIONS.items():
        settings = [[d.value for d in r.differences if d.setting == setting] for r in rows]
        if any(one != settings[0] for one in settings):
            return table
    return 0


Columns = Sequence[tuple[MetricEntry, str, str, str]]


def _table1(told: _Quality, columns: Columns, explained: Sequence[str]) -> Table:
    classes = told.experiment.contents.dataset.classes
    blocks = []
    for name in classes:
        cells = [_column(told, name, metric, view) for metric, view, *_ in columns]
        rows = [TableRow(told.labels[i], "method", tuple(c[i] for c in cells)) for i in told.shown]
        blocks.append(TableBlock(plain(name), ("",) * len(columns), tuple(rows)))
    heads = tuple(Column(h, d, m.name, m.name, v) for m, v, h, d in columns)
    title = f"Image quality, {SOURCE.format(1)}"
    return _quality_table(told, title, heads, blocks, [*_no_fid(told), *explained])


def _ablation(told: _Quality, table: int, columns: Columns, explained: Sequence[str]) -> Table:
    classes = told.experiment.contents.dataset.classes
    heads = tuple(
        Column(plain(c), f"{h} {d}", c, m.name, v) for c in classes for m, v, h, d in columns
    )
    cells = [_column(told, c, metric, view) for c in classes for metric, view, *_ in columns]
    rows = [TableRow(told.labels[i], "method", tuple(c[i] for c in cells)) for i in told.shown]
    title = f"Ablation of the {ABLATIONS[table][1]}, {SOURCE.format(table)}"
    block = TableBlock("", ("",) * len(heads), tuple(rows))
    return _quality_table(told, title, heads, [block], explained)


def _quality_table(
    told: _Quality,
    title: str,
    columns: tuple[Column, ...],
    blocks: Sequence[TableBlock],
    explained: Sequence[str],
) -> Table:
    contents = told.experiment.contents
    kept = [value for value in told.found if value.row in told.shown]
    return Table(
        title=title,
        banner=plain(contents.banner or ""),
        caption=plain(f"{notes.caption(contents, kept)} {_real(told)}"),
        columns=columns,
        blocks=tuple(blocks),
        footnotes=told.footnotes.texts,
        notes=tuple(map(plain, [*_quality_notes(told, columns), *explained])),
        methods=(),
        protocol=(),
    )


def _real(told: _Quality) -> str:
    """Say the MS-SSIM of real volumes, and what its brackets hold."""
    metric = told.metric(SIMILARITY)
    reals: dict[str, dict[str, None]] = {}
    for value in told.found:
        ours = metric is not None and value.metric == metric.name and value.row in told.shown
        if ours and value.real_value is not None:
            reals.setdefault(value.class_, {})[number(100 * value.real_value)] = None
    listed = ", ".join(f"{name} {' … '.join(texts)}" for name, texts in reals.items())
    shown = f"MS-SSIM of real volumes (%): {listed or DASH}"
    return f"{shown}; in brackets: distance to it. Methods are not tested against each other."


def _quality_notes(told: _Quality, columns: Sequence[Column]) -> Iterator[str]:
    yield notes.bold(told.experiment.contents)
    metrics = told.experiment.contents.metrics
    shown = [m for m in metrics if m.name in {column.metric for column in columns}]
    for metric in shown:
        if metric.never_bold:
            yield f"{metric.label} is never bold: {metric.blind_to}"


def _no_fid(told: _Quality) -> Iterator[str]:
    """Say why Table 1 has no FID, and what stands in its place."""
    slices = told.metric(SLICES)
    if slices is not None and slices.name == SLICES[0]:
        return
    metrics = told.experiment.contents.metrics
    reasons = [m.unavailable for m in metrics if m.name == SLICES[0] and m.unavailable]
    reason = (reasons or ["not among the metrics of the run"])[0].rstrip(".") + "."
    instead = f" In its place: {slices.label}, not comparable with it." if slices else ""
    yield f"FID: {reason}{instead}"


def _column(told: _Quality, class_: str, metric: MetricEntry, view: str) -> dict[int, TableCell]:
    """Return a cell a row; the best may lead only where the metric may rank."""
    found = told.at(class_, metric, view)
    summaries = {row: s for row, seeds in found.items() if (s := summarise(seeds)) is not None}
    best, second = best_of(metric, told.experiment.contents, summaries, told.marked)
    if metric.name in SIMILARITY:
        found = {row: [replace(v, scale=100.0) for v in seeds] for row, seeds in found.items()}
    return {
        row: replace(
            score(told.footnotes, seeds, summaries.get(row), bold=row == best), second=row == second
        )
        for row, seeds in found.items()
    }
