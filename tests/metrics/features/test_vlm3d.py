"""The VLM3D board: closed forms, other libraries, ladders of defects, and missing outputs."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.core import weights
from cerebench.core.hashing import sha256_file
from cerebench.metrics.base import VIEWS, MetricError, Sets, VolumeSet
from cerebench.metrics.extractors import squeezenet
from cerebench.metrics.features.frechet import frechet_distance
from cerebench.metrics.features.vlm3d import FD_VLM3D, MSE_VLM3D, PSNR_VLM3D, SSIM_VLM3D, mse
from cerebench.metrics.voxel.paired import PSNR, SSIM

PAIRED = (MSE_VLM3D, PSNR_VLM3D, SSIM_VLM3D)
RISING = {"lower": 1, "higher": -1}  # sign that makes a worse value the larger one


def smooth(seed, size=16):
    field = gaussian_filter(np.random.RandomState(seed).standard_normal((size,) * 3), 1.5)
    return np.tanh(4 * field)[None].astype(np.float32)


def due(made, real, partners, expected=None):
    """Generated volumes with partners, of which more may have been due."""
    ids = [f"r{i}" for i in range(len(real))]
    whole = VolumeSet(real, ids)
    there = VolumeSet(
        made, list(partners), None, partners, expected=ids if expected is None else expected
    )
    return Sets(there, whole, whole, whole, 0, (1.0, 1.0, 1.0))


def worse(metric, sets):
    return RISING[metric.better] * metric.compute(sets, "").value


def test_constants_give_the_closed_forms():
    x, y = (np.full((1, 16, 16, 16), 2 * v - 1, np.float32) for v in (0.5, 0.25))
    assert mse(x, y) == pytest.approx(1 / 16, abs=1e-12)
    assert mse(x, x) == 0
    sets = due([x], [y], ["r0"])
    assert MSE_VLM3D.compute(sets, "").value == pytest.approx(0.0625, abs=1e-9)
    assert PSNR_VLM3D.compute(sets, "").value == pytest.approx(20 * np.log10(4), abs=1e-5)
    assert SSIM_VLM3D.compute(sets, "").value == pytest.approx(0.800064, abs=1e-5)


def test_the_mean_square_equals_torchs_and_skimages():
    x, y = smooth(0), smooth(1)
    units = [torch.from_numpy((v.astype(np.float64) + 1) / 2) for v in (x, y)]
    assert mse(x, y) == pytest.approx(float(torch.nn.functional.mse_loss(*units)), rel=1e-7)
    metrics = pytest.importorskip("skimage.metrics")
    assert mse(x, y) == pytest.approx(metrics.mean_squared_error(*map(np.asarray, units)), rel=1e-7)


def test_with_all_outputs_there_psnr_and_ssim_are_the_plain_ones():
    real = [smooth(i) for i in range(4)]
    made = [0.7 * v + 0.3 * smooth(9 + i) for i, v in enumerate(real)]
    sets = due(made, real, ["r0", "r1", "r2", "r3"])
    for ours, plain in ((PSNR_VLM3D, PSNR), (SSIM_VLM3D, SSIM)):
        found = ours.compute(sets, "")
        assert found.value == plain.compute(sets, "").value
        assert found.facts["n_absent"] == 0
        assert not any("missing" in note for note in found.notes)


@pytest.mark.parametrize(
    ("metric", "worst"), [(MSE_VLM3D, 1.0), (PSNR_VLM3D, 0.0), (SSIM_VLM3D, -1.0)]
)
def test_a_missing_output_counts_as_the_worst_value(metric, worst):
    real = [smooth(i) for i in range(4)]
    made = [0.7 * v + 0.3 * smooth(9 + i) for i, v in enumerate(real)]
    ids = ["r0", "r1", "r2", "r3"]
    alone = [
        metric.compute(due([m], real, [i], [i]), "").value for m, i in zip(made, ids, strict=True)
    ]
    result = metric.compute(due(made[:3], real, ids[:3]), "")
    assert result.value == pytest.approx((sum(alone[:3]) + worst) / 4)
    assert (result.n_generated, result.n_real, result.facts["n_absent"]) == (3, 4, 1)
    assert result.notes[0] == f"1 of 4 outputs are missing and count as {worst:g} each"
    assert metric.recipe["missing"] == worst
    assert len(result.replicates["generated"]) == 4  # the missing one is a case like the others


@pytest.mark.parametrize("metric", PAIRED)
def test_every_further_missing_output_is_worse_and_none_gains(metric):
    real = [smooth(i) for i in range(6)]
    ids = [f"r{i}" for i in range(6)]
    poor = [np.sign(-v) for v in real]  # as wrong as can be: leaving these out must not pay
    values = [worse(metric, due(poor[:count], real, ids[:count])) for count in (6, 5, 3, 1)]
    assert values == sorted(values)
    assert len(set(values)) == 4


def test_other_metrics_of_pairs_leave_missing_outputs_out():
    real = [smooth(i) for i in range(3)]
    made = [0.7 * v for v in real]
    sets = due(made[:2], real, ["r0", "r1"])
    assert SSIM.compute(sets, "").value > SSIM_VLM3D.compute(sets, "").value
    assert "n_absent" not in SSIM.compute(sets, "").facts


@pytest.mark.parametrize("metric", PAIRED)
@pytest.mark.parametrize("defect", ["blur", "noise", "brightness"])
def test_a_stronger_defect_is_worse(metric, defect):
    real = [smooth(i) for i in range(4)]
    ids = [f"r{i}" for i in range(4)]
    rng = np.random.RandomState(0)
    noise = [rng.standard_normal(v.shape).astype(np.float32) for v in real]
    plant = {
        "blur": lambda s: [gaussian_filter(v, (0, s, s, s)) for v in real],
        "noise": lambda s: [v + 0.1 * s * e for v, e in zip(real, noise, strict=True)],
        "brightness": lambda s: [v - 0.1 * s for v in real],
    }[defect]
    values = [worse(metric, due(plant(s), real, ids)) for s in (0.5, 1, 2)]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("metric", PAIRED)
def test_volumes_without_partners_are_refused(metric):
    real = VolumeSet([smooth(0)], ["r0"])
    with pytest.raises(MetricError, match="have no partners"):
        metric.compute(Sets(real, real, real, real, 0, (1.0, 1.0, 1.0)), "")


def test_an_output_that_equals_its_partner_makes_psnr_infinite():
    assert PSNR_VLM3D.compute(due([smooth(0)], [smooth(0)], ["r0"]), "").value == np.inf


# The Fréchet distance.


def of_slices(rows, expected=(), partners=()):
    """A set with features (N, S, dim) by view, but no voxels."""
    ids = [f"v{i:03d}" for i in range(len(rows["axial"]))]
    return VolumeSet(
        [None] * len(ids),
        ids,
        lambda _set, _extractor, view: rows[view.removesuffix("/every4")],
        partners or ids if expected else (),
        expected=expected,
    )


def draw(n, seed, shift=0.0):
    rng = np.random.RandomState(seed)
    counts = {"axial": 3, "coronal": 4, "sagittal": 5}
    return {
        view: (shift + rng.standard_normal((n, 1, 6)) + rng.standard_normal((n, count, 6))).astype(
            np.float32
        )
        for view, count in counts.items()
    }


def make_sets(x, y, expected=()):
    real = of_slices(y)
    return Sets(of_slices(x, expected), real, real, real, 0, (1.0, 1.0, 1.0))


def by_matrix_root(x, y):
    x, y = (np.asarray(v, np.float64).reshape(-1, 6) for v in (x, y))
    s, t = np.cov(x.T), np.cov(y.T)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))


def test_the_value_is_the_mean_of_the_views_and_equals_the_matrix_root():
    x, y = draw(12, 0), draw(15, 1, shift=0.4)
    found = {view: FD_VLM3D.compute(make_sets(x, y), view) for view in FD_VLM3D.views}
    for view in VIEWS:
        assert found[view].value == pytest.approx(by_matrix_root(x[view], y[view]), rel=1e-6)
    assert found["mean"].value == pytest.approx(np.mean([found[v].value for v in VIEWS]))
    assert found["mean"].facts == {"real_slices": 180, "generated_slices": 144, "n_absent": 0}
    assert (found["mean"].n_real, found["mean"].n_generated) == (15, 12)
    replicates = np.mean([found[v].replicates["real"] for v in VIEWS], axis=0)
    np.testing.assert_allclose(found["mean"].replicates["real"], replicates)
    assert 0 < found["mean"].se < max(found[v].se for v in VIEWS) * 1.01


def test_a_shift_of_all_features_gives_its_square():
    x = draw(12, 0)
    y = {view: rows + np.float32(0.5) for view, rows in x.items()}
    assert FD_VLM3D.compute(make_sets(x, y), "mean").value == pytest.approx(6 * 0.25, rel=1e-4)
    assert FD_VLM3D.compute(make_sets(x, x), "mean").value == pytest.approx(0, abs=1e-5)


def test_what_is_kept_of_a_set_belongs_to_one_reference():
    x, y, other = (of_slices(draw(12, seed, shift=seed)) for seed in (0, 1, 2))
    found = [
        FD_VLM3D.compute(Sets(x, real, real, real, 0, (1.0, 1.0, 1.0)), "mean").value
        for real in (y, other, y)
    ]
    assert found[0] == found[2]
    assert found[1] > found[0] + 1


def test_missing_outputs_are_told_and_left_out_of_the_distance():
    x, y = draw(5, 0), draw(8, 1)
    ids = [f"v{i:03d}" for i in range(8)]
    result = FD_VLM3D.compute(make_sets(x, y, expected=ids), "mean")
    assert result.value == FD_VLM3D.compute(make_sets(x, y), "mean").value
    assert result.facts["n_absent"] == 3
    assert any("3 of 8 outputs are missing" in note for note in result.notes)


def test_few_volumes_give_no_error_or_no_value():
    two = FD_VLM3D.compute(make_sets(draw(2, 0), draw(8, 1)), "mean")
    assert np.isfinite(two.value)
    assert two.se is None
    assert sum("no standard error" in note for note in two.notes) == 1
    with pytest.raises(MetricError, match="generated set has 1 volumes; at least 2"):
        FD_VLM3D.compute(make_sets(draw(1, 0), draw(8, 1)), "mean")


def test_it_is_not_called_fid():
    assert FD_VLM3D.label.startswith("FD[squeezenet1-1]-")
    assert "FID" not in FD_VLM3D.label
    assert "fid" not in FD_VLM3D.name


@pytest.fixture
def extraction(tmp_path, monkeypatch):
    """Real extraction with random weights and small images: what is tested is the chain."""
    torch.manual_seed(0)
    path = tmp_path / weights.KNOWN[squeezenet.WEIGHTS].file
    torch.save(squeezenet.build_network().state_dict(), path)
    known = dataclasses.replace(
        weights.KNOWN[squeezenet.WEIGHTS], sha256_prefix=sha256_file(path)[:8]
    )
    monkeypatch.setattr(weights, "KNOWN", {squeezenet.WEIGHTS: known})
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(squeezenet, "SIDE", 48)
    return FeatureCache(tmp_path / "cache", Registries().extractors)


def test_every_fourth_slice_of_the_scaled_volume_is_seen(extraction):
    extractor = squeezenet.SqueezeNetVLM3D()
    real, made = ([smooth(s + i) for i in range(4)] for s in (0, 10))
    ids = list("abcd")
    sets = Sets(*(VolumeSet(v, ids, extraction) for v in (made, real, real, real)), 0, (1.0,) * 3)

    def rows(volumes):
        scaled = [squeezenet.by_percentiles(v)[0] for v in volumes]
        return np.concatenate(
            [extractor.extract(v[:, ::4].swapaxes(0, 1)[:, None]) for v in scaled]
        )

    expected = frechet_distance(rows(made), rows(real))
    assert FD_VLM3D.compute(sets, "coronal").value == pytest.approx(expected, rel=1e-4)
    assert FD_VLM3D.compute(sets, "coronal").facts["real_slices"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("defect", ["blur", "noise"])
def test_a_stronger_defect_is_further_away(extraction, defect):
    real = [smooth(i) for i in range(12)]
    fresh = [smooth(50 + i) for i in range(12)]
    rng = np.random.RandomState(0)
    noise = [rng.standard_normal(v.shape).astype(np.float32) for v in fresh]
    plant = {
        "blur": lambda s: [gaussian_filter(v, (0, s, s, s)) for v in fresh],
        "noise": lambda s: [v + 0.2 * s * e for v, e in zip(fresh, noise, strict=True)],
    }[defect]
    ids = [f"v{i:02d}" for i in range(12)]
    train = VolumeSet(real, ids, extraction)

    def value(volumes):
        made = VolumeSet(volumes, ids, extraction)
        return FD_VLM3D.compute(Sets(made, train, train, train, 0, (1.0,) * 3), "axial").value

    values = [value(fresh), *(value(plant(s)) for s in (0.5, 1, 2))]
    assert values == sorted(values), values


def test_it_is_blind_to_a_brightness_that_the_percentiles_remove(extraction):
    real = [smooth(i) for i in range(4)]
    ids = list("abcd")
    train = VolumeSet(real, ids, extraction)
    darker = VolumeSet([0.5 * v - 0.4 for v in real], ids, extraction)
    sets = Sets(darker, train, train, train, 0, (1.0,) * 3)
    assert FD_VLM3D.compute(sets, "mean").value == pytest.approx(0, abs=1e-4)
    assert "brightness" in FD_VLM3D.blind_to
