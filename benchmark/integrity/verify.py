"""Hash everything in a folder of results that something vouches for, and name what is damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cerebench.benchmark.engine import store
from cerebench.core.errors import UsageError
from cerebench.core.files import read_json, unfinished
from cerebench.core.hashing import sha256_bytes
from cerebench.core.records.base import File, Head, Misfit, RecordHead
from cerebench.core.records.cells import CellFile, Failure
from cerebench.core.records.classified import DownstreamRecord
from cerebench.core.records.contents import Contents
from cerebench.core.records.files import parse, read
from cerebench.core.records.ladder import Ladder
from cerebench.core.records.scored import DiagnosisRecord, FiguresRecord, ScoreRecord
from cerebench.core.records.trained import FileFact, FitRecord, SampleRecord, TrainRecord

_RECORDS = {"train": TrainRecord, "sample": SampleRecord, "diagnosis": DiagnosisRecord}  # by folder
KINDS: dict[str, type[File]] = {
    kind.kind: kind
    for kind in (
        *(*_RECORDS.values(), ScoreRecord, FiguresRecord, DownstreamRecord, FitRecord),
        *(CellFile, Failure, Contents, Ladder),
    )
}
_LEFT_OUT = ("report",)  # folders whose files every run writes anew


@dataclass
class Verdict:
    """What was looked at, and what is wrong with it.

    Attributes:
        files: How many files were hashed.
        size: Their bytes.
        faults: A line for each damaged file.
        unsealed: Files of an older version that nothing vouches for.
        leftovers: Half-written files of killed runs.
    """

    files: int = 0
    size: int = 0
    faults: list[str] = field(default_factory=list)
    unsealed: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


def verify(out: Path) -> Verdict:
    """Hash a folder of results.

    Args:
        out: The folder, or a data set's folder in it.

    Raises:
        UsageError: If there are no results.
    """
    verdict = Verdict()
    for path in (path for folder in _folders(out) for path in _files(folder)):
        if unfinished(path.name):
            verdict.leftovers.append(str(path))
        elif path.suffix == ".json":
            _look_at(path, verdict)
        elif path.parent.name == "checkpoint" and path.suffix == ".pt":
            _look_at_checkpoint(path, verdict)
    if not (verdict.files or verdict.faults):
        raise UsageError(f"No results in {out}. Give the folder that bench run writes to.")
    return verdict


def _folders(out: Path) -> list[Path]:
    """Return the data sets' folders in a folder of results."""
    marks = ("experiment-*.json", "_real", "*/seed-*/cell.json", "ladder-*.json")
    folders = [out, *sorted(path for path in out.glob("*") if path.is_dir())]
    found = [folder for folder in folders if any(next(folder.glob(m), None) for m in marks)]
    return found[:1] if found[:1] == [out] else found


def _files(out: Path) -> Iterator[Path]:
    """Yield every file that may vouch for something; links and hidden folders are left out."""
    for place, below, names in os.walk(out):
        below[:] = sorted(n for n in below if n not in _LEFT_OUT and not n.startswith("."))
        # A folder that has the name of a file is told, too.
        yield from (Path(place, name) for name in sorted(names))
        yield from (Path(place, name) for name in below if name.endswith((".json", ".pt")))


def _look_at(path: Path, verdict: Verdict) -> None:
    """Check a JSON file, and all files that it vouches for."""
    if path.is_dir():
        verdict.faults.append(f"{path}: it is a folder where a file belongs. Move it elsewhere.")
        return
    content = read_json(path)
    told = content.get("kind") if isinstance(content, dict) else None
    kind = KINDS.get(told) if isinstance(told, str) else None
    kind = kind or _by_name(path)
    if kind is None:
        return  # a sidecar, or a table of a BIDS data set: the record of the samples hashes it
    data = path.read_bytes()
    verdict.files, verdict.size = verdict.files + 1, verdict.size + len(data)
    try:
        read(kind, path)
        head, whole = parse(kind, data, path)
    except Misfit as fault:
        verdict.faults.append(f"{fault}.")
        return
    if head.sha256 is None:
        verdict.unsealed.append(str(path))
    if isinstance(whole, Contents):
        _look_behind(path.parent, whole, verdict)
    for files in (getattr(whole, "files", {}), getattr(whole, "beside", None) or {}):
        for name, fact in files.items():
            _hash(path.parent / name, fact, path.name, verdict)


def _by_name(path: Path) -> type[File] | None:
    """Return what a file is by its name, so that one that says nothing any more is named."""
    name = path.name
    if name == "record.json":
        stage = path.parent.name if path.parent.name in _RECORDS else path.parents[1].name
        return _RECORDS.get(stage, FitRecord)
    if name == "cell.json" or name.endswith("failure.json"):
        return CellFile if name == "cell.json" else Failure
    if name.startswith("experiment-"):
        return Contents
    if name == "figures.json":
        return FiguresRecord
    if "@" in name:
        return DownstreamRecord if path.parent.name == "downstream" else ScoreRecord
    return None


def _look_behind(folder: Path, contents: Contents, verdict: Verdict) -> None:
    """Check that the records that a table of contents lists are those, and its split."""
    for place, key in contents.keys.items():
        found = _head(folder / place)
        if isinstance(found, RecordHead) and found.key != key:
            verdict.faults.append(
                f"{folder / place}: its key is not the one that experiment-{contents.name}-"
                f"{contents.key[:8]}.json lists: it was exchanged, or another run replaced it."
            )
    if (split := contents.dataset.split) is not None:
        path = folder / split.file
        if not path.is_file() or sha256_bytes(path.read_bytes()) != split.sha256:
            verdict.faults.append(
                f"{path}: this split is not the one that was used; the same bench run writes it."
            )


def _head(path: Path) -> Head | None:
    content = read_json(path)
    kind = KINDS.get(str(content.get("kind"))) if isinstance(content, dict) else None
    try:
        found = read(kind, path) if kind else None
    except Misfit:  # named where it lies
        return None
    return found[0] if found else None


def _hash(path: Path, fact: FileFact, record: str, verdict: Verdict) -> None:
    if store.found_intact(path, fact):
        verdict.files, verdict.size = verdict.files + 1, verdict.size + fact.size
        return
    what = "it is missing" if not path.exists() else "it is not what was written"
    verdict.faults.append(f"{path}: {what} ({record} vouches for it).")


def _look_at_checkpoint(path: Path, verdict: Verdict) -> None:
    from cerebench.benchmark.stages.checkpoints import is_intact  # imports torch

    verdict.files += 1
    if is_intact(path):
        verdict.size += path.stat().st_size
    else:
        verdict.faults.append(f"{path}: this checkpoint is damaged.")
