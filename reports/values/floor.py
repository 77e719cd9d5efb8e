"""Fréchet distances as ratios to their real floor: 1 is as good as real.

A metric that tables show in this way records beside its value what real draws of the same size
score (``core/facts.py``). The raw value stands in the CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from cerebench.core.facts import (
    CLASS_AUC,
    FLOOR,
    FLOOR_ACROSS,
    FLOOR_M,
    FLOOR_N,
    FLOOR_OF_SITES,
    FLOOR_SD,
    FLOOR_WITHIN,
    RATIO,
    SITE_AUC,
    SITES,
    Fact,
    is_number,
)
from cerebench.core.records.contents import Contents
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.reports.formatting import number
from cerebench.reports.values.tidy import OK, UNAVAILABLE, Value

NONE = "no real floor: too few real volumes to draw from, or all of them alike"


def as_ratio(value: Value) -> Value:
    """Return a distance, its error and what it was made from in units of its real floor.

    Where the floor is of fewer volumes than the row, so is the ratio; its error is then that of the
    whole row. The floor's own error is left out, since all rows share it.
    """
    facts = value.facts or {}
    ratio, floor = facts.get(RATIO), facts.get(FLOOR)
    if value.value is None:
        return value
    if not (is_number(ratio) and is_number(floor)):
        return replace(value, value=None, status=UNAVAILABLE, reason=NONE)
    unit = 1 / floor
    return replace(
        value,
        value=ratio,
        se=None if value.se is None else value.se * unit,
        replicates={
            side: tuple(None if one is None else one * unit for one in left)
            for side, left in value.replicates.items()
        },
    )


def shown(contents: Contents, values: Sequence[Value]) -> list[Value]:
    """Return values as tables show them: those of metrics with a real floor as ratios to it."""
    ratios = {metric.name for metric in contents.metrics if metric.as_ratio}
    return [as_ratio(value) if value.metric in ratios else value for value in values]


def notes(contents: Contents, values: Sequence[Value]) -> Iterator[str]:
    """Yield what the ratios of each metric are to."""
    for metric in contents.metrics:
        if not metric.as_ratio or metric.unavailable:
            continue
        parts: dict[str, None] = {}
        for v in values:
            # A control may have a reference of its own.
            if v.metric != metric.name or v.kind == CONTROL_KIND or v.status != OK:
                continue
            for mean, sd, m, n in _numbers(v.facts, FLOOR, FLOOR_SD, FLOOR_M, FLOOR_N):
                parts[f"{v.class_} {number(mean, sd)} ({m:g} against {n:g})"] = None
        if parts:
            yield (
                f"{metric.label}: × real is the distance divided by the mean of "
                f"{metric.recipe['floor']['draws']} draws of real volumes, here mean ± standard "
                f"deviation of the draws: {', '.join(parts)}. 1 is as good as real; a row of more "
                "volumes is drawn to the same number, 20 times. ± leaves out the error of the "
                "floor, which rows of one size share. Raw values are in the CSV."
            )


def of_sites(contents: Contents, values: Sequence[Value]) -> Iterator[str]:
    """Yield how well features tell where real cases were scanned, and how far sites are apart."""
    labels = {metric.name: metric.label for metric in contents.metrics}
    lines: dict[str, None] = {}
    for v in values:
        label = labels.get(v.metric, v.metric)
        if v.kind == CONTROL_KIND:
            continue
        for of_sites, of_classes, sites in _numbers(v.facts, SITE_AUC, CLASS_AUC, SITES):
            lines[
                f"Site: of real training cases the features of {label} tell the {sites:g} "
                f"sites with 10 cases or more apart with AUC {of_sites:.2f}, the classes "
                f"with {of_classes:.2f} (cross-validated)."
            ] = None
        for within, across, m in _numbers(v.facts, FLOOR_WITHIN, FLOOR_ACROSS, FLOOR_OF_SITES):
            lines[
                f"Site: {label} of real {v.class_}, {m:g} against as many: "
                f"{number(within)} within a site, {number(across)} across sites (means of draws)."
            ] = None
    yield from lines


def _numbers(facts: Mapping[str, Fact | None] | None, *names: str) -> Iterator[list[float]]:
    """Yield the facts of these names once if all of them are numbers, else nothing."""
    recorded = [(facts or {}).get(name) for name in names]
    numbers = [value for value in recorded if is_number(value)]
    if len(numbers) == len(names):
        yield numbers
