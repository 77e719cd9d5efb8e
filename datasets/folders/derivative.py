"""Volumes as a BIDS derivative: names, sidecars and tables, so that other tools can read them.

Nothing patient-specific is written besides what the caller puts into the tables: the header is the
suite's own (see ``volumes.py``).

Source: BIDS 1.10, derivatives.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cerebench.core.files import write_bytes
from cerebench.core.texts import harmless
from cerebench.datasets.base import Dataset, DatasetError, Progress, Split
from cerebench.datasets.cache import Prepared
from cerebench.datasets.dialects import read_cells
from cerebench.datasets.folders.names import SLUG_LENGTH, shown
from cerebench.datasets.folders.pseudonyms import UnknownHashes, pseudonyms, remark, salt_in
from cerebench.datasets.layouts.base import table_of
from cerebench.datasets.scans.volumes import write_nifti
from cerebench.datasets.splits import write_split

VERSION = "1.10.0"
# Files beside the volumes that the standard does not know; a validator skips them.
TRAINING = "training_cases.tsv"
IGNORED = ("record.json", "split.csv", TRAINING, ".cerebench")
_SUFFIX = {"flair": "FLAIR", "t1": "T1w", "t1ce": "T1w", "t2": "T2w"}
_COLUMNS = {
    "class": "Class of the volume",
    "seed": "Seed of the training that the volume was sampled from",
    "index": "Number of the volume within its class and seed",
    "case_id": "Case of the source dataset",
    "patient_id": "Patient of the source dataset",
    "role": "Role of the case in the split: train, test or unused",
}


def volume_name(subject: str, channel: str, space: str = "roi") -> str:
    """Return the file name of one channel of a subject.

    Example:
        >>> volume_name("sub-LGG00000", "t1ce")
        'sub-LGG00000_ce-gadolinium_space-roi_T1w.nii.gz'
    """
    contrast = "_ce-gadolinium" if channel == "t1ce" else ""
    return f"{subject}{contrast}_space-{space}_{_SUFFIX.get(channel, channel)}.nii.gz"


def mask_name(subject: str, space: str = "roi") -> str:
    """Return the file name of the tumour mask of a subject."""
    return f"{subject}_space-{space}_desc-tumor_mask.nii.gz"


def sidecar(path: Path) -> Path:
    """Return the path of the JSON file that describes a volume."""
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


def sidecar_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands in every sidecar, with facts of the volume behind it."""
    return {"SkullStripped": True, "SpatialReference": "ORIG", **facts}


def description(name: str, suite_version: str, **more: Any) -> dict[str, Any]:
    """Return ``dataset_description.json``; the standard allows ``more`` fields of ours."""
    return {
        "Name": name,
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "cerebench", "Version": suite_version}],
        **more,
    }


def participants(rows: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return ``participants.tsv`` with ``participants.json``; every row has the same columns."""
    columns = list(rows[0])
    meanings = {name: {"Description": _COLUMNS[name]} for name in columns if name in _COLUMNS}
    return {
        "participants.tsv": _table(columns, [list(row.values()) for row in rows]),
        "participants.json": json.dumps(meanings, indent=1).encode(),
    }


def furniture(title: str) -> dict[str, bytes]:
    """Return the small files that a complete dataset has: ``README`` and ``.bidsignore``."""
    text = f"{title}\n\nWritten by Cerebench as a BIDS derivative. Not for clinical use.\n"
    return {"README": text.encode(), ".bidsignore": ("\n".join(IGNORED) + "\n").encode()}


@dataclass(frozen=True)
class Training:
    """What the generator of some samples was trained on, as far as they tell.

    Attributes:
        cases: (Case, patient); the patient may be empty.
        salt: Of their hashes; None where they stand in clear text.
    """

    cases: tuple[tuple[str, str], ...]
    salt: bytes | None = None

    def named(self, known: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return (case, patient), with the known names in the place of their hashes."""
        if self.salt is None:
            return self.cases
        names = {hashed: name for name, hashed in pseudonyms(known, self.salt).items()}
        return tuple((names.get(c, c), names.get(p, p)) for c, p in self.cases)


def training_cases(rows: Sequence[tuple[str, str, str]], salt: bytes | None = None) -> bytes:
    """Return ``training_cases.tsv``: (case, patient, class) of what a generator was trained on.

    With a salt the cases and patients are hashed, and it stands in the head of the file.
    """
    columns = ["case_id", "patient_id", "class"]
    if salt is None:
        return _table(columns, rows)
    hashed = pseudonyms((name for row in rows for name in row[:2]), salt)
    shown = [(hashed[case], hashed[patient], label) for case, patient, label in rows]
    return f"# {remark(salt)}\n".encode() + _table(columns, sorted(shown))


def read_training_cases(folder: Path) -> Training | None:
    """Return what the generator of these samples was trained on.

    Returns:
        None where the folder does not say.

    Raises:
        DatasetError: If the table lacks the column ``case_id``, is a folder, there are several, or
            its names were hashed in an unknown way.
    """
    path = table_of(folder, TRAINING) if folder.is_dir() else None
    if path is None:
        return None
    cells = read_cells(path)
    if "case_id" not in cells.columns:
        raise DatasetError(f"{path} lacks the column case_id; expected it with tabs between.")
    try:
        salt = salt_in(cells.remark)
    except UnknownHashes as error:
        raise DatasetError(f"{path} has {error}. Update Cerebench.") from error
    rows = [row for _, row in cells.rows]
    return Training(tuple((r.get("case_id", ""), r.get("patient_id", "")) for r in rows), salt)


def export(
    dataset: Dataset,
    prepared: Prepared,
    split: Split,
    folder: Path,
    suite_version: str,
    progress: Progress | None = None,
) -> Path:
    """Write a prepared dataset, volumes and masks, as a BIDS derivative.

    Args:
        dataset: Where the cases come from.
        prepared: Their volumes.
        split: Becomes the column ``role`` and ``split.csv``.
        folder: Made if missing; must be empty.
        suite_version: Goes into ``dataset_description.json``.
        progress: Called after each case.

    Returns:
        The folder.

    Raises:
        DatasetError: If the folder holds something, or two case ids make the same subject.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} is not empty. Give a new folder.")
    subjects = _subjects(prepared.ids)
    info, space = dataset.info, dataset.recipe.name
    cases = dataset.cases()
    roles = dict.fromkeys(split.train, "train") | dict.fromkeys(split.test, "test")
    rows = []
    for index, case in enumerate(prepared.ids):
        subject, name = subjects[case], info.classes[prepared.labels[index]]
        anat = folder / subject / "anat"
        anat.mkdir(parents=True)
        facts = {"Case": case, "Class": name, "Recipe": dataset.recipe_id}
        for channel, values in zip(info.channels, prepared.volume(index), strict=True):
            path = anat / volume_name(subject, channel, space)
            write_nifti(path, values, dataset.spacing, description=dataset.recipe_id[:79])
            _write_json(sidecar(path), sidecar_facts(facts))
        path = anat / mask_name(subject, space)
        mask = np.ascontiguousarray(prepared.masks[index, 0])
        write_nifti(path, mask, dataset.spacing, description=dataset.recipe_id[:79])
        _write_json(sidecar(path), {"Type": "Lesion", **sidecar_facts(facts)})
        row = {"participant_id": subject, "class": name, "case_id": case}
        rows.append(
            {**row, "patient_id": prepared.patients[index], "role": roles.get(case, "unused")}
        )
        if progress:
            progress(index + 1, len(prepared.ids))
    title = f"{info.label} at {dataset.size} voxels"
    files = {**furniture(title), **participants(rows), "split.csv": write_split(split, cases)}
    for name, data in files.items():
        write_bytes(folder / name, data)
    facts = description(
        title,
        suite_version,
        License=info.licence,
        SourceDatasets=[{"Version": prepared.fingerprint}],
        Recipe={**dataset.recipe.facts, "id": dataset.recipe_id, "sha256": dataset.recipe.sha256},
        Channels=list(info.channels),
        **_left_out(dataset),
    )
    _write_json(folder / "dataset_description.json", facts)
    return folder


def _left_out(dataset: Dataset) -> dict[str, Any]:
    """Return how many cases are not there because they cannot be used; nothing where all are."""
    bad = dataset.left_out
    return {"LeftOut": {"Cases": len(bad.cases), "Of": bad.total}} if bad else {}


def _subjects(ids: Sequence[str]) -> dict[str, str]:
    """Return a BIDS subject for each case: letters and digits only."""
    subjects = {case: "sub-" + re.sub(r"[^A-Za-z0-9]", "", case) for case in ids}
    taken: dict[str, str] = {}
    for case, subject in subjects.items():
        if not 0 < len(subject.removeprefix("sub-")) <= SLUG_LENGTH:
            raise DatasetError(
                f"The case id {shown(case)} cannot name a subject; expected 1 to {SLUG_LENGTH} "
                "ASCII letters and digits in it. Rename the case."
            )
        # Some file systems do not tell upper from lower case.
        other = taken.setdefault(subject.lower(), case)
        if other != case:
            raise DatasetError(
                f"The case ids {other} and {case} both become {subject}. Rename one of them."
            )
    return subjects


def _write_json(path: Path, value: Any) -> None:
    write_bytes(path, json.dumps(value, indent=1).encode())


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(columns)
    table.writerows([harmless(str(cell)) for cell in row] for row in rows)
    return text.getvalue().encode()
