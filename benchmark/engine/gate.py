"""The release gate: samples that hold too many copies of training cases end a run with an error.

It reads the recorded shares of the metric ``copies`` of every row of generated volumes. A share
that could not be computed does not pass: nobody knows then that there are no copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.core.errors import EXIT_GATE, UsageError, UserError
from cerebench.metrics.suites import expand

if TYPE_CHECKING:
    from cerebench.reports.values.tidy import Value

COPIES = "copies"


class GateFailed(UserError):
    """Rows of the table hold more copies of training cases than was allowed."""

    exit_code = EXIT_GATE


def checked(share: float | None) -> float | None:
    """Return what ``--max-copies`` gave.

    Raises:
        UsageError: If it is no share.
    """
    if share is not None and not (math.isfinite(share) and 0 <= share <= 1):
        raise UsageError(
            f"--max-copies must be a share of the generated volumes from 0 to 1, got {share:g}. "
            "Example: --max-copies 0.05."
        )
    return share


def with_copies(metrics: Sequence[str]) -> list[str]:
    """Return names of metrics and suites with the one that the gate reads."""
    return [*metrics, *([] if COPIES in expand(metrics) else [COPIES])]


def refuse_copies(contents: Path, share: float) -> None:
    """Refuse results in which a row, class and seed has a larger share of copies.

    Args:
        contents: Table of contents of the run.
        share: Largest share that passes, 0 to 1.

    Raises:
        GateFailed: Naming every such row with its share.
    """
    found = list(_judged(contents))
    if not found:
        raise GateFailed(
            f"The gate --max-copies {share:g} is not passed: there is no row of generated volumes "
            "to look for copies in. Give --methods or --samples, or leave the gate out."
        )
    copied = [_copied(value) for value in found if (value.value or 0) > share]
    lacking = [_lacking(value) for value in found if value.value is None]
    if copied or lacking:
        look = (
            "Look at the closest pairs with bench report --figure, then leave the copies out or "
            "train a generator that keeps fewer cases, and score it again."
        )
        told = "; ".join([*copied, *lacking])
        raise GateFailed(
            f"The gate --max-copies {share:g} is not passed: {told}. "
            + (look if copied else "What was not computed does not pass; mend that first.")
        )


def _judged(contents: Path) -> Iterator[Value]:
    """Yield the share of copies of every row of generated volumes, class and seed."""
    from cerebench.reports.base import RecordedExperiment
    from cerebench.reports.values.tidy import values

    for value in values(RecordedExperiment.read(contents)):
        if value.metric == COPIES and value.kind in ("method", "samples"):
            yield value


def _place(value: Value) -> str:
    seed = "" if value.seed is None or value.kind != "method" else f", seed {value.seed}"
    return f"{value.label} ({value.class_}{seed})"


def _lacking(value: Value) -> str:
    return f"{_place(value)} has no share of copies: {value.reason.rstrip('.')}"


def _copied(value: Value) -> str:
    facts = value.facts or {}
    parts = [
        f"{_percent(amount)} by {name}s"
        for name in ("voxel", "feature")
        if isinstance(amount := facts.get(name), int | float)
    ]
    of = f" ({', '.join(parts)})" if parts else ""
    return f"{_percent(value.value or 0)} of {_place(value)} are copies of training cases{of}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
