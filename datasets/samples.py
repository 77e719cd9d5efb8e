"""Somebody's folder of generated volumes, as ``bench run --samples NAME=DIR`` reads it.

Two layouts are understood: one subfolder per class (``LGG/`` or ``class_LGG/``, in any case; of a
class whose label cannot name a folder, its folder name), searched for NIfTI files at any depth; or
a BIDS derivative, where ``participants.tsv`` with the columns ``participant_id`` and ``class``
names the class of each ``sub-*/anat/*.nii.gz``. A file ``training_cases.tsv`` beside them tells
what the generator was trained on.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cerebench.core.hashing import key_of
from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.derivative import read_training_cases
from cerebench.datasets.names import find_folder_label, find_label, folder_names, label_fault, shown
from cerebench.datasets.volumes import SUFFIXES, read_nifti

TOLERANCE = 1e-3
_NAMED_FAULTS = 20


@dataclass(frozen=True)
class Samples:
    """The volumes of one class, read when asked for.

    ``samples[i]`` is (1, S, S, S) float32 in [-1, 1].

    Attributes:
        ids: Paths relative to the folder, sorted.
        hashes: SHA-256 of each file.
        clip_fraction: Fraction of voxels outside the value range, by no more than ``TOLERANCE``.
        files: The files.
        value_range: Stored values that become -1 and 1.
    """

    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    clip_fraction: float
    files: tuple[Path, ...]
    value_range: tuple[float, float]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        values, _ = read_nifti(self.files[index])
        return to_unit_range(values, self.value_range)[None]


@dataclass(frozen=True)
class SampleFolder:
    """A checked folder of samples.

    Attributes:
        folder: Its path.
        classes: Samples by class name, in the order asked for.
        sha256: SHA-256 of names, contents and value range; independent of where the folder lies.
        training: (Case, patient) of what the generator was trained on; None where it is not told.
    """

    folder: Path
    classes: Mapping[str, Samples]
    sha256: str
    training: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        classes: Sequence[str],
        size: int,
        value_range: tuple[float, float] = (-1.0, 1.0),
    ) -> SampleFolder:
        """Find the volumes of every class and read each once to check it.

        Args:
            folder: See the module's docstring for the layouts.
            classes: Names of the classes that must be there.
            size: Expected edge length S, voxels.
            value_range: Stored values that become -1 and 1; the background is the lower one.

        Raises:
            DatasetNotFound: If the folder does not exist.
            DatasetError: If the layout is unknown, a class has no volumes, or volumes have another
                shape, values outside the range by more than ``TOLERANCE``, or cannot be read.
        """
        low, high = value_range
        if not (np.isfinite(value_range).all() and low < high):
            raise DatasetError(
                f"The range of the samples is [{low:g}, {high:g}]; expected two numbers, the lower "
                "one first, for example --samples-range 0 1."
            )
        if not folder.is_dir():
            raise DatasetNotFound(f"No sample folder at {folder}. Check the path after --samples.")
        files = find_samples(folder, classes)
        checked = {
            name: [_check(path, size, value_range) for path in files[name]] for name in files
        }
        _raise_faults(folder, [entry for entries in checked.values() for entry in entries])
        _reject_positive(folder, checked, value_range)
        samples = {
            name: Samples(
                ids=tuple(path.relative_to(folder).as_posix() for path in files[name]),
                hashes=tuple(entry.sha256 for entry in checked[name]),
                clip_fraction=sum(e.outside for e in checked[name]) / (size**3 * len(files[name])),
                files=tuple(files[name]),
                value_range=value_range,
            )
            for name in classes
        }
        content = {name: dict(zip(s.ids, s.hashes, strict=True)) for name, s in samples.items()}
        told = read_training_cases(folder)
        return cls(
            folder,
            samples,
            key_of({"files": content, "range": [low, high]}),
            None if told is None else tuple(told),
        )


def to_unit_range(
    values: NDArray[np.float32], value_range: tuple[float, float]
) -> NDArray[np.float32]:
    """Map ``value_range`` to [-1, 1] and clip; values already there keep their bits."""
    low, high = value_range
    if (low, high) != (-1.0, 1.0):
        values = 2 * ((values - low) / (high - low)) - 1
    return np.clip(values, -1, 1).astype(np.float32)


def find_samples(folder: Path, classes: Sequence[str]) -> dict[str, list[Path]]:
    """Return the NIfTI files of every class, sorted by path.

    Raises:
        DatasetError: If neither or both layouts are there, or a class has no volume.
    """
    table = folder / "participants.tsv"
    folders: dict[str, list[Path]] = {name: [] for name in classes}
    for child in sorted(folder.iterdir()):
        name = find_folder_label(child.name, classes) if child.is_dir() else None
        if name is not None:
            folders[name].append(child)
    if not table.is_file() and not any(folders.values()):
        expected = ", ".join(f"{name}/" for name in folder_names(classes).values())
        raise DatasetError(
            f"{folder} has no class subfolders (expected {expected}) and no participants.tsv. "
            "Sort the volumes into one subfolder per class."
        )
    if table.is_file() and any(folders.values()):
        raise DatasetError(
            f"{folder} has both participants.tsv and class subfolders. Keep one of the two."
        )
    files = _from_table(table, classes) if table.is_file() else _from_folders(folder, folders)
    missing = [name for name in classes if not files[name]]
    if missing:
        raise DatasetError(
            f"{folder} has no .nii or .nii.gz volume of class {', '.join(missing)}. Every class of "
            "the comparison needs samples."
        )
    return files


def _volumes(folder: Path, pattern: str) -> list[Path]:
    found = (path for path in folder.glob(pattern) if path.name.endswith(SUFFIXES))
    return sorted(
        (path for path in found if not path.name.startswith(".")), key=lambda path: path.as_posix()
    )


def _from_folders(folder: Path, folders: Mapping[str, list[Path]]) -> dict[str, list[Path]]:
    for name, found in folders.items():
        if len(found) > 1:
            names = " and ".join(f"{child.name}/" for child in found)
            raise DatasetError(f"{folder} has {names}, both for class {name}. Keep one of the two.")
    return {
        name: [path for child in found for path in _volumes(child, "**/*")]
        for name, found in folders.items()
    }


def _from_table(table: Path, classes: Sequence[str]) -> dict[str, list[Path]]:
    """Read a BIDS derivative; every subject must have one row and one volume."""
    root = table.parent
    files: dict[str, list[Path]] = {name: [] for name in classes}
    listed: set[str] = set()
    for subject, class_name in _rows(table):
        name = find_label(class_name, classes)
        if name is None:
            raise DatasetError(
                f"{table}: {shown(subject)} has class {shown(class_name)}. Known: "
                f"{', '.join(classes)}."
            )
        if subject in listed:
            raise DatasetError(f"{table} lists {subject} twice. Remove one of the rows.")
        listed.add(subject)
        files[name].append(_volume_of(root, subject))
    unlisted = sorted(
        child.name for child in root.glob("sub-*") if child.is_dir() and child.name not in listed
    )
    if unlisted:
        raise DatasetError(
            f"{table} has no row for {', '.join(unlisted)}. Add the rows or remove the folders."
        )
    return {name: sorted(paths, key=lambda path: path.as_posix()) for name, paths in files.items()}


def _rows(table: Path) -> list[tuple[str, str]]:
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        missing = {"participant_id", "class"} - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(
                f"{table} lacks the column {', '.join(sorted(missing))}; expected participant_id "
                "and class, separated by tabs."
            )
        return [(row["participant_id"] or "", row["class"] or "") for row in reader]


def _volume_of(root: Path, subject: str) -> Path:
    anat = root / subject / "anat"
    fault = label_fault(subject)
    if not fault and not anat.resolve().is_relative_to(root.resolve()):
        fault = f"is {shown(subject)}, which leads outside the folder"
    if fault:
        raise DatasetError(
            f"{root / 'participants.tsv'}: a participant {fault}; expected names such as sub-0001."
        )
    found = _volumes(anat, "*")
    if len(found) != 1:
        raise DatasetError(f"{anat} holds {len(found)} volumes; expected one .nii or .nii.gz file.")
    return found[0]


class _Checked(NamedTuple):
    sha256: str
    low: float
    high: float
    outside: int
    fault: str | None


def _check(path: Path, size: int, value_range: tuple[float, float]) -> _Checked:
    try:
        values, _ = read_nifti(path)
    except DatasetError as e:
        return _Checked("", 0.0, 0.0, 0, str(e))
    low, high = float(values.min()), float(values.max())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    outside = int(((values < value_range[0]) | (values > value_range[1])).sum())
    fault = None
    if values.shape != (size, size, size):
        fault = (
            f"{path} has shape {values.shape} (z, y, x); expected {(size, size, size)}. Generate "
            f"at that size, or compare at another one with --size."
        )
    elif low < value_range[0] - TOLERANCE or high > value_range[1] + TOLERANCE:
        fault = (
            f"{path} has values in [{low:g}, {high:g}]; expected "
            f"[{value_range[0]:g}, {value_range[1]:g}]. Rescale it, or give the range of your "
            "volumes with --samples-range LOW HIGH."
        )
    return _Checked(sha256, low, high, outside, fault)


def _raise_faults(folder: Path, checked: Sequence[_Checked]) -> None:
    faults = [entry.fault for entry in checked if entry.fault]
    if faults:
        more = len(faults) - _NAMED_FAULTS
        raise DatasetError(
            f"{len(faults)} of {len(checked)} volumes in {folder} cannot be used:\n"
            + "\n".join(faults[:_NAMED_FAULTS])
            + (f"\n… and {more} more." if more > 0 else "")
        )


def _reject_positive(
    folder: Path, checked: Mapping[str, Sequence[_Checked]], value_range: tuple[float, float]
) -> None:
    """A range of [0, 1] lies inside [-1, 1] and would pass, with grey where air should be."""
    low = min(entry.low for entries in checked.values() for entry in entries)
    high = max(entry.high for entries in checked.values() for entry in entries)
    if value_range == (-1.0, 1.0) and low >= 0:
        raise DatasetError(
            f"No volume in {folder} has a value below 0 (range [{low:g}, {high:g}]), but the "
            "background must be -1: looks like [0, 1]: pass --samples-range 0 1."
        )
