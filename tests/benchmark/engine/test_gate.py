"""The release gate: which runs end with exit code 7, and what they say."""

import json
import shutil

import pytest

from cerebench.benchmark.engine import gate
from cerebench.benchmark.engine.gate import GateFailed, checked, refuse_copies, with_copies
from cerebench.core.errors import UsageError
from cerebench.datasets.scans.volumes import write_nifti
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.values import tidy

from ..planning.test_evaluate import blob, fill

ONLY = ("--metrics", "mmd2-linear", "--floor-only")


@pytest.fixture
def folders(bench):
    """Training, held-out and fresh volumes, and copies of the first."""
    fill(bench.folder / "train", 12, seed=0)
    fill(bench.folder / "real", 10, seed=100)
    fill(bench.folder / "fresh", 12, seed=200)
    shutil.copytree(bench.folder / "train", bench.folder / "copies")
    return bench


def evaluate(bench, *rows, share="0.05", more=ONLY):
    ask = ["evaluate", "--real", "real", "--train", "train", "--max-copies", share, *more]
    for row in rows:
        ask += ["--fake", row]
    return bench(*ask)


def test_a_folder_of_copies_ends_with_seven_after_the_table_and_the_report(folders):
    code, out, error = evaluate(folders, "good=fresh", "bad=copies")
    assert code == 7
    assert "copies" in out  # the column that the gate reads came with the option
    text = " ".join(error.split())
    assert "--max-copies 0.05 is not passed" in text
    assert "100 % of bad (" in text
    assert "are copies of training cases (100 % by voxels, 100 % by features)" in text
    assert "good" not in text.split("is not passed")[1]
    assert "bench report --figure" in text
    assert list((folders.folder / "runs").rglob("*.csv"))


def test_fresh_volumes_pass_and_so_does_everything_at_a_share_of_one(folders):
    assert evaluate(folders, "good=fresh")[0] == 0
    assert evaluate(folders, "bad=copies", share="1")[0] == 0


def test_a_finished_run_is_judged_again(folders):
    assert evaluate(folders, "bad=copies", share="1")[0] == 0
    assert evaluate(folders, "bad=copies", share="0.5")[0] == 7


def test_the_answer_for_machines_is_whole(folders):
    code, out, _ = evaluate(folders, "bad=copies", more=(*ONLY, "--json"))
    assert code == 7
    assert json.loads(out)["failed"] == {}


def test_a_share_of_some_volumes_is_named(folders):
    for i in range(3):
        write_nifti(folders.folder / f"fresh/v{i:02d}.nii.gz", blob(i), (2.0, 2.0, 2.0))
    code, _, error = evaluate(folders, "some=fresh", share="0.2")
    assert code == 7
    assert "25 % of some (" in " ".join(error.split())
    assert evaluate(folders, "some=fresh", share="0.25")[0] == 0  # not more than that


def test_without_training_volumes_nothing_is_scored(folders):
    code, _, error = folders("evaluate", "--real", "real", "--fake", "fresh", "--max-copies", "0")
    assert code == 2
    assert "--train" in error
    assert not (folders.folder / "runs").exists()


def test_a_share_that_could_not_be_computed_does_not_pass(folders):
    for path in sorted((folders.folder / "real").iterdir())[5:]:
        path.unlink()
    code, _, error = evaluate(folders, "good=fresh")
    assert code == 7
    text = " ".join(error.split())
    assert "good (" in text
    assert "has no share of copies: The test set has 5 volumes; at least 8" in text


@pytest.mark.parametrize("share", ["-0.1", "1.01", "nan", "inf"])
def test_what_is_no_share_is_refused_before_anything_is_read(bench, share):
    for command in (("run", "tiny.toml"), ("evaluate", "--real", "no", "--fake", "no")):
        code, _, error = bench(*command, "--max-copies", share)
        assert code == 2
        assert "must be a share" in " ".join(error.split())
    assert not (bench.folder / "runs").exists()


def test_a_share_is_checked_and_none_is_none():
    assert checked(None) is None
    assert [checked(share) for share in (0, 0.05, 1)] == [0, 0.05, 1]
    with pytest.raises(UsageError, match="got 2"):
        checked(2)


def test_the_metric_comes_with_the_option_once():
    assert with_copies(["core-v1"]) == ["core-v1", "copies"]
    assert with_copies(["core"]) == ["core"]
    assert with_copies(["copies", "fid"]) == ["copies", "fid"]


def test_controls_are_not_judged_and_seeds_are_named(finished, monkeypatch):
    """Bench run: its rows by seed; the control that copies on purpose does not fail the gate."""
    (path,) = finished.folder.glob("runs/*/experiment-*.json")
    found = tidy.values(RecordedExperiment.read(path))
    copies = [tidy.replace(v, metric="copies", value=0.2, facts={}) for v in found if not v.view]
    monkeypatch.setattr(tidy, "values", lambda experiment: copies)
    with pytest.raises(GateFailed) as fault:
        refuse_copies(path, 0.1)
    text = str(fault.value)
    assert "20 % of" in text
    assert ", seed 0)" in text
    assert "training copies" not in text
    refuse_copies(path, 0.2)
    assert GateFailed.exit_code == gate.EXIT_GATE == 7


def test_a_run_is_judged_by_the_gate(finished):
    """An untrained generator copies nothing, so that the run passes even at a share of 0."""
    code, out, error = finished("run", "tiny.toml", "--max-copies", "0")
    assert code == 0, error
    assert "copies" in out
