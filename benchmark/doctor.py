"""``bench doctor``: versions, devices, weights, disk, and whether a run needs the network."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cerebench.benchmark import listing
from cerebench.benchmark.console import Console
from cerebench.benchmark.engine.registry import Registries, suite_version
from cerebench.benchmark.tables import print_missing_weights, print_rows
from cerebench.core import weights
from cerebench.core.machine import cpu_name
from cerebench.datasets.cache import default_cache

PACKAGES = (
    "torch", "torchvision", "monai", "diffusers", "accelerate", "nibabel", "torchmetrics",
    "pytorch-fid", "numpy", "scipy", "pandas", "safetensors", "typer", "rich",
)  # fmt: skip

STORE = Path("runs")  # of commands without --out
_LISTED = stat.S_IROTH | stat.S_IXOTH


def examine() -> dict[str, Any]:
    """Return everything that a bug report or a cluster administrator asks for first."""
    cache = default_cache()
    free = shutil.disk_usage(_existing(cache)).free
    missing = [str(w["name"]) for w in weights.status() if not w["path"]]
    return {
        "cerebench": suite_version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "devices": _devices(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cache": str(cache),
        "cache_free_gib": round(free / 2**30, 1),
        "open_to_everyone": open_to_everyone(STORE, cache),
        "weights": weights.status(),
        "extractors": _extractors(),
        "offline": {
            "ready": not missing,
            "note": (
                "everything runs without network"
                if not missing
                else f"missing weights: {', '.join(missing)}; metrics that need them print a dash, "
                "methods that need them do not train. Everything else runs without network."
            ),
        },
    }


def print_findings(found: dict[str, Any], console: Console) -> None:
    """Print the examination for reading."""
    for key, value in found.items():
        if key == "packages":
            print_rows(key, [{"name": k, "version": v} for k, v in value.items()], console)
        elif key == "weights":
            shown = ("name", "state", "path")
            print_rows(key, [{k: row[k] for k in shown} for row in value], console)
            print_missing_weights(console)
        elif key == "extractors":
            print_rows(key, value, console)
        elif key == "open_to_everyone":
            for path in value:
                console.print(
                    f"warning: everyone on this machine can read {path}, which may hold ids of "
                    "cases and their volumes. To close it: chmod -R o-rwx",
                    highlight=False,
                    markup=False,
                )
        elif key == "offline":
            console.print(f"offline: {value['note']}", highlight=False)
        else:
            text = ", ".join(value) if isinstance(value, list) else value
            console.print(f"{key.replace('_', ' ')}: {text}", highlight=False)


def open_to_everyone(*folders: Path) -> list[str]:
    """Return those of the folders that every user of this machine can list and read."""
    if os.name == "nt":  # where modes do not say it
        return []
    found = [path.absolute() for path in folders if path.is_dir()]
    return [
        str(path)
        for path in found
        if path.stat().st_mode & _LISTED == _LISTED
        and all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    ]


def _extractors() -> list[dict[str, Any]]:
    """Return which feature spaces can be used, and what to do about the others."""
    rows = listing.rows("extractors", Registries())
    return [{key: row[key] for key in ("name", "label", "available", "reason")} for row in rows]


def _devices() -> list[str]:
    import torch

    from cerebench.benchmark.device import device_name, gpus

    onednn = torch.backends.mkldnn.is_available()
    cpu = f"cpu ({torch.get_num_threads()} threads{', oneDNN' if onednn else ''})"
    return [cpu, *(f"{name} {device_name(torch.device(name))}" for name in gpus())]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    """Return the nearest folder above that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())
