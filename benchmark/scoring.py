"""The score stage: sets of volumes to records, metric by metric, class by class."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cerebench.benchmark import store
from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.features import FeatureCache
from cerebench.benchmark.plan import SCORE_SEED, PlannedMetric
from cerebench.datasets.base import DatasetError, Split
from cerebench.datasets.cache import Prepared
from cerebench.metrics.base import LazyVolumes, MetricError, Result, Sets, Volume, VolumeSet

PREVIEWS = 4  # volumes per class in preview.npz
Report = Callable[[str], None]


class RealSets:
    """The real volumes of one experiment, by class, shared by every row that is scored.

    Attributes:
        train: Training cases by class: the reference of every score.
        test: Test cases by class, which no generator has seen.
        pooled: Training cases of all classes.
    """

    def __init__(
        self,
        prepared: Prepared,
        split: Split,
        classes: Sequence[str],
        spacing: tuple[float, float, float],
        features: FeatureCache,
    ) -> None:
        self.spacing, self.features, self.split = spacing, features, split

        def subset(ids: Sequence[str], label: int | None) -> VolumeSet:
            order = sorted(prepared.positions(ids))
            chosen = [i for i in order if label is None or prepared.labels[i] == label]
            kept = [prepared.ids[i] for i in chosen]
            volumes = LazyVolumes(kept, lambda index: prepared.volume(chosen[index]))
            return VolumeSet(volumes, kept, features)

        self.train = {name: subset(split.train, label) for label, name in enumerate(classes)}
        self.test = {name: subset(split.test, label) for label, name in enumerate(classes)}
        self.pooled = subset(split.train, None)

    def sets(self, name: str, generated: VolumeSet) -> Sets:
        """Return what metrics of one class are computed on."""
        return Sets(
            generated=generated,
            train=self.train[name],
            test=self.test[name],
            pooled=self.pooled,
            seed=SCORE_SEED,
            spacing=self.spacing,
        )


def materialise(volumes: Sequence[Volume]) -> Sequence[Volume]:
    """Copy lazily made volumes to a temporary file once, so that metrics can read them many times.

    The file has no name and disappears with the array; memory does not grow with the set.
    """
    shape = (len(volumes), *volumes[0].shape)
    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
    for index in range(len(volumes)):
        array[index] = volumes[index]
    return array


def refuse_leakage(train_ids: Sequence[str], split: Split) -> None:
    """Refuse to score a generator that was trained on test cases.

    Raises:
        DatasetError: If a training id is a test id; the message names them.
    """
    leaked = sorted(set(train_ids) & set(split.test))
    if leaked:
        raise DatasetError(
            f"{len(leaked)} test cases were used in training: {', '.join(leaked[:5])}. "
            "Train again with the present split."
        )


def score(
    generated: Mapping[str, VolumeSet],
    real: RealSets,
    metrics: Mapping[Path, tuple[PlannedMetric, str]],
    *,
    report: Report,
    stop: Callable[[], bool],
) -> list[tuple[Path, Exception]]:
    """Compute metrics of one row and write a record each; a metric that fails stops no other.

    Args:
        generated: The row's volumes by class.
        real: The real sets.
        metrics: Record path to metric and key.
        report: Told the name of the metric at work.
        stop: Asked before every metric.

    Returns:
        The failures, each recorded beside where the record would be.
    """
    failures = []
    for path, (planned, key) in metrics.items():
        if stop():
            raise Interrupted
        report(planned.metric.name)
        try:
            rows = [
                _row(planned, real.sets(name, volumes), name, view)
                for name, volumes in generated.items()
                for view in planned.metric.views
            ]
        except Exception as error:  # isolates a metric; recorded with its traceback
            store.write_failure(path, "score", error)
            failures.append((path, error))
            continue
        fields = {
            "metric": planned.metric.name,
            "metric_version": planned.metric.version,
            "recipe": dict(planned.metric.recipe),
            "recipe_hash": planned.recipe_hash,
            "rows": rows,
        }
        store.write_record(path, "score", key, fields)
    return failures


def _row(planned: PlannedMetric, sets: Sets, name: str, view: str) -> dict[str, Any]:
    """Compute one value; a value that cannot exist is a row with its reason."""
    head = {"class": name, "view": view}
    metric = planned.metric
    counts = {"n_real": len(sets.train), "n_generated": len(sets.generated)}
    if planned.unavailable:
        return {**head, **_unavailable(planned.unavailable), **counts}
    if min(counts.values()) < metric.least:
        reason = f"needs at least {metric.least} volumes per set"
        return {**head, **_unavailable(reason), **counts}
    try:
        result = metric.compute(sets, view)
    except MetricError as error:
        return {**head, **_unavailable(str(error)), **counts}
    return {**head, **_values(result)}


def _values(result: Result) -> dict[str, Any]:
    undefined = store.finite(result.value) is None
    return {
        "value": store.finite(result.value),
        "real_value": store.finite(result.real_value),
        "se": store.finite(result.se),
        "uncertainty": result.uncertainty,
        "replicates": {k: [store.finite(v) for v in r] for k, r in result.replicates.items()},
        "n_real": result.n_real,
        "n_generated": result.n_generated,
        "notes": list(result.notes),
        "status": "unavailable" if undefined else "ok",
        "reason": f"the value is {result.value}" if undefined else "",
    }


def _unavailable(reason: str) -> dict[str, Any]:
    return {
        "value": None,
        "real_value": None,
        "se": None,
        "uncertainty": "",
        "replicates": {},
        "notes": [],
        "status": "unavailable",
        "reason": reason,
    }


def write_preview(path: Path, volumes: Mapping[str, VolumeSet]) -> None:
    """Write ``preview.npz``: three centre axial slices of a few volumes per class, by seed."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, group in volumes.items():
        rng = np.random.RandomState(SCORE_SEED)
        chosen = rng.permutation(len(group))[:PREVIEWS]
        arrays[f"{name}/axial"] = np.stack([centre_slices(group[i]) for i in chosen])
        arrays[f"{name}/ids"] = np.array([group.ids[i] for i in chosen])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    store.write_bytes(path, buffer.getvalue())


def centre_slices(volume: Volume) -> NDArray[np.uint8]:
    """Return the three centre axial slices of the first channel, (3, H, W), [-1, 1] to [0, 255]."""
    middle = volume.shape[1] // 2
    part = np.clip(volume[0, middle - 1 : middle + 2], -1, 1)
    return np.rint((part + 1) * 127.5).astype(np.uint8)
