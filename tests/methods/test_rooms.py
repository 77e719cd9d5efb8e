"""Where the code of a method stands: each in a room of its own, what several share in layers."""

import ast
from pathlib import Path

import pytest

METHODS = Path(__file__).parents[2] / "methods"
SHARED = ("base", "layers")
ALONE = [p.stem for p in METHODS.glob("*.py") if p.stem not in ("__init__", *SHARED)]
FOLDERS = [p.name for p in METHODS.iterdir() if (p / "__init__.py").is_file()]
FILES = sorted(METHODS.rglob("*.py"))


def imported(path):
    """Return which files and folders of methods/ a file imports from, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names]
    return {part[2] for part in parts if part[:2] == ["cerebench", "methods"] and len(part) > 2}


def room(path):
    """Return the folder of methods/ that a file stands in, or its own name without a folder."""
    return path.relative_to(METHODS).with_suffix("").parts[0]


def may_import(importer):
    """Return what a room may import from: itself, what is shared, and what it is a variant of."""
    if importer in ("__init__", "base"):
        return {"base"} - {importer}
    if importer == "layers":
        return set(SHARED)
    return {*SHARED, importer, *(name for name in ALONE if importer.startswith(f"{name}_"))}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(METHODS)))
def test_no_method_imports_from_the_room_of_another(path):
    assert imported(path) <= may_import(room(path))


def test_the_walk_sees_files_folders_and_imports_inside_functions(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "import cerebench.methods.vqgan.method\n"
        "from cerebench.methods import wgan_gp\n"
        "from cerebench.core.bounds import Count\n"
        "def late():\n"
        "    from cerebench.methods.layers.vq.losses import hinge\n"
    )
    assert imported(file) == {"vqgan", "wgan_gp", "layers"}


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("wgan_gp_c", "wgan_gp", True),
        ("wgan_gp", "wgan_gp_c", False),
        ("wgan_gp_c", "alpha_wgan", False),
        ("vqgan_cond", "vqgan", False),
        ("vqgan", "vqgan_cond", False),
        ("layers", "vqgan", False),
        ("layers", "wgan_gp", False),
        ("base", "layers", False),
    ],
)
def test_what_may_be_imported(importer, target, allowed):
    assert (target in may_import(importer)) == allowed


def test_every_method_has_a_room():
    assert {"wgan_gp", "alpha_wgan", "med_ddpm"} <= set(ALONE)
    assert {"layers", "vqgan", "vqgan_cond", "medical_diffusion"} <= set(FOLDERS)
