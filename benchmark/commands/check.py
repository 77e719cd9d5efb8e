"""``bench check``: the conformance suite of a method, the card of a metric."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cerebench.benchmark.commands.options import (
    Json,
    Plugin,
    open_registries,
)
from cerebench.core.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from cerebench.benchmark.engine.registry import Registries


def check(
    name: Annotated[
        str, typer.Argument(help="A method, installed or of a --plugin file; or a metric.")
    ],
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Run the conformance suite on a method, also on a GPU that is not there; measure a metric.

    "not shown" is what cannot be told without a real one. A metric gets the card of bench ladder
    on phantoms: which planted defects it sees. One that is inverted ends with exit code 4.
    """
    from cerebench.benchmark import conformance

    registries = open_registries(plugin)
    if name in registries.metrics.names() and name not in registries.methods.names():
        _check_metric(name, registries, as_json=as_json)
        return
    results = conformance.check(name, registries)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(r) for r in results], indent=1))
    else:
        conformance.print_results(name, results, Console())
    if any(r.outcome == conformance.FAILED for r in results):
        raise typer.Exit(EXIT_SOME_FAILED)


def _check_metric(name: str, registries: Registries, *, as_json: bool) -> None:
    from cerebench.benchmark.display import choose
    from cerebench.benchmark.ladder import of_metric
    from cerebench.benchmark.tables import console, print_ladder
    from cerebench.core.records.files import dump
    from cerebench.datasets.cache import default_cache
    from cerebench.reports.ladder import card

    shown = choose(Console(stderr=True), silent=as_json)
    found = of_metric(name, default_cache(), shown)
    laid = card(found)
    if as_json:
        typer.echo(json.dumps(dump(found), indent=1))
    else:
        print_ladder(laid, console())
    if not laid.judged or (laid.inverted and not registries.metrics.load(name).never_bold):
        raise typer.Exit(EXIT_SOME_FAILED)
