"""TRTS: train on real, test on synthetic.

AUC of a probe that was fitted on real training volumes and reads the class of generated ones,
near that of real held-out volumes. ``NEAR_REAL``: a generator whose classes are easier to tell
apart than real ones would otherwise beat real data.

Source: Esteban, Hyland, Raetsch 2017, arXiv:1706.02633, section 4.1.
Departures: a logistic probe on radiomic features in place of a recurrent network.
"""

from __future__ import annotations

from collections.abc import Sequence

from cerebench.metrics.base import Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.probes.probe import (
    FOLDS,
    RECIPE,
    Classes,
    Probe,
    auc,
    balanced_accuracy,
    out_of_fold,
    taken,
)


def _compute(sets: Sets, view: str) -> Result:
    every = Classes(sets)
    train, generated = every.groups("train"), every.groups("generated")
    probe = Probe.fit(train)
    told = [probe.log_probabilities(group) for group in generated]
    if every.has("test"):
        real = [probe.log_probabilities(group) for group in every.groups("test")]
    else:
        real = out_of_fold(train, every.folds("train"))

    def without(rows: Sequence[jackknife.Rows]) -> float:
        return auc(taken(told, rows))

    spread = jackknife.combine({"generated": every.spread("generated", without)})
    spread = jackknife.of_share(spread, auc(told), min(map(len, told)))
    return spread.result(
        auc(told),
        real_value=auc(real),
        n_real=len(sets.train),
        n_generated=len(sets.generated),
        facts={"balanced_accuracy": balanced_accuracy(told)},
    )


TRTS = Metric(
    name="trts",
    label="TRTS AUC",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "AUC, mean over classes against the others, of generated volumes",
        "probe": RECIPE,
        "reference": "train",
        "real": f"held-out cases; without 5 a class {FOLDS}-fold cross-validation of train",
        "uncertainty": {"generated": jackknife.SHARE_RECIPE},
    },
    source="Esteban et al. 2017, arXiv:1706.02633, section 4.1",
    needs="radlite-v2",
    least=5,
    blind_to="collapse to one good volume a class; copies",
    joint=True,
)
