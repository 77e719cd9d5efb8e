"""Figures; the qualitative one shows three consecutive axial slices a row and class, real first.

One window, [-1, 1] in grey, for every panel; the volume shown is the first of those that the run
chose by seed. Slices are turned to the radiological view: front up, the patient's right on the
left.
"""

from __future__ import annotations

import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cerebench.reports import importance
from cerebench.reports.base import Experiment, ReportError
from cerebench.reports.drawing import WAY_UP, blank, frame, heading, radiological, save
from cerebench.reports.formatting import plain
from cerebench.reports.tidy import FAILED, values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLICES = 3
PANEL = 0.85  # edge of a slice, inches
MARGIN, TOP, BOTTOM = 1.5, 0.75, 0.1  # inches around the panels


def write(experiment: Experiment, folder: Path) -> list[Path]:
    """Write ``<name>-slices`` and, where a method has maps, ``<name>-importance-maps``.

    Returns:
        The PDF and the PNG of each.

    Raises:
        ReportError: If a preview or map cannot be read or lies outside the folder.
    """
    paths = save(draw(experiment), folder, f"{experiment.name}-slices")
    maps = importance.draw(experiment)
    if maps is not None:
        paths += save(maps, folder, f"{experiment.name}-importance-maps")
    return paths


def draw(experiment: Experiment) -> Figure:
    """Draw the figure: a row for real cases and for each method, classes side by side."""
    from matplotlib.figure import Figure

    classes = experiment.contents["dataset"]["classes"]
    rows = _rows(experiment)
    across, down = SLICES * len(classes) * PANEL, len(rows) * PANEL
    width, height = MARGIN + across + 0.1, TOP + down + BOTTOM
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        len(rows),
        len(classes),
        left=MARGIN / width,
        right=1 - 0.1 / width,
        top=1 - TOP / height,
        bottom=BOTTOM / height,
        wspace=0.03,
        hspace=0.03,
    )
    for r, (label, path, reason) in enumerate(rows):
        preview = load(experiment.path(path)) if path else {}
        for c, name in enumerate(classes):
            axes = figure.add_subplot(grid[r, c])
            frame(axes, "" if c else textwrap.fill(label, 22))
            _panel(axes, preview.get(name), reason)
            if r == 0:
                axes.set_title(plain(name), fontsize=8, pad=3, parse_math=False)
    shown = f"{plain(experiment.contents['title'])}: central axial slices, chosen by seed"
    under = f"window [-1, 1] for all; {WAY_UP}"
    heading(figure, (shown, under, plain(experiment.contents["banner"] or "")))
    return figure


def load(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read ``preview.npz``: the slices (3, H, W) of the first volume of each class.

    Returns:
        Class to slices; empty if the file does not exist.

    Raises:
        ReportError: If the file is not a preview.
    """
    if not path.is_file():
        return {}
    found = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for key in stored.files:
                name, _, kind = key.rpartition("/")
                if kind == "axial" and len(stored[key]):
                    found[name] = stored[key][0]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ReportError(f"{path} cannot be read as a preview: {error}.") from error
    for name, slices in found.items():
        if slices.ndim != 3 or len(slices) != SLICES or slices.dtype != np.uint8:
            raise ReportError(
                f"{path} holds {slices.dtype} slices of shape {slices.shape} for {name}; "
                f"expected uint8 ({SLICES}, H, W). Delete it and run the experiment again."
            )
    return found


def _rows(experiment: Experiment) -> list[tuple[str, str, str]]:
    """Return (label, path of the preview, reason if it is missing) from top to bottom."""
    reasons = {v.row: v.reason for v in reversed(values(experiment)) if v.status == FAILED}
    found = []
    for number, row in enumerate(experiment.contents["rows"]):
        label, reason = plain(row["label"]), reasons.get(number, "no preview")
        if row["kind"] != "anchor":
            found.append((label, _first_preview(experiment, row), reason))
    real = next((r["preview"] for r in experiment.contents["rows"] if r["kind"] == "anchor"), "")
    return [("real", real, "no preview"), *found]


def _first_preview(experiment: Experiment, row: Mapping[str, Any]) -> str:
    """Return the path of the preview of the first seed that has one, else an empty string."""
    paths = [cell["preview"] for cell in row["cells"]]
    return next((path for path in paths if experiment.path(path).is_file()), "")


def _panel(axes: Axes, slices: NDArray[np.uint8] | None, reason: str) -> None:
    if slices is None:
        blank(axes, reason, 56)
        return
    strip = np.concatenate([radiological(image) for image in slices], axis=1)
    axes.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal")
