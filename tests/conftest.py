"""What holds for every test: threads and workers, fresh random numbers, Ctrl-C that stops.

One thread a worker and as many workers as pay; the global generators are seeded for each test.
"""

import os
import random
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

# Before anything imports numpy or torch: workers share the cores, and sums split by thread differ.
for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
MOST_WORKERS = 8  # each holds about a gigabyte


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be missing or switched off
def pytest_xdist_auto_num_workers(config):
    """Return a worker for each usable core, or none where starting them costs more than it saves.

    One file is as fast in this process, and times of ``tests/perf`` mean nothing beside others.
    """
    files = {Path(argument.split("::")[0]) for argument in config.args}
    alone = len(files) == 1 and all(path.is_file() for path in files)
    if alone or any("perf" in path.parts for path in files):
        return 0
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return 0 if cores == 1 else min(cores, MOST_WORKERS)


class _Presses:
    """Hears every SIGINT of this process, whatever handler ``bench run`` has put in its place.

    ``bench`` ends a run in order at the first SIGINT and returns an exit code, so that pytest sees
    no KeyboardInterrupt. A test that needs a SIGINT sends it to a process of its own.
    """

    def __init__(self, session):
        self._session = session
        self._heard, self._told = socket.socketpair()
        self._heard.setblocking(False)
        self._told.setblocking(False)
        self._before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)

    def close(self):
        signal.set_wakeup_fd(self._before)
        self._heard.close()
        self._told.close()

    def stop_if_any(self):
        """End this test, and pytest with it, if there was a SIGINT since the last call.

        Not by a KeyboardInterrupt: pytest cannot take down ``tmp_path`` after one in a fixture.
        """
        try:
            pressed = signal.SIGINT in self._heard.recv(4096)
        except BlockingIOError:
            return
        if pressed:
            self._session.shouldstop = "Ctrl-C"
            pytest.fail("Ctrl-C was pressed", pytrace=False)


PRESSES = pytest.StashKey[_Presses]()


def pytest_sessionstart(session):
    session.stash[PRESSES] = presses = _Presses(session)
    session.config.add_cleanup(presses.close)


@pytest.fixture(scope="session")
def ctrl_c(request):
    """Return what knows of Ctrl-C; a fixture that runs ``bench`` asks it after each run."""
    return request.session.stash[PRESSES]


def _stop_if_pressed(item):
    try:
        return (yield)
    finally:
        item.session.stash[PRESSES].stop_if_any()


@pytest.fixture(scope="session")
def page_code():
    """Return a function that takes the one code block with a word from a page of docs/."""

    def find(page, word, language="python"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        (block,) = [one for one in blocks if word in one]
        return block

    return find


def _seed_global_generators():
    """Make a test independent of those that its worker happened to run before."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    _seed_global_generators()
    return (yield from _stop_if_pressed(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    return (yield from _stop_if_pressed(item))
