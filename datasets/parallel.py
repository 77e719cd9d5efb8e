"""The same function on many items, in several processes, with the results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

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
    """
    if workers <= 1:
        yield from map(function, items)
        return
    # Spawned, because a forked child inherits the locks of this process's threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    # An interruption is the parent's business; workers would only print tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every core has a worker already; threads of numpy would only wait for each other. It is not
    # loaded yet.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
