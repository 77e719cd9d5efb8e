"""Find the tables of a results folder and print them; plain tables of facts besides."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cerebench.benchmark.console import Console
from cerebench.benchmark.engine.registry import Registries, suggest
from cerebench.benchmark.errors import BrokenPlugin
from cerebench.core.errors import UsageError
from cerebench.reports.base import BadContents, Plot, RecordedExperiment, Renderer

if TYPE_CHECKING:
    from cerebench.reports.ladder import Card

# Facts of a kind that would break the lines of its list; a metric's name tells what it needs.
IN_SHOW_ALONE = {
    "methods": (),
    "metrics": ("source", "needs"),
    "datasets": (),
    "protocols": ("source", "weights", "version", "presets"),
    "extractors": ("source",),
}

# What a screen that is too narrow for whole words leaves out, in this order.
YIELD = ("origin", "source", "licence", "version")
_GAP = 2  # blanks between columns

FIGURE = "figure"  # the renderer that draws figures, those of other packages, too


@dataclass(frozen=True)
class Found:
    """The tables of contents of a results folder.

    Attributes:
        every: All that can be read, oldest first.
        shown: The newest of each (dataset folder, name), or what else was asked for.
        broken: What is wrong with those that cannot be read.
        remarks: What a reader must know of experiments and rows that are not shown.
    """

    every: list[RecordedExperiment]
    shown: list[RecordedExperiment]
    broken: list[str]
    remarks: Sequence[str] = ()


def find(
    out: Path,
    name: str | None = None,
    *,
    older: bool = False,
    rows: str | None = None,
    all_columns: bool = False,
) -> Found:
    """Read the tables of contents of a results folder.

    Args:
        out: Folder of results.
        name: Show only experiments of this name.
        older: Also show those that a later run of the same name has replaced.
        rows: Show one table, of these rows of all experiments: ``all``, or names of rows or
            methods, separated by commas.
        all_columns: Add to each table the metrics that other experiments recorded for its rows.

    Raises:
        UsageError: If the folder holds none, none of this name, or no row of a name.
        BadContents: If none of them can be read.
    """
    found = _newest(out, name, older)
    if rows is not None:
        found = _side_by_side(found, rows, all_columns)
    if all_columns:
        from cerebench.reports.side_by_side import with_every_metric

        shown = [with_every_metric(e, found.every) for e in found.shown]
        found = replace(found, shown=shown)
    return found


def _newest(out: Path, name: str | None, older: bool) -> Found:
    from cerebench.reports.history import earlier

    everything, broken = [], []
    for path in sorted(out.glob("*/experiment-*.json")):
        try:
            everything.append(RecordedExperiment.read(path))
        except BadContents as error:
            if name is None or path.stem.rpartition("-")[0] == f"experiment-{name}":
                broken.append(str(error))
    if broken and not any(name in (None, e.name) for e in everything):
        raise BadContents("\n".join(broken))
    if not everything:
        raise UsageError(f"No results in {out}. Run bench run first, or give --out.")
    names = sorted({e.name for e in everything})
    if name is not None and name not in names:
        raise UsageError(suggest("experiment with results", name, names))
    everything.sort(key=lambda e: e.contents.utc)
    wanted = [e for e in everything if name in (None, e.name)]
    if older:
        return Found(everything, wanted, broken)
    newest = list({(e.folder, e.name): e for e in wanted}.values())
    remarks = [line for e in newest for line in earlier(e, everything)]
    hint = "Shown by bench report --all; side by side by bench report --rows all."
    return Found(everything, newest, broken, [*remarks, *([hint] if remarks else [])])


def _side_by_side(found: Found, rows: str, partial: bool) -> Found:
    """Put rows of all experiments into one table, that of the newest one shown which has any."""
    from cerebench.reports.side_by_side import generators, join

    names = None if rows == "all" else {name.strip() for name in rows.split(",") if name.strip()}
    of = [{n for r in generators(e.contents) for n in (r.name, r.method) if n} for e in found.every]
    known = set().union(*of)
    for name in sorted((names or set()) - known):
        raise UsageError(suggest("row with results", name, sorted(known)))
    wanted = known if names is None else names
    able = [
        e for e, held in zip(found.every, of, strict=True) if e in found.shown and held & wanted
    ]
    joined = join((able or found.shown)[-1], found.every, names, partial=partial)
    return replace(found, shown=[joined.experiment], remarks=joined.left_out)


def report_folder(experiment: RecordedExperiment) -> Path:
    """Return where the report files of an experiment lie, beside its records."""
    return experiment.folder / "report" / f"{experiment.name}-{experiment.key8}"


def write(
    writer: Callable[..., list[Path]],
    experiments: Sequence[RecordedExperiment],
    to: Path | None,
    **options: Any,
) -> list[Path]:
    """Write one format of every experiment.

    Args:
        writer: What a ``Renderer`` writes with.
        experiments: What to write.
        to: Folder for the files, with a subfolder each where there are several experiments; None
            for ``report/`` beside the records.
        options: Passed on to the format.
    """
    written: list[Path] = []
    for experiment in experiments:
        folder = report_folder(experiment)
        if to is not None:
            folder = to if len(experiments) == 1 else to / experiment.folder.name / folder.name
        written += writer(experiment, folder, **options)
    return written


def reporters(registries: Registries) -> tuple[dict[str, Renderer], list[Plot], dict[str, str]]:
    """Load everything that makes report files.

    Returns:
        Renderers by name, figures of other packages, and by name why a plugin cannot be used.
    """
    renderers: dict[str, Renderer] = {}
    plots: list[Plot] = []
    broken: dict[str, str] = {}
    for name in registries.reports.names():
        try:
            plugin = registries.reports.load(name)
        except BrokenPlugin as error:
            broken[name] = str(error)
            continue
        if isinstance(plugin, Renderer):
            renderers[name] = plugin
        elif isinstance(plugin, Plot):
            plots.append(plugin)
        else:
            broken[name] = "it is no Renderer and no Plot (cerebench.reports.base)"
    return renderers, plots, broken


def print_csv(experiments: Sequence[RecordedExperiment]) -> None:
    """Print the tidy rows of all experiments, one value a row."""
    from cerebench.reports.values.frames import csv, frames

    sys.stdout.write(csv([frame for e in experiments for frame in frames(e)]))


def print_markdown(experiments: Sequence[RecordedExperiment], **options: Any) -> None:
    """Print the Markdown tables of all experiments; options as of ``markdown.write``."""
    from cerebench.reports import markdown

    with tempfile.TemporaryDirectory() as folder:
        for path in write(markdown.write, experiments, Path(folder), **options):
            sys.stdout.write(path.read_text(encoding="utf-8"))


def command(experiment: str | None, out: Path, *, rows: str | None = None) -> str:
    """Return what a user types to see the tables of a results folder."""
    parts = ["bench report", *([experiment] if experiment else [])]
    parts += ["--rows", rows] if rows else []
    return " ".join([*parts, *(["--out", str(out)] if out != Path("runs") else [])])


def console() -> Console:
    """Return a console for tables; where there is no terminal to ask, 120 columns wide."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else 120)


def print_terminal(
    experiments: Sequence[RecordedExperiment], console: Console, **options: Any
) -> None:
    """Print the tables of all experiments for reading; options as of ``terminal.render``."""
    from cerebench.reports import terminal

    for experiment in experiments:
        terminal.render(experiment, console, **options)


def print_rows(title: str, rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print objects of one kind as a table with a column per fact.

    What cannot be used, and why, stands below it. Long facts are left to ``bench show``.
    """
    if not rows:
        console.print(f"[bold]{escape(title)}[/]\nnone installed\n")
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [c for c in columns if any(_text(row.get(c)) for row in rows)]
    left_out = {"available", "reason"} if "available" in columns else set()
    if {row.get("origin") for row in rows} == {"built in"}:
        left_out.add("origin")
    left_out.update(IN_SHOW_ALONE.get(title, ()))
    shown = [c for c in columns if c not in left_out]
    console.print(_table(title, rows, shown, console.width))
    if title in IN_SHOW_ALONE:
        console.print("[dim]source, definition and every setting:[/] bench show NAME")
    for reason, names in _reasons(rows).items():
        console.print(
            f"[dim]not available:[/] {escape(', '.join(names))}: {escape(reason)}", highlight=False
        )
    console.print()


def _widths(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], width: int
) -> dict[str, int]:
    """Return the columns that have room for their longest words, and how wide each is.

    Columns of ``YIELD`` go first. What is left over goes to those that would fill it.
    """
    texts = {c: [c.replace("_", " "), *(_text(row.get(c)) for row in rows)] for c in columns}
    least = {c: max(cell_len(w) for t in ts for w in t.split() or [""]) for c, ts in texts.items()}
    whole = {c: max(map(cell_len, ts)) for c, ts in texts.items()}
    for yielding in YIELD:
        if sum(least.values()) + len(least) - 1 > width:
            least.pop(yielding, None)
    wanted = {c: whole[c] - least[c] for c in least}
    spare = max(0, width - sum(least.values()) - _GAP * (len(least) - 1))
    share = min(1.0, spare / max(1, sum(wanted.values())))
    return {c: least[c] + int(share * wanted[c]) for c in least}


def _table(
    title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int
) -> Table:
    widths = _widths(columns, rows, width)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    # One blank between columns, where two would not leave room.
    table.collapse_padding = sum(widths.values()) + _GAP * (len(widths) - 1) > width
    for column, size in widths.items():
        table.add_column(column.replace("_", " "), header_style="dim", width=size, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(row.get(c))) for c in widths))
    return table


def print_missing_weights(console: Console) -> None:
    """Say where the weight files are that this machine lacks, each once and in one piece."""
    from cerebench.core import weights

    missing = [row for row in weights.status() if not row["path"]]
    if not missing:
        return
    console.print("[dim]missing weight files; fetch one, then:[/] bench weights import FILE")
    for row in missing:
        console.print(f"  {row['url']}", markup=False, highlight=False, soft_wrap=True)


def _reasons(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the names of what is not available by reason."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.get("available") is False:
            found.setdefault(row["reason"], []).append(row["name"])
    return found


def print_object(found: Mapping[str, Any], console: Console, chosen: str | None = None) -> None:
    """Print a plugin's facts; its presets follow as tables of settings.

    Args:
        found: As from ``listing.show``.
        console: Where to print.
        chosen: The preset to print whole; None for the first. The others as differences from it.
    """
    console.print(f"[bold]{escape(str(found['name']))}[/] · {escape(str(found['kind']))}")
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for key, value in found.items():
        if key not in ("name", "kind", "presets", "departures", "settings"):
            facts.add_row(key.replace("_", " "), escape(_lines(value)))
    console.print(facts)
    if found.get("departures"):
        console.print("[dim]departures from paper and reference code[/]")
        for number, text in enumerate(found["departures"], 1):
            console.print(f"  {number}. {escape(text)}", highlight=False)
    presets = found.get("presets", {})
    if presets:
        _print_accepted(next(iter(presets.values())), console)
        chosen = chosen or next(iter(presets))
        _print_preset(chosen, presets[chosen], presets[chosen]["settings"], console)
    for name, preset in presets.items():
        if name == chosen:
            continue
        usual = presets[chosen]["settings"]
        differing = {
            field: setting
            for field, setting in preset["settings"].items()
            if field not in usual or setting["value"] != usual[field]["value"]
        }
        _print_preset(
            name, preset, differing, console, but=f", as {chosen} but for" * bool(differing)
        )


def _print_accepted(preset: Mapping[str, Any], console: Console) -> None:
    """Print which values the settings accept, once for all presets."""
    names: dict[str, list[str]] = {}
    for field, setting in preset["settings"].items():
        names.setdefault(setting["accepts"], []).append(field)
    table = Table(box=None, pad_edge=False)
    table.add_column("settings", overflow="fold", header_style="dim")
    table.add_column("accept", overflow="fold", header_style="dim")
    for accepts, fields in names.items():
        table.add_row(escape(", ".join(fields)), escape(accepts))
    console.print()
    console.print(table)


def _print_preset(
    name: str,
    preset: Mapping[str, Any],
    settings: Mapping[str, Any],
    console: Console,
    but: str = "",
) -> None:
    """Print a preset and some of its settings."""
    title = f"preset {escape(name)}"
    if "parameters" in preset:
        counts = ", ".join(f"{net} {count:,}" for net, count in preset["parameters"].items())
        title += f" · {preset['size']}³ · parameters: {counts}"
    title += but
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for column in ("setting", "value", "meaning", "source"):
        table.add_column(column, overflow="fold", header_style="dim")
    for field, setting in settings.items():
        cells = (field, _text(setting["value"]), setting["meaning"], setting["source"])
        table.add_row(*(escape(cell) for cell in cells))
    console.print()
    console.print(table)


def _lines(value: Any) -> str:
    """Return a fact with a line for each of its parts."""
    if isinstance(value, Mapping):
        return "\n".join(f"{k}: {_text(v)}" for k, v in value.items())
    return _text(value)


def _text(value: Any) -> str:
    """Return a fact as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value)
    return str(value)


def print_ladder(laid: Card, console: Console) -> None:
    """Print what metrics see, in as many parts as the width of the screen asks for."""
    console.print(f"[bold]{escape(laid.title)}[/]", highlight=False)
    style = {"inverted": "bold red", "blind": "dim", "ordered": "green"}
    room = console.width - max(map(len, laid.defects)) - 2
    for part in _fitting([max(4, *map(len, head.split())) + 2 for head in laid.heads], room):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True)
        for i in part:
            table.add_column(escape(laid.heads[i]), overflow="fold", header_style="bold")
        for label, cells in zip(laid.defects, laid.cells, strict=True):
            texts = (Text(cells[i].text, style.get(cells[i].word, "")) for i in part)
            table.add_row(escape(label), *texts)
        console.print()
        console.print(table)
    console.print()
    for text in laid.legend:
        console.print(escape(text), style="dim", highlight=False)


def _fitting(widths: Sequence[int], room: int) -> list[list[int]]:
    """Deal columns into parts that fit; a column that never fits stands alone."""
    parts: list[list[int]] = [[]]
    left = room
    for i, width in enumerate(widths):
        if width > left and parts[-1]:
            parts.append([])
            left = room
        parts[-1].append(i)
        left -= width
    return parts
