"""``bench check``: the conformance suite of a method or a dataset, the card of a metric."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cerebench.benchmark.commands.options import (
    Data,
    Json,
    Plugin,
    open_registries,
    read_data_options,
)
from cerebench.benchmark.console import Console
from cerebench.core.errors import EXIT_SOME_FAILED, UsageError

if TYPE_CHECKING:
    from cerebench.benchmark.engine.registry import Registries


def check(
    name: Annotated[
        str, typer.Argument(help="A method, metric or dataset, installed or of a --plugin file.")
    ],
    root: Annotated[
        Path | None, typer.Argument(help="Of a dataset: the folder of its files.")
    ] = None,
    size: Annotated[int, typer.Option(help="Of a dataset: edge length of the volumes.")] = 32,
    data: Data = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Run the conformance suite on a method or a dataset; measure a metric.

    A method is also tried on a GPU that is not there: "not shown" is what cannot be told without a
    real one. A metric gets the card of bench ladder on phantoms: which planted defects it sees. One
    that is inverted ends with exit code 4, as does a requirement that is not met.
    """
    from cerebench.benchmark.conformance import checks

    registries = open_registries(plugin)
    kind = _kind_of(name, registries)
    if kind != "dataset" and (root or data):
        raise UsageError(f"'{name}' is a {kind}; a folder and --data belong to a dataset.")
    if kind == "metric":
        _check_metric(name, registries, plugin or [], as_json=as_json)
        return
    if kind == "method":
        from cerebench.benchmark.conformance import methods

        results = methods.check(name, registries)
    else:
        from cerebench.benchmark.conformance import datasets
        from cerebench.benchmark.planning.source import Source

        source = Source(name, root, size, read_data_options(data) or {})
        results = datasets.check(source, registries)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(r) for r in results], indent=1))
    else:
        checks.print_results(name, results, Console())
    if any(r.outcome == checks.FAILED for r in results):
        raise typer.Exit(EXIT_SOME_FAILED)


def _kind_of(name: str, registries: Registries) -> str:
    """Tell what a name is.

    Raises:
        UnknownPlugin: If it is nothing that can be checked.
    """
    from cerebench.benchmark.engine.registry import suggest
    from cerebench.benchmark.errors import UnknownPlugin

    kinds = {
        "method": registries.methods.names(),
        "metric": registries.metrics.names(),
        "dataset": registries.datasets.names(),
    }
    for kind, names in kinds.items():
        if name in names:
            return kind
    every = [name for names in kinds.values() for name in names]
    told = suggest("method, dataset or metric", name, every).split(" Known: ")[0]
    raise UnknownPlugin(f"{told} See bench list methods, datasets or metrics.")


def _check_metric(name: str, registries: Registries, plugins: list[str], *, as_json: bool) -> None:
    from cerebench.benchmark.display import choose
    from cerebench.benchmark.ladder import of_metric
    from cerebench.benchmark.tables import console, print_ladder
    from cerebench.core.records.files import dump
    from cerebench.datasets.cache import default_cache
    from cerebench.reports.ladder import card

    shown = choose(Console(stderr=True), silent=as_json)
    found = of_metric(name, default_cache(), shown, plugins)
    laid = card(found)
    if as_json:
        typer.echo(json.dumps(dump(found), indent=1))
    else:
        print_ladder(laid, console())
    if not laid.judged or (laid.inverted and not registries.metrics.load(name).never_bold):
        raise typer.Exit(EXIT_SOME_FAILED)
