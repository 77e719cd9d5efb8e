"""What an experiment consists of: cells and controls with keys and places, nothing run yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cerebench.benchmark import config as configuration
from cerebench.benchmark.data import Source
from cerebench.benchmark.errors import BadConfig, UsageError
from cerebench.benchmark.experiment import Experiment, select_methods
from cerebench.benchmark.registry import Registries, suggest, suite_version
from cerebench.benchmark.store import SCHEMA, key_of, now
from cerebench.datasets.base import Case, Dataset, DatasetError, Split
from cerebench.datasets.cache import file_hashes
from cerebench.datasets.samples import SampleFolder
from cerebench.datasets.splits import overlap, split_sha256
from cerebench.metrics import weights
from cerebench.metrics.base import MissingWeights
from cerebench.metrics.suites import asked, expand

SHARD = 8  # samples per shard; part of every sample key, so never changed lightly
SCORE_SEED = 0  # pairs and groups are the same for all methods


@dataclass(frozen=True)
class PlannedMetric:
    """A metric with the hash of its protocol; ``unavailable`` says why it cannot be computed."""

    metric: Any
    recipe_hash: str
    unavailable: str = ""


@dataclass(frozen=True)
class Cell:
    """One (dataset, size, method, configuration, seed), or somebody's folder of samples.

    ``scopes`` are the trained instances: one per class, or ``all``. ``folder`` is relative to the
    dataset's folder. ``samples`` is the folder of a ``--samples`` row, else None.
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
    samples: SampleFolder | None = None
    leaked: tuple[str, ...] = ()  # test cases that somebody's samples were trained on

    def record(self, stage: str, name: str) -> Path:
        """Return where a stage of this cell leaves its record, relative to the dataset's folder."""
        if stage == "train":
            return self.folder / "train" / name / "record.json"
        if stage in ("sample", "diagnosis"):
            return self.folder / stage / "record.json"
        return self.folder / "score" / f"{name}@{self.score_keys[name][:8]}.json"

    @property
    def figure_data(self) -> dict[str, Path]:
        """Where the score stage leaves what figures show, relative to the dataset's folder."""
        return figure_files(self.folder / "score", self.score_keys)


def figure_files(folder: Path, metrics: Iterable[str]) -> dict[str, Path]:
    """Return the files for figures by name; closest pairs come with the features of nn-ratio."""
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
        return key_of(
            {
                "real": self.real_key,
                "n": self.experiment.samples_per_class,
                "preset": self.experiment.preset,
                "cells": sorted(c.sample_key for c in self.cells),
                "metrics": sorted(m.recipe_hash for m in self.metrics),
            }
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
) -> Plan:
    """Resolve an experiment: plugins, configurations, data and keys. Trains nothing.

    Raises:
        UsageError: If a name does not exist or settings do not fit together.
        DatasetError: If the data cannot be used.
    """
    names = select_methods(experiment.methods, registries.methods)
    if experiment.reference and experiment.reference not in names:
        raise UsageError(suggest("method of this run", experiment.reference, names))
    classes = {name: registries.methods.load(name) for name in names}
    _check_overrides(experiment, classes)
    size = experiment.size or _preset_size(classes, experiment.preset)
    dataset = open_dataset(experiment, registries, size)
    cases = dataset.cases()
    paths = [path for case in cases for path in case.files.values()]
    fingerprint = dataset.fingerprint(file_hashes(paths, cache / "hashes.json"))
    split = source_of(experiment, size).split(dataset)
    folder = out / f"{dataset.info.name}-{size}-{fingerprint[:8]}"
    real_key = key_of({"fingerprint": fingerprint, "train": split.train, "test": split.test})
    metrics = tuple(plan_metric(name, registries) for name in expand(experiment.metrics))
    for name in experiment.protocols:
        registries.protocols.load(name)  # raises for a name that does not exist
    context = _Context(experiment, dataset, cases, split, fingerprint, real_key, metrics)
    cells = [
        _method_cell(context, name, classes[name], seed, registries)
        for name in names
        for seed in experiment.seeds
    ]
    cells += [_samples_cell(context, row) for row in samples]
    labels = [(cell.name, cell.seed) for cell in cells]
    repeated = [name for name, seed in labels if labels.count((name, seed)) > 1]
    if repeated:
        raise UsageError(f"Two rows are named '{repeated[0]}'. Give --samples another name.")
    if not cells:
        raise UsageError("No method and no samples to compare. Give --methods or --samples.")
    from cerebench.metrics.controls import CONTROLS

    anchors = tuple(_anchor(context, control) for control in CONTROLS)
    return Plan(
        experiment, dataset, cases, split, fingerprint, folder, real_key, metrics,
        tuple(cells), anchors,
    )  # fmt: skip


def open_dataset(experiment: Experiment, registries: Registries, size: int) -> Dataset:
    """Construct the experiment's dataset at a size."""
    return source_of(experiment, size).open(registries)


def source_of(experiment: Experiment, size: int) -> Source:
    """Return which data an experiment works on."""
    root = Path(experiment.data_root) if experiment.data_root else None
    return Source(
        experiment.dataset, root, size, experiment.data, experiment.split, experiment.split_file
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


def _method_cell(context: _Context, name: str, cls: Any, seed: int, registries: Registries) -> Cell:
    """Resolve one method at one seed."""
    experiment, info = context.experiment, context.dataset.info
    overrides = {**experiment.set.get("*", {}), **experiment.set.get(name, {})}
    if "*" in experiment.set:  # a setting for all applies where the method has it
        known = {f.name for f in dataclasses.fields(cls.Config)}
        own = experiment.set.get(name, {})
        overrides = {k: v for k, v in overrides.items() if k in known or k in own}
    resolved = configuration.resolve(cls, experiment.preset, context.dataset.size, overrides)
    base = {
        "method": name,
        "version": cls.info.version,
        "config": resolved.values,
        "size": context.dataset.size,
        "channels": len(info.channels),
        "classes": list(info.classes),
        "fingerprint": context.fingerprint,
        "plugin": registries.methods.source_hash(name),
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
                "ids": train_ids(context.cases, context.split, info.classes, scope),
            }
        )
        for scope in scopes
    }
    sample_key = key_of({"kind": "sample", "train": train_keys, "shard": SHARD})
    folder = Path(f"{name}-{experiment.preset}-{key_of(base)[:8]}") / f"seed-{seed}"
    return Cell(
        name=name,
        label=cls.info.label,
        seed=seed,
        folder=folder,
        scopes=tuple(scopes),
        method=cls,
        resolved=resolved,
        train_keys=train_keys,
        sample_key=sample_key,
        score_keys=context.score_keys({"sample": sample_key}),
        diagnosis_key=_diagnosis_key(context, cls, sample_key),
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
        samples=folder,
        leaked=tuple(leaked),
    )


def leaked_cases(folder: SampleFolder, split: Split, cases: Sequence[Case]) -> list[str]:
    """Return the test cases that the generator of a sample folder has seen, as far as it tells."""
    seen = folder.training or ()
    return overlap([case for case, _ in seen], [patient for _, patient in seen], split, cases)


def _anchor(context: _Context, control: Any) -> Anchor:
    upstream = {"control": control.name, "version": control.version}
    return Anchor(control, context.score_keys(upstream))


def train_ids(cases: Sequence[Case], split: Split, classes: Sequence[str], scope: str) -> list[str]:
    """Return the ids of the training cases of one trained instance, in the dataset's order."""
    return _ids(cases, set(split.train), classes, scope)


def test_ids(cases: Sequence[Case], split: Split, classes: Sequence[str], scope: str) -> list[str]:
    """Return the ids of the test cases of a class, or of ``all``, in the dataset's order."""
    return _ids(cases, set(split.test), classes, scope)


def _ids(cases: Sequence[Case], part: set[str], classes: Sequence[str], scope: str) -> list[str]:
    return [c.id for c in cases if c.id in part and (scope == "all" or classes[c.label] == scope)]


def _check_overrides(experiment: Experiment, classes: Mapping[str, Any]) -> None:
    """Refuse settings of methods that do not run, and those for all that no method has."""
    for name in experiment.set:
        if name != "*" and name not in classes:
            raise BadConfig(
                f"--set names '{name}', which is not among the methods of this run: "
                f"{', '.join(classes) or 'none'}."
            )
    known = {f.name for cls in classes.values() for f in dataclasses.fields(cls.Config)}
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


def _told(cell: Cell) -> str:
    """Say what a sample folder tells about its generator's training."""
    if cell.samples is None or cell.samples.training is None:
        return "not known"
    n = len(cell.samples.training)
    return f"told: {n}, {len(cell.leaked) or 'none'} of them in the test set"


def contents(plan: Plan) -> dict[str, Any]:
    """Return the table of contents that reports read (docs/results.md)."""
    experiment, dataset = plan.experiment, plan.dataset
    return {
        "schema": SCHEMA,
        "kind": "experiment",
        "name": experiment.name,
        "key": plan.key,
        "suite_version": suite_version(),
        "utc": now(),
        "title": experiment.title,
        "cite": experiment.cite,
        "preset": experiment.preset,
        "seeds": list(experiment.seeds),
        "samples_per_class": experiment.samples_per_class,
        "reference": experiment.reference,
        "banner": _banner(plan) or None,
        "dataset": _dataset_entry(plan),
        "suites": asked(experiment.metrics),
        "metrics": [metric_entry(m) for m in plan.metrics],
        "rows": [_anchor_entry(a) for a in plan.anchors] + _cell_entries(plan, dataset.size),
    }


def _banner(plan: Plan) -> str:
    """Return what stands above every table: leaked test cases first."""
    leaks = [f"{c.name} was trained on {len(c.leaked)} test cases" for c in plan.cells if c.leaked]
    parts = [f"leakage allowed: {', '.join(leaks)}"] if leaks else []
    usual = plan.experiment.banner(synthetic=plan.dataset.info.synthetic)
    return "; ".join([*parts, *([usual] if usual else [])])


def _dataset_entry(plan: Plan) -> dict[str, Any]:
    dataset, info = plan.dataset, plan.dataset.info
    recipe, test = dataset.recipe, set(plan.split.test)
    counts = {}
    for index, name in enumerate(info.classes):
        ids = [c.id for c in plan.cases if c.label == index]
        n_test = sum(i in test for i in ids)
        n_train = len(train_ids(plan.cases, plan.split, info.classes, name))
        counts[name] = {"train": n_train, "test": n_test}
    return {
        "name": info.name,
        "label": info.label,
        "size": dataset.size,
        "fingerprint": plan.fingerprint,
        "classes": list(info.classes),
        "channels": list(info.channels),
        "spacing": list(dataset.spacing),
        "synthetic": info.synthetic,
        "source": info.source,
        "licence": info.licence,
        "recipe": {**recipe.facts, "id": dataset.recipe_id, "sha256": recipe.sha256},
        "split": {
            "sha256": split_sha256(plan.split, plan.cases),
            "file": plan.split_file,
            "published": bool(plan.experiment.split_file),
        },
        "counts": counts,
    }


def metric_entry(planned: PlannedMetric) -> dict[str, Any]:
    """Return what reports need to know about a metric."""
    m = planned.metric
    return {
        "name": m.name,
        "version": m.version,
        "label": m.label,
        "better": str(m.better),
        "views": list(m.views),
        "scale": m.scale,
        "never_bold": m.never_bold,
        "blind_to": m.blind_to,
        "source": m.source,
        "recipe": dict(m.recipe),
        "recipe_hash": planned.recipe_hash,
        "unavailable": planned.unavailable or None,
    }


def _anchor_entry(anchor: Anchor) -> dict[str, Any]:
    control = anchor.control
    return {
        "kind": "anchor",
        "name": control.name,
        "label": control.label,
        "role": control.role,
        "note": control.note,
        "scores": {name: anchor.record(name).as_posix() for name in anchor.score_keys},
        **{name: path.as_posix() for name, path in figure_files(Path("_real"), ()).items()},
    }


def _cell_entries(plan: Plan, size: int) -> list[dict[str, Any]]:
    """Return one row per method or sample folder, its seeds together."""
    rows: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        if cell.name not in rows:
            rows[cell.name] = _row_head(cell, plan.experiment.preset, size)
        entry: dict[str, Any] = {
            "seed": cell.seed,
            "folder": cell.folder.as_posix(),
            "train": {s: cell.record("train", s).as_posix() for s in cell.scopes},
            "sample": cell.record("sample", "").as_posix(),
            **{name: path.as_posix() for name, path in cell.figure_data.items()},
            "scores": {n: cell.record("score", n).as_posix() for n in cell.score_keys},
        }
        if cell.diagnosis_key:
            entry["diagnosis"] = cell.record("diagnosis", "").as_posix()
        rows[cell.name]["cells"].append(entry)
    return list(rows.values())


def _paper_settings(method: Any, size: int) -> configuration.Resolved:
    """Return the paper preset fitted to this size, or to its own where it cannot work at this."""
    try:
        return configuration.resolve(method, "paper", size)
    except BadConfig:
        return configuration.resolve(method, "paper", method.presets["paper"].size)


def _row_head(cell: Cell, preset: str, size: int) -> dict[str, Any]:
    if cell.resolved is None:
        source = f"a folder of samples; which cases it was trained on is {_told(cell)}"
        head = {"kind": "samples", "preset": "", "conditioning": "", "source": source}
        return {**head, "name": cell.name, "label": cell.label, "differences": [], "cells": []}
    paper = _paper_settings(cell.method, size)
    return {
        "kind": "method",
        "name": cell.name,
        "label": cell.label,
        "preset": preset,
        "conditioning": cell.method.info.conditioning,
        "source": cell.method.info.source,
        "differences": configuration.differences(cell.resolved, paper),
        "cells": [],
    }
