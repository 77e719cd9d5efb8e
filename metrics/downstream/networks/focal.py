"""Focal loss, -(1 - p)^gamma log p with p the probability of the true class, mean over cases.

Source: Lin et al. 2017, arXiv:1708.02002, equation 4, on the softmax of two logits and without the
class weight alpha. MONAI's loss of this name also averages over classes (half of this for two).
"""

from __future__ import annotations

import torch
from torch import Tensor


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return the mean focal loss, dimensionless, in float32.

    Args:
        logits: (B, classes), any float type.
        labels: (B,) int64.
        gamma: Exponent; 0 (cross-entropy) or at least 1, below which the gradient is infinite at
            p = 1.
    """
    log_p = torch.log_softmax(logits.float(), 1).gather(1, labels[:, None])
    return -((1 - log_p.exp()) ** gamma * log_p).mean()
