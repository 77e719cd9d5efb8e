"""A run that has nothing to do leaves the store as it is, and tidies up after killed ones."""

import subprocess
import sys

from cerebench.core.machine import mark


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_changes_no_byte_in_the_store_and_figures_carry_no_date(finished):
    runs, cache = finished.folder / "runs", finished.folder / "cache"
    before = contents(runs) | contents(cache)
    times = {path: path.stat().st_mtime_ns for path in before if "report" not in path.parts}
    code, out, _ = finished("run", "tiny.toml")
    assert (code, out.startswith("Nothing to do: ")) == (0, True)
    assert contents(runs) | contents(cache) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    (figure,) = runs.glob("*/report/*/*.pdf")
    assert b"CreationDate" not in figure.read_bytes()


def test_what_a_killed_run_left_half_written_is_removed_and_said(finished):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    owner = f"{mark()}-{int(gone.stdout)}-abcd1234.part"
    (anat, *_) = finished.folder.glob("runs/*/wgan-gp-*/seed-0/sample/sub-*/anat")
    left = [
        anat / f".a.nii.gz.{owner}",
        finished.folder / "cache/features/aa" / f".b.npy.{owner}",
        finished.folder / "cache" / f".hashes.json.{owner}",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    code, out, error = finished("run", "tiny.toml")
    assert (code, any(path.exists() for path in left)) == (0, False)
    assert "3 half-written files of killed runs removed." in out + error
