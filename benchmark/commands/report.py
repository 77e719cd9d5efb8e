"""``bench report``: tables and figures from records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cerebench.benchmark.commands.options import (
    Out,
    Plugin,
    complain,
    open_registries,
    refuse_ignored,
)
from cerebench.core.errors import EXIT_DATA, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.tables import Found
    from cerebench.reports.base import RecordedExperiment


def _say_renamed(given: bool) -> bool:
    if given:
        typer.echo("--protocol is called --recipes; protocols are those of bench run.", err=True)
    return given


def _complain(store: Found) -> None:
    """Say what in a store cannot be vouched for, or not be read."""
    if unsealed := len({one.folder / name for one in store.shown for name in one.unsealed}):
        complain(
            f"{unsealed} of the files read are of an older version and carry no hash of their "
            "content: a digit that has changed since would not be seen. The bench run that made "
            "them adds it and computes nothing again."
        )
    for fault in store.broken:
        complain(fault)


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
    headings: Annotated[
        bool,
        typer.Option(
            "--headings", help="With --figure: write what the captions say into the pictures, too."
        ),
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Write what this renderer writes (bench list reports)."),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            "--anchors",
            help="Show the control rows: copies, collapse, blur, noise.",
        ),
    ] = False,
    recipes: Annotated[
        bool, typer.Option("--recipes", help="Print how the numbers of every column are made.")
    ] = False,
    notes: Annotated[
        bool,
        typer.Option(
            "--notes", help="Print every note: errors, floors, remarks of metrics, settings."
        ),
    ] = False,
    all_columns: Annotated[
        bool,
        typer.Option(
            "--all-columns",
            help="Show every recorded column: all costs, and metrics that other runs asked for.",
        ),
    ] = False,
    diagnostics: Annotated[
        bool,
        typer.Option(
            "--diagnostics",
            help="Show why rows are marked, how trainings went, what labels and methods say.",
        ),
    ] = False,
    formerly: Annotated[
        bool, typer.Option("--protocol", hidden=True, callback=_say_renamed)
    ] = False,
    test: Annotated[
        str,
        typer.Option(
            help="Of classifiers: the second test, beside that over generators: paired_bootstrap "
            "or delong (over test patients), welch, student or paired (over runs)."
        ),
    ] = "paired_bootstrap",
    with_published: Annotated[
        bool,
        typer.Option("--with-published", help="Also the numbers that the paper reported, apart."),
    ] = False,
    older: Annotated[
        bool, typer.Option("--all", help="Also tables that a later run of the same name replaced.")
    ] = False,
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows",
            help="One table of rows of several runs, such as two presets or settings of a method, "
            "whose data, size, n and metrics are equal: all, or names of rows or methods. "
            "EXPERIMENT chooses data and metrics.",
        ),
    ] = None,
    out: Out = Path("runs"),
    to: Annotated[
        Path | None, typer.Option(help="Folder for files; default: report/ beside the records.")
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Print or write tables from records. Needs neither torch nor the data.

    A record that does not fit its schema is left out and named with file and field.
    Exit code 3 when a table of contents does not fit; the others are printed.
    """
    from cerebench.benchmark import tables

    drawn = latex or figure or bool(formats)
    screen = not (csv or markdown or drawn)
    only_screen = {
        "--recipes": recipes or formerly,
        "--notes": notes,
        "--diagnostics": diagnostics,
    }
    refuse_ignored("--latex", {"--siunitx": siunitx and not latex})
    refuse_ignored("--latex, --figure or --format", {"--to": to is not None and not drawn})
    refuse_ignored(
        "the tables on the screen",
        {name: given and not screen for name, given in only_screen.items()},
    )
    refuse_ignored(
        "--latex or the tables on the screen", {"--controls": controls and not (screen or latex)}
    )
    registries = open_registries(plugin)
    store = tables.find(out, experiment, older=older, rows=rows, all_columns=all_columns)
    found = store.shown
    if csv:
        tables.print_csv(found)
    if markdown:
        tables.print_markdown(found, test=test, published=with_published)
    written: list[Path] = []
    if latex:
        from cerebench.reports.latex import write

        style = {"siunitx": siunitx, "controls": controls}
        written += tables.write(write, found, to, test=test, published=with_published, **style)
    names = [*[tables.FIGURE] * figure, *(formats or [])]
    written += [path for name in names for path in _write(name, registries, found, to, headings)]
    for path in written:
        typer.echo(str(path))
    if screen:
        style = {"controls": controls, "recipes": recipes or formerly, "notes": notes}
        style |= {"all_columns": all_columns, "diagnostics": diagnostics}
        typed = tables.command(experiment, out, rows=rows)
        shown, tests = tables.console(), {"test": test, "published": with_published}
        tables.print_terminal(found, shown, command=typed, **tests, **style)
        for remark in store.remarks:
            shown.print(remark, style="yellow", markup=False, highlight=False)
    for remark in () if screen else store.remarks:  # never among the rows of a table
        complain(remark)
    _complain(store)
    if store.broken:
        raise typer.Exit(EXIT_DATA)


def _write(
    name: str,
    registries: Registries,
    experiments: Sequence[RecordedExperiment],
    to: Path | None,
    headings: bool,
) -> list[Path]:
    """Write what a renderer writes; all figures, those of other packages too, for ``figure``."""
    from cerebench.benchmark import tables

    renderers, plots, broken = tables.reporters(registries)
    if name in renderers:
        own = {"say": typer.echo, "further": plots, "headings": headings}
        options = own if name == tables.FIGURE else {}
        return tables.write(renderers[name].write, experiments, to, **options)
    registries.reports.load(name)  # says that there is none, or what is wrong with it
    reason = broken.get(name, "it is a figure, which --figure draws")
    raise UsageError(f"--format {name}: {reason}. Known: {', '.join(renderers)}.")
