"""Volumes of structures that somebody else segmented: a table, or a folder of label files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.dialects import REST, read_cells
from cerebench.datasets.scans.volumes import SUFFIXES, read_nifti

Volumes = dict[str, NDArray[np.float64]]


def read(path: Path, ids: Sequence[str]) -> Volumes:
    """Return the volume of each structure in each case.

    Args:
        path: A CSV file whose first column is the case (file name, or path below the folder of
            volumes, with or without ending) and whose others are structures, in one unit; or a
            folder of label files with the paths of the volumes, whose labels are counted in ml.
        ids: Cases, in the order of the result: paths below the folder of volumes without ending.

    Returns:
        Structure name to (N,) volumes.

    Raises:
        DatasetNotFound: If the path does not exist.
        DatasetError: If a case is missing, or something is not a volume.
    """
    if path.is_dir():
        return _from_labels(path, ids)
    if not path.is_file():
        raise DatasetNotFound(f"No table or folder of labels at {path}. Check the path.")
    return _from_table(path, ids)


def _from_table(path: Path, ids: Sequence[str]) -> Volumes:
    cells = read_cells(path)
    header, names = cells.columns, cells.columns[1:]
    places = (*header, REST)
    rows = [[row[name] for name in places if name in row] for _, row in cells.rows]
    if not names or len(set(names)) < len(names):
        raise DatasetError(
            f"{path} has the columns {', '.join(header) or 'none'}; the case and one column a "
            "structure, each once, were expected."
        )
    table = {_without_ending(row[0].strip()): row[1:] for row in rows}
    if len(table) < len(rows):
        raise DatasetError(f"{path} names a case twice. Give each case one row.")
    short = Counter(identity.rpartition("/")[2] for identity in ids)
    volumes = []
    for identity in ids:
        name = identity.rpartition("/")[2]
        row = table.get(identity) or (table.get(name) if short[name] == 1 else None)
        if row is None:
            raise DatasetError(f"{path} has no row for {identity}. Add it, or leave the file out.")
        volumes.append(_numbers(path, identity, row, names))
    return dict(zip(names, np.array(volumes).T, strict=True))


def _numbers(path: Path, identity: str, row: Sequence[str], names: Sequence[str]) -> list[float]:
    try:
        values = [float(text) for text in row]
    except ValueError:
        values = []
    if len(values) != len(names) or not np.isfinite(values).all() or min(values) < 0:
        raise DatasetError(
            f"{path}, row {identity}: {', '.join(row)}; {len(names)} volumes of 0 or more were "
            "expected."
        )
    return values


def _without_ending(name: str) -> str:
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), "")
    return name.removesuffix(name[len(name) - len(suffix) :]) if suffix else name


def _from_labels(folder: Path, ids: Sequence[str]) -> Volumes:
    found = [_label_volumes(folder, identity) for identity in ids]
    labels = sorted({label for case in found for label in case})
    if not labels:
        raise DatasetError(f"The files in {folder} hold no label above 0.")
    return {
        f"label {label}": np.array([case.get(label, 0.0) for case in found]) for label in labels
    }


def _label_volumes(folder: Path, identity: str) -> dict[int, float]:
    """Return the volume of each label of one file, ml."""
    paths = [folder / f"{identity}{suffix}" for suffix in SUFFIXES]
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        raise DatasetError(f"{folder} has no label file for {identity}: expected {paths[0].name}.")
    values, spacing = read_nifti(path)
    if (values != np.rint(values)).any() or values.min() < 0:
        raise DatasetError(f"{path} holds values that are no labels; whole numbers were expected.")
    labels, counts = np.unique(values[values > 0].astype(int), return_counts=True)
    return dict(zip(labels.tolist(), (counts * (np.prod(spacing) / 1000)).tolist(), strict=True))
