"""What runs where Python lacks parts that only Unix has: help, lists, reports, scores."""

import json
import subprocess
import sys

import numpy as np
import pytest

from cerebench.datasets.scans.volumes import write_nifti

# An interpreter without them: a module that is None in sys.modules cannot be imported.
WITHOUT = """
import os, sys
import psutil  # has a module of its own for each system
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for name in ("preadv", "pread", "sysconf", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
import json
from cerebench.benchmark.cli import main
codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["bench", *arguments]
    try:
        main()
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code or 0)
print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run the commands one after the other in one such interpreter; return codes and output."""
    folder = tmp_path_factory.mktemp("elsewhere")
    rng = np.random.default_rng(0)
    for name in ("real", "mine"):
        (folder / name).mkdir()
        for i in range(6):
            volume = np.full((12, 12, 12), -1, np.float32)
            volume[3:9, 3:9, 3:9] = rng.uniform(-0.5, 1, (6, 6, 6))
            write_nifti(folder / name / f"{i}.nii.gz", volume, (2.0, 2.0, 2.0))
    scored = ["--metrics", "fd-radlite-v2,mmd2-linear,copies"]
    commands = [
        ["--help"],
        ["list"],
        ["doctor", "--json"],
        ["evaluate", "--real", "real", "--fake", "mine", *scored],
        ["report", "--latex"],
        ["report"],
    ]
    command = [sys.executable, "-c", WITHOUT, json.dumps(commands)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout, done.stderr


def test_every_command_ends_well(outcome):
    codes, _, errors = outcome
    assert codes == [0] * 6, errors


def test_the_table_is_printed(outcome):
    _, printed, _ = outcome
    assert printed.count("mine against real") >= 2  # evaluate, report
    assert "main.tex" in printed


def test_a_preparation_is_locked_and_free_again(tmp_path):
    from cerebench.datasets.cache import _lock

    place = tmp_path / "lock"
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(place.exists())
        raise KeyboardInterrupt  # or it would wait for itself

    with _lock(place, waiting), pytest.raises(KeyboardInterrupt), _lock(place, waiting):
        pass
    assert waited == [True]
    with _lock(place, waiting):
        assert waited == [True]
