"""The wheel, built and installed outside the checkout, holds every module and data file."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmark", "core", "datasets", "methods", "metrics", "reports")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Unpack a freshly built wheel into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*FOLDERS, "pyproject.toml", "README.md", "LICENSE"):
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_wheel_holds_every_module_and_data_file(installed):
    for folder in FOLDERS:
        ours = {
            p.relative_to(ROOT)
            for p in (ROOT / folder).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        }
        theirs = {
            p.relative_to(installed / "cerebench") for p in (installed / "cerebench").rglob("*")
        }
        assert ours <= theirs


@pytest.mark.slow
def test_every_module_of_the_wheel_imports_outside_the_checkout(installed, tmp_path):
    code = (
        "import importlib, pkgutil, sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "sys.path[:] = [p for p in sys.path if 'editable' not in p]\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
        "import cerebench\n"
        f"outside = [p for p in cerebench.__path__ if not p.startswith({str(installed)!r})]\n"
        "assert not outside, outside\n"
        "names = [m.name for m in pkgutil.walk_packages(cerebench.__path__, 'cerebench.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "from cerebench.benchmark.planning import experiment\n"
        "assert experiment.read('quickstart').dataset == 'phantom'\n"
        "print(len(names))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
