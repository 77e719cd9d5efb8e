"""What explains the results of a cell but is no result, and why a stage failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cerebench.core.records.base import Count, File, Part, Settings


@dataclass(frozen=True, kw_only=True)
class SplitIds(Part):
    """The cases of a split.

    Attributes:
        train: Cases that generators are trained on.
        test: Cases that they never see.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Hardware(Part):
    """The machine of a cell's last stages.

    Attributes:
        device: Name of the device.
        cpu: Name of the processor.
        threads: Threads of one operation on the CPU.
        system: Name of the operating system.
    """

    device: str
    cpu: str
    threads: Count
    system: str


@dataclass(frozen=True, kw_only=True)
class CellFile(File):
    """One row of the table with one seed: ``cell.json``.

    Attributes:
        name: Name of the method, or of the folder of samples.
        label: What tables call it.
        seed: Training seed.
        size: Longest edge of a volume, voxels.
        classes: Class labels in label order.
        channels: Names of the channels.
        spacing: Voxel edge lengths (D, H, W), mm.
        fingerprint: SHA-256 of contents and recipe of the data.
        split: The cases of the split; empty where there is none.
        scopes: Trained instances: classes, or ``all``; empty of a folder, like all that follows
            but ``sample_key``.
        preset: Preset of the method.
        config: Its settings.
        sources: Setting to where its value comes from.
        train_keys: Trained instance to the key of its training.
        sample_key: Key of the samples.
        suite_version: Version of Cerebench.
        commit: Commit of a source checkout, or null.
        versions: Python and the packages that numbers depend on, with their versions.
        hardware: The machine.
    """

    kind = "cell"

    name: str
    label: str
    seed: int
    size: Annotated[int, Field(ge=1)]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    channels: tuple[str, ...]
    spacing: tuple[float, float, float]
    fingerprint: str
    split: SplitIds
    scopes: tuple[str, ...]
    preset: str
    config: Settings
    sources: Mapping[str, str]
    train_keys: Mapping[str, str]
    sample_key: str
    suite_version: str
    commit: str | None
    versions: Mapping[str, str]
    hardware: Hardware

    def __post_init__(self) -> None:
        """Refuse a trained instance without a key."""
        if lost := [scope for scope in self.scopes if scope not in self.train_keys]:
            raise ValueError(f"train_keys.{lost[0]} is missing")

    def misplaced(self, path: Path) -> str:
        """Say that it is of another seed than its folder; else nothing."""
        place = path.parent.name
        ours = place == f"seed-{self.seed}" or not place.startswith("seed-")
        return "" if ours else f"seed must be that of the folder, got {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Failure(File):
    """Why a stage failed: ``failure.json``, or ``<name>@<key8>.failure.json``.

    Attributes:
        stage: What was at work.
        reason: Message of the error.
        error: Its class.
        traceback: Where it came from.
        utc: When, ISO 8601.
    """

    kind = "failure"

    stage: str
    reason: str
    error: str
    traceback: str
    utc: str
