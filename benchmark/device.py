"""The device that networks run on: which one, its name, memory, generators and arithmetic.

Everything that only a driver can answer goes through one object, a ``Driver``. The device check of
``bench check`` puts another one in its place (``conformance/fake_device.py``), so that it needs no
GPU.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from cerebench.core.errors import UsageError
from cerebench.core.machine import cpu_name
from cerebench.metrics.estimators.exact import exact_float32


class Driver:
    """What CUDA's driver is asked. Devices are ``cuda`` with or without an index."""

    def count(self) -> int:
        """Return the number of GPUs that can be used."""
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def name(self, device: torch.device) -> str:
        """Return the name of a GPU."""
        return torch.cuda.get_device_name(device)

    def memory(self, device: torch.device) -> int:
        """Return the memory of a GPU, bytes."""
        return torch.cuda.mem_get_info(device)[1]

    def reset_peak(self, device: torch.device) -> None:
        """Let ``peak`` count from now on."""
        torch.cuda.reset_peak_memory_stats(device)

    def peak(self, device: torch.device) -> int:
        """Return the most memory that tensors took on a GPU, bytes."""
        return torch.cuda.max_memory_allocated(device)

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a new generator of a GPU."""
        return torch.Generator(device)

    def global_generator(self, device: torch.device) -> torch.Generator:
        """Return the generator that a GPU takes where none is given."""
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]

    def has_bf16(self, device: torch.device) -> bool:
        """Say whether a GPU has bf16 itself."""
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)

    def wait(self, device: torch.device) -> None:
        """Return when a GPU has done all it was told."""
        torch.cuda.synchronize(device)


_driver = Driver()


@contextmanager
def driven_by(driver: Driver) -> Iterator[None]:
    """Ask this object in the place of CUDA's driver."""
    global _driver
    before, _driver = _driver, driver
    try:
        yield
    finally:
        _driver = before


def pick_device(name: str) -> torch.device:
    """Return the device of this name.

    Args:
        name: ``cpu``, ``cuda:N`` or ``cuda`` for the first GPU; ``auto`` is the first GPU where
            there is one, else the CPU.

    Raises:
        UsageError: If this machine has no such device, or networks are never run on its kind.
    """
    found = gpus()
    if name == "auto":
        name = found[0] if found else "cpu"
    elif name == "cuda" and found:
        name = found[0]
    if name not in ("cpu", *found):
        known = ", ".join(("auto", "cpu", *found))
        kind = name.partition(":")[0]
        if kind not in ("auto", "cpu", "cuda"):
            raise UsageError(f"Device '{name}' is not supported. Use {known}.")
        raise UsageError(f"Device '{name}' is not there. Use {known}; see bench doctor.")
    return torch.device(name)


def gpus() -> list[str]:
    """Return the names that a user can give to the GPUs of this machine: ``cuda:0`` and so on."""
    return [f"cuda:{index}" for index in range(_driver.count())]


def has_bf16(device: torch.device) -> bool:
    """Say whether a device computes in bf16 itself; a GPU without it would imitate it slowly."""
    return device.type != "cuda" or _driver.has_bf16(device)


def refuse_imitated_bf16(device: torch.device, configured: Iterable[Any]) -> None:
    """Refuse to train in bf16 on a GPU that has none; torch would imitate it, many times slower.

    Args:
        device: Where networks would be trained.
        configured: What would be trained; each has a ``name`` and a ``resolved`` configuration.

    Raises:
        UsageError: Naming every setting that has to change.
    """
    if has_bf16(device):
        return
    names = {each.name: None for each in configured if each.resolved.config.precision == "bf16"}
    if names:
        changes = " ".join(f"--set {name}.precision=fp32" for name in names)
        raise UsageError(
            f"{device_name(device)} ({device}) cannot compute in bf16, which {', '.join(names)} "
            f"would be trained in. Add {changes}, or choose another --device."
        )


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the machine's facts: processor, threads, and the device that is used."""
    return {
        "device": device_name(device),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def device_name(device: torch.device) -> str:
    """Return the name of the device as tables print it."""
    return _driver.name(device) if device.type == "cuda" else "cpu"


def total_memory(device: torch.device) -> int:
    """Return the memory of a device, bytes."""
    if device.type == "cuda":
        return _driver.memory(device)
    return psutil.virtual_memory().total


def reset_peak(device: torch.device) -> None:
    """Let ``peak_mib`` count from now on.

    On a CPU only Linux can; elsewhere the peak stays that of the process since its start.
    """
    if device.type == "cuda":
        _driver.reset_peak(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: resets the peak


def peak_mib(device: torch.device) -> float:
    """Return the peak memory since ``reset_peak``, MiB: of the device, or of the process."""
    if device.type == "cuda":
        return _driver.peak(device) / 2**20
    with suppress(OSError, StopIteration):
        # Linux. Not getrusage: it counts the peak of the process that started this one as well,
        # and ``reset_peak`` has no effect on that.
        lines = Path("/proc/self/status").read_text().splitlines()
        high = next(line for line in lines if line.startswith("VmHWM:"))
        return int(high.split()[1]) / 1024  # "VmHWM:   935164 kB"
    try:
        import resource
    except ImportError:  # Windows
        memory = psutil.Process().memory_info()
        return getattr(memory, "peak_wset", memory.rss) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def new_generator(device: torch.device) -> torch.Generator:
    """Return a new generator whose numbers are made on the device."""
    return _driver.generator(device) if device.type == "cuda" else torch.Generator(device)


def global_generators(device: torch.device) -> list[torch.Generator]:
    """Return torch's global generators that a computation on the device may use."""
    # Not torch.manual_seed: it formats a stack trace per call while CUDA is not initialised.
    own = [_driver.global_generator(device)] if device.type == "cuda" else []
    return [torch.default_generator, *own]


def wait_for(device: torch.device) -> None:
    """Return when the device has done all it was told."""
    if device.type == "cuda":
        _driver.wait(device)


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Let float32 be float32 on GPUs, and make the device torch's default.

    Everything that a network computes for a record runs in here: training, samples, diagnoses and
    importance maps. (Extractors and classifiers see to it themselves.)
    """
    with ExitStack() as stack:
        if device.type != "cpu":  # on the CPU this would cost a hook per operation for nothing
            stack.enter_context(exact_float32())
            stack.enter_context(device)
        yield


@contextmanager
def right_convolutions(nets: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """Let the convolutions that oneDNN gets wrong in bf16 on a CPU compute in float32.

    Where a kernel is wider than the map under it, the gradient of its weights is left unwritten in
    part (1-D to 3-D; seen with torch 2.14 on a processor with avx512_bf16): it holds whatever the
    memory held, so that equal runs differ and some end in NaN. Such maps are tiny and cost nothing.
    """
    hooks = []
    if device.type == "cpu":
        for module in (m for net in nets for m in net.modules()):
            if isinstance(module, _CONVOLUTIONS):
                narrow = _NarrowMaps()
                hooks += [
                    module.register_forward_pre_hook(narrow.enter),
                    module.register_forward_hook(narrow.leave, always_call=True),
                ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


class _NarrowMaps:
    """Switches autocast off while one layer computes on maps narrower than its kernel."""

    def __init__(self) -> None:
        self._off: list[torch.autocast] = []

    def enter(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Before the layer: float32 for narrow maps."""
        assert isinstance(module, _CONVOLUTIONS)
        # A transposed convolution gathers its gradient over its output, up to one step narrower.
        margin = 1 if module.transposed else 0
        edges = zip(inputs[0].shape[2:], module.kernel_size, strict=True)
        narrow = any(edge < kernel + margin for edge, kernel in edges)
        if not (narrow and torch.is_autocast_enabled("cpu")):
            return None
        off = torch.autocast("cpu", enabled=False)
        off.__enter__()
        self._off.append(off)
        return (inputs[0].float(), *inputs[1:])

    def leave(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """After the layer, also where it failed."""
        if self._off:
            self._off.pop().__exit__(None, None, None)
