"""Settings that the protocols share, each with its source, and the presets made of them.

``paper`` holds the paper's values (Zhou and Khalvati, MIDL 2024) and, where it gives none, ours.
``stable`` lowers the fine-tuning step size, which as printed is ten times that of pretraining and
can undo what pretraining learnt. ``quick`` shows that everything works, in less than a minute on
two CPU cores; ``smoke`` is for tests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cerebench.metrics.downstream.base import ProtocolError
from cerebench.metrics.downstream.resnet import NETWORKS, STEMS

Changes = Mapping[str, tuple[Any, str]]


def setting(
    default: Any,
    meaning: str,
    source: str,
    *,
    least: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """Declare one field of a configuration.

    Args:
        default: A plain JSON value.
        meaning: What it is, with its unit.
        source: ``[paper: …]``, ``[code: …]`` or ``[ours: reason]``.
        least: Smallest possible value, where there is one.
        choices: All possible values, where they are few.
    """
    facts = {"meaning": meaning, "source": source, "least": least, "choices": choices}
    return dataclasses.field(default=default, metadata=facts)


@dataclass(frozen=True)
class Config:
    """What every protocol is told: how to repeat, how to split, and how to train on real cases.

    Raises:
        ProtocolError: If a value is impossible.
    """

    repeats: int = setting(
        3, "repetitions, each with its own validation part", "[paper: three runs]", least=1
    )
    validation_share: float = setting(
        0.15,
        "share of the fine-tuning cases that chooses the epoch",
        "[paper: 85 % and 15 %]",
        least=0,
    )
    finetune_per_class: int = setting(
        0,
        "at most so many fine-tuning cases of a class; 0: as many as the smaller class has",
        "[paper: 51 and 51, all LGG]",
        least=0,
    )
    finetune_epochs: int = setting(
        50, "epochs on real cases", "[ours: as in pretraining; the paper gives none]", least=1
    )
    finetune_batch: int = setting(
        10, "real cases per step", "[paper: batch of fine-tuning]", least=2
    )
    finetune_lr: float = setting(
        1e-2, "Adam step size on real cases", "[paper: learning rate of fine-tuning]", least=0
    )
    gamma: float = setting(
        2.0, "exponent of the focal loss", "[ours: Lin et al.'s; the paper gives none]", least=0
    )
    # On CPUs bf16 gradients of 3^3 convolutions on maps of 2^3 were seen to differ between equal
    # runs, and once not to be numbers: at 32^3 it must stay fp32.
    precision: str = setting(
        "fp32",
        "arithmetic of training",
        "[ours: the paper does not say]",
        choices=("fp32", "bf16"),
    )

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for field in dataclasses.fields(self):
            value, facts = getattr(self, field.name), field.metadata
            if facts["choices"] and value not in facts["choices"]:
                known = ", ".join(str(choice) for choice in facts["choices"])
                raise ProtocolError(f"{field.name} must be one of {known}, got {value!r}.")
            if facts["least"] is not None and value < facts["least"]:
                raise ProtocolError(
                    f"{field.name} must be at least {facts['least']}, got {value!r}."
                )
        if self.validation_share >= 1:
            raise ProtocolError(
                f"validation_share must be below 1, got {self.validation_share!r}; the rest trains."
            )
        if 0 < self.gamma < 1:
            raise ProtocolError(
                f"gamma must be 0 (cross-entropy) or at least 1, got {self.gamma!r}; between them "
                "the gradient is infinite."
            )


@dataclass(frozen=True)
class OneStage(Config):
    """A residual network that is trained once, from random weights."""

    depth: int = setting(50, "layers of the network", "[paper: ResNet-50]", choices=tuple(NETWORKS))
    stem: str = setting(
        "paper",
        "strides of the first convolution: 1 2 2 (paper) or 2 2 2 (iso)",
        "[code: 3D-ResNets-PyTorch]",
        choices=tuple(STEMS),
    )


@dataclass(frozen=True)
class TwoStages(OneStage):
    """A residual network that is pretrained with generated volumes, then fine-tuned."""

    pretrain_epochs: int = setting(50, "epochs of pretraining", "[paper: 50 epochs]", least=1)
    pretrain_batch: int = setting(
        8, "volumes per step of pretraining", "[paper: batch of pretraining]", least=2
    )
    pretrain_lr: float = setting(
        1e-3, "Adam step size of pretraining", "[paper: learning rate of pretraining]", least=0
    )


AFTER_PRETRAINING: Changes = {
    "finetune_lr": (1e-4, "[ours: a tenth of pretraining; the printed 1e-2 can undo pretraining]")
}
FROM_SCRATCH: Changes = {
    "finetune_lr": (1e-3, "[ours: that of pretraining, since weights are random too]")
}
QUICK: Changes = {
    "depth": (10, "[ours: seconds on a CPU]"),
    "stem": ("iso", "[ours: half the cost]"),
    "pretrain_epochs": (3, "[ours: seconds on a CPU]"),
    "finetune_epochs": (3, "[ours: seconds on a CPU]"),
    "finetune_per_class": (
        36,
        "[ours: makes real cases scarce; of 100 phantoms it leaves 64, as many as are generated]",
    ),
}
SMOKE: Changes = {
    "repeats": (2, "[ours: tests]"),
    "pretrain_epochs": (1, "[ours: tests]"),
    "finetune_epochs": (1, "[ours: tests]"),
    "finetune_per_class": (4, "[ours: tests]"),
}


def presets(
    config: type, stable: Changes, small: Changes | None = None, smallest: Changes | None = None
) -> dict[str, dict[str, tuple[Any, str]]]:
    """Return the four presets as changes of a configuration's defaults.

    Args:
        config: A ``Config`` class; shared changes of settings that it does not have are left out.
        stable: Changes of ``stable`` and of the smaller presets.
        small: Further changes of ``quick`` and ``smoke``.
        smallest: Further changes of ``smoke``.
    """
    fields = {field.name for field in dataclasses.fields(config)}
    quick = {**QUICK, **stable, **(small or {})}
    own = {name: change for name, change in quick.items() if name in fields}
    smoke = {name: change for name, change in SMOKE.items() if name in fields}
    return {
        "paper": {},
        "stable": dict(stable),
        "quick": own,
        "smoke": {**own, **smoke, **(smallest or {})},
    }
