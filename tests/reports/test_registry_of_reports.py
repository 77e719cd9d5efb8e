import importlib
import inspect
import subprocess
import sys

import pytest

from cerebench.reports import BUILTIN
from cerebench.reports.base import Renderer

FIGURES = ("importance-maps", "quality-cost", "repeats", "slices")
FILES = [
    "made-up-comparison.tex",
    "made-up-diagnostics.csv",
    "made-up-diagnostics.tex",
    "made-up-downstream.tex",
    "made-up-figures.md",
    "made-up-figures.tex",
    "made-up-recipes.tex",
    "made-up-table1.tex",
    "made-up-table2.tex",
    "made-up-table5.tex",
    "made-up-table6.tex",
    "made-up-table7.tex",
    "made-up.csv",
    "made-up.md",
    "made-up.tex",
    "main.tex",
    *(f"made-up-{figure}.{kind}" for figure in FIGURES for kind in ("pdf", "png")),
]
SCRIPT = """
import importlib, sys
for target in {targets!r}:
    importlib.import_module(target)
assert "torch" not in sys.modules
assert not {heavy!r} & set(sys.modules), sys.modules.keys()
"""


@pytest.mark.parametrize("name", BUILTIN)
def test_every_report_is_a_renderer_that_is_called_as_its_table_says(name):
    module, _, attribute = BUILTIN[name].partition(":")
    renderer = getattr(importlib.import_module(module), attribute)
    assert isinstance(renderer, Renderer)
    assert renderer.name == name
    assert list(inspect.signature(renderer.write).parameters)[:2] == ["experiment", "folder"]


def test_importing_every_report_imports_neither_torch_nor_anything_slow():
    targets = [target.partition(":")[0] for target in BUILTIN.values()]
    targets.append("cerebench.reports.terminal")
    script = SCRIPT.format(targets=targets, heavy={"pandas", "matplotlib", "jinja2", "rich"})
    subprocess.run([sys.executable, "-c", script], check=True, cwd="/")


def test_printing_all_tables_on_a_terminal_imports_nothing_slow(classified):
    classified.read()
    script = f"""
import io, sys
from pathlib import Path
from rich.console import Console
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.terminal import render
contents = next(Path({str(classified.folder)!r}).glob("experiment-*.json"))
render(RecordedExperiment.read(contents), Console(width=120))
heavy = {{"torch", "scipy.stats", "pandas", "matplotlib", "jinja2"}} & set(sys.modules)
assert not heavy, heavy
"""
    run = subprocess.run(
        [sys.executable, "-c", script], check=True, cwd="/", capture_output=True, text=True
    )
    assert "Downstream classification: difference from" in run.stdout


@pytest.mark.slow
def test_writing_every_report_does_not_import_torch(classified, tmp_path):
    classified.read()
    script = f"""
import importlib, sys
from pathlib import Path
from cerebench.reports import BUILTIN
from cerebench.reports.base import RecordedExperiment
contents = next(Path({str(classified.folder)!r}).glob("experiment-*.json"))
for target in BUILTIN.values():
    module, _, function = target.partition(":")
    write = getattr(importlib.import_module(module), function)
    assert write.write(RecordedExperiment.read(contents), Path({str(tmp_path / "out")!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd="/")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted(FILES)
