"""The facts that metrics record and reports look up, by name.

A fact is a number or a short string beside a value. Its name is a slug; behind a dot it may say
what the fact is of (``welch_p.Left_Thalamus``). Reports know the names below and print the range
of every other number; a sentence is for people and is never read back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import TypeGuard

Fact = float | str

WELCH_P = "welch_p"  # two-sided p of equal means; of one structure with its name behind the dot
EXPECTED = "expected_of_new_cases"  # what new real cases score: the target of a near-real metric
RULING_FEATURE = "ruling_feature"  # the feature that makes most of a Fréchet distance
RULING_SHARE = "ruling_share"  # its share of the distance
RULING_MEANS = {  # of that feature in its own unit: (mean, standard deviation) by set
    "generated": ("ruling_generated_mean", "ruling_generated_sd"),
    "real": ("ruling_real_mean", "ruling_real_sd"),
}
PERMUTATION_P = "permutation_p"  # of a kernel distance, by permuting labels of volumes
ABSENT = "n_absent"  # outputs of pairs that are missing and count as the worst
FLOOR = "floor"  # mean of the same distance between real draws of the same size
FLOOR_SD = "floor_sd"  # standard deviation of the draws
FLOOR_M, FLOOR_N = "floor_m", "floor_n"  # volumes of a draw, and of the reference
RATIO = "ratio"  # the row's distance, at that size, divided by the floor
FLOOR_WITHIN, FLOOR_ACROSS = "floor_within_sites", "floor_across_sites"  # the same of equal sites
FLOOR_OF_SITES = "floor_sites_m"  # volumes of either side of these two
SITE_AUC, CLASS_AUC = "site_auc", "class_auc"  # of probes on real cases, cross-validated
SITES = "sites"  # how many there are with enough cases
RULING = {RULING_FEATURE, RULING_SHARE, *(name for pair in RULING_MEANS.values() for name in pair)}


def plain(facts: Mapping[str, Fact]) -> dict[str, Fact | None]:
    """Return facts as JSON holds them: numbers, strings, and None for a number that is not finite.

    Raises:
        ValueError: If a name is no slug, or a value is neither a number nor a string.

    Example:
        >>> plain({"n_pairs": 15, "pair_sd": float("nan"), "feature": "range"})
        {'n_pairs': 15, 'pair_sd': None, 'feature': 'range'}
    """
    return {_slug(name): _plain(name, value) for name, value in facts.items()}


def of(facts: Mapping[str, Fact | None], name: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers recorded under a name, each with what it is of (empty without a dot).

    Example:
        >>> list(of({"welch_p": 0.5, "welch_p.CSF": 0.25, "welch_pair": 1.0}, "welch_p"))
        [('', 0.5), ('CSF', 0.25)]
    """
    for full, value in facts.items():
        first, _, part = full.partition(".")
        if first == name and is_number(value):
            yield part, value


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a recorded fact is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _slug(name: str) -> str:
    if not isinstance(name, str) or not all(
        part and all(letter.isalnum() or letter in "_-" for letter in part)
        for part in name.split(".")
    ):
        raise ValueError(
            f"A fact is named {name!r}; expected letters, digits, '_' and '-', perhaps with dots "
            "between them. Rename it in the metric."
        )
    return name


def _plain(name: str, value: object) -> Fact | None:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Real) and not isinstance(value, bool):
        if isinstance(value, Integral):
            return int(value)
        return float(value) if math.isfinite(value) else None
    raise ValueError(
        f"The fact '{name}' is {value!r}; expected a number or a short string. Give each part of "
        "it a name of its own."
    )
