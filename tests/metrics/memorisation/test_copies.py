"""Copies over a table of attacks, and what must not be called one."""

import numpy as np
import pytest
from scipy.stats import norm, t

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.datasets.phantom import Phantom
from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.controls import add_noise, blur
from cerebench.metrics.memorisation.copies import COPIES, bound, closest_pairs, copied, stands_out

TRAIN, TEST, FRESH = 40, 24, 40


class World:
    """Phantoms of both classes: training, held-out and fresh cases."""

    def __init__(self, cache):
        phantom = Phantom(32, rule={"train": TRAIN, "test": TEST + FRESH})
        chosen = set(phantom.split(0).train)
        self.cache, self.train, self.test, self.fresh = cache, {}, {}, {}
        cases = [(c, phantom.load(c).volume) for c in phantom.cases()]
        for label in (0, 1):
            train = [v for c, v in cases if c.label == label and c.id in chosen]
            other = [v for c, v in cases if c.label == label and c.id not in chosen]
            self.train[label] = self.of(train, "r")
            self.test[label], self.fresh[label] = self.of(other[:TEST], "t"), other[TEST:]
        self.pooled = self.of([v for c, v in cases if c.id in chosen], "p")

    def of(self, volumes, prefix):
        ids = [f"{prefix}{i:03d}" for i in range(len(volumes))]
        return VolumeSet([np.asarray(v, np.float32) for v in volumes], ids, self.cache)

    def sets(self, volumes, label, test=None):
        held_out = self.test[label] if test is None else test
        made = self.of(volumes, "g")
        return Sets(made, self.train[label], held_out, self.pooled, 0, (4.0, 4.0, 4.0))

    def share(self, volumes, label, test=None):
        return COPIES.compute(self.sets(volumes, label, test), "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(FeatureCache(tmp_path_factory.mktemp("features"), Registries().extractors))


def noisy(sd):
    return lambda v, i: add_noise(v, sd, np.random.default_rng([7, i]))


ATTACKS = {  # change of a training volume, and the distance that must see it
    "plain": (lambda v, i: v, "both"),
    "flipped left and right": (lambda v, i: np.flip(v, 3), "both"),
    "flipped twice": (lambda v, i: np.flip(v, (1, 2)), "both"),
    "noise .02": (noisy(0.02), "voxel"),
    "blurred by half a voxel": (lambda v, i: blur(v, 0.5), "voxel"),
    "blurred by a voxel": (lambda v, i: blur(v, 1), "voxel"),
    "flipped and blurred": (lambda v, i: blur(np.flip(v, 2), 0.5), "voxel"),
    "moved by half a voxel": (lambda v, i: (v + np.roll(v, 1, 3)) / 2, "voxel"),
    "gamma .7": (lambda v, i: 2 * ((v + 1) / 2) ** 0.7 - 1, "voxel"),
    "brightness .9": (lambda v, i: 0.9 * (v + 1) - 1, "voxel"),
    "moved by a voxel": (lambda v, i: np.roll(v, 1, 1), "feature"),
    "moved by two voxels": (lambda v, i: np.roll(v, 2, 2), "feature"),
}
HONEST = {  # change of a fresh volume that makes no copy of it
    "fresh": lambda v, i: v,
    "fresh, blurred 1": lambda v, i: blur(v, 1),
    "fresh, blurred 2": lambda v, i: blur(v, 2),
    "fresh, noise .1": noisy(0.1),
}


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_memorised_set_is_seen_however_it_was_changed(world, attack, label):
    change, by = ATTACKS[attack]
    made = [change(v, i) for i, v in enumerate(world.train[label])]
    result = world.share(made, label)
    assert result.value >= 0.9
    for name in ("voxel", "feature") if by == "both" else (by,):
        assert result.facts[name] >= 0.9


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("kind", HONEST)
def test_new_cases_are_no_copies(world, kind, label):
    made = [HONEST[kind](v, i) for i, v in enumerate(world.fresh[label])]
    assert world.share(made, label).value <= 0.05


@pytest.mark.parametrize("label", [0, 1])
def test_the_mean_volume_is_like_all_and_a_copy_of_none(world, label):
    mean = np.mean(list(world.train[label]), axis=0)
    four = [np.mean(list(world.train[label])[i : i + 4], axis=0) for i in range(30)]
    assert world.share([mean] * 10, label).value == 0
    assert world.share(four, label).value <= 0.2


@pytest.mark.parametrize("share", [0.25, 0.5, 1])
def test_the_value_is_the_share_of_copies_among_the_volumes(world, share):
    k = round(share * FRESH)
    made = [blur(v, 0.5) for v in list(world.train[0])[:k]] + world.fresh[0][k:]
    result = world.share(made, 0)
    assert result.value == pytest.approx(share, abs=0.05)
    assert result.se == pytest.approx(np.sqrt(share * (1 - share) / FRESH), rel=0.5, abs=0.04)


def test_eight_held_out_cases_are_enough_to_see_a_blurred_set(world):
    few = world.of(list(world.test[0])[:8], "t")
    assert world.share([blur(v, 0.5) for v in world.train[0]], 0, few).value >= 0.9
    assert world.share(world.fresh[0], 0, few).value <= 0.05
    with pytest.raises(MetricError, match="test set has 7 volumes; at least 8"):
        world.share(world.fresh[0], 0, world.of(list(world.test[0])[:7], "t"))


def test_a_held_out_case_that_is_a_training_case_is_refused_with_its_name(world):
    mixed = world.of([*list(world.test[0])[:9], world.train[0][3]], "t")
    with pytest.raises(MetricError, match="1 test volumes equal a training volume, the first is"):
        world.share(world.fresh[0], 0, mixed)


def test_the_pairs_of_figures_are_the_copies_with_their_originals(world):
    made = [*world.fresh[0][:20], blur(world.train[0][7], 0.5), np.roll(world.train[0][3], 2, 2)]
    pairs = closest_pairs(world.sets(made, 0), 3)
    assert {(p.generated, p.train) for p in pairs[:2]} == {(20, 7), (21, 3)}
    assert len({p.generated for p in pairs}) == 3


def test_one_volume_has_a_share_but_no_error(world):
    result = world.share([world.train[0][0]], 0)
    assert (result.value, result.se) == (1, None)


# The bound.


def test_the_bound_is_the_prediction_bound_of_log_distances_or_the_nearest_held_out():
    logs = np.random.RandomState(0).standard_normal(12)
    reach = logs.mean() - t.ppf(0.995, 11) * logs.std(ddof=1) * np.sqrt(13 / 12)
    assert bound(np.exp(logs)) == pytest.approx(np.exp(min(reach, logs.min())))
    outlier = np.r_[np.zeros(30), -9.0]
    assert bound(np.exp(outlier)) == pytest.approx(np.exp(-9.0))


def test_the_bound_has_the_unit_of_the_distances():
    d = np.exp(np.random.RandomState(1).standard_normal(20))
    assert bound(10 * d) == pytest.approx(10 * bound(d))


@pytest.mark.parametrize("n", [8, 16, 64, 200])
def test_a_new_case_passes_the_bound_in_at_most_one_of_two_hundred(n):
    """Where log distances are normal the chance is known exactly, without drawing a new case."""
    rng = np.random.RandomState(n)
    risk = [norm.cdf(np.log(bound(np.exp(rng.standard_normal(n))))) for _ in range(4000)]
    assert np.mean(risk) < 0.005 + 3 * np.std(risk) / np.sqrt(4000)
    assert np.mean(risk) > 0.001


def test_a_volume_stands_out_from_the_fifth_nearest():
    assert stands_out(np.array([[0.7, 1, 1, 1, 1.0]])).tolist() == [True]
    assert stands_out(np.array([[0.71, 1, 1, 1, 1.0]])).tolist() == [False]
    twice = np.array([[0.1, 0.1, 0.1, 0.1, 1.0, 2.0]])  # a case that occurs four times
    assert stands_out(twice).tolist() == [True]
    assert stands_out(np.array([[0.1, 0.12]])).tolist() == [False]
    assert stands_out(np.array([[5.0]])).tolist() == [True]


def test_either_distance_is_enough(world):
    sets = world.sets([np.roll(world.train[0][0], 2, 2), blur(world.train[0][1], 0.5)], 0)
    found, _ = copied(sets)
    assert found["voxels"].tolist() == [False, True]
    assert found["features"].tolist() == [True, False]
    assert COPIES.compute(sets, "").value == 1
