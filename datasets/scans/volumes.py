"""NIfTI in and out; MetaImage in.

Arrays are (D, H, W) = z, y, x of the RAS+ array: D counts feet to head, H back to front, W left
to right.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.funcs import squeeze_image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from cerebench.core.files import write_bytes
from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.headers import NIFTI2, Grid, nifti_grid, quiet, refuse_offset
from cerebench.datasets.scans.metaimage import metaimage_grid, read_metaimage
from cerebench.datasets.scans.stand_ins import refuse_stand_in

SUFFIXES = (".nii.gz", ".nii")
Spacing = tuple[float, float, float]

# Background compresses at any level; the noise of a float32 foreground at none.
_COMPRESSION = 1
_FLAT = 1e-3  # of the determinant of direction cosines, below which three axes span a plane
_HEADER = 540  # bytes of the longer of the two headers of NIfTI
_MHA = ".mha"


@dataclass(frozen=True)
class Stored:
    """One volume as a file holds it.

    Attributes:
        values: (D, H, W) float32, slope and intercept applied.
        spacing: Voxel edge lengths (D, H, W), mm.
        largest: The largest value the file's integer type can hold, or None for a float type.
            Voxels there are probably saturated.
        grid: How the voxels lie in the file, before they are turned.
    """

    values: NDArray[np.float32]
    spacing: Spacing
    largest: float | None
    grid: Grid


def read_nifti(path: Path) -> tuple[NDArray[np.float32], Spacing]:
    """Return values (D, H, W) and spacing of one volume; see ``read_stored``."""
    stored = read_stored(path)
    return stored.values, stored.spacing


def read_stored(path: Path, channel: int | None = None, like: Grid | None = None) -> Stored:
    """Read one volume, turned to the nearest RAS+ orientation.

    Args:
        path: A NIfTI-1 or NIfTI-2 file, ``.nii`` or ``.nii.gz``, with three axes (further ones of
            length 1 are dropped); or a MetaImage file, ``.mha``.
        channel: Position on the fourth axis of a file that has one.
        like: Axes to take instead of those that the file's own header gives.

    Raises:
        DatasetError: If the file cannot be read whole, is no image file, has not exactly three
            axes (four with a channel), no voxels, no usable axes or voxel size, another shape than
            ``like``, or values that are not finite real numbers.
    """
    with quiet() as heard:
        image, grid = _open(path, like)
        _check_header(path, image, channel)
        _check_axes(path, grid)
        largest = _largest(image)
        image = squeeze_image(image) if channel is None else image.slicer[..., channel]
        values = _values(path, nib.as_closest_canonical(image))
    refuse_not_finite(path, values)
    z, y, x = grid.turned_spacing
    grid = replace(grid, notes=(*grid.notes, *heard))
    return Stored(np.ascontiguousarray(values.transpose(2, 1, 0)), (z, y, x), largest, grid)


def read_grid(path: Path) -> Grid:
    """Read how the voxels of a file lie from its header alone.

    Raises:
        DatasetError: If there is no header with usable axes and voxel sizes.
    """
    if path.suffix.lower() == _MHA:
        grid = metaimage_grid(path)
    else:
        with quiet(), _named(path), path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if packed else nullcontext(file) as content:
                start = content.read(_HEADER)
                refuse_stand_in(path, start)
                grid = nifti_grid(path, start)
    _check_axes(path, grid)
    return grid


def _largest(image: nib.Nifti1Image) -> float | None:
    kind = np.dtype(image.get_data_dtype())
    if kind.kind not in "iu":
        return None
    slope, inter = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    return float(np.iinfo(kind).max * slope + inter)


def refuse_not_finite(place: object, values: NDArray[np.float32]) -> None:
    """Refuse values that are no finite numbers.

    Raises:
        DatasetError: Naming the place and counting them.
    """
    if not np.isfinite(values).all():
        raise DatasetError(
            f"{place} holds {_count_of_bad(values)}; every voxel must be a finite number. Repair "
            "or remove the file."
        )


def _count_of_bad(values: NDArray[np.float32]) -> str:
    nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    parts = [f"{nan} NaN"] * bool(nan) + [f"{infinite} infinite"] * bool(infinite)
    return f"{' and '.join(parts)} values"


def write_nifti(
    path: Path,
    volume: NDArray[np.float32] | NDArray[np.uint8],
    spacing: Spacing,
    description: str = "synthetic",
) -> None:
    """Write one volume as NIfTI-1, atomically; see ``nifti_bytes``. The folder must exist.

    Args:
        path: Ends in ``.nii.gz`` or ``.nii``; replaced if it exists.
        volume: (D, H, W) float32, or uint8 for a mask.
        spacing: Voxel edge lengths (D, H, W), mm.
        description: What the header says about itself, up to 79 characters of ASCII.

    Raises:
        DatasetError: If the volume is not three-dimensional float32 or uint8, or the name ends
            otherwise.
    """
    write_bytes(path, nifti_bytes(path, volume, spacing, description))


def nifti_bytes(
    path: Path,
    volume: NDArray[np.float32] | NDArray[np.uint8],
    spacing: Spacing,
    description: str = "synthetic",
) -> bytes:
    """Return what ``write_nifti`` writes: the same bytes for the same input.

    Stored RAS+ as (X, Y, Z) without scaling, so that ``read_nifti`` returns the same bits; qform
    and sform code 2, the origin of the world at the centre of the volume.
    """
    if volume.ndim != 3 or volume.dtype not in (np.float32, np.uint8):
        raise DatasetError(
            f"{path} cannot be written from {volume.dtype} of shape {volume.shape}; "
            "pass one volume (D, H, W) as float32, or a mask as uint8."
        )
    if not path.name.endswith(SUFFIXES):
        raise DatasetError(f"{path} must end in .nii.gz or .nii.")
    array = volume.transpose(2, 1, 0)
    steps = np.array(spacing[::-1], dtype=float)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(array.shape) - 1) / 2
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code=2)
    image.set_sform(affine, code=2)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii")
    data = image.to_bytes()
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=_COMPRESSION, mtime=0)
    return data


def _open(path: Path, like: Grid | None) -> tuple[nib.Nifti1Image, Grid]:
    """Read the whole file at once: only then is the checksum of a gzip file verified."""
    if path.suffix.lower() == _MHA:
        image = read_metaimage(path)
        own = Grid(image.shape[:3], _affine(image))
    else:
        with _named(path):
            data = path.read_bytes()
            if data.startswith(b"\x1f\x8b"):
                data = gzip.decompress(data)
            refuse_stand_in(path, data)
            cls = nib.Nifti2Image if data[:4] in NIFTI2 else nib.Nifti1Image
            refuse_offset(path, data)
            image = cls.from_bytes(data)
            _check_length(path, image, len(data))
            # A header that is not used may say what it will.
            own = Grid(image.shape[:3], _affine(image)) if like else nifti_grid(path, data)
    if like is None:
        return image, own
    if own.shape != like.shape:
        raise DatasetError(
            f"{path} is stored with {own.shape} voxels and the image whose axes it shall have with "
            f"{like.shape}. Leave --same-axes out, or replace the file."
        )
    return type(image)(image.dataobj, like.affine, image.header), replace(like, notes=())


def _affine(image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return the affine, (4, 4), which every image that was read from a file has."""
    assert image.affine is not None
    return image.affine


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a NIfTI file into an error that names it."""
    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError as e:
        raise DatasetError(f"{path} does not exist.") from e
    except PermissionError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}. Correct its permissions.") from e
    except (OSError, EOFError, zlib.error) as e:
        raise DatasetError(
            f"{path} cannot be read: {e}. The file is damaged or cut short; copy or download it "
            "again."
        ) from e
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OverflowError) as e:
        raise DatasetError(
            f"{path} is not a NIfTI file ({e}). Expected .nii or .nii.gz with one volume."
        ) from e


def _check_length(path: Path, image: nib.Nifti1Image, length: int) -> None:
    """Refuse a header that announces more than there is, before memory is set aside for it."""
    shape, stored = image.shape, image.dataobj
    offset = int(stored.offset) if isinstance(stored, ArrayProxy) else 0
    announced = math.prod(shape) * np.dtype(image.get_data_dtype()).itemsize + offset
    if announced > length or min(shape, default=0) < 0:
        raise DatasetError(
            f"{path} is cut short, or its header is damaged: it announces {shape} voxels in "
            f"{announced} bytes and has {length}. Copy or download it again."
        )


def _values(path: Path, image: nib.Nifti1Image) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # a value beyond float32 becomes Inf, reported later
            return image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, ValueError) as e:
        raise DatasetError(f"{path} is cut short ({e}). Copy or download it again.") from e


def _check_header(path: Path, image: nib.Nifti1Image, channel: int | None) -> None:
    shape = image.shape
    if channel is not None:
        if len(shape) != 4 or shape[3] <= channel:
            raise DatasetError(
                f"{path} has shape {shape}; four axes are expected, the last with at least "
                f"{channel + 1} modalities. Replace or remove it."
            )
    elif len(shape) < 3 or math.prod(shape[3:]) != 1:
        raise DatasetError(
            f"{path} has shape {shape}; one volume with three axes is expected. Split it, or drop "
            "the extra axis."
        )
    if 0 in shape:
        raise DatasetError(f"{path} has shape {shape} and thus no voxels. Replace or remove it.")
    kind = np.dtype(image.get_data_dtype())
    if kind.kind not in "iuf":
        raise DatasetError(f"{path} stores {kind}; real numbers are expected. Convert the file.")


def _check_axes(path: Path, grid: Grid) -> None:
    sizes = voxel_sizes(grid.affine)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise DatasetError(
            f"{path} gives voxel sizes {sizes.tolist()} mm; they must be positive. Repair its "
            "header."
        )
    if abs(np.linalg.det(grid.directions)) < _FLAT or "?" in grid.codes:
        raise DatasetError(
            f"{path} gives axes that do not lead in three directions ({grid.codes}). Repair its "
            "header."
        )
