"""``bench ladder``: plant defects of known strength in real volumes and ask metrics about them.

Every split deals the cases of each class by patient: some are the reference, some are what a
perfect generator would have made, the rest are held out. Real draws are the second kind as it is,
one a split; the sets of seed k are those of split k with a defect.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from cerebench.benchmark.display import Display
from cerebench.benchmark.engine.contents import metric_entry
from cerebench.benchmark.engine.registry import Registries, suggest, suite_version
from cerebench.benchmark.engine.store import now
from cerebench.benchmark.planning.planned import PlannedMetric, plan_metric
from cerebench.benchmark.planning.source import Source
from cerebench.benchmark.stages.features import FeatureCache, one_thread_each
from cerebench.benchmark.stages.scoring import Judged, RealSets, materialise, score, unavailable
from cerebench.core.errors import UsageError
from cerebench.core.hashing import key_of
from cerebench.core.machine import usable_cores
from cerebench.core.records.data import RecipeEntry
from cerebench.core.records.ladder import (
    Ladder,
    LadderCell,
    LadderColumn,
    LadderData,
    LadderDefect,
    LadderLevel,
    LadderValue,
)
from cerebench.core.records.scored import ScoreRow
from cerebench.datasets.base import Dataset, DatasetError, Split
from cerebench.datasets.cache import Prepared, prepare
from cerebench.datasets.parallel import kills_told, leave_stopping_to_the_parent
from cerebench.metrics.base import Better, LazyVolumes, MissingWeights, VolumeSet
from cerebench.metrics.defects import DEFECTS, Defect, Level, Material
from cerebench.metrics.suites import expand
from cerebench.metrics.verdicts import Value, judge

REFERENCE = 100  # volumes of the reference, where there are as many
LEAST = 12  # cases of a class: four generated ones


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        source: Which data.
        metrics: Names of metrics and suites.
        n: Volumes per class of every set; fewer where a class has under three times as many cases.
        seeds: How often every defect is planted, from seed 0 on.
        draws: Real draws.
        defects: Names of defects; all of them by default.
        plugins: ``--plugin`` files, for the processes that share the work.
        explicit: Whether the metrics were asked for by name, so that missing weights are an error.
    """

    source: Source
    metrics: Sequence[str] = ("core",)
    n: int = 64
    seeds: int = 3
    draws: int = 20
    defects: Sequence[str] = ()
    plugins: Sequence[str] = ()
    explicit: bool = False

    @property
    def planted(self) -> tuple[Defect, ...]:
        """The defects that were asked for.

        Raises:
            UsageError: If a name does not exist.
        """
        known = {defect.name: defect for defect in DEFECTS}
        for name in self.defects:
            if name not in known:
                raise UsageError(suggest("defect", name, list(known)))
        return tuple(d for d in DEFECTS if d.name in (self.defects or known))

    def registries(self) -> Registries:
        """Find the plugins."""
        registries = Registries()
        for target in self.plugins:
            registries.add_plugin(target)
        return registries


@dataclass(frozen=True)
class Planted:
    """One set: a split, and which defect at which position; a real draw has none."""

    split: int
    defect: str = ""
    level: int = 0


class Bench:
    """Builds and scores the sets of one request; every process has its own.

    Args:
        request: What to measure.
        cache: Folder of preprocessed volumes.
        scratch: Folder for the features of sets that nobody will see again.
    """

    def __init__(self, request: Request, cache: Path, scratch: Path) -> None:
        self.request, self.cache = request, cache
        self.registries = request.registries()
        self.features = FeatureCache(scratch, self.registries.extractors)
        self.dataset = request.source.open(self.registries, None, cache)

    @cached_property
    def prepared(self) -> Prepared:
        """The volumes, which somebody prepared before."""
        return prepare(self.dataset, self.cache)

    @cached_property
    def metrics(self) -> tuple[PlannedMetric, ...]:
        """What is measured.

        Raises:
            MissingWeights: If a metric was asked for by name whose weights are missing.
        """
        asked = [plan_metric(name, self.registries) for name in expand(self.request.metrics)]
        lacking = [planned.unavailable for planned in asked if planned.unavailable]
        if lacking and self.request.explicit:
            raise MissingWeights(lacking[0])
        return tuple(planned for planned in asked if not planned.unavailable)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Class to the sizes of its sets.

        Raises:
            DatasetError: If a class has too few cases.
        """
        found = {}
        for name, ids in self._ids.items():
            if len(ids) < LEAST:
                raise DatasetError(
                    f"A ladder needs at least {LEAST} cases a class, and {name} has {len(ids)}. "
                    "Add cases."
                )
            m, r = min(self.request.n, len(ids) // 3), min(REFERENCE, len(ids) // 2)
            found[name] = {"reference": r, "generated": m, "held_out": len(ids) - m - r}
        return found

    @cached_property
    def _ids(self) -> dict[str, list[str]]:
        classes = self.dataset.info.classes
        return {
            name: [c.id for c in self.dataset.cases() if c.label == label]
            for label, name in enumerate(classes)
        }

    @cached_property
    def _patients(self) -> dict[str, str]:
        return {case.id: case.patient for case in self.dataset.cases()}

    @lru_cache(maxsize=2)  # noqa: B019 (a process has one bench, for as long as it lives)
    def split(self, k: int) -> tuple[RealSets, dict[str, Material]]:
        """Deal the cases of each class by patient.

        Returns:
            The real sets, and what defects are made of by class.
        """
        dealt = {name: self._dealt(k, label, name) for label, name in enumerate(self._ids)}
        real = RealSets.of(
            self.prepared,
            Split(tuple(i for part in dealt.values() for i in part[0]),
                  tuple(i for part in dealt.values() for i in part[2])),
            tuple(self._ids),
            self.dataset.spacing,
            self.features,
            self._patients,
        )  # fmt: skip
        materials = {
            name: Material(
                clean=self._read(clean),
                unseen=self._read([*clean, *rest]),
                train=real.train[name],
                others=self._read([i for n, p in dealt.items() if n != name for i in p[1]]),
                spacing=self.dataset.spacing,
                seed=k,
            )
            for name, (_, clean, rest) in dealt.items()
        }
        return real, materials

    def _dealt(self, k: int, label: int, name: str) -> tuple[list[str], list[str], list[str]]:
        """Deal one class by patient: reference, generated, held out.

        The first two have as many cases as ``counts`` says; further cases of a patient who is in
        one of them are left out.
        """
        owned: dict[str, list[str]] = {}
        for case in self._ids[name]:
            owned.setdefault(self._patients[case], []).append(case)
        patients = sorted(owned)
        order = np.random.default_rng([k, label]).permutation(len(patients))
        counts, parts = self.counts[name], ([], [], [])
        wanted = (counts["reference"], counts["generated"])
        for i in order:
            part = next((p for p, n in zip(parts, wanted, strict=False) if len(p) < n), parts[2])
            part.extend(owned[patients[i]])
        reference, generated, held_out = parts
        if len(generated) < wanted[1]:
            raise DatasetError(
                f"The cases of {name} belong to {len(patients)} patients, too few to deal. "
                "Add patients."
            )
        return reference[: wanted[0]], generated[: wanted[1]], held_out

    def _read(self, ids: Sequence[str]) -> LazyVolumes:
        positions = self.prepared.positions(ids)
        return LazyVolumes(list(ids), lambda index: self.prepared.volume(positions[index]))

    def levels(self, defect: Defect) -> list[Level]:
        """Return the levels that all classes can have."""
        each = [defect.levels_for(material) for material in self.split(0)[1].values()]
        return [level for level in defect.levels if all(level in levels for levels in each)]

    def asked(self, defect: str) -> list[PlannedMetric]:
        """Return which metrics are asked about a defect: of copies those that look for them."""
        if not defect:
            return list(self.metrics)
        copies = next(d.copies for d in DEFECTS if d.name == defect)
        return [planned for planned in self.metrics if planned.metric.held_out == copies]

    def score(self, planted: Planted) -> dict[str, tuple[ScoreRow, ...]]:
        """Make a set and score it by every metric that is asked."""
        real, materials = self.split(planted.split)
        defect = next((d for d in DEFECTS if d.name == planted.defect), None)
        generated = {}
        for name, material in materials.items():
            volumes = (
                _as_it_is(material)
                if defect is None
                else self.levels(defect)[planted.level].build(material)
            )
            generated[name] = VolumeSet(materialise(volumes), volumes.ids, self.features)
        judged = Judged(real, generated)
        return {p.name: _tried(p, judged) for p in self.asked(planted.defect)}


def _tried(planned: PlannedMetric, judged: Judged) -> tuple[ScoreRow, ...]:
    """Score a set by one metric; whatever it raises is a reason and stops no other metric."""
    try:
        return score(planned, judged).rows
    except Exception as error:  # of a plugin perhaps, whose author must learn what it was
        reason = f"{type(error).__name__}: {error}"
        return tuple(
            unavailable(sets, name, view, reason)
            for name, sets in judged.sets(planned.metric).items()
            for view in planned.metric.views
        )


def _as_it_is(material: Material) -> LazyVolumes:
    return LazyVolumes([f"{i:05d}" for i in range(material.m)], lambda i: material.clean[i])


_bench: Bench | None = None  # of a process that shares the work


def _begin(request: Request, cache: Path, scratch: Path) -> None:
    import torch

    global _bench
    leave_stopping_to_the_parent()
    torch.set_num_threads(1)
    _bench = Bench(request, cache, scratch)


def _score(planted: Planted) -> tuple[Planted, dict[str, tuple[ScoreRow, ...]]]:
    assert _bench is not None
    return planted, _bench.score(planted)


def of_metric(name: str, cache: Path, display: Display, plugins: Sequence[str] = ()) -> Ladder:
    """Measure one metric on phantoms of 32 voxels, 48 against 100, in about a minute."""
    source = Source("phantom", None, 32)
    request = Request(source, (name,), n=48, seeds=2, plugins=plugins, explicit=True)
    return measure(request, cache, display)[0]


def measure(request: Request, cache: Path, display: Display) -> tuple[Ladder, str]:
    """Measure metrics on planted defects.

    Args:
        request: What to measure.
        cache: Folder of preprocessed volumes.
        display: Where progress is told.

    Returns:
        What was found, and the name of the data set's folder of results.

    Raises:
        DatasetError: If the data cannot be used, or a class has too few cases.
        MissingWeights: If a metric was asked for by name whose weights are missing.
        UsageError: If a name does not exist.
    """
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(request, cache, Path(scratch))
        if not bench.metrics:
            raise UsageError("No metric to measure. Give names or suites with --metrics.")
        planted = {d: bench.levels(d) for d in request.planted if bench.asked(d.name)}
        if not any(planted.values()):
            raise UsageError(
                "None of these metrics is asked about any of these defects: of copies only those "
                "that look for copies are, of the others only the rest. Give other --metrics or "
                "--defects."
            )
        sets = [
            Planted(split, defect.name, level)
            for split in range(request.seeds)
            for defect, levels in planted.items()
            for level in range(len(levels))
        ]
        sets += [Planted(split) for split in range(request.draws)]
        scored = _all(bench, sets, Path(scratch), display)
        fingerprint = bench.prepared.fingerprint
        return _record(bench, planted, scored, fingerprint), _folder(bench.dataset, fingerprint)


def _title(bench: Bench) -> str:
    numbers = "; ".join(
        f"{name} {n['generated']} against {n['reference']}" for name, n in bench.counts.items()
    )
    return f"{bench.dataset.info.label} · ladder · {numbers}"


def _folder(dataset: Dataset, fingerprint: str) -> str:
    return f"{dataset.info.name}-{dataset.size}-{fingerprint[:8]}"


Scored = Mapping[Planted, Mapping[str, tuple[ScoreRow, ...]]]


def _all(bench: Bench, sets: Sequence[Planted], scratch: Path, display: Display) -> Scored:
    """Score all sets, spread over the cores."""
    began, found, title, status = time.perf_counter(), {}, _title(bench), "interrupted"
    try:
        with display.task(title) as task, _spread(bench, sets, scratch) as scored:
            for planted, rows in scored:
                found[planted] = rows
                task.update(len(found), len(sets), planted.defect or "real draw")
        status = "done"
    except Exception:
        status = "failed"
        raise
    finally:
        display.ended(title, status, time.perf_counter() - began)
    return found


@contextmanager
def _spread(
    bench: Bench, sets: Sequence[Planted], scratch: Path
) -> Iterator[Iterator[tuple[Planted, Mapping[str, tuple[ScoreRow, ...]]]]]:
    """Give every set with its scores; an interruption ends at once what was asked for."""
    workers = min(usable_cores(), len(sets))
    if workers == 1:
        yield ((planted, bench.score(planted)) for planted in sets)
        return
    # spawn, because a forked copy of a process with threads of torch may hang
    context, begun = multiprocessing.get_context("spawn"), (bench.request, bench.cache, scratch)
    with one_thread_each():
        pool = ProcessPoolExecutor(workers, context, _begin, begun)
        try:
            with kills_told("scored defects"):
                yield pool.map(_score, sets)
        finally:
            pool.shutdown(cancel_futures=True)


def _record(
    bench: Bench, planted: Mapping[Defect, Sequence[Level]], scored: Scored, fingerprint: str
) -> Ladder:
    request, dataset = bench.request, bench.dataset
    columns = tuple(
        _column(bench, planned, name, view, planted, scored)
        for planned in bench.metrics
        for name in bench.counts
        for view in planned.metric.views
    )
    identity = {
        "fingerprint": fingerprint,
        "metrics": [planned.recipe_hash for planned in bench.metrics],
        "counts": bench.counts,
        "seeds": request.seeds,
        "draws": request.draws,
        "defects": {d.name: [level.label for level in levels] for d, levels in planted.items()},
    }
    recipe = dataset.recipe
    data = LadderData(
        name=dataset.info.name,
        label=dataset.info.label,
        size=dataset.size,
        fingerprint=fingerprint,
        spacing=tuple(dataset.spacing),
        synthetic=dataset.info.synthetic,
        recipe=RecipeEntry(**{**recipe.facts, "id": dataset.recipe_id, "sha256": recipe.sha256}),
        counts=bench.counts,
    )
    return Ladder(
        suite_version=suite_version(),
        utc=now(),
        key=key_of(identity),
        data=data,
        seeds=tuple(range(request.seeds)),
        draws=request.draws,
        metrics=tuple(metric_entry(planned) for planned in bench.metrics),
        defects=tuple(LadderDefect(name=d.name, label=d.label, copies=d.copies) for d in planted),
        columns=columns,
    )


def _column(
    bench: Bench,
    planned: PlannedMetric,
    name: str,
    view: str,
    planted: Mapping[Defect, Sequence[Level]],
    scored: Scored,
) -> LadderColumn:
    request = bench.request

    def values(sets: Sequence[Planted]) -> tuple[tuple[LadderValue, ...], str]:
        """Return the values of some sets, and why the first is missing that is."""
        rows = [
            row
            for one in sets
            for row in scored[one][planned.name]
            if (row.class_, row.view) == (name, view)
        ]
        known = tuple(
            LadderValue(value=row.value, real_value=row.real_value)
            for row in rows
            if row.value is not None
        )
        return known, next((row.reason for row in rows if row.reason), "")

    draws, lacking = values([Planted(split) for split in range(request.draws)])
    cells = []
    for defect, labels in planted.items():
        if planned not in bench.asked(defect.name):
            continue
        levels, reason = [], lacking
        for level, made in enumerate(labels):
            known, missing = values(
                [Planted(split, defect.name, level) for split in range(request.seeds)]
            )
            reason = reason or missing
            levels.append(LadderLevel(label=made.label, values=known))
        cells.append(_cell(defect, tuple(levels), draws, planned.metric.better, reason))
    return LadderColumn(
        metric=planned.name, class_=name, view=view, draws=draws, cells=tuple(cells)
    )


def _cell(
    defect: Defect,
    levels: tuple[LadderLevel, ...],
    draws: Sequence[LadderValue],
    better: Better,
    reason: str,
) -> LadderCell:
    def plain(values: Sequence[LadderValue]) -> list[Value]:
        return [Value(v.value, v.real_value) for v in values]

    verdict = judge(plain(draws), [plain(level.values) for level in levels], better)
    seen = verdict.seen_from if verdict else None
    return LadderCell(
        defect=defect.name,
        verdict=verdict.word if verdict else None,
        reason="" if verdict else reason or "these volumes cannot have it",
        seen_from=None if seen is None else levels[seen].label,
        levels=levels,
    )
