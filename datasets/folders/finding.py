"""Which files of somebody's folder are volumes, of which class, and what is wrong with the others.

Names and tables only; no voxel is read here. ``folders.py`` reads what was found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cerebench.datasets.base import DatasetError
from cerebench.datasets.folders import arrays
from cerebench.datasets.folders.derivative import TRAINING
from cerebench.datasets.folders.names import (
    check_labels,
    find_folder_label,
    find_label,
    folder_names,
    label_fault,
    shown,
)
from cerebench.datasets.folders.ranges import scans
from cerebench.datasets.layouts.base import (
    GRADES,
    CsvRow,
    known_value,
    read_table,
    table_of,
    unique_rows,
    unreadable,
)
from cerebench.datasets.scans.volumes import SUFFIXES

ONE_CLASS = "all"
TABLE = "participants.tsv"
_NAMED = 5
_COMPANIONS = (TABLE, "split.csv", TRAINING)
_TEXTS = ("readme", "license", "licence", "changes")  # with any of these endings
_TEXT_ENDINGS = ("", ".md", ".rst", ".txt")
_SEGMENTATIONS = (
    *("seg", "mask", "dseg", "probseg", "aseg", "label", "labels", "labelmap", "segmentation"),
    *("segs", "masks", "segmentations"),  # as folders are called
)
# How contrasts are called in names that are not of BIDS.
_CONTRAST = re.compile(r"(?:(.*)[_-])?(flair|t1|t1ce|t1gd|t1c|t1n|t1w|t2|t2w|t2f)", re.IGNORECASE)
_DECATHLON = ("imagestr", "imagests", "labelstr")
_SUBJECT = "sub-"
_SESSION = re.compile(r"(?:^|[_\-. /]+)(ses-[A-Za-z0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """What cannot be used: a file, a folder or a row of a table, and why.

    ``odd_range`` marks a file that could be taken as it is.
    """

    path: Path
    reason: str
    odd_range: bool = False


@dataclass(frozen=True)
class Volume:
    """A file that may be a volume.

    Attributes:
        id: Path below its class folder (of other layouts: below the folder), without ending.
        alone: Whether the file belongs to one subject, so that it may hold one volume only.
    """

    path: Path
    id: str
    alone: bool = False


@dataclass(frozen=True)
class Found:
    """What a folder holds, by names.

    Attributes:
        volumes: By class.
        faults: What cannot be used.
        notes: What was set aside without being wrong, each for the end of a sentence.
    """

    volumes: Mapping[str, tuple[Volume, ...]]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Files:
    """Everything below a folder."""

    images: list[Path] = field(default_factory=list)
    segmentations: list[Path] = field(default_factory=list)
    strays: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def prefer_nifti(self) -> None:
        """Set arrays aside where there are NIfTI files: features, say, or previews of them."""
        if any(_is_nifti(path.name) for path in (*self.images, *self.segmentations)):
            for paths in (self.images, self.segmentations):
                self.strays += [path for path in paths if not _is_nifti(path.name)]
                paths[:] = [path for path in paths if _is_nifti(path.name)]

    def notes(self, folder: Path) -> list[str]:
        """Say how many files and folders were set aside, one clause for each reason."""
        counts = {
            "named like a segmentation, set aside": self.segmentations,
            "no NIfTI volume, not read": self.strays,
            "hidden, not read": self.hidden,
        }
        return [
            f"{len(paths)} {what}: {_some(_below(path, folder) for path in paths)}"
            for what, paths in counts.items()
            if paths
        ]


def find(folder: Path, classes: Sequence[str] | None = None) -> Found:
    """Sort the files of a folder by class.

    Three layouts, told apart by what is there: ``sub-*`` folders (BIDS), whose classes stand in
    ``participants.tsv``; one subfolder a class; or plain files, which are one class.

    Arrays are read where there are no NIfTI files; beside them they hold something else.

    Args:
        folder: The folder; or one file with an array, whose volumes are of one class.
        classes: Labels that are expected; None where any may be there, which then stand in the
            order that cases of a dataset have: grades first, the others by name.

    Raises:
        DatasetError: If there is no volume, the layout is ambiguous, it holds scans instead of
            volumes, or the classes are not those expected.
    """
    if folder.is_file():  # a stack of volumes
        return Found({_only_class(folder, classes, folder.name): (Volume(folder, ""),)})
    files = _walk(folder)
    _refuse_tables_below(folder, files)
    if not files.images:
        raise _nothing(folder, files, classes)
    _refuse_scans(folder, files.images)
    _refuse_several(folder, files.images)
    tops = sorted({path.relative_to(folder).parts[0] for path in files.images})
    plain = [path for path in files.images if path.parent == folder]
    subjects = [top for top in tops if top.startswith(_SUBJECT) and (folder / top).is_dir()]
    if plain and len(plain) < len(files.images):
        raise DatasetError(
            f"{folder} holds volumes ({plain[0].name}) beside folders of volumes. Keep either "
            "plain files or one subfolder a class."
        )
    if subjects and len(subjects) < len(tops):
        other = next(top for top in tops if top not in subjects)
        raise DatasetError(
            f"{folder} holds subjects ({subjects[0]}/) beside other folders of volumes ({other}/). "
            "Keep either one subfolder a class or one a subject."
        )
    table = _Table.read(folder)
    if subjects:
        labelled = _by_table(folder, files, table, classes)
    else:
        if table.classes:
            raise DatasetError(
                f"{folder} has both {TABLE} with classes and "
                f"{'plain files' if plain else 'class subfolders'}. Keep one of the two."
            )
        of_top = {} if plain else _classes_of_folders(folder, tops, classes)
        one = _only_class(folder, classes, plain[0].name) if plain else ""
        labelled = _by_folder(folder, files.images, of_top, one)
    check_labels(labelled, folder / TABLE if subjects else folder)
    labelled = {name: _once(volumes, files) for name, volumes in labelled.items()}
    order = [c for c in classes or (*GRADES, *sorted({*labelled} - {*GRADES})) if c in labelled]
    return Found(
        {name: tuple(labelled[name]) for name in order},
        tuple(files.faults),
        (*files.notes(folder), *table.notes),
    )


def _walk(folder: Path) -> _Files:
    """List everything below a folder; what cannot be read is a fault, not an absence."""
    files = _Files()

    def refuse(error: OSError) -> None:
        reason = f"{error.filename} cannot be read: {error.strerror}. Correct its permissions."
        files.faults.append(Fault(Path(error.filename), reason))

    for place, below, names in os.walk(folder, onerror=refuse):
        here = Path(place)
        kept = []
        for name in sorted(below):
            path = here / name
            if name.startswith("."):
                files.hidden.append(path)
            elif path.is_symlink():
                files.faults.append(
                    Fault(path, f"{path} is a linked folder, which is not followed. Copy it here.")
                )
            elif _is_volume(name):
                files.faults.append(Fault(path, f"{path} is a folder, not a file. Move its files."))
            else:
                kept.append(name)
        below[:] = kept
        for name in sorted(names):
            _sort(here / name, files, top=folder)
    files.prefer_nifti()
    for paths in (files.images, files.segmentations, files.strays, files.hidden):
        paths.sort()
    return files


def _sort(path: Path, files: _Files, top: Path) -> None:
    """Put a file where it belongs."""
    folders = path.parent.relative_to(top).parts
    if path.name.startswith("."):
        files.hidden += [path] * _is_volume(path.name)
    elif reason := unreadable(path):
        files.faults.append(Fault(path, f"{path} {reason}. Repair or remove it."))
    elif not _is_volume(path.name):
        files.strays += [path] * (not _is_companion(path, at_top=not folders))
    elif _is_segmentation(path) or any(part.lower() in _SEGMENTATIONS for part in folders):
        files.segmentations.append(path)
    else:
        files.images.append(path)


def _is_nifti(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_volume(name: str) -> bool:
    return _is_nifti(name) or name.lower().endswith(arrays.SUFFIXES)


def _is_companion(path: Path, *, at_top: bool) -> bool:
    name = path.name.lower()
    text = path.stem.lower() in _TEXTS and path.suffix.lower() in _TEXT_ENDINGS
    table = at_top and name in _COMPANIONS
    return text or table or name.endswith((".json", ".bval", ".bvec"))


def _refuse_tables_below(folder: Path, files: _Files) -> None:
    """Refuse a derivative one level down: its tables would not be read.

    Raises:
        DatasetError: Naming the folder to give.
    """
    for path in files.strays:
        name, place = path.name.lower(), path.parent
        if name == TRAINING or (name == TABLE and any(place.glob(f"{_SUBJECT}*/"))):
            raise DatasetError(
                f"{path} lies below {folder}, whose own tables alone are read. Give {place}, or "
                "move the table up."
            )


def _once(volumes: Sequence[Volume], files: _Files) -> list[Volume]:
    """Return the volumes of a class without those saved twice, which become faults."""
    first: dict[str, Path] = {}
    for volume in volumes:
        path = first.setdefault(volume.id, volume.path)
        if path != volume.path:
            reason = f"{volume.path} has the name of {path.name}: one case would count twice"
            files.faults.append(Fault(volume.path, f"{reason}. Keep one of the two."))
    return [volume for volume in volumes if first[volume.id] == volume.path]


def _is_segmentation(path: Path) -> bool:
    """Tell by the last word of a name (``case1_seg``), or the first before a number (``mask_01``).

    Example:
        >>> [_is_segmentation(Path(n)) for n in ("a_Mask.nii", "label-7.nii", "from_mask_7.nii")]
        [True, True, False]
        >>> [_is_segmentation(Path(n)) for n in ("tumorMask.nii", "a(mask).nii", "a_seg2.nii")]
        [True, True, True]
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _stem(path.name)).lower()
    words = [word for word in re.split(r"[_\-. ()\[\]]", apart) if word] or [""]
    numbered = len(words) > 1 and all(word.isdigit() for word in words[1:])
    last = words[-1].rstrip("0123456789") if len(words) > 1 else words[-1]
    return last in _SEGMENTATIONS or (words[0] in _SEGMENTATIONS and numbered)


def _nothing(folder: Path, files: _Files, classes: Sequence[str] | None) -> DatasetError:
    """Say why there is no volume at all."""
    if files.faults:
        reasons = "\n".join(fault.reason for fault in files.faults[:_NAMED])
        return DatasetError(f"{folder} holds no volume that can be read:\n{reasons}")
    if files.segmentations:
        return DatasetError(
            f"{folder} holds no volume: the names of all {len(files.segmentations)} files are "
            f"those of segmentations ({files.segmentations[0].name}). Rename them if they are "
            "volumes."
        )
    if any(path.suffix.lower() == ".mha" for path in files.strays):
        return DatasetError(f"{folder} holds {files.strays[0].name}: {scans(folder)}")
    other = f" but {_some(path.name for path in files.strays)}" if files.strays else ""
    advice = "Convert them to NIfTI, or check the path." if files.strays else "Check the path."
    return DatasetError(
        f"{folder} holds no .nii, .nii.gz, .npy or .npz file{other}; expected "
        f"{_expected(classes)}. {advice}"
    )


def _expected(classes: Sequence[str] | None) -> str:
    subjects = f"sub-* folders with {TABLE}"
    if classes is None:
        return f"plain files, one subfolder a class, or {subjects}"
    plain = "plain files, " if len(classes) == 1 else ""
    named = " and ".join(f"{name}/" for name in folder_names(classes).values())
    return f"{plain}{named}, or {subjects}"


def _refuse_scans(folder: Path, images: Sequence[Path]) -> None:
    """Refuse several contrasts of one case, under names that are not those of BIDS.

    Raises:
        DatasetError: Naming the contrasts.
    """
    decathlon = [p for p in images if p.parent.name.lower() in _DECATHLON]
    if decathlon:
        raise DatasetError(f"{folder} holds {decathlon[0].parent.name}/: {scans(folder)}")
    contrasts: dict[tuple[Path, str], set[str]] = {}
    for path in images:
        match = _CONTRAST.fullmatch(_stem(path.name))
        if match and not path.name.lower().startswith(_SUBJECT):
            contrasts.setdefault((path.parent, match[1] or ""), set()).add(match[2].lower())
        for place in path.relative_to(folder).parents:
            match = _CONTRAST.fullmatch(place.name)
            if match and not match[1] and len(place.parts) > 1:  # a class may be one, too
                rest = path.relative_to(folder / place).as_posix()
                contrasts.setdefault((place.parent, rest), set()).add(match[2].lower())
    several = next(
        (
            contrasts_of_case
            for contrasts_of_case in contrasts.values()
            if len(contrasts_of_case) > 1
        ),
        None,
    )
    if several:
        raise DatasetError(
            f"{folder} holds {len(several)} contrasts of one case ({', '.join(sorted(several))}): "
            f"{scans(folder)}"
        )


def _refuse_several(folder: Path, images: Sequence[Path]) -> None:
    """Refuse several volumes of one subject: they would count as so many cases.

    Subjects are told by ``sub-``, or by what is left of a path without its session.

    Raises:
        DatasetError: Naming the subject and how its volumes differ.
    """
    of_subject: dict[tuple[str, ...], list[Path]] = {}
    for path in images:
        if subject := _subject(path.relative_to(folder)):
            of_subject.setdefault(subject, []).append(path)
    for subject, paths in of_subject.items():
        if len(paths) > 1:
            raise DatasetError(
                f"{folder.joinpath(*subject)} holds {_told_apart(folder, paths)}; one volume a "
                "subject is expected, since each counts as a case. Keep one of each subject in a "
                f"folder of its own. If {scans(folder)}"
            )


def _told_apart(folder: Path, paths: Sequence[Path]) -> str:
    """Say how several volumes of a subject differ."""
    sessions = sorted({s for path in paths for s in _SESSION.findall(_below(path, folder))})
    contrasts = sorted({_contrast(path) for path in paths})
    if len(sessions) > 1:
        return f"{len(sessions)} sessions of one subject: {', '.join(sessions)}"
    if len(contrasts) > 1:
        return f"{len(contrasts)} contrasts of one subject: {', '.join(contrasts)}"
    return f"{len(paths)} volumes of one subject: {', '.join(path.name for path in paths)}"


def _subject(relative: Path) -> tuple[str, ...]:
    """Return what identifies the subject of a file: its folder, else its name; nothing if none.

    Without ``sub-``, sessions are told by theirs: ``LGG/p1/ses-1/a``, ``LGG/p1_ses-1``.
    """
    parts = [*relative.parts[:-1], _stem(relative.name)]
    *places, name = bare = [_SESSION.sub("", part) for part in parts]
    folders = [place for place in places if place]
    for depth, place in enumerate(folders, 1):
        if place.lower().startswith(_SUBJECT):
            return tuple(folders[:depth])
    if name.lower().startswith(_SUBJECT):
        return (*folders, name.split("_")[0])
    if places != parts[:-1] and len(folders) > 1:  # a class, and a subject with the session
        return tuple(folders)
    return (*folders, name) if bare != parts else ()


def _contrast(path: Path) -> str:
    """Return a file name of BIDS without subject, session and run."""
    parts = _stem(path.name).split("_")
    return "_".join(p for p in parts if not p.startswith((_SUBJECT, "ses-", "run-")))


def _only_class(folder: Path, classes: Sequence[str] | None, example: str) -> str:
    """Return the class of volumes that nothing assigns to one.

    Raises:
        DatasetError: If there is more than one.
    """
    if classes is None:
        return ONE_CLASS
    if len(classes) == 1:
        return classes[0]
    raise DatasetError(
        f"Nothing tells the class of {example} and others in {folder}; expected "
        f"{_expected(classes)}. Sort the volumes into one subfolder per class."
    )


def _classes_of_folders(
    folder: Path, tops: Sequence[str], classes: Sequence[str] | None
) -> dict[str, str]:
    """Return the class of each subfolder.

    Raises:
        DatasetError: If one is not expected, or two are of one class.
    """
    owners: dict[str, str] = {}
    for top in tops:
        label = _class_name(top) if classes is None else find_folder_label(top, classes)
        if label is None:
            raise DatasetError(
                f"{folder} holds the folder {top}/, which is none of the classes "
                f"{', '.join(classes or ())}. Rename or remove it; expected {_expected(classes)}."
            )
        if label in owners:
            raise DatasetError(
                f"{folder} has {owners[label]}/ and {top}/, both for class {label}. Keep one of "
                "the two."
            )
        owners[label] = top
    return {top: label for label, top in owners.items()}


def _class_name(folder: str) -> str:
    return folder[6:] if folder.lower().startswith("class_") else folder


def _by_folder(
    folder: Path, images: Sequence[Path], of_top: Mapping[str, str], one: str
) -> dict[str, list[Volume]]:
    labelled: dict[str, list[Volume]] = {}
    for path in images:
        relative = path.relative_to(folder)
        name = of_top[relative.parts[0]] if of_top else one
        below = Path(*relative.parts[1:]) if of_top else relative
        volume = Volume(path, _stem(below.as_posix()), bool(_subject(relative)))
        labelled.setdefault(name, []).append(volume)
    return labelled


@dataclass(frozen=True)
class _Table:
    """``participants.tsv``: rows by subject where it names classes, and what it says of others.

    Attributes:
        classes: Whether it names any class.
        torn: Reason by subject whose rows contradict each other.
    """

    there: bool = False
    classes: bool = False
    rows: Mapping[str, CsvRow] = field(default_factory=dict)
    torn: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> _Table:
        """Read it where there is one.

        Raises:
            DatasetError: If it cannot be read, or names something that is no participant.
        """
        path = table_of(folder, TABLE)
        if path is None:
            return cls()
        rows = read_table(path, ["participant_id"])
        if not any(known_value(row.get("class")) for row in rows):
            return cls(there=True, notes=(f"{TABLE} names no class",))
        unique, findings, torn = unique_rows(
            rows, "participant_id", TABLE, lambda row: {"class": row.get("class")}
        )
        for name in [row.get("participant_id") for row in rows if any(row.values.values())]:
            fault = label_fault(name)
            if not fault and not (name.startswith(_SUBJECT) and Path(name).name == name):
                fault = f"is {shown(name)}"
            if fault:
                raise DatasetError(
                    f"{path}: a participant {fault}; expected names such as sub-0001."
                )
        errors = {f.case: f.message for f in findings if f.severity == "error"}
        warnings = tuple(f"{f.case} {f.message}" for f in findings if f.severity == "warning")
        return cls(True, True, unique, {name: errors[name] for name in torn}, warnings)


def _by_table(
    folder: Path, files: _Files, table: _Table, classes: Sequence[str] | None
) -> dict[str, list[Volume]]:
    """Take the class of each subject from the table; what it does not fit becomes a fault."""
    path, labelled = folder / TABLE, {}
    if not table.classes:
        if table.there and classes is not None and len(classes) > 1:
            raise DatasetError(
                f"{path} lacks the column class, or has no value there; expected participant_id "
                f"and class, separated by tabs, with {' or '.join(classes)}."
            )
        one = _only_class(folder, classes, files.images[0].name)
        return _by_folder(folder, files.images, {}, one)
    seen = {fault.path.relative_to(folder).parts[0] for fault in files.faults}
    for image in files.images:
        relative = image.relative_to(folder)
        subject = relative.parts[0]
        seen.add(subject)
        name, fault = _class_of(subject, table, classes, path)
        if fault:
            files.faults.append(Fault(image, f"{image}: {fault}"))
        else:
            volume = Volume(image, _stem(relative.as_posix()), alone=True)
            labelled.setdefault(name, []).append(volume)
    files.faults += [
        Fault(path, f"{path} lists {subject}, of which there is no volume. Correct the table.")
        for subject in table.rows
        if subject not in seen
    ]
    return labelled


def _class_of(
    subject: str, table: _Table, classes: Sequence[str] | None, path: Path
) -> tuple[str, str]:
    """Return (class, fault) of a subject; one of the two is empty.

    Raises:
        DatasetError: If the table names a class that is not expected.
    """
    row = table.rows.get(subject)
    if row is None:
        return "", f"{TABLE} has no row for {subject}. Add it, or remove the folder."
    if subject in table.torn:
        return "", f"{subject} {table.torn[subject]}."
    text = known_value(row.get("class"))
    if not text:
        return "", f"{TABLE} names no class for {subject} (line {row.line})."
    name = text if classes is None else find_label(text, classes)
    if name is None:
        raise DatasetError(
            f"{path}: {subject} has class {shown(text)}, which is none of the classes "
            f"{', '.join(classes or ())}. Correct the row, or remove the subject."
        )
    return name, ""


def _stem(name: str) -> str:
    return name[: name.lower().rindex(".nii" if _is_nifti(name) else ".np")]


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _some(names: Iterable[str]) -> str:
    """List a few names, those that cannot be shown in quotes."""
    listed = [shown(name) if label_fault(name) else name for name in names]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return f"{', '.join(listed[:_NAMED])}{more}"
