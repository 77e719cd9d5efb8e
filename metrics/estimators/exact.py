"""Exact float32 on GPUs: no TensorFloat-32, which has ten bits of mantissa, behind the user's back.

By default cuDNN rounds the inputs of float32 convolutions to TF32, and a user or a library can ask
the same of matrix products. Features and losses then change in the third digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from operator import attrgetter
from typing import Any

import torch

_LOSSY = ("tf32", "bf16")  # values of a switch with which float32 is rounded


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 products and convolutions as float32; afterwards all is set as before."""
    precision, before = _matmul_precision(), [(s, s.fp32_precision) for s in _switches()]
    with ExitStack() as stack:
        stack.callback(_restore, precision, before)
        with suppress(RuntimeError):  # raised where somebody's settings, old and new, contradict
            flags = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            stack.enter_context(flags)
        torch.set_float32_matmul_precision("highest")
        for switch, _ in before:
            switch.fp32_precision = "ieee"
        yield


def is_exact() -> bool:
    """Say whether a GPU would compute float32 products and convolutions as float32 now."""
    found = [switch.fp32_precision for switch in _switches()]
    if not found:
        return not (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
    return not set(found) & set(_LOSSY)


def _switches() -> list[Any]:
    """Return the switches by operation, which torch has since 2.9."""
    if not hasattr(torch.backends.cudnn, "conv"):
        return []
    # By name, since torch makes these modules when it is imported: no type knows what they hold.
    switches = attrgetter("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul")
    return list(switches(torch.backends))


def _matmul_precision() -> str | None:
    """Return the setting for all backends; None where a switch by operation contradicts it."""
    with suppress(RuntimeError):
        return torch.get_float32_matmul_precision()
    return None


def _restore(precision: str | None, before: list[tuple[Any, str]]) -> None:
    if precision is not None:
        torch.set_float32_matmul_precision(precision)
    for switch, value in before:
        if switch.fp32_precision != value:
            switch.fp32_precision = value
