"""Causal transformer over the tokens of a volume: the prior of 3D-VQGAN and 3D-VQGAN-cond.

Source: Zhou and Khalvati, MIDL 2024 (OpenReview LLoSHPorlM), App. A.2, and Esser et al. 2021,
arXiv:2012.09841, whose transformer they take over; written anew from a description.

The input is a start token followed by all tokens but the last, so position i predicts token i.
Ids 0 … K-1 are the codes. In 3D-VQGAN the id K starts every sequence; in 3D-VQGAN-cond K is the
mask, and one token a class, K+1+label, starts a sequence (``class_tokens``, ``shift``).

Departures from the reference code: positions for exactly the tokens of a volume (the code makes as
many as there are codes); no unused linear-probe head; sampling keeps keys and values instead of
running the whole prefix again; the two filters work each without the other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cerebench.methods.base import BadConfig

INIT_STD = 0.02


class Transformer(nn.Module):
    """Pre-norm causal transformer with learned positions, exact GELU and an untied output layer.

    It has n(12d² + 13d) + 2Vd + Ld + 2d parameters for n layers of width d: 304,939,008 at the
    published size (1027, 512, 1024, 24, 16).

    Args:
        vocabulary: Number of ids V: the codes and whatever tokens the method adds to them.
        length: Tokens of a volume L.
        width: Channels d.
        layers: Blocks n.
        heads: Attention heads; a divisor of ``width``.

    Raises:
        BadConfig: If ``heads`` does not divide ``width``.

    Source: Zhou and Khalvati 2024, App. A.2; initial values as in their code.
    """

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise BadConfig(
                f"{heads} heads do not divide a width of {width}. Choose a divisor of the width."
            )
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.apply(_initialise)

    @property
    def length(self) -> int:
        """Longest sequence, tokens."""
        return len(self.positions)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ids (B, T) int64, T <= length, to logits (B, T, V) of the id that follows each.

        Raises:
            ValueError: If the sequence is longer than ``length``.
        """
        _check_length(tokens.shape[1], self.length)
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    @torch.no_grad()
    def generate(
        self,
        start: Tensor,
        uniforms: Tensor,
        *,
        codes: int,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Tensor:
        """Draw sequences token by token, each from its start token and its own random numbers.

        A sequence does not depend on its neighbours in the batch, up to the rounding of matrix
        products, which differs between batch sizes.

        Args:
            start: Start tokens, (B,) int64.
            uniforms: One random number a token, (B, L) float32 in [0, 1), L <= ``length``.
            codes: Ids below this one may be drawn; mask and start tokens lie above.
            temperature: Divides the logits, >= 0; 0 takes the most probable id.
            top_k: As in ``draw``.
            top_p: As in ``draw``.

        Returns:
            Drawn ids without the start token, (B, L) int64 in [0, codes).

        Raises:
            BadConfig: If a setting of the sampler lies outside its range.
            ValueError: If the random numbers have another shape or range.
            FloatingPointError: If the network returns NaN or infinite logits.
        """
        _check_sampler(codes, self.head.out_features, temperature, top_k, top_p)
        _check_uniforms(uniforms, len(start), self.length)
        length = uniforms.shape[1]
        if start.is_meta:
            return self._counted(start, length)
        caches = [Cache(length) for _ in self.blocks]
        ids = torch.empty(uniforms.shape, dtype=torch.int64, device=start.device)
        broken = torch.zeros((), dtype=torch.bool, device=start.device)
        token = start
        for i in range(length):
            x = (self.tokens(token) + self.positions[i]).unsqueeze(1)
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, cache)
            logits = self.head(self.norm(x)).squeeze(1)[:, :codes].float()
            broken |= ~logits.isfinite().all()
            token = draw(logits, uniforms[:, i], temperature, top_k, top_p)
            ids[:, i] = token
        if broken:
            raise FloatingPointError(
                "The transformer returned NaN or infinite logits; sampling needs finite ones. "
                "Look at its training log for a divergence."
            )
        return ids

    def _counted(self, start: Tensor, length: int) -> Tensor:
        """Do on the meta device, where operations are only counted, as many as ``generate`` does.

        A token costs more the more there are before it, by the same amount each: together as much
        as if all came after half of the others, which is one pass instead of one a token.
        """
        x = (self.tokens(start) + self.positions[0]).repeat(length, 1).unsqueeze(1)
        kept = [x.new_empty(2, *x.shape) for _ in self.blocks]  # as large as the caches are
        for block in self.blocks:
            x = block(x, Cache(length, filled=length // 2))
        self.head(self.norm(x))
        del kept
        return start.new_empty(len(start), length)


class Block(nn.Module):
    """``x += attention(norm(x))``, then ``x += mlp(norm(x))`` with four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """Map (B, T, d) to (B, T, d); with a cache, T = 1 and x follows what the cache holds."""
        x = x + self.attention(self.attention_norm(x), cache)
        return x + self.mlp(self.mlp_norm(x))


class Attention(nn.Module):
    """Causal self-attention with separate projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """Map (B, T, d) to (B, T, d); with a cache, T = 1 and x follows what the cache holds."""
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )  # (B, heads, T, d / heads)
        if cache is not None:
            k, v = cache.append(k, v)
        # A single query at the end may see every key.
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return self.out(y.transpose(1, 2).flatten(2))


class Cache:
    """Keys and values of one layer for the tokens drawn so far, in memory allocated once."""

    def __init__(self, length: int, filled: int = 0) -> None:
        self._length, self._filled = length, filled
        self._memory: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add one token, twice (B, heads, 1, c); return all so far, twice (B, heads, T, c)."""
        if key.is_meta:  # one sequence lends all of them its memory: each is a token of one
            self._filled += 1
            before = key[:1, :, :1].expand(len(key), -1, self._filled, -1)
            return before, before
        if self._memory is None:  # only now is the precision of the products known
            batch, heads, _, channels = key.shape
            self._memory = key.new_empty(2, batch, heads, self._length, channels)
        i, self._filled = self._filled, self._filled + 1
        keys, values = self._memory.unbind()
        keys[:, :, i : i + 1] = key
        values[:, :, i : i + 1] = value
        return keys[:, :, : i + 1], values[:, :, : i + 1]


def draw(
    logits: Tensor, uniforms: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Tensor:
    """Draw one id per row by inverting the cumulative distribution at the given number.

    Args:
        logits: (B, K) float32.
        uniforms: (B,) float32 in [0, 1).
        temperature: Divides the logits, >= 0; 0 takes the most probable id.
        top_k: Only that many of the most probable ids are drawn; 0 is off.
        top_p: Only the fewest of the most probable ids that together reach this probability are
            drawn, in (0, 1]; 1 is off. Both filters look at the unfiltered distribution.

    Returns:
        (B,) int64 in [0, K).
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    weights = (logits / temperature).softmax(dim=-1)
    if top_k or top_p < 1:
        weights = _filtered(weights, top_k, top_p)
    # float64: rounding of the sum is then far below the spacing of the given numbers.
    cumulative = weights.double().cumsum(dim=-1)
    target = uniforms.double().unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def class_tokens(labels: Tensor, codes: int) -> Tensor:
    """Return the start token of each class label: (B,) int64 to (B,) int64."""
    return codes + 1 + labels


def shift(labels: Tensor, tokens: Tensor, codes: int) -> Tensor:
    """Return the input that predicts ``tokens``: class token, then all tokens but the last.

    Args:
        labels: Class labels, (B,) int64.
        tokens: Tokens of the volumes, (B, L) int64, possibly corrupted.
        codes: Number of codes K.

    Returns:
        (B, L) int64.
    """
    return start_with(class_tokens(labels, codes), tokens)


def start_with(start: Tensor, tokens: Tensor) -> Tensor:
    """Put start tokens (B,) before tokens (B, L) and drop the last ones: (B, L)."""
    return torch.cat((start.unsqueeze(1), tokens[:, :-1]), dim=1)


def decay_groups(network: nn.Module, decay: float) -> list[dict[str, list[nn.Parameter] | float]]:
    """Return parameter groups for AdamW: weights of linear layers decay, nothing else does.

    Args:
        network: Usually the ``Transformer``; biases, norms, embeddings and positions stay free.
        decay: Weight decay of the first group, dimensionless.

    Returns:
        Two groups that partition the parameters, the decaying one first.
    """
    linear = {id(m.weight) for m in network.modules() if isinstance(m, nn.Linear)}
    decaying = [p for p in network.parameters() if id(p) in linear]
    free = [p for p in network.parameters() if id(p) not in linear]
    return [
        {"params": decaying, "weight_decay": decay},
        {"params": free, "weight_decay": 0.0},
    ]


def _filtered(weights: Tensor, top_k: int, top_p: float) -> Tensor:
    """Return the probabilities with those outside a filter set to 0, not normalised again."""
    values, order = weights.sort(dim=-1, descending=True, stable=True)
    inside = torch.ones_like(values, dtype=torch.bool)
    if top_k:
        inside[:, top_k:] = False
    if top_p < 1:
        inside &= values.cumsum(dim=-1) - values < top_p
    return torch.zeros_like(weights).scatter(-1, order, values * inside)


def _initialise(module: nn.Module) -> None:
    """Draw the weights of one layer from N(0, 0.02^2); biases of linear layers begin at 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _check_length(length: int, limit: int) -> None:
    """Refuse sequences that are longer than there are positions."""
    if length > limit:
        raise ValueError(
            f"A sequence of {length} tokens was given; the transformer has positions for {limit}. "
            f"Build it with length={length}."
        )


def _check_uniforms(uniforms: Tensor, batch: int, limit: int) -> None:
    """Refuse random numbers of another shape than (batch, tokens), or outside [0, 1)."""
    if uniforms.ndim != 2 or len(uniforms) != batch:
        raise ValueError(
            f"Random numbers of shape {tuple(uniforms.shape)} were given for {batch} sequences; "
            f"expected ({batch}, tokens)."
        )
    _check_length(uniforms.shape[1], limit)
    if not uniforms.is_meta and (~((uniforms >= 0) & (uniforms < 1))).any():
        raise ValueError("Random numbers lie outside [0, 1). Draw them with methods.base.rand.")


def _check_sampler(
    codes: int, vocabulary: int, temperature: float, top_k: int, top_p: float
) -> None:
    """Refuse settings of the sampler that are impossible."""
    for name, value, good, expected in (
        ("codes", codes, 1 <= codes <= vocabulary, f"in 1 … {vocabulary}, the vocabulary"),
        ("temperature", temperature, 0 <= temperature < float("inf"), "finite and >= 0"),
        ("top_k", top_k, top_k >= 0, ">= 0; 0 switches it off"),
        ("top_p", top_p, 0 < top_p <= 1, "in (0, 1]; 1 switches it off"),
    ):
        if not good:
            raise BadConfig(f"{name} is {value}; it must be {expected}.")
