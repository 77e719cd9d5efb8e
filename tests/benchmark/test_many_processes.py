"""Several processes at work on one results folder and one cache."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

EXPERIMENT = """
dataset = "phantom"
size = 16
preset = "smoke"
samples_per_class = 4
split = {train = 12, test = 10}
"""
METHODS = ("wgan-gp", "alpha-wgan", "vqgan,wgan-gp", "wgan-gp,alpha-wgan")


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", "from cerebench.benchmark.cli import main; main()"]
    environment = {
        **os.environ,
        "CEREBENCH_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
    return subprocess.Popen(
        [*command, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def run(folder: Path, methods: str) -> subprocess.Popen:
    arguments = ("--methods", methods, "--metrics", "mmd2-kwon,ms-ssim")
    return start(folder, "run", "tiny.toml", *arguments)


def ended(output: str) -> list[str]:
    """Return the stages that a process says it did."""
    done = [line for line in output.splitlines() if " · done · " in line and "/" in line[:8]]
    return [line.split(" · ", 1)[1].rsplit(" · ", 2)[0] for line in done]


def numbers(folder: Path) -> dict[str, list[float]]:
    found = {}
    for path in folder.glob("runs/*/*/seed-0/score/*@*.json"):
        rows = json.loads(path.read_text())["rows"]
        found[str(path.relative_to(folder))] = [row["value"] for row in rows]
    return found


def made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "tiny.toml").write_text(EXPERIMENT)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, list[float]]:
    """Values of one process after the other."""
    folder = made(tmp_path_factory.mktemp("many") / "alone")
    for methods in dict.fromkeys(METHODS):
        out, err = (process := run(folder, methods)).communicate(timeout=300)
        assert process.returncode == 0, out + err
    return numbers(folder)


@pytest.fixture
def together(tmp_path) -> Path:
    return made(tmp_path / "together")


@pytest.mark.slow
def test_eight_runs_on_one_empty_folder_do_everything_once(alone, together):
    processes = [run(together, METHODS[i % len(METHODS)]) for i in range(8)]
    outputs = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    did = Counter(line for out, err in outputs for line in ended(out + err))
    assert len(did) > 3 * 4
    assert set(did.values()) == {1}, did
    assert numbers(together) == alone
    assert not list(together.glob("runs/*/.claims"))
    assert not list(together.glob("runs/**/.*.part"))


@pytest.mark.slow
def test_after_twenty_kills_the_rest_ends_with_the_values_of_one_process(alone, together):
    chance = random.Random(3)
    processes = [run(together, METHODS[i % len(METHODS)]) for i in range(8)]
    kills, limit = 0, time.monotonic() + 600
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < limit
        time.sleep(chance.uniform(0.2, 0.8))
        victim = chance.randrange(8)
        if kills < 20 and processes[victim].poll() is None:
            processes[victim].send_signal(signal.SIGKILL)
            processes[victim].communicate()
            processes[victim] = run(together, METHODS[victim % len(METHODS)])
            kills += 1
    ends = [(process.returncode, *process.communicate()) for process in processes]
    assert [code for code, *_ in ends] == [0] * 8, ends
    assert kills == 20
    assert numbers(together) == alone
    assert not list(together.glob("runs/*/.claims"))


@pytest.mark.slow
def test_samples_are_drawn_by_one_process_while_the_other_waits(together):
    folder = together
    assert run(folder, "wgan-gp").wait(timeout=300) == 0
    (cell,) = folder.glob("runs/*/wgan-gp-*/seed-0")
    drawing = [start(folder, "sample", str(cell.relative_to(folder)), "-n", "40") for _ in range(2)]
    outputs = ["".join(process.communicate(timeout=300)) for process in drawing]
    assert [process.returncode for process in drawing] == [0, 0], outputs
    assert sorted("Nothing to do" in output for output in outputs) == [False, True]
    assert json.loads((cell / "sample/record.json").read_text())["n"] == {"LGG": 40, "HGG": 40}
    assert not list(folder.glob("runs/*/.claims"))
