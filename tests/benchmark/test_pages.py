"""Every code block of README, CONTRIBUTING and docs/ works, so that no page goes stale.

What is done with a block depends on its language:

- ``python`` is executed by itself; that it does what its page says is for the test of its subject.
- ``sh`` holds a command a line. ``bench run`` and ``bench ladder`` are planned (everything but the
  work), every other command of ``bench`` is carried out, in a folder that has what pages speak of.
- ``toml`` is an experiment, which is planned, or declares entry points.
- ``json`` is read; ``diff`` has a test of its own (``engine/test_stage.py``).
- ``text`` is no code, and holds no command.

``<!-- not run: reason -->`` on the line above a block, which readers do not see, leaves it out;
``<!-- only read: reason -->`` reads the options of its commands and does nothing.
"""

import importlib
import json
import re
import shlex
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from cerebench.benchmark import cli
from cerebench.benchmark.engine.registry import Registries
from cerebench.core.errors import EXIT_WEIGHTS

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = ("python", "sh", "toml", "json", "diff", "text")
MARK = re.compile(r"(not run|only read): \S")
OTHERS = ("pip install ", "cd ")  # commands beside ``bench`` that blocks may have
sys.path.append(str(ROOT / "tests" / "datasets" / "fakes"))


@dataclass(frozen=True)
class Block:
    """One code block: where it is, its language, what it holds, and its mark."""

    place: str
    language: str
    text: str
    mark: str

    @property
    def commands(self):
        """Return the commands of ``bench``, as lists of words without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [line[1:] for line in words if line and line[0] == "bench"]


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
        lines = block.text.replace("\\\n", " ").splitlines()
        assert all(line.startswith(("bench ", *OTHERS, "#")) for line in lines if line.strip())
        assert block.commands


# --- what blocks find in their folder ------------------------------------------------------------

NAMES = {"quickstart": "tiny", "/data/": "data/"}  # what pages say, and what the folder has


@pytest.fixture
def place(finished, monkeypatch, page_code):
    """Return ``bench`` in a folder with a finished run and everything that pages name."""
    from cerebench.benchmark.planning import estimate

    monkeypatch.setattr(estimate, "print_estimate", lambda plan, device, *, as_json: None)
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(finished.folder / "weights"))
    folder = finished.folder
    _volumes(folder)
    _scans(folder / "data/brats2020")
    _plugins(folder, page_code)
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
                volume = np.full((16, 16, 16), -1, np.float32)
                volume[4:12, 4:12, 4:12] = rng.uniform(-0.5, 0.5 + number / 20, (8, 8, 8))
                write_nifti(folder / name / label / f"{i:02d}.nii.gz", volume, (8.0, 8.0, 8.0))


def _scans(root):
    common, brats = (importlib.import_module(f"fake_{name}") for name in ("common", "brats2020"))
    root.mkdir(parents=True)
    brats.make(root, common.make_cases(24, 30))


def _plugins(folder, page_code):
    """Write the plugins of the pages under the names that their commands have."""
    for page, word, name in (
        ("adding-a-method.md", "class MeanVolume", "mean_volume.py"),
        ("adding-a-metric.md", "class Histogram", "histogram.py"),
        ("adding-a-metric.md", "MEAN_GAP", "mean_gap.py"),
        ("figures.md", "JSON_LINES", "json_lines.py"),
    ):
        (folder / name).write_text(page_code(page, word))


def _here(folder, words):
    """Return the words of a command as they are in this folder: names, and files of patterns."""
    found = []
    for word in words:
        for said, here in NAMES.items():
            word = word.replace(said, here) if said == "/data/" or words[0] != "run" else word
        matches = sorted(folder.glob(word)) if "*" in word and "=" not in word else []
        found += [str(m.relative_to(folder)) for m in matches] or [word]
    return found


def planned(words):
    """Return a command that makes the plan of a run, with no work."""
    return [*words, "--dry-run"] if words[0] == "run" and "--dry-run" not in words else words


def read_options(words):
    """Read the options of a command as ``bench`` does; those that do not exist end in an error."""
    command, name = typer.main.get_command(cli.app), "bench"
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(command.context_class(command), words)
    command.make_context(name, list(words))


# --- the tests -------------------------------------------------------------------------------


@in_language("sh")
def test_commands_work(block, place):
    for words in block.commands:
        code, out, err = place(*planned(_here(place.folder, words)))
        allowed = (0, EXIT_WEIGHTS) if "weight" in err else (0,)  # there are none in this folder
        assert code in allowed, f"bench {' '.join(words)}\n{out}\n{err}"


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


@in_language("json")
def test_json_is_json(block):
    assert json.loads(block.text)


def test_the_pages_name_no_option_or_command_that_does_not_exist():
    """Commands in running text, too: `bench …` between backticks."""
    for page in PAGES:
        for text in re.findall(r"`bench ([^`…]+)`", page.read_text("utf-8")):
            words = shlex.split(text)
            command = typer.main.get_command(cli.app)
            while words and hasattr(command, "commands") and words[0] in command.commands:
                command, words = command.commands[words[0]], words[1:]
            known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            known |= {"--help", "-h"}
            assert {w for w in words if w.startswith("--")} <= known, f"{page.name}: bench {text}"
            assert not hasattr(command, "commands") or not words, f"{page.name}: bench {text}"
