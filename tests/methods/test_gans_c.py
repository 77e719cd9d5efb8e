"""The label-conditional extensions: counts, labels in every network, balance, independence."""

import dataclasses

import numpy as np
import pytest
import torch

from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.methods import alpha_wgan, alpha_wgan_c, wgan_gp, wgan_gp_c
from cerebench.methods.alpha_wgan import AlphaWGAN
from cerebench.methods.alpha_wgan_c import AlphaWGANC
from cerebench.methods.base import Conditions
from cerebench.methods.wgan_gp import WGANGP
from cerebench.methods.wgan_gp_c import WGANGPC

PAIRS = [(WGANGPC, WGANGP), (AlphaWGANC, AlphaWGAN)]


def _counts(cls, size, preset):
    with torch.device("meta"):
        method = cls(cls.presets[preset].config, size=size, classes=("LGG", "HGG"))
    return {n: sum(p.numel() for p in net.parameters()) for n, net in method.nets.items()}


@pytest.mark.parametrize("size", [64, 128])
def test_labels_add_the_parameters_of_the_specification(size):
    w1_g, w1_d = {64: (512, 64), 128: (1024, 32)}[size]
    more = {"generator": 64 * 2 * w1_g, "critic": 2 * 512}
    plain, labelled = (_counts(c, size, "paper") for c in (WGANGP, WGANGPC))
    assert {n: labelled[n] - plain[n] for n in plain} == more
    more |= {"encoder": 64 * 2 * w1_d, "code_critic": 2 * 4096}
    plain, labelled = (_counts(c, size, "paper") for c in (AlphaWGAN, AlphaWGANC))
    assert {n: labelled[n] - plain[n] for n in plain} == more


def _tiny(cls, **changes):
    config = dataclasses.replace(cls.presets["smoke"].config, **{"steps": 2, "batch": 4} | changes)
    with seeded(0, "init"):
        return cls(config, size=16, classes=("LGG", "HGG"))


class _Spy(TrainingData):
    """Remembers the labels of every batch it gave away."""

    given: list

    def take(self, indices):
        batch = super().take(indices)
        self.given.append(batch.labels.tolist())
        return batch


def _data(levels=(0.0, 0.0)):
    labels = [0, 0] + [1] * 10
    rng = np.random.default_rng(0)
    volumes = rng.normal(0, 0.05, (12, 1, 16, 16, 16)).astype(np.float32)
    volumes += np.asarray(levels, np.float32)[labels][:, None, None, None, None]
    data = _Spy(volumes, None, labels, [str(i) for i in range(12)], "cpu")
    data.given = []
    return data


@pytest.mark.parametrize("cls", [WGANGPC, AlphaWGANC])
def test_training_sees_both_classes_equally_often(cls, tmp_path):
    data = _data()
    cost = train(_tiny(cls, steps=3), data, tmp_path, seed=0, scope="all")
    batches = [labels for labels in data.given if len(labels) == 2 and len(set(labels)) == 1]
    draws = batches[-2 * (cost.volumes_seen // 4) :]
    assert [labels[0] for labels in draws] == [0, 1] * (cost.volumes_seen // 4)
    assert cost.volumes_seen == 3 * 4 * (2 if cls is AlphaWGANC else 1)


@pytest.mark.parametrize("cls", [WGANGPC, AlphaWGANC])
def test_every_network_hears_the_label(cls):
    method = _tiny(cls)
    torch.manual_seed(0)
    zero, one = (method._with_labels(torch.full((2,), label)) for label in (0, 1))
    x, z = torch.randn(2, 1, 16, 16, 16), torch.randn(2, 8)
    inputs = (z, x) if cls is WGANGPC else (x, z, x, z)
    for net in method.nets.values():
        net.eval()
    for first, second, value in zip(zero, one, inputs, strict=True):
        assert first(value).shape == second(value).shape
        assert not torch.allclose(first(value), second(value), atol=1e-6)


@pytest.mark.parametrize("cls", [WGANGPC, AlphaWGANC])
def test_samples_of_a_class_move_to_its_cases(cls, tmp_path):
    method = _tiny(cls, steps=60, lr=5e-3, statistics=20)
    train(method, _data((-0.8, 0.2)), tmp_path, seed=0, scope="all")
    means = []
    with torch.no_grad():
        for label in (0, 1):
            rngs = [torch.Generator().manual_seed(i) for i in range(6)]
            means.append(method.sample(Conditions(torch.full((6,), label)), rngs).mean().item())
    assert means[1] - means[0] > 0.3


@pytest.mark.parametrize("cls", [WGANGPC, AlphaWGANC])
def test_a_sample_depends_on_its_label_and_not_on_its_neighbours(cls, tmp_path):
    method = _tiny(cls)
    train(method, _data(), tmp_path, seed=0, scope="all")
    labels = torch.tensor([0, 1, 1])

    def sample(places):
        rngs = [torch.Generator().manual_seed(7 + i) for i in places]
        with torch.no_grad():
            return method.sample(Conditions(labels[places]), rngs)

    together = sample([0, 1, 2])
    alone = torch.cat([sample([i]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(("cls", "base"), PAIRS)
def test_an_extension_says_that_it_is_none_of_the_papers_rows(cls, base):
    assert cls.info.name == f"{base.info.name}-c"
    assert cls.info.label == f"{base.info.label}-C"
    assert cls.info.conditioning == "class"
    assert "not a baseline of any paper" in cls.departures[0]
    assert cls.departures[-len(base.departures) :] == base.departures


def test_presets_see_each_class_as_often_as_a_model_of_its_own():
    for own, base in ((wgan_gp_c, wgan_gp), (alpha_wgan_c, alpha_wgan)):
        for ours, theirs in ((own.PAPER, base.PAPER), (own.QUICK, base.QUICK)):
            assert ours.config.steps == 2 * theirs.config.steps
            assert dataclasses.replace(ours.config, steps=theirs.config.steps) == theirs.config
