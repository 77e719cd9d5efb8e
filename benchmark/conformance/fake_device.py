"""A GPU that is not there: tensors that say they are on it, for the device check of methods.

What lies on the host is real and computed as ever. What lies on the device has shape, type and
place but no values (torch's ``FakeTensorMode``), and everything that CUDA would refuse is refused:
tensors of two devices in one operation, a generator of another device than the numbers it shall
make, NumPy on a tensor of the device. So is what CUDA would do without a word: TF32 in float32.
What comes back to the host is zeros, and the place in the code that asked for it is noted. Neither
a driver is needed nor a torch that was built for one.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

from cerebench.benchmark import device as devices
from cerebench.metrics.estimators.exact import is_exact

# Not the first one: "cuda" without a number is then another device, as it can be for a user.
DEVICE = torch.device("cuda", 1)

_PRODUCTS = re.compile(r"_?(conv(\d|_|ol)|(add|addb|b|baddb)?m[mv]$|matmul|linear$|scaled_dot)")
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
# These take tensors of several devices: copies, and lengths, which have to be on the host.
_BETWEEN_DEVICES = ("copy_", "_to_copy", "_pack_padded_sequence", "_ctc_loss", "_foreach_copy_")
_LIBRARIES = {"torch", "numpy", "scipy", "monai", "diffusers", "einops", "torchmetrics"}
_MISSING = object()


class WrongDevice(RuntimeError):
    """Something that a GPU refuses, or that it would compute in another precision than asked."""


class ReadsValues(Exception):
    """Code from outside the suite needs values of the device, which do not exist."""


class FakeDriver(devices.Driver):
    """Answers for the device; its generators are those of the CPU under another name."""

    def __init__(self) -> None:
        self._made: dict[int, torch.Generator] = {}
        self._global = self.generator(DEVICE)

    def owns(self, generator: torch.Generator) -> bool:
        """Say whether a generator is one of the device."""
        return _address(generator) in self._made

    def count(self) -> int:
        return DEVICE.index + 1

    def name(self, device: torch.device) -> str:
        return f"fake GPU {device.index}"

    def memory(self, device: torch.device) -> int:
        return 2**36

    def reset_peak(self, device: torch.device) -> None:
        """Do nothing: no memory is taken."""

    def peak(self, device: torch.device) -> int:
        return 0

    def generator(self, device: torch.device) -> torch.Generator:
        generator = torch.Generator()
        self._made[_address(generator)] = generator
        return generator

    def global_generator(self, device: torch.device) -> torch.Generator:
        return self._global

    def has_bf16(self, device: torch.device) -> bool:
        return True

    def wait(self, device: torch.device) -> None:
        """Do nothing: nothing is under way."""


def _address(generator: torch.Generator) -> int:
    """Return where a generator lies, as operations see it in a wrapper of their own."""
    return generator._cdata  # pyright: ignore[reportAttributeAccessIssue] (torch's types lack it)


class FakeDevice(FakeTensorMode):
    """Runs operations whose tensors are on the device without values, all others as they are.

    Attributes:
        reads: Places of the suite that asked for values, ``module:function``.
        operations: Operations that ran on the device.
    """

    # On a machine with a GPU, too. It is a property above, and an attribute in some versions.
    avoid_device_init = True  # pyright: ignore[reportAssignmentType]

    def __init__(self, driver: FakeDriver) -> None:
        super().__init__(allow_non_fake_inputs=True)
        # Some versions of torch set it above.
        self.avoid_device_init = True  # pyright: ignore[reportAttributeAccessIssue, reportIncompatibleMethodOverride]
        self.reads: set[str] = set()
        self.operations = 0
        self._driver = driver

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        leaves = list(tree_iter((args, options)))
        if any(map(_is_meta, leaves)):  # what C++ code takes DEVICE for
            args, options = tree_map(self._renamed, (args, options))
            leaves = list(tree_iter((args, options)))
        fakes = [x for x in leaves if isinstance(x, FakeTensor)]
        place = next((x for x in leaves if isinstance(x, torch.device)), None)
        place = place or (fakes[0].device if fakes else torch.device("cpu"))
        self._check_generator(options.get("generator"), place)
        if not fakes and place.type == "cpu":
            return func(*args, **options)
        if _is_made_of_others(func):  # arrives here whole in inference mode
            with self:
                return func.decompose(*args, **options)
        self.operations += 1
        name = _name(func)
        _check_places(name, [x for x in leaves if isinstance(x, Tensor)])
        _check_precision(name, fakes)
        if name in ("copy_", "_to_copy") and self._crosses(name, args, options):
            return self._copied(name, args, options)
        try:
            return super().__torch_dispatch__(func, types, args, options)
        except (DataDependentOutputException, DynamicOutputShapeException):
            self.note_read()
            result = func(*tree_map(_zeros, args), **tree_map(_zeros, options))
            return tree_map(lambda x: self._sent(x, place), result)

    def _renamed(self, x: Any) -> Any:
        """Put ``DEVICE`` in the place of torch's meta device."""
        if not _is_meta(x):
            return x
        return FakeTensor(self, x, DEVICE) if isinstance(x, Tensor) else DEVICE

    def note_read(self) -> None:
        """Note who asks for values.

        Raises:
            ReadsValues: If it is not the suite.
        """
        reader, own = _caller()
        if not own:
            raise ReadsValues(
                f"{reader} reads values of a tensor; without a GPU there are none, so nothing "
                "after it was tried. Run the tests with a GPU, or do without the value"
            )
        self.reads.add(reader)

    def _check_generator(self, generator: torch.Generator | None, place: torch.device) -> None:
        if generator is None:
            return
        own = "cuda" if self._driver.owns(generator) else "cpu"
        if own != place.type:
            raise WrongDevice(
                f"Expected a '{place.type}' device type for generator but found '{own}'"
            )

    def _crosses(self, name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
        """Say whether a copy leads from the host to the device or back."""
        ours = isinstance(args[0], FakeTensor)
        if name == "copy_":
            return not ours
        target = kwargs.get("device")
        return target is not None and (target.type == "cpu") is ours

    def _copied(self, name: str, args: Any, kwargs: Mapping[str, Any]) -> Tensor:
        """Return the result of a copy between host and device."""
        source, dtype = args[0], kwargs.get("dtype")
        if name == "copy_":
            self.note_read()
            return source.zero_()
        if isinstance(source, FakeTensor):
            self.note_read()
            return _zeros(source).to(dtype or source.dtype)
        layout = kwargs.get("memory_format")
        shape = torch.empty_like(source, dtype=dtype, device="meta", memory_format=layout)
        return FakeTensor(self, shape, kwargs["device"])

    def _sent(self, found: Any, place: torch.device) -> Any:
        """Put a result that was computed on the host on the device."""
        return FakeTensor(self, found.to("meta"), place) if isinstance(found, Tensor) else found


class _Calls(TorchFunctionMode):
    """Calls that torch answers by what C++ code takes a tensor of the device for."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.cuda:
            return args[0].to(*args[1:] or (torch.device("cuda", 0),))
        if func in (torch.tensor, torch.as_tensor):
            return func(tree_map(_value, args[0]), *args[1:], **kwargs)
        if args and isinstance(args[0], FakeTensor):
            return self._of_device(func, args, kwargs)
        return func(*args, **kwargs)

    def _of_device(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call what is, in Python, a method of a tensor of the device."""
        tensor = args[0]
        if func in (Tensor.numpy, Tensor.__array__):
            raise TypeError(
                f"can't convert {tensor.device} device type tensor to numpy. Use "
                "Tensor.cpu() to copy the tensor to host memory first."
            )
        if func is Tensor.to and _is_already(args, kwargs):
            return tensor
        if func is Tensor.new_tensor:
            given = {"dtype": tensor.dtype, "device": tensor.device, **kwargs}
            return torch.tensor(*args[1:], **given)
        return func(*args, **kwargs)


class _Files:
    """``torch.save`` and ``torch.load`` for tensors of the device.

    A file holds only a number. What was saved is handed back as ``map_location`` asks.
    """

    def __init__(self) -> None:
        self._saved: list[Any] = []
        self._save, self._load = torch.save, torch.load

    def save(self, state: Any, file: Any, **options: Any) -> None:
        self._saved.append(state)
        with unset_fake_temporarily():
            self._save({"saved on a fake device": len(self._saved) - 1}, file, **options)

    def load(self, file: Any, map_location: Any = None, **options: Any) -> Any:
        with unset_fake_temporarily():
            found = self._load(file, map_location="cpu", **options)
        number = found.get("saved on a fake device") if isinstance(found, dict) else None
        state = found if number is None else self._saved[number]
        return tree_map(lambda x: _moved(x, map_location) if isinstance(x, Tensor) else x, state)


class _Storage:
    """What a ``map_location`` that is a function is called with."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def to(self, *, device: Any) -> _Storage:
        return _Storage(torch.device(device))


MapLocation = (
    Callable[[_Storage, str], _Storage | None]
    | Mapping[str, str | torch.device]
    | torch.device
    | str
    | None
)


@contextmanager
def fake_device() -> Iterator[FakeDevice]:
    """Let ``DEVICE`` exist, and replace the driver by one that answers for it."""
    driver, files = FakeDriver(), _Files()
    device = FakeDevice(driver)  # before torch is patched, as it loads what looks at torch
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        warnings.filterwarnings("ignore", "CUDA is not available")  # for autocast, which stays off
        for owner, name, value in (
            (Tensor, "_make_subclass", staticmethod(_make_subclass)),
            (FakeTensor, "is_cuda", property(lambda x: x.device.type == "cuda")),
            (FakeTensor, "is_meta", property(lambda x: x.device.type == "meta")),
            (FakeTensor, "get_device", lambda x: x.device.index),
            (nn.Module, "_apply", _apply),
            (torch, "save", files.save),
            (torch, "load", files.load),
            (fake_tensor, "init_gpu_context", lambda device: None),
        ):
            stack.enter_context(_replaced(owner, name, value))
        stack.enter_context(devices.driven_by(driver))
        stack.enter_context(device)
        stack.enter_context(_Calls())
        yield device


_original_make_subclass = Tensor._make_subclass


def _make_subclass(cls: Any, data: Tensor, requires_grad: bool = False, **options: Any) -> Any:
    """Make a tensor whose place is known to Python only.

    Otherwise autograd would look for streams of the device, and end the process for want of any.
    """
    if cls is FakeTensor:
        options.pop("dispatch_device", None)
    return _original_make_subclass(cls, data, requires_grad, **options)


def _apply(module: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
    """Move a module as torch does between real devices: its parameters stay the same objects."""
    for child in module.children() if recurse else ():
        child._apply(fn)
    for name, parameter in module._parameters.items():
        if parameter is None:
            continue
        with torch.no_grad():
            moved = fn(parameter)
        if moved is parameter:
            continue
        if not isinstance(moved, FakeTensor):
            parameter.data = moved
        elif isinstance(parameter, FakeTensor):  # to another type: the object cannot be kept
            module._parameters[name] = nn.Parameter(moved, parameter.requires_grad)
        else:
            moved.requires_grad_(parameter.requires_grad)._is_param = True
            torch.utils.swap_tensors(parameter, moved)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = fn(buffer)
    return module


def _is_meta(x: Any) -> bool:
    """Say whether x is torch's meta device or a tensor on it."""
    if isinstance(x, torch.device):
        return x.type == "meta"
    return isinstance(x, Tensor) and not isinstance(x, FakeTensor) and x.is_meta


@cache
def _name(func: Any) -> str:
    return func._schema.name.partition("::")[2]


@cache
def _is_made_of_others(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), torch._C.DispatchKey.CompositeImplicitAutograd
    )


def _check_places(name: str, tensors: Sequence[Tensor]) -> None:
    """Refuse an operation on tensors of several devices; fake tensors let some of them pass."""
    # A number may lie anywhere: CUDA takes tensors without dimensions from the host.
    places = {t.device for t in tensors if t.dim() or t.device.type != "cpu"}
    if name in _INDEXING:
        source, *others = tensors
        wrong = {t.device for t in others if t.device.type != "cpu"} - {source.device}
        if wrong:
            raise WrongDevice(
                "indices should be either on cpu or on the same device as the indexed tensor "
                f"({source.device}), found {wrong.pop()}"
            )
    elif len(places) > 1 and name not in _BETWEEN_DEVICES:
        found = " and ".join(sorted(map(str, places)))
        raise WrongDevice(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{found}, in {name}"
        )


def _check_precision(name: str, tensors: Sequence[Tensor]) -> None:
    """Refuse a product or convolution of float32 tensors that a GPU would compute in TF32."""
    if not _PRODUCTS.match(name) or is_exact():
        return
    if any(t.dtype == torch.float32 for t in tensors):
        raise WrongDevice(f"the device would compute {name} in TF32, not in the float32 asked for")


def _zeros(x: Any) -> Any:
    """Return zeros on the host in the place of a tensor of the device."""
    return torch.zeros(x.shape, dtype=x.dtype) if isinstance(x, FakeTensor) else x


def _value(item: Any) -> Any:
    """Return the number that a tensor of the device holds when it is made part of a new one."""
    return item.item() if isinstance(item, FakeTensor) and not item.dim() else item


def _is_already(args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Say whether ``tensor.to(…)`` asks for what the tensor is."""
    tensor, *rest = args
    if kwargs.get("copy") or kwargs.get("memory_format"):
        return False
    wanted = [*rest, kwargs.get("device"), kwargs.get("dtype"), kwargs.get("other")]
    for value in wanted:
        if isinstance(value, Tensor):
            if (value.device, value.dtype) != (tensor.device, tensor.dtype):
                return False
        elif isinstance(value, torch.dtype):
            if value != tensor.dtype:
                return False
        elif isinstance(value, str | torch.device) and torch.device(value) != tensor.device:
            return False
    return True


def _moved(tensor: Tensor, map_location: MapLocation) -> Tensor:
    """Return a stored tensor where ``map_location`` wants it."""
    if isinstance(map_location, Mapping):
        target = map_location.get(str(tensor.device), tensor.device)
    elif map_location is None or isinstance(map_location, str | torch.device):
        target = map_location
    else:
        storage = map_location(_Storage(tensor.device), str(tensor.device))
        target = None if storage is None else storage.device
    return tensor if target is None else tensor.to(target)


def _caller() -> tuple[str, bool]:
    """Return the innermost place outside of libraries, and whether it belongs to the suite."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_library(frame):
        frame = frame.f_back
    if frame is None:
        return "nobody", True
    module = frame.f_globals.get("__name__", "").removeprefix("cerebench.")
    function = frame.f_code.co_qualname.partition(".<locals>")[0]
    return f"{module}:{function}", _is_own(frame)


def place_of(error: BaseException) -> str:
    """Return where an error comes from, file and line: the last place outside of the suite.

    Libraries are left out; an error of the suite alone has the suite's own last place.
    """
    steps = [(f, line) for f, line in walk_tb(error.__traceback__) if not _is_library(f)]
    theirs = [(f, line) for f, line in steps if not _is_own(f)]
    frame, line = (theirs or steps)[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line}"


def _is_own(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith("cerebench.")


def _is_library(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    top = module.partition(".")[0]
    return module == __name__ or top in _LIBRARIES or top in sys.stdlib_module_names


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
