"""What every renderer draws after the main table: downstream, diagnostics, published tables."""

from __future__ import annotations

from cerebench.reports.base import Experiment
from cerebench.reports.diagnostics import build as build_diagnostics
from cerebench.reports.downstream import DEFAULT_TEST
from cerebench.reports.published import build as build_published
from cerebench.reports.table import Table


def further(
    experiment: Experiment, *, test: str = DEFAULT_TEST, published: bool = False
) -> list[tuple[str, Table]]:
    """Build the tables after the main one, each with the name of its kind.

    Args:
        experiment: Table of contents with its folder.
        test: One of ``comparison.TESTS``: what downstream comparisons rest on.
        published: Whether to show what papers printed.

    Raises:
        ReportError: If a record cannot be read, or the test is unknown.
    """
    found = []
    if experiment.contents.get("downstream"):
        # Its tests import scipy.stats, half a second that other experiments need not wait for.
        from cerebench.reports.downstream_tables import build as build_downstream

        names = ("downstream", "comparison")
        found += zip(names, build_downstream(experiment, test), strict=False)
    if (diagnostics := build_diagnostics(experiment)) is not None:
        found.append(("diagnostics", diagnostics))
    if published:
        found += [("published", table) for table in build_published(experiment)]
    return found
