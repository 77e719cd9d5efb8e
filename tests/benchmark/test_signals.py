"""Signals that ask to stop, wherever they arrive."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cerebench.benchmark import signals
from cerebench.core.machine import STOPPING
from cerebench.datasets.parallel import WorkerKilled, in_order

SLOW_IMPORT = """
import pathlib, time
pathlib.Path("began").touch()
time.sleep(60)
"""
SLOW_TRAINING = """
import pathlib, time
from cerebench.methods.base import MethodInfo
from cerebench.methods.wgan_gp import WGANGP

class Slow(WGANGP):
    info = MethodInfo("slow", 1, "a paper", "none", "Slow")

    def train(self, data, run):
        pathlib.Path("began").touch()
        if pathlib.Path("deaf").exists():
            time.sleep(60)  # never asks whether to stop
        for step in run.phase("wait").steps(10_000):
            time.sleep(0.01)
"""


def start(folder, *arguments, ignore=False):
    # A shell starts what runs in the background with SIGINT ignored, which children inherit.
    command = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command += "signal.signal(signal.SIGHUP, signal.SIG_IGN); " * ignore
    command += "from cerebench.benchmark.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        cwd=folder,
        env={**os.environ, "CEREBENCH_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process):
    limit = time.monotonic() + 90
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_outside_the_stages_ends_in_one_line_and_75(tmp_path, number):
    (tmp_path / "slow.py").write_text(SLOW_IMPORT)
    process = start(tmp_path, "list", "--plugin", "slow.py")
    wait_for(tmp_path / "began", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    assert err == "bench: Stopped. The same command continues where it stopped.\n"
    assert out == ""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_within_a_training_stops_it_at_a_safe_point(bench, number):
    (bench.folder / "slow.py").write_text(SLOW_TRAINING)
    process = start(bench.folder, "run", "tiny.toml", "--methods", "slow", "--plugin", "slow.py")
    wait_for(bench.folder / "began", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert f"{signal.Signals(number).name}: stopping at the next safe point." in out + err
    assert list(bench.folder.glob("runs/*/slow-*/seed-0/train/LGG/checkpoint"))
    assert not list(bench.folder.glob("runs/*/.claims"))


def test_a_second_signal_stops_at_once_what_hears_no_first(bench):
    (bench.folder / "slow.py").write_text(SLOW_TRAINING)
    (bench.folder / "deaf").touch()
    process = start(bench.folder, "run", "tiny.toml", "--methods", "slow", "--plugin", "slow.py")
    wait_for(bench.folder / "began", process)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    assert "Traceback" not in err
    assert not list(bench.folder.glob("runs/*/.claims"))


def test_what_nohup_ignores_stays_ignored(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_IMPORT.replace("60", "2"))
    process = start(tmp_path, "list", "methods", "--plugin", "slow.py", ignore=True)
    wait_for(tmp_path / "began", process)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err  # it went on, and found no plugin in the file
    assert "slow.py" in err


def test_a_worker_that_is_killed_is_one_sentence():
    with pytest.raises(WorkerKilled, match="A process that loaded cases was killed") as told:
        list(in_order(signal.raise_signal, [signal.SIGKILL], 2))
    assert len(str(told.value).splitlines()) == 1


def test_workers_leave_stopping_to_their_parent():
    assert list(in_order(signal.raise_signal, STOPPING, 2)) == [None] * len(STOPPING)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in STOPPING]
    heard = []
    with signals.heard(heard.append):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
    assert [signal.getsignal(number) for number in STOPPING] == before
