"""One classifier for every question that a classifier answers: which class, or real or generated?

Regularised logistic regression on bounded ``radlite-v2`` features. It is fitted in milliseconds,
has one optimum and no random start, so that equal sets give equal numbers.

Source: scikit-learn's ``LogisticRegression`` (lbfgs); features and their bounds: ``radlite-v2`` and
``standardise.Bounded``.
Departures: C = 0.3 [ours: of .03 to 10 on three draws of 100 + 100 phantoms of 32^3 it was among
the best at every question; held-out AUC .89 to .91, at C = .03 .87].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, MetricError, Sets
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.estimators.jackknife import Rows
from cerebench.metrics.estimators.standardise import (
    BOUNDED_RECIPE,
    finite_features,
    require,
    scaling,
)

FEATURES = "radlite-v2"
C = 0.3  # inverse strength of the penalty
STEPS = 5000  # most iterations; some 50 are taken
FOLDS = 5
LEAST = 5  # volumes per class and set, one a fold
RECIPE = {
    "features": FEATURES,
    "standardise": BOUNDED_RECIPE,
    "classifier": "logistic regression, L2 penalty, lbfgs, classes weighted equally",
    "C": C,
    "most_steps": STEPS,
}
Groups = Sequence[NDArray[np.floating]]  # one (n_k, dim) array a class, in the order of labels


@dataclass(frozen=True)
class Probe:
    """A fitted classifier of K classes."""

    model: Any

    @classmethod
    def fit(cls, groups: Groups) -> Probe:
        """Fit on K >= 2 groups of standardised features, each (n_k, dim), n_k >= 1."""
        from sklearn.exceptions import ConvergenceWarning  # a second that planning should not wait
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=C, max_iter=STEPS, class_weight="balanced")
        labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(np.concatenate([np.asarray(g, np.float64) for g in groups]), labels)
            except ConvergenceWarning as error:
                raise MetricError(
                    f"The probe did not converge in {STEPS} steps; features within +-5 real "
                    "standard deviations were expected. Look for volumes that are not finite."
                ) from error
        return cls(model)

    def log_probabilities(self, x: NDArray[np.floating]) -> Array:
        """Return the natural logarithm of the probability of every class, (n, dim) to (n, K)."""
        odds = self.model.decision_function(np.asarray(x, np.float64))
        if odds.ndim == 1:  # of two classes, of the second against the first
            odds = np.stack([np.zeros_like(odds), odds], axis=1)
        # scikit-learn's own logarithm of a probability is -inf for far volumes.
        return odds - np.logaddexp.reduce(odds, axis=1, keepdims=True)


def information(told: Sequence[Array]) -> float:
    """Compute how many bits a probe knows about the label of a volume.

    mean over classes k of mean over the volumes x labelled k of log2(K p(k | x)).

    Args:
        told: Log probabilities (n_k, K) of the volumes of each of K classes.

    Returns:
        Bits, at most log2 K: 0 for a probe that knows nothing, below 0 where labels mislead it.

    Source: Xu et al. 2020, arXiv:2002.10689, definition 2, of one family, with the uniform guess.

    Example:
        >>> import numpy as np
        >>> round(information([np.log([[0.8, 0.2]]), np.log([[0.2, 0.8]])]), 3)  # log2 1.6
        0.678
    """
    k = len(told)
    own = [np.mean(rows[:, label]) for label, rows in enumerate(told)]
    return float((np.mean(own) + np.log(k)) / np.log(2))


def centred(told: Sequence[Array]) -> list[Array]:
    """Take from every class's logit its mean over all volumes, classes weighted equally.

    What shifts all volumes alike (a blur that makes every class look like one of them) is then no
    loss of the difference between classes.

    Args:
        told: Log probabilities (n_k, K) of the volumes of each of K classes.

    Returns:
        The same of the shifted logits.
    """
    middle = np.mean([rows.mean(axis=0) for rows in told], axis=0)
    shifted = [rows - middle for rows in told]
    return [rows - np.logaddexp.reduce(rows, axis=1, keepdims=True) for rows in shifted]


def uninformed(told: Sequence[Array]) -> float:
    """Compute what ``information`` is on average over all ways to shuffle the labels, bits."""
    k = len(told)
    return float((np.concatenate(list(told)).mean() + np.log(k)) / np.log(2))


def two_class_auc(low: NDArray[np.floating], high: NDArray[np.floating]) -> float:
    """Compute P(high > low) + P(high = low) / 2 over all pairs of (m,) and (n,) scores."""
    from scipy.stats import rankdata  # half a second that planning should not wait for

    m, n = len(low), len(high)
    ranks = rankdata(np.concatenate([low, high]))
    return float((ranks[m:].sum() - n * (n + 1) / 2) / (m * n))


def auc(told: Sequence[Array]) -> float:
    """Compute the mean over classes of the AUC of each against all others.

    Of two classes both are one number.

    Args:
        told: Log probabilities (n_k, K) of the volumes of each of K classes.

    Returns:
        0 to 1; 0.5 for a probe that knows nothing.
    """
    found = []
    for label in range(len(told)):
        others = [_logit(rows, label) for k, rows in enumerate(told) if k != label]
        found.append(two_class_auc(np.concatenate(others), _logit(told[label], label)))
    return float(np.mean(found))


def _logit(rows: Array, label: int) -> Array:
    """Return log odds, which keep apart what probabilities near 1 do not."""
    rest = np.delete(rows, label, axis=1)
    return rows[:, label] - np.logaddexp.reduce(rest, axis=1)


def balanced_accuracy(told: Sequence[Array]) -> float:
    """Compute the mean over classes of the share of volumes that are read as their own class."""
    return float(np.mean([np.mean(rows.argmax(axis=1) == k) for k, rows in enumerate(told)]))


def scores(told: Sequence[Array]) -> dict[str, float]:
    """Return AUC and balanced accuracy as facts."""
    return {"auc": auc(told), "balanced_accuracy": balanced_accuracy(told)}


def out_of_fold(groups: Groups, folds: Sequence[Sequence[Rows]]) -> list[Array]:
    """Return log probabilities of every volume by a probe that was not fitted on it.

    Args:
        groups: One (n_k, dim) array a class.
        folds: Rows of each fold of each class; as many folds in every class.

    Returns:
        One (n_k, K) array a class, in the order of its rows.
    """
    told = [np.empty((len(group), len(groups))) for group in groups]
    for left_out in zip(*folds, strict=True):
        kept = [np.delete(g, rows, axis=0) for g, rows in zip(groups, left_out, strict=True)]
        probe = Probe.fit(kept)
        for rows, group, place in zip(left_out, groups, told, strict=True):
            place[rows] = probe.log_probabilities(group[rows])
    return told


class Classes:
    """Standardised features of all classes of a joint metric, in the order of labels.

    Args:
        sets: The sets of one class, with those of all in ``classes``.

    Raises:
        MetricError: If there are fewer than two classes.
    """

    def __init__(self, sets: Sets) -> None:
        self.sets, self.names = sets, tuple(sets.classes)
        if len(self.names) < 2:
            raise MetricError(
                f"This asks whether classes can be told apart, and there is "
                f"{len(self.names) or 'no'} class{'' if self.names else 'es'}; at least two were "
                "expected. Give volumes with their classes: one subfolder a class."
            )
        require(sets, 2, "pooled")
        self._scale = scaling(sets.pooled, FEATURES)

    def has(self, role: str) -> bool:
        """Say whether every class has enough volumes of a role."""
        return all(len(getattr(own, role)) >= LEAST for own in self.sets.classes.values())

    def ids(self, role: str) -> list[tuple[str, ...]]:
        """Return the ids of the volumes of each class."""
        return [getattr(own, role).ids for own in self.sets.classes.values()]

    def count(self, role: str) -> int:
        """Return the number of volumes of all classes."""
        return sum(map(len, self.ids(role)))

    def groups(self, role: str) -> list[Array]:
        """Return the features of a role (``generated``, ``train``, ``test``) by class.

        Raises:
            MetricError: If a class has fewer than 5 volumes; the text names it.
        """
        found = []
        for name, own in self.sets.classes.items():
            volumes = getattr(own, role)
            if len(volumes) < LEAST:
                raise MetricError(
                    f"The {role} set of class {name} has {len(volumes)} volumes; at least {LEAST} "
                    f"of every class are needed. Give more volumes of {name}."
                )
            found.append(self._scale(finite_features(volumes, FEATURES, role)))
        return found

    def folds(self, role: str, count: int = FOLDS) -> list[list[Rows]]:
        """Split the volumes of each class into folds, whatever order they come in."""
        return [jackknife.groups(ids, self.sets.seed, count) for ids in self.ids(role)]

    def parts(self, role: str) -> list[list[Rows]]:
        """Split each class into as many groups as the smallest class allows, ten at most."""
        return self.folds(role, min(jackknife.GROUPS, *map(len, self.ids(role))))

    def spread(self, role: str, of: Callable[[Sequence[Rows]], float]) -> list[float]:
        """Return a statistic without each group of a role, of all classes at once.

        Args:
            role: Whose volumes are left out.
            of: Maps the rows kept in each class to the value.
        """
        sizes = [len(ids) for ids in self.ids(role)]
        return [
            of([np.delete(np.arange(n), rows) for n, rows in zip(sizes, group, strict=True)])
            for group in zip(*self.parts(role), strict=True)
        ]


def taken(groups: Sequence[Array], rows: Sequence[Rows]) -> list[Array]:
    """Return some rows of each group."""
    return [group[kept] for group, kept in zip(groups, rows, strict=True)]
