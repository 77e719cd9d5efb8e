"""Where a run is, and about how long the rest of it takes.

The basis is what stages took: in this run, and before it, where their records tell. Counting
operations as ``bench run --dry-run`` does would itself take a minute of a quickstart.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.benchmark.display import Left, Position
from cerebench.benchmark.engine.stage import Stage, lines
from cerebench.core.records.base import Misfit
from cerebench.core.records.files import read

if TYPE_CHECKING:
    from cerebench.benchmark.engine.rows import Row


class Pace:
    """The stages of a run as people count them, and what they take; satisfies ``display.Run``.

    A stage that has not run is expected to take what others took (their median): those of its kind
    in rows of its name (another class or seed of a method), else the same of other rows, else those
    of its kind. Where there is none of these, what is left is called a least.

    Args:
        rows: The rows of the plan.
        todo: The stages that are to be done.
        folder: The data set's folder, where finished stages have their records.
    """

    def __init__(self, rows: Sequence[Row], todo: Iterable[Stage], folder: Path) -> None:
        asked = {stage.record for stage in todo}
        missing = set(asked)
        self._lines: list[_Line] = []
        self._took: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for row in rows:
            for _, stages in lines(row.stages):
                # Rows of equal settings share theirs, which count once.
                lacking = [stage for stage in stages if stage.record in missing]
                missing -= {stage.record for stage in lacking}
                if lacking:
                    self._lines.append(_Line(row.name, lacking))
                for stage in stages:
                    if stage.record not in asked:
                        self._learn(row.name, stage, _recorded(folder, stage))
        self._began = self._stage_began = time.monotonic()
        self._at = -1

    @property
    def total(self) -> int:
        """Number of stages."""
        return len(self._lines)

    def begin(self, row: str, stages: Sequence[Stage]) -> str:
        """Go to the line of these stages of the row of this name.

        Returns:
            Its number and how many there are: ``9/41``.
        """
        found = next((i for i, line in enumerate(self._lines) if stages[0] in line.stages), None)
        if found is None:  # done before, and undone by what has run since
            found = self._at + 1
            self._lines.insert(found, _Line(row, list(stages)))
        self._at = found
        self._lines[found] = _Line(row, list(stages))  # without those whose needs failed
        self._stage_began = time.monotonic()
        return f"{found + 1}/{self.total}"

    def over(self, stages: Iterable[Stage]) -> None:
        """Take stages as done that this process did not do."""
        records = {stage.record for stage in stages}
        for line in self._lines:
            if any(stage.record in records for stage in line.stages):
                line.stages = [stage for stage in line.stages if stage.record not in records]

    def done(self, stage: Stage, seconds: float | None = None, *, failed: bool = False) -> None:
        """Take a stage of this line as ended.

        Args:
            stage: The stage.
            seconds: What its record says, which counts what earlier runs did of it.
            failed: Whether it failed: what it took then tells nothing.
        """
        line, now = self._lines[self._at], time.monotonic()
        if not failed:
            self._learn(line.row, stage, max(seconds or 0.0, now - self._stage_began))
        line.stages = [other for other in line.stages if other != stage]
        self._stage_began = now

    def position(self, left: float | None, *, whole: bool) -> Position:
        """Return where the run is, as ``display.Run`` says."""
        now = time.monotonic()
        # A terminal asks from a thread of its own, while stages end: what changes is copied.
        line = self._lines[self._at]
        rest_of = [other for other in list(self._lines) if other is not line]
        stages = list(line.stages)
        spent = now - self._stage_began
        guess = None if left is None or line.several or not stages else spent + left
        stage = self._stage_left(line, stages, spent, left, whole) if stages else Left(0.0)
        like = set(_likes(line.row, stages[0])) if guess is not None else set()
        rest = [
            self._expected(other.row, each, like, guess)
            for other in rest_of
            for each in list(other.stages)
        ]
        known = [seconds for seconds in (stage.seconds, *rest) if seconds is not None]
        least = stage.least or len(known) <= len(rest)
        run = Left(sum(known) if known else None, least)
        return Position(self._at + 1, self.total, now - self._began, stage, run)

    def _stage_left(
        self, line: _Line, stages: Sequence[Stage], spent: float, left: float | None, whole: bool
    ) -> Left:
        """Return what is left of a line.

        Of a stage it is told by what it counts, and where that is a part of it, by what the same
        took in rows of this name, too; of several by what each took elsewhere.
        """
        if left is not None and not line.several:
            same = self._took[next(_likes(line.row, stages[0]))]
            if whole or not same:
                return Left(left, least=not whole)
            return Left(max(statistics.median(same) - spent, left))
        each = [self._expected(line.row, stage) for stage in stages]
        if None in each:
            return Left(left, least=left is not None)
        first, *others = [seconds for seconds in each if seconds is not None]
        return Left(max(first - spent, 0.0) + sum(others))

    def _expected(
        self,
        row: str,
        stage: Stage,
        guessed: Collection[tuple[str, str]] = (),
        guess: float | None = None,
    ) -> float | None:
        """Return what a stage may take; ``guess`` is for what is alike to the one at work."""
        for like in _likes(row, stage):
            if self._took[like]:
                return statistics.median(self._took[like])
            if like in guessed:
                return guess
        return None

    def _learn(self, row: str, stage: Stage, seconds: float | None) -> None:
        if seconds is not None:
            for like in _likes(row, stage):
                self._took[like].append(seconds)


@dataclasses.dataclass
class _Line:
    """Stages that people see as one: the name of their row, and those that are still to be done."""

    row: str
    stages: list[Stage]

    def __post_init__(self) -> None:
        self.several = len(self.stages) > 1


def _likes(row: str, stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield what makes stages alike in what they take, the closest first."""
    # Of stages that are told together each does something else; the others differ by class.
    same = stage.name if stage.line else stage.kind
    yield row, same
    yield "", same
    if same != stage.kind:
        yield "", stage.kind


def _recorded(folder: Path, stage: Stage) -> float | None:
    """Return the seconds that the record of a finished stage tells; None where it does not."""
    if "seconds" not in {field.name for field in dataclasses.fields(stage.made)}:
        return None
    try:
        found = read(stage.made, folder / stage.record)
    except Misfit:
        return None
    return getattr(found[1], "seconds", None) if found else None
