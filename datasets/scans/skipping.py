"""Which cases cannot be used, found before a run plans its split: ``--skip-bad``.

A case is examined as ``bench data check`` does, which reads its voxels. What was seen is remembered
by the content of the files, so that only new and changed ones are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cerebench.core.files import read_sealed, write_sealed
from cerebench.core.hashing import key_of
from cerebench.datasets.base import Case, Finding, LeftOut, Progress
from cerebench.datasets.cache import file_hashes
from cerebench.datasets.layouts.listing import CaseList
from cerebench.datasets.parallel import default_workers, in_order
from cerebench.datasets.scans.checking import NAMES, Examined, Examiner, repeats

_VERSION = 1  # of what an examination looks at; raise it when an examiner finds more


def examine(
    examiner: Examiner,
    cases: Sequence[Case],
    root: Path,
    cache: Path,
    progress: Progress | None = None,
    workers: int | None = None,
) -> list[Examined]:
    """Examine cases in their order, reading only those whose files were not seen before.

    Args:
        examiner: What looks at a case.
        cases: The cases.
        root: Folder of the files; messages name paths below it.
        cache: Folder of the memory. A damaged one is only a lost shortcut.
        progress: Called after each case.
        workers: Processes that read files; None for as many as suit.

    Raises:
        DatasetError: If a file vanishes meanwhile.
    """
    used = {case.id: _used(examiner, case) for case in cases}
    files = [path for paths in used.values() for path in paths.values()]
    hashes = file_hashes(files, cache / "hashes.json")
    keys = {
        name: key_of([name, {m: [below(str(p), root), hashes[str(p)]] for m, p in paths.items()}])
        for name, paths in used.items()
    }
    index = cache / "examined" / f"{_setting(examiner)[:16]}.json"
    known = _read(index)
    missing = [case for case in cases if keys[case.id] not in known]
    learned: dict[str, Examined] = {}
    try:
        results = in_order(examiner, missing, workers or default_workers(len(missing)))
        for case, examined in zip(missing, results, strict=True):
            learned[keys[case.id]] = _relative(examined, root)
            if progress:
                progress(len(cases) - len(missing) + len(learned), len(cases))
    finally:  # an interrupted examination continues here
        if learned:
            index.parent.mkdir(parents=True, exist_ok=True)
            every = {key: asdict(value) for key, value in (known | learned).items()}
            write_sealed(index, every)
    return [(known | learned)[keys[case.id]] for case in cases]


def left_out(listed: CaseList, examined: Sequence[Examined], root: Path) -> LeftOut:
    """Return what cannot be used.

    Args:
        listed: All cases, and what is wrong with names and tables.
        examined: What was seen of the usable ones.
        root: Folder of the files; reasons name paths below it.
    """
    reasons: dict[str, list[str]] = {}
    for finding in [*listed.findings, *(f for e in examined for f in e.findings)]:
        if finding.severity == "error":
            reasons.setdefault(finding.case, []).append(below(finding.message, root))
    # Which of several equal scans has the right name and class, nobody can tell.
    for modality, ids in repeats([e for e in examined if e.id not in reasons]):
        for name in ids:
            others = ", ".join(i for i in ids if i != name)
            reasons.setdefault(name, []).append(f"has the same {NAMES[modality]} as {others}")
    usable = {case.id for case in listed.cases}
    for name in listed.ids:
        if name not in usable and name not in reasons:
            reasons[name] = ["has no class that can be used"]
    ids = set(listed.ids)
    texts = {name: tuple(dict.fromkeys(why)) for name, why in sorted(reasons.items())}
    return LeftOut(
        cases={name: why for name, why in texts.items() if name in ids},
        others={name: why for name, why in texts.items() if name not in ids},
        total=len(ids),
    )


def without(listed: CaseList, bad: LeftOut) -> CaseList:
    """Return the cases that remain; what is left out becomes a warning."""
    every = [*bad.cases.items(), *bad.others.items()]
    warnings = [
        Finding("warning", name, f"left out: {text}") for name, why in every for text in why
    ]
    return replace(
        listed,
        cases=tuple(case for case in listed.cases if case.id not in bad.cases),
        findings=(*(f for f in listed.findings if f.severity != "error"), *warnings),
    )


def _used(examiner: Examiner, case: Case) -> dict[str, Path]:
    names = (*examiner.modalities, "seg")
    return {name: case.files[name] for name in names if name in case.files}


def _setting(examiner: Examiner) -> str:
    """Return what identifies the way in which cases are looked at."""
    return key_of(
        {
            "version": _VERSION,
            "modalities": list(examiner.modalities),
            "layout": examiner.layout.name,
            "labels": {str(old): new for old, new in examiner.labels.items()},
            "recipe": examiner.procedure.recipe.facts,
            "size": examiner.size,
            "headers": examiner.headers,
        }
    )


def below(text: str, root: Path) -> str:
    """Return a text whose paths start below the root, which the reader knows."""
    return text.replace(f"{root}/", "")


def _relative(examined: Examined, root: Path) -> Examined:
    """Name files by their path below the root: the same files may lie elsewhere next time."""
    findings = (replace(f, message=below(f.message, root)) for f in examined.findings)
    return replace(examined, findings=tuple(findings))


def _read(index: Path) -> dict[str, Examined]:
    try:
        return {key: _examined(value) for key, value in (read_sealed(index) or {}).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _examined(value: Mapping[str, Any]) -> Examined:
    shape = value["shape"]
    parts = {
        "findings": tuple(Finding(**finding) for finding in value["findings"]),
        "shape": None if shape is None else tuple(shape),
        "spacing": tuple(value["spacing"]),
    }
    return Examined(**{**value, **parts})
