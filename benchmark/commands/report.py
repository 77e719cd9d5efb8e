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
    from cerebench.reports.base import RecordedExperiment


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
    plugin: Plugin = None,
) -> None:
    """Print or write tables from records. Needs neither torch nor the data.

    A record that does not fit its schema is left out and named with file and field.
    Exit code 3 when a table of contents does not fit; the others are printed.
    """
    from cerebench.benchmark import tables

    files = latex or figure or bool(formats)
    screen = not (csv or markdown or files)
    refuse_ignored("--latex", {"--siunitx": siunitx and not latex})
    refuse_ignored("--latex, --figure or --format", {"--to": to is not None and not files})
    on_screen = {"--protocol": protocol and not screen}
    refuse_ignored("the tables on the screen", on_screen)
    refuse_ignored(
        "--latex or the tables on the screen", {"--controls": controls and not (screen or latex)}
    )
    registries = open_registries(plugin)
    found, broken = tables.find(out, experiment, older=older)
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
    written += [path for name in names for path in _write(name, registries, found, to)]
    for path in written:
        typer.echo(str(path))
    if screen:
        style = {"controls": controls, "protocol": protocol}
        shown = tables.console()
        tables.print_terminal(found, shown, test=test, published=with_published, **style)
    for fault in broken:
        complain(fault)
    if broken:
        raise typer.Exit(EXIT_DATA)


def _write(
    name: str, registries: Registries, experiments: Sequence[RecordedExperiment], to: Path | None
) -> list[Path]:
    """Write what a renderer writes; all figures, those of other packages too, for ``figure``."""
    from cerebench.benchmark import tables

    renderers, plots, broken = tables.reporters(registries)
    if name in renderers:
        options = {"say": typer.echo, "further": plots} if name == tables.FIGURE else {}
        return tables.write(renderers[name].write, experiments, to, **options)
    registries.reports.load(name)  # says that there is none, or what is wrong with it
    reason = broken.get(name, "it is a figure, which --figure draws")
    raise UsageError(f"--format {name}: {reason}. Known: {', '.join(renderers)}.")
