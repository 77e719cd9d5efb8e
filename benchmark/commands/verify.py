"""``bench verify``: hash everything in a folder of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import Json
from cerebench.core.errors import EXIT_DATA

_NAMED = 5  # files of an older version, or leftovers, that are named


def verify(
    store: Annotated[
        Path, typer.Argument(help="Folder of results, or the folder of one data set in it.")
    ] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Hash every record and every file that a record vouches for; name what is damaged.

    A run trusts files whose size and times are as recorded until it reads
    them; this does not. The time stamp of what is damaged is set to now, by
    which the bench run that made it sees that it has to make it again.
    Nothing else is changed.

    Exit code 3 when something is damaged or missing.
    """
    from cerebench.benchmark.integrity import verify as integrity

    found = integrity.verify(store)
    if as_json:
        told = {"files": found.files, "bytes": found.size, "damaged": found.faults}
        told |= {"unsealed": found.unsealed, "leftovers": found.leftovers}
        typer.echo(json.dumps(told, indent=1))
    else:
        for fault in found.faults:
            typer.echo(fault)
        _tell("Of an older version, without a hash; bench run adds it", found.unsealed)
        _tell("Half written by killed runs; bench run removes it", found.leftovers)
        typer.echo(
            f"{found.files} files, {found.size / 1e6:.1f} MB hashed: "
            f"{len(found.faults) or 'nothing'} damaged."
        )
    if found.faults:
        raise typer.Exit(EXIT_DATA)


def _tell(what: str, names: list[str]) -> None:
    if names:
        more = f", … ({len(names)} in all)" * (len(names) > _NAMED)
        typer.echo(f"{what}: {', '.join(names[:_NAMED])}{more}")
