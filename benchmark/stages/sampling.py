"""Volumes from trained networks, in fixed shards, written as a BIDS derivative.

Sample i of a class depends on the networks, the seed, the class and i alone: its noise comes from a
generator of its own, and it is always computed in the same shard of eight. So a set of 250 extends
the set of 32, and a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cerebench.benchmark.device import device_name, exact_arithmetic, peak_mib, reset_peak
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.registry import suite_version
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.errors import BadSample, Interrupted
from cerebench.benchmark.stages.training import derive_seed, load_networks
from cerebench.core.files import json_bytes, read_json, write_bytes, write_where_different
from cerebench.core.hashing import sha256_bytes, sha256_file
from cerebench.core.machine import versions
from cerebench.core.records.files import read
from cerebench.core.records.trained import WEIGHTS, FileFact, SampleRecord, TrainRecord
from cerebench.datasets.folders import derivative
from cerebench.datasets.folders.derivative import sidecar, sidecar_facts, volume_name
from cerebench.datasets.folders.names import folder_names
from cerebench.datasets.folders.pseudonyms import pseudonyms
from cerebench.datasets.scans.volumes import nifti_bytes, read_nifti
from cerebench.methods.base import Conditions, Method
from cerebench.metrics.base import LazyVolumes
from cerebench.metrics.voxel.foreground import foreground_voxels

if TYPE_CHECKING:
    from cerebench.benchmark.display import Task
    from cerebench.benchmark.engine.rows import FolderRow, TrainedRow
    from cerebench.benchmark.engine.workbench import Workbench

SHARD = 8  # samples per shard; part of every sample key, so never changed lightly
DERIVED = ("score", "diagnosis", "downstream")  # folders of a cell that samples lead to
DESCRIPTION = "dataset_description.json"
_SIDECAR = {"Class", "Index", "Seed", "ClippedFraction", "ForegroundVoxels"}


class TrainingMasks:
    """Masks for methods that are conditioned on one: those of training cases, never of test cases.

    Every training case of the class is used once, in a random order, before any is used again.

    Args:
        masks: Class name to (N, 1, D, H, W) uint8 masks.
        ids: Class name to the ids of these cases.
        seed: The cell's seed.
    """

    def __init__(
        self,
        masks: Mapping[str, NDArray[np.uint8]],
        ids: Mapping[str, Sequence[str]],
        seed: int,
    ) -> None:
        self._masks, self._ids, self._seed = masks, ids, seed

    def draw(self, name: str, index: int) -> tuple[NDArray[np.uint8], str]:
        """Return the mask of a class's sample of this index, and the case it is taken from."""
        count = len(self._ids[name])
        seed = derive_seed(self._seed, name, "masks", index // count)
        generator = torch.Generator().manual_seed(seed)
        # On the CPU, where the generator is, whatever torch's default device is.
        chosen = int(torch.randperm(count, generator=generator, device="cpu")[index % count])
        return self._masks[name][chosen], self._ids[name][chosen]


@dataclass(frozen=True)
class SampleSpec:
    """What is sampled: n volumes of each class, and how the files describe themselves.

    ``masks`` is given for methods conditioned on a mask, and for no other. ``training`` are the
    (case, patient, class) that the networks were trained on; they travel with the samples, their
    names hashed with ``salt``, or in clear text without one.
    ``networks`` are the SHA-256 of the weights by trained instance, where they are known.
    """

    classes: tuple[str, ...]
    channels: tuple[str, ...]
    spacing: tuple[float, float, float]
    n: int
    seed: int
    key: str
    generator: str
    masks: TrainingMasks | None = None
    training: tuple[tuple[str, str, str], ...] = ()
    salt: bytes | None = None
    networks: Mapping[str, str] = field(default_factory=dict)

    def subject(self, name: str, index: int) -> str:
        """Return the BIDS subject of a class's sample of this index."""
        return subject_of(self.classes, name, index)


def subject_of(classes: Sequence[str], name: str, index: int) -> str:
    """Return the BIDS subject of a sample: ``sub-<folder name of the class><five digits>``."""
    return f"sub-{folder_names(classes)[name]}{index:05d}"


class OtherBits(Exception):
    """A sample drawn again is not what its record vouches for: processor or torch are others."""


def sample(
    methods: Mapping[str, Method],
    spec: SampleSpec,
    folder: Path,
    *,
    device: torch.device,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
    root: Path | None = None,
    found: SampleRecord | None = None,
    derived: Sequence[Path] = (),
) -> SampleRecord:
    """Write ``spec.n`` volumes of each class to a folder, keeping those that are intact.

    A file that is gone or damaged is drawn again in its shard. Where that does not give the
    recorded bits, or the networks are no longer those that the others came from, nothing is mixed:
    the whole set is drawn anew, after everything that was derived from it is removed.

    Args:
        methods: Trained instance by scope (class name, or ``all``).
        spec: What to sample.
        folder: The cell's ``sample`` folder; cleared when it holds samples of another key.
        device: Where the networks run.
        progress: Called with (volumes written, volumes asked for).
        stop: Asked before every shard.
        root: The store, outside of which nothing is cleared; the folder's parent if not given.
        found: An earlier record of this key, whose files need not hold any more.
        derived: Folders of what is computed from the samples.

    Returns:
        The stage's record.

    Raises:
        BadSample: If the method returns something that is not a set of volumes.
        ForeignFolder: If a folder that is not ours is in the way.
        Interrupted: If ``stop`` turned true.
    """
    before = found
    if before:  # what an earlier record vouches for is kept, also where fewer are asked for
        spec = replace(spec, n=max(spec.n, *before.n.values()))
    reset_peak(device)
    drawing = _Drawing(methods, spec, folder, device, progress, stop)
    reason, redrawn = _other_networks(folder, spec), ""
    if not reason:
        redrawn = _describe(folder, spec, root or folder.parent, recorded=before is not None)
        try:
            drawing.draw(before.files if before else {})
        except OtherBits as difference:
            reason = str(difference)
    if reason:
        store.forget(derived)
        before = None
        drawing = _Drawing(methods, spec, folder, device, progress, stop)
        redrawn = _describe(folder, spec, root or folder.parent, recorded=False, redrawn=reason)
        drawing.draw({})
    _participants(folder, spec)
    sidecars = {name: _sidecars(folder, spec, name) for name in spec.classes}
    seconds, made = drawing.seconds, drawing.made
    earlier = before.seconds_per_sample if before else None
    return SampleRecord(
        seconds=seconds + ((before and before.seconds) or 0.0),
        seconds_per_sample=seconds / made if made else earlier,
        peak_mib=peak_mib(device),
        device=device_name(device),
        n=dict.fromkeys(spec.classes, spec.n),
        clip_fraction={c: _mean(s, "ClippedFraction") for c, s in sidecars.items()},
        foreground={c: _mean(s, "ForegroundVoxels") for c, s in sidecars.items()},
        networks=dict(spec.networks),
        restored=tuple(drawing.restored),
        redrawn=redrawn or None,
        files=store.describe_files(folder, _written(folder, spec)),
        versions=versions(),
    )


class _Drawing:
    """One pass over the shards of a set: draws those of which a file is missing or damaged."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        spec: SampleSpec,
        folder: Path,
        device: torch.device,
        progress: Callable[[int, int], None],
        stop: Callable[[], bool],
    ) -> None:
        self.methods, self.spec, self.folder = methods, spec, folder
        self.device, self.progress, self.stop = device, progress, stop
        self.seconds, self.made = 0.0, 0
        self.restored: list[str] = []  # recorded files that were written again

    def draw(self, recorded: Mapping[str, FileFact]) -> None:
        """Write what is missing.

        Args:
            recorded: What a record vouches for: file below the folder to its facts.

        Raises:
            OtherBits: If a volume drawn again has other bits than the record says.
        """
        spec, total = self.spec, self.spec.n * len(self.spec.classes)
        for label, name in enumerate(spec.classes):
            method = self.methods.get(name) or self.methods["all"]
            for first in range(0, spec.n, SHARD):
                if self.stop():
                    raise Interrupted
                wanted = range(first, min(first + SHARD, spec.n))
                lacking = {i: _lacking(self.folder, spec, name, i, recorded) for i in wanted}
                if any(lacking.values()):
                    began = time.perf_counter()
                    volumes = sample_shard(
                        method, spec.seed, label, name, first, self.device, spec.masks
                    )
                    self.seconds += time.perf_counter() - began
                    self.made += SHARD
                    for i in wanted:
                        self._write(name, i, volumes[i - first], lacking[i], recorded)
                self.progress(label * spec.n + wanted[-1] + 1, total)

    def _write(
        self,
        name: str,
        index: int,
        volume: NDArray[np.float32],
        lacking: Sequence[Path],
        recorded: Mapping[str, FileFact],
    ) -> None:
        """Write the lacking files of one sample, the volumes before their sidecars."""
        if not lacking:
            return
        files = _encoded(self.folder, self.spec, name, index, volume)
        for path, data in files.items():
            fact = recorded.get(path.relative_to(self.folder).as_posix())
            if fact and path.suffix == ".gz" and _sha256(data) != fact.sha256:
                raise OtherBits(
                    f"{path.name} was damaged, and drawing it again gave other bits than its "
                    "record: the processor or torch is another one."
                )
        for path in lacking:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, files[path])
            told = path.relative_to(self.folder).as_posix()
            if told in recorded:
                self.restored.append(told)


def _lacking(
    folder: Path,
    spec: SampleSpec,
    name: str,
    index: int,
    recorded: Mapping[str, FileFact],
) -> list[Path]:
    """Return the files of one sample that are missing or damaged; all are hashed.

    The record of the whole set will vouch for those that stay, too. A record tells the content of a
    file; without one the sidecar, which is written last, does.
    """
    lacking = []
    for volume in _volume_paths(folder, spec, name, index):
        described = sidecar(volume)
        facts = read_json(described)
        told = facts if isinstance(facts, dict) and facts.keys() >= _SIDECAR else {}
        claims = [recorded.get(path.relative_to(folder).as_posix()) for path in (volume, described)]
        if claims[0]:
            holds = store.file_holds(volume, claims[0], hashed=True)
        else:
            holds = volume.is_file() and sha256_file(volume) == told.get("VolumeSHA256")
        if not holds:
            lacking.append(volume)
        # A record that vouches for volumes alone is one of 0.1.0, whose sidecars tell no hash.
        if claims[1]:
            holds, told = store.file_holds(described, claims[1], hashed=True), facts
        if not (told and holds):
            lacking.append(described)
    return lacking


def trained_weights(cell: Path, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of the weights of a cell's trained instances, by scope.

    Args:
        cell: The cell's folder.
        keys: Scope to training key.
    """
    places = folder_names(list(keys))
    paths = {scope: cell / "train" / place / "record.json" for scope, place in places.items()}
    records = {s: store.read_claim(path, keys[s], TrainRecord) for s, path in paths.items()}
    return {s: r.files[WEIGHTS].sha256 for s, r in records.items() if r}


def load_trained(
    build: Callable[[str], Method], scopes: Iterable[str], cell: Path, device: torch.device
) -> dict[str, Method]:
    """Return the trained instances of a cell's folder by scope, on a device, in eval mode.

    Raises:
        Damaged: If weights are not what their record vouches for.
    """
    methods = {scope: build(scope) for scope in scopes}
    places = folder_names(list(methods))
    for scope, method in methods.items():
        folder = cell / "train" / places[scope]
        record = read(TrainRecord, folder / "record.json")
        fact = record[1].files[WEIGHTS] if record else None
        load_networks(method.nets, folder / WEIGHTS, device, fact)
    return methods


def sample_shard(
    method: Method,
    seed: int,
    label: int,
    name: str,
    first: int,
    device: torch.device,
    masks: TrainingMasks | None = None,
) -> NDArray[np.float32]:
    """Compute one shard of eight volumes, (8, C, D, H, W) float32, not yet clipped.

    Raises:
        BadSample: If shape, type or values are not those of volumes.
    """
    with torch.inference_mode(), exact_arithmetic(device):
        volumes = method.sample(*requests(seed, label, name, range(first, first + SHARD), masks))
    expected = (SHARD, method.channels, *[method.size] * 3)
    title = method.info.name
    if not isinstance(volumes, torch.Tensor) or tuple(volumes.shape) != expected:
        got = tuple(volumes.shape) if isinstance(volumes, torch.Tensor) else type(volumes).__name__
        raise BadSample(
            f"{title} returned {got}; sample() must return a tensor of shape {expected}."
        )
    if volumes.dtype != torch.float32:
        raise BadSample(f"{title} returned {volumes.dtype}; samples must be float32. Add .float().")
    found = volumes.cpu().numpy()
    if not np.isfinite(found).all():
        raise BadSample(
            f"{title} returned NaN or infinite voxels for class {name}, samples {first} to "
            f"{first + SHARD - 1}. Look at its training log for a divergence."
        )
    return found


def requests(
    seed: int, label: int, name: str, indices: range, masks: TrainingMasks | None
) -> tuple[Conditions, list[torch.Generator]]:
    """Return what samples of these indices are asked to be, and their generators.

    Tensors are made on torch's default device.
    """
    rngs = [
        torch.Generator().manual_seed(derive_seed(seed, name, "sample", index)) for index in indices
    ]
    drawn = [masks.draw(name, index)[0] for index in indices] if masks else None
    conditions = Conditions(
        torch.full((len(indices),), label, dtype=torch.int64),
        None if drawn is None else torch.tensor(np.stack(drawn), dtype=torch.float32),
    )
    return conditions, rngs


def stored_volumes(
    folder: Path, spec_key: str, classes: Sequence[str], name: str, n: int
) -> LazyVolumes:
    """Return the first n stored volumes of a class, read when indexed; ids are the subjects.

    Reading one that is not what the record of the samples vouches for raises ``Damaged``.

    Args:
        folder: A cell's ``sample`` folder.
        spec_key: Key of the samples.
        classes: Labels of all classes.
        name: Label of this class.
        n: How many volumes.

    Raises:
        BadSample: If the folder holds samples of another key, or fewer than n.
    """
    description = _description(folder) or {}
    if description.get("Key") != spec_key:
        raise BadSample(f"{folder} holds samples of another configuration. Run bench run again.")
    channels = description.get("Channels", ["flair"])
    # By exact names: a pattern would take the samples of class A1 for those of class A, too.
    subjects = [subject_of(classes, name, index) for index in range(n)]
    files = [[folder / s / "anat" / volume_name(s, c) for c in channels] for s in subjects]
    files = [paths for paths in files if all(p.exists() for p in paths)]
    if len(files) < n:
        raise BadSample(
            f"{folder} holds {len(files)} of {n} samples of {name}. Run bench run again."
        )
    ids = [paths[0].parents[1].name for paths in files]
    vouched = _vouched(folder, spec_key)

    def read_channel(path: Path) -> NDArray[np.float32]:
        store.verify(path, vouched.get(path.relative_to(folder).as_posix()))
        return read_nifti(path)[0][None]

    return LazyVolumes(ids, lambda i: np.concatenate([read_channel(p) for p in files[i]]))


def mask_donors(
    folder: Path, spec_key: str, ids: Sequence[str], known: Sequence[str], salt: bytes | None
) -> tuple[str, ...]:
    """Return the training case whose mask each stored volume was made from; empty without masks.

    Args:
        folder: The samples.
        spec_key: Key of the stage that made them.
        ids: Those asked about.
        known: Names of the training cases, which sidecars may have as hashes.
        salt: Of these hashes, if there are any.

    Raises:
        Damaged: If a sidecar is not what the record of the samples vouches for.
    """
    sidecars = [min((folder / subject / "anat").glob("*.json")) for subject in ids]
    vouched = _vouched(folder, spec_key)
    for path in sidecars:
        store.verify(path, vouched.get(path.relative_to(folder).as_posix()))
    told = [json.loads(path.read_text("utf-8")) for path in sidecars]
    donors: list[str] = [facts["MaskOf"] for facts in told if "MaskOf" in facts]
    if salt is None or not donors:
        return tuple(donors)
    names = {hashed: name for name, hashed in pseudonyms(known, salt).items()}
    return tuple(names.get(donor, donor) for donor in donors)


def _vouched(folder: Path, key: str) -> Mapping[str, FileFact]:
    """Return what the record of a sample folder says of its files."""
    record = store.read_claim(folder / "record.json", key, SampleRecord)
    return record.files if record else {}


def _volume_paths(folder: Path, spec: SampleSpec, name: str, index: int) -> list[Path]:
    """Return the volumes of one sample, one a channel; each has a sidecar."""
    subject = spec.subject(name, index)
    return [folder / subject / "anat" / volume_name(subject, c) for c in spec.channels]


def _encoded(
    folder: Path, spec: SampleSpec, name: str, index: int, volume: NDArray[np.float32]
) -> dict[Path, bytes]:
    """Return the files of one sample with their content, volumes before their sidecars."""
    clipped = float(np.mean(np.abs(volume) > 1))
    volume = np.clip(volume, -1, 1)
    facts = {
        "Generator": spec.generator,
        "Class": name,
        "Index": index,
        "Seed": spec.seed,
        "ClippedFraction": clipped,
        "ForegroundVoxels": foreground_voxels(volume),
    }
    if spec.masks is not None:
        donor = spec.masks.draw(name, index)[1]
        facts["MaskOf"] = pseudonyms([donor], spec.salt)[donor] if spec.salt else donor
    files, sidecars = {}, {}
    for channel, path in zip(volume, _volume_paths(folder, spec, name, index), strict=True):
        files[path] = nifti_bytes(path, channel, spec.spacing)
        described = sidecar_facts({**facts, "VolumeSHA256": _sha256(files[path])})
        sidecars[sidecar(path)] = json_bytes(described)
    return {**files, **sidecars}


def _sha256(data: bytes) -> str:
    return sha256_bytes(data)


def _sidecars(folder: Path, spec: SampleSpec, name: str) -> list[dict[str, Any]]:
    firsts = (_volume_paths(folder, spec, name, i)[0] for i in range(spec.n))
    return [json.loads(sidecar(path).read_text("utf-8")) for path in firsts]


def _mean(sidecars: Sequence[Mapping[str, Any]], field: str) -> float:
    return float(np.mean([s[field] for s in sidecars]))


def _description(folder: Path) -> dict[str, Any] | None:
    """Return ``dataset_description.json`` of a sample folder, or None where it is damaged."""
    content = read_json(folder / DESCRIPTION)
    return content if isinstance(content, dict) else None


def _other_networks(folder: Path, spec: SampleSpec) -> str:
    """Say that the networks are not those the samples in a folder came from, else nothing."""
    described = _description(folder) or {}
    known = described.get("Networks")
    if described.get("Key") != spec.key or not known or not spec.networks or known == spec.networks:
        return ""
    return "the networks were trained again, to other weights than those of the samples."


def _describe(
    folder: Path, spec: SampleSpec, root: Path, *, recorded: bool, redrawn: str = ""
) -> str:
    """Write the files that describe the set; samples of another key are removed first.

    Args:
        folder: The cell's ``sample`` folder.
        spec: What it holds.
        root: The store, outside of which nothing is cleared.
        recorded: Whether a record of this key vouches for it, so that a damaged description is
            written again and costs no sample.
        redrawn: Why the set is drawn anew.

    Returns:
        Why the set was drawn anew, now or before an interruption.
    """
    before = _description(folder)
    foreign = not recorded if before is None else before.get("Key") != spec.key
    if folder.exists() and (foreign or redrawn):
        store.clear(folder, root, "sample")
        before = None
    store.begin(folder)
    redrawn = redrawn or (before or {}).get("Redrawn", "")
    description = derivative.description(
        f"Synthetic volumes of {spec.generator}",
        suite_version(),
        SourceDatasets=[],
        Channels=list(spec.channels),
        Key=spec.key,
        **({"Networks": dict(spec.networks)} if spec.networks else {}),
        **({"Redrawn": redrawn} if redrawn else {}),
    )
    files = derivative.furniture(f"Synthetic volumes of {spec.generator}")
    if spec.training:
        files[derivative.TRAINING] = derivative.training_cases(spec.training, spec.salt)
    for name, data in {DESCRIPTION: json_bytes(description), **files}.items():
        write_where_different(folder / name, data)
    return redrawn


def _written(folder: Path, spec: SampleSpec) -> Iterator[Path]:
    """Return every file that the record of a set vouches for."""
    for name in spec.classes:
        for index in range(spec.n):
            for path in _volume_paths(folder, spec, name, index):
                yield from (path, sidecar(path))
    tables = (DESCRIPTION, derivative.TRAINING, "participants.tsv", "participants.json")
    for name in (*tables, *derivative.furniture("")):
        if (folder / name).exists():
            yield folder / name


def _participants(folder: Path, spec: SampleSpec) -> None:
    rows = [
        {"participant_id": spec.subject(name, i), "class": name, "seed": spec.seed, "index": i}
        for name in spec.classes
        for i in range(spec.n)
    ]
    for name, data in derivative.participants(rows).items():
        write_where_different(folder / name, data)


def stage(row: TrainedRow) -> Stage:
    """Return the sampling of a row."""
    trainings = tuple(f"train {scope}" for scope in row.scopes)
    record = row.folder / "sample" / "record.json"
    holds = partial(_answers, row)
    return Stage("sample", row.sample_key, record, partial(_sample, row), trainings, holds=holds)


def _answers(row: TrainedRow, folder: Path, record: SampleRecord) -> bool:
    """Say whether recorded samples are enough, and of the networks that are there now."""
    ours = trained_weights(folder / row.folder, row.train_keys)
    known = record.networks or ours  # version 0.1.0 did not record them
    return min(record.n.values()) >= row.common.n and known == ours


def _sample(row: TrainedRow, bench: Workbench, task: Task) -> SampleRecord:
    """Draw the samples of a row, and tell where damage was mended."""
    reference, folder = row.common.reference, bench.folder / row.folder
    spec = SampleSpec(
        classes=tuple(reference.classes),
        channels=tuple(reference.channels),
        spacing=reference.spacing,
        n=row.common.n,
        seed=row.seed,
        key=row.sample_key,
        generator=f"{row.method.info.label} ({row.resolved.preset})",
        masks=bench.masks(row),
        training=reference.training_cases(),
        salt=reference.salt,
        networks=trained_weights(folder, row.train_keys),
    )
    record = sample(
        bench.trained(row),
        spec,
        folder / "sample",
        device=bench.device,
        progress=task.update,
        stop=bench.stop,
        root=bench.plan.out,
        found=store.read_claim(folder / "sample/record.json", row.sample_key, SampleRecord),
        derived=[folder / stage for stage in DERIVED],
    )
    restored = record.restored or ()
    if count := len(restored):
        bench.display.say(
            f"{row.name}: {count} damaged or missing file{'s' * (count != 1)} of the samples drawn "
            f"again to the recorded bits: {', '.join(restored[:3])}{', …' * (count > 3)}"
        )
    if record.redrawn:
        bench.display.say(f"{row.name}: all samples were drawn anew: {record.redrawn}")
    return record


def told_stage(row: FolderRow) -> Stage:
    """Return what is recorded of somebody's samples in the place of a sampling."""
    return Stage(
        "sample", row.sample_key, row.folder / "sample" / "record.json", partial(_tell, row)
    )


def _tell(row: FolderRow, bench: Workbench, task: Task) -> SampleRecord:
    """Return the record of somebody's samples, whose cost nobody measured."""
    generated = bench.judged(row).generated
    return SampleRecord(
        seconds=None,
        seconds_per_sample=None,
        peak_mib=None,
        device=None,
        n={name: len(volumes) for name, volumes in generated.items()},
        clip_fraction=dict(row.clip_fraction),
        foreground={
            name: sum(foreground_voxels(v) for v in volumes) / len(volumes)
            for name, volumes in generated.items()
        },
        files={},
    )
