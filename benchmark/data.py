"""``bench data``: what a folder is, what is wrong with it, its cache, and its export."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cerebench.benchmark.display import Display, duration
from cerebench.benchmark.engine.registry import Registries, suite_version
from cerebench.benchmark.errors import no_exit
from cerebench.benchmark.planning.source import Source, left_out, tell
from cerebench.core.files import write_bytes
from cerebench.core.texts import counted
from cerebench.datasets import cache as caching
from cerebench.datasets.base import CheckReport, Dataset, DatasetError, Finding
from cerebench.datasets.cache import loaded_fault
from cerebench.datasets.parallel import default_workers
from cerebench.datasets.splits import split_sha256, write_split

_FILE = re.compile(r"[^\s'\"]+/([^/\s'\"]+\.(?:nii\.gz|nii|mha))")
_LISTED = 6  # cases named per message in the table; JSON has all


def check(registries: Registries, source: Source, display: Display) -> dict[str, Any]:
    """Return what a dataset folder holds and every finding of its check.

    Raises:
        DatasetError: If the folder is no such dataset at all.
    """
    began = time.perf_counter()
    dataset = source.open(registries, display)
    with display.task(f"check {dataset.info.label}") as task:
        report = dataset.check(progress=task.update)
    findings = [asdict(f) for f in report.findings]
    findings += [asdict(f) for f in _loading(dataset, report)]
    found: dict[str, Any] = {
        "dataset": dataset.info.name,
        "label": dataset.info.label,
        "root": str(source.root) if source.root else None,
        "size": source.size,
        "spacing": list(dataset.spacing),
        "recipe": {"id": dataset.recipe_id, **dataset.recipe.facts},
        "counts": {},
        "split": {},
        **report.facts,
        **left_out(dataset),
        "findings": findings,
        "seconds": round(time.perf_counter() - began, 1),
    }
    try:
        cases, split = dataset.cases(), source.split(dataset)
    except DatasetError as error:
        if not any(f["severity"] == "error" for f in findings):
            findings.append({"severity": "error", "case": "", "message": str(error)})
        return found
    classes = dataset.info.classes
    label = {case.id: classes[case.label] for case in cases}
    counted = Counter(label.values())
    voxels = source.size**3 * (2 * len(dataset.info.channels) + 1)
    found["counts"] = {c: counted[c] for c in classes}
    found["patients"] = len({case.patient for case in cases})
    found["split"] = {
        role: {c: sum(label[i] == c for i in ids) for c in classes}
        for role, ids in (("train", split.train), ("test", split.test))
    }
    found["split_sha256"] = split_sha256(split, cases)
    found["cache_mib"] = round(len(cases) * voxels / 2**20, 1)
    if report.facts.get("seconds_per_case"):
        total = len(cases) * report.facts["seconds_per_case"]
        found["prepare_seconds"] = round(total / default_workers(len(cases)))
    return found


def _loading(dataset: Dataset, report: CheckReport) -> Iterator[Finding]:
    """Load a case of each class, whatever the dataset's own check says, and yield what is wrong.

    A case of which the check says so already is passed over.
    """
    known = {f.case for f in report.findings if f.severity == "error"}
    shape = (len(dataset.info.channels), *(dataset.size,) * 3)
    try:
        cases = dataset.cases()
    except DatasetError:  # told by the caller
        return
    for label, name in enumerate(dataset.info.classes):
        of_class = [case for case in cases if case.label == label]
        case = next((case for case in of_class if case.id not in known), None)
        if not of_class:
            yield Finding("error", "", f"no case of class {name}; add some, or remove the class.")
        if case is None:
            continue
        try:
            with no_exit():
                fault = loaded_fault(dataset.load(case), shape)
        except DatasetError as error:
            yield Finding("error", case.id, str(error))
        except Exception as error:  # of a plugin, which may fail in any way
            told = f"load() failed: {type(error).__name__}: {error}"
            yield Finding("error", case.id, told)
        else:
            if fault:
                yield Finding("error", case.id, f"load() returned {fault}.")


def print_check(found: dict[str, Any], console: Console) -> None:
    """Print what ``check`` found, errors first."""
    where = f" at {found['root']}" if found["root"] else ""
    console.print(f"[bold]{escape(found['label'])}[/]{escape(where)}", highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, text in _lines(found):
        table.add_row(name, escape(text))
    console.print(table, highlight=False)
    if not found["findings"]:
        console.print("[green]Nothing wrong.[/]")
        return
    _print_findings(found["findings"], console)


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (name, text) of what the files are."""
    roles = [("cases", found["counts"]), *found["split"].items()]
    lines = [(r, ", ".join(f"{n} {c}" for c, n in counts.items()) or "none") for r, counts in roles]
    if bad := found.get("left_out"):
        lines.append(("left out", f"{len(bad['cases'])} of {bad['total']} cases (--skip-bad)"))
    if "modalities" in found:
        present = found["modalities"]
        lines.append(("files", ", ".join(f"{m} {n}" for m, n in present.items())))
        lines += [("", f"without {m}: {_listed(ids)}") for m, ids in found["missing"].items()]
        lines.append(("shape", f"{_counted(found['shapes'])} (z×y×x)"))
        lines.append(("voxels", f"{_counted(found['spacings'])} mm"))
        lines.append(("saturated", _saturated(found)))
    lines.append(("recipe", found["recipe"].get("id", found["recipe"]["name"])))
    if "cache_mib" in found:
        estimate = found.get("prepare_seconds")
        after = f", about {duration(estimate)} to prepare" if estimate is not None else ""
        lines.append(("cache", f"{found['cache_mib']} MiB at {found['size']}³{after}"))
        lines.append(("split", f"SHA-256 {found['split_sha256'][:16]}…"))
    return lines


def _saturated(found: dict[str, Any]) -> str:
    highest = f"; the highest value in a tumour is {found['highest']:g}" if found["highest"] else ""
    if found["saturated"]:
        return f"{counted(len(found['saturated']), 'case')}: {_listed(found['saturated'])}{highest}"
    return f"none (no case has over 1 % of its tumour at one highest value){highest}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} ({n})" for value, n in counts.items()) or "none"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more (all with --json)" if more > 0 else "")


def _print_findings(findings: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print one row per finding; what is said of several cases alike is one row."""
    grouped: dict[tuple[bool, str], list[Mapping[str, Any]]] = {}
    for finding in findings:
        key = finding["severity"] != "error", _alike(finding)
        grouped.setdefault(key, []).append(finding)
    errors = sum(f["severity"] == "error" for f in findings)
    others = counted(len(findings) - errors, "warning")
    console.print(f"\n{counted(errors, 'error')}, {others}", highlight=False)
    cases_of = {key: [f["case"] for f in group] for key, group in grouped.items()}
    order = sorted(cases_of.items(), key=lambda item: (item[0][0], not item[1][0], item[1][0]))
    for (warning, alike), cases in order:
        message = alike if len(cases) > 1 else grouped[warning, alike][0]["message"]
        style, word = ("yellow", "warning") if warning else ("bold red", "error")
        subject = f"[bold]{escape(_listed(cases))}[/]: " if cases[0] else ""
        console.print(
            f"[{style}]{word}[/] {subject}{escape(message)}", highlight=False, soft_wrap=False
        )


def _alike(finding: Mapping[str, Any]) -> str:
    """Return a message without what names its case: the folders of files, and the id in names."""
    message = _FILE.sub("…/\\1", finding["message"])
    return message.replace(finding["case"], "…") if finding["case"] else message


def prepare(registries: Registries, source: Source, display: Display) -> dict[str, Any]:
    """Preprocess every case once into the cache and say where it is."""
    dataset = source.open(registries, display)
    tell(dataset, display)
    split = source.split(dataset)
    prepared = _prepared(dataset, source, display)
    data = write_split(split, dataset.cases())
    sha256 = split_sha256(split, dataset.cases())
    path = prepared.folder / f"split-{sha256[:8]}.csv"
    if not path.exists():
        write_bytes(path, data)
    return {
        "fingerprint": prepared.fingerprint,
        "folder": str(prepared.folder),
        "cases": len(prepared.ids),
        "recipe": dataset.recipe_id,
        "split": str(path),
        "split_sha256": sha256,
        **left_out(dataset),
    }


def export(registries: Registries, source: Source, out: Path, display: Display) -> Path:
    """Write the prepared dataset as a BIDS derivative.

    Raises:
        DatasetError: If ``out`` is not empty, or the data cannot be used.
    """
    from cerebench.datasets.folders import derivative

    dataset = source.open(registries, display)
    tell(dataset, display)
    split = source.split(dataset)
    prepared = _prepared(dataset, source, display)
    began, title = time.perf_counter(), f"export {len(prepared.ids)} cases"
    with display.task(title) as task:
        derivative.export(dataset, prepared, split, out, suite_version(), task.update)
    display.ended(title, "done", time.perf_counter() - began)
    return out


def _prepared(dataset: Dataset, source: Source, display: Display) -> caching.Prepared:
    began = time.perf_counter()
    title = f"{dataset.info.name}-{source.size} · prepare {len(dataset.cases())} cases"
    with display.task(title) as task:
        place, say = caching.default_cache(), display.say
        prepared = caching.prepare(dataset, place, task.update, say=say)
    display.ended(title, "done", time.perf_counter() - began)
    return prepared
