"""WDM's protocol: closed forms, matrix root and MONAI, ladders of defects, and what n it is."""

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ms_ssim
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.extractors.medicalnet import MedicalNet50WDM, ResNet
from cerebench.metrics.features.wdm import (
    FD_WDM,
    MS_SSIM_WDM,
    N,
    first_rows,
    label_of_n,
    wdm_scheme,
)
from cerebench.metrics.voxel.pyramids import ms_ssim

SIZE = 112  # the smallest that the window fits


def smooth(seed, size=SIZE):
    noise = np.random.RandomState(seed).standard_normal((size // 4,) * 3)
    field = np.kron(gaussian_filter(noise, 1), np.ones((4,) * 3))
    return np.tanh(4 * field)[None].astype(np.float32)


def test_the_distance_equals_the_matrix_root_on_raw_features(feature_sets, draw):
    x, y = draw(40, seed=0), 30 * draw(50, seed=1) + 7
    s, t = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2)
    expected += np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    result = FD_WDM.compute(feature_sets(x, y), "")
    assert result.value == pytest.approx(expected, rel=1e-6)
    assert (result.n_generated, result.n_real) == (40, 50)
    assert result.se > 0


def test_a_shift_gives_its_square_and_copies_give_zero(feature_sets, draw):
    x = draw(30)
    assert FD_WDM.compute(feature_sets(x + 0.5, x), "").value == pytest.approx(6 * 0.25, rel=1e-5)
    assert FD_WDM.compute(feature_sets(x, x), "").value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("defect", ["shift", "spread", "collapse"])
def test_a_stronger_defect_is_further_away(feature_sets, draw, defect):
    train, fresh = draw(200), draw(200, seed=1)
    plant = {
        "shift": lambda s: fresh + s,
        "spread": lambda s: fresh * (1 + s),
        "collapse": lambda s: fresh[np.arange(200) % int(8 / s)],
    }[defect]
    values = [FD_WDM.compute(feature_sets(plant(s), train), "").value for s in (0.5, 1, 2)]
    clean = FD_WDM.compute(feature_sets(fresh, train), "").value
    assert [clean, *values] == sorted([clean, *values])


def test_another_n_is_told_and_the_protocols_own_is_not():
    assert label_of_n(1000, 1000) == label_of_n(5000, 1251) == ()
    assert label_of_n(156, 1251) == (
        "n 156/1000 instead of 1000/1000: not the number that WDM prints",
    )
    for metric in (FD_WDM, MS_SSIM_WDM):
        assert "1000" in metric.recipe["n"]


def test_values_at_another_n_carry_it(feature_sets, draw):
    result = FD_WDM.compute(feature_sets(draw(40), draw(50)), "")
    assert result.notes[0].startswith("n 40/50 instead of 1000/1000")
    assert result.facts == {"n_of_protocol": N}


def test_of_more_the_first_thousand_by_name_count(feature_sets, draw):
    x, y = draw(1003), draw(1010, seed=1)
    x[N:], y[N:] = 1e3, -1e3
    found = FD_WDM.compute(feature_sets(x, y), "")
    alone = FD_WDM.compute(feature_sets(x[:N], y[:N]), "")
    assert found.value == pytest.approx(alone.value)
    assert found.value < 1
    assert (found.n_generated, found.n_real) == (N, N)
    assert not any("instead of" in note for note in found.notes)
    names = ["b", "c", "a"]
    assert first_rows(names).tolist() == [2, 0, 1]


def test_rows_that_a_script_left_unfilled_would_have_made_another_number(feature_sets, draw):
    """The released script keeps 1000 rows whatever the number of files; here there are none."""
    x, y = draw(156) + 5, draw(1000, seed=1) + 5
    ours = FD_WDM.compute(feature_sets(x, y), "").value
    padded = np.concatenate([x, np.zeros((N - len(x), x.shape[1]))])
    assert ours < 1
    assert FD_WDM.compute(feature_sets(padded, y), "").value > 50


def test_one_volume_is_refused(feature_sets, draw):
    with pytest.raises(MetricError, match="generated set has 1 volumes; at least 2"):
        FD_WDM.compute(feature_sets(draw(1), draw(20)), "")


def test_neither_is_called_fid():
    assert FD_WDM.label == "FD[medicalnet50]-WDM"
    assert "fid" not in FD_WDM.name


# MS-SSIM.


def test_constants_give_the_closed_form():
    x, y = (np.full((1,) + (SIZE,) * 3, 2 * v - 1, np.float32) for v in (0.5, 0.25))
    found = ms_ssim(x, y, wdm_scheme(x.shape))
    assert found == pytest.approx(0.800064**0.1333, abs=1e-5)
    assert ms_ssim(x, x, wdm_scheme(x.shape)) == pytest.approx(1, abs=1e-6)


def test_equals_monai():
    x = smooth(0)
    y = 0.6 * x + 0.4 * smooth(1)
    units = [torch.from_numpy((v + 1) / 2)[None] for v in (x, y)]
    theirs = compute_ms_ssim(
        *units, spatial_dims=3, data_range=1.0, kernel_size=[7] * 3, kernel_sigma=[1.5] * 3
    )
    assert ms_ssim(x, y, wdm_scheme(x.shape)) == pytest.approx(float(theirs), abs=1e-5)


def similarity_sets(made, real):
    train = VolumeSet(real, [f"r{i}" for i in range(len(real))])
    generated = VolumeSet(made, [f"g{i}" for i in range(len(made))])
    return Sets(generated, train, train, train, 0, (2.0, 2.0, 2.0))


def test_a_stronger_collapse_is_more_similar_and_n_is_told():
    real = [smooth(i) for i in range(3)]
    middle = np.mean(real, axis=0)
    found = []
    for share in (0.0, 0.4, 0.8):
        made = [((1 - share) * v + share * middle).astype(np.float32) for v in real]
        found.append(MS_SSIM_WDM.compute(similarity_sets(made, real), ""))
    values = [result.value for result in found]
    assert values == sorted(values)
    assert values[0] == pytest.approx(found[0].real_value)
    assert values[2] > values[0] + 0.1
    assert found[0].notes == (
        "n 3/3 instead of 1000/1000: not the number that WDM prints",
        "win7/sc5",
    )
    assert found[0].facts["n_of_protocol"] == N
    assert found[0].facts["n_pairs"] == 3


def test_a_volume_that_the_window_does_not_fit_is_refused():
    wdm_scheme((1, SIZE, SIZE, SIZE))
    with pytest.raises(MetricError, match="needs 112 along every axis"):
        wdm_scheme((1, SIZE, SIZE - 1, SIZE))
    small = [np.zeros((1, 32, 32, 32), np.float32)] * 3
    with pytest.raises(MetricError, match="Use ms-ssim instead"):
        MS_SSIM_WDM.compute(similarity_sets(small, small), "")


def test_pairs_are_drawn_from_the_first_thousand_by_name():
    from cerebench.metrics.features import wdm

    volumes = [np.full((1, 1, 1, 1), i, np.float32) for i in range(1005)]
    names = [f"v{1004 - i:04d}" for i in range(1005)]
    cut = wdm._first(VolumeSet(volumes, names))
    assert len(cut) == N
    assert cut.ids == tuple(f"v{i:04d}" for i in range(N))
    assert cut[0].item() == 1004


# What the network is shown.


def test_the_network_sees_the_array_as_stored_on_the_unit_range():
    v = np.random.RandomState(0).uniform(-1, 1, (1, 3, 4, 5)).astype(np.float32)  # (C, z, y, x)
    shown = MedicalNet50WDM.prepare(None, v)
    assert shown.shape == (1, 5, 4, 3)
    # x and y of the stored array run to the left and the back, z upwards.
    assert shown[0, 0, 1, 2] == pytest.approx((v[0, 2, -2, -1] + 1) / 2)
    assert (shown.min() >= 0, shown.max() <= 1) == (True, True)


def test_an_empty_volume_has_features_like_any_other(tmp_path, monkeypatch):
    class Shallow(MedicalNet50WDM):
        depth, dim = 10, 512

    torch.save(ResNet(10).state_dict(), tmp_path / "resnet_10_23dataset.pth")
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(tmp_path))
    batch = np.full((2, 1, 16, 16, 16), -1, np.float32)
    batch[1, :, 4:12, 3:9, 5:14] = 0.5
    extractor = Shallow()
    with torch.no_grad():
        shown = torch.from_numpy(extractor.prepare(batch[1]))[None]
        expected = extractor.network(shown)[0].numpy()
    found = extractor.extract(batch)
    np.testing.assert_allclose(found[1], expected, rtol=1e-4, atol=1e-6)
    assert np.isfinite(found).all()
    assert extractor.input["intensity"] == "(v + 1) / 2, no z-score"
    assert "foreground" not in extractor.input
