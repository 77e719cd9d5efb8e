"""What stages work with: the data, the device and the sets of volumes, opened when first needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.benchmark.display import Display
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.engine.rows import DatasetCommon
from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.core.machine import usable_cores

if TYPE_CHECKING:
    import torch

    from cerebench.benchmark.engine.rows import JudgedRow, TrainedRow
    from cerebench.benchmark.planning.plan import Plan
    from cerebench.benchmark.planning.reference import DatasetReference
    from cerebench.benchmark.stages.sampling import TrainingMasks
    from cerebench.benchmark.stages.scoring import Judged, RealSets
    from cerebench.benchmark.stages.training import TrainingData
    from cerebench.datasets.cache import Prepared
    from cerebench.methods.base import Method


class Workbench:
    """What the stages of one plan work with on this machine.

    Args:
        plan: The plan.
        registries: Where plugins are found.
        cache: Folder of preprocessed volumes and features.
        device: ``auto``, ``cpu`` or a torch device.
        display: Where progress is told.
        stop: Whether somebody asked to stop; long work asks it and raises ``Interrupted``.
    """

    def __init__(
        self,
        plan: Plan,
        registries: Registries,
        cache: Path,
        device: str,
        display: Display,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.plan, self.registries, self.cache = plan, registries, cache
        self.device_name, self.display, self.stop = device, display, stop
        self._judged: tuple[Path, Judged] | None = None

    @property
    def folder(self) -> Path:
        """Return the data set's folder, which the paths of records are relative to."""
        return self.plan.folder

    @cached_property
    def device(self) -> torch.device:
        """Return the device that networks run on."""
        from cerebench.benchmark.device import pick_device

        return pick_device(self.device_name)

    @cached_property
    def features(self) -> FeatureCache:
        """Return the features that are kept on disk."""
        folder, extractors = self.cache / "features", self.registries.extractors
        device, say = str(self.device), self.display.say
        return FeatureCache(folder, extractors, usable_cores(), device, say)

    @property
    def cases(self) -> DatasetReference:
        """Return the cases of a run; ``bench evaluate``, which compares folders, asks for none."""
        common = self.plan.common
        assert isinstance(common, DatasetCommon)
        return common.reference

    @cached_property
    def prepared(self) -> Prepared:
        """Return the preprocessed cases of a data set; the first call prepares what is missing."""
        from cerebench.datasets.cache import prepare

        reference = self.cases
        title = f"prepare {len(reference.cases)} cases"
        began = time.perf_counter()
        with self.display.task(title) as task:

            def update(done: int, total: int) -> None:
                task.update(done, total)
                if self.stop():  # the next run continues here
                    raise Interrupted

            made = prepare(reference.dataset, self.cache, update, say=self.display.say)
        self.display.ended(title, "done", time.perf_counter() - began)
        return made

    def open(self) -> None:
        """Prepare the data: what is wrong with them stops a run, and no stage alone.

        Raises:
            DatasetError: If a case cannot be used.
            Interrupted: If somebody asked to stop.
        """
        assert self.real is not None

    @cached_property
    def real(self) -> RealSets:
        """Return the real volumes that every row is compared with."""
        return self.plan.common.reference.open(self)

    def judged(self, row: JudgedRow) -> Judged:
        """Return the sets of a row, made once for all its stages; those of one row are kept."""
        if self._judged is None or self._judged[0] != row.folder:
            self._judged = None  # the temporary files of the last row go first
            self._judged = (row.folder, row.judged(self))
        return self._judged[1]

    def data(self, ids: Sequence[str]) -> TrainingData:
        """Return prepared cases on the device."""
        from cerebench.benchmark.stages.training import TrainingData

        prepared, chosen = self.prepared, self.prepared.positions(ids)
        return TrainingData(
            prepared.volumes[chosen],
            prepared.masks[chosen],
            prepared.labels[chosen],
            ids,
            self.device,
        )

    def trained(self, row: TrainedRow) -> Mapping[str, Method]:
        """Return the trained instances of a row by scope, on the device, in eval mode."""
        from cerebench.benchmark.stages.sampling import load_trained

        return load_trained(row.build, row.scopes, self.folder / row.folder, self.device)

    def masks(self, row: TrainedRow) -> TrainingMasks | None:
        """Return the training masks that a mask-conditioned method samples from, else None."""
        from cerebench.benchmark.stages.sampling import TrainingMasks

        if row.method.info.conditioning != "mask":
            return None
        reference, prepared = row.common.reference, self.prepared
        ids = {name: reference.train_ids(name) for name in reference.classes}
        masks = {name: prepared.masks[prepared.positions(own)] for name, own in ids.items()}
        return TrainingMasks(masks, ids, row.seed)
