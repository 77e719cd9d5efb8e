"""A tiny experiment that runs the whole engine in seconds."""

import sys

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


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Return a function that runs ``bench`` in a folder of its own: (exit code, stdout, stderr)."""
    from cerebench.benchmark import cli
    from cerebench.reports import figures

    slices = {"slices": figures.FIGURES["slices"]}  # the others have tests of their own
    monkeypatch.setattr(figures, "FIGURES", slices)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CEREBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    run.folder = tmp_path
    return run
