"""One reader for all layouts: from a case's files to images and canonical labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import Case, DatasetError
from cerebench.datasets.layouts.base import Layout
from cerebench.datasets.volumes import Spacing, Stored, read_stored

CAVITY = 4  # of the canonical labels; a resection cavity is no tumour
_NAMED = 4


@dataclass(frozen=True)
class Scan:
    """One case as read, z, y, x of the RAS+ array.

    Attributes:
        images: (C, D, H, W) float32, in the order asked for.
        labels: (D, H, W) uint8, canonical: 0 background, 1 necrotic or non-enhancing core,
            2 oedema, 3 enhancing tumour, 4 resection cavity; None without a mask.
        spacing: Voxel edge lengths (D, H, W), mm.
        largest: Per channel, the largest value the file's integer type can hold, or None.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.uint8] | None
    spacing: Spacing
    largest: tuple[float | None, ...]

    @property
    def tumour(self) -> NDArray[np.uint8] | None:
        """Return the labels of the whole tumour: those that are not a resection cavity."""
        return None if self.labels is None else np.where(self.labels == CAVITY, 0, self.labels)


class UnusableCase(DatasetError):
    """A case cannot be used; ``faults`` has one sentence for each reason."""

    def __init__(self, case: str, faults: Sequence[str]) -> None:
        super().__init__(f"{case}: {' '.join(faults)}")
        self.case, self.faults = case, tuple(faults)

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        return UnusableCase, (self.case, self.faults)


def read_scan(
    case: Case, modalities: Sequence[str], layout: Layout, labels: Mapping[int, int]
) -> Scan:
    """Read the images and, if there is one, the mask of a case.

    Args:
        case: What to read.
        modalities: Channels, in this order.
        layout: Says where a modality lies in a file that holds several.
        labels: Stored label to canonical label.

    Raises:
        UnusableCase: If a file cannot be used, shapes differ, or the mask holds other labels. All
            reasons are given, not only the first.
    """
    faults: list[str] = []
    read: dict[str, Stored] = {}
    for name in (*modalities, "seg"):
        if name not in case.files:
            continue
        try:
            channel = None if name == "seg" else layout.channels.get(name)
            read[name] = read_stored(case.files[name], channel)
        except DatasetError as e:
            faults.append(str(e))
    faults += _shape_faults(case.files, {n: r.values.shape for n, r in read.items()})
    canonical = None
    if "seg" in read:
        try:
            canonical = canonical_labels(read["seg"].values, labels)
        except DatasetError as e:
            faults.append(f"{case.files['seg']} {e}")
    if faults:
        raise UnusableCase(case.id, faults)
    images = [read[m] for m in modalities]
    return Scan(
        np.stack([i.values for i in images]) if len(images) > 1 else images[0].values[None],
        canonical,
        images[0].spacing,
        tuple(i.largest for i in images),
    )


def canonical_labels(values: NDArray[np.float32], labels: Mapping[int, int]) -> NDArray[np.uint8]:
    """Translate the numbers of a mask.

    Args:
        values: (D, H, W) as stored.
        labels: Stored label to canonical label; 0 stays 0.

    Returns:
        (D, H, W) uint8.

    Raises:
        DatasetError: If a value is not 0 or one of the labels.
    """
    inside = values[values != 0]
    stored = np.unique(inside) if inside.size else inside
    strange = [float(v) for v in stored if v not in labels]
    if strange:
        listed = ", ".join(f"{v:g}" for v in strange[:_NAMED])
        more = " and more" if len(strange) > _NAMED else ""
        known = ", ".join(str(label) for label in sorted(labels))
        raise DatasetError(
            f"holds label {listed}{more}; this layout knows 0, {known}. Correct the mask, or name "
            "its meaning with --data labels=NAME."
        )
    table = np.zeros(max(labels) + 1, np.uint8)
    for old, new in labels.items():
        table[old] = new
    return table[values.astype(np.uint8)]


def _shape_faults(files: Mapping[str, Path], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Compare everything with the first image."""
    first = next(iter(shapes), "")
    return [
        f"{files[name]} has shape {shape} and {files[first].name} {shapes[first]} (z, y, x); they "
        "must be equal. Resample one onto the other."
        for name, shape in shapes.items()
        if shape != shapes[first]
    ]
