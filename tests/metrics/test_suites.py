"""Suites name existing metrics and expand without repeats."""

from cerebench.benchmark.engine.registry import Registries
from cerebench.metrics import BUILTIN
from cerebench.metrics.extractors import BUILTIN as EXTRACTORS
from cerebench.metrics.suites import SUITES, asked, expand


def test_every_metric_of_a_suite_exists():
    assert {m for suite in SUITES.values() for m in suite.metrics} <= set(BUILTIN)


def test_the_suites_are_those_of_the_specification():
    compat = {"compat-midl2024", "compat-synthanatomy", "compat-aldm"}
    compat |= {"compat-vlm3d-mr", "compat-wdm"}
    assert set(SUITES) == {"core", "core-v1", "core+fid"} | compat
    assert not set(SUITES) & set(BUILTIN)


def test_core_needs_no_weights():
    registry = Registries().metrics
    needs = {registry.load(m).needs for m in SUITES["core"].metrics} - {""}
    assert {EXTRACTORS[name][1]["weights"] for name in needs} == {None}


def test_a_bounded_kernel_distance_stands_beside_every_fd_and_copies_are_looked_for():
    core = SUITES["core"].metrics
    distances = {name for name in core if name.startswith("fd-")}
    assert distances == {"fd-radlite-v2", "fd-rand3d-v1-pca64"}
    assert {"mmd2-rbf-radlite-v2", "class-fidelity", "copies", "background"} <= set(core)


def test_what_core_was_stays_as_it_was():
    v1 = SUITES["core-v1"].metrics
    assert {"fd-radlite-v1", "kid-radlite-v1", "nn-ratio", "ct-z", "max-corr"} <= set(v1)
    assert len(v1) == 14
    assert not {name for name in v1 if name.endswith("radlite-v2")}


def test_a_suite_is_found_by_the_name_it_had_before():
    assert expand(["smoke"]) == list(SUITES["core"].metrics)
    assert asked(["smoke", "core"]) == ["core"]


def test_names_and_suites_mix_without_repeats():
    found = expand(["vendi-radlite-v1", "core", "ms-ssim"])
    assert found == ["vendi-radlite-v1", *SUITES["core"].metrics]
    assert asked(["vendi-radlite-v1", "core", "ms-ssim"]) == ["core"]
    assert expand(["no-such-metric"]) == ["no-such-metric"]  # refused where metrics are loaded
