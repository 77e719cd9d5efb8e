"""What figures show of a set of volumes, as small arrays beside the records: ``*.npz`` files.

Reports read these and no volume: slices, closest training cases, intensities and volumes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.stages.scoring import SCORE_SEED, RealSets
from cerebench.core.files import write_bytes
from cerebench.core.hashing import key_of
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.core.records.scored import FiguresRecord
from cerebench.metrics.base import Metric, MetricError, Volume, VolumeSet
from cerebench.metrics.voxel.foreground import foreground

if TYPE_CHECKING:
    from cerebench.benchmark.display import Task
    from cerebench.benchmark.engine.rows import JudgedRow, Row
    from cerebench.benchmark.engine.workbench import Workbench

PREVIEWS = 4  # volumes per class in preview.npz
PAIRS = 6  # per class in neighbours.npz
EDGES = np.linspace(-1, 1, 101)  # bins of intensities in distributions.npz
Arrays = dict[str, NDArray[Any]]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays for figures into one compressed npz file, atomically."""
    buffer = io.BytesIO()
    # Numpy's types take every name for that of its option.
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes(path, buffer.getvalue())


def centre_slices(volume: Volume) -> NDArray[np.uint8]:
    """Return the three centre axial slices of the first channel, (3, H, W), [-1, 1] to [0, 255]."""
    middle = volume.shape[1] // 2
    part = np.clip(volume[0, middle - 1 : middle + 2], -1, 1)
    return np.rint((part + 1) * 127.5).astype(np.uint8)


def centre_slice(volume: Volume) -> NDArray[np.uint8]:
    """Return the centre axial slice of the first channel, (H, W), [-1, 1] to [0, 255]."""
    return centre_slices(volume)[1]


def other_views(volume: Volume) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the centre coronal (D, W) and sagittal (D, H) slice, as ``centre_slices``."""
    _, height, width = volume.shape[1:]
    parts = volume[0, :, height // 2], volume[0, :, :, width // 2]
    coronal, sagittal = (np.rint((np.clip(part, -1, 1) + 1) * 127.5) for part in parts)
    return coronal.astype(np.uint8), sagittal.astype(np.uint8)


def preview(volumes: Mapping[str, VolumeSet]) -> Arrays:
    """Return ``preview.npz``: slices of a few volumes per class, chosen by seed.

    Returns:
        Per class, uint8 of k volumes: ``<c>/axial`` (k, 3, H, W), the three centre slices;
        ``<c>/coronal`` (k, D, W) and ``<c>/sagittal`` (k, D, H); ``<c>/ids``, k strings.
    """
    arrays: Arrays = {}
    for name, group in volumes.items():
        rng = np.random.RandomState(SCORE_SEED)
        chosen = rng.permutation(len(group))[:PREVIEWS]
        arrays[f"{name}/axial"] = np.stack([centre_slices(group[i]) for i in chosen])
        coronal, sagittal = zip(*(other_views(group[i]) for i in chosen), strict=True)
        arrays[f"{name}/coronal"], arrays[f"{name}/sagittal"] = (
            np.stack(coronal),
            np.stack(sagittal),
        )
        arrays[f"{name}/ids"] = np.array([group.ids[i] for i in chosen])
    return arrays


def distributions(volumes: Mapping[str, VolumeSet], spacing: tuple[float, float, float]) -> Arrays:
    """Return ``distributions.npz``: intensities and volume of the foreground, in one pass.

    Args:
        volumes: Sets by class; the first channel counts.
        spacing: Voxel edge lengths (D, H, W), mm.

    Returns:
        Per class ``<c>/intensity``, (100,) float64: the densities of the foreground intensities of
        each volume, summed over volumes, so that every volume with foreground adds an area of 1;
        ``<c>/edges``, (101,), on [-1, 1]; ``<c>/volume_ml``, (N,), ml.
    """
    arrays: Arrays = {}
    for name, group in volumes.items():
        density, sizes = np.zeros(len(EDGES) - 1), []
        for volume in group:
            inside = np.clip(volume[0][foreground(volume)], -1, 1)
            sizes.append(inside.size)
            if inside.size:
                density += np.histogram(inside, EDGES, density=True)[0]
        arrays[f"{name}/intensity"], arrays[f"{name}/edges"] = density, EDGES
        arrays[f"{name}/volume_ml"] = np.array(sizes) * (np.prod(spacing) / 1000)
    return arrays


def neighbours(volumes: Mapping[str, VolumeSet], real: RealSets, metric: Metric) -> Arrays:
    """Return ``neighbours.npz``: the generated volumes closest to a training case, beside it.

    Closest as the metric declares, whose features are cached. A class for which its distance does
    not exist is left out.

    Args:
        volumes: Generated sets by class.
        real: The real sets, with what the generator was trained on.
        metric: Declares ``neighbours``.

    Returns:
        Per class ``<c>/generated`` and ``<c>/neighbour``, uint8 (K, H, W): centre axial slices of
        up to six pairs, the closest first; ``<c>/distance``, (K,) float64; ``<c>/ids``, (K, 2)
        strings, generated and neighbour. The training case of highest voxel correlation beside
        each: ``<c>/voxel_neighbour``, (K, H, W); ``<c>/voxel_correlation``, (K,) float64;
        ``<c>/voxel_ids``, (K,) strings.
    """
    from cerebench.metrics.memorisation.closeness import best_correlated  # imports torch

    arrays, find = {}, metric.neighbours
    assert find is not None
    for name, group in volumes.items():
        sets = real.sets(name, group, metric)
        try:
            pairs = find(sets, PAIRS)
        except MetricError:
            continue  # the metric gives the reason in its record
        train, ids = sets.train, [(group.ids[p.generated], sets.train.ids[p.train]) for p in pairs]
        arrays[f"{name}/generated"] = np.stack([centre_slice(group[p.generated]) for p in pairs])
        arrays[f"{name}/neighbour"] = np.stack([centre_slice(train[p.train]) for p in pairs])
        arrays[f"{name}/distance"] = np.array([p.distance for p in pairs])
        arrays[f"{name}/ids"] = np.array(ids)
        # Features take a blurred copy for another case, and voxels a shifted one.
        at, correlation = best_correlated(group, train, [p.generated for p in pairs])
        arrays[f"{name}/voxel_neighbour"] = np.stack([centre_slice(train[i]) for i in at])
        arrays[f"{name}/voxel_correlation"] = correlation
        arrays[f"{name}/voxel_ids"] = np.array([train.ids[i] for i in at])
    return arrays


def files(row: Row) -> dict[str, Path]:
    """Return where what figures show of a row lies; pairs come with a metric that declares them."""
    if row.kind == CONTROL_KIND:  # controls are shown by the real cases they are made of
        return files_in(Path("_real"))
    if row.kind == "real":
        return files_in(row.folder)
    return files_in(row.folder / "score", *(["neighbours"] if _with_pairs(row) else []))


def _with_pairs(row: Row) -> Metric | None:
    """Return the metric whose closest training cases are shown, if there is one."""
    usable = (m.metric for m in row.common.metrics if not m.unavailable)
    return next((metric for metric in usable if metric.neighbours), None)


def files_in(folder: Path, *more: str) -> dict[str, Path]:
    """Return files by name: preview, distributions, and more."""
    return {name: folder / f"{name}.npz" for name in ("preview", "distributions", *more)}


def stage(row: JudgedRow, upstream: Mapping[str, Any], needs: tuple[str, ...] = ()) -> Stage:
    """Return the stage that keeps what figures show of a row.

    Args:
        row: The row.
        upstream: What identifies the volumes.
        needs: Stages of the row that come before.
    """
    left, asked = files(row), {"kind": "figures", "real": row.common.reference.key}
    key = key_of({**asked, "n": row.common.n, "files": sorted(left), **upstream})
    record = left["preview"].with_name("figures.json")
    run, folder = partial(_write, row), record.parent
    return Stage(
        "figures",
        key,
        record,
        run,
        needs,
        line="score",
        left=tuple(left.values()),
        holds=lambda root, found: not store.damaged(root / folder, found.files, hashed=True),
    )


def _write(row: JudgedRow, bench: Workbench, task: Task) -> FiguresRecord:
    """Write the arrays of a row."""
    judged, left = bench.judged(row), {n: bench.folder / p for n, p in files(row).items()}
    write_arrays(left["preview"], preview(judged.generated))
    write_arrays(left["distributions"], distributions(judged.generated, judged.real.spacing))
    metric = _with_pairs(row)
    if "neighbours" in left and metric is not None:
        write_arrays(left["neighbours"], neighbours(judged.generated, judged.real, metric))
    return FiguresRecord(files=store.describe_files(left["preview"].parent, left.values()))
