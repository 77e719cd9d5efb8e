"""Runs, means and tests of the downstream protocols as tidy rows, for the CSV file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.statistics.classification import METRICS, summary
from cerebench.reports.statistics.comparison import CLAIM, TESTS
from cerebench.reports.statistics.generators import error
from cerebench.reports.statistics.results import Result
from cerebench.reports.values.downstream import ProtocolResults
from cerebench.reports.values.marks import explanation
from cerebench.reports.values.study import Study, read_study
from cerebench.reports.values.tidy import ALL_CLASSES, OK

if TYPE_CHECKING:
    from pandas import DataFrame

STAGE_1 = "auc-stage-1"  # before fine-tuning
JOINED = "test patients and seeds joined"


def frame(experiment: RecordedExperiment) -> DataFrame | None:
    """Return runs, means and tests as tidy rows; None without protocols.

    Columns that the rows of ``frames.frame`` have too mean the same; what belongs to the protocol
    has columns of its own. ``auc-stage-1`` is the AUC before fine-tuning. ``level`` is ``run``,
    ``mean`` (over runs, with ``se`` and the 95 % interval ``low`` to ``high``) or ``comparison``
    (``value`` is the difference from the reference, by the test of generators and every one of
    ``comparison.TESTS``).

    Raises:
        ReportError: As in ``read_study``.
    """
    import pandas as pd

    protocols = read_study(experiment)
    if protocols is None:
        return None
    dataset = experiment.contents.dataset
    start = {"size": dataset.size, "fingerprint": dataset.fingerprint, "dataset": dataset.name}
    rows = [
        start | row
        for block in protocols.blocks
        for result in block.results
        for row in (*_tidy(protocols, block, result), *_early(protocols, block, result))
    ]
    rows += [
        start | row for block in protocols.experiments for row in _tidy_tests(protocols, block)
    ]
    whole = ["seed", "repeat", "n_real", "family", "n"]
    table = pd.DataFrame(rows)
    return table.astype({name: "Int64" for name in whole if name in table})


def _head(protocols: Study, block: ProtocolResults, result: Result) -> dict[str, Any]:
    rows = protocols.experiment.contents.rows
    preset = next((row.preset for row in rows if row.name == result.name), "")
    names = {"kind": result.kind, "method": result.name, "label": result.label, "preset": preset}
    names |= {"mark": explanation(protocols.marked(block, result)), "status": OK}
    # The role of a row: generators that are compared are methods, as among image metrics.
    names |= {"role": "" if block.role == "experiment" else block.role}
    made = {"protocol": block.name, "protocol_preset": block.preset}
    return names | made | {"class": ALL_CLASSES, "recipe_hash": result.recipe_hash}


def _tidy(protocols: Study, block: ProtocolResults, result: Result) -> Iterator[dict[str, Any]]:
    head = _head(protocols, block, result)
    for lack in result.missing:
        why = {"seed": lack.seed, "status": lack.status, "reason": lack.reason}
        yield from (head | {"level": "run", "metric": metric} | why for metric in METRICS)
    if not result.runs:
        return
    head |= {"n_real": len(result.ids), "device": result.device}
    runs: dict[str, list[float]] = {}
    for run in result.runs:
        place = {"level": "run", "seed": run.seed, "repeat": run.repeat}
        for metric, value in summary(result.labels, run.scores).items():
            runs.setdefault(metric, []).append(value)
            row = head | place | {"metric": metric, "value": value}
            if np.isnan(value):
                row |= {"status": "undefined", "reason": "no case is called so"}
            yield row
    for metric, values in runs.items():
        row = head | {"level": "mean", "metric": metric, "value": float(np.mean(values))}
        if np.isnan(values).any():
            row |= {"status": "undefined", "reason": "no case is called so in a run"}
        elif metric in METRICS:
            row |= _error(result, metric)
        yield row


def _error(result: Result, metric: str) -> dict[str, Any]:
    """Return standard error and 95 % interval of a mean; nothing where they are not known."""
    spread = error(result, metric)
    if spread is None:
        return {}
    low, high = spread.interval
    return {"se": spread.se, "low": low, "high": high, "uncertainty": JOINED}


def _early(protocols: Study, block: ProtocolResults, result: Result) -> Iterator[dict[str, Any]]:
    """Yield the AUC of every run before fine-tuning, and their mean."""
    before = result.before
    if not before.runs:
        return
    head = _head(protocols, block, result) | {"metric": STAGE_1, "device": result.device}
    head |= {"n_real": len(result.ids)}
    for run in before.runs:
        place = {"level": "run", "seed": run.seed, "repeat": run.repeat}
        yield head | place | {"value": run.values["auc"]}
    mean = {"level": "mean", "value": float(np.mean(before.values("auc")))}
    yield head | mean | _error(before, "auc")


def _tidy_tests(protocols: Study, block: ProtocolResults) -> Iterator[dict[str, Any]]:
    reference = protocols.reference(block)
    if reference is None:
        return
    for metric in METRICS:
        for test in (CLAIM, *TESTS):
            for result, verdict in protocols.verdicts(block, metric, test).items():
                head = _head(protocols, block, result) | {"level": "comparison", "metric": metric}
                head |= {"test": test, "reference": reference.name}
                if verdict.test is None:
                    why = {"status": "not tested", "reason": verdict.reason}
                    yield head | why | {"value": verdict.difference}
                else:
                    t = verdict.test
                    ends = {"value": t.difference, "low": t.low, "high": t.high}
                    p = {"p": t.p, "p_holm": verdict.p, "family": verdict.family}
                    yield head | ends | p | {"n": t.n, "unit": t.unit}
