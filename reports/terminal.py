"""Table on a terminal, split into panels that fit its width.

Where classes have the same rows, a row is named once in a panel, with a line for each class.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import superscript
from cerebench.reports.tables.sections import diagnosis, further, study
from cerebench.reports.tables.table import (
    Table,
    TableBlock,
    TableCell,
    TableRow,
    build_table,
    panels,
)
from cerebench.reports.values.downstream import DEFAULT_TEST
from cerebench.reports.values.tidy import ALL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

REAL = "real set"  # stands before the values that methods are compared with
OFFERED = {  # options that show more of what is recorded
    "notes": "every note: errors, floors, remarks of metrics, settings",
    "all-columns": "memory, device, sampler; metrics that other runs asked for",
    "diagnostics": "marks with their numbers, trainings, labels, what methods say",
    "recipes": "recipe and source of every column",
}
BETWEEN = 2  # spaces between the name of a row and that of a block


def render(
    experiment: RecordedExperiment,
    console: Console,
    *,
    controls: bool = False,
    recipes: bool = False,
    notes: bool = False,
    all_columns: bool = False,
    diagnostics: bool = False,
    test: str = DEFAULT_TEST,
    published: bool = False,
    command: str = "bench report",
) -> None:
    """Print the table of an experiment with its banner, footnotes and notes; then further tables.

    Args:
        experiment: Table of contents with its folder.
        console: Where to print; its width decides how columns are split into panels.
        controls: Whether to show the controls; the floor is always shown.
        recipes: Whether to print the recipe of every column, which Markdown and LaTeX always do.
        notes: Whether to print every note and setting, which they always do, too.
        all_columns: Whether to show the costs that few ask for.
        diagnostics: Whether to show why rows are marked, how trainings went and what methods say
            about themselves.
        test: One of ``comparison.TESTS``: what downstream comparisons rest on.
        published: Whether to print what papers printed.
        command: What shows this table, for the lines that say how to see more of it.

    Raises:
        ReportError: As in ``cerebench.reports.tables.table.build_table`` and ``sections.study``.
    """
    table = build_table(experiment, controls=controls, all_columns=all_columns)
    _heading(table.title, table.banner, console)
    told = {"whole": notes, "recipes": recipes}
    _body(table, _below(table, **told), console)
    asked = {"controls": controls, "notes": notes, "all-columns": all_columns}
    asked |= {"diagnostics": diagnostics, "recipes": recipes}
    if table.blocks:
        _offer(experiment, command, asked, console)
    sections = further(experiment, study(experiment, test), published=published, diagnostics=False)
    for after in [*(one for _, one in sections), *(diagnosis(experiment) if diagnostics else ())]:
        console.print()
        _heading(after.title, after.banner if after.banner != table.banner else "", console)
        _body(after, _below(after, **told), console)


def _offer(
    experiment: RecordedExperiment, command: str, asked: Mapping[str, bool], console: Console
) -> None:
    """Say what was not asked for, and how to see it."""
    count = sum(row.role == "control" for row in experiment.contents.rows)
    offered = OFFERED | {"controls": f"{count} rows: copies, collapse, blur, noise" * bool(count)}
    hidden = {name: text for name, text in offered.items() if text and not asked[name]}
    if hidden:
        console.print(_item("· ", f"{command} shows more with", style="dim"))
    for name, text in hidden.items():
        console.print(_item(f"    --{name:<{max(map(len, hidden)) + 2}}", text, style="dim"))


def _heading(title: str, banner: str, console: Console) -> None:
    from rich.text import Text

    console.print(Text(title, style="bold"))
    if banner:
        console.print(Text(banner, style="bold yellow"))


def _body(table: Table, below: list[str], console: Console) -> None:
    """Print caption, panels, footnotes and the lines under them."""
    from rich.text import Text

    console.print(Text(table.caption, style="dim"))
    for part in panels(table, console.width, gap=3, left=left(table)):
        console.print()
        console.print(_grid(table, part))
    console.print()
    for number, text in enumerate(table.footnotes, 1):
        console.print(_item(f"{superscript(number)} ", text))
    for text in below:
        console.print(_item("· ", text, style="dim"))


def _below(table: Table, *, whole: bool, recipes: bool) -> list[str]:
    """Return the lines under a table."""
    lines = [*table.notes, *table.methods] if whole or not table.brief else [*table.brief]
    return [*lines, *(table.recipes if recipes else ())]


def _grid(table: Table, part: list[int]) -> Grid:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    grid.add_column(Text(""), no_wrap=True)
    for index in part:
        column = table.columns[index]
        header = Text(f"{column.head}\n{column.detail}")
        grid.add_column(header, justify="right", no_wrap=True)
    for blocks in _alike(table):
        if len(blocks) > 1:
            _add_rows(grid, left(table), blocks, part)
        else:
            _add_block(grid, blocks[0], part, alone=len(table.blocks) == 1)
        grid.add_section()
    return grid


def _alike(table: Table) -> list[list[TableBlock]]:
    """Return blocks that follow each other with the same rows together: each is named once."""
    runs = itertools.groupby(table.blocks, lambda block: [row.label for row in block.rows])
    return [list(blocks) for _, blocks in runs]


def left(table: Table) -> int:
    """Return the width of what stands left of the numbers; 0 for a table without any."""
    widths = [0]
    for blocks in _alike(table):
        names = [block.name for block in blocks]
        if len(blocks) == 1:
            widths += map(len, [REAL, *names, *(row.label for row in blocks[0].rows)])
        else:
            own = [text for row in blocks[0].rows for text in (*_names(row), row.of)]
            widths.append(max(map(len, [REAL, *own])) + BETWEEN + max(map(len, names)))
    return max(widths)


def _names(row: TableRow) -> tuple[str, str]:
    """Return the label of a row on two lines: what stands last in brackets is on the second."""
    label = f" {row.label.removeprefix(row.of).lstrip(': ')}" if row.of else row.label
    name, bracket, rest = label.rpartition(" (")
    return (name, f"({rest}") if bracket and label.endswith(")") else (label, "")


def _add_rows(grid: Grid, wide: int, blocks: Sequence[TableBlock], part: list[int]) -> None:
    """Add each row once, with a line for each block; what has no cell in this part is left out."""
    from rich.text import Text

    names = [block.name for block in blocks]
    targets = [[Text(block.targets[i]) for i in part] for block in blocks]
    if any(text.plain for line in targets for text in line):
        _add_row(grid, wide, (REAL, ""), names, targets, style="dim")
    rows = list(zip(*(block.rows for block in blocks), strict=True))
    role = of_row = ""
    for of_blocks in rows:
        row = of_blocks[0]
        if not any(one.cells[i].text for one in of_blocks for i in part):
            continue
        if role and row.role != role and "control" in (role, row.role):
            grid.add_section()
        if row.of != of_row:
            grid.add_row(Text(row.of, style="bold cyan"))
        role, of_row = row.role, row.of
        cells = [[_cell(one.cells[i]) for i in part] for one in of_blocks]
        style = "" if row.role == "method" else "dim"
        _add_row(grid, wide, _names(row), names, cells, style=style)


def _add_row(
    grid: Grid,
    wide: int,
    label: tuple[str, str],
    blocks: Sequence[str],
    cells: Sequence[Sequence[Text]],
    style: str,
) -> None:
    """Add a line for each block: the first two have the label, all the name of the block."""
    from rich.text import Text

    size = max(map(len, blocks))
    for part, block, texts in zip((*label, *[""] * len(blocks)), blocks, cells, strict=False):
        head = Text(f"{part:<{wide - size}}", style="bold" if not style else "")
        grid.add_row(head.append(f"{block:<{size}}", style="cyan"), *texts, style=style)


def _add_block(grid: Grid, block: TableBlock, part: list[int], *, alone: bool) -> None:
    """Add the only block that has its rows, under its name; volumes without classes have none."""
    from rich.text import Text

    targets = [Text(block.targets[i], style="dim") for i in part]
    if not (alone and block.name == ALL_CLASSES):
        grid.add_row(Text(block.name, style="bold cyan"), *targets)
    elif any(text.plain for text in targets):
        grid.add_row(Text(REAL, style="dim"), *targets)
    role = ""
    for row in block.rows:
        if row.role == "control" != role and role:
            grid.add_section()
        role = row.role
        cells = (_cell(row.cells[i]) for i in part)
        grid.add_row(Text(row.label), *cells, style="" if role == "method" else "dim")


def _cell(cell: TableCell) -> Text:
    from rich.text import Text

    text = Text(cell.text, style="bold" if cell.bold else "")
    return text.append(superscript(cell.mark)) if cell.mark else text


def _item(mark: str, text: str, style: str = "") -> Grid:
    """Return a line whose continuation is indented under its text."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid()
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text(mark), Text(text, style=style))
    return grid
