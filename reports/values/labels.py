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
    """Yield what columns of these metrics mean where their heads do not tell, and their factors."""
    shown = [metric for metric in metrics if not metric.unavailable]
    for metric in shown:
        if metric.legend:
            yield f"{metric.label}: {metric.legend}."
    factors: dict[str, list[str]] = {}
    for metric in shown:
        if scale := unit(metric).removeprefix(REAL_DRAWS):
            factors.setdefault(scale, []).append(metric.label)
    if factors:
        listed = "; ".join(f"{', '.join(labels)} {scale}" for scale, labels in factors.items())
        yield f"Printed value = recorded value × factor: {listed}."


def unit(metric: MetricEntry) -> str:
    """Return what the numbers of a metric's column are multiples of; empty where that is 1."""
    if plain(metric.label).endswith("%"):  # which says it
        return ""
    return REAL_DRAWS if metric.as_ratio else factor(metric.scale)
