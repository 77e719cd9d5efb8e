"""The learner in the real harness: epochs, selection, exact resume, prediction."""

import dataclasses
import math
from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import binary_auroc

from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.stages.training import TrainingDiverged
from cerebench.metrics.downstream.base import ProtocolError
from cerebench.metrics.downstream.networks import classifier
from cerebench.metrics.downstream.networks.classifier import (
    Classifier,
    Selection,
    Training,
    batch_bounds,
    predict,
    turned,
)

CONFIG = Training(epochs=4, batch=5, lr=1e-2, gamma=2.0, precision="fp32")
QUICK = dataclasses.replace(CONFIG, schedule="one-cycle", turns=True, kept_epoch="last")


def network(seed=0):
    """Convolution, batch norm, dropout: everything whose state could get lost."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, stride=2, bias=False),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4, 2),
    )


@pytest.fixture
def cases(planted_cases):
    return planted_cases(8, 9, "c")


@pytest.fixture
def validation(planted_cases):
    return planted_cases(5, 5, "v", seed=9, effect=0.1)


class Recorded(nn.Module):
    """A network that notes which volumes it is trained on."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = network(), []

    def forward(self, images):
        if self.training:
            self.seen.append(images[:, 0].mean((1, 2, 3)).tolist())
        return self.inner(images)


def test_epochs_show_every_case_once_in_new_orders(cases, trainer):
    recorded = Recorded()
    config = dataclasses.replace(CONFIG, epochs=3)
    trainer.fit(Classifier(recorded, config), cases, "a", 0)
    assert [len(batch) for batch in recorded.seen] == [5, 5, 5, 2] * 3
    means = sorted(float(volume.mean()) for volume in cases.volumes)
    epochs = [list(chain(*recorded.seen[4 * e : 4 * e + 4])) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == pytest.approx(means, abs=1e-5)
    assert epochs[0] != epochs[1]


def test_a_last_batch_of_one_is_dropped_and_only_such_a_one():
    assert batch_bounds(86, 10)[-1] == (80, 86)
    assert len(batch_bounds(366, 8)) == 46
    assert batch_bounds(81, 10) == [(low, low + 10) for low in range(0, 80, 10)]
    with pytest.raises(ProtocolError, match="1 training cases in batches of 8"):
        batch_bounds(1, 8)


def test_without_validation_the_last_epoch_stays(cases, trainer):
    learner = Classifier(network(), CONFIG)
    trainer.fit(learner, cases, "a", 0)
    assert int(learner.selection.epoch) == 4
    assert torch.isnan(learner.selection.auc)


def scripted(monkeypatch, learner, values):
    """Let validation return these (AUC, loss) and note the weights at each."""
    weights, left = [], iter(values)

    def validate():
        weights.append({k: v.clone() for k, v in learner.network.state_dict().items()})
        return next(left)

    monkeypatch.setattr(learner, "_validate", validate)
    return weights


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([(0.5, 1.0), (0.9, 1.0), (0.7, 0.1), (0.6, 0.1)], 2),
        ([(0.9, 1.0), (0.9, 0.5), (0.8, 0.1), (0.9, 0.6)], 2),
        ([(0.5, 1.0), (0.9, 0.5), (0.9, 0.5), (0.9, 0.5)], 2),
        ([(0.0, 1.0), (0.0, 2.0), (0.0, 3.0), (0.1, 9.0)], 4),
    ],
    ids=["highest AUC", "ties: lower loss", "ties: earlier", "AUC before loss"],
)
def test_the_best_epoch_is_kept_with_its_weights(
    values, kept, cases, validation, trainer, monkeypatch
):
    learner = Classifier(network(), CONFIG, trainer.data(validation))
    weights = scripted(monkeypatch, learner, values)
    trainer.fit(learner, cases, "a", 0)
    assert int(learner.selection.epoch) == kept
    assert (float(learner.selection.auc), float(learner.selection.loss)) == values[kept - 1]
    for name, tensor in learner.network.state_dict().items():
        assert torch.equal(tensor, weights[kept - 1][name]), name
    assert not torch.equal(weights[kept - 1]["0.weight"], weights[kept - 2]["0.weight"])


def test_the_last_epoch_stays_where_it_is_asked_for(cases, validation, trainer, monkeypatch):
    learner = Classifier(network(), QUICK, trainer.data(validation))
    weights = scripted(monkeypatch, learner, [(0.3, 1.0)])  # asked once, at the end
    trainer.fit(learner, cases, "a", 0)
    assert (int(learner.selection.epoch), float(learner.selection.auc)) == (4, 0.3)
    for name, tensor in learner.network.state_dict().items():
        assert torch.equal(tensor, weights[0][name]), name


def test_one_cycle_rises_to_the_step_size_and_falls_to_nearly_nothing(cases, trainer, monkeypatch):
    seen = []

    class Noted(classifier.Adam):
        def step(self, closure=None):
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(classifier, "Adam", Noted)
    trainer.fit(Classifier(network(), QUICK), cases, "cycle", 0)
    trainer.fit(Classifier(network(), CONFIG), cases, "constant", 0)
    cycle, constant = seen[:16], seen[16:]
    assert constant == [1e-2] * 16
    assert max(cycle) == pytest.approx(1e-2, rel=0.1)
    assert cycle[0] < 1e-3
    assert cycle[-1] < 1e-6


@pytest.mark.parametrize("shape", [(6, 6, 6), (4, 6, 8)])
def test_turned_batches_hold_the_same_voxels_in_the_orientation_of_all(shape):
    images = torch.arange(2 * math.prod(shape)).reshape(2, 1, *shape).float()
    rng = np.random.default_rng(0)
    found = [turned(images, rng) for _ in range(200)]
    assert all(torch.equal(t.flatten().sort().values, images.flatten()) for t in found)
    for t in found:  # both volumes alike
        assert torch.equal(t[1] - t[0], torch.full_like(t[0], math.prod(shape)))
    assert len({(tuple(t.shape), *t.flatten().tolist()) for t in found}) == 48


def test_validation_is_measured_in_eval_mode_on_all_its_cases(cases, validation, trainer):
    learner = Classifier(network(), CONFIG, trainer.data(validation))
    trainer.fit(learner, cases, "a", 0)
    scores = predict(learner.network, trainer.data(validation))
    labels = torch.tensor(validation.labels)
    expected = float(binary_auroc(torch.tensor(scores), labels))
    assert float(learner.selection.auc) == pytest.approx(expected, abs=1e-6)
    logged = [line["validation_auc"] for line in trainer.log("a") if "validation_auc" in line]
    assert len(logged) == 4
    assert max(logged) == float(learner.selection.auc)


@pytest.mark.parametrize("config", [CONFIG, QUICK], ids=["paper", "quick"])
@pytest.mark.parametrize("stopped_after", [3, 8, 14])
def test_a_killed_training_ends_with_the_same_bits(
    stopped_after, config, cases, validation, trainer, tmp_path
):
    whole = Classifier(network(), config, trainer.data(validation))
    trainer.fit(whole, cases, "whole", 0)

    calls = iter(range(100))
    halted = type(trainer)(tmp_path / "halted", stop=lambda: next(calls) == stopped_after)
    with pytest.raises(Interrupted):
        halted.fit(Classifier(network(), config, halted.data(validation)), cases, "whole", 0)
    resumed = Classifier(network(seed=5), config, halted.data(validation))
    halted.fit(resumed, cases, "whole", 0)
    loaded = Classifier(network(seed=6), config, halted.data(validation))
    halted.fit(loaded, cases, "whole", 0)
    for other in (resumed, loaded):
        for name in whole.nets:
            for key, tensor in whole.nets[name].state_dict().items():
                assert torch.equal(tensor, other.nets[name].state_dict()[key]), key
    assert int(whole.selection.epoch) >= 1


def test_another_seed_trains_otherwise(cases, trainer):
    nets = [network(), network()]
    for seed, net in enumerate(nets):
        trainer.fit(Classifier(net, CONFIG), cases, f"seed-{seed}", seed)
    assert not torch.equal(nets[0][0].weight, nets[1][0].weight)


def test_a_loss_that_is_not_a_number_stops_the_training(cases, validation, trainer):
    learner = Classifier(network(), dataclasses.replace(CONFIG, lr=1e38), trainer.data(validation))
    with pytest.raises(TrainingDiverged):
        trainer.fit(learner, cases, "a", 0)


def test_selection_prefers_anything_to_nothing():
    selection = Selection()
    assert selection.prefers(0.0, 5.0)
    selection.keep(1, 0.0, 5.0)
    assert not selection.prefers(0.0, 5.0)


def test_predictions_are_softmax_probabilities_of_the_positive_class(cases, trainer):
    net = network().eval()
    data = trainer.data(cases)
    with torch.no_grad():
        logits = net(torch.tensor(cases.volumes)).double()
    expected = 1 / (1 + torch.exp(logits[:, 0] - logits[:, 1]))
    scores = predict(net, data)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-5)


def test_predictions_that_are_not_numbers_are_an_error(cases, trainer):
    net = network().eval()
    nn.init.constant_(net[-1].weight, torch.nan)
    with pytest.raises(ProtocolError, match="17 of 17 probabilities that are not numbers"):
        predict(net, trainer.data(cases))
