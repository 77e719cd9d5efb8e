"""Splits into training and test cases, by patient and stratified by class.

A split is published as a CSV file with the columns ``case_id,patient_id,role,fold``: one row per
case and fold, role ``train``, ``test`` or ``unused``. Its SHA-256 identifies it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cerebench.core.hashing import sha256_bytes
from cerebench.core.texts import harmless
from cerebench.datasets.base import BadOption, Case, DatasetError, Split
from cerebench.datasets.dialects import read_cells

ROLES = ("train", "test", "unused")
_COLUMNS = ("case_id", "patient_id", "role", "fold")
_NAMED = 5
_LEAST = 2  # patients of a class: one to train on, one to test on


def read_rule(rule: Mapping[str, int]) -> int:
    """Return the number of test patients per class that a split rule asks for.

    Raises:
        BadOption: If the rule has a key other than ``test``, or no positive whole number there.
    """
    unknown = sorted(set(rule) - {"test"})
    if unknown:
        raise BadOption(
            f"The split rule has no setting '{unknown[0]}'. Settings: test (patients per class)."
        )
    test = rule.get("test")
    if not isinstance(test, int) or isinstance(test, bool) or test < 1:
        raise BadOption(
            f"The split rule's 'test' is {test!r}; expected a whole number of patients per class, "
            "at least 1."
        )
    return test


def patient_split(cases: Sequence[Case], classes: Sequence[str], test: int, seed: int) -> Split:
    """Draw the test patients of every class; all cases of a patient stay together.

    The patients of a class are sorted by id and permuted with the seed, and the first ``test`` of
    them are held out. If any class has fewer than ``2 * test`` patients, a quarter of every class
    is held out instead (rounded to the nearest, half up, at least one); ``describe_split`` says
    so. A patient with cases in several classes counts for the class of the first case by id; where
    that would leave a class with fewer than two patients, for the one of its classes that has the
    fewest so far.

    Args:
        cases: All cases; their order is kept within each role.
        classes: Class names; a case's label is an index into them.
        test: Test patients per class.
        seed: Non-negative, below 2**32.

    Returns:
        Ids of the training and test cases.

    Raises:
        DatasetError: If a class has fewer than two patients to count; who else has cases of it is
            named.
    """
    patients = _patients(cases, classes)
    counts = _held_out([len(ids) for ids in patients], test)
    held_out: set[str] = set()
    for label, (ids, count) in enumerate(zip(patients, counts, strict=True)):
        # The label is part of the seed: a patient added to one class leaves the others alone.
        order = np.random.RandomState([seed, label]).permutation(len(ids))
        held_out.update(ids[i] for i in order[:count])
    return Split(
        train=tuple(case.id for case in cases if case.patient not in held_out),
        test=tuple(case.id for case in cases if case.patient in held_out),
    )


def describe_split(cases: Sequence[Case], classes: Sequence[str], test: int) -> str:
    """Say in one sentence how ``patient_split`` divides these cases.

    Raises:
        DatasetError: As ``patient_split``.
    """
    patients = _patients(cases, classes)
    totals = [len(ids) for ids in patients]
    counts = _held_out(totals, test)
    parts = ", ".join(
        f"{count} of {total} {name}"
        for count, total, name in zip(counts, totals, classes, strict=True)
    )
    if not falls_short(totals, test):
        return f"Test patients: {parts}."
    return (
        f"Test patients: {parts}; a quarter of each class instead of the {test} asked for, because "
        f"a class has fewer than {2 * test} patients."
    )


def write_split(split: Split, cases: Sequence[Case]) -> bytes:
    """Return a split as the CSV file that publishes it: sorted by case id, fold 0.

    The same split of the same cases gives the same bytes, so that ``split_sha256`` identifies it.
    """
    roles = dict.fromkeys(split.train, "train") | dict.fromkeys(split.test, "test")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for case in sorted(cases, key=lambda case: case.id):
        names = (harmless(case.id), harmless(case.patient))
        table.writerow([*names, roles.get(case.id, "unused"), 0])
    return text.getvalue().encode()


def split_sha256(split: Split, cases: Sequence[Case]) -> str:
    """Return the SHA-256 of the file that ``write_split`` makes."""
    return sha256_bytes(write_split(split, cases))


def read_split(
    path: Path,
    cases: Sequence[Case],
    fold: int | None = None,
    left_out: Collection[str] = (),
) -> Split:
    """Read a published split.

    Args:
        path: CSV file with the columns ``case_id``, ``role`` and, if there are several, ``fold``;
            ``patient_id`` is checked where it is given.
        cases: All cases of the dataset.
        fold: Which fold to use; needed if the file has several.
        left_out: Ids of cases that the file may name although they are not among ``cases``.

    Returns:
        Ids of the training and test cases, in the order of ``cases``.

    Raises:
        DatasetError: If the file is no such table; if it lacks cases or has others than the
            dataset; or if a patient is both trained and tested on. All are named.
    """
    rows = [row for row in _chosen_rows(path, fold) if row["case_id"] not in left_out]
    faults = _row_faults(rows, cases)
    roles = {row["case_id"]: row["role"] for row in rows}
    split = Split(
        train=tuple(case.id for case in cases if roles.get(case.id) == "train"),
        test=tuple(case.id for case in cases if roles.get(case.id) == "test"),
    )
    own = {case.id: case.patient for case in cases}
    patients = {row["case_id"]: row["patient_id"] or own.get(row["case_id"], "") for row in rows}
    faults += [
        f"patient {patient} is in train and test"
        for patient in sorted(
            _patients_of(split.train, own, patients) & _patients_of(split.test, own, patients)
        )
    ]
    faults += [f"no case has the role {role}" for role in ROLES[:2] if not getattr(split, role)]
    if faults:
        raise DatasetError(
            f"{path} does not fit the data: {'; '.join(faults)}. Use the split of this dataset, or "
            "leave --split out."
        )
    return split


def overlap(
    ids: Iterable[str], patients: Iterable[str], split: Split, cases: Sequence[Case]
) -> list[str]:
    """Return the test cases among these cases or patients, sorted."""
    cases_seen, patients_seen = set(ids), set(patients) - {""}
    test = set(split.test)
    return sorted(
        case.id
        for case in cases
        if case.id in test and (case.id in cases_seen or case.patient in patients_seen)
    )


def _patients_of(
    ids: Iterable[str], own: Mapping[str, str], patients: Mapping[str, str]
) -> set[str]:
    """Return who these cases are, by the dataset and by the file."""
    ids = list(ids)
    return {own[i] for i in ids} | {patients[i] for i in ids}


def _chosen_rows(path: Path, fold: int | None) -> list[dict[str, str]]:
    cells = read_cells(path)
    rows = [{name: row.get(name, "") for name in _COLUMNS} for _, row in cells.rows]
    missing = {"case_id", "role"} - set(cells.columns)
    if missing:
        raise DatasetError(
            f"{path} lacks the column {', '.join(sorted(missing))}; expected "
            f"{','.join(_COLUMNS)}. Correct --split."
        )
    folds = sorted({row["fold"] or "0" for row in rows})
    if fold is None and len(folds) > 1:
        raise DatasetError(
            f"{path} has the folds {', '.join(folds)}. Choose one: --split {path}:{folds[0]}."
        )
    if fold is not None and str(fold) not in folds:
        raise DatasetError(f"{path} has no fold {fold}. Known: {', '.join(folds)}.")
    return [row for row in rows if fold is None or (row["fold"] or "0") == str(fold)]


def _row_faults(rows: Sequence[Mapping[str, str]], cases: Sequence[Case]) -> list[str]:
    ids = {case.id for case in cases}
    counts = Counter(row["case_id"] for row in rows)
    wrong = sorted({row["role"] for row in rows} - set(ROLES))
    cases_by_fault = [
        ("listed twice", sorted(case for case, n in counts.items() if n > 1)),
        ("not in the data", sorted(set(counts) - ids)),
        ("not in the file (give them the role unused)", sorted(ids - set(counts))),
    ]
    faults = [f"unknown role {', '.join(map(repr, wrong))}; expected {', '.join(ROLES)}"] * bool(
        wrong
    )
    return faults + [f"{_some(names)} {text}" for text, names in cases_by_fault if names]


def _some(names: Sequence[str], joint: str = ", ") -> str:
    more = len(names) - _NAMED
    return joint.join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def falls_short(totals: Sequence[int], test: int) -> bool:
    """Tell whether a class is too small for ``test`` held-out patients; see ``patient_split``."""
    return min(totals) < 2 * test


def _held_out(totals: Sequence[int], test: int) -> list[int]:
    if falls_short(totals, test):
        return [max(1, (total + 2) // 4) for total in totals]
    return [test] * len(totals)


def _patients(cases: Sequence[Case], classes: Sequence[str]) -> list[list[str]]:
    """Patient ids by the class that they count for, sorted."""
    of: dict[str, list[int]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        of.setdefault(case.patient, []).append(case.label)
    owner = {patient: labels[0] for patient, labels in of.items()}
    if min(_counts(owner, len(classes))) < _LEAST:
        owner = _balanced(of, len(classes))
    for label, count in enumerate(_counts(owner, len(classes))):
        if count < _LEAST:
            raise DatasetError(_too_few(cases, classes, label, owner))
    labels = range(len(classes))
    return [sorted(p for p, own in owner.items() if own == label) for label in labels]


def _counts(owner: Mapping[str, int], classes: int) -> list[int]:
    counts = Counter(owner.values())
    return [counts[label] for label in range(classes)]


def _balanced(of: Mapping[str, Sequence[int]], classes: int) -> dict[str, int]:
    """Let each patient of several classes count for that one which has the fewest patients."""
    owner = {patient: labels[0] for patient, labels in of.items() if len(set(labels)) == 1}
    counts = _counts(owner, classes)
    for patient in sorted(of.keys() - owner.keys()):
        owner[patient] = min(set(of[patient]), key=lambda label: (counts[label], label))
        counts[owner[patient]] += 1
    return owner


def _too_few(
    cases: Sequence[Case], classes: Sequence[str], label: int, owner: Mapping[str, int]
) -> str:
    """Say why a class cannot be split: it is too small, or its patients have other classes."""
    name = classes[label]
    own = sum(label_of_case == label for label_of_case in owner.values())
    text = (
        f"Class {name} has {own} patients; a split needs at least {_LEAST}, one to train on and "
        "one to test on."
    )
    shared: dict[str, list[str]] = {}
    for case in cases:
        shared.setdefault(case.patient, []).append(f"{case.id} {classes[case.label]}")
    mixed = sorted(
        {c.patient for c in cases if c.label == label and owner[c.patient] != label}
        | {c.patient for c in cases if c.label != label and owner[c.patient] == label}
    )
    if not mixed:
        return f"{text} Add cases of this class."
    listed = _some([f"{patient} ({_some(sorted(shared[patient]))})" for patient in mixed], "; ")
    return (
        f"{text} All cases of a patient stay together, and these have several classes: {listed}. "
        "Correct the patient ids or the classes, or add cases."
    )
