"""Facts about this machine."""

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from cerebench.core import machine


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_cpu_time_tells_this_process_from_others():
    before = machine.cpu_time()
    burn(0.3)
    between = machine.cpu_time()
    work = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    after = machine.cpu_time()
    assert between.own - before.own == pytest.approx(0.3, abs=0.05)
    assert after.own - between.own < 0.3
    # Others may be at work, too.
    assert after.others - between.others > 0.4


def times(**used):
    return SimpleNamespace(**{"user": 0.0, "system": 0.0, "idle": 1000.0, "iowait": 50.0} | used)


def test_only_work_on_the_cores_that_this_process_may_use_counts(monkeypatch):
    cores = [times(user=100.0), times(user=7.0, system=2.0, steal=1.0), times(user=3.0, nice=4.0)]
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda percpu: cores)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    monkeypatch.setattr(machine.time, "process_time", lambda: 5.0)
    assert machine.cpu_time() == machine.CpuTime(own=5.0, others=12.0)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {1, 3}, raising=False)
    assert machine.cpu_time() == machine.CpuTime(own=5.0, others=None)
