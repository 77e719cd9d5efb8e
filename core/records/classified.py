"""Records of downstream protocols: what classifiers predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cerebench.core.records.base import Amount, Count, Part, Record, Settings, Sha256, Share


@dataclass(frozen=True, kw_only=True)
class TestSet(Part):
    """The held-out real cases, in the order of all predictions.

    Attributes:
        ids: Cases.
        patients: Patient of each.
        labels: Position of the class of each among ``classes``.
    """

    __test__ = False  # no test of pytest

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    labels: tuple[Count, ...]

    def __post_init__(self) -> None:
        """Refuse lists that do not belong together."""
        for name, values in (("patients", self.patients), ("labels", self.labels)):
            if len(values) != len(self.ids):
                raise ValueError(f"{name} must be {len(self.ids)} as ids are, got {len(values)}")


@dataclass(frozen=True, kw_only=True)
class Repeat(Part):
    """One repetition of a protocol.

    Attributes:
        repeat: Its number.
        seed: Seed of initialisation and training.
        epoch: The chosen epoch of the last stage, counted from 1.
        validation_auc: AUC of that epoch on the validation cases, or null.
        validation_ids: Cases that chose the epoch.
        n: Stage (``pretrain``, ``finetune``) to class to number of training volumes.
        n_synthetic: The same, of generated volumes alone.
        before_finetuning: As ``predictions``, after the first stage; null where there is one only.
        predictions: p(positive) of every test case, in the order of ``test.ids``.
    """

    repeat: Count
    seed: int
    epoch: Count
    validation_auc: Share | None
    validation_ids: tuple[str, ...]
    n: Mapping[str, Mapping[str, Count]]
    n_synthetic: Mapping[str, Mapping[str, Count]]
    before_finetuning: tuple[Share, ...] | None
    predictions: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
class DownstreamRecord(Record):
    """One protocol on the samples of one cell, or on the data set alone.

    No AUC is stored: every number of a report is computed from the predictions.

    Attributes:
        protocol: Name of the protocol.
        version: Changes when its predictions do.
        preset: Its preset.
        config: Its settings.
        recipe_hash: SHA-256 that identifies protocol, version, settings, code and weights.
        classes: Labels of the classes.
        positive: The class that predictions are probabilities of.
        test: The cases that were predicted: ``ids``, ``patients`` and ``labels``, one each.
        finetune_ids: Real cases of the second stage.
        finetune_sha256: SHA-256 of the sorted ids as canonical JSON.
        repeats: One a repetition.
        parameters: Trainable and frozen parameters of the classifier.
        seconds: Wall time of all trainings.
        peak_mib: Peak memory of a training, MiB; null where nothing was trained.
        device: Names of the devices.
        precision: ``fp32`` or ``bf16``.
        threads: Threads of one operation on the CPU.
        notes: Sentences to print as footnotes.
        versions: Python and the packages that numbers depend on, with their versions.
    """

    kind = "downstream"

    protocol: str
    version: int
    preset: str
    config: Settings
    recipe_hash: Sha256
    classes: tuple[str, ...]
    positive: str
    test: TestSet
    finetune_ids: tuple[str, ...]
    finetune_sha256: Sha256
    repeats: tuple[Repeat, ...]
    parameters: Count
    seconds: Amount
    peak_mib: Amount | None
    device: str
    precision: str
    threads: Count
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse predictions of other cases than those of the test set."""
        for number, repeat in enumerate(self.repeats):
            for name in ("predictions", "before_finetuning"):
                values, n = getattr(repeat, name), len(self.test.ids)
                if values is not None and len(values) != n:
                    where = f"repeats.{number}.{name}"
                    raise ValueError(f"{where} must be {n} as test.ids are, got {len(values)}")
