"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cerebench.benchmark.console import Console
from cerebench.core.errors import UsageError
from cerebench.core.texts import readable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cerebench.benchmark.engine.registry import Registries
    from cerebench.datasets.folders.folder import Axes


Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        help="Python file with a method, dataset, metric, extractor, renderer or figure: "
        "FILE[:NAME]; no other file is loaded.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Option of the dataset, NAME=VALUE; repeat it. Of scans: modalities=t1,flair; "
        "recipe=roi or brain; crop, percentile, wide; layout; labels; subset=brats2019.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(help="A published split: CSV with case_id,patient_id,role,fold; FILE[:FOLD]."),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out cases and files that cannot be used: named on the screen, counted in every "
        "table.",
    ),
]
SameAxes = Annotated[
    bool,
    typer.Option(
        "--same-axes",
        help="Where headers of a case differ, that of its first image holds for all its files; "
        "generated volumes lie as the real ones do, whatever their headers say.",
    ),
]
TrustHeaders = Annotated[
    bool,
    typer.Option(
        "--trust-headers",
        help="Where headers differ, of a case or of real and generated volumes, each file is "
        "turned by its own.",
    ),
]
AcceptRange = Annotated[
    bool,
    typer.Option(
        "--accept-range",
        help="Score volumes whose values look like another range as they are; the table says so.",
    ),
]
Root = Annotated[Path | None, typer.Argument(help="Folder of the files, or a manifest.")]
Dataset = Annotated[str, typer.Option(help="Dataset name; scans recognises every layout.")]
Size = Annotated[int, typer.Option(help="Edge length of the volumes, voxels.")]
MaxCopies = Annotated[
    float | None,
    typer.Option(
        "--max-copies",
        help="Release gate: exit code 7 where a larger share of a row's volumes are copies of "
        "training cases (metric copies, computed with it), 0 to 1.",
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder of results.")]


def complain(text: str) -> None:
    """Print an error to standard error, as ``bench: …``."""
    line = f"[bold red]bench:[/] {escape(readable(text))}"
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)


def in_home(argument: str) -> str:
    """Return an argument with the home folder for a ``~`` that the shell has left.

    It expands none behind an ``=``, as in ``--samples mine=~/samples`` and ``--out=~/runs``.
    """
    home = os.path.expanduser("~")
    start = f"{home}{argument[1:]}" if argument.startswith("~/") else argument
    return start.replace("=~/", f"={home}/")


def open_registries(plugins: list[str] | None) -> Registries:
    """Return the registries, with the plugin files that were given; no other file is loaded."""
    from cerebench.benchmark.engine.registry import Registries

    registries = Registries()
    for target in plugins or []:
        registries.add_plugin(target)
    return registries


def read_names(text: str | None) -> list[str] | None:
    """Read ``a,b``: the names; None where nothing was given."""
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def read_numbers(text: str | None) -> list[int] | None:
    """Read ``0,1,2``.

    Raises:
        UsageError: If a word is no whole number.
    """
    if text is None:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--seeds must be whole numbers, got '{text}'. Example: --seeds 0,1,2."
        ) from error


def read_data_options(texts: list[str] | None) -> dict[str, Any] | None:
    """Read the ``--data NAME=VALUE`` texts; None where there are none."""
    from cerebench.benchmark.planning.source import parse_options

    return parse_options(texts) if texts else None


def read_axes(same_axes: bool, trust_headers: bool) -> Axes:
    """Return what is done where headers differ."""
    if same_axes and trust_headers:
        raise UsageError(
            "--same-axes and --trust-headers exclude each other: the header of the first image "
            "holds, or each file's own. Give one of them."
        )
    if same_axes:
        return "same"
    return "trust" if trust_headers else "compare"


def read_headers(same_axes: bool, trust_headers: bool) -> dict[str, str]:
    """Return the option of scans that says whose header holds; none by default."""
    return {
        "same": {"headers": "image"},
        "trust": {"headers": "own"},
        "compare": {},
    }[read_axes(same_axes, trust_headers)]


def refuse_ignored(needed: str, given: Mapping[str, bool]) -> None:
    """Refuse options that would change nothing.

    Args:
        needed: What they would need, as the message calls it.
        given: Whether each was given, by option.

    Raises:
        UsageError: If any was.
    """
    ignored = [option for option, here in given.items() if here]
    if ignored:
        verb = "changes" if len(ignored) == 1 else "change"
        raise UsageError(
            f"{' and '.join(ignored)} {verb} nothing without {needed}. Give that too, or leave "
            f"{'it' if len(ignored) == 1 else 'them'} out."
        )


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before anything is read or written."""
    if device in ("auto", "cpu"):
        return
    from cerebench.benchmark.device import pick_device

    pick_device(device)
