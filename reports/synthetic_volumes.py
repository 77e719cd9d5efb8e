"""AUC against the number of generated volumes that a classifier was pretrained on.

A run has one number a protocol, so the figure also takes what other runs left in the same store:
records of the same generator, protocol, settings, test cases and fine-tuning cases that differ in
``synthetic_per_class`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cerebench.reports.base import Experiment
from cerebench.reports.classification import auc
from cerebench.reports.drawing import (
    CONTROL,
    SMALL,
    NotDrawn,
    canvas,
    legend,
    legend_height,
    levels,
    levels_width,
    line,
    plot_axes,
    points,
    styles,
)
from cerebench.reports.formatting import plain, span
from cerebench.reports.repeats import DRAWS, WITHOUT, Judged, judged, of_records, strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBER = "synthetic_per_class"
HIGH, BETWEEN = 1.7, 0.35  # inches: a panel, between two
Curve = dict[int, Judged]  # generated volumes per class to predictions of all seeds


def draw(experiment: Experiment) -> Figure:
    """Draw a panel for each protocol of which some generator has at least two numbers.

    Raises:
        NotDrawn: If there is none.
        ReportError: If a record cannot be read or lies outside the folder.
    """
    panels = curves(experiment)
    if not panels:
        raise NotDrawn(
            "it needs one protocol run with at least two numbers of generated volumes; run again "
            "with --set exp2.synthetic_per_class=N, the store keeps both."
        )
    without = [row for row in judged(experiment) if row.group == WITHOUT and row.predictions.size]
    lines = [(strip(row, auc).mean, row.label, CONTROL) for row in without]
    everything = [c for group in panels.values() for curve in group for c in curve.values()]
    shown = {row.label: row.style for row in everything}
    figure, place = canvas(
        experiment,
        "AUC against the number of generated volumes",
        _facts(everything),
        body=len(panels) * (HIGH + BETWEEN) - BETWEEN,
        left=0.45,
        right=levels_width(lines),
        below=0.38 + legend_height(len(shown)),
        foot=[
            f"Not shown: {row.group}, {row.label} ({row.reason or 'one number only'})."
            for row in judged(experiment)
            if row.group in panels and row.label not in shown
        ],
    )
    grid = figure.add_gridspec(len(panels), 1, hspace=BETWEEN / HIGH, **place)
    for number, (title, group) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[number, 0])
        plot_axes(axes)
        axes.set_title(title, fontsize=SMALL + 0.5, pad=2, parse_math=False)
        axes.set_ylabel("AUC (dimensionless)", fontsize=SMALL)
        axes.set_xlabel("generated volumes per class", fontsize=SMALL)
        _panel(axes, group, [height for height, _, _ in lines])
        levels(axes, lines)
    legend(figure, list(shown.items()), place["bottom"], 0.38)
    return figure


def curves(experiment: Experiment) -> dict[str, list[Curve]]:
    """Return, for each protocol with a curve, the generators with at least two numbers.

    Raises:
        ReportError: If a record cannot be read or lies outside the folder.
    """
    rows = experiment.contents["rows"]
    looks = {row["name"]: look for row, look in zip(rows, styles(rows), strict=True)}
    found: dict[str, list[Curve]] = {}
    for protocol in experiment.contents.get("downstream", ()):
        if NUMBER not in protocol["config"] or protocol["role"] != "experiment":
            continue
        title = plain(protocol["label"])
        for row in protocol["rows"]:
            numbers: dict[int, list[Mapping[str, Any]]] = {}
            for cell in row["cells"]:
                for record in alike(experiment, cell["record"]):
                    numbers.setdefault(_number(record), []).append(record)
            if len(numbers) > 1:
                label, look = plain(row["label"]), looks[row["name"]]
                curve = {n: of_records(title, label, look, numbers[n]) for n in sorted(numbers)}
                found.setdefault(title, []).append(curve)
    return found


def alike(experiment: Experiment, relative: str) -> list[dict[str, Any]]:
    """Return a record and those of its folder that differ from it in the number of volumes alone.

    Several of one number and seed are one result made twice, of which the first is taken.
    """
    own = experiment.record(relative)
    if own is None:
        return []
    folder, _, stem = relative.rpartition("/")
    found = {_number(own): own}
    for path in sorted(experiment.path(folder).glob(f"{stem.partition('@')[0]}@*.json")):
        if not path.name.endswith(".failure.json"):
            record = experiment.record(f"{folder}/{path.name}")
            if record is not None and _fixed(record) == _fixed(own):
                found.setdefault(_number(record), record)
    return list(found.values())


def _fixed(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return everything that a curve must not vary."""
    settings = {name: value for name, value in record["config"].items() if name != NUMBER}
    fixed = ("protocol", "version", "classes", "test", "finetune_sha256")
    return (settings, *(record[name] for name in fixed))


def _number(record: Mapping[str, Any]) -> int:
    """Return how many generated volumes of a class the first stage saw."""
    return max(record["repeats"][0]["n_synthetic"]["pretrain"].values())


def _panel(axes: Axes, group: list[Curve], heights: list[float]) -> None:
    """Draw mean and interval of each number, joined by lines, and every repeat."""
    from matplotlib.ticker import FixedLocator, NullLocator

    numbers = sorted({n for curve in group for n in curve})
    axes.set_xscale("log")
    axes.set_xlim(numbers[0] / 1.25, numbers[-1] * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    low, high = min(heights, default=1.0), max(heights, default=0.0)
    for place, curve in enumerate(group):
        shift = 1 + 0.025 * (place - (len(group) - 1) / 2)
        strips = {n: strip(row, auc) for n, row in curve.items()}
        x, means = [n * shift for n in strips], [one.mean for one in strips.values()]
        look = next(iter(curve.values())).style
        line(axes.plot, x, means, look, zorder=2)
        for at, one in zip(x, strips.values(), strict=True):
            axes.plot([at] * len(one.interval), one.interval, color="0.7", linewidth=0.8, zorder=1)
            low, high = min(low, *one.interval, one.mean), max(high, *one.interval, one.mean)
        points(axes, x, means, look, zorder=3)
    axes.set_ylim(low - 0.02, min(high + 0.02, 1.01))


def _facts(rows: list[Judged]) -> tuple[str, ...]:
    cases = span(len(row.labels) for row in rows)
    repeats = span(len(row.predictions) for row in rows)
    return (
        f"Mean of {repeats} repeats; grey: 95 % interval of the mean over patients (bootstrap, "
        f"{DRAWS} draws), {cases} test cases. Points are moved sideways apart. Dotted: protocols "
        "without generated volumes. One generator's records differ in nothing but the number.",
    )
