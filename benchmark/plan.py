"""What an experiment consists of: cells and controls with keys and places, nothing run yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cerebench.benchmark import config as configuration
from cerebench.benchmark.data import Source
from cerebench.benchmark.display import Display
from cerebench.benchmark.errors import BadConfig, UsageError
from cerebench.benchmark.experiment import Experiment, select_methods, select_protocols
from cerebench.benchmark.folders import refuse_damaged
from cerebench.benchmark.leakage import leaked_cases
from cerebench.benchmark.names import check_name
from cerebench.benchmark.registry import Registries, suggest
from cerebench.benchmark.store import key_of
from cerebench.datasets.base import Case, Dataset, DatasetError, Split
from cerebench.datasets.cache import file_hashes
from cerebench.datasets.names import folder_names
from cerebench.datasets.samples import SampleFolder
from cerebench.datasets.splits import split_sha256
from cerebench.metrics import weights
from cerebench.metrics.base import MissingWeights
from cerebench.metrics.suites import expand

SHARD = 8  # samples per shard; part of every sample key, so never changed lightly
SCORE_SEED = 0  # pairs and groups are the same for all methods
DOWNSTREAM_SEED = 0  # and so are the parts and initial weights of the classifiers


@dataclass(frozen=True)
class PlannedMetric:
    """A metric with the hash of its protocol; ``unavailable`` says why it cannot be computed."""

    metric: Any
    recipe_hash: str
    unavailable: str = ""


@dataclass(frozen=True)
class PlannedProtocol:
    """A downstream protocol, configured.

    Attributes:
        protocol: An instance.
        resolved: Its configuration with the source of every value.
        recipe_hash: Identifies protocol, version, configuration, code and weights.
        unavailable: Why it cannot be run, or empty.
        key: Identifies its one result for the data set; empty where it needs samples.
    """

    protocol: Any
    resolved: configuration.Resolved
    recipe_hash: str
    unavailable: str = ""
    key: str = ""

    @property
    def name(self) -> str:
        """Return the protocol's name."""
        return self.protocol.info.name

    @property
    def record(self) -> Path:
        """Return where the one result lies, relative to the dataset's folder."""
        return downstream_record(Path("_real"), self.name, self.key)


def downstream_record(folder: Path, protocol: str, key: str) -> Path:
    """Return the path of a downstream record; while it is made, a folder of its stem is beside."""
    return folder / "downstream" / f"{protocol}@{key[:8]}.json"


@dataclass(frozen=True)
class Cell:
    """One (dataset, size, method, configuration, seed), or somebody's folder of samples.

    ``name`` and ``label`` are those of the row: of the method, of an experiment's variant of it, or
    of the samples. ``scopes`` are the trained instances: one per class, or ``all``. ``folder`` is
    relative to the dataset's folder. ``samples`` is the folder of a ``--samples`` row, else None.
    """

    name: str
    label: str
    seed: int
    folder: Path
    scopes: tuple[str, ...] = ()
    method: Any = None
    resolved: configuration.Resolved | None = None
    train_keys: Mapping[str, str] = field(default_factory=dict)
    sample_key: str = ""
    score_keys: Mapping[str, str] = field(default_factory=dict)
    diagnosis_key: str = ""  # empty where the method has no hooks for it
    downstream_keys: Mapping[str, str] = field(default_factory=dict)
    samples: SampleFolder | None = None
    leaked: tuple[str, ...] = ()  # test cases that somebody's samples were trained on

    def record(self, stage: str, name: str) -> Path:
        """Return where a stage of this cell leaves its record, relative to the dataset's folder."""
        if stage == "train":
            return self.folder / "train" / folder_names(self.scopes)[name] / "record.json"
        if stage in ("sample", "diagnosis"):
            return self.folder / stage / "record.json"
        if stage == "downstream":
            return downstream_record(self.folder, name, self.downstream_keys[name])
        return self.folder / "score" / f"{name}@{self.score_keys[name][:8]}.json"

    @property
    def figure_data(self) -> dict[str, Path]:
        """Where the score stage leaves what figures show, relative to the dataset's folder."""
        return figure_files(self.folder / "score", self.score_keys)


def figure_files(folder: Path, metrics: Iterable[str]) -> dict[str, Path]:
    """Return the files for figures by name; closest pairs come with nn-ratio among the metrics."""
    names = ("preview", "distributions", *(("neighbours",) if "nn-ratio" in metrics else ()))
    return {name: folder / f"{name}.npz" for name in names}


@dataclass(frozen=True)
class Anchor:
    """A floor or control row: a set of real or corrupted volumes at the methods' own (m, n)."""

    control: Any
    score_keys: Mapping[str, str]

    def record(self, metric: str) -> Path:
        """Return where a metric's record lies, relative to the dataset's folder."""
        name = f"{metric}@{self.score_keys[metric][:8]}.json"
        return Path("_real") / "score" / self.control.name / name


@dataclass(frozen=True)
class Plan:
    """A whole experiment, resolved against the installed plugins and the data.

    Attributes:
        folder: The dataset's folder below the output folder.
        real_key: Identifies the real sets that every score refers to.
    """

    experiment: Experiment
    dataset: Dataset
    cases: Sequence[Case]
    split: Split
    fingerprint: str
    folder: Path
    real_key: str
    metrics: tuple[PlannedMetric, ...]
    cells: tuple[Cell, ...]
    anchors: tuple[Anchor, ...]
    protocols: tuple[PlannedProtocol, ...] = ()

    @property
    def out(self) -> Path:
        """Return the folder of results."""
        return self.folder.parent

    @property
    def table_of_contents(self) -> Path:
        """Return where the experiment's table of contents lies."""
        return self.folder / f"experiment-{self.experiment.name}-{self.key[:8]}.json"

    @property
    def split_file(self) -> str:
        """Return the name of the file in the dataset's folder that publishes the split."""
        return f"split-{split_sha256(self.split, self.cases)[:8]}.csv"

    @property
    def key(self) -> str:
        """Return the key of everything asked for."""
        asked = {
            "real": self.real_key,
            "n": self.experiment.samples_per_class,
            "preset": self.experiment.preset,
            "cells": sorted(c.sample_key for c in self.cells),
            "metrics": sorted(m.recipe_hash for m in self.metrics),
        }
        if self.protocols:
            asked["protocols"] = sorted(p.recipe_hash for p in self.protocols)
        return key_of(asked)

    @property
    def baselines(self) -> tuple[PlannedProtocol, ...]:
        """Return the protocols that can be run and have one result for the data set."""
        return tuple(p for p in self.protocols if p.key and not p.unavailable)

    def downstream_of(self, cell: Cell) -> tuple[PlannedProtocol, ...]:
        """Return the protocols that can be run on the samples of a cell."""
        return tuple(
            p for p in self.protocols if p.name in cell.downstream_keys and not p.unavailable
        )


@dataclass(frozen=True)
class Samples:
    """A ``--samples NAME=DIR`` row and the range its values are in."""

    name: str
    folder: Path
    value_range: tuple[float, float] = (-1.0, 1.0)


def make_plan(
    experiment: Experiment,
    registries: Registries,
    out: Path,
    cache: Path,
    samples: Sequence[Samples] = (),
    display: Display | None = None,
) -> Plan:
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
    rows = {name: _row(name, experiment, registries) for name in names}
    titles = [*names, *(row.name for row in samples)]
    if experiment.reference and experiment.reference not in titles:
        known = suggest("method of this run", experiment.reference, titles)
        raise UsageError(f"reference: {known} Give --reference NAME, or --reference none.")
    classes = {name: row.cls for name, row in rows.items()}
    protocols = {
        name: registries.protocols.load(name)
        for name in select_protocols(experiment.protocols, registries.protocols)
    }
    _check_overrides(experiment, rows, protocols)
    size = experiment.size or _preset_size(classes, experiment.preset)
    dataset = source_of(experiment, size).open(registries, display, cache)
    cases = dataset.cases()
    paths = [path for case in cases for path in case.files.values()]
    fingerprint = dataset.fingerprint(file_hashes(paths, cache / "hashes.json"))
    split = source_of(experiment, size).split(dataset)
    folder = out / f"{dataset.info.name}-{size}-{fingerprint[:8]}"
    real_key = key_of({"fingerprint": fingerprint, "train": split.train, "test": split.test})
    metrics = tuple(plan_metric(name, registries) for name in expand(experiment.metrics))
    context = _Context(experiment, dataset, cases, split, fingerprint, real_key, metrics)
    context = dataclasses.replace(
        context,
        protocols=tuple(_plan_protocol(context, name, registries) for name in protocols),
        controlled=experiment.reference or next(iter(titles), ""),
    )
    cells = [
        _method_cell(context, row, seed, registries)
        for row in rows.values()
        for seed in experiment.seeds
    ]
    cells += [_samples_cell(context, row) for row in samples]
    labels = [(cell.name, cell.seed) for cell in cells]
    repeated = [name for name, seed in labels if labels.count((name, seed)) > 1]
    if repeated:
        raise UsageError(f"Two rows are named '{repeated[0]}'. Give --samples another name.")
    if not (cells or any(p.key for p in context.protocols)):
        raise UsageError(
            "No method and no samples to compare. Give --methods or --samples, or a protocol that "
            "needs none: --protocols real-only."
        )
    for cell in cells:
        _check_demand(context, cell)
    from cerebench.metrics.controls import CONTROLS

    # Scores, floors and controls are for rows of volumes; classifiers alone have none.
    metrics = metrics if cells else ()
    anchors = tuple(_anchor(context, control) for control in CONTROLS) if cells else ()
    return Plan(
        experiment, dataset, cases, split, fingerprint, folder, real_key, metrics,
        tuple(cells), anchors, context.protocols,
    )  # fmt: skip


@dataclass(frozen=True)
class _Row:
    """A method or a variant of one: the class, and where its settings may be named."""

    name: str
    label: str
    method: str  # the plugin's name
    cls: Any
    overrides: Mapping[str, Any]


def _row(name: str, experiment: Experiment, registries: Registries) -> _Row:
    """Look up what a row trains, and its settings: the variant's, then the user's own."""
    variant = experiment.variants.get(name)
    if variant is None:
        cls = registries.methods.load(name)
        return _Row(name, cls.info.label, name, cls, _overrides(experiment, cls.Config, name))
    if name in registries.methods.names():
        raise BadConfig(f"variants.{name}: a method has this name. Choose another.")
    cls = registries.methods.load(variant.method)
    own = {**variant.set, **experiment.set.get(name, {})}
    settings = {**_overrides(experiment, cls.Config, variant.method), **own}
    return _Row(name, variant.label, variant.method, cls, settings)


def _overrides(experiment: Experiment, config: type, name: str) -> dict[str, Any]:
    """Return the settings of a plugin; one for all applies where the plugin has it."""
    known = {f.name for f in dataclasses.fields(config)}
    shared = {k: v for k, v in experiment.set.get("*", {}).items() if k in known}
    return {**shared, **experiment.set.get(name, {})}


def source_of(experiment: Experiment, size: int) -> Source:
    """Return which data an experiment works on."""
    root = Path(experiment.data_root) if experiment.data_root else None
    return Source(
        experiment.dataset,
        root,
        size,
        experiment.data,
        experiment.split,
        experiment.split_file,
        experiment.skip_bad,
    )


def plan_metric(name: str, registries: Registries) -> PlannedMetric:
    """Load a metric and hash its protocol; note when its extractor's weights are missing."""
    metric = registries.metrics.load(name)
    protocol: dict[str, Any] = {
        "name": metric.name,
        "version": metric.version,
        "recipe": dict(metric.recipe),
        "views": list(metric.views),
        "source": registries.metrics.source_hash(name),
    }
    reason = ""
    if metric.needs:
        protocol["extractor"], reason = _extractor_facts(metric.needs, registries)
    return PlannedMetric(metric, key_of(protocol), reason)


def _plan_protocol(context: _Context, name: str, registries: Registries) -> PlannedProtocol:
    """Configure a protocol and hash it; note when its weights are missing.

    Raises:
        MetricError: If the data set has too few cases for it.
    """
    experiment = context.experiment
    cls = registries.protocols.load(name)
    preset = experiment.protocol_preset or experiment.preset
    resolved = configuration.resolve(
        cls, preset, overrides=_overrides(experiment, cls.Config, name)
    )
    protocol = cls(resolved.config)
    protocol.demand(context.development)
    recipe: dict[str, Any] = {
        "protocol": name,
        "version": cls.info.version,
        "config": resolved.values,
        "plugin": registries.protocols.source_hash(name),
    }
    reason = ""
    if cls.info.weights:
        recipe["weights"], reason = _weights_facts(cls.info.weights)
    planned = PlannedProtocol(protocol, resolved, key_of(recipe), reason)
    if cls.info.needs_samples:
        return planned
    return dataclasses.replace(planned, key=_downstream_key(context, planned, {}))


def _weights_facts(name: str) -> tuple[str, str]:
    """Return the SHA-256 of a weight file, and why it is unavailable (or an empty string)."""
    try:
        return weights.sha256(weights.find(name)), ""
    except MissingWeights as error:
        return "missing", str(error)


def _downstream_key(
    context: _Context, planned: PlannedProtocol, upstream: Mapping[str, Any]
) -> str:
    return key_of(
        {
            "kind": "downstream",
            "recipe": planned.recipe_hash,
            "real": context.real_key,
            "classes": list(context.dataset.info.classes),
            "seed": DOWNSTREAM_SEED,
            **upstream,
        }
    )


def _check_demand(context: _Context, cell: Cell) -> None:
    """Refuse a run that would generate fewer volumes than its protocols use.

    Raises:
        UsageError: Naming the protocol, the class, the numbers, and what to type.
    """
    n = context.experiment.samples_per_class
    for planned in context.protocols:
        if planned.name not in cell.downstream_keys:
            continue
        for name, wanted in planned.protocol.demand(context.development).items():
            there = n if cell.samples is None else min(n, len(cell.samples.classes[name]))
            if wanted > there:
                more = f"--n {wanted}" if there == n else f"a folder with {wanted}"
                lower = "synthetic_per_class" in planned.resolved.values
                less = f", or --set {planned.name}.synthetic_per_class={there}" if lower else ""
                raise UsageError(
                    f"{planned.name} needs {wanted} generated volumes of {name}, and {cell.name} "
                    f"has {there}. Use {more}{less}; see bench show {planned.name}."
                )


def _extractor_facts(name: str, registries: Registries) -> tuple[dict[str, Any], str]:
    """Return what identifies an extractor, and why it is unavailable (or an empty string)."""
    cls = registries.extractors.load(name)
    try:
        extractor = cls()
    except MissingWeights as error:
        return {"name": name, "weights": "missing"}, str(error)
    facts = {
        "name": extractor.name,
        "version": extractor.version,
        "weights": extractor.weights_sha256,
        "input": dict(extractor.input),
    }
    return facts, ""


def missing_weights(cells: Iterable[Cell]) -> list[str]:
    """Return why methods cannot be trained: one line each that says what to do.

    Args:
        cells: Those that are to be trained; folders of samples need nothing.
    """
    methods = {cell.name: cell for cell in cells if cell.resolved}  # seeds share a configuration
    reasons = (_missing_weights(cell) for cell in methods.values())
    return [reason for reason in reasons if reason]


def _missing_weights(cell: Cell) -> str:
    config = cell.resolved.config
    try:
        for name in cell.method.weights(config):
            weights.find(name)
    except MissingWeights as error:
        optional = any(f.name == "perceptual" for f in dataclasses.fields(config))
        without = f", or run without it: --set {cell.name}.perceptual=none" if optional else ""
        return f"{cell.name} cannot be trained: {error}{without}"
    return ""


@dataclass(frozen=True)
class _Context:
    """What every cell of a plan shares."""

    experiment: Experiment
    dataset: Dataset
    cases: Sequence[Case]
    split: Split
    fingerprint: str
    real_key: str
    metrics: tuple[PlannedMetric, ...]
    protocols: tuple[PlannedProtocol, ...] = ()
    controlled: str = ""  # the row whose samples controls take

    @property
    def development(self) -> dict[str, int]:
        """Number of real training cases by class."""
        classes = self.dataset.info.classes
        return {c: len(train_ids(self.cases, self.split, classes, c)) for c in classes}

    def downstream_keys(self, row: str, sample_key: str) -> dict[str, str]:
        """Return the key of every protocol that is run on the samples of a row."""
        upstream = {"sample": sample_key, "n": self.experiment.samples_per_class}
        return {
            p.name: _downstream_key(self, p, upstream)
            for p in self.protocols
            if p.protocol.info.needs_samples
            and (p.protocol.info.role != "control" or row == self.controlled)
        }

    def score_keys(self, upstream: Mapping[str, Any]) -> dict[str, str]:
        return {
            m.metric.name: key_of(
                {
                    "kind": "score",
                    "recipe": m.recipe_hash,
                    "real": self.real_key,
                    "n": self.experiment.samples_per_class,
                    "seed": SCORE_SEED,
                    **upstream,
                }
            )
            for m in self.metrics
        }


def _method_cell(context: _Context, row: _Row, seed: int, registries: Registries) -> Cell:
    """Resolve one method, or one variant of a method, at one seed."""
    experiment, info, cls = context.experiment, context.dataset.info, row.cls
    resolved = configuration.resolve(cls, experiment.preset, context.dataset.size, row.overrides)
    base = {
        "method": row.method,
        "version": cls.info.version,
        "config": resolved.values,
        "size": context.dataset.size,
        "channels": len(info.channels),
        "classes": list(info.classes),
        "fingerprint": context.fingerprint,
        "plugin": registries.methods.source_hash(row.method),
    }
    conditioning = cls.info.conditioning
    scopes = info.classes if conditioning == "none" else ("all",)
    train_keys = {
        scope: key_of(
            {
                "kind": "train",
                **base,
                "scope": scope,
                "seed": seed,
                "ids": train_ids(
                    context.cases, context.split, info.classes, class_trained(cls, scope)
                ),
            }
        )
        for scope in scopes
    }
    sample_key = key_of({"kind": "sample", "train": train_keys, "shard": SHARD})
    folder = Path(f"{row.method}-{experiment.preset}-{key_of(base)[:8]}") / f"seed-{seed}"
    return Cell(
        name=row.name,
        label=row.label,
        seed=seed,
        folder=folder,
        scopes=tuple(scopes),
        method=cls,
        resolved=resolved,
        train_keys=train_keys,
        sample_key=sample_key,
        score_keys=context.score_keys({"sample": sample_key}),
        diagnosis_key=_diagnosis_key(context, cls, sample_key),
        downstream_keys=context.downstream_keys(row.name, sample_key),
    )


def _diagnosis_key(context: _Context, cls: Any, sample_key: str) -> str:
    """Return the key of what a trained method tells about itself; empty where it has no hooks."""
    from cerebench.methods.base import has_hook

    if not (has_hook(cls, "diagnose") or has_hook(cls, "explain")):
        return ""
    n = context.experiment.samples_per_class
    return key_of({"kind": "diagnosis", "sample": sample_key, "real": context.real_key, "n": n})


def _samples_cell(context: _Context, row: Samples) -> Cell:
    """Resolve one ``--samples`` row; its key is the content of the files."""
    dataset = context.dataset
    refuse_damaged(row.folder)
    folder = SampleFolder.open(
        row.folder, dataset.info.classes, dataset.size, value_range=row.value_range
    )
    leaked = leaked_cases(folder, context.split, context.cases)
    if leaked and not context.experiment.allow_leakage:
        raise DatasetError(
            f"The samples in {row.folder} come from a generator that was trained on "
            f"{len(leaked)} test cases of this split: {', '.join(leaked[:5])}. Use the split it "
            "was trained with (--split FILE), or --allow-leakage, which marks every table."
        )
    key = key_of({"kind": "samples", "content": folder.sha256, "range": list(row.value_range)})
    return Cell(
        name=row.name,
        label=row.name,
        seed=0,
        folder=Path(f"{row.name}-samples-{key[:8]}") / "seed-0",
        sample_key=key,
        score_keys=context.score_keys({"sample": key}),
        downstream_keys=context.downstream_keys(row.name, key),
        samples=folder,
        leaked=tuple(leaked),
    )


def _anchor(context: _Context, control: Any) -> Anchor:
    upstream = {"control": control.name, "version": control.version}
    return Anchor(control, context.score_keys(upstream))


def class_trained(method: Any, scope: str) -> str | None:
    """Return the class that a trained instance is of; None where one instance serves all classes.

    A class may be labelled ``all``, too, so that the name of the scope does not tell.
    """
    return scope if method.info.conditioning == "none" else None


def train_ids(
    cases: Sequence[Case], split: Split, classes: Sequence[str], name: str | None
) -> list[str]:
    """Return the ids of the training cases of a class, or of all (None), in the dataset's order."""
    return _ids(cases, set(split.train), classes, name)


def test_ids(
    cases: Sequence[Case], split: Split, classes: Sequence[str], name: str | None
) -> list[str]:
    """Return the ids of the test cases of a class, or of all (None), in the dataset's order."""
    return _ids(cases, set(split.test), classes, name)


def _ids(
    cases: Sequence[Case], part: set[str], classes: Sequence[str], name: str | None
) -> list[str]:
    return [c.id for c in cases if c.id in part and name in (None, classes[c.label])]


def _check_overrides(
    experiment: Experiment, rows: Mapping[str, _Row], protocols: Mapping[str, Any]
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


def _preset_size(classes: Mapping[str, Any], preset: str) -> int:
    """Return the size the methods' preset is made for; they must agree."""
    sizes = {n: cls.presets[preset].size for n, cls in classes.items() if preset in cls.presets}
    if len(set(sizes.values())) == 1:
        return next(iter(sizes.values()))
    if not sizes:
        return 32
    listed = ", ".join(f"{n} {s}" for n, s in sizes.items())
    raise BadConfig(f"Preset '{preset}' has different sizes ({listed}). Give --size.")
