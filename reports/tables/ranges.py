"""Values with their error as text, where the value cannot leave a range."""

from __future__ import annotations

from cerebench.reports.formatting import between, number

# Scores that are shares, by metric ("" behind a hyphen: any feature space) and view.
SHARES = {
    "prdc-": ("precision", "recall", "coverage"),
    "nn-ratio": ("",),
    "copies": ("",),
    "tstr": ("",),
    "trts": ("",),
    "c2st": ("",),
    "membership-inference": ("features", "voxels"),
}
PERCENT = {"authpct": ("",)}


def ends(metric: str, view: str) -> tuple[float, float] | None:
    """Return the least and the greatest value that a metric can have; None where it has no both."""
    for names, most in ((SHARES, 1.0), (PERCENT, 100.0)):
        for name, views in names.items():
            if (metric == name or (name.endswith("-") and metric.startswith(name))) and (
                view in views
            ):
                return 0.0, most
    return None


def within(
    value: float,
    error: float | None,
    bounds: tuple[float, float] | None,
    places: int | None = None,
) -> str:
    """Format a value ± error, or [from, to] where ± would leave the range.

    Args:
        value: The value.
        error: Of it.
        bounds: Of its range; None for a value without.
        places: Decimals of all three; None for as many as the error allows.

    Example:
        >>> within(0.5, 0.1, (0, 1)), within(0.0, 1.1, (0, 1)), within(0.96, 0.05, (0, 1))
        ('0.50 ± 0.10', '0.0 [0.0, 1.0]', '0.960 [0.910, 1.000]')
    """
    if error is None or bounds is None:
        return number(value, error, places)
    low, high = max(value - error, bounds[0]), min(value + error, bounds[1])
    if value - error >= bounds[0] and value + error <= bounds[1]:
        return number(value, error, places)
    if places is None:
        return between(value, low, high)
    return "{} [{}, {}]".format(*(number(one, places=places) for one in (value, low, high)))
