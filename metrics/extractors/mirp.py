"""``mirp-v1``: 121 radiomic features by the package mirp, an independent IBSI implementation.

Morphology 23, intensity statistics 18, intensity histogram 23, co-occurrence 25, run length 16 and
size zones 16, in three dimensions with merged matrices. Needs the extra ``radiomics``.

Choices: 1. mask, grey levels and lengths are those of ``radlite-v1``; 2. Moran's I and Geary's C
are left out, because mirp estimates them from random voxels; 3. the inverse variance of one single
grey level, an empty sum for which mirp has no value, is 0; 4. mirp normalises the two normalised
inverse differences by the highest level that occurs instead of 32.

Source: IBSI, Zwanenburg et al. 2020, Radiology 295; mirp, Zwanenburg and Löck 2024, JOSS 9(99).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cerebench.metrics.base import Array, MetricError, MissingExtra
from cerebench.metrics.extractors.radlite import (
    LEAST_VOXELS,
    LEVELS,
    THRESHOLD,
    channel_by_channel,
)

FAMILIES = {  # name in the package: beginning of its features' names
    "morphology": "morph_",
    "statistics": "stat_",
    "intensity_histogram": "ih_",
    "cm": "cm_",
    "rlm": "rlm_",
    "szm": "szm_",
}
ESTIMATED = ("morph_moran_i", "morph_geary_c")
BELOW_ONE = np.nextafter(1.0, 0.0)  # the last bin includes 1, as in radlite-v1


class Mirp:
    """The extractor; a volume with fewer than 27 foreground voxels becomes an all-zero row.

    Raises:
        MissingExtra: If the package mirp is not installed.
    """

    name = "mirp-v1"
    version = 1
    dim = 121
    ndim = 3
    weights_sha256 = None
    in_processes = True  # pure Python for the most part

    def __init__(self) -> None:
        try:
            package = version("mirp")
        except PackageNotFoundError as error:
            raise MissingExtra(
                "mirp-v1 needs the package mirp, which is not installed. Run: "
                "pip install 'cerebench[radiomics]'"
            ) from error
        self.input: Mapping[str, Any] = {
            "range": "[-1, 1] mapped to [0, 1]",
            "mask": f"v > {THRESHOLD}",
            "least_voxels": LEAST_VOXELS,
            "lengths": "voxels",
            "levels": LEVELS,
            "families": list(FAMILIES),
            "left_out": list(ESTIMATED),
            "mirp": package,
        }

    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map volumes to features.

        Args:
            batch: (B, C, D, H, W), float32 in [-1, 1].

        Returns:
            (B, 121) float32; with several channels, the features of each, one after the other.

        Raises:
            MetricError: If this version of mirp returns another number of features.
        """
        return channel_by_channel(_features, batch)


def _features(volume: Array) -> Array:
    """Compute the features of (D, H, W) in [0, 1]; zeros with too little foreground."""
    mask = volume > THRESHOLD
    if np.count_nonzero(mask) < LEAST_VOXELS:
        return np.zeros(Mirp.dim)
    from mirp import extract_features

    with _quiet():
        tables = extract_features(
            image=np.minimum(volume, BELOW_ONE),
            mask=mask.astype(int),
            base_feature_families=list(FAMILIES),
            base_discretisation_method="fixed_bin_size",
            base_discretisation_bin_width=1 / LEVELS,
            resegmentation_intensity_range=[0.0, 1.0],  # its lower end starts the bins
        )
    assert tables is not None  # as it is where it writes files
    (table,) = tables
    names = [n for n in table.columns if n.startswith(tuple(FAMILIES.values()))]
    kept = table[[n for n in names if n not in ESTIMATED]].astype(np.float64)
    values = kept.fillna(dict.fromkeys([n for n in kept if n.startswith("cm_inv_var")], 0.0))
    values = values.to_numpy()[0]
    if len(values) != Mirp.dim:
        raise MetricError(
            f"mirp {version('mirp')} returned {len(values)} features; {Mirp.dim} were expected. "
            "Install the version that pip install 'cerebench[radiomics]' chooses."
        )
    return values


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package from setting up logging to standard output, and from warning per volume."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(silent)
