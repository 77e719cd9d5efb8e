"""Fréchet distances as ratios to their real floor."""

import dataclasses

import pytest

from cerebench.reports.values.floor import NONE, as_ratio, notes, of_sites
from cerebench.reports.values.summary import summarise
from cerebench.reports.values.tidy import OK, UNAVAILABLE, Value

FACTS = {"floor": 5.0, "floor_sd": 1.5, "floor_m": 64, "floor_n": 100, "ratio": 2.4}
VALUE = Value(
    "phantom", 32, "0", 3, "method", "ddpm", "DDPM", "", "quick",
    class_="LGG", metric="fd-radlite-v2", value=12.0, se=1.0, better="lower", facts=FACTS,
    n_real=100, n_generated=64, replicates={"generated": (11.0, None), "real": (13.0, 12.0)},
)  # fmt: skip


def test_value_error_and_replicates_are_in_units_of_the_floor():
    shown = as_ratio(VALUE)
    assert (shown.value, shown.se) == pytest.approx((2.4, 0.2))
    assert shown.replicates["real"] == pytest.approx((2.6, 2.4))
    assert shown.replicates["generated"] == (pytest.approx(2.2), None)
    assert shown.status == OK


def test_a_ratio_at_fewer_volumes_is_shown_as_recorded():
    facts = {**FACTS, "floor_m": 20, "ratio": 1.5}
    shown = as_ratio(dataclasses.replace(VALUE, facts=facts))
    assert shown.value == 1.5
    assert shown.se == pytest.approx(1.0 / 5)  # not 1.5 / value, which explodes near 0


def test_a_distance_of_nothing_is_nothing():
    shown = as_ratio(dataclasses.replace(VALUE, value=0.0, facts={**FACTS, "ratio": 0.0}))
    assert (shown.value, shown.se) == (0.0, pytest.approx(0.2))


@pytest.mark.parametrize("facts", [{}, None, {"floor": 5.0}, {**FACTS, "ratio": None}])
def test_without_a_floor_there_is_a_reason_and_no_number(facts):
    shown = as_ratio(dataclasses.replace(VALUE, facts=facts))
    assert (shown.value, shown.status, shown.reason) == (None, UNAVAILABLE, NONE)


def test_what_is_missing_stays_missing_for_its_own_reason():
    lost = dataclasses.replace(VALUE, value=None, status="failed", reason="disk full")
    assert as_ratio(lost) == lost


def test_the_mean_over_seeds_is_the_mean_of_the_ratios():
    more = dataclasses.replace(VALUE, value=18.0, facts={**FACTS, "ratio": 3.6})
    assert summarise([as_ratio(VALUE), as_ratio(more)]).value == pytest.approx(3.0)


def test_the_floor_of_each_class_is_told_with_its_sizes(runs):
    contents = runs.read().contents
    (metric,) = (m for m in contents.metrics if m.name == "fd-radlite-v2")
    shown = dataclasses.replace(
        metric, as_ratio=True,
        recipe={"floor": {"draws": 20}},
    )  # fmt: skip
    contents = dataclasses.replace(contents, metrics=(shown,))
    other = dataclasses.replace(VALUE, class_="HGG", facts={**FACTS, "floor": 7.0})
    control = dataclasses.replace(VALUE, kind="anchor", facts={**FACTS, "floor": 3.0})
    fewer = dataclasses.replace(VALUE, facts={**FACTS, "floor": 9.0, "floor_m": 4})
    (line,) = notes(contents, [VALUE, other, control, VALUE, fewer])
    assert "mean of 20 draws" in line
    sizes = "LGG 5.0 ± 1.5 (64 against 100), HGG 7.0 ± 1.5 (64 against 100), LGG 9.0 ± 1.5 (4"
    assert sizes in line
    assert "3.0 ± 1.5" not in line


def test_sites_are_told_once_a_class_and_not_where_they_are_not_known(runs):
    contents = runs.read().contents
    assert list(of_sites(contents, [VALUE])) == []
    read = {"site_auc": 0.93, "class_auc": 0.712, "sites": 3}
    apart = {"floor_within_sites": 12.0, "floor_across_sites": 97.0, "floor_sites_m": 10}
    of_class = dataclasses.replace(VALUE, metric="class-fidelity", facts=read)
    distance = dataclasses.replace(VALUE, facts={**FACTS, **apart})
    lines = list(of_sites(contents, [of_class, distance, of_class, distance]))
    assert len(lines) == 2
    assert (
        "the 3 sites with 10 cases or more apart with AUC 0.93, the classes with 0.71" in lines[0]
    )
    assert "LGG, 10 against as many: 12.0 within a site, 97.0 across sites" in lines[1]
