"""``bench check`` of datasets: those of the suite pass, and each requirement catches its breach."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cerebench.benchmark.conformance import datasets as conformance
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.errors import BrokenPlugin
from cerebench.benchmark.planning.source import Source
from cerebench.datasets import cache
from cerebench.datasets.base import Split

SIZE = 16


def checked(name, registries, root=None):
    results = conformance.check(Source(name, root, SIZE), registries)
    return {result.name: result.reason for result in results if result.reason}


def test_phantoms_conform():
    assert checked("phantom", Registries()) == {}


@pytest.fixture
def mine(bench):
    """Return the skeleton of a dataset as a plugin file: its class, registries, example files."""
    assert bench("new", "dataset", "mine")[0] == 0
    registries = Registries()
    assert registries.add_plugin(str(bench.folder / "mine" / "mine.py")) == "mine"
    return registries.datasets.load("mine"), registries, bench.folder / "mine" / "example"


def test_a_plugin_file_is_prepared_by_several_processes(mine, tmp_path):
    cls, _, root = mine
    prepared = cache.prepare(cls(SIZE, root), tmp_path / "cache", workers=2)
    assert len(prepared.ids) == 16


def test_a_class_that_is_not_finished_is_no_plugin(tmp_path):
    path = tmp_path / "half.py"
    path.write_text(
        "from cerebench.datasets.base import Dataset\n\nclass Half(Dataset):\n    x = 1\n"
    )
    with pytest.raises(BrokenPlugin, match=r"a Dataset, .* found: none"):
        Registries().add_plugin(str(path))


counter = itertools.count()


def changed(value):
    """Let load() return something else."""

    def load(self, case):
        return replace(self.original(case), **value(self.original(case)))

    return {"load": load}


def listed(change):
    """Let cases() list something else."""
    return {"cases": lambda self: change(self.original_cases())}


def one_patient(cases):
    return [replace(case, patient="p") for case in cases]


def halves(self, seed):
    ids = [case.id for case in self.cases()]
    return Split(tuple(ids[::2]), tuple(ids[1::2]))


BREACHES = {
    "facts are complete": ({"spacing": (1.0, 0.0, 1.0)}, "spacing is (1.0, 0.0, 1.0)"),
    "cases are listed alike each time": (
        listed(lambda cases: cases[:: 1 if next(counter) % 2 else -1]),
        "cases() changes; sort what it lists",
    ),
    "ids are unique": (
        listed(lambda cases: [replace(cases[0], id=cases[-1].id), *cases[1:]]),
        "ids stand for several cases: 'cube7_1'",
    ),
    "every class has cases": (
        listed(lambda cases: [case for case in cases if case.label == 0]),
        "classes without a case: 'cube'",
    ),
    "volumes are as agreed": (
        changed(lambda loaded: {"volume": loaded.volume * np.float32(np.nan)}),
        "load() returned values in [nan, nan]; expected [-1, 1]",
    ),
    "loading is reproducible": (
        changed(lambda loaded: {"mask": np.full_like(loaded.mask, next(counter) % 3)}),
        "differs when it is loaded again",
    ),
    "the fingerprint is stable": (
        {"fingerprint": lambda self, hashes: "0" * 64},
        "the fingerprint does not change with the content of",
    ),
    "the split is by patient": (
        {"split": halves} | listed(one_patient),
        "patients with training and test cases: 'p'",
    ),
    "check reports findings": (
        {"check": lambda self: None},
        "check() returned no CheckReport",
    ),
}


@pytest.mark.parametrize("requirement", BREACHES)
def test_a_breach_is_named(mine, monkeypatch, requirement):
    cls, registries, root = mine
    changes, told = BREACHES[requirement]
    monkeypatch.setattr(cls, "original", cls.load, raising=False)
    monkeypatch.setattr(cls, "original_cases", cls.cases, raising=False)
    for name, value in changes.items():
        monkeypatch.setattr(cls, name, value)
    assert told in checked("mine", registries, root)[requirement]


@pytest.mark.parametrize(
    ("field", "change", "told"),
    [
        ("volume", lambda v: v[:, :8], "a volume of shape (1, 8, 16, 16)"),
        ("volume", lambda v: v * 2, "values in [-2, "),
        ("volume", lambda v: v.astype(np.float64), "the volume is float64; make it float32"),
        ("volume", lambda v: np.maximum(v, 0), "the lowest value is 0; the background must be"),
        ("mask", lambda m: m + 2, "mask values up to 2"),
        ("mask", lambda m: m.astype(bool), "the mask is bool; make it uint8"),
    ],
)
def test_every_fault_of_a_volume_is_named(mine, monkeypatch, field, change, told):
    cls, registries, root = mine
    load = cls.load

    def wrong(self, case):
        loaded = load(self, case)
        return replace(loaded, **{field: change(getattr(loaded, field))})

    monkeypatch.setattr(cls, "load", wrong)
    assert told in checked("mine", registries, root)["volumes are as agreed"]


def test_data_check_loads_a_case_of_each_class_whatever_the_own_check_says(bench):
    assert bench("new", "dataset", "mine")[0] == 0
    path = bench.folder / "mine" / "mine.py"
    before, own, _ = path.read_text().partition("    def check(")
    own += "self, progress=None, workers=None):\n        return CheckReport(())\n"
    path.write_text(before + own)
    check = ("data", "check", "mine/example", "--dataset", "mine", "--plugin", "mine/mine.py")
    assert bench(*check, "--size", "16")[0] == 0
    first = bench.folder / "mine" / "example" / "cube" / "cube0_1.npy"
    np.save(first, np.full((16,) * 3, np.nan, np.float32))
    code, out, _ = bench(*check, "--size", "16")
    assert code == 3
    assert "cube0_1" in out
    assert "has values outside [0, 1]" in " ".join(out.split())
    line = "        path = case.files"
    path.write_text(path.read_text().replace(line, f"        raise KeyError(1)\n{line}"))
    code, out, _ = bench(*check, "--size", "16")
    assert code == 3
    assert "load() failed: KeyError: 1" in " ".join(out.split())


def test_a_folder_belongs_to_a_dataset(bench):
    code, _, err = bench("check", "wgan-gp", "somewhere")
    assert code == 2
    assert "'wgan-gp' is a method; a folder and --data belong to a dataset" in err
    code, _, err = bench("check", "phantm")
    assert code == 2
    assert "Did you mean 'phantom'?" in err
