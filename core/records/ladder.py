"""What a ladder of planted defects said about metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cerebench.core.records.base import Class, Count, File, Part, Utc
from cerebench.core.records.contents import MetricEntry
from cerebench.core.records.data import RecipeEntry

Word = Literal["ordered", "seen", "blind", "inverted"]


@dataclass(frozen=True, kw_only=True)
class LadderData(Part):
    """The real volumes in which defects were planted.

    Attributes:
        name: Data set.
        label: What tables call it.
        size: Edge length, voxels.
        fingerprint: Identifies contents and recipe.
        spacing: Voxel edge lengths (D, H, W), mm.
        synthetic: Whether they are phantoms.
        recipe: How they were made from files.
        counts: Class to the numbers of volumes of every set: ``reference``, ``generated`` and
            ``held_out``.
    """

    name: str
    label: str
    size: int
    fingerprint: str
    spacing: tuple[float, ...]
    synthetic: bool
    recipe: RecipeEntry
    counts: Mapping[str, Mapping[str, Count]]


@dataclass(frozen=True, kw_only=True)
class LadderValue(Part):
    """A metric of one set.

    Attributes:
        value: The metric, unscaled.
        real_value: The same statistic of the reference, or null where it has none.
    """

    value: float
    real_value: float | None


@dataclass(frozen=True, kw_only=True)
class LadderLevel(Part):
    """A metric of sets with one strength of a defect.

    Attributes:
        label: The strength; empty where there is none.
        values: One a seed; a seed without a value is left out.
    """

    label: str
    values: tuple[LadderValue, ...]


@dataclass(frozen=True, kw_only=True)
class LadderCell(Part):
    """A metric on one defect.

    Attributes:
        defect: Slug of the defect.
        verdict: ``ordered``, ``seen``, ``blind`` or ``inverted`` (docs/ladder.md); null where it
            cannot be told.
        reason: Why it cannot be told, or an empty string.
        seen_from: Weakest strength from which on the defect is seen; null where it is not.
        levels: From weak to strong.
    """

    defect: str
    verdict: Word | None
    reason: str
    seen_from: str | None
    levels: tuple[LadderLevel, ...]


@dataclass(frozen=True, kw_only=True)
class LadderColumn(Part):
    """A metric of one class and view.

    Attributes:
        metric: Slug.
        class_: Class of the volumes.
        view: One of the metric's views, or an empty string.
        draws: The metric of real draws.
        cells: One a defect that this metric is asked about.
    """

    metric: str
    class_: Class
    view: str
    draws: tuple[LadderValue, ...]
    cells: tuple[LadderCell, ...]


@dataclass(frozen=True, kw_only=True)
class LadderDefect(Part):
    """A defect that was planted.

    Attributes:
        name: Slug.
        label: What tables call it, with its unit.
        copies: Whether its volumes are those of the reference, so that only metrics which look for
            copies are asked about it.
    """

    name: str
    label: str
    copies: bool


@dataclass(frozen=True, kw_only=True)
class Ladder(File):
    """What a ladder said: ``ladder-<key8>.json``.

    Attributes:
        suite_version: Version of Cerebench.
        utc: When it was measured, ISO 8601.
        key: SHA-256 of everything that was asked for.
        data: The real volumes.
        seeds: Seeds with which every defect was planted.
        draws: Real draws.
        metrics: The metrics that were measured.
        defects: The defects that were planted.
        columns: One a metric, class and view.
    """

    kind = "ladder"

    suite_version: str
    utc: Utc
    key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    data: LadderData
    seeds: tuple[int, ...]
    draws: Count
    metrics: tuple[MetricEntry, ...]
    defects: tuple[LadderDefect, ...]
    columns: tuple[LadderColumn, ...]
