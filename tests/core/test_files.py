"""Files are complete or not there."""

import pytest

from cerebench.core.files import read_json, write_bytes, write_json


def test_values_keep_every_digit(tmp_path):
    value = 0.1 + 0.2
    write_json(tmp_path / "x.json", {"value": value, "tiny": 5e-324})
    assert read_json(tmp_path / "x.json") == {"value": value, "tiny": 5e-324}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, 1)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_json(path, 2)
    assert read_json(path) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "v.json"
    write_bytes(path, b"old")

    def no_power(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", no_power)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["v.json"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", None])
def test_what_is_no_json_reads_as_nothing(tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(path) is None
    assert read_json(path / "below") is None
