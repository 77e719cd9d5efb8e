import importlib
import inspect
import subprocess
import sys

import pytest

from cerebench.reports import BUILTIN

SCRIPT = """
import importlib, sys
for target in {targets!r}:
    importlib.import_module(target)
assert "torch" not in sys.modules
assert not {heavy!r} & set(sys.modules), sys.modules.keys()
"""


@pytest.mark.parametrize("name", BUILTIN)
def test_every_report_is_a_function_of_experiment_and_folder(name):
    module, _, function = BUILTIN[name][0].partition(":")
    write = getattr(importlib.import_module(module), function)
    assert list(inspect.signature(write).parameters)[:2] == ["experiment", "folder"]


def test_importing_every_report_imports_neither_torch_nor_anything_slow():
    targets = [target.partition(":")[0] for target, _ in BUILTIN.values()]
    targets.append("cerebench.reports.terminal")
    script = SCRIPT.format(targets=targets, heavy={"pandas", "matplotlib", "jinja2", "rich"})
    subprocess.run([sys.executable, "-c", script], check=True, cwd="/")


@pytest.mark.slow
def test_writing_every_report_does_not_import_torch(classified, tmp_path):
    classified.read()
    script = f"""
import importlib, sys
from pathlib import Path
from cerebench.reports import BUILTIN
from cerebench.reports.base import Experiment
contents = next(Path({str(classified.folder)!r}).glob("experiment-*.json"))
for target, _ in BUILTIN.values():
    module, _, function = target.partition(":")
    write = getattr(importlib.import_module(module), function)
    assert write(Experiment.read(contents), Path({str(tmp_path / "out")!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd="/")
    written = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert written == {".md", ".csv", ".tex", ".pdf", ".png"}
