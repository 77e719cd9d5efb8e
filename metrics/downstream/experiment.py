"""What all protocols share: the real parts, the repetitions, and the two stages of each.

A repetition initialises a classifier from its own seed, trains it on generated (and perhaps real)
volumes where the protocol has such a first stage, trains it on real cases less its validation part,
and predicts the test cases once. Protocols differ only in what they train on.

Source: Zhou and Khalvati, MIDL 2024, classification experiments.
Departures, in every protocol: stratified validation parts; pretraining repeated with every
repetition, with seeds s, s + 1, s + 2; the epoch with the best validation AUC is kept; constant
step sizes, no weight decay, no augmentation but in ``trad-aug``, all layers trained (the paper
states none of these). Of batches, only a last one of a single case is dropped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cerebench.metrics.downstream.base import (
    Cases,
    DownstreamProtocol,
    Material,
    Outcome,
    Passes,
    ProtocolError,
    Repeat,
    Trainer,
)
from cerebench.metrics.downstream.data import splits
from cerebench.metrics.downstream.data.cases import per_class, taken, without_patients
from cerebench.metrics.downstream.data.splits import Parts
from cerebench.metrics.downstream.networks.classifier import Classifier, Training, predict
from cerebench.metrics.downstream.networks.resnet import resnet
from cerebench.metrics.downstream.networks.two_conv import two_conv


@dataclass(frozen=True)
class Stage:
    """What one stage trains on.

    Attributes:
        cases: All of it.
        synthetic: The generated volumes among it, or None.
        notes: Sentences about it to print as footnotes.
    """

    cases: Cases
    synthetic: Cases | None = None
    notes: tuple[str, ...] = ()


class Experiment(DownstreamProtocol):
    """Base of the protocols; a subclass says what the stages train on."""

    def demand(self, development: Mapping[str, int]) -> dict[str, int]:
        """Return no class: nothing generated is used, unless a subclass says so."""
        splits.sizes(list(development.values()), self.config.finetune_per_class)
        return {}

    def pretraining(self, material: Material, parts: Parts) -> Stage | None:
        """Return what the first stage trains on; None where there is no such stage."""
        return None

    @abstractmethod
    def training(self, material: Material, parts: Parts) -> Stage:
        """Return what the last stage trains on, the fine-tuning set included.

        Cases of patients that validate are left out later, in every repetition.
        """

    def network(self, seed: int, channels: int) -> nn.Module:
        """Return the classifier with its initial weights."""
        if getattr(self.config, "network", "resnet") == "two-conv":
            return two_conv(channels, seed)
        return resnet(self.config.depth, self.config.stem, channels, seed)

    def prepared(self, material: Material, trainer: Trainer) -> tuple[Material, int]:
        """Return what is trained and tested on, and how many frozen parameters made it."""
        return material, 0

    def run(self, material: Material, trainer: Trainer) -> Outcome:
        """Train and test the classifier in every repetition.

        Raises:
            ProtocolError: If there are not two classes, a patient is both in development and in
                test, or cases or generated volumes do not suffice.
        """
        _check(material, self.info.needs_samples)
        parts = splits.divide(material.development, self.config.finetune_per_class, material.seed)
        material, frozen = self.prepared(material, trainer)
        first, last = self.pretraining(material, parts), self.training(material, parts)
        channels = len(material.development.volumes[0])
        repeats = tuple(
            self._repeat(number, material, parts, first, last, trainer)
            for number in range(self.config.repeats)
        )
        with torch.device("meta"):
            own = sum(p.numel() for p in self.network(material.seed, channels).parameters())
        return Outcome(
            repeats=repeats,
            finetune_ids=taken(material.development, parts.all_finetune).ids,
            parameters=own + frozen,
            notes=(first.notes if first else ()) + last.notes,
        )

    def work(self, material: Material, shape: tuple[int, ...]) -> list[Passes]:
        """Count the cases of every stage, validation and prediction of all repetitions."""
        config = self.config
        parts = splits.divide(material.development, config.finetune_per_class, material.seed)
        first, last = self.pretraining(material, parts), self.training(material, parts)
        trained = read = 0
        for repeat in range(config.repeats):
            chosen = splits.validation(parts, config.validation_share, config.repeats, repeat)
            validation = taken(material.development, chosen)
            finetune = without_patients(last.cases, set(validation.patients))
            trained += config.finetune_epochs * len(finetune)
            validated = 1 if self._finetune().kept_epoch == "last" else config.finetune_epochs
            read += validated * len(validation) + len(material.test)
            if first is not None:
                trained += config.pretrain_epochs * len(first.cases)
                read += len(material.test)
        return [Passes(lambda: self.network(material.seed, shape[0]), shape, trained, read)]

    def _repeat(
        self,
        number: int,
        material: Material,
        parts: Parts,
        first: Stage | None,
        last: Stage,
        trainer: Trainer,
    ) -> Repeat:
        config, seed = self.config, material.seed + number
        network = self.network(seed, len(material.development.volumes[0]))
        test = trainer.data(material.test)
        chosen = splits.validation(parts, config.validation_share, config.repeats, number)
        validation = taken(material.development, chosen)
        trained_on = {}
        before = None
        if first is not None:
            learner = Classifier(network, self._pretrain())
            trainer.fit(learner, first.cases, f"repeat-{number}/pretrain", seed)
            before = tuple(predict(network, test).tolist())
            trained_on["pretrain"] = first
        finetune = without_patients(last.cases, set(validation.patients))
        learner = Classifier(network, self._finetune(), trainer.data(validation))
        trainer.fit(learner, finetune, f"repeat-{number}/finetune", seed)
        trained_on["finetune"] = Stage(finetune, last.synthetic)
        classes = material.classes
        return Repeat(
            seed=seed,
            predictions=tuple(predict(network, test).tolist()),
            validation_ids=validation.ids,
            validation_auc=float(learner.selection.auc),
            epoch=int(learner.selection.epoch),
            before_finetuning=before,
            n={name: per_class(stage.cases, classes) for name, stage in trained_on.items()},
            n_synthetic={
                name: per_class(stage.synthetic, classes) for name, stage in trained_on.items()
            },
        )

    def _pretrain(self) -> Training:
        c = self.config
        return self._stage(c.pretrain_epochs, c.pretrain_batch, c.pretrain_lr)

    def _finetune(self) -> Training:
        c = self.config
        return self._stage(c.finetune_epochs, c.finetune_batch, c.finetune_lr)

    def _stage(self, epochs: int, batch: int, lr: float) -> Training:
        c = self.config
        # A head on features, and protocols of version 0.1, have none of these settings.
        names = ("schedule", "turns", "kept_epoch")
        how = {name: getattr(c, name) for name in names if hasattr(c, name)}
        return Training(epochs, batch, lr, c.gamma, c.precision, **how)


def finetuning_set(material: Material, parts: Parts) -> Cases:
    """Return the real cases that fine-tune in every protocol."""
    return taken(material.development, parts.all_finetune)


def generated(material: Material, wanted: Mapping[int, int]) -> Cases:
    """Return the first generated volumes of each class, so that longer sets extend shorter ones.

    Args:
        material: With generated volumes.
        wanted: Label to number of volumes.

    Raises:
        ProtocolError: If there are fewer of a class.
    """
    synthetic = material.synthetic
    assert synthetic is not None  # demanded by ``needs_samples``
    there = Counter(synthetic.labels.tolist())
    for label, count in wanted.items():
        if there[label] < count:
            name = material.classes[label]
            raise ProtocolError(
                f"{count} generated volumes of class {name} are needed, {there[label]} are there. "
                "Generate more of them."
            )
    places = [np.flatnonzero(synthetic.labels == k)[:n] for k, n in wanted.items()]
    return taken(synthetic, np.concatenate(places))


def _check(material: Material, needs_samples: bool) -> None:
    if len(material.classes) != 2:
        raise ProtocolError(
            f"{len(material.classes)} classes were given; the classifier separates two. Choose a "
            "data set with two classes."
        )
    if needs_samples and material.synthetic is None:
        raise ProtocolError("Generated volumes are needed and none were given.")
    both = sorted(set(material.development.patients) & set(material.test.patients))
    if both:
        raise ProtocolError(
            f"Patients {', '.join(both[:5])} are both in development and in test. Split again by "
            "patient."
        )
