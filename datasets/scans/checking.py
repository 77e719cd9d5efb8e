"""What is wrong with the voxels: each case read once, then all cases compared."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cerebench.core.hashing import sha256_bytes
from cerebench.datasets.base import Case, DatasetError, Finding
from cerebench.datasets.layouts.base import Layout
from cerebench.datasets.scans.reading import Scan, UnusableCase, grid_faults, read_scan
from cerebench.datasets.scans.recipes import Procedure
from cerebench.datasets.scans.roi import bounding_box
from cerebench.datasets.scans.volumes import read_grid

SATURATED = 0.01  # of the tumour at the highest value
PLATEAU = 8  # voxels; fewer at one value are chance
OUTLYING = 8.0  # times the median of all cases
NAMES = {"flair": "FLAIR", "t1": "T1", "t1ce": "T1ce", "t2": "T2"}


@dataclass(frozen=True)
class Examined:
    """What examining one case found; plain values, so that it travels between processes.

    Attributes:
        findings: What is wrong with the case by itself.
        shape: (D, H, W), or None if it could not be read.
        spacing: Voxel edge lengths (D, H, W), mm.
        contents: SHA-256 of the voxels by modality.
        peaks: 99th percentile of the tumour by modality.
        highest: Highest value in the tumour by modality.
        saturated: Fraction of the tumour at the highest value of the scan by modality.
        seconds: Time it took to read and preprocess.
    """

    id: str
    findings: tuple[Finding, ...]
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] = ()
    contents: Mapping[str, str] = field(default_factory=dict)
    peaks: Mapping[str, float] = field(default_factory=dict)
    highest: Mapping[str, float] = field(default_factory=dict)
    saturated: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Examiner:
    """Reads a case the way a run will, and looks at what the run would not tell.

    Attributes:
        modalities: Channels.
        layout: How the files are stored.
        labels: Stored label to canonical label.
        procedure: The preprocessing.
        size: Edge length of the result.
        headers: Whose header holds where those of a case differ; see ``reading.HEADERS``.
    """

    modalities: tuple[str, ...]
    layout: Layout
    labels: Mapping[int, int]
    procedure: Procedure
    size: int
    headers: str = ""

    def __call__(self, case: Case) -> Examined:
        began = time.perf_counter()
        try:
            scan = read_scan(case, self.modalities, self.layout, self.labels, self.headers)
        except UnusableCase as e:
            return Examined(case.id, tuple(Finding("error", case.id, f) for f in e.faults))
        findings = [*_header_notes(case.id, scan), *self._preprocess(case.id, scan)]
        tumour = scan.images[0] > 0 if scan.tumour is None else scan.tumour > 0
        peaks, highest, saturated = {}, {}, {}
        if tumour.any():
            for name, image, largest in zip(
                self.modalities, scan.images, scan.largest, strict=True
            ):
                inside = image[tumour]
                peaks[name] = float(np.percentile(inside, 99))
                highest[name] = float(inside.max())
                saturated[name] = saturated_fraction(image, inside)
                findings += _check_intensities(case.id, name, image, inside, largest)
        return Examined(
            case.id,
            tuple(findings),
            scan.images.shape[1:],
            scan.spacing,
            {m: content_hash(i) for m, i in zip(self.modalities, scan.images, strict=True)},
            peaks,
            highest,
            saturated,
            time.perf_counter() - began,
        )

    def unused_contrasts(self, case: Case) -> list[Finding]:
        """Compare the headers of contrasts that are there but not asked for with the first image.

        No voxel is read.
        """
        first = case.files.get(self.modalities[0])
        if self.layout.channels or first is None:
            return []
        try:
            reference = read_grid(first)
        except DatasetError:  # the images themselves will tell
            return []
        used, findings = NAMES[self.modalities[0]], []
        for name, path in case.files.items():
            if name in (*self.modalities, "seg"):
                continue
            label = f"{NAMES[name]} (not used)"
            try:
                grid = read_grid(path)
            except DatasetError as e:
                findings.append(Finding("warning", case.id, f"{label}: {e}"))
                continue
            texts = [f"{label}: {note}" for note in grid.notes]
            if grid.turned_shape != reference.turned_shape:
                shapes = f"has shape {grid.turned_shape}; {used} has {reference.turned_shape}"
                texts.append(f"{label} {shapes}")
            else:
                pair = {"first": (first, reference), name: (path, grid)}
                texts += [f"{label}: {fault}" for fault in grid_faults(pair, self.headers)]
            findings += [Finding("warning", case.id, text) for text in texts]
        return findings

    def _preprocess(self, case: str, scan: Scan) -> list[Finding]:
        try:
            loaded = self.procedure.apply(scan.images, scan.tumour, scan.spacing, self.size)
        except DatasetError as e:
            return [Finding("error", case, str(e))]
        findings = []
        tumour = scan.tumour
        if not loaded.mask.any() and tumour is not None:
            message = (
                f"the tumour fills no voxel by half at size {self.size}: its mask is empty there"
            )
            findings.append(Finding("warning", case, message))
        lost, total = loaded.facts["lost_voxels"], loaded.facts["mask_voxels"]
        if lost and total and tumour is not None:
            lengths = " × ".join(str(b - a + 1) for a, b in bounding_box(tumour > 0))
            message = (
                f"the tumour spans {lengths} voxels (z, y, x); {lost} of its {total} voxels "
                f"({lost / total:.2%}) lie outside the {self.procedure.crop}³ crop"
            )
            findings.append(Finding("warning", case, message))
        return findings


def _header_notes(case: str, scan: Scan) -> list[Finding]:
    names = {**NAMES, "seg": "the mask"}
    return [
        Finding("warning", case, f"the header of {names[name]} is odd: {note}")
        for name, notes in scan.notes.items()
        for note in notes
    ]


def content_hash(image: NDArray[np.float32]) -> str:
    """Return the SHA-256 of the voxels, whatever the file around them."""
    return sha256_bytes(np.ascontiguousarray(image).data)


def saturated_fraction(image: NDArray[np.float32], inside: NDArray[np.float32]) -> float:
    """Return the fraction of the tumour at the highest value of the scan, 0 if it is no plateau."""
    at_top = int((inside == image.max()).sum())
    return at_top / inside.size if at_top >= PLATEAU else 0.0


def constant_fault(name: str, inside: NDArray[np.float32]) -> str | None:
    """Return why an image says nothing about the tumour, or None."""
    if inside.size and inside.min() == inside.max():
        return f"{NAMES[name]} is {inside.min():g} in the whole tumour. Replace or remove it."
    return None


def _check_intensities(
    case: str,
    name: str,
    image: NDArray[np.float32],
    inside: NDArray[np.float32],
    largest: float | None,
) -> list[Finding]:
    fault, label = constant_fault(name, inside), NAMES[name]
    if fault:
        return [Finding("error", case, fault)]
    findings = []
    top = image.max()
    saturated = saturated_fraction(image, inside)
    if saturated > SATURATED:
        kind = "the largest value of the file's type" if top == largest else "its highest value"
        message = f"{saturated:.1%} of the tumour in {label} is at {top:g}, {kind}: saturated"
        findings.append(Finding("warning", case, message))
    if (image < 0).any():
        message = (
            f"{(image < 0).mean():.1%} of {label} and {(inside < 0).mean():.1%} of its tumour are "
            "negative and will be set to 0; use the scan before any z-scoring"
        )
        findings.append(Finding("warning", case, message))
    return findings


def compare(examined: Sequence[Examined], cases: Sequence[Case]) -> list[Finding]:
    """Return what only shows when all cases are seen together."""
    read = [e for e in examined if e.shape is not None]
    return [
        *_odd(read, lambda e: e.shape, "shape {} (z, y, x)"),
        *_odd(read, lambda e: tuple(round(mm, 3) for mm in e.spacing), "voxels of {} mm (z, y, x)"),
        *_check_contents(read),
        *_check_scale(read),
        *_check_patients(cases),
    ]


def _odd(read: Sequence[Examined], key: Callable[[Examined], Any], text: str) -> list[Finding]:
    usual = Counter(key(e) for e in read).most_common(1)
    return [
        Finding("warning", e.id, f"has {text.format(key(e))}; most cases have {usual[0][0]}")
        for e in read
        if key(e) != usual[0][0]
    ]


def _check_contents(read: Sequence[Examined]) -> list[Finding]:
    return [
        Finding("error", ids[0], f"has the same {NAMES[modality]} as {', '.join(ids[1:])}")
        for modality, ids in repeats(read)
    ]


def repeats(read: Sequence[Examined]) -> list[tuple[str, list[str]]]:
    """Return modality and case ids wherever cases have the same voxels."""
    contents: dict[tuple[str, str], list[str]] = defaultdict(list)
    for e in read:
        for modality, sha256 in e.contents.items():
            contents[modality, sha256].append(e.id)
    return [(modality, ids) for (modality, _), ids in contents.items() if len(ids) > 1]


def _check_scale(read: Sequence[Examined]) -> list[Finding]:
    """Name cases that are many times brighter than the others: stretched, and perhaps cut off."""
    findings = []
    for modality in {m for e in read for m in e.peaks}:
        peaks = {e.id: e.peaks[modality] for e in read if modality in e.peaks}
        usual = float(np.median(list(peaks.values())))
        for case, peak in peaks.items():
            if usual > 0 and peak > OUTLYING * usual:
                message = (
                    f"{NAMES[modality]} reaches {peak:g} in the tumour (99th percentile), "
                    f"{peak / usual:.0f} times the median of the cases ({usual:g}): stretched to "
                    "another range; look in the complete scan whether it is saturated"
                )
                findings.append(Finding("warning", case, message))
    return findings


def _check_patients(cases: Sequence[Case]) -> list[Finding]:
    """Name patients whose scans have different classes."""
    labels: dict[str, dict[int, str]] = defaultdict(dict)
    for case in cases:
        labels[case.patient].setdefault(case.label, case.id)
    findings = []
    for patient, cases_by_label in sorted(labels.items()):
        if len(cases_by_label) > 1:
            ids = sorted(cases_by_label.values())
            message = (
                f"patient {patient} has cases of several classes: {', '.join(ids)}; they stay "
                "together in a split"
            )
            findings.append(Finding("warning", ids[0], message))
    return findings


def check_sites(cases: Sequence[Case], classes: Sequence[str]) -> list[Finding]:
    """Warn when a site has cases of one class only: then the scanner tells the class."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for case in cases:
        if case.site:
            counts[case.site][case.label] += 1
    single = [
        f"{site} ({labels.total()} {classes[next(iter(labels))]})"
        for site, labels in sorted(counts.items())
        if len(labels) == 1
    ]
    if not single or len(classes) < 2:
        return []
    extent = "every site has" if len(single) == len(counts) else "some sites have"
    return [
        Finding(
            "warning",
            "",
            f"class and site are confounded: {extent} one class only: {', '.join(single)}; a "
            "classifier may tell the scanner from the image instead of the grade",
        )
    ]


def facts(
    examined: Sequence[Examined], present: Mapping[str, int], cases: Sequence[Case]
) -> dict[str, Any]:
    """Return what is worth knowing about the files as JSON."""
    read = [e for e in examined if e.shape is not None]
    saturated = sorted(e.id for e in read if any(part > SATURATED for part in e.saturated.values()))
    highest = [value for e in read for value in e.highest.values()]
    seconds = sum(e.seconds for e in read)
    return {
        "modalities": {m: present.get(m, 0) for m in (*NAMES, "seg")},
        "missing": {
            m: [case.id for case in cases if m not in case.files]
            for m in NAMES
            if present.get(m, 0) > 0 and any(m not in case.files for case in cases)
        },
        "shapes": dict(Counter("×".join(map(str, e.shape or ())) for e in read)),
        "spacings": dict(Counter("×".join(f"{mm:g}" for mm in e.spacing) for e in read)),
        "saturated": saturated,
        "highest": max(highest, default=None),
        "seconds_per_case": round(seconds / len(read), 3) if read else None,
    }
