"""What is compared: the rows with their stages, keys and places; nothing is run yet.

A plan is made of an experiment here, and of folders in ``evaluate.py``; both run in the same way.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from cerebench.benchmark.display import Display, Silent
from cerebench.benchmark.engine.registry import Registries, suggest
from cerebench.benchmark.engine.rows import (
    Common,
    ControlRow,
    DatasetCommon,
    FolderRow,
    ProtocolRow,
    RealRow,
    Row,
    TrainedRow,
)
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.names import check_name
from cerebench.benchmark.planning import config as configuration
from cerebench.benchmark.planning.experiment import Experiment, select_methods, select_protocols
from cerebench.benchmark.planning.foreign import (
    caveats,
    open_folder,
    settle_faults,
    tell_axes,
    trained_on,
)
from cerebench.benchmark.planning.leakage import leaked_cases
from cerebench.benchmark.planning.planned import PlannedProtocol, plan_metric, plan_protocol
from cerebench.benchmark.planning.reference import DatasetReference
from cerebench.benchmark.planning.source import Source
from cerebench.core import weights
from cerebench.core.bounds import BadConfig
from cerebench.core.errors import UsageError
from cerebench.core.hashing import key_of
from cerebench.datasets.base import DatasetError
from cerebench.datasets.cache import file_hashes
from cerebench.datasets.folders.folder import (
    PREPARED,
    Axes,
    Entry,
    Folder,
    Options,
    of_shape,
    refuse_few,
    settled,
    with_axes,
)
from cerebench.metrics.base import LazyVolumes, MissingWeights
from cerebench.metrics.suites import asked as asked_suites
from cerebench.metrics.suites import expand

if TYPE_CHECKING:
    from cerebench.methods.base import Method
    from cerebench.metrics.downstream.base import DownstreamProtocol


@dataclass(frozen=True)
class Heading:
    """What stands above and below a table.

    Attributes:
        name: Of the experiment; part of the names of files.
        title: One sentence.
        cite: How to cite it, or empty.
        preset: Preset of the methods, or empty.
        seeds: Training seeds.
        n: Volumes per class; where rows differ, the most that one has.
        reference: Row that tests compare with, or empty.
        banner: What a reader must know before anything else, or empty.
        suites: Suites that were asked for.
        published: Tables that were printed in the literature.
    """

    name: str
    title: str
    n: int
    cite: str = ""
    preset: str = ""
    seeds: tuple[int, ...] = (0,)
    reference: str = ""
    banner: str = ""
    suites: tuple[str, ...] = ()
    published: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A whole comparison, resolved against the installed plugins and the data.

    Attributes:
        heading: What stands around the table.
        common: What all rows share.
        out: Folder of results.
        folder: The data set's folder in it.
        key: Identifies everything that is asked for.
        rows: The rows, in the order in which they are worked on.
    """

    heading: Heading
    common: Common
    out: Path
    folder: Path
    key: str
    rows: tuple[Row, ...]

    @property
    def table_of_contents(self) -> Path:
        """Return where the experiment's table of contents lies."""
        return self.folder / f"experiment-{self.heading.name}-{self.key[:8]}.json"

    @overload
    def of_kind(self, *kinds: Literal["method"]) -> Sequence[TrainedRow]: ...
    @overload
    def of_kind(self, *kinds: Literal["anchor"]) -> Sequence[ControlRow]: ...
    @overload
    def of_kind(self, *kinds: Literal["protocol"]) -> Sequence[ProtocolRow]: ...
    @overload
    def of_kind(self, *kinds: Literal["method", "samples"]) -> Sequence[TrainedRow | FolderRow]: ...
    @overload
    def of_kind(
        self, *kinds: Literal["method", "samples", "protocol"]
    ) -> Sequence[TrainedRow | FolderRow | ProtocolRow]: ...
    def of_kind(self, *kinds: str) -> Sequence[Row]:
        """Return the rows of some kinds."""
        return [row for row in self.rows if row.kind in kinds]


@dataclass(frozen=True)
class ExperimentPlan(Plan):
    """The plan of an experiment, on the cases of a data set."""

    common: DatasetCommon


@dataclass(frozen=True)
class Samples:
    """A ``--samples NAME=DIR`` row and how its files are read: ``datasets/folders/folder.py``."""

    name: str
    folder: Path
    value_range: tuple[float, float] = (-1.0, 1.0)
    accept_range: bool = False
    axes: Axes = "compare"


def make_plan(
    experiment: Experiment,
    registries: Registries,
    out: Path,
    cache: Path,
    samples: Sequence[Samples] = (),
    display: Display | None = None,
) -> ExperimentPlan:
    """Resolve an experiment: plugins, configurations, data and keys. Trains nothing.

    Args:
        experiment: What to compare.
        registries: Where plugins are found.
        out: Folder of results.
        cache: Folder of preprocessed volumes and file hashes.
        samples: Somebody's folders of samples.
        display: Where the search for bad cases tells how far it is; None for silence.

    Raises:
        UsageError: If a name does not exist, settings do not fit together, or a name could not be
            part of a path.
        DatasetError: If the data cannot be used.
    """
    check_name("The preset", experiment.preset, "See bench show NAME for the presets.")
    for row in samples:
        check_name("A row of --samples", row.name, "Give --samples NAME=DIR.")
    names = select_methods(experiment.methods, registries.methods, experiment.variants)
    asked = {name: _asked(name, experiment, registries) for name in names}
    titles = [*names, *(row.name for row in samples)]
    if experiment.reference and experiment.reference not in titles:
        known = suggest("method of this run", experiment.reference, titles)
        raise UsageError(f"reference: {known} Give --reference NAME, or --reference none.")
    protocols = {
        name: registries.protocols.load(name)
        for name in select_protocols(experiment.protocols, registries.protocols)
    }
    _check_overrides(experiment, asked, protocols)
    size = experiment.size or _preset_size(asked.values())
    reference = _reference(experiment, registries, size, cache, display, bool(samples))
    preset = experiment.protocol_preset or experiment.preset
    common = DatasetCommon(
        reference,
        tuple(plan_metric(name, registries) for name in expand(experiment.metrics)),
        experiment.samples_per_class,
        tuple(
            plan_protocol(
                name, preset, _overrides(experiment, cls.Config, name), reference.development,
                registries,
            )
            for name, cls in protocols.items()
        ),
        controlled=experiment.reference or next(iter(titles), ""),
    )  # fmt: skip
    rows: list[TrainedRow | FolderRow] = [
        _trained(common, each, seed, experiment, registries)
        for each in asked.values()
        for seed in experiment.seeds
    ]
    folders = _folders(samples, reference, experiment.skip_bad, display or Silent())
    rows += [
        _given(common, each.name, folder, allow_leakage=experiment.allow_leakage)
        for each, folder in zip(samples, folders, strict=True)
    ]
    alone = [ProtocolRow(p, common) for p in common.protocols if not p.needs_samples]
    _refuse_repeats(rows)
    if not (rows or alone):
        raise UsageError(
            "No method and no samples to compare. Give --methods or --samples, or a protocol that "
            "needs none: --protocols real-only."
        )
    for row in rows:
        _check_demand(row, common)
    return ExperimentPlan(
        _heading(experiment, reference, rows),
        # Scores, floors and controls are for rows of volumes; classifiers alone have none.
        common if rows else dataclasses.replace(common, metrics=()),
        out,
        out / reference.folder_name,
        _key(experiment, common, rows),
        (RealRow(common), *rows, *alone, *(_controls(common) if rows else ())),
    )


def _reference(
    experiment: Experiment,
    registries: Registries,
    size: int,
    cache: Path,
    display: Display | None,
    with_samples: bool,
) -> DatasetReference:
    """Open the data, hash the files and take the split."""
    source = source_of(experiment, size)
    if with_samples and not registries.datasets.load(source.name).can_leave_out:
        source = dataclasses.replace(source, skip_bad=False)  # it is for the samples then
    dataset = source.open(registries, display, cache)
    cases = dataset.cases()
    paths = [path for case in cases for path in case.files.values()]
    fingerprint = dataset.fingerprint(file_hashes(paths, cache / "hashes.json"))
    split = source.split(dataset)
    return DatasetReference(dataset, cases, split, fingerprint, bool(experiment.split_file))


def _key(experiment: Experiment, common: Common, rows: Sequence[TrainedRow | FolderRow]) -> str:
    """Return the key of everything asked for."""
    asked = {
        "real": common.reference.key,
        "n": experiment.samples_per_class,
        "preset": experiment.preset,
        "cells": sorted(row.sample_key for row in rows),
        "metrics": sorted(m.recipe_hash for m in common.metrics) if rows else [],
    }
    if common.protocols:
        asked["protocols"] = sorted(p.recipe_hash for p in common.protocols)
    return key_of(asked)


def _heading(
    experiment: Experiment, reference: DatasetReference, rows: Sequence[TrainedRow | FolderRow]
) -> Heading:
    """Return what stands around the table; leaked test cases come first."""
    leaks = [
        f"{row.name} was trained on {len(row.leaked)} test cases"
        for row in rows
        if isinstance(row, FolderRow) and row.leaked
    ]
    presets = [row.preset for row in rows if isinstance(row, TrainedRow)]
    usual = experiment.banner(synthetic=reference.dataset.info.synthetic, presets=presets)
    parts = [f"leakage allowed: {', '.join(leaks)}"] if leaks else []
    return Heading(
        name=experiment.name,
        title=experiment.title,
        n=experiment.samples_per_class,
        cite=experiment.cite,
        preset=experiment.preset,
        seeds=tuple(experiment.seeds),
        reference=experiment.reference,
        banner="; ".join([*parts, *([usual] if usual else [])]),
        suites=tuple(asked_suites(experiment.metrics)),
        published=tuple(experiment.published),
    )


def _refuse_repeats(rows: Sequence[Row]) -> None:
    labels = [(row.name, row.seed) for row in rows]
    repeated = [name for name, seed in labels if labels.count((name, seed)) > 1]
    if repeated:
        raise UsageError(f"Two rows are named '{repeated[0]}'. Give --samples another name.")


def _controls(common: DatasetCommon) -> list[ControlRow]:
    from cerebench.metrics.controls import CONTROLS

    counts = dict.fromkeys(common.reference.classes, common.n)
    return [
        ControlRow(control, common, counts, {"control": control.name, "version": control.version})
        for control in CONTROLS
    ]


@dataclass(frozen=True)
class _Asked:
    """A method or a variant of one: the class, its preset, and what is set on top."""

    name: str
    label: str
    method: str  # the plugin's name
    cls: type[Method]
    preset: str
    overrides: Mapping[str, Any]


def _asked(name: str, experiment: Experiment, registries: Registries) -> _Asked:
    """Look up what a row trains, and its settings: the variant's, then the user's own."""
    variant = experiment.variants.get(name)
    if variant is None:
        cls = registries.methods.load(name)
        own = _overrides(experiment, cls.Config, name)
        return _Asked(name, cls.info.label, name, cls, experiment.preset, own)
    if name in registries.methods.names():
        raise BadConfig(f"variants.{name}: a method has this name. Choose another.")
    cls = registries.methods.load(variant.method)
    own = {**variant.set, **experiment.set.get(name, {})}
    settings = {**_overrides(experiment, cls.Config, variant.method), **own}
    preset = variant.preset or experiment.preset
    return _Asked(name, variant.label, variant.method, cls, preset, settings)


def _overrides(experiment: Experiment, config: type, name: str) -> dict[str, Any]:
    """Return the settings of a plugin; one for all applies where the plugin has it."""
    known = {f.name for f in dataclasses.fields(config)}
    shared = {k: v for k, v in experiment.set.get("*", {}).items() if k in known}
    return {**shared, **experiment.set.get(name, {})}


def source_of(experiment: Experiment, size: int) -> Source:
    """Return which data an experiment works on."""
    root = Path(os.path.expanduser(experiment.data_root)) if experiment.data_root else None
    return Source(
        experiment.dataset,
        root,
        size,
        experiment.data,
        experiment.split,
        experiment.split_file,
        experiment.skip_bad,
    )


def with_headers(
    experiment: Experiment, headers: Mapping[str, str], registries: Registries
) -> Experiment:
    """Return an experiment whose data take an option for headers, where that changes anything.

    Beside ``--samples`` the option may be meant for those alone. Data whose headers agree then keep
    their fingerprint, and with it everything that was trained on them.
    """
    cls = registries.datasets.load(experiment.dataset)
    if not headers or "headers" not in cls.option_names:
        return experiment
    dataset = source_of(dataclasses.replace(experiment, skip_bad=False), experiment.size or 1).open(
        registries
    )
    if not dataset.headers_differ():
        return experiment
    return dataclasses.replace(experiment, data={**experiment.data, **headers})


def _trained(
    common: DatasetCommon,
    asked: _Asked,
    seed: int,
    experiment: Experiment,
    registries: Registries,
) -> TrainedRow:
    """Resolve one method, or one variant of a method, at one seed."""
    size = common.reference.size
    return TrainedRow(
        asked.name,
        asked.label,
        seed,
        common,
        plugin=asked.method,
        method=asked.cls,
        resolved=configuration.resolve(asked.cls, asked.preset, size, asked.overrides),
        preset=asked.preset,
        source_hash=registries.methods.source_hash(asked.method),
    )


def _folders(
    rows: Sequence[Samples], reference: DatasetReference, skip_bad: bool, display: Display
) -> list[Folder]:
    """Read the folders of ``--samples``; all files that cannot be used are named at once."""
    opened, read, size = [], [], reference.size
    for row in rows:
        classes = tuple(reference.classes)
        options = Options(row.value_range, "--samples-range", classes, row.accept_range)
        folder = open_folder(row.folder, options, display)
        opened.append(folder)
        if row.axes == "same":
            folder = with_axes(folder, PREPARED)
        advice = "Generate at that size, or compare at another one with --size."
        read.append(of_shape(folder, (size, size, size), "", advice))
    settle_faults(read, skip_bad, display)
    for folder in read:
        refuse_few(folder, reference.classes)
    read = [settled(folder, None, row.axes) for row, folder in zip(rows, read, strict=True)]
    tell_axes(opened, read, display)
    return read


def _given(common: DatasetCommon, name: str, folder: Folder, *, allow_leakage: bool) -> FolderRow:
    """Resolve one ``--samples`` row; its key is the content of the files."""
    reference, given_range = common.reference, list(folder.options.value_range)
    leaked = leaked_cases(folder, reference.split, reference.cases)
    if leaked and not allow_leakage:
        raise DatasetError(
            f"The samples in {folder.path} come from a generator that was trained on "
            f"{len(leaked)} test cases of this split: {', '.join(leaked[:5])}. Use the split it "
            "was trained with (--split FILE), or --allow-leakage, which marks every table."
        )
    # The first n by path, as text: what version 0.1.0 took.
    given = {
        label: sorted(files, key=lambda entry: entry.relative)
        for label, files in folder.classes.items()
    }
    content = {
        "files": {label: {e.relative: e.sha256 for e in files} for label, files in given.items()},
        "range": given_range,
    }
    upstream = {"kind": "samples", "content": key_of(content), "range": given_range}
    key = key_of({**upstream, **folder.turned})
    source = f"a folder of samples; {trained_on(folder)}"
    if folder.training and folder.training.cases:
        source += f", {len(leaked) or 'none'} of them in the test set"
    most = max(map(len, given.values()))
    if most > common.n:
        source += f"; of up to {most} volumes a class the first {common.n} by name"
    return FolderRow(
        name,
        name,
        common,
        Path(f"{name}-samples-{key[:8]}") / "seed-0",
        key,
        {label: _lazy(folder, files[: common.n]) for label, files in given.items()},
        {label: folder.clip_fraction(label) for label in given},
        source="; ".join([source, *caveats(folder, "its")]),
        leaked=tuple(leaked),
    )


def _lazy(folder: Folder, files: Sequence[Entry]) -> LazyVolumes:
    return LazyVolumes([e.relative for e in files], lambda index: folder.volume(files[index]))


def _check_demand(row: TrainedRow | FolderRow, common: DatasetCommon) -> None:
    """Refuse a run that would generate fewer volumes than its protocols use.

    Raises:
        UsageError: Naming the protocol, the class, the numbers, and what to type.
    """
    n, development = common.n, common.reference.development
    for planned in common.protocols_of(row.name):
        for name, wanted in planned.protocol.demand(development).items():
            there = len(row.given[name]) if isinstance(row, FolderRow) else n
            if wanted > there:
                more = f"--n {wanted}" if there == n else f"a folder with {wanted}"
                lower = "synthetic_per_class" in planned.resolved.values
                less = f", or --set {planned.name}.synthetic_per_class={there}" if lower else ""
                raise UsageError(
                    f"{planned.name} needs {wanted} generated volumes of {name}, and {row.name} "
                    f"has {there}. Use {more}{less}; see bench show {planned.name}."
                )


def missing_weights(plan: Plan, todo: Iterable[Stage]) -> list[str]:
    """Return why methods cannot be trained: one line each that says what to do.

    Args:
        plan: The plan.
        todo: The stages that are to be done; what is not trained needs nothing.
    """
    trained = to_be_trained(plan, todo)
    rows = {row.name: row for row in trained if isinstance(row, TrainedRow)}  # seeds share one
    reasons = (_missing_weights(row) for row in rows.values())
    return [reason for reason in reasons if reason]


def to_be_trained(plan: Plan, todo: Iterable[Stage]) -> list[TrainedRow | PlannedProtocol]:
    """Return the methods and protocols that some stages train, with their configurations."""
    records = {stage.record for stage in todo}
    rows = [
        row
        for row in plan.of_kind("method")
        if any(stage.kind == "train" and stage.record in records for stage in row.stages)
    ]
    protocols = [
        planned
        for row in plan.of_kind("method", "samples", "protocol")
        for planned, stage in row.classifying()
        if stage.record in records
    ]
    return [*rows, *protocols]


def _missing_weights(row: TrainedRow) -> str:
    config = row.resolved.config
    try:
        for name in row.method.weights(config):
            weights.find(name)
    except MissingWeights as error:
        spared = (f"--set {row.name}.{k}={v}" for k, v in row.method.without_weights().items())
        without = f", or run without it: {options}" if (options := " ".join(spared)) else ""
        return f"{row.name} cannot be trained: {error}{without}"
    return ""


def _check_overrides(
    experiment: Experiment,
    rows: Mapping[str, _Asked],
    protocols: Mapping[str, type[DownstreamProtocol]],
) -> None:
    """Refuse settings of what does not run, and those for all that nothing has."""
    plugins = {row.method: row.cls for row in rows.values()}
    names = dict.fromkeys([*rows, *plugins, *protocols])
    for name in experiment.set:
        if name != "*" and name not in names:
            raise BadConfig(
                f"--set names '{name}', which is not among the methods and protocols of this run: "
                f"{', '.join(names) or 'none'}."
            )
    configured = [*plugins.values(), *protocols.values()]
    known = {f.name for cls in configured for f in dataclasses.fields(cls.Config)}
    for field_name in experiment.set.get("*", {}):
        if field_name not in known:
            raise BadConfig(f"--set *: {suggest('setting', field_name, sorted(known))}")


def _preset_size(asked: Iterable[_Asked]) -> int:
    """Return the size the presets of the methods are made for; they must agree."""
    known = [one for one in asked if one.preset in one.cls.presets]
    sizes = {f"{one.name} ({one.preset})": one.cls.presets[one.preset].size for one in known}
    if len(set(sizes.values())) == 1:
        return next(iter(sizes.values()))
    if not sizes:
        return 32
    listed = ", ".join(f"{n} {s}" for n, s in sizes.items())
    raise BadConfig(f"Presets are made for different sizes ({listed}). Give --size.")
