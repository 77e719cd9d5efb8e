"""Splits are by patient, stratified, seeded, and say when they are smaller than asked."""

import pytest

from cerebench.datasets.base import Case, DatasetError
from cerebench.datasets.splits import describe_split, patient_split, read_rule

CLASSES = ("LGG", "HGG")


def _cases(counts, scans=1):
    return [
        Case(f"{CLASSES[label]}-{i:03d}-{scan}", f"{CLASSES[label]}-{i:03d}", label)
        for label, count in enumerate(counts)
        for i in range(count)
        for scan in range(scans)
    ]


def _count(ids, name):
    return sum(case.startswith(name) for case in ids)


def test_roles_are_disjoint_and_complete_with_the_asked_test_size():
    cases = _cases((60, 50))
    split = patient_split(cases, CLASSES, test=25, seed=0)
    assert set(split.train) | set(split.test) == {case.id for case in cases}
    assert not set(split.train) & set(split.test)
    assert [_count(split.test, name) for name in CLASSES] == [25, 25]


def test_scans_of_a_patient_stay_together():
    cases = _cases((20, 20), scans=3)
    split = patient_split(cases, CLASSES, test=5, seed=1)
    patients = {
        role: {i.rsplit("-", 1)[0] for i in getattr(split, role)} for role in ("train", "test")
    }
    assert not patients["train"] & patients["test"]
    assert len(split.test) == 2 * 5 * 3


def test_a_patient_whose_grade_changed_stays_together():
    cases = [*_cases((8, 8)), Case("LGG-000-late", "LGG-000", 1)]
    for seed in range(20):
        split = patient_split(cases, CLASSES, test=4, seed=seed)
        assert ("LGG-000-0" in split.test) == ("LGG-000-late" in split.test)


def test_seed_decides_and_order_of_the_cases_does_not():
    cases = _cases((60, 60))
    first = patient_split(cases, CLASSES, test=25, seed=3)
    again = patient_split(cases[::-1], CLASSES, test=25, seed=3)
    other = patient_split(cases, CLASSES, test=25, seed=4)
    assert set(first.test) == set(again.test)
    assert set(first.test) != set(other.test)


def test_test_patients_are_not_simply_the_first_ones():
    split = patient_split(_cases((60, 60)), CLASSES, test=25, seed=0)
    numbers = [int(case[4:7]) for case in split.test]
    assert max(numbers) > 40


def test_another_class_does_not_change_a_class_s_split():
    small = patient_split(_cases((60, 60)), CLASSES, test=25, seed=0)
    large = patient_split(_cases((60, 90)), CLASSES, test=25, seed=0)
    assert [i for i in small.test if i.startswith("LGG")] == [
        i for i in large.test if i.startswith("LGG")
    ]


def test_classes_of_equal_size_are_drawn_independently():
    split = patient_split(_cases((60, 60)), CLASSES, test=25, seed=0)
    drawn = [{i[4:] for i in split.test if i.startswith(name)} for name in CLASSES]
    assert drawn[0] != drawn[1]


def test_every_patient_is_held_out_by_some_seed():
    cases = _cases((8, 8))
    seen = {i for seed in range(30) for i in patient_split(cases, CLASSES, 4, seed).test}
    assert seen == {case.id for case in cases}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((36, 21), [9, 5]), ((60, 49), [15, 12]), ((60, 50), [25, 25]), ((2, 6), [1, 2])],
)
def test_small_classes_hold_out_a_quarter_of_each_and_say_so(counts, expected):
    cases = _cases(counts)
    split = patient_split(cases, CLASSES, test=25, seed=0)
    assert [_count(split.test, name) for name in CLASSES] == expected
    sentence = describe_split(cases, CLASSES, test=25)
    assert f"{expected[0]} of {counts[0]} LGG, {expected[1]} of {counts[1]} HGG" in sentence
    assert ("a quarter of each class" in sentence) == (min(counts) < 50)


@pytest.mark.parametrize("counts", [(0, 5), (5, 1)])
def test_a_class_without_two_patients_cannot_be_split(counts):
    with pytest.raises(DatasetError, match="needs at least 2"):
        patient_split(_cases(counts), CLASSES, test=1, seed=0)


def test_rule_gives_the_number_of_test_patients():
    assert read_rule({"test": 7}) == 7


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"test": 5, "valid": 2}, "no setting 'valid'"),
        ({}, "'test' is None"),
        ({"test": 0}, "'test' is 0"),
        ({"test": 2.5}, r"'test' is 2\.5"),
        ({"test": True}, "'test' is True"),
    ],
)
def test_a_wrong_rule_is_refused(rule, message):
    with pytest.raises(DatasetError, match=message):
        read_rule(rule)
