"""The downstream stage: classifiers trained in the harness, and the record of what they predict.

While a protocol runs, a folder beside its future record holds every training it has finished and
the checkpoint of the one at work. A killed run loads the former and continues the latter, so that
it ends with the same predictions; the folder goes when the record is written.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cerebench.benchmark import names
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.errors import BadPrediction
from cerebench.benchmark.planning.planned import PlannedProtocol
from cerebench.benchmark.stages.scoring import materialise
from cerebench.benchmark.stages.training import (
    Cost,
    TrainingData,
    load_networks,
    seeded,
    told,
    train,
)
from cerebench.core.hashing import key_of
from cerebench.core.machine import versions
from cerebench.core.records.classified import DownstreamRecord, TestSet
from cerebench.core.records.classified import Repeat as Repeated
from cerebench.core.records.trained import FitRecord
from cerebench.core.volumes import allocate
from cerebench.datasets.base import Split
from cerebench.datasets.cache import Prepared
from cerebench.metrics.base import LazyVolumes, Volume
from cerebench.metrics.downstream.base import Cases, Learner, Material, Outcome, Repeat

if TYPE_CHECKING:
    from cerebench.benchmark.display import Task
    from cerebench.benchmark.engine.rows import ClassifiedRow
    from cerebench.benchmark.engine.workbench import Workbench

DOWNSTREAM_SEED = 0  # parts and initial weights of the classifiers are the same for all methods
Progress = Callable[[int, int, str, str], None]  # (steps done, steps, text, name of the training)


class HarnessTrainer:
    """Trains the learners of one protocol; satisfies ``metrics.downstream.base.Trainer``.

    Args:
        folder: Where trainings are kept until the protocol's record is written.
        key: Key of that record.
        device: Where to train.
        progress: Told after every step.
        stop: Asked after every step; true means: write a checkpoint and stop.
        say: Told in a line where a checkpoint is damaged.

    Attributes:
        costs: What the trainings took so far, in their order.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        device: torch.device,
        progress: Progress,
        stop: Callable[[], bool],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.device = device
        self.costs: list[FitRecord] = []
        self._folder, self._key = folder, key
        self._progress, self._stop, self._say = progress, stop, say

    def data(self, cases: Cases) -> TrainingData:
        """Return cases as batches on the device."""
        return TrainingData(stacked(cases.volumes), None, cases.labels, cases.ids, self.device)

    def fit(self, learner: Learner, train: Cases, name: str, seed: int) -> None:
        """Train in place, or load what an earlier run has finished.

        Raises:
            Interrupted: When ``stop`` said so; the same call goes on.
            TrainingDiverged: When a logged scalar is not finite.
        """
        for part in name.split("/"):
            if fault := names.name_fault(f"A part of the training '{name}' of a protocol", part):
                raise BadPrediction(f"{fault} Rename it in the protocol's run().")
        store.begin(self._folder)
        folder = self._folder / name
        model, record = folder / "model.safetensors", folder / "record.json"
        done = store.read_record(record, self._key, FitRecord)
        if done is None:
            cost = self._train(learner, train, name, seed)
            files = store.describe_files(folder, [model])
            done = store.write_record(record, self._key, FitRecord(**asdict(cost), files=files))
        else:
            load_networks(learner.nets, model, self.device, done.files[model.name])
        self.costs.append(done)

    def _train(self, learner: Learner, cases: Cases, name: str, seed: int) -> Cost:
        return train(
            learner,
            self.data(cases),
            self._folder / name,
            seed=seed,
            scope=name,
            device=self.device,
            progress=lambda _, step, total, scalars: self._progress(
                step, total, told(scalars), name
            ),
            stop=self._stop,
            key=self._key,
            say=self._say,
        )


def stacked(volumes: Sequence[Volume]) -> NDArray[np.float32]:
    """Copy volumes (C, D, H, W) into one array (N, C, D, H, W), float32.

    It lies in a file without a name, so that memory does not grow with the number of volumes.
    """
    with tempfile.TemporaryFile() as file:
        shape = (len(volumes), *volumes[0].shape)
        allocate(file.fileno(), 4 * math.prod(shape), tempfile.gettempdir())
        array = np.memmap(file, np.float32, "w+", shape=shape)
    for index in range(len(volumes)):
        array[index] = volumes[index]
    return array


def real_cases(prepared: Prepared, ids: Sequence[str]) -> Cases:
    """Return prepared cases in the order of the data set."""
    chosen = sorted(prepared.positions(ids))
    names = tuple(prepared.ids[i] for i in chosen)
    return Cases(
        volumes=LazyVolumes(names, lambda index: prepared.volume(chosen[index])),
        labels=prepared.labels[chosen],
        ids=names,
        patients=tuple(prepared.patients[i] for i in chosen),
    )


def generated_cases(generated: Mapping[str, LazyVolumes]) -> Cases:
    """Join generated volumes, given by class in label order; each is a patient of its own."""
    every = [(volumes, i) for volumes in generated.values() for i in range(len(volumes))]
    names = tuple(f"{c}/{name}" for c, volumes in generated.items() for name in volumes.ids)
    joined = LazyVolumes(names, lambda index: every[index][0][every[index][1]])
    return Cases(
        volumes=materialise(joined),
        labels=np.repeat(np.arange(len(generated)), [len(v) for v in generated.values()]),
        ids=names,
        patients=names,
    )


def material(
    prepared: Prepared,
    split: Split,
    classes: Sequence[str],
    generated: Mapping[str, LazyVolumes] | None,
) -> Material:
    """Return what a protocol may use; development cases are those that train the generators."""
    return Material(
        development=real_cases(prepared, split.train),
        test=real_cases(prepared, split.test),
        synthetic=None if generated is None else generated_cases(generated),
        classes=tuple(classes),
        seed=DOWNSTREAM_SEED,
    )


def run(planned: PlannedProtocol, given: Material, trainer: HarnessTrainer) -> DownstreamRecord:
    """Run a protocol and return its record.

    Raises:
        BadPrediction: If the protocol returns something that is not a probability per test case.
        ProtocolError: If the material does not suffice.
        Interrupted: When asked to stop.
    """
    info = planned.protocol.info
    with seeded(given.seed, info.name, device=trainer.device):
        outcome = planned.protocol.run(given, trainer)
    return DownstreamRecord(
        protocol=info.name,
        version=info.version,
        preset=planned.resolved.preset,
        config=dict(planned.resolved.values),
        recipe_hash=planned.recipe_hash,
        classes=tuple(given.classes),
        positive=given.classes[-1],
        test=TestSet(
            ids=tuple(given.test.ids),
            patients=tuple(given.test.patients),
            labels=tuple(given.test.labels.tolist()),
        ),
        finetune_ids=tuple(outcome.finetune_ids),
        finetune_sha256=key_of(sorted(outcome.finetune_ids)),
        repeats=_repeats(info.name, outcome, len(given.test)),
        parameters=outcome.parameters,
        **_cost(trainer.costs),
        notes=tuple(outcome.notes),
        versions=versions(),
    )


def _repeats(name: str, outcome: Outcome, n_test: int) -> tuple[Repeated, ...]:
    for number, repeat in enumerate(outcome.repeats):
        for scores in filter(None, (repeat.predictions, repeat.before_finetuning)):
            _check_scores(f"{name}, repeat {number}", scores, n_test)
    return tuple(_repeat(number, repeat) for number, repeat in enumerate(outcome.repeats))


def _check_scores(title: str, scores: Sequence[float], n_test: int) -> None:
    if len(scores) != n_test:
        raise BadPrediction(f"{title}: {len(scores)} predictions for {n_test} test cases.")
    wrong = [p for p in scores if not 0 <= p <= 1]  # also true for NaN
    if wrong:
        raise BadPrediction(f"{title}: {wrong[0]} was predicted; probabilities lie in [0, 1].")


def _repeat(number: int, repeat: Repeat) -> Repeated:
    before = repeat.before_finetuning
    return Repeated(
        repeat=number,
        seed=repeat.seed,
        epoch=repeat.epoch,
        validation_auc=store.finite(repeat.validation_auc),
        validation_ids=tuple(repeat.validation_ids),
        n=repeat.n,
        n_synthetic=repeat.n_synthetic,
        before_finetuning=None if before is None else tuple(before),
        predictions=tuple(repeat.predictions),
    )


def _cost(costs: Sequence[FitRecord]) -> dict[str, Any]:
    """Return the cost of all trainings together; predicting is not part of it."""
    return {
        "seconds": math.fsum(cost.seconds for cost in costs),
        "peak_mib": max((cost.peak_mib for cost in costs), default=None),
        "device": ", ".join(sorted({cost.device for cost in costs})),
        "precision": ", ".join(sorted({cost.precision for cost in costs})),
        "threads": torch.get_num_threads(),
    }


def stage(row: ClassifiedRow, planned: PlannedProtocol, upstream: Mapping[str, Any]) -> Stage:
    """Return the stage of one protocol, on the samples of a row or on the data set alone.

    Args:
        row: The row.
        planned: The protocol.
        upstream: What identifies the samples; empty where the protocol needs none.
    """
    key = row.common.protocol_key(planned, upstream)
    record = row.folder / "downstream" / f"{planned.name}@{key[:8]}.json"
    run, needs = partial(_classify, row, planned, key, record), ("sample",) if upstream else ()
    name, line = f"downstream {planned.name}", planned.name
    return Stage(name, key, record, run, needs, line=line, clean=_clean)


def _classify(
    row: ClassifiedRow,
    planned: PlannedProtocol,
    key: str,
    record: Path,
    bench: Workbench,
    task: Task,
) -> DownstreamRecord:
    """Run a protocol on the samples of a row, or on the real cases alone."""
    real = bench.cases
    given = material(bench.prepared, real.split, real.classes, row.volumes(bench))
    work = (bench.folder / record).with_suffix("")
    say = bench.display.say
    trainer = HarnessTrainer(work, key, bench.device, task.update, bench.stop, say)
    return run(planned, given, trainer)


def _clean(record: Path, root: Path) -> None:
    """Remove what a finished protocol left beside its record.

    Args:
        record: The record.
        root: The store, outside of which nothing is removed.
    """
    if (work := record.with_suffix("")).exists():
        store.clear(work, root, "downstream")
