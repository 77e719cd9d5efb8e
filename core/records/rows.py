"""Lines of the table, as a table of contents lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Discriminator, Field, Tag

from cerebench.core.records.base import Json, Part, Place

CONTROL_KIND: Final = "anchor"  # what files have called a control since 0.1.0; only they say so


@dataclass(frozen=True, kw_only=True)
class Difference(Part):
    """A setting that differs from the preset ``paper``.

    Attributes:
        setting: Name of the setting.
        value: What it was.
        paper: What it is in the preset ``paper``.
        source: Where the value comes from.
        paper_source: Where the value of ``paper`` comes from: it is the paper's own only if this
            begins with ``[paper``. Empty in older files, which do not tell.
    """

    setting: str
    value: Json
    paper: Json
    source: str
    paper_source: str = ""


@dataclass(frozen=True, kw_only=True)
class CellEntry(Part):
    """One seed of a row.

    Attributes:
        seed: Training seed; 0 of a folder of samples.
        folder: Where its records are.
        train: Trained instance (a class, or ``all``) to its record; empty of a folder of samples.
        sample: Record of the samples.
        diagnosis: Record of what the method says about itself, where it can say something.
        preview: Centre slices.
        distributions: Intensities and volumes of the foreground.
        neighbours: Closest training cases, where a metric looks for them and it is known what the
            generator was trained on.
        scores: Metric to record.
    """

    seed: int
    folder: Place
    train: Mapping[str, Place]
    sample: Place = ""
    diagnosis: Place = ""
    preview: Place = ""
    distributions: Place = ""
    neighbours: Place = ""
    scores: Mapping[str, Place]


@dataclass(frozen=True, kw_only=True)
class ControlEntry(Part):
    """A row of real volumes, or of volumes that are wrong on purpose.

    Attributes:
        kind: ``anchor``.
        name: Slug.
        label: What tables call it.
        role: ``floor`` (a real set that no generator can be asked to beat) or ``control`` (copies,
            collapse, blur, noise: what a metric must and must not punish).
        note: What it is for.
        scores: Metric to record.
        preview: Centre slices of real cases.
        distributions: Intensities and volumes of their foreground.
    """

    kind: Literal["anchor"]
    name: str
    label: str
    role: Literal["floor", "control"]
    note: str
    scores: Mapping[str, Place]
    preview: Place = ""
    distributions: Place = ""

    preset: ClassVar[str] = ""
    cells: ClassVar[tuple[CellEntry, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class GeneratorRow(Part):
    """A row of generated volumes: a trained method, or somebody's folder of samples.

    Attributes:
        kind: ``method`` or ``samples``.
        name: Name of the method, of a variant of it, or of the folder.
        label: What tables call it.
        method: Name of the plugin; left out of a folder, where ``preset`` and ``conditioning`` are
            empty.
        preset: Preset of the method.
        conditioning: ``none`` (one model a class), or what its samples are conditioned on.
        source: Paper; of a folder, what a reader must know about it.
        differences: Settings that differ from its preset ``paper``.
        cells: One a seed.
    """

    kind: Literal["method", "samples"]
    name: str
    label: str
    method: str = ""
    preset: str
    conditioning: str
    source: str
    differences: tuple[Difference, ...]
    cells: Annotated[tuple[CellEntry, ...], Field(min_length=1)]

    role: ClassVar[str] = ""


def _tag(row: Any) -> str:
    """Tell which row an object is, by its kind."""
    kind = row.get("kind") if isinstance(row, Mapping) else getattr(row, "kind", None)
    return "<control>" if kind == CONTROL_KIND else "<generator>"


RowEntry = Annotated[
    Annotated[ControlEntry, Tag("<control>")] | Annotated[GeneratorRow, Tag("<generator>")],
    Discriminator(_tag),
]
