"""One reader for all layouts: from a case's files to images and canonical labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import Case, DatasetError
from cerebench.datasets.layouts.base import Layout
from cerebench.datasets.scans.headers import Grid, difference, spacing_difference
from cerebench.datasets.scans.volumes import Spacing, Stored, read_stored

CAVITY = 4  # of the canonical labels; a resection cavity is no tumour
# Whose header says how the voxels of a file lie, where those of a case differ.
HEADERS = ("image", "own")  # that of the first image (--same-axes), its own (--trust-headers)
ROUNDING = 1e-3  # of a label in a mask of floats
_NAMED = 4
_AXES_ADVICE = (
    "Turned by its own header, each would not lie where the other does. If a header was lost and "
    "the voxels do lie on each other, give --same-axes; if every header is right, --trust-headers."
)
_SPACING_ADVICE = (
    "Voxels of different sizes cannot lie on each other. Resample one onto the other; or, if a "
    "header was lost, give --same-axes."
)


@dataclass(frozen=True)
class Scan:
    """One case as read, z, y, x of the RAS+ array.

    Attributes:
        images: (C, D, H, W) float32, in the order asked for.
        labels: (D, H, W) uint8, canonical: 0 background, 1 necrotic or non-enhancing core,
            2 oedema, 3 enhancing tumour, 4 resection cavity; None without a mask.
        spacing: Voxel edge lengths (D, H, W), mm.
        largest: Per channel, the largest value the file's integer type can hold, or None.
        notes: What is odd about the headers, by modality or ``seg``.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.uint8] | None
    spacing: Spacing
    largest: tuple[float | None, ...]
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

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
    case: Case,
    modalities: Sequence[str],
    layout: Layout,
    labels: Mapping[int, int],
    headers: str = "",
) -> Scan:
    """Read the images and, if there is one, the mask of a case.

    Args:
        case: What to read.
        modalities: Channels, in this order.
        layout: Says where a modality lies in a file that holds several.
        labels: Stored label to canonical label.
        headers: One of ``HEADERS``, or empty: then files whose axes differ are refused.

    Raises:
        UnusableCase: If a file cannot be used, shapes or axes differ, or the mask holds other
            labels. All reasons are given, not only the first.
    """
    faults: list[str] = []
    read: dict[str, Stored] = {}
    for name in (*modalities, "seg"):
        if name not in case.files:
            continue
        try:
            channel = None if name == "seg" else layout.channels.get(name)
            # The first image has no other to follow; where it is damaged, nothing has.
            like = next(iter(read.values())).grid if headers == "image" and read else None
            read[name] = read_stored(case.files[name], channel, like)
        except DatasetError as e:
            faults.append(str(e))
    grids = {name: (case.files[name], stored.grid) for name, stored in read.items()}
    faults += grid_faults(grids, headers)
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
        {name: stored.grid.notes for name, stored in read.items() if stored.grid.notes},
    )


def canonical_labels(values: NDArray[np.float32], labels: Mapping[int, int]) -> NDArray[np.uint8]:
    """Translate the numbers of a mask.

    Args:
        values: (D, H, W) as stored; what is within ``ROUNDING`` of a label is that label, since
            other tools store masks as floats and scale them.
        labels: Stored label to canonical label; 0 stays 0.

    Returns:
        (D, H, W) uint8.

    Raises:
        DatasetError: If a value is not 0 or one of the labels.
    """
    nearest = np.rint(values)
    whole = np.where(np.abs(values - nearest) <= ROUNDING, nearest, values)
    inside = whole[whole != 0]
    stored = np.unique(inside) if inside.size else inside
    strange = [float(v) for v in stored if v not in labels]
    if strange:
        listed = ", ".join(f"{v:.7g}" for v in strange[:_NAMED])
        more = " and more" if len(strange) > _NAMED else ""
        known = ", ".join(str(label) for label in sorted(labels))
        raise DatasetError(
            f"holds label {listed}{more}; this layout knows 0, {known}. Correct the mask, or name "
            "its meaning with --data labels=NAME."
        )
    table = np.zeros(max(labels) + 1, np.uint8)
    for old, new in labels.items():
        table[old] = new
    return table[whole.astype(np.uint8)]


def grid_faults(grids: Mapping[str, tuple[Path, Grid]], headers: str = "") -> list[str]:
    """Compare everything with the first image: axes as they are stored, then shapes once turned.

    Args:
        grids: File and grid by modality or ``seg``, the first image first.
        headers: One of ``HEADERS``, or empty; see ``read_scan``.

    Returns:
        One sentence and what to do about it for each file that does not fit.
    """
    if headers == "image" or not grids:  # all have the axes of the first, and so its shape
        return []
    (first, reference), *others = grids.values()
    faults = []
    for path, grid in others:
        turned = "" if headers == "own" else difference(path, grid, first, reference)
        sized = "" if turned else spacing_difference(path, grid, first, reference)
        faults += [f"{turned}. {_AXES_ADVICE}"] * bool(turned)
        faults += [f"{sized}. {_SPACING_ADVICE}"] * bool(sized)
        # Of equal voxels under differing headers, the header is what is wrong.
        if grid.turned_shape != reference.turned_shape and not (
            (turned or sized) and grid.shape == reference.shape
        ):
            faults.append(
                f"{path} has shape {grid.turned_shape} and {first.name} {reference.turned_shape} "
                "(z, y, x); they must be equal. Resample one onto the other."
            )
    return faults
