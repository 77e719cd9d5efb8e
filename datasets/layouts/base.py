"""What a layout is, and the parts that all layouts share.

A layout says how a public collection of scans is stored: which folders are cases, which file holds
which modality, what the numbers of a mask mean, and where the grade stands. It reads names and
tables only, never voxels. What it cannot use becomes a finding that names the case.
"""

from __future__ import annotations

import csv
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from cerebench.datasets.base import DatasetError, Finding

MODALITIES = ("flair", "t1", "t1ce", "t2")
IMAGES = (".nii.gz", ".nii", ".mha")
_DEPTH = 7  # copies nest the official folder twice, and grade, case, session and anat/ come on top

# Stored label -> canonical label: 1 necrotic or non-enhancing core, 2 oedema, 3 enhancing tumour,
# 4 resection cavity. The same number has different meanings, so the layout decides, not the value.
LABELS: Mapping[str, Mapping[int, int]] = {
    "brats2015": {1: 1, 2: 2, 3: 1, 4: 3},
    "brats2021": {1: 1, 2: 2, 4: 3},
    "brats2023": {1: 1, 2: 2, 3: 3},
    "brats2024": {1: 1, 2: 2, 3: 3, 4: 4},
    "msd": {1: 2, 2: 1, 3: 3},
    # Whole tumour without sub-regions: nothing says which of 1 to 4 is which.
    "mask": {1: 1, 2: 1, 3: 1, 4: 1},
}


@dataclass(frozen=True)
class Entry:
    """One case as a layout lists it, usable or not.

    Attributes:
        id: Case id.
        patient: The same for all scans of a person.
        files: Modality, or ``seg``, to file; only those that are there.
        place: Folder or table row it comes from, for messages.
        grade: Class name as the layout gives it; empty where the layout has none.
        site: Where it was scanned, or empty.
        refused: Modalities that are named but cannot be used; a finding says why.
    """

    id: str
    patient: str
    files: Mapping[str, Path]
    place: str
    grade: str = ""
    site: str = ""
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Listing:
    """What a layout found: cases, what is wrong, and files it knows but does not read."""

    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...] = ()
    known: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Tree:
    """Folders and files below a root; links that lead out of it are set aside, never followed.

    Hidden names are left out. All paths start with ``root``.
    """

    root: Path
    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    outside: tuple[Path, ...] = ()

    @classmethod
    def walk(cls, root: Path) -> Tree:
        """List a root down to the depth that known layouts need."""
        real = root.resolve()
        folders, files, outside = [root], [], []
        for place, below, names in os.walk(root):
            here = Path(place)
            below[:] = sorted(n for n in below if not n.startswith("."))
            links = [n for n in below if (here / n).is_symlink()]
            below[:] = [n for n in below if n not in links]
            for name in [*links, *sorted(n for n in names if not n.startswith("."))]:
                path = here / name
                inside = not path.is_symlink() or path.resolve().is_relative_to(real)
                (files if inside else outside).append(path)
            folders += [here / n for n in below]
            if len(here.relative_to(root).parts) + 1 >= _DEPTH:
                below.clear()
        return cls(root, tuple(sorted(folders)), tuple(sorted(files)), tuple(sorted(outside)))

    @cached_property
    def _by_folder(self) -> Mapping[Path, Mapping[str, Path]]:
        listed: dict[Path, dict[str, Path]] = {folder: {} for folder in self.folders}
        for path in self.files:
            listed[path.parent][path.name.lower()] = path
        return listed

    def within(self, folder: Path) -> Mapping[str, Path]:
        """Return the files directly in a folder by lower-case name."""
        return self._by_folder.get(folder, {})

    def images(self, folder: Path) -> dict[str, Path]:
        """Return the image files directly in a folder by lower-case name without ending.

        ``.nii.gz`` wins over ``.nii`` of the same name.
        """
        found: dict[str, Path] = {}
        for name, path in self.within(folder).items():
            end = ending(name)
            if end and (name.removesuffix(end) not in found or end == IMAGES[0]):
                found[name.removesuffix(end)] = path
        return found


class Layout(ABC):
    """One way in which scans are stored.

    Attributes:
        name: What ``--data layout=NAME`` takes.
        label: What tables print.
        family: First part of the name of cache and run folders.
        labels: Stored label to canonical label; any other label is an error.
        channels: Position of each modality in a file that holds several; empty otherwise.
        expected: What the layout looks like, in one line.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    family: ClassVar[str]
    expected: ClassVar[str]
    source: ClassVar[str] = "the owner of the files"
    licence: ClassVar[str] = "as the owner of the files says"
    labels: ClassVar[Mapping[int, int]] = LABELS["mask"]
    channels: ClassVar[Mapping[str, int]] = {}

    @abstractmethod
    def found(self, tree: Tree) -> Sequence[Path]:
        """Return the folders or files by which this layout is recognised; none if it is not."""

    @abstractmethod
    def read(self, tree: Tree, found: Sequence[Path]) -> Listing:
        """List the cases.

        Raises:
            DatasetError: If nothing at all can be used, for example for want of a table.
        """


@dataclass(frozen=True)
class Row:
    """One row of a table, with lower-case column names and stripped values."""

    line: int
    values: Mapping[str, str] = field(default_factory=dict)

    def get(self, *columns: str) -> str:
        """Return the first of these columns that has a value, or an empty string."""
        return next((self.values[c] for c in columns if self.values.get(c)), "")


def ending(name: str) -> str:
    """Return the image ending of a file name, or an empty string."""
    return next((end for end in IMAGES if name.lower().endswith(end)), "")


def read_table(path: Path, required: Sequence[str]) -> list[Row]:
    """Read a CSV or, by its ending, a TSV file.

    Raises:
        DatasetError: If a required column is missing; alternatives are written ``a|b``.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        columns = {(name or "").strip().lower() for name in reader.fieldnames or ()}
        missing = [c for c in required if not columns & set(c.lower().split("|"))]
        if missing:
            raise DatasetError(
                f"{path} lacks the column {', '.join(missing)}. Use the file of the original "
                "download, or see docs/datasets.md for the columns."
            )
        return [
            Row(line, {(k or "").strip().lower(): (v or "").strip() for k, v in row.items() if k})
            for line, row in enumerate(
                ({k: v for k, v in r.items() if isinstance(v, str)} for r in reader), start=2
            )
        ]


def known_value(text: str) -> str:
    """Return a table's value, or an empty string for the ways tables say that they have none."""
    return "" if text.lower() in ("na", "n/a", "nan", "none", "unknown") else text


_WHO = {
    **dict.fromkeys(("1", "2", "i", "ii"), "LGG"),
    **dict.fromkeys(("3", "4", "iii", "iv"), "HGG"),
}


def class_of(row: Row) -> tuple[str, str]:
    """Return (class name, fault) of a table row; one of the two is empty, or both.

    A column ``label`` or ``class`` holds class names. A column ``grade`` holds LGG, HGG or a WHO
    grade: 1 and 2 are LGG, 3 and 4 HGG.
    """
    text = known_value(row.get("label", "class"))
    if text:
        return (text.upper() if text.upper() in ("LGG", "HGG") else text), ""
    grade = known_value(row.get("grade"))
    if not grade or grade.upper() in ("LGG", "HGG"):
        return grade.upper(), ""
    number = re.sub(r"^(who)?\s*(grade)?\s*|\.0$", "", grade.lower())
    if number in _WHO:
        return _WHO[number], ""
    return "", f"grade is '{grade}'; expected LGG, HGG or a WHO grade from 1 to 4"
