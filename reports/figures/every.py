"""All figures of an experiment as PDF and PNG, and a list of what each shows or why it is missing.

One function a figure: experiment to figure, or ``NotDrawn`` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.figures import (
    critical_difference,
    distributions,
    importance,
    neighbours,
    quality_cost,
    repeats,
    slices,
    synthetic_volumes,
)
from cerebench.reports.figures.drawing import NotDrawn, caption, save
from cerebench.reports.formatting import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ending of the file's name -> how it is drawn, in the order in which readers want them
FIGURES: dict[str, Callable[[RecordedExperiment], Figure]] = {
    "slices": slices.draw,
    "importance-maps": importance.draw,
    "distributions": distributions.draw,
    "neighbours": neighbours.draw,
    "repeats": repeats.draw,
    "quality-cost": quality_cost.draw,
    "auc-synthetic-volumes": synthetic_volumes.draw,
    "critical-difference": critical_difference.draw,
}


def write(
    experiment: RecordedExperiment, folder: Path, say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Write ``<name>-<figure>.pdf`` and ``.png``, and ``<name>-figures.md`` about them.

    A file of a figure that cannot be drawn any more is removed.

    Args:
        experiment: Table of contents with its folder.
        folder: Where to write.
        say: Called with one line for each figure that is not drawn.

    Returns:
        Every file written.

    Raises:
        ReportError: If a file that figures read is broken or lies outside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, lines = [], []
    for ending, draw in FIGURES.items():
        stem = f"{experiment.name}-{ending}"
        try:
            figure = draw(experiment)
        except NotDrawn as reason:
            for suffix in (".pdf", ".png"):
                (folder / (stem + suffix)).unlink(missing_ok=True)
            say(f"not drawn: {stem}: {reason}")
            lines.append(f"- `{stem}`: not drawn: {plain(reason)}")
            continue
        paths += save(figure, folder, stem)
        lines.append(f"- `{stem}`: {caption(figure)}")
    listing = folder / f"{experiment.name}-figures.md"
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*paths, listing]
