"""Slice Fréchet distance: equals the pooled formula, keeps volumes together, names itself."""

import numpy as np
import pytest

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.extractors.random_conv import Rand2d
from cerebench.metrics.features.frechet import frechet_distance
from cerebench.metrics.features.slice_frechet import (
    FD_RAND2D,
    FID,
    slice_frechet_metric,
    slice_label,
)


def volume_set(features):
    """A set that has features (N, S, dim), the same for every view, but no voxels."""
    ids = [f"v{i:03d}" for i in range(len(features))]
    kept = np.asarray(features, np.float32)
    return VolumeSet([None] * len(ids), ids, lambda _set, _extractor, _view: kept)


def make_sets(generated, train):
    real = volume_set(train)
    return Sets(volume_set(generated), real, real, real, 0, (1.0, 1.0, 1.0))


def draw(n, slices=4, dim=5, seed=0):
    """Slices that share half of their variance with the others of their volume."""
    rng = np.random.RandomState(seed)
    return rng.standard_normal((n, 1, dim)) + rng.standard_normal((n, slices, dim))


def test_equals_the_distance_of_all_raw_slices():
    x, y = draw(20), 3 * draw(30, seed=1) + 1
    result = FD_RAND2D.compute(make_sets(x, y), "axial")
    expected = frechet_distance(x.reshape(-1, 5), y.reshape(-1, 5))
    assert result.value == pytest.approx(expected, rel=1e-5)
    assert (result.n_generated, result.n_real) == (20, 30)
    assert result.facts == {"real_slices": 120, "generated_slices": 80}


def test_replicates_leave_out_whole_volumes():
    x, y = draw(10), draw(7, seed=1)
    result = FD_RAND2D.compute(make_sets(x, y), "axial")
    without = [
        frechet_distance(np.delete(x, i, 0).reshape(-1, 5), y.reshape(-1, 5)) for i in range(10)
    ]
    np.testing.assert_allclose(sorted(result.replicates["generated"]), sorted(without), rtol=1e-5)
    assert len(result.replicates["real"]) == 7


def test_repeating_slices_does_not_shrink_the_error():
    x, y = draw(40), draw(40, seed=1)
    once = FD_RAND2D.compute(make_sets(x, y), "axial")
    twice = FD_RAND2D.compute(make_sets(x.repeat(2, axis=1), y.repeat(2, axis=1)), "axial")
    assert twice.se == pytest.approx(once.se, rel=0.05)


@pytest.mark.parametrize(
    "defect",
    [
        lambda x: x + 0.7,
        lambda x: x.mean((0, 1)) + 2.0 * (x - x.mean((0, 1))),
        lambda x: np.tile(x[:2], (30, 1, 1)),
    ],
    ids=["mean shift", "more spread, equal mean", "collapse"],
)
def test_planted_defects_raise_the_distance(defect):
    train, good = draw(60), draw(60, seed=1)
    clean = FD_RAND2D.compute(make_sets(good, train), "axial")
    spoilt = FD_RAND2D.compute(make_sets(defect(good), train), "axial")
    assert spoilt.value > clean.value + 3 * clean.se


def test_copies_score_zero_and_one_repeated_volume_is_noted():
    train = draw(30)
    copies = FD_RAND2D.compute(make_sets(train, train), "axial")
    assert copies.value == pytest.approx(0, abs=1e-5)
    collapsed = FD_RAND2D.compute(make_sets(train[:1].repeat(30, axis=0), train), "axial")
    assert any(note.startswith("degenerate: all generated") for note in collapsed.notes)


def test_order_of_volumes_changes_nothing():
    x, y = draw(23), draw(31, seed=1)
    turned = make_sets(x[::-1], y)
    turned.generated.ids = turned.generated.ids[::-1]
    a, b = FD_RAND2D.compute(make_sets(x, y), ""), FD_RAND2D.compute(turned, "")
    assert a.value == pytest.approx(b.value, rel=1e-9)
    assert a.se == pytest.approx(b.se, rel=1e-6)


def test_views_are_computed_apart():
    d, h, w = np.indices((16, 16, 16))
    phases = np.arange(6)[:, None, None, None, None]
    real = np.sin((d + 0.5 * h + 0.2 * w) / 3 + phases).astype(np.float32)
    fake = real[:, :, np.random.RandomState(0).permutation(16)]  # the same axial slices, shuffled
    axis = {"axial": 2, "coronal": 3, "sagittal": 4}

    def extract(volumes, _extractor, view):
        stacks = [np.moveaxis(v[None], axis[view], 1)[0] for v in volumes]
        return np.stack([Rand2d().extract(stack) for stack in stacks])

    ids = [f"v{i}" for i in range(6)]
    train, generated = VolumeSet(real, ids, extract), VolumeSet(fake, ids, extract)
    sets = Sets(generated, train, train, train, 0, (1.0, 1.0, 1.0))
    values = {view: FD_RAND2D.compute(sets, view).value for view in FD_RAND2D.views}
    assert values["axial"] == pytest.approx(0, abs=1e-4)
    assert min(values["coronal"], values["sagittal"]) > 0.1


def test_two_volumes_give_a_value_without_an_error():
    result = FD_RAND2D.compute(make_sets(draw(2), draw(20)), "axial")
    assert np.isfinite(result.value)
    assert result.se is None
    assert any("no standard error" in note for note in result.notes)


def test_one_volume_is_refused():
    with pytest.raises(MetricError, match="generated set has 1 volumes; at least 2"):
        FD_RAND2D.compute(make_sets(draw(1), draw(20)), "axial")


def test_only_canonical_features_are_called_fid():
    assert (FID.name, FID.label, FID.needs) == ("fid", "FID", "inception")
    assert FD_RAND2D.label == "FD[rand2d-v1]"
    for other in ("rand2d-v1", "inception-unverified", "radimagenet", "fid"):
        assert slice_label(other) == f"FD[{other}]"
        assert slice_frechet_metric(other).name == f"fd-{other}"
