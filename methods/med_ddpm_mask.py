"""3D-Med-DDPM given a tumour mask, as the paper has it: one model for all classes.

Source: Dorjsembe et al. 2024, arXiv:2305.18453, and the authors' code; see ``med_ddpm.py``, whose
network, settings and diffusion process these are.

Departures: see ``MedDDPMMask.departures``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Adam

from cerebench.methods import med_ddpm
from cerebench.methods.base import Batches, Conditions, Method, MethodInfo, Run, network
from cerebench.methods.layers.diffusion import error
from cerebench.methods.layers.ema import WeightAverage
from cerebench.methods.layers.learning_rate import set_lr
from cerebench.methods.med_ddpm import unet, with_average


class MedDDPMMask(Method):
    """Diffusion in voxels conditioned on the tumour mask, one instance for all classes.

    Logs what ``MedDDPM`` logs.
    """

    info = MethodInfo(
        name="med-ddpm-mask",
        version=1,
        source="arXiv:2305.18453",
        conditioning="mask",
        label="3D-Med-DDPM, mask (variant)",
    )
    Config = med_ddpm.Config
    config: med_ddpm.Config
    presets = med_ddpm.MedDDPM.presets
    departures = (
        "A variant: conditioned on the mask as in the paper, one model for all classes. A tumour "
        "region outside its mask is background, so the mask nearly gives the support away; do not "
        "compare its rows with unconditional ones.",
        "From the code: one tumour mask instead of one mask per label, in {-1, 1} as the "
        "whole-head model has them.",
        *med_ddpm.DEPARTURES[1:],
    )

    def build(self) -> dict[str, nn.Module]:
        """Return the noise predictor with a mask channel and the average of its weights."""
        return with_average(unet(self.config, self.size, self.channels, masks=1), self.config)

    def train(self, data: Batches, run: Run) -> None:
        """Train as ``MedDDPM`` does, the mask of a case beside its noisy volume."""
        c, net = self.config, self.nets["unet"]
        average = network(self.nets, "average", WeightAverage)
        process = c.process()
        adam = Adam(net.parameters(), lr=c.lr, fused=True)
        phase = run.phase("denoising", adam=adam)
        for step in phase.steps(c.steps):
            set_lr((adam,), c.lr_at(step.progress))
            batch = step.batch(data, c.batch)
            volumes, masks = batch.images, as_channel(batch.masks)  # both in [-1, 1]
            times = process.times(step.rand(c.batch))
            noise = step.randn(*volumes.shape)
            noisy = process.noised(volumes, noise, times)  # (B, C, D, H, W)
            target = process.target(volumes, noise, times)
            loss = error(net(torch.cat((noisy, masks), 1), times), target, c.loss)
            step.descend(adam, loss)
            average.follow(net, step.index)
            phase.log(error=loss)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Take the noise predicted for the masks asked for away, step by step."""
        c, net = self.config, self.nets["average"]
        masks = as_channel(conditions.masks)
        return c.process().draw(
            lambda noisy, times: net(torch.cat((noisy, masks), 1), times),
            rngs,
            (self.channels, *[self.size] * 3),
            sampler=c.sampler,
            steps=c.sampler_steps,
        )  # (N, C, D, H, W)


def as_channel(masks: Tensor | None) -> Tensor:
    """Return masks of {0, 1} as the network sees them beside the noisy volume, in {-1, 1}.

    Args:
        masks: (B, 1, D, H, W), or None where the dataset has none.

    Raises:
        ValueError: If there are no masks.
    """
    if masks is None:
        raise ValueError(
            "med-ddpm-mask needs a mask per case and got none. Use a dataset with masks, or "
            "med-ddpm."
        )
    return 2 * masks - 1
