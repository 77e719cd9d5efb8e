"""Tidy rows: every value of an experiment, one a row, with what is needed to judge it.

Nothing is dropped: a stage that failed or has not run gives a row for each value that it owed,
with its status and reason. Values are as recorded, unscaled and unrounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cerebench.core.facts import EXPECTED, Fact, is_number
from cerebench.core.records.base import Record
from cerebench.core.records.cells import CellFile, Failure
from cerebench.core.records.rows import CONTROL_KIND, CellEntry
from cerebench.core.records.scored import ScoreRecord, ScoreRow
from cerebench.core.records.trained import SampleRecord, TrainRecord
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import first_line
from cerebench.reports.values import load

Recorded = TypeVar("Recorded", bound=Record)
OK, FAILED, NOT_RUN, UNAVAILABLE = "ok", "failed", "not run", "unavailable"
TRAIN_COSTS = ("train-seconds", "train-cpu-seconds", "peak-mib", "parameters")
DEVICE, SAMPLER = "device", "sampler"  # costs that are words
ALL_CLASSES = "all"


@dataclass(frozen=True)
class Value:
    """One value of one cell or control, or the reason why it is missing.

    Attributes:
        row: Position in the rows of the table of contents.
        kind: ``method``, ``samples`` or ``CONTROL_KIND``; ``role`` is ``floor`` or ``control`` for
            a control, else empty.
        class_: Class, or ``all`` for the cost of a model that serves every class.
        metric: Name of a metric, or of a cost: ``train-seconds``, ``train-cpu-seconds``,
            ``peak-mib``, ``parameters`` (trained ones, per trained instance), ``device`` (of
            training), ``sampler``, ``sample-seconds`` (per volume), ``clip-fraction``,
            ``foreground`` (voxels).
        value: Unscaled, unrounded; None if missing.
        notes: What a metric left to read beside the value; of ``train-seconds`` the warnings.
        facts: Numbers and short strings that a metric recorded beside the value, by name; None in
            records of versions that knew only notes. Of ``train-seconds`` what load the machine
            had.
        real_value: The same statistic of the real set, or what new real volumes would score.
        text: What ``device`` and ``sampler`` have in place of a value, else empty.
        replicates: Set (``generated``, ``real``) to the leave-out values that ``se`` comes from;
            no column of the CSV file.
        se: Standard error of ``value``; ``uncertainty`` says how it was made.
        status: ``ok``, ``failed``, ``not run`` or ``unavailable``; all but ``ok`` have a reason.
        scale: Factor with which tables display the value.
        recipe: Canonical JSON of every field that defines the number.
        device: Where a cost was measured, with precision and threads.
    """

    dataset: str
    size: int
    fingerprint: str
    row: int
    kind: str
    method: str
    label: str
    role: str
    preset: str
    seed: int | None = None
    class_: str = ""
    metric: str = ""
    view: str = ""
    value: float | None = None
    real_value: float | None = None
    se: float | None = None
    uncertainty: str = ""
    n_real: int | None = None
    n_generated: int | None = None
    status: str = OK
    reason: str = ""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Fact | None] | None = field(default_factory=dict)
    better: str = ""
    scale: float = 1.0
    recipe_hash: str = ""
    recipe: str = ""
    device: str = ""
    text: str = ""
    replicates: Mapping[str, Sequence[float | None]] = field(default_factory=dict)


def values(experiment: RecordedExperiment) -> list[Value]:
    """Read every value of an experiment, in the order of its table of contents.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    dataset = experiment.contents.dataset
    all_values: list[Value] = []
    for number, row in enumerate(experiment.contents.rows):
        start = Value(
            dataset=dataset.name,
            size=dataset.size,
            fingerprint=dataset.fingerprint,
            row=number,
            kind=row.kind,
            method=row.name,
            label=row.label,
            role=row.role,
            preset=row.preset,
        )
        if row.kind == CONTROL_KIND:
            all_values.extend(_scores(experiment, start, row.scores, ""))
        for cell in row.cells:
            all_values.extend(_cell(experiment, replace(start, seed=cell.seed), cell))
    return all_values


def _cell(experiment: RecordedExperiment, start: Value, cell: CellEntry) -> Iterator[Value]:
    upstream, begun = broken(experiment, cell), unfinished(experiment, cell)
    yield from _scores(experiment, start, cell.scores, upstream, begun)
    for name, path in cell.train.items():
        record, reason = stage(experiment, path, TrainRecord)
        why = f"train {name}: {reason}" if reason else ""
        yield from _train_costs(replace(start, class_=name), record, why, begun)
    yield from _sampler(experiment, start, cell)
    sampled, _ = stage(experiment, cell.sample, SampleRecord)
    yield from _sample_costs(start, sampled, upstream, experiment.contents.dataset.classes)


def broken(experiment: RecordedExperiment, cell: CellEntry) -> str:
    """Say which training or sampling of a cell failed first and why; empty if none did."""
    for name, path in cell.train.items():
        if reason := stage(experiment, path, TrainRecord)[1]:
            return f"train {name}: {reason}"
    reason = stage(experiment, cell.sample, SampleRecord)[1]
    return f"sample: {reason}" if reason else ""


def unfinished(experiment: RecordedExperiment, cell: CellEntry) -> str:
    """Say which training of a cell was begun and has not ended; empty if none was."""
    for name, path in cell.train.items():
        folder = experiment.path(path).parent
        record, reason = experiment.record(path, TrainRecord)
        if record is None and not reason and (folder / "checkpoint").is_dir():
            return f"training of {name} is half-finished, bench run continues it"
    return ""


def stage(
    experiment: RecordedExperiment, path: str, kind: type[Recorded]
) -> tuple[Recorded | None, str]:
    """Return the record of a stage, or why there is none; None and nothing if it has not run.

    Args:
        experiment: Table of contents with its folder.
        path: Where the record lies; empty where the stage does not exist.
        kind: What it should be.

    Raises:
        ReportError: If the path leaves the folder.
    """
    if not path:
        return None, ""
    record, reason = experiment.record(path, kind)
    if record is not None or reason:
        return record, reason
    parent, _, name = path.rpartition("/")
    failure = name.removesuffix(".json") + ".failure.json" if "@" in name else "failure.json"
    failed, reason = experiment.record(f"{parent}/{failure}" if parent else failure, Failure)
    return None, reason if failed is None else first_line(failed.reason)


def _missing(reason: str, otherwise: str = "") -> dict[str, Any]:
    status = FAILED if reason else NOT_RUN
    return {"value": None, "status": status, "reason": reason or otherwise or NOT_RUN}


def _scores(
    experiment: RecordedExperiment,
    start: Value,
    scores: Mapping[str, str],
    upstream: str,
    begun: str = "",
) -> Iterator[Value]:
    classes = experiment.contents.dataset.classes
    for metric in experiment.contents.metrics:
        owed = replace(
            start,
            metric=metric.name,
            better=metric.better,
            scale=metric.scale,
            recipe_hash=metric.recipe_hash,
            recipe=recipe_json(metric.recipe),
        )
        places = {(name, view) for name in classes for view in metric.views}
        path = scores.get(metric.name)
        record, reason = stage(experiment, path or "", ScoreRecord)
        if record:
            recipe = recipe_json(record.recipe)
            made = replace(owed, recipe_hash=record.recipe_hash, recipe=recipe)
            for row in record.rows:
                places.discard((row.class_, row.view))
                yield _scored(made, row)
        if metric.unavailable:
            lack = {"status": UNAVAILABLE, "reason": first_line(metric.unavailable)}
        elif record:
            lack = _missing("the record holds no value of this class and view")
        else:
            lack = _missing(reason or upstream, begun if path else "not asked for")
        for name in classes:
            for view in metric.views:
                if (name, view) in places:
                    yield replace(owed, class_=name, view=view, **lack)


def _scored(owed: Value, row: ScoreRow) -> Value:
    return replace(
        owed,
        class_=row.class_,
        view=row.view,
        value=row.value,
        real_value=_target(row),
        se=row.se,
        uncertainty=row.uncertainty,
        n_real=row.n_real,
        n_generated=row.n_generated,
        notes=row.notes,
        facts=row.facts,
        status=row.status,
        reason=first_line(row.reason),
        replicates=row.replicates,
    )


def _target(row: ScoreRow) -> float | None:
    """Return what a metric near that of the real set aims at: what new real volumes would score."""
    expected = (row.facts or {}).get(EXPECTED)
    return expected if is_number(expected) else row.real_value


def _train_costs(
    start: Value, record: TrainRecord | None, reason: str, begun: str
) -> Iterator[Value]:
    if record is None:
        for cost in (*TRAIN_COSTS, DEVICE):
            yield replace(start, metric=cost, **_missing(reason, begun))
        return
    threads = record.threads
    device = ", ".join(part for part in (record.device, record.precision) if part)
    yield replace(start, metric=DEVICE, text=device)
    device += f", {threads} thread{'s' * (threads > 1)}" if threads else ""
    start = replace(start, device=device)
    parameters = sum(record.parameters.values())
    amounts = (record.seconds, record.cpu_seconds, record.peak_mib, parameters)
    for cost, amount in zip(TRAIN_COSTS, amounts, strict=True):
        if amount is None:
            yield replace(start, metric=cost, **_missing("", "an older version did not measure it"))
        elif cost == "train-seconds":
            told = {"notes": record.warnings, "facts": load.facts(record)}
            yield replace(start, metric=cost, value=float(amount), **told)
        else:
            yield replace(start, metric=cost, value=float(amount))


def _sampler(experiment: RecordedExperiment, start: Value, cell: CellEntry) -> Iterator[Value]:
    """Yield sampler and network evaluations of a method whose configuration names them."""
    if start.kind != "method":
        return
    file, reason = experiment.record(f"{cell.folder}/cell.json", CellFile)
    start = replace(start, class_=ALL_CLASSES, metric=SAMPLER)
    if reason:
        yield replace(start, **_missing(reason))
    elif file and isinstance(name := file.config.get("sampler"), str):
        yield replace(start, text=f"{name} {file.config.get('sampler_steps') or ''}".strip())


def _sample_costs(
    start: Value, record: SampleRecord | None, reason: str, classes: Sequence[str]
) -> Iterator[Value]:
    start = replace(start, class_=ALL_CLASSES)
    seconds = record.seconds_per_sample if record else None
    if record and seconds is not None:
        device = record.device or ""
        yield replace(start, metric="sample-seconds", value=seconds, device=device)
    elif start.kind == "method":
        yield replace(start, metric="sample-seconds", **_missing(reason))
    measured = {
        "clip-fraction": record.clip_fraction if record else {},
        "foreground": record.foreground if record else {},
    }
    for metric, amounts in measured.items():
        for name in classes if amounts or reason or start.kind == "method" else ():
            amount = {"value": amounts[name]} if name in amounts else _missing(reason)
            yield replace(start, class_=name, metric=metric, **amount)


def recipe_json(recipe: Mapping[str, Any]) -> str:
    """Return a recipe as JSON in one form, so that equal recipes give equal text."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
