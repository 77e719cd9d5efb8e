"""Figure of importance maps: what a method looked at in held-out cases, beside the cases.

Every map keeps its values: one scale from 0 to 1 for all. Maps are drawn opaque, so that a colour
reads as the same value everywhere; the outline on top is that of the slice's foreground.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cerebench.core.records.rows import CellEntry, RowEntry
from cerebench.core.records.scored import DiagnosisRecord
from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment, ReportError
from cerebench.reports.figures.drawing import (
    COLUMN,
    LABELS,
    SMALL,
    WAY_UP,
    arrays,
    blank,
    canvas,
    frame,
    head,
    labels,
    radiological,
)
from cerebench.reports.values.tidy import stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CASES = 2
FILE = "maps.npz"
FOREGROUND = 0.02 * 255  # grey value above which a voxel is foreground, as in the metrics
LEAST = 0.4  # edge of a slice, inches
GAP, BETWEEN = 0.06, 0.02  # inches between two classes, between two rows
BAR = 0.5  # inches at the right for the colour bar
COLOURS = "viridis"
FACTS = (
    "Held-out cases chosen by seed: central axial slice, window [-1, 1], beside the map there.",
    f"Maps unscaled, of the first seed that has any; outline: foreground; {WAY_UP}.",
)


@dataclass(frozen=True)
class Maps:
    """Slices and maps of one class: uint8 and float32 in [0, 1], both (k, H, W)."""

    slices: NDArray[np.uint8]
    importance: NDArray[np.float32]


def draw(experiment: RecordedExperiment) -> Figure:
    """Draw two rows for each method with maps, one a case: slice and map side by side.

    The cases are the first two held-out ones that the run chose by seed; of several seeds the first
    that has maps is shown.

    Raises:
        NotDrawn: If no method has maps.
        ReportError: If maps cannot be read, lie outside the folder or leave [0, 1].
    """
    rows, lost = _rows(experiment), list(_lost(experiment))
    if not rows:
        raise NotDrawn(" ".join(["no method of this experiment has importance maps.", *lost]))
    classes = experiment.contents.dataset.classes
    gaps = GAP * (len(classes) - 1)
    edge = max(LEAST, (COLUMN - LABELS - BAR - gaps) / (2 * len(classes)))
    down = CASES * len(rows)
    figure, place = canvas(
        experiment,
        "Importance maps",
        FACTS,
        body=down * (edge + BETWEEN) - BETWEEN,
        right=BAR,
        below=0.05,
        foot=lost,
        width=LABELS + 2 * len(classes) * edge + gaps + BAR,
    )
    spaces = {"wspace": GAP / (2 * edge), "hspace": BETWEEN / edge}
    grid = figure.add_gridspec(down, len(classes), **spaces, **place)
    for r, (label, path) in enumerate(rows):
        maps = load(path)
        for case, c in np.ndindex(CASES, len(classes)):
            axes = figure.add_subplot(grid[CASES * r + case, c])
            frame(axes, "" if c else f"{label}, case {case + 1}")
            _panel(axes, maps.get(classes[c]), case)
            if not r and not case:
                head(axes, classes[c])
    left = place["right"] + 0.06 / figure.get_figwidth()
    bar = (left, place["bottom"], 0.08 / figure.get_figwidth(), place["top"] - place["bottom"])
    _bar(figure, bar)
    return figure


def load(path: Path) -> dict[str, Maps]:
    """Read ``maps.npz``.

    Returns:
        Class to its maps; empty if the file does not exist.

    Raises:
        ReportError: If the file holds no maps, or values outside [0, 1].
    """
    stored = arrays(path, "importance maps")
    names = [key.removesuffix("/axial") for key in stored if key.endswith("/axial")]
    try:
        maps_by_class = {n: Maps(stored[f"{n}/axial"], stored[f"{n}/importance"]) for n in names}
    except KeyError as error:
        raise ReportError(f"{path} cannot be read as importance maps: no {error}.") from error
    for name, maps in maps_by_class.items():
        _check(path, name, maps)
    return maps_by_class


def _check(path: Path, name: str, maps: Maps) -> None:
    slices, importance = maps.slices, maps.importance
    again = "Delete it and run the experiment again."
    if slices.ndim != 3 or slices.dtype != np.uint8 or importance.shape != slices.shape:
        raise ReportError(
            f"{path} holds {slices.dtype} slices of shape {slices.shape} and maps of shape "
            f"{importance.shape} for {name}; expected uint8 (k, H, W) and as many maps. {again}"
        )
    if importance.dtype != np.float32 or not ((importance >= 0) & (importance <= 1)).all():
        raise ReportError(
            f"{path} holds {importance.dtype} importance from {importance.min():g} to "
            f"{importance.max():g} for {name}; expected float32 in [0, 1]. {again}"
        )


def _rows(experiment: RecordedExperiment) -> list[tuple[str, Path]]:
    """Return label and file of the first seed with maps for each method that has any."""
    contents = experiment.contents.rows
    rows = []
    for label, row in zip(labels(experiment), contents, strict=True):
        cell = _first_cell(experiment, row)
        if cell is not None:
            path = experiment.path(f"{cell.diagnosis.rpartition('/')[0]}/{FILE}")
            rows.append((f"{label}\nseed {cell.seed}", path))
    return rows


def _lost(experiment: RecordedExperiment) -> Iterator[str]:
    """Say of each diagnosis that should be there why it is not."""
    contents = experiment.contents.rows
    for label, row in zip(labels(experiment), contents, strict=True):
        for cell in row.cells:
            if reason := stage(experiment, cell.diagnosis, DiagnosisRecord)[1]:
                yield f"Not shown: {label}, seed {cell.seed} ({reason})."


def _first_cell(experiment: RecordedExperiment, row: RowEntry) -> CellEntry | None:
    for cell in row.cells:
        record, _ = stage(experiment, cell.diagnosis, DiagnosisRecord)
        if record is not None and FILE in record.files:
            return cell
    return None


def _panel(axes: Axes, maps: Maps | None, case: int) -> None:
    if maps is None or case >= len(maps.slices):
        blank(axes, "no map" if maps is None else "no such case")
        return
    image, importance = radiological(maps.slices[case]), radiological(maps.importance[case])
    high, wide = image.shape
    left, right = (0, wide, high, 0), (wide, 2 * wide, high, 0)
    show = partial(axes.imshow, interpolation="nearest", aspect="equal")
    show(image, cmap="gray", vmin=0, vmax=255, extent=left)
    show(importance, cmap=COLOURS, vmin=0, vmax=1, extent=right)
    outline = image > FOREGROUND
    if outline.any() and not outline.all():
        x, y = wide + np.arange(wide) + 0.5, np.arange(high) + 0.5
        for colour, thickness in (("black", 1.2), ("white", 0.5)):  # seen on every colour
            axes.contour(x, y, outline, levels=[0.5], colors=colour, linewidths=thickness)
    axes.set_xlim(0, 2 * wide)
    axes.set_ylim(high, 0)


def _bar(figure: Figure, place: tuple[float, float, float, float]) -> None:
    """Draw the scale that all maps share."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), COLOURS), cax=figure.add_axes(place), ticks=[0, 0.5, 1]
    )
    bar.set_label("importance", fontsize=SMALL, labelpad=2)
    bar.ax.tick_params(labelsize=SMALL, length=2, width=0.4, pad=1.5)
    bar.outline.set_linewidth(0.4)


PLOT = Plot("importance-maps", "where a method looks", draw)
