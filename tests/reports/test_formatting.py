import doctest

import pytest

from cerebench.reports import formatting
from cerebench.reports.formatting import (
    count,
    decimals,
    duration,
    first_line,
    number,
    plain,
    span,
    units,
)


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (5e-5, None, "5.0e-5"),
        (-3.0, None, "-3.0"),
        (-5e-5, None, "-5.0e-5"),
        (0.0, None, "0"),
        (17200.0, None, "17200"),
        (0.641234, None, "0.6412"),
        (0.712345, 0.0213, "0.712 ± 0.021"),
        (-0.21, 0.4, "-0.21 ± 0.40"),
        (1234.5, 56.7, "1234 ± 57"),
        (5e-5, 0.01, "0.000 ± 0.010"),
        (-5e-5, 0.01, "0.000 ± 0.010"),
        (0.0152, 1.1, "0.015 ± 1.1"),
        (0.004, 1.1, "0.004 ± 1.1"),
        (1_901_123.0, 927_209.0, "1.9e6 ± 9.3e5"),
        (123_456.0, 78.0, "1.23456e5 ± 7.8e1"),
        (-3e-9, 1e-8, "-3.0e-9 ± 1.0e-8"),
        (0.25, 0.0, "0.25 ± 0"),
    ],
)
def test_a_number_prints_as_itself_to_the_digits_it_has(value, spread, text):
    assert number(value, spread) == text


def test_examples_in_docstrings_hold():
    assert doctest.testmod(formatting).failed == 0


@pytest.mark.parametrize(
    ("scale", "text"), [(1.0, ""), (1e-4, "(10⁴)"), (1e3, "(10⁻³)"), (2.5, "(0.4)"), (100, "(%)")]
)
def test_a_head_says_what_its_numbers_are_in_units_of(scale, text):
    assert units(scale) == text


@pytest.mark.parametrize(
    ("values", "errors", "places"),
    [
        ([1.72, 150.1, 3.0], [0.012, 1.5, 0.3], 2),
        ([1.72, 150.1], [0.0, float("nan")], 2),  # no error: by the values
        ([50.0, 49.0, 0.4], [0.6, 1.2, 0.0003], 4),  # the smallest error is not zero
        ([50.0, 49.0, 0.4], [0.6, 1.2, 1e-7], 4),  # but takes two more decimals at most
        ([1032.0, 1248.0], [83.0, 53.0], 0),
        ([1e-9], [1e-10], None),
        ([0.0], [], None),
        ([3e20, 1.5], [1e19, 0.5], 2),
    ],
)
def test_a_column_has_the_decimals_of_its_usual_error(values, errors, places):
    assert decimals(values, errors) == places


def test_numbers_of_a_column_have_equal_decimals_unless_they_are_too_large():
    pairs = ((1.72, 0.012), (150.1, 1.5), (0.0, 0.0), (-0.0001, 0.01), (3.2e25, 1e24))
    assert [number(*pair, places=2) for pair in pairs] == [
        "1.72 ± 0.01",
        "150.10 ± 1.50",
        "0.00 ± 0.00",
        "0.00 ± 0.01",
        "3.2e25 ± 1.0e24",
    ]


def test_amounts_read_in_units_of_their_size():
    assert [duration(s) for s in (0.25, 100, 150, 9000)] == [
        "0.25 s",
        "100.0 s",
        "2.5 min",
        "2.5 h",
    ]
    assert [count(n) for n in (812, 45_120, 1_500_000, 2.1e9)] == [
        "812",
        "45.1 k",
        "1.5 M",
        "2.1 G",
    ]
    assert [span([64, 64]), span([64, 32]), span([])] == ["64", "32–64", "—"]


def test_text_becomes_one_printable_line():
    assert plain("a\x1b[31m\n\tb\x00") == "a [31m b"
    assert first_line("\n out of memory \n at line 3") == "out of memory"
