"""What a dataset is: it lists cases, preprocesses one case at a time, and splits by patient.

No torch here: planning and checking data must not wait for it. Volumes are (C, D, H, W) float32 in
[-1, 1], background -1, axes z, y, x of the RAS+ array; masks are (1, D, H, W) uint8 in {0, 1}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray


class DatasetError(ValueError):
    """The data cannot be used as they are; the message names the file or case and the next step."""


class DatasetNotFound(DatasetError):
    """There is no such dataset at this path."""


@dataclass(frozen=True)
class DatasetInfo:
    """Static facts of a dataset.

    ``synthetic`` data put a banner over every table. ``needs_root`` says that ``--data-root`` is
    required. ``split`` is the default split rule (see ``Dataset.split``).
    """

    name: str
    label: str
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    source: str
    licence: str
    synthetic: bool
    needs_root: bool
    split: Mapping[str, int] = field(default_factory=lambda: {"test": 25})


@dataclass(frozen=True)
class Recipe:
    """A named, versioned preprocessing procedure; ``settings`` hold every open point as JSON."""

    name: str
    version: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One subject's volume: identifiers, class label and the files it is made of."""

    id: str
    patient: str
    label: int
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing ``check`` found; ``severity`` is ``error`` (a run is wrong) or ``warning``."""

    severity: str
    case: str
    message: str


@dataclass(frozen=True)
class Split:
    """Case ids by role; disjoint by patient."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """One preprocessed case.

    Attributes:
        volume: (C, S, S, S) float32 in [-1, 1].
        mask: (1, S, S, S) uint8 in {0, 1}.
        facts: JSON values worth keeping (crop box, minimum and maximum before scaling, …).
    """

    volume: NDArray[np.float32]
    mask: NDArray[np.uint8]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Dataset(ABC):
    """A source of cases at one edge length.

    Args:
        size: Edge length of the volumes, voxels.
        root: Folder of the files, or None for a dataset that makes its own.
        rule: Split rule, a table of whole numbers; defaults to ``info.split``.

    Raises:
        DatasetNotFound: If a root is needed and missing.
        DatasetError: If the size, the rule or the files cannot be used.
    """

    info: ClassVar[DatasetInfo]

    def __init__(
        self, size: int, root: Path | None = None, rule: Mapping[str, int] | None = None
    ) -> None:
        self.size, self.root = size, root
        self.rule = dict(self.info.split if rule is None else rule)

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The preprocessing, with every setting that changes a voxel."""

    @property
    @abstractmethod
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths (D, H, W) at this size, mm."""

    @abstractmethod
    def cases(self) -> Sequence[Case]:
        """List the cases in a fixed order, without reading voxels."""

    @abstractmethod
    def fingerprint(self, hashes: Mapping[str, str]) -> str:
        """Return the SHA-256 of contents and recipe.

        Args:
            hashes: SHA-256 of each file by its path; empty for a dataset without files.
        """

    @abstractmethod
    def load(self, case: Case) -> Loaded:
        """Read and preprocess one case; the same case gives the same bits."""

    @abstractmethod
    def split(self, seed: int) -> Split:
        """Split the cases by patient, stratified by class, by ``self.rule``."""

    @abstractmethod
    def check(self) -> list[Finding]:
        """Report everything that is wrong with the files, case by case."""
