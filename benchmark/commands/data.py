"""``bench data``: what a folder is, what is wrong with it, its cache, and its export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cerebench.benchmark.commands.options import (
    Data,
    Dataset,
    Json,
    Plugin,
    Root,
    SameAxes,
    Size,
    SkipBad,
    Split,
    TrustHeaders,
    open_registries,
    read_data_options,
    read_headers,
)
from cerebench.benchmark.console import Console
from cerebench.core.errors import EXIT_DATA

if TYPE_CHECKING:
    from cerebench.benchmark.planning.source import Source


app = typer.Typer(help="Check, prepare and export a dataset.", no_args_is_help=True)


@app.command("check")
def data_check(
    root: Root = None,
    dataset: Dataset = "scans",
    size: Size = 32,
    data: Data = None,
    skip_bad: SkipBad = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    split: Split = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Say what a folder is and what is wrong with it, before any training.

    A case of each class is loaded, whatever the dataset's own check says.
    Exit code 3 when something would be wrong in a run.
    """
    from cerebench.benchmark import data as work
    from cerebench.benchmark.display import choose

    headers = read_headers(same_axes, trust_headers)
    source = data_source(dataset, root, size, data, split, headers, skip_bad)
    found = work.check(
        open_registries(plugin), source, choose(Console(stderr=True), silent=as_json)
    )
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        work.print_check(found, Console())
    if any(f["severity"] == "error" for f in found["findings"]):
        raise typer.Exit(EXIT_DATA)


@app.command("prepare")
def data_prepare(
    root: Root = None,
    dataset: Dataset = "scans",
    size: Size = 32,
    data: Data = None,
    skip_bad: SkipBad = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    split: Split = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Preprocess every case once into the cache and print the fingerprint.

    Uses all cores; interrupted, the same command continues.
    """
    from cerebench.benchmark import data as work
    from cerebench.benchmark.display import choose

    headers = read_headers(same_axes, trust_headers)
    source = data_source(dataset, root, size, data, split, headers, skip_bad)
    shown = choose(Console(stderr=as_json), silent=as_json)
    made = work.prepare(open_registries(plugin), source, shown)
    if as_json:
        typer.echo(json.dumps(made, indent=1))
        return
    for name in ("fingerprint", "recipe", "folder", "split"):
        shown.say(f"{name} {made[name]}")


@app.command("export")
def data_export(
    out: Annotated[Path, typer.Argument(help="New folder to write to.")],
    root: Annotated[Path | None, typer.Argument(help="Folder of the files, or a manifest.")] = None,
    dataset: Dataset = "scans",
    size: Size = 32,
    data: Data = None,
    skip_bad: SkipBad = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    split: Split = None,
    plugin: Plugin = None,
) -> None:
    """Write the prepared volumes and masks as a BIDS derivative, with the split."""
    from cerebench.benchmark import data as work
    from cerebench.benchmark.display import choose

    headers = read_headers(same_axes, trust_headers)
    source = data_source(dataset, root, size, data, split, headers, skip_bad)
    work.export(open_registries(plugin), source, out, choose(Console()))
    typer.echo(str(out))


def data_source(
    dataset: str,
    root: Path | None,
    size: int,
    options: list[str] | None,
    split: str | None,
    headers: dict[str, str],
    skip_bad: bool,
) -> Source:
    from cerebench.benchmark.planning.source import Source

    every = {**(read_data_options(options) or {}), **headers}
    return Source(dataset, root, size, every, None, split or "", skip_bad)
