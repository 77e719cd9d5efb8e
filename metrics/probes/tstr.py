"""TSTR: train on synthetic, test on real.

AUC with which a probe, fitted on generated volumes alone, reads the class of real held-out ones.
The same probe fitted on as many real training volumes stands beside it (TRTR), because more
volumes make a better probe.

Source: Esteban, Hyland, Raetsch 2017, arXiv:1706.02633, section 4.1.
Departures: a logistic probe on radiomic features in place of a recurrent network. Where there are
no held-out cases, the reference is read, which a generator may have been trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.subsample import subsample
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
    generated, train = every.groups("generated"), every.groups("train")
    held_out = every.has("test")
    real = every.groups("test") if held_out else train
    _refuse_tested(generated, real)

    def told(fitted_on: Sequence[Array]) -> list[Array]:
        probe = Probe.fit(fitted_on)
        return [probe.log_probabilities(group) for group in real]

    ours = told(generated)
    if held_out:
        few = [min(len(a), len(b)) for a, b in zip(generated, train, strict=True)]
        rows = [
            subsample(ids, n, sets.seed) for ids, n in zip(every.ids("train"), few, strict=True)
        ]
        theirs = told(taken(train, rows))
    else:
        theirs = out_of_fold(train, every.folds("train"))
    role = "test" if held_out else "train"
    spread = jackknife.combine(
        {
            "generated": every.spread("generated", lambda r: auc(told(taken(generated, r)))),
            "real": every.spread(role, lambda r: auc(taken(ours, r))),
        }
    )
    spread = jackknife.of_share(spread, auc(ours), min(map(len, ours)))
    return spread.result(
        auc(ours),
        real_value=auc(theirs),
        n_real=every.count(role),
        n_generated=every.count("generated"),
        facts={
            "balanced_accuracy": balanced_accuracy(ours),
            "trtr": auc(theirs),
            "tested_on": "held-out cases" if held_out else "the reference",
        },
    )


def _refuse_tested(generated: Sequence[Array], real: Sequence[Array]) -> None:
    """Refuse generated volumes that are the ones that the probe is tested on.

    Raises:
        MetricError: If half of them are, as all of a floor made of held-out cases. Single ones may
            be volumes in which no object is seen, which are all alike.
    """
    tested = {row.tobytes() for group in real for row in group}
    same = sum(row.tobytes() in tested for group in generated for row in group)
    if 2 * same >= sum(map(len, generated)):
        raise MetricError(
            f"{same} generated volumes equal real ones that the probe is tested on, so that it "
            "would be tested on what it was fitted on; other volumes were expected. Use real "
            "cases that the generated ones were not made of."
        )


TSTR = Metric(
    name="tstr",
    label="TSTR AUC",
    compute=_compute,
    better=Better.HIGHER,
    recipe={
        "estimator": "AUC, mean over classes against the others, of real volumes",
        "probe": RECIPE,
        "reference": "train",
        "tested": "held-out cases; without 5 a class the reference",
        "real": f"fitted on as many real cases; without held-out ones {FOLDS}-fold",
        "uncertainty": jackknife.SHARE_RECIPE,
    },
    source="Esteban et al. 2017, arXiv:1706.02633, section 4.1",
    needs="radlite-v2",
    least=5,
    blind_to="what does not help to tell classes apart; copies, which train as well as real cases",
    joint=True,
)
