"""Signals that ask to stop: Ctrl-C, a scheduler's notice, a terminal that has gone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cerebench.core.machine import STOPPING


@contextmanager
def heard(ask: Callable[[int], None]) -> Iterator[None]:
    """Call ``ask`` with the number of each signal that asks to stop.

    What the system was told to ignore, as by ``nohup``, stays ignored. In a thread that is not the
    main one nothing changes: the program that this runs in handles signals.
    """
    before = {}
    try:
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, lambda number, _: ask(number))
    except ValueError:
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(number: int) -> None:
    """Stop at once, as Ctrl-C does where nothing is at work that could be lost.

    Raises:
        KeyboardInterrupt: Always.
    """
    raise KeyboardInterrupt
