"""What a metric, a feature extractor and a set of volumes are.

A metric is a function on ``Sets`` plus one declaration, ``Metric``. Extractors are injected: no
metric constructs a network. Volumes are (C, D, H, W) float32 in [-1, 1], background -1, axes z, y,
x of the RAS+ array; axial slices run along D, coronal along H, sagittal along W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cerebench.core.errors import EXIT_DATA, UserError
from cerebench.core.facts import Fact
from cerebench.core.volumes import LazyVolumes as LazyVolumes  # of the contract, for plugins
from cerebench.core.volumes import Volume
from cerebench.core.weights import MissingWeights

Array = NDArray[np.float64]

T_co = TypeVar("T_co", covariant=True)

VIEWS = ("axial", "coronal", "sagittal")


class MetricError(UserError, ValueError):
    """A metric cannot be computed on these sets; the message says why and what would help."""

    exit_code = EXIT_DATA


class MissingExtra(MissingWeights):
    """An extractor needs an optional package that is not installed."""


class Better(StrEnum):
    """Direction of a metric. ``NEAR_REAL``: best when closest to the real set's own value."""

    LOWER = "lower"
    HIGHER = "higher"
    NEAR_REAL = "near-real"


@dataclass(frozen=True)
class Result:
    """One number and everything needed to judge it. Nothing here is rounded, clipped or scaled.

    Attributes:
        value: The metric of the generated set.
        real_value: The same statistic of the real set, where it has one (MS-SSIM), else None.
        se: Standard error of ``value``, else None.
        uncertainty: How ``se`` was made, for example ``delete-group jackknife, 10 groups``.
        replicates: Raw leave-out values by set (``generated``, ``real``) that ``se`` comes from.
        notes: Sentences for people. They are printed as they are and never read back.
        n_real: Real volumes that were used.
        n_generated: Generated volumes that were used.
        facts: Numbers and short strings by name, a slug (``n_pairs``; behind a dot what it is of:
            ``welch_p.CSF``). Reports print the range of each number over all rows, and look up the
            names of ``cerebench.core.facts``: from ``welch_p`` they correct for many tests, from
            the ``ruling_`` ones they name the feature that makes most of a distance.
    """

    value: float
    n_real: int
    n_generated: int
    real_value: float | None = None
    se: float | None = None
    uncertainty: str = ""
    replicates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


class Indexed(Protocol[T_co]):
    """Entries that may be read only when they are indexed: an array, a list, a reader of files."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> T_co: ...


class VolumeSet:
    """A set of volumes, streamed one at a time, with the features the engine caches for them.

    Args:
        volumes: Sequence of (C, D, H, W) float32 arrays in [-1, 1]; a memory map or lazy reader
            is enough, since volumes are only indexed.
        ids: One identifier a volume.
        features: ``(volume_set, extractor name, view) -> array``, the injected extraction; view is
            ``""`` for 3D extractors. It may have methods ``names(extractor name)`` and
            ``bounded(extractor name)``.
        partners: For each volume the id of the real one that it was made from or shall equal, where
            there is one (mask-conditioned synthesis, reconstruction); else empty.
        structures: Structure name to its volume in each of them, (N,), where somebody segmented
            them; else empty.
        expected: The ids of the real volumes for each of which a generated one was due, where that
            is known (folders whose files are pairs by name); else empty.
        sites: For each volume where it was scanned (empty where that is not known), of real cases
            that carry sites; else empty.
    """

    def __init__(
        self,
        volumes: Indexed[Volume],
        ids: Sequence[str],
        features: Callable[[VolumeSet, str, str], NDArray[np.float32]] | None = None,
        partners: Sequence[str] = (),
        structures: Mapping[str, Array] | None = None,
        expected: Sequence[str] = (),
        sites: Sequence[str] = (),
    ) -> None:
        if len(volumes) != len(ids):
            raise MetricError(f"{len(volumes)} volumes but {len(ids)} ids.")
        if partners and len(partners) != len(ids):
            raise MetricError(f"{len(volumes)} volumes but {len(partners)} partners.")
        self.volumes, self.ids, self._features = volumes, tuple(ids), features
        self.partners, self.structures = tuple(partners), dict(structures or {})
        self.expected, self.sites = tuple(expected), tuple(sites)
        self._kept: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Volume:
        return np.asarray(self.volumes[index], dtype=np.float32)

    def __iter__(self) -> Iterator[Volume]:
        return (self[i] for i in range(len(self)))

    def features(self, extractor: str, view: str = "") -> NDArray[np.float32]:
        """Return raw features.

        Args:
            extractor: Name of a feature space.
            view: ``""`` for a 3D extractor. For a 2D one a view, which means all its slices, or a
                view and a choice of slices: ``axial/middle`` (index S // 2), ``axial/center3``
                (that one and its neighbours), ``axial/every4`` (every fourth, from the first).

        Returns:
            (N, dim) float32 of a 3D extractor. Of a 2D one N entries (S, dim), read from disk when
            indexed: take one volume at a time.
        """
        extract = self._features
        if extract is None:
            raise MetricError(f"No feature extraction was injected; '{extractor}' is needed.")
        key = f"features {extractor} {view}"
        return self.keep(key, lambda: extract(self, extractor, view))

    def feature_names(self, extractor: str) -> tuple[str, ...]:
        """Return what an extractor calls its features; empty where it gives them no names."""
        names = getattr(self._features, "names", None)
        return tuple(names(extractor)) if names else ()

    def bounded(self, extractor: str) -> bool:
        """Say whether distances bound the features of an extractor (``standardise.Bounded``)."""
        declared = getattr(self._features, "bounded", None)
        return bool(declared and declared(extractor))

    def keep(self, key: str, compute: Callable[[], Any]) -> Any:
        """Compute something once per set and return it again (pyramids, distances, real values)."""
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]


@dataclass(frozen=True)
class Sets:
    """What a metric is computed on, for one class.

    Attributes:
        generated: The generated volumes.
        train: Real training cases of the class: the default reference.
        test: Real test cases of the class, never seen by a generator.
        pooled: Real training cases of all classes, with which features are standardised.
        seed: Seed of everything random in scoring (pairs, groups); equal for all methods.
        spacing: Voxel edge lengths (D, H, W), mm.
        fresh: Further real cases of the class that nobody has used, of a data set that draws them:
            for floors, beside ``test``. Else empty.
        classes: The same of every class by name, in the order of labels, this one included; empty
            unless the metric is ``joint``. A class without generated volumes has an empty set.
    """

    generated: VolumeSet
    train: VolumeSet
    test: VolumeSet
    pooled: VolumeSet
    seed: int
    spacing: tuple[float, float, float]
    classes: Mapping[str, Sets] = field(default_factory=dict)
    fresh: VolumeSet = field(default_factory=lambda: VolumeSet([], []))


@dataclass(frozen=True)
class Metric:
    """Declaration of a metric.

    Attributes:
        name: Slug without view or class, for example ``fd-radlite-v1``.
        label: Column header, for example ``FD[radlite-v1]``.
        compute: ``(sets, view) -> Result``; view is ``""`` unless ``views`` is given.
        better: Direction.
        recipe: Every field that defines the number (JSON values); its hash identifies the protocol.
        source: Paper and section or equation.
        needs: Extractor name, or ``""`` for a metric on voxels.
        views: Views that the metric is computed along, or the names of its parts where it has
            several values (precision, recall, …), or ``("",)``.
        least: Smallest number of volumes per set.
        scale: Factor with which reports display the value; stored values are unscaled.
        version: Changes when the number does.
        blind_to: What the metric cannot see, one sentence.
        legend: What the number is and which direction is good, where the label does not tell;
            stands under every table that has the column, behind the label and a colon.
        never_bold: True where the best value must not be marked (it rewards collapse).
        held_out: True where the metric asks whether training cases were copied: it compares with
            training and with held-out cases, whatever the reference of other metrics is.
        family: What kind of quantity it is, for what reports say of all of a kind: ``frechet``,
            ``mmd``, ``ms-ssim``; empty for none of these.
        neighbours: ``(sets, count) -> pairs`` with ``generated``, ``train`` (positions) and
            ``distance``: the closest training cases, as figures show them; None where a metric has
            none.
        as_ratio: True where tables show the value divided by that of real draws of the same size
            (``metrics/estimators/floor.py``); the raw value stands in the CSV.
        structures: True where the metric compares volumes of structures that were measured
            elsewhere; it is then asked for by giving these.
        joint: True where the metric needs the sets of all classes at once (``Sets.classes``),
            because it asks whether classes can be told apart. Its value is then the same under
            every class, its numbers of volumes are those of the class.
    """

    name: str
    label: str
    compute: Callable[[Sets, str], Result]
    better: Better
    recipe: Mapping[str, Any]
    source: str
    needs: str = ""
    views: tuple[str, ...] = ("",)
    least: int = 2
    scale: float = 1.0
    version: int = 1
    blind_to: str = ""
    legend: str = ""
    never_bold: bool = False
    held_out: bool = False
    family: str = ""
    neighbours: Callable[[Sets, int], Sequence[Any]] | None = None
    as_ratio: bool = False
    structures: bool = False
    joint: bool = False


class Extractor(Protocol):
    """A named feature space. Built without arguments by the registry, or raises MissingWeights.

    Attributes:
        name: For example ``radlite-v1``; ``version`` changes when a feature does.
        dim: Number of features.
        ndim: 3 for volumes, 2 for slices.
        weights_sha256: Hash of the weights, or None where there are none.
        input: Every field of the preprocessing (JSON values); part of the cache key.

    One that runs a network has an attribute ``device`` as well, ``"cpu"`` until the engine sets it,
    before the first volume, to what the user asked for; it never chooses a device by itself.

    An extractor that can be pickled and spends its time in Python may say ``in_processes = True``;
    the engine then spreads large sets over processes. One whose features mean something to people
    may give them ``names``, which notes under a table then use. One whose features have no bound,
    or long tails, may say ``bounded = True``: distances then bound them, and ``input`` says so.
    One of slices that must see the whole volume first has ``prepare_volume(volume) -> volume``,
    (C, D, H, W) in [-1, 1] both, called before the volume is cut; ``input`` says so.
    """

    name: str
    version: int
    dim: int
    ndim: int
    weights_sha256: str | None
    input: Mapping[str, Any]

    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (B, C, D, H, W) or (B, C, H, W) in [-1, 1] to (B, dim), independent of B."""
        ...
