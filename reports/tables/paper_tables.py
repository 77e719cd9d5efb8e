"""Our values in the layout of Tables 1 to 7 of Zhou and Khalvati, MIDL 2024.

Each table is made for any experiment that has what it needs: 1 image quality by class, 2
classification in both downstream experiments, 3 and 4 the ablations of vqgan-cond, 5 and 6 all
metrics of either downstream experiment, 7 MedicalNet against the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cerebench.core.records.contents import Contents, MetricEntry
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import DASH, number, plain, units
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
    digits,
    score,
)
from cerebench.reports.values.marks import explanation, marked_labels, marks
from cerebench.reports.values.summary import Summary, summarise
from cerebench.reports.values.tidy import Value, values

if TYPE_CHECKING:
    from cerebench.reports.values.study import Study

SOURCE = "in the layout of Table {} of Zhou and Khalvati (MIDL 2024)"
MMD = ("mmd2-kwon",)
SIMILARITY = ("ms-ssim-kwon", "ms-ssim")
SLICES = ("fid", "fd-rand2d-v1")  # the second needs no weights, and its label says what it is
ABLATIONS = {3: ("top_k", "share of important tokens"), 4: ("sides", "masked neighbours")}


def build_paper_tables(experiment: RecordedExperiment, study: Study | None) -> dict[int, Table]:
    """Build the tables that an experiment has records for, by their number in the paper.

    Args:
        experiment: Table of contents with its folder.
        study: Its downstream protocols, as from ``sections.study``.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    tables = _image_quality(experiment)
    if study is not None:
        from cerebench.reports.tables.paper_classification import build_classification_tables

        tables |= build_classification_tables(study)
    return dict(sorted(tables.items()))


@dataclass
class _Quality:
    """Image metrics of the methods of an experiment."""

    experiment: RecordedExperiment
    values: list[Value]
    labels: list[str]
    shown: list[int]  # rows of methods and folders of samples
    marked: Collection[int] = ()
    footnotes: Footnotes = field(default_factory=Footnotes)

    def metric(self, names: Sequence[str]) -> MetricEntry | None:
        """Return the first metric of these that could be computed."""
        metrics = {metric.name: metric for metric in self.experiment.contents.metrics}
        able = (
            metrics[name] for name in names if name in metrics and not metrics[name].unavailable
        )
        return next(able, None)

    def at(self, class_: str, metric: MetricEntry, view: str) -> dict[int, list[Value]]:
        """Return the values of each row shown, one a seed."""
        place = (class_, metric.name, view)
        return {
            row: [v for v in self.values if v.row == row and (v.class_, v.metric, v.view) == place]
            for row in self.shown
        }


def _image_quality(experiment: RecordedExperiment) -> dict[int, Table]:
    contents, all_values = experiment.contents, values(experiment)
    rows = contents.rows
    shown = [i for i, row in enumerate(rows) if row.kind != CONTROL_KIND]
    marked = marks(contents, all_values)
    labels = marked_labels(contents, marked)
    quality = _Quality(experiment, all_values, labels, shown, marked)
    columns = [
        (metric, view, head, detail)
        for names, head in ((MMD, "MMD"), (SIMILARITY, ""), (SLICES, ""))
        if (metric := quality.metric(names)) is not None
        for view, head, detail in _heads(metric, head)
    ]
    if not shown or quality.metric(MMD) is None or quality.metric(SIMILARITY) is None:
        return {}
    explained = [f"{labels[row]}: {explanation(why)}." for row, why in marked.items()]
    ablation = _ablated(contents)
    if ablation:
        columns = [column for column in columns if column[0].name in (*MMD, *SIMILARITY)]
        return {ablation: _ablation(quality, ablation, columns, explained)}
    return {1: _table1(quality, columns, explained)}


def _heads(metric: MetricEntry, head: str) -> Iterator[tuple[str, str, str]]:
    """Yield view, head and detail of each column of a metric."""
    label = plain(head or metric.label)
    detail = " ".join(filter(None, (units(_scale(metric)), ARROWS[metric.better])))
    for view in metric.views:
        letter = f"-{view[0].upper()}" if view else ""
        yield view, f"{label}{letter}", detail


def _scale(metric: MetricEntry) -> float:
    """Return what values are multiplied by before they are printed: similarities are in percent."""
    return 100.0 if metric.name in SIMILARITY else metric.scale


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


def _table1(quality: _Quality, columns: Columns, explained: Sequence[str]) -> Table:
    classes = quality.experiment.contents.dataset.classes
    blocks = []
    for name in classes:
        cells = [_column(quality, name, metric, view) for metric, view, *_ in columns]
        rows = [
            TableRow(quality.labels[i], "method", tuple(c[i] for c in cells)) for i in quality.shown
        ]
        blocks.append(TableBlock(plain(name), ("",) * len(columns), tuple(rows)))
    heads = tuple(Column(h, d, m.name, m.name, v) for m, v, h, d in columns)
    title = f"Image quality, {SOURCE.format(1)}"
    return _quality_table(quality, title, heads, blocks, [*_no_fid(quality), *explained])


def _ablation(quality: _Quality, table: int, columns: Columns, explained: Sequence[str]) -> Table:
    classes = quality.experiment.contents.dataset.classes
    heads = tuple(
        Column(plain(c), f"{h} {d}", c, m.name, v) for c in classes for m, v, h, d in columns
    )
    cells = [_column(quality, c, metric, view) for c in classes for metric, view, *_ in columns]
    rows = [
        TableRow(quality.labels[i], "method", tuple(c[i] for c in cells)) for i in quality.shown
    ]
    title = f"Ablation of the {ABLATIONS[table][1]}, {SOURCE.format(table)}"
    block = TableBlock("", ("",) * len(heads), tuple(rows))
    return _quality_table(quality, title, heads, [block], explained)


def _quality_table(
    quality: _Quality,
    title: str,
    columns: tuple[Column, ...],
    blocks: Sequence[TableBlock],
    explained: Sequence[str],
) -> Table:
    contents = quality.experiment.contents
    kept = [value for value in quality.values if value.row in quality.shown]
    return Table(
        title=title,
        banner=plain(contents.banner or ""),
        caption=plain(f"{notes.caption(contents, kept)} {_real(quality)}"),
        columns=columns,
        blocks=tuple(blocks),
        footnotes=quality.footnotes.texts,
        notes=tuple(map(plain, [*_quality_notes(quality, columns), *explained])),
        methods=(),
        recipes=(),
    )


def _real(quality: _Quality) -> str:
    """Say the MS-SSIM of real volumes, and what its brackets hold."""
    metric = quality.metric(SIMILARITY)
    reals: dict[str, dict[str, None]] = {}
    for value in quality.values:
        ours = metric is not None and value.metric == metric.name and value.row in quality.shown
        if ours and value.real_value is not None:
            reals.setdefault(value.class_, {})[number(100 * value.real_value)] = None
    listed = ", ".join(f"{name} {' … '.join(texts)}" for name, texts in reals.items())
    shown = f"MS-SSIM of real volumes (%): {listed or DASH}"
    return f"{shown}; in brackets: distance to it. Methods are not tested against each other."


def _quality_notes(quality: _Quality, columns: Sequence[Column]) -> Iterator[str]:
    yield notes.bold(quality.experiment.contents)
    metrics = quality.experiment.contents.metrics
    shown = [m for m in metrics if m.name in {column.metric for column in columns}]
    for metric in shown:
        if metric.never_bold:
            yield notes.never_bold(metric)


def _no_fid(quality: _Quality) -> Iterator[str]:
    """Say why Table 1 has no FID, and what stands in its place."""
    slices = quality.metric(SLICES)
    if slices is not None and slices.name == SLICES[0]:
        return
    metrics = quality.experiment.contents.metrics
    reasons = [m.unavailable for m in metrics if m.name == SLICES[0] and m.unavailable]
    reason = (reasons or ["not among the metrics of the run"])[0].rstrip(".") + "."
    instead = f" In its place: {slices.label}, not comparable with it." if slices else ""
    yield f"FID: {reason}{instead}"


def _column(quality: _Quality, class_: str, metric: MetricEntry, view: str) -> dict[int, TableCell]:
    """Return a cell a row; the best may lead only where the metric may rank."""
    seeds_by_row = quality.at(class_, metric, view)
    summaries = _summaries(seeds_by_row)
    best, second = best_of(metric, quality.experiment.contents, summaries, quality.marked)
    scale = _scale(metric)
    classes = quality.experiment.contents.dataset.classes
    everywhere = [_summaries(quality.at(name, metric, view)).values() for name in classes]
    places = digits([summary for of_class in everywhere for summary in of_class], scale)
    cells = {}
    for row, seeds in seeds_by_row.items():
        seeds = [replace(value, scale=scale) for value in seeds]
        summary = summaries.get(row)
        cell = score(quality.footnotes, seeds, summary, bold=row == best, places=places)
        cells[row] = replace(cell, second=row == second)
    return cells


def _summaries(seeds_by_row: Mapping[int, list[Value]]) -> dict[int, Summary]:
    found = {row: summarise(seeds) for row, seeds in seeds_by_row.items()}
    return {row: summary for row, summary in found.items() if summary is not None}
