"""What version 0.1.0 left behind stays valid: its keys, its finished stages, its numbers.

``fixtures/keys-0.1.0.json`` holds, for 36 selections, the key of every stage by the path of its
record; ``fixtures/store-0.1.0.tar.xz`` a finished results folder: ``tiny.toml`` with a folder of
samples (``theirs``), ``bench evaluate`` of that folder against itself, and what ``bench report
--csv`` said of both (``values.csv``).
"""

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEYS = json.loads((FIXTURES / "keys-0.1.0.json").read_text("utf-8"))
# Selections whose classifiers are others now: the quick preset trains another network. Their
# numbers are others, so their keys are; those of every other stage stay.
RECLASSIFIED = ("protocols quick", "midl2024")
# Methods whose quick or lite preset trains otherwise since: nothing of theirs keeps its key.
RETRAINED = (
    *("vqgan-lite-", "vqgan-cond-lite-", "vqgan-cond-quick-"),
    *("med-ddpm-quick-", "med-ddpm-mask-quick-", "med-ddpm-c-quick-", "vqgan-quick-"),
    *("medical-diffusion-quick-", "medical-diffusion-c-quick-"),
)

ANOTHER = "/shuffled-label@"  # a protocol whose number is another one since, and its key too
# What the names of suites, and the quickstart, stood for.
MEANT = {
    "core": ["core-v1"],
    "smoke": ["core-v1"],
    "core+fid": ["core-v1", "fid", "kid-inception", "fd-medicalnet-orig-resnet10"],
}
QUICKSTART = [
    "mmd2-kwon", "mmd2-linear", "ms-ssim", "ms-ssim-kwon", "fd-radlite-v1", "kid-radlite-v1",
    "nn-ratio", "foreground-volume", "fd-rand2d-v1", "fid",
]  # fmt: skip


def meant(options: dict) -> dict:
    """Return options whose metrics are those that they were."""
    asked = options.get("metrics", QUICKSTART)
    return {**options, "metrics": [m for name in asked for m in MEANT.get(name, [name])]}


def keys_of(plan) -> dict[str, str]:
    """Return the key of every stage of a plan by the path of its record."""
    stages = [stage for row in plan.rows for stage in row.stages if stage.kind != "figures"]
    stages += [s for row in plan.of_kind("method", "protocol") for _, s in row.classifying()]
    return {stage.record.as_posix(): stage.key for stage in stages}


def unclassified(stages: dict[str, str]) -> dict[str, str]:
    """Leave out the stages of classifiers."""
    return {path: key for path, key in stages.items() if "/downstream/" not in path}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Unpack the results folder."""
    folder = tmp_path_factory.mktemp("version")
    unpack(folder)
    return folder


def unpack(folder: Path) -> None:
    with tarfile.open(FIXTURES / "store-0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_those_of_0_1_0(store, monkeypatch, name):
    from cerebench.benchmark.commands.run import chosen_experiment
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.planning.plan import Samples, make_plan

    monkeypatch.chdir(store)
    expected, asked = KEYS[name], KEYS[name]["asked"]
    experiment = chosen_experiment(
        asked.get("experiment", "quickstart"),
        settings=asked.get("set", []),
        **meant(asked.get("options", {})),
    )
    samples = [Samples(n, Path(folder)) for n, folder in asked.get("samples", {}).items()]
    plan = make_plan(experiment, Registries(), Path("runs"), store / "cache", samples)
    assert plan.common.reference.fingerprint == expected["fingerprint"]
    found = {path: key[:16] for path, key in keys_of(plan).items()}
    old, new = expected["stages"], found
    retrained = [{p: k for p, k in told.items() if p.startswith(RETRAINED)} for told in (old, new)]
    assert len(retrained[0]) == len(retrained[1])
    assert set(retrained[0].values()).isdisjoint(retrained[1].values())
    old, new = ({p: k for p, k in t.items() if not p.startswith(RETRAINED)} for t in (old, new))
    if name in RECLASSIFIED:
        again = set(old.values()) & set(new.values())
        assert len(new) == len(old)
        old, new = unclassified(old), unclassified(new)
        assert again == set(old.values())  # no classifier keeps its key
    others = [{p: k for p, k in told.items() if ANOTHER in p} for told in (old, new)]
    assert set(others[0].values()).isdisjoint(others[1].values())
    assert {p: k for p, k in new.items() if p not in others[1]} == {
        p: k for p, k in old.items() if p not in others[0]
    }
    if name not in RECLASSIFIED and not others[0] and not retrained[0]:
        assert plan.key[:16] == expected["plan"]
        assert plan.table_of_contents.relative_to("runs").as_posix() == expected["contents"]


@pytest.fixture
def run(store, monkeypatch, bench):
    """Run ``bench`` where the results folder lies."""
    monkeypatch.chdir(store)
    return bench


def test_finished_stages_are_not_done_again(run):
    code, out, error = run("run", "tiny.toml", "--samples", "mine=theirs", "--json")
    assert code == 0, error
    answer = json.loads(out)
    assert (answer["done"], answer["failed"]) == (0, {})
    assert answer["kept"] > 50


def test_what_it_left_is_given_the_hash_of_its_content_once_and_else_stays(bench):
    unpack(bench.folder)
    code, _, error = bench("report", "tiny", "--csv")
    assert (code, "carry no hash of their content" in error) == (0, True)
    records = [p for p in bench.folder.glob("runs/*/*/**/*.json") if "theirs" not in p.parts[-4:]]
    before = {path: json.loads(path.read_text("utf-8")) for path in records}
    command = ("run", "tiny.toml", "--samples", "mine=theirs")
    code, told, _ = bench(*command)
    assert (code, "of an older version were given the hash of their content" in told) == (0, True)
    sealed = 0
    for path, content in before.items():
        after = json.loads(path.read_text("utf-8"))
        sealed += after.pop("sha256", None) is not None
        assert after == content
    assert sealed > 50
    files = {path: path.read_bytes() for path in bench.folder.glob("runs/**/*") if path.is_file()}
    code, told, _ = bench(*command)
    assert (code, "older version" in told) == (0, False)
    assert [path for path, data in files.items() if path.read_bytes() != data] == []
    assert bench("report", "tiny", "--csv")[::2] == (0, "")


def test_a_finished_evaluation_is_not_done_again(run):
    arguments = ("--real", "theirs", "--fake", "mine=theirs", "--suite", "core-v1", "--floor-only")
    code, out, error = run("evaluate", *arguments, "--json")
    assert code == 0, error
    answer = json.loads(out)
    assert (answer["done"], answer["failed"]) == (0, {})


def as_before(row):
    """Give a downstream row the preset and role of its protocol, as 0.1.0 did."""
    if row["protocol"] == "none":
        return row
    role = "experiment" if row["role"] == "method" else row["role"]
    return row | {"preset": row["protocol_preset"], "role": role}


def test_every_number_is_read_as_it_was(run, store):
    expected = list(csv.DictReader(io.StringIO((store / "values.csv").read_text("utf-8"))))
    code, out, error = run("report", "--csv")
    assert code == 0, error
    rows = list(csv.DictReader(io.StringIO(out)))
    rows = [as_before(row) for row in rows if row["metric"] != "auc-stage-1"]  # it had none
    # Where 0.1.0 had an empty cell the CSV has a word now.
    words = {"role": "method", "preset": "none", "view": "all", "protocol": "none"}
    words |= {"level": "score"}
    read = [
        {
            n: "" if words.get(n) == row[n] and (n != "role" or row["kind"] != "anchor") else row[n]
            for n in expected[0]
        }
        for row in rows
    ]
    cpu = [row for row in read if row["metric"] == "train-cpu-seconds"]  # which nobody measured
    assert {row["value"] for row in cpu} == {""}
    old = [row for row in read if row not in cpu]
    # Since then bench evaluate has its classes in the order of a run.
    scores, before = (
        sorted(tuple(r.values()) for r in told if not r["level"]) for told in (old, expected)
    )
    assert scores == before
    runs, expected = ([r for r in told if r["level"] == "run"] for told in (read, expected))
    for row, before in zip(runs, expected, strict=True):
        if row["status"] == "undefined":  # counted as 0 then
            assert row["metric"].startswith("precision")
        else:
            assert row == before
