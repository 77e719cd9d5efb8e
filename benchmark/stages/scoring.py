"""The score stage: sets of volumes to records, metric by metric, class by class."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.planning.planned import PlannedMetric
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.core import facts
from cerebench.core.records.scored import ScoreRecord, ScoreRow
from cerebench.datasets.base import Dataset, Split
from cerebench.datasets.cache import Prepared, prepare
from cerebench.datasets.parallel import default_workers
from cerebench.metrics.base import (
    Indexed,
    LazyVolumes,
    Metric,
    MetricError,
    Result,
    Sets,
    Volume,
    VolumeSet,
)
from cerebench.metrics.controls import Control
from cerebench.metrics.estimators.floor import fresh_cases

if TYPE_CHECKING:
    from cerebench.benchmark.display import Task
    from cerebench.benchmark.engine.rows import JudgedRow
    from cerebench.benchmark.engine.workbench import Workbench
    from cerebench.benchmark.stages.structures import Volumes as Structures

SCORE_SEED = 0  # pairs and groups are the same for all methods


class FreshCases:
    """Real cases beyond those of a split, of a data set that draws them; drawn when first read.

    Args:
        dataset: The data set.
        cache: Where drawn cases are kept.
        features: Extraction for the sets.
    """

    def __init__(self, dataset: Dataset, cache: Path, features: FeatureCache) -> None:
        self._dataset, self._cache, self._features = dataset, cache, features
        self._drawn: dict[int, dict[str, VolumeSet]] = {}

    def of(self, name: str, count: int) -> VolumeSet:
        """Return ``count`` cases of a class; none of a data set that draws no cases."""
        further = self._dataset.beyond(count) if count else None
        if further is None:
            return VolumeSet([], [])
        if count not in self._drawn:
            self._drawn[count] = self._sets(further)
        return self._drawn[count][name]

    def _sets(self, further: Dataset) -> dict[str, VolumeSet]:
        cases = further.cases()

        @cache
        def prepared() -> Prepared:
            return prepare(further, self._cache, workers=default_workers(len(cases)))

        def volumes(label: int) -> VolumeSet:
            places = [i for i, case in enumerate(cases) if case.label == label]
            ids = [cases[i].id for i in places]
            drawn = LazyVolumes(ids, lambda index: prepared().volume(places[index]))
            return VolumeSet(drawn, ids, self._features)

        return {name: volumes(label) for label, name in enumerate(further.info.classes)}


@dataclass(frozen=True)
class RealSets:
    """The real volumes of one experiment, by class, shared by every row that is scored.

    Attributes:
        train: The reference of every score by class; in a run these are the training cases.
        test: Held-out cases by class, which no generator has seen; sets may be empty.
        pooled: The reference of all classes.
        spacing: Voxel edge lengths (D, H, W), mm.
        features: Extraction for further sets.
        seen: Where the reference is not what generators were trained on: their training volumes by
            class. Metrics that look for copies then take the reference as held out.
        patients: Patient by case id; a case without one is a patient of its own.
        fresh: Further real cases where the data set draws them.
    """

    train: Mapping[str, VolumeSet]
    test: Mapping[str, VolumeSet]
    pooled: VolumeSet
    spacing: tuple[float, float, float]
    features: FeatureCache
    seen: Mapping[str, VolumeSet] = field(default_factory=dict)
    patients: Mapping[str, str] = field(default_factory=dict)
    fresh: FreshCases | None = None

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        split: Split,
        classes: Sequence[str],
        spacing: tuple[float, float, float],
        features: FeatureCache,
        patients: Mapping[str, str],
        sites: Mapping[str, str] | None = None,
        fresh: FreshCases | None = None,
    ) -> RealSets:
        """Take the sets of a prepared dataset and its split; ``sites`` by case id, if known."""

        def subset(ids: Sequence[str], label: int | None) -> VolumeSet:
            order = sorted(prepared.positions(ids))
            chosen = [i for i in order if label is None or prepared.labels[i] == label]
            kept = [prepared.ids[i] for i in chosen]
            volumes = LazyVolumes(kept, lambda index: prepared.volume(chosen[index]))
            scanned = [sites.get(name, "") for name in kept] if sites else ()
            return VolumeSet(volumes, kept, features, sites=scanned)

        return cls(
            train={name: subset(split.train, label) for label, name in enumerate(classes)},
            test={name: subset(split.test, label) for label, name in enumerate(classes)},
            pooled=subset(split.train, None),
            spacing=spacing,
            features=features,
            patients=patients,
            fresh=fresh,
        )

    def sets(self, name: str, generated: VolumeSet, metric: Metric) -> Sets:
        """Return what a metric of one class is computed on."""
        copies = metric.held_out and bool(self.seen)
        further = VolumeSet([], [])
        if metric.as_ratio and self.fresh:
            further = self.fresh.of(name, fresh_cases(len(generated), len(self.test[name])))
        return Sets(
            generated=generated,
            train=self.seen[name] if copies else self.train[name],
            test=self.train[name] if copies else self.test[name],
            pooled=self.pooled,
            seed=SCORE_SEED,
            spacing=self.spacing,
            fresh=further,
        )

    def halved(self) -> tuple[RealSets, dict[str, VolumeSet]]:
        """Split the reference by patient: sets with one half as reference, and the other half."""
        halves = {name: self._halves(volumes) for name, volumes in self.train.items()}
        first = {name: pair[0] for name, pair in halves.items()}
        return replace(self, train=first), {name: pair[1] for name, pair in halves.items()}

    def _halves(self, volumes: VolumeSet) -> tuple[VolumeSet, VolumeSet]:
        owners = [self.patients.get(name, name) for name in volumes.ids]
        patients = sorted(set(owners))
        order = np.random.RandomState(SCORE_SEED).permutation(len(patients))
        chosen = {patients[i] for i in order[: (len(patients) + 1) // 2]}
        inside = [i for i, owner in enumerate(owners) if owner in chosen]
        outside = [i for i, owner in enumerate(owners) if owner not in chosen]
        return part_of(volumes, inside), part_of(volumes, outside)


@dataclass(frozen=True)
class Judged:
    """The volumes of a row by class, and the real sets that they are compared with."""

    real: RealSets
    generated: Mapping[str, VolumeSet]

    def sets(self, metric: Metric) -> dict[str, Sets]:
        """Return what a metric is computed on, by class; a joint one sees all classes in each."""
        found = {name: self.real.sets(name, own, metric) for name, own in self.generated.items()}
        if not metric.joint:
            return found
        none = VolumeSet([], [], self.real.features)
        every = {
            name: found.get(name) or self.real.sets(name, none, metric) for name in self.real.train
        }
        return {name: replace(sets, classes=every) for name, sets in found.items()}


def part_of(whole: VolumeSet, rows: Sequence[int]) -> VolumeSet:
    """Return some volumes of a set, whose features are read out of those of the whole set."""

    def features(_part: VolumeSet, extractor: str, view: str) -> Any:
        found = whole.features(extractor, view)
        return found[list(rows)] if isinstance(found, np.ndarray) else _Part(found, rows)

    ids = [whole.ids[i] for i in rows]
    volumes = LazyVolumes(ids, lambda index: whole[rows[index]])
    structures = {name: sizes[list(rows)] for name, sizes in whole.structures.items()}
    sites = [whole.sites[i] for i in rows] if whole.sites else ()
    return VolumeSet(volumes, ids, features, structures=structures, sites=sites)


class _Part:
    """Some entries of a sequence, read when indexed."""

    def __init__(self, whole: Indexed[Any], rows: Sequence[int]) -> None:
        self._whole, self._rows = whole, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return self._whole[self._rows[index]]


def materialise(volumes: Sequence[Volume]) -> LazyVolumes:
    """Copy lazily made volumes to a temporary file once, so that metrics can read them many times.

    The file has no name and disappears with the result; memory does not grow with the set, because
    volumes are read one at a time and not mapped.
    """
    shape = volumes[0].shape
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the last reference)
    for index in range(len(volumes)):
        file.write(np.ascontiguousarray(volumes[index], dtype=np.float32).data)
    file.flush()

    turn = threading.Lock()

    def read(index: int) -> Volume:
        volume = np.empty(shape, np.float32)
        place, start = volume.data.cast("B"), index * volume.nbytes
        if hasattr(os, "preadv"):
            os.preadv(file.fileno(), [place], start)
        else:  # Windows and older macOS: one position for all readers
            with turn:
                file.seek(start)
                file.readinto(place)
        return volume

    return LazyVolumes([str(i) for i in range(len(volumes))], read)


def volume_set(
    volumes: LazyVolumes,
    features: FeatureCache,
    partners: Sequence[str] = (),
    structures: Structures | None = None,
    expected: Sequence[str] = (),
) -> VolumeSet:
    """Return volumes as a set that metrics can read many times."""
    return VolumeSet(materialise(volumes), volumes.ids, features, partners, structures, expected)


def joined(sets: Iterable[VolumeSet], features: FeatureCache) -> VolumeSet:
    """Return several sets as one."""
    members = [(group, i) for group in sets for i in range(len(group))]
    ids = [group.ids[i] for group, i in members]
    volumes = LazyVolumes(ids, lambda index: members[index][0][members[index][1]])
    return VolumeSet(volumes, ids, features)


def build_control(control: Control, real: RealSets, counts: Mapping[str, int]) -> Judged:
    """Make the sets of a floor or control row, and the real sets that they are scored against.

    Args:
        control: The row.
        real: The real sets of the experiment.
        counts: Volumes asked for by class.
    """
    reference, source = real.halved() if control.halved else (real, real.train)
    if control.seen and real.seen:
        source = real.seen
    generated = {}
    for name, m in counts.items():
        # Without held-out cases the faults are planted in the reference itself.
        held_out = real.test[name] if len(real.test[name]) else real.train[name]
        volumes = control.build(source[name].volumes, held_out.volumes, m, SCORE_SEED)
        ids = [f"{control.name}-{name}-{i}" for i in range(len(volumes))]
        generated[name] = VolumeSet(materialise(volumes), ids, real.features)
    return Judged(reference, generated)


def stages(
    row: JudgedRow, folder: Path, upstream: Mapping[str, Any], needs: tuple[str, ...] = ()
) -> Iterator[Stage]:
    """Return one stage a metric.

    Args:
        row: Whose volumes are scored.
        folder: Where its scores are.
        upstream: What identifies the volumes in a key.
        needs: Stages of the row that come before.
    """
    for planned in row.common.metrics:
        key = row.common.score_key(planned, upstream)
        record = folder / f"{planned.name}@{key[:8]}.json"
        run = partial(_score, row, planned)
        yield Stage(f"score {planned.name}", key, record, run, needs, line="score")


def _score(row: JudgedRow, planned: PlannedMetric, bench: Workbench, task: Task) -> ScoreRecord:
    return score(planned, bench.judged(row))


def score(planned: PlannedMetric, judged: Judged) -> ScoreRecord:
    """Compute a metric of every class and view."""
    return ScoreRecord(
        metric=planned.name,
        metric_version=planned.metric.version,
        recipe=dict(planned.metric.recipe),
        recipe_hash=planned.recipe_hash,
        rows=tuple(
            _row(planned, sets, name, view)
            for name, sets in judged.sets(planned.metric).items()
            for view in planned.metric.views
        ),
    )


def _row(planned: PlannedMetric, sets: Sets, name: str, view: str) -> ScoreRow:
    """Compute one value; a value that cannot exist is a row with its reason."""
    metric = planned.metric
    least = min(len(sets.train), len(sets.generated))
    if planned.unavailable:
        return unavailable(sets, name, view, planned.unavailable)
    if least < metric.least:
        reason = f"needs at least {metric.least} volumes per set"
        return unavailable(sets, name, view, reason)
    try:
        result = metric.compute(sets, view)
    except MetricError as error:
        return unavailable(sets, name, view, str(error))
    return _valued(result, name, view)


def _valued(result: Result, name: str, view: str) -> ScoreRow:
    value = store.finite(result.value)
    return ScoreRow(
        class_=name,
        view=view,
        value=value,
        real_value=store.finite(result.real_value),
        se=store.finite(result.se),
        uncertainty=result.uncertainty,
        replicates={k: tuple(map(store.finite, r)) for k, r in result.replicates.items()},
        n_real=result.n_real,
        n_generated=result.n_generated,
        notes=tuple(result.notes),
        facts=facts.plain(result.facts),
        status="unavailable" if value is None else "ok",
        reason=f"the value is {result.value}" if value is None else "",
    )


def unavailable(sets: Sets, name: str, view: str, reason: str) -> ScoreRow:
    """Return a row without a value, and why it has none."""
    return ScoreRow(
        class_=name,
        view=view,
        value=None,
        real_value=None,
        se=None,
        uncertainty="",
        replicates={},
        n_real=len(sets.train),
        n_generated=len(sets.generated),
        notes=(),
        facts={},
        status="unavailable",
        reason=reason,
    )
