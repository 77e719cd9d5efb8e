"""``bench evaluate``: score folders of volumes against a real one; trains and samples nothing.

The reference of every metric is the real folder. With the generator's training volumes as a third
folder, metrics that look for copies compare with those and take the real folder as held out.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cerebench.benchmark import figure_data, folders, store, structures
from cerebench.benchmark.contents import metric_entry
from cerebench.benchmark.display import Display
from cerebench.benchmark.errors import UsageError
from cerebench.benchmark.features import FeatureCache
from cerebench.benchmark.folders import Folder, Shape
from cerebench.benchmark.plan import (
    SCORE_SEED,
    PlannedMetric,
    figure_files,
    plan_metric,
)
from cerebench.benchmark.registry import Registries, suite_version
from cerebench.benchmark.scoring import RealSets, build_control, materialise, score
from cerebench.benchmark.structures import Volumes as Structures
from cerebench.metrics.base import MissingWeights, VolumeSet
from cerebench.metrics.controls import CONTROLS, Control
from cerebench.metrics.foreground import foreground_voxels
from cerebench.metrics.suites import asked, expand

NO_TRAINING = "needs the volumes that the generator was trained on: --train DIR"


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes:
        real: Folder of real volumes, the reference.
        fakes: Row name to folder of generated volumes.
        train: Folder of what the generator was trained on, or None.
        metrics: Names of metrics and suites.
        value_range: Stored values that become -1 and 1, in the real and training folders.
        fake_range: The same in the folders of generated volumes.
        shape: Shape (D, H, W) to resample everything to, or None to refuse differing shapes.
        skip_bad: Leave out files that cannot be used instead of refusing the folder.
        paired: A generated volume's partner is the real one with the same path below its folder.
        structures: Row name to volumes of structures: a table or a folder of label files.
        real_structures: The same of the real folder.
        controls: Whether to score sets that are wrong on purpose, besides the floor.
        out: Folder of results.
        explicit: Whether the metrics were asked for by name, so that missing weights are an error.
    """

    real: Path
    fakes: Mapping[str, Path]
    train: Path | None = None
    metrics: Sequence[str] = ("core",)
    value_range: tuple[float, float] = (-1.0, 1.0)
    fake_range: tuple[float, float] = (-1.0, 1.0)
    shape: Shape | None = None
    skip_bad: bool = False
    paired: bool = False
    structures: Mapping[str, Path] = field(default_factory=dict)
    real_structures: Path | None = None
    controls: bool = True
    out: Path = Path("runs")
    explicit: bool = False


@dataclass
class Outcome:
    """Where the table of contents lies; rows scored, found done, and failures by title."""

    contents: Path
    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """One row of the table with its records: relative paths by metric, keys by metric."""

    name: str
    folder: Path
    keys: Mapping[str, str]
    control: Control | None = None
    volumes: Folder | None = None
    structures: Mapping[str, Structures] = field(default_factory=dict)
    key: str = ""

    def record(self, metric: str) -> Path:
        return self.folder / f"{metric}@{self.keys[metric][:8]}.json"

    def figure_data(self, trained: bool) -> dict[str, Path]:
        """Files for figures; pairs need to be told what the generator was trained on."""
        return figure_files(self.folder, self.keys if trained else ())


@dataclass(frozen=True)
class _Job:
    """A request resolved against the files: nothing is scored yet."""

    request: Request
    metrics: tuple[PlannedMetric, ...]
    real: Folder
    train: Folder | None
    structures: Mapping[str, Structures]
    shape: Shape
    spacing: tuple[float, float, float]
    key: str
    folder: Path
    rows: tuple[_Row, ...]


def evaluate(
    request: Request,
    registries: Registries,
    cache: Path,
    display: Display,
    workers: int = 1,
    device: str = "cpu",
) -> Outcome:
    """Check the folders, score what is missing, and write records and a table of contents.

    Args:
        request: What to compare.
        registries: Where metrics and extractors are found.
        cache: Folder of cached features.
        display: Where progress is told.
        workers: Processes for slow extractors.
        device: Where extractors with a network run.

    Raises:
        DatasetError: If a folder cannot be used; every file that is at fault is named.
        MissingWeights: If a metric was asked for whose weights are missing.
        UsageError: If a name does not exist.
    """
    job = _resolve(request, registries, display)
    contents = job.folder / f"experiment-{_name(job)}-{job.key[:8]}.json"
    store.write_json(contents, _contents(job))
    outcome = Outcome(contents)
    todo = {row.name: _missing(job, row) for row in job.rows}
    outcome.kept = sum(not metrics for metrics in todo.values())
    if not any(todo.values()):
        return outcome
    features = FeatureCache(cache / "features", registries.extractors, workers, device)
    real = _real_sets(job, features)
    figure_data.write(figure_files(job.folder / "_real", ()), real.train, real)
    planned = {m.metric.name: m for m in job.metrics}
    for row in job.rows:
        if todo[row.name]:
            began, title = time.perf_counter(), f"score {row.name}"
            with display.task(title) as task:
                wanted = {name: planned[name] for name in todo[row.name]}
                failures = _score(job, row, real, wanted, task)
            for path, error in failures:
                outcome.failed[f"{row.name} {path.stem}"] = f"{type(error).__name__}: {error}"
            outcome.done += 1
            status = "failed" if failures else "done"
            display.ended(title, status, time.perf_counter() - began)
    return outcome


def _resolve(request: Request, registries: Registries, display: Display) -> _Job:
    metrics = tuple(_planned(name, registries, request.train is None) for name in _asked(request))
    lacking = [m.unavailable for m in metrics if m.unavailable and m.unavailable != NO_TRAINING]
    if lacking and request.explicit:
        raise MissingWeights(lacking[0])
    if not metrics:
        raise UsageError("No metric to compute. Give --suite core, or names with --metrics.")
    checked = _checked(request, display)
    matched, shape = folders.with_shape(checked, request.shape)
    if not request.skip_bad:
        folders.refuse_faults(matched)
    real, *others = (folders.match_classes(matched[0], folder) for folder in matched)
    train = others.pop() if request.train else None
    measured = _structures(real, request.real_structures)
    key = store.key_of(
        {
            "real": folders.content_key(real, shape),
            "train": folders.content_key(train, shape) if train else None,
            **_told_apart(measured),
        }
    )
    folder = request.out / f"{_slug(request.real)}-{max(shape)}-{key[:8]}"
    rows = [_anchor(control, others[0], key, metrics) for control in _controls(request)]
    rows += [
        _samples(name, fake, shape, key, metrics, request)
        for name, fake in zip(request.fakes, others, strict=True)
    ]
    identity = store.key_of(
        {
            "real": key,
            "rows": sorted(row.key for row in rows),
            "metrics": sorted(m.recipe_hash for m in metrics),
        }
    )
    spacing = folders.spacing_of(real, shape)
    return _Job(
        request, metrics, real, train, measured, shape, spacing, identity, folder, tuple(rows)
    )


def _asked(request: Request) -> list[str]:
    """Return the names of the metrics; known volumes of structures are compared unasked.

    Raises:
        UsageError: If the structures of one side are not known.
    """
    if bool(request.structures) != bool(request.real_structures):
        raise UsageError(
            "Structures are compared with real ones: give both --real-structures and --structures."
        )
    more = ["structure-volume"] if request.structures else []
    return expand([*request.metrics, *more])


def _planned(name: str, registries: Registries, no_training: bool) -> PlannedMetric:
    """Plan a metric whose reference is the real folder; that is part of its protocol."""
    planned = plan_metric(name, registries)
    reason = NO_TRAINING if planned.metric.held_out and no_training else planned.unavailable
    if planned.metric.recipe.get("reference") != "train":
        return dataclasses.replace(planned, unavailable=reason)
    recipe = {**planned.metric.recipe, "reference": "the real folder"}
    metric = dataclasses.replace(planned.metric, recipe=recipe)
    changed = store.key_of({"protocol": planned.recipe_hash, "reference": "the real folder"})
    return PlannedMetric(metric, changed, reason)


def _checked(request: Request, display: Display) -> list[Folder]:
    """Check the real folder, the generated ones and the training one, in this order."""
    given = [(request.real, request.value_range)]
    given += [(path, request.fake_range) for path in request.fakes.values()]
    given += [(request.train, request.value_range)] if request.train else []
    found = []
    for path, value_range in given:
        began, title = time.perf_counter(), f"check {path}"
        with display.task(title) as task:
            folder = folders.check(path, value_range, task.update)
        reason = f"{len(folder.faults)} files cannot be used" if folder.faults else ""
        display.ended(title, "done", time.perf_counter() - began, reason)
        found.append(folder)
    return found


def _controls(request: Request) -> list[Control]:
    """Rows beside the methods; without held-out cases there is no set to draw a floor from."""
    chosen = [c for c in CONTROLS if c.name != "real-heldout"]
    return [c for c in chosen if request.controls or c.role == "floor"]


def _keys(
    metrics: Sequence[PlannedMetric], real_key: str, upstream: Mapping[str, Any]
) -> dict[str, str]:
    return {
        m.metric.name: store.key_of(
            {"kind": "score", "recipe": m.recipe_hash, "real": real_key, "seed": SCORE_SEED}
            | dict(upstream)
        )
        for m in metrics
    }


def _anchor(
    control: Control, fake: Folder, real_key: str, metrics: Sequence[PlannedMetric]
) -> _Row:
    """Plan a floor or control row with as many volumes as the first generated folder."""
    counts = {name: len(files) for name, files in fake.classes.items()}
    facts = {"control": control.name, "version": control.version, "n": counts}
    keys = _keys(metrics, real_key, facts)
    place = Path("_real") / "score" / control.name
    return _Row(control.name, place, keys, control=control, key=store.key_of(facts))


def _samples(
    name: str,
    fake: Folder,
    shape: Shape,
    real_key: str,
    metrics: Sequence[PlannedMetric],
    request: Request,
) -> _Row:
    measured = _structures(fake, request.structures.get(name))
    content = {"content": folders.content_key(fake, shape), "paired": request.paired}
    key = store.key_of(content | _told_apart(measured))
    keys = _keys(metrics, real_key, {"sample": key})
    place = Path(f"{_slug(Path(name))}-samples-{key[:8]}") / "seed-0" / "score"
    return _Row(name, place, keys, volumes=fake, structures=measured, key=key)


def _structures(folder: Folder, path: Path | None) -> dict[str, Structures]:
    """Read the volumes of structures of a folder by class; none where there is no path."""
    if path is None:
        return {}
    several = len(folder.classes) > 1
    found = {}
    for name, files in folder.classes.items():
        below = path / name if several and (path / name).is_dir() else path
        found[name] = structures.read(below, [entry.id for entry in files])
    return found


def _told_apart(measured: Mapping[str, Structures]) -> dict[str, Any]:
    """Return what volumes of structures add to a key: nothing where there are none."""
    listed = {c: {n: v.tolist() for n, v in of_class.items()} for c, of_class in measured.items()}
    return {"structures": listed} if measured else {}


def _missing(job: _Job, row: _Row) -> list[str]:
    return [
        name
        for name, key in row.keys.items()
        if store.read_record(job.folder / row.record(name), key) is None
    ]


def _real_sets(job: _Job, features: FeatureCache) -> RealSets:
    """Copy the real volumes to temporary files, so that each NIfTI file is unpacked once."""

    def sets(folder: Folder, measured: Mapping[str, Structures]) -> dict[str, VolumeSet]:
        found = {name: folders.volumes(folder, name, job.shape) for name in folder.classes}
        return {
            n: VolumeSet(materialise(v), v.ids, features, structures=measured.get(n))
            for n, v in found.items()
        }

    train = sets(job.real, job.structures)
    members = [(group, i) for group in train.values() for i in range(len(group))]
    pooled = VolumeSet(
        _Joined([(group.volumes, i) for group, i in members]),
        [f"{group.ids[i]}" for group, i in members],
        features,
    )
    nothing = {name: VolumeSet([], [], features) for name in train}
    seen = sets(job.train, {}) if job.train else {}
    return RealSets(train, nothing, pooled, job.spacing, features, seen)


class _Joined(Sequence):
    """Volumes of several sets as one."""

    def __init__(self, members: Sequence[tuple[Sequence[Any], int]]) -> None:
        self._members = members

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Any:
        volumes, place = self._members[index]
        return volumes[place]


def _score(
    job: _Job,
    row: _Row,
    real: RealSets,
    metrics: Mapping[str, PlannedMetric],
    task: Any,
) -> list[tuple[Path, Exception]]:
    if row.control is not None:
        counts = {name: len(volumes) for name, volumes in _counted(job).items()}
        reference, generated = build_control(row.control, real, counts)
    else:
        reference, generated = real, _generated(job, row, real)
    wanted = {job.folder / row.record(n): (m, row.keys[n]) for n, m in metrics.items()}
    names = iter(range(len(wanted)))
    failures = score(
        generated,
        reference,
        wanted,
        report=lambda name: task.update(next(names), len(wanted), name),
        stop=lambda: False,
    )
    if row.control is None:
        done = [name for name in row.keys if (job.folder / row.record(name)).exists()]
        files = figure_files(job.folder / row.folder, done if job.train else ())
        figure_data.write(files, generated, real)
    return failures


def _counted(job: _Job) -> Mapping[str, Sequence[Any]]:
    """Controls have as many volumes as the first row of generated ones."""
    first = next(row.volumes for row in job.rows if row.volumes is not None)
    return first.classes


def _generated(job: _Job, row: _Row, real: RealSets) -> dict[str, VolumeSet]:
    """Open a row's volumes; leave its sample record."""
    generated = {}
    for name in row.volumes.classes:
        found = folders.volumes(row.volumes, name, job.shape)
        partners = found.ids if job.request.paired else ()
        generated[name] = VolumeSet(
            materialise(found), found.ids, real.features, partners, row.structures.get(name)
        )
    fields = {
        "seconds": None,
        "seconds_per_sample": None,
        "peak_mib": None,
        "device": None,
        "n": {name: len(volumes) for name, volumes in generated.items()},
        "clip_fraction": {n: folders.clip_fraction(row.volumes, n) for n in generated},
        "foreground": {
            name: sum(foreground_voxels(v) for v in volumes) / len(volumes)
            for name, volumes in generated.items()
        },
        "files": {},
    }
    record = job.folder / row.folder.parent / "sample" / "record.json"
    store.write_record(record, "sample", row.key, fields)
    return generated


def _contents(job: _Job) -> dict[str, Any]:
    """Return the table of contents that reports read (docs/results.md)."""
    request = job.request
    fakes = [row for row in job.rows if row.volumes is not None]
    return {
        "schema": store.SCHEMA,
        "kind": "experiment",
        "name": _name(job),
        "key": job.key,
        "suite_version": suite_version(),
        "utc": store.now(),
        "title": f"{', '.join(row.name for row in fakes)} against {request.real.name}",
        "cite": "",
        "preset": "",
        "seeds": [0],
        "samples_per_class": max(len(files) for files in _counted(job).values()),
        "reference": "",
        "banner": None,
        "suites": asked(request.metrics),
        "dataset": _dataset(job),
        "metrics": [metric_entry(m) for m in job.metrics],
        "rows": [_entry(job, row) for row in job.rows],
    }


def _dataset(job: _Job) -> dict[str, Any]:
    low, high = job.real.value_range
    settings = {
        "range": f"[{low:g}, {high:g}] to [-1, 1]",
        "shape": list(job.shape),
        "resampled": job.request.shape is not None,
    }
    return {
        "name": _slug(job.request.real),
        "label": f"real folder {job.request.real.name}",
        "size": max(job.shape),
        "shape": list(job.shape),
        "fingerprint": folders.content_key(job.real, job.shape),
        "classes": list(job.real.classes),
        "channels": ["one channel"],
        "spacing": list(job.spacing),
        "synthetic": False,
        "source": "a folder of volumes",
        "licence": "not known",
        "recipe": {"name": "as stored", "version": 1, "settings": settings},
        "counts": {
            name: {"train": len(files), "test": 0} for name, files in job.real.classes.items()
        },
    }


def _entry(job: _Job, row: _Row) -> dict[str, Any]:
    scores = {name: row.record(name).as_posix() for name in row.keys}
    if row.control is not None:
        return {
            "kind": "anchor",
            "name": row.control.name,
            "label": row.control.label,
            "role": row.control.role,
            "note": row.control.note,
            "scores": scores,
            **{name: path.as_posix() for name, path in figure_files(Path("_real"), ()).items()},
        }
    cell = row.folder.parent
    return {
        "kind": "samples",
        "name": row.name,
        "label": row.name,
        "preset": "",
        "conditioning": "",
        "source": _told(job, row.volumes),
        "differences": [],
        "cells": [
            {
                "seed": 0,
                "folder": cell.as_posix(),
                "train": {},
                "sample": (cell / "sample" / "record.json").as_posix(),
                **{
                    name: path.as_posix()
                    for name, path in row.figure_data(job.train is not None).items()
                },
                "scores": scores,
            }
        ],
    }


def _told(job: _Job, fake: Folder) -> str:
    """Say what a reader must know about a folder before believing its numbers."""
    told = ["a folder of volumes"]
    if job.train is None:
        told.append("which cases it was trained on is not known")
    for folder, name in ((fake, "its"), (job.real, "the real folder's")):
        if folder.faults:
            total = len(folder.faults) + len(folder.entries)
            told.append(f"{len(folder.faults)} of {name} {total} files were left out as unusable")
    known = {e.sha256 for other in (job.real, job.train) if other for e in other.entries}
    same = sum(e.sha256 in known for e in fake.entries)
    if same:
        told.append(f"{same} of its {len(fake.entries)} files are byte by byte real ones")
    ours, real = (folders.spacing_of(f, job.shape) for f in (fake, job.real))
    if any(abs(a / b - 1) > folders.SPACING_TOLERANCE for a, b in zip(ours, real, strict=True)):
        told.append(
            f"its voxel size {ours} mm is not the real one {real} mm, which is used for both"
        )
    return "; ".join(told)


def _name(job: _Job) -> str:
    return f"evaluate-{'-'.join(_slug(Path(name)) for name in job.request.fakes)}"[:80]


def _slug(path: Path) -> str:
    """Return the folder's own name as part of a file name."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in path.absolute().name)
    return kept.strip("-").lower() or "volumes"


def of_rows(given: Sequence[str], rows: Mapping[str, Path]) -> dict[str, Path]:
    """Read ``[NAME=]PATH`` options that belong to rows; without a name, to the only row.

    Raises:
        UsageError: If a name is that of no row, or is missing among several.
    """
    found = {}
    for text in given:
        name, equals, path = text.rpartition("=")
        if not equals and len(rows) == 1:
            name = next(iter(rows))
        if name not in rows:
            raise UsageError(
                f"--structures {text} belongs to no row; give NAME=PATH with one of: "
                f"{', '.join(rows)}."
            )
        found[name] = Path(path)
    return found


def row_names(given: Sequence[str]) -> dict[str, Path]:
    """Read ``[NAME=]DIR`` options; a folder without a name gives its own.

    Raises:
        UsageError: If two rows have one name.
    """
    rows: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.absolute().name
        if name in rows:
            raise UsageError(
                f"Two rows are named '{name}'. Give them names: --fake a=DIR --fake b=DIR."
            )
        rows[name] = path
    return rows
