"""Intensities and volumes of the foreground: each set of generated volumes over the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment, ReportError
from cerebench.reports.figures.drawing import (
    LABELS,
    SMALL,
    Style,
    arrays,
    blank,
    canvas,
    files,
    generators,
    head,
    labels,
    lack,
    line,
    name,
    plot_axes,
    real_row,
    styles,
)
from cerebench.reports.formatting import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]
BINS = 20  # of volumes; as many wide as 64 volumes can fill
WIDEST = 2  # end of the axis of volumes, in largest real ones; noise would fill a whole volume
HIGH = 0.42  # of a panel, inches
FACTS = (
    "Line: generated, pooled over seeds; grey: real training cases. Intensity: mean over volumes "
    "of each volume's density, window [-1, 1].",
    f"Volume: histogram with {BINS} bins that all rows share, up to {WIDEST} times the largest "
    "real volume if any is larger, which then counts in the last bin. Every curve has area 1.",
)


@dataclass(frozen=True)
class Spread:
    """Intensities and volumes of the foreground of one class of one set.

    Attributes:
        intensity: (B,) density, area 1; zeros if no volume has foreground.
        edges: (B + 1,) of its bins, in [-1, 1].
        volume_ml: (N,) foreground of each volume, ml.
    """

    intensity: Numbers
    edges: Numbers
    volume_ml: Numbers


def draw(experiment: RecordedExperiment) -> Figure:
    """Draw a row for each method; columns are intensity and volume of each class.

    Raises:
        NotDrawn: If the real set or every other has no distributions.
        ReportError: If a file cannot be read or lies outside the folder.
    """
    from matplotlib.ticker import MaxNLocator

    contents = experiment.contents
    real = pool(files(experiment, real_row(experiment), "distributions"))
    rows = [
        (position, row, pool(files(experiment, row, "distributions")))
        for position, row in generators(experiment)
    ]
    if not real or not any(spreads for _, _, spreads in rows):
        raise NotDrawn(
            f"no distributions of {'generated' if real else 'real'} volumes; stores of older "
            "versions lack them, bench run adds them."
        )
    classes, looks = contents.dataset.classes, styles(contents.rows)
    names = labels(experiment)
    figure, place = canvas(
        experiment,
        "Intensity and volume of the foreground, real and generated",
        (_counted(real, [spreads for _, _, spreads in rows]), *FACTS),
        body=len(rows) * HIGH,
        left=LABELS,
        above=0.3,
        below=0.32,
    )
    columns = [(class_, kind) for class_ in classes for kind in ("intensity", "volume")]
    grid = figure.add_gridspec(len(rows), len(columns), wspace=0.16, hspace=0.12, **place)
    bins = {class_: volume_bins(class_, real, [s for _, _, s in rows]) for class_ in classes}
    for r, (position, row, spreads) in enumerate(rows):
        for c, (class_, kind) in enumerate(columns):
            axes = figure.add_subplot(grid[r, c])
            plot_axes(axes)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.set_xlim(*((-1, 1) if kind == "intensity" else bins[class_][[0, -1]]))
            if kind == "volume":  # the last tick would run into the next panel's first
                axes.xaxis.set_major_locator(MaxNLocator(nbins=3, prune="upper"))
            if not c:
                name(axes, names[position])
            if r == 0:
                head(axes, f"{class_}\n{kind}")
            if r < len(rows) - 1:
                axes.set_xticklabels([])
            else:
                axes.set_xlabel("in [-1, 1]" if kind == "intensity" else "ml", fontsize=SMALL)
            if class_ in spreads:
                _curves(
                    axes, kind, bins[class_], real.get(class_), spreads[class_], looks[position]
                )
            else:
                blank(axes, lack(experiment, row, "distributions"))
    return figure


def pool(paths: Sequence[Path]) -> dict[str, Spread]:
    """Read ``distributions.npz`` of several seeds and pool their volumes by class.

    Raises:
        ReportError: If a file holds no distributions, or seeds have different bins.
    """
    spreads: dict[str, Spread] = {}
    for path in paths:
        stored = arrays(path, "distributions")
        for class_ in (key.removesuffix("/edges") for key in stored if key.endswith("/edges")):
            one = _spread(path, class_, stored)
            other = spreads.get(class_)
            if other is not None:
                if not np.array_equal(one.edges, other.edges):
                    raise ReportError(
                        f"{path} has other bins than the seeds before it. Delete it and run the "
                        "experiment again."
                    )
                volumes = np.concatenate([other.volume_ml, one.volume_ml])
                one = Spread(one.intensity + other.intensity, one.edges, volumes)
            spreads[class_] = one
    return {class_: _normalised(spread) for class_, spread in spreads.items()}


def _spread(path: Path, class_: str, stored: Mapping[str, Any]) -> Spread:
    intensity, volumes = (stored.get(f"{class_}/{key}") for key in ("intensity", "volume_ml"))
    edges = stored[f"{class_}/edges"]
    if (
        intensity is None
        or volumes is None
        or intensity.shape != (len(edges) - 1,)
        or volumes.ndim != 1
    ):
        raise ReportError(
            f"{path} holds no intensities of {len(edges) - 1} bins with volumes for {class_}. "
            "Delete it and run the experiment again."
        )
    return Spread(intensity, edges, volumes)


def _normalised(spread: Spread) -> Spread:
    area = float((spread.intensity * np.diff(spread.edges)).sum())
    density = spread.intensity / area if area > 0 else spread.intensity
    return Spread(density, spread.edges, spread.volume_ml)


def volume_bins(
    class_: str, real: Mapping[str, Spread], rows: Sequence[Mapping[str, Spread]]
) -> Numbers:
    """Return the edges of bins of one class from 0, ml, up to the largest volume or WIDEST."""
    largest = max(s[class_].volume_ml.max(initial=0) for s in (real, *rows) if class_ in s)
    end = WIDEST * real[class_].volume_ml.max(initial=0) if class_ in real else 0
    return np.linspace(0, min(largest, end or largest) or 1, BINS + 1)


def _curves(
    axes: Axes, kind: str, bins: Numbers, real: Spread | None, generated: Spread, style: Style
) -> None:
    for spread, look in ((real, {"fill": True, "color": "0.82"}), (generated, {})):
        if spread is None:
            continue
        if kind == "intensity":
            heights, edges = spread.intensity, spread.edges
        else:
            heights, edges = _density(spread.volume_ml, bins), bins
        if look:
            axes.stairs(heights, edges, **look)
        else:
            line(axes.stairs, heights, edges, style)
    axes.set_ylim(bottom=0)


def _density(volumes: Numbers, bins: Numbers) -> Numbers:
    counts = np.histogram(np.minimum(volumes, bins[-1]), bins)[0]
    return counts / max(1, counts.sum()) / np.diff(bins)


def _counted(real: Mapping[str, Spread], rows: Sequence[Mapping[str, Spread]]) -> str:
    n = {
        class_: (len(s.volume_ml), span(len(r[class_].volume_ml) for r in rows if class_ in r))
        for class_, s in real.items()
    }
    counts = ", ".join(f"{class_} {a} real and {b} generated" for class_, (a, b) in n.items())
    return f"n of volumes: {counts}."


PLOT = Plot("distributions", "intensities and volumes", draw)
