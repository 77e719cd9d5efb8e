"""Which real cases fine-tune, which validate, and which are left for the first stage.

Of each class equally many cases fine-tune, as many as the smaller class has (the paper: all 51 LGG
and 51 of 234 HGG); what is left of the larger class is the pool (183 HGG). Validation parts are cut
from the fine-tuning set: it is shuffled once per class, and the part of repeat r is items
[k r, k (r + 1)), so that parts are disjoint, and equal in every protocol.

Source: Zhou and Khalvati, MIDL 2024, sections on data and classification; stratification, order
and rounding of the validation share are ours, since the paper does not state them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.downstream.base import Cases, ProtocolError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Sizes:
    """How many real cases go where.

    Attributes:
        finetune: Fine-tuning cases of each class.
        larger: Label of the class with more cases; the last label where they are equally many.
        pool: Cases of the larger class beyond its fine-tuning set.
    """

    finetune: int
    larger: int
    pool: int


@dataclass(frozen=True)
class Parts:
    """Real development cases by purpose, as positions.

    Attributes:
        finetune: One array a class, in the shuffled order from which validation parts are cut.
        pool: Cases of the larger class of which no patient fine-tunes.
        larger: Label of the larger class.
    """

    finetune: tuple[Indices, ...]
    pool: Indices
    larger: int

    @property
    def smaller(self) -> int:
        """Label of the other class."""
        return 1 - self.larger

    @property
    def all_finetune(self) -> Indices:
        """All fine-tuning cases, class after class."""
        return np.concatenate(self.finetune)


def sizes(counts: Sequence[int], finetune_per_class: int) -> Sizes:
    """Return how many cases fine-tune and how many are left of the larger class.

    Args:
        counts: Development cases of each of the two classes, in label order.
        finetune_per_class: At most so many fine-tuning cases of each class; 0 = no limit but the
            smaller class.

    Raises:
        ProtocolError: If there are not two classes, or one of them has no cases.

    Example:
        >>> sizes([51, 234], 0)
        Sizes(finetune=51, larger=1, pool=183)
    """
    if len(counts) != 2 or min(counts) == 0:
        raise ProtocolError(
            f"The development cases per class are {list(counts)}; two classes with cases are "
            "needed. Choose a data set with both, or another split."
        )
    larger = int(counts[1] >= counts[0])
    each = min(*counts, finetune_per_class or min(counts))
    return Sizes(each, larger, counts[larger] - each)


def divide(cases: Cases, finetune_per_class: int, seed: int) -> Parts:
    """Choose the fine-tuning set and the pool.

    Cases of one patient stay together in the order, so that a set is cut between patients as far as
    possible; a patient that fine-tunes gives no case to the pool.

    Args:
        cases: Real development cases; their order makes no difference.
        finetune_per_class: As in ``sizes``.
        seed: Seed of the order.
    """
    shuffled = [_shuffled(cases, label, seed) for label in (0, 1)]
    size = sizes([len(order) for order in shuffled], finetune_per_class)
    finetune = tuple(order[: size.finetune] for order in shuffled)
    known = {cases.patients[i] for i in np.concatenate(finetune)}
    left = shuffled[size.larger][size.finetune :]
    pool = np.array([i for i in left if cases.patients[i] not in known], np.int64)
    return Parts(finetune, pool, size.larger)


def validation(parts: Parts, share: float, repeats: int, repeat: int) -> Indices:
    """Return the validation cases of one repeat, class after class.

    Each class gives k = share x cases, rounded half up, at least one: 8 of the paper's 51.

    Raises:
        ProtocolError: If the fine-tuning set is too small for disjoint parts, or for a part and
            something to train on.
    """
    cases = len(parts.finetune[0])
    k = max(1, math.floor(share * cases + 0.5))
    if k * repeats > cases or k == cases:
        raise ProtocolError(
            f"{repeats} disjoint validation parts of {k} cases were asked of {cases} fine-tuning "
            "cases per class. Lower repeats or validation_share, or use more development cases."
        )
    return np.concatenate([order[k * repeat : k * (repeat + 1)] for order in parts.finetune])


def _shuffled(cases: Cases, label: int, seed: int) -> Indices:
    """Return the positions of one class, patients in random order."""
    own = sorted(np.flatnonzero(cases.labels == label), key=lambda i: cases.ids[i])
    patients = sorted({cases.patients[i] for i in own})
    order = np.random.RandomState([seed, label]).permutation(len(patients))
    place = {patients[i]: rank for rank, i in enumerate(order)}
    return np.array(sorted(own, key=lambda i: place[cases.patients[i]]), np.int64)
