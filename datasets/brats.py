"""BraTS 2018, 2019 and 2020 training sets: FLAIR tumour regions of interest with grade.

The edition is recognised by the names of the case folders, wherever in the root they lie:

- 2018 and 2019: ``HGG/`` and ``LGG/`` hold folders such as ``BraTS19_TCIA13_653_1``;
- 2020: folders ``BraTS20_Training_001`` and, for the grades, ``name_mapping.csv``.

Source: Menze et al. 2015 (IEEE TMI), Bakas et al. 2017 (Scientific Data 4:170117), Bakas et al.
2018 (arXiv:1811.02629).
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import (
    Case,
    Dataset,
    DatasetError,
    DatasetInfo,
    DatasetNotFound,
    Finding,
    Loaded,
    Recipe,
    Split,
)
from cerebench.datasets.cache import canonical_sha256
from cerebench.datasets.roi import CROP, RECIPE, bounding_box, extract_roi
from cerebench.datasets.splits import describe_split, falls_short, patient_split, read_rule
from cerebench.datasets.volumes import SUFFIXES, largest_storable, read_nifti

CLASSES = ("LGG", "HGG")

_EDITIONS = {
    "2018": re.compile(r"brats18_.+_\d+", re.IGNORECASE),
    "2019": re.compile(r"brats19_.+_\d+", re.IGNORECASE),
    "2020": re.compile(r"brats20_training_\d{3}", re.IGNORECASE),
}
# BraTS19_<site>_<number>_<scan>; the site may hold digits and underscores.
_SITE = re.compile(r"brats1[89]_(.+)_[^_]+_\d+", re.IGNORECASE)
_DEPTH = 5  # copies nest the official folder twice, and HGG/ and LGG/ come on top
_MAPPING = "name_mapping.csv"
_MAPPING_ID = "BraTS_2020_subject_ID"
_MAPPING_PATIENT = "BraTS_2019_subject_ID"
_SATURATED = 0.01


@dataclass(frozen=True)
class _Scan:
    """What a walk through the root found: usable cases, and everything that is wrong."""

    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]


class BraTS(Dataset):
    """BraTS training cases, cut to tumour ROIs by the recipe ``roi``."""

    info = DatasetInfo(
        name="brats",
        label="BraTS tumour ROIs",
        classes=CLASSES,
        channels=("flair",),
        source="Menze et al. 2015; Bakas et al. 2017, 2018",
        licence="data use terms of the BraTS challenge; TCIA parts CC BY 3.0",
        synthetic=False,
        needs_root=True,
    )

    def __init__(
        self, size: int, root: Path | None = None, rule: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(size, root, rule)
        if not 1 <= size <= CROP:
            raise DatasetError(
                f"brats cannot give volumes of size {size}; the tumour ROI has {CROP} voxels of "
                f"1 mm. Use --size with 1 to {CROP}."
            )
        if root is None:
            raise DatasetNotFound(
                "brats needs its files. Set --data-root, or see docs/datasets.md for how to get "
                "them."
            )
        read_rule(self.rule)
        self.folder = Path(root)

    @property
    def recipe(self) -> Recipe:
        return RECIPE

    @property
    def spacing(self) -> tuple[float, float, float]:
        return (CROP / self.size,) * 3

    def cases(self) -> Sequence[Case]:
        """List the cases by id.

        Raises:
            DatasetNotFound: If the root holds no BraTS training cases.
            DatasetError: If it holds several editions, or cases without files or grade; all are
                named.
        """
        errors = [f for f in self._scan.findings if f.severity == "error"]
        if errors:
            lines = "\n".join(f"{f.case}: {f.message}" for f in errors)
            raise DatasetError(
                f"{len(errors)} cases in {self.folder} cannot be used. Complete or remove them:\n"
                + lines
            )
        return self._scan.cases

    def fingerprint(self, hashes: Mapping[str, str]) -> str:
        cases = {
            case.id: [
                case.label,
                hashes[str(case.files["flair"])],
                hashes[str(case.files["seg"])],
            ]
            for case in self.cases()
        }
        recipe = {
            "name": RECIPE.name,
            "version": RECIPE.version,
            "settings": dict(RECIPE.settings),
        }
        return canonical_sha256({"recipe": recipe, "size": self.size, "cases": cases})

    def load(self, case: Case) -> Loaded:
        try:
            image, spacing = read_nifti(case.files["flair"])
            segmentation, _ = read_nifti(case.files["seg"])
            return extract_roi(image, segmentation, spacing, self.size)
        except DatasetError as e:
            raise DatasetError(f"{case.id}: {e}") from e

    def split(self, seed: int) -> Split:
        return patient_split(self.cases(), CLASSES, read_rule(self.rule), seed)

    def check(self) -> list[Finding]:
        """Report everything that is wrong with the files, case by case; reads every volume."""
        findings = list(self._scan.findings)
        shapes: dict[str, tuple[int, ...]] = {}
        contents: dict[str, list[str]] = defaultdict(list)
        for case in self._scan.cases:
            try:
                image, spacing = read_nifti(case.files["flair"])
                segmentation, _ = read_nifti(case.files["seg"])
                roi = extract_roi(image, segmentation, spacing, self.size)
                largest = largest_storable(case.files["flair"])
            except DatasetError as e:
                findings.append(Finding("error", case.id, str(e)))
                continue
            mask = segmentation > 0
            findings += _check_intensities(case.id, image, mask, largest)
            findings += _check_extent(case.id, mask, roi)
            shapes[case.id] = image.shape
            contents[hashlib.sha256(image).hexdigest()].append(case.id)
        findings += _check_shapes(shapes)
        findings += _check_contents(contents)
        findings += _check_sites(self._scan.cases)
        findings += _check_split(self._scan.cases, read_rule(self.rule))
        return findings

    @cached_property
    def _scan(self) -> _Scan:
        return _scan(self.folder)


def _scan(root: Path) -> _Scan:
    """Find the one edition in a root and list its cases.

    Raises:
        DatasetNotFound: If there is none.
        DatasetError: If there are several, or none of the cases has a grade.
    """
    if not root.is_dir():
        raise DatasetNotFound(
            f"BraTS not found: there is no folder {root}. Correct --data-root, or see "
            "docs/datasets.md for how to get the data."
        )
    found: dict[str, list[Path]] = defaultdict(list)
    for edition, folder in _walk(root, _DEPTH):
        found[edition].append(folder)
    if not found:
        raise DatasetNotFound(
            f"BraTS not found in {root} (expected HGG/ and LGG/ with folders such as "
            "BraTS19_TCIA13_653_1, or BraTS20_Training_001 and so on with name_mapping.csv). Set "
            "--data-root, or see docs/datasets.md for how to get it."
        )
    if len(found) > 1:
        raise DatasetError(
            f"{root} holds BraTS {' and '.join(sorted(found))}, which share patients. Set "
            "--data-root to the folder of one edition."
        )
    ((edition, folders),) = found.items()
    return _list_by_table(root, folders) if edition == "2020" else _list_by_folder(root, folders)


def _walk(folder: Path, depth: int) -> Iterator[tuple[str, Path]]:
    """Yield (edition, folder) of every case folder, in the order of their paths."""
    for child in sorted(folder.iterdir()):
        if child.name.startswith(".") or not child.is_dir():
            continue
        edition = next((e for e, name in _EDITIONS.items() if name.fullmatch(child.name)), None)
        if edition:
            yield edition, child
        elif depth > 1:
            yield from _walk(child, depth - 1)


def _list_by_folder(root: Path, folders: Sequence[Path]) -> _Scan:
    """List cases whose grade is the name of the folder above (2018, 2019)."""
    graded = [folder for folder in folders if folder.parent.name.upper() in CLASSES]
    if not graded:
        raise DatasetError(
            f"The BraTS cases in {root} have no grades (expected them inside HGG/ and LGG/). Use "
            "the training set in its original layout, see docs/datasets.md."
        )
    left_out = [
        Finding("warning", folder.name, "is not inside HGG/ or LGG/, so it has no grade: left out")
        for folder in folders
        if folder not in graded
    ]
    entries = [
        (folder, folder.name, CLASSES.index(folder.parent.name.upper())) for folder in graded
    ]
    return _list(entries, left_out)


def _list_by_table(root: Path, folders: Sequence[Path]) -> _Scan:
    """List cases whose grade is in ``name_mapping.csv`` (2020)."""
    rows = _read_mapping(_find_mapping(root, folders[0]))
    entries, findings = [], []
    for folder in folders:
        grades = rows.get(folder.name.lower(), [])
        labels = {grade for grade, _ in grades}
        if len(labels) != 1 or not labels <= set(CLASSES):
            given = " and ".join(sorted(labels)) or "no row"
            findings.append(
                Finding("error", folder.name, f"{_MAPPING} gives {given}; expected one LGG or HGG")
            )
            continue
        grade, patient = grades[0]
        entries.append((folder, patient or folder.name, CLASSES.index(grade)))
    return _list(entries, findings)


def _find_mapping(root: Path, case: Path) -> Path:
    """Look for the table beside the cases, then upwards as far as the root."""
    for folder in case.parents:
        if (folder / _MAPPING).is_file():
            return folder / _MAPPING
        if folder == root:
            break
    raise DatasetError(
        f"BraTS 2020 in {root} has no grades (expected {_MAPPING} beside the case folders). Copy "
        "it from the original download, see docs/datasets.md."
    )


def _read_mapping(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return (grade, 2019 id or "") of every row by lower-case 2020 id."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"Grade", _MAPPING_ID} - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(
                f"{path} lacks the column {', '.join(sorted(missing))}. Use the file of the "
                "original download."
            )
        rows = defaultdict(list)
        for row in reader:
            patient = (row.get(_MAPPING_PATIENT) or "").strip()
            known = "" if patient.upper() == "NA" else patient
            grade = (row["Grade"] or "").strip().upper()
            rows[(row[_MAPPING_ID] or "").strip().lower()].append((grade, known))
    return rows


def _list(entries: Sequence[tuple[Path, str, int]], findings: Sequence[Finding]) -> _Scan:
    """Turn (folder, patient, label) into cases by id; incomplete and repeated ones are errors."""
    problems, cases = list(findings), []
    counts = Counter(folder.name for folder, _, _ in entries)
    for folder, patient, label in sorted(entries, key=lambda entry: entry[0].name):
        files = {"flair": _find(folder, "flair"), "seg": _find(folder, "seg") or _stray(folder)}
        absent = [name for name, path in files.items() if path is None]
        if counts[folder.name] > 1:
            problems.append(Finding("error", folder.name, f"id occurs twice, here in {folder}"))
        elif absent:
            names = " and ".join(f"{folder.name}_{name}.nii.gz" for name in absent)
            problems.append(Finding("error", folder.name, f"{names} is missing in {folder}"))
        else:
            cases.append(Case(folder.name, patient, label, files))
    return _Scan(tuple(cases), tuple(problems))


def _find(folder: Path, modality: str) -> Path | None:
    """Return ``<case>_<modality>.nii.gz``, else ``.nii``; upper or lower case."""
    by_name = {path.name.lower(): path for path in folder.iterdir() if path.is_file()}
    stem = f"{folder.name}_{modality}".lower()
    return next((by_name[stem + end] for end in SUFFIXES if stem + end in by_name), None)


def _stray(folder: Path) -> Path | None:
    """Find the mask of a copy of case 355 of 2020, which kept its name from the clinic."""
    found = [
        path
        for path in folder.iterdir()
        if "segm" in path.name.lower() and path.name.lower().endswith(SUFFIXES)
    ]
    return found[0] if len(found) == 1 else None


def _check_intensities(
    case: str, image: NDArray[np.float32], mask: NDArray[np.bool_], largest: float | None
) -> list[Finding]:
    findings = []
    inside = image[mask]
    if inside.min() == inside.max():
        findings.append(Finding("error", case, f"FLAIR is {inside.min():g} in the whole tumour"))
    saturated = 0.0 if largest is None else float((inside >= largest).mean())
    if saturated > _SATURATED:
        findings.append(
            Finding(
                "warning",
                case,
                f"{saturated:.1%} of the tumour is at {largest:g}, the largest value of the "
                "file's type: saturated",
            )
        )
    if (image < 0).any():
        findings.append(
            Finding(
                "warning",
                case,
                f"{(image < 0).mean():.1%} of the scan and {(inside < 0).mean():.1%} of the tumour "
                "are negative and will be set to 0; use the scan before any z-scoring",
            )
        )
    return findings


def _check_extent(case: str, mask: NDArray[np.bool_], roi: Loaded) -> list[Finding]:
    findings = []
    if not roi.mask.any():
        edge = roi.mask.shape[-1]
        message = f"the tumour fills no voxel by half at size {edge}: its mask is empty there"
        findings.append(Finding("warning", case, message))
    lost = roi.facts["lost_voxels"]
    if not lost:
        return findings
    lengths = " × ".join(str(high - low + 1) for low, high in bounding_box(mask))
    total = roi.facts["mask_voxels"]
    message = (
        f"the tumour spans {lengths} voxels (z, y, x); {lost} of its {total} voxels "
        f"({lost / total:.2%}) lie outside the {CROP}³ crop"
    )
    findings.append(Finding("warning", case, message))
    return findings


def _check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> list[Finding]:
    usual = Counter(shapes.values()).most_common(1)
    return [
        Finding("warning", case, f"has shape {shape} (z, y, x); most cases have {usual[0][0]}")
        for case, shape in shapes.items()
        if shape != usual[0][0]
    ]


def _check_contents(contents: Mapping[str, Sequence[str]]) -> list[Finding]:
    return [
        Finding("error", ids[0], f"has the same FLAIR as {', '.join(ids[1:])}")
        for ids in contents.values()
        if len(ids) > 1
    ]


def _check_sites(cases: Sequence[Case]) -> list[Finding]:
    """Warn when a site, read from the 2018 or 2019 id, has patients of one class only."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for case in cases:
        site = _SITE.fullmatch(case.patient)
        if site:
            counts[site[1]][case.label] += 1
    single = [
        f"{site} ({labels.total()} {CLASSES[next(iter(labels))]})"
        for site, labels in sorted(counts.items())
        if len(labels) == 1
    ]
    if not single:
        return []
    return [
        Finding(
            "warning",
            "",
            f"sites with one class only: {', '.join(single)}; a classifier may tell the scanner "
            "from the image instead of the grade",
        )
    ]


def _check_split(cases: Sequence[Case], test: int) -> list[Finding]:
    try:
        sentence = describe_split(cases, CLASSES, test)
    except DatasetError as e:
        return [Finding("error", "", str(e))]
    totals = [len({c.patient for c in cases if c.label == label}) for label in range(len(CLASSES))]
    return [Finding("warning", "", sentence)] if falls_short(totals, test) else []
