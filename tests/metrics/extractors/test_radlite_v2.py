"""radlite-v2 in order over ladders of defects, where v1 is not.

Real draws are volumes of the class that no other set holds; a defect is seen where its distance is
above that of every draw, and in order where a stronger level is further than a weaker one.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.datasets.brats import BraTS
from cerebench.datasets.phantom import Phantom
from cerebench.metrics.base import Sets, VolumeSet
from cerebench.metrics.controls import blur
from cerebench.metrics.estimators.standardise import BOUND, BOUNDED_RECIPE, Bounded, Standardiser
from cerebench.metrics.extractors import BUILTIN
from cerebench.metrics.extractors.radlite import Radlite, Radlite2, body

REAL = Path(__file__).parents[3] / "../shared/data/brats2020-tcga-roi"
DRAWS, LABELS = 10, {"LGG": 0, "HGG": 1}


def noise(sd, where):
    """Add noise of this sd on [0, 1] to the background, the foreground, or both."""

    def change(v, i):
        added = 2 * sd * np.random.default_rng([1, i]).standard_normal(v.shape)
        return v + added * {"back": v <= -1, "fore": v > -1, "both": True}[where]

    return change


def unit(change):
    return lambda v, i: 2 * change((v + 1) / 2) - 1


def checkerboard(amplitude):
    def change(v, i):
        sign = np.indices(v.shape).sum(axis=0) % 2 * 2 - 1
        return v + 2 * amplitude * sign * (v > -1)

    return change


LADDERS = {
    "blur": [lambda v, i, s=s: blur(v, s) for s in (0.5, 1, 2)],
    **{
        f"noise, {where}": [noise(sd, where) for sd in (0.05, 0.1, 0.2, 0.4)]
        for where in ("back", "fore", "both")
    },
    "brightness": [unit(lambda u, f=f: f * u) for f in (0.95, 0.9, 0.8)],
    "checkerboard": [checkerboard(a) for a in (0.02, 0.05, 0.1)],
}


class World:
    """Training cases of one class, n that are spoilt, others for draws, and the metrics on them."""

    def __init__(self, pooled, train, test, n, cache):
        self.pooled, self.train, self.test, self.n = pooled, train, test, n
        self.cache, self.metrics = cache, Registries().metrics

    @classmethod
    def of_phantoms(cls, size, n, label, cache):
        phantom = Phantom(size, rule={"train": n, "test": 2 * n})
        loaded = [(c, phantom.load(c).volume) for c in phantom.cases()]
        chosen = set(phantom.split(0).train)
        pooled = [v for c, v in loaded if c.id in chosen]
        train = [v for c, v in loaded if c.id in chosen and c.label == label]
        test = [v for c, v in loaded if c.id not in chosen and c.label == label]
        return cls(pooled, train, test, n, cache)

    @classmethod
    def of_gliomas(cls, size, label, cache):
        scans = BraTS(size, root=REAL)
        loaded = [(c.label, scans.load(c).volume) for c in scans.cases()]
        own = [v for known, v in loaded if known == label]
        order = np.random.default_rng(5).permutation(len(own))
        train, test = ([own[i] for i in part] for part in np.array_split(order, 2))
        return cls([v for _, v in loaded], train, test, len(test), cache)

    def of(self, volumes, prefix):
        ids = [f"{prefix}{i:03d}" for i in range(len(volumes))]
        return VolumeSet([np.asarray(v, np.float32) for v in volumes], ids, self.cache)

    def distance(self, name, volumes):
        real, pooled = self.of(self.train, "r"), self.of(self.pooled, "p")
        sets = Sets(self.of(volumes, "g"), real, real, pooled, 0, (1.0, 1.0, 1.0))
        return self.metrics.load(name).compute(sets, "").value

    def draws(self, name):
        order = [np.random.default_rng(k).permutation(len(self.test)) for k in range(DRAWS)]
        return [self.distance(name, [self.test[i] for i in part[: self.n]]) for part in order]

    def ladder(self, name, levels):
        kept = list(enumerate(self.test[: self.n]))
        return [
            self.distance(name, [np.clip(change(v, i), -1, 1) for i, v in kept])
            for change in levels
        ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return FeatureCache(tmp_path_factory.mktemp("features"), Registries().extractors)


@pytest.mark.parametrize("metric", ["fd-radlite-v2", "kid-radlite-v2"])
def test_more_noise_in_the_background_is_further_and_not_nearer_as_by_v1(cache, metric):
    world = World.of_phantoms(16, 24, 0, cache)
    levels = LADDERS["noise, back"][1:]
    found = world.ladder(metric, levels)
    assert max(world.draws(metric)) < found[0]
    assert found == sorted(found)
    first = world.ladder(metric.replace("v2", "v1"), levels)
    assert first != sorted(first)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_every_ladder_is_in_order_and_its_upper_levels_are_seen(cache, label):
    world = World.of_phantoms(32, 64, label, cache)
    for metric in ("fd-radlite-v2", "kid-radlite-v2"):
        draws = world.draws(metric)
        for name, levels in LADDERS.items():
            found = world.ladder(metric, levels)
            assert found == sorted(found), (metric, name, found)
            assert max(draws) < found[1], (metric, name, max(draws), found)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real volumes beside the checkout")
@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_the_ladders_of_real_gliomas_are_in_order_too(cache, label):
    world = World.of_gliomas(32, label, cache)
    for name in set(LADDERS) - {"brightness"}:  # which 10 cases of HGG are too few for
        found = world.ladder("fd-radlite-v2", LADDERS[name])
        assert found == sorted(found), (name, found)
    backwards = world.ladder("fd-radlite-v1", LADDERS["noise, back"])
    assert backwards[-1] == min(backwards)


def blob(size=16):
    grid = np.indices((size,) * 3) - size / 2
    return np.where((grid**2).sum(axis=0) < (size / 3) ** 2, 0.6, 0.0)


@pytest.mark.parametrize("sd", [0.05, 0.1, 0.2])
def test_the_body_is_free_of_speckle_and_keeps_the_object(sd):
    v = blob()
    spoilt = np.clip(v + sd * np.random.default_rng(0).standard_normal(v.shape), 0, 1)
    outside = gaussian_filter(v, 1) < 1e-3
    assert body(v)[v > 0].all()
    assert body(spoilt)[v > 0].mean() > 0.99
    assert body(spoilt)[outside].mean() < 0.002
    assert (spoilt > 0.02)[outside].mean() > 0.3  # what v1 takes


def test_small_parts_are_no_body():
    v = np.zeros((16, 16, 16))
    v[2, 2, 2] = 1.0  # its mean of 27 is .04
    assert not body(v).any()
    v[2, 2, 2:4] = v[2, 3, 2:4] = v[3, 2, 2:4] = 1.0
    assert not body(v).any()
    assert not body(np.zeros((16, 16, 16))).any()
    assert Radlite2().extract(np.full((1, 1, 16, 16, 16), -1.0, np.float32)).tolist() == [
        [0.0] * 83
    ]
    assert body(np.ones((16, 16, 16))).all()


def test_a_body_of_mostly_empty_voxels_has_finite_features():
    v = np.zeros((16, 16, 16))
    v[::2, ::2, ::2] = 1.0  # one voxel of eight
    v[::4] = np.minimum(v[::4] + 0.2, 1)
    assert np.isfinite(Radlite2().extract((2 * v - 1)[None, None].astype(np.float32))).all()


def test_both_versions_agree_on_an_object_that_both_masks_take_whole():
    v = np.full((1, 1, 12, 12, 12), 0.3, np.float32)
    v += 0.2 * np.random.default_rng(0).uniform(size=v.shape).astype(np.float32)
    assert np.array_equal(Radlite().extract(v), Radlite2().extract(v))


def test_bounded_features_are_monotone_near_themselves_inside_and_bounded_outside():
    z = norm.ppf((np.arange(2001) + 0.5) / 2001)[:, None]
    x = (3 + 2 * z).astype(np.float32)
    scale = Bounded.fit(x)
    assert scale(x) == pytest.approx(10 / np.pi * np.arctan(np.pi * z / 10), abs=2e-3)
    near = np.abs(z) < 1
    assert scale(x)[near] == pytest.approx(z[near], rel=0.04)
    assert np.median(scale(x)) == pytest.approx(0, abs=1e-9)
    far = scale(np.array([[-1e12], [1e3], [1e6], [1e12]], np.float32)).ravel()
    assert np.all(np.abs(far) <= BOUND)
    assert (np.diff(far) > 0).all()
    assert far[-1] == pytest.approx(BOUND, abs=1e-6)


def test_a_feature_that_is_mostly_one_value_is_scaled_by_its_sd():
    x = np.zeros((100, 2), np.float32)
    x[:10, 0] = 1.0
    x[:, 1] = np.arange(100)
    assert Bounded.fit(x).sd == pytest.approx(x.std(axis=0, ddof=1) * [1, 1.271], rel=0.02)
    x[:, 0] = 2.0
    assert Bounded.fit(x).kept.tolist() == [False, True]
    assert Standardiser.fit(x).kept.tolist() == [False, True]


def test_every_recipe_says_whether_its_features_are_bounded():
    registries = Registries()
    bounded = {n for n in BUILTIN if getattr(registries.extractors.load(n), "bounded", False)}
    assert bounded == {"radlite-v2"}
    for name in registries.metrics.names():
        metric = registries.metrics.load(name)
        if "standardise" in metric.recipe:
            told = metric.recipe["standardise"] == BOUNDED_RECIPE
            assert told == (metric.needs in bounded), name
