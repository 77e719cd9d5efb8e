"""What the header of an image file says about its axes, and what is odd about it.

A mask whose header was lost lies on the voxels of its image and says that it does not; turned to
RAS+ by its own header, it would end up over healthy tissue. So the axes of all files of a case are
compared as they are stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from cerebench.datasets.base import DatasetError

COSINE = 0.01  # directions that differ by more in any entry are different
SPACING = 0.01  # and so are voxel sizes that differ by more, relative to the larger
_FORMS = range(6)  # unknown, scanner, aligned, Talairach, MNI, other template
_UNITS = {0: "", 1: "metres", 2: "", 3: "micrometres"}  # the low three bits of xyzt_units
_TIMES = range(0, 56, 8)  # the bits above them
NIFTI2 = (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # the header's length, 540, in both byte orders


@dataclass(frozen=True, eq=False)
class Grid:
    """How a file stores its voxels.

    Attributes:
        shape: Voxels along the three stored axes.
        affine: (4, 4), from stored indices to RAS+ mm.
        notes: What is odd about the header, one sentence each.
        silent: Whether the header says nothing about the axes, so that the affine is a guess.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    silent: bool = False

    @property
    def codes(self) -> str:
        """Return where each stored axis leads, as in LPS; ``?`` where it leads nowhere."""
        return "".join(code or "?" for code in nib.aff2axcodes(self.affine))

    @property
    def placeholder(self) -> str:
        """Say in two words that nobody has filled the header in; empty where somebody has."""
        if self.silent:
            return "no axes"
        lost = np.array_equal(self.affine[:3, :3], np.eye(3)) and not self.affine[:3, 3].any()
        return "identity affine" if lost else ""

    @property
    def description(self) -> str:
        """Return the codes; of a header as it is before anybody has filled it in, this too."""
        return f"{self.codes} ({self.placeholder})" if self.placeholder else self.codes

    @property
    def directions(self) -> NDArray[np.float64]:
        """Return (3, 3): one column of direction cosines for each stored axis."""
        return self.affine[:3, :3] / voxel_sizes(self.affine)

    @property
    def turned_shape(self) -> tuple[int, ...]:
        """Return the shape (D, H, W) in RAS+."""
        return tuple(self.shape[axis] for axis in self._order)

    @property
    def turned_spacing(self) -> tuple[float, ...]:
        """Return voxel edge lengths (D, H, W) in RAS+, mm."""
        sizes = voxel_sizes(self.affine)
        return tuple(float(sizes[axis]) for axis in self._order)

    @property
    def _order(self) -> list[int]:
        """Return the stored axis of D, H and W."""
        leads = [int(axis) for axis in nib.io_orientation(self.affine)[:, 0]]
        return [leads.index(axis) for axis in (2, 1, 0)]


def difference(path: Path, grid: Grid, first: Path, reference: Grid) -> str:
    """Say how the axes of a file, as stored, differ from those of an image of the same case.

    Args:
        path: The file.
        grid: How it is stored.
        first: The image.
        reference: How that one is stored. Where the origins are does not matter.

    Returns:
        The beginning of a sentence that names both files, or an empty string.
    """
    if grid.codes != reference.codes:
        return f"{path} is stored {grid.description} and {first} {reference.description}"
    if np.abs(grid.directions - reference.directions).max() > COSINE:
        cosines = np.einsum("ij,ij->j", grid.directions, reference.directions)
        angle = np.degrees(np.arccos(np.clip(cosines.min(), -1, 1)))
        return f"{path} and {first} are both stored {grid.codes}, but {angle:.1f}° apart"
    return ""


def spacing_difference(path: Path, grid: Grid, first: Path, reference: Grid) -> str:
    """Say how voxel sizes differ, by more than ``SPACING``; otherwise as ``difference``."""
    own, other = grid.turned_spacing, reference.turned_spacing
    if np.allclose(own, other, rtol=SPACING, atol=0):
        return ""
    return f"{path} has voxels of {_listed(own)} mm and {first} of {_listed(other)} mm (z, y, x)"


def nifti_grid(path: Path, data: bytes) -> Grid:
    """Read the header at the beginning of a NIfTI file.

    Args:
        path: The file, for messages.
        data: Its content, or at least the header.

    Raises:
        DatasetError: If ``qform_code`` or ``sform_code`` has no meaning, so that nobody can know
            how the voxels lie.
        HeaderDataError, WrapStructError, ValueError: If it is no NIfTI header.
    """
    cls = nib.Nifti2Header if data[:4] in NIFTI2 else nib.Nifti1Header
    block = data[: cls.sizeof_hdr]
    raw = cls(block, check=False)
    with quiet():
        header = cls(block)
    codes = {name: int(raw[name]) for name in ("qform_code", "sform_code")}
    wrong = [f"{name} {code}" for name, code in codes.items() if code not in _FORMS]
    if wrong:
        raise DatasetError(
            f"{path} has {' and '.join(wrong)}; NIfTI knows 0 to 5, so how its voxels lie cannot "
            "be known. Repair its header, or write it again from its source."
        )
    affine = np.asarray(header.get_best_affine(), np.float64)
    notes = [
        *_diagnosed(raw, block),
        *_form_notes(header, affine),
        *_unit_notes(raw),
        *_slope_notes(raw),
    ]
    silent = not (codes["qform_code"] or codes["sform_code"])
    return Grid(tuple(header.get_data_shape()[:3]), affine, tuple(notes), silent)


def refuse_offset(path: Path, data: bytes) -> None:
    """Refuse a single file whose header says that its voxels begin inside the header.

    Read so, the image would be shifted, with the header's own bytes as voxels before it.

    Raises:
        DatasetError: If ``vox_offset`` is 0, as some tools leave it.
        WrapStructError, OverflowError: If it is no NIfTI header.
    """
    cls = nib.Nifti2Header if data[:4] in NIFTI2 else nib.Nifti1Header
    with quiet():
        offset = float(cls(data[: cls.sizeof_hdr], check=False)["vox_offset"])
    if offset == 0:  # what else lies in the header, nibabel refuses itself
        raise DatasetError(
            f"{path} says that its voxels begin at byte 0 (vox_offset), which lies in its "
            f"header of {cls.sizeof_hdr} bytes. Repair its header (a single file has "
            f"{cls.single_vox_offset}), or write it again from its source."
        )


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep what nibabel logs or warns of off the screen, where it would not name the file.

    Yields:
        A list that holds the warnings when the block has ended. What it logs, ``Grid.notes`` have.
    """
    heard: list[str] = []
    before, imageglobals.logger.disabled = imageglobals.logger.disabled, True
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield heard
        heard += dict.fromkeys(str(warning.message) for warning in caught)
    finally:
        imageglobals.logger.disabled = before


def _diagnosed(raw: nib.Nifti1Header, block: bytes) -> list[str]:
    """Return what nibabel finds odd; a ``qfac`` of 0 stands for 1 by the standard."""
    lines = type(raw).diagnose_binaryblock(block).splitlines()
    usual = float(raw["pixdim"][0]) == 0
    return [line for line in lines if not (usual and "qfac" in line)]


def _form_notes(header: nib.Nifti1Header, affine: NDArray[np.float64]) -> list[str]:
    """Compare what the header says in several places about one thing."""
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    if not qform and not sform:
        codes = "".join(nib.aff2axcodes(affine))
        return [
            f"it says nothing about the axes (qform_code and sform_code are 0); taken as {codes}"
        ]
    notes = []
    grid = Grid(tuple(header.get_data_shape()[:3]), affine)
    directions = grid.directions
    if np.abs(directions.T @ directions - np.eye(3)).max() > COSINE:
        notes.append("its axes are not at right angles")
    if not sform:
        return notes
    pixdim = [float(mm) for mm in header["pixdim"][1:4]]
    sizes = voxel_sizes(affine)
    if not np.allclose(pixdim, sizes, rtol=SPACING, atol=0):
        notes.append(
            f"pixdim gives voxels of {_listed(pixdim)} mm and the sform {_listed(sizes)} mm; the "
            "sform is used"
        )
    elif qform and (note := _qform_note(header, grid)):
        notes.append(note)
    return notes


def _qform_note(header: nib.Nifti1Header, grid: Grid) -> str:
    try:
        other = Grid(grid.shape, np.asarray(header.get_qform(), np.float64))
    except (HeaderDataError, ValueError) as e:
        return f"its qform cannot be read ({e}); the sform is used"
    if np.abs(other.directions - grid.directions).max() <= COSINE:
        return ""
    return f"its qform ({other.codes}) and sform ({grid.codes}) differ; the sform is used"


def _unit_notes(raw: nib.Nifti1Header) -> list[str]:
    code = int(raw["xyzt_units"])
    space, rest = code & 7, code & ~7
    if space not in _UNITS or rest not in _TIMES:
        return [f"xyzt_units {code} is no unit; taken as mm"]
    return [f"its unit is {_UNITS[space]}; taken as mm"] * bool(_UNITS[space])


def _slope_notes(raw: nib.Nifti1Header) -> list[str]:
    slope = float(raw["scl_slope"])  # NaN and 0 stand for none by custom and by the standard
    return [f"scl_slope {slope} is no number; values are taken as stored"] * bool(np.isinf(slope))


def _listed(numbers: NDArray[np.float64] | list[float] | tuple[float, ...]) -> str:
    return " × ".join(f"{number:.4g}" for number in numbers)
