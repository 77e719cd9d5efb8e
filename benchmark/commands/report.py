"""``bench report``: tables and figures from records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import (
    Out,
    complain,
)
from cerebench.core.errors import EXIT_DATA


def report(
    experiment: Annotated[
        str | None, typer.Argument(help="Name of an experiment; all of them without it.")
    ] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write LaTeX tables and a main.tex that compiles.")
    ] = False,
    siunitx: Annotated[
        bool, typer.Option("--siunitx", help="With --latex: set numbers with siunitx.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print tidy rows, one value a row.")] = False,
    figure: Annotated[bool, typer.Option("--figure", help="Write all figures (PDF, PNG).")] = False,
    anchors: Annotated[
        bool,
        typer.Option("--anchors", help="Show the control rows: copies, collapse, blur, noise."),
    ] = False,
    protocol: Annotated[
        bool, typer.Option("--protocol", help="Print the recipe of every column.")
    ] = False,
    test: Annotated[
        str,
        typer.Option(
            help="The test that stands beside that of generators: paired_bootstrap, delong (test "
            "patients), welch, student, paired (runs)."
        ),
    ] = "paired_bootstrap",
    with_published: Annotated[
        bool,
        typer.Option("--with-published", help="Also the numbers that the paper reported, apart."),
    ] = False,
    older: Annotated[
        bool, typer.Option("--all", help="Also tables that a later run of the same name replaced.")
    ] = False,
    out: Out = Path("runs"),
    to: Annotated[
        Path | None, typer.Option(help="Folder for files; default: report/ beside the records.")
    ] = None,
) -> None:
    """Print or write tables from records. Needs neither torch nor the data.

    A record that does not fit its schema is left out and named with file and field.
    Exit code 3 when a table of contents does not fit; the others are printed.
    """
    from cerebench.benchmark import tables

    found, broken = tables.find(out, experiment, older=older)
    if csv:
        tables.print_csv(found)
    if markdown:
        tables.print_markdown(found, test=test, published=with_published)
    written: list[Path] = []
    if latex:
        from cerebench.reports.latex import write

        style = {"siunitx": siunitx, "controls": anchors}
        written += tables.write(write, found, to, test=test, published=with_published, **style)
    if figure:
        from cerebench.reports.figures.every import write

        written += tables.write(write, found, to, say=typer.echo)
    for path in written:
        typer.echo(str(path))
    if not (csv or markdown or latex or figure):
        style = {"controls": anchors, "protocol": protocol}
        shown = tables.console()
        tables.print_terminal(found, shown, test=test, published=with_published, **style)
    for fault in broken:
        complain(fault)
    if broken:
        raise typer.Exit(EXIT_DATA)
