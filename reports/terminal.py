"""Table on a terminal, split into panels that fit its width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import superscript
from cerebench.reports.tables.sections import further, study
from cerebench.reports.tables.table import Table, TableCell, build_table, panels
from cerebench.reports.values.downstream import DEFAULT_TEST

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text


def render(
    experiment: RecordedExperiment,
    console: Console,
    *,
    controls: bool = False,
    protocol: bool = False,
    test: str = DEFAULT_TEST,
    published: bool = False,
) -> None:
    """Print the table of an experiment with its banner, footnotes and notes; then further tables.

    Args:
        experiment: Table of contents with its folder.
        console: Where to print; its width decides how columns are split into panels.
        controls: Whether to show the controls; the floor is always shown.
        protocol: Whether to print the recipe of every column, which Markdown and LaTeX always do.
        test: One of ``comparison.TESTS``: what downstream comparisons rest on.
        published: Whether to print what papers printed.

    Raises:
        ReportError: As in ``cerebench.reports.tables.table.build_table`` and ``sections.study``.
    """
    table = build_table(experiment, controls=controls)
    _heading(table.title, table.banner, console)
    _body(table, _below(table, experiment, controls, protocol), console)
    for _, more in further(experiment, study(experiment, test), published=published):
        console.print()
        _heading(more.title, more.banner if more.banner != table.banner else "", console)
        _body(more, [*more.notes, *(more.protocol if protocol else ())], console)


def _heading(title: str, banner: str, console: Console) -> None:
    from rich.text import Text

    console.print(Text(title, style="bold"))
    if banner:
        console.print(Text(banner, style="bold yellow"))


def _body(table: Table, below: list[str], console: Console) -> None:
    """Print caption, panels, footnotes and the lines under them."""
    from rich.text import Text

    console.print(Text(table.caption, style="dim"))
    for part in panels(table, console.width, gap=3):
        console.print()
        console.print(_grid(table, part))
    console.print()
    for number, text in enumerate(table.footnotes, 1):
        console.print(_item(f"{superscript(number)} ", text))
    for text in below:
        console.print(_item("· ", text, style="dim"))


def _below(
    table: Table, experiment: RecordedExperiment, controls: bool, protocol: bool
) -> list[str]:
    """Return the lines under a table; what is not shown is said, and how to see it."""
    if protocol or not table.blocks:
        return [*table.notes, *(table.protocol if protocol else ())]
    rows = experiment.contents.rows
    count = 0 if controls else sum(row.role == "control" for row in rows)
    hidden = f"{count} control rows (copies, collapse, blur, noise): bench report --controls. "
    more = f"{hidden * bool(count)}Recipe of every column: bench report --recipes."
    return [*table.notes, *table.methods, more]


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
    for block in table.blocks:
        targets = (Text(block.targets[i], style="dim") for i in part)
        grid.add_row(Text(block.name, style="bold cyan"), *targets)
        last = len(block.rows) - 1
        for index, row in enumerate(block.rows):
            style = "" if row.role == "method" else "dim"
            turn = index < last and block.rows[index + 1].role == "control" != row.role
            cells = (_cell(row.cells[i]) for i in part)
            ends = turn or index == last
            grid.add_row(Text(row.label), *cells, style=style, end_section=ends)
    return grid


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
