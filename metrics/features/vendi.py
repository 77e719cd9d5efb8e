"""Vendi score: the effective number of different volumes in a set.

exp of the entropy of the eigenvalues of K / N, K the cosine similarities of N feature vectors.

Source: Friedman and Dieng 2023, arXiv:2210.02410, definition 3.1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Better, Metric, Result, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.standardise import RECIPE as STANDARDISE
from cerebench.metrics.estimators.standardise import require, standardised
from cerebench.metrics.estimators.subsample import RECIPE as SUBSAMPLE
from cerebench.metrics.estimators.subsample import equal_draws


def vendi(features: NDArray[np.floating]) -> float:
    """Compute the Vendi score of features (N, dim), N >= 1.

    Taken from the (dim, dim) matrix, whose eigenvalues are those of the (N, N) one and zeros.

    Returns:
        Effective number, between 1 (all alike) and min(N, dim).

    Example:
        >>> round(vendi([[1, 0], [0, 1], [2, 0], [0, 5]]), 9), round(vendi([[1, 2], [1, 2]]), 9)
        (2.0, 1.0)
    """
    x = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)
    values = np.linalg.eigvalsh(x.T @ x / len(x))
    values = values[values > 1e-15]
    return float(np.exp(-np.sum(values * np.log(values))))


def vendi_metric(extractor: str) -> Metric:
    """Declare the Vendi score in a feature space, beside that of equally many real volumes."""

    def compute(sets: Sets, view: str) -> Result:
        require(sets, 2, "generated", "train")
        (x, y), notes = standardised(sets, extractor, "generated", "train")
        draws = equal_draws(sets.generated.ids, sets.train.ids, sets.seed)
        parts = jackknife.groups(sets.generated.ids, sets.seed)
        spread = jackknife.TOO_FEW
        if jackknife.leaves_enough(parts):
            left = [vendi(np.delete(x, g, axis=0)) for g in parts]
            spread = jackknife.combine({"generated": left})
        return spread.result(
            float(np.mean([vendi(x[i]) for i, _ in draws])),
            real_value=float(np.mean([vendi(y[j]) for _, j in draws])),
            n_real=len(y),
            n_generated=len(x),
            notes=notes,
            facts={"equal_n": min(len(x), len(y))},
        )

    return Metric(
        name=f"vendi-{extractor}",
        label=f"Vendi[{extractor}]",
        compute=compute,
        better=Better.NEAR_REAL,
        recipe={
            "estimator": "exp entropy of the eigenvalues of the cosine Gram matrix / N",
            "features": extractor,
            "standardise": STANDARDISE,
            "subsample": SUBSAMPLE,
            "reference": "train",
            "uncertainty": {"generated": jackknife.RECIPE},
        },
        source="Friedman and Dieng 2023, arXiv:2210.02410, definition 3.1",
        needs=extractor,
        blind_to="whether volumes look real: it measures variety alone; noise has the most",
    )


VENDI_RADLITE = vendi_metric("radlite-v1")
