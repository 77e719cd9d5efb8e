"""A requirement, how it is judged, and how what came of it is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.markup import escape

from cerebench.benchmark.errors import no_exit

Subject = TypeVar("Subject")

OK, FAILED, NOT_SHOWN = "ok", "failed", "not shown"
_MARKS = {OK: "[green]ok[/]", FAILED: "[bold red]failed[/]", NOT_SHOWN: "[yellow]not shown[/]"}


@dataclass(frozen=True)
class Check:
    """One requirement, whether it is met, and what is wrong or could not be tried.

    Attributes:
        name: The requirement in a few words.
        reason: Empty where it is met.
        outcome: ``ok``, ``failed`` or ``not shown``.
    """

    name: str
    reason: str
    outcome: str


class Broken(AssertionError):
    """A requirement is not met; the message says how to meet it."""


class NotShown(Exception):
    """Whether a requirement is met cannot be told here; the message says why."""


def require(condition: bool, message: str) -> None:
    """Refuse a plugin for which a condition does not hold.

    Raises:
        Broken: With the message.
    """
    if not condition:
        raise Broken(message)


def judge(requirement: Callable[[Subject], None], subject: Subject) -> Check:
    """Try one requirement on a plugin."""
    reason, outcome = "", OK
    try:
        with no_exit():
            requirement(subject)
    except Broken as error:
        reason, outcome = str(error), FAILED
    except NotShown as error:
        reason, outcome = str(error), NOT_SHOWN
    except Exception as error:  # a plugin may fail in any way; each check is isolated and named
        reason, outcome = f"{type(error).__name__}: {error}", FAILED
    return Check(requirement.__name__.replace("_", " "), reason, outcome)


def print_results(name: str, results: list[Check], console: Console) -> None:
    """Print one line per check and the sum."""
    for result in results:
        console.print(f"{_MARKS[result.outcome]} {result.name}", highlight=False)
        if result.reason:
            console.print(f"         {escape(result.reason)}", highlight=False)
    counts = Counter(result.outcome for result in results)
    unknown = f", {counts[NOT_SHOWN]} not shown" if counts[NOT_SHOWN] else ""
    console.print(f"{escape(name)}: {counts[OK]} of {len(results)} checks passed{unknown}")
