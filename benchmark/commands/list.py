"""``bench list``: what is installed."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import (
    Json,
    Plugin,
    open_registries,
)
from cerebench.core.errors import UsageError


def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="methods, metrics, suites, datasets, protocols, extractors, reports, experiments."
        ),
    ] = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """List what is installed, and why something cannot be used."""
    from cerebench.benchmark import listing
    from cerebench.benchmark.engine.registry import suggest

    if kind is not None and kind not in listing.KINDS:
        raise UsageError(suggest("kind of plugin", kind, list(listing.KINDS)))
    registries = open_registries(plugin)
    found = {k: listing.rows(k, registries) for k in ([kind] if kind else listing.KINDS)}
    if as_json:
        typer.echo(json.dumps(found[kind] if kind else found, indent=1))
        return
    from cerebench.benchmark.tables import console, print_missing_weights, print_rows

    for title, rows in found.items():
        print_rows(title, rows, console())
    if kind in (None, "metrics", "extractors", "protocols"):
        print_missing_weights(console())
