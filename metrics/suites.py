"""Suites: named lists of metrics, so that two papers can say that they measured the same thing.

A suite is a list, nothing more: what makes two numbers comparable is the recipe of each metric,
whose hash is recorded with every value.

Source: the protocols of Zhou and Khalvati 2024 (MIDL), Tudosiu et al. 2022 (SynthAnatomy), Shaik et
al. (ALDM), Friedrich et al. 2024 (WDM) and of the VLM3D challenge as far as paper, page and
released code state them; ``core``: ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """A named list of metrics; ``note`` says what it is for and what it cannot promise."""

    name: str
    note: str
    metrics: tuple[str, ...]


_CORE = (
    "fd-radlite-v2",
    "fd-rand3d-v1-pca64",
    "mmd2-rbf-radlite-v2",
    "prdc-radlite-v2",
    "ms-ssim",
    "class-fidelity",
    "spectrum",
    "background",
    "foreground-volume",
    "copies",
)

_CORE_V1 = (
    "mmd2-kwon",
    "mmd2-linear",
    "mmd2-rbf",
    "ms-ssim",
    "fd-radlite-v1",
    "kid-radlite-v1",
    "fd-rand3d-v1",
    "prdc-radlite-v1",
    "nn-ratio",
    "ct-z",
    "authpct",
    "max-corr",
    "lesion-volume",
    "foreground-volume",
)

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "core",
            "Needs no weight file and no network: the default. No defect of bench ladder is "
            "inverted in it (docs/ladder.md).",
            _CORE,
        ),
        Suite(
            "core-v1",
            "What core was in version 0.1.0, to go on with tables that began with it. Its Fréchet "
            "and kernel distances rank noise the wrong way round.",
            _CORE_V1,
        ),
        Suite(
            "core+fid",
            "core with slice FID along three views, KID and a volumetric distance; needs the "
            "Inception and MedicalNet weights.",
            (*_CORE, "fid", "kid-inception", "fd-medicalnet-orig-resnet10"),
        ),
        Suite(
            "compat-midl2024",
            "Columns of Zhou and Khalvati 2024, table 1. The paper states neither the reference "
            "split nor the slices of its FID; here: training cases, all slices.",
            ("mmd2-kwon", "ms-ssim-kwon", "fid"),
        ),
        Suite(
            "compat-synthanatomy",
            "Columns of Tudosiu et al. 2022, table 1: batch-wise MMD, FID of middle slices, "
            "MS-SSIM. Its samples were the best percent by a discriminator; choose none here.",
            ("mmd2-genmodels", "fid-middle", "ms-ssim"),
        ),
        Suite(
            "compat-aldm",
            "Columns of the ALDM paper and of its released script, which disagree: FID a patient "
            "and pooled, slice SSIM; needs partners (mask donors, or --paired).",
            ("fid-patientwise", "fid-pooled-rgb", "ssim-aldm"),
        ),
        Suite(
            "compat-vlm3d-mr",
            "Measures of the VLM3D challenge's MR track: 2.5D Fréchet distance of every fourth "
            "slice, MSE, PSNR and SSIM of pairs, where missing outputs count as worst; needs the "
            "SqueezeNet weights and --paired.",
            ("fd-squeezenet1-1-vlm3d", "mse-vlm3d", "psnr-vlm3d", "ssim-vlm3d"),
        ),
        Suite(
            "compat-wdm",
            "Columns of Friedrich et al. 2024 (WDM), table 2, at n = 1000 generated and 1000 real "
            "volumes of 128 voxels; a number at another n says so. Needs the MedicalNet weights.",
            ("fd-medicalnet-orig-resnet50-wdm", "ms-ssim-wdm"),
        ),
    )
}
FORMERLY = {"smoke": "core"}  # the word of a preset, and a second name of the same list


def named(name: str) -> Suite | None:
    """Return the suite of a name, also of one that it had before; None if there is none."""
    return SUITES.get(FORMERLY.get(name, name))


def expand(names: Iterable[str]) -> list[str]:
    """Replace suites in a list of metric names by their metrics; repeats are dropped."""
    found = [(name, named(name)) for name in names]
    listed = [m for name, suite in found for m in (suite.metrics if suite else (name,))]
    return list(dict.fromkeys(listed))


def asked(names: Iterable[str]) -> list[str]:
    """Return the suites in a list of metric names, for the headline of a table."""
    suites = [suite.name for name in names if (suite := named(name))]
    return list(dict.fromkeys(suites))
