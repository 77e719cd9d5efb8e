"""AUC against the number of generated volumes that a classifier was pretrained on.

A run has one number a protocol, so the figure also takes what other runs left in the same store:
records of the same generator, protocol, settings, test cases and fine-tuning cases that differ in
``synthetic_per_class`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cerebench.core.records.classified import DownstreamRecord
from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment
from cerebench.reports.figures.drawing import (
    CONTROL,
    SMALL,
    Style,
    canvas,
    labels,
    legend,
    legend_height,
    levels,
    levels_width,
    line,
    plot_axes,
    points,
    styles,
)
from cerebench.reports.figures.repeats import DRAWS, WITHOUT, Strip, lost, rows, strip
from cerebench.reports.formatting import plain, span
from cerebench.reports.values.downstream import fault

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBER = "synthetic_per_class"
HIGH, BETWEEN = 1.7, 0.35  # inches: a panel, between two


@dataclass(frozen=True)
class Curve:
    """AUC of one generator by generated volumes per class, rising; ``cases`` is the test set."""

    label: str
    style: Style
    points: dict[int, Strip]
    cases: int


def draw(experiment: RecordedExperiment) -> Figure:
    """Draw a panel for each protocol of which some generator has at least two numbers.

    Raises:
        NotDrawn: If there is none.
        ReportError: If the path of a record leaves the folder.
    """
    panels, broken = curves(experiment), _broken(experiment)
    if not panels:
        needed = (
            "it needs one protocol run with at least two numbers of generated volumes; run again "
            "with --set exp2.synthetic_per_class=N, the store keeps both."
        )
        raise NotDrawn(" ".join([needed, *broken]))
    curves_by_class = rows(experiment)
    without = [row for row in curves_by_class if row.group == WITHOUT and row.result.runs]
    lines = [(fmean(row.result.values("auc")), row.label, CONTROL) for row in without]
    shown = {curve.label: curve.style for group in panels.values() for curve in group}
    figure, place = canvas(
        experiment,
        "AUC against the number of generated volumes",
        _facts([curve for group in panels.values() for curve in group]),
        body=len(panels) * (HIGH + BETWEEN) - BETWEEN,
        left=0.45,
        right=levels_width(lines),
        below=0.38 + legend_height(len(shown)),
        foot=[
            f"Not shown: {row.group}, {row.label} ({lost(row.result) or 'one number only'})."
            for row in curves_by_class
            if row.group in panels and row.label not in shown
        ]
        + broken,
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


def curves(experiment: RecordedExperiment) -> dict[str, list[Curve]]:
    """Return, for each protocol with a curve, the generators with at least two numbers.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    contents = experiment.contents.rows
    looks = dict(zip((row.name for row in contents), styles(contents), strict=True))
    shown = dict(zip((row.name for row in contents), labels(experiment), strict=True))
    groups: dict[str, list[Curve]] = {}
    for protocol in experiment.contents.downstream:
        if NUMBER not in protocol.config or protocol.role != "experiment":
            continue
        for row in protocol.rows:
            numbers: dict[int, list[DownstreamRecord]] = {}
            for cell in row.cells:
                for number, record in alike(experiment, cell.record).items():
                    numbers.setdefault(number, []).append(record)
            if len(numbers) > 1:
                cases = len(next(iter(numbers.values()))[0].test.ids)
                strips = {n: _strip(numbers[n]) for n in sorted(numbers)}
                curve = Curve(shown[row.name], looks[row.name], strips, cases)
                groups.setdefault(plain(protocol.label), []).append(curve)
    return groups


def _strip(records: Sequence[DownstreamRecord]) -> Strip:
    """Evaluate the repeats of several seeds, which have one test set."""
    test = records[0].test
    predictions = [repeat.predictions for record in records for repeat in record.repeats]
    return strip(test.labels, test.patients, predictions, "auc")


def alike(experiment: RecordedExperiment, relative: str) -> dict[int, DownstreamRecord]:
    """Return a record and those of its folder that differ from it in the number of volumes alone.

    Several of one number and seed are one result made twice, of which the first is taken.
    """
    records: dict[int, DownstreamRecord] = {}
    own, _ = experiment.record(relative, DownstreamRecord)
    for place in [relative, *_beside(experiment, relative)] if own else ():
        record, _ = experiment.record(place, DownstreamRecord)
        number = _number(record) if record and not fault(record) else 0
        if own and record and number and _fixed(record) == _fixed(own):
            records.setdefault(number, record)
    return records


def _beside(experiment: RecordedExperiment, relative: str) -> list[str]:
    """Return the records of one protocol in a folder, whatever their keys."""
    folder, _, stem = relative.rpartition("/")
    paths = sorted(experiment.path(folder).glob(f"{stem.partition('@')[0]}@*.json"))
    return [f"{folder}/{p.name}" for p in paths if not p.name.endswith(".failure.json")]


def _broken(experiment: RecordedExperiment) -> list[str]:
    """Say which records, of this run or others, are not looked at because they do not fit."""
    records = (
        place
        for protocol in experiment.contents.downstream
        if NUMBER in protocol.config and protocol.role == "experiment"
        for row in protocol.rows
        for cell in row.cells
        for place in _beside(experiment, cell.record)
    )
    reasons = (experiment.record(place, DownstreamRecord)[1] for place in records)
    return list(dict.fromkeys(f"Left out: {reason}." for reason in reasons if reason))


def _fixed(record: DownstreamRecord) -> tuple[Any, ...]:
    """Return everything that a curve must not vary."""
    settings = {name: value for name, value in record.config.items() if name != NUMBER}
    test = (record.classes, record.test, record.finetune_sha256)
    return (settings, record.protocol, record.version, *test)


def _number(record: DownstreamRecord) -> int:
    """Return how many generated volumes of a class the first stage saw; 0 without such a stage."""
    return max(record.repeats[0].n_synthetic.get("pretrain", {}).values(), default=0)


def _panel(axes: Axes, group: Sequence[Curve], heights: Sequence[float]) -> None:
    """Draw mean and interval of each number, joined by lines, and every repeat."""
    from matplotlib.ticker import FixedLocator, NullLocator

    numbers = sorted({n for curve in group for n in curve.points})
    axes.set_xscale("log")
    axes.set_xlim(numbers[0] / 1.25, numbers[-1] * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    low, high = min(heights, default=1.0), max(heights, default=0.0)
    for place, curve in enumerate(group):
        shift = 1 + 0.025 * (place - (len(group) - 1) / 2)
        x, strips, look = [n * shift for n in curve.points], curve.points.values(), curve.style
        means = [one.mean for one in strips]
        line(axes.plot, x, means, look, zorder=2)
        for at, one in zip(x, strips, strict=True):
            axes.plot([at] * len(one.interval), one.interval, color="0.7", linewidth=0.8, zorder=1)
            low, high = min(low, *one.interval, one.mean), max(high, *one.interval, one.mean)
        points(axes, x, means, look, zorder=3)
    axes.set_ylim(low - 0.02, min(high + 0.02, 1.01))


def _facts(curves: Sequence[Curve]) -> tuple[str, ...]:
    cases = span(curve.cases for curve in curves)
    repeats = span(len(one.values) for curve in curves for one in curve.points.values())
    return (
        f"Mean of {repeats} repeats; grey: 95 % interval of the mean over patients (bootstrap, "
        f"{DRAWS} draws), {cases} test cases. Points are moved sideways apart. Dotted: protocols "
        "without generated volumes. One generator's records differ in nothing but the number.",
    )


PLOT = Plot("auc-synthetic-volumes", "AUC over the number of generated volumes", draw)
