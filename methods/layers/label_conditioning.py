"""Class labels in generators: cases by class, labels as inputs, projection critic.

Source of the critic: Miyato and Koyama 2018, arXiv:1802.05637. The combination with the networks
of Kwon et al. is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import torch
from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.base import Batch, Batches, Phase, Rows, Step, T


class Subset(Generic[T]):
    """Some rows of the training data, or of what is derived from it."""

    def __init__(self, data: Rows[T], indices: Tensor) -> None:
        self._data, self._indices = data, indices

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._indices)

    def take(self, indices: Tensor) -> T:
        """Return the rows at these positions of the subset."""
        return self._data.take(self._indices[indices])


def labels_of(data: Batches, phase: Phase) -> Tensor:
    """Return the labels of all cases, (N,) int64 on the CPU."""

    def collect() -> Tensor:  # a few volumes at a time, as they may not fit in memory together
        rows = torch.arange(len(data), device="cpu").split(8)
        return torch.cat([data.take(some).labels for some in rows])

    return phase.once("labels", collect)


def by_class(data: Batches, phase: Phase) -> list[Subset[Batch]]:
    """Return the cases of each class that the data hold, in the order of the labels."""
    labels = labels_of(data, phase)
    return [Subset(data, (labels == label).nonzero().flatten()) for label in labels.unique()]


def draw_evenly(step: Step, groups: Sequence[Rows[Batch]], size: int) -> Batch:
    """Draw equally many cases of every group; what does not divide goes to the groups in turn."""
    count, rest = divmod(size, len(groups))
    sizes = [count + ((i + step.index) % len(groups) < rest) for i in range(len(groups))]
    parts = [step.batch(rows, n) for rows, n in zip(groups, sizes, strict=True) if n]
    return Batch(
        images=torch.cat([part.images for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        masks=None,
        ids=tuple(case for part in parts for case in part.ids),
    )


def balanced(rows: Rows[T], labels: Tensor) -> Subset[T]:
    """Repeat rows of the smaller classes, so that all classes are drawn equally often.

    Args:
        rows: N rows.
        labels: Their labels, (N,) int64 on the CPU.

    Returns:
        K times as many rows as the largest of the K classes has.
    """
    places = [(labels == label).nonzero().flatten() for label in labels.unique()]
    turns = torch.arange(max(map(len, places)), device="cpu")
    return Subset(rows, torch.cat([place[turns % len(place)] for place in places]))


def with_label(code: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Append one-hot labels (B,) to codes (B, L): (B, L + classes)."""
    return torch.cat((code, functional.one_hot(labels, classes).to(code.dtype)), 1)


def with_label_channels(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Append one constant channel per class, 1 for the label's own, to (B, C, D, H, W)."""
    hot = functional.one_hot(labels, classes).to(images.dtype)[..., None, None, None]
    return torch.cat((images, hot.expand(-1, -1, *images.shape[2:])), 1)


class ProjectionCritic(nn.Module):
    """Critic of volumes and labels: s(x, y) = head(h) + <e_y, sum of h over space>, h = trunk(x).

    Args:
        critic: A critic whose last layer is the head.
        width: Channels of h.
        classes: Number of classes.
    """

    def __init__(self, critic: nn.Sequential, width: int, classes: int) -> None:
        super().__init__()
        self.trunk, self.head = critic[:-1], critic[-1]
        self.embedding = nn.Embedding(classes, width)
        # The range of the head's own weights: the projection starts as strong as the head.
        bound = (width * 4**3) ** -0.5
        nn.init.uniform_(self.embedding.weight, -bound, bound)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map (B, C, D, H, W) and (B,) to the head's scores, each shifted by the projection."""
        h = self.trunk(images)
        shift = (self.embedding(labels) * h.sum((2, 3, 4))).sum(1)
        return self.head(h) + shift.view(-1, 1, 1, 1, 1)
