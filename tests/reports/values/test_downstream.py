import json
from statistics import fmean

import numpy as np
import pytest

from cerebench.reports.base import ReportError
from cerebench.reports.values.downstream import read_protocols

GAN = "wgan-gp-quick-89abcdef/seed-0/downstream/{}@01234567.json"


@pytest.fixture
def blocks(classified):
    return {block.name: block for block in read_protocols(classified.read())}


def test_protocols_and_rows_come_in_the_order_of_the_table_of_contents(blocks):
    assert list(blocks) == [
        "exp1", "exp2", "trad-aug", "medicalnet", "real-only", "shuffled-label"
    ]  # fmt: skip
    assert [row.name for row in blocks["exp1"].results] == ["wgan-gp", "ddpm", "broken", "mine"]
    assert [row.kind for row in blocks["exp1"].results] == ["method"] * 3 + ["samples"]


def test_values_are_those_of_each_repeat(classified, blocks):
    record = json.loads((classified.folder / GAN.format("exp1")).read_text())
    row = blocks["exp1"].find("wgan-gp")
    given = np.array([repeat["predictions"] for repeat in record["repeats"]])
    assert row.asked == 1
    assert [(run.seed, run.repeat) for run in row.runs] == [(0, 0), (0, 1), (0, 2)]
    for run, scores in zip(row.runs, given, strict=True):
        won = (scores[None, 25:] > scores[:25, None]).mean()  # no ties in these scores
        right = np.mean((scores > 0.5) == np.repeat([False, True], 25))
        assert run.values["auc"] == pytest.approx(won, abs=1e-12)
        assert run.values["accuracy"] == right
    assert len(set(row.values("auc"))) > 1


def test_what_failed_is_missing_or_has_no_weights_says_so(blocks):
    def told(block, name):
        (lack,) = blocks[block].find(name).missing
        return lack.status, lack.reason

    assert told("exp1", "broken") == ("failed", "train LGG: out of memory at 128³")
    assert told("exp2", "mine") == ("failed", "too few volumes: 12 of 64 LGG")
    status, reason = told("medicalnet", "medicalnet")
    assert status == "unavailable"
    assert reason.startswith("the weights are missing")


def test_a_stage_that_has_not_run_is_not_run(classified):
    (classified.folder / GAN.format("exp2")).unlink()
    row = next(b for b in read_protocols(classified.read()) if b.name == "exp2").find("wgan-gp")
    assert [(lack.status, lack.reason) for lack in row.missing] == [("not run", "not run")]
    assert row.runs == ()


def test_what_was_begun_is_half_finished(classified):
    def told(name):
        block = next(b for b in read_protocols(classified.read()) if b.name == "exp2")
        return [(lack.status, lack.reason) for lack in block.find(name).missing]

    path = classified.folder / GAN.format("exp2")
    path.unlink()
    path.with_suffix("").mkdir()
    assert told("wgan-gp") == [("not run", "half-finished, bench run continues it")]
    cell = classified.folder / "ddpm-quick-89abcdef/seed-0"
    for stage in ("train/HGG/record.json", "sample/record.json", "downstream/exp2@01234567.json"):
        (cell / stage).unlink()
    assert told("ddpm") == [("not run", "not run")]
    (cell / "train/HGG/checkpoint").mkdir()
    reason = "training of HGG is half-finished, bench run continues it"
    assert told("ddpm") == [("not run", reason)]


@pytest.mark.parametrize("value", [None, float("nan"), "many"])
def test_predictions_that_cannot_be_evaluated_are_a_failure_and_nothing_else_changes(
    classified, blocks, value
):
    path = classified.folder / GAN.format("exp1")
    record = json.loads(path.read_text())
    record["repeats"][1]["predictions"][3] = value
    path.write_text(json.dumps(record))
    block = next(b for b in read_protocols(classified.read()) if b.name == "exp1")
    (lack,) = block.find("wgan-gp").missing
    assert lack.status == "failed"
    assert "exp1@01234567.json: repeats.1.predictions.3 must be a" in lack.reason
    same = blocks["exp1"].find("ddpm").values("auc")
    assert block.find("ddpm").values("auc") == same


def test_shuffled_labels_are_judged_before_fine_tuning(blocks):
    (row,) = blocks["shuffled-label"].results
    assert row.label == "Shuffled label (3D-WGAN-GP)"
    assert row.stage == "before fine-tuning"
    assert abs(fmean(row.values("auc")) - 0.5) < 0.1  # after it, scores are far apart
    assert fmean(blocks["exp2"].find("wgan-gp").values("auc")) > 0.8


def test_data_of_stage_1_tell_real_from_generated(blocks):
    assert blocks["exp1"].find("ddpm").data == "64 generated LGG, 64 real HGG"
    assert blocks["exp2"].find("ddpm").data == "64 generated LGG, 64 generated HGG"
    assert blocks["trad-aug"].find("trad-aug").data == ""


def test_rows_of_different_recipes_or_test_cases_are_refused(classified):
    classified.edit(GAN.format("exp1"), recipe_hash="f" * 64)
    with pytest.raises(ReportError, match=r"'exp1' would hold rows made by different recipes"):
        read_protocols(classified.read())


def test_seeds_of_one_row_must_have_one_test_set(classified):
    row = classified.contents["downstream"][1]["rows"][0]
    row["cells"].append({"seed": 1, "record": GAN.format("exp2").replace("seed-0", "seed-1")})
    classified.predict(row["cells"][1]["record"], "exp2", 0.3, 1, n=20)
    with pytest.raises(ReportError, match="3D-WGAN-GP was tested on different cases"):
        read_protocols(classified.read())


def test_an_experiment_without_protocols_has_no_blocks(runs):
    assert read_protocols(runs.read()) == []
