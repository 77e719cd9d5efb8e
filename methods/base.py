"""What a method is, and what it may ask of the harness that trains it.

A method trains on a dataset and samples volumes. It holds a dict of networks and is not itself an
``nn.Module``; device moves, seeds, checkpoints, progress bars, argument parsing and loops over
classes belong to the engine, which satisfies the protocols declared here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

# What the settings of a method are made of belongs to its contract, so it can be had from here.
from cerebench.core.bounds import BadConfig as BadConfig
from cerebench.core.bounds import Count as Count
from cerebench.core.bounds import CountOrZero as CountOrZero
from cerebench.core.bounds import Decay as Decay
from cerebench.core.bounds import Fraction as Fraction
from cerebench.core.bounds import NonNegative as NonNegative
from cerebench.core.bounds import Positive as Positive
from cerebench.core.bounds import Precision as Precision
from cerebench.core.settings import Preset as Preset
from cerebench.core.settings import check
from cerebench.core.settings import check_source as check_source
from cerebench.core.settings import setting as setting

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
N = TypeVar("N", bound=nn.Module)
Kept = TypeVar("Kept", Tensor, dict[str, Tensor])


@dataclass(frozen=True)
class MethodInfo:
    """Static facts of a method.

    ``conditioning`` is ``none`` (the engine trains one instance per class), ``class`` or ``mask``.
    ``version`` changes when the algorithm does and enters the key of every result.
    """

    name: str
    version: int
    source: str
    conditioning: str
    label: str


@dataclass(frozen=True)
class Batch:
    """Volumes of one optimiser step.

    Attributes:
        images: (B, C, D, H, W) float32 in [-1, 1], on the training device.
        labels: (B,) int64 class labels.
        masks: (B, 1, D, H, W) float32 in {0, 1}, or None where the dataset has no masks.
        ids: Case identifiers.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Conditions:
    """What each sample is asked to be.

    Attributes:
        labels: (N,) int64 class labels.
        masks: (N, 1, D, H, W) float32 in {0, 1}, or None unless conditioning is ``mask``.
    """

    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of samples asked for."""
        return len(self.labels)


@dataclass(frozen=True)
class Diagnostic:
    """Something about a trained instance that only the method itself can measure.

    Attributes:
        name: Slug, for example ``token-hamming``.
        meaning: What one value is, with its unit, and which direction is good or bad.
        values: Set (``train``, ``test``, ``generated``) to raw values, one a volume, or a single
            one where it belongs to the whole set. A set that does not apply is left out.
    """

    name: str
    meaning: str
    values: Mapping[str, Sequence[float]]


class Rows(Protocol[T_co]):
    """Anything that batches can be drawn from."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def take(self, indices: Tensor) -> T_co:
        """Return the rows at these positions, a (B,) int64 tensor on the CPU."""
        ...


class Batches(Rows[Batch], Protocol):
    """Training cases of one trained instance (one class where conditioning is ``none``)."""


class Step(Protocol):
    """One optimiser step. Its random numbers depend on (seed, class, phase, step) alone."""

    index: int
    progress: float
    rng: np.random.Generator  # for work on the CPU, such as drawing masks of tokens

    def batch(self, data: Rows[T], size: int) -> T:
        """Draw a batch: without replacement inside the batch while ``size <= len(data)``."""
        ...

    def randn(self, *shape: int) -> Tensor:
        """Standard normal numbers on the training device, float32."""
        ...

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) on the training device, float32."""
        ...

    def descend(
        self,
        optimiser: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        loss: Tensor,
        *,
        clip: float | None = None,
    ) -> None:
        """Clear the gradients, run backward and update.

        Only the parameters of this optimiser get gradients. Several optimisers share one backward
        and update in turn; one that is named twice updates twice with the same gradient. ``clip``
        limits every element of the gradient to [-clip, clip] before the update.
        """
        ...


class Phase(Protocol):
    """One phase of a training (autoencoder, transformer, adversarial, …)."""

    def steps(self, total: int) -> Iterator[Step]:
        """Iterate over the steps that are still to do; nothing when the phase is finished."""
        ...

    def once(self, name: str, compute: Callable[[], Kept]) -> Kept:
        """Compute tensors once, without gradients, and return them again after a resume.

        ``compute`` returns a tensor or a dict of tensors; they are kept, and returned, in the
        memory of the host.
        """
        ...

    def log(self, *, always: bool = False, **scalars: Tensor | float) -> None:
        """Log scalars of the current step, about 200 times a phase.

        ``always`` logs them whatever the step, for what the method itself measures rarely.
        """
        ...

    def warn(self, text: str) -> None:
        """Tell the user something about this training, such as a collapse; kept in its record."""
        ...


class Stateful(Protocol):
    """What can be saved and resumed: an optimiser, a scheduler, a network."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes during a training."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Take over what ``state_dict`` returned."""
        ...


class Run(Protocol):
    """The harness a method trains in (``cerebench.benchmark.stages.training``)."""

    def phase(self, name: str, **tracked: Stateful) -> Phase:
        """Open a phase; ``tracked`` names everything with a ``state_dict`` besides the networks.

        After a resume ``load_state_dict`` gets every tensor where it was: on the host, or on the
        training device.
        """
        ...

    def pretrained(self, name: str, network: nn.Module) -> nn.Module:
        """Return the network with the tensors of a verified weight file, frozen, in eval mode.

        ``name`` is one of those that ``Method.weights`` returned; tensors of the file that
        the network does not have are left out.
        """
        ...


class Method(ABC):
    """A generator: ``build`` its networks, ``train`` them, ``sample`` volumes.

    Class attributes:
        info: Static facts; equal to the row of the registry.
        Config: Frozen dataclass of settings, each made by ``setting`` and typed with what it
            accepts (``Count``, ``Annotated[int, Field(ge=8, multiple_of=8)]``, ``Literal[…]``),
            which is checked before any work. It has a field ``precision`` and a method
            ``for_size(size) -> Config`` that derives what depends on the edge length of the
            volumes, or raises ``BadConfig``, also where settings do not go together.
        presets: Name to ``Preset``; ``paper``, ``quick`` and ``smoke`` are mandatory.
        departures: Numbered differences from paper and reference code, printed by ``bench show``.

    Attributes:
        config: The configuration, already passed through ``for_size``.
        size: Edge length of the volumes, voxels.
        channels: Channels of a volume.
        classes: Class names; labels index them.
        nets: The networks by name. The engine moves, saves and loads them and switches them
            between train and eval.
    """

    info: ClassVar[MethodInfo]
    Config: ClassVar[type]
    presets: ClassVar[dict[str, Preset]]
    departures: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        config: Any,
        *,
        size: int,
        classes: Sequence[str],
        channels: int = 1,
    ) -> None:
        check(self.info.name, config)
        self.config = config.for_size(size)
        self.size, self.channels, self.classes = size, channels, tuple(classes)
        self.nets = self.build()

    @abstractmethod
    def build(self) -> dict[str, nn.Module]:
        """Return freshly initialised networks by name."""

    @abstractmethod
    def train(self, data: Batches, run: Run) -> None:
        """Train the networks in place, in phases opened on ``run``."""

    @abstractmethod
    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Return one volume per condition: (N, C, D, H, W) float32 in [-1, 1].

        Called without gradients, networks in eval mode, one CPU generator per sample; noise comes
        from ``randn(rngs, …)``, so a sample does not depend on its neighbours in the batch.
        """

    @classmethod
    def weights(cls, config: Any) -> Sequence[str]:
        """Return the names of the weight files that training with this configuration needs.

        The engine refuses to start a run while one of them is missing.
        """
        return ()

    @classmethod
    def without_weights(cls) -> Mapping[str, object]:
        """Return the settings with which training needs no weight file; empty if there are none."""
        return {}

    def explain(self, volumes: Tensor) -> Tensor:
        """Return one importance map per volume: (N, 1, D, H, W) float32 in [0, 1]. Optional.

        ``volumes`` is (N, C, D, H, W) float32 in [-1, 1]; networks in eval mode, no gradients.
        """
        raise NotImplementedError

    def diagnose(
        self,
        train: Batches,
        test: Batches,
        conditions: Conditions,
        rngs: Sequence[torch.Generator],
    ) -> Sequence[Diagnostic]:
        """Return what only this method can measure about itself, for one class. Optional.

        ``conditions`` and ``rngs`` are those of the stored samples of the class, so that they can
        be drawn again; networks in eval mode, no gradients. Nothing measured here may flow back
        into training.
        """
        raise NotImplementedError


def network(nets: Mapping[str, nn.Module], name: str, kind: type[N]) -> N:
    """Return one network of a method as the class that ``build`` made it of.

    Needed only where something else than calling it is asked of the network: ``nets`` itself knows
    no more than that its values are modules.
    """
    net = nets[name]
    assert isinstance(net, kind), f"network '{name}' is a {type(net).__name__}"
    return net


def has_hook(method: type[Method], name: str) -> bool:
    """Say whether a method class implements an optional hook, ``explain`` or ``diagnose``."""
    return getattr(method, name) is not getattr(Method, name)


def randn(rngs: Sequence[torch.Generator], *shape: int) -> Tensor:
    """Standard normal noise, one independent CPU stream per sample.

    Args:
        rngs: N CPU generators, one a sample.
        shape: Shape of one sample's noise.

    Returns:
        (N, *shape) float32 on torch's default device, which the engine sets.
    """
    noise = [torch.randn(shape, generator=rng, device="cpu") for rng in rngs]
    return torch.stack(noise).to(torch.get_default_device())


def rand(rngs: Sequence[torch.Generator], *shape: int) -> Tensor:
    """Uniform numbers in [0, 1), one independent CPU stream per sample; as ``randn`` otherwise."""
    numbers = [torch.rand(shape, generator=rng, device="cpu") for rng in rngs]
    return torch.stack(numbers).to(torch.get_default_device())


def full_precision(tensor: Tensor) -> AbstractContextManager:
    """Return a context that computes in float32 inside a bf16 phase (penalties, lookups)."""
    # On the meta device operations are only counted, with the casts of the CPU.
    return torch.autocast("cpu" if tensor.is_meta else tensor.device.type, enabled=False)
