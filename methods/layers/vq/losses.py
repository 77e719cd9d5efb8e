"""Losses of autoencoders with discriminators, all in float32: Sobel gradients, features, hinge.

Both VQGANs use all of them, Medical Diffusion ``feature_matching`` and ``hinge``.

Source: Zhou and Khalvati, MIDL 2024, section 2.2, with the means, the factor 1/2 and the bound of
the adaptive weight that only their code has; written anew from a description.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

from cerebench.methods.base import full_precision


def gradient_loss(x: Tensor, y: Tensor) -> Tensor:
    """Squared difference of the Sobel gradients of two volumes, over slices of all orientations.

    For each of the three orientations the mean square of both 2D Sobel filters (zero padding) of
    x - y, summed. A filter smooths along one axis (matrix S, rows 1 2 1) and takes differences
    along another (T, rows -1 0 1), so with d = x - y of N voxels the loss is the quadratic form
    sum over axes p != q of |S_p T_q d|^2 / N = d . M d / N. Its gradient is 2 M d / N, so that one
    product with M = sum over p of S_p'S_p (sum over q != p of T_q'T_q) serves both.

    Args:
        x: (B, C, D, H, W), edges of 2 voxels or more.
        y: Same shape.

    Returns:
        A scalar, in squared intensities; differentiable once.
    """
    return _SobelSquares.apply(x.float() - y.float())


class _SobelSquares(torch.autograd.Function):
    """d . M d / N of ``gradient_loss``, with M d kept for the gradient.

    Neighbours are added where they lie, since new memory costs more than the arithmetic.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, d: Tensor) -> Tensor:
        """Return d . M d / N of a difference (B, C, D, H, W)."""
        m, sloped = torch.zeros_like(d), torch.empty_like(d)
        for axis, *others in ((2, 3, 4), (3, 2, 4), (4, 2, 3)):
            sloped.zero_()
            for other in others:
                _add_banded(sloped, d, other, (2, 0, -1))
            _add_banded(m, sloped, axis, (6, 4, 1))
        ctx.save_for_backward(m)
        return torch.mul(d, m, out=sloped).mean()

    # The decorator makes the context positional, and torch never names it.
    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: BackwardCFunction, *slopes: Tensor
    ) -> Tensor:
        """Return 2 M d / N times the slope of what follows."""
        (m,), (slope,) = ctx.saved_tensors, slopes
        return m * (slope * (2 / m.numel()))


def _add_banded(total: Tensor, d: Tensor, axis: int, weights: tuple[int, int, int]) -> None:
    """Add to ``total`` a symmetric band matrix times every line of d along an axis.

    ``weights`` are those of a voxel and of its neighbours at 1 and 2: (6, 4, 1) for S'S and
    (2, 0, -1) for T'T. The first and the last voxel weigh 1 less in both, as the zeros around a
    slice are no voxels.
    """
    size = d.shape[axis]
    total.add_(d, alpha=weights[0])
    for offset in (1, 2):
        if weights[offset]:
            below = d.narrow(axis, 0, size - offset)
            above = d.narrow(axis, offset, size - offset)
            total.narrow(axis, 0, size - offset).add_(above, alpha=weights[offset])
            total.narrow(axis, offset, size - offset).add_(below, alpha=weights[offset])
    for end in (0, size - 1):
        total.select(axis, end).sub_(d.select(axis, end))


def feature_matching(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of discriminator features, summed over layers.

    Args:
        real: Features of real volumes, one tensor a layer; they get no gradient.
        generated: Features of generated volumes, the same shapes.
    """
    pairs = zip(real, generated, strict=True)
    return total((r.detach().float() - g.float()).abs().mean() for r, g in pairs)


def total(terms: Iterable[Tensor]) -> Tensor:
    """Add up terms, at least one, in their order."""
    return reduce(torch.add, terms)


def hinge(real_logits: Tensor, generated_logits: Tensor) -> Tensor:
    """Hinge loss of a discriminator: half the mean of relu(1 - real) and of relu(1 + generated)."""
    real, generated = real_logits.float(), generated_logits.float()
    return ((1 - real).relu().mean() + (1 + generated).relu().mean()) / 2


def adaptive_weight(pixel: Tensor, adversarial: Tensor, weight: Tensor) -> Tensor:
    """Return the weight that keeps the adversarial gradient no larger than that of the pixels.

    min(1, |d pixel / d weight| / (|d adversarial / d weight| + 1e-4)), a detached scalar. Both
    graphs are kept for the backward pass of the whole loss.

    Args:
        pixel: Unweighted L1 loss, a scalar.
        adversarial: Adversarial loss of the generator, a scalar.
        weight: Weight of the decoder's last convolution.
    """
    with full_precision(weight):
        slopes = [
            torch.autograd.grad(loss, weight, retain_graph=True)[0].float().norm()
            for loss in (pixel, adversarial)
        ]
    return (slopes[0] / (slopes[1] + 1e-4)).clamp(max=1)
