"""The generated volumes that lie closest to a training case, beside that case.

Cases have no names here: they are numbered within a class, and one number is one training case,
so that a case that several volumes come close to can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cerebench.reports.base import NotDrawn, Plot, RecordedExperiment, ReportError
from cerebench.reports.figures.drawing import (
    COLUMN,
    LABELS,
    SMALL,
    WAY_UP,
    arrays,
    blank,
    canvas,
    files,
    frame,
    generators,
    head,
    labels,
    lack,
    radiological,
)
from cerebench.reports.formatting import number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTHING = np.zeros(0)  # stands for an array that a file does not hold
PAIRS = 2
LEAST = 0.3  # edge of a slice, inches
GAP, CAPTION = 0.05, 0.13  # inches between pairs, under them
SECOND_LINE = 0.11  # inches more under them where voxels find other cases
FACTS = (
    "Left of each pair a generated volume, right the training case closest to it by features; the "
    "pairs of least distance, of the first seed that has any. Copies would look the same.",
    "Under it the distance (Euclidean, standardised features, dimensionless) and which training "
    "case: one number is one case of that class.",
    "Where the voxels of another case correlate most (mirror images included), it stands third, "
    "with its correlation r and number below: the one a blurred or noisy copy was made of.",
    f"Central axial slice, window [-1, 1]; {WAY_UP}.",
)


@dataclass(frozen=True)
class VoxelNeighbours:
    """The training cases of highest voxel correlation, one a generated volume.

    Attributes:
        slices: (K, H, W) uint8.
        correlation: (K,) in [-1, 1].
        cases: Identifier of each.
    """

    slices: NDArray[np.uint8]
    correlation: NDArray[np.float64]
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """Slices of generated volumes and their closest training cases, the closest first.

    Attributes:
        generated: (K, H, W) uint8; ``neighbour`` likewise.
        distance: (K,) dimensionless.
        cases: Identifier of each neighbour.
        by_voxels: The closest cases by voxels; None in files of older versions.
    """

    generated: NDArray[np.uint8]
    neighbour: NDArray[np.uint8]
    distance: NDArray[np.float64]
    cases: tuple[str, ...]
    by_voxels: VoxelNeighbours | None = None

    def third(self, pair: int) -> VoxelNeighbours | None:
        """Return the closest cases by voxels if that of a pair is another than by features."""
        if self.by_voxels is None or self.by_voxels.cases[pair] == self.cases[pair]:
            return None
        return self.by_voxels


def draw(experiment: RecordedExperiment) -> Figure:
    """Draw a row for each method, with two pairs a class.

    Raises:
        NotDrawn: If no row has pairs.
        ReportError: If a file cannot be read or lies outside the folder.
    """
    contents = experiment.contents
    classes, names = contents.dataset.classes, labels(experiment)
    rows = []
    for position, row in generators(experiment):
        paths = files(experiment, row, "neighbours")
        reason = lack(experiment, row, "pairs: NN ratio was not computed")
        rows.append((names[position], load(paths[0]) if paths else {}, reason))
    if not any(pairs for _, pairs, _ in rows):
        raise NotDrawn("no closest training cases; they come with the metric nn-ratio.")
    numbers = {class_: _numbers([pairs for _, pairs, _ in rows], class_) for class_ in classes}
    columns = [(class_, pair) for class_ in classes for pair in range(PAIRS)]
    gaps = GAP * (len(columns) - 1)
    third = any(
        own.third(pair)
        for _, pairs, _ in rows
        for own in pairs.values()
        for pair in range(min(PAIRS, len(own.distance)))
    )
    caption = CAPTION + SECOND_LINE * third
    edge = max(LEAST, (COLUMN - LABELS - 0.05 - gaps) / (2 * len(columns)))
    figure, place = canvas(
        experiment,
        "Generated volumes closest to a training case",
        FACTS,
        body=len(rows) * (edge + caption) - caption,
        right=0.05,
        below=0.17 + SECOND_LINE * third,
        width=LABELS + 2 * edge * len(columns) + gaps + 0.05,
    )
    spaces = {"wspace": GAP / (2 * edge), "hspace": caption / edge}
    grid = figure.add_gridspec(len(rows), len(columns), **spaces, **place)
    for r, (label, pairs, reason) in enumerate(rows):
        for c, (class_, pair) in enumerate(columns):
            axes = figure.add_subplot(grid[r, c])
            frame(axes, "" if c else label)
            _panel(axes, pairs.get(class_), pair, numbers[class_], reason)
            if r == 0:
                head(axes, f"{class_}, {'closest' if pair == 0 else f'#{pair + 1}'}")
    return figure


def load(path: Path) -> dict[str, Pairs]:
    """Read ``neighbours.npz``.

    Returns:
        Class to its pairs; empty if the file does not exist.

    Raises:
        ReportError: If the file holds no pairs.
    """
    stored = arrays(path, "closest training cases")
    pairs = {}
    for class_ in (key.removesuffix("/ids") for key in stored if key.endswith("/ids")):
        ids = stored[f"{class_}/ids"]
        generated, neighbour, distance = (
            stored.get(f"{class_}/{key}", NOTHING) for key in ("generated", "neighbour", "distance")
        )
        if (
            {len(generated), len(neighbour), len(distance)} != {len(ids)}
            or generated.ndim != 3
            or generated.shape != neighbour.shape
        ):
            raise ReportError(
                f"{path} holds no slices and distances of {len(ids)} pairs for {class_}. Delete "
                "it and run the experiment again."
            )
        by_voxels = _by_voxels(stored, class_)
        cases = tuple(map(str, ids[:, 1]))
        pairs[class_] = Pairs(generated, neighbour, distance, cases, by_voxels)
        if by_voxels is not None and (
            by_voxels.slices.shape != generated.shape
            or len(by_voxels.correlation) != len(ids)
            or len(by_voxels.cases) != len(ids)
        ):
            raise ReportError(
                f"{path} holds no closest cases by voxels of {len(ids)} pairs for {class_}. Delete "
                "it and run the experiment again."
            )
    return pairs


def _by_voxels(stored: Mapping[str, NDArray[Any]], class_: str) -> VoxelNeighbours | None:
    """Return the closest cases by voxels of a class; None where the file has none."""
    keys = ("voxel_neighbour", "voxel_correlation", "voxel_ids")
    slices, correlation, ids = (stored.get(f"{class_}/{key}") for key in keys)
    if slices is None or correlation is None or ids is None:
        return None
    return VoxelNeighbours(slices, correlation, tuple(map(str, ids)))


def _numbers(rows: list[dict[str, Pairs]], class_: str) -> dict[str, int]:
    """Number the training cases shown of a class, from 1 in order of appearance."""
    own = [pairs[class_] for pairs in rows if class_ in pairs]
    shown = [
        case
        for pairs in own
        for i in range(min(PAIRS, len(pairs.cases)))
        for case in (pairs.cases[i], *(pairs.by_voxels.cases[i : i + 1] if pairs.by_voxels else ()))
    ]
    cases = dict.fromkeys(shown)
    return {case: number for number, case in enumerate(cases, 1)}


def _panel(
    axes: Axes, pairs: Pairs | None, pair: int, numbers: Mapping[str, int], reason: str
) -> None:
    if pairs is None or pair >= len(pairs.distance):
        blank(axes, reason if pairs is None else "no such pair")
        return
    images = [pairs.generated, pairs.neighbour]
    text = f"{number(float(pairs.distance[pair]))} · case {numbers[pairs.cases[pair]]}"
    if third := pairs.third(pair):
        images.append(third.slices)
        r, case = float(third.correlation[pair]), numbers[third.cases[pair]]
        text += f"\nr {r:.2f} · case {case}"
    both = [radiological(image[pair]) for image in images]
    shown = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"}
    axes.imshow(np.concatenate(both, axis=1), aspect="equal", **shown)
    for edge in range(1, len(both)):
        axes.axvline(edge * both[0].shape[1] - 0.5, color="white", linewidth=0.5)
    lines = "\n".join(plain(line) for line in text.splitlines())
    axes.set_xlabel(lines, fontsize=SMALL, labelpad=1.5, parse_math=False)


PLOT = Plot("neighbours", "closest training cases", draw)
