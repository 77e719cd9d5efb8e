"""Folders of volumes that nobody prepared for us: found, checked file by file, read one at a time.

Three layouts, told apart by what is there: ``participants.tsv`` with the columns ``participant_id``
and ``class`` beside ``sub-*`` folders (a BIDS derivative); one subfolder a class; or plain files.
Of a BIDS derivative masks and segmentations are no volumes, by their names.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cerebench.benchmark import store
from cerebench.core.records import files as recorded
from cerebench.core.records.base import Misfit
from cerebench.core.records.trained import SampleRecord
from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.names import check_labels, find_label
from cerebench.datasets.volumes import SUFFIXES, read_nifti
from cerebench.metrics.base import LazyVolumes, Volume

ONE_CLASS = "all"
REACH = 0.5  # of the width of the range: values farther out mean another range, not overshoot
ROUNDING = 1e-6
SPACING_TOLERANCE = 0.01
_NAMED_FAULTS = 20
_COMPANIONS = ("participants.tsv", "split.csv", "training_cases.tsv")
_TEXTS = ("readme", "license", "licence", "changes")  # with any of these endings
_TEXT_ENDINGS = ("", ".md", ".rst", ".txt")
_LABELS = ("mask", "dseg", "probseg")  # suffixes that BIDS gives to segmentations

Shape = tuple[int, int, int]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Entry:
    """One usable file.

    Attributes:
        id: Path below its class folder without ending; equal ids in two folders are partners.
        shape: (D, H, W), voxels; ``spacing`` in mm.
        outside: Voxels outside the value range; they are clipped.
    """

    path: Path
    id: str
    sha256: str
    shape: Shape
    spacing: tuple[float, float, float]
    outside: int


@dataclass(frozen=True)
class Fault:
    """A file that cannot be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Folder:
    """A checked folder: usable files by class, and everything that is wrong with the others."""

    path: Path
    value_range: tuple[float, float]
    classes: Mapping[str, tuple[Entry, ...]]
    faults: tuple[Fault, ...]

    @property
    def content(self) -> dict[str, dict[str, str]]:
        """SHA-256 of every usable file by class and id."""
        return {name: {e.id: e.sha256 for e in files} for name, files in self.classes.items()}

    @property
    def entries(self) -> list[Entry]:
        """The files of all classes."""
        return [entry for files in self.classes.values() for entry in files]


def check(
    path: Path, value_range: tuple[float, float], progress: Progress = lambda done, total: None
) -> Folder:
    """Find the volumes of a folder and read each once.

    Args:
        path: The folder.
        value_range: Stored values that become -1 (background) and 1.
        progress: Told (files read, files in all).

    Raises:
        DatasetNotFound: If there is no such folder.
        DatasetError: If it holds no NIfTI file, its layout is ambiguous, or the range is no range.
    """
    low, high = value_range
    if not (np.isfinite(value_range).all() and low < high):
        raise DatasetError(
            f"The range of values is [{low:g}, {high:g}]; expected two numbers, the lower one "
            "first, for example --range 0 1."
        )
    if not path.is_dir():
        raise DatasetNotFound(f"No folder at {path}. Check the path.")
    refuse_damaged(path)
    found, faults = find(path)
    total, done = sum(map(len, found.values())), 0
    classes: dict[str, tuple[Entry, ...]] = {}
    lows: list[float] = []
    for name, files in found.items():
        good = []
        for file, identity in files:
            done += 1
            progress(done, total)
            try:
                entry, lowest = _examine(file, identity, value_range)
            except DatasetError as error:
                faults.append(Fault(file, str(error)))
                continue
            good.append(entry)
            lows.append(lowest)
        classes[name] = tuple(good)
    if value_range == (-1.0, 1.0) and lows and min(lows) >= 0:
        raise DatasetError(
            f"No volume in {path} has a value below 0, but the background must be -1: it looks "
            "like [0, 1]. Give --range 0 1."
        )
    return Folder(path, value_range, classes, tuple(faults))


def refuse_damaged(folder: Path) -> None:
    """Refuse samples that a run wrote and that are no longer what their record vouches for.

    Raises:
        DatasetError: Naming the files.
    """
    told = store.read_json(folder / "record.json")
    if not isinstance(told, dict) or told.get("kind") != SampleRecord.kind:
        return
    try:
        found = recorded.read(SampleRecord, folder / "record.json")
    except Misfit as fault:
        raise DatasetError(
            f"{fault}. So nothing vouches for these samples: the run that made them makes it anew; "
            "or copy the volumes you want into a folder of their own, without record.json."
        ) from fault
    lost = store.damaged(folder, found[1].files if found else {})
    if lost:
        more = f" and {len(lost) - _NAMED_FAULTS} more" if len(lost) > _NAMED_FAULTS else ""
        raise DatasetError(
            f"{len(lost)} files in {folder} are gone or not what its record.json vouches for: "
            f"{', '.join(lost[:_NAMED_FAULTS])}{more}. The run that made them draws them again; "
            "or copy the volumes you want into a folder of their own, without record.json."
        )


def find(folder: Path) -> tuple[dict[str, list[tuple[Path, str]]], list[Fault]]:
    """Sort the files of a folder by class, with the id of each.

    Raises:
        DatasetError: If there is no NIfTI file, a class label cannot be used, or there are both
            files and class folders.
    """
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )
    nifti = [p for p in files if p.name.lower().endswith(SUFFIXES)]
    strange = [p for p in files if p not in set(nifti) and not _companion(p)]
    images = [p for p in nifti if not _is_segmentation(p)]
    faults = [Fault(p, f"{p} is not a NIfTI file (.nii or .nii.gz).") for p in strange]
    if not images:
        raise DatasetError(f"{folder} holds no .nii or .nii.gz file. Check the path.")
    _refuse_contrasts(images)
    table = _classes_of_subjects(folder / "participants.tsv")
    found: dict[str, list[tuple[Path, str]]] = {}
    tops = {p.relative_to(folder).parts[0] for p in images}
    plain = any(len(p.relative_to(folder).parts) == 1 for p in images)
    grouped = not plain and not any(top.startswith("sub-") for top in tops)
    if plain and any(_is_class_folder(folder, p) for p in images):
        raise DatasetError(
            f"{folder} holds volumes beside folders of volumes. Keep either plain files or one "
            "subfolder a class."
        )
    for image in images:
        relative = image.relative_to(folder)
        subject = relative.parts[0]
        if table is not None and subject not in table:
            faults.append(Fault(image, f"{image}: participants.tsv has no row for {subject}."))
            continue
        name = table[subject] if table else _class_name(subject) if grouped else ONE_CLASS
        below = Path(*relative.parts[1:]) if grouped and table is None else relative
        found.setdefault(name, []).append((image, _stem(below)))
    check_labels(found, folder if table is None else folder / "participants.tsv")
    return dict(sorted(found.items())), faults


def _is_class_folder(folder: Path, image: Path) -> bool:
    parts = image.relative_to(folder).parts
    return len(parts) > 1 and not parts[0].startswith("sub-")


def _companion(path: Path) -> bool:
    name = path.name.lower()
    text = path.stem.lower() in _TEXTS and path.suffix.lower() in _TEXT_ENDINGS
    return text or name in _COMPANIONS or name.endswith((".json", ".bval", ".bvec"))


def _bids_parts(path: Path) -> list[str]:
    """Return the parts of a BIDS file name without subject, session and run; else nothing."""
    parts = _stem(Path(path.name)).split("_")
    known = parts[0].startswith("sub-")
    return [p for p in parts if not p.startswith(("sub-", "ses-", "run-"))] if known else []


def _is_segmentation(path: Path) -> bool:
    return bool(parts := _bids_parts(path)) and parts[-1] in _LABELS


def _refuse_contrasts(images: Sequence[Path]) -> None:
    """Refuse several contrasts of one subject: they would count as cases.

    Raises:
        DatasetError: If a folder holds BIDS volumes that differ by more than session and run.
    """
    kinds: dict[Path, set[str]] = {}
    for image in images:
        if parts := _bids_parts(image):
            kinds.setdefault(image.parent, set()).add("_".join(parts))
    folder, found = max(kinds.items(), key=lambda item: len(item[1]), default=(None, ()))
    if len(found) > 1:
        raise DatasetError(
            f"{folder} holds {len(found)} contrasts of one subject: {', '.join(sorted(found))}; "
            "one volume a case is expected. Keep the files of one contrast in a folder of their "
            "own."
        )


def _class_name(folder: str) -> str:
    return folder[6:] if folder.lower().startswith("class_") else folder


def _stem(path: Path) -> str:
    text = path.as_posix()
    return text[: text.lower().rindex(".nii")]


def _classes_of_subjects(table: Path) -> dict[str, str] | None:
    """Read participants.tsv; None where there is none or it names no class."""
    if not table.is_file():
        return None
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if not rows or not {"participant_id", "class"} <= set(rows[0]):
        return None
    return {row["participant_id"] or "": row["class"] or ONE_CLASS for row in rows}


def _examine(path: Path, identity: str, value_range: tuple[float, float]) -> tuple[Entry, float]:
    """Read a file whole; return what is kept about it, and its lowest value."""
    values, spacing = read_nifti(path)
    low, high = value_range
    lowest, highest, reach = float(values.min()), float(values.max()), REACH * (high - low)
    if lowest < low - reach or highest > high + reach:
        raise DatasetError(
            f"{path} has values in [{lowest:g}, {highest:g}]; expected [{low:g}, {high:g}]. "
            "Rescale it, or give the range of the values with --range LOW HIGH."
        )
    margin = ROUNDING * (high - low)
    outside = int(np.count_nonzero((values < low - margin) | (values > high + margin)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = Entry(path, identity, digest, values.shape, spacing, outside)  # type: ignore[arg-type]
    return entry, lowest


def with_shape(folders: Sequence[Folder], shape: Shape | None) -> tuple[list[Folder], Shape]:
    """Agree on one shape: the given one, or the most common; others become faults.

    Args:
        folders: Checked folders.
        shape: Shape that all files will be resampled to, which therefore refuses none.

    Returns:
        The folders, and the shape of every volume that is read from them.
    """
    if shape is not None:
        return list(folders), shape
    counted = Counter(entry.shape for folder in folders for entry in folder.entries)
    if not counted:
        return list(folders), (0, 0, 0)
    expected, votes = counted.most_common(1)[0]
    total = sum(counted.values())
    kept = []
    for folder in folders:
        faults = [
            Fault(
                e.path,
                f"{e.path} has shape {e.shape} (z, y, x); expected {expected}, which {votes} of "
                f"{total} volumes have. Resample it, or all of them with --resample N.",
            )
            for e in folder.entries
            if e.shape != expected
        ]
        classes = {
            name: tuple(e for e in files if e.shape == expected)
            for name, files in folder.classes.items()
        }
        kept.append(replace(folder, classes=classes, faults=(*folder.faults, *faults)))
    return kept, expected


def refuse_faults(folders: Sequence[Folder]) -> None:
    """Refuse folders with files that cannot be used, naming them.

    Raises:
        DatasetError: If there is any fault.
    """
    faults = [fault for folder in folders for fault in folder.faults]
    if not faults:
        return
    more = len(faults) - _NAMED_FAULTS
    usable = sum(len(folder.entries) for folder in folders)
    raise DatasetError(
        f"{len(faults)} of {usable + len(faults)} files cannot be used; nothing was scored. Repair "
        "or remove them, or leave them out with --skip-bad:\n"
        + "\n".join(fault.reason for fault in faults[:_NAMED_FAULTS])
        + (f"\n… and {more} more." if more > 0 else "")
    )


def match_classes(real: Folder, other: Folder) -> Folder:
    """Return the other folder with the class names of the real one, in its order.

    Raises:
        DatasetError: If the two do not have the same classes with at least 2 volumes each.
    """
    names, theirs = list(real.classes), list(other.classes)
    partners = {name: find_label(name, theirs) for name in names}
    one_each = len(names) == len(theirs) == len(set(partners.values()))
    if None in partners.values() or not one_each:
        raise DatasetError(
            f"{real.path} has the classes {', '.join(names)}, but {other.path} has "
            f"{', '.join(other.classes)}. Give both the same subfolders (or classes in "
            "participants.tsv), or point at one class of each."
        )
    matched = {name: other.classes[partner] for name, partner in partners.items() if partner}
    short = [name for name, files in matched.items() if len(files) < 2]
    if short:
        raise DatasetError(
            f"{other.path} has fewer than 2 usable volumes of class {', '.join(short)}. "
            "Set statistics need at least 2; most need 20 or more."
        )
    return replace(other, classes=matched)


def volumes(folder: Folder, name: str, shape: Shape) -> LazyVolumes:
    """Return the volumes of a class, (1, D, H, W) float32 in [-1, 1], read when indexed."""
    files = folder.classes[name]
    several = len(folder.classes) > 1
    ids = [f"{name}/{e.id}" if several else e.id for e in files]
    return LazyVolumes(ids, lambda index: read(files[index].path, folder.value_range, shape))


def read(path: Path, value_range: tuple[float, float], shape: Shape) -> Volume:
    """Read a volume, map its range to [-1, 1], clip, and resample where the shape differs."""
    values, _ = read_nifti(path)
    low, high = value_range
    if value_range != (-1.0, 1.0):
        values = 2 * ((values - low) / (high - low)) - 1
    return resampled(np.clip(values, -1, 1), shape)[None].astype(np.float32)


def resampled(values: NDArray[np.floating], shape: Shape) -> NDArray[np.floating]:
    """Resample (D, H, W) to a shape: linear interpolation, voxels are boxes, edges repeated.

    Smaller targets average no neighbourhood: halving a sharp volume keeps its noise.
    """
    if values.shape == shape:
        return values
    from scipy.ndimage import zoom

    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    return zoom(values, factors, order=1, mode="nearest", grid_mode=True)


def content_key(folder: Folder, shape: Shape) -> str:
    """Return the SHA-256 of contents, range and shape; independent of where the folder lies."""
    return store.key_of(
        {"files": folder.content, "range": list(folder.value_range), "shape": list(shape)}
    )


def clip_fraction(folder: Folder, name: str) -> float:
    """Return the fraction of a class's voxels outside the value range."""
    files = folder.classes[name]
    return sum(e.outside for e in files) / sum(int(np.prod(e.shape)) for e in files)


def spacing_of(folder: Folder, shape: Shape) -> tuple[float, float, float]:
    """Return the most common voxel size, mm, scaled where volumes are resampled to a shape."""
    sizes = [
        tuple(
            round(mm * old / new, 6) for mm, old, new in zip(e.spacing, e.shape, shape, strict=True)
        )
        for e in folder.entries
    ]
    return Counter(sizes).most_common(1)[0][0]  # type: ignore[return-value]
