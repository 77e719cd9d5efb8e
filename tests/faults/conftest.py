"""A small finished store to damage, and the matrix of outcomes that the page shows.

Each case tells its outcome in ``user_properties``, so that it reaches the process that collects
them, whatever the number of workers.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/results.md"
BEGIN, END = "<!-- damage: made by tests/faults -->", "<!-- end of damage -->"

METHOD = '''
from dataclasses import dataclass

import torch
from torch import nn

from cerebench.methods.base import Diagnostic, Method, MethodInfo, Preset, setting


@dataclass(frozen=True)
class Config:
    precision: str = setting("fp32", "precision", "[ours: test]")

    def for_size(self, size):
        return self


class Fast(Method):
    """Learns the mean intensity; its samples are noise around what it has learnt."""

    info = MethodInfo("fast", 1, "test", "class", "Fast")
    Config = Config
    presets = {name: Preset(Config(), 16) for name in ("paper", "quick", "smoke")}

    def build(self):
        return {"net": nn.Linear(1, 1)}

    def train(self, data, run):
        net = self.nets["net"]
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        phase = run.phase("only", optimiser=optimiser)
        for step in phase.steps(6):
            images = step.batch(data, 2).images
            loss = (net(step.randn(2, 1)) - images.mean((1, 2, 3, 4))[:, None]).square().mean()
            step.descend(optimiser, loss)
            phase.log(always=True, loss=loss)

    def sample(self, conditions, rngs):
        noise = torch.stack([torch.rand(1, 16, 16, 16, generator=r) for r in rngs])
        return (noise * 2 - 1) * torch.tanh(self.nets["net"].weight.abs() + 0.5).item()

    def diagnose(self, train, test, conditions, rngs):
        learnt = self.nets["net"].weight.item()
        return [Diagnostic("weight", "what was learnt", {"train": [learnt]})]

    def explain(self, volumes):
        return torch.sigmoid(volumes * self.nets["net"].weight.abs())
'''
EXPERIMENT = """
title = "Damaged"
dataset = "phantom"
size = 16
methods = ["fast"]
preset = "smoke"
seeds = [0, 1]
samples_per_class = 4
metrics = ["mmd2-kwon", "nn-ratio"]
protocols = ["real-only"]

[split]
train = 6
test = 4

[set.real-only]
finetune_per_class = 3
"""
OTHER_EXPERIMENT = (
    (
        EXPERIMENT.replace("[0, 1]", "[0]").replace(', "nn-ratio"', "").replace("Damaged", "Other")
    ).partition("protocols")[0]
    + """
[split]
train = 6
test = 4
"""
)
COMMAND = ("run", "damaged.toml", "--plugin", "fast.py:Fast")
OTHER_COMMAND = ("run", "other.toml", "--plugin", "fast.py:Fast")


class Bench:
    """The command line in a folder.

    Args:
        folder: Where it runs; its cache lies there, too.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *arguments) -> tuple[int, str]:
        """Run ``bench``; return its exit code and everything that it printed."""
        from cerebench.benchmark import cli

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("CEREBENCH_CACHE", str(self.folder / "cache"))
            patch.setenv("COLUMNS", "300")
            patch.setattr(sys, "argv", ["bench", *arguments])
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                try:
                    cli.main()
                    code = 0
                except SystemExit as stop:
                    code = stop.code or 0
        return code, out.getvalue()

    def numbers(self) -> tuple[int, str, dict]:
        """Return exit code and text of ``bench report --csv``, and its numbers but for costs.

        A number is value, error and text; a row that has none tells its reason.
        """
        code, text = self("report", "--csv")
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith("bench:")]
        names = ("experiment", "label", "seed", "class", "metric", "view", "protocol", "level")
        found = {}
        for row in csv.DictReader(lines):
            if not (row["metric"] or "").startswith(("train-", "sample-", "device", "peak")):
                told = tuple(row[name] or "" for name in ("value", "se", "text"))
                key = tuple(row.get(name) or "" for name in (*names, "repeat", "test"))
                found[key] = told if any(told) else ("", "", row["reason"] or "")
        return code, text, found


def settle(folder):
    """Let records know the times of copied files, so that size and times vouch for them again."""
    from cerebench.core.records.files import sealed

    for path in folder.rglob("*.json"):
        told = json.loads(path.read_text("utf-8"))
        if "sha256" not in told:
            continue
        for files in (told.get("files", {}), told.get("beside", {})):
            for name, fact in files.items():
                stat = (path.parent / name).stat()
                fact |= {"mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}
        stat = path.stat()
        path.write_text(json.dumps(sealed(told), indent=1) + "\n", "utf-8")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """Run the experiment to its end; in a copy stop the training of seed 0 for the second time."""
    from cerebench.benchmark.engine import runner
    from cerebench.reports.figures import every

    folder = tmp_path_factory.mktemp("faults")
    finished, stopped = folder / "finished", folder / "stopped"
    finished.mkdir()
    (finished / "fast.py").write_text(METHOD)
    (finished / "damaged.toml").write_text(EXPERIMENT)
    (finished / "other.toml").write_text(OTHER_EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(every, "FIGURES", {})  # drawn where a case needs them
        for command in (OTHER_COMMAND, COMMAND):
            code, text = Bench(finished)(*command)
            assert code == 0, text
        shutil.copytree(finished, stopped)
        settle(stopped / "runs")
        shutil.rmtree(next(stopped.glob("runs/*/fast-*/seed-0/train")))
        stopping = runner.Runner._stage

        def stop(self, title, stage, task, pace):
            steps, update = iter(range(2)), task.update

            def count(*told):
                update(*told)
                self._stop = next(steps, None) is None

            task.update = count
            return stopping(self, title, stage, task, pace)

        patch.setattr(runner.Runner, "_stage", stop)
        for _ in range(2):
            code, text = Bench(stopped)(*COMMAND)
            assert code == 75, text
    return folder


@pytest.fixture(scope="session")
def intact(stores):
    """Return the numbers of the store before any damage."""
    code, text, found = Bench(stores / "finished").numbers()
    assert (code, len(found) > 40) == (0, True), text
    return found


@pytest.fixture
def store(stores, tmp_path, monkeypatch):
    """Return a function: name of a store to the bench of a copy, and what chooses its figures."""
    from cerebench.reports.figures import every

    plots = {module.PLOT.name: module.PLOT for module in every.MODULES}
    monkeypatch.setattr(every, "FIGURES", {})

    def draw(*names):
        monkeypatch.setattr(every, "FIGURES", {name: plots[name] for name in names})

    def copy(name):
        shutil.copytree(stores / name, tmp_path / "store", symlinks=True)
        settle(tmp_path / "store" / "runs")
        return Bench(tmp_path / "store"), draw

    return copy


def pytest_runtest_logreport(report):
    """Keep what a case told, in the process that collects the reports."""
    if report.when == "call":
        OUTCOMES.update(tuple(value) for name, value in report.user_properties if name == "fault")


OUTCOMES: dict[tuple[int, str, int, str], str] = {}  # row, kind, column, attack -> outcome


def table() -> str:
    """Return the matrix of outcomes as Markdown."""
    rows = dict.fromkeys(kind for _, kind, _, _ in sorted(OUTCOMES))
    columns = [a for _, a in sorted({(column, attack) for _, _, column, attack in OUTCOMES})]
    found = {(kind, attack): outcome for (_, kind, _, attack), outcome in OUTCOMES.items()}
    lines = ["| file | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        "| " + " | ".join([k, *(found.get((k, a), "") for a in columns)]) + " |" for k in rows
    ]
    return "\n".join(lines) + "\n"


def on_the_page() -> dict:
    """Return the outcomes that the page shows by kind and attack."""
    text = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    if not rows:
        return {}
    head, *rows = rows
    return {(row[0], head[i]): row[i] for row in rows for i in range(1, len(head))}


def pytest_terminal_summary(terminalreporter):
    """Print the matrix; WRITE_GOLDEN=1 in the environment writes that of all cases to the page."""
    if not OUTCOMES:
        return
    terminalreporter.write_sep("=", "what damage does")
    terminalreporter.write_line(table())
    if os.environ.get("WRITE_GOLDEN") == "1" and not terminalreporter.config.option.keyword:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n{table()}{END}{after}", "utf-8")


@pytest.fixture
def told(request):
    """Return a function that keeps the outcome of a case and compares it with the page."""

    def tell(row, kind, column, attack, outcome):
        request.node.user_properties.append(("fault", ((row, kind, column, attack), outcome)))
        if os.environ.get("WRITE_GOLDEN") != "1":
            assert on_the_page().get((kind, attack)) == outcome, f"{PAGE} is out of date"

    return tell
