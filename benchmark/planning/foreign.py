"""Folders of volumes that nobody prepared for us, in ``bench run`` and ``bench evaluate``.

Both read with ``datasets/folders/folder.py`` and say the same of what they find.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cerebench.benchmark.display import Display
from cerebench.benchmark.engine import store
from cerebench.benchmark.names import check_name
from cerebench.core.errors import UsageError
from cerebench.core.files import read_json
from cerebench.core.records import files as recorded
from cerebench.core.records.base import Misfit
from cerebench.core.records.trained import SampleRecord
from cerebench.core.texts import counted
from cerebench.datasets.base import DatasetError
from cerebench.datasets.folders import folder as folders
from cerebench.datasets.folders.folder import Folder, Options
from cerebench.datasets.folders.names import is_name, name_like

_NAMED_FILES = 20


def row_names(given: Sequence[str], option: str) -> dict[str, Path]:
    """Read ``[NAME=]DIR`` texts; a folder without a name gives its own, or one like it.

    ``my samples (v2)/`` gives ``my-samples-v2``. A text is a folder as a whole where there is one
    of this name, as ``lr=0.1/samples``, and none behind the ``=``.

    Args:
        given: The texts.
        option: What they were given with.

    Raises:
        UsageError: If two rows have one name, or a name could not be part of a path.
    """
    rows: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if equals and is_there(text) and not (is_name(name) and is_there(folder)):
            name, equals = text, ""
        path = Path(folder if equals else text)
        if equals:
            check_name(f"A row of {option}", name, f"Give {option} NAME=DIR.")
        else:
            name = name_like(Path(os.path.abspath(path)).name, "volumes")
        if name in rows:
            raise UsageError(
                f"Two rows are named '{name}'. Give them names: {option} a=DIR {option} b=DIR."
            )
        rows[name] = path
    return rows


def is_there(path: str) -> bool:
    """Say whether a text that a user gave is the path of something."""
    return "\0" not in path and os.path.exists(path)


def open_folder(path: Path, options: Options, display: Display) -> Folder:
    """Check a folder file by file, and print how many of its files cannot be used, and its notes.

    Raises:
        DatasetError: If the folder as a whole cannot be used.
    """
    refuse_damaged(path)
    began, title = time.perf_counter(), f"check {path}"
    with display.task(title) as task:
        folder = folders.read(path, options, task.update)
    noun = folder.noun.removesuffix("s")
    faults = [f"{counted(len(folder.faults), noun)} cannot be used"] if folder.faults else []
    lines = [*faults, *folder.notes]
    display.ended(title, "done", time.perf_counter() - began, "\n  ".join(lines))
    return folder


def settle_faults(found: Sequence[Folder], skip_bad: bool, display: Display) -> None:
    """Refuse folders with files that cannot be used, or name what is left out.

    Raises:
        DatasetError: If there is any, unless bad files are skipped.
    """
    if not skip_bad:
        folders.refuse_faults(found)
    for folder in found:
        if folder.faults:
            display.say(
                f"{len(folder.faults)} of {folder.total} {folder.noun} in {folder.path} left out "
                "(--skip-bad):"
            )
        for line in folders.listed(folder.faults):
            display.say(f"  {line}")


def trained_on(folder: Folder) -> str:
    """Say what a folder tells about the training of its generator."""
    if not (folder.training and folder.training.cases):
        return "which cases it was trained on is not known"
    cases = counted(len(folder.training.cases), "case")
    return f"its training_cases.tsv names {cases} it was trained on"


def tell_axes(before: Sequence[Folder], after: Sequence[Folder], display: Display) -> None:
    """Print the notes that folders got after their check: how their axes were read."""
    for old, new in zip(before, after, strict=True):
        for note in new.notes[len(old.notes) :]:
            display.say(f"{new.path}: {note}")


def refuse_damaged(folder: Path) -> None:
    """Refuse samples that a run wrote and that are no longer what their record vouches for.

    Raises:
        DatasetError: Naming the files.
    """
    path = folder / "record.json"
    # Not a pipe, and not behind a lock: the check of the folder names those.
    content = read_json(path) if os.access(path, os.R_OK) and path.is_file() else None
    if not isinstance(content, dict) or content.get("kind") != SampleRecord.kind:
        return
    try:
        whole = recorded.read(SampleRecord, path)
    except Misfit as fault:
        raise DatasetError(
            f"{fault}. So nothing vouches for these samples: the run that made them makes it anew; "
            "or copy the volumes you want into a folder of their own, without record.json."
        ) from fault
    lost = store.damaged(folder, whole[1].files if whole else {})
    if lost:
        more = f" and {len(lost) - _NAMED_FILES} more" if len(lost) > _NAMED_FILES else ""
        raise DatasetError(
            f"{len(lost)} files in {folder} are gone or not what its record.json vouches for: "
            f"{', '.join(lost[:_NAMED_FILES])}{more}. The run that made them draws them again; "
            "or copy the volumes you want into a folder of their own, without record.json."
        )


def caveats(folder: Folder, whose: str) -> Iterator[str]:
    """Yield what a reader of a table must know about a folder.

    Args:
        folder: A checked folder without what cannot be used.
        whose: How the sentence calls it: ``its``.
    """
    if folder.faults:
        yield (
            f"{len(folder.faults)} of {whose} {folder.total} {folder.noun} were left out as "
            "unusable"
        )
    if folder.notes:
        yield f"{whose} files: {'; '.join(folder.notes)}"
