"""MS-SSIM against closed forms, published vectors and MONAI."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ms_ssim
from scipy.ndimage import gaussian_filter

from cerebench.metrics.base import Better, MetricError, Sets, VolumeSet
from cerebench.metrics.voxel.ms_ssim import MS_SSIM, MS_SSIM_KWON, delete_one_volume
from cerebench.metrics.voxel.pyramids import (
    PairTable,
    combine,
    draw_pairs,
    ms_ssim,
    pair_table,
    pyramid,
    scale_terms,
)
from cerebench.metrics.voxel.schemes import WEIGHTS, kwon_scheme, standard_scheme

TOLERANCE = 1e-5  # of the vectors; float32 data


def constant(value, size=64):
    return np.full((1, size, size, size), value, dtype=np.float32)


def wave():
    """V1: two waves along the diagonal, in [0, 1]."""
    i, j, k = np.meshgrid(*[np.arange(64)] * 3, indexing="ij")
    p = 2 * np.pi * (i + 2 * j + 3 * k) / 64
    x, y = 0.5 + 0.4 * np.sin(p), 0.3 + 0.2 * np.sin(p + 0.5)
    return x[None].astype(np.float32), y[None].astype(np.float32)


def cones():
    """V2: two cones on a zero background, in [0, 1]."""
    i, j, k = np.meshgrid(*[np.arange(64)] * 3, indexing="ij")
    across = (j - 31.5) ** 2 + (k - 31.5) ** 2
    x = np.maximum(0, 1 - np.sqrt((i - 31.5) ** 2 + across) / 20)
    y = 0.8 * np.maximum(0, 1 - np.sqrt((i - 35.5) ** 2 + across) / 16)
    return x[None].astype(np.float32), y[None].astype(np.float32)


def noisy_pair(size, seed=0, share=0.7):
    """Two smooth volumes in [-1, 1] with a common part."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal((size,) * 3), 1) for _ in range(3)]
    mixed = (share * fields[0] + (1 - share) * f for f in fields[1:])
    return tuple(np.tanh(3 * f)[None].astype(np.float32) for f in mixed)


def blobs(n, size=16, seed=0):
    """Set of different balls with texture, background -1."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij"))
    volumes = []
    for _ in range(n):
        distance = np.linalg.norm(grid - rng.uniform(-0.3, 0.3, (3, 1, 1, 1)), axis=0)
        texture = 0.2 * gaussian_filter(rng.standard_normal(distance.shape), 1)
        inside = distance < rng.uniform(0.4, 0.8)
        volumes.append(np.where(inside, 0.7 - distance + texture, -1)[None].astype(np.float32))
    return volumes


def as_sets(generated, train, seed=0):
    made, real = (VolumeSet(v, [str(i) for i in range(len(v))]) for v in (generated, train))
    return Sets(made, real, real, real, seed, (1.0, 1.0, 1.0))


def field_standard(shape):
    """The field's window and borders with the standard exponents."""
    return replace(kwon_scheme(shape), exponents=WEIGHTS)


VECTORS = {
    "identical": (constant(0.5), constant(0.5), 1.0, 1.0),
    "constants .5 .25": (constant(0.5), constant(0.25), 0.88786332, 0.97070335),
    "constants .9 .3": (constant(0.9), constant(0.3), 0.76160072, 0.93418273),
    "V1": (*wave(), 0.59959425, 0.69950478),
    "V2": (*cones(), 0.61312473, 0.79377133),
    "V2 on [-1, 1]": (*(2 * v - 1 for v in cones()), 0.68090414, 0.78608995),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_published_vectors_of_the_fields_code(name):
    x, y, kwon, standard = VECTORS[name]
    assert ms_ssim(x, y, kwon_scheme(x.shape)) == pytest.approx(kwon, abs=TOLERANCE)
    assert ms_ssim(x, y, field_standard(x.shape)) == pytest.approx(standard, abs=TOLERANCE)


def test_the_published_scale_terms_of_the_fields_code():
    x, y = cones()
    scheme = kwon_scheme(x.shape)
    terms = scale_terms([pyramid(x, scheme)], [pyramid(y, scheme)], scheme)[0]
    expected = [0.937842, 0.904732, 0.840509, 0.771586, 0.524280]
    np.testing.assert_allclose(terms, expected, atol=TOLERANCE)


def test_kwon_differs_from_the_standard_by_the_exponent_of_the_last_scale():
    x, y = noisy_pair(32)
    terms = scale_terms(
        [pyramid(x, kwon_scheme(x.shape))], [pyramid(y, kwon_scheme(x.shape))], kwon_scheme(x.shape)
    )
    by_hand = np.prod(terms[0, :4] ** np.array(WEIGHTS[:4])) * terms[0, 4] ** 0.5332
    assert ms_ssim(x, y, kwon_scheme(x.shape)) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.25), (0.9, 0.3)])
def test_constants_give_the_luminance_term_alone(low, high):
    luminance = (2 * low * high + 1e-4) / (low**2 + high**2 + 1e-4)
    x, y = (2 * constant(v) - 1 for v in (low, high))
    scheme = standard_scheme(x.shape)
    assert ms_ssim(x, y, scheme) == pytest.approx(luminance**0.1333, abs=TOLERANCE)


@pytest.mark.parametrize("scheme_for", [standard_scheme, kwon_scheme])
@pytest.mark.parametrize("volume", [constant(0.9, 32), constant(-1.0, 32), noisy_pair(32)[0]])
def test_a_volume_equals_itself(volume, scheme_for):
    scheme = scheme_for(volume.shape)
    assert ms_ssim(volume, volume, scheme) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scheme_for", [standard_scheme, kwon_scheme])
def test_similarity_is_symmetric_and_below_one_for_different_volumes(scheme_for):
    x, y = noisy_pair(32)
    scheme = scheme_for(x.shape)
    assert ms_ssim(x, y, scheme) == pytest.approx(ms_ssim(y, x, scheme), abs=1e-7)
    assert ms_ssim(x, y, scheme) < 0.99


@pytest.mark.parametrize(
    ("size", "window", "scales"),
    [
        *[(176, 11, 5), (160, 9, 5), (128, 7, 5), (96, 5, 5), (64, 3, 5), (48, 3, 5)],
        *[(32, 3, 4), (24, 3, 4), (16, 3, 3), (3, 3, 1)],
    ],
)
def test_the_window_fits_the_volume(size, window, scales):
    scheme = standard_scheme((1, size, size + 5, size))
    assert scheme.label == f"win{window}/sc{scales}"
    assert len(scheme.taps) == window
    assert sum(scheme.taps) == pytest.approx(1)
    assert sum(scheme.exponents) == pytest.approx(1.0001 if scales == 5 else 1)


@pytest.mark.parametrize(("scheme_for", "size"), [(standard_scheme, 2), (kwon_scheme, 15)])
def test_a_volume_that_is_too_small_is_refused(scheme_for, size):
    with pytest.raises(MetricError, match="too small"):
        scheme_for((1, size, 64, 64))


def test_volumes_of_different_shape_are_refused():
    with pytest.raises(MetricError, match="equal shapes"):
        ms_ssim(constant(0, 32), constant(0, 16), standard_scheme((32, 32, 32)))


def monai_value(x, y, scheme):
    as_tensor = (torch.from_numpy((v + 1) / 2)[None] for v in (x, y))
    return compute_ms_ssim(
        *as_tensor, 3, data_range=1.0, kernel_size=len(scheme.taps), weights=scheme.exponents
    ).item()


@pytest.mark.parametrize(
    "size",
    [32, 48, pytest.param(96, marks=pytest.mark.slow), pytest.param(128, marks=pytest.mark.slow)],
)
def test_the_standard_definition_equals_monai(size):
    x, y = noisy_pair(size)
    scheme = standard_scheme(x.shape)
    assert ms_ssim(x, y, scheme) == pytest.approx(monai_value(x, y, scheme), abs=TOLERANCE)


def test_the_standard_definition_equals_monai_on_two_channels_of_unequal_edges():
    x, y = (np.concatenate([v, v[:, ::-1] * 0.5])[:, :33, :40] for v in noisy_pair(48))
    scheme = standard_scheme(x.shape)
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    assert ms_ssim(x, y, scheme) == pytest.approx(monai_value(x, y, scheme), abs=TOLERANCE)


def reference(x, y, scheme, cut):
    """Float64 re-statement with SciPy's filter."""
    x, y = (
        (v.astype(np.float64)[0] + 1) / 2 if scheme.unit_range else v[0].astype(np.float64)
        for v in (x, y)
    )

    def smooth(v):
        filtered = gaussian_filter(v, 1.5, mode="reflect", radius=scheme.radius)
        return filtered[cut:-cut, cut:-cut, cut:-cut] if cut else filtered

    value = 1.0
    for scale, exponent in enumerate(scheme.exponents):
        if scale:
            x, y = (
                v.reshape(*sum(((s // 2, 2) for s in v.shape), ())).mean((1, 3, 5)) for v in (x, y)
            )
        a, b = smooth(x), smooth(y)
        va, vb, cov = smooth(x * x) - a * a, smooth(y * y) - b * b, smooth(x * y) - a * b
        term = (2 * cov + 9e-4) / (va + vb + 9e-4)
        if scale == len(scheme.exponents) - 1:
            term = term * (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
        value *= max(term.mean(), 0) ** exponent
    return value


@pytest.mark.parametrize("case", ["noise", "cones", "bright plateaus"])
def test_float32_agrees_with_a_float64_restatement(case):
    if case == "noise":
        x, y = noisy_pair(64)
    elif case == "cones":
        x, y = (2 * v - 1 for v in cones())
    else:
        x, y = (
            np.where(v > 0.3, level, -1).astype(np.float32)
            for v, level in zip(cones(), (0.95, 0.6), strict=True)
        )
    for scheme, cut in ((kwon_scheme(x.shape), 0), (standard_scheme(x.shape), 1)):
        expected = reference(x, y, scheme, cut)
        assert ms_ssim(x, y, scheme) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("scheme_for", [standard_scheme, kwon_scheme])
def test_a_negative_scale_term_gives_zero_and_is_counted(scheme_for):
    x = noisy_pair(32)[0]
    scheme = scheme_for(x.shape)
    table = pair_table([x, -x, x], np.array([[0, 1], [0, 2]]), scheme)
    np.testing.assert_allclose(table.values, [0, 1], atol=1e-6)
    assert table.n_zero == 1


def test_a_nan_scale_term_gives_zero_and_is_counted():
    values, zero = combine(np.array([[0.25, np.nan], [0.25, 1.0]]), (0.5, 0.5))
    np.testing.assert_array_equal(values, [0, 0.5])
    np.testing.assert_array_equal(zero, [True, False])


def test_pairs_are_different_and_unordered_and_depend_on_the_seed():
    pairs = draw_pairs(64, seed=3)
    assert pairs.shape == (1000, 2)
    assert len({tuple(p) for p in pairs}) == 1000
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.max() == 63
    np.testing.assert_array_equal(pairs, draw_pairs(64, seed=3))
    assert (pairs != draw_pairs(64, seed=4)).any()


def test_a_small_set_uses_every_pair():
    assert len(draw_pairs(25, seed=0)) == 300


def test_the_drawn_pairs_never_change_between_releases():
    assert draw_pairs(250, seed=7)[:3].tolist() == [[165, 247], [36, 248], [63, 233]]


@pytest.mark.parametrize("block", [7, 2**20])
@pytest.mark.parametrize("most", [1, 10, 1000])
@pytest.mark.parametrize("n", [1, 2, 3, 45, 46, 300])
def test_pairs_drawn_block_by_block_are_those_of_sorting_all_of_them(n, most, block, monkeypatch):
    monkeypatch.setattr("cerebench.metrics.voxel.pyramids.DRAW_BLOCK", block)
    every = np.stack(np.triu_indices(n, k=1), axis=1)
    order = np.argsort(np.random.PCG64(5).random_raw(len(every)), kind="stable")
    np.testing.assert_array_equal(draw_pairs(n, seed=5, most=most), every[order[:most]])


def test_memory_of_a_draw_does_not_grow_with_the_number_of_pairs():
    def peak(n):
        tracemalloc.start()
        draw_pairs(n, seed=0)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    # 2 and 18 million pairs; sorting all of the latter took 650 MiB.
    assert peak(6000) < 1.1 * peak(2000) < 64 * 2**20


@pytest.mark.parametrize("scheme_for", [standard_scheme, kwon_scheme])
def test_values_do_not_depend_on_memory_or_on_batches(scheme_for):
    volumes = blobs(7)
    scheme = scheme_for(volumes[0].shape)
    pairs = draw_pairs(7, seed=1)
    table = pair_table(volumes, pairs, scheme)
    tight = pair_table(volumes, pairs, scheme, cache_bytes=0)
    one_by_one = [ms_ssim(volumes[i], volumes[j], scheme) for i, j in pairs]
    np.testing.assert_allclose(tight.values, table.values, atol=1e-7)
    np.testing.assert_allclose(one_by_one, table.values, atol=1e-7)


@pytest.mark.parametrize("scheme_for", [standard_scheme, kwon_scheme])
def test_slabs_do_not_change_the_value(scheme_for, monkeypatch):
    x, y = noisy_pair(32)
    scheme = scheme_for(x.shape)
    whole = ms_ssim(x, y, scheme)
    monkeypatch.setattr("cerebench.metrics.voxel.pyramids.SLAB_VOXELS", 5000)
    assert ms_ssim(x, y, scheme) == pytest.approx(whole, abs=1e-7)


def test_the_jackknife_equals_leaving_volumes_out_by_hand():
    pairs = np.array([[0, 1], [0, 2], [1, 2], [0, 3]])
    table = PairTable(5, pairs, np.array([0.1, 0.2, 0.3, 0.8]), 0, "")
    by_hand = [0.3, 0.5, 0.45, 0.2, 0.35]
    np.testing.assert_allclose(delete_one_volume(table), by_hand, atol=1e-12)


def test_the_standard_error_covers_the_spread_between_sets():
    errors, values = [], []
    for seed in range(12):
        result = MS_SSIM.compute(as_sets(blobs(10, seed=100 + seed), blobs(3)), "")
        errors.append(result.se)
        values.append(result.value)
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.6)


@pytest.mark.parametrize("metric", [MS_SSIM, MS_SSIM_KWON])
def test_the_result_holds_the_real_sets_own_value_and_both_replicates(metric):
    generated, train = blobs(6, seed=1), blobs(9, seed=2)
    result = metric.compute(as_sets(generated, train), "")
    mirrored = metric.compute(as_sets(train, generated), "")
    assert metric.better is Better.NEAR_REAL
    assert (result.n_generated, result.n_real) == (6, 9)
    assert result.real_value == pytest.approx(mirrored.value, abs=1e-12)
    assert (len(result.replicates["generated"]), len(result.replicates["real"])) == (6, 9)
    assert result.replicates["real"] == mirrored.replicates["generated"]
    spread = np.var(result.replicates["generated"])
    assert result.se == pytest.approx(np.sqrt(5 * spread))
    assert result.facts["n_pairs"] == 15
    scheme = (standard_scheme if metric is MS_SSIM else kwon_scheme)(train[0].shape)
    table = pair_table(train, draw_pairs(9, seed=0), scheme)
    assert result.facts["real_n_pairs"] == 36
    assert result.facts["real_n_zero_pairs"] == table.n_zero
    assert result.facts["real_pair_sd"] == np.std(table.values, ddof=1)
    assert result.notes == (scheme.label,)


def test_the_real_pairs_are_compared_once_per_set(monkeypatch):
    calls = []
    counted = pair_table
    monkeypatch.setattr(
        "cerebench.metrics.voxel.pyramids.pair_table", lambda *a: calls.append(1) or counted(*a)
    )
    sets = as_sets(blobs(3, seed=1), blobs(3))
    MS_SSIM.compute(sets, "")
    MS_SSIM.compute(replace(sets, generated=VolumeSet(blobs(3, seed=2), "abc")), "")
    assert len(calls) == 3


def test_two_volumes_have_a_value_but_no_standard_error():
    result = MS_SSIM.compute(as_sets(blobs(2), blobs(4, seed=1)), "")
    assert 0 < result.value < 1
    assert result.se is None


@pytest.mark.parametrize("metric", [MS_SSIM, MS_SSIM_KWON])
def test_collapse_raises_the_value_and_noise_lowers_it(metric):
    train = blobs(8)
    rng = np.random.default_rng(0)
    noise = [rng.uniform(-1, 1, train[0].shape).astype(np.float32) for _ in range(8)]
    real = metric.compute(as_sets(blobs(8, seed=1), train), "")
    collapsed = metric.compute(as_sets(train[:1] * 8, train), "")
    assert collapsed.value == pytest.approx(1, abs=1e-6)
    assert real.value < 0.99
    assert metric.compute(as_sets(noise, train), "").value < real.value
    assert abs(real.value - real.real_value) < abs(collapsed.value - collapsed.real_value)


def test_a_set_of_unequal_shapes_is_refused():
    with pytest.raises(MetricError, match="Volume 1 has shape"):
        MS_SSIM.compute(as_sets([*blobs(1), *blobs(1, size=18)], blobs(2)), "")
