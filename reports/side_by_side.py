"""Rows of several experiments in one table: presets and versions of a method side by side.

Rows go together whose data, size, numbers of volumes and recipes of metrics are equal. What does
not is named with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cerebench.core.hashing import key_of
from cerebench.core.records.contents import Contents, ProtocolEntry, ProtocolRow
from cerebench.core.records.rows import CellEntry, ControlEntry, GeneratorRow, RowEntry
from cerebench.core.records.trained import TrainRecord
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import plain

NAME = "rows"  # of an experiment that is made of others
SETTINGS = 3  # differing ones that a label has room for


@dataclass(frozen=True)
class Joined:
    """Rows of several experiments as one, and why others are not among them, a line each."""

    experiment: RecordedExperiment
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """A row with the experiments that list it, the first of which decides."""

    row: GeneratorRow
    experiment: RecordedExperiment

    @property
    def place(self) -> str:
        """Folder of the row in the store, which the key of its configuration names."""
        return self.row.cells[0].folder.partition("/")[0]

    @property
    def title(self) -> str:
        """Label with the preset."""
        return plain(f"{self.row.label}{f' ({self.row.preset})' if self.row.preset else ''}")


def join(
    base: RecordedExperiment,
    every: Sequence[RecordedExperiment],
    names: Collection[str] | None = None,
    *,
    partial: bool = False,
) -> Joined:
    """Put all rows that can stand beside those of an experiment into its table.

    Args:
        base: Whose data, number of volumes, metrics, protocols and controls the table has.
        every: All experiments of the store, oldest first; ``base`` may be among them.
        names: Names of rows or of their methods; None for all.
        partial: Whether rows may lack metrics of the table.

    Returns:
        An experiment named ``rows``, whose labels and names tell its rows apart.
    """
    found: dict[str, _Found] = {}
    refused: dict[str, dict[tuple[Path, str], str]] = {}
    for experiment in [base, *(e for e in reversed(every) if e != base)]:
        fault = _other_data(base, experiment)
        fault = fault or _other_metrics(base.contents, experiment.contents, partial)
        for row in generators(experiment.contents):
            if names is not None and not {row.name, row.method} & set(names):
                continue
            one = _Found(row, experiment)
            if fault:
                why = f"{fault} (bench report {experiment.name}, {experiment.folder.name})"
                refused.setdefault(why, {})[experiment.folder, one.place] = one.title
            elif one.place in found:
                before = found[one.place]
                found[one.place] = replace(before, row=_with_cells(before.row, row.cells))
            else:
                found[one.place] = one
    rows = _told_apart(_by_method(list(found.values())))
    made = _contents(base, [one.experiment for one in found.values()], rows)
    lines = []
    for why, titles in refused.items():
        lacking = [titles[at] for at in titles if at not in {(base.folder, p) for p in found}]
        if lacking:
            lines.append(f"Not in this table: {', '.join(dict.fromkeys(lacking))}: {why}.")
    return Joined(RecordedExperiment(base.folder, made), tuple(lines))


def with_every_metric(
    experiment: RecordedExperiment, every: Sequence[RecordedExperiment]
) -> RecordedExperiment:
    """Add the metrics that other experiments recorded for the same rows.

    Args:
        experiment: Whose rows and metrics come first.
        every: All experiments of the store.
    """
    contents = experiment.contents
    others = [
        e.contents
        for e in reversed(every)
        if not _other_data(experiment, e)
        and e.contents.samples_per_class == contents.samples_per_class
    ]
    metrics = {metric.name: metric for metric in contents.metrics}
    for other in others:
        for metric in other.metrics:
            metrics.setdefault(metric.name, metric)
    recorded: dict[str, dict[str, str]] = {}
    for other in others:
        equal = {m.name for m in other.metrics if m.recipe_hash == metrics[m.name].recipe_hash}
        for where, scores in _scores(other):
            further = {name: path for name, path in scores.items() if name in equal}
            recorded[where] = further | recorded.get(where, {})
    rows = tuple(_with_scores(row, recorded) for row in contents.rows)
    added = replace(contents, metrics=tuple(metrics.values()), rows=rows)
    return RecordedExperiment(experiment.folder, added)


def generators(contents: Contents) -> list[GeneratorRow]:
    """Return the rows of generated volumes."""
    return [row for row in contents.rows if isinstance(row, GeneratorRow)]


def _other_data(base: RecordedExperiment, experiment: RecordedExperiment) -> str:
    """Say in what the data or the number of volumes of an experiment differ; empty if not."""
    ours, data = base.contents.dataset, experiment.contents.dataset
    if data.size != ours.size or data.shape != ours.shape:
        return f"other size, {data.size}³ and not {ours.size}³"
    if experiment.folder != base.folder or data.fingerprint != ours.fingerprint:
        return f"other data, {plain(data.label)} {data.fingerprint[:8]}"
    if data.split and ours.split and data.split.sha256 != ours.split.sha256:
        return "another split into training and test cases"
    counts = base.contents.samples_per_class, experiment.contents.samples_per_class
    asked = base.contents.preset and experiment.contents.preset  # else folders are taken whole
    if asked and counts[0] != counts[1]:
        return f"{counts[1]} volumes a class and not {counts[0]}"
    return ""


def _other_metrics(base: Contents, other: Contents, partial: bool) -> str:
    """Say which metrics of the table an experiment lacks or made otherwise; empty if none."""
    known = {metric.name: metric.recipe_hash for metric in other.metrics}
    usable = [metric for metric in base.metrics if not metric.unavailable]
    lacking = [m.label for m in usable if m.name not in known and not partial]
    differing = [m.label for m in usable if known.get(m.name, m.recipe_hash) != m.recipe_hash]
    parts = [f"no {', '.join(lacking)}, which --all-columns accepts"] if lacking else []
    parts += [f"another recipe of {', '.join(differing)}"] if differing else []
    return plain("; ".join(parts))


def _with_cells(row: GeneratorRow, cells: Sequence[CellEntry]) -> GeneratorRow:
    """Add the seeds that a row does not have yet."""
    known = {cell.seed for cell in row.cells}
    further = [cell for cell in cells if cell.seed not in known]
    return replace(row, cells=tuple(sorted((*row.cells, *further), key=lambda cell: cell.seed)))


def _by_method(found: Sequence[_Found]) -> list[_Found]:
    """Return rows of one method one after the other."""
    order = list(dict.fromkeys(one.row.method or one.row.name for one in found))
    return sorted(found, key=lambda one: order.index(one.row.method or one.row.name))


def _told_apart(found: Sequence[_Found]) -> list[_Found]:
    """Give rows of one label, and of one name, labels and names that tell them apart."""
    labels: dict[str, list[_Found]] = {}
    for one in found:
        labels.setdefault(one.row.label, []).append(one)
    names = [one.row.name for one in found]
    told = []
    for one in found:
        alike = labels[one.row.label]
        first = names.index(one.row.name) == found.index(one)
        name = one.row.name if first else one.place
        label = one.row.label if len(alike) == 1 else _label(one, alike)
        told.append(replace(one, row=replace(one.row, name=name, label=label)))
    return told


def _label(one: _Found, alike: Sequence[_Found]) -> str:
    """Return a label with the preset, and with what else differs from rows of the same preset."""
    same = [other for other in alike if other.row.preset == one.row.preset]
    words = [one.row.preset] if one.row.preset else []
    if len(same) > 1:
        versions = {id(other): _versions(other) for other in same}
        if len(set(versions.values())) > 1:
            words.append(versions[id(one)])
        words += _settings(one, same)
        others = [other for other in same if other is not one]
        if any(
            versions[id(other)] == versions[id(one)]
            and _settings(other, same) == _settings(one, same)
            for other in others
        ):
            words.append(one.place.rpartition("-")[2])
    return f"{one.row.label} ({', '.join(words)})"


def _versions(one: _Found) -> str:
    """Return the version of a method, as its trainings recorded it."""
    versions = {
        record.method_version
        for cell in one.row.cells
        for path in cell.train.values()
        if (record := one.experiment.record(path, TrainRecord)[0]) is not None
    }
    return f"version {' and '.join(map(str, sorted(versions)))}" if versions else ""


def _settings(one: _Found, same: Sequence[_Found]) -> list[str]:
    """Return the settings that not all of these rows share, each with its value."""
    usual = {d.setting: d.paper for other in same for d in other.row.differences}
    values = [usual | {d.setting: d.value for d in other.row.differences} for other in same]
    own = usual | {d.setting: d.value for d in one.row.differences}
    differing = [name for name in usual if any(of[name] != own[name] for of in values)]
    listed = [plain(f"{name} {own[name]}") for name in differing[:SETTINGS]]
    more = len(differing) - SETTINGS
    return [*listed, *([f"{more} more"] if more > 0 else [])]


def _contents(
    base: RecordedExperiment, experiments: Sequence[RecordedExperiment], rows: Sequence[_Found]
) -> Contents:
    """Return a table of contents of these rows, with the metrics and controls of the base."""
    contents = base.contents
    every = [contents, *(e.contents for e in experiments if e != base)]
    controls = [row for row in contents.rows if isinstance(row, ControlEntry)]
    of_table = {metric.name for metric in contents.metrics}
    kept: list[RowEntry] = [_only(one.row, of_table) for one in rows]
    return replace(
        contents,
        name=NAME,
        key=key_of({"rows": sorted({cell.folder for one in rows for cell in one.row.cells})}),
        suite_version=_joined(one.suite_version for one in every),
        title="Rows with equal data, size, numbers of volumes and metrics, side by side",
        cite=_joined(one.cite for one in every),
        preset=_joined(one.row.preset for one in rows),
        seeds=tuple(sorted({cell.seed for one in rows for cell in one.row.cells if cell.train})),
        banner=_joined(one.banner or "" for one in every) or None,
        rows=(*controls, *kept),
        downstream=tuple(_protocol(protocol, rows) for protocol in contents.downstream),
    )


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, texts)))


def _only(row: GeneratorRow, metrics: Collection[str]) -> GeneratorRow:
    """Drop the scores that the table has no column for."""
    return replace(
        row,
        cells=tuple(
            replace(cell, scores={m: path for m, path in cell.scores.items() if m in metrics})
            for cell in row.cells
        ),
    )


def _protocol(protocol: ProtocolEntry, rows: Sequence[_Found]) -> ProtocolEntry:
    """Give a protocol the results of all rows that it was run on in the same way."""
    if not protocol.needs_samples or protocol.role != "experiment":
        return protocol
    listed = []
    for one in rows:
        for entry in one.experiment.contents.downstream:
            if (entry.name, entry.recipe_hash) == (protocol.name, protocol.recipe_hash):
                places = {cell.folder for cell in one.row.cells}
                listed += [
                    replace(row, name=one.row.name, label=one.row.label)
                    for row in entry.rows
                    if any(_of(row, place) for place in places)
                ]
    return replace(protocol, rows=tuple(listed))


def _of(row: ProtocolRow, folder: str) -> bool:
    """Tell whether a protocol's row is that of a cell."""
    return any(cell.record.startswith(f"{folder}/") for cell in row.cells)


def _scores(contents: Contents) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield where each cell and control of a table is, and its scores."""
    for row in contents.rows:
        if isinstance(row, ControlEntry):
            yield row.name, row.scores
        for cell in row.cells:
            yield cell.folder, cell.scores


def _with_scores(row: RowEntry, recorded: Mapping[str, Mapping[str, str]]) -> RowEntry:
    """Add the scores that are on record to a row."""
    if isinstance(row, ControlEntry):
        return replace(row, scores={**recorded.get(row.name, {}), **row.scores})
    cells = (
        replace(cell, scores={**recorded.get(cell.folder, {}), **cell.scores}) for cell in row.cells
    )
    return replace(row, cells=tuple(cells))
