"""Numbers and strings as text. Formats, never alters: nothing is clamped, hidden or rescaled."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from statistics import median_low

DASH = "—"
LARGE = 1e5  # from which on numbers have powers of ten
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(text: object) -> str:
    """Return one printable line: control characters and runs of white space become one space."""
    kept = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(kept.split())


def number(value: float, spread: float | None = None, places: int | None = None) -> str:
    """Format a value, with its uncertainty if there is one.

    With ``places`` both have so many decimals, as all of a column have, unless they are too large.
    Else, alone, a value gets up to four significant digits and at least one decimal. With an
    uncertainty, both end at the second significant digit of the uncertainty; a value that would
    then read as zero keeps two digits of its own, unless that takes a power of ten.

    Example:
        >>> number(5e-5), number(-3.0), number(0.71234, 0.0213), number(5e-5, 0.01)
        ('5.0e-5', '-3.0', '0.712 ± 0.021', '0.000 ± 0.010')
        >>> number(0.71234, 0.0213, places=2), number(-0.001, places=2)
        ('0.71 ± 0.02', '0.00')
    """
    if places is not None:
        numbers = [value] if spread is None else [value, spread]
        if all(math.isfinite(one) and abs(one) < LARGE for one in numbers):
            return " ± ".join(_fixed(one, places) for one in numbers)
    if spread is None:
        return _alone(value, 4)
    if not math.isfinite(spread) or spread <= 0 or not math.isfinite(value):
        return f"{_alone(value, 4)} ± {_alone(spread, 2)}"
    if max(abs(value), spread) >= LARGE:
        lost = math.floor(math.log10(max(abs(value), spread))) - math.floor(math.log10(spread))
        return f"{_scientific(value, max(lost, 0) + 1)} ± {_scientific(spread, 1)}"
    decimals = 1 - math.floor(math.log10(spread))
    if decimals > 5:
        return f"{_alone(value, 4)} ± {_alone(spread, 2)}"
    text = f"{value:.{max(decimals, 0)}f}"
    if float(text) == 0:
        own = _alone(value, 2)
        text = own if "e" not in own and value != 0 else text.removeprefix("-")
    return f"{text} ± {spread:.{max(decimals, 0)}f}"


def decimals(values: Iterable[float], errors: Iterable[float]) -> int | None:
    """Return the decimals that all numbers of a column shall have, at most 5.

    That is down to the second digit of the usual error, and up to two more where a smaller error
    would read as zero. Without errors, down to the third digit of the usual value.

    Args:
        values: Of the column.
        errors: Of those that have one.

    Returns:
        The decimals; None where there is nothing to go by, or five show too little.

    Example:
        >>> decimals([1.72, 150.1], [0.012, 1.5]), decimals([0.05, 1.2], []), decimals([1e-9], [])
        (3, 4, None)
    """
    spreads, sizes = (
        sorted(abs(n) for n in numbers if n and math.isfinite(n) and abs(n) < LARGE)
        for numbers in (errors, values)
    )
    known = spreads or sizes
    if not known:
        return None
    usual = (1 if spreads else 2) - math.floor(math.log10(median_low(known)))
    least = -math.floor(math.log10(known[0]))
    places = max(usual, min(least, usual + 2), 0)
    return min(places, 5) if usual <= 6 else None


def _fixed(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def probability(p: float) -> str:
    """Format a p-value with three decimals.

    Example:
        >>> probability(0.0412), probability(2e-5)
        ('0.041', '<0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def like(value: float, spread: float | None) -> str:
    """Format a value with the decimals that its uncertainty, or the width of its range, allows.

    Example:
        >>> like(0.41234, 0.11), like(0.41234, None)
        ('0.41', '0.4123')
    """
    if not spread or not math.isfinite(spread):
        return number(value)
    return number(value, spread).partition(" ± ")[0]


def between(value: float, low: float, high: float) -> str:
    """Format a value with its interval, with the decimals that the width allows.

    Example:
        >>> between(0.812, 0.694, 0.93)
        '0.81 [0.69, 0.93]'
    """
    return "{} [{}, {}]".format(*(like(one, high - low) for one in (value, low, high)))


def _alone(value: float, digits: int) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e6:
        return _trim(f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}")
    return _scientific(value, digits - 1)


def _scientific(value: float, decimals: int) -> str:
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{_trim(mantissa)}e{int(exponent)}"


def _trim(decimal: str) -> str:
    """Drop trailing zeros after the first decimal."""
    whole, point, decimals = decimal.partition(".")
    return whole + point + (decimals.rstrip("0") or "0") if point else whole


def units(scale: float) -> str:
    """Format what a printed number is in units of, as a table's head has it.

    Args:
        scale: What a value is multiplied by before it is printed.

    Example:
        >>> units(1e-4), units(1e3), units(100), units(1), units(2.5)
        ('(10⁴)', '(10⁻³)', '(%)', '', '(0.4)')
    """
    if scale == 1:
        return ""
    if scale == 100:
        return "(%)"
    exponent = -round(math.log10(scale)) if scale > 0 else 0
    if scale > 0 and math.isclose(scale, 10.0**-exponent):
        return f"(10{superscript(exponent)})"
    return f"({1 / scale:g})"


def tick(value: float) -> str:
    """Format a label of a logarithmic axis: plain from 0.001 to 5000, else with a power of ten.

    Example:
        >>> tick(0.02), tick(5000), tick(1e6), tick(2e-5)
        ('0.02', '5000', '10⁶', '2·10⁻⁵')
    """
    if value <= 0 or 1e-3 <= value < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:e}".split("e")
    lead = "" if float(mantissa) == 1 else f"{float(mantissa):g}·"
    return f"{lead}10{superscript(int(exponent))}"


def duration(seconds: float) -> str:
    """Format a duration: '42.0 s', '3.4 min', '5.2 h', '3.0 d'.

    Example:
        >>> duration(42), duration(204), duration(18720), duration(259200)
        ('42.0 s', '3.4 min', '5.2 h', '3.0 d')
    """
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s"


def count(number_of: float) -> str:
    """Format a number of parameters: '812', '45.1 k', '1.3 M', '2.1 G'."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number_of >= size:
            return f"{number_of / size:.1f} {unit}"
    return f"{number_of:.0f}"


def span(values: Iterable[int]) -> str:
    """Format whole numbers as one number, or as the range that they fill: '64', '32–64'."""
    distinct = sorted(set(values))
    if not distinct:
        return DASH
    return str(distinct[0]) if len(distinct) == 1 else f"{distinct[0]}–{distinct[-1]}"


def superscript(mark: int) -> str:
    """Format a footnote mark, for example '¹²'."""
    return str(mark).translate(_SUPERSCRIPT)


def first_line(text: object) -> str:
    """Return the first line of a message that is not blank, as one printable line."""
    lines = re.split(r"[\r\n]+", str(text).strip())
    return plain(lines[0])
