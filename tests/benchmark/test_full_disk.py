"""A disk that is full ends in one line and exit code 6; with more space the run goes on."""

import errno
import os
import shutil
import subprocess

import pytest

DISK = 6
FULL = "No space left on device"
ASK = ("run", "tiny.toml", "--protocols", "real-only", "--protocol-preset", "smoke", "--n", "40")


@pytest.fixture
def small(tmp_path):
    """Return a disk of 6 MB, 5 of which are taken by a file."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    (place / "taken").write_bytes(bytes(5_000_000))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def refused(answer):
    code, out, err = answer
    assert code == DISK, (out, err)
    (line,) = (line for line in err.splitlines() if line.startswith("bench:"))
    assert FULL in line
    assert "Check the disk" in line
    assert "Traceback" not in out + err


@pytest.mark.slow
@pytest.mark.parametrize("place", ["out", "cache", "temporary"])
def test_a_small_disk_is_told_and_a_larger_one_ends_the_run(bench, small, monkeypatch, place):
    if place == "cache":
        monkeypatch.setenv("CEREBENCH_CACHE", str(small / "cache"))
    if place == "temporary":
        monkeypatch.setattr("tempfile.tempdir", str(small))
    ask = (*ASK, "--out", str(small / "out")) if place == "out" else ASK
    refused(bench(*ask))
    (small / "taken").unlink()
    subprocess.run(["mount", "-o", "remount,size=2g", str(small)], check=True)
    code, out, err = bench(*ask)
    assert code == 0, (out, err)


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["os.posix_fallocate", "os.fsync", "numpy.savez_compressed"])
def test_a_full_disk_at_any_writing_call_ends_the_run(bench, monkeypatch, call):
    monkeypatch.setattr(call, full)
    refused(bench("run", "tiny.toml"))


def test_a_full_disk_while_figures_are_written(finished, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    refused(finished("report", "--figure"))
