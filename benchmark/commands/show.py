"""``bench show``: one plugin whole."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import (
    Json,
    Plugin,
    open_registries,
)
from cerebench.benchmark.console import Console


def show(
    name: Annotated[str, typer.Argument(help="A method, metric, protocol, dataset, experiment …")],
    preset: Annotated[
        str | None,
        typer.Option(help="Show this preset whole, the others by what they differ in."),
    ] = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Show a plugin whole: settings with bounds and sources, parameters, recipe, departures.

    Of several presets the first is shown whole, the others by what they differ in from it.
    """
    from cerebench.benchmark import listing
    from cerebench.benchmark.engine.registry import suggest
    from cerebench.core.errors import UsageError

    found = listing.show(name, open_registries(plugin))
    presets = found.get("presets", {})
    if preset is not None and preset not in presets:
        known = suggest("preset", preset, presets) if presets else f"{name} has none; leave it out."
        raise UsageError(f"--preset: {known}")
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    from cerebench.benchmark.tables import print_object

    print_object(found, Console(), preset)
