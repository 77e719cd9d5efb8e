"""Quality against training cost: one metric over the time that a method took to train.

The front joins the methods that no other one beats in both. Costs of different devices do not
compare, so each device has panels of its own.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from cerebench.core.records.contents import Contents, MetricEntry
from cerebench.core.records.rows import CONTROL_KIND, RowEntry
from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment
from cerebench.reports.figures.drawing import (
    SMALL,
    Style,
    canvas,
    generators,
    legend,
    legend_height,
    levels,
    levels_width,
    log_axis,
    plot_axes,
    points,
    styles,
)
from cerebench.reports.formatting import plain, span, units
from cerebench.reports.tables.table import explain
from cerebench.reports.values.marks import marked_labels, marks
from cerebench.reports.values.summary import summarise
from cerebench.reports.values.tidy import OK, Value, values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFERRED = "fd-radlite-v2"
COST = "train-seconds"
UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))
HIGH, BETWEEN = 1.5, 0.22  # inches: a panel, between two


@dataclass(frozen=True)
class Point:
    """A method at its cost, or a control (``cost`` 0, ``device`` empty).

    Attributes:
        row: Position in the rows of the table of contents.
        cost: Seconds to train all classes, mean over seeds.
        loss: What ranks methods, smallest best, unscaled.
        error: Of the value, as in tables; None if there is none.
        device: Where the cost was measured.
        marked: Whether the row has a mark, so that it is never the best.
    """

    row: int
    cost: float
    loss: float
    error: float | None
    device: str
    marked: bool = False


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one dominates, the cheapest first; no marked row.

    A point dominates another if neither its cost nor its loss is larger and one is smaller. What a
    marked row reached says how little it was trained, or how much it copied.
    """
    best, kept = math.inf, []
    for point in sorted((p for p in points if not p.marked), key=lambda p: (p.cost, p.loss)):
        equal = bool(kept) and (point.cost, point.loss) == (kept[-1].cost, kept[-1].loss)
        if point.loss < best or equal:
            kept.append(point)
            best = point.loss
    return kept


def ranking_metric(metrics: Sequence[MetricEntry], name: str) -> MetricEntry:
    """Return the declaration of a metric that can rank methods.

    Args:
        metrics: As in the table of contents.
        name: Name of one; empty: ``fd-radlite-v2``, or the first that can rank.

    Raises:
        NotDrawn: If there is none.
    """
    usable = {m.name: m for m in metrics if not m.unavailable and not m.never_bold}
    for wanted in [name] if name else [PREFERRED, *usable]:
        if wanted in usable:
            return usable[wanted]
    raise NotDrawn(f"no metric {name or 'at all'} of this experiment can rank methods.")


def draw(experiment: RecordedExperiment, metric: str = "") -> Figure:
    """Draw a panel for each class and device.

    Args:
        experiment: Table of contents with its folder.
        metric: Name of a metric; empty: as ``ranking_metric`` chooses.

    Raises:
        NotDrawn: If no metric can rank, or no method has both a value and a cost.
        ReportError: If the path of a record leaves the folder.
    """
    contents, all_values = experiment.contents, values(experiment)
    declared = ranking_metric(contents.metrics, metric)
    scored = [v for v in all_values if v.metric == declared.name and v.view == declared.views[0]]
    marked = marks(contents, all_values)
    everything = {
        class_: _points(
            contents.rows, [v for v in scored if v.class_ == class_], all_values, marked
        )
        for class_ in contents.dataset.classes
    }
    methods = [p for group in everything.values() for p in group if p.device]
    if not methods:
        raise NotDrawn(f"no method has both {plain(declared.label)} and a training time.")
    looks = styles(contents.rows)
    labels = marked_labels(contents, marked)
    shown = sorted({p.row for p in methods})
    devices, scale = sorted({p.device for p in methods}), _shown_scale(declared)
    controls = {
        class_: [
            (p.loss * scale, labels[p.row], looks[p.row].colour) for p in group if not p.device
        ]
        for class_, group in everything.items()
    }
    panels = [
        (class_, device)
        for class_, group in everything.items()
        for device in devices
        if any(p.device == device for p in group)
    ]
    figure, place = canvas(
        experiment,
        f"{_label(declared)} against training time",
        _facts(contents, declared, scored, devices),
        body=len(panels) * (HIGH + BETWEEN) - BETWEEN,
        left=0.55,
        right=levels_width([line for lines in controls.values() for line in lines]),
        below=0.38 + legend_height(len(shown)),
        foot=[
            *_empty_classes(everything, scored, len(contents.seeds)),
            *_missing(experiment, all_values, scored, shown, labels),
        ],
    )
    grid = figure.add_gridspec(len(panels), 1, hspace=BETWEEN / HIGH, **place)
    unit, seconds = _unit([p.cost for p in methods])
    for r, (class_, device) in enumerate(panels):
        axes = figure.add_subplot(grid[r, 0])
        group = [p for p in everything[class_] if p.device in ("", device)]
        where = f"{class_}, {device}" if len(devices) > 1 else class_
        axes.set_title(plain(where), fontsize=SMALL + 0.5, pad=2, parse_math=False)
        _panel(axes, group, looks, scale, seconds)
        levels(axes, controls[class_])
        log_axis(axes, "x", [p.cost / seconds for p in methods])
        axes.set_ylabel(_label(declared), fontsize=SMALL, parse_math=False)
        if r == len(panels) - 1:
            axes.set_xlabel(f"training time, {unit}", fontsize=SMALL)
        else:
            axes.set_xticklabels([])
    legend(figure, [(labels[i], looks[i]) for i in shown], place["bottom"], 0.38)
    return figure


def _points(
    rows: Sequence[RowEntry],
    scored: Sequence[Value],
    all_values: Sequence[Value],
    marked: Container[int],
) -> list[Point]:
    """Return the controls, and the methods that have both a value and a cost, of one class."""
    points = []
    for position, row in enumerate(rows):
        summary = summarise([v for v in scored if v.row == position])
        paid = [v for v in all_values if v.row == position and v.metric == COST]
        cost = _cost(paid)
        if summary is None or summary.loss is None:
            continue
        if row.kind == CONTROL_KIND:
            points.append(Point(position, 0.0, summary.loss, None, ""))
        elif cost:
            device = next(v.device for v in paid if v.device).partition(", ")[0]
            measures = (summary.loss, summary.error, device, position in marked)
            points.append(Point(position, cost, *measures))
    return points


def _cost(paid: Sequence[Value]) -> float | None:
    """Return the mean over the seeds whose every trained class has a cost; None without any."""
    seeds: dict[int | None, list[Value]] = {}
    for value in paid:
        seeds.setdefault(value.seed, []).append(value)
    whole = [parts for parts in seeds.values() if all(v.status == OK for v in parts)]
    return fmean(sum(v.value or 0 for v in parts) for parts in whole) if whole else None


def _unit(costs: Sequence[float]) -> tuple[str, float]:
    """Choose the unit of the axis of costs: its name, and how many seconds it has.

    That is the longest unit in which the largest cost is still a number of at least 2.
    """
    return next(((u, s) for u, s in UNITS if max(costs) >= 2 * s), UNITS[-1])


def _shown_scale(metric: MetricEntry) -> float:
    """Return the factor from a loss to the number on the axis."""
    return float(metric.scale) * (-1 if metric.better == "higher" else 1)


def _label(metric: MetricEntry) -> str:
    """Return the name of the plotted quantity; near-real metrics are distances to the real set."""
    parts = (plain(metric.label), metric.views[0], units(metric.scale))
    name = " ".join(part for part in parts if part)
    return f"|{name} − real|" if metric.better == "near-real" else name


def _facts(
    contents: Contents,
    metric: MetricEntry,
    scored: Sequence[Value],
    devices: Sequence[str],
) -> tuple[str, ...]:
    good = [v for v in scored if v.status == OK and v.kind == "method"]
    real = span(v.n_real for v in good if v.n_real is not None)
    generated = span(v.n_generated for v in good if v.n_generated is not None)
    seeds = len(contents.seeds)
    bars = "standard error over " + ("volumes and seeds" if seeds > 1 else "volumes, one seed")
    direction = "Higher" if metric.better == "higher" else "Lower"
    return (
        f"{direction} is better; n per class: {real} real, {generated} generated. Bars: {bars}. "
        "Dashed: Pareto front, no other method is both cheaper and better; none with a mark. "
        "Dotted: real volumes (black) and controls (grey).",
        f"Time to train all classes; device: {', '.join(map(plain, devices))}.",
    )


def _empty_classes(
    everything: Mapping[str, Sequence[Point]], scored: Sequence[Value], seeds: int
) -> list[str]:
    """Say of each class that has no panel why not."""
    lines = []
    for class_, group in everything.items():
        if not any(p.device for p in group):
            owed = [v for v in scored if v.class_ == class_ and v.kind == "method"]
            lacking = [v for v in owed if v.status != OK]
            lines.append(f"Not shown: class {plain(class_)} ({explain(lacking, seeds)}).")
    return lines


def _missing(
    experiment: RecordedExperiment,
    all_values: Sequence[Value],
    scored: Sequence[Value],
    shown: Sequence[int],
    labels: Sequence[str],
) -> list[str]:
    """Say of each row that has no point why not."""
    lines = []
    for position, row in generators(experiment):
        if position in shown:
            continue
        if row.kind == "samples":
            lines.append(f"Not shown: {labels[position]} (a folder of samples has no cost).")
            continue
        owed = [v for v in all_values if v.row == position and v.metric == COST]
        lacking = [v for v in (*owed, *scored) if v.row == position and v.status != OK]
        seeds = len(row.cells)
        lines.append(f"Not shown: {labels[position]} ({explain(lacking, seeds)}).")
    return lines


def _panel(
    axes: Axes,
    group: Sequence[Point],
    looks: Sequence[Style],
    scale: float,
    seconds: float,
) -> None:
    methods = [p for p in group if p.device]
    plot_axes(axes)
    ends = [(p.loss + sign * (p.error or 0)) * scale for p in group for sign in (-1, 0, 1)]
    if all(p.loss * scale > 0 for p in methods or group):
        log_axis(axes, "y", [end for end in ends if end > 0])
    for point in methods:
        x, y, error = point.cost / seconds, point.loss * scale, (point.error or 0) * abs(scale)
        axes.plot([x, x], [y - error, y + error], color="0.2", linewidth=0.5, zorder=2)
        points(axes, x, y, looks[point.row], zorder=3)
    edge = front(methods)
    steps = {"drawstyle": "steps-post", "linestyle": "--", "linewidth": 0.7, "color": "0.4"}
    x, y = [p.cost / seconds for p in edge], [p.loss * scale for p in edge]
    axes.plot(x, y, gid="front", zorder=1, **steps)


PLOT = Plot("quality-cost", "quality over training time", draw)
