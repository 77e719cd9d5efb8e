"""Seconds of every quick protocol at quick scale, beside those of one residual network of depth 10.

Prints wall and CPU seconds and the ratio to an epoch of the ResNet-10 on the same cases; times
decide nothing. Run with ``OMP_NUM_THREADS=2 pytest tests/perf/test_downstream.py -s``.
"""

import dataclasses
import importlib
import time

import numpy as np
import pytest
import torch

from cerebench.benchmark.stages.downstream import HarnessTrainer
from cerebench.metrics import downstream
from cerebench.metrics.downstream.base import Cases, Material
from cerebench.metrics.downstream.controls import RealOnly

SIZE, TRAIN, TEST, GENERATED = 32, 100, 200, 64  # the quickstart's numbers a class
NAMES = [name for name, (_, facts) in downstream.BUILTIN.items() if not facts["weights"]]


def cases(count, prefix):
    """Return noise inside a ball: what is in a volume costs no time."""
    axis = np.linspace(-1, 1, SIZE)
    ball = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 0.4
    rng = np.random.default_rng(0)
    volumes = np.full((2 * count, 1, SIZE, SIZE, SIZE), -1, np.float32)
    volumes[:, 0, ball] = rng.uniform(-1, 1, (2 * count, int(ball.sum())))
    ids = tuple(f"{prefix}{i}" for i in range(2 * count))
    return Cases(volumes, np.repeat([0, 1], count).astype(np.int64), ids, ids)


@pytest.fixture(scope="module")
def material():
    return Material(
        cases(TRAIN, "d"), cases(TEST, "t"), cases(GENERATED, "s"), ("LGG", "HGG"), seed=0
    )


def times(protocol, data, folder):
    trainer = HarnessTrainer(folder, "key", torch.device("cpu"), lambda *_: None, lambda: False)
    wall, cpu = time.perf_counter(), time.process_time()
    protocol.run(data, trainer)
    return time.perf_counter() - wall, time.process_time() - cpu


@pytest.fixture(scope="module")
def residual(material, tmp_path_factory):
    """Return CPU seconds of one repeat of one epoch of the ResNet-10 on the fine-tuning cases."""
    config = RealOnly.presets["quick"].config
    former = {"network": "resnet", "depth": 10, "stem": "iso", "repeats": 1, "finetune_epochs": 1}
    protocol = RealOnly(dataclasses.replace(config, **former))
    return times(protocol, material, tmp_path_factory.mktemp("residual"))[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_protocol(benchmark, name, material, residual, tmp_path):
    module, attribute = downstream.BUILTIN[name][0].split(":")
    cls = getattr(importlib.import_module(module), attribute)
    protocol = cls(cls.presets["quick"].config)
    found = []
    benchmark.pedantic(lambda: found.append(times(protocol, material, tmp_path)), rounds=1)
    wall, cpu = found[0]
    print(  # noqa: T201
        f"\n{name}: {wall:.1f} s wall, {cpu:.1f} CPU s with {torch.get_num_threads()} threads; "
        f"{cpu / residual:.1f} x one epoch and test of a ResNet-10"
    )
    assert wall > 0
