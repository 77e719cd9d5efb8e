"""Classifier two-sample test: can a probe tell generated volumes from real ones?

AUC of generated against as many real training volumes, each read by a probe that was not fitted on
it. 0.5 is what an equal distribution has; copies come out below, because a probe that saw a copy
calls its original real. The probe reads every feature and its square, because a linear one cannot
see a changed spread: 8 volumes repeated eight times have .84 without squares and .92 with them, a
set of half the spread .31 and .995 (phantoms 32^3, 64 against 64, means of 20 sets).

Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545, section 3.
Departures: AUC over five folds in place of the accuracy on one half, which wastes half of few
volumes; the accuracy is a fact.
"""

from __future__ import annotations

import numpy as np

from cerebench.metrics.base import Array, Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require, standardised
from cerebench.metrics.estimators.subsample import subsample
from cerebench.metrics.probes.probe import (
    FEATURES,
    FOLDS,
    LEAST,
    RECIPE,
    balanced_accuracy,
    out_of_fold,
    two_class_auc,
)

CHANCE = 0.5


def with_squares(x: Array) -> Array:
    """Return features (n, dim) with (x^2 - 1) / 2 of each, (n, 2 dim), so that spread is seen."""
    return np.concatenate([x, (x**2 - 1) / 2], axis=1)


def _compute(sets: Sets, view: str) -> Result:
    require(sets, LEAST, "generated", "train")
    groups, notes = standardised(sets, FEATURES, "train", "generated")
    ids = [sets.train.ids, sets.generated.ids]
    count = min(map(len, ids))
    rows = [subsample(names, count, sets.seed) for names in ids]
    chosen = [[names[i] for i in kept] for names, kept in zip(ids, rows, strict=True)]
    # Other folds for either set: copies in the order of their originals would stay in one fold.
    folds = [jackknife.groups(names, sets.seed + k, FOLDS) for k, names in enumerate(chosen)]
    kept = [with_squares(group[r]) for group, r in zip(groups, rows, strict=True)]
    told = out_of_fold(kept, folds)
    real, generated = (np.subtract(*rows.T[::-1]) for rows in told)  # log odds of "generated"
    spread = jackknife.over_two_sets(
        lambda i, j: two_class_auc(real[j], generated[i]), chosen[1], chosen[0], sets.seed
    )
    value = two_class_auc(real, generated)
    if spread.se is not None:
        spread = jackknife.of_share(spread, value, count)
    return spread.result(
        value,
        real_value=CHANCE,
        n_real=count,
        n_generated=count,
        notes=notes,
        facts={"accuracy": balanced_accuracy(told)},
    )


C2ST = Metric(
    name="c2st",
    label="C2ST AUC",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "AUC of generated against as many real, out of fold",
        "folds": FOLDS,
        "probe": {**RECIPE, "squares": "(x^2 - 1) / 2 of each feature beside it"},
        "reference": "train",
        "uncertainty": {**jackknife.SHARE_RECIPE, "probes": "as fitted"},
    },
    source="Lopez-Paz and Oquab 2017, arXiv:1610.06545, section 3",
    needs="radlite-v2",
    least=LEAST,
    blind_to="what radiomic features do not hold: place, turned axes, single modes among many",
)
