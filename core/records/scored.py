"""Records of what is made from samples: scores, figures, diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cerebench.core.records.base import (
    OLDER,
    Amount,
    Class,
    Count,
    Facts,
    Part,
    Record,
    Settings,
    Sha256,
)
from cerebench.core.records.trained import Files


@dataclass(frozen=True, kw_only=True)
class ScoreRow(Part):
    """One value of a metric, or the reason why there is none.

    Attributes:
        class_: Class of the volumes.
        view: One of the metric's views, or an empty string.
        value: The metric of the generated volumes, unscaled and unrounded; null if unavailable.
        real_value: The same statistic of the real volumes, or null where it has none.
        se: Standard error of ``value``, or null.
        uncertainty: How ``se`` was made.
        replicates: Set (``generated``, ``real``) to the leave-out values that ``se`` comes from.
        n_real: Real volumes that were used.
        n_generated: Generated volumes that were used.
        notes: Sentences for people, printed as they are and never read back.
        facts: Numbers and short strings by name; a number that is not finite is null. Records of
            0.1.0 have none.
        status: ``ok`` or ``unavailable``.
        reason: Why it is unavailable, or an empty string.
    """

    class_: Class
    view: str
    value: float | None
    real_value: float | None
    se: Amount | None
    uncertainty: str
    replicates: Mapping[str, tuple[float | None, ...]]
    n_real: Count
    n_generated: Count
    notes: tuple[str, ...]
    facts: Annotated[Facts | None, OLDER]
    status: Literal["ok", "unavailable"]
    reason: str

    def __post_init__(self) -> None:
        """Refuse a value without a number, and a number without a status."""
        if (self.value is None) == (self.status == "ok"):
            got = "null" if self.value is None else self.value
            raise ValueError(f"value must be a number where status is ok and null else, got {got}")


@dataclass(frozen=True, kw_only=True)
class ScoreRecord(Record):
    """One metric of one row of the table.

    Attributes:
        metric: Name of the metric.
        metric_version: Changes when the number does.
        recipe: Every field that defines the number.
        recipe_hash: SHA-256 that identifies metric, version, recipe and feature space.
        rows: One a class and view.
    """

    kind = "score"

    metric: str
    metric_version: int
    recipe: Settings
    recipe_hash: Sha256
    rows: Annotated[tuple[ScoreRow, ...], Field(min_length=1)]

    def __post_init__(self) -> None:
        """Refuse rows that are missing or stand there twice: every class has the same views."""
        found = [(row.class_, row.view) for row in self.rows]
        classes, views = dict.fromkeys(c for c, _ in found), dict.fromkeys(v for _, v in found)
        if sorted(found) != sorted((c, v) for c in classes for v in views):
            n = len(classes) * len(views)
            raise ValueError(
                f"rows must be {n}, one for each of {len(classes)} classes and {len(views)} "
                f"views, got {len(found)}"
            )


@dataclass(frozen=True, kw_only=True)
class FiguresRecord(Record):
    """What figures show of a set of volumes.

    Attributes:
        files: The arrays beside the record.
    """

    kind = "figures"

    files: Files


@dataclass(frozen=True, kw_only=True)
class Diagnostic(Part):
    """Something that only the trained method itself could measure.

    Attributes:
        class_: Class that it is about.
        name: Slug.
        meaning: What a value is and which direction is good, in the method's words.
        values: Set (``train``, ``test``, ``generated``) to raw values, one a volume, or a single
            one of the whole set; a set that does not apply is left out.
    """

    class_: Class
    name: str
    meaning: str
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class DiagnosisRecord(Record):
    """What a method says about itself.

    Attributes:
        seconds: Wall time.
        diagnostics: One a class and diagnostic; empty for a method that has importance maps alone.
        files: ``maps.npz``; empty for a method without maps.
    """

    kind = "diagnosis"

    seconds: Amount
    diagnostics: tuple[Diagnostic, ...]
    files: Files
