"""Files that fit their schema are read and written as they are; what does not fit is named."""

import dataclasses
import json
import os

import pytest

from cerebench.core.records.base import Misfit, Record
from cerebench.core.records.cells import Failure
from cerebench.core.records.classified import DownstreamRecord
from cerebench.core.records.contents import Contents
from cerebench.core.records.files import as_json, dump, parse, read, sealed
from cerebench.core.records.rows import ControlEntry, GeneratorRow
from cerebench.core.records.scored import DiagnosisRecord, FiguresRecord, ScoreRecord, ScoreRow
from cerebench.core.records.trained import SampleRecord, TrainRecord

FACT = {"sha256": "a" * 64, "size": 3, "mtime_ns": 1, "ctime_ns": 2}
HEAD = {"schema": 1, "kind": "score", "status": "ok", "key": "k", "utc": "now"}
ROW = {
    "class": "LGG", "view": "", "value": 0.1 + 0.2, "real_value": None, "se": 5e-324,
    "uncertainty": "", "replicates": {"real": [1.0, None]}, "n_real": 9, "n_generated": 8,
    "notes": ["a"], "facts": {"n": 3, "sd": None, "which": "range"}, "status": "ok", "reason": "",
}  # fmt: skip
RECIPE = {"metric": "m", "metric_version": 1, "recipe": {"a": [1]}, "recipe_hash": "0" * 64}
SCORE = HEAD | RECIPE | {"rows": [ROW]}


def fault(kind, told) -> str:
    """Return what is said of a file with this content."""
    data = told if isinstance(told, bytes) else json.dumps(told).encode()
    with pytest.raises(Misfit) as error:
        parse(kind, data, "x.json")
    return str(error.value).removeprefix("x.json: ")


def with_row(**changes) -> dict:
    return SCORE | {"rows": [ROW, ROW | {"class": "HGG"} | changes]}


def test_a_file_is_written_as_it_was_read_in_the_same_order_with_every_digit():
    head, record = parse(ScoreRecord, json.dumps(SCORE).encode(), "")
    assert (head.key, record.rows[0].class_, record.rows[0].facts["n"]) == ("k", "LGG", 3)
    assert json.dumps(dump(record, key="k", utc="now")) == json.dumps(SCORE)


def test_a_file_vouches_for_itself():
    data = json.dumps(sealed(SCORE)).encode()
    head, record = parse(ScoreRecord, data, "")
    assert list(json.loads(data)) == ["schema", "kind", "sha256", *list(SCORE)[2:]]
    assert record == parse(ScoreRecord, json.dumps(SCORE).encode(), "")[1]
    assert sealed(json.loads(data)) == json.loads(data)
    assert parse(ScoreRecord, json.dumps(SCORE).encode(), "")[0].sha256 is None
    for before, after in [
        (b"0.30000000000000004", b"0.30000000000000010"),
        (b'"n": 3', b'"n": 2'),
        (b'"utc": "now"', b'"utc": "new"'),
        (b'"reason"', b'"season": 1, "reason"'),
        (head.sha256.encode(), b"0" * 64),
    ]:
        assert data.count(before) == 1
        assert "was changed after it was written" in fault(ScoreRecord, data.replace(before, after))
    flipped = data.replace(b'"schema": 1', b'"schema": 3')  # not of a newer version: it was ours
    assert fault(ScoreRecord, flipped) == "schema must be 1, got 3"
    with pytest.raises(Misfit) as newer:
        parse(ScoreRecord, json.dumps(sealed(SCORE | {"schema": 2})).encode(), "")
    assert newer.value.newer


@pytest.mark.parametrize(
    "rows",
    [[], [ROW, ROW], [ROW, ROW | {"class": "HGG"}, ROW | {"view": "axial"}]],
    ids=["none", "one twice", "one missing"],
)
def test_a_score_has_a_row_for_each_class_and_view(rows):
    assert fault(ScoreRecord, SCORE | {"rows": rows}).startswith("rows must be ")


def test_what_a_later_version_adds_is_ignored():
    added = SCORE | {"new": 1, "rows": [ROW | {"new": [2]}]}
    assert (
        parse(ScoreRecord, json.dumps(added).encode(), "")[1]
        == parse(ScoreRecord, json.dumps(SCORE).encode(), "")[1]
    )


def test_what_version_0_1_0_did_not_write_is_not_known():
    row = {name: value for name, value in ROW.items() if name != "facts"}
    _, record = parse(ScoreRecord, json.dumps(SCORE | {"rows": [row]}).encode(), "")
    assert record.rows[0].facts is None
    told = {name: value for name, value in FACT.items() if name != "ctime_ns"}
    figures = HEAD | {"kind": "figures", "files": {"a.npz": told}}
    assert parse(FiguresRecord, json.dumps(figures).encode(), "")[1].files["a.npz"].ctime_ns is None


@pytest.mark.parametrize("kind", [ScoreRow, TrainRecord, DownstreamRecord, Contents])
def test_what_is_made_now_must_have_every_field(kind):
    names = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    for lacking in names:
        with pytest.raises(TypeError, match=f"'{lacking}'"):
            kind(**dict.fromkeys(set(names) - {lacking}))
    with pytest.raises(TypeError, match="unexpected keyword argument 'n_reall'"):
        kind(**dict.fromkeys(names), n_reall=3)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (with_row(se="x"), "rows.1.se must be a number, got 'x'"),
        (with_row(se=True), "rows.1.se must be a number, got true"),
        (with_row(se=[1.0]), "rows.1.se must be a number, got a list of 1"),
        (with_row(se=float("nan")), "rows.1.se must be a finite number, got NaN"),
        (with_row(value=float("inf")), "rows.1.value must be a finite number, got Infinity"),
        (with_row(se=-0.5), "rows.1.se must be at least 0, got -0.5"),
        (with_row(n_real=-1), "rows.1.n_real must be at least 0, got -1"),
        (with_row(n_real=1.5), "rows.1.n_real must be a whole number, got 1.5"),
        (with_row(n_real=None), "rows.1.n_real must be a whole number, got null"),
        (with_row(notes="a"), "rows.1.notes must be a list, got 'a'"),
        (with_row(notes=[1]), "rows.1.notes.0 must be a text, got 1"),
        (with_row(status="done"), "rows.1.status must be 'ok' or 'unavailable', got 'done'"),
        (with_row(value=None), "rows.1.value must be a number where status is ok and null else"),
        (with_row(status="unavailable"), "rows.1.value must be a number where status is ok"),
        (with_row(facts={"n": [1]}), "rows.1.facts must be numbers or texts, got a list of 1 as n"),
        (with_row(facts={"n": True}), "rows.1.facts must be numbers or texts, got true as n"),
        (with_row(facts={"n": float("nan")}), "rows.1.facts must hold finite numbers alone"),
        (with_row(replicates={"real": ["x"]}), "rows.1.replicates.real.0 must be a number"),
        (SCORE | {"recipe": {"a": [1, float("nan")]}}, "recipe must hold finite numbers alone"),
        (SCORE | {"recipe": []}, "recipe must be an object, got a list of 0"),
        (SCORE | {"recipe_hash": "0" * 63}, "recipe_hash must be a text of the form"),
        (SCORE | {"rows": {}}, "rows must be a list, got an object"),
        (SCORE | {"rows": [[]]}, "rows.0 must be an object, got a list of 0"),
        (SCORE | {"kind": "train"}, "kind must be 'score', got 'train'"),
        (SCORE | {"kind": None}, "kind must be a text, got null"),
        (SCORE | {"status": "failed"}, "status must be 'ok', got 'failed'"),
        (SCORE | {"schema": 0}, "schema must be 1, got 0"),
        (SCORE | {"schema": "1"}, "schema must be a whole number, got '1'"),
        (SCORE | {"schema": 2}, "schema is 2, of a newer version; this one reads 1. Update"),
        ({k: v for k, v in SCORE.items() if k != "key"}, "key is missing"),
        ({k: v for k, v in SCORE.items() if k != "rows"}, "rows is missing"),
        ([SCORE], "it must be an object, got a list of 1"),
        (None, "it must be an object, got null"),
        (b"", "it cannot be read as JSON: EOF"),
        (json.dumps(SCORE).encode()[:-20], "it cannot be read as JSON: "),
        (json.dumps(SCORE).encode().replace(b"LGG", b"\xff\xfe"), "it cannot be read as JSON: "),
        (b"[" * 100_000, "it cannot be read as JSON: recursion"),
        (b'{"schema": 1' + b"0" * 5000 + b"}", "it cannot be read as JSON: "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_by_field_and_value(told, said):
    assert fault(ScoreRecord, told).startswith(said)


def test_a_long_value_is_quoted_in_short_and_one_line():
    said = fault(ScoreRecord, with_row(se="a\n" * 500))
    assert len(said) < 90
    assert said.isprintable()


TEST = {"ids": ["a", "b"], "patients": ["p", "q"], "labels": [0, 1]}
REPEAT = {
    "repeat": 0, "seed": 0, "epoch": 1, "validation_auc": None, "validation_ids": [], "n": {},
    "n_synthetic": {}, "before_finetuning": None, "predictions": [0.25, 0.75],
}  # fmt: skip
COST = {"seconds": 1.0, "peak_mib": 1.0, "device": "cpu", "precision": "fp32", "threads": 1}
CLASSIFIED = HEAD | COST | {
    "kind": "downstream", "protocol": "p", "version": 1, "preset": "quick", "config": {},
    "recipe_hash": "0" * 64, "classes": ["LGG", "HGG"], "positive": "HGG", "test": TEST,
    "finetune_ids": [], "finetune_sha256": "0" * 64, "repeats": [REPEAT], "parameters": 1,
    "notes": [], "versions": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repeats": [REPEAT | {"predictions": [0.5]}]},
         "repeats.0.predictions must be 2 as test.ids are, got 1"),
        ({"repeats": [REPEAT, REPEAT | {"before_finetuning": [0.5] * 3}]},
         "repeats.1.before_finetuning must be 2 as test.ids are, got 3"),
        ({"repeats": [REPEAT | {"predictions": [0.5, 1.5]}]},
         "repeats.0.predictions.1 must be at most 1, got 1.5"),
        ({"test": TEST | {"patients": ["p"]}}, "test.patients must be 2 as ids are, got 1"),
        ({"test": TEST | {"labels": [0, -1]}}, "test.labels.1 must be at least 0, got -1"),
        ({"peak_mib": "x"}, "peak_mib must be a number, got 'x'"),
    ],
)  # fmt: skip
def test_predictions_belong_to_the_cases_of_the_test_set(changes, said):
    assert fault(DownstreamRecord, CLASSIFIED | changes) == said


def test_a_training_vouches_for_its_weights_and_samples_for_as_many_files_as_volumes():
    train = HEAD | COST | {"kind": "train", "method": "m", "method_version": 1, "class": "LGG"}
    train |= {"seed": 0, "steps": {}, "volumes_seen": 0, "parameters": {}, "warnings": []}
    train |= {"n_train": 0, "train_ids": [], "versions": {}, "files": {"log.jsonl": FACT}}
    assert fault(TrainRecord, train) == "files.model.safetensors is missing"
    sample = HEAD | {"kind": "sample", "seconds": 1.0, "seconds_per_sample": 1.0, "peak_mib": 1.0}
    sample |= {"device": "cpu", "n": {"LGG": 10**9}, "clip_fraction": {}, "foreground": {}}
    sample |= {"files": {"a.nii.gz": FACT}}
    assert fault(SampleRecord, sample) == "n must be at most the 1 files, got 1000000000"
    assert fault(SampleRecord, sample | {"n": {}}) == "n must be 1 or more, got an object"
    theirs = parse(SampleRecord, json.dumps(sample | {"device": None, "files": {}}).encode(), "")
    assert theirs[1].networks is theirs[1].restored is theirs[1].versions is None


def test_a_record_that_was_exchanged_for_one_of_another_key_is_none(tmp_path):
    path = tmp_path / "ms-ssim@0123abcd.json"
    path.write_text(json.dumps(SCORE | {"key": "0123abcd" + "0" * 56}))
    assert read(ScoreRecord, path)[1].metric == "m"
    path.write_text(json.dumps(SCORE | {"key": "1123abcd" + "0" * 56}))
    with pytest.raises(Misfit, match="key must begin with 0123abcd as the name says, got '1123"):
        read(ScoreRecord, path)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    path = tmp_path / "record.json"
    assert read(ScoreRecord, path) is None
    os.mkfifo(path)
    with pytest.raises(Misfit, match="it is no file"):
        read(ScoreRecord, path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Misfit, match="it is a folder"):
        read(ScoreRecord, path)
    assert read(ScoreRecord, path / "record.json") is None
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    assert read(ScoreRecord, path) is None


def test_names_of_files_that_are_no_utf_8_stay_readable():
    told = {"stage": "s", "reason": os.fsdecode(b"bad\xff"), "error": "E", "traceback": ""}
    data = json.dumps({"schema": 1, "kind": "failure", "utc": "now"} | told).encode()
    assert parse(Failure, data, "")[1].reason.startswith("bad")


def test_rows_have_the_fields_of_their_kind_and_are_read_alike():
    control = {
        "kind": "anchor",
        "name": "a",
        "label": "A",
        "role": "floor",
        "note": "",
        "scores": {},
    }
    cell = {"seed": 0, "folder": "f", "train": {}, "scores": {}}
    method = {"kind": "method", "name": "m", "label": "M", "preset": "quick", "source": ""}
    method |= {"conditioning": "none", "differences": [], "cells": [cell]}
    told = contents(rows=[control, method])
    _, found = parse(Contents, json.dumps(told).encode(), "")
    first, second = found.rows
    assert (type(first), first.role, first.preset, first.cells) == (ControlEntry, "floor", "", ())
    assert (type(second), second.role, second.cells[0].diagnosis) == (GeneratorRow, "", "")
    assert as_json(found.rows) == [control, method]
    for row, said in [
        (control | {"role": "best"}, "rows.1.role must be 'floor' or 'control', got 'best'"),
        ({k: v for k, v in method.items() if k != "cells"}, "rows.1.cells is missing"),
        (method | {"cells": []}, "rows.1.cells must be 1 or more, got a list of 0"),
        (method | {"kind": "mehtod"}, "rows.1.kind must be 'method' or 'samples', got 'mehtod'"),
        (method | {"cells": [cell | {"seed": "0"}]}, "rows.1.cells.0.seed must be a whole number"),
        ([], "rows.1 must be an object, got a list of 0"),
    ]:
        assert fault(Contents, contents(rows=[control, row])).startswith(said)


def contents(**changes) -> dict:
    """Return a table of contents without metrics."""
    dataset = {
        "name": "d", "label": "D", "size": 16, "fingerprint": "f", "classes": ["LGG"],
        "channels": [], "spacing": [1.0, 1.0, 1.0], "synthetic": True, "source": "",
        "licence": "", "recipe": {"name": "r", "version": 1, "settings": {}},
        "counts": {"LGG": {"train": 1, "test": 1}},
    }  # fmt: skip
    told = {
        "schema": 1, "kind": "experiment", "name": "x", "key": "0" * 64, "suite_version": "0.1.0",
        "utc": "2026-01-31T12:00:00.000Z", "title": "", "cite": "", "preset": "quick",
        "seeds": [0], "samples_per_class": 8, "reference": "", "banner": None,
        "dataset": dataset, "metrics": [], "rows": [],
    }  # fmt: skip
    return told | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../x"}, "name must be of letters, digits, '.', '_' and '-', got '../x'"),
        ({"name": ".."}, "name must be of letters"),
        ({"key": "xyz"}, "key must be a text of the form"),
        ({"utc": "yesterday"}, "utc must be a text of the form"),
        ({"banner": 1}, "banner must be a text, got 1"),
        ({"samples_per_class": -1}, "samples_per_class must be at least 0, got -1"),
        ({"published": [{"table": "1", "title": "", "columns": ["a", "b"], "rows": [["x"]],
          "note": ""}]}, "published.0.rows.0 must be 2 as columns are, got 1"),
    ],
)  # fmt: skip
def test_a_table_of_contents_that_does_not_fit_is_named(changes, said):
    assert fault(Contents, contents(**changes)).startswith(said)


def test_a_table_of_contents_of_an_older_version_has_no_suites_and_protocols():
    found = parse(Contents, json.dumps(contents()).encode(), "")[1]
    assert found.suites == found.downstream == found.published == ()


def test_subscripts_of_an_older_report_say_what_to_write():
    with pytest.raises(TypeError, match=r"Contents has attributes: write \.rows, not \['rows'\]"):
        parse(Contents, json.dumps(contents()).encode(), "")[1]["rows"]


def test_every_kind_of_record_is_known_by_its_name():
    kinds = {"train", "sample", "score", "figures", "diagnosis", "downstream", "fit"}
    assert kinds <= Record.kinds.keys()
    assert Record.kinds["diagnosis"] is DiagnosisRecord
