"""Run a plan: do what is missing, let no failing stage stop another row, lose nothing finished."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cerebench.benchmark.device import hardware, refuse_imitated_bf16
from cerebench.benchmark.display import Display, Task
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.claims import POLL, Claims, told
from cerebench.benchmark.engine.contents import publish
from cerebench.benchmark.engine.pace import Pace
from cerebench.benchmark.engine.registry import Registries, suite_version
from cerebench.benchmark.engine.rows import Row, stages_of
from cerebench.benchmark.engine.stage import Stage, faults, lines, mended, pending
from cerebench.benchmark.engine.workbench import Workbench
from cerebench.benchmark.errors import Damaged, ForeignFolder, Interrupted, TakenOver, disk_is_full
from cerebench.benchmark.planning.plan import Plan, missing_weights, to_be_trained
from cerebench.benchmark.signals import heard
from cerebench.core.files import sweep
from cerebench.core.machine import commit, versions
from cerebench.core.records.base import shown
from cerebench.core.records.cells import CellFile, Hardware
from cerebench.core.records.claims import Claim
from cerebench.core.records.contents import Contents
from cerebench.core.records.files import read
from cerebench.metrics.base import MissingWeights

CELL = "cell.json"  # what explains the results of a row, beside them


@dataclass
class Outcome:
    """What a run did: stages done now, stages found done, and failures by stage title."""

    contents: Path
    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class _Turn:
    """What became of a row: whether something was done for it, and what others work on."""

    worked: bool = False
    claimed: list[Claim] = field(default_factory=list)


class Runner:
    """Runs the stages of a plan in this process, one after the other.

    Several may run on one folder of results: each takes what no other works on, and ends when all
    is done or has failed.

    Args:
        plan: What to run.
        registries: Where plugins are found.
        cache: Folder of preprocessed volumes and features.
        device: ``auto``, ``cpu`` or a torch device.
        display: Where progress is told.
    """

    def __init__(
        self, plan: Plan, registries: Registries, cache: Path, device: str, display: Display
    ) -> None:
        self.plan, self.display = plan, display
        self.bench = Workbench(plan, registries, cache, device, display, self._asked_to_stop)
        self.outcome = Outcome(plan.table_of_contents)
        self._stop = False
        self._claims = Claims(plan.folder)
        # Records of stages that are not tried again; that read something damaged; that did so and
        # are tried once more.
        self._failed: set[Path] = set()
        self._damaged: set[Path] = set()
        self._again: set[Path] = set()

    def run(self) -> Outcome:
        """Do everything that is missing.

        Raises:
            DatasetError: If a generator was trained on a test case.
            MissingWeights: If a method still to be trained needs a weight file that is not there.
            UsageError: If something would be trained in bf16 on a GPU without it.
            Misfit: If a newer version made a record of this plan.
            Interrupted: If a signal asked to stop; the same command continues.
        """
        plan = self.plan
        self._sweep()
        plan.common.reference.check(plan)
        stages = stages_of(plan.rows)
        todo = pending(stages, plan.folder)
        if lacking := missing_weights(plan, todo):
            raise MissingWeights("\n".join(lacking))
        refuse_imitated_bf16(self.bench.device, to_be_trained(plan, todo))
        self._mend(stages, todo)
        publish(plan)
        self.outcome.kept = len(stages) - len(todo)
        if todo:
            pace = Pace(plan.rows, todo, plan.folder)
            stages_to_do = f"{pace.total} stage{'s' * (pace.total != 1)} to do"
            self.display.say(f"{plan.folder.name} · {stages_to_do}")
            self._began = store.now()
            with heard(self._ask), self._claims:
                self.bench.open()
                while True:
                    turns = [self._row(row, pace) for row in plan.rows]
                    claimed = [claim for turn in turns for claim in turn.claimed]
                    if not claimed:
                        break
                    if not any(turn.worked for turn in turns):
                        self._wait(claimed, pace)
        return self.outcome

    def _asked_to_stop(self) -> bool:
        """Say whether long work should stop: a signal came, or another process has taken over."""
        return self._stop or self._claims.lost()

    def _sweep(self) -> None:
        """Remove what killed runs left half written, here and in the cache."""
        cache = self.bench.cache
        left = sweep(self.plan.folder) + sweep(cache / "features") + sweep(cache, below=False)
        if left:
            self.display.say(f"{left} half-written file{'s' * (left != 1)} of killed runs removed.")

    def _mend(self, stages: Sequence[Stage], todo: Sequence[Stage]) -> None:
        """Say which files are damaged; stages make records anew, this ``cell.json``."""
        folder, reference = self.plan.folder, self.plan.common.reference
        table = store.misfit(self.plan.table_of_contents, Contents)
        for fault in filter(None, (*faults(todo, folder), table, reference.publish(folder))):
            self.display.say(f"{fault}; it is made anew.")
        for row in self.plan.rows:
            if fault := self._cell_fault(row):
                self._describe(row)
                self.display.say(f"{fault}; it is made anew.")
            store.seal(folder / row.folder / CELL, CellFile)
        waiting = {stage.record for stage in todo}
        for line in mended([s for s in stages if s.record not in waiting], folder):
            self.display.say(line)

    def _cell_fault(self, row: Row) -> str:
        """Say what is wrong with the ``cell.json`` of a row that was begun; else nothing."""
        folder, told = self.plan.folder, row.cell()
        path = folder / row.folder / CELL
        if fault := store.misfit(path, CellFile):
            return fault
        found = read(CellFile, path)
        if told and found and found[1].name != told["name"]:
            return f"{path}: name must be {shown(told['name'])}, got {shown(found[1].name)}"
        begun = any((folder / stage.record).exists() for stage in row.stages)
        return f"{path}: it is missing" if told and not found and begun else ""

    def _row(self, row: Row, pace: Pace) -> _Turn:
        """Run what a row lacks; where reading found a file damaged, make it again, and once more.

        Size and times of such a file were as recorded, so that the stage that made it was done.
        """
        turn = self._pass(row, pace)
        if not self._damaged:
            return turn
        self._failed -= self._damaged
        self._again |= self._damaged
        self._damaged.clear()
        return self._pass(row, pace)

    def _pass(self, row: Row, pace: Pace) -> _Turn:
        """Run what a row lacks, line by line, but for what other processes work on."""
        turn = _Turn()
        for line, stages in lines(row.stages):
            # Asked again here: what ran before may have done a stage, or undone one.
            missing = self._open(stages)
            pace.over(s for s in stages if s not in missing or self._blocked(row, s))
            ready = [stage for stage in missing if self._ready(row, stage)]
            taken = {stage: self._claims.take(stage.record) for stage in ready}
            turn.claimed += [claim for claim in taken.values() if claim is not None]
            own = [stage for stage, claim in taken.items() if claim is None]
            # And once more: another process may have ended them before they were taken.
            todo = self._open(own)
            try:
                if todo and not turn.worked:
                    self._describe(row)
                    turn.worked = True
                if todo:
                    number = pace.begin(row.name, todo)
                    self._line(number, f"{row.title} · {line}", todo, pace)
            finally:
                for stage in own:
                    self._claims.free(stage.record)
        return turn

    def _open(self, stages: Iterable[Stage]) -> list[Stage]:
        """Return the stages that are neither done nor have failed since this run began."""
        waiting = [s for s in pending(stages, self.plan.folder) if s.record not in self._failed]
        for stage in waiting:
            failure = store.read_failure(self.plan.folder / stage.record)
            if failure is not None and failure.utc > self._began:
                self._failed.add(stage.record)
                self.outcome.failed[failure.stage] = f"{failure.error}: {failure.reason}"
        return [stage for stage in waiting if stage.record not in self._failed]

    def _ready(self, row: Row, stage: Stage) -> bool:
        """Say whether everything that a stage needs is done."""
        return all(row.stage(name).done(self.plan.folder) for name in stage.needs)

    def _blocked(self, row: Row, stage: Stage) -> bool:
        """Say whether something that a stage needs has failed, or what that needs."""
        needed = [row.stage(name) for name in stage.needs]
        return any(s.record in self._failed or self._blocked(row, s) for s in needed)

    def _wait(self, claimed: Sequence[Claim], pace: Pace) -> None:
        """Wait until one of the stages that other processes work on ends, or one of those dies."""
        with self.display.task(f"waiting for {told(claimed)}") as task:
            while all(self._claims.taken(claim) for claim in claimed):
                if self._stop:
                    raise Interrupted
                task.update(0, 0)
                time.sleep(POLL)

    def _line(self, number: str, title: str, stages: Sequence[Stage], pace: Pace) -> None:
        """Run stages that people see as one; one that fails does not stop the next."""
        began, failures, status = time.perf_counter(), len(self.outcome.failed), "interrupted"
        try:
            with self.display.task(title, pace) as task:
                for done, stage in enumerate(stages):
                    if self._stop:
                        raise Interrupted
                    if len(stages) > 1:
                        task.update(done, len(stages), stage.name.removeprefix(f"{stage.line} "))
                    name = title if len(stages) == 1 else f"{title}, {stage.name}"
                    self._stage(name, stage, task, pace)
            status = "failed" if len(self.outcome.failed) > failures else "done"
            if any(stage.record in self._damaged for stage in stages):
                status = "to be repeated"
        except ForeignFolder:
            status = "failed"
            raise
        except TakenOver:
            status = "taken over by another process"
        finally:
            reasons = dict.fromkeys(list(self.outcome.failed.values())[failures:])
            seconds = time.perf_counter() - began
            self.display.ended(f"{number} · {title}", status, seconds, "\n  ".join(reasons))

    def _stage(self, title: str, stage: Stage, task: Task, pace: Pace) -> None:
        """Run one stage and write its record, or beside it why it failed."""
        record, root = self.plan.folder / stage.record, self.plan.folder
        try:
            made = stage.finish(root, self.bench, task, lambda: self._claims.held(stage.record))
            stage.clean(record, self.plan.out)
        except Interrupted:
            if self._stop:
                raise
            raise TakenOver from None
        except (TakenOver, ForeignFolder):  # of the latter not even a failure is written there
            raise
        except Exception as error:  # the one place that isolates a stage
            if disk_is_full(error):  # the next would fail, too
                raise
            self._failed.add(stage.record)
            if isinstance(error, Damaged) and stage.record not in self._again:
                self._damaged.add(stage.record)
                self.display.say(f"{error} It is made again.")
            else:
                store.write_failure(record, title, error)
                self.outcome.failed[title] = f"{type(error).__name__}: {error}"
            pace.done(stage, failed=True)
        else:
            self.outcome.done += 1
            pace.done(stage, getattr(made, "seconds", None))
        finally:
            self._claims.free(stage.record)

    def _describe(self, row: Row) -> None:
        """Write cell.json: everything that explains a result but is not the result."""
        description = row.cell()
        if description is not None:
            cell = CellFile(
                **description,
                suite_version=suite_version(),
                commit=commit(),
                versions=versions(),
                hardware=Hardware(**hardware(self.bench.device)),
            )
            store.replace(self.plan.folder / row.folder / CELL, cell)

    def _ask(self, number: int) -> None:
        """Stop at the next safe point; at the second signal at once."""
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        self.display.say(f"{signal.Signals(number).name}: stopping at the next safe point.")
