"""``bench evaluate``: score folders of volumes against real ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cerebench.benchmark.commands.options import (
    AcceptRange,
    Device,
    Json,
    MaxCopies,
    Out,
    Plugin,
    SameAxes,
    SkipBad,
    TrustHeaders,
    open_registries,
    read_axes,
    read_names,
)
from cerebench.benchmark.commands.run import carry_out
from cerebench.benchmark.console import Console
from cerebench.core.errors import UsageError

MOST_VOXELS = 1024  # along an axis: more than any scan of a head has


def evaluate(
    real: Annotated[Path, typer.Option(help="Folder of real volumes, to compare with.")],
    fake: Annotated[
        list[str],
        typer.Option(
            "--fake", "--samples", help="[NAME=]DIR of generated volumes; repeat for several rows."
        ),
    ],
    train: Annotated[
        Path | None,
        typer.Option(help="What the generator was trained on; metrics for copies need it."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "--suite", help="Metrics and suites; default: core."),
    ] = None,
    value_range: Annotated[
        tuple[float, float], typer.Option("--range", help="Background and maximum value.")
    ] = (-1.0, 1.0),
    fake_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--fake-range", "--samples-range", help="The same of --fake, where it differs."
        ),
    ] = None,
    resample: Annotated[
        str | None, typer.Option(help="Resample all volumes to N^3 or to D,H,W voxels.")
    ] = None,
    skip_bad: SkipBad = False,
    accept_range: AcceptRange = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    paired: Annotated[
        bool, typer.Option("--paired", help="Equal file names are pairs (for ssim, psnr, mae).")
    ] = False,
    real_structures: Annotated[
        Path | None,
        typer.Option(help="Volumes of real structures: a CSV, or a folder of label files."),
    ] = None,
    structures: Annotated[
        list[str] | None,
        typer.Option(help="[NAME=]PATH of the same of --fake; repeat for several rows."),
    ] = None,
    floor_only: Annotated[
        bool, typer.Option("--floor-only", help="Do not score the control rows.")
    ] = False,
    max_copies: MaxCopies = None,
    out: Out = Path("runs"),
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Score folders of volumes against real ones, and print the table. Trains nothing.

    A folder holds plain files, one subfolder a class, or a BIDS derivative with participants.tsv.
    Files are NIfTI, or arrays: .npy or .npz of one volume (D, H, W) or of N, (N, D, H, W); such a
    file may stand in the place of a folder.
    """
    from cerebench.benchmark import display
    from cerebench.benchmark.device import pick_device
    from cerebench.benchmark.engine import gate
    from cerebench.benchmark.planning.evaluate import Request, make_plan, of_rows
    from cerebench.benchmark.planning.foreign import row_names

    rows, most = row_names(fake, "--fake"), gate.checked(max_copies)
    asked = read_names(metrics) or ["core"]
    if most is not None and train is None:
        raise UsageError(
            "--max-copies compares with what the generator was trained on: give that folder with "
            "--train."
        )
    request = Request(
        real=real,
        fakes=rows,
        train=train,
        metrics=asked if most is None else gate.with_copies(asked),
        value_range=value_range,
        fake_range=fake_range or value_range,
        shape=_shape(resample),
        skip_bad=skip_bad,
        accept_range=accept_range,
        axes=read_axes(same_axes, trust_headers),
        paired=paired,
        structures=of_rows(structures or [], rows),
        real_structures=real_structures,
        controls=not floor_only,
        out=out,
        explicit=metrics is not None,
    )
    began, registries = time.perf_counter(), open_registries(plugin)
    shown, chosen = display.choose(Console(stderr=True), silent=as_json), str(pick_device(device))
    plan = make_plan(request, registries, shown)
    carry_out(plan, registries, chosen, shown, as_json=as_json, began=began, max_copies=most)


def _shape(text: str | None) -> tuple[int, int, int] | None:
    """Read ``N`` or ``D,H,W``."""
    if text is None:
        return None
    words = text.split(",")
    plain = all(w.isascii() and w.isdigit() and len(w) <= 5 for w in words)
    whole = plain and all(4 <= int(w) <= MOST_VOXELS for w in words)
    if not whole or len(words) not in (1, 3):
        raise UsageError(
            f"--resample must be one or three whole numbers from 4 to {MOST_VOXELS}, got '{text}'. "
            "Example: --resample 64, or --resample 80,112,80."
        )
    depth, height, width = (int(w) for w in (words if len(words) == 3 else words * 3))
    return depth, height, width
