"""How well features tell sites, and how far apart sites are."""

import numpy as np
import pytest

from cerebench.metrics.base import Sets, VolumeSet
from cerebench.metrics.estimators.floor import floor_of_sites
from cerebench.metrics.estimators.sites import read_sites
from cerebench.metrics.features.frechet import frechet_distance
from cerebench.metrics.probes.probe import Classes

DIM = 6


def features(n, seed, shift=0.0, of_class=0.0):
    x = np.random.default_rng(seed).standard_normal((n, DIM))
    x[:, 0] += shift
    x[:, 1] += of_class
    return x


def every(site_gap, class_gap, sites=("a", "b"), n=40):
    """Two classes, each scanned at both sites in turn."""
    made = {}
    for k, name in enumerate(("LGG", "HGG")):
        halves = [features(n // 2, 10 * k + j, site_gap * j, class_gap * k) for j in (0, 1)]
        rows, where = np.concatenate(halves), np.repeat(sites, n // 2)
        made[name] = rows, tuple(where)

    def given(rows, where, prefix):
        ids = [f"{prefix}{i}" for i in range(len(rows))]
        return VolumeSet([None] * len(rows), ids, lambda *_: rows.astype(np.float32), sites=where)

    pooled = given(np.concatenate([rows for rows, _ in made.values()]), (), "p")
    own = {
        name: Sets(given(rows, (), "g"), given(rows, where, name), given(rows[:0], (), "t"),
                   pooled, 0, (1.0,) * 3)
        for name, (rows, where) in made.items()
    }  # fmt: skip
    first = own["LGG"]
    return Classes(
        Sets(first.generated, first.train, first.test, pooled, 0, (1.0,) * 3, classes=own)
    )


@pytest.mark.parametrize(
    ("site_gap", "class_gap", "site", "class_"),
    [
        (4, 0, (0.97, 1), (0.3, 0.7)),
        (0, 4, (0.3, 0.7), (0.97, 1)),
        (1.5, 1.5, (0.7, 0.95), (0.7, 0.95)),
    ],
)
def test_each_is_read_as_far_as_it_stands_in_the_features(site_gap, class_gap, site, class_):
    found = read_sites(every(site_gap, class_gap))
    assert site[0] <= found["site_auc"] <= site[1]
    assert class_[0] <= found["class_auc"] <= class_[1]
    assert found["sites"] == 2


def test_nothing_is_said_where_sites_are_too_few_or_not_known():
    assert read_sites(every(4, 0, sites=("a", "a"))) == {}
    assert read_sites(every(4, 0, sites=("a", ""))) == {}
    assert read_sites(every(4, 0, n=8)) == {}


@pytest.mark.parametrize(("gap", "least", "most"), [(0, 0.5, 1.6), (3, 1.7, 9), (6, 4, 40)])
def test_sites_are_further_apart_than_halves_of_one_where_they_differ(gap, least, most):
    x = np.concatenate([features(20, 1), features(30, 2, gap)])
    found = floor_of_sites(frechet_distance, x, ["a"] * 20 + ["b"] * 30, 0)
    assert found["floor_sites_m"] == 10
    assert least < found["floor_across_sites"] / found["floor_within_sites"] < most


def test_sites_of_fewer_than_eight_cases_and_unknown_ones_are_left_aside():
    x = features(30, 1)
    assert floor_of_sites(frechet_distance, x, ["a"] * 23 + ["b"] * 7, 0) == {}
    assert floor_of_sites(frechet_distance, x, ["a"] * 15 + [""] * 15, 0) == {}
    assert floor_of_sites(frechet_distance, x, ["a"] * 22 + ["b"] * 8, 0)["floor_sites_m"] == 4
