"""Files are complete or not there."""

import errno
import os
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
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
from cerebench.core.volumes import allocate, write_array


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


def test_space_is_reserved_before_a_file_is_mapped(tmp_path):
    with (tmp_path / "map").open("w+b") as file:
        allocate(file.fileno(), 2**20, tmp_path / "map")
        facts = os.fstat(file.fileno())
    assert facts.st_size == 2**20
    assert facts.st_blocks * 512 >= 2**20


def test_too_little_space_is_an_error_that_names_the_file_and_what_it_needs(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        (tmp_path / "map").open("w+b") as file,
        pytest.raises(OSError, match=r"No space left on device for 3\.0 MiB: '.*map'") as error,
    ):
        allocate(file.fileno(), 3 * 2**20, tmp_path / "map")
    assert error.value.errno == errno.ENOSPC


def test_a_file_system_that_cannot_reserve_space_is_worked_with(tmp_path, monkeypatch):
    def cannot(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    with (tmp_path / "map").open("w+b") as file:
        allocate(file.fileno(), 2**20, tmp_path / "map")
        assert os.fstat(file.fileno()).st_size == 0


@pytest.mark.parametrize(("umask", "mode"), [("077", 0o600), ("027", 0o640), ("022", 0o644)])
def test_the_umask_says_who_may_read_a_file(tmp_path, umask, mode):
    code = "import sys, pathlib; from cerebench.core.files import write_bytes; "
    code += "write_bytes(pathlib.Path(sys.argv[1]), b'x')"
    command = f'umask {umask}; exec "$0" -c "$1" "$2"'
    subprocess.run(["sh", "-c", command, sys.executable, code, tmp_path / "f"], check=True)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode


def test_a_full_disk_is_known_by_its_space_where_a_library_says_it_otherwise(tmp_path, monkeypatch):
    def left(free):
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))

    def fail():
        with replacing(tmp_path / "x.safetensors"):
            raise RuntimeError("unexpected pos 64 vs 0")

    left(0)
    with pytest.raises(OSError, match=r"No space left on device: '.*x\.safetensors'"):
        fail()
    left(2**30)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        fail()
    assert not list(tmp_path.iterdir())


def test_an_array_that_does_not_fit_is_a_full_disk():
    with (
        open("/dev/full", "wb", buffering=0) as file,
        pytest.raises(OSError, match="No space") as e,
    ):
        write_array(file, np.zeros(10_000))
    assert e.value.errno == errno.ENOSPC
