"""Unet3D: noise predictor that convolves within axial slices and attends along depth.

Source: Ho et al. 2022, "Video Diffusion Models", arXiv:2204.03458, with depth for time, in the form
of Medical Diffusion's code (after video-diffusion-pytorch), written anew from a description. Depth
is never downsampled. Rotary positions: Su et al. 2021, arXiv:2104.09864; relative position bias:
Raffel et al. 2020, arXiv:1910.10683; linear attention: Shen et al. 2021, arXiv:1812.01243.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.layers.group_norm import GroupNorm

GROUPS = 8  # of every normalisation; the width is a multiple of it
MAX_PERIOD = 10_000  # of the embedding of diffusion steps, and of the rotary positions
BUCKETS, MAX_DISTANCE = 32, 32  # of the relative positions: half of the buckets per direction


class NoisePredictor(nn.Module):
    """The layers of both networks; it predicts the noise of latents (B, channels, D, H, W).

    Args:
        channels: Channels of the latent.
        width: Channels of the first level, a multiple of 8; also the length of the step embedding.
        mults: Channels of the levels in units of the width, finest first; each level but the last
            halves H and W.
        heads: Attention heads.
        head_width: Features of one head.
        condition: Length of the condition vectors, 0 for none.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        mults: Sequence[int],
        heads: int,
        head_width: int,
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.width, steps = width, 4 * width
        shape = (heads, head_width)
        pairs = list(pairwise((width, *(width * m for m in mults))))
        self.time = nn.Sequential(nn.Linear(width, steps), nn.GELU(), nn.Linear(steps, steps))
        self.bias = PositionBias(heads)
        self.first = nn.Conv3d(channels, width, (1, 7, 7), padding=(0, 3, 3))
        self.first_depth = AlongDepth(width, *shape)
        steps += condition
        self.down = nn.ModuleList(Level(a, b, steps, *shape) for a, b in pairs)
        self.shrink = nn.ModuleList(
            nn.Conv3d(b, b, (1, 4, 4), (1, 2, 2), (0, 1, 1)) for _, b in pairs[:-1]
        )
        coarsest = pairs[-1][1]
        self.middle = nn.ModuleDict(
            {
                "block1": ResBlock(coarsest, coarsest, steps),
                "slices": InSlices(Attention(coarsest, *shape), coarsest),
                "depth": AlongDepth(coarsest, *shape),
                "block2": ResBlock(coarsest, coarsest, steps),
            }
        )
        self.up = nn.ModuleList(Level(2 * b, a, steps, *shape) for a, b in reversed(pairs))
        self.grow = nn.ModuleList(
            nn.ConvTranspose3d(a, a, (1, 4, 4), (1, 2, 2), (0, 1, 1)) for a, _ in pairs[:0:-1]
        )
        self.last_block = ResBlock(2 * width, width)
        self.last = nn.Conv3d(width, channels, 1)

    def predict(self, x: Tensor, times: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the noise in (B, channels, D, H, W) at steps (B,), given vectors (B, condition).

        H and W are multiples of 2^(levels - 1); D is free.
        """
        embedding = self.time(step_embedding(times, self.width))
        if condition is not None:
            embedding = torch.cat((embedding, condition), 1)
        bias = self.bias(x.shape[2])
        first = h = self.first(x)
        h = self.first_depth(h, bias)
        skips = []
        for level, shrink in zip(self.down, (*self.shrink, nn.Identity()), strict=True):
            h = level(h, embedding, bias)
            skips.append(h)
            h = shrink(h)
        h = self.middle["slices"](self.middle["block1"](h, embedding))
        h = self.middle["block2"](self.middle["depth"](h, bias), embedding)
        for level, grow in zip(self.up, (*self.grow, nn.Identity()), strict=True):
            h = grow(level(torch.cat((h, skips.pop()), 1), embedding, bias))
        return self.last(self.last_block(torch.cat((h, first), 1)))


class Unet3D(NoisePredictor):
    """Predicts the noise without any condition."""

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Return the noise in (B, channels, D, H, W) at steps (B,)."""
        return self.predict(x, times)


class LabelledUnet3D(NoisePredictor):
    """Predicts the noise given a learned vector per class, or a learned one for no class.

    Args:
        channels: Channels of the latent.
        classes: Number of classes.
        condition: Length of the vectors.
        width: As in ``NoisePredictor``, like all that follows.
        mults: Channels of the levels in widths.
        heads: Attention heads.
        head_width: Features of one head.
    """

    def __init__(
        self,
        channels: int,
        *,
        classes: int,
        condition: int,
        width: int,
        mults: Sequence[int],
        heads: int,
        head_width: int,
    ) -> None:
        super().__init__(
            channels,
            width=width,
            mults=mults,
            heads=heads,
            head_width=head_width,
            condition=condition,
        )
        self.embedding = nn.Embedding(classes, condition)
        self.null = nn.Parameter(torch.randn(1, condition))

    def forward(self, x: Tensor, times: Tensor, labels: Tensor, hidden: Tensor) -> Tensor:
        """Return the noise in (B, channels, D, H, W) at steps (B,).

        Args:
            x: Noisy latents.
            times: Diffusion steps, (B,) int64.
            labels: (B,) int64 in [0, classes).
            hidden: (B,) bool, where the label is not to be seen.
        """
        vectors = torch.where(hidden[:, None], self.null, self.embedding(labels))
        return self.predict(x, times, vectors)


class Level(nn.Module):
    """Two residual blocks, linear attention within slices, attention along depth."""

    def __init__(self, inputs: int, outputs: int, steps: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.block1 = ResBlock(inputs, outputs, steps)
        self.block2 = ResBlock(outputs, outputs, steps)
        self.slices = InSlices(LinearAttention(outputs, heads, head_width), outputs)
        self.depth = AlongDepth(outputs, heads, head_width)

    def forward(self, x: Tensor, embedding: Tensor, bias: Tensor) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        h = self.block2(self.block1(x, embedding), embedding)
        return self.depth(self.slices(h), bias)


class ResBlock(nn.Module):
    """Two times convolution within slices, norm and SiLU, added to the input.

    With ``steps`` > 0 the first norm is followed by a scale and a shift computed from the embedding
    (B, steps) of the diffusion step.
    """

    def __init__(self, inputs: int, outputs: int, steps: int = 0) -> None:
        super().__init__()
        self.modulation = nn.Linear(steps, 2 * outputs) if steps else None
        self.conv1 = nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1))
        self.norm1 = GroupNorm(GROUPS, outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, (1, 3, 3), padding=(0, 1, 1))
        self.norm2 = GroupNorm(GROUPS, outputs)
        self.skip = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        h = self.norm1(self.conv1(x))
        if self.modulation is not None:
            assert embedding is not None
            modulation = self.modulation(functional.silu(embedding))[..., None, None, None]
            scale, shift = modulation.chunk(2, 1)
            h = h * (1 + scale) + shift
        h = functional.silu(self.norm2(self.conv2(functional.silu(h))))
        return h + self.skip(x)


class InSlices(nn.Module):
    """Adds attention over the H·W positions of every axial slice to its input."""

    def __init__(self, attention: nn.Module, channels: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(channels, bias=False), attention

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, D, H, W) to the same shape."""
        tokens = x.movedim(1, -1).flatten(2, 3)  # (B, D, H·W, C)
        y = self.attention(self.norm(tokens))
        return x + y.unflatten(2, x.shape[3:]).movedim(-1, 1)


class AlongDepth(nn.Module):
    """Adds attention over the D positions of every axial column, with positions, to its input."""

    def __init__(self, channels: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, bias=False)
        self.attention = Attention(channels, heads, head_width, rotary=True)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map (B, channels, D, H, W) to the same shape; bias (heads, D, D) as of its class."""
        tokens = x.permute(0, 3, 4, 2, 1)  # (B, H, W, D, C)
        return x + self.attention(self.norm(tokens), bias).permute(0, 4, 3, 1, 2)


class Attention(nn.Module):
    """Softmax attention without biases.

    Args:
        channels: Features of a token.
        heads: Number of heads.
        head_width: Features of one head; even where ``rotary``.
        rotary: Whether queries and keys are rotated by their position.
    """

    def __init__(self, channels: int, heads: int, head_width: int, *, rotary: bool = False) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        self.qkv = nn.Linear(channels, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, channels, bias=False)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map (..., n, channels) to the same shape; bias (heads, n, n) is added to the scores."""
        q, k, v = (part.flatten(0, -4) for part in _heads(self.qkv(tokens), self.heads))
        if self.rotary:
            q, k = rotate(q), rotate(k)
        bias = None if bias is None else bias.to(q.dtype)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(y.transpose(1, 2).flatten(2)).view(tokens.shape)


class LinearAttention(nn.Module):
    """Attention of linear cost: keys are normalised over tokens, queries over features."""

    def __init__(self, channels: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, head_width**-0.5
        self.qkv = nn.Linear(channels, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., n, channels) to the same shape."""
        q, k, v = _heads(self.qkv(tokens), self.heads)
        context = k.softmax(-2).transpose(-1, -2) @ v  # (..., heads, head_width, head_width)
        y = q.softmax(-1) @ (context * self.scale)
        return self.out(y.transpose(-2, -3).flatten(-2))


class PositionBias(nn.Module):
    """One learned number per head and bucket of relative depths, shared by all attentions."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Embedding(BUCKETS, heads)

    def forward(self, length: int) -> Tensor:
        """Return what is added to the scores of queries and keys: (heads, length, length)."""
        return self.table(relative_buckets(length, self.table.weight.device)).movedim(-1, 0)


def relative_buckets(length: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the bucket of every pair of positions: (length, length) int64, rows are queries.

    With n = query - key and a = abs(n): 16 where n < 0, plus a below 8 and beyond that
    8 + floor(8 ln(a / 8) / ln 4), at most 15.
    """
    positions = torch.arange(length, device=device)
    n = positions[:, None] - positions
    half, exact = BUCKETS // 2, BUCKETS // 4
    a = n.abs()
    ratio = (a.clamp(min=exact).double() / exact).log() / math.log(MAX_DISTANCE / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(a < exact, a, far) + half * (n < 0)


def rotate(x: Tensor) -> Tensor:
    """Rotate neighbouring pairs of features by their position times a frequency of their own.

    Pair i of d / 2 turns by position · 10000^(-2 i / d) radians.

    Args:
        x: (..., n, d), d even; positions are 0 ... n - 1.
    """
    n, d = x.shape[-2:]
    positions = torch.arange(n, dtype=torch.float32, device=x.device)
    powers = torch.arange(0, d, 2, dtype=torch.float32, device=x.device) / d
    angles = positions[:, None] * MAX_PERIOD**-powers  # (n, d / 2)
    # A pair is a complex number: one multiplication instead of six passes over strided halves.
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    result = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(result).flatten(-2).to(x.dtype)


def step_embedding(times: Tensor, width: int) -> Tensor:
    """Return sines, then cosines of the steps (B,) at K = width / 2 frequencies: (B, width).

    Frequency k is 10000^(-k / (K - 1)), in radians per step.
    """
    count = width // 2
    k = torch.arange(count, dtype=torch.float64, device=times.device)
    angles = times[:, None] * MAX_PERIOD ** (-k / (count - 1))
    return torch.cat((angles.sin(), angles.cos()), 1).float()


def _heads(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Split (..., n, 3 heads d) into queries, keys and values (..., heads, n, d)."""
    return tuple(part.unflatten(-1, (heads, -1)).transpose(-2, -3) for part in qkv.chunk(3, -1))
