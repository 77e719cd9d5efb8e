"""Do structures have the volumes of real ones? The tests of lesion-volume for every labelled one.

Volumes come with the sets: from label files, or from a table that a segmentation program wrote.
Of several structures the worst counts. The largest of their equivalence p-values is itself a
p-value, of the statement that all of them are equivalent (Berger 1982, intersection-union test).
The transport cost compares all volumes of a case together.

Source: Schuirmann 1987 (TOST); Hedges 1981 (g); transport cost after Jafrasteh 2025 (WASABI), exact
and for any number of cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from cerebench.core.facts import WELCH_P
from cerebench.core.statistics import Group, tost_p, welch_p
from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import require
from cerebench.metrics.voxel.lesion_volume import MARGIN, PARTS, effect, ks_distance, transport

NAMES = {"TOST p": "tost_p", "|g|": "g", "KS": "ks"}  # of facts, one a structure


def structures(sets: Sets) -> tuple[list[str], Array, Array]:
    """Return the names of the structures, and the volumes (m, k) generated and (n, k) real.

    Raises:
        MetricError: If a set has no volumes, the sets have different structures, or one has the
            same volume in every real case.
    """
    ours, real = sets.generated.structures, sets.train.structures
    if not ours or not real:
        raise MetricError(
            "The volumes of structures are not known. Give a table or label files of both sets: "
            "bench evaluate --real-structures PATH --structures PATH."
        )
    if set(ours) != set(real):
        odd = sorted(set(ours) ^ set(real))
        raise MetricError(
            f"Only one of the sets has the structures {', '.join(odd)}. Segment both in one way."
        )
    names = list(real)
    x, y = (np.stack([group[name] for name in names], axis=1) for group in (ours, real))
    flat = [name for name, sd in zip(names, y.std(axis=0), strict=True) if sd == 0]
    if flat:
        raise MetricError(
            f"All real cases have the same volume of {', '.join(flat)}, so that there is no spread "
            "to compare with. Leave it out of the table."
        )
    return names, x, y


def _compute(sets: Sets, view: str) -> Result:
    require(sets, 3, "generated", "train")
    names, ours, real = structures(sets)
    centre, sd = real.mean(axis=0), real.std(axis=0, ddof=1)
    single = {
        "TOST p": lambda x, y, j: tost_p(Group.of(x), Group.of(y), MARGIN * sd[j]),
        "|g|": lambda x, y, j: effect(x, y),
        "KS": lambda x, y, j: ks_distance(x, y),
    }
    if view in single:
        parts = [single[view](ours[:, j], real[:, j], j) for j in range(len(names))]
        facts = _by_structure(NAMES[view], names, parts)
        statistic = _worst(single[view])
    else:
        facts = _by_structure("mean", names, ours.mean(axis=0))
        facts |= _by_structure("sd", names, ours.std(axis=0, ddof=1))
        facts |= _by_structure("real_mean", names, centre) | _by_structure("real_sd", names, sd)

        def transported(x: Array, y: Array) -> float:
            return transport((x - centre) / sd, (y - centre) / sd, sets.seed)

        statistic = transported

    spread = jackknife.Uncertainty()
    if view == "TOST p":  # a p-value has no error of its own
        groups = zip(map(Group.of, ours.T), map(Group.of, real.T), strict=True)
        facts |= _by_structure(WELCH_P, names, [welch_p(x, y) for x, y in groups])
    else:
        spread = jackknife.over_two_sets(
            lambda i, j: statistic(ours[i], real[j]), sets.generated.ids, sets.train.ids, sets.seed
        )
    return spread.result(
        statistic(ours, real), n_real=len(real), n_generated=len(ours), facts=facts
    )


def _worst(single: Callable[[Array, Array, int], float]) -> Callable[[Array, Array], float]:
    return lambda x, y: max(single(x[:, j], y[:, j], j) for j in range(x.shape[1]))


def _by_structure(what: str, names: list[str], values: Array | list[float]) -> dict[str, float]:
    """Return one fact a structure, whose name is made a slug; equal slugs get their number."""
    words = [re.sub(r"\W+", "_", name) for name in names]
    if len(set(words)) < len(words) or not all(words):
        words = [f"{number}_{word}" for number, word in enumerate(words, 1)]
    return {f"{what}.{word}": value for word, value in zip(words, values, strict=True)}


STRUCTURE_VOLUME = Metric(
    name="structure-volume",
    label="structures",
    compute=_compute,
    better=Better.LOWER,
    recipe={
        "volumes": "given with the sets: label files or a table",
        "equivalence": f"TOST of Welch, margin {MARGIN} sd of the real volumes",
        "effect": "absolute Hedges g",
        "distribution": "Kolmogorov-Smirnov distance",
        "several_structures": "the largest",
        "transport": "squared 2-Wasserstein distance of vectors of volumes, each standardised with "
        "the real ones, equal numbers",
        "reference": "train",
        "uncertainty": jackknife.RECIPE,
    },
    structures=True,
    source="Schuirmann 1987; Hedges 1981; transport after Jafrasteh 2025",
    views=PARTS,
    least=3,
    blind_to="everything but the sizes of the structures, and errors of the segmentation",
)
