"""What rows are called in every table and figure."""

from __future__ import annotations

from collections.abc import Sequence

from cerebench.core.records.rows import RowEntry
from cerebench.reports.formatting import plain


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
