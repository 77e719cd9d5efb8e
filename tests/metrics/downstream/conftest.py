"""A trainer that is the real harness on temporary folders, and classes that are easy to tell."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from cerebench.benchmark.stages.training import TrainingData, load_networks, train
from cerebench.metrics.downstream import experiment
from cerebench.metrics.downstream.base import Cases, Material


class HarnessTrainer:
    """Satisfies ``Trainer``; what is finished is loaded again."""

    device = "cpu"

    def __init__(self, folder, stop=lambda: False):
        self.folder, self.stop = folder, stop
        self.fitted = {}  # name to the cases that were asked to be trained on

    def fit(self, learner, cases, name, seed):
        self.fitted[name] = cases
        folder = self.folder / name
        if (folder / "done").exists():
            load_networks(learner.nets, folder / "model.safetensors", self.device)
            return
        train(learner, self.data(cases), folder, seed=seed, scope=name, stop=self.stop)
        (folder / "done").touch()

    def data(self, cases):
        volumes = np.stack([np.asarray(volume) for volume in cases.volumes])
        return TrainingData(volumes, None, cases.labels, cases.ids, self.device)

    def log(self, name):
        lines = (self.folder / name / "log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def trainer(tmp_path):
    return HarnessTrainer(tmp_path)


def planted(lgg, hgg, prefix, size=8, seed=0, effect=0.6):
    """Balls in noise; those of HGG are brighter by ``effect``, in units of half the range."""
    rng = np.random.RandomState(seed)
    labels = np.repeat([0, 1], [lgg, hgg])
    axis = np.arange(size) - (size - 1) / 2
    ball = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) < (size / 2.5) ** 2
    volumes = np.full((lgg + hgg, 1, size, size, size), -1, np.float32)
    for volume, label in zip(volumes, labels, strict=True):
        volume[0][ball] = np.clip(rng.normal(-0.3 + effect * label, 0.25, ball.sum()), -0.99, 1)
    ids = tuple(f"{prefix}{i:03d}" for i in range(len(labels)))
    return Cases(volumes, labels.astype(np.int64), ids, ids)


@pytest.fixture
def material():
    """Return ``make(development=(8, 14), synthetic=(8, 8), test=(10, 10), …)``."""

    def make(development=(8, 14), synthetic=(8, 8), test=(10, 10), seed=0, **how):
        return Material(
            development=planted(*development, "d", seed=1, **how),
            test=planted(*test, "t", seed=2, **how),
            synthetic=None if synthetic is None else planted(*synthetic, "s", seed=3, **how),
            classes=("LGG", "HGG"),
            seed=seed,
        )

    return make


@pytest.fixture
def configured():
    """Return ``make(protocol class, preset, **changes)``."""

    def make(protocol, preset="smoke", **changes):
        return protocol(dataclasses.replace(protocol.presets[preset].config, **changes))

    return make


@pytest.fixture
def small_network(monkeypatch):
    """Put a network of 7,000 parameters in the place of the residual one."""

    def build(depth, stem, channels, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv3d(channels, 16, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm3d(16),
                nn.ReLU(),
                nn.Conv3d(16, 16, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm3d(16),
                nn.ReLU(),
                nn.AdaptiveAvgPool3d(1),
                nn.Flatten(),
                nn.Linear(16, 2),
            )

    monkeypatch.setattr(experiment, "resnet", build)


@pytest.fixture
def planted_cases():
    return planted
