"""Somebody's folder of volumes: found, checked file by file, read one at a time.

The one reader of foreign folders, of ``bench run --samples`` and of ``bench evaluate``. Layouts are
in ``finding.py``, arrays in ``arrays.py``, what is asked of values in ``ranges.py``. Nothing is
left out without a word: what cannot be used is a ``Fault``, what was set aside a note.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cerebench.core.hashing import sha256_file
from cerebench.core.volumes import LazyVolumes, Volume
from cerebench.datasets.base import DatasetError, DatasetNotFound, Progress
from cerebench.datasets.folders import arrays
from cerebench.datasets.folders.derivative import Training, read_training_cases
from cerebench.datasets.folders.finding import Fault, Found, find
from cerebench.datasets.folders.finding import Volume as File
from cerebench.datasets.folders.ranges import (
    REACH,
    ROUNDING,
    Span,
    check_range,
    file_fault,
    other_range,
    refuse_range,
    within,
)
from cerebench.datasets.scans.headers import Grid, difference
from cerebench.datasets.scans.volumes import Stored, read_stored

SPACING_TOLERANCE = 0.01
_NAMED_FAULTS = 20
_ALIKE = 4  # faults that differ in their file alone share a line from so many on
_LABELS = 16  # a file of at most so many values, all whole, is a label map among grey volumes

Shape = tuple[int, int, int]
# Whether axes are compared, each file's header holds, or that of the real volumes.
Axes = Literal["compare", "trust", "same"]
# Whose voxels lie as prepared data sets do.
PREPARED = Grid((1, 1, 1), np.diag([1.0, 1.0, 1.0, 1.0]))


@dataclass(frozen=True)
class Options:
    """How a folder is read.

    Attributes:
        value_range: Stored values that become -1 (background) and 1.
        range_option: What gives that range on the command line.
        classes: Labels that are expected, in their order; None where any may be there.
        accept_range: Take files whose values look like another range as they are.
        real: Whether the volumes are real; generated ones may have collapsed.
    """

    value_range: tuple[float, float] = (-1.0, 1.0)
    range_option: str = "--range"
    classes: tuple[str, ...] | None = None
    accept_range: bool = False
    real: bool = False


@dataclass(frozen=True)
class Entry:
    """One usable volume: a file, or one of several in an array.

    Attributes:
        path: The file.
        where: What messages call it: the file, with its number behind it in an array of several.
        id: Path below its class folder without ending; equal ids in two folders are partners.
        relative: Path below the folder.
        grid: How the file says that it stores its voxels.
        span: Lowest and highest value.
        outside: Voxels outside the value range; they are clipped.
        like: Axes to take instead of the file's own.
        labels: How many values a label map has: at least 2, all whole; 0 of other files.
        position: Number of the volume in an array, from 0; None of a NIfTI file.
    """

    path: Path
    where: Path
    id: str
    relative: str
    sha256: str
    grid: Grid
    span: Span
    outside: int
    like: Grid | None = None
    labels: int = 0
    position: int | None = None

    @property
    def _turned(self) -> Grid:
        return Grid(self.grid.shape, self.like.affine) if self.like else self.grid

    @property
    def shape(self) -> Shape:
        """(D, H, W), voxels."""
        depth, height, width = self._turned.turned_shape
        return depth, height, width

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths (D, H, W), mm."""
        z, y, x = self._turned.turned_spacing
        return z, y, x


@dataclass(frozen=True)
class Folder:
    """A checked folder.

    Attributes:
        path: Where it is.
        options: How it was read.
        classes: Usable files by class.
        faults: What cannot be used.
        noun: What messages count: ``files``, or ``volumes`` where files hold several.
        notes: What a reader must know of its files, each for the end of a sentence.
        training: What the generator was trained on; None if nothing says so.
    """

    path: Path
    options: Options
    classes: Mapping[str, tuple[Entry, ...]]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    training: Training | None = None
    noun: str = "files"

    @property
    def entries(self) -> list[Entry]:
        """The files of all classes."""
        return [entry for files in self.classes.values() for entry in files]

    @property
    def total(self) -> int:
        """How many volumes there are, with those that cannot be used."""
        return len(self.entries) + len(self.faults)

    @property
    def turned(self) -> dict[str, str]:
        """What changed axes add to a key: nothing where every file lies as its header says."""
        codes = {
            entry.like.codes
            for entry in self.entries
            if entry.like and entry.like.codes != entry.grid.codes
        }
        return {"axes": ",".join(sorted(codes))} if codes else {}

    def clip_fraction(self, name: str) -> float:
        """Return the fraction of a class's voxels outside the value range."""
        files = self.classes[name]
        return sum(e.outside for e in files) / sum(int(np.prod(e.shape)) for e in files)

    def volumes(self, name: str, shape: Shape | None = None) -> LazyVolumes:
        """Return the volumes of a class, (1, D, H, W) float32 in [-1, 1], read when indexed.

        Args:
            name: The class.
            shape: What every volume is resampled to; None for as it is.
        """
        files = self.classes[name]
        several = len(self.classes) > 1
        ids = [f"{name}/{e.id}" if several else e.id for e in files]
        return LazyVolumes(ids, lambda index: self.volume(files[index], shape))

    def volume(self, entry: Entry, shape: Shape | None = None) -> Volume:
        """Read a volume, map the range to [-1, 1], clip, and resample where the shape differs."""
        like = replace(entry.like, shape=entry.grid.shape) if entry.like else None
        values = _stored(entry.path, entry.position, like).values
        low, high = self.options.value_range
        if (low, high) != (-1.0, 1.0):
            values = 2 * ((values - low) / (high - low)) - 1
        values = np.clip(values, -1, 1)
        return resampled(values, shape or entry.shape)[None].astype(np.float32)


def read(path: Path, options: Options, progress: Progress = lambda done, total: None) -> Folder:
    """Find the volumes of a folder and read each once.

    Args:
        path: The folder, or one file with an array.
        options: What is expected of it.
        progress: Told (volumes read, volumes in all).

    Raises:
        DatasetNotFound: If there is neither.
        DatasetError: If its layout, its classes or its values as a whole are not those expected.
    """
    declared = Span(*options.value_range)
    check_range(declared, options.range_option)
    _require_folder(path)
    listing = find(path, options.classes)
    faults = list(listing.faults)
    found = _places(listing, path, faults)
    total, done = sum(map(len, found.values())), 0
    classes: dict[str, list[Entry]] = {}
    for name, places in found.items():
        classes[name] = []
        for place in places:
            done += 1
            progress(done, total)
            try:
                classes[name].append(_examine(place, declared))
            except DatasetError as error:
                faults.append(Fault(place.where, str(error)))
    folder = Folder(
        path,
        options,
        {name: tuple(files) for name, files in classes.items()},
        tuple(faults),
        listing.notes,
        read_training_cases(path),
        "volumes"
        if any(place.several for places in found.values() for place in places)
        else "files",
    )
    return _described(_with_range(_without_label_maps(folder), declared), declared)


def _require_folder(path: Path) -> None:
    """Refuse a path that is neither a folder nor an array, or that may not be looked at."""
    try:
        there = path.is_dir() or (path.suffix.lower() in arrays.SUFFIXES and path.is_file())
    except PermissionError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}. Correct its permissions.") from e
    if not there:
        raise DatasetNotFound(f"No folder at {path}. Check the path.")


@dataclass(frozen=True)
class _Place:
    """Where one volume lies; fields as those of ``Entry``."""

    path: Path
    id: str
    relative: str
    position: int | None = None
    several: bool = False

    @property
    def where(self) -> Path:
        return Path(f"{self.path}[{self.position}]") if self.several else self.path


def _places(listing: Found, folder: Path, faults: list[Fault]) -> dict[str, list[_Place]]:
    """Return the volumes of every file by class; arrays that cannot be used become faults."""
    places: dict[str, list[_Place]] = {}
    for name, files in listing.volumes.items():
        places[name] = []
        for file in files:
            try:
                places[name] += _within(file, folder)
            except DatasetError as error:
                faults.append(Fault(file.path, str(error)))
    return places


def _within(file: File, folder: Path) -> list[_Place]:
    """Return the volumes of one file.

    Raises:
        DatasetError: If it is an array that cannot be used, or holds several of one subject.
    """
    path = file.path
    relative = path.name if path == folder else path.relative_to(folder).as_posix()
    if path.suffix.lower() not in arrays.SUFFIXES:
        return [_Place(path, file.id, relative)]
    count = len(arrays.open_stack(path))
    if count == 1:
        return [_Place(path, file.id or path.stem, relative, 0)]
    if file.alone:
        raise DatasetError(
            f"{path} holds {count} volumes of one subject; one is expected, since each counts as "
            "a case. Keep one."
        )
    before = f"{file.id}/" if file.id else ""
    return [
        _Place(path, f"{before}{i:05d}", f"{relative}/{i:05d}", i, several=True)
        for i in range(count)
    ]


def _stored(path: Path, position: int | None, like: Grid | None = None) -> Stored:
    if position is None:
        return read_stored(path, like=like)
    return arrays.read_array(path, position, like)


def _examine(place: _Place, declared: Span) -> Entry:
    """Read a volume whole and return what is kept about it."""
    path, position = place.path, place.position
    stored = _stored(path, position)
    values, margin = stored.values, ROUNDING * (declared.high - declared.low)
    outside = (values < declared.low - margin) | (values > declared.high + margin)
    return Entry(
        path,
        place.where,
        place.id,
        place.relative,
        sha256_file(path) if position is None else arrays.sha256_of(path, position),
        stored.grid,
        Span(float(values.min()), float(values.max())),
        int(np.count_nonzero(outside)),
        labels=_labels(values),
        position=position,
    )


def _labels(values: NDArray[np.floating]) -> int:
    """Count the values of a label map; 0 where some are not whole, or there are one or many."""
    some = values.ravel()[:: max(1, values.size // 4096)]  # most volumes are settled by these
    if len(np.unique(some)) > _LABELS or np.any(some % 1) or np.any(values % 1):
        return 0
    count = len(np.unique(values))
    return count if 1 < count <= _LABELS else 0


def _without_label_maps(folder: Folder) -> Folder:
    """Make label maps among grey volumes faults; a set that is all of them has collapsed."""
    if all(entry.labels for entry in folder.entries):
        return folder
    faults = [
        Fault(
            entry.where,
            f"{entry.where} holds {entry.labels} whole values alone, as segmentations do and its "
            "neighbours do not. Remove it, or name it _seg.",
        )
        for entry in folder.entries
        if entry.labels
    ]
    return _without(folder, faults)


def _with_range(folder: Folder, declared: Span) -> Folder:
    """Refuse a folder of another range; single files of one become faults."""
    options, spans = folder.options, [entry.span for entry in folder.entries]
    refuse_range(
        folder.path,
        spans,
        declared,
        options.range_option,
        real=options.real,
        accepted=options.accept_range,
    )
    usual = [s for s in spans if within(s, declared) and not other_range(s, declared)]
    others = f" where the others reach {Span.of(usual).low:g}" if usual else ""
    faults, taken = [], 0
    for entry in folder.entries:
        inside = within(entry.span, declared)
        reason = file_fault(entry.where, entry.span, declared, others, options.range_option)
        if reason and inside and options.accept_range:
            taken += 1
        elif reason:
            faults.append(Fault(entry.where, reason, odd_range=inside))
    note = f"{taken} that look like another range, taken as they are (--accept-range)"
    kept = _without(folder, faults)
    return replace(kept, notes=(*kept.notes, *([note] if taken else [])))


def _without(folder: Folder, faults: Sequence[Fault]) -> Folder:
    """Return a folder in which some usable files have become faults."""
    lost = {fault.path for fault in faults}
    classes = {
        name: tuple(entry for entry in files if entry.where not in lost)
        for name, files in folder.classes.items()
    }
    return replace(folder, classes=classes, faults=(*folder.faults, *faults))


def _described(folder: Folder, declared: Span) -> Folder:
    """Add notes on what is odd about the usable files."""
    entries, notes = folder.entries, []
    clipped = [entry for entry in entries if entry.outside]
    if clipped:
        voxels = sum(entry.outside for entry in clipped)
        notes.append(
            f"{len(clipped)} with values outside {declared}, by at most {100 * REACH:g} % of its "
            f"width ({voxels} voxels clipped)"
        )
    repeated = len(entries) - len({entry.sha256 for entry in entries})
    if repeated:
        notes.append(f"{repeated} byte by byte equal to another one")
    stacks = {entry.path for entry in entries if entry.position is not None}
    if stacks:
        notes.append(
            f"{len(stacks)} array{'s' * (len(stacks) > 1)} of {len(entries)} volumes, their axes "
            f"taken as (z, y, x){' and their voxels as 1 mm' * folder.options.real}"
        )
    odd = Counter(note for entry in entries for note in entry.grid.notes)
    notes += [f"{count} with an odd header ({note})" for note, count in sorted(odd.items())]
    return replace(folder, notes=(*folder.notes, *notes))


def with_shape(folders: Sequence[Folder], shape: Shape | None) -> tuple[list[Folder], Shape]:
    """Agree on one shape: the given one, or the most common; others become faults.

    Args:
        folders: Checked folders.
        shape: Shape that all files will be resampled to, which therefore refuses none.

    Returns:
        The folders, and the shape of every volume that is read from them.
    """
    if shape is not None:
        return list(folders), shape
    counted = Counter(entry.shape for folder in folders for entry in folder.entries)
    if not counted:
        return list(folders), (0, 0, 0)
    expected, votes = counted.most_common(1)[0]
    why = f", which {votes} of {sum(counted.values())} volumes have"
    advice = "Resample it, or all of them with --resample N."
    return [of_shape(folder, expected, why, advice) for folder in folders], expected


def of_shape(folder: Folder, shape: Shape, why: str, advice: str) -> Folder:
    """Return the folder with the files of another shape as faults.

    Args:
        folder: A checked folder.
        shape: What is expected, (D, H, W).
        why: Behind the expected shape in the sentence.
        advice: What to do.
    """
    faults = [
        Fault(
            entry.where,
            f"{entry.where} has shape {entry.shape} (z, y, x); expected {shape}{why}. {advice}",
        )
        for entry in folder.entries
        if entry.shape != shape
    ]
    return _without(folder, faults)


def with_axes(folder: Folder, like: Grid) -> Folder:
    """Return the folder with other axes in place of those that its files give (--same-axes)."""
    if all(entry.grid.codes == like.codes for entry in folder.entries):
        return folder
    classes = {
        name: tuple(replace(entry, like=like) for entry in files)
        for name, files in folder.classes.items()
    }
    changed = sum(entry.grid.codes != like.codes for entry in folder.entries)
    note = f"{changed} read as stored {like.codes}, against their headers (--same-axes)"
    return replace(folder, classes=classes, notes=(*folder.notes, note))


def axes_of(folder: Folder) -> Grid:
    """Return the most common axes of a folder, of files whose header was filled in if any was."""
    entries = folder.entries
    own_grids = [entry.grid for entry in entries if not entry.grid.placeholder]
    grids = own_grids or [entry.grid for entry in entries]
    if not grids:
        return PREPARED
    common = Counter(grid.codes for grid in grids).most_common(1)[0][0]
    return next(grid for grid in grids if grid.codes == common)


_ADVICE = (
    "Turned by their headers, equal voxels might not lie on each other. If all files hold their "
    "voxels in the order of the real ones (of prepared data: x to the right, y to the front, z "
    "up), give --same-axes; if every header is right, --trust-headers."
)
_ADVICE_ON_ARRAYS = " Arrays have no header: they are taken as (z, y, x), as SimpleITK gives them."


@dataclass(frozen=True)
class _Kinds:
    """The different axes of a folder's files, each with one file that has them."""

    folder: Folder
    examples: list[Entry] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Folder) -> _Kinds:
        """Tell the axes of files apart."""
        kinds = cls(folder)
        for entry in sorted(folder.entries, key=lambda entry: entry.where):
            if not kinds.has(entry):
                kinds.examples.append(entry)
        return kinds

    def has(self, entry: Entry) -> bool:
        """Say whether some file has the axes of this one."""
        return any(not _apart(entry, other) for other in self.examples)


def _apart(entry: Entry, other: Entry) -> str:
    """Say how the axes of two files differ; empty where they do not."""
    if entry.grid.placeholder != other.grid.placeholder:
        own, others = entry.grid.description, other.grid.description
        return f"{entry.where} is stored {own} and {other.where} {others}"
    return difference(entry.where, entry.grid, other.where, other.grid)


def settled(folder: Folder, real: Folder | None, axes: Axes) -> Folder:
    """Return a folder when it is certain how its voxels lie beside the real ones.

    Args:
        folder: A checked folder.
        real: The folder of real volumes, or None for a prepared data set (RAS+).
        axes: ``compare`` refuses axes that differ: codes, direction cosines by more than .01, or
            headers of which one is a placeholder (exact identity, or no axes). Of equal voxels
            under such headers, one would be turned and the other not. ``trust`` notes them;
            ``same`` has settled them (``with_axes``).

    Raises:
        DatasetError: If axes differ; both are named, with a file each.
    """
    fault = "" if axes == "same" else _axes_fault(folder, real)
    if not fault:
        return folder
    if axes == "compare":
        raise DatasetError(fault)
    note = "headers that differ from the real ones', or say nothing, trusted (--trust-headers)"
    return replace(folder, notes=(*folder.notes, note))


def _axes_fault(folder: Folder, real: Folder | None) -> str:
    """Say how the axes of a folder differ among its files, or from those of real volumes."""
    theirs = _Kinds.of(folder)
    filled = [entry for entry in theirs.examples if not entry.grid.placeholder]
    empty = [entry for entry in theirs.examples if entry.grid.placeholder]
    if filled and empty:
        apart = _apart(empty[0], filled[0])
        return (
            f"Files in {folder.path} are not stored along the same axes: {apart}. "
            f"{_advice(empty[0])}"
        )
    if real is None:
        if not empty:
            return ""
        return (
            f"The headers in {folder.path} do not tell how the voxels lie: {empty[0].where} is "
            f"stored {empty[0].grid.description}, prepared data RAS. {_advice(empty[0])}"
        )
    ours = _Kinds.of(real)
    for one, other in ((theirs, ours), (ours, theirs)):
        for entry in one.examples:
            if other.examples and not other.has(entry):
                return (
                    f"{folder.path} and {real.path} are not stored along the same axes: "
                    f"{_apart(entry, other.examples[0])}. {_advice(entry, other.examples[0])}"
                )
    return ""


def _advice(*entries: Entry) -> str:
    arrays_among = any(entry.position is not None for entry in entries)
    return _ADVICE + _ADVICE_ON_ARRAYS * arrays_among


def refuse_faults(folders: Sequence[Folder]) -> None:
    """Refuse folders with files that cannot be used, naming them.

    Raises:
        DatasetError: If there is any fault.
    """
    faults = [fault for folder in folders for fault in folder.faults]
    if not faults:
        return
    odd = sum(fault.odd_range for fault in faults)
    accept = f"; --accept-range takes {odd} of them as they are" if odd else ""
    raise DatasetError(
        f"{len(faults)} of {sum(folder.total for folder in folders)} {_noun(folders)} cannot be "
        "used; nothing was scored. Repair or remove them, or leave them out with --skip-bad"
        f"{accept}:\n" + "\n".join(listed(faults))
    )


def listed(faults: Sequence[Fault]) -> list[str]:
    """Return a line for each of the first faults by path, and one that counts the others.

    Several that differ in their file alone share a line.
    """
    alike: dict[str, list[Fault]] = {}
    for fault in sorted(faults, key=lambda f: f.path.as_posix()):
        alike.setdefault(fault.reason.replace(str(fault.path), ""), []).append(fault)
    groups = [
        part
        for group in alike.values()
        for part in ([group] if len(group) >= _ALIKE else [[fault] for fault in group])
    ]
    more = sum(map(len, groups[_NAMED_FAULTS:]))
    return [
        *(_together(group) for group in groups[:_NAMED_FAULTS]),
        *([f"… and {more} more."] if more > 0 else []),
    ]


def _together(faults: Sequence[Fault]) -> str:
    """Return the reason of the first of faults that are alike, and name the others behind it."""
    first, others = faults[0], faults[1:]
    if not others:
        return first.reason
    common = os.path.commonpath([fault.path.parent for fault in faults])
    named = [fault.path.relative_to(common).as_posix() for fault in others[:_NAMED_FAULTS]]
    more = f" and {len(others) - len(named)} more" if len(others) > len(named) else ""
    return f"{first.reason} The same of {len(others)} others: {', '.join(named)}{more}."


def _noun(folders: Sequence[Folder]) -> str:
    return "volumes" if any(folder.noun == "volumes" for folder in folders) else "files"


def refuse_few(folder: Folder, classes: Sequence[str]) -> None:
    """Refuse a folder that has too few usable volumes of a class.

    Raises:
        DatasetError: Naming the classes.
    """
    missing = [name for name in classes if name not in folder.classes]
    if missing:
        raise DatasetError(
            f"{folder.path} has no volume of class {', '.join(missing)} (it has "
            f"{', '.join(folder.classes)}). Every class of the comparison needs samples."
        )
    short = [name for name in classes if len(folder.classes[name]) < 2]
    if short:
        raise DatasetError(
            f"{folder.path} has fewer than 2 usable volumes of class {', '.join(short)}. "
            "Set statistics need at least 2; most need 20 or more."
        )


def resampled(values: NDArray[np.floating], shape: Shape) -> NDArray[np.floating]:
    """Resample (D, H, W) to a shape: linear interpolation, voxels are boxes, edges repeated.

    Smaller targets average no neighbourhood: halving a sharp volume keeps its noise.
    """
    if values.shape == shape:
        return values
    from scipy.ndimage import zoom

    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    return np.asarray(zoom(values, factors, order=1, mode="nearest", grid_mode=True))


def spacing_of(folder: Folder, shape: Shape) -> tuple[float, float, float]:
    """Return the most common voxel size, mm, scaled where volumes are resampled to a shape."""
    sizes: Counter[tuple[float, float, float]] = Counter()
    for entry in folder.entries:
        axes = zip(entry.spacing, entry.shape, shape, strict=True)
        depth, height, width = (round(mm * old / new, 6) for mm, old, new in axes)
        sizes[depth, height, width] += 1
    return sizes.most_common(1)[0][0]
