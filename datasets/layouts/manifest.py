"""A table of one's own: ``manifest.csv`` or ``.tsv`` with a row per case.

Columns: ``case_id``; ``image:<modality>`` for each modality and ``seg``, paths relative to the
table that stay inside its folder; and, as far as they are known, ``patient_id``, ``site``, and
``label`` (a class name) or ``grade`` (LGG, HGG or a WHO grade).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cerebench.datasets.base import DatasetError, Finding
from cerebench.datasets.folders.names import shown
from cerebench.datasets.layouts.base import (
    MODALITIES,
    CsvRow,
    Entry,
    Layout,
    Listing,
    Tree,
    class_of,
    read_table,
    unreadable,
)

NAMES = ("manifest.csv", "manifest.tsv")


class Manifest(Layout):
    """A table that lists the files of each case."""

    name, label, family = "manifest", "manifest", "manifest"
    expected = "manifest.csv with the columns case_id, label, image:flair and seg"

    def signs(self, tree: Tree) -> Sequence[Path]:
        """Return the tables of this name in the root."""
        return [p for n, p in tree.within(tree.root).items() if n in NAMES]

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the rows of the table as cases."""
        if len(signs) > 1:
            names = " and ".join(p.name for p in signs)
            raise DatasetError(f"{tree.root} has {names}. Keep one of them.")
        (table,) = signs
        rows = read_table(table, ["case_id"])
        columns = {c for row in rows for c in row.values if c.startswith("image:")}
        unknown = sorted(c for c in columns if c.removeprefix("image:") not in MODALITIES)
        if unknown:
            expected = ", ".join(f"image:{m}" for m in MODALITIES)
            raise DatasetError(
                f"{table} has the column {', '.join(unknown)}; known: {expected}. Rename it."
            )
        rows, findings = _without_copies(rows, table.name)
        entries = []
        inside = set(tree.files)
        for row in rows:
            place = f"{table.name} line {row.line}"
            case = row.get("case_id") or place
            if case == place:
                findings.append(Finding("error", case, "has no case_id"))
            grade, fault = class_of(row)
            if fault:
                findings.append(Finding("error", case, fault))
                grade = "?"  # keeps the case apart from those that have a class
            files, problems = _files(tree, row, inside)
            findings += [Finding("error", case, text) for text in problems.values()]
            patient, site, refused = row.get("patient_id") or case, row.get("site"), set(problems)
            entries.append(Entry(case, patient, files, place, grade, site, frozenset(refused)))
        return Listing(tuple(entries), tuple(findings), frozenset({table}))


def _without_copies(rows: Sequence[CsvRow], table: str) -> tuple[list[CsvRow], list[Finding]]:
    """Count equal rows once; those that share no more than their id remain."""
    first: dict[str, int] = {}
    kept, findings = [], []
    for row in rows:
        line = first.setdefault(repr(sorted(row.values.items())), row.line)
        if line == row.line:
            kept.append(row)
        else:
            message = f"is twice in {table} (lines {line} and {row.line}), alike: counted once"
            findings.append(Finding("warning", row.get("case_id"), message))
    return kept, findings


def _files(tree: Tree, row: CsvRow, inside: set[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Resolve the paths of a row; whatever is not a file inside the root is a problem."""
    files, problems = {}, {}
    for modality in (*MODALITIES, "seg"):
        text = row.get("seg" if modality == "seg" else f"image:{modality}")
        if not text:
            continue
        path = tree.root / text
        if path not in inside and (fault := _fault(tree, path)):
            problems[modality] = f"{modality} is {shown(text)}, which {fault}"
        else:
            files[modality] = path
    return files, problems


def _fault(tree: Tree, path: Path) -> str:
    """Return why a path that the tree does not list cannot be used, or an empty string."""
    if "\0" in str(path):
        return "is no path: it holds a NUL character"
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(tree.root)):
        return "leads outside the root: not read"
    if not os.path.lexists(path):
        return "does not exist"
    return unreadable(path) or ("is a folder, not a file" if path.is_dir() else "")
