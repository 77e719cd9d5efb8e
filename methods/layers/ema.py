"""Running averages of a network's weights, as the diffusion methods sample from them."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage(AveragedModel):
    """A copy of a network whose parameters follow it slowly; call it to sample.

    At every optimiser step s that is a multiple of ``every``: while s < ``start`` the weights are
    copied, from then on average = decay * average + (1 - decay) * weights. Steps count from 0 and
    ``follow`` is called after the update. It is itself a network of the method (an entry of
    ``nets``), so the engine moves, saves, resumes and loads it. Buffers are kept equal.

    Args:
        net: The network to follow; copied.
        decay: Weight of the past at each update, in [0, 1).
        every: Optimiser steps between updates, >= 1.
        start: First optimiser step that averages instead of copying.

    Source: denoising-diffusion codes after Ho et al. 2020; the codes of 3D-Med-DDPM and Medical
    Diffusion share this rule.
    """

    def __init__(self, net: nn.Module, *, decay: float, every: int, start: int) -> None:
        super().__init__(net, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.every, self.start = every, start
        self.requires_grad_(False)

    def follow(self, net: nn.Module, step: int) -> None:
        """Update the average after optimiser step ``step``, where it is due."""
        if step % self.every or self.n_averaged.is_meta:  # on meta, operations are only counted
            return
        if step < self.start:
            self.n_averaged.zero_()  # the first update of an AveragedModel is a copy
        self.update_parameters(net)
