"""``bench sample``: more samples of a trained cell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import (
    Device,
    Plugin,
    check_device,
    open_registries,
)
from cerebench.benchmark.console import Console


def sample(
    cell: Annotated[Path, typer.Argument(help="Folder of a trained cell: runs/…/seed-0.")],
    n: Annotated[
        int, typer.Option("-n", "--n", min=1, max=100_000, help="Samples per class.")
    ] = 64,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Extend the samples of a trained cell; those already there stay as they are."""
    from cerebench.benchmark.display import choose
    from cerebench.benchmark.engine.cells import extend_samples

    check_device(device)
    extend_samples(cell, n, device, open_registries(plugin), choose(Console()))
