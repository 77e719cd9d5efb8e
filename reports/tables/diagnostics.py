"""What methods say about themselves: values that only the trained instance itself can measure.

Every method chooses its own diagnostics, so they are shown side by side and never ranked. The tidy
rows hold one seed each; the table pools the raw values of all seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cerebench.core.files import write_bytes
from cerebench.core.records.rows import CellEntry
from cerebench.core.records.scored import DiagnosisRecord
from cerebench.reports.base import RecordedExperiment, Renderer
from cerebench.reports.formatting import DASH, like, number, plain, span
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.table import (
    Column,
    Table,
    TableBlock,
    TableCell,
    TableRow,
    explain,
)
from cerebench.reports.values.frames import safe_csv
from cerebench.reports.values.labels import row_labels
from cerebench.reports.values.tidy import FAILED, NOT_RUN, OK, broken, stage

if TYPE_CHECKING:
    from pandas import DataFrame

TITLE = "What the methods say about themselves"
SETS = ("train", "test", "generated")
LEFT_OUT = "left out by the method"


@dataclass(frozen=True)
class Reading:
    """One set of one diagnostic of one cell, or the reason why it is missing.

    Attributes:
        row: Position in the rows of the table of contents.
        name: Slug of the diagnostic, empty where the whole diagnosis is missing.
        meaning: What one value is, in the method's words.
        set_: ``train``, ``test`` or ``generated``.
        values: As recorded: one a volume, or a single one for the whole set; empty if missing.
        status: ``ok``, ``failed``, ``not run`` or ``left out by the method``; all but ``ok`` have a
            reason.
    """

    row: int
    method: str
    label: str
    preset: str
    seed: int
    class_: str = ""
    name: str = ""
    meaning: str = ""
    set_: str = ""
    values: tuple[float, ...] = ()
    status: str = OK
    reason: str = ""


def readings(experiment: RecordedExperiment) -> list[Reading]:
    """Read the diagnoses of an experiment, in the order of its table of contents.

    Returns:
        A reading for each seed, class, diagnostic and set. A diagnosis that failed or has not run
        gives one reading a class, without a name. Methods that cannot diagnose give none.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    all_readings: list[Reading] = []
    for position, row in enumerate(experiment.contents.rows):
        for cell in row.cells:
            if cell.diagnosis:
                start = Reading(position, row.name, row.label, row.preset, cell.seed)
                all_readings.extend(_cell(experiment, start, cell))
    return all_readings


def _cell(experiment: RecordedExperiment, start: Reading, cell: CellEntry) -> Iterator[Reading]:
    record, reason = stage(experiment, cell.diagnosis, DiagnosisRecord)
    if record is None:
        reason = reason or broken(experiment, cell)
        lack = {"status": FAILED if reason else NOT_RUN, "reason": reason or NOT_RUN}
        for name in experiment.contents.dataset.classes:
            yield replace(start, class_=name, **lack)
        return
    for diagnostic in record.diagnostics:
        this = replace(
            start, class_=diagnostic.class_, name=diagnostic.name, meaning=diagnostic.meaning
        )
        for set_ in dict.fromkeys((*SETS, *diagnostic.values)):
            yield _reading(replace(this, set_=set_), diagnostic.values.get(set_))


def _reading(start: Reading, values: Sequence[float] | None) -> Reading:
    if values is None:
        return replace(start, status=LEFT_OUT, reason=LEFT_OUT)
    if not values:
        return replace(start, status=FAILED, reason="no values")
    return replace(start, values=tuple(values))


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, 5th and 95th percentile of at least one value, linearly interpolated.

    Example:
        >>> spread([4.0, 0.0, 2.0, 1.0, 3.0])
        (2.0, 0.2, 3.8)
    """
    low, median, high = np.percentile(values, (5, 50, 95))
    return float(median), float(low), float(high)


def frame(experiment: RecordedExperiment) -> DataFrame:
    """Return every reading as a row with n, median, p5 and p95; a missing number is NaN.

    Raises:
        ReportError: As in ``readings``.
    """
    import pandas as pd

    dataset = experiment.contents.dataset
    data = {"dataset": dataset.name, "size": dataset.size, "fingerprint": dataset.fingerprint}
    rows = []
    for reading in readings(experiment):
        facts = {name.rstrip("_"): value for name, value in vars(reading).items()}
        values = facts.pop("values")
        numbers = spread(values) if values else (math.nan,) * 3
        summary = dict(zip(("median", "p5", "p95"), numbers, strict=True))
        rows.append({**data, **facts, "n": len(values), **summary})
    return pd.DataFrame(rows)


def write(experiment: RecordedExperiment, folder: Path) -> list[Path]:
    """Write ``<name>-diagnostics.csv``, one row a seed, class, diagnostic and set.

    Returns:
        The file; none if no method has a diagnosis.

    Raises:
        ReportError: As in ``readings``.
    """
    table = frame(experiment)
    if table.empty:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{experiment.name}-diagnostics.csv"
    write_bytes(path, safe_csv(table).encode())
    return [path]


@dataclass
class _Sheet:
    """The readings of an experiment, and the footnotes and counts collected so far."""

    experiment: RecordedExperiment
    readings: list[Reading]
    sets: tuple[str, ...]
    footnotes: Footnotes = field(default_factory=Footnotes)
    counts: dict[str, list[int]] = field(default_factory=dict)

    def asked(self, row: int) -> int:
        return len(self.experiment.contents.rows[row].cells)


def build_diagnostics_table(experiment: RecordedExperiment) -> Table | None:
    """Build the table of diagnostics: a line for each method and diagnostic, a column a set.

    Returns:
        The table, one block a class; None if no method has anything to say.

    Raises:
        ReportError: As in ``readings``.
    """
    all_readings = readings(experiment)
    sets = tuple(dict.fromkeys((*SETS, *(r.set_ for r in all_readings if r.set_))))
    sheet = _Sheet(experiment, all_readings, sets)
    classes = (*experiment.contents.dataset.classes, *(r.class_ for r in all_readings))
    blocks = []
    for name in dict.fromkeys(classes):
        rows = tuple(_rows(sheet, [r for r in all_readings if r.class_ == name]))
        if rows:
            blocks.append(TableBlock(plain(name), ("",) * len(sets), rows))
    if not blocks:
        return None
    return Table(
        title=TITLE,
        banner=plain(experiment.contents.banner or ""),
        caption=_caption(experiment.contents.seeds),
        columns=tuple(_column(name, sheet.counts.get(name, ())) for name in sets),
        blocks=tuple(blocks),
        footnotes=sheet.footnotes.texts,
        notes=tuple(_meanings(sheet)),
        methods=(),
        recipes=(),
    )


def _rows(sheet: _Sheet, of_class: Sequence[Reading]) -> Iterator[TableRow]:
    """Yield the lines of one class."""
    labels = row_labels(sheet.experiment.contents.rows)
    for row in dict.fromkeys(r.row for r in of_class):
        own = [r for r in of_class if r.row == row]
        # A diagnosis that is missing as a whole is owed to every diagnostic of the method.
        missing = [r for r in own if not r.name]
        for name in dict.fromkeys(r.name for r in own if r.name) or ("",):
            of_diagnostic = [r for r in own if r.name == name and name]
            cells = (
                _pool(sheet, set_, [*(r for r in of_diagnostic if r.set_ == set_), *missing])
                for set_ in sheet.sets
            )
            label = f"{labels[row]}: {plain(name)}" if name else labels[row]
            yield TableRow(label, "method", tuple(cells), labels[row] if name else "")


def _pool(sheet: _Sheet, set_: str, of_set: Sequence[Reading]) -> TableCell:
    """Return median and percentiles of the raw values of all seeds together."""
    if all(r.status == LEFT_OUT for r in of_set):
        return TableCell(DASH, mark=sheet.footnotes.mark(LEFT_OUT))
    asked = sheet.asked(of_set[0].row)
    values = [value for r in of_set for value in r.values]
    if not values:
        return TableCell(DASH, mark=sheet.footnotes.mark(explain(of_set, asked)))
    mark = _incomplete(sheet, of_set, asked)
    if len(values) == 1:
        return TableCell(number(values[0]), mark=mark)
    if any(len(r.values) > 1 for r in of_set):
        sheet.counts.setdefault(set_, []).append(len(values))
    median, low, high = spread(values)
    middle, left, right = (like(value, high - low) for value in (median, low, high))
    return TableCell(f"{middle} [{left}, {right}]", mark=mark)


def _incomplete(sheet: _Sheet, of_set: Sequence[Reading], asked: int) -> int:
    """Return the mark of pooled values that lack seeds, else 0."""
    lacking = [r for r in of_set if r.status != OK]
    got = len(of_set) - len(lacking)
    if got == asked:
        return 0
    return sheet.footnotes.mark(
        f"{got} of {asked} seeds; {explain(lacking, asked) if lacking else LEFT_OUT}"
    )


def _column(set_: str, counts: Sequence[int]) -> Column:
    return Column(plain(set_), f"n = {span(counts)}" if counts else "", "sets")


def _caption(seeds: Sequence[int]) -> str:
    several = len(seeds) > 1
    pooled = f", the values of {len(seeds)} seeds pooled" if several else ""
    single = "one a seed where a method gives one for a whole set"
    alone = "a number alone is the method's only one for that set"
    return (
        "Each method defines its own diagnostics; they do not rank methods. Median [5 %, 95 %] of "
        f"n values a class, one a volume{pooled}; {single if several else alone}."
    )


def _meanings(sheet: _Sheet) -> Iterator[str]:
    """Yield what each diagnostic means, naming methods where one name has several meanings."""
    labels = row_labels(sheet.experiment.contents.rows)
    labels_by_meaning: dict[str, dict[str, dict[str, None]]] = {}
    for r in sheet.readings:
        if r.name:
            labels_by_meaning.setdefault(r.name, {}).setdefault(r.meaning, {})[labels[r.row]] = None
    for name, meanings in labels_by_meaning.items():
        for meaning, methods in meanings.items():
            who = f" ({', '.join(methods)})" if len(meanings) > 1 else ""
            yield plain(f"{name}{who}: {meaning}")


DIAGNOSTICS = Renderer(
    "diagnostics", "what methods say about themselves, one set a row (CSV)", write
)
