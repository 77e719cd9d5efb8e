"""``bench doctor``: versions, devices, weights, disk and offline readiness."""

from __future__ import annotations

import json

import typer

from cerebench.benchmark.commands.options import Json
from cerebench.benchmark.console import Console


def doctor(as_json: Json = False) -> None:
    """Report versions, devices, weights, disk and offline readiness."""
    from cerebench.benchmark import doctor as examination

    found = examination.examine()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        examination.print_findings(found, Console())
