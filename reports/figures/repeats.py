"""AUC and F1 of every repeat of the downstream protocols, with an interval over patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment
from cerebench.reports.figures.drawing import (
    CONTROL,
    EDGE,
    LINE,
    SMALL,
    TEXT,
    Style,
    canvas,
    labels,
    plot_axes,
    points,
    size_in_inches,
    styles,
    text_width,
    wrap,
)
from cerebench.reports.formatting import span
from cerebench.reports.statistics.classification import METRICS
from cerebench.reports.statistics.results import Result
from cerebench.reports.statistics.significance import StatisticsError, bootstrap_interval
from cerebench.reports.tables.table import explain
from cerebench.reports.values.downstream import SHUFFLED, read_protocols

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]
SHOWN = {"AUC": "auc", "F1": "f1"}
ROW, HEAD = 0.145, 0.19  # inches
WIDEST = 1.3  # inches that a label may take before it breaks
DRAWS = 2000  # of the patient bootstrap
WITHOUT = "Without generated volumes"


@dataclass(frozen=True)
class FigureRow:
    """A row of the figure: a protocol with the generator it judged, or one that needs none."""

    group: str
    label: str
    style: Style
    result: Result

    @property
    def lines(self) -> list[str]:
        """The label, broken where it is too long."""
        return wrap(self.label, WIDEST, SMALL)

    @property
    def height(self) -> float:
        """Inches that it takes."""
        return max(ROW, (len(self.lines) * LINE * SMALL + 1) / 72)


def rows(experiment: RecordedExperiment) -> list[FigureRow]:
    """Return a row for each result, grouped by protocol; those without samples share a group.

    Raises:
        ReportError: As ``downstream.read_protocols``.
    """
    contents = experiment.contents.rows
    looks = dict(zip((row.name for row in contents), styles(contents), strict=True))
    shown = dict(zip((row.name for row in contents), labels(experiment), strict=True))
    figure_rows = []
    for block in read_protocols(experiment):
        early = ", before fine-tuning" * (block.name == SHUFFLED)
        group = block.label + early if block.needs_samples else WITHOUT
        for result in block.results:
            look = looks.get(result.name, Style(CONTROL, "o"))
            figure_rows.append(FigureRow(group, shown.get(result.name, result.label), look, result))
    return figure_rows


def draw(experiment: RecordedExperiment) -> Figure:
    """Draw AUC and F1 side by side, a group of rows for each protocol.

    Raises:
        NotDrawn: If the experiment has no protocol, or none has a result.
        ReportError: If the path of a record leaves the folder.
    """
    figure_rows = rows(experiment)
    if not any(row.result.runs for row in figure_rows):
        raise NotDrawn(
            "no downstream protocol has a result."
            if figure_rows
            else "it has no downstream protocols."
        )
    places, depth = _places(figure_rows)
    left = EDGE + 0.2 + max(text_width(part, SMALL) for row in figure_rows for part in row.lines)
    drawn = {
        title: [_strip(row.result, metric) for row in figure_rows]
        for title, metric in SHOWN.items()
    }
    strips = [one for column in drawn.values() for one in column]
    reasons = [
        f"Missing: {row.group}, {row.label}: {lost(row.result)}."
        for row in figure_rows
        if row.result.missing
    ]
    reasons += [f"No bar: {one.reason}" for one in strips if one.reason]
    figure, place = canvas(
        experiment,
        "AUC and F1 of every repeat",
        _facts(figure_rows),
        body=depth,
        left=left,
        above=0.05,
        below=0.3,
        foot=list(dict.fromkeys(reasons)),
    )
    grid = figure.add_gridspec(1, len(SHOWN), wspace=0.18, **place)
    low = min(value for one in strips for value in (*one.values, *one.interval))
    for column, title in enumerate(SHOWN):
        axes = figure.add_subplot(grid[0, column])
        plot_axes(axes)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(depth, 0)
        axes.set_yticks([])
        axes.set_xlim(max(-0.02, math.floor(10 * low - 0.5) / 10), 1.02)
        axes.set_xlabel(f"{title} (dimensionless)", fontsize=SMALL)
        for row, one, y in zip(figure_rows, drawn[title], places, strict=True):
            _row(axes, one, y, row.style)
            if column == 0:
                side = {"ha": "right", "va": "center", "transform": axes.get_yaxis_transform()}
                label = "\n".join(row.lines)
                axes.text(-0.04, y, label, fontsize=SMALL, parse_math=False, **side)
        if title == "AUC":
            axes.axvline(0.5, color=CONTROL, linestyle=":", linewidth=0.7, zorder=0)
    _name_groups(figure.axes[0], figure_rows, places, left)
    return figure


@dataclass(frozen=True)
class Strip:
    """One metric of one row: a value each repeat, and the 95 % interval of their mean.

    Attributes:
        values: One a repeat; empty if there are no predictions.
        interval: Lower and upper end; empty if it cannot be made, for which ``reason`` is given.
    """

    values: tuple[float, ...] = ()
    interval: tuple[float, ...] = ()
    reason: str = ""

    @property
    def mean(self) -> float:
        """Mean over repeats; there must be some."""
        return fmean(self.values)


def strip(
    labels: Sequence[int], patients: Sequence[str], predictions: Sequence[ArrayLike], metric: str
) -> Strip:
    """Evaluate a metric on the predictions of every repeat.

    Args:
        labels: (cases,) 0 or 1.
        patients: (cases,).
        predictions: (repeats, cases) p(label 1), at least one repeat.
        metric: Name of one of ``classification.METRICS``.

    Returns:
        The values, and the 95 % interval over patients of their mean: each draw evaluates every
        repeat on the same patients.
    """
    of = METRICS[metric]

    def mean(labels: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None) -> Numbers:
        runs = np.asarray(scores)
        return np.mean([of(labels, run, weights=weights) for run in runs], axis=0)

    values = tuple(float(of(labels, each)) for each in predictions)
    try:
        interval = bootstrap_interval(labels, patients, np.asarray(predictions), mean, DRAWS)
    except StatisticsError as error:
        return Strip(values, reason=str(error))
    return Strip(values, interval)


def _strip(result: Result, metric: str) -> Strip:
    if not result.runs:
        return Strip()
    return strip(result.labels, result.patients, [run.scores for run in result.runs], metric)


def lost(result: Result) -> str:
    """Say why seeds of a row have no runs; empty if all have."""
    return explain(result.missing, result.asked).rstrip(".") if result.missing else ""


def _places(rows: Sequence[FigureRow]) -> tuple[list[float], float]:
    """Return the height of each row and of all, inches from the top; groups have headings."""
    places, depth, group = [], 0.0, None
    for row in rows:
        depth += HEAD * (row.group != group)
        group = row.group
        places.append(depth + row.height / 2)
        depth += row.height
    return places, depth + 0.03


def _name_groups(
    axes: Axes, rows: Sequence[FigureRow], places: Sequence[float], margin: float
) -> None:
    """Write the heading of each group over its first row, from the left edge of the figure."""
    width, _ = size_in_inches(axes)
    group = None
    for row, y in zip(rows, places, strict=True):
        if row.group != group:
            place = {"ha": "left", "va": "bottom", "transform": axes.get_yaxis_transform()}
            x = (EDGE - margin) / width
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # over the chance line
            text = axes.text(
                x, y - row.height / 2, row.group, fontsize=TEXT, parse_math=False, **place
            )
            text.set_bbox(paper)
        group = row.group


def _row(axes: Axes, one: Strip, y: float, style: Style) -> None:
    """Draw repeats as points, their mean as a stroke, and the interval over patients as a bar."""
    axes.axhline(y, color="0.92", linewidth=0.4, zorder=0)
    if not one.values:
        place = {"va": "center", "transform": axes.get_yaxis_transform(), "color": "0.4"}
        axes.text(0.02, y, "missing", fontsize=SMALL, **place)
        return
    if one.interval:
        bar = {"color": "0.75", "linewidth": 2.6, "solid_capstyle": "butt", "zorder": 1}
        axes.plot(one.interval, [y, y], gid="interval", **bar)
    ends = [y - 0.42 * ROW, y + 0.42 * ROW]
    axes.plot([one.mean] * 2, ends, color="black", linewidth=0.9, zorder=2, gid="mean")
    shifts = np.linspace(-0.25, 0.25, len(one.values)) if len(one.values) > 1 else [0.0]
    heights = [y + ROW * shift for shift in shifts]
    points(axes, one.values, heights, style, size=2.8, zorder=3, gid="repeats")


def _facts(rows: Sequence[FigureRow]) -> tuple[str, ...]:
    good = [row.result for row in rows if row.result.runs]
    cases = span(len(result.ids) for result in good)
    patients = span(len(set(result.patients)) for result in good)
    repeats = span(len(result.runs) for result in good)
    return (
        f"Points: {repeats} repeats a row, all seeds; stroke: their mean. Bar: 95 % interval of "
        f"the mean over patients (bootstrap, {DRAWS} draws). Test set: {cases} cases of {patients} "
        "patients. Dotted: chance.",
        "Repeats share one test set, so their spread leaves out which patients it holds.",
    )


PLOT = Plot("repeats", "AUC and F1 of every repeat", draw)
