"""Which metric sees which defect, and which are blind to it, on one set of phantoms.

Every defect is planted in fresh volumes of the class. A metric reacts if its loss (its value, or
its distance to the real set's own) rises by more than three standard errors of the clean value.
Those that must react are listed, and so are those that cannot: a metric that learns to see what it
is listed as blind to fails here, and its ``blind_to`` has to change with it. Wrong ranges that a
whole file shows are refused before anything is scored (tests of folders); here they are not.
"""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.datasets.phantom import Phantom
from cerebench.metrics.base import Better, Sets, VolumeSet

N, SIZE = 80, 16
METRICS = (
    "mmd2-kwon", "mmd2-linear", "mmd2-rbf", "ms-ssim", "fd-radlite-v1", "kid-radlite-v1",
    "fd-rand3d-v1", "fd-rand2d-v1", "prdc-radlite-v1/precision", "prdc-radlite-v1/recall",
    "prdc-radlite-v1/coverage", "nn-ratio", "ct-z", "authpct", "max-corr", "lesion-volume/KS",
    "foreground-volume",
)  # fmt: skip


def unit(change):
    """Apply a change on [0, 1] to the foreground."""
    return lambda v: np.where(v > -1, 2 * np.clip(change((v + 1) / 2), 0.02, 1) - 1, -1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return ``loss(metric, generated volumes) -> (loss, standard error)`` and the volumes."""
    phantom = Phantom(SIZE, rule={"train": N, "test": 2 * N})
    cases, split = phantom.cases(), phantom.split(0)

    def chosen(ids, label, part):
        of_class = [c for c in cases if c.id in set(ids) and c.label == label]
        return [phantom.load(c).volume for c in of_class[part]]

    train = chosen(split.train, 0, slice(None))
    fresh, test = (chosen(split.test, 0, part) for part in (slice(0, N), slice(N, 2 * N)))
    other = chosen(split.test, 1, slice(0, N))
    registries = Registries()
    cache = FeatureCache(tmp_path_factory.mktemp("features"), registries.extractors)

    def of(group, prefix):
        return VolumeSet(group, [f"{prefix}{i:03d}" for i in range(len(group))], cache)

    real, held_out = of(train, "r"), of(test, "t")
    made = {}

    def loss(name, defect, group):
        if defect not in made:
            generated = of([np.asarray(v, np.float32) for v in group], "g")
            made[defect] = Sets(generated, real, held_out, real, 0, (1.0, 1.0, 1.0))
        metric = registries.metrics.load(name.partition("/")[0])
        view = name.partition("/")[2] or metric.views[0]
        result = metric.compute(made[defect], view)
        if metric.better is Better.NEAR_REAL:
            return abs(result.value - result.real_value), result.se
        return (-1 if metric.better is Better.HIGHER else 1) * result.value, result.se

    return loss, train, fresh, other


def rng(seed=0):
    return np.random.RandomState(seed)


DEFECTS = {
    "collapse": lambda train, fresh, other: fresh[:1] * N,
    "memorisation": lambda train, fresh, other: train,
    "blur": lambda train, fresh, other: [gaussian_filter(v, (0, 1, 1, 1)) for v in fresh],
    "noise": lambda train, fresh, other: [
        np.clip(v + 0.2 * rng(i).standard_normal(v.shape), -1, 1) for i, v in enumerate(fresh)
    ],
    "gamma": lambda train, fresh, other: [unit(lambda u: u**0.6)(v) for v in fresh],
    "intensity shift": lambda train, fresh, other: [unit(lambda u: u - 0.15)(v) for v in fresh],
    "wrong range": lambda train, fresh, other: [(v + 1) / 2 for v in fresh],
    "class swap": lambda train, fresh, other: other,
    "axis swap": lambda train, fresh, other: [np.swapaxes(v, 1, 3) for v in fresh],
}


def rise(world, name, defect):
    """Return by how many standard errors of the clean value a defect raises the loss."""
    loss, *sources = world
    clean, error = loss(name, "clean", sources[1])
    spoilt, _ = loss(name, defect, DEFECTS[defect](*sources))
    return (spoilt - clean) / error


FEATURES = ("mmd2-rbf", "fd-radlite-v1", "kid-radlite-v1")
SEES = {
    "collapse": (
        *FEATURES, "mmd2-linear", "ms-ssim", "fd-rand3d-v1", "fd-rand2d-v1",
        "prdc-radlite-v1/recall",
        "prdc-radlite-v1/coverage", "lesion-volume/KS",
    ),
    "memorisation": ("nn-ratio", "ct-z", "authpct", "max-corr"),
    "blur": (*FEATURES, "mmd2-linear", "fd-rand2d-v1", "prdc-radlite-v1/precision", "ct-z"),
    "noise": (*FEATURES, "mmd2-linear", "fd-rand3d-v1", "fd-rand2d-v1", "prdc-radlite-v1/recall"),
    "gamma": ("mmd2-linear", "mmd2-rbf", "fd-rand2d-v1"),
    "intensity shift": (*FEATURES, "mmd2-linear", "fd-rand2d-v1", "prdc-radlite-v1/coverage"),
    "wrong range": (
        *FEATURES, "mmd2-kwon", "mmd2-linear", "ms-ssim", "fd-rand3d-v1", "fd-rand2d-v1",
        "lesion-volume/KS",
    ),
    "class swap": ("mmd2-rbf", "prdc-radlite-v1/recall", "prdc-radlite-v1/coverage"),
    "axis swap": ("mmd2-linear", "fd-rand2d-v1"),
}  # fmt: skip
BLIND = {
    "collapse": ("mmd2-kwon", "prdc-radlite-v1/precision", "nn-ratio"),
    "memorisation": (
        *FEATURES, "mmd2-kwon", "mmd2-linear", "ms-ssim", "fd-rand3d-v1", "fd-rand2d-v1",
        "prdc-radlite-v1/precision", "prdc-radlite-v1/recall", "lesion-volume/KS",
    ),
    "blur": ("mmd2-kwon", "ms-ssim", "nn-ratio"),
    "noise": ("nn-ratio",),
    "gamma": ("ms-ssim", "nn-ratio", "max-corr", "lesion-volume/KS"),
    "intensity shift": ("mmd2-kwon", "ms-ssim", "fd-rand3d-v1", "nn-ratio", "max-corr"),
    "wrong range": ("nn-ratio", "max-corr"),
    "class swap": ("mmd2-kwon", "ms-ssim", "nn-ratio"),
    "axis swap": (
        "mmd2-kwon", "ms-ssim", "fd-radlite-v1", "kid-radlite-v1", "max-corr", "lesion-volume/KS",
        "foreground-volume",
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_metrics_that_must_react_do(world, defect):
    missed = {name: rise(world, name, defect) for name in SEES[defect]}
    assert not {name: z for name, z in missed.items() if not z > 3}


@pytest.mark.parametrize("defect", DEFECTS)
def test_metrics_that_are_blind_are_known(world, defect):
    seen = {name: rise(world, name, defect) for name in BLIND[defect]}
    assert not {name: z for name, z in seen.items() if z > 2}


def test_every_blindness_is_declared_in_words(world):
    registry = Registries().metrics
    names = {name.partition("/")[0] for names in BLIND.values() for name in names}
    assert all(registry.load(name).blind_to for name in names)
