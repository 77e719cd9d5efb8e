"""Train on synthetic, test on real: real volumes, blurred ones and mislabelled ones, told apart."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.datasets.phantom import Phantom
from cerebench.metrics.base import Sets, VolumeSet

SEEDS, TRAIN, GENERATED, TEST = 5, 100, 64, 200  # of each class, as in the quickstart
CLASSES = ("LGG", "HGG")


@pytest.mark.slow
def test_held_out_blurred_and_mislabelled_volumes_are_two_errors_apart_over_five_seeds(tmp_path):
    registries = Registries()
    features = FeatureCache(tmp_path, registries.extractors)
    tstr = registries.metrics.load("tstr")
    phantom = Phantom(32, rule={"train": SEEDS * (TRAIN + GENERATED), "test": TEST})
    volumes = [
        [phantom.load(case).volume for case in phantom.cases() if case.label == label]
        for label in range(2)
    ]

    def given(drawn, name):
        return VolumeSet(drawn, [f"{name}{i}" for i in range(len(drawn))], features)

    def value(generated, train):
        pooled = given(train[0] + train[1], "p")
        own = {
            name: Sets(
                given(generated[k], f"g{k}"), given(train[k], f"t{k}"),
                given(volumes[k][-TEST:], f"e{k}"), pooled, 0, (4.0,) * 3,
            )
            for k, name in enumerate(CLASSES)
        }  # fmt: skip
        return tstr.compute(dataclasses.replace(own["LGG"], classes=own), "").value

    found = {"real": [], "blurred": [], "shuffled": []}
    for seed in range(SEEDS):
        first = seed * (TRAIN + GENERATED)
        train = [own[first : first + TRAIN] for own in volumes]
        real = [own[first + TRAIN : first + TRAIN + GENERATED] for own in volumes]
        half = GENERATED // 2
        made = {
            "real": real,
            "blurred": [[gaussian_filter(v, (0, 2, 2, 2)) for v in own] for own in real],
            "shuffled": [real[k][:half] + real[1 - k][half:] for k in range(2)],
        }
        for name, generated in made.items():
            found[name].append(value(generated, train))
    print(f"\n{ {name: np.round(each, 3).tolist() for name, each in found.items()} }")  # noqa: T201

    def apart(better, worse):
        """Return the difference of means in standard errors of it, seeds taken as independent."""
        error = math.hypot(*(np.std(found[n], ddof=1) / math.sqrt(SEEDS) for n in (better, worse)))
        return (np.mean(found[better]) - np.mean(found[worse])) / error

    assert apart("real", "blurred") > 2
    assert apart("blurred", "shuffled") > 2
    assert apart("real", "shuffled") > 2
