"""What all figures share: the way up of a slice, the lines on top, empty panels, the files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Scalar = TypeVar("Scalar", bound=np.generic)
WAY_UP = "front up, patient's right on the left"


def radiological(image: NDArray[Scalar]) -> NDArray[Scalar]:
    """Turn an axial slice (H, W) of a RAS+ volume so that row 0 is the front and column 0 right."""
    return image[::-1, ::-1]


def heading(figure: Figure, lines: Sequence[str]) -> None:
    """Write lines at the top of a figure; the first is the largest."""
    height = figure.get_figheight()
    for number, text in enumerate(lines):
        place = {"x": 0.5, "y": 1 - (0.04 + 0.15 * number) / height, "ha": "center", "va": "top"}
        figure.text(s=text, fontsize=7 if number else 8, parse_math=False, **place)


def frame(axes: Axes, label: str = "") -> None:
    """Remove the ticks of a panel; a label stands to its left."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_linewidth(0.4)
    if label:
        place = {"rotation": 0, "ha": "right", "va": "center"}
        axes.set_ylabel(label, fontsize=8, parse_math=False, **place)


def blank(axes: Axes, reason: str, width: int) -> None:
    """Fill a panel with the reason why it shows nothing, in lines of ``width`` characters."""
    axes.set_facecolor("0.95")
    text = textwrap.fill(textwrap.shorten(reason, 220), width)
    place = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, text, fontsize=6, color="0.3", parse_math=False, **place)


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write ``<stem>.pdf`` and ``<stem>.png`` (300 dpi)."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.{ending}" for ending in ("pdf", "png")]
    # Type 42 keeps text as text; without a date the same records give the same file.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(paths[0], metadata={"CreationDate": None})
        figure.savefig(paths[1], dpi=300)
    return paths
