"""What every renderer draws after the main table: downstream, diagnostics, published tables.

The tests of downstream tables import scipy, which is slow. They are therefore imported only for
experiments that have protocols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.diagnosis.judged import build_labels_table, build_marks_table
from cerebench.reports.diagnosis.trainings import build_trainings_table
from cerebench.reports.tables.diagnostics import build_diagnostics_table
from cerebench.reports.tables.published import build_published_tables
from cerebench.reports.tables.table import Table

if TYPE_CHECKING:
    from cerebench.reports.values.study import Study


def study(experiment: RecordedExperiment, test: str) -> Study | None:
    """Read the downstream protocols once for all tables; None if there are none.

    Args:
        experiment: Table of contents with its folder.
        test: One of ``comparison.TESTS``: what stands beside the test of generators.

    Raises:
        ReportError: If the path of a record leaves the folder, or the test is unknown.
    """
    if not experiment.contents.downstream:
        return None
    from cerebench.reports.values.study import read_study

    return read_study(experiment, test)


def further(
    experiment: RecordedExperiment,
    study: Study | None,
    *,
    published: bool = False,
    diagnostics: bool = True,
) -> list[tuple[str, Table]]:
    """Build the tables after the main one, each with the name of its kind.

    Args:
        experiment: Table of contents with its folder.
        study: Its downstream protocols, as from ``study``.
        published: Whether to show what papers printed.
        diagnostics: Whether to show what methods say about themselves.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    tables = []
    if study is not None:
        from cerebench.reports.tables.downstream_tables import build_downstream_tables

        tables += zip(("downstream", "comparison"), build_downstream_tables(study), strict=False)
    if diagnostics and (told := build_diagnostics_table(experiment)) is not None:
        tables.append(("diagnostics", told))
    if published:
        tables += [("published", table) for table in build_published_tables(experiment)]
    return tables


def diagnosis(experiment: RecordedExperiment) -> list[Table]:
    """Build the tables that say why rows are marked and how trainings went, those there are.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    tables = (
        build_marks_table(experiment),
        build_trainings_table(experiment),
        build_labels_table(experiment),
        build_diagnostics_table(experiment),
    )
    return [table for table in tables if table is not None]
