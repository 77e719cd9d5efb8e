"""What the engine writes fits its schema; a record that does not fit is made again, and named."""

import dataclasses
import json
import re
import shutil

import pytest

from cerebench.benchmark.display import Silent
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.cells import read_cell
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.engine.runner import Runner
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.planning.experiment import Experiment
from cerebench.benchmark.planning.foreign import refuse_damaged
from cerebench.benchmark.planning.plan import make_plan
from cerebench.core.records.base import Misfit, Record
from cerebench.core.records.cells import CellFile, Failure
from cerebench.core.records.contents import Contents
from cerebench.core.records.files import dump, parse, sealed
from cerebench.core.records.scored import FiguresRecord, ScoreRecord, ScoreRow
from cerebench.datasets.base import DatasetError

METHOD = """
from dataclasses import dataclass

import torch
from torch import nn

from cerebench.methods.base import Diagnostic, Method, MethodInfo, Preset, setting


@dataclass(frozen=True)
class Config:
    precision: str = setting("fp32", "precision", "[ours: test]")

    def for_size(self, size):
        return self


class Quick(Method):
    info = MethodInfo("fast", 1, "test", "class", "Fast")
    Config = Config
    presets = {name: Preset(Config(), 16) for name in ("paper", "quick", "smoke")}

    def build(self):
        return {"net": nn.Linear(1, 1)}

    def train(self, data, run):
        for step in run.phase("only").steps(1):
            step.batch(data, 2)

    def sample(self, conditions, rngs):
        return torch.stack([torch.rand(1, 16, 16, 16, generator=r) * 2 - 1 for r in rngs])

    def diagnose(self, train, test, conditions, rngs):
        return [Diagnostic("sizes", "numbers of volumes", {"train": [len(train)]})]
"""
TINY = Experiment(
    "tiny",
    dataset="phantom",
    size=16,
    split={"train": 5, "test": 4},
    methods=["fast"],
    preset="smoke",
    samples_per_class=2,
    metrics=["mmd2-kwon"],
    protocols=["real-only"],
    set={"real-only": {"finetune_per_class": 3}},
)


class Told(Silent):
    """A display that keeps what was said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the plan of a finished tiny run, and a function that runs it again."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "fast.py").write_text(METHOD)
    registries = Registries()
    registries.add_plugin(f"{folder}/fast.py:Quick")
    plan = make_plan(TINY, registries, folder / "runs", folder / "cache")

    def run():
        display = Told()
        return Runner(plan, registries, folder / "cache", "cpu", display).run(), display.said

    assert run()[0].failed == {}
    return plan, run


def stage_of(plan, kind) -> Stage:
    rows = plan.of_kind("method", "protocol")
    return next(stage for row in rows for stage in row.stages if stage.kind == kind)


def without_times(path) -> str:
    """Return a file but for what differs from run to run."""
    times = "utc|seconds|cpu_seconds|other_cores|seconds_per_sample|peak_mib|mtime_ns|ctime_ns"
    text = re.sub(rf'"({times})": [^\n]+', "", path.read_text("utf-8"))
    return re.sub(r'^ "sha256": [^\n]+', "", text, flags=re.MULTILINE)  # of the file itself


def test_every_file_of_a_run_holds_what_its_schema_says_and_nothing_else(finished):
    plan, _ = finished
    kinds = {**Record.kinds, "cell": CellFile, "experiment": Contents, "failure": Failure}
    found = set()
    for path in plan.folder.rglob("*.json"):
        told = json.loads(path.read_text("utf-8"))
        if told.get("kind") in kinds:
            head, whole = parse(kinds[told["kind"]], path.read_bytes(), path)
            again = dump(whole, key=getattr(head, "key", ""), utc=getattr(head, "utc", ""))
            assert json.dumps(sealed(again)) == json.dumps(told)
            found.add(told["kind"])
    assert found == {*KINDS, "cell", "experiment"}


KINDS = {  # kind of a record -> a field that it cannot do without
    "train": "parameters",
    "sample": "clip_fraction",
    "score": "rows",
    "figures": "files",
    "diagnosis": "diagnostics",
    "downstream": "repeats",
}


def edited(**changes):
    def attack(path, field):
        told = json.loads(path.read_text("utf-8"))
        # What another version writes has a hash that holds.
        told = told | {field: changes["to"]} if "to" in changes else sealed(told | changes)
        path.write_text(json.dumps(told))

    return attack


def removed(path, field):
    told = json.loads(path.read_text("utf-8"))
    del told[field]
    path.write_text(json.dumps(told))


ATTACKS = {
    "field removed": removed,
    "another type": edited(to="x"),
    "null": edited(to=None),
    "NaN": edited(to=[float("nan")]),
    "infinity": edited(to={"LGG": float("inf")}),
    "another kind": edited(kind="fit"),
    "another status": edited(status="failed"),
    "cut short": lambda path, _: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path, _: path.write_bytes(b""),
    "a list": lambda path, _: path.write_text("[]"),
    "not UTF-8": lambda path, _: path.write_bytes(path.read_bytes().replace(b'"ok"', b'"\xff"')),
}


@pytest.fixture
def kept(finished):
    """Put the store back as it was afterwards."""
    plan, _ = finished
    copy = plan.folder.with_name("copy")
    shutil.copytree(plan.folder, copy, copy_function=shutil.copy2)
    yield
    shutil.rmtree(plan.folder)
    copy.rename(plan.folder)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_whose_record_does_not_fit_is_not_done(finished, kind, attack):
    plan, _ = finished
    stage = stage_of(plan, kind)
    path = plan.folder / stage.record
    intact = path.read_bytes()
    assert stage.done(plan.folder)
    try:
        ATTACKS[attack](path, KINDS[kind])
        assert not stage.done(plan.folder)
        assert store.misfit(path, stage.made).startswith(f"{path}: ")
        path.write_bytes(intact)
        edited(new=1)(path, "")  # of a later version
        assert stage.done(plan.folder)
    finally:
        path.write_bytes(intact)


@pytest.mark.parametrize("attack", ["field removed", "NaN", "cut short"])
def test_a_run_names_what_does_not_fit_and_makes_it_again(finished, kept, attack):
    plan, run = finished
    paths = {stage_of(plan, kind).record: field for kind, field in KINDS.items()}
    (cell,) = (row.folder / "cell.json" for row in plan.of_kind("method"))
    paths[cell] = "config"
    before = {path: without_times(plan.folder / path) for path in paths}
    for path, field in paths.items():
        ATTACKS[attack](plan.folder / path, field)
    outcome, said = run()
    assert (outcome.done, outcome.failed) == (len(KINDS), {})
    for path in paths:
        assert without_times(plan.folder / path) == before[path]
        (line,) = [line for line in said if line.startswith(f"{plan.folder / path}: ")]
        assert line.endswith("; it is made anew.")
    assert run()[0].done == 0


def test_a_cell_that_does_not_fit_is_told_anew_where_nothing_else_is_to_do(finished, kept):
    plan, run = finished
    (cell,) = plan.folder.glob("fast-*/seed-0/cell.json")
    edited(spacing=[1.0])(cell, "")
    with pytest.raises(Misfit, match=r"cell\.json: spacing"):
        read_cell(cell.parent)
    outcome, said = run()
    assert outcome.done == 0
    assert "cell.json: spacing" in said[0]
    assert read_cell(cell.parent).name == "fast"


def test_a_folder_in_the_place_of_a_record_fails_its_stage_alone_before_any_work(finished, kept):
    plan, run = finished
    stages = [stage_of(plan, "score"), stage_of(plan, "downstream")]
    for stage in stages:
        path = plan.folder / stage.record
        path.unlink()
        path.mkdir()
        (path / "photo.jpg").write_text("mine")
    (plan.folder / stage_of(plan, "diagnosis").record).unlink()
    outcome, _ = run()
    assert outcome.done == 1
    assert len(outcome.failed) == 2
    assert all("it is a folder where a record belongs" in why for why in outcome.failed.values())
    for stage in stages:
        path = plan.folder / stage.record
        assert (path / "photo.jpg").read_text() == "mine"
        told = json.loads(store.failure_path(path).read_text("utf-8"))
        assert told["reason"].startswith(f"{path}: ")


def test_a_folder_in_the_place_of_a_failure_stops_nothing(finished, kept):
    plan, run = finished
    path = plan.folder / stage_of(plan, "score").record
    path.unlink()
    store.failure_path(path).mkdir()
    assert run()[0].failed == {}
    path.unlink()
    path.mkdir()
    assert len(run()[0].failed) == 1
    assert store.failure_path(path).is_dir()


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_a_newer_version_stops_the_run_before_anything_is_written(finished, kept, kind):
    plan, run = finished
    path = plan.folder / stage_of(plan, kind).record
    edited(schema=2)(path, "")
    before = {p: p.read_bytes() for p in plan.folder.rglob("*.json")}
    with pytest.raises(Misfit, match=r"of a newer version; this one reads 1\. Update") as error:
        run()
    assert error.value.exit_code == 3
    assert {p: p.read_bytes() for p in plan.folder.rglob("*.json")} == before


def test_a_failure_that_a_newer_version_left_stops_no_other_stage(finished, kept):
    plan, run = finished
    path = plan.folder / stage_of(plan, "score").record
    path.unlink()
    path.mkdir()  # so that the stage fails again
    run()
    edited(schema=2, reason="of later")(store.failure_path(path), "")
    outcome, _ = run()
    assert len(outcome.failed) == 1
    told = json.loads(store.failure_path(path).read_text("utf-8"))
    assert (told["schema"], "where a record belongs" in told["reason"]) == (1, True)


@pytest.mark.parametrize("kind", ["experiment", "cell"])
@pytest.mark.parametrize("attack", ["newer", "folder"])
def test_what_is_no_record_is_not_replaced_either(finished, kept, kind, attack):
    plan, run = finished
    (row,) = plan.of_kind("method")
    cell = plan.folder / row.folder / "cell.json"
    path = plan.table_of_contents if kind == "experiment" else cell
    if attack == "newer":
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "schema": 2, "more": 1}))
    else:
        path.unlink()
        path.mkdir()
    before = {p: p.read_bytes() for p in plan.folder.rglob("*.json") if p.is_file()}
    before.pop(cell if kind == "experiment" else plan.table_of_contents, None)
    with pytest.raises(Misfit, match="newer version" if attack == "newer" else "Move it") as error:
        run()
    assert error.value.exit_code == 3
    assert str(path) in str(error.value)
    assert all(p.read_bytes() == data for p, data in before.items())


def finish(folder, result, name="score x"):
    """Finish a stage whose work returns this."""
    stage = Stage(name, "k", folder / "x@k.json", lambda bench, task: result)
    stage.finish(folder, None, None)
    return stage


ROW = {
    "class_": "LGG", "view": "", "value": 1.0, "real_value": None, "se": None, "uncertainty": "",
    "replicates": {}, "n_real": 1, "n_generated": 1, "notes": (), "facts": {}, "status": "ok",
    "reason": "",
}  # fmt: skip


def scored(**changes) -> ScoreRecord:
    row = ScoreRow(**(ROW | changes))
    told = {"metric": "x", "metric_version": 1, "recipe": {}, "recipe_hash": "0" * 64}
    return ScoreRecord(**told, rows=(row,))


@pytest.mark.parametrize(
    ("result", "error", "said"),
    [
        (lambda: {"rows": []}, TypeError, "'score x' returned dict; expected ScoreRecord"),
        (lambda: None, TypeError, "'score x' returned NoneType; expected ScoreRecord"),
        (lambda: FiguresRecord(files={}), TypeError, "returned FiguresRecord"),
        (lambda: scored(vlaue=1.0), TypeError, "unexpected keyword argument 'vlaue'"),
        (lambda: scored(notes=(5,)), Misfit, r"x@k.json: rows.0.notes.0 must be a text, got 5"),
        (lambda: scored(n_real=-1), Misfit, "rows.0.n_real must be at least 0, got -1"),
        (lambda: scored(value=float("nan")), Misfit, "rows.0.value must be a finite number"),
        (lambda: scored(value=None), ValueError, "value must be a number where status is ok"),
        (lambda: scored(facts={"a": [1]}), Misfit, "rows.0.facts must be numbers or texts"),
        (lambda: scored(uncertainty=b"x"), Misfit, "rows.0.uncertainty must be a text, got")
    ],
)  # fmt: skip
def test_a_stage_that_returns_what_does_not_fit_fails_and_writes_nothing(
    tmp_path, result, error, said
):
    with pytest.raises(error, match=said):
        finish(tmp_path, result())
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_returns_its_record_is_done(tmp_path):
    assert finish(tmp_path, scored()).done(tmp_path)


def test_a_new_kind_of_record_needs_nothing_but_its_class(tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Poem(Record):
        """A record of somebody's stage."""

        kind = "poem"
        lines: tuple[str, ...]

    try:
        assert finish(tmp_path, Poem(lines=("a", "b")), "poem").done(tmp_path)
    finally:
        del Record.kinds["poem"]


@pytest.mark.parametrize("damage", ["field removed", "NaN"])
def test_samples_whose_record_does_not_fit_are_refused_where_they_are_given(finished, kept, damage):
    plan, _ = finished
    path = plan.folder / stage_of(plan, "sample").record
    refuse_damaged(path.parent)
    ATTACKS[damage](path, "files")
    with pytest.raises(DatasetError, match=r"record\.json: files.*So nothing vouches"):
        refuse_damaged(path.parent)
    path.write_text('{"kind": "of something else"}')  # not ours
    refuse_damaged(path.parent)
