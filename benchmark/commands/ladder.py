"""``bench ladder``: measure the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import (
    Data,
    Json,
    Out,
    Plugin,
    Root,
    Size,
    read_data_options,
    read_names,
)
from cerebench.benchmark.console import Console
from cerebench.core.errors import UsageError


def ladder(
    root: Root = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset name; scans where a folder is given, else phantom."),
    ] = None,
    size: Size = 32,
    data: Data = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "--suite", help="Metrics and suites; default: core."),
    ] = None,
    defects: Annotated[
        str | None, typer.Option(help="Names of defects: blur,copies; default: all.")
    ] = None,
    n: Annotated[
        int, typer.Option("-n", "--n", min=4, help="Volumes of a set, per class; at most a third.")
    ] = 64,
    seeds: Annotated[int, typer.Option(min=1, help="How often each defect is planted.")] = 3,
    draws: Annotated[int, typer.Option(min=10, help="Real draws, the yardstick.")] = 20,
    out: Out = Path("runs"),
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Measure the metrics: plant defects in real volumes, and print which metric sees which.

    A strength in the table is the weakest from which on a defect lies outside what real draws of
    the same size reach. Nothing is trained.
    """
    from cerebench.benchmark.display import choose
    from cerebench.benchmark.engine.store import replace
    from cerebench.benchmark.ladder import Request, measure
    from cerebench.benchmark.planning.source import Source
    from cerebench.benchmark.tables import console, print_ladder
    from cerebench.datasets.cache import default_cache
    from cerebench.reports.ladder import card, write

    name = dataset or ("scans" if root else "phantom")
    if root and name == "phantom":
        raise UsageError(f"phantom needs no files, got {root}. Give --dataset scans to read it.")
    request = Request(
        Source(name, root, size, read_data_options(data) or {}),
        ["core"] if metrics is None else read_names(metrics) or [],
        n=n,
        seeds=seeds,
        draws=draws,
        defects=read_names(defects) or (),
        plugins=plugin or (),
        explicit=metrics is not None,
    )
    shown = choose(Console(stderr=True), silent=as_json)
    found, folder = measure(request, default_cache(), shown)
    record = out / folder / f"ladder-{found.key[:8]}.json"
    replace(record, found)
    written = [record, *write(found, out / folder / "report" / record.stem)]
    if as_json:
        typer.echo(record.read_text("utf-8"), nl=False)
        return
    print_ladder(card(found), console())
    for path in written:
        shown.say(str(path))
