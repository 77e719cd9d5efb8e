"""``bench new method``: an installable package of one file that runs as it is."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.names import check_name
from cerebench.core.errors import UsageError


def new_method(name: str, parent: Path) -> tuple[Path, Path]:
    """Write ``<parent>/<name>/`` with a method and a pyproject; return the folder and the module.

    Raises:
        UsageError: If the name cannot be a method's, is taken, or the folder exists.
    """
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
