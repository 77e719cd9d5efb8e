"""Files are complete or not there."""

import os
import subprocess
import sys
import time

import pytest

from cerebench.core.files import (
    read_json,
    replacing,
    sweep,
    unfinished,
    write_bytes,
    write_json,
    write_where_different,
)
from cerebench.core.machine import mark


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


def leave(path, age=0.0):
    """Leave a file that was last written so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


DAYS = 2 * 24 * 3600.0


def test_what_a_killed_process_left_is_removed_and_nothing_of_one_that_lives(tmp_path):
    script = "import os; print(os.getpid())"
    dead = int(subprocess.run([sys.executable, "-c", script], capture_output=True).stdout)
    here, other = mark(), "0" * 8
    gone = [
        leave(tmp_path / f".record.json.{here}-{dead}-abcd1234.part"),
        leave(tmp_path / f"sub-1/anat/.a.nii.gz.{here}-{dead}-abcd1234.part"),
        leave(tmp_path / f".x.json.{other}-{dead}-abcd1234.part", DAYS),  # of another machine
        leave(tmp_path / ".record.json.abcd1234", DAYS),  # of version 0.1.0
    ]
    kept = [
        leave(tmp_path / f".claims/.a.json.{here}-{dead}-abcd1234.part", DAYS),
        leave(tmp_path / f".record.json.{here}-{os.getpid()}-abcd1234.part", DAYS),
        leave(tmp_path / f".x.json.{other}-{dead}-abcd1234.part2"),
        leave(tmp_path / f".y.json.{other}-{dead}-abcd1234.part"),
        leave(tmp_path / ".record.json.abcd1235"),
        leave(tmp_path / ".my.settings", DAYS),
        leave(tmp_path / "record.json", DAYS),
    ]
    elsewhere = leave(tmp_path / "elsewhere" / f".a.json.{here}-{dead}-abcd1234.part")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(elsewhere.parent)
    assert sweep(folder) == 0
    assert sweep(tmp_path, below=False) == 3
    assert sweep(tmp_path) == 2
    assert not any(path.exists() for path in [*gone, elsewhere])
    assert all(path.exists() for path in kept)
    assert sweep(tmp_path / "nowhere") == 0


def test_a_temporary_file_tells_its_owner_and_the_name_it_was_to_take(tmp_path):
    with replacing(tmp_path / "record.json") as temporary:
        assert f".{mark()}-{os.getpid()}-" in temporary.name
        assert unfinished(temporary.name) == "record.json"
        assert sweep(tmp_path) == 0
    assert unfinished("record.json") == unfinished(".bidsignore") == ""


def test_a_small_file_with_its_content_is_not_written_again(tmp_path):
    path = leave(tmp_path / "x", DAYS)
    before = path.stat()
    write_where_different(path, b"half")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    write_where_different(path, b"whole")
    assert path.read_bytes() == b"whole"
