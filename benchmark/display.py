"""Progress for people: live on a terminal, one line per interval elsewhere, or silent."""

from __future__ import annotations

import codecs
import re
import time
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeRemaining

from cerebench.reports.formatting import duration

INTERVAL = 15.0  # seconds between two lines of one stage where there is no terminal

_STYLE = {"done": "green", "kept": "dim", "failed": "bold red", "interrupted": "yellow"}


# What a terminal or log without the character gets instead; letters lose their accents.
_PLAIN = {
    "·": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "→": "->",
    "↓": "v",
    "↑": "^",
    "±": "+/-",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "α": "alpha",
    "β": "beta",
    "σ": "sigma",
    "∞": "inf",
    "†": "+",
    "ℓ": "l",
    "•": "*",
    "│": "|",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "─": "-",
}


_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def print_with_replacements(*streams: TextIO) -> None:
    """Let streams replace characters that their encoding lacks, instead of raising.

    Containers and schedulers often give an ASCII log; a run must not end because of a dash.
    """
    codecs.register_error("cerebench", _replacement)
    for stream in streams:
        # A test or a notebook may have put an object there that cannot do this.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="cerebench")


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda power: f"^{power[0].translate(_POWERS)}", text)
    return "".join(map(_plain, text)), error.end


def _plain(character: str) -> str:
    """Return a character in ASCII."""
    if character.isascii() or character in _PLAIN:
        return _PLAIN.get(character, character)
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or character.encode("ascii", "backslashreplace").decode()


class Task(Protocol):
    """A stage at work, as the display sees it."""

    def update(self, done: int, total: int, text: str = "") -> None:
        """Show how far the stage is."""
        ...


class Display(Protocol):
    """Where a run tells what it does."""

    def say(self, text: str) -> None:
        """Print one line."""
        ...

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a stage; its line appears when it ends."""
        ...

    def ended(self, title: str, status: str, seconds: float, reason: str = "") -> None:
        """Print the line of a finished stage."""
        ...


class Plain:
    """One line per stage and per interval: logs, pipes, schedulers.

    Args:
        console: Where lines go.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def ended(self, title: str, status: str, seconds: float, reason: str = "") -> None:
        style = _STYLE.get(status, "")
        line = f"{escape(title)} · [{style}]{status}[/] · {duration(seconds)}"
        self.console.print(line, highlight=False, soft_wrap=True)
        if reason:
            self.console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        yield _PlainTask(self, title)


class _PlainTask:
    def __init__(self, display: Plain, title: str) -> None:
        self._display, self._title = display, title
        self._last = time.monotonic()

    def update(self, done: int, total: int, text: str = "") -> None:
        if time.monotonic() - self._last >= INTERVAL:
            self._last = time.monotonic()
            self._display.say(f"{self._title} · {done}/{total} {text}".rstrip())


class Live(Plain):
    """A progress bar under the lines of finished stages, for terminals."""

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        columns = [
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TimeRemaining(compact=True),
            TextColumn("[dim]{task.fields[text]}"),
        ]
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield _LiveTask(bar, title)


class _LiveTask:
    def __init__(self, bar: Progress, title: str) -> None:
        self._bar = bar
        self._id = bar.add_task(escape(title), total=1, text="")

    def update(self, done: int, total: int, text: str = "") -> None:
        self._bar.update(self._id, completed=done, total=total, text=escape(text))


class Silent:
    """Says nothing; for tests and for machine-readable output."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def ended(self, title: str, status: str, seconds: float, reason: str = "") -> None:
        """Say nothing."""

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        yield _SilentTask()


class _SilentTask:
    def update(self, done: int, total: int, text: str = "") -> None:
        """Show nothing."""


def choose(console: Console, *, silent: bool = False) -> Plain | Silent:
    """Return the display that suits the console."""
    if silent:
        return Silent()
    return Live(console) if console.is_terminal and not console.is_dumb_terminal else Plain(console)
