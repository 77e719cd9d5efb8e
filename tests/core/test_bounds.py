"""Types with bounds: what they accept, what they make of it, what they say in words."""

import math
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge
from pydantic import Field

from cerebench.core.bounds import (
    BadConfig,
    Count,
    CountOrZero,
    Decay,
    Fraction,
    NonNegative,
    Positive,
    Precision,
    in_words,
    says_bounds,
    typed,
)

Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


class Foreign:
    """A type that pydantic knows nothing of."""


@pytest.mark.parametrize(
    ("accepts", "given", "made"),
    [
        (Count, 1, 1),
        (Count, 3.0, 3),
        (CountOrZero, 0, 0),
        (Positive, 1, 1.0),
        (Positive, 5e-324, 5e-324),
        (NonNegative, 0, 0.0),
        (Fraction, 1, 1.0),
        (Decay, 0.999, 0.999),
        (Precision, "bf16", "bf16"),
        (Literal[1, 2], 2, 2),
        (Widths, [8, 4.0], (8, 4)),
        (str | list[str], ["a"], ["a"]),
        (dict[str, int], {"train": 3}, {"train": 3}),
        (bool, False, False),
        (Any, None, None),
    ],
)
def test_a_value_is_returned_as_its_type_has_it(accepts, given, made):
    found = typed("x", given, accepts)
    assert (found, type(found)) == (made, type(made))
    assert not isinstance(made, tuple) or [type(i) for i in found] == [type(i) for i in made]


@pytest.mark.parametrize(
    ("accepts", "refused"),
    [
        (Count, (0, -1, 1.5, math.nan, math.inf, True, "3", None, [1])),
        (CountOrZero, (-1, 0.5, False, "0")),
        (Positive, (0, 0.0, -0.0, -1, math.nan, math.inf, True, "1e-3", 10**400)),
        (NonNegative, (-1e-300, math.nan, math.inf, False)),
        (Fraction, (-0.1, 1.0000001, math.nan, True)),
        (Decay, (1, 1.0, -0.1, math.nan)),
        (Precision, ("fp8", "FP32", "", 32, None)),
        (Literal[1, 2], (3, True, "1", 1.5)),
        (Widths, ([], [0], [8, 0], [8, True], [8, "4"], [8, math.nan], "84", 8, None)),
        (str | list[str], (3, ["a", 3])),
        (dict[str, int], ({"train": True}, {"train": "3"}, 3)),
        (bool, (0, 1, "yes", None)),
        (float, (math.nan, math.inf, True, "1")),
        (int, (1.5, math.nan, True, "1")),
    ],
)
def test_what_a_type_does_not_accept_is_named_with_what_it_accepts(accepts, refused):
    for value in refused:
        with pytest.raises(BadConfig) as caught:
            typed("mine.x", value, accepts, where=" in mine.toml")
        words = f"mine.x must be {in_words(accepts)}, got {value!r} in mine.toml."
        assert str(caught.value) == words


@pytest.mark.parametrize(
    ("accepts", "words"),
    [
        (Count, "a whole number of at least 1"),
        (CountOrZero, "a whole number of at least 0"),
        (Positive, "a number above 0"),
        (Fraction, "a number from 0 to 1"),
        (Decay, "a number of at least 0 and below 1"),
        (Annotated[float, Field(gt=0, le=1)], "a number above 0 and at most 1"),
        (Annotated[float, Field(le=1)], "a number of at most 1"),
        (Annotated[int, Ge(2)], "a whole number of at least 2"),
        (Annotated[Count, Field(le=3)], "a whole number from 1 to 3"),
        (Annotated[int, Field(multiple_of=8)], "a multiple of 8"),
        (Annotated[int, Field(ge=64, multiple_of=32)], "a multiple of 32, of at least 64"),
        (Precision, "fp32 or bf16"),
        (Literal[10, 18, 34], "10, 18 or 34"),
        (Literal["paper"], "paper"),
        (Annotated[float, Field(ge=0, le=0)] | Annotated[float, Field(ge=1)],
         "0 or a number of at least 1"),
        (Widths, "a list of 1 or more whole numbers of at least 1"),
        (tuple[int, float], "a list of a whole number, a number"),
        (list[Widths], "a list of lists of 1 or more whole numbers of at least 1"),
        (Count | None, "a whole number of at least 1 or nothing"),
        (list, "a list of values"),
        (dict[str, Any], "a table"),
        (Any, "any value"),
        (int, "a whole number"),
        (Foreign, "of type Foreign"),
    ],
)  # fmt: skip
def test_types_say_in_words_what_they_accept(accepts, words):
    assert in_words(accepts) == words


def test_only_numbers_with_a_lower_bound_or_choices_say_their_bounds():
    silent = (int, float, tuple[int, ...], int | None, Count | float, tuple[Count, float])
    assert not any(map(says_bounds, (*silent, Annotated[int, Field(le=3)], list[list[int]])))
    told = (Count, Literal[1, 2], Annotated[float, Field(gt=-1)], Widths, Count | None)
    assert all(map(says_bounds, (*told, str, bool, Any, dict[str, str], list, Foreign)))
