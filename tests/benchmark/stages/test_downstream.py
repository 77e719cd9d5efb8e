"""Downstream protocols in a run: planned, trained in the harness, recorded, resumed, refused."""

import csv
import dataclasses
import io
import json
from importlib import metadata

import numpy as np
import pytest
import torch

from cerebench.benchmark import listing
from cerebench.benchmark.display import Silent
from cerebench.benchmark.engine import registry, store
from cerebench.benchmark.engine.contents import contents
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.engine.runner import Runner
from cerebench.benchmark.engine.stage import pending
from cerebench.benchmark.errors import BadPrediction, Interrupted
from cerebench.benchmark.planning import leakage
from cerebench.benchmark.planning.config import resolve
from cerebench.benchmark.planning.estimate import estimate
from cerebench.benchmark.planning.experiment import Experiment, Published, Variant
from cerebench.benchmark.planning.plan import make_plan
from cerebench.benchmark.planning.planned import PlannedProtocol
from cerebench.benchmark.stages import downstream
from cerebench.core.bounds import BadConfig
from cerebench.core.errors import UsageError
from cerebench.core.hashing import key_of
from cerebench.core.records.classified import DownstreamRecord
from cerebench.core.records.files import sealed
from cerebench.datasets.base import DatasetError, Split
from cerebench.metrics.base import LazyVolumes
from cerebench.metrics.downstream.base import Material, ProtocolError

# A package of its own, found by its entry points: linear classifiers that take milliseconds.
STUBS = '''
"""Linear classifiers. Departures: none."""
import dataclasses
import torch
from torch import nn
from cerebench.metrics.downstream.base import (
    DownstreamProtocol, Outcome, ProtocolError, ProtocolInfo, Repeat,
)


def setting(default):
    return dataclasses.field(default=default, metadata={"meaning": "m", "source": "[ours: test]"})


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = setting(4)
    synthetic_per_class: int = setting(6)
    precision: str = setting("fp32")
    mood: str = setting("good")


class Line:
    def __init__(self, net, config):
        self.nets, self.config = {"line": net}, config

    def train(self, data, run):
        adam = torch.optim.Adam(self.nets["line"].parameters(), lr=1e-4)
        phase = run.phase("line", adam=adam)
        for step in phase.steps(self.config.steps):
            batch = step.batch(data, 4)
            loss = nn.functional.cross_entropy(self.nets["line"](batch.images), batch.labels)
            step.descend(adam, loss)
            phase.log(loss=loss)


class Stub(DownstreamProtocol):
    info = ProtocolInfo("stub", "Stub", 1, "a paper", True, "experiment", "Generated, then real.")
    Config = Config
    presets = {
        "paper": {}, "quick": {}, "smoke": {"steps": (2, "[ours: fast]")},
        "stable": {"steps": (3, "[ours: stable]")},
    }

    def demand(self, development):
        if min(development.values()) < 2:
            raise ProtocolError("two cases of each class are needed")
        return dict.fromkeys(development, self.config.synthetic_per_class)

    def run(self, material, trainer):
        if self.config.mood == "bad":
            raise ProtocolError("not today")
        torch.manual_seed(material.seed)
        voxels = material.test.volumes[0].size
        net = nn.Sequential(nn.Flatten(), nn.Linear(voxels, 2))
        first = material.synthetic or material.development
        trainer.fit(Line(net, self.config), first, "repeat-0/pretrain", 7)
        trainer.fit(Line(net, self.config), material.development, "repeat-0/finetune", 8)
        test = trainer.data(material.test)
        scores = net(test.take(torch.arange(len(test))).images).softmax(1)[:, 1].tolist()
        if self.config.mood == "wild":
            scores = [2.0] * len(scores)
        counts = {c: int((first.labels == i).sum()) for i, c in enumerate(material.classes)}
        repeat = Repeat(7, tuple(scores), material.development.ids[:2], None, 1, None,
                        {"pretrain": counts, "finetune": counts})
        return Outcome((repeat,), material.development.ids, 2 * voxels + 2)


class Control(Stub):
    info = ProtocolInfo("stub-control", "Control", 1, "ours", True, "control", "Known answer.")


class Real(Stub):
    info = ProtocolInfo("stub-real", "Real", 1, "ours", False, "baseline", "Real cases alone.")

    def demand(self, development):
        return {}


class Needy(Real):
    info = ProtocolInfo("stub-needy", "Needy", 1, "ours", False, "baseline", "With weights.",
                        weights="medicalnet-resnet34")
'''
NAMES = {"stub": "Stub", "stub-control": "Control", "stub-real": "Real", "stub-needy": "Needy"}
TINY = Experiment(
    "tiny",
    dataset="phantom",
    size=16,
    split={"train": 6, "test": 5},
    methods=["wgan-gp", "wider", "same"],
    variants={
        "wider": Variant("wgan-gp", "Wider", {"critic_steps": 2}),
        "same": Variant("wgan-gp", "The same", {}),
    },
    preset="smoke",
    samples_per_class=8,
    protocols=["stub", "stub-control", "stub-real", "stub-needy"],
    reference="wider",
    published=[Published("Table 1", "MMD", ["Method", "MMD"], [["ours", "1.2"]])],
)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """Entry points of protocols, and no weight file anywhere."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "stub_protocols.py").write_text(STUBS)
    ours = [
        metadata.EntryPoint(name, f"stub_protocols:{cls}", "cerebench.protocols")
        for name, cls in NAMES.items()
    ]

    def entry_points(group):
        return [*metadata.entry_points(group=group), *(ours if group == ours[0].group else ())]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(registry, "entry_points", entry_points)
        for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
            patch.setenv(name, str(folder))
        yield


@pytest.fixture(scope="module")
def store_of(plugins, tmp_path_factory):
    """Return a function that plans an experiment in one store, and one that also runs it."""
    folder = tmp_path_factory.mktemp("store")

    def plan(out="runs", **changes):
        experiment = dataclasses.replace(TINY, **changes)
        return make_plan(experiment, Registries(), folder / out, folder / "cache")

    def run(out="runs", **changes):
        planned = plan(out, **changes)
        return planned, Runner(planned, Registries(), folder / "cache", "cpu", Silent()).run()

    return plan, run


@pytest.fixture(scope="module")
def finished(store_of):
    """Return the plan and the outcome of the tiny experiment."""
    return store_of[1]()


def row_of(plan, name="wgan-gp"):
    """Return a row of a plan by its name."""
    return next(row for row in plan.rows if row.name == name)


def record_of(plan, name, row="wgan-gp"):
    """Return the record of a protocol on the samples of a row."""
    stage = row_of(plan, row).stage(f"downstream {name}")
    return store.read_record(plan.folder / stage.record, stage.key, DownstreamRecord)


def keys_of(plan):
    """Return the keys of the protocols on samples, by row and protocol."""
    rows = plan.of_kind("method")
    return {(r.name, p.name): stage.key for r in rows for p, stage in r.classifying()}


def test_a_protocol_of_another_package_leaves_the_promised_record(finished):
    plan, outcome = finished
    assert outcome.failed == {}
    record = record_of(plan, "stub")
    assert {
        "protocol": "stub", "version": 1, "preset": "smoke",
        "classes": ("LGG", "HGG"), "positive": "HGG", "device": "cpu", "precision": "fp32",
        "parameters": 2 * 16**3 + 2,
    }.items() <= vars(record).items()  # fmt: skip
    assert record.config["steps"] == 2
    test = record.test
    reference = plan.common.reference
    assert set(test.ids) == set(reference.split.test)
    labels = {case.id: case.label for case in reference.cases}
    assert test.labels == tuple(labels[i] for i in test.ids)
    (repeat,) = record.repeats
    assert len(repeat.predictions) == len(test.ids) == 10
    assert len(set(repeat.predictions)) == 10
    assert all(0 < p < 1 for p in repeat.predictions)
    assert repeat.n["pretrain"] == {"LGG": 8, "HGG": 8}
    assert repeat.validation_auc is repeat.before_finetuning is None
    assert record.finetune_sha256 == key_of(sorted(reference.split.train))
    assert record.seconds > 0
    assert not list(plan.folder.rglob("downstream/*/"))


def test_the_table_of_contents_lists_every_protocol_and_row(finished):
    plan, _ = finished
    told = json.loads(plan.table_of_contents.read_text())
    blocks = {block["name"]: block for block in told["downstream"]}
    rows = {name: [row["name"] for row in block["rows"]] for name, block in blocks.items()}
    assert rows == {
        "stub": ["wgan-gp", "wider", "same"],
        "stub-control": ["wider"],  # controls take the samples of the reference alone
        "stub-real": ["stub-real"],
        "stub-needy": ["stub-needy"],
    }
    stub = blocks["stub"]
    assert stub["differences"] == [
        {
            "setting": "steps",
            "value": 2,
            "paper": 4,
            "source": "[ours: fast]",
            "paper_source": "[ours: test]",
        }
    ]
    assert stub["unavailable"] is None
    assert "resnet_34_23dataset.pth" in blocks["stub-needy"]["unavailable"]
    listed = {
        (name, row["name"]): cell["record"]
        for name, block in blocks.items()
        for row in block["rows"]
        for cell in row["cells"]
    }
    missing = [key for key, path in listed.items() if not (plan.folder / path).exists()]
    assert missing == [("stub-needy", "stub-needy")]
    assert listed["stub-real", "stub-real"].startswith("_real/downstream/stub-real@")
    assert told["published"] == [
        {"table": "Table 1", "title": "MMD", "columns": ["Method", "MMD"],
         "rows": [["ours", "1.2"]], "note": ""}
    ]  # fmt: skip


def test_a_variant_is_a_row_with_its_own_settings_and_equal_settings_share_one_training(finished):
    plan, outcome = finished
    # two cells of two trainings, samples and figures; stub on both, the control and real once;
    # figures of the real cases
    assert outcome.done == 2 * 4 + 2 + 1 + 1 + 1
    cells = {row.name: row for row in plan.of_kind("method")}
    assert cells["wider"].resolved.values["critic_steps"] == 2
    assert cells["same"].folder == cells["wgan-gp"].folder != cells["wider"].folder
    rows = {row.name: row for row in contents(plan).rows if row.kind == "method"}
    assert (rows["wider"].label, rows["wider"].method) == ("Wider", "wgan-gp")
    facts = json.loads((plan.folder / cells["same"].folder / "cell.json").read_text())
    assert facts["name"] == "wgan-gp"  # bench sample builds the method by this name
    assert record_of(plan, "stub", "same") == record_of(plan, "stub")
    assert record_of(plan, "stub", "wider").repeats != record_of(plan, "stub").repeats


def test_a_finished_experiment_has_nothing_to_do(finished, store_of):
    plan, outcome = store_of[1]()
    assert (outcome.done, outcome.failed) == (0, {})
    assert outcome.kept == finished[1].done  # stages that two rows share count once
    assert plan.key == finished[0].key


def test_a_dry_run_counts_no_stage_that_is_done(finished, store_of):
    def estimated(plan):
        row = row_of(plan)
        return estimate(row, pending(row.stages, plan.folder))

    done = estimated(finished[0])
    assert (done.to_do, done.generator.flops, done.downstream) == ((), 0, ())
    added = estimated(store_of[0](protocols=["stub", "exp2", "shuffled-label"], reference=""))
    assert added.to_do == ("exp2", "shuffled-label")
    assert added.generator.flops == 0
    exp2, shuffled = added.downstream
    assert exp2.precision == "fp32"
    assert shuffled.flops > exp2.flops > 1e9


def test_a_changed_setting_runs_this_protocol_again_and_nothing_else(finished, store_of):
    plan, outcome = store_of[1](set={"stub-real": {"steps": 5}})
    assert outcome.done == 1
    assert plan.key != finished[0].key
    assert keys_of(plan) == keys_of(finished[0])


def test_keys_follow_everything_that_defines_a_result(store_of):
    plan = store_of[0]

    def key(**changes):
        return keys_of(plan(protocols=["stub"], **changes))["wgan-gp", "stub"]

    changed = [
        key(),
        key(samples_per_class=9),
        key(protocol_preset="stable"),
        key(set={"*": {"precision": "bf16"}}),
        key(set={"wgan-gp": {"steps": 3}}),
        key(split={"train": 7, "test": 5}),
        key(seeds=[1]),
    ]
    assert len(set(changed)) == len(changed)
    assert key(title="other", variants=TINY.variants) == changed[0]


def test_a_failing_protocol_stops_no_other_and_is_tried_again(store_of):
    _, run = store_of
    changes = {"methods": ["wgan-gp"], "reference": "", "samples_per_class": 7}
    plan, outcome = run(set={"stub": {"mood": "bad"}}, **changes)
    (reason,) = outcome.failed.values()
    assert reason == "ProtocolError: not today"
    assert record_of(plan, "stub") is None
    assert record_of(plan, "stub-control") is not None
    row = row_of(plan)
    failure = store.failure_path(plan.folder / row.stage("downstream stub").record)
    assert json.loads(failure.read_text())["reason"] == "not today"
    assert [stage.name for stage in pending(row.stages, plan.folder)] == ["downstream stub"]
    assert run(set={"stub": {"mood": "wild"}}, **changes)[1].failed != {}


@pytest.mark.slow
def test_a_protocol_that_fails_in_one_cell_leaves_all_else_finished(bench, plugins):
    arguments = ("run", "tiny.toml", "--methods", "wgan-gp,wgan-gp-c", "--metrics", "mmd2-kwon")
    arguments += ("--protocols", "stub,stub-control,stub-real")
    stub, turns = Registries().protocols.load("stub"), iter(["fails", "works"])
    whole = stub.run

    def run(self, given, trainer):
        if self.info.name == "stub" and next(turns) == "fails":
            raise ProtocolError("not today")
        return whole(self, given, trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stub, "run", run)
        code, out, _ = bench(*arguments)
    assert code == 4
    told = " ".join(out.split())
    assert "1 stage failed: " in told
    assert "wgan-gp · seed 0 · stub: ProtocolError: not today" in told
    made = {
        (row, path.name.partition("@")[0])
        for row in ("wgan-gp", "wgan-gp-c")
        for path in bench.folder.glob(f"runs/*/{row}-smoke-*/seed-0/*/*@????????.json")
    }
    assert made == {
        ("wgan-gp", "mmd2-kwon"), ("wgan-gp", "stub-control"),
        ("wgan-gp-c", "mmd2-kwon"), ("wgan-gp-c", "stub"),
    }  # fmt: skip
    assert len(list(bench.folder.glob("runs/*/_real/downstream/stub-real@????????.json"))) == 1
    rows = list(csv.DictReader(io.StringIO(bench("report", "--csv")[1])))
    auc = {r["method"]: r for r in rows if r["protocol"] == "stub" and r["metric"] == "auc"}
    assert (auc["wgan-gp"]["status"], auc["wgan-gp"]["reason"]) == ("failed", "not today")
    assert auc["wgan-gp-c"]["status"] == "ok"
    assert 0 <= float(auc["wgan-gp-c"]["value"]) <= 1
    assert "failed: not today" in " ".join(bench("report")[1].split())
    code, out, _ = bench(*arguments, "--json")
    assert (code, json.loads(out)["done"]) == (0, 1)


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(BadPrediction, match=r"exp9, repeat 1: nan was predicted.*\[0, 1\]"):
        downstream._check_scores("exp9, repeat 1", [0.5, float("nan")], 2)
    with pytest.raises(BadPrediction, match="exp9: 1 predictions for 2 test cases"):
        downstream._check_scores("exp9", [0.5], 2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"samples_per_class": 5}, UsageError, "stub needs 6 generated volumes of LGG, and wgan-gp "
         r"has 5. Use --n 6, or --set stub.synthetic_per_class=5; see bench show stub"),
        ({"protocols": ["stbu"]}, UsageError, "No protocol named 'stbu'. Did you mean 'stub'"),
        ({"protocol_preset": "stabel"}, UsageError, "No preset of stub named 'stabel'"),
        ({"set": {"stub": {"stepps": 3}}}, BadConfig, "stub has no setting 'stepps'. Did you mean"),
        ({"set": {"stub": {"steps": "x"}}}, BadConfig, "stub.steps must be a whole number"),
        ({"set": {"exp1": {"depth": 10}}}, BadConfig, "--set names 'exp1', which is not"),
        ({"set": {"*": {"moood": "x"}}}, BadConfig, "No setting named 'moood'. Did you"),
        ({"reference": "widr"}, UsageError, "No method of this run named 'widr'.*'wider'"),
        ({"methods": ["wider"], "variants": {"wider": Variant("wgan", "")}}, UsageError,
         "No method named 'wgan'"),
        ({"methods": ["wgan-gp"], "variants": {"wgan-gp": Variant("wgan-gp", "")}}, BadConfig,
         "variants.wgan-gp: a method has this name"),
        ({"split": {"train": 1, "test": 5}}, ValueError, "two cases of each class are needed"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_runs(store_of, changes, error, message):
    with pytest.raises(error, match=message):
        store_of[0](**{"methods": ["wgan-gp", "wider"], **changes})


def test_a_variant_and_a_setting_for_all_reach_the_right_configuration(store_of):
    plan = store_of[0](
        set={
            "*": {"precision": "bf16"},
            "wgan-gp": {"steps": 5, "critic_steps": 3},
            "same": {"steps": 6},
        }
    )
    values = {row.name: row.resolved.values for row in plan.of_kind("method")}
    assert {v["precision"] for v in values.values()} == {"bf16"}
    assert [v["steps"] for v in values.values()] == [5, 5, 6]
    assert [v["critic_steps"] for v in values.values()] == [3, 2, 3]
    stub = plan.common.protocols[0].resolved
    assert stub.values["precision"] == "bf16"
    assert stub.sources["precision"] == "[user: --set]"
    assert stub.sources["steps"] == "[ours: fast]"


def test_all_means_every_installed_protocol_and_none_means_none(store_of):
    every = store_of[0](protocols=["all"], samples_per_class=300).common.protocols
    assert {p.name for p in every} == set(Registries().protocols.names()) > set(NAMES)
    assert store_of[0](protocols=["none"]).common.protocols == ()


def test_lists_and_pages_know_a_protocol_of_another_package(plugins):
    rows = {row["name"]: row for row in listing.rows("protocols", Registries())}
    assert rows["stub"]["description"] == "Generated, then real."
    assert rows["stub"]["available"] is True
    assert "bench weights import" in rows["stub-needy"]["reason"]
    page = listing.show("stub", Registries())
    assert "Departures: none." in page["definition"]
    assert page["presets"]["smoke"]["settings"]["steps"] == {
        "value": 2, "meaning": "m", "accepts": "a whole number", "source": "[ours: fast]"
    }  # fmt: skip
    assert page["presets"]["paper"]["settings"]["steps"]["value"] == 4


def given(seed=0):
    """Return material of two separable classes at 16^3."""
    rng = np.random.RandomState(seed)

    def cases(name, n):
        labels = np.arange(n) % 2
        volumes = rng.uniform(-1, 0, (n, 1, 16, 16, 16)) + labels.reshape(-1, 1, 1, 1, 1)
        ids = tuple(f"{name}-{i}" for i in range(n))
        made = LazyVolumes(ids, lambda i: volumes[i].astype(np.float32))
        return downstream.Cases(made, labels, ids, ids)

    return Material(cases("dev", 12), cases("test", 6), cases("fake", 8), ("LGG", "HGG"), 0)


def attempt(folder, key="key", stop=lambda: False, progress=lambda *_: None):
    """Run the stub in a folder; return the fields of its record and its trainer."""
    cls = Registries().protocols.load("stub")
    resolved = resolve(cls, "paper")
    planned = PlannedProtocol(cls(resolved.config), resolved, "hash")
    trainer = downstream.HarnessTrainer(folder, key, torch.device("cpu"), progress, stop)
    return downstream.run(planned, given(), trainer), trainer


def test_an_interrupted_protocol_ends_with_the_same_predictions(plugins, tmp_path):
    """Stopped in the first training, killed without a checkpoint in the second, then finished."""
    expected, _ = attempt(tmp_path / "whole")
    folder, calls = tmp_path / "killed", iter(range(99))
    with pytest.raises(Interrupted):
        attempt(folder, stop=lambda: next(calls) == 1)
    assert any((folder / "repeat-0" / "pretrain" / "checkpoint").glob("state-*.pt"))

    def kill(done, total, text, part):
        if "finetune" in part and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(folder, progress=kill)
    done = (folder / "repeat-0" / "pretrain" / "record.json").read_bytes()
    told = []
    found, trainer = attempt(folder, progress=lambda *step: told.append(step))
    assert (folder / "repeat-0" / "pretrain" / "record.json").read_bytes() == done
    assert [(step, total) for step, total, *_ in told] == [(i, 4) for i in (1, 2, 3, 4)]
    assert all(text.startswith("loss") for _, _, text, _ in told)
    assert {part for *_, part in told} == {"repeat-0/finetune"}
    assert found.repeats == expected.repeats
    assert found.seconds == pytest.approx(sum(cost.seconds for cost in trainer.costs))
    assert len(trainer.costs) == 2


def test_a_training_is_taken_over_under_its_own_key_alone(plugins, tmp_path):
    told = []
    steps = []
    for key in ("a", "a", "b"):
        attempt(tmp_path, key, progress=lambda *step: told.append(step))
        steps.append(len(told))
    assert steps == [8, 8, 16]


def test_a_protocol_leaves_the_random_state_as_it_was(plugins, tmp_path):
    before = torch.random.get_rng_state()
    attempt(tmp_path)  # it seeds torch
    assert torch.equal(torch.random.get_rng_state(), before)


def test_generated_volumes_are_joined_in_label_order():
    made = {
        "LGG": LazyVolumes(["a", "b"], lambda i: np.full((1, 2, 2, 2), i, np.float32)),
        "HGG": LazyVolumes(["a"], lambda i: np.full((1, 2, 2, 2), 5 + i, np.float32)),
    }
    cases = downstream.generated_cases(made)
    assert cases.ids == ("LGG/a", "LGG/b", "HGG/a")
    assert cases.labels.tolist() == [0, 0, 1]
    assert [float(v.mean()) for v in cases.volumes] == [0, 1, 5]
    assert downstream.stacked(cases.volumes)[:, 0, 0, 0, 0].tolist() == [0, 1, 5]


def test_a_leak_is_found_by_case_by_patient_and_beside_the_samples(finished):
    plan, _ = finished
    real = plan.common.reference
    leakage.refuse_leakage(real, plan.folder, plan.rows)
    test, other = real.split.test[0], real.split.train[0]

    def refused(message, **changes):
        with pytest.raises(DatasetError, match=message):
            leakage.refuse_leakage(dataclasses.replace(real, **changes), plan.folder, plan.rows)

    both = Split((*real.split.train, test), real.split.test)
    refused(rf"the split of this dataset: {test}\. Correct", split=both)
    patients = {case.id: case.patient for case in real.cases}
    siblings = [
        dataclasses.replace(c, patient=patients[test]) if c.id == other else c for c in real.cases
    ]
    refused(f"the split of this dataset: {test}", cases=siblings)
    folder, listed = plan.folder / row_of(plan).folder, "1 test cases are in the training list of"
    trained, drawn = folder / "train/HGG/record.json", folder / "sample/record.json"
    table = folder / "sample/training_cases.tsv"
    before = {path: path.read_text() for path in (trained, drawn, table)}
    try:
        trained.write_text(edited(before[trained].replace(real.split.train[-1], test)))
        refused(rf"{listed} wgan-gp.*: {test}\. Remove")
        trained.write_text(before[trained])
        table.write_text(before[table] + f"{test}\t\tHGG\n")
        leakage.refuse_leakage(real, plan.folder, plan.rows)  # damage, which the run mends
        drawn.write_text(edited(before[drawn].replace(table.name, "participants.json")))
        refused(rf"{listed} wgan-gp.*: {test}\. Remove")
    finally:
        for path, text in before.items():
            path.write_text(text)


def edited(text):
    """Return a record with the hash of what it says now."""
    return json.dumps(sealed(json.loads(text)))


@pytest.mark.slow
def test_the_command_line_asks_for_protocols(bench, plugins):
    arguments = ("run", "tiny.toml", "--metrics", "mmd2-kwon", "--dry-run")
    code, out, _ = bench(*arguments, "--protocols", "stub,stub-real")
    assert code == 0
    assert "sample, score, stub" in " ".join(out.split())
    assert "real cases alone stub-real unknown" in " ".join(out.split())
    code, out, _ = bench(*arguments, "--protocols", "all", "--n", "300", "--json")
    told = json.loads(out)
    assert {"stub", "stub-control"} <= set(told["cells"][0]["to_do"])
    assert told["cells"][0]["seconds"] > 0
    assert told["cells"][0]["downstream_seconds"] is None  # classifiers of others are not counted
    assert told["protocols_to_run"]["stub-real"] is None
    assert told["protocols_to_run"]["real-only"] > 0
    assert "stub-needy" not in told["protocols_to_run"]  # no weights: a dash in the table
    code, _, error = bench(*arguments, "--protocols", "stub-needy")
    assert code == 5
    assert "bench weights import" in error
    code, _, error = bench(*arguments, "--protocols", "stub", "--n", "5")
    assert (code, "Use --n 6" in error) == (2, True)


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a//b", "repeat-0/..", "a\0", "", "x" * 300]
)
def test_a_training_whose_name_leads_out_of_its_folder_is_refused(tmp_path, name):
    folder = tmp_path / "work"
    trainer = downstream.HarnessTrainer(folder, "k", torch.device("cpu"), None, None)
    with pytest.raises(BadPrediction, match=r"Rename it in the protocol's run\(\)"):
        trainer.fit(None, None, name, 0)
    assert list(tmp_path.iterdir()) == []
