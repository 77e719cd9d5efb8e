"""SSIM, PSNR and mean absolute error of volumes that have a partner.

They mean something only where each generated volume shall equal a certain real one: a
reconstruction, or synthesis from that case's mask. Against a random real volume they say nothing
about quality, so sets without partners are refused.

Source: Wang, Bovik, Sheikh, Simoncelli 2004, IEEE TIP 13 (SSIM); ``ssim-aldm``: released script of
anatomically-conditioned-LDM, src/evaluation/test_using_fid_ssim.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cerebench.core.facts import ABSENT, Fact
from cerebench.metrics.base import Array, Better, Metric, MetricError, Result, Sets, Volume
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.voxel.schemes import ALDM_SIDE, C1, C2, RADIUS, Scheme, gaussian


def partners(sets: Sets) -> list[tuple[str, int]]:
    """Return for each generated volume the role (``train`` or ``test``) and index of its partner.

    Raises:
        MetricError: If volumes have no partners, or a partner is in neither set.
    """
    if not sets.generated.partners:
        raise MetricError(
            "The generated volumes have no partners; this metric compares pairs. It applies to "
            "mask-conditioned methods, and to folders scored with --paired."
        )
    places = {name: ("test", i) for i, name in enumerate(sets.test.ids)}
    places |= {name: ("train", i) for i, name in enumerate(sets.train.ids)}
    lost = [name for name in sets.generated.partners if name not in places]
    if lost:
        raise MetricError(
            f"{len(lost)} partners are not among the real volumes of this class, the first is "
            f"{lost[0]}. Give the real volumes that the generated ones were made from."
        )
    return [places[name] for name in sets.generated.partners]


def pairs(sets: Sets) -> Iterator[tuple[Volume, Volume]]:
    """Yield each generated volume with its partner.

    Raises:
        MetricError: If there are no partners, or the shapes of a pair differ.
    """
    for index, (role, place) in enumerate(partners(sets)):
        ours, real = sets.generated[index], getattr(sets, role)[place]
        if ours.shape != real.shape:
            raise MetricError(
                f"{sets.generated.ids[index]} has shape {ours.shape}, its partner {real.shape}; "
                "equal shapes are needed. Resample one of them."
            )
        yield ours, real


def ssim(first: Volume, second: Volume) -> float:
    """Compute the mean structural similarity of two volumes on [0, 1].

    Gaussian window of 11 voxels (or the largest odd number that fits), standard deviation 1.5,
    windows inside the volume only.

    Args:
        first: (C, D, H, W), float32 in [-1, 1], edges of at least 3 voxels.
        second: The same shape and range.

    Returns:
        Similarity in [-1, 1]; 1 for equal volumes.
    """
    from cerebench.metrics.voxel.pyramids import pyramid, scale_terms

    radius = min(RADIUS, (min(first.shape[1:]) - 1) // 2)
    scheme = Scheme(gaussian(radius), (1.0,), mirrored=False, unit_range=True)
    return float(scale_terms([pyramid(first, scheme)], [pyramid(second, scheme)], scheme)[0, 0])


def psnr(first: Volume, second: Volume) -> float:
    """Compute the peak signal-to-noise ratio on [0, 1], dB; infinite for equal volumes."""
    gap = (first.astype(np.float64) - second) / 2
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean(gap * gap)))


def mae(first: Volume, second: Volume) -> float:
    """Compute the mean absolute error on [0, 1]."""
    return float(np.abs((first.astype(np.float64) - second) / 2).mean())


def ssim_aldm(first: Volume, second: Volume) -> float:
    """Compute SSIM slice by slice as the released script does.

    Axial slices, each channel of each slice stretched to [0, 1] by its own minimum and maximum,
    resized to 224^2, two-dimensional SSIM over all channels, mean over slices. The stretch removes
    intensity and amplifies noise in empty slices: for comparison with published values alone.

    Args:
        first: (C, D, H, W), float32.
        second: The same shape.
    """
    from cerebench.metrics.voxel.slice_ssim import ssim_2d, stretched

    similarities = ssim_2d(*(stretched(v) for v in (first, second)))
    return float(similarities.mean())


def absent(sets: Sets) -> list[str]:
    """Return the ids of real volumes whose generated partner was due and is not there, sorted."""
    return sorted(set(sets.generated.expected) - set(sets.generated.partners))


def mean_of_pairs(
    sets: Sets, compare: Callable[[Volume, Volume], float], worst: float | None = None
) -> Result:
    """Compare each generated volume with its partner.

    Args:
        sets: Sets whose generated volumes have partners.
        compare: ``(generated, real) -> value``.
        worst: Value of every output that was due and is absent; None leaves those out.

    Returns:
        The mean, with an error from leaving out groups of cases.

    Raises:
        MetricError: If there are no partners, or the shapes of a pair differ.
    """
    values = np.array([compare(ours, real) for ours, real in pairs(sets)])
    donors = len(set(sets.generated.partners))
    with np.errstate(invalid="ignore"):  # PSNR of equal volumes is infinite
        facts: dict[str, Fact] = {"distinct_partners": donors, "pair_sd": float(np.std(values))}
    lost: list[str] = []
    notes: tuple[str, ...] = ()
    if worst is not None:
        lost = absent(sets)
        facts[ABSENT] = len(lost)
        values = np.append(values, np.full(len(lost), worst))
    if lost:
        due = len(set(sets.generated.expected))
        notes = (f"{len(lost)} of {due} outputs are missing and count as {worst:g} each",)
    return _spread(values, (*sets.generated.ids, *lost), sets.seed).result(
        float(values.mean()),
        n_real=donors + len(lost),
        n_generated=len(sets.generated),
        notes=notes,
        facts=facts,
    )


def _paired_metric(
    name: str,
    label: str,
    compare: Callable[[Volume, Volume], float],
    better: Better,
    recipe: dict[str, object],
    source: str,
    blind_to: str,
) -> Metric:
    def compute(sets: Sets, view: str) -> Result:
        return mean_of_pairs(sets, compare)

    return Metric(
        name=name,
        label=label,
        compute=compute,
        better=better,
        recipe={**recipe, "pairs": "each volume with its partner"}
        | {"uncertainty": {"generated": jackknife.RECIPE}},
        source=source,
        blind_to=blind_to,
        least=1,
    )


def _spread(values: Array, ids: Sequence[str], seed: int) -> jackknife.Uncertainty:
    parts = jackknife.groups(ids, seed)
    if not jackknife.leaves_enough(parts) or not np.isfinite(values).all():
        return jackknife.TOO_FEW
    left: list[NDArray[np.floating]] = [np.delete(values, g) for g in parts]
    return jackknife.combine({"generated": [float(v.mean()) for v in left]})


_BLUR = "it prefers a blurred average to a sharp volume that differs in detail"
_WANG = "Wang et al. 2004, IEEE TIP 13"
_RANGE = {"range": [0, 1]}
SSIM = _paired_metric(
    "ssim",
    "SSIM",
    ssim,
    Better.HIGHER,
    {**_RANGE, "window": "11 or the largest odd that fits, sigma 1.5, valid", "c1": C1, "c2": C2},
    _WANG,
    f"large empty backgrounds raise it; {_BLUR}",
)
PSNR = _paired_metric(
    "psnr", "PSNR", psnr, Better.HIGHER, {**_RANGE, "peak": 1, "unit": "dB"}, _WANG, _BLUR
)
MAE = _paired_metric(
    "mae", "MAE", mae, Better.LOWER, {**_RANGE}, "mean of absolute differences", _BLUR
)
SSIM_ALDM = _paired_metric(
    "ssim-aldm",
    "SSIM 2D (ALDM)",
    ssim_aldm,
    Better.HIGHER,
    {
        "slices": "axial, all",
        "stretch": "each channel of each slice to [0, 1] by its own minimum and maximum",
        "resize": f"{ALDM_SIDE}, bilinear, align_corners=False, no antialias",
        "window": "11, sigma 1.5, borders mirrored",
    },
    "anatomically-conditioned-LDM, src/evaluation/test_using_fid_ssim.py",
    "intensity, which the stretch removes; it amplifies noise in empty slices",
)
