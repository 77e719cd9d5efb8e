"""BIDS: ``sub-*[/ses-*]/anat/`` with ``participants.tsv``, raw or as a derivative.

The modality is the suffix (FLAIR, T1w, T2w); T1w with the entity ``ce`` is t1ce. The mask is the
``dseg`` (or ``mask``) file of the same session; ``dseg.tsv`` beside it or at the root names its
labels. The class stands in ``participants.tsv`` under ``class``, ``label`` or ``grade``.

Source: Gorgolewski et al. 2016 (Scientific Data 3:160044); BIDS 1.10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cerebench.datasets.base import Finding
from cerebench.datasets.layouts.base import (
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

_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_MODALITY = {"flair": "flair", "t1w": "t1", "t2w": "t2"}


class Bids(Layout):
    """One folder a subject, with a table of participants."""

    name, label, family = "bids", "BIDS", "bids"
    expected = "sub-*/anat/ with participants.tsv"

    def signs(self, tree: Tree) -> Sequence[Path]:
        """Return the folders of subjects that hold images."""
        return [
            f
            for f in tree.folders
            if f.parent == tree.root and _SUBJECT.fullmatch(f.name) and _anat(tree, f)
        ]

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the sessions of every subject with what the table says of it."""
        rows, findings, torn = _participants(tree)
        entries, listed = [], bool(rows)
        for subject in signs:
            row = rows.pop(subject.name, None)
            if row is None and listed:
                message = "has no row in participants.tsv"
                findings.append(Finding("error", subject.name, message))
            grade, fault = class_of(row or CsvRow(0))
            if fault:
                findings.append(Finding("error", subject.name, fault))
            if fault or subject.name in torn:
                grade = "?"  # keeps the case apart from those that have a class
            patient = (row or CsvRow(0)).get("patient", "patient_id") or subject.name
            for folder in _anat(tree, subject):
                files, problems = _files(tree, folder)
                session = folder.parent.name if folder.parent != subject else ""
                case = f"{subject.name}_{session}" if session else subject.name
                findings += [Finding("error", case, text) for text in problems.values()]
                site, refused = (row or CsvRow(0)).get("site"), frozenset(problems)
                entries.append(Entry(case, patient, files, str(folder), grade, site, refused))
        for missing in sorted(rows):
            findings.append(Finding("error", missing, "is in participants.tsv but has no images"))
        known = [p for p in tree.files if p.suffix in (".json", ".tsv", ".bval", ".bvec")]
        return Listing(tuple(entries), tuple(findings), frozenset(known))


def _anat(tree: Tree, subject: Path) -> list[Path]:
    return [
        f
        for f in tree.folders
        if f.name == "anat" and subject in f.parents and len(f.relative_to(subject).parts) <= 2
    ]


def _participants(tree: Tree) -> tuple[dict[str, CsvRow], list[Finding], set[str]]:
    """Return rows by participant, findings, and the participants whose rows contradict each other.

    One that is listed twice is as in ``unique_rows``.
    """
    path = tree.within(tree.root).get("participants.tsv")
    rows, findings = [], []
    for row in read_table(path, ["participant_id"]) if path else []:
        name = row.get("participant_id")
        if _SUBJECT.fullmatch(name):
            rows.append(row)
        else:
            message = f"line {row.line}: '{name}' is no participant; expected sub-<letters, digits>"
            findings.append(Finding("error", "participants.tsv", message))
    unique, repeats, torn = unique_rows(rows, "participant_id", "participants.tsv", _statements)
    return unique, [*findings, *repeats], torn


def _statements(row: CsvRow) -> Mapping[str, str]:
    """Return what a row says of its participant."""
    grade, fault = class_of(row)
    patient = row.get("patient", "patient_id")
    return {"class": grade or fault, "patient": patient, "site": row.get("site")}


def _files(tree: Tree, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the files of a session by modality, and what is ambiguous."""
    groups: dict[str, list[Path]] = {}
    for path in tree.within(folder).values():
        modality = modality_of(path.name)
        if modality:
            groups.setdefault(modality, []).append(path)
    problems = {
        modality: f"has {len(paths)} files for {modality}; expected one: "
        + ", ".join(p.name for p in paths)
        for modality, paths in groups.items()
        if len(paths) > 1
    }
    return {m: paths[0] for m, paths in groups.items() if len(paths) == 1}, problems


def modality_of(name: str) -> str:
    """Return the modality of a BIDS file name, ``seg`` for a mask, or an empty string.

    Example:
        >>> modality_of("sub-01_ce-gadolinium_T1w.nii.gz"), modality_of("sub-01_dseg.nii.gz")
        ('t1ce', 'seg')
    """
    end = ending(name)
    parts = name[: -len(end)].split("_") if end else []
    entities: Mapping[str, str] = {
        name: value for name, _, value in (part.partition("-") for part in parts[:-1])
    }
    suffix = parts[-1].lower() if parts else ""
    if suffix in ("dseg", "mask"):
        return "" if entities.get("desc") == "brain" else "seg"
    modality = _MODALITY.get(suffix, "")
    return "t1ce" if modality == "t1" and "ce" in entities else modality
