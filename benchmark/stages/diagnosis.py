"""The diagnosis stage: what only a trained method can tell about itself; importance maps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cerebench.benchmark.device import exact_arithmetic
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.stage import Stage
from cerebench.benchmark.errors import BadSample
from cerebench.benchmark.stages.figure_data import centre_slice, write_arrays
from cerebench.benchmark.stages.sampling import TrainingMasks, requests
from cerebench.benchmark.stages.scoring import SCORE_SEED
from cerebench.benchmark.stages.training import TrainingData
from cerebench.core.hashing import key_of
from cerebench.core.records.scored import DiagnosisRecord
from cerebench.core.records.scored import Diagnostic as Diagnosed
from cerebench.methods.base import Diagnostic, Method, has_hook

if TYPE_CHECKING:
    from cerebench.benchmark.display import Task
    from cerebench.benchmark.engine.rows import TrainedRow
    from cerebench.benchmark.engine.workbench import Workbench

MAPS = 2  # volumes per class whose importance maps are kept for figures


def diagnostics(
    method: Method,
    name: str,
    label: int,
    train: TrainingData,
    test: TrainingData,
    *,
    n: int,
    seed: int,
    masks: TrainingMasks | None = None,
) -> list[Diagnosed]:
    """Return the method's diagnostics of one class as a record holds them.

    Args:
        method: The trained instance of the class, on its device, in eval mode.
        name: Class name.
        label: Its label.
        train: The class's training cases, on the method's device.
        test: The class's test cases, likewise.
        n: Samples of the class that are stored.
        seed: The cell's seed.
        masks: For methods conditioned on a mask.

    Raises:
        BadSample: If a value is not finite.
    """
    if not has_hook(type(method), "diagnose"):
        return []
    with torch.inference_mode(), exact_arithmetic(train.device):
        given = method.diagnose(train, test, *requests(seed, label, name, range(n), masks))
    return [_entry(method.info.name, name, diagnostic) for diagnostic in given]


def _entry(method: str, name: str, diagnostic: Diagnostic) -> Diagnosed:
    for kind, values in diagnostic.values.items():
        if not all(math.isfinite(v) for v in values):
            raise BadSample(
                f"{method} diagnosed {diagnostic.name} of class {name}, set {kind}, with a value "
                "that is not finite. Look at its diagnose()."
            )
    return Diagnosed(
        class_=name,
        name=diagnostic.name,
        meaning=diagnostic.meaning,
        values={kind: tuple(map(float, values)) for kind, values in diagnostic.values.items()},
    )


def importance_maps(method: Method, name: str, test: TrainingData) -> dict[str, NDArray[Any]]:
    """Return the class's arrays of ``maps.npz``: centre axial slices and importance of test cases.

    Raises:
        BadSample: If the method's maps have a wrong shape or leave [0, 1].
    """
    if not has_hook(type(method), "explain"):
        return {}
    chosen = np.random.RandomState(SCORE_SEED).permutation(len(test))[:MAPS]
    batch = test.take(torch.from_numpy(chosen))
    with torch.inference_mode(), exact_arithmetic(test.device):
        maps = method.explain(batch.images)
    check_maps(method.info.name, maps, (len(chosen), 1, *batch.images.shape[2:]))
    volumes, middle = batch.images.cpu().numpy(), batch.images.shape[2] // 2
    return {
        f"{name}/axial": np.stack([centre_slice(volume) for volume in volumes]),
        f"{name}/importance": maps[:, 0, middle].cpu().numpy(),
        f"{name}/ids": np.array(batch.ids),
    }


def check_maps(method: str, maps: torch.Tensor, shape: Sequence[int]) -> None:
    """Refuse importance maps that are not (N, 1, D, H, W) float32 in [0, 1]."""
    if tuple(maps.shape) != tuple(shape) or maps.dtype != torch.float32:
        raise BadSample(
            f"{method} explained volumes with {maps.dtype} of shape {tuple(maps.shape)}; "
            f"explain() must return float32 of shape {tuple(shape)}."
        )
    low, high = maps.min().item(), maps.max().item()
    if not 0 <= low <= high <= 1:
        raise BadSample(f"{method} returned importance in [{low:.3g}, {high:.3g}], not [0, 1].")


def stages(row: TrainedRow) -> Iterator[Stage]:
    """Return the diagnosis of a row whose method has hooks for it."""
    if has_hook(row.method, "diagnose") or has_hook(row.method, "explain"):
        asked = {"sample": row.sample_key, "real": row.common.reference.key, "n": row.common.n}
        key, record = key_of({"kind": "diagnosis", **asked}), row.folder / "diagnosis/record.json"
        needs = tuple(f"train {scope}" for scope in row.scopes)
        run, folder = partial(_diagnose, row), record.parent
        yield Stage(
            "diagnosis",
            key,
            record,
            run,
            needs,
            holds=lambda root, found: not store.damaged(root / folder, found.files, hashed=True),
        )


def _diagnose(row: TrainedRow, bench: Workbench, task: Task) -> DiagnosisRecord:
    """Ask the trained instances about themselves, class by class."""
    began = time.perf_counter()
    reference, folder = row.common.reference, bench.folder / row.folder / "diagnosis"
    methods, masks = bench.trained(row), bench.masks(row)
    entries, maps = [], {}
    for label, name in enumerate(reference.classes):
        method = methods.get(name) or methods["all"]
        train, test = bench.data(reference.train_ids(name)), bench.data(reference.test_ids(name))
        entries += diagnostics(
            method, name, label, train, test, n=row.common.n, seed=row.seed, masks=masks
        )
        maps |= importance_maps(method, name, test)
        task.update(label + 1, len(reference.classes))
    files = [folder / "maps.npz"] if maps else []
    for path in files:
        write_arrays(path, maps)
    return DiagnosisRecord(
        seconds=time.perf_counter() - began,
        diagnostics=tuple(entries),
        files=store.describe_files(folder, files),
    )
