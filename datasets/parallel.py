"""The same function on many items, in several processes, with the results in order."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from cerebench.core.errors import EXIT_INTERNAL, UserError
from cerebench.core.machine import STOPPING

Item = TypeVar("Item")
Result = TypeVar("Result")

# How modules of plugin files begin, which another process cannot import by their name alone.
PLUGIN_FILE = "cerebench_plugin_"
_ITEMS_PER_WORKER = 4  # fewer do not repay the start of a process


def default_workers(items: int) -> int:
    """Return how many processes suit this many items on this machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, items // _ITEMS_PER_WORKER))


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in their order.

    Only a few results wait at a time, so memory does not grow with the number of items. Leaving
    the iteration early, also by an exception, drops what has not begun.

    Args:
        function: Must be picklable for more than one worker.
        items: What to work on.
        workers: Processes; with one, everything happens in this process.

    Raises:
        WorkerKilled: If something outside ended a worker.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    # Spawned, because a forked child inherits the locks of this process's threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(_plugin_files(),)
    )
    waiting: deque[Future[Result]] = deque()
    try:
        with kills_told("loaded cases"):
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class WorkerKilled(UserError):
    """Something outside ended a process of ours in the middle of its work."""

    exit_code = EXIT_INTERNAL


@contextmanager
def kills_told(work: str) -> Iterator[None]:
    """Say in a sentence that a worker was killed.

    Args:
        work: What it did, as 'extracted features'.

    Raises:
        WorkerKilled: If one was.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise WorkerKilled(
            f"A process that {work} was killed; by the system, if memory ran out. Free memory and "
            "run again: what is finished is kept."
        ) from error


def leave_stopping_to_the_parent() -> None:
    """Ignore signals that ask to stop, in a worker, which would only print a traceback.

    A terminal and a scheduler send them to the whole group of processes.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _plugin_files() -> dict[str, str]:
    """Return the file of each module that was loaded from a plugin file."""
    loaded = {name: m for name, m in sys.modules.items() if name.startswith(PLUGIN_FILE)}
    return {name: file for name, m in loaded.items() if (file := getattr(m, "__file__", None))}


class _PluginFiles:
    """Finds the modules of plugin files, so that what they define can be unpickled."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self._files.get(name)
        return importlib.util.spec_from_file_location(name, file) if file else None


def _start_worker(files: Mapping[str, str]) -> None:
    sys.meta_path.append(_PluginFiles(files))
    leave_stopping_to_the_parent()
    # Every core has a worker already; threads of numpy would only wait for each other. It is not
    # loaded yet.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
