"""Settings that the protocols share, each with its source, and the presets made of them.

``paper`` holds the paper's values (Zhou and Khalvati, MIDL 2024) and, where it gives none, ours.
``stable`` lowers the fine-tuning step size, which as printed is ten times that of pretraining and
can undo what pretraining learnt. ``quick`` trains another classifier, which learns what can be
learnt at 32^3 in seconds on two CPU cores: ``QUICK`` and ``TWO_CONV`` are all that it differs in,
beside the number of generated volumes. ``lite`` trains a residual network of depth 10, for which a
night on two CPU cores or an hour on a GPU is enough at 64^3. ``smoke`` is for tests: the same
network for an epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from cerebench.core.bounds import Count, CountOrZero, Positive, Precision
from cerebench.core.settings import Preset as Preset
from cerebench.core.settings import check_source as check_source
from cerebench.core.settings import setting as setting

Batch = Annotated[int, Field(ge=2)]  # batch normalisation cannot train on one case
Share = Annotated[float, Field(ge=0, lt=1)]
Off = Annotated[float, Field(ge=0, le=0)]

Changes = Mapping[str, tuple[Any, str]]


@dataclass(frozen=True)
class Config:
    """What every protocol is told: how to repeat, how to split, and how to train on real cases."""

    repeats: Count = setting(
        3, "repetitions, each with its own validation part", "[paper: three runs]"
    )
    validation_share: Share = setting(
        0.15,
        "share of the fine-tuning cases that chooses the epoch; 0: one case of each class",
        "[paper: 85 % and 15 %]",
    )
    finetune_per_class: CountOrZero = setting(
        0,
        "at most so many fine-tuning cases of a class; 0: as many as the smaller class has",
        "[paper: 51 and 51, all LGG]",
    )
    finetune_epochs: Count = setting(
        50, "epochs on real cases", "[ours: as in pretraining; the paper gives none]"
    )
    finetune_batch: Batch = setting(10, "real cases per step", "[paper: batch of fine-tuning]")
    finetune_lr: Positive = setting(
        1e-2, "Adam step size on real cases", "[paper: learning rate of fine-tuning]"
    )
    # Between 0 and 1 the gradient of the loss is infinite.
    gamma: Off | Annotated[float, Field(ge=1)] = setting(
        2.0,
        "exponent of the focal loss; 0: cross-entropy",
        "[ours: Lin et al.'s; the paper gives none]",
    )
    precision: Precision = setting(
        "fp32",
        "arithmetic of training",
        "[ours: the paper does not say]",
    )
    kept_epoch: Literal["best", "last"] = setting(
        "best",
        "which epoch's weights stay: those with the best validation AUC, or the last ones",
        "[ours: the paper does not say]",
        since="0.2",
    )


@dataclass(frozen=True)
class OneStage(Config):
    """A classifier of volumes that is trained once, from random weights."""

    depth: Literal[10, 18, 34, 50] = setting(
        50, "layers of the residual network", "[paper: ResNet-50]"
    )
    stem: Literal["paper", "iso"] = setting(
        "paper",
        "strides of the residual network's first convolution: 1 2 2 (paper) or 2 2 2 (iso)",
        "[code: 3D-ResNets-PyTorch]",
    )
    network: Literal["resnet", "two-conv"] = setting(
        "resnet",
        "classifier: a residual network, or two convolutions on a grid of 16^3 with mean and "
        "spread over the foreground, 1,414 parameters; depth and stem are of the former only",
        "[paper: ResNet]",
        since="0.2",
    )
    schedule: Literal["constant", "one-cycle"] = setting(
        "constant",
        "step size of Adam: the same throughout, or one rise and fall with the given one as peak",
        "[ours: the paper gives none]",
        since="0.2",
    )
    turns: bool = setting(
        False,
        "whether every batch is mirrored along random axes and its axes are exchanged",
        "[ours: the paper names no augmentation outside Trad. Aug.]",
        since="0.2",
    )


@dataclass(frozen=True)
class TwoStages(OneStage):
    """A classifier of volumes that is pretrained with generated ones, then fine-tuned."""

    pretrain_epochs: Count = setting(50, "epochs of pretraining", "[paper: 50 epochs]")
    pretrain_batch: Batch = setting(
        8, "volumes per step of pretraining", "[paper: batch of pretraining]"
    )
    pretrain_lr: Positive = setting(
        1e-3, "Adam step size of pretraining", "[paper: learning rate of pretraining]"
    )


AFTER_PRETRAINING: Changes = {
    "finetune_lr": (1e-4, "[ours: a tenth of pretraining; the printed 1e-2 can undo pretraining]")
}
FROM_SCRATCH: Changes = {
    "finetune_lr": (1e-3, "[ours: that of pretraining, since weights are random too]")
}
# Quick presets. All that they differ in from ``paper`` is here, but for the number of generated
# volumes, which only protocols that use some have.
QUICK: Changes = {
    "finetune_per_class": (
        76,
        "[ours: of 100 phantoms it leaves 24 for experiment 1; with 57 the AUC is lower by .02]",
    ),
    "kept_epoch": (
        "last",
        "[ours: ten validation cases choose an epoch whose AUC is lower by .03]",
    ),
    "validation_share": (0.05, "[ours: validation chooses nothing here, so most cases train]"),
}
TWO_CONV: Changes = {  # where a classifier of volumes is trained
    "network": (
        "two-conv",
        "[ours: two convolutions on a grid of 16^3, 1,414 parameters, which learn in seconds on a "
        "CPU; their scores are not those of the paper's ResNet-50]",
    ),
    "schedule": ("one-cycle", "[ours: few steps at a high step size that end in a rest]"),
    "turns": (True, "[ours: with 31 real cases a class AUC on phantoms is .76 with, .71 without]"),
    "finetune_epochs": (40, "[ours: of 30 and 60 with 57 cases a class AUC .76 and .79]"),
    "finetune_batch": (16, "[ours: as good as 8, with half as many steps]"),
    "finetune_lr": (1e-2, "[ours: peak of the cycle from random weights]"),
}
TWO_CONV_FIRST: Changes = {  # where generated volumes pretrain it
    "pretrain_epochs": (25, "[ours: seconds on a CPU]"),
    "pretrain_batch": (16, "[ours: as in fine-tuning]"),
    "pretrain_lr": (1e-2, "[ours: peak of the cycle from random weights]"),
    "finetune_epochs": (10, "[ours: seconds on a CPU]"),
    "finetune_lr": (2e-3, "[ours: a fifth of pretraining, so that what it taught is kept]"),
}
# Lite presets, for 64^3, on top of ``stable``.
LITE: Changes = {
    "depth": (10, "[ours: 64^3 on CPUs, .12 s a volume where depth 50 takes 1 s and more]"),
    "stem": ("iso", "[ours: 2.5 times as fast]"),
    "precision": ("bf16", "[ours: 1.4 times as fast on CPUs]"),
    "pretrain_epochs": (10, "[ours: 500 volumes in six minutes on two cores]"),
    "finetune_epochs": (25, "[ours: half of paper's]"),
}
SMOKE: Changes = {
    "depth": (10, "[ours: tests]"),
    "stem": ("iso", "[ours: tests]"),
    "repeats": (2, "[ours: tests]"),
    "pretrain_epochs": (1, "[ours: tests]"),
    "finetune_epochs": (1, "[ours: tests]"),
    "finetune_per_class": (4, "[ours: tests]"),
}


def presets(
    config: type,
    stable: Changes,
    small: Changes | None = None,
    smallest: Changes | None = None,
    light: Changes | None = None,
) -> dict[str, Preset]:
    """Return the five presets of a configuration.

    Args:
        config: A ``Config`` class; its defaults are ``paper``. Shared changes of settings that it
            does not have are left out.
        stable: Changes of ``stable``, ``lite`` and ``smoke``.
        small: Further changes of ``quick`` and ``smoke``.
        smallest: Further changes of ``smoke``.
        light: Further changes of ``lite``.
    """
    fields = {field.name for field in dataclasses.fields(config)}
    classifier = TWO_CONV if "network" in fields else {}
    first = TWO_CONV_FIRST if "pretrain_lr" in fields else {}
    quick = {**QUICK, **classifier, **first, **(small or {})}
    lite, smoke = (
        {name: change for name, change in changes.items() if name in fields}
        for changes in (LITE, SMOKE)
    )
    paper = Preset(config(), size=0)
    return {
        "paper": paper,
        "stable": paper.override(size=None, **stable),
        "lite": paper.override(size=None, **{**stable, **lite, **(light or {})}),
        "quick": paper.override(size=None, **quick),
        "smoke": paper.override(
            size=None, **{**stable, **smoke, **(small or {}), **(smallest or {})}
        ),
    }
