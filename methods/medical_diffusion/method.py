"""Medical Diffusion: VQ-GAN, then denoising diffusion of its latents.

Source: Khader et al. 2023, "Denoising diffusion probabilistic models for 3D medical image
generation", Scientific Reports 13 (arXiv:2211.03364), and the authors' code, which carries no
licence; written anew from a description. ``conditional.py`` is its variant with class labels.

Departures: see ``config.DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Adam

from cerebench.methods.base import Batches, Conditions, Diagnostic, Method, MethodInfo, Run, network
from cerebench.methods.layers.diffusion import error
from cerebench.methods.layers.ema import WeightAverage
from cerebench.methods.layers.learning_rate import linear, set_lr
from cerebench.methods.layers.perceptual import VGG16
from cerebench.methods.medical_diffusion.config import DEPARTURES, LITE, PAPER, QUICK, SMOKE, Config
from cerebench.methods.medical_diffusion.reconstruction import (
    Latents,
    decode,
    diagnose_reconstruction,
    flips,
    latents_of,
    stage_1,
    train_autoencoder,
)
from cerebench.methods.medical_diffusion.unet import Unet3D


class MedicalDiffusion(Method):
    """Unconditional latent diffusion, one pair of models per class.

    Logged scalars of phase ``autoencoder``: ``pixel`` mean |x - y|; ``commitment`` and
    ``perceptual`` before their weights; from the start of the discriminators on ``fooled``, minus
    the sum of their mean logits of reconstructions, ``matching``, and ``discriminator``, the sum
    of their hinge losses; ``perplexity`` and ``active_codes`` of the batch.
    Phase ``diffusion``: ``error``, the loss: by default the mean of abs(noise - predicted noise).
    Sampling uses the averaged weights.
    """

    info = MethodInfo(
        name="medical-diffusion",
        version=1,
        source="arXiv:2211.03364",
        conditioning="none",
        label="Medical Diffusion",
    )
    Config = Config
    config: Config
    presets = {"paper": PAPER, "lite": LITE, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    @classmethod
    def weights(cls, config: Config) -> Sequence[str]:
        """Name the weights of the perceptual term where there is one."""
        return (VGG16,) if config.perceptual == "lpips-vgg" else ()

    @classmethod
    def without_weights(cls) -> dict[str, str]:
        """Return the setting that leaves the perceptual term out."""
        return {"perceptual": "none"}

    def build(self) -> dict[str, nn.Module]:
        """Return the networks of stage 1, the noise predictor and its average."""
        c = self.config
        # The first to draw its weights, which a seed's results depend on.
        net = Unet3D(
            c.code_dim, width=c.width, mults=c.mults, heads=c.heads, head_width=c.head_width
        )
        average = WeightAverage(net, decay=c.ema_decay, every=c.ema_every, start=c.ema_start)
        return {**stage_1(c, self.size, self.channels), "unet": net, "average": average}

    def train(self, data: Batches, run: Run) -> None:
        """Train the VQ-GAN, freeze it, then train the noise predictor on its latents."""
        train_autoencoder(self.nets, self.config, data, run)
        for name, net in self.nets.items():
            net.train(name == "unet")
        self._train_diffusion(data, run)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Draw latents from noise and decode them."""
        c, net = self.config, self.nets["average"]
        latents = c.process().draw(
            net,
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
        for step in phase.steps(c.diffusion_steps):
            set_lr((adam,), linear(step.progress, c.diffusion_lr, c.lr_end))
            batch = step.batch(latents, c.diffusion_batch).to(device)
            z = torch.where(flips(step, len(batch), c.flip), batch.mirrored, batch.plain)
            times, noise = process.times(step.rand(len(z))), step.randn(*z.shape)
            noisy = process.noised(z, noise, times)  # (B, code_dim, l, l, l)
            target = process.target(z, noise, times)
            loss = error(net(noisy, times), target, c.loss)
            step.descend(adam, loss)
            average.follow(net, step.index)
            phase.log(error=loss)
