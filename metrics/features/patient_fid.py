"""FID as ALDM states it (one a patient, averaged) and as its released script computes it (pooled).

Both take axial slices with the modalities as RGB channels. The patient-wise mean compares some
hundred slices with some hundred others in 2048 dimensions: its bias is larger than most
differences, and it rewards copying the partner. On the released numbers the two rank the best two
methods differently, so they are never one column. For reproduction only.

Source: Shaik et al., ALDM, table 1; anatomically-conditioned-LDM,
src/evaluation/test_using_fid_ssim.py.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np

from cerebench.metrics.base import Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import finite_features, require
from cerebench.metrics.features.frechet import Gaussian, frechet_distance, frechet_from_statistics
from cerebench.metrics.features.slice_frechet import by_group
from cerebench.metrics.voxel.paired import partners

EXTRACTOR = "inception-rgb"
BIASED = (
    "biased and pair-dependent: each distance has fewer slices than features; for comparison with "
    "published values of this kind alone"
)


def _patient_wise(sets: Sets, view: str) -> Result:
    places = partners(sets)
    x = finite_features(sets.generated, EXTRACTOR, "generated", view)
    real = {
        role: finite_features(getattr(sets, role), EXTRACTOR, role, view)
        for role in {role for role, _ in places}
    }
    values = np.array([frechet_distance(x[i], real[role][j]) for i, (role, j) in enumerate(places)])
    parts = jackknife.groups(sets.generated.ids, sets.seed)
    spread = jackknife.TOO_FEW
    if jackknife.leaves_enough(parts):
        spread = jackknife.combine({"generated": [np.delete(values, g).mean() for g in parts]})
    donors = len(set(sets.generated.partners))
    return spread.result(
        float(values.mean()),
        n_real=donors,
        n_generated=len(values),
        notes=(BIASED,),
        facts={"distinct_partners": donors},
    )


def _pooled(sets: Sets, view: str) -> Result:
    require(sets, 2, "generated", "train")
    sides = {}
    for role in ("generated", "train"):
        volumes = getattr(sets, role)
        features = finite_features(volumes, EXTRACTOR, role, view)
        sides[role] = by_group(features, volumes.ids, sets.seed, role)
    x, y = (reduce(add, parts) for parts in sides.values())
    return _pooled_error(sides["generated"], x, y).result(
        frechet_from_statistics(y, x), n_real=len(sets.train), n_generated=len(sets.generated)
    )


def _pooled_error(parts: list[Gaussian], x: Gaussian, y: Gaussian) -> jackknife.Uncertainty:
    if len(parts) < 3:
        return jackknife.TOO_FEW
    left = [frechet_from_statistics(y, x - part) for part in parts]
    return jackknife.combine({"generated": left})


_SHARED = {
    "features": EXTRACTOR,
    "standardise": None,
    "slices": "all",
    "uncertainty": {"generated": jackknife.RECIPE},
}
FID_PATIENTWISE = Metric(
    name="fid-patientwise",
    label="FID patient-wise",
    compute=_patient_wise,
    better=Better.LOWER,
    recipe={
        **_SHARED,
        "estimator": "mean over volumes of the Fréchet distance to the partner's slices",
        "pairs": "each volume with its partner",
    },
    family="frechet",
    source="Shaik et al., ALDM, table 1",
    needs=EXTRACTOR,
    views=("axial",),
    least=1,
    blind_to="copies of the partner, which score best, and variety",
    never_bold=True,
)
FID_POOLED_RGB = Metric(
    name="fid-pooled-rgb",
    label="FID pooled RGB",
    compute=_pooled,
    better=Better.LOWER,
    recipe={**_SHARED, "estimator": "Fréchet distance of all slices", "reference": "train"},
    family="frechet",
    source="anatomically-conditioned-LDM, src/evaluation/test_using_fid_ssim.py",
    needs=EXTRACTOR,
    views=("axial",),
    blind_to="intensity, which the stretch of each slice removes; copies, which score 0",
)
