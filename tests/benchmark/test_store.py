"""Keys, atomic records, failures."""

import json
import math

import pytest

from cerebench.benchmark import store


def test_keys_match_the_published_vectors():
    first = store.key_of({"a": 1, "b": [1, 2.5]})
    assert first == "07ac8340cb8a1f1a4c2cc05b1f6e885b0d7239278fdf513db654864fcb9ec9e3"
    second = store.key_of(
        {"kind": "train", "method": "wgan_gp", "params": {"batch": 3, "lr": 0.0001}, "seed": 0}
    )
    assert second == "1f1a8cec26f68dec694a291525ac882bf25ccaaaeddf7e236d3b25bf145e7acf"


def test_keys_do_not_depend_on_order_but_on_every_value():
    assert store.key_of({"a": 1, "b": 2}) == store.key_of({"b": 2, "a": 1})
    assert store.key_of({"a": 1}) != store.key_of({"a": 1.0})
    assert store.key_of(["x", "y"]) != store.key_of(["y", "x"])


def test_keys_refuse_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.key_of({"a": math.nan})


def test_values_keep_every_digit(tmp_path):
    value = 0.1 + 0.2
    store.write_json(tmp_path / "x.json", {"value": value, "tiny": 5e-324})
    assert store.read_json(tmp_path / "x.json") == {"value": value, "tiny": 5e-324}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    store.write_json(path, 1)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        store.write_json(path, 2)
    assert store.read_json(path) == 1
    assert list(tmp_path.iterdir()) == [path]


def record_with_file(folder):
    """Write a file and a record that vouches for it."""
    data = folder / "data.bin"
    data.write_bytes(b"volume")
    files = store.describe_files(folder, [data])
    store.write_record(folder / "record.json", "train", "k", {"files": files})
    return data


def test_a_record_holds_while_its_key_and_files_do(tmp_path):
    record_with_file(tmp_path)
    assert store.read_record(tmp_path / "record.json", "k")["kind"] == "train"
    assert store.read_record(tmp_path / "record.json", "other") is None


@pytest.mark.parametrize("damage", [b"volumE", b"longer than before", None])
def test_a_record_does_not_vouch_for_a_changed_file(tmp_path, damage):
    data = record_with_file(tmp_path)
    data.unlink() if damage is None else data.write_bytes(damage)
    assert store.read_record(tmp_path / "record.json", "k") is None


def test_a_touched_file_is_hashed_again_and_still_holds(tmp_path):
    data = record_with_file(tmp_path)
    data.touch()
    assert store.read_record(tmp_path / "record.json", "k") is not None


def test_a_record_cut_short_is_not_done(tmp_path):
    record_with_file(tmp_path)
    path = tmp_path / "record.json"
    path.write_text(path.read_text()[:-20])
    assert store.read_record(path, "k") is None


def test_a_success_clears_the_failure(tmp_path):
    record = tmp_path / "record.json"
    store.write_failure(record, "train", ValueError("no luck"))
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert (failure["reason"], failure["error"]) == ("no luck", "ValueError")
    assert "ValueError: no luck" in failure["traceback"]
    store.write_record(record, "train", "k", {})
    assert not (tmp_path / "failure.json").exists()


def test_each_metric_has_a_failure_of_its_own(tmp_path):
    path = store.failure_path(tmp_path / "fid@01234567.json")
    assert path.name == "fid@01234567.failure.json"
