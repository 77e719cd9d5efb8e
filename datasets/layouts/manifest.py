"""A table of one's own: ``manifest.csv`` or ``.tsv`` with a row per case.

Columns: ``case_id``; ``image:<modality>`` for each modality and ``seg``, paths relative to the
table that stay inside its folder; and, as far as they are known, ``patient_id``, ``site``, and
``label`` (a class name) or ``grade`` (LGG, HGG or a WHO grade).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cerebench.datasets.base import DatasetError, Finding
from cerebench.datasets.layouts.base import (
    MODALITIES,
    Entry,
    Layout,
    Listing,
    Row,
    Tree,
    class_of,
    read_table,
)
from cerebench.datasets.names import shown

NAMES = ("manifest.csv", "manifest.tsv")


class Manifest(Layout):
    name, label, family = "manifest", "manifest", "manifest"
    expected = "manifest.csv with the columns case_id, label, image:flair and seg"

    def found(self, tree: Tree) -> Sequence[Path]:
        return [p for n, p in tree.within(tree.root).items() if n in NAMES]

    def read(self, tree: Tree, found: Sequence[Path]) -> Listing:
        if len(found) > 1:
            names = " and ".join(p.name for p in found)
            raise DatasetError(f"{tree.root} has {names}. Keep one of them.")
        (table,) = found
        rows = read_table(table, ["case_id"])
        columns = {c for row in rows for c in row.values if c.startswith("image:")}
        unknown = sorted(c for c in columns if c.removeprefix("image:") not in MODALITIES)
        if unknown:
            expected = ", ".join(f"image:{m}" for m in MODALITIES)
            raise DatasetError(
                f"{table} has the column {', '.join(unknown)}; known: {expected}. Rename it."
            )
        entries, findings = [], []
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


def _files(tree: Tree, row: Row, inside: set[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Resolve the paths of a row; whatever is not a file inside the root is a problem."""

    def exists(path: Path) -> bool:
        try:
            return path.is_file()
        except OSError:  # a name that is too long for the file system
            return False

    files, problems = {}, {}
    for modality in (*MODALITIES, "seg"):
        text = row.get("seg" if modality == "seg" else f"image:{modality}")
        if not text:
            continue
        path = tree.root / text
        if path in inside:
            files[modality] = path
        elif "\0" in text:
            problems[modality] = f"{modality} is {shown(text)}; no path holds a NUL character"
        elif not path.resolve().is_relative_to(tree.root.resolve()):
            problems[modality] = (
                f"{modality} is {shown(text)}, which leads outside the root: not read"
            )
        elif not exists(path):
            problems[modality] = f"{modality} is {shown(text)}, which does not exist"
        else:
            files[modality] = path
    return files, problems
