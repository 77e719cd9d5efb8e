"""Qualitative figure: the centre slices of one volume a row and class in its three views.

The volume is the one that ``slices`` shows. Slices are turned to the radiological view: the
patient's right on the left, and in the sagittal view the front on the left.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment, ReportError
from cerebench.reports.figures.drawing import (
    COLUMN,
    LABELS,
    arrays,
    blank,
    canvas,
    frame,
    head,
    radiological,
)
from cerebench.reports.figures.slices import BETWEEN, GAP, LEAST, previews

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# View to the axes of its slice, rows and columns, of (D, H, W).
VIEWS = {"axial": (1, 2), "coronal": (0, 2), "sagittal": (0, 1)}
FACTS = (
    "Centre slices of one volume a class, the first of those chosen by seed, of the first training "
    "seed that has samples.",
    "Window [-1, 1] for all; axial: front up; coronal and sagittal: head up; the patient's right "
    "on the left, in the sagittal view the front.",
)
Slices = dict[tuple[str, str], NDArray[np.uint8]]


def draw(experiment: RecordedExperiment) -> Figure:
    """Draw a row for real cases and for each method, three views of each class side by side.

    Raises:
        NotDrawn: If only axial slices were kept.
        ReportError: If a preview cannot be read or lies outside the folder.
    """
    data = experiment.contents.dataset
    rows = [(label, load(path) if path else {}, why) for label, path, why in previews(experiment)]
    if not any(view != "axial" for _, slices, _ in rows for _, view in slices):
        raise NotDrawn(
            "no coronal and sagittal slices, which older versions did not keep; delete the "
            "preview.npz of its rows and run bench run again, which makes them from the samples."
        )
    columns = [(class_, view) for class_ in data.classes for view in VIEWS]
    gaps = GAP * (len(columns) - 1)
    edge = max(LEAST, (COLUMN - LABELS - 0.05 - gaps) / len(columns))
    figure, place = canvas(
        experiment,
        "Centre slices in three views",
        FACTS,
        body=len(rows) * (edge + BETWEEN) - BETWEEN,
        above=0.3,
        right=0.05,
        below=0.0,
        width=LABELS + edge * len(columns) + gaps + 0.05,
    )
    spaces = {"wspace": GAP / edge, "hspace": BETWEEN / edge}
    grid = figure.add_gridspec(len(rows), len(columns), **spaces, **place)
    for r, (label, slices, reason) in enumerate(rows):
        for c, (class_, view) in enumerate(columns):
            axes = figure.add_subplot(grid[r, c])
            frame(axes, "" if c else label)
            image = slices.get((class_, view))
            if image is None:
                blank(axes, f"no {view} slice" if slices else reason)
            else:
                high, wide = (data.spacing[axis] for axis in VIEWS[view])
                look = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"}
                axes.imshow(radiological(image), aspect=high / wide, **look)
                axes.set_facecolor("black")
                axes.set_adjustable("datalim")
            if r == 0:
                head(axes, f"{class_}\n{view}")
    return figure


def load(path: Path) -> Slices:
    """Read ``preview.npz``: the centre slice of the first volume by class and view.

    Raises:
        ReportError: If the file is not a preview.
    """
    slices: Slices = {}
    for key, stored in arrays(path, "a preview").items():
        class_, _, view = key.rpartition("/")
        if view not in VIEWS or not len(stored):
            continue
        image = stored[0][1:2] if view == "axial" else stored[0][None]
        if image.ndim != 3 or image.dtype != np.uint8 or not len(image):
            raise ReportError(
                f"{path} holds {stored.dtype} {view} slices of shape {stored.shape} for {class_}; "
                "expected uint8. Delete it and run the experiment again."
            )
        slices[class_, view] = image[0]
    return slices


PLOT = Plot("views", "centre slices in three views", draw)
