"""How trainings went: what each phase logged at its beginning and at its end.

Losses of different methods are different quantities, so lines are never ranked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from cerebench.core.records.rows import RowEntry
from cerebench.core.records.trained import TrainRecord
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import DASH, count, number, plain
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.table import Column, Table, TableBlock, TableCell, TableRow
from cerebench.reports.values.labels import row_labels
from cerebench.reports.values.tidy import stage

LOG = "log.jsonl"  # beside the record of a training, one JSON object a line
TENTH = 10  # first and last are means over a tenth of the lines
COLUMNS = (
    Column("first", "tenth", "ends"),
    Column("last", "tenth", "ends"),
    Column("lowest", "", "range"),
    Column("highest", "", "range"),
)

Curves = dict[tuple[str, str], list[list[float]]]  # (phase, scalar) -> its values of each seed


def build_trainings_table(experiment: RecordedExperiment) -> Table | None:
    """Build the table of what trainings logged: a line for each method, phase and scalar.

    Returns:
        The table, one block a trained instance (a class, or ``all``); None if nothing was logged.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    rows, labels = experiment.contents.rows, row_labels(experiment.contents.rows)
    footnotes, blocks = Footnotes(), []
    names = dict.fromkeys(name for row in rows for cell in row.cells for name in cell.train)
    for name in names:
        drawn = [
            line
            for row, label in zip(rows, labels, strict=True)
            for line in _lines(label, _curves(experiment, row, name), footnotes)
        ]
        if drawn:
            blocks.append(TableBlock(plain(name), ("",) * len(COLUMNS), tuple(drawn)))
    if not blocks:
        return None
    return Table(
        title="How trainings went",
        banner="",
        caption=(
            "What each phase logged: means over the first and the last tenth of its lines, lowest "
            "and highest, from – to over seeds. Losses of different methods do not compare."
        ),
        columns=COLUMNS,
        blocks=tuple(blocks),
        footnotes=footnotes.texts,
        notes=tuple(_facts(experiment, labels)),
        methods=(),
        recipes=(),
    )


def _curves(experiment: RecordedExperiment, row: RowEntry, name: str) -> Curves:
    """Return what the seeds of a row logged while an instance was trained."""
    curves: Curves = {}
    for cell in row.cells:
        if name in cell.train:
            for place, values in read_log(experiment.path(cell.train[name]).parent / LOG).items():
                curves.setdefault(place, []).append(values)
    return curves


def read_log(path: Path) -> dict[tuple[str, str], list[float]]:
    """Read what a training logged.

    Args:
        path: A ``log.jsonl``; one that does not exist has no lines, and what a training that was
            cut short left half-written is skipped.

    Returns:
        (phase, scalar) to its values in the order of steps; what is no number is NaN.
    """
    curves: dict[tuple[str, str], list[float]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return curves
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            for name, value in entry.items():
                if name not in ("phase", "step"):
                    known = isinstance(value, int | float) and not isinstance(value, bool)
                    place = (plain(entry.get("phase", "")), plain(name))
                    curves.setdefault(place, []).append(float(value) if known else math.nan)
    return curves


def _lines(label: str, curves: Curves, footnotes: Footnotes) -> Iterator[TableRow]:
    for (phase, name), seeds in curves.items():
        finite = [[value for value in values if math.isfinite(value)] for values in seeds]
        lines = sum(map(len, seeds))
        lost = lines - sum(map(len, finite))
        mark = footnotes.mark(f"{lost} of {lines} lines are no finite number" * bool(lost))
        kept = [values for values in finite if values]
        first, last = ([fmean(part(values)) for values in kept] for part in (_first, _last))
        cells = [
            replace(_ends(of_seeds), mark=mark)
            for of_seeds in (first, last, [*map(min, kept)], [*map(max, kept)])
        ]
        yield TableRow(f"{label}: {phase} {name}", "method", tuple(cells), label)


def _first(values: Sequence[float]) -> Sequence[float]:
    return values[: math.ceil(len(values) / TENTH)]


def _last(values: Sequence[float]) -> Sequence[float]:
    return values[-math.ceil(len(values) / TENTH) :]


def _ends(of_seeds: Sequence[float]) -> TableCell:
    """Return one number, or from which to which the seeds reach."""
    if not of_seeds:
        return TableCell(DASH)
    return TableCell(" – ".join(dict.fromkeys(map(number, (min(of_seeds), max(of_seeds))))))


def _facts(experiment: RecordedExperiment, labels: Sequence[str]) -> Iterator[str]:
    """Yield steps, volumes seen, and what trainings warned of; missing ones with the reason."""
    for row, label in zip(experiment.contents.rows, labels, strict=True):
        told: dict[str, None] = {}
        for cell in row.cells:
            for name, path in cell.train.items():
                record, reason = stage(experiment, path, TrainRecord)
                where = f"{label}, {plain(name)}" + f", seed {cell.seed}" * (len(row.cells) > 1)
                if record is None:
                    told[f"{where}: {f'failed: {reason}' if reason else 'not run'}"] = None
                else:
                    told[f"{where}: {_budget(record)}{_warned(record.warnings)}"] = None
        yield from map(plain, told)


def _budget(record: TrainRecord) -> str:
    steps: Mapping[str, int] = record.steps
    listed = ", ".join(f"{phase} {number_of}" for phase, number_of in steps.items())
    return (
        f"{record.n_train} training cases, {count(record.volumes_seen)} volumes seen"
        f"{f' in steps of {listed}' if listed else ''}."
    )


def _warned(warnings: Sequence[str]) -> str:
    return "".join(f" Warned: {text}" for text in warnings)
