"""Radial power spectra: white noise, plane waves, blur and checkerboards in order, boundaries."""

import numpy as np
import pytest

from cerebench.datasets.phantom import Phantom
from cerebench.metrics.base import MetricError
from cerebench.metrics.controls import add_noise, blur, scramble_phases
from cerebench.metrics.voxel.spectrum import SPECTRUM, distance, spectrum


@pytest.fixture(scope="module")
def phantoms():
    """40 training and 100 other phantoms of one class."""
    phantom = Phantom(32, rule={"train": 40, "test": 100})
    chosen = set(phantom.split(0).train)
    cases = [c for c in phantom.cases() if c.label == 1]
    train = [phantom.load(c).volume for c in cases if c.id in chosen]
    return train, [phantom.load(c).volume for c in cases if c.id not in chosen]


def value(volume_sets, generated, train):
    return SPECTRUM.compute(volume_sets(generated, train), "").value


def test_white_noise_has_its_power_in_every_shell():
    rng = np.random.RandomState(0)
    for sd in (1.0, 0.1):
        rows = np.array([spectrum(sd * rng.standard_normal((1, 16, 16, 16))) for _ in range(150)])
        found = 10 * np.log10(np.mean(10 ** (rows / 10), axis=0))  # the corner is one coefficient
        np.testing.assert_allclose(found, 20 * np.log10(sd), atol=1)
        np.testing.assert_allclose(found[3:-1], 20 * np.log10(sd), atol=0.3)
        assert len(found) == 14  # corner: 8 sqrt 3


@pytest.mark.parametrize("shape", [(16, 16, 16), (12, 16, 9), (7, 5, 16)])
def test_it_agrees_with_the_whole_transform(shape):
    v = np.random.RandomState(1).standard_normal((2, *shape))
    power = np.zeros(shape)
    for channel in v:
        power += np.abs(np.fft.fftn(channel - channel.mean())) ** 2 / channel.size / 2
    axes = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    shell = np.rint(np.sqrt(sum(a**2 for a in axes)) * max(shape)).astype(int)
    expected = [
        10 * np.log10(power[shell == k].mean())
        for k in range(1, shell.max() + 1)
        if (shell == k).any()
    ]
    np.testing.assert_allclose(spectrum(v), expected, rtol=1e-6)


@pytest.mark.parametrize("cycles", [1, 3, 7])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_plane_wave_is_in_the_shell_of_its_frequency(cycles, axis):
    wave = np.cos(2 * np.pi * cycles * np.arange(16) / 16)
    v = np.broadcast_to(np.moveaxis(wave[:, None, None], 0, axis), (1, 16, 16, 16))
    assert spectrum(v).argmax() == cycles - 1


def test_a_checkerboard_is_in_the_corner():
    board = (np.indices((16, 16, 16)).sum(axis=0) % 2 * 2 - 1)[None].astype(float)
    assert spectrum(board).argmax() == len(spectrum(board)) - 1


def test_an_empty_volume_has_the_least_power():
    assert spectrum(np.full((1, 8, 8, 8), -1.0)) == pytest.approx(-100)


def test_distance_is_that_of_means_and_spreads():
    x, y = np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[1.0, 4.0]])
    assert distance(x, y) == pytest.approx(np.sqrt((0 + 1 + 9 + 0) / 2))
    assert distance(x, x) == 0
    assert distance(x, y) == distance(y, x)
    assert distance(x + 7, y + 7) == pytest.approx(distance(x, y))


def test_an_equal_mean_with_another_spread_is_far():
    rng = np.random.RandomState(0)
    x = rng.standard_normal((200, 10))
    near = distance(rng.standard_normal((200, 10)), x)
    found = [distance(x.mean(0) + s * (x - x.mean(0)), x) for s in (1.5, 2, 4)]
    assert near < found[0] < found[1] < found[2]
    np.testing.assert_allclose(found, np.array([0.5, 1, 3]) * np.sqrt(np.mean(x.var(axis=0))))


LADDERS = {
    "blur": [lambda v, i, s=s: blur(v, s) for s in (0.5, 1, 2)],
    "noise": [
        lambda v, i, s=s: add_noise(v, s, np.random.default_rng([3, i]))
        for s in (0.02, 0.05, 0.1, 0.2)
    ],
    "checkerboard": [
        lambda v, i, a=a: v + 2 * a * (np.indices(v.shape).sum(axis=0) % 2 * 2 - 1) * (v > -1)
        for a in (0.02, 0.05, 0.1)
    ],
}


@pytest.mark.parametrize("defect", LADDERS)
def test_defects_are_outside_all_real_draws_and_in_order(phantoms, volume_sets, defect):
    train, other = phantoms
    rng = np.random.default_rng(0)
    real = [
        value(volume_sets, [other[i] for i in rng.permutation(100)[:40]], train) for _ in range(10)
    ]
    found = [
        value(volume_sets, [np.clip(f(v, i), -1, 1) for i, v in enumerate(other[:40])], train)
        for f in LADDERS[defect]
    ]
    assert found == sorted(found)
    assert max(real) < found[0]


def test_collapse_is_seen(phantoms, volume_sets):
    train, other = phantoms
    real = [value(volume_sets, other[i : i + 40], train) for i in (0, 30, 60)]
    mean = np.mean(train, axis=0)
    for made in ([other[0]] * 40, [mean] * 40, other[:4] * 10):
        assert value(volume_sets, made, train) > max(real)


def test_mirrored_and_scrambled_volumes_are_not_seen(phantoms, volume_sets):
    train, other = phantoms
    plain = value(volume_sets, other[:40], train)
    assert value(volume_sets, [np.flip(v, 3) for v in other[:40]], train) == pytest.approx(plain)
    rng = np.random.default_rng(0)
    blind = [scramble_phases(v, rng) for v in other[:40]]
    assert value(volume_sets, blind, train) == pytest.approx(plain, abs=1e-3)


def test_facts_say_on_which_scale_detail_is_missing(phantoms, volume_sets):
    train, other = phantoms
    facts = SPECTRUM.compute(volume_sets([blur(v, 1) for v in other[:20]], train), "").facts
    assert facts["high_gap"] < -20 < facts["low_gap"] < 0
    facts = SPECTRUM.compute(volume_sets([2 * v for v in train], train), "").facts
    assert facts["high_gap"] == pytest.approx(20 * np.log10(2), abs=0.01)
    assert facts["low_gap"] == pytest.approx(20 * np.log10(2), abs=0.01)


def test_equal_sets_have_no_distance_and_an_error(phantoms, volume_sets):
    train, _ = phantoms
    result = SPECTRUM.compute(volume_sets(train, train), "")
    assert result.value == 0
    assert result.se > 0


def test_order_changes_nothing_and_one_volume_is_refused(phantoms, volume_sets):
    train, other = phantoms
    turned = value(volume_sets, other[:20][::-1], train)
    assert turned == pytest.approx(value(volume_sets, other[:20], train), rel=1e-9)
    with pytest.raises(MetricError, match="generated set has 1 volumes; at least 2"):
        value(volume_sets, other[:1], train)
