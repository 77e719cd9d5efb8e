"""The learner of every protocol: epochs of Adam on focal loss, one epoch kept, and prediction.

Every case is seen once an epoch, in an order that is drawn once a training. Where there are
validation cases and the best epoch is asked for, the weights of the epoch with the highest
validation AUC stay (ties: the lower loss, then the earlier epoch); else those of the last epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from cerebench.core.statistics import auc
from cerebench.metrics.downstream.base import ProtocolError
from cerebench.metrics.downstream.networks.focal import focal_loss
from cerebench.metrics.estimators.exact import exact_float32

PREDICTION_BATCH = 8


@dataclass(frozen=True)
class Training:
    """Settings of one training stage.

    Attributes:
        epochs: Passes over the training cases.
        batch: Cases per step.
        lr: Step size of Adam; the peak where the schedule is not constant.
        gamma: Exponent of the focal loss.
        precision: ``fp32`` or ``bf16``, of training; validation and prediction are fp32.
        schedule: ``constant``, or ``one-cycle`` (Smith and Topin 2018, arXiv:1708.07120, with
            torch's values): rise to ``lr`` in 30 % of the steps, fall to nearly nothing.
        turns: Whether batches are mirrored and their axes exchanged at random.
        kept_epoch: ``best`` or ``last``, the epoch whose weights stay.
    """

    epochs: int
    batch: int
    lr: float
    gamma: float
    precision: str
    schedule: str = "constant"
    turns: bool = False
    kept_epoch: str = "best"


class Selection(nn.Module):
    """Which epoch was kept. Buffers, so that they are stored and found again with the weights."""

    epoch: Tensor  # counted from 1
    auc: Tensor  # on the validation cases; NaN without them
    loss: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("epoch", torch.tensor(0))
        self.register_buffer("auc", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("loss", torch.tensor(torch.nan, dtype=torch.float64))

    def prefers(self, auc: float, loss: float) -> bool:
        """Say whether a later epoch with this AUC and loss is better than the one kept."""
        if self.epoch == 0:
            return True
        return (auc, -loss) > (float(self.auc), -float(self.loss))

    def keep(self, epoch: int, auc: float = np.nan, loss: float = np.nan) -> None:
        """Note an epoch as the one that was kept."""
        self.epoch.fill_(epoch)
        self.auc.fill_(auc)
        self.loss.fill_(loss)


class Best:
    """Weights of the best epoch so far; has a ``state_dict``, so a checkpoint holds them."""

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Tensor]:
        return self._weights

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._weights = {name: tensor.clone() for name, tensor in state.items()}


class Part:
    """Some rows of a data set, as a data set; batches of all its rows count as drawn from it."""

    def __init__(self, data: Any, indices: Tensor) -> None:
        self._data, self._indices = data, indices

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, indices: Tensor) -> Any:
        """Return the rows at these positions of the part."""
        return self._data.take(self._indices[indices])


class Classifier:
    """A network in one training stage; satisfies ``Learner``.

    Args:
        network: Maps images to two logits; trained in place, all layers.
        config: Settings of the stage.
        validation: Batches (``len``, ``take``) that choose the epoch, or None.
    """

    def __init__(self, network: nn.Module, config: Training, validation: Any | None = None) -> None:
        self.network, self.config, self._validation = network, config, validation
        self.selection = Selection()
        self.nets: Mapping[str, nn.Module] = {"classifier": network, "selection": self.selection}

    def train(self, data: Any, run: Any) -> None:
        """Train all epochs and keep the weights of one.

        Raises:
            ProtocolError: If there are fewer than two training cases.
        """
        config, best = self.config, Best()
        batches = batch_bounds(len(data), config.batch)
        steps = config.epochs * len(batches)
        optimiser = Adam(self.network.parameters(), lr=config.lr, fused=True)
        tracked: dict[str, Any] = {"optimiser": optimiser, "best": best}
        if config.schedule == "one-cycle":
            tracked["schedule"] = OneCycleLR(optimiser, config.lr, total_steps=steps)
        phase = run.phase("epochs", **tracked)
        order = phase.once("order", lambda: _orders(config.epochs, len(data)))
        for step in phase.steps(steps):
            epoch, position = divmod(step.index, len(batches))
            low, high = batches[position]
            batch = step.batch(Part(data, order[epoch, low:high]), high - low)
            images = turned(batch.images, step.rng) if config.turns else batch.images
            loss = focal_loss(self.network(images), batch.labels, config.gamma)
            step.descend(optimiser, loss)
            if "schedule" in tracked:
                tracked["schedule"].step()
            phase.log(loss=loss)
            if position == len(batches) - 1:
                self._end_epoch(epoch + 1, phase, best)
        if best.state_dict():
            self.network.load_state_dict(best.state_dict())

    def _end_epoch(self, epoch: int, phase: Any, best: Best) -> None:
        last = self.config.kept_epoch == "last"
        if self._validation is None or (last and epoch < self.config.epochs):
            self.selection.keep(epoch)
            return
        area, loss = self._validate()
        phase.log(always=True, validation_auc=area, validation_loss=loss)
        if last:
            self.selection.keep(epoch, area, loss)
        elif self.selection.prefers(area, loss):
            self.selection.keep(epoch, area, loss)
            best.load_state_dict(self.network.state_dict())

    def _validate(self) -> tuple[float, float]:
        """Return AUC and focal loss on the validation cases."""
        self.network.eval()
        logits, labels = _outputs(self.network, self._validation)
        self.network.train()
        scores = logits.softmax(1)[:, 1].cpu().numpy()
        loss = focal_loss(logits, labels, self.config.gamma)
        return float(auc(labels.cpu().numpy(), scores)), float(loss)


def batch_bounds(cases: int, batch: int) -> list[tuple[int, int]]:
    """Cut an epoch into batches; a last batch of one case is dropped.

    Batch normalisation cannot train on one case. Which case is dropped changes every epoch.

    Raises:
        ProtocolError: If no batch is left.

    Example:
        >>> batch_bounds(5, 2), batch_bounds(6, 4)
        ([(0, 2), (2, 4)], [(0, 4), (4, 6)])
    """
    bounds = [(low, min(low + batch, cases)) for low in range(0, cases, batch)]
    kept = [(low, high) for low, high in bounds if high - low > 1]
    if not kept:
        raise ProtocolError(
            f"{cases} training cases in batches of {batch} leave no batch of two or more, which "
            "batch normalisation needs. Use larger batches or more cases."
        )
    return kept


def turned(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror a batch along random axes and exchange its axes, all of its volumes alike.

    Args:
        images: (B, C, D, H, W).
        rng: Source of the choice.
    """
    mirrored = images.flip([axis for axis in (2, 3, 4) if rng.random() < 0.5])
    return mirrored.permute(0, 1, *(2 + rng.permutation(3)).tolist())


def predict(network: nn.Module, data: Any) -> NDArray[np.float64]:
    """Return p(positive) of every row, in fp32 arithmetic.

    Args:
        network: On the device of the batches, in eval mode.
        data: Batches (``len``, ``take``).

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        ProtocolError: If a probability is not a number.
    """
    with exact_float32():
        logits, _ = _outputs(network, data)
    scores = logits.softmax(1)[:, 1].cpu().numpy()
    if not np.isfinite(scores).all():
        raise ProtocolError(
            f"The classifier returned {np.count_nonzero(~np.isfinite(scores))} of {len(scores)} "
            "probabilities that are not numbers. Lower the learning rate, or set precision to fp32."
        )
    return scores


@torch.no_grad()
def _outputs(network: nn.Module, data: Any) -> tuple[Tensor, Tensor]:
    """Return logits (N, 2), computed in float32 and given as float64, and labels (N,)."""
    logits, labels = [], []
    for positions in torch.arange(len(data), device="cpu").split(PREDICTION_BATCH):
        batch = data.take(positions)
        with torch.autocast(batch.images.device.type, enabled=False):
            logits.append(network(batch.images).double())
        labels.append(batch.labels)
    return torch.cat(logits), torch.cat(labels)


def _orders(epochs: int, cases: int) -> Tensor:
    """Return one order of the cases for every epoch, (epochs, cases)."""
    return torch.stack([torch.randperm(cases, device="cpu") for _ in range(epochs)])
