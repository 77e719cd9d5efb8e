"""Why rows are marked, with the numbers; and whether samples show the class they are labelled with.

Marks are those of ``cerebench.reports.values.marks``. Labels are read by a probe that was fitted on
real training volumes (metric ``class-fidelity``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from cerebench.core.facts import Fact, is_number
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import DASH, number, plain
from cerebench.reports.tables.table import Column, Table, TableBlock, TableCell, TableRow
from cerebench.reports.values.labels import row_labels
from cerebench.reports.values.marks import explanation, marked_label, marks
from cerebench.reports.values.tidy import OK, Value, values

LABELS = "class-fidelity"
# Facts that the metric records of generated volumes, and with ``real_`` before them of real ones.
FACTS = {"auc": "AUC", "balanced_accuracy": "balanced accuracy"}


def build_marks_table(experiment: RecordedExperiment) -> Table:
    """List the marks of every row of generated volumes with the numbers that they rest on."""
    contents = experiment.contents
    labels, marked = row_labels(contents.rows), marks(contents, values(experiment))
    judged = [i for i, row in enumerate(contents.rows) if row.kind != CONTROL_KIND]
    free = [labels[i] for i in judged if i not in marked]
    lines = [f"{labels[i]}: {explanation(marked[i])}." for i in judged if i in marked]
    lines += [f"No mark: {', '.join(free)}."] if free else []
    return _table("Marks", "What marks rest on; docs/results.md has the bars.", (), (), lines)


def build_labels_table(experiment: RecordedExperiment) -> Table | None:
    """Build the table of what a probe of real volumes reads of the labels of each row.

    Returns:
        The table, one block; None where the metric was not computed, as for a single class.
    """
    contents = experiment.contents
    told = [v for v in values(experiment) if v.metric == LABELS and v.status == OK and v.facts]
    if not told:
        return None
    labels, marked = row_labels(contents.rows), marks(contents, values(experiment))
    columns = [Column(head, "→ real", head) for head in FACTS.values()]
    rows = []
    for i, row in enumerate(contents.rows):
        if row.role != "control" and (of_row := [v for v in told if v.row == i]):
            cells = tuple(TableCell(_mean(of_row, name)) for name in FACTS)
            role = row.role or "method"
            rows.append(TableRow(marked_label(labels[i], marked.get(i, {})), role, cells))
    rows.sort(key=lambda row: row.role != "floor")
    generated = [v for v in told if v.kind != CONTROL_KIND] or told
    targets = tuple(f"→ {_mean(generated, f'real_{name}')}" for name in FACTS)
    block = TableBlock("all classes", targets, tuple(rows))
    caption = (
        "A probe fitted on real training volumes reads the class of each generated one: AUC 0.5 "
        "is chance, below it classes are swapped; far above the real value is a caricature. Means "
        "over seeds."
    )
    return _table("Labels", caption, columns, (block,), ())


def _mean(of_row: Sequence[Value], name: str) -> str:
    facts: list[Mapping[str, Fact | None]] = [v.facts or {} for v in of_row]
    known = [number_of for one in facts if is_number(number_of := one.get(name))]
    return number(fmean(known)) if known else DASH


def _table(
    title: str,
    caption: str,
    columns: Sequence[Column],
    blocks: Sequence[TableBlock],
    lines: Sequence[str],
) -> Table:
    return Table(
        title=title,
        banner="",
        caption=caption,
        columns=tuple(columns),
        blocks=tuple(blocks),
        footnotes=(),
        notes=tuple(map(plain, lines)),
        methods=(),
        recipes=(),
    )
