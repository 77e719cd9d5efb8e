"""Medical Diffusion: VQ-GAN, then denoising diffusion of its latents; variant -C with labels.

Source: Khader et al. 2023, "Denoising diffusion probabilistic models for 3D medical image
generation", Scientific Reports 13 (arXiv:2211.03364), and the authors' code, which carries no
licence; written anew from a description. Medical Diffusion-C is a reading of the label-conditional
re-implementation that Zhou and Khalvati (MIDL 2024) compare with and did not publish.

Departures: see ``config.DEPARTURES`` and ``MedicalDiffusionC.departures``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from cerebench.methods.base import (
    Batches,
    Conditions,
    Diagnostic,
    Method,
    MethodInfo,
    Rows,
    Run,
    Step,
    T,
    full_precision,
)
from cerebench.methods.layers.codes import active_codes, count_codes, perplexity
from cerebench.methods.layers.diffusion import Diffusion, cosine_betas
from cerebench.methods.layers.ema import WeightAverage
from cerebench.methods.layers.label_conditioning import balanced, labels_of
from cerebench.methods.layers.learning_rate import set_lr
from cerebench.methods.layers.losses import feature_matching, hinge
from cerebench.methods.layers.perceptual import VGG16, perceptual_network, slice_depths, slice_loss
from cerebench.methods.layers.tokens import chunks
from cerebench.methods.medical_diffusion.autoencoder import decoder, encoder
from cerebench.methods.medical_diffusion.codebook import Codebook, LatentRange
from cerebench.methods.medical_diffusion.config import (
    DEPARTURES,
    PAPER,
    PAPER_C,
    QUICK,
    QUICK_C,
    SMOKE,
    SMOKE_C,
    Config,
    ConfigC,
)
from cerebench.methods.medical_diffusion.discriminator import axial_slices, patch_discriminator
from cerebench.methods.medical_diffusion.unet import LabelledUnet3D, Unet3D

AUTOENCODER = ("encoder", "to_code", "from_code", "decoder")
DISCRIMINATORS = ("slice_discriminator", "volume_discriminator")


class MedicalDiffusion(Method):
    """Unconditional latent diffusion, one pair of models per class.

    Logged scalars of phase ``autoencoder``: ``pixel`` mean |x - y|; ``commitment`` and
    ``perceptual`` before their weights; from the start of the discriminators on ``fooled``, minus
    the sum of their mean logits of reconstructions, ``matching``, and ``discriminator``, the sum
    of their hinge losses; ``perplexity`` and ``active_codes`` of the batch.
    Phase ``diffusion``: ``noise_error``, the mean of abs(noise - predicted noise).
    Sampling uses the averaged weights.
    """

    info = MethodInfo(
        name="medical-diffusion",
        version=1,
        source="arXiv:2211.03364",
        conditioning="none",
        label="Medical Diffusion",
    )
    Config: type[Config] = Config
    presets = {"paper": PAPER, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    @classmethod
    def weights(cls, config: Config) -> Sequence[str]:
        return (VGG16,) if config.perceptual == "lpips-vgg" else ()

    @classmethod
    def without_weights(cls) -> dict[str, str]:
        return {"perceptual": "none"}

    def build(self) -> dict[str, nn.Module]:
        c = self.config
        levels = (self.size // c.latent_size).bit_length() - 1
        shape = (self.channels, c.channels, levels, c.norm_groups)
        features = c.channels << levels
        net = self._unet()
        return {
            "encoder": encoder(*shape),
            "to_code": nn.Conv3d(features, c.code_dim, 1),
            "codebook": Codebook(
                c.codes, c.code_dim, c.code_decay, restart_resets_stats=c.restart_resets_stats
            ),
            "from_code": nn.Conv3d(c.code_dim, features, 1),
            "decoder": decoder(*shape),
            "slice_discriminator": patch_discriminator(2, self.channels, c.discriminator_channels),
            "volume_discriminator": patch_discriminator(3, self.channels, c.discriminator_channels),
            "range": LatentRange(),
            "unet": net,
            "average": WeightAverage(net, decay=c.ema_decay, every=c.ema_every, start=c.ema_start),
        }

    def train(self, data: Batches, run: Run) -> None:
        self._train_autoencoder(data, run)
        for name, net in self.nets.items():
            net.train(name == "unet")
        self.nets["range"].snapshot(self.nets["codebook"].vectors)
        self._train_diffusion(data, run)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        c, net = self.config, self.nets["average"]
        latents = self._process().draw(
            lambda noisy, times: self._guided(net, noisy, times, conditions.labels),
            rngs,
            (c.code_dim, *[c.latent_size] * 3),
            sampler=c.sampler,
            steps=c.sampler_steps,
        )
        return self._decode(self.nets["range"].restore(latents))  # (N, C, D, H, W)

    def diagnose(
        self,
        train: Batches,
        test: Batches,
        conditions: Conditions,
        rngs: Sequence[torch.Generator],
    ) -> Sequence[Diagnostic]:
        """Return the reconstruction error of training and held-out volumes."""
        sets = {"train": train, "test": test}
        return (
            Diagnostic(
                "reconstruction-l1",
                "mean absolute error of a volume's reconstruction, on [-1, 1]; lower is better, "
                "and no sample can be closer to the data than its decoder",
                {name: self._errors(data) for name, data in sets.items()},
            ),
        )

    def _train_autoencoder(self, data: Batches, run: Run) -> None:
        """Stage 1: reconstruct volumes through the codebook."""
        c, codebook = self.config, self.nets["codebook"]
        opt_g, opt_d = (self._adam(names) for names in (AUTOENCODER, DISCRIMINATORS))
        lpips = perceptual_network(run, c.perceptual)
        phase = run.phase("autoencoder", opt_g=opt_g, opt_d=opt_d)
        rows = self._drawn_from(data, partial(labels_of, data, phase))
        for step in phase.steps(c.autoencoder_steps):
            set_lr((opt_g, opt_d), c.lr * (1 - (1 - c.lr_end) * step.progress))
            images = step.batch(rows, c.batch).images  # (B, C, D, H, W) in [-1, 1]
            x = torch.where(self._mirrored(step, len(images)), images.flip(-1), images)
            z = self.nets["to_code"](self.nets["encoder"](x))
            if step.index == 0:
                codebook.initialise(z)
            quantised = codebook(z)
            y = self.nets["decoder"](self.nets["from_code"](quantised.vectors)).float()
            depths = slice_depths(step.rand(1, len(x)), self.size, margin=0)
            terms = {"pixel": (y - x).abs().mean(), "commitment": quantised.commitment}
            loss = c.pixel_weight * terms["pixel"] + c.commitment * terms["commitment"]
            if lpips is not None:
                terms["perceptual"] = slice_loss(lpips, x, y, depths)
                loss = loss + c.perceptual_weight * terms["perceptual"]
            adversarial = step.progress >= c.discriminator_start
            if adversarial:
                real, made = self._judge(x, depths[0]), self._judge(y, depths[0])
                pairs = list(zip(real, made, strict=True))
                terms["fooled"] = -sum(maps[-1].float().mean() for maps in made)
                terms["matching"] = sum(feature_matching(r[:-1], m[:-1]) for r, m in pairs)
                loss = loss + c.adversarial_weight * terms["fooled"]
                loss = loss + c.matching_weight * terms["matching"]
            step.descend(opt_g, loss)
            codebook.update(z, quantised.indices)
            if adversarial:
                made = self._judge(y.detach(), depths[0])
                pairs = zip(real, made, strict=True)
                terms["discriminator"] = sum(hinge(r[-1], m[-1]) for r, m in pairs)
                step.descend(opt_d, terms["discriminator"])
            counts = count_codes(quantised.indices, c.codes)
            phase.log(**terms, perplexity=perplexity(counts), active_codes=active_codes(counts))

    def _adam(self, names: Sequence[str]) -> Adam:
        """Return one optimiser of several networks, which clips the norm of their gradient."""
        c = self.config
        parameters = [p for name in names for p in self.nets[name].parameters()]
        adam = Adam(parameters, lr=c.lr, betas=(c.beta1, c.beta2), fused=True)
        adam.register_step_pre_hook(clipper(c.clip))
        return adam

    def _judge(self, volumes: Tensor, depths: Tensor) -> list[list[Tensor]]:
        """Return the maps of both discriminators: of one slice per volume, and of volumes."""
        flat, deep = (self.nets[name] for name in DISCRIMINATORS)
        return [flat(axial_slices(volumes, depths)), deep(volumes)]

    def _mirrored(self, step: Step, count: int) -> Tensor:
        """Draw which volumes are mirrored left to right: (count, 1, 1, 1, 1) bool."""
        return step.rand(count, 1, 1, 1, 1) < self.config.flip

    def _train_diffusion(self, data: Batches, run: Run) -> None:
        """Stage 2: predict the noise in latents; stage 1 is frozen."""
        c, net, average = self.config, self.nets["unet"], self.nets["average"]
        process, device = self._process(), torch.get_default_device()
        adam = Adam(net.parameters(), lr=c.diffusion_lr, fused=True)
        phase = run.phase("diffusion", adam=adam)
        latents = Latents(**phase.once("latents", lambda: self._latents(data)))
        rows = self._drawn_from(latents, lambda: latents.labels)
        for step in phase.steps(c.diffusion_steps):
            set_lr((adam,), c.diffusion_lr * (1 - (1 - c.lr_end) * step.progress))
            drawn = step.batch(rows, c.diffusion_batch)
            plain, mirrored, labels = (
                part.to(device) for part in (drawn.plain, drawn.mirrored, drawn.labels)
            )
            z = torch.where(self._mirrored(step, len(plain)), mirrored, plain)
            times, noise = process.times(step.rand(len(z))), step.randn(*z.shape)
            noisy = process.noised(z, noise, times)  # (B, code_dim, l, l, l)
            predicted = self._predict(net, noisy, times, labels, self._hidden(step, len(z)))
            loss = (predicted.float() - noise).abs().mean()
            step.descend(adam, loss)
            average.follow(net, step.index)
            phase.log(noise_error=loss)

    def _process(self) -> Diffusion:
        return Diffusion(cosine_betas(self.config.timesteps, self.config.beta_cap))

    def _latents(self, data: Batches) -> dict[str, Tensor]:
        """Return normalised latents of all volumes and their mirror images, and labels."""
        parts = []
        for batch in chunks(data):
            plain, mirrored = (self._encode(x) for x in (batch.images, batch.images.flip(-1)))
            parts.append((plain, mirrored, batch.labels))
        plain, mirrored, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        return {"plain": plain, "mirrored": mirrored, "labels": labels}

    def _encode(self, volumes: Tensor) -> Tensor:
        """Return normalised latents (N, code_dim, l, l, l) of volumes, before the codebook."""
        with full_precision(volumes):
            return self.nets["range"].normalise(self.nets["to_code"](self.nets["encoder"](volumes)))

    def _decode(self, z: Tensor) -> Tensor:
        """Return the volumes of latents (N, code_dim, l, l, l): nearest codes, decoded, clipped."""
        vectors = self.nets["codebook"](z).vectors
        return self.nets["decoder"](self.nets["from_code"](vectors)).float().clamp(-1, 1)

    def _errors(self, data: Batches) -> list[float]:
        """Return the mean absolute error of each volume's reconstruction."""
        found = []
        for batch in chunks(data):
            z = self.nets["to_code"](self.nets["encoder"](batch.images))
            found += (self._decode(z) - batch.images).abs().flatten(1).mean(1).tolist()
        return found

    def _unet(self) -> nn.Module:
        return Unet3D(self.config.code_dim, **self._shape())

    def _shape(self) -> dict[str, int | tuple[int, ...]]:
        c = self.config
        return {"width": c.width, "mults": c.mults, "heads": c.heads, "head_width": c.head_width}

    def _drawn_from(self, rows: Rows[T], labels: Callable[[], Tensor]) -> Rows[T]:
        """Return what batches are drawn from, given how to find the labels of the rows."""
        return rows

    def _hidden(self, step: Step, count: int) -> Tensor | None:
        """Return which labels training hides, where there are labels."""
        return None

    def _predict(
        self, net: nn.Module, noisy: Tensor, times: Tensor, labels: Tensor, hidden: Tensor | None
    ) -> Tensor:
        return net(noisy, times)

    def _guided(self, net: nn.Module, noisy: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """Return the noise that sampling takes away."""
        return self._predict(net, noisy, times, labels, None)


class MedicalDiffusionC(MedicalDiffusion):
    """Latent diffusion given the class, one VQ-GAN and one noise predictor for all classes.

    Logs what ``MedicalDiffusion`` logs.
    """

    info = MethodInfo(
        name="medical-diffusion-c",
        version=1,
        source="arXiv:2211.03364; Zhou and Khalvati, MIDL 2024",
        conditioning="class",
        label="Medical Diffusion-C",
    )
    Config = ConfigC
    presets = {"paper": PAPER_C, "quick": QUICK_C, "smoke": SMOKE_C}
    departures = (
        "The comparison paper says of this method only that it is conditioned on the class and "
        "trained on both classes together. Here a learned vector of the class is concatenated to "
        "the embedding of the diffusion step, by the hook that the code has and never uses; a "
        "tenth of the labels is hidden in training; classes come as often as the data hold them, "
        "unless balanced is set.",
        *DEPARTURES,
    )

    def _unet(self) -> nn.Module:
        c = self.config
        return LabelledUnet3D(
            c.code_dim, classes=len(self.classes), condition=c.label_width, **self._shape()
        )

    def _drawn_from(self, rows: Rows[T], labels: Callable[[], Tensor]) -> Rows[T]:
        return balanced(rows, labels()) if self.config.balanced else rows

    def _hidden(self, step: Step, count: int) -> Tensor:
        return step.rand(count) < self.config.label_dropout

    def _predict(
        self, net: nn.Module, noisy: Tensor, times: Tensor, labels: Tensor, hidden: Tensor | None
    ) -> Tensor:
        return net(noisy, times, labels, hidden)

    def _guided(self, net: nn.Module, noisy: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        shown = torch.zeros_like(labels, dtype=torch.bool)
        given = self._predict(net, noisy, times, labels, shown)
        if self.config.guidance == 1:
            return given
        free = self._predict(net, noisy, times, labels, ~shown)
        return free + self.config.guidance * (given - free)


@dataclass(frozen=True)
class Latents:
    """Normalised latents (N, code_dim, l, l, l), those of the mirror images, labels (N,)."""

    plain: Tensor
    mirrored: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.plain)

    def take(self, indices: Tensor) -> Latents:
        """Return the rows at these positions."""
        return Latents(self.plain[indices], self.mirrored[indices], self.labels[indices])


def clipper(norm: float) -> Callable[[Optimizer, tuple, dict], None]:
    """Return a hook before a step that scales an optimiser's gradient down to a norm."""

    def clip(optimiser: Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, norm)

    return clip
