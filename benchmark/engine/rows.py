"""The rows of a table: trained methods, folders of samples, controls, classifiers on real cases.

A row yields its stages, each with a key and a place for its record. Paths are relative to the data
set's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.planning import config as configuration
from cerebench.benchmark.planning.planned import PlannedMetric, PlannedProtocol
from cerebench.benchmark.stages import (
    diagnosis,
    downstream,
    figure_data,
    sampling,
    scoring,
    training,
)
from cerebench.core.hashing import key_of
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.datasets.folders.names import folder_names

if TYPE_CHECKING:
    from cerebench.benchmark.engine.workbench import Workbench
    from cerebench.benchmark.planning.reference import DatasetReference, Reference
    from cerebench.benchmark.stages.structures import Volumes as Structures
    from cerebench.methods.base import Method
    from cerebench.metrics.base import LazyVolumes
    from cerebench.metrics.controls import Control


@dataclass(frozen=True)
class Common:
    """What all rows of a plan have in common.

    Attributes:
        reference: The real volumes that rows are compared with.
        metrics: What rows of volumes are scored by.
        n: Volumes per class of every row; None where a row has as many as there are.
        protocols: What classifiers are trained.
        controlled: Name of the row whose samples the control protocols take.
    """

    reference: Reference
    metrics: tuple[PlannedMetric, ...]
    n: int | None
    protocols: tuple[PlannedProtocol, ...] = ()
    controlled: str = ""

    def score_key(self, planned: PlannedMetric, upstream: Mapping[str, Any]) -> str:
        """Return the key of a metric of a set that these facts identify."""
        asked = {} if self.n is None else {"n": self.n}
        real, seed = self.reference.key, scoring.SCORE_SEED
        head = {"kind": "score", "recipe": planned.recipe_hash, "real": real, "seed": seed}
        return key_of({**head, **asked, **upstream})

    def protocol_key(self, planned: PlannedProtocol, upstream: Mapping[str, Any]) -> str:
        """Return the key of a protocol on samples that these facts identify."""
        return key_of(
            {
                "kind": "downstream",
                "recipe": planned.recipe_hash,
                "real": self.reference.key,
                "classes": list(self.reference.classes),
                "seed": downstream.DOWNSTREAM_SEED,
                **upstream,
            }
        )

    def protocols_of(self, row: str) -> tuple[PlannedProtocol, ...]:
        """Return the protocols that are run on the samples of a row."""
        own = [p for p in self.protocols if p.needs_samples]
        return tuple(p for p in own if p.protocol.info.role != "control" or row == self.controlled)


@dataclass(frozen=True)
class DatasetCommon(Common):
    """What all rows of a run have in common: cases of a data set, and a number of volumes."""

    reference: DatasetReference
    n: int


class Row(Protocol):
    """A line of the table, as stages and the engine see it; the kinds below are made of more.

    Attributes:
        kind: How records call it: ``method``, ``samples``, ``protocol``, ``real``, or that of a
            control, ``CONTROL_KIND``.
        name: Unique in a plan but for seeds; of a method, a variant of it, samples or a control.
        label: What the table calls it.
        title: What people see while it is worked on.
        seed: Training seed, or None where nothing is trained.
        folder: Where its records are.
        common: What all rows share.
        stages: Its stages in the order in which they run.
    """

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def folder(self) -> Path: ...
    @property
    def common(self) -> Common: ...
    @cached_property
    def stages(self) -> tuple[Stage, ...]: ...

    def stage(self, name: str) -> Stage:
        """Return the stage of this name."""
        ...

    def records(self, kind: str) -> dict[str, str]:
        """Return where the stages of a kind leave their records, by the rest of their names."""
        ...

    def cell(self) -> dict[str, Any] | None:
        """Return ``cell.json`` apart from machine and versions; None where a row has none."""
        ...


class JudgedRow(Row, Protocol):
    """A row of volumes, which metrics compare with the real ones and figures show."""

    def judged(self, bench: Workbench) -> scoring.Judged:
        """Return the sets that metrics compare."""
        ...


class ClassifiedRow(Row, Protocol):
    """A row with results of protocols."""

    def volumes(self, bench: Workbench) -> Mapping[str, LazyVolumes] | None:
        """Return what protocols take by class, read when indexed; None where they take nothing."""
        ...


class _Line:
    """What the rows below have of ``Row`` in common."""

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in the order in which they run."""
        raise NotImplementedError

    def stage(self, name: str) -> Stage:
        """Return the stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)

    def records(self, kind: str) -> dict[str, str]:
        """Return where the stages of a kind leave their records, by the rest of their names."""
        of_kind = (stage for stage in self.stages if stage.kind == kind)
        return {stage.name[len(kind) + 1 :]: stage.record.as_posix() for stage in of_kind}

    def cell(self) -> dict[str, Any] | None:
        """Return ``cell.json`` apart from machine and versions; None where a row has none."""
        return None


@dataclass(frozen=True)
class TrainedRow(_Line):
    """A method, or a variant of one, trained with one seed: a cell.

    Attributes:
        plugin: Name of the method.
        method: The class.
        resolved: Its configuration.
        preset: Name of the preset of the experiment.
        base: What identifies it but for class and seed, as JSON values.
    """

    name: str
    label: str
    seed: int
    common: DatasetCommon
    plugin: str
    method: type[Method]
    resolved: configuration.Resolved
    preset: str
    source_hash: str | None = None
    kind: Literal["method"] = field(default="method", init=False)

    @property
    def title(self) -> str:
        """Name and seed."""
        return f"{self.name} · seed {self.seed}"

    @cached_property
    def base(self) -> dict[str, Any]:
        """What identifies the row but for scope and seed."""
        reference = self.common.reference
        return {
            "method": self.plugin,
            "version": self.method.info.version,
            "config": self.resolved.keyed,
            "size": reference.size,
            "channels": len(reference.channels),
            "classes": list(reference.classes),
            "fingerprint": reference.fingerprint,
            "plugin": self.source_hash,
        }

    @property
    def folder(self) -> Path:
        """Where its records are; rows of equal settings share it."""
        return Path(f"{self.plugin}-{self.preset}-{key_of(self.base)[:8]}") / f"seed-{self.seed}"

    @property
    def scopes(self) -> tuple[str, ...]:
        """The trained instances: one per class, or one of all classes."""
        each = self.method.info.conditioning == "none"
        return tuple(self.common.reference.classes) if each else ("all",)

    def train_ids(self, scope: str) -> list[str]:
        """Return the cases that an instance is trained on.

        A class may be labelled ``all``, too, so that the name of the scope alone does not tell.
        """
        own = scope if self.method.info.conditioning == "none" else None
        return self.common.reference.train_ids(own)

    @cached_property
    def train_keys(self) -> dict[str, str]:
        """Key of every training by scope."""
        return {
            scope: key_of(
                {
                    "kind": "train",
                    **self.base,
                    "scope": scope,
                    "seed": self.seed,
                    "ids": self.train_ids(scope),
                }
            )
            for scope in self.scopes
        }

    @property
    def sample_key(self) -> str:
        """Key of the samples, whatever their number."""
        return key_of({"kind": "sample", "train": self.train_keys, "shard": sampling.SHARD})

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Train every instance, sample, score, diagnose, classify."""
        return (
            *training.stages(self),
            sampling.stage(self),
            *_judging(self),
            *diagnosis.stages(self),
            *_usable(self.classifying()),
        )

    def classifying(self) -> Iterator[tuple[PlannedProtocol, Stage]]:
        """Yield the protocols of this row, also those that cannot be run, with their stages."""
        return _classifying(self)

    def build(self, scope: str) -> Method:
        """Construct the method with freshly initialised networks, seeded by (seed, scope)."""
        reference = self.common.reference
        with training.seeded(self.seed, scope, "init"):
            return self.method(
                self.resolved.config,
                size=reference.size,
                classes=reference.classes,
                channels=len(reference.channels),
            )

    def train_record(self, scope: str) -> Path:
        """Return where the record of a training lies."""
        return self.folder / "train" / folder_names(self.scopes)[scope] / "record.json"

    def judged(self, bench: Workbench) -> scoring.Judged:
        """Return the stored samples beside the real sets."""
        folder = (bench.folder / self.stage("sample").record).parent
        reference = self.common.reference
        donors = partial(
            sampling.mask_donors,
            folder,
            self.sample_key,
            known=reference.train_ids(None),
            salt=reference.salt,
        )
        sets = {
            name: scoring.volume_set(v, bench.features, donors(v.ids))
            for name, v in self.volumes(bench).items()
        }
        return scoring.Judged(bench.real, sets)

    def volumes(self, bench: Workbench) -> dict[str, LazyVolumes]:
        """Return the first n stored samples of each class."""
        folder = (bench.folder / self.stage("sample").record).parent
        names, n = self.common.reference.classes, self.common.n
        return {
            name: sampling.stored_volumes(folder, self.sample_key, names, name, n) for name in names
        }

    def cell(self) -> dict[str, Any]:
        """Return configuration and keys."""
        return {
            # A variant shares the folder of its method's equal settings, and so its description.
            "name": self.method.info.name,
            "label": self.method.info.label,
            "seed": self.seed,
            **described(self.common.reference),
            "scopes": list(self.scopes),
            "preset": self.resolved.preset,
            "config": dict(self.resolved.values),
            "sources": dict(self.resolved.sources),
            "train_keys": dict(self.train_keys),
            "sample_key": self.sample_key,
        }

    def differences(self) -> list[dict[str, Any]]:
        """List the settings that differ from the preset ``paper``."""
        paper = configuration.resolve_paper(self.method, self.common.reference.size)
        return configuration.differences(self.resolved, paper)


@dataclass(frozen=True)
class FolderRow(_Line):
    """Somebody's folder of samples.

    Attributes:
        sample_key: Identifies the contents.
        given: Volumes by class, read when indexed.
        clip_fraction: Fraction of voxels outside the value range by class.
        source: What a reader must know about the folder.
        partners: Whether a volume's partner is the real one of the same id.
        structures: Class to structure to its volume in each of the volumes; empty where not known.
        leaked: Test cases that its generator was trained on.
        suffix: What its name begins with in the folder of results.
    """

    name: str
    label: str
    common: Common
    folder: Path
    sample_key: str
    given: Mapping[str, LazyVolumes]
    clip_fraction: Mapping[str, float]
    source: str
    partners: bool = False
    structures: Mapping[str, Structures] = field(default_factory=dict)
    leaked: tuple[str, ...] = ()
    seed = 0
    kind: Literal["samples"] = field(default="samples", init=False)

    @property
    def title(self) -> str:
        """Its name."""
        return self.name

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Describe the folder, score, classify."""
        return (sampling.told_stage(self), *_judging(self), *_usable(self.classifying()))

    def classifying(self) -> Iterator[tuple[PlannedProtocol, Stage]]:
        """Yield the protocols of this row, also those that cannot be run, with their stages."""
        return _classifying(self)

    def judged(self, bench: Workbench) -> scoring.Judged:
        """Return the volumes beside the real sets."""
        sets = {
            name: scoring.volume_set(
                v,
                bench.features,
                v.ids if self.partners else (),
                self.structures.get(name),
                bench.real.train[name].ids if self.partners else (),
            )
            for name, v in self.volumes(bench).items()
        }
        return scoring.Judged(bench.real, sets)

    def volumes(self, bench: Workbench) -> Mapping[str, LazyVolumes]:
        """Return the volumes of each class."""
        return self.given

    def cell(self) -> dict[str, Any]:
        """Return what the folder holds."""
        return {
            "name": self.name,
            "label": self.label,
            "seed": self.seed,
            **described(self.common.reference),
            "scopes": [],
            "preset": "",
            "config": {},
            "sources": {},
            "train_keys": {},
            "sample_key": self.sample_key,
        }


@dataclass(frozen=True)
class ControlRow(_Line):
    """A floor or control: real or corrupted volumes, as many as the other rows have.

    Attributes:
        control: What it is.
        counts: Volumes by class.
        upstream: What identifies the set in the keys of its scores.
    """

    control: Control
    common: Common
    counts: Mapping[str, int]
    upstream: Mapping[str, Any]
    seed = None
    kind: Literal["anchor"] = field(default=CONTROL_KIND, init=False)

    @property
    def name(self) -> str:
        """Slug of the control."""
        return self.control.name

    @property
    def label(self) -> str:
        """What the table calls it."""
        return self.control.label

    @property
    def folder(self) -> Path:
        """Where its records are."""
        return Path("_real") / "score" / self.control.name

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Score the set."""
        return tuple(scoring.stages(self, self.folder, self.upstream))

    @property
    def title(self) -> str:
        """What people see while the row is worked on."""
        return self.control.label

    def judged(self, bench: Workbench) -> scoring.Judged:
        """Return the set beside the real sets that it is scored against."""
        return scoring.build_control(self.control, bench.real, self.counts)


@dataclass(frozen=True)
class RealRow(_Line):
    """The real cases themselves, as figures show them."""

    common: Common
    name = "real"
    label = "real"
    title = "real"
    folder = Path("_real")
    seed = None
    kind: Literal["real"] = field(default="real", init=False)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Keep what figures show."""
        return (figure_data.stage(self, {}),)

    def judged(self, bench: Workbench) -> scoring.Judged:
        """Return the real sets beside themselves."""
        return scoring.Judged(bench.real, bench.real.train)


@dataclass(frozen=True)
class ProtocolRow(_Line):
    """A protocol that needs no samples: it has one result for the data set."""

    planned: PlannedProtocol
    common: Common
    folder = Path("_real")
    seed = None
    kind: Literal["protocol"] = field(default="protocol", init=False)

    @property
    def name(self) -> str:
        """Name of the protocol."""
        return self.planned.name

    @property
    def label(self) -> str:
        """What the table calls it."""
        return self.planned.protocol.info.label

    @property
    def title(self) -> str:
        """What people see while the row is worked on."""
        return self.label

    def classifying(self) -> Iterator[tuple[PlannedProtocol, Stage]]:
        """Yield the protocol with its stage, also where it cannot be run."""
        yield self.planned, downstream.stage(self, self.planned, {})

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Classify."""
        return tuple(_usable(self.classifying()))

    def volumes(self, bench: Workbench) -> None:
        """Nothing is generated."""


def _judging(row: TrainedRow | FolderRow) -> Iterator[Stage]:
    """Yield what is done with volumes whatever they come from: scores, and what figures show."""
    upstream = {"sample": row.sample_key}
    yield from scoring.stages(row, row.folder / "score", upstream, ("sample",))
    yield figure_data.stage(row, upstream, ("sample",))


def _classifying(row: TrainedRow | FolderRow) -> Iterator[tuple[PlannedProtocol, Stage]]:
    """Yield the protocols of a row, also those that cannot be run, with their stages."""
    upstream = {"sample": row.sample_key, "n": row.common.n}
    for planned in row.common.protocols_of(row.name):
        yield planned, downstream.stage(row, planned, upstream)


def _usable(classifying: Iterable[tuple[PlannedProtocol, Stage]]) -> Iterator[Stage]:
    """Yield the stages of protocols that can be run."""
    return (stage for planned, stage in classifying if not planned.unavailable)


def described(reference: Reference) -> dict[str, Any]:
    """Return what ``cell.json`` tells about the data."""
    return {
        "size": reference.size,
        "classes": list(reference.classes),
        "channels": list(reference.channels),
        "spacing": list(reference.spacing),
        **reference.facts(),
    }


def stages_of(rows: Sequence[Row]) -> list[Stage]:
    """Return the stages of all rows; rows of equal settings share theirs, which count once."""
    of_records = {stage.record: stage for row in rows for stage in row.stages}
    return list(of_records.values())
