"""Patient-wise and pooled FID: each is what it says, they differ, and the first is biased."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.features.frechet import frechet_distance
from cerebench.metrics.features.patient_fid import FID_PATIENTWISE, FID_POOLED_RGB


def slices(n, seed, count=6, dim=20):
    rng = np.random.RandomState(seed)
    return (rng.standard_normal((n, 1, dim)) + rng.standard_normal((n, count, dim))).astype("f4")


def make_sets(generated, train, partners=()):
    def of(rows, prefix, partners=()):
        ids = [f"{prefix}{i}" for i in range(len(rows))]
        return VolumeSet([None] * len(ids), ids, lambda _s, _e, _v: rows, partners)

    real = of(train, "r")
    return Sets(of(generated, "g", partners), real, real, real, 0, (1.0, 1.0, 1.0))


def test_patient_wise_is_the_mean_of_the_pairs_distances():
    x, y = slices(5, 0), slices(4, 1)
    partners = ("r0", "r1", "r2", "r3", "r1")
    result = FID_PATIENTWISE.compute(make_sets(x, y, partners), "axial")
    expected = np.mean([frechet_distance(x[i], y[int(p[1])]) for i, p in enumerate(partners)])
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.facts == {"distinct_partners": 4}
    assert result.n_real == 4


def test_pooled_is_one_distance_of_all_slices():
    x, y = slices(12, 0), slices(14, 1) + 1
    result = FID_POOLED_RGB.compute(make_sets(x, y), "axial")
    expected = frechet_distance(x.reshape(-1, 20), y.reshape(-1, 20))
    assert result.value == pytest.approx(expected, rel=1e-5)


def test_the_patient_wise_form_is_far_above_the_pooled_one_for_equal_distributions():
    x, y = slices(40, 0), slices(40, 1)
    sets = make_sets(x, y, [f"r{i}" for i in range(40)])
    biased = FID_PATIENTWISE.compute(sets, "axial")
    pooled = FID_POOLED_RGB.compute(sets, "axial")
    assert biased.value > 5 * pooled.value
    assert any("biased and pair-dependent" in note for note in biased.notes)


def test_copying_the_partner_scores_best_and_a_shift_raises_both():
    y = slices(12, 1)
    names = [f"r{i}" for i in range(12)]
    for metric in (FID_PATIENTWISE, FID_POOLED_RGB):
        copied = metric.compute(make_sets(y, y, names), "axial").value
        moved = metric.compute(make_sets(y + 1, y, names), "axial").value
        assert copied == pytest.approx(0, abs=1e-4)
        assert moved == pytest.approx(20, rel=1e-3)


def test_no_partners_are_refused():
    with pytest.raises(MetricError, match="have no partners"):
        FID_PATIENTWISE.compute(make_sets(slices(3, 0), slices(3, 1)), "axial")
