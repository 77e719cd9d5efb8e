"""Every code block of README, CONTRIBUTING and docs/ works, so that no page goes stale.

What is done with a block depends on its language:

- ``python`` is executed by itself; that it does what its page says is for the test of its subject.
- ``sh`` holds a command a line. ``bench run`` is planned (everything but the work), every other
  command is carried out, in a folder that has what pages speak of; ``mine.toml`` is the experiment
  above it on the page.
- ``toml`` is an experiment, which is planned, or declares entry points.
- ``json`` is read; ``diff`` has a test of its own (``engine/test_stage.py``).
- ``text`` is no code, and holds no command.

``<!-- not run: reason -->`` on the line above a block, which readers do not see, leaves it out;
``<!-- only read: reason -->`` reads its keys or options and does nothing.
"""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import typer

from cerebench.benchmark import cli
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning import experiment
from cerebench.core.errors import EXIT_WEIGHTS

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = ("python", "sh", "toml", "json", "diff", "text")
MARK = re.compile(r"(not run|only read): \S")
SHELL = ("cp", "du", "mkdir", "tar")  # carried out beside ``bench``
LEFT = ("cd", "pip")  # left out
sys.path.append(str(ROOT / "tests" / "datasets" / "fakes"))


@dataclass(frozen=True)
class Block:
    """One code block: where it is, its language, what it holds, and its mark."""

    place: str
    language: str
    text: str
    mark: str

    @property
    def lines(self):
        """Return the commands, as (text, words); comments are left out."""
        whole = self.text.replace("\\\n", " ").splitlines()
        split = [(line, shlex.split(line, comments=True)) for line in whole]
        return [(line, words) for line, words in split if words]

    @property
    def commands(self):
        """Return the words of the commands of ``bench``, after it."""
        return [words[1:] for _, words in self.lines if words[0] == "bench"]


def blocks_of(page):
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start(2)) + 1
        place = f"{page.relative_to(ROOT).as_posix()}:{line}"
        yield Block(place, found[2], found[3], found[1] or "")


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def in_language(language, *, mark=""):
    """Return the blocks of a language whose mark begins so, or that have none."""
    chosen = [b for b in BLOCKS if b.language == language]
    chosen = [b for b in chosen if (b.mark.startswith(mark) if mark else not b.mark)]
    return pytest.mark.parametrize("block", chosen, ids=lambda block: block.place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_overlooked(page):
    fences = re.findall(r"^ *(?:```|~~~)", page.read_text("utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(list(blocks_of(page)))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_every_block_says_what_it_is(block):
    assert block.language in LANGUAGES
    assert not block.mark or MARK.match(block.mark)
    if block.language == "text":
        assert not block.commands
    if block.language == "sh" and not block.mark.startswith("not run"):
        assert {words[0] for _, words in block.lines} <= {"bench", *SHELL, *LEFT}
        assert block.commands or {words[0] for _, words in block.lines} <= {*SHELL}


# --- what blocks find in their folder ------------------------------------------------------------


@pytest.fixture(scope="session")
def furniture(tmp_path_factory, page_code):
    """Return a folder with the volumes, scans and plugins that pages name, written once."""
    folder = tmp_path_factory.mktemp("furniture")
    _volumes(folder)
    _scans(folder / "data")
    _plugins(folder, page_code)
    return folder


@pytest.fixture
def place(finished, monkeypatch, furniture):
    """Return ``bench`` in a folder with a finished run and everything that pages name."""
    from cerebench.benchmark.planning import estimate

    monkeypatch.setattr(estimate, "print_estimate", lambda plan, device, *, as_json: None)
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(finished.folder / "weights"))
    folder = finished.folder
    shutil.copytree(furniture, folder, dirs_exist_ok=True)
    (table,) = folder.glob("runs/*/report/*/tiny.csv")
    shutil.copy(table, folder / "quickstart.csv")
    return finished


def _volumes(folder):
    """Write folders of generated and real volumes."""
    import numpy as np

    from cerebench.datasets.scans.volumes import write_nifti

    rng = np.random.default_rng(0)
    sets = ("real", "mine", "data/real", "data/my-samples", "samples", "training", "one", "two")
    for number, name in enumerate(sets):
        for label in ("LGG", "HGG"):
            (folder / name / label).mkdir(parents=True)
            for i in range(4):
                volume = np.full((32, 32, 32), -1, np.float32)
                volume[8:24, 8:24, 8:24] = rng.uniform(-0.5, 0.5 + number / 20, (16, 16, 16))
                write_nifti(folder / name / label / f"{i:02d}.nii.gz", volume, (4.0, 4.0, 4.0))


def _scans(data):
    """Write two folders of scans: of BraTS 2020, and of the dataset plugin of the page."""
    names = ("common", "brats2020", "folders")
    common, brats, folders = (importlib.import_module(f"fake_{name}") for name in names)
    cases = common.make_cases(24, 30)
    (data / "brats2020").mkdir()
    brats.make(data / "brats2020", cases)
    folders.make(data / "my-tumours", cases[:4] + cases[-4:], by_case=True)


def _plugins(folder, page_code):
    """Write the plugins of the pages under the names that their commands have."""
    for page, word, name in (
        ("adding-a-method.md", "class MeanVolume", "mean_volume.py"),
        ("adding-a-dataset.md", "class MyTumours", "my_tumours.py"),
        ("adding-a-metric.md", "class Histogram", "histogram.py"),
        ("adding-a-metric.md", "MEAN_GAP", "mean_gap.py"),
        ("figures.md", "JSON_LINES", "json_lines.py"),
    ):
        (folder / name).write_text(page_code(page, word))


def here(words):
    """Return a command of ``bench`` as it is in this folder, with no work for ``run``."""
    words = [word.replace("/data/", "data/") for word in words]
    if words[0] == "report":
        words = ["tiny" if word == "quickstart" else word for word in words]
    if words[0] == "run" and "--dry-run" not in words:
        words = [*words, "--dry-run"]
    found = [(word, sorted(map(str, Path().glob(word))) if "*/" in word else []) for word in words]
    return [name for word, names in found for name in names or [word]]


def experiment_above(block):
    """Return the last experiment above a block on its page, or nothing."""
    page, line = block.place.split(":")
    places = [(b.place.split(":"), b) for b in BLOCKS if b.language == "toml"]
    above = [b.text for (name, n), b in places if name == page and int(n) < int(line)]
    return above[-1] if above else ""


def read_options(words):
    """Read the options of a command as ``bench`` does; those that do not exist end in an error."""
    command, name = typer.main.get_command(cli.app), "bench"
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(command.context_class(command), words)
    command.make_context(name, list(words))


# --- the tests -------------------------------------------------------------------------------


@in_language("sh")
def test_commands_work(block, place):
    (place.folder / "mine.toml").write_text(experiment_above(block))
    for line, words in block.lines:
        if words[0] in SHELL:
            subprocess.run(["sh", "-c", line], check=True, capture_output=True)
        if words[0] != "bench":
            continue
        code, out, err = place(*here(words[1:]))
        allowed = (0, EXIT_WEIGHTS) if "weight" in err else (0,)  # there are none in this folder
        assert code in allowed, f"{line}\n{out}\n{err}"


@in_language("sh", mark="only read")
def test_the_options_of_commands_exist(block):
    for words in block.commands:
        read_options(words)


@in_language("python")
def test_python_is_complete(block, place):
    exec(compile(block.text, block.place, "exec"), {"__name__": "example"})


@in_language("toml")
def test_experiments_are_planned_and_entry_points_have_groups(block, place):
    table = tomllib.loads(block.text)
    if "project" in table:
        groups = {registry.group for registry in vars(Registries()).values()}
        for group, entries in table["project"]["entry-points"].items():
            assert group in groups
            assert all(re.fullmatch(r"[\w.]+:\w+", target) for target in entries.values())
        return
    (place.folder / "mine.toml").write_text(block.text.replace("/data/", "data/"))
    code, out, err = place("run", "mine.toml", "--dry-run")
    assert code == 0, out + err


@in_language("toml", mark="only read")
def test_the_keys_of_experiments_exist(block):
    experiment.from_table("mine", tomllib.loads(block.text), block.place)


@in_language("json")
def test_json_is_json(block):
    assert json.loads(block.text)


def test_the_pages_name_no_option_or_command_that_does_not_exist():
    """Commands in running text, too: `bench …` between backticks."""
    for page in PAGES:
        for text in re.findall(r"`bench ([^`…]+)`", page.read_text("utf-8")):
            words = [word.split("|")[0] for word in shlex.split(text)]
            command = typer.main.get_command(cli.app)
            while words and hasattr(command, "commands") and words[0] in command.commands:
                command, words = command.commands[words[0]], words[1:]
            known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            known |= {"--help", "-h"}
            assert {w for w in words if w.startswith("--")} <= known, f"{page.name}: bench {text}"
            group = hasattr(command, "commands")
            assert not (group and words and words[0][0] != "-"), f"{page.name}: bench {text}"


def _plain(function):
    """Return a function without annotations, as text that tells two apart."""
    function.returns = None
    for argument in function.args.args:
        argument.annotation = None
    return ast.unparse(function)


def test_the_method_of_the_readme_is_what_bench_new_writes(bench):
    assert bench("new", "method", "my-gan")[0] == 0
    (written,) = bench.folder.rglob("my_gan.py")
    made, shown = (
        {
            node.name: _plain(node)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef)
        }
        for text in (written.read_text(), next(b.text for b in BLOCKS if b.language == "python"))
    )
    assert set(shown) == {"train", "sample"}
    assert {name: made[name] for name in shown} == shown


def test_every_page_is_named_in_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"{page.relative_to(ROOT).as_posix()})" in text, page


def test_links_lead_to_pages_and_headings_that_are_there():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if target.startswith(("http", "mailto:")):
                continue
            name, _, anchor = target.partition("#")
            other = (page.parent / name).resolve() if name else page
            assert other.exists(), f"{page.name}: {target}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", other.read_text("utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
                assert anchor in anchors, f"{page.name}: {target}"


def test_the_picture_of_the_readme_is_drawn_from_a_run(finished, monkeypatch):
    path = ROOT / "docs" / "make_picture.py"
    spec = importlib.util.spec_from_file_location("make_picture", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "EXPERIMENT", "tiny")
    script.main(finished.folder / "runs", finished.folder / "picture.png")
    image = plt.imread(finished.folder / "picture.png")
    assert image.shape[1] > image.shape[0] * 0.8  # two columns, two classes and the heads
    assert image[..., :3].std() > 0.1
    assert (ROOT / "docs" / "picture.png").stat().st_size < 150_000
