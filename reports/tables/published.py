"""Tables that a paper printed, as it printed them: beside ours, never ranked with them."""

from __future__ import annotations

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import plain
from cerebench.reports.tables.table import Column, Table, TableBlock, TableCell, TableRow

BANNER = "reported in the paper, not made here"


def build_published_tables(experiment: RecordedExperiment) -> list[Table]:
    """Return one table for each that the experiment file quotes, without bold or order of ours."""
    contents = experiment.contents
    return [
        Table(
            title=plain(f"{published.table}: {published.title}"),
            banner=BANNER,
            caption=plain(f"Numbers as printed in: {contents.cite or 'source not given'}."),
            columns=tuple(Column(plain(head), "", plain(head)) for head in published.columns[1:]),
            blocks=(
                TableBlock(
                    plain(published.columns[0]),
                    ("",) * (len(published.columns) - 1),
                    tuple(
                        TableRow(
                            plain(label), "method", tuple(TableCell(plain(text)) for text in texts)
                        )
                        for label, *texts in published.rows
                    ),
                ),
            ),
            footnotes=(),
            notes=(plain(published.note),) if published.note else (),
            methods=(),
            recipes=(),
        )
        for published in contents.published
    ]
