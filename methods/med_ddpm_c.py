"""3D-Med-DDPM given the class, which neither paper nor code has: one model for all classes.

Network, settings and diffusion process are those of ``med_ddpm.py``; the class is an embedding
added to that of the diffusion step.

Departures: see ``MedDDPMC.departures``.
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


class MedDDPMC(Method):
    """Diffusion in voxels conditioned on the class, one instance for all classes.

    Logs what ``MedDDPM`` logs.
    """

    info = MethodInfo(
        name="med-ddpm-c",
        version=1,
        source="arXiv:2305.18453",
        conditioning="class",
        label="3D-Med-DDPM, class (variant)",
    )
    Config = med_ddpm.Config
    config: med_ddpm.Config
    presets = med_ddpm.MedDDPM.presets
    departures = (
        "A variant that neither paper nor code has: one model for all classes, with an embedding "
        "of the class added to that of the diffusion step.",
        *med_ddpm.DEPARTURES[1:],
    )

    def build(self) -> dict[str, nn.Module]:
        """Return the noise predictor with a class embedding and the average of its weights."""
        net = unet(self.config, self.size, self.channels, classes=len(self.classes))
        return with_average(net, self.config)

    def train(self, data: Batches, run: Run) -> None:
        """Train as ``MedDDPM`` does, with the label of every case."""
        c, net = self.config, self.nets["unet"]
        average = network(self.nets, "average", WeightAverage)
        process = c.process()
        adam = Adam(net.parameters(), lr=c.lr, fused=True)
        phase = run.phase("denoising", adam=adam)
        for step in phase.steps(c.steps):
            set_lr((adam,), c.lr_at(step.progress))
            batch = step.batch(data, c.batch)
            volumes, labels = batch.images, batch.labels
            times = process.times(step.rand(c.batch))
            noise = step.randn(*volumes.shape)
            noisy = process.noised(volumes, noise, times)  # (B, C, D, H, W)
            target = process.target(volumes, noise, times)
            loss = error(net(noisy, times, labels), target, c.loss)
            step.descend(adam, loss)
            average.follow(net, step.index)
            phase.log(error=loss)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Take the noise predicted for the labels asked for away, step by step."""
        c, net = self.config, self.nets["average"]
        return c.process().draw(
            lambda noisy, times: net(noisy, times, conditions.labels),
            rngs,
            (self.channels, *[self.size] * 3),
            sampler=c.sampler,
            steps=c.sampler_steps,
        )  # (N, C, D, H, W)
