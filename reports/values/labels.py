"""What rows are called in every table and figure, and what the heads of columns mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cerebench.core.records.contents import MetricEntry
from cerebench.core.records.rows import RowEntry
from cerebench.reports.formatting import factor, plain

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


def factors(metrics: Sequence[MetricEntry]) -> str:
    """Say which columns are multiples of what is recorded; empty where none is."""
    scaled: dict[str, list[str]] = {}
    for metric in metrics:
        if not metric.unavailable and (scale := unit(metric).removeprefix(REAL_DRAWS)):
            scaled.setdefault(scale, []).append(metric.label)
    listed = "; ".join(f"{', '.join(labels)} {scale}" for scale, labels in scaled.items())
    return f"Printed value = recorded value × factor: {listed}." if listed else ""


def unit(metric: MetricEntry) -> str:
    """Return what the numbers of a metric's column are multiples of; empty where that is 1."""
    if plain(metric.label).endswith("%"):  # which says it
        return ""
    return REAL_DRAWS if metric.as_ratio else factor(metric.scale)
