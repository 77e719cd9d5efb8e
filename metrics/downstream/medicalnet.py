"""MedicalNet: a small head on frozen features of a network pretrained on other medical images.

The features (512 spatial means of ResNet-34's last stage, in its original topology) are computed
once; layers 512 to 256, ReLU, dropout and 256 to 2 are trained on the fine-tuning set: 131,842
parameters.

Source: Zhou and Khalvati, MIDL 2024, Table 7 and appendix D.2; Chen, Ma, Zheng 2019,
arXiv:1904.00625.
Departures: those of ``experiment.py``. Width of the head, dropout, step size and batch are ours, as
is the choice of the fine-tuning set: the paper states none. Intensities are prepared as the feature
space ``medicalnet-orig-resnet34`` does: the background gets the lowest value of the foreground,
where the original code fills in noise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from cerebench.core.bounds import Count, Positive
from cerebench.core.settings import setting
from cerebench.metrics.downstream.base import Cases, Material, Passes, ProtocolInfo, Trainer
from cerebench.metrics.downstream.config import Config as Shared
from cerebench.metrics.downstream.config import Share, presets
from cerebench.metrics.downstream.data.splits import Parts
from cerebench.metrics.downstream.experiment import Experiment, Stage, finetuning_set
from cerebench.metrics.extractors.medicalnet import MedicalNet, MedicalNet34, ResNet


@dataclass(frozen=True)
class Config(Shared):
    """Settings of the head."""

    hidden: Count = setting(256, "width of the hidden layer", "[ours: the paper gives none]")
    dropout: Share = setting(0.2, "share of dropped units", "[ours: the paper gives none]")
    finetune_lr: Positive = setting(
        1e-3, "Adam step size of the head", "[ours: the paper gives none]"
    )


class MedicalNetHead(Experiment):
    """A trained head on a frozen encoder."""

    info = ProtocolInfo(
        name="medicalnet",
        label="MedicalNet",
        version=1,
        source="Zhou and Khalvati, MIDL 2024, Table 7; Chen et al. 2019, arXiv:1904.00625",
        needs_samples=False,
        role="baseline",
        description="A head on frozen MedicalNet features, trained on the real fine-tuning cases.",
        weights="medicalnet-resnet34",
    )
    Config = Config
    presets = presets(Config, {})
    encoder: ClassVar[type[MedicalNet]] = MedicalNet34

    def prepared(self, material: Material, trainer: Trainer) -> tuple[Material, int]:
        """Return features, shape (512, 1, 1, 1), in the place of volumes.

        Raises:
            MissingWeights: If the weight file is not on this machine.
        """
        encoder = self.encoder()
        encoder.device = trainer.device
        features = dataclasses.replace(
            material,
            development=_features(material.development, encoder),
            test=_features(material.test, encoder),
        )
        return features, sum(p.numel() for p in encoder.network.parameters())

    def work(self, material: Material, shape: tuple[int, ...]) -> list[Passes]:
        """Count the encoder's cases, each read once, and those of the head on its features."""
        encoder, cases = self.encoder, len(material.development) + len(material.test)
        features = (encoder.dim, 1, 1, 1)
        frozen = Passes(lambda: ResNet(encoder.depth).eval(), shape, 0, cases)
        return [frozen, *super().work(material, features)]

    def network(self, seed: int, channels: int) -> nn.Module:
        """Return the head with its initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Flatten(),
                nn.Linear(channels, self.config.hidden),
                nn.ReLU(),
                nn.Dropout(self.config.dropout),
                nn.Linear(self.config.hidden, 2),
            )

    def training(self, material: Material, parts: Parts) -> Stage:
        """Return the features of the fine-tuning set."""
        return Stage(finetuning_set(material, parts))


def _features(cases: Cases, encoder: MedicalNet) -> Cases:
    rows = [encoder.extract(np.asarray(volume)[None])[0] for volume in cases.volumes]
    return dataclasses.replace(cases, volumes=np.stack(rows)[:, :, None, None, None])
