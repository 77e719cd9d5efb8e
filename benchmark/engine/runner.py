"""Run a plan: do what is missing, let no failing stage stop another row, lose nothing finished."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cerebench.benchmark.device import hardware, refuse_imitated_bf16
from cerebench.benchmark.display import Display, Task
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.contents import contents
from cerebench.benchmark.engine.pace import Pace
from cerebench.benchmark.engine.registry import Registries, suite_version
from cerebench.benchmark.engine.rows import Row, stages_of
from cerebench.benchmark.engine.stage import Stage, lines, misfits, pending
from cerebench.benchmark.engine.workbench import Workbench
from cerebench.benchmark.errors import ForeignFolder, Interrupted, disk_is_full
from cerebench.benchmark.planning.plan import Plan, missing_weights, to_be_trained
from cerebench.core.machine import commit, versions
from cerebench.core.records.cells import CellFile, Hardware
from cerebench.metrics.base import MissingWeights

CELL = "cell.json"  # what explains the results of a row, beside them


@dataclass
class Outcome:
    """What a run did: stages done now, stages found done, and failures by stage title."""

    contents: Path
    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class Runner:
    """Runs the stages of a plan on this machine, one after the other.

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
        self.bench = Workbench(plan, registries, cache, device, display, lambda: self._stop)
        self.outcome = Outcome(plan.table_of_contents)
        self._stop = False

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
        plan.common.reference.check(plan)
        stages = stages_of(plan.rows)
        todo = pending(stages, plan.folder)
        if lacking := missing_weights(plan, todo):
            raise MissingWeights("\n".join(lacking))
        refuse_imitated_bf16(self.bench.device, to_be_trained(plan, todo))
        self._mend(todo)
        store.replace(plan.table_of_contents, contents(plan))
        plan.common.reference.publish(plan.folder)
        self.outcome.kept = len(stages) - len(todo)
        if todo:
            pace = Pace(plan.rows, todo, plan.folder)
            stages_to_do = f"{pace.total} stage{'s' * (pace.total != 1)} to do"
            self.display.say(f"{plan.folder.name} · {stages_to_do}")
            with self._signals():
                self.bench.open()
                for row in plan.rows:
                    self._row(row, pace)
        return self.outcome

    def _mend(self, todo: Sequence[Stage]) -> None:
        """Say which files do not fit their schema; stages make records anew, this ``cell.json``."""
        for fault in misfits(todo, self.plan.folder):
            self.display.say(f"{fault}; it is made anew.")
        for row in self.plan.rows:
            if fault := store.misfit(self.plan.folder / row.folder / CELL, CellFile):
                self._describe(row)
                self.display.say(f"{fault}; it is made anew.")

    def _row(self, row: Row, pace: Pace) -> None:
        """Run what a row lacks, line by line."""
        folder, described = self.plan.folder, False
        for line, stages in lines(row.stages):
            # Asked again here: what ran before may have done a stage, or undone one.
            ready = [s for s in pending(stages, folder) if self._ready(row, s)]
            if ready and not described:
                self._describe(row)
                described = True
            if ready:
                number = pace.begin(row.name, ready)
                self._line(number, f"{row.title} · {line}", ready, pace)

    def _ready(self, row: Row, stage: Stage) -> bool:
        """Say whether everything that a stage needs is done."""
        return all(row.stage(name).done(self.plan.folder) for name in stage.needs)

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
        except ForeignFolder:
            status = "failed"
            raise
        finally:
            reasons = dict.fromkeys(list(self.outcome.failed.values())[failures:])
            seconds = time.perf_counter() - began
            self.display.ended(f"{number} · {title}", status, seconds, "\n  ".join(reasons))

    def _stage(self, title: str, stage: Stage, task: Task, pace: Pace) -> None:
        """Run one stage and write its record, or beside it why it failed."""
        record = self.plan.folder / stage.record
        try:
            made = stage.finish(self.plan.folder, self.bench, task)
            stage.clean(record, self.plan.out)
        except (Interrupted, ForeignFolder):  # the latter: not even a failure is written there
            raise
        except Exception as error:  # the one place that isolates a stage
            if disk_is_full(error):  # the next would fail, too
                raise
            store.write_failure(record, title, error)
            self.outcome.failed[title] = f"{type(error).__name__}: {error}"
            pace.done(stage, failed=True)
        else:
            self.outcome.done += 1
            pace.done(stage, getattr(made, "seconds", None))

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

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn the first SIGINT or SIGTERM into a stop at the next safe point; the second kills."""

        def ask(number: int, _frame: object) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
            self.display.say(f"{signal.Signals(number).name}: stopping at the next safe point.")

        try:
            before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: the host of this thread handles signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
