"""``bench new``: a working skeleton of a plugin."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from cerebench.core.errors import UsageError

app = typer.Typer(help="Write a working skeleton of a plugin.", no_args_is_help=True)


@app.command("method")
def method(
    name: Annotated[str, typer.Argument(help="Name of the method: lower case, digits, hyphens.")],
    folder: Annotated[Path, typer.Option(help="Where the folder is written.")] = Path("."),
) -> None:
    """Write a method that runs: an installable package of one file."""
    package, module = new_method(name, folder)
    typer.echo(f"Wrote {package}/. It runs as it is:")
    typer.echo(f"  bench check {name} --plugin {module}")
    typer.echo(f"  bench run --methods all,{name} --plugin {module}")
    typer.echo(f"Or install it: pip install -e {package}; then bench run --methods all,{name}")


def new_method(name: str, parent: Path) -> tuple[Path, Path]:
    """Write ``<parent>/<name>/`` with a method and a pyproject; return the folder and the module.

    Raises:
        UsageError: If the name cannot be a method's, is taken, or the folder exists.
    """
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.names import check_name

    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise UsageError(
            f"'{name}' cannot be a method's name. Use lower-case letters, digits and single "
            "hyphens, for example my-gan."
        )
    check_name("The new method", name, "Choose a shorter one.")
    registry = Registries().methods
    if name in registry.names():
        raise UsageError(f"A method named '{name}' is installed already. Choose another name.")
    folder = parent / module
    if folder.exists():
        raise UsageError(f"{folder} exists already. Remove it or choose another --folder.")
    words = name.split("-")
    values = {
        "name": name,
        "module": module,
        "class_name": "".join(word.capitalize() for word in words),
        "label": " ".join(word.capitalize() for word in words),
    }
    folder.mkdir(parents=True)
    templates = files("cerebench.benchmark") / "templates"
    targets = {"method.py.txt": f"{module}.py", "pyproject.toml.txt": "pyproject.toml"}
    for template, target in targets.items():
        text = (templates / template).read_text("utf-8").format(**values)
        (folder / target).write_text(text, encoding="utf-8")
    return folder, folder / f"{module}.py"
