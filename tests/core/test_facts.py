"""Facts: what may be recorded, and how a report finds it."""

import json
import math

import numpy as np
import pytest

from cerebench.core.facts import is_number, of, plain


def test_facts_become_plain_json_and_keep_their_order_and_bits():
    given = {"n": np.int64(7), "p": np.float32(0.1), "sd": math.pi, "feature": np.str_("range")}
    told = plain(given)
    assert [type(value) for value in told.values()] == [int, float, float, str]
    assert json.loads(json.dumps(told)) == told == dict(given)
    assert list(told) == list(given)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_number_that_is_not_finite_is_recorded_as_none(value):
    assert plain({"sd": value}) == {"sd": None}


@pytest.mark.parametrize(
    "name", ["", "n pairs", "n=3", "a..b", ".a", "a.", "p\n", "ruling_share: 0.9", 3, None]
)
def test_a_name_that_is_no_slug_is_refused(name):
    with pytest.raises(ValueError, match=r"A fact is named .*; expected letters, digits"):
        plain({name: 1.0})


@pytest.mark.parametrize("value", [True, None, [1.0], {"a": 1}, np.array([1.0]), 1j, b"x"])
def test_a_value_that_is_neither_number_nor_string_is_refused(value):
    with pytest.raises(ValueError, match=r"The fact 'x' is .*; expected a number"):
        plain({"x": value})


def test_names_are_found_with_and_without_what_they_are_of():
    facts = {"p": 0.5, "p.b": 0.25, "p_b": 1.0, "pp.b": 1.0, "p.b.c": 2}
    facts |= {"p.word": "x", "p.none": None}
    assert list(of(facts, "p")) == [("", 0.5), ("b", 0.25), ("b.c", 2)]


@pytest.mark.parametrize("value", [True, None, "1", math.nan, math.inf, [1]])
def test_what_is_recorded_as_no_number_is_none(value):
    assert not is_number(value)
