"""A whole run on a GPU, and folders scored there."""

import json
import sys

import numpy as np
import pytest
import torch

from cerebench.benchmark import cli
from cerebench.benchmark.device import device_name
from cerebench.datasets.scans.volumes import write_nifti

EXPERIMENT = """
title = "Tiny"
dataset = "phantom"
size = 16
methods = ["wgan-gp", "vqgan-cond"]
preset = "smoke"
samples_per_class = 40
metrics = ["fd-rand3d-v1", "fd-rand2d-v1", "ms-ssim"]
protocols = ["exp1", "real-only"]

[split]
train = 24
test = 10
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Return a function that runs ``bench`` in a folder of its own and returns the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CEREBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code or 0
        return 0

    run.folder = tmp_path
    return run


def test_a_run_trains_scores_and_classifies_on_the_gpu_and_says_so(bench, gpu):
    assert bench("run", "tiny.toml", "--device", str(gpu)) == 0
    read = [json.loads(p.read_text()) for p in bench.folder.rglob("*.json")]
    found = [record for record in read if isinstance(record, dict)]
    devices = {
        kind: {record["device"] for record in found if record.get("kind") == kind}
        for kind in ("train", "sample", "downstream")
    }
    assert all(names == {device_name(gpu)} for names in devices.values()), devices
    cells = [record for record in found if record.get("kind") == "cell"]
    assert {cell["hardware"]["device"] for cell in cells} == {device_name(gpu)}


def test_folders_are_scored_on_the_gpu(bench, gpu):
    for folder in ("real", "mine"):
        (bench.folder / folder).mkdir()
        for i in range(6):
            volume = np.random.RandomState(i).uniform(-1, 1, (16, 16, 16)).astype(np.float32)
            write_nifti(bench.folder / folder / f"{i}.nii.gz", volume, (1.0, 1.0, 1.0))
    torch.cuda.reset_peak_memory_stats(gpu)
    asked = ["evaluate", "--real", "real", "--fake", "mine", "--floor-only"]
    assert bench(*asked, "--metrics", "fd-rand3d-v1", "--device", str(gpu)) == 0
    assert torch.cuda.max_memory_allocated(gpu) > 0
