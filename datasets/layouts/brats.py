"""BraTS 2018 to 2024: one folder per case, whose name tells the edition.

- 2018 and 2019: ``HGG/`` and ``LGG/`` hold folders such as ``BraTS19_TCIA13_653_1``;
- 2020: folders ``BraTS20_Training_001`` and, for the grades, ``name_mapping.csv``;
- 2021: folders ``BraTS2021_00000``, no grades;
- 2023 and 2024: folders ``BraTS-GLI-00005-001`` (patient 00005, time point 1), no grades. Time
  points of the post-treatment set of 2024 count from 100.

Source: Menze et al. 2015 (IEEE TMI), Bakas et al. 2017 (Scientific Data 4:170117), Bakas et al.
2018 (arXiv:1811.02629), Baid et al. 2021 (arXiv:2107.02314), de Verdier et al. 2024
(arXiv:2405.18368).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from cerebench.datasets.base import DatasetError, Finding
from cerebench.datasets.layouts.base import (
    LABELS,
    MODALITIES,
    CsvRow,
    Entry,
    Layout,
    Listing,
    Tree,
    known_value,
    read_table,
    unique_rows,
)

CLASSES = ("LGG", "HGG")
# BraTS19_<site>_<number>_<scan>; the site may hold digits and underscores.
_SITE = re.compile(r"brats1[89]_(.+)_[^_]+_\d+", re.IGNORECASE)
_MAPPING = "name_mapping.csv"
_MAPPING_ID = "BraTS_2020_subject_ID"
_MAPPING_PATIENT = "BraTS_2019_subject_ID"
_TABLES = ("name_mapping.csv", "survival_info.csv", "survival_data.csv", "survival_evaluation.csv")


def site_of(patient: str) -> str:
    """Return the site in an id of 2018 or 2019, or an empty string.

    Example:
        >>> site_of("BraTS19_2013_0_1"), site_of("BraTS19_TCIA13_653_1")
        ('2013', 'TCIA13')
    """
    match = _SITE.fullmatch(patient)
    return match[1] if match else ""


class Edition(Layout):
    """What the editions share: finding case folders by name, and files by case and modality."""

    family = "brats"
    source = "Menze et al. 2015; Bakas et al. 2017, 2018"
    licence = "data use terms of the BraTS challenge; TCIA parts CC BY 3.0"
    labels = LABELS["brats2021"]
    pattern: ClassVar[re.Pattern[str]]
    joint: ClassVar[str] = "_"
    names: ClassVar[Mapping[str, str]] = {m: m for m in MODALITIES}

    def signs(self, tree: Tree) -> Sequence[Path]:
        """Return the case folders whose names are those of this edition."""
        return [f for f in tree.folders if f != tree.root and self._is_case(f)]

    def _is_case(self, folder: Path) -> bool:
        return self.pattern.fullmatch(folder.name) is not None

    def files_of(self, tree: Tree, folder: Path) -> dict[str, Path]:
        """Return the files of one case by modality."""
        images = tree.images(folder)
        wanted = {m: f"{folder.name}{self.joint}{n}".lower() for m, n in self.names.items()}
        wanted["seg"] = f"{folder.name}{self.joint}seg".lower()
        return {m: images[stem] for m, stem in wanted.items() if stem in images}

    def patient_of(self, folder: Path) -> str:
        """Return the patient of a case folder."""
        return folder.name

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the cases; without more, an edition gives no grades."""
        entries = [Entry(f.name, self.patient_of(f), self.files_of(tree, f), str(f)) for f in signs]
        return Listing(tuple(entries), known=_tables(tree))


class _GradedByFolder(Edition):
    """2018 and 2019: the grade is the name of the folder above."""

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        graded = [f for f in signs if f.parent.name.upper() in CLASSES]
        if not graded:
            raise DatasetError(
                f"The BraTS cases in {tree.root} have no grades (expected them inside HGG/ and "
                "LGG/). Use the training set in its original layout, see docs/datasets.md."
            )
        left_out = [
            Finding("warning", f.name, "is not inside HGG/ or LGG/, so it has no grade: left out")
            for f in signs
            if f not in graded
        ]
        entries = [
            Entry(
                f.name, f.name, self.files_of(tree, f), str(f),
                grade=f.parent.name.upper(), site=site_of(f.name),
            )
            for f in graded
        ]  # fmt: skip
        unused = {p for f in signs if f not in graded for p in tree.within(f).values()}
        return Listing(tuple(entries), tuple(left_out), _tables(tree) | unused)


class BraTS2018(_GradedByFolder):
    """The training set of 2018: cases in HGG/ and LGG/."""

    name, label = "brats2018", "BraTS 2018"
    pattern = re.compile(r"brats18_.+_\d+", re.IGNORECASE)
    expected = "HGG/ and LGG/ with folders such as Brats18_TCIA13_653_1"


class BraTS2019(_GradedByFolder):
    """The training set of 2019: cases in HGG/ and LGG/."""

    name, label = "brats2019", "BraTS 2019"
    pattern = re.compile(r"brats19_.+_\d+", re.IGNORECASE)
    expected = "HGG/ and LGG/ with folders such as BraTS19_TCIA13_653_1"


class BraTS2020(Edition):
    """The training set of 2020: grades stand in a table."""

    name, label = "brats2020", "BraTS 2020"
    pattern = re.compile(r"brats20_training_\d{3}", re.IGNORECASE)
    expected = "BraTS20_Training_001 and so on with name_mapping.csv"

    def files_of(self, tree: Tree, folder: Path) -> dict[str, Path]:
        """Find also the mask of a copy of case 355, which kept its name from the clinic."""
        files = super().files_of(tree, folder)
        stray = [path for stem, path in tree.images(folder).items() if "segm" in stem]
        if "seg" not in files and len(stray) == 1:
            files["seg"] = stray[0]
        return files

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the cases with the grades and the older ids of the table."""
        names = {folder.name.lower(): folder.name for folder in signs}
        rows, repeats, torn = _read_mapping(_find_mapping(tree, signs[0]))
        findings = [replace(f, case=names[f.case]) for f in repeats if f.case in names]
        entries = []
        for folder in signs:
            grade, patient = rows.get(folder.name.lower(), ("no row", ""))
            if grade not in CLASSES:
                message = f"{_MAPPING} gives {grade or 'no grade'}; expected one LGG or HGG"
                findings.append(Finding("error", folder.name, message))
            if grade not in CLASSES or folder.name.lower() in torn:
                grade = "?"  # keeps the case apart from those that have a class
            patient = patient or folder.name
            files = self.files_of(tree, folder)
            entries.append(Entry(folder.name, patient, files, str(folder), grade, site_of(patient)))
        return Listing(tuple(entries), tuple(findings), _tables(tree))


class BraTS2021(Edition):
    """The training set of 2021, which gives no grades."""

    name, label = "brats2021", "BraTS 2021"
    source = "Baid et al. 2021, arXiv:2107.02314"
    pattern = re.compile(r"brats2021_\d{5}", re.IGNORECASE)
    expected = "BraTS2021_00000 and so on"


class _TimePoints(Edition):
    """2023 and later: hyphens, new names of the modalities, several scans of a patient."""

    pattern = re.compile(r"brats-(gli|men|met|ped|ssa)-\d{5}-\d{3}", re.IGNORECASE)
    joint = "-"
    names = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}
    late: ClassVar[bool]

    def signs(self, tree: Tree) -> Sequence[Path]:
        return [f for f in super().signs(tree) if _is_late(f) == self.late]

    def patient_of(self, folder: Path) -> str:
        return folder.name.rpartition("-")[0]


class BraTS2023(_TimePoints):
    """The training set of 2023: several time points a patient, no grades."""

    name, label = "brats2023", "BraTS 2023"
    source = "Baid et al. 2021, arXiv:2107.02314; Kazerooni et al. 2023, arXiv:2305.17033"
    labels = LABELS["brats2023"]
    late = False
    expected = "BraTS-GLI-00000-000 and so on (also MEN, MET, PED, SSA)"


class BraTS2024(_TimePoints):
    """The training set of 2024, after treatment: several time points a patient, no grades."""

    name, label = "brats2024", "BraTS 2024"
    source = "de Verdier et al. 2024, arXiv:2405.18368"
    labels = LABELS["brats2024"]
    late = True
    expected = "BraTS-GLI-00005-100 and so on"


def _is_late(folder: Path) -> bool:
    """Tell a case of 2024 by the year of an outer folder, else by its time point."""
    for outer in folder.parents:
        year = re.search(r"brats-?_?(2023|2024)", outer.name, re.IGNORECASE)
        if year:
            return year[1] == "2024"
    return int(folder.name.rpartition("-")[2]) >= 100


def _tables(tree: Tree) -> frozenset[Path]:
    return frozenset(p for p in tree.files if p.name.lower() in _TABLES)


def _find_mapping(tree: Tree, case: Path) -> Path:
    """Look for the table beside the cases, then upwards as far as the root."""
    for folder in case.parents:
        if _MAPPING in tree.within(folder):
            return tree.within(folder)[_MAPPING]
        if reason := tree.unusable.get(folder / _MAPPING):
            raise DatasetError(f"{folder / _MAPPING} {reason}. Repair or replace it.")
        if folder == tree.root:
            break
    raise DatasetError(
        f"BraTS 2020 in {tree.root} has no grades (expected {_MAPPING} beside the case folders). "
        "Copy it from the original download, see docs/datasets.md."
    )


def _read_mapping(path: Path) -> tuple[dict[str, tuple[str, str]], list[Finding], set[str]]:
    """Return (grade, 2019 id or "") by lower-case 2020 id; see ``unique_rows`` for the rest."""
    column = _MAPPING_ID.lower()
    rows = [
        replace(row, values={**row.values, column: row.get(column).lower()})
        for row in read_table(path, ["Grade", _MAPPING_ID])
    ]
    unique, repeats, torn = unique_rows(rows, column, _MAPPING, _mapped)
    names = {name: _mapped(row) for name, row in unique.items()}
    return {name: (one["class"], one["patient"]) for name, one in names.items()}, repeats, torn


def _mapped(row: CsvRow) -> Mapping[str, str]:
    """Return what a row says of its case."""
    patient = known_value(row.get(_MAPPING_PATIENT.lower()))
    return {"class": row.get("grade").upper(), "patient": patient}
