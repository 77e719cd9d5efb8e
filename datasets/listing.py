"""From a folder to its cases: which layout it is, which cases can be used, what is wrong.

Names and tables only; no voxel is read here. Everything that is not used is a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cerebench.datasets.base import Case, DatasetError, DatasetNotFound, Finding
from cerebench.datasets.layouts.base import (
    Entry,
    Layout,
    Listing,
    Tree,
    class_of,
    read_table,
)
from cerebench.datasets.layouts.bids import Bids
from cerebench.datasets.layouts.brats import (
    BraTS2018,
    BraTS2019,
    BraTS2020,
    BraTS2021,
    BraTS2023,
    BraTS2024,
)
from cerebench.datasets.layouts.brats2015 import BraTS2015
from cerebench.datasets.layouts.folders import ClassFolders
from cerebench.datasets.layouts.manifest import Manifest
from cerebench.datasets.layouts.msd import Decathlon
from cerebench.datasets.names import label_fault, shown

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        BraTS2015(), BraTS2018(), BraTS2019(), BraTS2020(), BraTS2021(), BraTS2023(), BraTS2024(),
        Decathlon(), Bids(), Manifest(), ClassFolders(),
    )
}  # fmt: skip
GRADES = ("LGG", "HGG")
UNGRADED = ("glioma",)
_LABELS = ("labels.csv", "labels.tsv")
_COMMON = ("readme", "license", "licence", "changes", "changelog", "copying", "citation")
_GUIDE = "see docs/datasets.md"


@dataclass(frozen=True)
class Cases:
    """What a root holds.

    Attributes:
        layout: How it is stored.
        classes: Class names; a case's label is an index into them.
        cases: Usable cases by id.
        present: How many of all cases have each modality, and a mask (``seg``).
        findings: Everything that is wrong, and everything that is not used.
    """

    layout: Layout
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    present: dict[str, int]
    findings: tuple[Finding, ...]


def list_cases(
    root: Path, needed: Sequence[str], layout: str | None = None, subset: str | None = None
) -> Cases:
    """Recognise the layout of a root and list its cases.

    Args:
        root: Folder of the files; or, for a manifest, the table itself.
        needed: Modalities, and ``seg``, without which a case cannot be used.
        layout: Name of a layout, where the content shows several.
        subset: ``brats2019`` keeps only the cases of BraTS 2020 that have a 2019 id.

    Raises:
        DatasetNotFound: If there is no such folder, or nothing in it is known.
        DatasetError: If several layouts are there, or a table that everything hangs on is missing.
    """
    if root.is_file() and root.name.lower().endswith((".csv", ".tsv")):
        root, layout = root.parent, layout or Manifest.name
    if not root.is_dir():
        raise DatasetNotFound(
            f"Data not found: there is no folder {root}. Correct --data-root, or {_GUIDE} for how "
            "to get the data."
        )
    tree = Tree.walk(root)
    chosen, found = detect(tree, layout)
    listing = chosen.read(tree, found)
    entries, findings = _labelled(tree, listing)
    entries, unfit = _legible(entries)
    entries, left_out = _subset(entries, subset, chosen)
    classes, faults = _classes(entries)
    findings += [*unfit, *left_out, *faults]
    cases, incomplete = _cases(entries, classes, needed, chosen)
    findings += [*incomplete, *_links(tree), *_strays(tree, listing)]
    present = Counter(m for entry in entries for m in entry.files)
    return Cases(chosen, classes, tuple(cases), dict(present), tuple(findings))


def detect(tree: Tree, name: str | None = None) -> tuple[Layout, Sequence[Path]]:
    """Return the one layout that a tree shows, with what it was recognised by.

    Raises:
        DatasetNotFound: If there is none.
        DatasetError: If there are several and none is named, or there is none of this name.
    """
    if name is not None and name not in LAYOUTS:
        raise DatasetError(f"There is no layout '{name}'. Known: {', '.join(LAYOUTS)}.")
    asked = [LAYOUTS[name]] if name else list(LAYOUTS.values())
    matches = [(layout, found) for layout in asked if (found := layout.found(tree))]
    if not matches:
        expected = "; ".join(f"{layout.label}: {layout.expected}" for layout in asked)
        raise DatasetNotFound(
            f"No known layout in {tree.root}. Expected one of these: {expected}. Correct "
            f"--data-root, or {_GUIDE}."
        )
    if len(matches) > 1:
        seen = " and ".join(f"{layout.label} ({found[0].name})" for layout, found in matches)
        same = all(layout.family == "brats" for layout, _ in matches)
        raise DatasetError(
            f"{tree.root} holds {seen}{', which share patients' if same else ''}. Set --data-root "
            "to the folder of one, or choose with --data layout="
            f"{' or layout='.join(layout.name for layout, _ in matches)}."
        )
    return matches[0]


def _labelled(tree: Tree, listing: Listing) -> tuple[list[Entry], list[Finding]]:
    """Take classes and patients from ``labels.csv`` where the layout itself has no classes."""
    entries, findings = list(listing.entries), list(listing.findings)
    table = next((p for n, p in tree.within(tree.root).items() if n in _LABELS), None)
    if table is None or any(entry.grade for entry in entries):
        return entries, findings
    rows = {row.get("case_id"): row for row in read_table(table, ["case_id", "label|class|grade"])}
    labelled = []
    for entry in entries:
        row = rows.pop(entry.id, None)
        grade, fault = class_of(row) if row else ("", "")
        if fault:
            findings.append(Finding("error", entry.id, fault))
        patient = (row.get("patient_id") if row else "") or entry.patient
        labelled.append(replace(entry, grade="?" if fault else grade, patient=patient))
    findings += [
        Finding("warning", case, f"is in {table.name} but not among the cases") for case in rows
    ]
    return labelled, findings


def _legible(entries: Sequence[Entry]) -> tuple[list[Entry], list[Finding]]:
    """Set classes apart that cannot be shown, and name ids that cannot."""
    kept, findings = [], []
    for entry in entries:
        texts = [("case_id", entry.id), ("patient_id", entry.patient), ("site", entry.site or "-")]
        faults = [f"{name} {fault}" for name, text in texts if (fault := label_fault(text))]
        grade = entry.grade
        if grade and (fault := label_fault(grade)):
            faults, grade = [*faults, f"class label {fault}"], "?"
        findings += [
            Finding("error", shown(entry.id) if label_fault(entry.id) else entry.id, fault)
            for fault in faults
        ]
        kept.append(replace(entry, grade=grade))
    return kept, findings


def _subset(
    entries: Sequence[Entry], subset: str | None, layout: Layout
) -> tuple[list[Entry], list[Finding]]:
    if subset is None:
        return list(entries), []
    if (subset, layout.name) != ("brats2019", "brats2020"):
        raise DatasetError(
            f"The option subset is '{subset}' and the layout {layout.label}; expected "
            "subset=brats2019 and BraTS 2020. Leave it out."
        )
    kept = [e for e in entries if e.patient.lower().startswith("brats19_")]
    message = f"{len(entries) - len(kept)} cases without a 2019 id are left out by subset=brats2019"
    return kept, [Finding("warning", "", message)]


def _classes(entries: Sequence[Entry]) -> tuple[tuple[str, ...], list[Finding]]:
    """Return the class names, and the cases that have none of them."""
    names = {entry.grade for entry in entries} - {"", "?"}
    if not names and not any(entry.grade for entry in entries):
        message = (
            "this layout has no grades: all cases are of one class, 'glioma'. For several classes, "
            f"put labels.csv with the columns case_id and label into the root, {_GUIDE}"
        )
        return UNGRADED, [Finding("warning", "", message)]
    classes = GRADES if names & set(GRADES) or not names else tuple(sorted(names))
    findings = [
        Finding("error", entry.id, f"has {_given(entry.grade)}; expected {' or '.join(classes)}")
        for entry in entries
        if entry.grade not in classes and entry.grade != "?"  # that one has its own finding
    ]
    return classes, findings


def _given(grade: str) -> str:
    return f"the class '{grade}'" if grade else "no class"


def _cases(
    entries: Sequence[Entry], classes: Sequence[str], needed: Sequence[str], layout: Layout
) -> tuple[list[Case], list[Finding]]:
    """Turn entries into cases by id; incomplete and repeated ones are findings instead."""
    cases, findings = [], []
    counts = Counter(entry.id for entry in entries)
    for entry in sorted(entries, key=lambda entry: entry.id):
        absent = [m for m in needed if m not in entry.files]
        if counts[entry.id] > 1:
            findings.append(Finding("error", entry.id, f"id occurs twice, here in {entry.place}"))
        missing = [m for m in absent if m not in entry.refused]
        if missing:
            names = " and ".join(missing)
            verb = "is" if len(missing) == 1 else "are"
            findings.append(Finding("error", entry.id, f"{names} {verb} missing in {entry.place}"))
        grade = entry.grade if classes != UNGRADED else UNGRADED[0]
        if counts[entry.id] == 1 and not absent and grade in classes:
            label = classes.index(grade)
            cases.append(Case(entry.id, entry.patient, label, entry.files, entry.site))
    return cases, findings


def _links(tree: Tree) -> list[Finding]:
    return [
        Finding(
            "error", _name(tree, path), f"is a link to {path.readlink()}, outside: not followed"
        )
        for path in tree.outside
    ]


def _strays(tree: Tree, listing: Listing) -> list[Finding]:
    """Name every file that belongs to no case."""
    used = {path for entry in listing.entries for path in entry.files.values()} | listing.known
    return [
        Finding("warning", _name(tree, path), "belongs to no case: not used")
        for path in tree.files
        if path not in used
        and path.name.lower() not in _LABELS
        and not path.name.lower().startswith(_COMMON)
    ]


def _name(tree: Tree, path: Path) -> str:
    return path.relative_to(tree.root).as_posix()
