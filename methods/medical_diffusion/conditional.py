"""Medical Diffusion-C: Medical Diffusion given the class, one pair of models for all classes.

A reading of the label-conditional re-implementation that Zhou and Khalvati (MIDL 2024) compare with
and did not publish. Stage 1 is that of ``method.py``; stage 2 sees labels, some of them hidden, so
that samples can be guided.

Departures: see ``MedicalDiffusionC.departures``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Adam

from cerebench.methods.base import Batches, Conditions, Diagnostic, Method, MethodInfo, Run, network
from cerebench.methods.layers.diffusion import error
from cerebench.methods.layers.ema import WeightAverage
from cerebench.methods.layers.label_conditioning import balanced
from cerebench.methods.layers.learning_rate import linear, set_lr
from cerebench.methods.layers.perceptual import VGG16
from cerebench.methods.medical_diffusion.config import (
    DEPARTURES,
    LITE_C,
    PAPER_C,
    QUICK_C,
    SMOKE_C,
    ConfigC,
)
from cerebench.methods.medical_diffusion.reconstruction import (
    Latents,
    decode,
    diagnose_reconstruction,
    flips,
    latents_of,
    stage_1,
    train_autoencoder,
)
from cerebench.methods.medical_diffusion.unet import LabelledUnet3D


class MedicalDiffusionC(Method):
    """Latent diffusion given the class; logs what ``MedicalDiffusion`` logs."""

    info = MethodInfo(
        name="medical-diffusion-c",
        version=1,
        source="arXiv:2211.03364; Zhou and Khalvati, MIDL 2024",
        conditioning="class",
        label="Medical Diffusion-C",
    )
    Config = ConfigC
    config: ConfigC
    presets = {"paper": PAPER_C, "lite": LITE_C, "quick": QUICK_C, "smoke": SMOKE_C}
    departures = (
        "The comparison paper says of this method only that it is conditioned on the class and "
        "trained on both classes together. Here a learned vector of the class is concatenated to "
        "the embedding of the diffusion step, by the hook that the code has and never uses; a "
        "tenth of the labels is hidden in training; classes come as often as the data hold them, "
        "unless balanced is set.",
        *DEPARTURES,
    )

    @classmethod
    def weights(cls, config: ConfigC) -> Sequence[str]:
        """Name the weights of the perceptual term where there is one."""
        return (VGG16,) if config.perceptual == "lpips-vgg" else ()

    @classmethod
    def without_weights(cls) -> dict[str, str]:
        """Return the setting that leaves the perceptual term out."""
        return {"perceptual": "none"}

    def build(self) -> dict[str, nn.Module]:
        """Return the networks of stage 1, the noise predictor given labels, and its average."""
        c = self.config
        # The first to draw its weights, which a seed's results depend on.
        net = LabelledUnet3D(
            c.code_dim,
            classes=len(self.classes),
            condition=c.label_width,
            width=c.width,
            mults=c.mults,
            heads=c.heads,
            head_width=c.head_width,
        )
        average = WeightAverage(net, decay=c.ema_decay, every=c.ema_every, start=c.ema_start)
        return {**stage_1(c, self.size, self.channels), "unet": net, "average": average}

    def train(self, data: Batches, run: Run) -> None:
        """Train the VQ-GAN, freeze it, then train the noise predictor on latents and labels."""
        train_autoencoder(self.nets, self.config, data, run, balance=self.config.balanced)
        for name, net in self.nets.items():
            net.train(name == "unet")
        self._train_diffusion(data, run)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Draw latents of the labels asked for from noise and decode them."""
        c, net = self.config, self.nets["average"]
        latents = c.process().draw(
            lambda noisy, times: self._guided(net, noisy, times, conditions.labels),
            rngs,
            (c.code_dim, *[c.latent_size] * 3),
            sampler=c.sampler,
            steps=c.sampler_steps,
        )
        return decode(self.nets, latents)  # (N, C, D, H, W)

    def diagnose(
        self,
        train: Batches,
        test: Batches,
        conditions: Conditions,
        rngs: Sequence[torch.Generator],
    ) -> Sequence[Diagnostic]:
        """Return the reconstruction error of training and held-out volumes."""
        return diagnose_reconstruction(self.nets, train, test)

    def _train_diffusion(self, data: Batches, run: Run) -> None:
        """Stage 2: predict the noise in latents; stage 1 is frozen."""
        c, net = self.config, self.nets["unet"]
        average = network(self.nets, "average", WeightAverage)
        process, device = c.process(), torch.get_default_device()
        adam = Adam(net.parameters(), lr=c.diffusion_lr, fused=True)
        phase = run.phase("diffusion", adam=adam)
        latents = Latents(**phase.once("latents", lambda: latents_of(self.nets, data)))
        rows = balanced(latents, latents.labels) if c.balanced else latents
        for step in phase.steps(c.diffusion_steps):
            set_lr((adam,), linear(step.progress, c.diffusion_lr, c.lr_end))
            batch = step.batch(rows, c.diffusion_batch).to(device)
            z = torch.where(flips(step, len(batch), c.flip), batch.mirrored, batch.plain)
            times, noise = process.times(step.rand(len(z))), step.randn(*z.shape)
            noisy = process.noised(z, noise, times)  # (B, code_dim, l, l, l)
            hidden = step.rand(len(z)) < c.label_dropout
            target = process.target(z, noise, times)
            loss = error(net(noisy, times, batch.labels, hidden), target, c.loss)
            step.descend(adam, loss)
            average.follow(net, step.index)
            phase.log(error=loss)

    def _guided(self, net: nn.Module, noisy: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """Return the noise that sampling takes away, by the formula of the setting ``guidance``."""
        shown = torch.zeros_like(labels, dtype=torch.bool)
        of_class = net(noisy, times, labels, shown)
        if self.config.guidance == 1:
            return of_class
        of_none = net(noisy, times, labels, ~shown)
        return of_none + self.config.guidance * (of_class - of_none)
