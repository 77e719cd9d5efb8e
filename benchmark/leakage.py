"""No generator may have seen a test case, nor another case of the same patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.core.files import read_json
from cerebench.datasets.base import Case, DatasetError, Split
from cerebench.datasets.derivative import read_training_cases
from cerebench.datasets.folders import Folder
from cerebench.datasets.splits import overlap

if TYPE_CHECKING:
    from cerebench.benchmark.reference import DatasetReference
    from cerebench.benchmark.rows import Row

Seen = Iterable[tuple[str, str]]  # (case, patient); the patient may be empty


def leaked_cases(folder: Folder, split: Split, cases: Sequence[Case]) -> list[str]:
    """Return the test cases that the generator of a sample folder has seen, as far as it tells."""
    return _leaked(folder.training or (), split, cases)


def refuse_leakage(reference: DatasetReference, folder: Path, rows: Iterable[Row]) -> None:
    """Refuse rows in which a generator is, or already was, trained on a test case.

    Looked at are the split, and of every trained row the training list in its records and beside
    its samples. Folders of samples from elsewhere are looked at when the plan is made.

    Args:
        reference: The data with their split.
        folder: The data set's folder of results.
        rows: The rows of a plan.

    Raises:
        DatasetError: If a case or a patient is on both sides; the message names the test cases.
    """
    split = reference.split
    own = [(name, "") for name in split.train]
    _refuse("the split of this dataset", own, reference, "Correct the split (--split FILE).")
    for row in rows:
        for stage in row.stages if row.kind == "method" else ():
            if stage.kind in ("train", "sample"):
                place = (folder / stage.record).parent
                remedy = f"Remove {folder / row.folder}; the same command then trains anew."
                _refuse(f"{row.name}, {place}", _told(place), reference, remedy)


def _told(folder: Path) -> Iterator[tuple[str, str]]:
    """Return what a stage's folder says that its generator was trained on."""
    record = read_json(folder / "record.json") or {}
    yield from ((name, "") for name in record.get("train_ids", ()))
    yield from read_training_cases(folder) or ()


def _refuse(where: str, seen: Seen, reference: DatasetReference, remedy: str) -> None:
    leaked = _leaked(seen, reference.split, reference.cases)
    if leaked:
        raise DatasetError(
            f"{len(leaked)} test cases are in the training list of {where}: "
            f"{', '.join(leaked[:5])}. {remedy}"
        )


def _leaked(seen: Seen, split: Split, cases: Sequence[Case]) -> list[str]:
    """Return the test cases among these cases and among others of their patients."""
    own = {case.id: case.patient for case in cases}
    seen = [(case, patient or own.get(case, "")) for case, patient in seen]
    return overlap([case for case, _ in seen], [patient for _, patient in seen], split, cases)
