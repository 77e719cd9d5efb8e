"""Whether stored values use the range that they are declared to have.

Background is the lower end of a range, and the range decides what a metric sees: volumes in [0, 1]
that are read as [-1, 1] have grey where air should be, and volumes in [-1, 1] read as [0, 255] are
one flat grey. Nothing of this shows in a score, so the values of all files are looked at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cerebench.datasets.base import BadOption, DatasetError

COMMON = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))  # what volumes are usually stored in
REACH = 0.02  # of the width of a range: values that far outside are overshoot and are clipped
USED = 0.1  # of the width of a range: values that span less do not use it
ROUNDING = 1e-6  # of the width of a range: stored values are float32
_VARIED = 1.2  # times the lowest maximum: the unit of scans is that of each scanner


class Span(NamedTuple):
    """The lowest and the highest value of a file, or of several."""

    low: float
    high: float

    @classmethod
    def of(cls, spans: Sequence[Span]) -> Span:
        """Return the span of all values."""
        return cls(min(s.low for s in spans), max(s.high for s in spans))

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


def check_range(declared: Span, option: str) -> None:
    """Refuse a range that is none.

    Raises:
        DatasetError: If it does not have two finite ends, the lower one first.
    """
    if not (float("-inf") < declared.low < declared.high < float("inf")):
        raise BadOption(
            f"The range of values is {declared}; expected two numbers, the lower one first, for "
            f"example {option} 0 1."
        )


def within(values: Span, declared: Span, share: float = REACH) -> bool:
    """Say whether values lie in a range, or outside by no more than a share of its width."""
    reach = (share + ROUNDING) * (declared.high - declared.low)
    return declared.low - reach <= values.low and values.high <= declared.high + reach


def other_range(values: Span, declared: Span) -> Span | None:
    """Return the common range that values fit while they do not use the declared one.

    They fit a range if they leave it by at most ``USED`` of its width, span at least as much of it,
    and begin in its lowest tenth, where the background is. They do not use a range if they leave
    it, span less than ``USED`` of it, or keep out of its lower half, but for overshoot of a tenth:
    what ends above 1 or below 0 by a little was meant for [0, 1]. A constant volume fits none, so a
    collapsed set stays what it is.

    Example:
        >>> other_range(Span(0.0, 1.0), Span(-1.0, 1.0))
        Span(low=0.0, high=1.0)
        >>> other_range(Span(0.0, 0.0), Span(-1.0, 1.0))
    """
    if not _unused(values, declared):
        return None
    for candidate in (Span(*ends) for ends in COMMON):
        width = candidate.high - candidate.low
        fits = within(values, candidate, USED) and values.high - values.low >= USED * width
        if candidate != declared and fits and values.low <= candidate.low + USED * width:
            return candidate
    return None


def _unused(values: Span, declared: Span) -> bool:
    return (
        not within(values, declared)
        or _narrow(values, declared)
        or _without_background(values, declared)
    )


def _narrow(values: Span, declared: Span) -> bool:
    return values.high - values.low < USED * (declared.high - declared.low)


def _without_background(values: Span, declared: Span) -> bool:
    """Say whether nothing lies in the lower half of a range, but for overshoot from its middle."""
    half = (declared.high - declared.low) / 2
    return values.low >= declared.low + half * (1 - USED - ROUNDING)


def refuse_range(
    folder: object,
    spans: Sequence[Span],
    declared: Span,
    option: str,
    *,
    real: bool,
    accepted: bool = False,
) -> None:
    """Refuse a folder whose values as a whole do not use the declared range.

    Args:
        folder: Its path.
        spans: Values of every file.
        declared: The range that becomes [-1, 1].
        option: What gives that range on the command line.
        real: Whether the volumes are real: those use their range. Generated ones may have
            collapsed, so they are refused only where their values fit another common range.
        accepted: Whether the range was confirmed (``--accept-range``).

    Raises:
        DatasetError: Naming the range that fits, or what the values are.
    """
    if not spans:
        return
    inside = [span for span in spans if within(span, declared)]  # others are named one by one
    values = Span.of(inside or spans)
    like, fault = other_range(values, declared), f"The volumes in {folder} have values in {values}"
    if not inside:
        if like:
            raise DatasetError(f"{fault}, not in {declared}. {_advice(values, like, option)}")
        if _are_scans(spans):
            raise DatasetError(
                f"{fault}, each up to another highest value: {scans(folder)} If they are volumes "
                f"of one range, give its ends with {option} LOW HIGH."
            )
        return
    if real and _narrow(values, declared):
        raise DatasetError(
            f"{fault}, less than a tenth of the declared {declared}. "
            f"{_advice(values, like, option)}"
        )
    if accepted:
        return
    if like or (real and _without_background(values, declared)):
        raise DatasetError(
            f"No volume in {folder} has a value below {values.low:g} (values in {values}), but the "
            f"background must be {declared.low:g}. {_advice(values, like, option)} If they are "
            "right as they are, give --accept-range."
        )


def _advice(values: Span, like: Span | None, option: str) -> str:
    if like is None:
        return f"Give the values of background and maximum with {option} LOW HIGH."
    clip = "" if within(values, like) else f"clip them to it (they reach {values}) and "
    return f"It looks like {like}: {clip}give {option} {like.low:g} {like.high:g}."


def scans(folder: object) -> str:
    """Return what to do with scans where volumes are expected."""
    return (
        f"these are scans, bench data export first: bench data export OUT {folder}, then give OUT."
    )


def _are_scans(spans: Sequence[Span]) -> bool:
    """Say whether values are those of scans, beyond every common range and each by its own unit."""
    highest = [span.high for span in spans]
    beyond = max(highest) > max(high for _, high in COMMON) * (1 + REACH)
    return beyond and max(highest) > _VARIED * min(highest)


def file_fault(name: object, values: Span, declared: Span, others: str, option: str) -> str:
    """Return why a file cannot be used beside the others, or an empty string.

    Args:
        name: The file.
        values: Its values.
        declared: The range that becomes [-1, 1].
        others: What the others do: ``where the others reach -1``.
        option: What gives that range on the command line.
    """
    like = other_range(values, declared)
    if not within(values, declared):
        looks = f", which looks like {like}" if like else ""
        return (
            f"{name} has values in {values}; expected {declared}{looks}. Rescale it, or give the "
            f"range of the volumes with {option} LOW HIGH."
        )
    return f"{name} has values in {values}{others}: it looks like {like}." if like else ""
