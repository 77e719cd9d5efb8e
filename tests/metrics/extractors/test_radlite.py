"""Radlite against the IBSI digital phantom, independent formulas and planted changes."""

import numpy as np
import pytest
from scipy import ndimage, stats

from cerebench.metrics.extractors.radlite import (
    DIRECTIONS,
    NAMES,
    Radlite,
    first_order_features,
    glcm,
    glcm_features,
    haar_features,
    histogram_features,
    is_degenerate,
    log_response,
    radlite,
    shape_features,
)

# IBSI digital phantom: 4 slices (z) of 4 rows (y) of 5 voxels (x); 0 is outside the mask.
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
GLCM_REFERENCE = {
    "joint maximum": 0.5085389,
    "joint average": 2.1489564,
    "joint variance": 3.1324610,
    "joint entropy": 2.5738964,
    "difference average": 1.3795066,
    "difference variance": 3.2146085,
    "difference entropy": 1.6408767,
    "sum average": 4.2979127,
    "sum variance": 7.4121968,
    "sum entropy": 2.1098634,
    "angular second moment": 0.2909509,
    "contrast": 5.1176471,
    "dissimilarity": 1.3795066,
    "inverse difference": 0.6876977,
    "normalised inverse difference": 0.8558984,
    "inverse difference moment": 0.6306379,
    "normalised inverse difference moment": 0.9022104,
    "inverse variance": 0.0574447,
    "correlation": 0.1831268,
    "autocorrelation": 5.1916509,
    "cluster tendency": 7.4121968,
    "cluster shade": 17.4192054,
    "cluster prominence": 147.4638996,
    "information correlation 1": -0.0287997,
    "information correlation 2": 0.2691687,
}
WHOLE = (slice(None),) * 3


def blob(size=16, seed=0, noise=0.1):
    """A textured ball in [-1, 1] on background -1, (1, D, H, W)."""
    rng = np.random.RandomState(seed)
    grid = np.indices((size,) * 3) - (size - 1) / 2
    inside = np.sqrt((grid**2).sum(0)) < size * 0.35
    v = np.where(inside, 0.6 + noise * rng.standard_normal((size,) * 3), 0.0)
    return (2 * np.clip(v, 0, 1) - 1)[None].astype(np.float32)


def test_phantom_was_typed_correctly():
    assert np.bincount(PHANTOM.ravel()).tolist() == [6, 50, 0, 1, 16, 0, 7]


def test_shape_equals_the_ibsi_reference():
    shape = shape_features(PHANTOM > 0, spacing=(2.0, 2.0, 2.0))
    expected = [np.log(74), 11.402387, 9.308011, 8.535981, 0.8163212, 0.7486135]
    np.testing.assert_allclose(shape, expected, atol=5e-7)


def test_first_order_equals_the_ibsi_reference():
    x = PHANTOM[PHANTOM > 0].astype(float)
    expected = [
        *(2.1486486, 3.0454711, 1.0838207, -0.3546205, 1, 1, 1, 4, 6, 3, 5),
        *(1.5522279, 1.1138338, 1.1486486, 0.8121979, 0.6, np.log(567), 2.7680611),
    ]
    np.testing.assert_allclose(first_order_features(x), expected, atol=5e-7)


def test_histogram_equals_the_ibsi_reference():
    entropy, uniformity = histogram_features(np.bincount(PHANTOM[PHANTOM > 0]))
    assert entropy == pytest.approx(1.2656, abs=5e-5)
    assert uniformity == pytest.approx(0.51242, abs=5e-6)


def test_merged_glcm_equals_the_ibsi_reference():
    values = glcm_features(glcm(PHANTOM, 6))
    np.testing.assert_allclose(values, list(GLCM_REFERENCE.values()), atol=5e-8)


def test_glcm_counts_thirteen_directions_once():
    assert len(DIRECTIONS) == 13
    assert not {tuple(-c for c in d) for d in DIRECTIONS} & set(DIRECTIONS)


def test_glcm_of_a_flat_volume_has_the_limits_of_the_definition():
    flat = dict(zip(GLCM_REFERENCE, glcm_features(glcm(np.full((3, 3, 3), 4), 6)), strict=True))
    assert flat["correlation"] == 1
    assert flat["information correlation 1"] == 0
    assert flat["joint average"] == 4


def test_moments_equal_scipy_on_the_masked_intensities():
    v = (blob()[0].astype(float) + 1) / 2
    x = v[v > 0.02]
    features = radlite(v)[6:10]
    np.testing.assert_allclose(features, [x.mean(), x.var(), stats.skew(x), stats.kurtosis(x)])


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_laplacian_of_gaussian_equals_scipy(sigma):
    v = np.random.RandomState(0).rand(12, 15, 18)
    expected = sigma**2 * ndimage.gaussian_laplace(v, sigma)
    np.testing.assert_allclose(log_response(v, sigma, WHOLE), expected, atol=1e-12)
    box = (slice(2, 9), slice(0, 4), slice(11, 18))
    np.testing.assert_allclose(log_response(v, sigma, box), expected[box], atol=1e-12)


def test_haar_bands_conserve_energy():
    v = np.random.RandomState(1).rand(8, 8, 8)
    bands = np.exp(haar_features(v)) - 1e-12
    mean4 = v.reshape(2, 4, 2, 4, 2, 4).mean(axis=(1, 3, 5))
    energy = bands[:7].sum() * 64 + bands[7:].sum() * 8 + (mean4**2).sum() * 64
    assert energy == pytest.approx((v**2).sum(), rel=1e-9)


def test_haar_bands_are_sorted_by_name_over_axes_d_h_w():
    stripes = np.zeros((8, 8, 8))
    stripes[::2] = 1.0  # alternates along D alone: energy only in HLL
    first = haar_features(stripes)[:7]
    assert first.argmax() == 3
    assert np.delete(first, 3).max() == pytest.approx(np.log(1e-12))


def test_haar_leaves_out_a_last_odd_plane():
    v = np.random.RandomState(2).rand(9, 9, 9)
    np.testing.assert_array_equal(haar_features(v), haar_features(v[:8, :8, :8]))


def test_features_do_not_depend_on_empty_margins_or_batch():
    a, b = blob(seed=1), blob(seed=2)
    extractor = Radlite()
    both = extractor.extract(np.stack([a, b]))
    assert both.shape == (2, Radlite.dim)
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both[1], extractor.extract(b[None])[0])
    shifted = np.roll(a, 1, axis=3)
    moved = extractor.extract(shifted[None])[0]
    np.testing.assert_allclose(moved[:51], both[0, :51], rtol=1e-6, atol=1e-6)


def test_axes_follow_the_object_not_the_array_order():
    v = (blob()[0].astype(float) + 1) / 2
    np.testing.assert_allclose(radlite(v)[:51], radlite(v.transpose(2, 0, 1))[:51], atol=1e-9)


def test_names_belong_to_their_features():
    assert len(set(NAMES)) == Radlite.dim == len(Radlite.names)
    v = (blob()[0].astype(np.float64) + 1) / 2
    row = dict(zip(NAMES, radlite(v), strict=True))
    x = v[v > 0.02]
    assert row["ln voxel count"] == pytest.approx(np.log(x.size))
    assert row["range"] == pytest.approx(x.max() - x.min())
    assert row["root mean square"] == pytest.approx(np.sqrt(np.mean(x * x)))
    assert row["mean absolute deviation from the median"] == pytest.approx(
        np.abs(x - np.median(x)).mean()
    )
    assert NAMES[26:51] == tuple(GLCM_REFERENCE)
    response = log_response(v, 2.0, WHOLE)[v > 0.02]
    assert row["LoG 2 mean"] == pytest.approx(response.mean())
    assert row["LoG 2 p90"] == pytest.approx(np.percentile(response, 90))
    second = haar_features(v)[7:]
    assert [row[f"Haar 2 {band}"] for band in ("HHH", "LLH")] == [second[0], second[-1]]


def test_too_little_foreground_is_a_zero_row_that_can_be_counted():
    nearly = np.full((1, 16, 16, 16), -1, np.float32)
    nearly[0, 4:6, 4:6, 4:10] = 0.5  # 24 voxels
    enough = nearly.copy()
    enough[0, 4:7, 4:7, 4:7] = 0.5
    rows = Radlite().extract(np.stack([nearly, enough]))
    assert is_degenerate(rows).tolist() == [True, False]


def test_constant_foreground_gives_finite_features():
    v = np.full((1, 1, 8, 8, 8), 0.3, np.float32)
    row = Radlite().extract(v)[0]
    assert np.isfinite(row).all()
    assert row[8] == 0
    assert row[9] == 0


def test_blur_noise_and_gamma_change_the_texture_features():
    v = (blob()[0].astype(float) + 1) / 2
    clean = radlite(v)
    contrast = 6 + 18 + 2 + 11
    assert radlite(ndimage.gaussian_filter(v, 1.0))[contrast] < clean[contrast]
    noisy = np.where(v > 0.02, v + 0.1 * np.random.RandomState(3).standard_normal(v.shape), 0)
    assert radlite(noisy)[contrast] > clean[contrast]
    assert radlite(v**0.7)[6] > clean[6]


def test_channels_are_concatenated():
    a, b = blob(seed=1), blob(seed=2)
    two = Radlite().extract(np.concatenate([a, b])[None])
    np.testing.assert_array_equal(two[0], Radlite().extract(np.stack([a, b])).ravel())
