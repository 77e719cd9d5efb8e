"""AUC and F1 of every repeat of the downstream protocols, with an interval over patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cerebench.reports import classification
from cerebench.reports.base import Experiment
from cerebench.reports.drawing import (
    CONTROL,
    EDGE,
    SMALL,
    TEXT,
    NotDrawn,
    Style,
    canvas,
    plot_axes,
    points,
    styles,
    text_width,
)
from cerebench.reports.formatting import first_line, plain, span
from cerebench.reports.statistics import StatisticsError, bootstrap_interval
from cerebench.reports.tidy import stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]
METRICS = {"AUC": classification.auc, "F1": classification.f1}
ROW, HEAD = 0.145, 0.19  # inches
DRAWS = 2000  # of the patient bootstrap
WITHOUT = "Without generated volumes"
SHUFFLED = "shuffled-label"  # judged before fine-tuning, where its answer is known: no relation


@dataclass(frozen=True)
class Judged:
    """A row of a protocol: what its classifiers predicted, or why there is nothing.

    Attributes:
        group: Label of the protocol; protocols that need no samples share one group.
        label: Of the row.
        style: Of the row.
        predictions: (repeats, cases) p(positive); (0, 0) if missing.
        labels: (cases,) 0 or 1.
        patients: (cases,).
        reason: Why predictions are missing, of one seed at least, or empty.
    """

    group: str
    label: str
    style: Style
    predictions: Numbers
    labels: tuple[int, ...]
    patients: tuple[str, ...]
    reason: str


def judged(experiment: Experiment) -> list[Judged]:
    """Read the records of all protocols, in the order of the table of contents.

    Raises:
        ReportError: If a record cannot be read or lies outside the folder.
    """
    rows = experiment.contents["rows"]
    looks = {row["name"]: look for row, look in zip(rows, styles(rows), strict=True)}
    found = []
    for protocol in experiment.contents.get("downstream", ()):
        for row in protocol["rows"]:
            style = looks.get(row["name"], Style(CONTROL, "o"))
            found.append(_judged(experiment, protocol, row, style))
    return found


def _judged(
    experiment: Experiment, protocol: Mapping[str, Any], row: Mapping[str, Any], style: Style
) -> Judged:
    records, reasons = [], []
    for cell in row["cells"]:
        record, reason = stage(experiment, cell["record"])
        if record:
            records.append(record)
        else:
            reasons.append(first_line(protocol["unavailable"] or reason or "not run"))
    early = protocol["name"] == SHUFFLED
    group = protocol["label"] if protocol["needs_samples"] else WITHOUT
    group = plain(group) + ", before fine-tuning" * early
    key = "before_finetuning" if early else "predictions"
    return of_records(group, plain(row["label"]), style, records, key, next(iter(reasons), ""))


def of_records(
    group: str,
    label: str,
    style: Style,
    records: Sequence[Mapping[str, Any]],
    key: str = "predictions",
    reason: str = "",
) -> Judged:
    """Pool the repeats of several seeds, whose records have one test set."""
    test = records[0]["test"] if records else {"labels": (), "patients": ()}
    predictions = [repeat[key] for record in records for repeat in record["repeats"]]
    table = np.array(predictions, np.float64).reshape(len(predictions), len(test["labels"]))
    labels, patients = tuple(test["labels"]), tuple(test["patients"])
    return Judged(group, label, style, table, labels, patients, reason)


def draw(experiment: Experiment) -> Figure:
    """Draw AUC and F1 side by side, a group of rows for each protocol.

    Raises:
        NotDrawn: If the experiment has no protocol, or none has a result.
        ReportError: If a record cannot be read or lies outside the folder.
    """
    found = judged(experiment)
    if not any(row.predictions.size for row in found):
        raise NotDrawn(
            "no downstream protocol has a result." if found else "it has no downstream protocols."
        )
    places, depth = _places(found)
    left = EDGE + 0.1 + max(text_width(row.label, SMALL) for row in found)
    drawn = {title: [strip(row, metric) for row in found] for title, metric in METRICS.items()}
    strips = [one for column in drawn.values() for one in column]
    reasons = [f"Missing: {r.group}, {r.label}: {r.reason.rstrip('.')}." for r in found if r.reason]
    reasons += [f"No bar: {one.reason}" for one in strips if one.reason]
    figure, place = canvas(
        experiment,
        "AUC and F1 of every repeat",
        _facts(found),
        body=depth,
        left=left,
        above=0.05,
        below=0.3,
        foot=list(dict.fromkeys(reasons)),
    )
    grid = figure.add_gridspec(1, len(METRICS), wspace=0.12, **place)
    low = min(value for one in strips for value in (*one.values, *one.interval))
    for column, title in enumerate(METRICS):
        axes = figure.add_subplot(grid[0, column])
        plot_axes(axes)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(depth, 0)
        axes.set_yticks([])
        axes.set_xlim(math.floor(10 * low - 0.5) / 10, 1.02)
        axes.set_xlabel(f"{title} (dimensionless)", fontsize=SMALL)
        for row, one, y in zip(found, drawn[title], places, strict=True):
            _row(axes, one, y, row.style)
            if column == 0:
                side = {"ha": "right", "va": "center", "transform": axes.get_yaxis_transform()}
                axes.text(-0.04, y, row.label, fontsize=SMALL, parse_math=False, **side)
        if title == "AUC":
            axes.axvline(0.5, color=CONTROL, linestyle=":", linewidth=0.7, zorder=0)
    _name_groups(figure.axes[0], found, places, left)
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


def strip(row: Judged, metric: classification.Statistic) -> Strip:
    """Evaluate a metric on the predictions of a row."""
    if not row.predictions.size:
        return Strip()

    def mean(labels: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None) -> Numbers:
        return np.mean([metric(labels, each, weights=weights) for each in scores], axis=0)

    values = tuple(float(metric(row.labels, each)) for each in row.predictions)
    try:
        interval = bootstrap_interval(row.labels, row.patients, row.predictions, mean, DRAWS)
    except StatisticsError as error:
        return Strip(values, reason=str(error))
    return Strip(values, interval)


def _places(found: Sequence[Judged]) -> tuple[list[float], float]:
    """Return the height of each row and of all, inches from the top; groups have headings."""
    places, depth, group = [], 0.0, None
    for row in found:
        depth += HEAD * (row.group != group)
        group = row.group
        places.append(depth + ROW / 2)
        depth += ROW
    return places, depth + 0.03


def _name_groups(
    axes: Axes, found: Sequence[Judged], places: Sequence[float], margin: float
) -> None:
    """Write the heading of each group over its first row, from the left edge of the figure."""
    width = axes.get_position().width * axes.figure.get_figwidth()
    group = None
    for row, y in zip(found, places, strict=True):
        if row.group != group:
            place = {"ha": "left", "va": "bottom", "transform": axes.get_yaxis_transform()}
            x = (EDGE - margin) / width
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # over the chance line
            text = axes.text(x, y - ROW / 2, row.group, fontsize=TEXT, parse_math=False, **place)
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


def _facts(found: Sequence[Judged]) -> tuple[str, ...]:
    good = [row for row in found if row.predictions.size]
    cases = span(len(row.labels) for row in good)
    patients = span(len(set(row.patients)) for row in good)
    repeats = span(len(row.predictions) for row in good)
    return (
        f"Points: {repeats} repeats a row, all seeds; stroke: their mean. Bar: 95 % interval of "
        f"the mean over patients (bootstrap, {DRAWS} draws). Test set: {cases} cases of {patients} "
        "patients. Dotted: chance.",
        "Repeats share one test set, so their spread leaves out which patients it holds.",
    )
