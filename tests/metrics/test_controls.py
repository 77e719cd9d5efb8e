"""The floor and control sets, and what the voxel metrics make of them."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.controls import CONTROLS, blur, scramble_phases
from cerebench.metrics.voxel.mmd import MMD2_KWON, MMD2_LINEAR
from cerebench.metrics.voxel.ms_ssim import MS_SSIM, MS_SSIM_KWON

NAMED = {control.name: control for control in CONTROLS}
HELD_OUT = ["real-heldout", "blur-1", "blur-2", "noise-0.1", "phase-scrambled"]


def blobs(n, seed, size=16):
    """Different textured balls on background -1, two channels."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij"))
    volumes = []
    for _ in range(n):
        distance = np.linalg.norm(grid - rng.uniform(-0.3, 0.3, (3, 1, 1, 1)), axis=0)
        texture = 0.6 * gaussian_filter(rng.standard_normal((2, *distance.shape)), (0, 1, 1, 1))
        inside = distance < rng.uniform(0.4, 0.8)
        volumes.append(np.where(inside, 0.7 - distance + texture, -1).clip(-1, 1))
    return np.array(volumes, dtype=np.float32)


TRAIN, TEST = blobs(12, seed=1), blobs(10, seed=2)


def built(name, m=8, seed=0, train=TRAIN, test=TEST):
    return NAMED[name].build(train, test, m, seed)


def score(metric, name, m=10):
    made = built(name, m)
    train = VolumeSet(TRAIN, [str(i) for i in range(len(TRAIN))])
    sets = Sets(VolumeSet(made, made.ids), train, train, train, 0, (1.0, 1.0, 1.0))
    return metric.compute(sets, "")


def test_names_are_unique_and_the_real_sets_are_the_floor():
    assert len(NAMED) == len(CONTROLS) == 10
    assert [c.name for c in CONTROLS if c.role == "floor"] == ["real-halves", "real-heldout"]
    assert all(c.label and c.note for c in CONTROLS)


@pytest.mark.parametrize("name", NAMED)
def test_a_set_holds_volumes_of_the_canonical_kind(name):
    made = built(name)
    assert len(made) == len(made.ids) == len(set(made.ids)) == 8
    for volume in made:
        assert volume.shape == TRAIN[0].shape
        assert volume.dtype == np.float32
        assert volume.min() >= -1
        assert volume.max() <= 1


@pytest.mark.parametrize("name", NAMED)
def test_a_longer_set_begins_with_the_shorter_one(name):
    short, long = built(name, m=3), built(name, m=9)
    assert long.ids[:3] == short.ids
    np.testing.assert_array_equal(np.stack(list(short)), np.stack([long[i] for i in range(3)]))


@pytest.mark.parametrize("name", NAMED)
def test_a_volume_is_the_same_whenever_it_is_asked_for(name):
    made = built(name)
    np.testing.assert_array_equal(made[5], built(name)[5])
    np.testing.assert_array_equal(made[-1], made[7])
    with pytest.raises(IndexError):
        made[8]


@pytest.mark.parametrize("name", [name for name in NAMED if name != "mean-volume"])
def test_the_seed_changes_the_set(name):
    sets = {np.stack(list(built(name, seed=seed))).tobytes() for seed in range(4)}
    assert len(sets) > 1


def test_inputs_stay_as_they_are():
    train, test = TRAIN.copy(), TEST.copy()
    for name in NAMED:
        list(built(name, train=train, test=test))
    np.testing.assert_array_equal(train, TRAIN)
    np.testing.assert_array_equal(test, TEST)


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_volumes_are_drawn_once_each_and_all_in_the_same_order(name):
    made = built(name, m=50)
    assert len(made) == len(TEST)
    sources = [i.rsplit("-", 1)[1] for i in made.ids]
    assert len(set(sources)) == len(TEST)
    assert sources == [i.rsplit("-", 1)[1] for i in built("real-heldout", m=50).ids]


def test_the_floor_is_real_volumes_unchanged():
    made = built("real-heldout", m=10)
    assert sorted(v.tobytes() for v in made) == sorted(v.tobytes() for v in TEST)
    assert made.ids[0] == f"real-heldout-test{[v.tobytes() for v in TEST].index(made[0].tobytes())}"


def test_copies_are_repeated_when_more_are_asked_than_exist():
    made = built("train-copies", m=30)
    assert len(set(made.ids)) == 30
    np.testing.assert_array_equal(made[3], made[15])
    assert sorted(v.tobytes() for v in list(made)[:12]) == sorted(v.tobytes() for v in TRAIN)


def test_collapsed_sets_repeat_one_volume():
    mean, one = built("mean-volume", m=30), built("one-repeated", m=30)
    np.testing.assert_allclose(mean[0], TRAIN.astype(np.float64).mean(0), atol=1e-6)
    np.testing.assert_array_equal(mean[0], mean[29])
    assert any((one[0] == v).all() for v in TRAIN)
    np.testing.assert_array_equal(one[0], one[29])


def test_a_blur_keeps_the_mean_and_lowers_the_gradient():
    volume = TEST[0]
    by_hand = 2 * gaussian_filter((volume[1] + 1) / 2, 2) - 1
    np.testing.assert_allclose(blur(volume, 2)[1], by_hand, atol=1e-5)
    steps = [np.abs(np.diff(blur(volume, s))).mean() for s in (1e-6, 1, 2)]
    assert steps[0] > steps[1] > steps[2]


def test_the_noise_has_the_stated_size_on_the_unit_range():
    flat = np.zeros((4, 1, 16, 16, 16), dtype=np.float32)
    made = built("noise-0.1", m=4, test=flat)
    changes = np.stack(list(made)) / 2
    assert changes.std() == pytest.approx(0.1, rel=0.03)
    assert abs(changes.mean()) < 0.005
    assert (made[0] != made[1]).any()


def test_pure_noise_is_uniform():
    values = np.stack(list(built("noise")))
    assert abs(values.mean()) < 0.02
    assert values.var() == pytest.approx(1 / 3, rel=0.03)


@pytest.mark.parametrize("shape", [(2, 16, 16, 16), (1, 12, 15, 9)])
def test_scrambled_phases_keep_the_amplitude_spectrum(shape):
    rng = np.random.default_rng(0)
    volume = rng.uniform(-1, 1, shape).astype(np.float32)
    scrambled = scramble_phases(volume, rng)
    spectra = [np.abs(np.fft.fftn(v, axes=(1, 2, 3))) for v in (volume, scrambled)]
    np.testing.assert_allclose(spectra[1], spectra[0], atol=1e-4)
    assert scrambled.mean() == pytest.approx(volume.mean(), abs=1e-6)
    assert abs(np.corrcoef(volume.ravel(), scrambled.ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("name", NAMED)
def test_an_empty_source_is_refused(name):
    with pytest.raises(MetricError, match=r"no (test|training) volume"):
        built(name, train=TRAIN[:0], test=TEST[:0])


def test_the_fields_mmd_fails_to_punish_collapse():
    """Documented failure: collapse onto the mean volume beats real held-out cases."""
    collapsed, real = score(MMD2_KWON, "mean-volume"), score(MMD2_KWON, "real-heldout")
    assert collapsed.value < 0.8 * real.value


def test_the_unbiased_mmd_puts_noise_far_above_the_floor():
    assert score(MMD2_LINEAR, "noise").value > 10 * abs(score(MMD2_LINEAR, "real-heldout").value)


@pytest.mark.parametrize("metric", [MS_SSIM, MS_SSIM_KWON])
def test_ms_ssim_of_collapsed_sets_is_one(metric):
    assert score(metric, "mean-volume").value == pytest.approx(1, abs=1e-6)
    assert score(metric, "one-repeated").value == pytest.approx(1, abs=1e-6)


def test_ms_ssim_rises_with_blur_and_falls_with_noise():
    floor, blur_1, blur_2, noisy, noise = (
        score(MS_SSIM, name).value
        for name in ("real-heldout", "blur-1", "blur-2", "noise-0.1", "noise")
    )
    assert floor < blur_1 < blur_2 < 1
    assert noise < noisy < floor


def test_copies_of_the_training_set_pass_both_voxel_metrics():
    copies = score(MS_SSIM, "train-copies", m=12)
    assert copies.value == pytest.approx(copies.real_value, abs=1e-2)
    assert score(MMD2_LINEAR, "train-copies", m=12).value < 0


def test_halves_are_volumes_of_the_half_that_is_given():
    made = built("real-halves", m=50)
    assert NAMED["real-halves"].halved
    assert sorted(v.tobytes() for v in made) == sorted(v.tobytes() for v in TRAIN)
