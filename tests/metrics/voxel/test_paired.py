"""Paired metrics: closed forms, MONAI, pytorch-msssim, skimage, torchmetrics; partners needed."""

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ssim_and_cs
from scipy.ndimage import gaussian_filter

from cerebench.metrics.base import MetricError
from cerebench.metrics.voxel.paired import MAE, PSNR, SSIM, SSIM_ALDM, mae, psnr, ssim, ssim_aldm
from cerebench.metrics.voxel.slice_ssim import stretched


def smooth(seed, size=24, channels=1):
    rng = np.random.RandomState(seed)
    field = gaussian_filter(rng.standard_normal((channels, size, size, size)), (0, 1.5, 1.5, 1.5))
    return np.tanh(4 * field).astype(np.float32)


def constant(value, size=16):
    return np.full((1, size, size, size), 2 * value - 1, np.float32)


def test_equal_volumes_score_one_and_no_error():
    x = smooth(0)
    assert ssim(x, x) == pytest.approx(1, abs=1e-6)
    assert ssim_aldm(x[:, :3], x[:, :3]) == pytest.approx(1, abs=1e-6)
    assert mae(x, x) == 0
    assert psnr(x, x) == np.inf


def test_constants_give_the_closed_forms():
    x, y = constant(0.5), constant(0.25)
    assert ssim(x, y) == pytest.approx((0.25 + 1e-4) / (0.3125 + 1e-4), abs=1e-5)
    assert ssim(x, y) == pytest.approx(0.800064, abs=1e-5)
    assert mae(x, y) == pytest.approx(0.25, abs=1e-7)
    assert psnr(x, y) == pytest.approx(20 * np.log10(4), abs=1e-5)


def test_equals_monai_and_is_symmetric():
    x, y = smooth(0), 0.6 * smooth(0) + 0.4 * smooth(1)
    units = [torch.from_numpy((v + 1) / 2)[None] for v in (x, y)]
    options = {"spatial_dims": 3, "data_range": 1.0, "kernel_size": [11] * 3}
    theirs, _ = compute_ssim_and_cs(*units, kernel_sigma=[1.5] * 3, **options)
    assert ssim(x, y) == pytest.approx(float(theirs.mean()), abs=1e-5)
    assert ssim(x, y) == pytest.approx(ssim(y, x), abs=1e-9)


def test_equals_pytorch_msssim():
    package = pytest.importorskip("pytorch_msssim", reason="pytorch-msssim is not installed")
    x, y = smooth(0), 0.5 * smooth(0) + 0.5 * smooth(1)
    units = [torch.from_numpy((v + 1) / 2)[None] for v in (x, y)]
    assert ssim(x, y) == pytest.approx(float(package.ssim(*units, data_range=1)), abs=1e-5)


def test_equals_skimage():
    metrics = pytest.importorskip("skimage.metrics")
    x, y = smooth(0), 0.7 * smooth(0) + 0.3 * smooth(1)
    _, whole = metrics.structural_similarity(
        *((v[0].astype(float) + 1) / 2 for v in (x, y)), data_range=1, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False, full=True, truncate=3.5,
    )  # fmt: skip
    assert ssim(x, y) == pytest.approx(whole[5:-5, 5:-5, 5:-5].mean(), abs=1e-5)
    assert psnr(x, y) == pytest.approx(
        metrics.peak_signal_noise_ratio(*((v + 1) / 2 for v in (x, y)), data_range=1), abs=1e-4
    )


def test_opposite_volumes_have_a_negative_similarity_that_is_not_clipped():
    x = smooth(0)
    assert ssim(x, -x) < -0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_the_slice_form_equals_torchmetrics(channels):
    functional = pytest.importorskip("torchmetrics.functional.image", exc_type=ImportError)
    x, y = (smooth(seed, 16, channels)[:, :3] for seed in (0, 3))
    theirs = functional.structural_similarity_index_measure(
        stretched(x), stretched(y), data_range=1.0, reduction="none"
    )
    assert ssim_aldm(x, y) == pytest.approx(float(theirs.mean()), abs=1e-5)


def test_the_slice_form_is_blind_to_intensity_and_the_others_are_not():
    x = smooth(0)
    darker = 0.5 * x - 0.3
    assert ssim_aldm(x, darker) == pytest.approx(1, abs=1e-3)
    assert ssim(x, darker) < 0.95
    assert mae(x, darker) > 0.1
    assert "intensity" in SSIM_ALDM.blind_to


def test_blur_and_noise_lower_the_similarity(volume_sets):
    real = [smooth(i, 16) for i in range(4)]
    names = ("r0", "r1", "r2", "r3")
    rng = np.random.RandomState(0)
    near = [v + 0.02 * rng.standard_normal(v.shape).astype(np.float32) for v in real]
    blurred = [gaussian_filter(v, (0, 2, 2, 2)) for v in real]
    noisy = [v + 0.6 * rng.standard_normal(v.shape).astype(np.float32) for v in real]
    value = {
        name: SSIM.compute(volume_sets(made, real, partners=names), "").value
        for name, made in (("near", near), ("blurred", blurred), ("noisy", noisy))
    }
    assert value["near"] > max(value["blurred"], value["noisy"]) + 0.1


def test_each_volume_is_compared_with_its_own_partner(volume_sets):
    real = [smooth(i, 16) for i in range(3)]
    turned = volume_sets(real[::-1], real, partners=("r2", "r1", "r0"))
    wrong = volume_sets(real[::-1], real, partners=("r0", "r1", "r2"))
    assert SSIM.compute(turned, "").value == pytest.approx(1, abs=1e-6)
    assert SSIM.compute(wrong, "").value < 0.8
    assert MAE.compute(turned, "").value == 0


def test_partners_are_counted_and_the_error_is_that_of_the_mean(volume_sets):
    real = [smooth(i, 16) for i in range(12)]
    made = [0.8 * v + 0.2 * smooth(50 + i, 16) for i, v in enumerate(real)]
    result = MAE.compute(volume_sets(made, real, partners=[f"r{i}" for i in range(12)]), "")
    values = [mae(a, b) for a, b in zip(made, real, strict=True)]
    assert result.value == pytest.approx(np.mean(values))
    assert 0.5 < result.se / (np.std(values, ddof=1) / np.sqrt(12)) < 2
    twice = MAE.compute(volume_sets(made[:2], real, partners=("r0", "r0")), "")
    assert twice.facts["distinct_partners"] == 1
    assert result.facts["pair_sd"] == pytest.approx(np.std(values))


def test_a_held_out_partner_is_found(volume_sets):
    real, test = [smooth(0, 16)], [smooth(1, 16)]
    sets = volume_sets([test[0]], real, test, partners=("t0",))
    assert SSIM.compute(sets, "").value == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("metric", [SSIM, PSNR, MAE, SSIM_ALDM])
def test_sets_without_partners_are_refused(volume_sets, metric):
    with pytest.raises(MetricError, match="have no partners"):
        metric.compute(volume_sets([smooth(0, 16)], [smooth(1, 16)]), "")


def test_a_lost_partner_and_another_shape_are_refused(volume_sets):
    with pytest.raises(MetricError, match="the first is r7"):
        SSIM.compute(volume_sets([smooth(0, 16)], [smooth(1, 16)], partners=("r7",)), "")
    with pytest.raises(MetricError, match="equal shapes are needed"):
        SSIM.compute(volume_sets([smooth(0, 20)], [smooth(1, 16)], partners=("r0",)), "")
