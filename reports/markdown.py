"""GitHub tables, one a class and panel, with footnotes and notes as a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cerebench.core.files import write_bytes
from cerebench.reports.base import RecordedExperiment, Renderer
from cerebench.reports.tables.sections import further, study
from cerebench.reports.tables.table import Table, TableBlock, TableCell, build_table, panels
from cerebench.reports.values.downstream import DEFAULT_TEST

WIDTH = 120  # characters a table may take before columns move to a further one


def write(
    experiment: RecordedExperiment,
    folder: Path,
    *,
    test: str = DEFAULT_TEST,
    published: bool = False,
) -> list[Path]:
    """Write ``<name>.md``: the whole table, controls included, then further tables and recipes.

    Args:
        experiment: Table of contents with its folder.
        folder: Where to write.
        test: One of ``comparison.TESTS``: what downstream comparisons rest on.
        published: Whether to show what papers printed.

    Raises:
        ReportError: As in ``cerebench.reports.tables.table.build_table`` and ``sections.study``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{experiment.name}.md"
    table = build_table(experiment)
    tables = [more for _, more in further(experiment, study(experiment, test), published=published)]
    lines = [*_title("#", table.title, table.banner), *_body(table, "##")]
    for more in tables:
        banner = more.banner if more.banner != table.banner else ""
        lines += ["", *_title("##", more.title, banner), *_body(more, "###")]
    recipes = [*table.recipes, *(text for more in tables for text in more.recipes)]
    lines += ["", "## Recipes", "", *(f"- {escape(text)}" for text in recipes)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())
    return [path]


def _title(heading: str, title: str, banner: str) -> Iterator[str]:
    yield from (f"{heading} {escape(title)}", "")
    if banner:
        yield from (f"> **{escape(banner)}**", "")


def _body(table: Table, heading: str) -> Iterator[str]:
    """Yield caption, tables, footnotes and notes; ``heading`` is the level of a class."""
    yield from (escape(table.caption), "")
    for block in table.blocks:
        yield from (f"{heading} {escape(block.name)}", "")
        for part in panels(table, WIDTH, gap=3):
            yield from (*_grid(table, block, part), "")
    for number, text in enumerate(table.footnotes, 1):
        yield f"- <sup>{number}</sup> {escape(text)}"
    yield from (f"- {escape(text)}" for text in table.notes)


def _grid(table: Table, block: TableBlock, part: list[int]) -> Iterator[str]:
    heads = [f"{escape(c.head)}<br>{escape(c.detail)}" for c in (table.columns[i] for i in part)]
    yield _row("", heads)
    yield _row("---", ["---:"] * len(part))
    if any(block.targets[i] for i in part):
        yield _row("*real*", [escape(block.targets[i]) for i in part])
    for row in block.rows:
        label = escape(row.label)
        label = label if row.role == "method" else f"*{label}*"
        yield _row(label, [_cell(row.cells[i]) for i in part])


def _row(label: str, cells: list[str]) -> str:
    return "| " + " | ".join([label, *cells]) + " |"


def _cell(cell: TableCell) -> str:
    text = f"**{escape(cell.text)}**" if cell.bold else escape(cell.text)
    return f"{text}<sup>{cell.mark}</sup>" if cell.mark else text


def escape(text: str) -> str:
    """Escape what Markdown or HTML would interpret, so that a string prints as itself."""
    text = re.sub(r"([\\`*_|~#$!])", r"\\\1", text)
    text = re.sub(r"\](?=[(:])", r"\\]", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


MARKDOWN = Renderer("markdown", "Markdown table", write)
