import json
import math

import pytest

from cerebench.reports.base import RecordedExperiment, ReportError
from cerebench.reports.values import frames, tidy
from cerebench.reports.values.study import read_study


def where(frame, **columns):
    for name, value in columns.items():
        frame = frame[frame[name] == value]
    return frame


def test_csv_holds_every_value(runs, tmp_path, golden):
    (path,) = frames.write(runs.read(), tmp_path / "out")
    golden("made-up.csv", path.read_text(encoding="utf-8"))


def test_the_lines_of_the_docs_remake_the_table(classified, tmp_path, capsys, page_code):
    experiment = classified.read()
    (path,) = frames.write(experiment, tmp_path)
    names = {}
    exec(page_code("results.md", "pivot_table").replace("quickstart.csv", str(path)), names)
    means = names["means"]
    recorded = [v for v in tidy.values(experiment) if v.status == "ok" and v.role != "control"]
    recorded = [v for v in recorded if v.value is not None]
    for value in recorded:
        found = means.loc[value.class_, value.label][value.metric, value.view or "all"]
        assert found == pytest.approx(value.value, rel=1e-12)
    assert len(recorded) == means.notna().to_numpy().sum()
    assert "auc" not in means.columns.get_level_values("metric")


def test_what_rows_are_told_apart_by_is_a_word_in_every_row(classified, tmp_path):
    import pandas as pd

    (path,) = frames.write(classified.read(), tmp_path)
    found = pd.read_csv(path, keep_default_na=False)
    for name in ("experiment", "version", "class", "metric", "view", "protocol", "level", "role"):
        assert (found[name] != "").all(), name
    assert set(found["level"]) == {"score", "run", "mean", "comparison"}


def test_downstream_rows_have_the_preset_and_the_mark_of_their_generator(classified, tmp_path):
    import pandas as pd

    path = "ddpm-quick-89abcdef/seed-0/score/ms-ssim@4567cdef.json"
    rows = json.loads((classified.folder / path).read_text())["rows"]
    classified.edit(path, rows=[row | {"value": 0.95} for row in rows])
    for row in classified.contents["rows"]:
        if row["name"] == "wgan-gp":
            row["preset"] = "paper"
    (csv,) = frames.write(classified.read(), tmp_path)
    found = pd.read_csv(csv, keep_default_na=False)
    told = where(found, protocol="exp2", level="mean", metric="auc").set_index("method")
    assert told["preset"].to_dict() == {"wgan-gp": "paper", "ddpm": "quick"}
    assert set(told["protocol_preset"]) == {"quick"}
    assert set(told["role"]) == {"method"}
    assert told.loc["ddpm", "mark"].startswith("under-trained: ms-ssim 0.95 (LGG)")
    image = where(found, level="score", metric="ms-ssim", method="ddpm")
    assert set(image["mark"]) == {told.loc["ddpm", "mark"]}
    assert told.loc["wgan-gp", "mark"] == ""
    assert set(where(found, protocol="trad-aug")["role"]) == {"baseline"}


def test_the_auc_of_stage_1_is_there_for_every_run_and_as_a_mean(classified, tmp_path):
    import pandas as pd

    (csv,) = frames.write(classified.read(), tmp_path)
    found = where(pd.read_csv(csv), protocol="exp1", metric="auc-stage-1", method="wgan-gp")
    runs, mean = where(found, level="run"), where(found, level="mean")
    study = read_study(classified.read())
    (block,) = [block for block in study.blocks if block.name == "exp1"]
    expected = block.find("wgan-gp").before.values("auc")
    assert runs["value"].tolist() == pytest.approx(expected)
    assert runs["repeat"].tolist() == [0, 1, 2]
    assert mean["value"].item() == pytest.approx(sum(expected) / 3)
    assert mean["low"].item() < mean["value"].item() < mean["high"].item()
    without = pd.read_csv(csv)
    assert where(without, protocol="trad-aug", metric="auc-stage-1").empty


def test_a_row_with_other_data_in_stage_1_is_marked_with_both(classified, tmp_path):
    import pandas as pd

    path = "ddpm-quick-89abcdef/seed-0/downstream/exp2@01234567.json"
    repeats = json.loads((classified.folder / path).read_text())["repeats"]
    made = {"n": {"pretrain": {"LGG": 64, "HGG": 64}}, "n_synthetic": {"pretrain": {"LGG": 64}}}
    classified.edit(path, repeats=[repeat | made for repeat in repeats])
    (csv,) = frames.write(classified.read(), tmp_path)
    found = pd.read_csv(csv, keep_default_na=False)
    marks = set(where(found, protocol="exp2", method="ddpm")["mark"])
    assert marks == {"unequal data: stage 1 trained on 64 generated LGG, 64 real HGG"}


def test_values_are_neither_rounded_nor_scaled(runs, tmp_path):
    import pandas as pd

    path = "ddpm-quick-89abcdef/seed-0/score/kid-radlite-v2@4567cdef.json"
    record = json.loads((runs.folder / path).read_text())
    record["rows"][0]["value"] = 0.1 + 0.2
    runs.edit(path, rows=record["rows"])
    (csv,) = frames.write(runs.read(), tmp_path)
    found = where(
        pd.read_csv(csv, float_precision="round_trip"), method="ddpm", metric="kid-radlite-v2"
    )
    assert found["value"].tolist() == [0.1 + 0.2, 5e-8]
    assert found["scale"].tolist() == [1e3, 1e3]


def test_a_failed_training_fails_every_score_of_its_cell_with_the_first_line(runs):
    found = where(frames.frame(runs.read()), method="broken")
    scores = found[found["better"] != ""]
    scores = scores[scores["metric"] != "fid"]
    assert len(scores) == 2 * (5 + 3)
    assert set(scores["status"]) == {"failed"}
    assert set(scores["reason"]) == {"train LGG: out of memory at 128³"}
    assert scores["value"].isna().all()
    times = where(found, metric="train-seconds").set_index("class")
    assert times.loc["HGG", "value"] == 150.0
    assert times.loc["LGG", "status"] == "failed"


def test_a_failed_metric_names_its_own_reason(runs):
    path = "ddpm-quick-89abcdef/seed-0/score/ms-ssim@4567cdef"
    (runs.folder / f"{path}.json").unlink()
    runs.write(f"{path}.failure.json", "failure", reason="volumes are smaller than the window")
    found = where(frames.frame(runs.read()), method="ddpm", metric="ms-ssim")
    assert set(found["reason"]) == {"volumes are smaller than the window"}
    assert set(found["status"]) == {"failed"}


def test_a_listed_record_that_is_missing_has_not_run(runs):
    (runs.folder / "ddpm-quick-89abcdef/seed-0/score/ms-ssim@4567cdef.json").unlink()
    (runs.folder / "ddpm-quick-89abcdef/seed-0/sample/record.json").unlink()
    found = where(frames.frame(runs.read()), method="ddpm")
    for metric in ("ms-ssim", "sample-seconds"):
        assert set(where(found, metric=metric)["status"]) == {"not run"}


def test_an_unavailable_metric_says_why(runs):
    found = where(frames.frame(runs.read()), method="ddpm", metric="fid")
    assert len(found) == 6
    assert set(found["status"]) == {"unavailable"}
    assert found["reason"].str.contains("bench weights import").all()


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_record_with_a_value_that_is_no_number_is_left_out(runs, value):
    path = "ddpm-quick-89abcdef/seed-0/score/ms-ssim@4567cdef.json"
    record = json.loads((runs.folder / path).read_text())
    record["rows"][1]["value"] = value
    runs.edit(path, rows=record["rows"])
    found = where(frames.frame(runs.read()), method="ddpm", metric="ms-ssim")
    assert found["status"].tolist() == ["failed", "failed"]
    assert found["value"].isna().all()
    assert found["reason"].str.contains("ms-ssim@4567cdef.json: rows.1.value must be a ").all()


def only(found, metric, class_):
    """Return the one row of a metric and class."""
    (row,) = where(found, metric=metric, **{"class": class_}).to_dict("records")
    return row


def test_costs_are_rows_with_their_class_and_device(runs):
    found = where(frames.frame(runs.read()), method="wgan-gp")
    assert only(found, "train-seconds", "HGG")["value"] == 150.0
    assert only(found, "train-seconds", "HGG")["device"] == "cpu, bf16, 2 threads"
    assert only(found, "train-cpu-seconds", "HGG")["value"] == 270.0
    assert json.loads(only(found, "train-seconds", "HGG")["facts"]) == {
        "cores": 2,
        "usable_cores": 2,
        "other_cores": 0.125,
    }
    assert only(found, "parameters", "LGG")["value"] == 1_500_000
    assert only(found, "peak-mib", "LGG")["value"] == 812.0
    assert only(found, "sample-seconds", "all")["value"] == 0.05
    assert only(found, "clip-fraction", "HGG")["value"] == 0.0123
    assert only(found, "foreground", "LGG")["value"] == 3210.5


def test_costs_in_words_are_rows_without_a_value(runs):
    found = where(frames.frame(runs.read()), method="ddpm")
    assert only(found, "device", "HGG")["text"] == "cpu, bf16"
    assert only(found, "sampler", "all")["text"] == "dpmpp 25"
    assert found[found["metric"].isin(["device", "sampler"])]["value"].isna().all()
    assert set(where(found, metric="ms-ssim")["text"]) == {""}


def test_warnings_of_a_training_are_notes_of_its_time_alone(runs):
    runs.edit("ddpm-quick-89abcdef/seed-0/train/LGG/record.json", warnings=["alike", "dark"])
    found = where(frames.frame(runs.read()), method="ddpm")
    assert only(found, "train-seconds", "LGG")["notes"] == "alike | dark"
    assert sum("alike" in notes for notes in found["notes"]) == 1


def test_seeds_are_rows_of_their_own(three_seeds):
    found = where(frames.frame(three_seeds.read()), method="ddpm", metric="ms-ssim")
    found = where(found, **{"class": "LGG"})
    assert found["seed"].tolist() == [0, 1, 2]
    assert found["value"].tolist() == pytest.approx([0.6512, 0.6512 * 1.01, 0.6512 * 1.02])


def test_a_path_outside_the_folder_is_refused(runs):
    runs.contents["rows"][1]["cells"][0]["sample"] = "../../etc/record.json"
    with pytest.raises(ReportError, match="must be a path inside its folder"):
        tidy.values(runs.read())


def test_a_link_out_of_the_folder_is_not_followed(runs, tmp_path):
    path = runs.folder / "ddpm-quick-89abcdef/seed-0/sample/record.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ReportError, match="lies outside"):
        tidy.values(runs.read())


def test_a_damaged_record_is_named(runs):
    path = runs.folder / "ddpm-quick-89abcdef/seed-0/sample/record.json"
    path.write_text("{", encoding="utf-8")
    found = where(frames.frame(runs.read()), method="ddpm", metric="foreground")
    assert set(found["status"]) == {"failed"}
    assert found["reason"].str.contains("sample/record.json: it cannot be read as JSON").all()


def test_a_name_that_would_leave_the_folder_is_refused(runs, tmp_path):
    runs.contents["name"] = "../elsewhere"
    with pytest.raises(ReportError, match="name must be of letters, digits"):
        frames.write(runs.read(), tmp_path)


def test_a_file_that_is_no_table_of_contents_is_refused(tmp_path):
    path = tmp_path / "experiment.json"
    path.write_text('{"kind": "score"}', encoding="utf-8")
    with pytest.raises(ReportError, match="not a table of contents"):
        RecordedExperiment.read(path)


def test_a_training_that_was_begun_is_told_from_one_that_was_not(runs):
    cell = runs.folder / "ddpm-quick-89abcdef/seed-0"
    lost = [cell / "train/LGG/record.json", cell / "sample/record.json"]
    for path in [*lost, *(cell / "score").glob("*.json")]:
        path.unlink()

    def reasons():
        found = tidy.values(runs.read())
        return {v.reason for v in found if v.method == "ddpm" and v.metric == "fd-radlite-v2"}

    assert reasons() == {"not run"}
    (cell / "train/LGG/checkpoint").mkdir()
    assert reasons() == {"training of LGG is half-finished, bench run continues it"}


def test_no_cell_of_the_csv_is_a_formula_and_numbers_stay():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(
        {"row": ["=1+1", "@x", "\x1b[2J", "-0.5", "a"], "value": [-1.5, 2, 3, 4, 5]}
    )
    rows = frames.safe_csv(table).splitlines()
    assert rows == ["row,value", "'=1+1,-1.5", "'@x,2.0", "\\x1b[2J,3.0", "-0.5,4.0", "a,5.0"]
