"""Taking, joining and counting labelled volumes without reading them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import LazyVolumes
from cerebench.metrics.downstream.base import Cases


def taken(cases: Cases, indices: Sequence[int] | NDArray[np.integer]) -> Cases:
    """Return the cases at these positions, in this order; a position may occur repeatedly."""
    positions = [int(i) for i in indices]
    ids = tuple(cases.ids[i] for i in positions)
    return Cases(
        volumes=LazyVolumes(ids, lambda i: cases.volumes[positions[i]]),
        labels=cases.labels[positions],
        ids=ids,
        patients=tuple(cases.patients[i] for i in positions),
    )


def joined(*parts: Cases) -> Cases:
    """Return all cases of the parts, one part after the other."""
    places = [(part.volumes, i) for part in parts for i in range(len(part))]
    ids = tuple(name for part in parts for name in part.ids)

    def read(index: int) -> NDArray[np.float32]:
        volumes, i = places[index]
        return volumes[i]

    return Cases(
        volumes=LazyVolumes(ids, read),
        labels=np.concatenate([part.labels for part in parts]),
        ids=ids,
        patients=tuple(name for part in parts for name in part.patients),
    )


def without_patients(cases: Cases, patients: Collection[str]) -> Cases:
    """Leave out every case, and every copy of a case, of these patients."""
    return taken(cases, [i for i, name in enumerate(cases.patients) if name not in patients])


def per_class(cases: Cases | None, classes: Sequence[str]) -> dict[str, int]:
    """Count the cases of each class; zeros where there are no cases."""
    labels = np.empty(0, np.int64) if cases is None else cases.labels
    return {name: int(np.count_nonzero(labels == label)) for label, name in enumerate(classes)}
