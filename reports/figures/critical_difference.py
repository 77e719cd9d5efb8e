"""Critical-difference diagram: mean ranks of methods over data sets, bars join those that tie.

Blocks must be independent: data sets count once, whatever their sizes, classes, views and seeds.
One table of contents has one data set, so the diagram looks at the newest one of the same name and
preset on every other data set of the store. Fingerprints tell data sets apart, so that two folders
of one layout are two; a name counts at one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from cerebench.core.records.contents import MetricEntry
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.reports.base import BadContents, NotDrawn, Plot, RecordedExperiment
from cerebench.reports.figures.drawing import (
    SMALL,
    Style,
    canvas,
    generators,
    labels,
    points,
    styles,
    text_width,
)
from cerebench.reports.figures.quality_cost import ranking_metric
from cerebench.reports.formatting import number, plain
from cerebench.reports.statistics import significance as statistics
from cerebench.reports.values.labels import row_labels
from cerebench.reports.values.marks import marks
from cerebench.reports.values.summary import summarise
from cerebench.reports.values.tidy import values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_METHODS = 3  # of a Friedman test
ALPHA = 0.05
STEP = 0.17  # inches between two names
Method = tuple[str, str]  # name, preset


def draw(experiment: RecordedExperiment, metric: str = "") -> Figure:
    """Draw the diagram of one metric over the data sets of a store.

    Args:
        experiment: Any of the tables of contents that are compared.
        metric: Name of a metric; empty: as ``ranking_metric`` chooses. Of several classes the
            mean counts.

    Raises:
        NotDrawn: If there are fewer than 5 data sets or 3 methods that all of them have, or
            Friedman's test finds no difference.
        ReportError: If the path of a record leaves the folder.
    """
    experiments, broken = peers(experiment)
    if len(experiments) < statistics.LEAST_BLOCKS:
        reason = (
            f"needs at least {statistics.LEAST_BLOCKS} independent data sets, this store has "
            f"{len(experiments)} with an experiment of this name and preset. {' '.join(broken)}"
        )
        raise NotDrawn(reason.rstrip())
    declared = ranking_metric(experiment.contents.metrics, metric)
    blocks = [losses(other, declared.name) for other in experiments]
    rows = experiment.contents.rows
    looks, names = styles(rows), row_labels(rows)
    shared = {
        (row.name, row.preset): (names[i], looks[i])
        for i, row in generators(experiment)
        if all((row.name, row.preset) in block for block in blocks)
    }
    if len(shared) < LEAST_METHODS:
        raise NotDrawn(
            f"needs at least {LEAST_METHODS} methods with a value on every data set, got "
            f"{len(shared)}."
        )
    test, ranks = statistics.friedman(
        [[-block[method] for method in shared] for block in blocks], unit="data sets"
    )
    if test.p >= ALPHA:
        raise NotDrawn(
            f"Friedman's test finds no difference between {len(shared)} methods over {test.n} "
            f"data sets (p = {number(test.p)})."
        )
    width = statistics.critical_difference(len(shared), test.n)
    marked = labels(experiment)
    lacking = [
        marked[i] for i, row in generators(experiment) if (row.name, row.preset) not in shared
    ]
    return _diagram(
        experiment,
        declared,
        list(shared.values()),
        ranks,
        width,
        test,
        _source(experiments),
        [*_left_out(lacking), *broken],
    )


def _left_out(lacking: Sequence[str]) -> list[str]:
    text = f"Left out, without a value on every data set or with a mark: {', '.join(lacking)}."
    return [text] if lacking else []


def _source(blocks: Sequence[RecordedExperiment]) -> str:
    """Name the data sets, and the preset and seeds that they share or not."""
    tables = [block.contents for block in blocks]
    data = ", ".join(
        f"{c.dataset.name} {c.dataset.size}³ ({c.dataset.fingerprint[:8]})" for c in tables
    )
    seeds = " or ".join(dict.fromkeys(", ".join(map(str, c.seeds)) for c in tables))
    versions = ", ".join(dict.fromkeys(c.suite_version for c in tables))
    return (
        f"Data sets (fingerprint): {data}; preset {tables[0].preset}; seeds {seeds}. "
        f"Cerebench {versions}."
    )


def peers(experiment: RecordedExperiment) -> tuple[list[RecordedExperiment], list[str]]:
    """Return the newest experiment of the same name and preset of each data set in the store.

    Data sets are told apart by fingerprint; those of one name count at one size.

    Returns:
        The experiments, and what is wrong with tables of contents that cannot be read.
    """
    contents, broken = experiment.contents, []
    same = [experiment]
    for path in sorted(experiment.folder.parent.glob("*/experiment-*.json")):
        try:
            other = RecordedExperiment.read(path)
        except BadContents as error:
            broken.append(str(error))
            continue
        theirs = other.contents
        if (theirs.name, theirs.preset) == (contents.name, contents.preset):
            same.append(other)
    # The newest first, but before all the one that was asked for.
    same[1:] = sorted(same[1:], key=lambda other: other.contents.utc, reverse=True)
    sizes: dict[str, int] = {}
    chosen: dict[str, RecordedExperiment] = {}
    for other in same:
        data = other.contents.dataset
        # Another size of the same files has another fingerprint, and is no other data set.
        if sizes.setdefault(data.name, data.size) == data.size:
            chosen.setdefault(data.fingerprint, other)
    return list(chosen.values()), broken


def losses(experiment: RecordedExperiment, metric: str) -> dict[Method, float]:
    """Return what ranks each method, smallest best: the mean over classes that all have a value.

    A row with a mark is left out, so that it is never the best.
    """
    everything = values(experiment)
    marked = marks(experiment.contents, everything)
    values_of_metric = [v for v in everything if v.metric == metric and v.kind != CONTROL_KIND]
    classes = experiment.contents.dataset.classes
    means: dict[Method, float] = {}
    for position, row in generators(experiment):
        own = [v for v in values_of_metric if v.row == position]
        summaries = [summarise([v for v in own if v.class_ == class_]) for class_ in classes]
        parts = [s.loss for s in summaries if s is not None and s.loss is not None]
        if len(parts) == len(classes) and position not in marked:
            means[row.name, row.preset] = fmean(parts)
    return means


def ties(ranks: Sequence[float], width: float) -> list[tuple[float, float]]:
    """Return the longest runs of ranks less than ``width`` apart, as (first, last).

    Example:
        >>> ties([1.0, 1.8, 2.4, 4.0], 1.0)
        [(1.0, 1.8), (1.8, 2.4)]
    """
    rising = sorted(ranks)
    spans = [(low, max(r for r in rising if r - low < width)) for low in rising]
    wide = [(low, high) for low, high in spans if high > low]
    return [s for i, s in enumerate(wide) if not any(s[1] <= w[1] for w in wide[:i])]


def _diagram(
    experiment: RecordedExperiment,
    metric: MetricEntry,
    methods: Sequence[tuple[str, Style]],
    ranks: Sequence[float],
    width: float,
    test: statistics.Test,
    source: str,
    foot: Sequence[str],
) -> Figure:
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    half = -(-len(order) // 2)
    texts = [f"{methods[i][0]} ({ranks[i]:.2f})" for i in range(len(ranks))]
    edges = [
        0.25 + max(text_width(texts[i], SMALL) for i in side)
        for side in (order[:half], order[half:])
    ]
    joined = ties(ranks, width)
    body = 0.35 + 0.08 * len(joined) + STEP * half
    figure, place = canvas(
        experiment,
        f"Mean ranks by {plain(metric.label)}",
        (
            f"Rank 1 is best, by the mean over classes. Blocks: {test.n} data sets, each once. "
            f"Friedman p = {number(test.p)}. Bars join methods whose mean ranks differ by less "
            f"than the critical difference CD = {width:.2f} (Nemenyi, 5 %).",
        ),
        body=body,
        left=edges[0],
        right=edges[1],
        foot=foot,
        source=source,
    )
    axes = figure.add_subplot(figure.add_gridspec(1, 1, **place)[0])
    axes.set_axis_off()
    axes.set_xlim(1, len(ranks))
    axes.set_ylim(-body, 0)
    line = partial(axes.plot, color="black", clip_on=False)
    thin = partial(line, linewidth=0.6)
    axis = -0.3
    thin([1, len(ranks)], [axis, axis])
    for rank in range(1, len(ranks) + 1):
        thin([rank, rank], [axis, axis + 0.04])
        axes.text(rank, axis + 0.05, str(rank), fontsize=SMALL, ha="center", va="bottom")
    line([1, 1 + width], [-0.03, -0.03], gid="CD", linewidth=1.5)
    axes.text(1 + width + 0.05, -0.03, "CD", fontsize=SMALL, va="center")
    for i, (low, high) in enumerate(joined):
        y = axis - 0.07 - 0.08 * i
        line([low - 0.03, high + 0.03], [y, y], gid="tie", linewidth=2)
    for place_, i in enumerate(order):
        style = methods[i][1]
        left = place_ < half
        down = place_ if left else len(order) - 1 - place_
        y = axis - 0.1 - 0.08 * len(joined) - STEP * down
        edge = 1 - 0.04 * len(ranks) if left else len(ranks) + 0.04 * len(ranks)
        thin([ranks[i], ranks[i], edge], [axis, y, y], zorder=1)
        points(axes, ranks[i], axis, style, clip_on=False, zorder=3)
        side = {"ha": "right" if left else "left", "va": "center", "parse_math": False}
        shift = -0.06 if left else 0.06
        axes.text(edge + shift, y, texts[i], fontsize=SMALL, **side)
    return figure


PLOT = Plot("critical-difference", "critical differences over data sets", draw)
