"""Splits into training and test cases, by patient and stratified by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cerebench.datasets.base import Case, DatasetError, Split


def read_rule(rule: Mapping[str, int]) -> int:
    """Return the number of test patients per class that a split rule asks for.

    Raises:
        DatasetError: If the rule has a key other than ``test``, or no positive whole number there.
    """
    unknown = sorted(set(rule) - {"test"})
    if unknown:
        raise DatasetError(
            f"The split rule has no setting '{unknown[0]}'. Settings: test (patients per class)."
        )
    test = rule.get("test")
    if not isinstance(test, int) or isinstance(test, bool) or test < 1:
        raise DatasetError(
            f"The split rule's 'test' is {test!r}; expected a whole number of patients per class, "
            "at least 1."
        )
    return test


def patient_split(cases: Sequence[Case], classes: Sequence[str], test: int, seed: int) -> Split:
    """Draw the test patients of every class; all cases of a patient stay together.

    The patients of a class are sorted by id and permuted with the seed, and the first ``test`` of
    them are held out. If any class has fewer than ``2 * test`` patients, a quarter of every class
    is held out instead (rounded to the nearest, half up, at least one); ``describe_split`` says
    so. A patient with cases in several classes counts for the class of the first case by id.

    Args:
        cases: All cases; their order is kept within each role.
        classes: Class names; a case's label is an index into them.
        test: Test patients per class.
        seed: Non-negative, below 2**32.

    Returns:
        Ids of the training and test cases.

    Raises:
        DatasetError: If a class has fewer than two patients.
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


def falls_short(totals: Sequence[int], test: int) -> bool:
    """Tell whether a class is too small for ``test`` held-out patients; see ``patient_split``."""
    return min(totals) < 2 * test


def _held_out(totals: Sequence[int], test: int) -> list[int]:
    if falls_short(totals, test):
        return [max(1, (total + 2) // 4) for total in totals]
    return [test] * len(totals)


def _patients(cases: Sequence[Case], classes: Sequence[str]) -> list[list[str]]:
    """Patient ids by class, sorted."""
    label_of: dict[str, int] = {}
    for case in sorted(cases, key=lambda case: case.id):
        label_of.setdefault(case.patient, case.label)
    patients = [
        sorted(patient for patient, owner in label_of.items() if owner == label)
        for label in range(len(classes))
    ]
    for name, ids in zip(classes, patients, strict=True):
        if len(ids) < 2:
            raise DatasetError(
                f"Class {name} has {len(ids)} patients; a split needs at least 2, one to train on "
                "and one to test on. Add cases of this class."
            )
    return patients
