"""Downstream records by protocol and row: what classifiers predicted, or why there is nothing.

Protocols record p(positive) of every test case; AUC, F1, accuracy, precision and recall are made
here. A run is one repeat of one seed. The ``shuffled-label`` control is judged by what its
classifier says before fine-tuning, where the right answer is known: labels without meaning teach
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cerebench.core.records.classified import DownstreamRecord, Repeat
from cerebench.core.records.contents import ProtocolCell, ProtocolEntry, ProtocolRow
from cerebench.core.records.rows import Difference
from cerebench.reports.base import RecordedExperiment, ReportError
from cerebench.reports.formatting import first_line, plain
from cerebench.reports.statistics.classification import METRICS
from cerebench.reports.statistics.results import Missing, Result, ScoredRun, scored
from cerebench.reports.values.labels import row_labels
from cerebench.reports.values.tidy import FAILED, NOT_RUN, UNAVAILABLE, broken, stage, unfinished

SHUFFLED = "shuffled-label"
DEFAULT_TEST = "paired_bootstrap"  # one of comparison.TESTS


@dataclass(frozen=True, eq=False)
class ProtocolResults:
    """One protocol with its rows; the facts are those of the table of contents."""

    name: str
    label: str
    version: int
    role: str
    needs_samples: bool
    description: str
    source: str
    preset: str
    config: Mapping[str, Any]
    differences: tuple[Difference, ...]
    results: tuple[Result, ...]

    def find(self, name: str) -> Result | None:
        """Return the row of this name."""
        return next((result for result in self.results if result.name == name), None)


def read_protocols(experiment: RecordedExperiment) -> list[ProtocolResults]:
    """Read the protocols of an experiment, in the order of its table of contents.

    Returns:
        One block a protocol; none for an experiment without protocols. A record whose predictions
        cannot be evaluated counts as failed, with the reason.

    Raises:
        ReportError: If the path of a record leaves the folder, or rows of a protocol were made by
            different recipes.
    """
    contents = experiment.contents
    labels = dict(zip((r.name for r in contents.rows), row_labels(contents.rows), strict=True))
    return [_block(experiment, entry, labels) for entry in contents.downstream]


def _block(
    experiment: RecordedExperiment, entry: ProtocolEntry, labels: Mapping[str, str]
) -> ProtocolResults:
    results = tuple(_result(experiment, entry, row, labels) for row in entry.rows)
    _refuse_mixed_recipes(entry.name, results)
    return ProtocolResults(
        name=entry.name,
        label=plain(entry.label),
        version=entry.version,
        role=entry.role,
        needs_samples=entry.needs_samples,
        description=plain(entry.description),
        source=plain(entry.source),
        preset=entry.preset,
        config=entry.config,
        differences=entry.differences,
        results=results,
    )


def _refuse_mixed_recipes(protocol: str, results: Sequence[Result]) -> None:
    made = {result.recipe_hash: result.label for result in results if result.recipe_hash}
    if len(made) > 1:
        raise ReportError(
            f"The protocol '{protocol}' would hold rows made by different recipes "
            f"({'; '.join(made.values())}). Run both again with one version: bench run."
        )


def _result(
    experiment: RecordedExperiment,
    protocol: ProtocolEntry,
    row: ProtocolRow,
    labels: Mapping[str, str],
) -> Result:
    label = labels.get(row.name, plain(row.label))
    early = protocol.name == SHUFFLED
    if early:
        label = f"{plain(protocol.label)} ({label})"
    records, missing = [], []
    for cell in row.cells:
        record, status, reason = _read(experiment, protocol, row, cell)
        if record is not None and not reason:
            records.append((cell.seed, record))
        else:
            missing.append(Missing(cell.seed, status, reason))
    head = Result(
        row.kind,
        row.name,
        label,
        missing=tuple(missing),
        stage="before fine-tuning" if early else "",
    )
    return _filled(head, records, protocol.name) if records else head


def _read(
    experiment: RecordedExperiment,
    protocol: ProtocolEntry,
    row: ProtocolRow,
    cell: ProtocolCell,
) -> tuple[DownstreamRecord | None, str, str]:
    """Return the record of a seed, or its status and the reason why there is none."""
    record, reason = stage(experiment, cell.record, DownstreamRecord)
    if record is not None:
        return record, FAILED, fault(record, protocol.name)
    if protocol.unavailable:
        return None, UNAVAILABLE, first_line(protocol.unavailable)
    rows = (r for r in experiment.contents.rows if r.name == row.name)
    behind = [c for r in rows for c in r.cells if c.seed == cell.seed]
    if reason := reason or _first(broken(experiment, one) for one in behind):
        return None, FAILED, reason
    if experiment.path(cell.record).with_suffix("").is_dir():
        return None, NOT_RUN, "half-finished, bench run continues it"
    return None, NOT_RUN, _first(unfinished(experiment, one) for one in behind) or NOT_RUN


def _first(texts: Iterator[str]) -> str:
    return next(filter(None, texts), "")


def fault(record: DownstreamRecord, protocol: str = "") -> str:
    """Say why the predictions of a record cannot be evaluated; empty if they can."""
    labels = record.test.labels
    try:
        for repeat in record.repeats:
            METRICS["auc"](labels, _scores(repeat, protocol))
            if repeat.before_finetuning is not None:
                METRICS["auc"](labels, repeat.before_finetuning)
    except ReportError as error:
        return f"its record cannot be evaluated: {first_line(error)}"
    return "" if record.repeats else "its record holds no repeat"


def _scores(repeat: Repeat, protocol: str) -> Sequence[float]:
    """Return the predictions that a protocol is judged by."""
    return (repeat.before_finetuning or ()) if protocol == SHUFFLED else repeat.predictions


def _filled(
    head: Result, records: Sequence[tuple[int | None, DownstreamRecord]], protocol: str
) -> Result:
    """Return a row with the runs of its records, which have one test set."""
    test = records[0][1].test
    runs = []
    for seed, record in records:
        if record.test.ids != test.ids:
            raise ReportError(
                f"{head.label} was tested on different cases by protocol '{protocol}'. Delete its "
                "records and run the experiment again."
            )
        for repeat in record.repeats:
            scores = np.asarray(_scores(repeat, protocol), np.float64)
            values = scored(test.labels, scores)
            predictions = repeat.before_finetuning
            early = None if predictions is None else np.asarray(predictions, np.float64)
            runs.append(ScoredRun(seed, repeat.repeat, scores, values, early))
    every = [record for _, record in records]
    return replace(
        head,
        runs=tuple(runs),
        ids=test.ids,
        patients=test.patients,
        labels=test.labels,
        data=" or ".join(dict.fromkeys(text for record in every for text in _data(record))),
        seconds=sum(record.seconds for record in every),
        device=_joined(record.device for record in every),
        notes=tuple(dict.fromkeys(plain(note) for record in every for note in record.notes)),
        recipe_hash=_joined(record.recipe_hash for record in every),
    )


def _joined(texts: Iterator[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


def _data(record: DownstreamRecord) -> Iterator[str]:
    """Yield what stage 1 of each repeat trained on; nothing where there is no stage 1."""
    for repeat in record.repeats:
        counts = repeat.n.get("pretrain", {})
        made = repeat.n_synthetic.get("pretrain", {})
        parts = []
        for name, n in counts.items():
            generated = made.get(name, 0)
            kinds = {"generated": generated, "real": n - generated}
            parts += [f"{number} {kind} {name}" for kind, number in kinds.items() if number]
        if parts:
            yield ", ".join(parts)
