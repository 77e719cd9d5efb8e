"""Can somebody who sees the generated volumes tell which real cases the generator was trained on?

The attack of least effort: a real case is called a member the nearer it lies to a generated
volume. The value is the AUC of training cases against held-out ones: 0.5 if nothing leaks, 1 if
every training case lies nearer than any other.

Source: Hilprecht et al. 2019, PoPETs 2019(4) (Monte Carlo attack); Chen et al. 2020,
arXiv:1909.03935 (nearest generated sample); TPR at a low FPR: Carlini et al. 2022,
arXiv:2112.03570.
Departures: radiomic features or mirrored voxels as the space; no calibration by a second generator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Better, Metric, MetricError, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.memorisation import closeness
from cerebench.metrics.probes.probe import two_class_auc

FPR = 0.01
LEAST = round(1 / FPR)  # non-members below which no FPR of 1 % exists
CHANCE = 0.5


def attack_auc(members: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Compute P(a member lies nearer than a non-member), ties as half.

    Args:
        members: (m,) distances of training cases to the nearest generated volume.
        others: (n,) the same of held-out cases.

    Example:
        >>> attack_auc([1.0, 2.0], [2.0, 3.0])
        0.875
    """
    return two_class_auc(-np.asarray(others), -np.asarray(members))


def true_positive_rate(members: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Compute the share of members found where at most 1 % of non-members are called members.

    Args:
        members: (m,) distances, as above.
        others: (n,), n >= 100; ties are called members only where the bound allows all of them.
    """
    nearest = np.sort(np.asarray(others, np.float64))
    return float(np.mean(np.asarray(members) < nearest[int(FPR * len(nearest) + 1e-9)]))


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 1, "generated")
    require(sets, 2, "train", "test")
    to_train = closeness.distances(sets, "generated", "train", view)
    to_test = closeness.distances(sets, "generated", "test", view)
    members, others = to_train.min(axis=0), to_test.min(axis=0)
    if same := int(np.sum(others == 0)):
        raise MetricError(
            f"{same} held-out cases equal a generated volume, so that they are no non-members; "
            "volumes that were made without them were expected. Use other held-out cases."
        )
    facts: dict[str, float] = {"n_members": len(members), "n_non_members": len(others)}
    notes = list(closeness.notes(sets, view, "generated"))
    if len(others) >= LEAST:
        facts["tpr_at_fpr_01"] = true_positive_rate(members, others)
    else:
        notes.append(
            f"no true-positive rate at 1 % false positives: it needs {LEAST} held-out cases of a "
            f"class, there are {len(others)}"
        )
    value = attack_auc(members, others)
    spread = _spread(sets, to_train, to_test)
    if spread.se is not None:
        spread = jackknife.of_share(spread, value, min(len(members), len(others)))
    return spread.result(
        value,
        real_value=CHANCE,
        n_real=len(members),
        n_generated=len(to_train),
        notes=notes,
        facts=facts,
    )


def _spread(
    sets: Sets, to_train: NDArray[np.floating], to_test: NDArray[np.floating]
) -> jackknife.Uncertainty:
    """Leave out groups of each of the three sets while the others are whole."""
    parts = {
        role: jackknife.groups(getattr(sets, role).ids, sets.seed)
        for role in ("generated", "train", "test")
    }
    if not all(map(jackknife.leaves_enough, parts.values())):
        return jackknife.TOO_FEW
    members, others = to_train.min(axis=0), to_test.min(axis=0)
    return jackknife.combine(
        {
            "generated": [
                attack_auc(*(np.delete(d, g, axis=0).min(axis=0) for d in (to_train, to_test)))
                for g in parts["generated"]
            ],
            "train": [attack_auc(np.delete(members, g), others) for g in parts["train"]],
            "test": [attack_auc(members, np.delete(others, g)) for g in parts["test"]],
        }
    )


MEMBERSHIP = Metric(
    name="membership-inference",
    label="membership AUC",
    compute=_compute,
    better=Better.NEAR_REAL,
    recipe={
        "estimator": "AUC of -d(case, nearest generated), training against held-out cases",
        "fpr": FPR,
        "spaces": closeness.RECIPE,
        "uncertainty": jackknife.SHARE_RECIPE,
    },
    source="Hilprecht et al. 2019, PoPETs 2019(4); Chen et al. 2020, arXiv:1909.03935",
    needs=closeness.EXTRACTOR,
    views=closeness.SPACES,
    blind_to="what stronger attacks, with access to the generator, would find; quality",
    held_out=True,
)
