"""Tables 2, 5, 6 and 7 of Zhou and Khalvati, MIDL 2024: classification, in their layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from cerebench.reports.statistics.results import Result
from cerebench.reports.tables.downstream_comparison import asterisk, marks_of, tested_by
from cerebench.reports.tables.downstream_notes import bold, caption, data_notes
from cerebench.reports.tables.downstream_tables import score
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.table import Column, Table, TableBlock, TableRow
from cerebench.reports.values.downstream import ProtocolResults
from cerebench.reports.values.study import Study

SOURCE = "in the layout of Table {} of Zhou and Khalvati (MIDL 2024)"
SHORT = {"auc": "AUC", "f1": "F1", "accuracy": "Acc.", "precision": "Prec.", "recall": "Rec."}
MAIN = ("auc", "f1", "accuracy")  # of Table 2; Tables 5 to 7 have all
EXPERIMENTS = {"exp1": ("a", 5), "exp2": ("b", 6)}  # part of Table 2, own table
BASELINE = {"exp1": "trad-aug"}  # the row without a generator that the paper lists among them
FROZEN = "medicalnet"
Listed = Sequence[tuple[ProtocolResults, Result]]


def build_classification_tables(study: Study) -> dict[int, Table]:
    """Build the tables that an experiment has records for, by their number in the paper."""
    blocks = {block.name: block for block in study.experiments if block.name in EXPERIMENTS}
    tables, parts = {}, {}
    for name, block in blocks.items():
        part, number = EXPERIMENTS[name]
        rows = _listed(study, block)
        parts[f"({part}) {block.label}"] = rows
        title = f"Classification, {block.label}"
        tables[number] = _table(study, number, title, {block.label: rows}, tuple(SHORT))
    if parts:
        tables[2] = _table(study, 2, "Classification", dict(sorted(parts.items())), MAIN)
    frozen = [(block, row) for block, row in study.others if block.name == FROZEN]
    reference = study.reference(blocks["exp2"]) if "exp2" in blocks else None
    if frozen and reference is not None:
        rows = [*frozen, (blocks["exp2"], reference)]
        title = f"MedicalNet against {reference.label} of {blocks['exp2'].label}"
        tables[7] = _table(study, 7, title, {"": rows}, tuple(SHORT))
    return tables


def _listed(study: Study, block: ProtocolResults) -> Listed:
    """Return the rows of an experiment, the paper's baseline without a generator first."""
    first = [(b, row) for b, row in study.others if b.name == BASELINE.get(block.name)]
    return [*first, *((block, row) for row in block.results)]


def _table(
    study: Study, number: int, title: str, blocks: Mapping[str, Listed], metrics: Sequence[str]
) -> Table:
    footnotes = Footnotes()
    drawn = tuple(
        TableBlock(name, ("",) * len(metrics), tuple(_rows(study, footnotes, listed, metrics)))
        for name, listed in blocks.items()
    )
    shown = [pair for listed in blocks.values() for pair in listed]
    used = list(dict.fromkeys(block for block, _ in shown if block in study.experiments))
    return Table(
        title=f"{title}, {SOURCE.format(number)}",
        banner=study.banner,
        caption=f"{caption(study, [row for _, row in shown])} {_tested(study, used, metrics)}",
        columns=tuple(Column(SHORT[metric], "", metric, metric) for metric in metrics),
        blocks=drawn,
        footnotes=footnotes.texts,
        notes=(bold(study), *data_notes(study, used)),
        methods=(),
        recipes=(),
    )


def _tested(study: Study, blocks: Sequence[ProtocolResults], metrics: Sequence[str]) -> str:
    """Say what was tested and what an asterisk means."""
    reference = next(filter(None, map(study.reference, blocks)), None)
    if reference is None:
        return "No test: there is no reference."
    families = [study.verdicts(block, metric) for block in blocks for metric in metrics]
    made = [verdict for verdicts in families for verdict in verdicts.values()]
    return f"{tested_by(made)} {marks_of(reference.label)}"


def _rows(
    study: Study, footnotes: Footnotes, listed: Listed, metrics: Sequence[str]
) -> Iterator[TableRow]:
    leaders = {metric: study.best(listed, metric) for metric in metrics}
    experiment = listed[-1][0]  # rows of other protocols stand before its own
    verdicts = {metric: study.verdicts(experiment, metric) for metric in metrics}
    for block, result in listed:
        cells = []
        for metric in metrics:
            cell = score(footnotes, result, metric, *leaders[metric])
            verdict = verdicts[metric].get(result)
            mark = "" if verdict is None else asterisk(verdict)
            cells.append(replace(cell, text=cell.text + mark))
        yield TableRow(study.label(block, result), "method", tuple(cells))
