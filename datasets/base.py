"""What a dataset is: it lists cases, preprocesses one case at a time, and splits by patient.

No torch here: planning and checking data must not wait for it. Volumes are (C, D, H, W) float32 in
[-1, 1], background -1, axes z, y, x of the RAS+ array; masks are (1, D, H, W) uint8 in {0, 1}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cerebench.core.errors import EXIT_DATA, EXIT_USAGE, UserError
from cerebench.core.hashing import key_of

Progress = Callable[[int, int], None]  # (cases done, all cases)


class DatasetError(UserError, ValueError):
    """The data cannot be used as they are; the message names the file or case and the next step."""

    exit_code = EXIT_DATA


class BadOption(DatasetError):
    """A size, a rule or an option asks for something that this kind of data does not have."""

    exit_code = EXIT_USAGE


class DatasetNotFound(DatasetError):
    """There is no such dataset at this path."""


@dataclass(frozen=True)
class DatasetInfo:
    """Facts of a dataset, as far as they are known before its files are seen.

    ``synthetic`` data put a banner over every table. ``needs_root`` says that ``--data-root`` is
    required. ``split`` is the default split rule (see ``Dataset.split``). A dataset that reads
    several layouts, modalities or sets of classes gives each instance an ``info`` of its own.
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

    @property
    def facts(self) -> dict[str, Any]:
        """Return name, version and settings as plain JSON, the form that is hashed."""
        return {"name": self.name, "version": self.version, "settings": dict(self.settings)}

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of ``facts`` as canonical JSON."""
        return key_of(self.facts)


@dataclass(frozen=True)
class Case:
    """One subject's volume: identifiers, class label and the files it is made of.

    ``files`` are by modality, with the mask as ``seg``. ``site`` is where it was scanned, or empty.
    """

    id: str
    patient: str
    label: int
    files: Mapping[str, Path] = field(default_factory=dict)
    site: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing ``check`` found; ``severity`` is ``error`` (a run is wrong) or ``warning``.

    ``case`` is the id of a case or the path of a file, or empty for the dataset as a whole.
    """

    severity: str
    case: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found; ``facts`` are JSON values worth knowing (shapes, modalities, …)."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """Cases that ``--skip-bad`` left out, since they cannot be used.

    Attributes:
        cases: Reasons by case id.
        others: Reasons by path or name of what cannot be used and is no case: files, table rows.
        total: How many cases there are, with those left out.
    """

    cases: Mapping[str, tuple[str, ...]]
    others: Mapping[str, tuple[str, ...]]
    total: int

    @property
    def lines(self) -> list[str]:
        """Return one line that counts, and one for each thing left out with its reasons."""
        every = [*self.cases.items(), *self.others.items()]
        plural = "s" * (len(self.others) != 1)
        more = f" and {len(self.others)} other thing{plural}" if self.others else ""
        head = f"{len(self.cases)} of {self.total} cases{more} left out (--skip-bad):"
        return [head, *(f"  {name}: {' '.join(why)}" for name, why in every)]


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
        options: Choices of this dataset (``--data NAME=VALUE``); ``option_names`` lists them.

    Raises:
        DatasetNotFound: If a root is needed and missing.
        BadOption: If the size, the rule or an option cannot be used.
        DatasetError: If the files cannot be used.
    """

    info: DatasetInfo
    option_names: ClassVar[tuple[str, ...]] = ()
    can_leave_out: ClassVar[bool] = False  # whether ``leave_out_bad`` does anything but refuse
    left_out: LeftOut | None = None

    def __init__(
        self,
        size: int,
        root: Path | None = None,
        rule: Mapping[str, int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.size, self.root = size, root
        self.rule = dict(self.info.split if rule is None else rule)
        self.options = dict(options or {})
        for name in self.options:
            if name not in self.option_names:
                known = ", ".join(self.option_names) or "none"
                raise BadOption(f"{self.info.name} has no option '{name}'. Options: {known}.")

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The preprocessing, with every setting that changes a voxel."""

    @property
    def recipe_id(self) -> str:
        """Return the recipe's name, version and the first digits of its hash."""
        return f"{self.recipe.name}-v{self.recipe.version}@{self.recipe.sha256[:8]}"

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
    def check(self, progress: Progress | None = None, workers: int | None = None) -> CheckReport:
        """Report everything that is wrong with the files, case by case.

        Args:
            progress: Called after each case.
            workers: Processes that read files; None for as many as suit.
        """

    def beyond(self, count: int) -> Dataset | None:
        """Return further cases of the same population, ``count`` of each class.

        Only a dataset that draws its cases has any; they are none of ``cases()``, so that no
        generator has seen them. They serve as fresh draws of real volumes.

        Args:
            count: Cases of each class, at least 1.
        """
        return None

    def leave_out_bad(
        self, cache: Path, progress: Progress | None = None, workers: int | None = None
    ) -> None:
        """Look at every case and leave out those that cannot be used, from now on.

        Afterwards ``left_out`` names them, ``cases`` has the others, and ``fingerprint`` tells the
        data from the complete ones. The same files give the same cases on every run.

        Args:
            cache: Folder that remembers what was seen, so that unchanged files are read once.
            progress: Called after each case.
            workers: Processes that read files; None for as many as suit.

        Raises:
            DatasetError: If this dataset cannot do so, or what is wrong is no matter of cases.
        """
        raise DatasetError(
            f"The dataset {self.info.name} cannot leave out cases. Run without --skip-bad."
        )

    def headers_differ(self) -> bool:
        """Say whether the option ``headers`` would change anything, of a dataset that has it."""
        return True

    def remarks(self) -> Sequence[str]:
        """Return what a run has to tell about its data, one line each; nothing by default."""
        return ()
