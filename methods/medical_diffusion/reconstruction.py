"""Stage 1 of both methods, a VQ-GAN: its networks and training, and latents of volumes and back.

Source: Khader et al. 2023 and their code, as in ``method.py``. The functions take the networks of
a method by name; those of ``stage_1`` must be among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from cerebench.methods.base import Batches, Diagnostic, Run, Step, full_precision, network
from cerebench.methods.layers.label_conditioning import balanced, labels_of
from cerebench.methods.layers.learning_rate import linear, set_lr
from cerebench.methods.layers.perceptual import perceptual_network, slice_depths, slice_loss
from cerebench.methods.layers.vq.codes import active_codes, count_codes, perplexity
from cerebench.methods.layers.vq.losses import feature_matching, hinge, total
from cerebench.methods.layers.vq.tokens import chunks
from cerebench.methods.medical_diffusion.autoencoder import decoder, encoder
from cerebench.methods.medical_diffusion.codebook import Codebook, LatentRange
from cerebench.methods.medical_diffusion.config import Config
from cerebench.methods.medical_diffusion.discriminator import axial_slices, patch_discriminator

AUTOENCODER = ("encoder", "to_code", "from_code", "decoder")
DISCRIMINATORS = ("slice_discriminator", "volume_discriminator")

Networks = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Latents:
    """Normalised latents (N, code_dim, l, l, l), those of the mirror images, labels (N,)."""

    plain: Tensor
    mirrored: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self.plain)

    def take(self, indices: Tensor) -> Latents:
        """Return the rows at these positions."""
        return Latents(self.plain[indices], self.mirrored[indices], self.labels[indices])

    def to(self, device: torch.device) -> Latents:
        """Return the same rows on a device."""
        return Latents(self.plain.to(device), self.mirrored.to(device), self.labels.to(device))


def stage_1(config: Config, size: int, channels: int) -> dict[str, nn.Module]:
    """Return fresh networks for volumes of an edge length, by name."""
    c, levels = config, (size // config.latent_size).bit_length() - 1
    shape = (channels, c.channels, levels, c.norm_groups)
    features = c.channels << levels
    return {
        "encoder": encoder(*shape),
        "to_code": nn.Conv3d(features, c.code_dim, 1),
        "codebook": Codebook(
            c.codes, c.code_dim, c.code_decay, restart_resets_stats=c.restart_resets_stats
        ),
        "from_code": nn.Conv3d(c.code_dim, features, 1),
        "decoder": decoder(*shape),
        "slice_discriminator": patch_discriminator(2, channels, c.discriminator_channels),
        "volume_discriminator": patch_discriminator(3, channels, c.discriminator_channels),
        "range": LatentRange(),
    }


def train_autoencoder(
    nets: Networks, config: Config, data: Batches, run: Run, *, balance: bool = False
) -> None:
    """Train to reconstruct volumes through the codebook; then take the range of the codes.

    Args:
        nets: The networks of a method.
        config: Its settings.
        data: Training volumes.
        run: The harness; the phase ``autoencoder`` is opened on it.
        balance: Whether all classes are drawn equally often.
    """
    c, codebook = config, network(nets, "codebook", Codebook)
    opt_g, opt_d = (_adam(nets, names, c) for names in (AUTOENCODER, DISCRIMINATORS))
    lpips = perceptual_network(run, c.perceptual)
    phase = run.phase("autoencoder", opt_g=opt_g, opt_d=opt_d)
    rows = balanced(data, labels_of(data, phase)) if balance else data
    for step in phase.steps(c.autoencoder_steps):
        set_lr((opt_g, opt_d), linear(step.progress, c.lr, c.lr_end))
        images = step.batch(rows, c.batch).images  # (B, C, D, H, W) in [-1, 1]
        x = torch.where(flips(step, len(images), c.flip), images.flip(-1), images)
        z = nets["to_code"](nets["encoder"](x))
        if step.index == 0:
            codebook.initialise(z)
        quantised = codebook(z)
        y = nets["decoder"](nets["from_code"](quantised.vectors)).float()
        depths = slice_depths(step.rand(1, len(x)), x.shape[2], margin=0)
        terms = {"pixel": (y - x).abs().mean(), "commitment": quantised.commitment}
        loss = c.pixel_weight * terms["pixel"] + c.commitment * terms["commitment"]
        if lpips is not None:
            terms["perceptual"] = slice_loss(lpips, x, y, depths)
            loss = loss + c.perceptual_weight * terms["perceptual"]
        adversarial = step.progress >= c.discriminator_start
        maps_x = _judge(nets, x, depths[0]) if adversarial else None
        if maps_x is not None:
            maps_y = _judge(nets, y, depths[0])
            pairs = zip(maps_x, maps_y, strict=True)
            terms["fooled"] = -total(maps[-1].float().mean() for maps in maps_y)
            terms["matching"] = total(feature_matching(a[:-1], b[:-1]) for a, b in pairs)
            loss = loss + c.adversarial_weight * terms["fooled"]
            loss = loss + c.matching_weight * terms["matching"]
        step.descend(opt_g, loss)
        codebook.update(z, quantised.indices)
        if maps_x is not None:
            pairs = zip(maps_x, _judge(nets, y.detach(), depths[0]), strict=True)
            terms["discriminator"] = total(hinge(a[-1], b[-1]) for a, b in pairs)
            step.descend(opt_d, terms["discriminator"])
        counts = count_codes(quantised.indices, c.codes)
        phase.log(**terms, perplexity=perplexity(counts), active_codes=active_codes(counts))
    network(nets, "range", LatentRange).snapshot(codebook.vectors)


def flips(step: Step, count: int, probability: float) -> Tensor:
    """Draw which volumes are mirrored left to right: (count, 1, 1, 1, 1) bool."""
    return step.rand(count, 1, 1, 1, 1) < probability


def encode(nets: Networks, volumes: Tensor) -> Tensor:
    """Return normalised latents (N, code_dim, l, l, l) of volumes, before the codebook."""
    with full_precision(volumes):
        z = nets["to_code"](nets["encoder"](volumes))
        return network(nets, "range", LatentRange).normalise(z)


def decode(nets: Networks, latents: Tensor) -> Tensor:
    """Return the volumes of normalised latents, in [-1, 1]: nearest codes, decoded, clipped."""
    return _decode(nets, network(nets, "range", LatentRange).restore(latents))


def latents_of(nets: Networks, data: Batches) -> dict[str, Tensor]:
    """Return the fields of ``Latents`` of all volumes."""
    parts = []
    for batch in chunks(data):
        plain, mirrored = (encode(nets, x) for x in (batch.images, batch.images.flip(-1)))
        parts.append((plain, mirrored, batch.labels))
    plain, mirrored, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return {"plain": plain, "mirrored": mirrored, "labels": labels}


def diagnose_reconstruction(nets: Networks, train: Batches, test: Batches) -> Sequence[Diagnostic]:
    """Return the reconstruction error of training and held-out volumes."""
    sets = {"train": train, "test": test}
    return (
        Diagnostic(
            "reconstruction-l1",
            "mean absolute error of a volume's reconstruction, on [-1, 1]; lower is better, "
            "and no sample can be closer to the data than its decoder",
            {name: _errors(nets, data) for name, data in sets.items()},
        ),
    )


def clipper(norm: float) -> Callable[[Optimizer, tuple, dict], None]:
    """Return a hook before a step that scales an optimiser's gradient down to a norm."""

    def clip(optimiser: Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, norm)

    return clip


def _adam(nets: Networks, names: Sequence[str], c: Config) -> Adam:
    """Return one optimiser of several networks, which clips the norm of their gradient."""
    parameters = [p for name in names for p in nets[name].parameters()]
    adam = Adam(parameters, lr=c.lr, betas=(c.beta1, c.beta2), fused=True)
    adam.register_step_pre_hook(clipper(c.clip))
    return adam


def _judge(nets: Networks, volumes: Tensor, depths: Tensor) -> list[list[Tensor]]:
    """Return the maps of both discriminators: of one slice per volume, and of volumes."""
    flat, deep = (nets[name] for name in DISCRIMINATORS)
    return [flat(axial_slices(volumes, depths)), deep(volumes)]


def _decode(nets: Networks, z: Tensor) -> Tensor:
    """Return the volumes of latents (N, code_dim, l, l, l) that are not normalised."""
    vectors = nets["codebook"](z).vectors
    return nets["decoder"](nets["from_code"](vectors)).float().clamp(-1, 1)


def _errors(nets: Networks, data: Batches) -> list[float]:
    """Return the mean absolute error of each volume's reconstruction."""
    errors = []
    for batch in chunks(data):
        z = nets["to_code"](nets["encoder"](batch.images))
        errors += (_decode(nets, z) - batch.images).abs().flatten(1).mean(1).tolist()
    return errors
