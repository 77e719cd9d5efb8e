"""``bench data``: what a folder is, what is wrong with it, and its cache."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cerebench.benchmark.display import Display
from cerebench.benchmark.plan import SPLIT_SEED
from cerebench.benchmark.registry import Registries
from cerebench.datasets import cache as caching
from cerebench.datasets.base import Dataset, DatasetError


def _open(registries: Registries, name: str, root: Path | None, size: int) -> Dataset:
    return registries.datasets.load(name)(size=size, root=root)


def check(registries: Registries, name: str, root: Path | None, size: int) -> dict[str, Any]:
    """Return what a dataset folder holds and every finding of its check.

    Raises:
        DatasetError: If the folder is no such dataset at all.
    """
    dataset = _open(registries, name, root, size)
    findings = [asdict(f) for f in dataset.check().findings]
    found: dict[str, Any] = {
        "dataset": name,
        "label": dataset.info.label,
        "root": str(root) if root else None,
        "size": size,
        "spacing": list(dataset.spacing),
        "counts": {},
        "split": {},
        "findings": findings,
    }
    try:
        cases, split = dataset.cases(), dataset.split(SPLIT_SEED)
    except DatasetError as error:
        if not any(f["severity"] == "error" for f in findings):
            findings.append({"severity": "error", "case": "", "message": str(error)})
        return found
    classes = dataset.info.classes
    label = {case.id: classes[case.label] for case in cases}
    voxels = size**3 * (2 * len(dataset.info.channels) + 1)
    counted = Counter(label.values())
    found["counts"] = {c: counted[c] for c in classes}
    found["split"] = {
        role: {c: sum(label[i] == c for i in ids) for c in classes}
        for role, ids in (("train", split.train), ("test", split.test))
    }
    found["cache_mib"] = round(len(cases) * voxels / 2**20, 1)
    return found


def print_check(found: dict[str, Any], console: Console) -> None:
    """Print what ``check`` found, errors first."""
    where = f" at {found['root']}" if found["root"] else ""
    console.print(f"[bold]{escape(found['label'])}[/]{escape(where)}", highlight=False)
    for role, counts in [("cases", found["counts"]), *found["split"].items()]:
        listed = ", ".join(f"{n} {c}" for c, n in counts.items())
        console.print(f"  {role}: {listed or 'none'}", highlight=False)
    if "cache_mib" in found:
        console.print(f"  cache at {found['size']}³: {found['cache_mib']} MiB", highlight=False)
    if not found["findings"]:
        console.print("[green]Nothing wrong.[/]")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for finding in sorted(found["findings"], key=lambda f: f["severity"] != "error"):
        style = "bold red" if finding["severity"] == "error" else "yellow"
        table.add_row(
            f"[{style}]{finding['severity']}[/]",
            escape(finding["case"]),
            escape(finding["message"]),
        )
    console.print(table)


def prepare(
    registries: Registries, name: str, root: Path | None, size: int, display: Display
) -> None:
    """Preprocess every case once into the cache and say where it is."""
    dataset, began = _open(registries, name, root, size), time.perf_counter()
    title = f"{name}-{size} · prepare {len(dataset.cases())} cases"
    with display.task(title) as task:
        prepared = caching.prepare(dataset, caching.default_cache(), progress=task.update)
    display.ended(title, "done", time.perf_counter() - began)
    display.say(f"fingerprint {prepared.fingerprint}")
    display.say(f"folder {prepared.folder}")
