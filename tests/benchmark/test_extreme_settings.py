"""The least and the largest value that the settings accept really train and sample."""

import dataclasses

import pytest
import torch

from cerebench.benchmark.conformance.methods import Subject, states
from cerebench.benchmark.engine.registry import Registries
from cerebench.core.bounds import schema, typed
from cerebench.core.settings import accepted

TINY = 1e-9  # above an excluded bound

# Where another setting has its least value, too, the least of these is refused.
LEAST = {
    "alpha-wgan": {"batch": 2},
    "alpha-wgan-c": {"batch": 2},
    "vqgan": {"stop_at": 1.0},
    "vqgan-cond": {"stop_at": 1.0},
}


def least(found):
    if found.get("type") == "array":
        return (least(found["items"]),) * found.get("minItems", 1)
    return found["minimum"] if "minimum" in found else found["exclusiveMinimum"] + TINY


def largest(found):
    return found["maximum"] if "maximum" in found else found["exclusiveMaximum"] - TINY


def numbers(name):
    """Return the JSON schema of every setting that is a number or a list of numbers."""
    methods = Registries().methods
    found = {f: schema(accepts) for f, accepts in accepted(methods.load(name).Config).items()}
    return {f: s for f, s in found.items() if s.get("type") in ("integer", "number", "array")}


def trains_and_samples(name, tmp_path, changes):
    subject = Subject(name, Registries())
    preset = subject.cls.presets["smoke"]
    accepts = accepted(subject.cls.Config)
    values = {"precision": "fp32"} | {f: typed(f, v, accepts[f]) for f, v in changes.items()}

    class Changed(subject.cls):
        presets = {
            "smoke": dataclasses.replace(
                preset, config=dataclasses.replace(preset.config, **values)
            )
        }

    subject.cls = Changed
    before, method = states(subject.build()), subject.train(tmp_path)
    after = states(method)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in after)
    volumes = subject.sample(method)
    assert volumes.shape == (3, 1, 16, 16, 16)
    assert torch.isfinite(volumes).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", Registries().methods.names())
def test_the_least_values_train(name, tmp_path):
    changes = {f: least(s) for f, s in numbers(name).items() if "enum" not in s}
    trains_and_samples(name, tmp_path, changes | LEAST.get(name, {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", Registries().methods.names())
def test_the_largest_values_train(name, tmp_path):
    bounded = {
        f: s
        for f, s in numbers(name).items()
        if "enum" not in s and {"maximum", "exclusiveMaximum"} & s.keys()
    }
    trains_and_samples(name, tmp_path, {f: largest(s) for f, s in bounded.items()})


@pytest.mark.slow
@pytest.mark.parametrize("name", Registries().methods.names())
def test_the_last_of_all_choices_trains(name, tmp_path):
    methods = Registries().methods
    found = {f: schema(accepts) for f, accepts in accepted(methods.load(name).Config).items()}
    trains_and_samples(name, tmp_path, {f: s["enum"][-1] for f, s in found.items() if "enum" in s})
