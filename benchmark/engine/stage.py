"""A stage: one step of a row, with its key, the place of its record, and its work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cerebench.benchmark.engine import store
from cerebench.benchmark.errors import TakenOver, no_exit
from cerebench.core.records.base import Misfit, Record

if TYPE_CHECKING:
    from cerebench.benchmark.display import Task
    from cerebench.benchmark.engine.workbench import Workbench


@dataclass(frozen=True)
class Stage:
    """One step of a row.

    Attributes:
        name: Unique in its row; the first word is the kind of its record: ``train LGG``, of which
            there is a class (``cerebench.core.records``).
        key: Identifies the result: a record of another key is not this one's.
        record: Where the record goes, relative to the data set's folder.
        run: The work; returns the record, which the engine writes when it has ended.
        needs: Names of stages of this row that must be done before.
        line: What people see; stages of one line that follow each other are told as one.
        holds: Whether a record with the right key and files still answers what is asked now, given
            the data set's folder.
        left: Files relative to the data set's folder that version 0.1.0 left without a record:
            where there is none and all of them are there, the stage is done.
        clean: Removes what the work left beside its record, given the record and the store.
        mend: Restores damaged files that explain a finished stage but give no number, given the
            data set's folder and the record; says what it did, and what is lost.
    """

    name: str
    key: str
    record: Path
    run: Callable[[Workbench, Task], Record]
    needs: tuple[str, ...] = ()
    line: str = ""
    holds: Callable[[Path, Any], bool] = lambda folder, record: True
    left: tuple[Path, ...] = ()
    clean: Callable[[Path, Path], None] = lambda record, root: None
    mend: Callable[[Path, Any], Iterable[str]] = lambda folder, record: ()

    @property
    def kind(self) -> str:
        """Return the kind of the record."""
        return self.name.partition(" ")[0]

    @property
    def made(self) -> type[Record]:
        """Return the class of the record."""
        return Record.kinds[self.kind]

    def done(self, folder: Path) -> bool:
        """Say whether there is nothing to do, given the data set's folder.

        Raises:
            Misfit: If a newer version did it.
        """
        path = folder / self.record
        record = store.read_record(path, self.key, self.made)
        if record is not None:
            return self.holds(folder, record)
        return (
            bool(self.left) and not path.exists() and all((folder / p).exists() for p in self.left)
        )

    def finish(
        self,
        folder: Path,
        bench: Workbench,
        task: Task,
        held: Callable[[], bool] = lambda: True,
    ) -> Record:
        """Do the work, write its record and return it.

        Args:
            folder: The data set's folder.
            bench: What the work needs.
            task: Where progress is told.
            held: Asked before the record is written: whether no other process has taken over.

        Raises:
            TakenOver: If one has.
            Misfit: If a folder is where the record belongs, or the record does not fit its schema.
            TypeError: If the work returned something else. As in all cases, no record is written.
        """
        path = folder / self.record
        if path.is_dir() and not path.is_symlink():
            raise Misfit(path, "it is a folder where a record belongs. Move it elsewhere")
        with no_exit():
            record = self.run(bench, task)
        if type(record) is not self.made:
            got, expected = type(record).__name__, self.made.__name__
            raise TypeError(f"The stage '{self.name}' returned {got}; expected {expected}.")
        if not held():
            raise TakenOver
        return store.write_record(path, self.key, record)


def mended(stages: Iterable[Stage], folder: Path) -> Iterator[str]:
    """Bring finished stages into the form of this version, and say what was damaged beside them.

    Records of older versions get the hash of themselves.
    """
    sealed = 0
    for stage in stages:
        path = folder / stage.record
        sealed += store.seal(path, stage.made)
        record = store.read_claim(path, stage.key, stage.made)
        yield from stage.mend(folder, record) if record else ()
    if sealed:
        yield (
            f"{sealed} record{'s' * (sealed != 1)} of an older version were given the hash of "
            "their content, by which damage is seen; nothing was computed again."
        )


def lines(stages: Iterable[Stage]) -> Iterator[tuple[str, list[Stage]]]:
    """Yield the stages of a row as people see them: the name of each line, and its stages."""
    for name, told in groupby(stages, key=lambda stage: stage.line or stage.name):
        yield name, list(told)


def pending(stages: Iterable[Stage], folder: Path) -> list[Stage]:
    """Return the stages that are still to be done, given the data set's folder."""
    return [stage for stage in stages if not stage.done(folder)]


def faults(stages: Iterable[Stage], folder: Path) -> Iterator[str]:
    """Say which records of these stages, or files that they vouch for, are damaged or gone.

    Args:
        stages: Those that are not done.
        folder: The data set's folder.
    """
    for stage in stages:
        path = folder / stage.record
        fault, record = store.misfit(path, stage.made), None
        if not fault:
            record = store.read_claim(path, stage.key, stage.made)
        elif not path.is_dir():  # of which the stage itself says that it cannot replace it
            yield fault
        lost = store.damaged(path.parent, getattr(record, "files", {}))
        lost = [name for name in lost if not (path.parent / name).is_dir()]
        if lost:
            more = f" (and {len(lost) - 1} more)" * (len(lost) > 1)
            yield f"{path.parent / lost[0]}{more}: it is missing or not what was recorded"
