"""A tiny experiment that runs the whole engine in seconds."""

import contextlib
import io
import shutil
import socket
import sys
from types import SimpleNamespace

import pytest

EXPERIMENT = """
title = "Tiny"
dataset = "phantom"
size = 16
methods = ["wgan-gp"]
preset = "smoke"
samples_per_class = 10
metrics = ["mmd2-kwon", "ms-ssim", "fd-radlite-v1", "nn-ratio", "fd-rand2d-v1"]

[split]
train = 12
test = 10
"""


def _prepare(folder, patch):
    """Let ``bench`` work in a folder that holds the tiny experiment."""
    from cerebench.reports.figures import every as figures

    slices = {"slices": figures.FIGURES["slices"]}  # the others have tests of their own
    patch.setattr(figures, "FIGURES", slices)
    patch.chdir(folder)
    patch.setenv("CEREBENCH_CACHE", str(folder / "cache"))
    patch.setenv("COLUMNS", "200")
    (folder / "tiny.toml").write_text(EXPERIMENT)


def _exit_code(arguments, patch, ctrl_c):
    from cerebench.benchmark import cli

    patch.setattr(sys, "argv", ["bench", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    ctrl_c.stop_if_any()  # bench has made an exit code of it
    return code


def _without_network(patch):
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was attempted")

    patch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def no_network(monkeypatch):
    """Refuse every connection, as for the tiny run that tests share."""
    _without_network(monkeypatch)


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys, ctrl_c):
    """Return a function that runs ``bench`` in a folder of its own: (exit code, stdout, stderr)."""
    _prepare(tmp_path, monkeypatch)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = _exit_code(arguments, monkeypatch, ctrl_c)
        return (code, *capsys.readouterr())

    run.folder = tmp_path
    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, ctrl_c):
    """Run the tiny experiment once for all tests that only look at what it leaves."""
    folder = tmp_path_factory.mktemp("tiny")
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        out = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        _prepare(folder, patch)
        _without_network(patch)
        code = _exit_code(("run", "tiny.toml"), patch, ctrl_c)
    return SimpleNamespace(folder=folder, code=code, out=out.getvalue())


@pytest.fixture
def finished(bench, tiny_run):
    """Return ``bench`` in a folder of its own where the tiny experiment is finished."""
    assert tiny_run.code == 0, tiny_run.out
    shutil.copytree(tiny_run.folder, bench.folder, dirs_exist_ok=True)
    return bench
