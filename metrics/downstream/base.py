"""What a downstream protocol is: a classifier experiment on real and generated volumes.

A protocol decides which cases a classifier is pretrained, fine-tuned and tested on. It trains
nothing by itself: it hands learners to a ``Trainer``, which the training harness satisfies. The
engine decides where data and weights lie; reports compute every number from stored predictions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cerebench.core.settings import Preset, check
from cerebench.metrics.base import MetricError, Volume


class ProtocolError(MetricError):
    """A protocol cannot be run on this data; the message says why and what would help."""


@dataclass(frozen=True)
class Cases:
    """Labelled volumes.

    Attributes:
        volumes: N arrays (C, D, H, W) in [-1, 1], background -1; a memory map or lazy reader.
        labels: (N,) int64; LGG = 0, HGG = 1.
        ids: N identifiers.
        patients: N patients; all volumes of one stay on one side of every split.
    """

    volumes: Sequence[Volume]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.ids)


@dataclass(frozen=True)
class Material:
    """Everything that a protocol may use.

    Attributes:
        development: Real cases that also train the generators.
        test: Real cases that no generator has seen.
        synthetic: Generated volumes, all of those asked for; None where no samples are needed.
        classes: Class names in label order; the last one is positive.
        seed: Seed of everything random, equal for all methods.
    """

    development: Cases
    test: Cases
    synthetic: Cases | None
    classes: tuple[str, ...]
    seed: int


class Learner(Protocol):
    """What the training harness trains: networks, a configuration, and a loop.

    ``config`` has at least ``precision``. ``train(data, run)`` is written like a method's: ``data``
    batches labelled volumes, ``run`` is the harness of ``cerebench.benchmark.stages.training``.
    """

    nets: Mapping[str, Any]
    config: Any

    def train(self, data: Any, run: Any) -> None: ...


class Trainer(Protocol):
    """Trains learners, exactly resumable; provided by the engine.

    Attributes:
        device: Torch device on which networks are when ``fit`` returns.
    """

    device: Any

    def fit(self, learner: Learner, train: Cases, name: str, seed: int) -> None:
        """Train in place, or load what an earlier run has finished; networks end in eval mode.

        Args:
            learner: Its networks are moved to the device and trained in place.
            train: What batches are drawn from.
            name: Unique in one run of a protocol, for example ``repeat-0/pretrain``.
            seed: Training seed.
        """
        ...

    def data(self, cases: Cases) -> Any:
        """Return cases as batches on the device (``len``, ``take(indices)``)."""
        ...


@dataclass(frozen=True)
class Repeat:
    """One repetition: its own validation part and its own training.

    Attributes:
        seed: Seed of initialisation and training.
        predictions: p(positive) of every test case, in the order of ``Material.test``.
        validation_ids: Cases that chose the epoch.
        validation_auc: AUC of the chosen epoch on them; None where nothing was chosen.
        epoch: The chosen epoch of the last stage, counted from 1.
        before_finetuning: p(positive) of every test case after stage 1, where there is one.
        n: Stage (``pretrain``, ``finetune``) to class to number of training volumes.
        n_synthetic: The same, of generated volumes only.
    """

    seed: int
    predictions: tuple[float, ...]
    validation_ids: tuple[str, ...]
    validation_auc: float | None
    epoch: int
    before_finetuning: tuple[float, ...] | None
    n: Mapping[str, Mapping[str, int]]
    n_synthetic: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a protocol found.

    Attributes:
        repeats: One entry a repetition.
        finetune_ids: Real cases of stage 2, the same in every protocol.
        parameters: Trainable and frozen parameters of the classifier.
        notes: Sentences to print as footnotes.
    """

    repeats: tuple[Repeat, ...]
    finetune_ids: tuple[str, ...]
    parameters: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProtocolInfo:
    """Static facts of a protocol.

    Attributes:
        needs_samples: True: one result per generator. False: one result for the data set.
        role: ``experiment``, ``baseline`` (a way without a generator) or ``control`` (must give a
            known answer).
        weights: Name of the weight file it cannot do without, or ``""``.
        description: One sentence: what the classifier is trained on.
    """

    name: str
    label: str
    version: int
    source: str
    needs_samples: bool
    role: Literal["experiment", "baseline", "control"]
    description: str
    weights: str = ""


@dataclass(frozen=True)
class Passes:
    """What one network of a protocol has to do, for estimates of time.

    Attributes:
        build: Makes the network, freshly initialised.
        shape: (C, D, H, W) of what it is given.
        trained: Cases that go through it forward and backward.
        read: Cases that go through it forward alone.
    """

    build: Callable[[], Any]
    shape: tuple[int, ...]
    trained: int
    read: int


class DownstreamProtocol(ABC):
    """One downstream experiment, configured.

    Attributes:
        info: Static facts.
        Config: Frozen dataclass; every field is made by ``core.settings.setting`` and typed with
            what it accepts, which is checked before any work.
        presets: Name to ``Preset``; ``paper``, ``quick`` and ``smoke`` at least. The
            presets of version 0.1, changes ``field: (value, source tag)``, are read as well.

    Args:
        config: An instance of ``Config``.

    Raises:
        BadConfig: If a value of the configuration is impossible.
    """

    info: ClassVar[ProtocolInfo]
    Config: ClassVar[type]
    presets: ClassVar[Mapping[str, Preset | Mapping[str, tuple[Any, str]]]]

    def __init__(self, config: Any) -> None:
        check(self.info.name, config)
        self.config = config

    @abstractmethod
    def demand(self, development: Mapping[str, int]) -> dict[str, int]:
        """Return how many generated volumes of each class the protocol uses.

        Args:
            development: Class to number of real development cases.

        Raises:
            ProtocolError: If the protocol is impossible with these numbers.
        """

    @abstractmethod
    def run(self, material: Material, trainer: Trainer) -> Outcome:
        """Train and test the classifier in every repetition.

        Raises:
            ProtocolError: If the material does not suffice.
        """

    def work(self, material: Material, shape: tuple[int, ...]) -> Sequence[Passes] | None:
        """Return what all repetitions together have to do, or None where nobody can tell.

        Args:
            material: As for ``run``, but without voxels.
            shape: (C, D, H, W) of a volume.

        Raises:
            ProtocolError: If the material does not suffice.
        """
        return None
