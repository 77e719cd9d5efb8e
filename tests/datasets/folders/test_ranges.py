"""Ranges: what does not use the declared one, which advice helps, and what is no false alarm."""

import numpy as np
import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.folders.ranges import (
    Span,
    check_range,
    file_fault,
    other_range,
    refuse_range,
    within,
)
from cerebench.datasets.phantom import Phantom

UNIT, SIGNED, BYTES = Span(0.0, 1.0), Span(-1.0, 1.0), Span(0.0, 255.0)


@pytest.mark.parametrize(
    ("values", "declared", "like"),
    [
        (SIGNED, SIGNED, None),
        (UNIT, SIGNED, UNIT),
        (Span(0.0, 0.2), SIGNED, UNIT),
        (Span(-0.02, 1.02), SIGNED, UNIT),
        (Span(-0.03, 1.0), SIGNED, UNIT),  # overshoot on either side
        (Span(0.0, 1.03), SIGNED, UNIT),
        (Span(-0.1, 1.1), SIGNED, UNIT),
        (Span(-0.11, 1.0), SIGNED, None),
        (Span(0.0, 1.08), BYTES, UNIT),
        (Span(-1.1, 1.05), UNIT, SIGNED),
        (Span(0.05, 0.9), SIGNED, UNIT),
        (Span(0.2, 0.9), SIGNED, None),  # bright, without the background of any range
        (Span(0.0, 0.0), SIGNED, None),
        (Span(0.0, 0.05), SIGNED, None),
        (Span(-1.0, -0.99), SIGNED, None),
        (SIGNED, BYTES, SIGNED),
        (UNIT, BYTES, UNIT),
        (Span(0.0, 20.0), BYTES, None),
        (Span(255.0, 255.0), BYTES, None),
        (BYTES, SIGNED, BYTES),
        (Span(0.0, 60.0), UNIT, BYTES),
        (SIGNED, UNIT, SIGNED),
        (Span(-3.0, 9.0), SIGNED, None),
        (SIGNED, Span(-2.0, 2.0), None),
        (BYTES, Span(-1000.0, 1000.0), BYTES),
        (UNIT, Span(-1000.0, 1000.0), UNIT),
    ],
)
def test_values_look_like_another_common_range_where_they_do_not_use_the_declared(
    values, declared, like
):
    assert other_range(values, declared) == like


def test_two_hundredths_of_the_width_are_overshoot():
    assert within(Span(-1.04, 1.04), SIGNED)
    assert not within(Span(-1.041, 1.0), SIGNED)
    assert not within(Span(-1.0, 1.041), SIGNED)
    assert within(Span(-5.1, 260.1), BYTES)
    assert not within(Span(-5.2, 200.0), BYTES)


def refusal(spans, declared, *, real, accepted=False):
    """Return why a folder is refused; empty where it is not."""
    try:
        refuse_range("theirs", spans, declared, "--range", real=real, accepted=accepted)
    except DatasetError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("spans", "declared", "words"),
    [
        ([SIGNED] * 3, BYTES, "looks like [-1, 1]: give --range -1 1"),
        ([UNIT] * 3, BYTES, "looks like [0, 1]: give --range 0 1"),
        ([UNIT] * 3, SIGNED, "looks like [0, 1]: give --range 0 1"),
        ([UNIT, Span(0.0, 0.0)], SIGNED, "looks like [0, 1]: give --range 0 1"),
        ([BYTES] * 3, UNIT, "looks like [0, 255]: give --range 0 255"),
        ([Span(0.0, 200.0), Span(5.0, 90.0)], SIGNED, "looks like [0, 255]: give --range 0 255"),
        ([Span(0.0, 900.0), Span(0.0, 2000.0)], SIGNED, "these are scans, bench data export first"),
        ([Span(-1024.0, 900.0), Span(-9.0, 400.0)], BYTES, "these are scans, bench data export"),
    ],
)
def test_folders_of_another_range_are_refused_with_the_range_that_fits(spans, declared, words):
    for real in (True, False):
        assert words in refusal(spans, declared, real=real)


def test_a_file_that_lies_outside_does_not_hide_that_the_others_do_not_use_the_range():
    for real in (True, False):
        assert "looks like [-1, 1]" in refusal([SIGNED] * 3 + [Span(0.0, 300.0)], BYTES, real=real)
        assert "looks like [0, 1]" in refusal([UNIT] * 3 + [Span(-3.0, 3.0)], SIGNED, real=real)


@pytest.mark.parametrize(
    ("spans", "declared"),
    [
        ([Span(0.0, 20.0)] * 3, BYTES),
        ([Span(-1.0, -0.9)] * 3, SIGNED),
        ([Span(0.0, 0.0)] * 3, SIGNED),
        ([Span(0.3, 0.9)] * 3, SIGNED),
        ([Span(200.0, 255.0)] * 3, BYTES),
    ],
)
def test_real_volumes_use_their_range_and_generated_ones_may_have_collapsed(spans, declared):
    assert "theirs" in refusal(spans, declared, real=True)
    assert refusal(spans, declared, real=False) == ""


@pytest.mark.parametrize("real", [True, False])
def test_volumes_that_use_their_range_are_taken(real):
    for declared in (UNIT, SIGNED, BYTES, Span(-1000.0, 1000.0), Span(0.0, 4095.0)):
        width = declared.high - declared.low
        dim = Span(declared.low, declared.low + 0.3 * width)
        assert refusal([declared, dim], declared, real=real) == ""
    assert refusal([], SIGNED, real=real) == ""


def test_a_range_can_be_confirmed_but_not_what_lies_outside_or_is_hardly_used():
    assert refusal([UNIT], SIGNED, real=True, accepted=True) == ""
    assert refusal([UNIT], BYTES, real=False, accepted=True) == ""
    assert refusal([UNIT], BYTES, real=True, accepted=True)
    assert refusal([BYTES], UNIT, real=False, accepted=True)


def test_a_volume_of_one_unit_that_is_no_common_range_is_not_called_a_scan():
    for spans in ([Span(0.0, 1000.0)] * 3, [Span(-3.0, 9.0), Span(-2.0, 4.0)]):
        assert refusal(spans, SIGNED, real=False) == ""  # each file is named instead
        told = file_fault("a", spans[0], SIGNED, "", "--fake-range")
        assert "expected [-1, 1]. Rescale it, or give the range" in told
        assert "--fake-range LOW HIGH" in told


@pytest.mark.parametrize(
    "declared", [(1.0, 0.0), (0.0, float("nan")), (0.0, float("inf")), (2.0, 2.0)]
)
def test_an_impossible_range_is_refused(declared):
    with pytest.raises(DatasetError, match=r"the lower one first, for example --samples-range 0 1"):
        check_range(Span(*declared), "--samples-range")


def test_phantoms_are_no_false_alarm_whatever_happens_to_them():
    dataset = Phantom(size=16)
    rng = np.random.default_rng(0)
    changes = {
        "as they are": lambda v: v,
        "brighter": lambda v: np.clip(v + 0.3, -1, 1),
        "noisy": lambda v: v + 0.005 * rng.standard_normal(v.shape),
        "darker": lambda v: (v + 1) * 0.2 - 1,
        "grey background": lambda v: np.maximum(v, -0.6),
        "all foreground": lambda v: np.maximum(v, 0.2),
        "empty": lambda v: 0 * v - 1,
    }
    for case in dataset.cases()[::20]:
        volume = dataset.load(case).volume
        for name, change in changes.items():
            values = change(volume)
            span = Span(float(values.min()), float(values.max()))
            assert file_fault(case.id, span, SIGNED, "", "--range") == "", name
