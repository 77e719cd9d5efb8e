"""No generator may have seen a test case, nor another case of the same patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.benchmark.engine.store import file_holds
from cerebench.core.records.base import Misfit
from cerebench.core.records.files import read
from cerebench.core.records.trained import SampleRecord, TrainRecord
from cerebench.datasets.base import Case, DatasetError, Split
from cerebench.datasets.folders.derivative import TRAINING, Training, read_training_cases
from cerebench.datasets.folders.folder import Folder
from cerebench.datasets.splits import overlap

if TYPE_CHECKING:
    from cerebench.benchmark.engine.rows import Row
    from cerebench.benchmark.engine.stage import Stage
    from cerebench.benchmark.planning.reference import DatasetReference

Seen = Iterable[tuple[str, str]]  # (case, patient); the patient may be empty


def leaked_cases(folder: Folder, split: Split, cases: Sequence[Case]) -> list[str]:
    """Return the test cases that the generator of a sample folder has seen, as far as it tells."""
    return _leaked(_named(folder.training, split, cases), split, cases)


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
                told = _told(folder, stage, reference)
                _refuse(f"{row.name}, {place}", told, reference, remedy)


def _told(folder: Path, stage: Stage, reference: DatasetReference) -> Iterator[tuple[str, str]]:
    """Return what a stage left behind says that its generator was trained on."""
    if stage.made is TrainRecord:
        yield from ((name, "") for name in _trained_on(folder / stage.record))
    elif not _is_rewritten(folder / stage.record):
        training = read_training_cases((folder / stage.record).parent)
        yield from _named(training, reference.split, reference.cases)


def _is_rewritten(record: Path) -> bool:
    """Say whether the training list beside a record of samples is damaged, as it is made anew."""
    try:
        found = read(SampleRecord, record)
    except Misfit:
        return False
    fact = found[1].files.get(TRAINING) if found else None
    return fact is not None and not file_holds(record.with_name(TRAINING), fact)


def _named(training: Training | None, split: Split, cases: Sequence[Case]) -> Seen:
    """Return what a list tells, with our names in the place of hashes, as far as they matter.

    Those of test cases do, and of all where the patient of a case is not told.
    """
    if training is None:
        return ()
    test, all_told = set(split.test), all(patient for _, patient in training.cases)
    asked = [case for case in cases if case.id in test or not all_told]
    return training.named(name for case in asked for name in (case.id, case.patient))


def _trained_on(record: Path) -> Sequence[str]:
    """Return the cases that a record names; none if it does not fit, as it will be made anew."""
    try:
        found = read(TrainRecord, record)
    except Misfit:
        return ()
    return found[1].train_ids if found else ()


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
