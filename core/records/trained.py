"""Records of training and sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from cerebench.core.records.base import (
    OLDER,
    Amount,
    Class,
    Count,
    Part,
    Record,
    Sha256,
    Share,
)


@dataclass(frozen=True, kw_only=True)
class FileFact(Part):
    """What a record vouches for. The hash is computed again unless size and times are as recorded.

    Attributes:
        sha256: SHA-256 of the content, 64 hexadecimal digits.
        size: Bytes.
        mtime_ns: Time of modification, ns since 1970.
        ctime_ns: Time of change, which cannot be set, ns; None in records of 0.1.0.
    """

    sha256: Sha256
    size: Count
    mtime_ns: int
    ctime_ns: Annotated[int | None, OLDER]


Files = Mapping[str, FileFact]
WEIGHTS = "model.safetensors"  # of a trained instance, beside its record


def _refuse_without_weights(files: Files) -> None:
    if WEIGHTS not in files:
        raise ValueError(f"files.{WEIGHTS} is missing")


@dataclass(frozen=True, kw_only=True)
class TrainRecord(Record):
    """One trained instance of a method.

    Attributes:
        method: Name of the plugin.
        method_version: Changes when the algorithm does.
        class_: Class that it was trained on, or ``all``.
        seed: Training seed.
        seconds: Wall time spent training, summed over interruptions.
        cpu_seconds: CPU time of this process meanwhile, all threads together, s. It, ``cores`` and
            ``other_cores`` are null in records of 0.1.0.
        cores: Cores that the process could use.
        other_cores: How many of them other processes used, mean over the training; null where the
            system does not tell.
        peak_mib: Peak memory since the training began, MiB: allocated on a GPU; resident in the
            process, libraries and data included, on a CPU (where the system is not Linux, since
            the process began).
        steps: Phase to optimiser steps.
        volumes_seen: Volumes drawn from the data, repetitions counted.
        parameters: Network to trainable parameters; 0 for a running average.
        device: Name of the device.
        precision: ``fp32`` or ``bf16``.
        threads: Threads of one operation on the CPU.
        warnings: What the method told about this training, each text once.
        n_train: Number of training cases.
        train_ids: The cases it was trained on.
        versions: Python and the packages that numbers depend on, with their versions.
        files: File beside the record to what it vouches for.
        beside: The same of what explains the training and gives no number (settings, log); a
            damaged one is restored or named. Null in records before 0.2.0.
    """

    kind = "train"

    method: str
    method_version: int
    class_: Class
    seed: int
    seconds: Amount
    cpu_seconds: Annotated[Amount | None, OLDER]
    cores: Annotated[Count | None, OLDER]
    other_cores: Annotated[Amount | None, OLDER]
    peak_mib: Amount
    steps: Mapping[str, Count]
    volumes_seen: Count
    parameters: Mapping[str, Count]
    device: str
    precision: str
    threads: Count
    warnings: tuple[str, ...]
    n_train: Count
    train_ids: tuple[str, ...]
    versions: Mapping[str, str]
    files: Files
    beside: Annotated[Files | None, OLDER]

    def __post_init__(self) -> None:
        """Refuse a training that vouches for no weights."""
        _refuse_without_weights(self.files)


@dataclass(frozen=True, kw_only=True)
class FitRecord(Record):
    """One finished training of a protocol; it goes when the protocol is done.

    Attributes:
        seconds: Wall time spent training, summed over interruptions.
        cpu_seconds: CPU time of this process meanwhile, all threads together, s. It, ``cores`` and
            ``other_cores`` are null in records of 0.1.0.
        cores: Cores that the process could use.
        other_cores: How many of them other processes used, mean over the training; null where the
            system does not tell.
        peak_mib: Peak memory since the training began, MiB.
        steps: Phase to optimiser steps.
        volumes_seen: Volumes drawn from the data, repetitions counted.
        parameters: Network to trainable parameters.
        device: Name of the device.
        precision: ``fp32`` or ``bf16``.
        threads: Threads of one operation on the CPU.
        warnings: What was told about this training, each text once.
        files: File beside the record to what it vouches for.
    """

    kind = "fit"

    seconds: Amount
    cpu_seconds: Annotated[Amount | None, OLDER]
    cores: Annotated[Count | None, OLDER]
    other_cores: Annotated[Amount | None, OLDER]
    peak_mib: Amount
    steps: Mapping[str, Count]
    volumes_seen: Count
    parameters: Mapping[str, Count]
    device: str
    precision: str
    threads: Count
    warnings: tuple[str, ...]
    files: Files

    def __post_init__(self) -> None:
        """Refuse a training that vouches for no weights."""
        _refuse_without_weights(self.files)


@dataclass(frozen=True, kw_only=True)
class SampleRecord(Record):
    """The samples of a cell, or what is known of somebody's folder.

    Attributes:
        seconds: Wall time of drawing, with that of earlier runs; null of a folder, like the next 3.
        seconds_per_sample: Wall time of one volume, s; null where none was drawn.
        peak_mib: Peak memory since the stage began, MiB.
        device: Name of the device.
        n: Class to number of volumes.
        clip_fraction: Class to fraction of voxels outside [-1, 1], which were clipped.
        foreground: Class to mean number of foreground voxels, above 0.02 on [0, 1].
        networks: Trained instance to SHA-256 of its weights; left out of a folder, as are
            ``restored``, ``redrawn`` and ``versions``, and in records of 0.1.0.
        restored: Files that were damaged and drawn again to the recorded bits.
        redrawn: Why the whole set was drawn anew, or null; empty where that is not recorded.
        files: File beside the record to what it vouches for; empty of a folder.
        versions: Python and the packages that numbers depend on, with their versions.
    """

    kind = "sample"

    seconds: Amount | None
    seconds_per_sample: Amount | None
    peak_mib: Amount | None
    device: str | None
    n: Annotated[Mapping[str, Count], Field(min_length=1)]
    clip_fraction: Mapping[str, Share]
    foreground: Mapping[str, Amount]
    networks: Mapping[str, str] | None = None
    restored: tuple[str, ...] | None = None
    redrawn: str | None = ""
    files: Files
    versions: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse volumes of ours that no file is vouched for."""
        if self.device is not None and sum(self.n.values()) > len(self.files):
            total = sum(self.n.values())
            raise ValueError(f"n must be at most the {len(self.files)} files, got {total}")
