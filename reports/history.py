"""What an earlier run of an experiment held that a later one of the same name does not show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cerebench.core.records.contents import Contents
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import plain

NAMED = 3  # earlier runs that are told one by one


def earlier(shown: RecordedExperiment, every: Sequence[RecordedExperiment]) -> list[str]:
    """Say what earlier runs of the same name on the same data held that is not in this one.

    Args:
        shown: The newest run of its name.
        every: All runs of the store, oldest first.

    Returns:
        A line for each such run, the newest first; none where this one shows all that they held.
    """
    same = [e for e in every if e.folder == shown.folder and e.name == shown.name and e != shown]
    lines = []
    for run in reversed(same):
        if held := "; ".join(_lacking(run.contents, shown.contents)):
            when = run.contents.utc[:16].replace("T", " ")
            lines.append(f"An earlier run of {run.name} ({when} UTC, {run.key8}) held {held}.")
    more = len(lines) - NAMED
    return [*lines[:NAMED], *([f"{more} more earlier runs held others."] if more > 0 else [])]


def _lacking(before: Contents, now: Contents) -> Iterator[str]:
    """Yield what one table of contents lists and the other does not."""
    folders = {cell.folder for row in now.rows for cell in row.cells}
    rows = [
        f"{plain(row.label)}{f' ({row.preset})' if row.preset else ''}"
        for row in before.rows
        if row.kind != CONTROL_KIND and not any(cell.folder in folders for cell in row.cells)
    ]
    kept = {row.name: {cell.seed for cell in row.cells} for row in now.rows}
    seeds = {
        cell.seed
        for row in before.rows
        for cell in row.cells
        if row.name in kept and cell.seed not in kept[row.name]
    }
    known = {metric.name: metric.recipe_hash for metric in now.metrics}
    metrics = [m.label for m in before.metrics if m.name not in known]
    recipes = [m.label for m in before.metrics if known.get(m.name, "") not in ("", m.recipe_hash)]
    protocols = {protocol.name for protocol in now.downstream}
    tested = [p.label for p in before.downstream if p.name not in protocols]
    if rows:
        yield ", ".join(rows)
    if seeds:
        yield f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"
    if metrics:
        yield f"the metrics {plain(', '.join(metrics))}"
    if recipes:
        yield f"other recipes of {plain(', '.join(recipes))}"
    if tested:
        yield f"the protocols {plain(', '.join(tested))}"
    if before.samples_per_class != now.samples_per_class:
        yield f"{before.samples_per_class} volumes a class, not {now.samples_per_class}"
