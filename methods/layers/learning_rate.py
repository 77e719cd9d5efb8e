"""Step sizes of optimisers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch.optim import Optimizer


def set_lr(optimisers: Iterable[Optimizer], lr: float) -> None:
    """Give all optimisers one step size."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = lr


def linear(progress: float, start: float, fraction: float) -> float:
    """Return the learning rate at a fraction of the schedule: ``start`` falling to a part of it."""
    return start * (1 - (1 - fraction) * progress)


def cosine(progress: float, start: float, end: float) -> float:
    """Return the learning rate at a fraction of the schedule: ``start`` falling to ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
