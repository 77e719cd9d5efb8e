"""Declaring settings, presets with sources, and the check of a whole configuration."""

import warnings
from dataclasses import dataclass, replace

import pytest

from cerebench.core.bounds import BadConfig, Count, Positive
from cerebench.core.settings import Preset, accepted, check, setting


@dataclass(frozen=True)
class Config:
    steps: Count = setting(10, "optimiser steps", "[ours: test]")
    lr: Positive = setting(1e-3, "step size", "[paper: table 1]")
    widths: tuple[Count, ...] = setting((8, 4), "channels", "[code: net.py]")


@dataclass(frozen=True)
class Old:
    """As a plugin of version 0.1 has it."""

    steps: int = setting(10, "optimiser steps", "[ours: test]")
    lr: float = setting(1, "step size", "[ours: test]")
    precision: str = setting("fp32", "autocast", "[ours: test]")


@pytest.mark.parametrize("source", ["", "ours", "[guess: x]", "[ours: x", "ours: x]", "[paper:]"])
def test_a_source_without_a_tag_is_refused(source):
    with pytest.raises(BadConfig, match="is not a provenance tag"):
        setting(1, "x", source)


def test_presets_know_the_source_of_every_value():
    small = Preset(Config(), size=64).override(size=16, steps=(2, "[ours: fast]"))
    assert (small.size, small.config) == (16, Config(steps=2))
    assert small.sources == {
        "steps": "[ours: fast]",
        "lr": "[paper: table 1]",
        "widths": "[code: net.py]",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepps": (2, "[ours: x]")}, "No setting named 'stepps'. Settings: steps, lr, widths"),
        ({"steps": 2}, r"Override of 'steps' must be \(value, source\), got 2"),
        ({"steps": (2, 3)}, "must be"),
        ({"steps": (2, "ours")}, "is not a provenance tag"),
    ],
)
def test_an_override_without_its_source_is_refused(changes, message):
    with pytest.raises(BadConfig, match=message):
        Preset(Config(), size=64).override(**changes)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"lr": float("nan")}, {"widths": (8, -1)}])
def test_a_configuration_with_one_impossible_value_is_refused_by_name(changes):
    (field,) = changes
    with pytest.raises(BadConfig, match=rf"mine\.{field} must be .* in preset 'quick'\.$"):
        check("mine", replace(Config(), **changes), where=" in preset 'quick'")


def test_a_check_leaves_values_as_they_are_since_keys_are_made_of_them():
    old = Old()
    check("old", old)
    assert repr(old.lr) == "1"


def test_settings_of_version_0_1_have_their_types_and_a_known_precision():
    for changes in ({"steps": 1.5}, {"lr": float("inf")}, {"precision": "fp8"}):
        with pytest.raises(BadConfig, match="old"):
            check("old", replace(Old(), **changes))
    check("old", replace(Old(), steps=-5))  # it says nothing against it


def test_a_type_that_the_module_does_not_know_is_told():
    @dataclass(frozen=True)
    class Elsewhere:
        steps: "Cuont" = setting(1, "x", "[ours: test]")  # noqa: F821

    with pytest.raises(BadConfig, match=r"'Cuont' is not defined\. Import it at the top"):
        accepted(Elsewhere)


def test_subclasses_have_the_types_of_all_their_fields():
    @dataclass(frozen=True)
    class Longer(Config):
        steps: Positive = setting(1.0, "epochs", "[ours: test]")

    assert list(accepted(Longer)) == ["steps", "lr", "widths"]
    assert accepted(Longer) == {**accepted(Config), "steps": Positive}


def test_bounds_of_version_0_1_are_told_where_they_belong_now():
    for old in ({"least": 1}, {"least": 0}, {"choices": ("a", "b")}):
        with pytest.warns(FutureWarning, match=r"Annotated\[int, Field\(ge=1\)\]"):
            setting(1, "x", "[ours: test]", **old)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        setting(1, "x", "[ours: test]")
