"""What rows are called in every table and figure, and what the heads of columns mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cerebench.core.records.contents import MetricEntry
from cerebench.core.records.rows import RowEntry
from cerebench.reports.formatting import plain, units

REAL_DRAWS = "× real"  # heads a column of ratios to real draws of the same size


def row_labels(rows: Sequence[RowEntry]) -> list[str]:
    """Return one label a row, told apart by preset and position where labels repeat."""
    labels = [plain(row.label) for row in rows]
    presets = [
        f"{label} ({row.preset})" if labels.count(label) > 1 and row.preset else label
        for label, row in zip(labels, rows, strict=True)
    ]
    return [
        f"{label} #{presets[: i + 1].count(label)}" if presets.count(label) > 1 else label
        for i, label in enumerate(presets)
    ]


def legends(metrics: Sequence[MetricEntry]) -> Iterator[str]:
    """Yield what columns of these metrics mean where their heads do not tell."""
    for metric in metrics:
        if metric.legend and not metric.unavailable:
            yield f"{metric.label}: {metric.legend}."


def powers_of_ten(metrics: Sequence[MetricEntry]) -> str:
    """Say what powers of ten in heads of columns mean; empty where there is none."""
    heads = dict.fromkeys(unit(metric) for metric in metrics if not metric.unavailable)
    powers = [head for head in heads if head.startswith("(10")]
    return f"{', '.join(powers)} in a head: a number times this is the value." if powers else ""


def unit(metric: MetricEntry) -> str:
    """Return what the numbers of a metric's column are in units of; empty where that is 1."""
    if plain(metric.label).endswith("%"):  # which says it
        return ""
    return REAL_DRAWS if metric.as_ratio else units(metric.scale)
