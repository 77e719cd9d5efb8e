"""The table of contents of an experiment: what was asked, and where every record of it lies.

Paths are relative to the folder that holds the file, and are listed whether or not they exist: a
listed record that is missing has not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cerebench.core.records.base import Count, File, Part, Place, Settings, Sha256, Utc, shown
from cerebench.core.records.data import DatasetEntry, PublishedTable
from cerebench.core.records.rows import Difference, RowEntry

LATER = Field(default=())  # a list that older versions did not write


@dataclass(frozen=True, kw_only=True)
class MetricEntry(Part):
    """A metric that was asked for.

    Attributes:
        name: Slug.
        version: Changes when the number does.
        label: Head of its column.
        better: ``lower``, ``higher`` or ``near-real``.
        views: Views that it is computed along; one empty string where it has none.
        scale: Factor with which tables show the value.
        never_bold: Whether the best value must not be marked.
        family: Kind of quantity, for notes that speak of all of a kind; empty where version 0.1.0
            wrote none.
        blind_to: What it cannot see.
        legend: What the number is and which direction is good; empty where the label tells, and in
            files of older versions.
        source: Paper and section or equation.
        recipe: Every field that defines the number.
        recipe_hash: SHA-256 that identifies metric, version, recipe and feature space.
        unavailable: Why it could not be computed at all (missing weights), else null.
        as_ratio: Whether tables show the value divided by that of real draws of the same size.
    """

    name: str
    version: int
    label: str
    better: Literal["lower", "higher", "near-real"]
    views: Annotated[tuple[str, ...], Field(min_length=1)]
    scale: float
    never_bold: bool
    family: str = ""
    blind_to: str
    legend: str = ""
    source: str
    recipe: Settings
    recipe_hash: Sha256
    unavailable: str | None
    as_ratio: bool = False


@dataclass(frozen=True, kw_only=True)
class ProtocolCell(Part):
    """A protocol on the samples of one seed.

    Attributes:
        seed: Training seed of the generator; null where the protocol needs no samples.
        record: Where its record lies.
    """

    seed: int | None
    record: Place


@dataclass(frozen=True, kw_only=True)
class ProtocolRow(Part):
    """A protocol on the samples of one row.

    Attributes:
        kind: As of the row, or ``protocol`` where it needs no samples; it then has its own name.
        name: Name of the row.
        label: What tables call it.
        cells: One a seed.
    """

    kind: Literal["method", "samples", "protocol"]
    name: str
    label: str
    cells: tuple[ProtocolCell, ...]


@dataclass(frozen=True, kw_only=True)
class ProtocolEntry(Part):
    """A downstream protocol that was asked for.

    Attributes:
        name: Name of the protocol.
        label: What tables call it.
        version: Changes when its predictions do.
        source: Paper and table.
        role: ``experiment``, ``baseline`` or ``control``.
        needs_samples: Whether it has a result for each generator, or one for the data set.
        description: What is trained on what, in one sentence.
        preset: Its preset.
        config: Its settings.
        differences: Settings that differ from its preset ``paper``.
        recipe_hash: SHA-256 that identifies protocol, version, settings, code and weights.
        unavailable: Why it could not be run at all (missing weights), else null.
        rows: One a row of the table; a control that needs samples has one, the reference or the
            first.
    """

    name: str
    label: str
    version: int
    source: str
    role: Literal["experiment", "baseline", "control"]
    needs_samples: bool
    description: str
    preset: str
    config: Settings
    differences: tuple[Difference, ...]
    recipe_hash: Sha256
    unavailable: str | None
    rows: tuple[ProtocolRow, ...]


@dataclass(frozen=True, kw_only=True)
class Contents(File):
    """A table of contents: ``experiment-<name>-<key8>.json``.

    Attributes:
        name: Name of the experiment: letters, digits, ``.``, ``_`` and ``-``.
        key: SHA-256 of everything that was asked for.
        suite_version: Version of Cerebench.
        utc: When the run began, ISO 8601.
        title: One sentence.
        cite: How to cite it, or an empty string.
        preset: Preset of the methods; empty where ``bench evaluate`` wrote the file.
        seeds: Training seeds.
        samples_per_class: Volumes of a class that each method makes.
        reference: Name of the row that tests compare with, or an empty string.
        banner: Warning over every table; null where the numbers need none.
        dataset: The real volumes.
        suites: Suites that the metrics came from.
        metrics: The metrics that were asked for.
        rows: Lines of the table.
        downstream: The protocols that were asked for.
        published: Tables of the literature.
        keys: Place of a record to the key that it must have; empty where an older version wrote
            the file. Records of figures are not among them.
    """

    kind = "experiment"

    name: str
    key: Annotated[str, Field(pattern="^[0-9a-f]{8,}$")]
    suite_version: str
    utc: Utc
    title: str
    cite: str
    preset: str
    seeds: tuple[int, ...]
    samples_per_class: Count
    reference: str
    banner: str | None
    dataset: DatasetEntry
    suites: Annotated[tuple[str, ...], LATER]
    metrics: tuple[MetricEntry, ...]
    rows: tuple[RowEntry, ...]
    downstream: Annotated[tuple[ProtocolEntry, ...], LATER]
    published: Annotated[tuple[PublishedTable, ...], LATER]
    keys: Annotated[Mapping[Place, str], Field(default_factory=dict)]

    def __post_init__(self) -> None:
        """Refuse a name that could not be that of a file."""
        if self.name in (".", "..") or not re.fullmatch(r"[\w.][\w.-]*", self.name, re.ASCII):
            name = shown(self.name)
            raise ValueError(f"name must be of letters, digits, '.', '_' and '-', got {name}")

    def misplaced(self, path: Path) -> str:
        """Say that the name of the file is that of another experiment; else nothing."""
        ours = path.stem == f"experiment-{self.name}-{self.key[:8]}"
        got = f"{shown(self.name)} and {shown(self.key[:8])}"
        return "" if ours else f"name and key must be those of the file's name, got {got}"
