"""Ctrl-C stops pytest, also while a test has ``bench run`` catch the signal in the same process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Long enough that only the signal can end it.
LONG = '("run", "tiny.toml", "--metrics", "mmd2-kwon", "--set", "wgan-gp.steps=1000000")'
TESTS = {
    "ignores the exit code": f"""
def test_first(bench):
    bench(*{LONG})
    Path(WENT_ON).touch()
""",
    "runs it in a fixture": f"""
@pytest.fixture
def made(bench):
    return bench(*{LONG})

def test_first(made):
    Path(WENT_ON).touch()
""",
    "calls it without the fixture": f"""
def test_first(bench, monkeypatch):
    from cerebench.benchmark import cli
    monkeypatch.setattr("sys.argv", ["bench", *{LONG}])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 75
""",
}
NEXT = """
def test_second():
    Path(WENT_ON).touch()
"""


# A shell starts what runs in the background with SIGINT ignored, which children inherit.
PYTEST = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""


def start(folder: Path, test: str, workers: int) -> subprocess.Popen:
    """Start pytest on two tests, the first of which trains for hours, as its own process group."""
    (folder / "tests" / "inner").mkdir(parents=True)
    shutil.copy(HERE / "conftest.py", folder / "tests")
    shutil.copy(HERE / "benchmark" / "conftest.py", folder / "tests" / "inner")
    head = f"from pathlib import Path\nimport pytest\nWENT_ON = {str(folder / 'went-on')!r}\n"
    (folder / "tests" / "inner" / "test_two.py").write_text(head + test + NEXT)
    command = [sys.executable, "-c", PYTEST, "-n", str(workers), "--dist", "loadfile", "tests"]
    command += ["--import-mode=importlib", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(folder: Path, test: str, *, presses: int = 1, workers: int = 0) -> tuple[int, str]:
    """Press Ctrl-C while the first test trains; return pytest's exit code and what it printed."""
    with start(folder, test, workers) as pytest_process:
        try:
            limit = time.monotonic() + 120
            while not list(folder.glob("tmp/**/train/LGG/log.jsonl")):
                assert pytest_process.poll() is None, pytest_process.stdout.read()
                assert time.monotonic() < limit, "no training within two minutes"
                time.sleep(0.05)
            for _ in range(presses):
                os.killpg(pytest_process.pid, signal.SIGINT)
                time.sleep(0.05)
            out, _ = pytest_process.communicate(timeout=60)
        finally:
            if pytest_process.poll() is None:
                os.killpg(pytest_process.pid, signal.SIGKILL)
    return pytest_process.returncode, out


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize(
    ("test", "options"),
    [
        pytest.param("calls it without the fixture", {}, id="in the test"),
        pytest.param("ignores the exit code", {}, marks=pytest.mark.slow, id="not looked at"),
        pytest.param("ignores the exit code", {"presses": 2}, marks=pytest.mark.slow, id="twice"),
        pytest.param("runs it in a fixture", {}, marks=pytest.mark.slow, id="in a fixture"),
        pytest.param(
            "ignores the exit code", {"workers": 2}, marks=pytest.mark.slow, id="in a worker"
        ),
    ],
)
def test_ctrl_c_ends_pytest_although_bench_run_catches_it(tmp_path, test, options):
    code, out = ended(tmp_path, TESTS[test], **options)
    assert code == pytest.ExitCode.INTERRUPTED, out
    assert "Ctrl-C" in out or "KeyboardInterrupt" in out
    assert not (tmp_path / "went-on").exists(), out
