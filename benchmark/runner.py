"""Run a plan: do what is missing, let no failing cell stop another, lose nothing finished."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cerebench.benchmark import plan as planning
from cerebench.benchmark import store
from cerebench.benchmark.contents import contents
from cerebench.benchmark.display import Display
from cerebench.benchmark.errors import Interrupted, UsageError
from cerebench.benchmark.leakage import refuse_leakage
from cerebench.benchmark.plan import Anchor, Cell, Plan, PlannedProtocol
from cerebench.benchmark.registry import Registries, suite_version
from cerebench.datasets.cache import prepare
from cerebench.datasets.splits import write_split
from cerebench.metrics.base import MissingWeights


@dataclass
class Outcome:
    """What a run did: stages done now, stages found done, and failures by stage title."""

    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pending:
    """Stages of a cell that still have to run."""

    train: tuple[str, ...]
    sample: bool
    metrics: tuple[str, ...]
    preview: bool
    diagnosis: bool
    protocols: tuple[PlannedProtocol, ...]

    @property
    def count(self) -> int:
        """Return the number of stages."""
        stages = self.sample + self.preview + self.diagnosis
        return len(self.train) + len(self.metrics) + len(self.protocols) + stages


def pending(plan: Plan, cell: Cell) -> Pending:
    """Compare a cell with what is on disk."""
    train = tuple(
        scope
        for scope in cell.scopes
        if store.read_record(plan.folder / cell.record("train", scope), cell.train_keys[scope])
        is None
    )
    record = store.read_record(plan.folder / cell.record("sample", ""), cell.sample_key)
    n = plan.experiment.samples_per_class
    sample = cell.samples is None and (
        bool(train) or record is None or min(record["n"].values()) < n
    )
    metrics = _missing_scores(plan, cell.score_keys, lambda m: cell.record("score", m))
    preview = not all((plan.folder / path).exists() for path in cell.figure_data.values())
    told = store.read_record(plan.folder / cell.record("diagnosis", ""), cell.diagnosis_key)
    diagnosis = bool(cell.diagnosis_key) and (bool(train) or told is None)
    protocols = tuple(
        p
        for p in plan.downstream_of(cell)
        if _missing(plan, cell.record("downstream", p.name), cell.downstream_keys[p.name])
    )
    return Pending(train, sample, metrics, preview, diagnosis, protocols)


def pending_anchor(plan: Plan, anchor: Anchor) -> tuple[str, ...]:
    """Return the metrics of a floor or control row that are still to be computed."""
    return _missing_scores(plan, anchor.score_keys, anchor.record)


def pending_baselines(plan: Plan) -> tuple[PlannedProtocol, ...]:
    """Return the protocols without samples that are still to be run."""
    return tuple(p for p in plan.baselines if _missing(plan, p.record, p.key))


def refuse_imitated_bf16(
    device: Any, cells: Iterable[Cell], protocols: Iterable[PlannedProtocol]
) -> None:
    """Refuse to train in bf16 on a GPU that has none; torch would imitate it, many times slower.

    Args:
        device: Torch device.
        cells: Those that are to be trained.
        protocols: Those that are to be run.

    Raises:
        UsageError: Naming every setting that has to change.
    """
    from cerebench.benchmark.device import device_name, has_bf16

    if has_bf16(device):
        return
    rows = (*cells, *protocols)
    names = {row.name: None for row in rows if row.resolved.config.precision == "bf16"}
    if names:
        changes = " ".join(f"--set {name}.precision=fp32" for name in names)
        raise UsageError(
            f"{device_name(device)} ({device}) cannot compute in bf16, which {', '.join(names)} "
            f"would be trained in. Add {changes}, or choose another --device."
        )


def _missing_scores(
    plan: Plan, keys: Mapping[str, str], record: Callable[[str], Path]
) -> tuple[str, ...]:
    return tuple(m for m, key in keys.items() if _missing(plan, record(m), key))


def _missing(plan: Plan, record: Path, key: str) -> bool:
    return store.read_record(plan.folder / record, key) is None


class Runner:
    """Runs the stages of a plan on this machine, one after the other.

    Args:
        plan: What to run.
        registries: Where plugins are found.
        cache: Folder of preprocessed volumes and features.
        device: ``auto``, ``cpu`` or a torch device.
        display: Where progress is told.
    """

    def __init__(
        self,
        plan: Plan,
        registries: Registries,
        cache: Path,
        device: str,
        display: Display,
    ) -> None:
        self.plan, self.registries, self.cache = plan, registries, cache
        self.device_name, self.display = device, display
        self.outcome = Outcome()
        self._stop = False
        self._real: Any = None

    def run(self) -> Outcome:
        """Do everything that is missing.

        Raises:
            DatasetError: If a generator was trained on a test case.
            MissingWeights: If a method still to be trained needs a weight file that is not there.
            UsageError: If something would be trained in bf16 on a GPU without it.
            Interrupted: If a signal asked to stop; the same command continues.
        """
        plan = self.plan
        refuse_leakage(plan)
        todo = {id(c): pending(plan, c) for c in plan.cells}
        lacking = planning.missing_weights(c for c in plan.cells if todo[id(c)].train)
        if lacking:
            raise MissingWeights("\n".join(lacking))
        baselines = pending_baselines(plan)
        refuse_imitated_bf16(
            self._device(),
            (c for c in plan.cells if todo[id(c)].train),
            (*baselines, *(p for left in todo.values() for p in left.protocols)),
        )
        store.write_json(plan.table_of_contents, contents(plan))
        store.write_bytes(plan.folder / plan.split_file, write_split(plan.split, plan.cases))
        anchors = {id(a): pending_anchor(plan, a) for a in plan.anchors}
        missing = sum(p.count for p in todo.values()) + len(baselines)
        missing += sum(len(a) for a in anchors.values())
        self.outcome.kept = self._total() - missing
        if not missing:
            return self.outcome
        with self._signals():
            self._prepare()
            begun: set[Path] = set()
            for cell in plan.cells:
                # A row before it with the same settings may have done what it lacked.
                left = pending(plan, cell) if cell.folder in begun else todo[id(cell)]
                begun.add(cell.folder)
                if left.count:
                    self._cell(cell, left)
            for planned in baselines:
                self._downstream(planned.protocol.info.label, planned, planned.record, planned.key)
            self._anchors(anchors)
        return self.outcome

    def _total(self) -> int:
        per_cell = len(self.plan.metrics) + 1
        cells = sum(
            len(c.scopes) + (c.samples is None) + bool(c.diagnosis_key) + per_cell
            for c in self.plan.cells
        )
        protocols = sum(len(self.plan.downstream_of(c)) for c in self.plan.cells)
        protocols += len(self.plan.baselines)
        return cells + protocols + len(self.plan.anchors) * len(self.plan.metrics)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn the first SIGINT or SIGTERM into a stop at the next safe point; the second kills."""

        def ask(number: int, _frame: object) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
            self.display.say(f"{signal.Signals(number).name}: stopping at the next safe point.")

        try:
            before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: the host of this thread handles signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stopping(self) -> bool:
        return self._stop

    @contextmanager
    def _stage(self, title: str, *records: Path) -> Iterator[Any]:
        """Isolate one stage: its failure is recorded and told, and the run goes on.

        Args:
            title: What the stage is, for people.
            records: Records that the stage owes; a failure is left beside each.
        """
        title = f"{self.plan.folder.name} · {title}"
        began = time.perf_counter()
        try:
            with self.display.task(title) as task:
                yield task
        except Interrupted:
            self.display.ended(title, "interrupted", time.perf_counter() - began)
            raise
        except Exception as error:  # the one place that isolates a cell
            for record in records:
                store.write_failure(record, title, error)
            self._failed(title, error, time.perf_counter() - began)
        else:
            self.outcome.done += 1
            self.display.ended(title, "done", time.perf_counter() - began)

    def _failed(self, title: str, error: BaseException, seconds: float) -> None:
        reason = f"{type(error).__name__}: {error}"
        self.outcome.failed[title] = reason
        self.display.ended(title, "failed", seconds, reason)

    def _prepare(self) -> None:
        """Preprocess the data once and open the real sets."""
        from cerebench.benchmark import figure_data
        from cerebench.benchmark.features import FeatureCache
        from cerebench.benchmark.scoring import RealSets

        title = f"{self.plan.folder.name} · prepare {len(self.plan.cases)} cases"
        began = time.perf_counter()
        with self.display.task(title) as task:

            def update(done: int, total: int) -> None:
                task.update(done, total)
                if self._stop:  # the next run continues here
                    raise Interrupted

            self.prepared = prepare(self.plan.dataset, self.cache, progress=update)
        self.display.ended(title, "done", time.perf_counter() - began)
        info = self.plan.dataset.info
        extractors, cores = self.registries.extractors, usable_cores()
        folder, device = self.cache / "features", str(self._device())
        features = FeatureCache(folder, extractors, workers=cores, device=device)
        self._real = RealSets.of(
            self.prepared,
            self.plan.split,
            info.classes,
            self.plan.dataset.spacing,
            features,
            {case.id: case.patient for case in self.plan.cases},
        )
        files = planning.figure_files(self.plan.folder / "_real", ())
        if not all(path.exists() for path in files.values()):
            figure_data.write(files, self._real.train, self._real)

    def _cell(self, cell: Cell, todo: Pending) -> None:
        """Run the missing stages of one cell; what failed to train or sample is not judged."""
        title = f"{cell.name} · seed {cell.seed}" if cell.scopes else cell.name
        failures = len(self.outcome.failed)
        store.write_json(self.plan.folder / cell.folder / "cell.json", self._describe(cell))
        for scope in todo.train:
            record = self.plan.folder / cell.record("train", scope)
            with self._stage(f"{title} · train {scope}", record) as task:
                self._train(cell, scope, record, task)
        if todo.sample and len(self.outcome.failed) == failures:
            record = self.plan.folder / cell.record("sample", "")
            with self._stage(f"{title} · sample", record) as task:
                self._sample(cell, record, task)
        if len(self.outcome.failed) > failures:
            return
        if todo.metrics or todo.preview:
            records = [self.plan.folder / cell.record("score", m) for m in todo.metrics]
            with self._stage(f"{title} · score", *records) as task:
                self._score_cell(cell, todo.metrics, task)
        if todo.diagnosis:
            record = self.plan.folder / cell.record("diagnosis", "")
            with self._stage(f"{title} · diagnosis", record):
                self._diagnose(cell, record)
        for planned in todo.protocols:
            path, key = cell.record("downstream", planned.name), cell.downstream_keys[planned.name]
            self._downstream(f"{title} · {planned.name}", planned, path, key, cell)

    def _build(self, cell: Cell, scope: str) -> Any:
        """Construct a method with freshly initialised networks, seeded by (seed, scope)."""
        from cerebench.benchmark.training import seeded

        info = self.plan.dataset.info
        with seeded(cell.seed, scope, "init"):
            return cell.method(
                cell.resolved.config,
                size=self.plan.dataset.size,
                classes=info.classes,
                channels=len(info.channels),
            )

    def _train(self, cell: Cell, scope: str, record: Path, task: Any) -> None:
        from cerebench.benchmark.training import train

        plan, info = self.plan, self.plan.dataset.info
        key, folder = cell.train_keys[scope], record.parent
        mark = folder / "config.json"
        found = store.read_json(mark)
        if folder.exists() and (found or {}).get("key") != key:
            store.clear(folder)
        store.write_json(mark, {"key": key, "config": dict(cell.resolved.values)})
        ids = planning.train_ids(plan.cases, plan.split, info.classes, scope)
        device = self._device()
        cost = train(
            self._build(cell, scope),
            self._data(ids),
            folder,
            seed=cell.seed,
            scope=scope,
            device=device,
            progress=lambda phase, step, total, scalars: task.update(
                step, total, " ".join([phase, *(f"{k} {v:.3g}" for k, v in scalars.items())])
            ),
            stop=self._stopping,
        )
        for text in cost.warnings:
            self.display.say(f"{cell.name} · {scope}: {text}")
        fields = {
            "method": cell.method.info.name,
            "method_version": cell.method.info.version,
            "class": scope,
            "seed": cell.seed,
            **asdict(cost),
            "n_train": len(ids),
            "train_ids": ids,
            "versions": versions(),
            "files": store.describe_files(folder, [folder / "model.safetensors"]),
        }
        store.write_record(record, "train", key, fields)

    def _data(self, ids: Sequence[str]) -> Any:
        """Return prepared cases on the device."""
        from cerebench.benchmark.training import TrainingData

        prepared, chosen = self.prepared, self.prepared.positions(ids)
        return TrainingData(
            prepared.volumes[chosen],
            prepared.masks[chosen],
            prepared.labels[chosen],
            ids,
            self._device(),
        )

    def _diagnose(self, cell: Cell, record: Path) -> None:
        """Write what the trained method tells about itself, class by class."""
        from cerebench.benchmark import diagnosis, figure_data
        from cerebench.benchmark.sampling import load_trained

        began = time.perf_counter()
        plan, names = self.plan, self.plan.dataset.info.classes
        folder = plan.folder / cell.folder
        methods = load_trained(partial(self._build, cell), cell.scopes, folder, self._device())
        told, maps, masks = [], {}, self._masks(cell)
        for label, name in enumerate(names):
            method = methods.get(name) or methods["all"]
            train = self._data(planning.train_ids(plan.cases, plan.split, names, name))
            test = self._data(planning.test_ids(plan.cases, plan.split, names, name))
            told += diagnosis.diagnostics(
                method,
                name,
                label,
                train,
                test,
                n=plan.experiment.samples_per_class,
                seed=cell.seed,
                masks=masks,
            )
            maps |= diagnosis.importance_maps(method, name, test)
        files = []
        if maps:
            files = [record.parent / "maps.npz"]
            figure_data.write_arrays(files[0], maps)
        fields = {
            "seconds": time.perf_counter() - began,
            "diagnostics": told,
            "files": store.describe_files(record.parent, files),
        }
        store.write_record(record, "diagnosis", cell.diagnosis_key, fields)

    def _sample(self, cell: Cell, record: Path, task: Any) -> None:
        from cerebench.benchmark.sampling import SampleSpec, load_trained, sample

        info, device = self.plan.dataset.info, self._device()
        folder = self.plan.folder / cell.folder
        methods = load_trained(partial(self._build, cell), cell.scopes, folder, device)
        spec = SampleSpec(
            classes=info.classes,
            channels=info.channels,
            spacing=self.plan.dataset.spacing,
            n=self.plan.experiment.samples_per_class,
            seed=cell.seed,
            key=cell.sample_key,
            generator=f"{cell.method.info.label} ({cell.resolved.preset})",
            masks=self._masks(cell),
            training=self._training_cases(),
        )
        fields = sample(
            methods, spec, record.parent, device=device, progress=task.update, stop=self._stopping
        )
        store.write_record(record, "sample", cell.sample_key, fields)

    def _training_cases(self) -> tuple[tuple[str, str, str], ...]:
        """Return (case, patient, class) of every training case; they travel with the samples."""
        plan, names = self.plan, self.plan.dataset.info.classes
        chosen = set(plan.split.train)
        return tuple((c.id, c.patient, names[c.label]) for c in plan.cases if c.id in chosen)

    def _masks(self, cell: Cell) -> Any:
        """Return the training masks that a mask-conditioned method samples from, else None."""
        from cerebench.benchmark.sampling import TrainingMasks

        if cell.method.info.conditioning != "mask":
            return None
        plan, prepared = self.plan, self.prepared
        names = plan.dataset.info.classes
        ids = {n: planning.train_ids(plan.cases, plan.split, names, n) for n in names}
        masks = {n: prepared.masks[prepared.positions(ids[n])] for n in names}
        return TrainingMasks(masks, ids, cell.seed)

    def _score_cell(self, cell: Cell, metrics: tuple[str, ...], task: Any) -> None:
        from cerebench.benchmark import figure_data, sampling

        plan = self.plan
        generated = {}
        for name, volumes in self._volumes(cell).items():
            partners: tuple[str, ...] = ()
            if cell.samples is None:
                folder = (plan.folder / cell.record("sample", "")).parent
                partners = sampling.mask_donors(folder, volumes.ids)
            generated[name] = self._volume_set(volumes, volumes.ids, partners)
        if cell.samples is not None:
            self._record_samples(cell, generated)
        self._score(generated, {m: cell.record("score", m) for m in metrics}, cell.score_keys, task)
        done = [m for m in cell.score_keys if (plan.folder / cell.record("score", m)).exists()]
        files = planning.figure_files(plan.folder / cell.folder / "score", done)
        figure_data.write(files, generated, self._real)

    def _volumes(self, cell: Cell) -> dict[str, Any]:
        """Return the first n volumes of each class, read when indexed."""
        from cerebench.benchmark.sampling import stored_volumes
        from cerebench.metrics.base import LazyVolumes

        n, names = self.plan.experiment.samples_per_class, self.plan.dataset.info.classes
        if cell.samples is not None:
            given = {name: cell.samples.classes[name] for name in names}
            return {c: LazyVolumes(v.ids[:n], v.__getitem__) for c, v in given.items()}
        folder = (self.plan.folder / cell.record("sample", "")).parent
        return {name: stored_volumes(folder, cell.sample_key, name, n) for name in names}

    def _downstream(
        self, title: str, planned: PlannedProtocol, path: Path, key: str, cell: Cell | None = None
    ) -> None:
        """Run one protocol on the samples of a cell, or on the data set alone."""
        from cerebench.benchmark import downstream

        plan, record = self.plan, self.plan.folder / path
        with self._stage(title, record) as task:
            generated = None if cell is None else self._volumes(cell)
            classes = plan.dataset.info.classes
            given = downstream.material(self.prepared, plan.split, classes, generated)
            work = record.with_suffix("")
            trainer = downstream.HarnessTrainer(
                work, key, self._device(), task.update, self._stopping
            )
            fields = downstream.run(planned, given, trainer)
            store.write_record(record, "downstream", key, {**fields, "versions": versions()})
            if work.exists():
                store.clear(work)

    def _record_samples(self, cell: Cell, generated: Mapping[str, Any]) -> None:
        """Write the sample record of somebody's folder: what it holds, at no cost to us."""
        from cerebench.metrics.foreground import foreground_voxels

        fields = {
            "seconds": None,
            "seconds_per_sample": None,
            "peak_mib": None,
            "device": None,
            "n": {name: len(volumes) for name, volumes in generated.items()},
            "clip_fraction": {n: s.clip_fraction for n, s in cell.samples.classes.items()},
            "foreground": {
                name: sum(foreground_voxels(v) for v in volumes) / len(volumes)
                for name, volumes in generated.items()
            },
            "files": {},
        }
        record = self.plan.folder / cell.record("sample", "")
        store.write_record(record, "sample", cell.sample_key, fields)

    def _anchors(self, todo: Mapping[int, tuple[str, ...]]) -> None:
        """Score the floor and control rows, built at the same n as the methods' rows."""
        from cerebench.benchmark.scoring import build_control

        n = self.plan.experiment.samples_per_class
        for anchor in self.plan.anchors:
            metrics = todo[id(anchor)]
            if not metrics:
                continue
            owed = [self.plan.folder / anchor.record(m) for m in metrics]
            with self._stage(f"score {anchor.control.label}", *owed) as task:
                counts = dict.fromkeys(self.plan.dataset.info.classes, n)
                real, generated = build_control(anchor.control, self._real, counts)
                records = {m: anchor.record(m) for m in metrics}
                self._score(generated, records, anchor.score_keys, task, real)

    def _volume_set(self, volumes: Any, ids: Any, partners: tuple[str, ...]) -> Any:
        from cerebench.benchmark.scoring import materialise
        from cerebench.metrics.base import VolumeSet

        return VolumeSet(materialise(volumes), ids, self._real.features, partners)

    def _score(
        self,
        generated: Mapping[str, Any],
        records: Mapping[str, Path],
        keys: Mapping[str, str],
        task: Any,
        real: Any = None,
    ) -> None:
        from cerebench.benchmark.scoring import score

        planned = {m.metric.name: m for m in self.plan.metrics}
        wanted = {
            self.plan.folder / path: (planned[name], keys[name]) for name, path in records.items()
        }
        names = iter(range(len(wanted)))
        failures = score(
            generated,
            real or self._real,
            wanted,
            report=lambda name: task.update(next(names), len(wanted), name),
            stop=self._stopping,
        )
        for path, error in failures:
            self._failed(f"{self.plan.folder.name} · {path.parent.name} {path.stem}", error, 0.0)

    def _device(self) -> Any:
        from cerebench.benchmark.device import pick_device

        return pick_device(self.device_name)

    def _describe(self, cell: Cell) -> dict[str, Any]:
        """Return cell.json: everything that explains a result but is not the result."""
        resolved = cell.resolved
        device = self._device()
        return {
            "schema": store.SCHEMA,
            "kind": "cell",
            # A variant shares the folder of its method's equal settings, and so its description.
            "name": cell.name if cell.method is None else cell.method.info.name,
            "label": cell.label if cell.method is None else cell.method.info.label,
            "seed": cell.seed,
            "size": self.plan.dataset.size,
            "classes": list(self.plan.dataset.info.classes),
            "channels": list(self.plan.dataset.info.channels),
            "spacing": list(self.plan.dataset.spacing),
            "scopes": list(cell.scopes),
            "preset": resolved.preset if resolved else "",
            "config": dict(resolved.values) if resolved else {},
            "sources": dict(resolved.sources) if resolved else {},
            "fingerprint": self.plan.fingerprint,
            "split": {"train": list(self.plan.split.train), "test": list(self.plan.split.test)},
            "train_keys": dict(cell.train_keys),
            "sample_key": cell.sample_key,
            "suite_version": suite_version(),
            "commit": commit(),
            "versions": versions(),
            "hardware": hardware(device),
        }


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that numbers depend on."""
    packages = ("cerebench", "torch", "monai", "numpy", "scipy", "nibabel")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def hardware(device: Any) -> dict[str, Any]:
    """Return the machine's facts: processor, threads, and the torch device that is used."""
    import torch

    from cerebench.benchmark.device import device_name

    return {
        "device": device_name(device),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def commit() -> str | None:
    """Return the commit of a source checkout, ``+changes`` when it is dirty, else None."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        state = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+changes" if state.stdout.strip() else "")
