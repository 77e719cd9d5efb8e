"""The real floor: what it is made of, and that a perfect generator has the ratio 1."""

from dataclasses import replace

import numpy as np
import pytest

from cerebench.metrics.base import Sets, VolumeSet
from cerebench.metrics.estimators.floor import DRAWS, NONE, at_floor, fresh_cases, ratio, real_floor
from cerebench.metrics.features.frechet import FD_RADLITE2, FD_RAND3D_PCA64, frechet_distance


def gap(x, y):
    """A distance whose floor has a closed form: mean of x against mean of y, squared."""
    return float((x.mean() - y.mean()) ** 2)


def normal(count, seed=0, dim=1):
    return np.random.default_rng(seed).standard_normal((count, dim))


def test_draws_have_the_size_of_the_row_and_at_most_half_of_the_held_out_cases():
    sizes = []

    def spy(x, y):
        sizes.append((len(x), len(y)))
        return float(x.sum())

    assert real_floor(spy, normal(40), normal(10), 16, 0).m == 16
    assert real_floor(spy, normal(40), normal(10), 64, 0).m == 20
    assert sizes == [(16, 10)] * DRAWS + [(20, 10)] * DRAWS


def test_the_mean_of_the_floor_is_that_of_independent_samples():
    floors = [real_floor(gap, normal(400, s), normal(100, s + 999), 64, s) for s in range(200)]
    expected = 1 / 64 + 1 / 100  # E (mean_x - mean_y)^2
    assert np.mean([f.mean for f in floors]) == pytest.approx(expected, rel=0.15)


def test_the_spread_is_corrected_for_shared_cases():
    """Of a sum, whose sd over independent draws is known."""

    def total(x, y):
        return float(x.mean())

    found = [real_floor(total, normal(128, s), normal(4), 64, s).sd for s in range(200)]
    assert np.mean(found) == pytest.approx(1 / 8, rel=0.05)


def test_without_held_out_cases_the_reference_is_halved():
    sizes = []

    def spy(x, y):
        sizes.append((len(x), len(y)))
        assert not {*x.ravel()} & {*y.ravel()}
        return 1.0

    floor = real_floor(spy, normal(0), normal(21), 64, 0)
    assert (floor.m, floor.n) == (10, 10)
    assert set(sizes) == {(10, 10)}
    assert at_floor(lambda x, y: float(len(x) + len(y)), normal(64), normal(21), floor, 0) == 20


def sets(generated, train, test, dim=4):
    given = {
        "generated": generated, "train": train, "test": test, "pooled": train
    }  # fmt: skip

    def made(name):
        rows = given[name]
        ids = [f"{name}{i}" for i in range(len(rows))]
        return VolumeSet([None] * len(rows), ids, lambda volumes, extractor, view: rows)

    return Sets(**{name: made(name) for name in given}, seed=0, spacing=(1.0,) * 3)


def ratio_of(generated, train, test):
    given = sets(generated, train, test)
    value = frechet_distance(generated, train)
    return ratio("fd", frechet_distance, given, value, generated, train, test)[0]


@pytest.mark.parametrize("held_out", [200, 40, 0])
def test_a_perfect_generator_has_the_ratio_1_however_many_cases_are_held_out(held_out):
    found = [
        ratio_of(normal(64, 3 * s, 4), normal(100, 3 * s + 1, 4), normal(held_out, 3 * s + 2, 4))
        for s in range(60)
    ]
    assert np.mean([f["ratio"] for f in found]) == pytest.approx(1, abs=0.12)
    worse = ratio_of(1.5 * normal(64, 1, 4), normal(100, 2, 4), normal(held_out, 3, 4))
    worst = ratio_of(2 * normal(64, 1, 4), normal(100, 2, 4), normal(held_out, 3, 4))
    assert 1.5 < worse["ratio"] < worst["ratio"]


def test_ratio_and_floor_are_of_the_same_sizes():
    found = ratio_of(normal(64, 1, 4), normal(100, 2, 4), normal(40, 3, 4))
    assert (found["floor_m"], found["floor_n"]) == (20, 100)
    found = ratio_of(normal(64, 1, 4), normal(100, 2, 4), normal(200, 3, 4))
    assert (found["floor_m"], found["floor_n"]) == (64, 100)
    whole = frechet_distance(normal(64, 1, 4), normal(100, 2, 4))
    assert found["ratio"] * found["floor"] == pytest.approx(whole)


@pytest.mark.parametrize("held_out", [1, 3])
def test_with_fewer_than_four_held_out_cases_the_reference_is_halved(held_out):
    found = ratio_of(normal(64, 1, 4), normal(100, 2, 4), normal(held_out, 3, 4))
    assert found == ratio_of(normal(64, 1, 4), normal(100, 2, 4), normal(0, 3, 4))
    assert (found["floor_m"], found["floor_n"]) == (50, 50)


def test_there_is_no_ratio_where_there_is_nothing_to_draw_from():
    given = sets(normal(8, 1, 4), normal(3, 2, 4), normal(0, 3, 4))
    found = ratio("fd", frechet_distance, given, 1.0, normal(8, 1, 4), normal(3, 2, 4),
                  normal(0, 3, 4))  # fmt: skip
    assert found == ({}, (NONE,))


@pytest.mark.parametrize("metric", [FD_RADLITE2, FD_RAND3D_PCA64])
def test_the_metrics_that_tables_show_as_ratios_record_them(metric):
    train, test = normal(60, 1, 12).astype(np.float32), normal(80, 2, 12).astype(np.float32)
    real = metric.compute(sets(normal(40, 3, 12).astype(np.float32), train, test), "")
    wide = metric.compute(sets(3 * normal(40, 3, 12).astype(np.float32), train, test), "")
    assert metric.as_ratio
    assert 0.5 < real.facts["ratio"] < 2 < wide.facts["ratio"]
    assert real.facts["floor"] * real.facts["ratio"] == pytest.approx(real.value)
    assert real.facts["floor_sd"] > 0


def test_fresh_cases_join_those_held_out():
    train, few = normal(60, 1, 12).astype(np.float32), normal(6, 2, 12).astype(np.float32)
    made = normal(40, 3, 12).astype(np.float32)
    poor = FD_RADLITE2.compute(sets(made, train, few), "").facts
    fresh = normal(394, 4, 12).astype(np.float32)
    rows = VolumeSet([None] * 394, [f"f{i}" for i in range(394)], lambda *_: fresh)
    given = replace(sets(made, train, few), fresh=rows)
    rich = FD_RADLITE2.compute(given, "").facts
    assert (poor["floor_m"], rich["floor_m"]) == (3, 40)
    both = np.concatenate([few, fresh])
    held = FD_RADLITE2.compute(sets(made, train, both), "").facts
    assert rich == held


def test_as_many_are_fresh_as_ten_draws_need():
    assert fresh_cases(64, 200) + 200 == 10 * 64
    assert fresh_cases(64, 640) == fresh_cases(0, 0) == 0
