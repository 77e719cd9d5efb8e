"""``bench new``: a working skeleton of a plugin."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from cerebench.core.errors import UsageError

app = typer.Typer(help="Write a working skeleton of a plugin.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Its name: lower case, digits, hyphens.")]
Folder = Annotated[Path, typer.Option(help="Where the folder is written.")]
_EXAMPLES, _EDGE = 8, 16  # volumes of each class beside a new dataset, and their edge length


@dataclass(frozen=True)
class Written:
    """A new plugin.

    Attributes:
        package: Folder that can be installed.
        module: Its file, for ``--plugin``.
    """

    package: Path
    module: Path


@app.command("method")
def method(name: Name, folder: Folder = Path(".")) -> None:
    """Write a method that runs: an installable package of one file."""
    made = write("method", name, folder)
    _tell(
        made,
        f"bench check {name} --plugin {made.module}",
        f"bench run --methods all,{name} --plugin {made.module}",
        f"bench run --methods all,{name}",
    )


@app.command("metric")
def metric(name: Name, folder: Folder = Path(".")) -> None:
    """Write a metric that runs: an installable package of one file."""
    made = write("metric", name, folder)
    _tell(
        made,
        f"bench check {name} --plugin {made.module}",
        f"bench run --metrics core,{name} --plugin {made.module}",
        f"bench run --metrics core,{name}",
    )


@app.command("dataset")
def dataset(name: Name, folder: Folder = Path(".")) -> None:
    """Write a dataset that runs: an installable package of one file, with a few example volumes."""
    made = write("dataset", name, folder)
    example = made.package / "example"
    _write_example(example)
    run = f"bench run --dataset {name} --data-root {example} --size {_EDGE} --preset smoke"
    _tell(
        made,
        f"bench check {name} {example} --size {_EDGE} --plugin {made.module}",
        f"{run} --plugin {made.module}",
        run,
    )


def _tell(made: Written, check: str, run: str, installed: str) -> None:
    typer.echo(f"Wrote {made.package}/. It runs as it is:")
    typer.echo(f"  {check}")
    typer.echo(f"  {run}")
    typer.echo(f"Or install it: pip install -e {made.package}; then {installed}")


def write(kind: str, name: str, parent: Path) -> Written:
    """Write ``<parent>/<name>/`` with a plugin and a pyproject.

    Args:
        kind: ``method``, ``metric`` or ``dataset``.
        name: Of the plugin.
        parent: Folder of its folder.

    Raises:
        UsageError: If the name cannot be a plugin's, is taken, or the folder exists.
    """
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.names import check_name

    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise UsageError(
            f"'{name}' cannot be a {kind}'s name. Use lower-case letters, digits and single "
            f"hyphens, for example my-{kind}."
        )
    check_name(f"The new {kind}", name, "Choose a shorter one.")
    group = f"{kind}s"
    if name in getattr(Registries(), group).names():
        raise UsageError(f"A {kind} named '{name}' is installed already. Choose another name.")
    folder = parent / module
    if folder.exists():
        raise UsageError(f"{folder} exists already. Remove it or choose another --folder.")
    words = [word.capitalize() for word in name.split("-")]
    values = {
        "name": name,
        "module": module,
        "group": group,
        "class_name": "".join(words),
        "constant": module.upper(),
        "label": " ".join(words),
    }
    values["variable"] = values["constant" if kind == "metric" else "class_name"]
    folder.mkdir(parents=True)
    templates = files("cerebench.benchmark") / "templates"
    targets = {f"{kind}.py.txt": f"{module}.py", "pyproject.toml.txt": "pyproject.toml"}
    for template, target in targets.items():
        text = (templates / template).read_text("utf-8").format(**values)
        (folder / target).write_text(text, encoding="utf-8")
    return Written(folder, folder / f"{module}.py")


def _write_example(folder: Path) -> None:
    """Write a few volumes of two classes, balls and cubes of noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    offsets = np.abs(np.indices((_EDGE,) * 3) - (_EDGE - 1) / 2)  # of the centre, along each axis
    distances = {"ball": np.sqrt((offsets**2).sum(axis=0)), "cube": offsets.max(axis=0)}
    for name, distance in distances.items():
        (folder / name).mkdir(parents=True)
        for patient in range(_EXAMPLES):
            inside = distance < rng.uniform(0.2, 0.4) * _EDGE
            values = np.where(inside, rng.uniform(0.3, 1, inside.shape), 0).astype(np.float32)
            np.save(folder / name / f"{name}{patient}_1.npy", values)
