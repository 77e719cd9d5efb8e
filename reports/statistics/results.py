"""What classifiers predicted for one row of a protocol: the values that tests compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cerebench.reports.statistics.classification import METRICS, THRESHOLD

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """One repeat of one seed.

    Attributes:
        seed: Of the generator; None where a protocol needs none.
        repeat: Number of the repetition.
        scores: (N,) p(positive) of the test cases.
        values: Name of each of ``classification.METRICS`` to its value; NaN where it does not
            exist.
        early: (N,) p(positive) after stage 1, before fine-tuning; None where there is no stage 1.
    """

    seed: int | None
    repeat: int
    scores: Numbers
    values: Mapping[str, float]
    early: Numbers | None = None

    @property
    def one_class(self) -> bool:
        """Whether every case is called the same; no threshold metric then tells classifiers."""
        called = np.asarray(self.scores) > THRESHOLD
        return bool(called.all() or not called.any())


@dataclass(frozen=True)
class Missing:
    """A seed without a usable record; ``status`` and ``reason`` as in ``tidy.Value``."""

    seed: int | None
    status: str
    reason: str


@dataclass(frozen=True, eq=False)
class Result:
    """One row of one protocol.

    Attributes:
        kind: ``method``, ``samples`` or ``protocol`` (needs no samples).
        name: Of the row, as in the table of contents.
        label: To print.
        runs: Every repeat of every seed that has a record.
        missing: The seeds that have none.
        ids: Test cases; with ``patients`` and ``labels`` (0, 1) empty where there is no run.
        data: What stage 1 trained on, such as ``64 generated LGG, 64 real HGG``; several, joined
            by ``or``, where runs differ; empty where there is no stage 1.
        seconds: Training time of all runs; None where there is none.
        device: Where they trained.
        notes: What the protocol left to read.
        recipe_hash: Of the protocol as it ran.
        stage: When predictions were made, where that is not at the end.
    """

    kind: str
    name: str
    label: str
    runs: tuple[ScoredRun, ...] = ()
    missing: tuple[Missing, ...] = ()
    ids: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    data: str = ""
    seconds: float | None = None
    device: str = ""
    notes: tuple[str, ...] = ()
    recipe_hash: str = ""
    stage: str = ""

    @property
    def asked(self) -> int:
        """Number of seeds that should have a record."""
        return len({run.seed for run in self.runs}) + len(self.missing)

    @cached_property
    def before(self) -> Result:
        """The same row as it is judged before fine-tuning; without runs where there is no stage 1.

        Runs are named as they are, so that seeds and repeats stay what they are.
        """
        runs = [
            ScoredRun(run.seed, run.repeat, run.early, scored(self.labels, run.early))
            for run in self.runs
            if run.early is not None
        ]
        return replace(self, runs=tuple(runs))

    def values(self, metric: str) -> list[float]:
        """Return a metric of every run."""
        return [run.values[metric] for run in self.runs]

    @property
    def one_class(self) -> str:
        """Say how many runs call every case the same; empty if none does."""
        constant = sum(run.one_class for run in self.runs)
        runs = f"{len(self.runs)} runs" if len(self.runs) > 1 else "1 run"
        return f"{constant} of {runs} predict one class for every case" * bool(constant)

    def of_class(self) -> tuple[int, int]:
        """Return the number of test cases with label 0 and with label 1."""
        return self.labels.count(0), self.labels.count(1)


def scored(labels: Sequence[int], scores: Numbers) -> dict[str, float]:
    """Return every metric of one run, NaN where it does not exist."""
    return {name: float(of(labels, scores)) for name, of in METRICS.items()}
