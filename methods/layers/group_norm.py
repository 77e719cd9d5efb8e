"""Group normalisation that suits the memory layout of 3D convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """Group norm over contiguous memory whose result has channels last.

    On the CPU the backward pass of torch's kernel for channels-last tensors is 40 times slower than
    the one for contiguous tensors (30 against 0.8 ms for (4, 16, 32, 32, 32) in bf16), while two
    copies cost little: the encoder and decoder of ``layers/autoencoder.py`` train 1.4 times faster.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, D, H, W)."""
        normalised = super().forward(input.contiguous())
        return normalised.contiguous(memory_format=torch.channels_last_3d)
