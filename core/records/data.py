"""What a table of contents says about the data and about tables that papers printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from cerebench.core.records.base import Count, Part, Settings


@dataclass(frozen=True, kw_only=True)
class RecipeEntry(Part):
    """How volumes were made from the files of a data set.

    Attributes:
        name: Name of the recipe.
        version: Changes when the volumes do.
        settings: Everything that defines them.
        id: Name, version and the first digits of the hash; left out of a folder, as is ``sha256``.
        sha256: SHA-256 of name, version and settings as canonical JSON.
    """

    name: str
    version: int
    settings: Settings
    id: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitEntry(Part):
    """Which cases train and which test.

    Attributes:
        sha256: SHA-256 of the published table.
        file: Its name, beside the table of contents.
        published: Whether the split was given as a file.
    """

    sha256: str
    file: str
    published: bool


@dataclass(frozen=True, kw_only=True)
class Counts(Part):
    """Number of real cases of a class.

    Attributes:
        train: Training cases.
        test: Held-out cases.
    """

    train: Count
    test: Count


@dataclass(frozen=True, kw_only=True)
class LeftOut(Part):
    """Real cases that ``--skip-bad`` left out.

    Attributes:
        cases: Case to the reasons.
        others: Path, or row of a table, that is no case, to the reasons.
        total: How many cases there are, with those left out.
    """

    cases: Mapping[str, tuple[str, ...]]
    others: Mapping[str, tuple[str, ...]]
    total: Count


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Part):
    """The real volumes that everything is compared with.

    Attributes:
        name: Slug.
        label: What tables call it.
        size: Longest edge of a volume, voxels.
        shape: Voxels along D, H, W, where ``bench evaluate`` wrote the file; else left out.
        fingerprint: SHA-256 of contents and recipe.
        classes: Class labels in label order; the last one is the positive class.
        channels: Names of the channels.
        spacing: Voxel edge lengths (D, H, W), mm.
        synthetic: Whether a procedure made the volumes.
        source: Where they come from.
        licence: Under which terms.
        recipe: How volumes were made from files.
        split: Which cases train and which test; left out of a folder.
        counts: Class to number of cases.
        left_out: Cases that ``--skip-bad`` left out; not there where it left out nothing.
    """

    name: str
    label: str
    size: Annotated[int, Field(ge=1)]
    shape: tuple[int, int, int] | None = None
    fingerprint: str
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    channels: tuple[str, ...]
    spacing: tuple[float, float, float]
    synthetic: bool
    source: str
    licence: str
    recipe: RecipeEntry
    split: SplitEntry | None = None
    counts: Mapping[str, Counts]
    left_out: LeftOut | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedTable(Part):
    """A table of the literature as it was printed; never ranked with values of ours.

    Attributes:
        table: Its number there: ``Table 1``.
        title: What it shows.
        columns: Heads of the columns.
        rows: Texts, as many a row as there are columns.
        note: What a reader must know, or an empty string.
    """

    table: str
    title: str
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    rows: tuple[tuple[str, ...], ...]
    note: str

    def __post_init__(self) -> None:
        """Refuse a row of another length than the columns."""
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                n = len(self.columns)
                raise ValueError(f"rows.{number} must be {n} as columns are, got {len(row)}")
