"""From a folder to its cases: which layout it is, which cases can be used, what is wrong.

Names and tables only; no voxel is read here. Everything that is not used is a finding.
"""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from cerebench.core.texts import counted
from cerebench.datasets.base import BadOption, Case, DatasetError, DatasetNotFound, Finding
from cerebench.datasets.folders.names import label_fault, shown
from cerebench.datasets.layouts.base import (
    GRADES,
    MODALITIES,
    TABLES,
    CsvRow,
    Entry,
    Layout,
    Listing,
    Tree,
    class_of,
    ending,
    read_table,
    unique_rows,
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

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        BraTS2015(), BraTS2018(), BraTS2019(), BraTS2020(), BraTS2021(), BraTS2023(), BraTS2024(),
        Decathlon(), Bids(), Manifest(), ClassFolders(),
    )
}  # fmt: skip
UNGRADED = ("glioma",)
_LABELS = ("labels.csv", "labels.tsv")
_COMMON = ("readme", "license", "licence", "changes", "changelog", "copying", "citation")
_GUIDE = "see docs/datasets.md"
_LINKS = (
    "Set --data-root to a folder that holds the links and what they lead to, or copy the files "
    "themselves (cp -rL)"
)
_NAMED = 5
# What a file adds to the id of its case, as in BraTS2021_00000_flair.nii.gz.
_MODALITY = re.compile(rf"[_-]({'|'.join(MODALITIES)}|seg|t1n|t1c|t2w|t2f)$")


@dataclass(frozen=True)
class CaseList:
    """What a root holds.

    Attributes:
        layout: How it is stored.
        classes: Class names; a case's label is an index into them.
        cases: Usable cases by id.
        present: How many of all cases have each modality, and a mask (``seg``).
        findings: Everything that is wrong, and everything that is not used.
        ids: Of all cases, usable or not.
    """

    layout: Layout
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    present: dict[str, int]
    findings: tuple[Finding, ...]
    ids: tuple[str, ...]


def list_cases(
    root: Path, needed: Sequence[str], layout: str | None = None, subset: str | None = None
) -> CaseList:
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
    kind = _kind(root)
    if stat.S_ISREG(kind) and root.name.lower().endswith((".csv", ".tsv")):
        root, layout = root.parent, layout or Manifest.name
    elif not stat.S_ISDIR(kind):
        raise DatasetNotFound(
            f"Data not found: there is no folder {root}. Correct --data-root, or {_GUIDE} for how "
            "to get the data."
        )
    tree = Tree.walk(root)
    if root in tree.unusable:
        raise DatasetError(f"{root} {tree.unusable[root]}. Correct its permissions.")
    chosen, signs = detect(tree, layout)
    listing = chosen.read(tree, signs)
    entries, findings = _labelled(tree, listing)
    entries, unfit = _legible(entries)
    entries, left_out = _subset(entries, subset, chosen)
    classes, faults = _classes(entries)
    findings += [*unfit, *left_out, *faults]
    cases, incomplete = _cases(entries, classes, needed, chosen)
    findings += [*incomplete, *_links(tree), *_unusable(tree), *_strays(tree, listing)]
    present = Counter(m for entry in entries for m in entry.files)
    ids = tuple(sorted({entry.id for entry in entries}))
    return CaseList(chosen, classes, tuple(cases), dict(present), tuple(findings), ids)


def _kind(root: Path) -> int:
    """Return the file type of a path, 0 where there is nothing.

    Raises:
        DatasetError: If a folder above it may not be read.
    """
    try:
        return root.stat().st_mode
    except PermissionError as e:
        raise DatasetError(f"{root} cannot be read: {e.strerror}. Correct its permissions.") from e
    except OSError:
        return 0


def detect(tree: Tree, name: str | None = None) -> tuple[Layout, Sequence[Path]]:
    """Return the one layout that a tree shows, with what it was recognised by.

    Raises:
        DatasetNotFound: If there is none.
        DatasetError: If there are several and none is named, or there is none of this name.
    """
    if name is not None and (not isinstance(name, str) or name not in LAYOUTS):
        raise BadOption(f"There is no layout '{name}'. Known: {', '.join(LAYOUTS)}.")
    asked = [LAYOUTS[name]] if name else list(LAYOUTS.values())
    matches = [(layout, signs) for layout in asked if (signs := layout.signs(tree))]
    if not matches:
        refused = [f"{_name(tree, path)} {reason}" for path, reason in tree.unusable.items()]
        if refused:
            raise DatasetError(
                f"No known layout in {tree.root}, where not everything can be read: "
                f"{some(refused, '; ')}. Repair or remove that first."
            )
        if tree.outside:
            named = some(f"{_name(tree, path)} to {path.readlink()}" for path in tree.outside)
            raise DatasetError(
                f"No known layout in {tree.root}, where "
                f"{counted(len(tree.outside), 'link')} out of it, not followed: {named}. {_LINKS}"
            )
        expected = "; ".join(f"{layout.label}: {layout.expected}" for layout in asked)
        raise DatasetNotFound(
            f"No known layout in {tree.root}. Expected one of these: {expected}. Correct "
            f"--data-root, or {_GUIDE}."
        )
    if len(matches) > 1:
        seen = " and ".join(f"{layout.label} ({signs[0].name})" for layout, signs in matches)
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
    tables = [p for n, p in tree.within(tree.root).items() if n in _LABELS]
    if not tables:
        return entries, findings
    if len(tables) > 1:
        raise DatasetError(f"{tree.root} has {' and '.join(_LABELS)}. Keep one of them.")
    (table,) = tables
    if any(entry.grade for entry in entries):
        message = "is not used: this layout has classes of its own"
        return entries, [*findings, Finding("warning", table.name, message)]
    rows, repeats, torn = unique_rows(
        read_table(table, ["case_id", "label|class|grade"]), "case_id", table.name, _label_of
    )
    findings += repeats
    ids = [entry.id for entry in entries]
    if not rows.keys() & set(ids):
        findings.append(Finding("error", "", _no_match(table.name, list(rows), ids)))
        return [replace(entry, grade="?") for entry in entries], findings
    labelled = []
    for entry in entries:
        row = rows.pop(entry.id, None)
        grade, fault = _grade_of(row, table.name) if row else ("", "")
        findings += [Finding("error", entry.id, fault)] * bool(fault)
        patient = (row.get("patient_id") if row else "") or entry.patient
        grade = "?" if fault or entry.id in torn else grade
        labelled.append(replace(entry, grade=grade, patient=patient))
    lone = [i for i, entry in zip(ids, labelled, strict=True) if not entry.grade]
    findings += [
        Finding("warning", case, f"is in {table.name} but not among the cases{_near(case, lone)}")
        for case in rows
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


def _label_of(row: CsvRow) -> Mapping[str, str]:
    """Return what a row of ``labels.csv`` says of its case."""
    grade, fault = class_of(row)
    return {"class": grade or fault, "patient_id": row.get("patient_id")}


def _grade_of(row: CsvRow, table: str) -> tuple[str, str]:
    """Return (class name, fault) of a row of a table whose purpose it is to give classes."""
    grade, fault = class_of(row)
    return grade, fault or ("" if grade else f"has no class in {table} (line {row.line})")


def _no_match(table: str, given: Sequence[str], ids: Sequence[str]) -> str:
    """Say that no row of a table belongs to a case, and what ids would."""
    if not given:
        return f"{table} has no rows. Give one for each case, with ids such as {ids[0]}."
    near = next((hint for case in given if (hint := _near(case, ids))), "")
    return (
        f"no row of {table} belongs to a case: it has ids such as '{given[0]}', and the cases are "
        f"called {some(ids[:2])}{', …' if len(ids) > 2 else ''}{near}. Correct the column case_id."
    )


def _near(case: str, ids: Sequence[str]) -> str:
    """Say which case an id probably means, for the end of a clause; empty if none is near."""
    plain = {_plain_id(i): i for i in ids}
    close = get_close_matches(case, ids, n=1, cutoff=0.85)
    name = plain.get(_plain_id(case)) or next(iter(close), "")
    return f"; '{case}' is perhaps {name}" if name else ""


def _plain_id(text: str) -> str:
    """Drop what ids are often written with or without: case, folder, ending, leading zeros."""
    name = PurePosixPath(text.lower()).name
    name = _MODALITY.sub("", name.removesuffix(ending(name)))
    return re.sub(r"0+(?=\d)", "", re.sub(r"[-_. ]+", "-", name))


def _subset(
    entries: Sequence[Entry], subset: str | None, layout: Layout
) -> tuple[list[Entry], list[Finding]]:
    if subset is None:
        return list(entries), []
    if (subset, layout.name) != ("brats2019", "brats2020"):
        raise BadOption(
            f"The option subset is '{subset}' and the layout {layout.label}; expected "
            "subset=brats2019 and BraTS 2020. Leave it out."
        )
    kept = [e for e in entries if e.patient.lower().startswith("brats19_")]
    lost = counted(len(entries) - len(kept), "case")
    message = f"{lost} without a 2019 id left out by subset=brats2019"
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
            "error",
            _name(tree, path),
            f"is a link to {path.readlink()}, outside: not followed. {_LINKS}",
        )
        for path in tree.outside
    ]


def _unusable(tree: Tree) -> list[Finding]:
    """Name what cannot be read; without one of its tables, all of a collection is in doubt."""
    findings = []
    for path, reason in sorted(tree.unusable.items()):
        name, advice = _name(tree, path), "Repair, replace or remove it"
        if path.name.lower() in TABLES:
            findings.append(Finding("error", "", f"{name} {reason}. {advice}"))
        else:
            findings.append(Finding("error", name, f"{reason}. {advice}"))
    return findings


def _strays(tree: Tree, listing: Listing) -> list[Finding]:
    """Name every file that belongs to no case."""
    used = {path for entry in listing.entries for path in entry.files.values()} | listing.known
    used |= {path for name, path in tree.within(tree.root).items() if name in _LABELS}
    return [
        Finding("warning", _name(tree, path), f"belongs to no case: not used{_elsewhere(path)}")
        for path in tree.files
        if path not in used and not path.name.lower().startswith(_COMMON)
    ]


def _elsewhere(path: Path) -> str:
    return "; it is read in the root only" if path.name.lower() in _LABELS else ""


def some(names: Iterable[str], joint: str = ", ") -> str:
    """Return the first names, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED
    return joint.join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _name(tree: Tree, path: Path) -> str:
    return path.relative_to(tree.root).as_posix()
