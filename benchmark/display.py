"""Progress for people: live on a terminal, one line per interval elsewhere, or silent."""

from __future__ import annotations

import codecs
import re
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cerebench.reports.formatting import duration

INTERVAL = 15.0  # seconds between two lines of a stage at work where there is no terminal
WIDEST_BAR, NARROWEST_BAR = 40, 8  # columns
LEFT = len("at least about 12.5 h left")  # columns, so that bars keep their width
ECHO = 4  # columns kept free: a "^C" that wraps would move the bars off where they are wiped

_STYLE = {
    "done": "green",
    "kept": "dim",
    "failed": "bold red",
    "interrupted": "yellow",
}  # others have none


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


@dataclass(frozen=True)
class Left:
    """About how many seconds are left.

    Attributes:
        seconds: None where nothing tells yet.
        least: Whether something of which nothing is known comes on top.
    """

    seconds: float | None = None
    least: bool = False

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        return f"{'at least ' * self.least}about {roughly(self.seconds)} left"


@dataclass(frozen=True)
class Position:
    """Where a run is.

    Attributes:
        number: Of the stage at work, from 1.
        total: Number of stages.
        elapsed: Seconds since the run began.
        stage: What is left of the stage at work.
        run: What is left of the run.
    """

    number: int
    total: int
    elapsed: float
    stage: Left
    run: Left


class Task(Protocol):
    """A stage at work, as the display sees it."""

    def update(self, done: int, total: int, text: str = "", part: str = "") -> None:
        """Show how far the stage is.

        Args:
            done: What is done, of ``total``.
            total: How much there is.
            text: More to tell, joined by `` · ``; what has no room is left out.
            part: Which part of the stage is counted; empty where it is all of it.
        """
        ...


class Run(Protocol):
    """The run that a stage belongs to, as the display sees it."""

    def position(self, left: float | None, *, whole: bool) -> Position:
        """Return where the run is.

        Args:
            left: Seconds left by the speed of what the stage counts; None where there is none yet.
            whole: Whether it counts all of the stage.
        """
        ...


class Display(Protocol):
    """Where a run tells what it does."""

    def say(self, text: str) -> None:
        """Print one line."""
        ...

    def task(self, title: str, run: Run | None = None) -> AbstractContextManager[Task]:
        """Open a stage, of a run where there is one; its line appears when it ends."""
        ...

    def ended(self, title: str, status: str, seconds: float, reason: str = "") -> None:
        """Print the line of a finished stage."""
        ...


def roughly(seconds: float) -> str:
    """Format a time that is not known well: seconds, minutes, hours or days.

    Example:
        >>> roughly(7), roughly(48), roughly(660), roughly(9000), roughly(260_000)
        ('7 s', '50 s', '11 min', '2.5 h', '3 days')
    """
    if seconds < 97.5:
        return f"{max(seconds, 1) if seconds < 9.5 else 5 * round(seconds / 5):.0f} s"
    if seconds < 5970:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 47.5:
        return f"{round(2 * hours) / 2 if hours < 10 else round(hours):g} h"
    return f"{hours / 24:.0f} days"


def clock(seconds: float) -> str:
    """Format a time that has passed.

    Example:
        >>> clock(7.9), clock(312), clock(3753)
        ('0:07', '5:12', '1:02:33')
    """
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class _Counted:
    """A stage at work: what was told last, and how fast it goes.

    The speed is that since the first count, because an earlier run may have done what comes before
    it; another part, and a count that falls, begin anew.
    """

    def __init__(self, title: str, run: Run | None) -> None:
        self.title, self._run = title, run
        self.done, self.total, self.text, self.part = 0, 0, "", ""
        self._began = time.monotonic()
        self._first = self._last = (0, self._began)

    def update(self, done: int, total: int, text: str = "", part: str = "") -> None:
        """Take what a task tells."""
        anew = not self.total or (total, part) != (self.total, self.part) or done < self.done
        self.done, self.total, self.text, self.part = done, total, text, part
        self._last = (done, time.monotonic())
        if anew:
            self._first = self._last

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._began

    def position(self) -> tuple[Left, Position | None]:
        """Return what is left of the stage, and where its run is."""
        left = self._left()
        if self._run is None:
            return Left(left, least=bool(self.part)), None
        position = self._run.position(left, whole=not self.part)
        return position.stage, position

    def _left(self) -> float | None:
        (first, began), (done, counted) = self._first, self._last
        if done <= first:
            return None
        expected = (self.total - done) * (counted - began) / (done - first)
        return max(expected - (time.monotonic() - counted), 0.0)


class Plain:
    """One line per stage and per interval: logs, pipes, schedulers.

    Args:
        console: Where lines go.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._told = time.monotonic()

    def say(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def ended(self, title: str, status: str, seconds: float, reason: str = "") -> None:
        style = _STYLE.get(status, "none")
        line = f"{escape(title)} · [{style}]{status}[/] · {duration(seconds)}"
        self.console.print(line, highlight=False, soft_wrap=True)
        if reason:
            self.console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str, run: Run | None = None) -> Iterator[Task]:
        yield _PlainTask(self, _Counted(title, run))

    def tell(self, counted: _Counted) -> None:
        """Print where a stage and its run are, unless such a line is younger than the interval."""
        if time.monotonic() - self._told < INTERVAL:
            return
        self._told = time.monotonic()
        left, at = counted.position()
        words = [counted.title, counted.part, _listed(_count(counted), counted.elapsed, left)]
        if at is not None:
            words.append(_listed(_stage_of(at), at.elapsed, at.run))
        self.say(" · ".join(filter(None, [*words, counted.text])))


def _listed(count: str, elapsed: float, left: Left) -> str:
    return ", ".join(filter(None, (count, clock(elapsed), str(left))))


def _count(counted: _Counted) -> str:
    return f"{counted.done}/{counted.total}" if counted.total else ""


def _stage_of(at: Position) -> str:
    return f"stage {at.number} of {at.total}"


class _PlainTask:
    def __init__(self, display: Plain, counted: _Counted) -> None:
        self._display, self._counted = display, counted

    def update(self, done: int, total: int, text: str = "", part: str = "") -> None:
        self._counted.update(done, total, text, part)
        self._display.tell(self._counted)


class Live(Plain):
    """Bars of the stage and of the run under the lines of finished stages, for terminals."""

    @contextmanager
    def task(self, title: str, run: Run | None = None) -> Iterator[Task]:
        counted = _Counted(title, run)
        bars = _Bars(counted, self.console)
        # Transient: whatever ends the stage, nothing of its bars stays.
        with Screen(get_renderable=bars, console=self.console, transient=True):
            yield counted


@dataclass(frozen=True)
class _Bar:
    """A bar and what stands beside it; it moves to and fro where the total is not known."""

    done: int
    total: int | None
    count: str
    elapsed: str
    left: str


class _Bars:
    """What a terminal shows of a stage at work; made anew at every refresh."""

    def __init__(self, counted: _Counted, console: Console) -> None:
        self._counted, self._console = counted, console

    def __call__(self) -> RenderableType:
        """Return a title, then a bar with count and times of the stage, and one of its run."""
        counted = self._counted
        left, at = counted.position()
        done, total = counted.done, counted.total
        bars = [_Bar(done, total or None, _count(counted), clock(counted.elapsed), str(left))]
        if at is not None:
            left = str(at.run) or "time left not known yet"
            bars.append(_Bar(at.number - 1, at.total, _stage_of(at), clock(at.elapsed), left))
        return Group(self._title(), self._grid(bars))

    def _title(self) -> Text:
        """Return the title and as much of the text as the line has room for."""
        counted, room = self._counted, self._console.width - ECHO
        title = " · ".join(filter(None, (counted.title, counted.part)))
        text = Text(title, no_wrap=True, overflow="ellipsis")
        for item in counted.text.split(" · ") if counted.text else ():
            if text.cell_len + len(" · ") + Text(item).cell_len > room:
                break
            text.append(f" · {item}", style="dim")
        return text

    def _grid(self, bars: Sequence[_Bar]) -> Table:
        """Return the bars under each other, as wide as what stands beside them leaves."""
        beside = max(len(bar.count) for bar in bars) + max(len(bar.elapsed) for bar in bars)
        room = self._console.width - beside - LEFT - ECHO - 2 * 2
        width = min(max(room, NARROWEST_BAR), WIDEST_BAR)
        grid = Table.grid(padding=(0, 2, 0, 0))
        for justify in ("left", "left", "right", "left"):
            grid.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
        for bar in bars:
            words = map(Text, (bar.count, bar.elapsed, bar.left))
            grid.add_row(ProgressBar(bar.total, bar.done, width=width), *words)
        return grid


class Silent:
    """Says nothing; for tests and for machine-readable output."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def ended(self, title: str, status: str, seconds: float, reason: str = "") -> None:
        """Say nothing."""

    @contextmanager
    def task(self, title: str, run: Run | None = None) -> Iterator[Task]:
        yield _SilentTask()


class _SilentTask:
    def update(self, done: int, total: int, text: str = "", part: str = "") -> None:
        """Show nothing."""


def choose(console: Console, *, silent: bool = False) -> Plain | Silent:
    """Return the display that suits the console."""
    if silent:
        return Silent()
    return Live(console) if console.is_terminal and not console.is_dumb_terminal else Plain(console)
