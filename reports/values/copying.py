"""Which rows are marked ``copying``: too many of their volumes are copies of training cases.

Copies are a fault at every preset and of every folder of samples, so no row is spared. The metric
``copies`` decides where it was computed, by voxel or by feature distance. Without it ``nn-ratio``
(features) and ``max-corr`` (voxels) do, whose counts hold a share of new cases, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from cerebench.core.facts import is_number
from cerebench.core.records.contents import Contents
from cerebench.reports.formatting import number
from cerebench.reports.values.tidy import OK, Value

COPIES, BY_FEATURES, BY_VOXELS = "copies", "nn-ratio", "max-corr"
JUDGED = ("method", "samples")  # controls are what they are
MOST = 0.05  # of the samples; new cases give about .01
FEWEST = 2  # copies: one among few volumes may be chance
BEYOND = 0.10  # what nn-ratio and max-corr may exceed their share of new cases by
OF_NEW_CASES = 0.05  # share of new cases where a record does not say it


def copying(contents: Contents, values: Sequence[Value]) -> dict[int, list[str]]:
    """Judge every row of generated volumes by its recorded scores, means over seeds.

    Args:
        contents: Table of contents.
        values: Values of the experiment; what is missing is not judged.

    Returns:
        Row to its reasons, one a class and measure; rows that do not copy are left out.
    """
    places: dict[tuple[int, str], dict[str, list[Value]]] = {}
    for value in values:
        judged = contents.rows[value.row].kind in JUDGED and value.status == OK
        if judged and value.metric in (COPIES, BY_FEATURES, BY_VOXELS) and value.value is not None:
            place = places.setdefault((value.row, value.class_), {})
            place.setdefault(value.metric, []).append(value)
    reasons: dict[int, list[str]] = {}
    for (row, class_), measured in places.items():
        texts = [f"{reason[0]} ({class_}) {reason[1]}" for reason in _faults(measured)]
        if texts:
            reasons.setdefault(row, []).extend(texts)
    return reasons


def _faults(measured: dict[str, list[Value]]) -> Iterator[tuple[str, str]]:
    """Yield what was measured and the bar that it is over."""
    if seeds := measured.get(COPIES):
        share = _mean([value.value for value in seeds])
        count = _mean([(value.value or 0) * (value.n_generated or 0) for value in seeds])
        if share > MOST and count > FEWEST - 0.5:
            yield f"{COPIES} {number(share)}", f"is over {MOST:g}{_parts(seeds)}"
        return
    if seeds := measured.get(BY_FEATURES):
        share = _mean([value.value for value in seeds])
        expected = _fact(seeds, "expected_of_new_cases")
        bar = (OF_NEW_CASES if expected is None else expected) + BEYOND
        if share > bar:
            yield f"{BY_FEATURES} {number(share)}", f"is over {bar:.2g}"
    if seeds := measured.get(BY_VOXELS):
        share = _fact(seeds, "copies_fraction")
        bar = OF_NEW_CASES + BEYOND
        if share is not None and share > bar:
            what = f"{BY_VOXELS} copies_fraction {number(share)}"
            yield what, f"is over {bar:.2g}"


def _parts(seeds: Sequence[Value]) -> str:
    """Say which share each distance found."""
    shares = [(name, _fact(seeds, name)) for name in ("voxel", "feature")]
    parts = [f"{number(share)} by {name}s" for name, share in shares if share is not None]
    return f", {' and '.join(parts)}" if parts else ""


def _mean(numbers: Sequence[float | None]) -> float:
    return fmean(n for n in numbers if n is not None)


def _fact(seeds: Sequence[Value], name: str) -> float | None:
    """Return the mean of a fact over the seeds that recorded it, or None."""
    recorded = [(value.facts or {}).get(name) for value in seeds]
    numbers = [fact for fact in recorded if is_number(fact)]
    return fmean(numbers) if numbers else None
