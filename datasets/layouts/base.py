"""What a layout is, and the parts that all layouts share.

A layout says how a public collection of scans is stored: which folders are cases, which file holds
which modality, what the numbers of a mask mean, and where the grade stands. It reads names and
tables only, never voxels. What it cannot use becomes a finding that names the case.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from cerebench.datasets.base import DatasetError, Finding
from cerebench.datasets.dialects import read_cells
from cerebench.datasets.scans.stand_ins import ANNEX, FETCH_ANNEX

MODALITIES = ("flair", "t1", "t1ce", "t2")
GRADES = ("LGG", "HGG")  # in label order, wherever classes are grades
IMAGES = (".nii.gz", ".nii", ".mha")
# Tables that decide which layout a folder is, or what its cases are.
TABLES = (
    "manifest.csv", "manifest.tsv", "labels.csv", "labels.tsv", "participants.tsv",
    "name_mapping.csv", "dataset.json",
)  # fmt: skip
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

    Hidden names are left out. All paths start with ``root``. ``unusable`` holds what cannot be
    read, with the reason: nothing vanishes because nobody may look into it.
    """

    root: Path
    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    outside: tuple[Path, ...] = ()
    unusable: Mapping[Path, str] = field(default_factory=dict)

    @classmethod
    def walk(cls, root: Path) -> Tree:
        """List a root down to the depth that known layouts need."""
        real = os.path.realpath(root)
        folders, files, outside = [root], [], []
        unusable: dict[Path, str] = {}

        def refuse(error: OSError) -> None:
            unusable[Path(error.filename)] = f"cannot be read: {error.strerror}"

        for place, below, names in os.walk(root, onerror=refuse):
            here = Path(place)
            below[:] = sorted(n for n in below if not n.startswith("."))
            links = [n for n in below if (here / n).is_symlink()]
            below[:] = [n for n in below if n not in links]
            for name in [*links, *sorted(n for n in names if not n.startswith("."))]:
                path = here / name
                if not _is_below(path, real):
                    outside.append(path)
                elif reason := unreadable(path):
                    unusable[path] = reason
                else:
                    files.append(path)
            folders += [here / n for n in below]
            unusable |= {here / n: "is a folder, not a file" for n in below if _named_as_file(n)}
            if len(here.relative_to(root).parts) + 1 >= _DEPTH:
                below.clear()
        return cls(
            root, tuple(sorted(folders)), tuple(sorted(files)), tuple(sorted(outside)), unusable
        )

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
        images: dict[str, Path] = {}
        for name, path in self.within(folder).items():
            end = ending(name)
            if end and (name.removesuffix(end) not in images or end == IMAGES[0]):
                images[name.removesuffix(end)] = path
        return images


def unreadable(path: Path) -> str:
    """Return why a file cannot be read, or an empty string; a link to a folder is left alone.

    Nothing is opened: opening a pipe would wait for its other end.
    """
    try:
        mode = path.stat().st_mode
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            target = os.readlink(path)
            missing = f"; its content is not here: {FETCH_ANNEX}" if ANNEX in target else ""
            return f"is a link to {target}, which leads nowhere{missing}"
        return f"cannot be read: {e.strerror}"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is a pipe, a socket or a device, not a file"
    return "" if os.access(path, os.R_OK) else f"cannot be read: {os.strerror(errno.EACCES)}"


def _is_below(path: Path, root: str) -> bool:
    """Tell whether a path, if it is a link, leads to somewhere below the root."""
    if not path.is_symlink():
        return True
    return Path(os.path.realpath(path)).is_relative_to(root)


def _named_as_file(name: str) -> bool:
    return bool(ending(name)) or name.lower() in TABLES


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
    def signs(self, tree: Tree) -> Sequence[Path]:
        """Return the folders or files by which this layout is recognised; none if it is not."""

    @abstractmethod
    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the cases.

        Raises:
            DatasetError: If nothing at all can be used, for example for want of a table.
        """


@dataclass(frozen=True)
class CsvRow:
    """One row of a table, with lower-case column names and stripped values.

    ``line`` is where it ends in the file, counted from 1.
    """

    line: int
    values: Mapping[str, str] = field(default_factory=dict)

    def get(self, *columns: str) -> str:
        """Return the first of these columns that has a value, or an empty string."""
        return next((self.values[c] for c in columns if self.values.get(c)), "")


def ending(name: str) -> str:
    """Return the image ending of a file name, or an empty string."""
    return next((end for end in IMAGES if name.lower().endswith(end)), "")


def table_of(folder: Path, name: str) -> Path | None:
    """Return the table of this name in a folder, written in any case; None where there is none.

    One that cannot be read is none, either: whoever lists the folder names it.

    Raises:
        DatasetError: If there are several, or it is a folder.
    """
    tables = sorted(path for path in folder.iterdir() if path.name.lower() == name)
    if not tables:
        return None
    if len(tables) > 1:
        names = " and ".join(path.name for path in tables)
        raise DatasetError(f"{folder} holds {names}. Keep one of them, as {name}.")
    if tables[0].is_dir():
        raise DatasetError(f"{tables[0]} is a folder; a table was expected. Rename it.")
    return None if unreadable(tables[0]) else tables[0]


def read_table(path: Path, required: Sequence[str]) -> list[CsvRow]:
    """Read a table of any dialect (see ``dialects.py``).

    Raises:
        DatasetError: If the file cannot be read, or a required column is missing; alternatives are
            written ``a|b``.
    """
    cells = read_cells(path)
    columns = {name.lower() for name in cells.columns}
    missing = [c for c in required if not columns & set(c.lower().split("|"))]
    if missing:
        raise DatasetError(
            f"{path} lacks the column {', '.join(missing)}. Use the file of the original "
            "download, or see docs/datasets.md for the columns."
        )
    return [CsvRow(line, {k.lower(): v for k, v in row.items()}) for line, row in cells.rows]


def unique_rows(
    rows: Sequence[CsvRow],
    column: str,
    table: str,
    says: Callable[[CsvRow], Mapping[str, str]],
) -> tuple[dict[str, CsvRow], list[Finding], set[str]]:
    """Return one row for each id, and what is to be said of ids that occur more than once.

    Args:
        rows: All rows.
        column: Where the id stands.
        table: Name of the file, for messages.
        says: What a row tells about its case, by name; rows that agree are counted once.

    Returns:
        The first row of each id; an error for each id whose rows contradict each other, and a
        warning for each other repeated one and for rows without an id; the ids whose rows
        contradict each other.
    """
    groups: dict[str, list[CsvRow]] = {}
    for row in rows:
        groups.setdefault(row.get(column), []).append(row)
    nameless = [row for row in groups.pop("", []) if any(row.values.values())]
    findings = [
        Finding("warning", table, f"line {row.line} has no {column}: not used") for row in nameless
    ]
    torn = set()
    for name, same in groups.items():
        if len(same) == 1:
            continue
        often = "twice" if len(same) == 2 else f"{len(same)} times"
        where = f"is {often} in {table} (lines {_and(str(row.line) for row in same)})"
        statements = [says(row) for row in same]
        parts = {k: list(dict.fromkeys(repr(one[k]) for one in statements)) for k in statements[0]}
        differing = "; ".join(f"{k} {_and(v)}" for k, v in parts.items() if len(v) > 1)
        if differing:
            torn.add(name)
            message = f"{where}, with {differing}. Keep the row that is right"
            findings.append(Finding("error", name, message))
        else:
            findings.append(Finding("warning", name, f"{where}, alike: counted once"))
    return {name: same[0] for name, same in groups.items()}, findings, torn


def _and(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def known_value(text: str) -> str:
    """Return a table's value, or an empty string for the ways tables say that they have none."""
    return "" if text.lower() in ("na", "n/a", "nan", "none", "unknown") else text


_WHO = {
    **dict.fromkeys(("1", "2", "i", "ii"), "LGG"),
    **dict.fromkeys(("3", "4", "iii", "iv"), "HGG"),
}


def class_of(row: CsvRow) -> tuple[str, str]:
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
