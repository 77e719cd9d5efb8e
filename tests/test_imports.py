"""Guards of the structure: who imports whom, and what must stay light."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmark", "core", "datasets", "methods", "metrics", "reports")
MODULES = sorted(p for f in FOLDERS for p in (ROOT / f).rglob("*.py"))


def imported(path: Path, *, types: bool = True) -> set[str]:
    """Return the dotted names a file imports, wherever in it; ``types``: for annotations, too."""
    names, tree = set(), ast.parse(path.read_text("utf-8"))
    left_out = set() if types else for_types_alone(tree)
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_folders_import_only_what_the_design_allows(path):
    folder = path.relative_to(ROOT).parts[0]
    allowed = FOLDERS if folder == "benchmark" else (folder, "core")
    ours = {n.split(".")[1] for n in imported(path) if n.startswith("cerebench.")}
    assert ours <= set(allowed)


def for_types_alone(tree: ast.AST) -> set[ast.AST]:
    """Return the nodes under ``if TYPE_CHECKING``."""
    guards = [
        n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)
    ]
    return {node for guard in guards for part in guard.body for node in ast.walk(part)}


def modules_behind(folder: str, *, types: bool) -> dict[str, set[str]]:
    """Return each module of a folder with all modules of it that it needs, directly or not.

    Args:
        folder: Name of the folder.
        types: Whether what is imported for annotations alone counts.
    """
    files = {
        ".".join(("cerebench", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): p
        for p in MODULES
        if p.relative_to(ROOT).parts[0] == folder
    }
    direct = {}
    for module, path in files.items():
        names = imported(path, types=types)
        # ``from a.b import c`` needs the module a.b.c, or c of the module a.b.
        modules = {n if n in files else n.rpartition(".")[0] for n in names}
        direct[module] = (modules & set(files)) - {module}
    behind = {}
    for module in direct:
        needed, waiting = set(), [module]
        while waiting:
            further = direct[waiting.pop()] - needed
            needed |= further
            waiting += further
        behind[module] = needed
    return behind


# Rows yield stages, and a stage's work is annotated with the row and the workbench it is given.
@pytest.mark.parametrize("folder", FOLDERS)
def test_modules_of_a_folder_do_not_import_each_other_in_a_circle(folder):
    """Imports inside functions count, and those for annotations everywhere but in benchmark."""
    assert not {
        module
        for module, needed in modules_behind(folder, types=folder != "benchmark").items()
        if module in needed
    }


@pytest.mark.parametrize("path", sorted((ROOT / "core").rglob("*.py")), ids=lambda p: p.name)
def test_core_stays_small(path):
    assert len(path.read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.relative_to(ROOT).parts[0] in ("core", "reports", "datasets")]
    + [ROOT / "benchmark/cli.py", *sorted((ROOT / "benchmark/commands").glob("*.py"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_core_reports_datasets_and_the_command_line_never_import_torch_at_the_top(path):
    body = ast.parse(path.read_text("utf-8")).body
    top = ast.Module([n for n in body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    names = set()
    for node in top.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            names.add(node.module)
    assert not {n for n in names if n.split(".")[0] in ("torch", "monai", "diffusers")}


COMMANDS = (["--help"], ["run", "--help"], ["list"], ["report", "--out", "nowhere"])
EACH_COMMAND = """
import contextlib, io, json, sys
loaded = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["bench", *arguments]
    with contextlib.redirect_stdout(io.StringIO()):
        from cerebench.benchmark.cli import main
        with contextlib.suppress(SystemExit):
            main()
    loaded[" ".join(arguments)] = sorted({"torch", "monai", "diffusers"} & set(sys.modules))
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded_by(tmp_path_factory):
    """Run the commands after one another in one process; what one imports, the next ones show."""
    command = [sys.executable, "-c", EACH_COMMAND, json.dumps(COMMANDS)]
    folder = tmp_path_factory.mktemp("nowhere")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_help_list_and_report_run_without_torch(arguments, loaded_by):
    assert loaded_by[" ".join(arguments)] == []


def packages() -> list[str]:
    """Return the dotted names of all our modules."""
    names = []
    for folder in FOLDERS:
        package = importlib.import_module(f"cerebench.{folder}")
        names.append(package.__name__)
        names += [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return names


@pytest.mark.parametrize("name", packages())
def test_docstring_examples_hold(name):
    import doctest

    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_every_module_and_data_file_is_in_the_package_list():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {"cerebench." + ".".join(p.parent.relative_to(ROOT).parts) for p in MODULES}
    assert folders == set(settings["packages"])


@pytest.mark.parametrize(
    "room", sorted({p.parent for p in MODULES}), ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_room_holds_more_than_a_dozen_files(room):
    names = {p.name for p in room.glob("*.py")} - {"__init__.py"}
    assert len(names) <= (14 if room.name == "commands" else 12)  # thirteen commands, their options
