"""Count what a training, a sample or a classifier computes, and the memory that it needs.

Everything runs on torch's meta device, which has shapes but no data: one step of every phase, times
the number of steps; one shard of samples. Every operation is worked out once for inputs of the same
shapes, because working out is what takes long. Casts to bf16 are made as autocast makes them.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from cerebench.benchmark.stages.sampling import SHARD
from cerebench.benchmark.stages.training import trained_by
from cerebench.methods.base import Batch, Conditions, Method, Rows, T

CASES = 1024  # of the training data that passes over all cases are counted for


@dataclass(frozen=True)
class Counted:
    """What was counted.

    Attributes:
        flops: Floating-point operations of matrix products and convolutions.
        peak: Bytes of all tensors on the device together when they are most: weights, gradients,
            states of optimisers, what backward passes need. Without training data.
        kept: Bytes that a case leaves in the memory of the host between phases.
    """

    flops: float
    peak: int
    kept: float = 0.0


def training(method: Method) -> Counted:
    """Count one training of a method that lives on the meta device."""
    run = _Run(method)
    with torch.device("meta"):
        method.train(_Data(method), run)
    return Counted(run.flops, run.memory.peak, run.kept)


def sampling(method: Method) -> Counted:
    """Count one sample, with the memory of the shard that it is drawn in."""
    rngs = [torch.Generator().manual_seed(0)] * SHARD
    asked = _Data(method).take(torch.arange(SHARD))
    masks = asked.masks if method.info.conditioning == "mask" else None
    memory = Memory(_size(method.nets.values()))
    with (
        torch.device("meta"),
        torch.no_grad(),
        _AsOnCPU(),
        Counter(memory) as counter,
        _traced_once(method, counter),
    ):
        method.sample(Conditions(asked.labels, masks), rngs)
    return Counted(counter.flops / SHARD, memory.peak)


def passes(
    build: Callable[[], nn.Module], shape: Sequence[int], *, trained: bool
) -> tuple[float, float]:
    """Count a network's operations for one input: of training it (0 if it is not), of reading."""
    with torch.device("meta"):
        network = build()
    batch = torch.zeros(2, *shape, device="meta")  # batch statistics need two
    with torch.no_grad(), Counter() as forward:
        network(batch)
    with Counter() as both:
        if trained:
            network(batch).sum().backward()
    return both.flops / len(batch), forward.flops / len(batch)


class Memory:
    """Bytes of the tensors that are alive, and the most that there were.

    Args:
        held: Bytes that are there from the beginning.
    """

    def __init__(self, held: int = 0) -> None:
        self.held = self.peak = held

    def add(self, amount: int) -> None:
        """Take bytes for good."""
        self.held += amount
        self.peak = max(self.peak, self.held)

    def follow(self, tensor: Tensor) -> None:
        """Take the bytes of a new tensor until nothing refers to them."""
        storage = tensor.untyped_storage()
        self.add(storage.nbytes())
        weakref.finalize(storage, self._free, storage.nbytes()).atexit = False

    def _free(self, amount: int) -> None:
        self.held -= amount


# What an operation returns is a fact about torch, and methods share most of their operations.
_KNOWN: dict[Any, tuple[float, Any]] = {}
_ITSELF = object()  # what an operation returns that changes its first argument


def _attention(query: Tensor, key: Tensor, *_: Any, **__: Any) -> int:
    """Count two products of all queries and keys."""
    return 4 * query.numel() * key.shape[-2]


def _attention_backward(_: Tensor, query: Tensor, key: Tensor, *__: Any, **___: Any) -> int:
    """Count four products, as where nothing is computed again."""
    return 2 * _attention(query, key)


_FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Counter(TorchDispatchMode):
    """Adds up the operations of matrix products and convolutions, forward and backward.

    ``torch.utils.flop_counter.FlopCounterMode`` would also track modules, which breaks gradient
    penalties.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__()
        self.flops, self._memory = 0.0, memory or Memory()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled, and a guard around every operation costs time

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _shares_memory(func):
            return func(*args, **kwargs)
        key = _key(func, args, kwargs)
        if key in _KNOWN:
            flops, form = _KNOWN[key]
            out = args[0] if form is _ITSELF else _made(form)
        else:
            out = func(*args, **kwargs)
            formula = _FORMULAS.get(func._overloadpacket)
            flops = 0.0 if formula is None else formula(*args, **kwargs, out_val=out)
            form = _ITSELF if args and out is args[0] else _form(out)
            if key is not None and form is not None:
                _KNOWN[key] = flops, form
        self.flops += flops
        if form is not _ITSELF:
            for leaf in out if isinstance(out, tuple | list) else (out,):
                if isinstance(leaf, Tensor) and leaf.is_meta:
                    self._memory.follow(leaf)
        return out


@cache
def _shares_memory(func: Any) -> bool:
    """Say whether an operation returns a view, or fills what it was given; those are quick."""
    if func.is_view or func._overloadpacket is torch.ops.aten._unsafe_view:
        return True
    returned = [r.alias_info is not None for r in func._schema.returns]
    first = func._schema.arguments[0].alias_info if func._schema.arguments else None
    in_place = returned == [True] and first is not None and first.is_write
    return func._schema.is_mutable and not in_place


def _key(func: Any, args: Any, kwargs: Any) -> Any:
    """Return all that the shapes of an operation's results depend on; None if that is data."""
    try:
        return func, _described(args), _described(tuple(kwargs.items()))
    except TypeError:
        return None


def _described(values: Sequence[Any]) -> Any:
    """Describe arguments; raises a ``TypeError`` where one has data."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_meta:
                raise TypeError
            found.append((value.dtype, value.shape, value.stride()))
        elif isinstance(value, tuple | list):
            found.append(_described(value))
        else:
            hash(value)
            found.append((value.__class__, value))  # 1, 1.0 and True are equal
    return tuple(found)


def _form(out: Any) -> Any:
    """Describe results so that ``_made`` can make them again; None where they have data."""
    if isinstance(out, Tensor):
        return (out.shape, out.stride(), out.dtype) if out.is_meta else None
    if not isinstance(out, tuple | list):
        return None
    forms = [() if each is None else _form(each) for each in out]
    return None if None in forms else [type(out), *forms]


def _made(form: Any) -> Any:
    if isinstance(form, list):
        kind, *forms = form
        return kind(_made(each) for each in forms)
    return torch.empty_strided(*form[:2], dtype=form[2], device="meta") if form else None


# Called through torch's functions, these take bf16 inside a bf16 phase; so do operands of einsum.
_IN_BF16 = {
    *(torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose2d, torch.conv_transpose3d),
    *(functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, torch.bmm),
    *(torch.addmm, torch.baddbmm, torch.einsum, functional.scaled_dot_product_attention),
}


class _AsOnCPU(TorchFunctionMode):
    """Does on the meta device what a CPU does: autocast where it is on, attention in one piece."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _IN_BF16 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_cast, (args, kwargs))
        if func is functional.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **named: Any
) -> Tensor:
    """Attend without a matrix of all queries and keys, but where its bias is learned."""
    learned = attn_mask is not None and attn_mask.requires_grad and torch.is_grad_enabled()
    if learned or not query.is_meta:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask, **named)
    at_once = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return at_once(query, key, value, attn_mask=attn_mask, **named)[0]


def _cast(value: Any) -> Any:
    cast = isinstance(value, Tensor) and value.is_meta and value.dtype == torch.float32
    return value.to(torch.bfloat16) if cast else value


@contextmanager
def _traced_once(method: Method, counter: Counter) -> Iterator[None]:
    """Trace a network once for inputs of the same shapes, and count it as often as it is called.

    A sampler calls its network a thousand times; without gradients all calls do the same work.
    """
    nets = list(method.nets.values())
    for net in nets:
        net.forward = _counted(net.forward, counter)
    try:
        yield
    finally:
        for net in nets:
            del net.forward


def _counted(forward: Callable[..., Any], counter: Counter) -> Callable[..., Any]:
    """Return a network's ``forward`` that repeats what it has returned and cost before."""
    known: dict[Any, tuple[float, Any]] = {}

    def again(*inputs: Any, **named: Any) -> Any:
        leaves, form = tree_flatten((inputs, named))
        shapes = (leaf.shape if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves)
        asked = (str(form), tuple(shapes))
        if asked in known:
            flops, out = known[asked]
            counter.flops += flops
            return tree_map(torch.empty_like, out)
        before = counter.flops
        out = forward(*inputs, **named)
        # Without memory of their own, which would count as alive.
        hollow = tree_map(lambda t: torch.empty((), dtype=t.dtype).expand(t.shape), out)
        known[asked] = counter.flops - before, hollow
        return out

    return again


class _Data:
    """Training data without voxels."""

    def __init__(self, method: Method) -> None:
        self._shape = (method.channels, *[method.size] * 3)

    def __len__(self) -> int:
        return CASES

    def take(self, indices: Tensor) -> Batch:
        n = len(indices)
        images = torch.zeros(n, *self._shape, device="meta")
        labels = torch.zeros(n, dtype=torch.int64, device="meta")
        return Batch(images, labels, images[:, :1], ("",) * n)


class _Run:
    """A harness that runs one step of every phase and multiplies by the number of steps."""

    def __init__(self, method: Method) -> None:
        self.method, self.flops, self.kept = method, 0.0, 0.0
        self.memory = Memory(_size(method.nets.values()))

    def phase(self, name: str, **tracked: Any) -> _Phase:
        return _Phase(self, [each for each in tracked.values() if isinstance(each, Optimizer)])

    def pretrained(self, name: str, network: nn.Module) -> nn.Module:
        self.memory.add(_size([network]))
        return network.requires_grad_(False)


class _Phase:
    def __init__(self, run: _Run, optimisers: Sequence[Optimizer]) -> None:
        self._run, self._optimisers = run, optimisers

    def steps(self, total: int) -> Iterator[_Step]:
        run = self._run
        run.memory.add(sum(map(_states, self._optimisers)))
        bf16 = run.method.config.precision == "bf16"
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False),
            _AsOnCPU(),
            Counter(run.memory) as counter,
        ):
            for parameter in trained_by(self._optimisers)[1]:
                parameter.grad = torch.empty_like(parameter)  # of the step before
            yield _Step()
        run.flops += total * counter.flops

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        nothing, method = torch.no_grad(), self._run.method
        with nothing, _AsOnCPU(), Counter() as counter, _traced_once(method, counter):
            kept = compute()
        self._run.flops += counter.flops
        self._run.kept += sum(t.nbytes for t in tree_leaves(kept) if len(t.shape)) / CASES
        # Shapes alone: at 128^3 what is kept of all cases fills gigabytes.
        return tree_map(
            lambda t: torch.zeros((), dtype=t.dtype, device="cpu").expand(t.shape), kept
        )

    def log(self, *, always: bool = False, **scalars: Tensor | float) -> None:
        """Log nothing."""

    def warn(self, text: str) -> None:
        """Warn of nothing."""


class _Step:
    index, progress = 0, 0.0

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def batch(self, data: Rows[T], size: int) -> T:
        return data.take(torch.zeros(size, dtype=torch.int64, device="cpu"))

    def randn(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device="meta")

    rand = randn

    def descend(
        self, optimiser: Optimizer | Sequence[Optimizer], loss: Tensor, *, clip: float | None = None
    ) -> None:
        optimisers, trained = trained_by(optimiser)
        for each in optimisers:
            each.zero_grad()
        with torch.autocast("cpu", enabled=False):
            loss.backward(inputs=trained)


def _size(networks: Iterable[nn.Module]) -> int:
    """Return the bytes of networks' parameters and buffers, each tensor once."""
    tensors = {t for net in networks for t in (*net.parameters(), *net.buffers())}
    return sum(t.nbytes for t in tensors)


def _states(optimiser: Optimizer) -> int:
    """Return the bytes that an optimiser will keep: as many for a parameter as of a small one."""
    one = nn.Parameter(torch.zeros(1, device="cpu"))
    one.grad = torch.zeros_like(one)
    twin = copy(optimiser)
    twin.param_groups = [{**optimiser.param_groups[0], "params": [one]}]
    twin.state = defaultdict(dict)
    twin.step()
    tensors = [
        t for t in twin.state[one].values() if isinstance(t, Tensor) and t.shape == one.shape
    ]
    return len(tensors) * sum(p.nbytes for p in trained_by(optimiser)[1])
