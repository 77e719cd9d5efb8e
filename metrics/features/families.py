"""Metrics that any feature space has, made from their names.

``fd-<extractor>``, ``fd-<extractor>-pca64``, ``kid-<extractor>``, ``prdc-<extractor>`` and
``mmd2-rbf-<extractor>`` of a 3D extractor; ``fd-`` and ``kid-<extractor>`` of slices of a 2D one.
An extractor of another package gets all of them without declaring any. The suite's own table
(``metrics/__init__.py``) names some, whose declarations come first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cerebench.metrics.base import Metric
from cerebench.metrics.features.frechet import frechet_metric
from cerebench.metrics.features.kid import kid_metric, slice_kid_metric
from cerebench.metrics.features.mmd_rbf import rbf_metric
from cerebench.metrics.features.prdc import prdc_metric
from cerebench.metrics.features.slice_frechet import CANONICAL, slice_frechet_metric

WHITENED = "-pca64"
HELP = "fd-, kid-, prdc-, mmd2-rbf-<extractor> and fd-<extractor>-pca64 (2D: fd-, kid-)"


@dataclass(frozen=True)
class Space:
    """What a metric must know of a feature space.

    Attributes:
        name: The extractor's name.
        ndim: 3 for volumes, 2 for slices.
        bounded: Whether the extractor asks distances to bound its features.
    """

    name: str
    ndim: int
    bounded: bool = False


def metrics_of(space: Space) -> dict[str, Callable[[], Metric]]:
    """Return what makes each metric of a feature space, by the metric's name."""
    name, bounded = space.name, space.bounded
    if space.ndim == 2:
        made = {f"kid-{name}": lambda: slice_kid_metric(name)}
        if name != CANONICAL:  # whose distance is called fid
            made[f"fd-{name}"] = lambda: slice_frechet_metric(name)
        return made
    return {
        f"fd-{name}": lambda: frechet_metric(name, f"FD[{name}]", bounded=bounded, floored=True),
        f"fd-{name}{WHITENED}": lambda: frechet_metric(
            name, f"FD[{name}{WHITENED}]", whitened=True, bounded=bounded, floored=True
        ),
        f"kid-{name}": lambda: kid_metric(name, f"KID[{name}]", bounded=bounded),
        f"prdc-{name}": lambda: prdc_metric(name, bounded=bounded),
        f"mmd2-rbf-{name}": lambda: rbf_metric(
            name, f"mmd2-rbf-{name}", f"MMD RBF[{name}]", bounded=bounded
        ),
    }
