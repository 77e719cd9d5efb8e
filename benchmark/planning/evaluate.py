"""``bench evaluate``: score folders of volumes against a real one; trains and samples nothing.

The reference of every metric is the real folder. With the generator's training volumes as a third
folder, metrics that look for copies compare with those and take the real folder as held out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cerebench.benchmark.display import Display
from cerebench.benchmark.engine.registry import Registries, Registry
from cerebench.benchmark.engine.rows import Common, ControlRow, FolderRow, RealRow
from cerebench.benchmark.planning.foreign import (
    caveats,
    is_there,
    open_folder,
    settle_faults,
    tell_axes,
    trained_on,
)
from cerebench.benchmark.planning.plan import Heading, Plan
from cerebench.benchmark.planning.planned import PlannedMetric, plan_metric
from cerebench.benchmark.planning.reference import FolderReference, content_key, slug, told_apart
from cerebench.benchmark.stages import structures
from cerebench.benchmark.stages.structures import Volumes as Structures
from cerebench.core.errors import UsageError
from cerebench.core.hashing import key_of
from cerebench.datasets.base import DatasetError
from cerebench.datasets.folders import folder as folders
from cerebench.datasets.folders.finding import ONE_CLASS
from cerebench.datasets.folders.folder import Axes, Folder, Options, Shape
from cerebench.datasets.folders.names import find_folder_label
from cerebench.metrics.base import MissingWeights
from cerebench.metrics.controls import CONTROLS
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
        accept_range: Take files whose values look like another range as they are.
        axes: What to do where folders store their voxels along different axes; see
            ``folders.settled``.
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
    accept_range: bool = False
    axes: Axes = "compare"
    paired: bool = False
    structures: Mapping[str, Path] = field(default_factory=dict)
    real_structures: Path | None = None
    controls: bool = True
    out: Path = Path("runs")
    explicit: bool = False


def make_plan(request: Request, registries: Registries, display: Display) -> Plan:
    """Check the folders and plan what is compared; nothing is scored yet.

    Args:
        request: What to compare.
        registries: Where metrics and extractors are found.
        display: Where progress of the check is told.

    Raises:
        DatasetError: If a folder cannot be used; every file that is at fault is named.
        MissingWeights: If a metric was asked for whose weights are missing.
        UsageError: If a name does not exist.
    """
    names = _asked(request, registries.metrics)
    metrics = tuple(_planned(name, registries, request.train is None) for name in names)
    lacking = [m.unavailable for m in metrics if m.unavailable and m.unavailable != NO_TRAINING]
    if lacking and request.explicit:
        raise MissingWeights(lacking[0])
    if not metrics:
        raise UsageError("No metric to compute. Give --suite core, or names with --metrics.")
    (real, *others), shape = _checked(request, display)
    train = others.pop() if request.train else None
    reference = FolderReference(
        real,
        train,
        shape,
        resampled=request.shape is not None,
        structures=_structures(real, request.real_structures),
    )
    common = Common(reference, metrics, n=None)
    controls = _controls(common, request, others[0])
    rows = [
        _row(common, reference, name, fake, request)
        for name, fake in zip(request.fakes, others, strict=True)
    ]
    keys = [*(key_of(row.upstream) for row in controls), *(row.sample_key for row in rows)]
    identity = {"real": reference.key, "rows": sorted(keys)}
    return Plan(
        _heading(request, rows, others[0]),
        common,
        request.out,
        request.out / reference.folder_name,
        key_of({**identity, "metrics": sorted(m.recipe_hash for m in metrics)}),
        (RealRow(common), *rows, *controls),
    )


def _heading(request: Request, rows: Sequence[FolderRow], first: Folder) -> Heading:
    name = f"evaluate-{'-'.join(slug(Path(name)) for name in request.fakes)}"[:80]
    return Heading(
        name=name,
        title=f"{', '.join(row.name for row in rows)} against {request.real.name}",
        n=max(len(files) for files in first.classes.values()),
        suites=tuple(asked(request.metrics)),
    )


def _asked(request: Request, metrics: Registry) -> list[str]:
    """Return the names of the metrics; known volumes of structures are compared unasked.

    Raises:
        UsageError: If the structures of one side are not known.
    """
    if bool(request.structures) != bool(request.real_structures):
        raise UsageError(
            "Structures are compared with real ones: give both --real-structures and --structures."
        )
    if not request.structures:
        return expand(request.metrics)
    known = [name for name in metrics.names() if not metrics.unavailable(name)]
    more = [name for name in known if metrics.load(name).structures]
    return expand([*request.metrics, *more])


def _planned(name: str, registries: Registries, no_training: bool) -> PlannedMetric:
    """Plan a metric whose reference is the real folder; that is part of its protocol."""
    planned = plan_metric(name, registries).compared_with("the real folder")
    without = planned.metric.held_out and no_training
    return dataclasses.replace(planned, unavailable=NO_TRAINING) if without else planned


def _checked(request: Request, display: Display) -> tuple[list[Folder], Shape]:
    """Check the real folder, the generated ones and the training one, in this order.

    Returns:
        The folders, and the shape of every volume that is read from them.
    """
    own = Options(request.value_range, "--range", None, request.accept_range, real=True)
    real = open_folder(request.real, own, display)
    classes = tuple(real.classes)
    # What has no class anywhere can be compared with nothing but what has none either.
    own = dataclasses.replace(own, classes=None if classes == (ONE_CLASS,) else classes)
    fake = dataclasses.replace(
        own, value_range=request.fake_range, range_option="--fake-range", real=False
    )
    opened = [real]
    opened += [open_folder(path, fake, display) for path in request.fakes.values()]
    opened += [open_folder(request.train, own, display)] if request.train else []
    read = opened
    if request.axes == "same":
        like = folders.axes_of(real)
        read = [folders.with_axes(folder, like) for folder in read]
    read, shape = folders.with_shape(read, request.shape)
    settle_faults(read, request.skip_bad, display)
    for folder in read:
        _refuse_unclassed(real, folder)
        folders.refuse_few(folder, classes)
    read = [folders.settled(folder, read[0], request.axes) for folder in read]
    tell_axes(opened, read, display)
    return read, shape


def _refuse_unclassed(real: Folder, folder: Folder) -> None:
    """Refuse classes of volumes whose counterparts have none.

    Raises:
        DatasetError: Naming both folders.
    """
    if tuple(real.classes) == (ONE_CLASS,) and tuple(folder.classes) not in ((), (ONE_CLASS,)):
        raise DatasetError(
            f"The volumes in {real.path} have no class, but {folder.path} has the classes "
            f"{', '.join(folder.classes)}. Give both the same subfolders (or classes in "
            "participants.tsv), or point at one class of each."
        )


def _controls(common: Common, request: Request, fake: Folder) -> list[ControlRow]:
    """Plan floor and control rows with as many volumes as the first generated folder.

    Without held-out cases there is no set to draw the floor of these from.
    """
    chosen = [c for c in CONTROLS if not c.held_out]
    counts = {name: len(files) for name, files in fake.classes.items()}
    return [
        ControlRow(c, common, counts, {"control": c.name, "version": c.version, "n": counts})
        for c in chosen
        if request.controls or c.role == "floor"
    ]


def _row(
    common: Common, reference: FolderReference, name: str, fake: Folder, request: Request
) -> FolderRow:
    """Plan a folder of generated volumes; its key is the content of the files."""
    shape, measured = reference.shape, _structures(fake, request.structures.get(name))
    content = {"content": content_key(fake, shape), "paired": request.paired}
    key = key_of(content | told_apart(measured))
    return FolderRow(
        name,
        name,
        common,
        Path(f"{slug(Path(name))}-samples-{key[:8]}") / "seed-0",
        key,
        {c: fake.volumes(c, shape) for c in fake.classes},
        {c: fake.clip_fraction(c) for c in fake.classes},
        source=_caveats(fake, reference),
        partners=request.paired,
        structures=measured,
    )


def _structures(folder: Folder, path: Path | None) -> dict[str, Structures]:
    """Read the volumes of structures of a folder by class; none where there is no path."""
    if path is None:
        return {}
    parts: dict[str, Path] = {}
    if len(folder.classes) > 1 and path.is_dir():
        # Found by listing: a label joined to the path could lead anywhere.
        for child in sorted(path.iterdir()):
            name = find_folder_label(child.name, list(folder.classes)) if child.is_dir() else None
            if name is not None:
                parts[name] = child
    return {
        name: structures.read(parts.get(name, path), [entry.id for entry in files])
        for name, files in folder.classes.items()
    }


def _caveats(fake: Folder, reference: FolderReference) -> str:
    """Say what a reader must know about a folder before believing its numbers."""
    parts = ["a folder of volumes"]
    if reference.train is None:
        parts.append(trained_on(fake))
    parts += [*caveats(fake, "its"), *caveats(reference.real, "the real folder's")]
    if reference.train is not None:
        parts += caveats(reference.train, "the training folder's")
    known = {
        e.sha256 for other in (reference.real, reference.train) if other for e in other.entries
    }
    same = sum(e.sha256 in known for e in fake.entries)
    if same:
        parts.append(f"{same} of its {len(fake.entries)} {fake.noun} are byte by byte real ones")
    ours, real = (folders.spacing_of(f, reference.shape) for f in (fake, reference.real))
    apart = (abs(a / b - 1) > folders.SPACING_TOLERANCE for a, b in zip(ours, real, strict=True))
    told = all(entry.position is None for entry in fake.entries)  # arrays have no voxel size
    if told and any(apart):
        parts.append(
            f"its voxel size {ours} mm is not the real one {real} mm, which is used for both"
        )
    return "; ".join(parts)


def of_rows(given: Sequence[str], rows: Mapping[str, Path]) -> dict[str, Path]:
    """Read ``[NAME=]PATH`` options that belong to rows; without a name, to the only row.

    Raises:
        UsageError: If a name is that of no row, or is missing among several.
    """
    paths: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        whole = not equals or (name not in rows and is_there(text))
        if whole and len(rows) == 1:
            name, path = next(iter(rows)), text
        if name not in rows:
            raise UsageError(
                f"--structures {text} belongs to no row; give NAME=PATH with one of: "
                f"{', '.join(rows)}."
            )
        paths[name] = Path(path)
    return paths
