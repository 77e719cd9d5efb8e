"""Work on one finished cell without its experiment: ``bench sample``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.benchmark.display import Display
from cerebench.benchmark.engine import store
from cerebench.benchmark.engine.claims import POLL, Claims, told
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.errors import Interrupted
from cerebench.core.bounds import typed
from cerebench.core.errors import UsageError
from cerebench.core.records.cells import CellFile
from cerebench.core.records.files import read
from cerebench.core.records.trained import SampleRecord, TrainRecord
from cerebench.core.settings import accepted
from cerebench.datasets.folders.names import folder_names

if TYPE_CHECKING:
    from cerebench.methods.base import Method

RECORD = Path("sample", "record.json")  # in a cell


def read_cell(folder: Path) -> CellFile:
    """Read ``cell.json`` of a trained cell.

    Raises:
        UsageError: If the folder is no cell of a method, or its training is unfinished.
        Damaged: If its weights are not what their record vouches for.
        Misfit: If the file does not fit its schema.
    """
    whole = read(CellFile, folder / "cell.json")
    if whole is None:
        raise UsageError(f"{folder} is not a cell. Give a folder like runs/…/wgan-gp-…/seed-0.")
    _, cell = whole
    if not cell.scopes:
        raise UsageError(f"{folder} holds somebody's samples; there is no method to sample from.")
    for scope, place in folder_names(cell.scopes).items():
        record = folder / "train" / place / "record.json"
        trained = store.read_claim(record, cell.train_keys[scope], TrainRecord)
        if trained is None:
            raise UsageError(f"Training {scope} of {folder} is not finished. Run bench run first.")
        for name, fact in trained.files.items():
            store.verify(record.with_name(name), fact)
    return cell


def build_method(cell: CellFile, registries: Registries) -> Method:
    """Construct the method of a cell from its recorded configuration.

    Raises:
        BadConfig: If a recorded value is one that its setting does not accept.
    """
    cls, recorded = registries.methods.load(cell.name), cell.config
    values = {
        field: typed(f"{cell.name}.{field}", recorded[field], accepts, where=" in cell.json")
        for field, accepts in accepted(cls.Config).items()
        if field in recorded
    }
    config = cls.Config(**values)
    return cls(config, size=cell.size, classes=cell.classes, channels=len(cell.channels))


def extend_samples(
    folder: Path,
    n: int,
    device_name: str,
    registries: Registries,
    display: Display,
) -> None:
    """Bring the samples of a trained cell to n per class; those already there stay.

    Args:
        folder: The cell's folder.
        n: Samples per class; fewer than there are changes nothing.
        device_name: ``auto`` or a torch device.
        registries: Where the method is found.
        display: Where progress is told.

    Raises:
        UsageError: If the folder is not a trained cell.
        Misfit: If its ``cell.json`` does not fit its schema.
        Interrupted: If another process has taken this one for dead and draws them.
    """
    read_cell(folder)  # before anything is written in what may be no cell
    with _alone(folder, display) as stop:
        _extend(folder, n, device_name, registries, display, stop)


@contextmanager
def _alone(folder: Path, display: Display) -> Iterator[Callable[[], bool]]:
    """Wait until no other process draws samples of a cell, then keep others from it.

    A cell that was copied out of its results has nobody to be kept from, and nothing is written
    beside it. Gives what says whether another process has taken over.
    """
    store_folder = folder.resolve().parents[1]
    if not list(store_folder.glob("experiment-*.json")):
        yield lambda: False
        return
    record = folder.resolve().relative_to(store_folder) / RECORD
    with Claims(store_folder) as claims:
        while (owner := claims.take(record)) is not None:
            with display.task(f"waiting for {told([owner])}") as task:
                while claims.taken(owner):
                    task.update(0, 0)
                    time.sleep(POLL)
        yield lambda: not claims.held(record)


def _extend(
    folder: Path,
    n: int,
    device_name: str,
    registries: Registries,
    display: Display,
    taken_over: Callable[[], bool],
) -> None:
    cell = read_cell(folder)
    record = folder / RECORD
    there = store.read_record(record, cell.sample_key, SampleRecord)
    if there is not None and min(there.n.values()) >= n:
        display.say(f"Nothing to do: {folder} has {min(there.n.values())} samples per class.")
        return
    from cerebench.benchmark.device import pick_device
    from cerebench.benchmark.stages.sampling import (
        DERIVED,
        SampleSpec,
        load_trained,
        sample,
        trained_weights,
    )

    device = pick_device(device_name)
    methods = load_trained(lambda _: build_method(cell, registries), cell.scopes, folder, device)
    if registries.methods.load(cell.name).info.conditioning == "mask":
        raise UsageError(
            f"{cell.name} samples from training masks, which only a run has. "
            f"Use bench run --n {n} instead."
        )
    spec = SampleSpec(
        classes=cell.classes,
        channels=cell.channels,
        spacing=cell.spacing,
        n=n,
        seed=cell.seed,
        key=cell.sample_key,
        generator=f"{cell.label} ({cell.preset})",
        networks=trained_weights(folder, cell.train_keys),
    )
    title, began = f"{cell.name} · seed {cell.seed} · sample", time.perf_counter()
    with display.task(title) as task:
        made = sample(
            methods,
            spec,
            record.parent,
            device=device,
            progress=task.update,
            stop=taken_over,
            found=store.read_claim(record, cell.sample_key, SampleRecord),
            derived=[folder / stage for stage in DERIVED],
        )
    if taken_over():
        raise Interrupted
    store.write_record(record, cell.sample_key, made)
    display.ended(title, "done", time.perf_counter() - began)
    display.say(f"{n} samples per class in {record.parent}")
