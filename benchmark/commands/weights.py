"""``bench weights``: list and import weight files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import (
    Json,
)
from cerebench.benchmark.console import Console

app = typer.Typer(help="List and import weight files.", no_args_is_help=True)


@app.command("list")
def weights_list(as_json: Json = False) -> None:
    """List the weight files that extractors and methods can use, and where they were found."""
    from cerebench.benchmark.tables import print_missing_weights, print_rows
    from cerebench.core import weights

    rows = weights.status()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        shown = [{k: v for k, v in row.items() if k not in ("url", "origin")} for row in rows]
        print_rows("weights", shown, Console())
        print_missing_weights(Console())


@app.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(help="A weight file, recognised by its content.")],
) -> None:
    """Verify a weight file and copy it to where it is found offline."""
    from cerebench.core import weights
    from cerebench.metrics.extractors.medicalnet import layout_of

    typer.echo(f"Imported {weights.import_file(file, layout_of)}.")
