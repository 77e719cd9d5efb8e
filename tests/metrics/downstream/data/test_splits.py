"""Sizes of the paper's sets, disjoint validation parts, patients that stay on one side."""

import dataclasses

import numpy as np
import pytest

from cerebench.metrics.downstream.base import Cases, ProtocolError
from cerebench.metrics.downstream.data import splits
from cerebench.metrics.downstream.data.cases import joined, per_class, taken, without_patients


def listed(lgg, hgg, patients=None):
    labels = np.repeat([0, 1], [lgg, hgg])
    ids = tuple(f"case-{i:03d}" for i in range(len(labels)))
    volumes = np.arange(len(labels), dtype=np.float32)[:, None, None, None, None]
    return Cases(volumes, labels, ids, patients or ids)


def test_sizes_are_the_papers():
    assert splits.sizes([76 - 25, 259 - 25], 0) == splits.Sizes(finetune=51, larger=1, pool=183)


def test_sizes_of_balanced_classes_follow_the_limit():
    assert splits.sizes([100, 100], 32) == splits.Sizes(finetune=32, larger=1, pool=68)
    assert splits.sizes([100, 100], 0).pool == 0
    assert splits.sizes([20, 10], 32) == splits.Sizes(finetune=10, larger=0, pool=10)


@pytest.mark.parametrize("counts", [[5], [5, 5, 5], [0, 4]])
def test_sizes_need_two_classes_with_cases(counts):
    with pytest.raises(ProtocolError, match="two classes with cases are needed"):
        splits.sizes(counts, 0)


def test_the_papers_cases_are_divided_without_overlap():
    cases = listed(51, 234)
    parts = splits.divide(cases, 0, seed=0)
    assert [len(part) for part in parts.finetune] == [51, 51]
    assert len(parts.pool) == 183
    assert (cases.labels[parts.pool] == 1).all()
    assert set(cases.labels[parts.finetune[0]]) == {0}
    everything = np.concatenate([parts.all_finetune, parts.pool])
    assert sorted(everything) == list(range(285))


def test_validation_parts_are_disjoint_stratified_slices():
    cases = listed(51, 234)
    parts = splits.divide(cases, 0, seed=0)
    chosen = [splits.validation(parts, 0.15, 3, repeat) for repeat in range(3)]
    assert [np.bincount(cases.labels[part]).tolist() for part in chosen] == [[8, 8]] * 3
    assert len(np.unique(np.concatenate(chosen))) == 48
    for repeat, part in enumerate(chosen):
        expected = [order[8 * repeat : 8 * repeat + 8] for order in parts.finetune]
        assert part.tolist() == np.concatenate(expected).tolist()


def test_too_few_cases_for_disjoint_parts_say_what_to_change():
    parts = splits.divide(listed(4, 4), 0, seed=0)
    with pytest.raises(ProtocolError, match="5 disjoint validation parts of 1 cases were asked"):
        splits.validation(parts, 0.15, 5, 0)
    with pytest.raises(ProtocolError, match="validation parts of 4 cases"):
        splits.validation(parts, 0.99, 1, 0)


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_cases():
    cases = listed(20, 40)
    order = np.random.RandomState(5).permutation(60)
    moved = taken(cases, order)
    first, again, other = (splits.divide(cases, 8, seed) for seed in (3, 3, 4))
    ids = taken(cases, first.all_finetune).ids
    assert taken(cases, again.all_finetune).ids == ids
    assert taken(moved, splits.divide(moved, 8, 3).all_finetune).ids == ids
    assert taken(cases, other.all_finetune).ids != ids
    assert list(ids) != sorted(ids)


def test_a_patient_that_fine_tunes_gives_nothing_to_the_pool():
    patients = tuple(f"p{i // 3}" for i in range(30))
    cases = listed(6, 24, patients)
    parts = splits.divide(cases, 4, seed=1)
    finetune = {patients[i] for i in parts.all_finetune}
    assert finetune.isdisjoint(patients[i] for i in parts.pool)
    assert len(parts.pool) == 18  # 24 less both patients of whom 4 cases fine-tune


def test_cases_are_taken_joined_counted_and_left_out():
    cases = listed(2, 3)
    some = taken(cases, [4, 0, 4])
    both = joined(some, cases)
    assert [float(v.item()) for v in both.volumes] == [4, 0, 4, 0, 1, 2, 3, 4]
    assert both.labels.tolist() == [1, 0, 1, 0, 0, 1, 1, 1]
    assert per_class(both, ("LGG", "HGG")) == {"LGG": 3, "HGG": 5}
    assert per_class(None, ("LGG", "HGG")) == {"LGG": 0, "HGG": 0}
    left = without_patients(both, {"case-004", "case-001"})
    assert left.ids == ("case-000", "case-000", "case-002", "case-003")
    assert [float(v.item()) for v in left.volumes] == [0, 0, 2, 3]


def test_copies_of_a_patient_are_left_out_with_it():
    cases = listed(1, 1)
    copy = dataclasses.replace(cases, ids=("case-000-flip", "case-001-flip"))
    assert without_patients(joined(cases, copy), {"case-001"}).ids == ("case-000", "case-000-flip")
