"""Volumes that are certainly wrong: empty ones, ones without background, ones cut to [-1, 1]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cerebench.reports.values.tidy import Value

CUT = 0.5  # share of voxels outside [-1, 1] above which a volume is what the cut made of it
FULL = 0.99  # share of voxels above the background above which there is none


def spoiled(values: Sequence[Value], labels: Sequence[str], size: int) -> Iterator[str]:
    """Say which rows' volumes are certainly wrong, and how; a line a row and fault.

    Args:
        values: Of an experiment, as recorded.
        labels: One a row.
        size: Edge of the volumes, voxels.
    """
    found: dict[tuple[int, str], dict[str, None]] = {}
    for v in values:
        if v.value is None or v.role not in ("", "method"):
            continue
        if v.metric == "clip-fraction" and v.value > CUT:
            fault = "most voxels lay outside [-1, 1] and were cut to it"
        elif v.metric == "foreground" and v.value == 0:
            fault = "volumes are empty: no voxel is above the background"
        elif v.metric == "foreground" and v.value > FULL * size**3:
            fault = "volumes have no background"
        else:
            continue
        found.setdefault((v.row, fault), {})[v.class_] = None
    for (row, fault), classes in found.items():
        yield f"{labels[row]} ({', '.join(classes)}): {fault}. Its numbers say nothing else."
