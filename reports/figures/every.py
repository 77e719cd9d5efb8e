"""All figures of an experiment as PDF and PNG, and a list of what each shows or why it is missing.

One function a figure: experiment to figure, or ``NotDrawn`` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.core.files import write_bytes
from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment, Renderer, ReportError
from cerebench.reports.figures import (
    critical_difference,
    distributions,
    importance,
    neighbours,
    quality_cost,
    repeats,
    slices,
    synthetic_volumes,
    views,
)
from cerebench.reports.figures.drawing import bare, parts, save
from cerebench.reports.formatting import plain
from cerebench.reports.latex import figure_float

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODULES = (
    slices,
    views,
    importance,
    distributions,
    neighbours,
    repeats,
    quality_cost,
    synthetic_volumes,
    critical_difference,
)
FIGURES = {module.PLOT.name: module.PLOT for module in MODULES}  # in the order readers want them


def write(
    experiment: RecordedExperiment,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    further: Sequence[Plot] = (),
    *,
    headings: bool = False,
) -> list[Path]:
    """Write ``<name>-<figure>.pdf`` and ``.png``, and two files about them.

    ``<name>-figures.md`` lists what each shows or why it is missing, ``<name>-figures.tex`` holds a
    float with a caption for each that is drawn, which ``main.tex`` includes.

    A file of a figure that cannot be drawn any more is removed.

    Args:
        experiment: Table of contents with its folder.
        folder: Where to write.
        say: Called with one line for each figure that is not drawn.
        further: Figures of other packages, drawn after the suite's own.
        headings: Whether the files show what their captions say, too.

    Returns:
        Every file written.

    Raises:
        ReportError: If a figure of another package fails; all others are written first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    lines: list[str] = []
    floats = ["% Needs graphicx."]
    faults: list[str] = []
    for plot in (*FIGURES.values(), *further):
        stem = f"{experiment.name}-{plot.name}"
        try:
            figure = _drawn(plot, experiment, faults)
        except NotDrawn as reason:
            for suffix in (".pdf", ".png"):
                (folder / (stem + suffix)).unlink(missing_ok=True)
            say(f"not drawn: {stem}: {reason}")
            lines.append(f"- `{stem}`: not drawn: {plain(reason)}")
            continue
        told = parts(figure)
        low, high = (0.0, figure.get_figheight()) if headings else bare(figure)
        paths += save(figure, folder, stem, (low, high))
        lines.append(f"- `{stem}`: {' '.join(told)}")
        title, text = (told or [plain(plot.label)])[0], " ".join(told[1:])
        floats.append(figure_float(stem, title, text, (figure.get_figwidth(), high - low)))
    texts = {"tex": "\n\n".join(floats), "md": "\n".join(lines)}
    for ending, text in texts.items():
        listing = folder / f"{experiment.name}-figures.{ending}"
        write_bytes(listing, (text + "\n").encode())
        paths.append(listing)
    if faults:
        raise ReportError("; ".join(faults))
    return paths


def _drawn(plot: Plot, experiment: RecordedExperiment, faults: list[str]) -> Figure:
    """Draw a figure; what one of another package raises becomes a fault, and no figure.

    A damaged file costs the figures that are drawn from it.
    """
    try:
        return plot.draw(experiment)
    except NotDrawn:
        raise
    except ReportError as error:
        raise NotDrawn(str(error)) from error
    except Exception as error:  # foreign code
        if plot in FIGURES.values():
            raise
        faults.append(f"figure {plot.name}: {type(error).__name__}: {error}")
        raise NotDrawn(f"it fails with {type(error).__name__}: {error}") from error


FIGURE = Renderer("figure", "figures (PDF and PNG) and a list of them", write)
