"""``bench show``: one plugin whole."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from cerebench.benchmark.commands.options import (
    Json,
    Plugin,
    open_registries,
)


def show(
    name: Annotated[str, typer.Argument(help="A method, metric, protocol, dataset, experiment …")],
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Show a plugin whole: settings with bounds and sources, parameters, recipe, departures."""
    from cerebench.benchmark import listing

    found = listing.show(name, open_registries(plugin))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    from cerebench.benchmark.tables import print_object

    print_object(found, Console())
