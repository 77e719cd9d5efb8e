"""What the adversarial generators share: networks of Kwon et al., penalty, batch statistics.

Networks: Kwon, Han and Kim 2019, arXiv:1908.02498, and their code (MIT licence), written anew from
a description; extended to 128^3 as in the baselines of HA-GAN, with one more level outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cerebench.methods.base import BadConfig, Run, Step, full_precision
from cerebench.methods.layers.upsampling import UpsampleConv

_LAYERS = {"batch": nn.BatchNorm3d, "instance": nn.InstanceNorm3d}


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    t: Tensor,
    norm: str = "volume",
) -> Tensor:
    """Distance of the critic's slope from 1 between real and generated inputs, in float32.

    Mean over inputs of (|grad s(x)| - 1)^2 at x = t real + (1 - t) fake, where s is the mean of
    an input's scores and |.| runs over all its elements. ``norm="voxel"`` is the variant of Kwon's
    code: s is the sum of the scores and the mean and |.| are taken voxel by voxel, over channels.

    Args:
        critic: Maps volumes (B, C, D, H, W) or codes (B, L) to scores (B, ...).
        real: Inputs of the critic, float32.
        fake: Same shape, without gradients.
        t: (B,), uniform in [0, 1): one mixture weight per input.
        norm: ``volume`` or ``voxel``.

    Returns:
        The penalty before its weight, dimensionless, >= 0, differentiable in the critic's weights.

    Source: Gulrajani et al. 2017, equation 3.
    """
    t = t.view(-1, *[1] * (real.dim() - 1))
    x = (t * real + (1 - t) * fake).float().requires_grad_()
    with full_precision(x):
        scores = critic(x).reshape(len(x), -1)
        total = scores.mean(1).sum() if norm == "volume" else scores.sum()
        (slope,) = torch.autograd.grad(total, x, create_graph=True)
    if norm == "volume":
        slope = slope.flatten(1)
    return (slope.norm(dim=1) - 1).square().mean()


def settle_statistics(
    run: Run, network: nn.Module, generate: Callable[[Step], object], batches: int
) -> None:
    """Replace a generator's running batch statistics by plain means over prior noise.

    Training mixes them from other inputs too, and a sample must not depend on its batch.

    Args:
        run: The harness; a phase ``statistics`` is opened on it if there is anything to settle.
        network: The generator, in training mode.
        generate: Runs the generator on one batch of noise of the step.
        batches: Number of batches.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    if not norms:
        return
    weight = next(network.parameters())
    for step in run.phase("statistics").steps(batches):
        for norm in norms:
            norm.momentum = 1 / (step.index + 1)  # the plain mean of all batches so far
        with torch.no_grad(), full_precision(weight):  # samples are drawn in fp32 as well
            generate(step)


def check_size(size: int, critic_channels: int) -> None:
    """Refuse edge lengths and widths that the networks cannot work with.

    Raises:
        BadConfig: If the size is no power of two from 16 on, or leaves a level without channels.
    """
    if size < 16 or size & (size - 1):
        raise BadConfig(
            f"The networks cannot work at size {size}; they halve the volume down to 4 voxels and "
            "need a power of two from 16 on. Set --size 16, 32, 64 or 128."
        )
    if critic_widths(critic_channels, size)[0] < 1:
        raise BadConfig(
            f"critic_channels = {critic_channels} leaves no channel at size {size}. "
            "Set it to a larger power of two."
        )


def generator_widths(channels: int, size: int) -> tuple[int, ...]:
    """Return the channels of the levels 4^3, 8^3, ... size/2: doubled at each coarser level."""
    return tuple(channels * 2**i for i in reversed(range(_levels(size))))


def critic_widths(channels: int, size: int) -> tuple[int, ...]:
    """Return the channels of the levels size/2, ... 4^3: the last has at most 8 x ``channels``.

    Up to 64^3 the first level has ``channels``; larger volumes add narrower levels outside.
    """
    levels = _levels(size)
    widest = channels * 2 ** (min(levels, 4) - 1)
    return tuple(widest // 2**i for i in reversed(range(levels)))


def generator(
    latent: int,
    widths: Sequence[int],
    channels: int,
    *,
    stem_bias: bool = True,
    norm: str = "batch",
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Return the network that maps z (B, latent) to volumes (B, channels, S, S, S) in [-1, 1].

    Args:
        latent: Length of z.
        widths: Channels of the levels 4^3, 8^3, ... S/2.
        channels: Channels of a volume.
        stem_bias: Whether the first layer has one; without, it is the transposed convolution of
            alpha-WGAN, which is the same linear map.
        norm: ``batch``, or ``instance`` (without weights).
        activation: Makes the activation after each normalisation.
    """
    first, layer = widths[0], _LAYERS[norm]
    layers: list[nn.Module] = [
        nn.Linear(latent, first * 4**3, bias=stem_bias),
        nn.Unflatten(1, (first, 4, 4, 4)),
        layer(first),
        activation(),
    ]
    for coarse, fine in pairwise(widths):
        layers += [UpsampleConv(coarse, fine, bias=False), layer(fine), activation()]
    return nn.Sequential(*layers, UpsampleConv(widths[-1], channels, bias=False), nn.Tanh())


def critic(
    widths: Sequence[int], channels: int, norm: str, head: str = "dense", scores: int = 1
) -> nn.Sequential:
    """Return the network that maps volumes to scores.

    Args:
        widths: Channels of the levels S/2, ... 4^3.
        channels: Channels of a volume.
        norm: ``none``, ``batch``, ``instance`` (without weights), or ``spectral``, which divides
            the matrix (out, in k^3) of every convolution by its largest singular value.
        head: ``dense`` gives (B, scores, 1, 1, 1), ``patch`` gives (B, scores, 2, 2, 2).
        scores: Scores per place.
    """
    wrap = spectral_norm if norm == "spectral" else _as_it_is
    layers: list[nn.Module] = [wrap(nn.Conv3d(channels, widths[0], 4, 2, 1)), nn.LeakyReLU(0.2)]
    for fine, coarse in pairwise(widths):
        layers.append(wrap(nn.Conv3d(fine, coarse, 4, 2, 1)))
        layers += [_LAYERS[norm](coarse)] if norm in _LAYERS else []
        layers.append(nn.LeakyReLU(0.2))
    stride, padding = (2, 1) if head == "patch" else (1, 0)
    return nn.Sequential(*layers, wrap(nn.Conv3d(widths[-1], scores, 4, stride, padding)))


def _as_it_is(layer: nn.Module) -> nn.Module:
    """Return a layer without any normalisation around it."""
    return layer


def _levels(size: int) -> int:
    """Return how often an edge is halved down to 4^3."""
    return size.bit_length() - 3
