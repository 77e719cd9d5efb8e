"""The diagnosis stage: what a trained method tells about itself is recorded, shown and isolated."""

import json

import numpy as np
import pytest
import torch

from cerebench.benchmark.errors import BadSample
from cerebench.benchmark.stages.diagnosis import check_maps, diagnostics, importance_maps
from cerebench.benchmark.stages.sampling import requests
from cerebench.benchmark.stages.training import TrainingData
from cerebench.methods.base import Diagnostic, Method, MethodInfo

PLUGIN = """
from dataclasses import dataclass

import torch
from torch import nn

from cerebench.methods.base import (
    Diagnostic,
    Method,
    MethodInfo,
    NonNegative,
    Precision,
    Preset,
    setting,
)


@dataclass(frozen=True)
class Config:
    value: NonNegative = setting(0.25, "importance of every voxel", "[ours: test]")
    precision: Precision = setting("fp32", "precision", "[ours: test]")

    def for_size(self, size):
        return self


class Honest(Method):
    info = MethodInfo("honest", 1, "test", "class", "honest")
    Config = Config
    presets = {name: Preset(Config(), 16) for name in ("paper", "quick", "smoke")}

    def build(self):
        return {"net": nn.Linear(1, 1)}

    def train(self, data, run):
        for step in run.phase("only").steps(1):
            step.batch(data, 2)

    def sample(self, conditions, rngs):
        return torch.stack([torch.rand(1, 16, 16, 16, generator=r) * 2 - 1 for r in rngs])

    def explain(self, volumes):
        return torch.full_like(volumes, self.config.value)

    def diagnose(self, train, test, conditions, rngs):
        labels = train.take(torch.arange(len(train))).labels
        return [
            Diagnostic(
                "sizes",
                "numbers of volumes",
                {"train": [len(train)], "test": [len(test)], "generated": [len(rngs)]},
            ),
            Diagnostic("label", "label of the training cases", {"train": labels.tolist()}),
        ]
"""


@pytest.fixture
def honest(bench):
    """Return a function that runs the tiny experiment with a method that has both hooks."""
    (bench.folder / "honest.py").write_text(PLUGIN)

    def run(*more):
        given = ("--plugin", "honest.py:Honest", "--methods", "honest", "--metrics", "mmd2-kwon")
        return bench("run", "tiny.toml", "--json", *given, *more)

    run.folder = bench.folder
    return run


def _cell(honest):
    (folder,) = honest.folder.glob("runs/*/honest-*/seed-0")
    return folder


def test_diagnostics_are_recorded_class_by_class_with_both_sets(honest):
    assert honest()[0] == 0
    record = json.loads((_cell(honest) / "diagnosis" / "record.json").read_text())
    found = {(d["class"], d["name"]): d["values"] for d in record["diagnostics"]}
    for label, name in enumerate(("LGG", "HGG")):
        assert found[name, "sizes"] == {"train": [12.0], "test": [10.0], "generated": [10.0]}
        assert found[name, "label"] == {"train": [float(label)] * 12}
    assert record["status"] == "ok"


def test_maps_are_the_centre_slices_of_test_cases(honest):
    assert honest()[0] == 0
    cell = json.loads((_cell(honest) / "cell.json").read_text())
    with np.load(_cell(honest) / "diagnosis" / "maps.npz") as maps:
        for name in ("LGG", "HGG"):
            assert maps[f"{name}/axial"].shape == (2, 16, 16)
            assert (maps[f"{name}/importance"] == 0.25).all()
            assert set(maps[f"{name}/ids"]) <= set(cell["split"]["test"])


def test_a_second_run_diagnoses_nothing_and_a_lost_record_is_made_again(honest):
    honest()
    record = _cell(honest) / "diagnosis" / "record.json"
    before = record.stat().st_mtime_ns
    assert json.loads(honest()[1])["done"] == 0
    assert record.stat().st_mtime_ns == before
    record.unlink()
    assert json.loads(honest()[1])["done"] == 1
    assert record.exists()


def test_a_failed_diagnosis_costs_no_score_and_is_named(honest):
    code, _, _ = honest("--set", "honest.value=1.5")
    assert code == 4
    failure = json.loads((_cell(honest) / "diagnosis" / "failure.json").read_text())
    assert "importance in [1.5, 1.5], not [0, 1]" in failure["reason"]
    assert list((_cell(honest) / "score").glob("mmd2-kwon@*.json"))


def test_methods_without_hooks_have_no_diagnosis(bench):
    bench("run", "tiny.toml", "--json", "--methods", "wgan-gp", "--metrics", "mmd2-kwon")
    (contents,) = bench.folder.glob("runs/*/experiment-*.json")
    rows = json.loads(contents.read_text())["rows"]
    cells = [cell for row in rows for cell in row.get("cells", [])]
    assert cells
    assert not any("diagnosis" in cell for cell in cells)


class _Told(Method):
    info = MethodInfo("told", 1, "test", "class", "told")
    seen = None

    def __init__(self, value):
        self.value = value

    def build(self):
        return {}

    def train(self, data, run):
        raise NotImplementedError

    def sample(self, conditions, rngs):
        raise NotImplementedError

    def diagnose(self, train, test, conditions, rngs):
        self.seen = (conditions.labels.tolist(), [float(torch.rand(1, generator=r)) for r in rngs])
        return [Diagnostic("value", "a value", {"test": [self.value]})]

    def explain(self, volumes):
        return torch.zeros(len(volumes), 2, 4, 4, 4)


def _data():
    return TrainingData(np.zeros((3, 1, 4, 4, 4)), None, [1] * 3, ["a", "b", "c"], "cpu")


def test_samples_can_be_drawn_again_from_the_same_numbers():
    method = _Told(1.0)
    diagnostics(method, "HGG", 1, _data(), _data(), n=3, seed=5)
    _, rngs = requests(5, 1, "HGG", range(3), None)
    assert method.seen == ([1, 1, 1], [float(torch.rand(1, generator=r)) for r in rngs])


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(BadSample, match="told diagnosed value of class HGG, set test"):
        diagnostics(_Told(float("nan")), "HGG", 1, _data(), _data(), n=1, seed=0)


def test_maps_of_another_shape_are_refused():
    with pytest.raises(
        BadSample, match=r"explain\(\) must return float32 of shape \(2, 1, 4, 4, 4\)"
    ):
        importance_maps(_Told(1.0), "HGG", _data())


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_maps_outside_their_range_are_refused(value):
    with pytest.raises(BadSample, match="not \\[0, 1\\]"):
        check_maps("told", torch.full((1, 1, 2, 2, 2), value), (1, 1, 2, 2, 2))
