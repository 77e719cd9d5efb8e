"""Splits are by patient, stratified, seeded, and say when they are smaller than asked."""

import hashlib

import pytest

from cerebench.datasets.base import Case, DatasetError, Split
from cerebench.datasets.splits import (
    describe_split,
    overlap,
    patient_split,
    read_rule,
    read_split,
    split_sha256,
    write_split,
)

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


def _mixed(patients, first):
    """Return cases of patients who have both classes; ``first`` is the class of the first id."""
    names = CLASSES if first == 0 else CLASSES[::-1]
    return [
        Case(f"P{patient}-{scan}-{name}", f"P{patient}", CLASSES.index(name))
        for patient in range(patients)
        for scan, name in enumerate(names)
    ]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("pure", [0, 8])
def test_a_class_whose_patients_all_have_another_one_is_split_too(first, pure):
    cases = [*_mixed(6, first), *(c for c in _cases((0, pure)))]
    for seed in range(10):
        split = patient_split(cases, CLASSES, test=1, seed=seed)
        label = {case.id: case.label for case in cases}
        patient = {case.id: case.patient for case in cases}
        for ids in (split.train, split.test):
            assert {label[i] for i in ids} == {0, 1}
        assert not {patient[i] for i in split.train} & {patient[i] for i in split.test}
        assert set(split.train) | set(split.test) == set(label)


def test_patients_of_two_classes_change_no_split_that_was_possible_before():
    cases = [*_cases((8, 8)), *_mixed(3, 1)]
    # As version 0.1.0 split them.
    assert patient_split(cases, CLASSES, test=4, seed=0).test == (
        "LGG-000-0",
        "LGG-003-0",
        "LGG-004-0",
        "LGG-007-0",
        "HGG-000-0",
        "HGG-004-0",
        "P0-0-HGG",
        "P0-1-LGG",
        "P1-0-HGG",
        "P1-1-LGG",
    )


@pytest.mark.parametrize(
    ("cases", "named"),
    [
        (_mixed(1, 0), "P0 (P0-0-LGG LGG, P0-1-HGG HGG)"),
        ([*_mixed(1, 1), *_cases((0, 5))], "P0 (P0-0-HGG HGG, P0-1-LGG LGG)"),
        (
            [Case(f"c{i}", "everybody", i % 2) for i in range(8)],
            "everybody (c0 LGG, c1 HGG, c2 LGG, c3 HGG, c4 LGG and 3 more)",
        ),
    ],
)
def test_a_split_that_patients_of_two_classes_make_impossible_names_them(cases, named):
    with pytest.raises(DatasetError, match="All cases of a patient stay together") as error:
        patient_split(cases, CLASSES, test=1, seed=0)
    assert f"these have several classes: {named}. Correct the patient ids" in str(error.value)
    assert "Add cases of this class" not in str(error.value)


def test_a_class_that_is_too_small_by_itself_blames_no_patient():
    with pytest.raises(DatasetError, match=r"Class LGG has 1 patients; .* Add cases of this class"):
        patient_split(_cases((1, 6)), CLASSES, test=1, seed=0)


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


def publish(tmp_path, split, cases, change=lambda text: text):
    path = tmp_path / "split.csv"
    path.write_text(change(write_split(split, cases).decode()))
    return path


def test_a_published_split_is_read_back_and_its_hash_is_that_of_the_file(tmp_path):
    cases = _cases((12, 12), scans=2)
    split = patient_split(cases, CLASSES, test=3, seed=5)
    path = publish(tmp_path, split, cases)
    assert read_split(path, cases) == split
    assert split_sha256(split, cases) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_text().splitlines()[0] == "case_id,patient_id,role,fold"
    other = patient_split(cases, CLASSES, test=3, seed=6)
    assert split_sha256(other, cases) != split_sha256(split, cases)
    assert split_sha256(split, cases[::-1]) == split_sha256(split, cases)


def test_unused_cases_are_neither_trained_nor_tested_on(tmp_path):
    cases = _cases((4, 4))
    split = patient_split(cases, CLASSES, test=1, seed=0)
    dropped = split.train[0]
    path = publish(
        tmp_path,
        split,
        cases,
        lambda t: t.replace(f"{dropped},{dropped[:-2]},train", f"{dropped},,unused"),
    )
    read = read_split(path, cases)
    assert read.test == split.test
    assert read.train == split.train[1:]


def test_a_published_split_may_name_cases_that_were_left_out(tmp_path):
    cases = _cases((4, 4))
    split = patient_split(cases, CLASSES, test=1, seed=0)
    path = publish(tmp_path, split, cases)
    bad = {split.train[0], split.test[0]}
    kept = [case for case in cases if case.id not in bad]
    with pytest.raises(DatasetError, match="not in the data"):
        read_split(path, kept)
    read = read_split(path, kept, left_out=bad)
    assert read == Split(split.train[1:], split.test[1:])


def test_a_fold_is_chosen_where_there_are_several(tmp_path):
    cases = _cases((4, 4))
    splits = [patient_split(cases, CLASSES, test=1, seed=seed) for seed in (0, 3)]
    first, second = (write_split(s, cases).decode().splitlines() for s in splits)
    rows = [*first, *(row[:-1] + "1" for row in second[1:])]
    path = tmp_path / "folds.csv"
    path.write_text("\n".join(rows) + "\n")
    assert [read_split(path, cases, fold) for fold in (0, 1)] == splits
    with pytest.raises(DatasetError, match=r"has the folds 0, 1\. Choose one: --split .*:0"):
        read_split(path, cases)
    with pytest.raises(DatasetError, match="has no fold 7"):
        read_split(path, cases, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("role", "part"), "lacks the column role"),
        (lambda t: t.replace("test", "exam"), "unknown role 'exam'"),
        (lambda t: t + "LGG-999-0,LGG-999,train,0\n", "LGG-999-0 not in the data"),
        (lambda t: "\n".join(t.splitlines()[:-1]), "LGG-003-1 not in the file"),
        (lambda t: t + t.splitlines()[1] + "\n", "HGG-000-0 listed twice"),
        (lambda t: t.replace("train", "unused"), "no case has the role train"),
        (
            lambda t: t.replace("HGG-000-1,HGG-000,train", "HGG-000-1,HGG-000,test"),
            "patient HGG-000 is in train and test",
        ),
        (
            lambda t: t.replace(",HGG-000,", ",P,").replace(",LGG-000,", ",P,"),
            "patient P is in train and test",
        ),
    ],
)
def test_a_published_split_that_does_not_fit_is_refused(tmp_path, change, message):
    cases = _cases((4, 4), scans=2)
    held_out = {"LGG-000", "HGG-003"}
    split = Split(
        train=tuple(c.id for c in cases if c.patient not in held_out),
        test=tuple(c.id for c in cases if c.patient in held_out),
    )
    with pytest.raises(DatasetError, match=message):
        read_split(publish(tmp_path, split, cases, change), cases)


def test_overlap_sees_cases_and_other_scans_of_a_patient():
    cases = _cases((2, 2), scans=2)
    split = Split(train=("LGG-000-0", "LGG-000-1"), test=("LGG-001-0", "LGG-001-1"))
    assert overlap(["LGG-001-1"], [""], split, cases) == ["LGG-001-1"]
    assert overlap(["x"], ["LGG-001"], split, cases) == ["LGG-001-0", "LGG-001-1"]
    assert overlap(["LGG-000-0"], ["LGG-000"], split, cases) == []
