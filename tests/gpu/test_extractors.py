"""Every extractor on the GPU that was asked for, with the features of the CPU."""

import numpy as np
import pytest
import torch
from torch import nn

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.core import weights
from cerebench.metrics.base import VolumeSet
from cerebench.metrics.extractors import inception, medicalnet, squeezenet

EXTRACTORS = [
    name for name in Registries().extractors.names() if name not in ("radlite-v1", "mirp-v1")
]


@pytest.fixture(autouse=True)
def _random_weights(monkeypatch, tmp_path):
    """Networks get random weights, from a file that stands for theirs."""
    (tmp_path / "weights.pth").write_bytes(b"")
    for name in ("find", "find_unverified"):
        monkeypatch.setattr(weights, name, lambda _: tmp_path / "weights.pth")

    def of_inception(_path):
        torch.manual_seed(0)
        network = inception.build_network()
        network.fc = nn.Identity()
        return network.eval().requires_grad_(False)

    def of_medicalnet(_path, depth):
        torch.manual_seed(0)
        return medicalnet.ResNet(depth).eval().requires_grad_(False)

    def of_squeezenet(_path):
        torch.manual_seed(0)
        return squeezenet.pooled(squeezenet.build_network()).eval().requires_grad_(False)

    monkeypatch.setattr(squeezenet, "load_network", of_squeezenet)
    monkeypatch.setattr(inception, "load_network", of_inception)
    monkeypatch.setattr(medicalnet, "load_network", of_medicalnet)


def extracted(name, folder, where):
    """Features of two volumes, extracted as the engine does, and the extractor."""
    cache = FeatureCache(folder, Registries().extractors, device=str(where))
    volumes = np.full((2, 1, 16, 16, 16), -1, np.float32)
    inside = np.random.RandomState(0).uniform(-0.9, 0.9, (2, 1, 10, 9, 8))
    volumes[:, :, 3:13, 4:13, 2:10] = inside
    ndim = Registries().extractors.load(name).ndim
    found = VolumeSet(volumes, ["a", "b"], cache).features(
        name, "axial/middle" if ndim == 2 else ""
    )
    return np.stack(list(found)), cache._extractors[name]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_extractor_runs_on_the_gpu_that_was_asked_for(gpu, tmp_path, name):
    torch.cuda.reset_peak_memory_stats(gpu)
    found, extractor = extracted(name, tmp_path / "gpu", gpu)
    assert torch.cuda.max_memory_allocated(gpu) > 0
    assert torch.device(extractor.device) == gpu
    expected, other = extracted(name, tmp_path / "cpu", "cpu")
    assert other.device == "cpu"
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_extractor_stays_on_the_cpu_where_nobody_asks_for_a_gpu(name):
    assert Registries().extractors.load(name)().device == "cpu"
