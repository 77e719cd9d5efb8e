"""Volumes from trained networks, in fixed shards, written as a BIDS derivative.

Sample i of a class depends on the networks, the seed, the class and i alone: its noise comes from a
generator of its own, and it is always computed in the same shard of eight. So a set of 250 extends
the set of 32, and a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cerebench.benchmark import store
from cerebench.benchmark.device import device_name, exact_arithmetic, peak_mib, reset_peak
from cerebench.benchmark.errors import BadSample, Interrupted
from cerebench.benchmark.plan import SHARD
from cerebench.benchmark.registry import suite_version
from cerebench.benchmark.training import derive_seed, load_networks
from cerebench.datasets import derivative
from cerebench.datasets.derivative import sidecar, sidecar_facts, volume_name
from cerebench.datasets.volumes import read_nifti, write_nifti
from cerebench.methods.base import Conditions, Method
from cerebench.metrics.base import LazyVolumes
from cerebench.metrics.foreground import foreground_voxels


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
    (case, patient, class) that the networks were trained on; they travel with the samples.
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


def sample(
    methods: Mapping[str, Method],
    spec: SampleSpec,
    folder: Path,
    *,
    device: torch.device,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Write ``spec.n`` volumes of each class to a folder, keeping those already there.

    Args:
        methods: Trained instance by scope (class name, or ``all``).
        spec: What to sample.
        folder: The cell's ``sample`` folder; cleared when it holds samples of another key.
        device: Where the networks run.
        progress: Called with (volumes written, volumes asked for).
        stop: Asked before every shard.

    Returns:
        The fields of the stage's record.

    Raises:
        BadSample: If the method returns something that is not a set of volumes.
        Interrupted: If ``stop`` turned true.
    """
    _describe(folder, spec)
    seconds, made = 0.0, 0
    total = spec.n * len(spec.classes)
    reset_peak(device)
    for label, name in enumerate(spec.classes):
        method = methods.get(name) or methods["all"]
        for first in range(0, spec.n, SHARD):
            if stop():
                raise Interrupted
            wanted = range(first, min(first + SHARD, spec.n))
            if not all(_paths(folder, spec, name, i)[-1].exists() for i in wanted):
                began = time.perf_counter()
                volumes = sample_shard(method, spec.seed, label, name, first, device, spec.masks)
                seconds += time.perf_counter() - began
                made += SHARD
                for i in wanted:
                    _write(folder, spec, name, i, volumes[i - first])
            progress(label * spec.n + wanted[-1] + 1, total)
    sidecars = {name: _sidecars(folder, spec, name) for name in spec.classes}
    _participants(folder, spec)
    return {
        "seconds": seconds,
        "seconds_per_sample": seconds / made if made else None,
        "peak_mib": peak_mib(device),
        "device": device_name(device),
        "n": dict.fromkeys(spec.classes, spec.n),
        "clip_fraction": {c: _mean(s, "ClippedFraction") for c, s in sidecars.items()},
        "foreground": {c: _mean(s, "ForegroundVoxels") for c, s in sidecars.items()},
        "files": store.describe_files(folder, folder.rglob("*.nii.gz")),
    }


def load_trained(
    build: Callable[[str], Method], scopes: Iterable[str], cell: Path, device: torch.device
) -> dict[str, Method]:
    """Return the trained instances of a cell's folder by scope, on a device, in eval mode."""
    methods = {scope: build(scope) for scope in scopes}
    for scope, method in methods.items():
        load_networks(method.nets, cell / "train" / scope / "model.safetensors", device)
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


def stored_volumes(folder: Path, spec_key: str, name: str, n: int) -> LazyVolumes:
    """Return the first n stored volumes of a class, read when indexed; ids are the subjects.

    Raises:
        BadSample: If the folder holds samples of another key, or fewer than n.
    """
    description = store.read_json(folder / "dataset_description.json") or {}
    if description.get("Key") != spec_key:
        raise BadSample(f"{folder} holds samples of another configuration. Run bench run again.")
    channels = description.get("Channels", ["flair"])
    files = [
        [anat / volume_name(anat.parent.name, c) for c in channels]
        for anat in sorted(folder.glob(f"sub-{name}*/anat"))
    ]
    files = [paths for paths in files if all(p.exists() for p in paths)][:n]
    if len(files) < n:
        raise BadSample(
            f"{folder} holds {len(files)} of {n} samples of {name}. Run bench run again."
        )
    ids = [paths[0].parents[1].name for paths in files]
    return LazyVolumes(ids, lambda i: np.concatenate([read_volume(p) for p in files[i]]))


def mask_donors(folder: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the training case whose mask each stored volume was made from; empty without masks."""
    sidecars = [min((folder / subject / "anat").glob("*.json")) for subject in ids]
    told = [json.loads(path.read_text("utf-8")) for path in sidecars]
    return tuple(facts["MaskOf"] for facts in told if "MaskOf" in facts)


def read_volume(path: Path) -> NDArray[np.float32]:
    """Read one channel of a stored volume, (1, D, H, W) float32 in [-1, 1]."""
    return read_nifti(path)[0][None]


def _paths(folder: Path, spec: SampleSpec, name: str, index: int) -> list[Path]:
    """Return the files of one sample: one volume a channel, then the sidecar, written last."""
    subject = f"sub-{name}{index:05d}"
    channels = [folder / subject / "anat" / volume_name(subject, c) for c in spec.channels]
    return [*channels, sidecar(channels[0])]


def _write(
    folder: Path, spec: SampleSpec, name: str, index: int, volume: NDArray[np.float32]
) -> None:
    *files, last = _paths(folder, spec, name, index)
    clipped = float(np.mean(np.abs(volume) > 1))
    volume = np.clip(volume, -1, 1)
    for channel, path in zip(volume, files, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, channel, spec.spacing)
    facts = {
        "Generator": spec.generator,
        "Class": name,
        "Index": index,
        "Seed": spec.seed,
        "ClippedFraction": clipped,
        "ForegroundVoxels": foreground_voxels(volume),
    }
    if spec.masks is not None:
        facts["MaskOf"] = spec.masks.draw(name, index)[1]
    for path in files[1:]:
        store.write_json(sidecar(path), sidecar_facts(facts))
    store.write_json(last, sidecar_facts(facts))


def _sidecars(folder: Path, spec: SampleSpec, name: str) -> list[dict[str, Any]]:
    return [json.loads(_paths(folder, spec, name, i)[-1].read_text("utf-8")) for i in range(spec.n)]


def _mean(sidecars: Sequence[Mapping[str, Any]], field: str) -> float:
    return float(np.mean([s[field] for s in sidecars]))


def _describe(folder: Path, spec: SampleSpec) -> None:
    """Write ``dataset_description.json``; samples of another key are removed first."""
    path = folder / "dataset_description.json"
    found = store.read_json(path)
    if folder.exists() and (found is None or found.get("Key") != spec.key):
        store.clear(folder)
        found = None
    if found is None:
        told = derivative.description(
            f"Synthetic volumes of {spec.generator}",
            suite_version(),
            SourceDatasets=[],
            Channels=list(spec.channels),
            Key=spec.key,
        )
        store.write_json(path, told)
    files = derivative.furniture(f"Synthetic volumes of {spec.generator}")
    if spec.training:
        files[derivative.TRAINING] = derivative.training_cases(spec.training)
    for name, data in files.items():
        store.write_bytes(folder / name, data)


def _participants(folder: Path, spec: SampleSpec) -> None:
    rows = [
        {"participant_id": f"sub-{name}{i:05d}", "class": name, "seed": spec.seed, "index": i}
        for name in spec.classes
        for i in range(spec.n)
    ]
    for name, data in derivative.participants(rows).items():
        store.write_bytes(folder / name, data)
