"""Qualitative figure: three consecutive central axial slices a row and class, real cases first.

One window, [-1, 1] in grey, for every panel; the volume shown is the first of those that the run
chose by seed. Slices are turned to the radiological view: front up, the patient's right on the
left.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cerebench.reports.base import Plot, RecordedExperiment, ReportError
from cerebench.reports.figures.drawing import (
    COLUMN,
    LABELS,
    WAY_UP,
    arrays,
    blank,
    canvas,
    files,
    frame,
    generators,
    head,
    labels,
    lack,
    radiological,
    real_row,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLICES = 3
LEAST = 0.4  # edge of a slice, inches
GAP, BETWEEN = 0.06, 0.015  # inches between two classes, between two rows
FACTS = (
    "Three consecutive slices around the centre of one volume a class, the first of those chosen "
    "by seed, of the first training seed that has samples.",
    f"Window [-1, 1] for all; {WAY_UP}.",
)


def draw(experiment: RecordedExperiment) -> Figure:
    """Draw a row for real cases and for each method, classes side by side.

    Raises:
        ReportError: If a preview cannot be read or lies outside the folder.
    """
    classes = experiment.contents.dataset.classes
    rows = [(label, load(path) if path else {}, why) for label, path, why in previews(experiment)]
    gaps = GAP * (len(classes) - 1)
    edge = max(LEAST, (COLUMN - LABELS - 0.05 - gaps) / (SLICES * len(classes)))
    across = edge * SLICES * len(classes) + gaps
    figure, place = canvas(
        experiment,
        "Central axial slices",
        FACTS,
        body=len(rows) * (edge + BETWEEN) - BETWEEN,
        right=0.05,
        below=0.0,
        width=LABELS + across + 0.05,
    )
    spaces = {"wspace": GAP / (SLICES * edge), "hspace": BETWEEN / edge}
    grid = figure.add_gridspec(len(rows), len(classes), **spaces, **place)
    for r, (label, preview, reason) in enumerate(rows):
        for c, class_ in enumerate(classes):
            axes = figure.add_subplot(grid[r, c])
            frame(axes, "" if c else label)
            _panel(axes, preview.get(class_), reason)
            if r == 0:
                head(axes, class_)
    return figure


def load(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read ``preview.npz``: the slices (3, H, W) of the first volume of each class.

    Returns:
        Class to slices; empty if the file does not exist.

    Raises:
        ReportError: If the file is not a preview.
    """
    images = {
        key.removesuffix("/axial"): stored[0]
        for key, stored in arrays(path, "a preview").items()
        if key.endswith("/axial") and len(stored)
    }
    for name, slices in images.items():
        if slices.ndim != 3 or len(slices) != SLICES or slices.dtype != np.uint8:
            raise ReportError(
                f"{path} holds {slices.dtype} slices of shape {slices.shape} for {name}; "
                f"expected uint8 ({SLICES}, H, W). Delete it and run the experiment again."
            )
    return images


def previews(experiment: RecordedExperiment) -> list[tuple[str, Path | None, str]]:
    """Return rows from top to bottom: label, ``preview.npz``, and the reason where it lacks one.

    Real cases come first; of several seeds the first that has samples is shown.
    """
    names = labels(experiment)
    rows = [("real", real_row(experiment))]
    rows += [(names[position], row) for position, row in generators(experiment)]
    lines = []
    for label, row in rows:
        paths = files(experiment, row, "preview")
        reason = lack(experiment, row, "preview")
        lines.append((label, paths[0] if paths else None, reason))
    return lines


def _panel(axes: Axes, slices: NDArray[np.uint8] | None, reason: str) -> None:
    if slices is None:
        blank(axes, reason)
        return
    strip = np.concatenate([radiological(image) for image in slices], axis=1)
    axes.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal")
    for slice_ in range(1, SLICES):
        axes.axvline(slice_ * slices.shape[2] - 0.5, color="white", linewidth=0.4)


PLOT = Plot("slices", "central slices of real and generated volumes", draw)
