"""Importance scores of latent positions, and the classifier that teaches them.

A method uses the parts as ``n = standardise(z)``, ``s = scorer(n)``, ``y = classifier(n * s)``.
The scores weigh what the classifier sees and nothing else. Everything here is float32 in a bf16
phase too: scores are ranked, and bf16 has 128 values between 0.5 and 1 for up to 512 positions;
the norm of the logits magnifies rounding where they are close together; and casting the wide layer
of the classifier at every call costs more than its product saves.

Source: Zhou and Khalvati, MIDL 2024, appendix A.1; norms and convolutions of their code, written
anew from a description.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.base import full_precision


def standardise(z: Tensor) -> Tensor:
    """Return latents (B, C, D, H, W) in float32 with mean 0 and variance 1 in each volume."""
    with full_precision(z):
        return functional.layer_norm(z.float(), z.shape[1:], eps=1e-5)


class Scorer(nn.Module):
    """Importance of every latent position relative to the others of the same volume.

    Args:
        dim: Channels of a latent.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(dim, 1, 1),
            nn.GroupNorm(1, 1, eps=1e-6),
        )

    def forward(self, n: Tensor) -> Tensor:
        """Map standardised latents (B, dim, l, l, l) to scores (B, 1, l, l, l) in (0, 1)."""
        return self.logits(n).sigmoid()

    def logits(self, n: Tensor) -> Tensor:
        """Return the scores before the sigmoid; untrained, of mean 0 and variance 1 per volume."""
        with full_precision(n):
            return self.layers(n.float())


class Classifier(nn.Module):
    """Class of a volume from its weighted latents.

    Args:
        features: Numbers in a latent, C l^3.
        hidden: Width of the hidden layer, a multiple of 32 above 32.
        classes: Number of classes.
        dropout: Probability of dropping a hidden feature in training.
    """

    def __init__(self, features: int, hidden: int, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, hidden),
            nn.GroupNorm(32, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, l, l, l), flattened channel by channel, to float32 logits (B, classes)."""
        with full_precision(x):
            return self.layers(x.float())
