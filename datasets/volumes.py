"""NIfTI in and out.

Arrays are (D, H, W) = z, y, x of the RAS+ array: D counts feet to head, H back to front, W left
to right.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from cerebench.datasets.base import DatasetError

SUFFIXES = (".nii.gz", ".nii")

# Background compresses at any level; the noise of a float32 foreground at none.
_COMPRESSION = 1
_NIFTI2 = (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # the header's length, 540, in both byte orders


def read_nifti(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Read one volume, turned to the nearest RAS+ orientation.

    Args:
        path: A NIfTI-1 or NIfTI-2 file with three axes, ``.nii`` or ``.nii.gz``.

    Returns:
        Values (D, H, W) float32 with the header's slope and intercept applied, and the voxel edge
        lengths (D, H, W) in mm.

    Raises:
        DatasetError: If the file cannot be read whole, is no NIfTI file, has not exactly three
            axes, no voxels, no usable voxel size, or values that are not finite real numbers.
    """
    image = _open(path)
    _check_header(path, image)
    image = nib.as_closest_canonical(image)
    try:
        with np.errstate(over="ignore"):  # a value beyond float32 becomes Inf, reported below
            values = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, ValueError) as e:
        raise DatasetError(f"{path} is cut short ({e}). Copy or download it again.") from e
    if not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        raise DatasetError(
            f"{path} holds {bad} values that are NaN or infinite; every voxel must be a finite "
            "number. Repair or remove the file."
        )
    x, y, z = (float(mm) for mm in nib.affines.voxel_sizes(image.affine))
    return np.ascontiguousarray(values.transpose(2, 1, 0)), (z, y, x)


def largest_storable(path: Path) -> float | None:
    """Return the largest value the file's integer type can hold, or None for a float type.

    Voxels at this value are probably saturated.

    Raises:
        DatasetError: If the file is no readable NIfTI file.
    """
    image = _open(path)
    kind = image.get_data_dtype()
    if kind.kind not in "iu":
        return None
    return float(np.iinfo(kind).max * image.dataobj.slope + image.dataobj.inter)


def write_nifti(
    path: Path, volume: NDArray[np.float32], spacing: tuple[float, float, float]
) -> None:
    """Write one volume as NIfTI-1, atomically and with the same bytes for the same input.

    Stored RAS+ as (X, Y, Z) float32 without scaling, so that ``read_nifti`` returns the same bits;
    qform and sform code 2, the origin of the world at the centre of the volume, description
    ``synthetic``. The folder must exist.

    Args:
        path: Ends in ``.nii.gz`` or ``.nii``; replaced if it exists.
        volume: (D, H, W) float32.
        spacing: Voxel edge lengths (D, H, W), mm.

    Raises:
        DatasetError: If the volume is not three-dimensional float32, or the name ends otherwise.
    """
    if volume.ndim != 3 or volume.dtype != np.float32:
        raise DatasetError(
            f"{path} cannot be written from {volume.dtype} of shape {volume.shape}; "
            "pass one volume (D, H, W) as float32."
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
    image.header["descrip"] = b"synthetic"
    data = image.to_bytes()
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=_COMPRESSION, mtime=0)
    write_atomic(path, data)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file that is either complete or not there, also when the process is killed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _open(path: Path) -> nib.Nifti1Image:
    """Read the whole file at once: only then is the checksum of a gzip file verified."""
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return (nib.Nifti2Image if data[:4] in _NIFTI2 else nib.Nifti1Image).from_bytes(data)
    except FileNotFoundError as e:
        raise DatasetError(f"{path} does not exist.") from e
    except (OSError, EOFError, zlib.error) as e:
        raise DatasetError(
            f"{path} cannot be read: {e}. The file is damaged or cut short; copy or download it "
            "again."
        ) from e
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError) as e:
        raise DatasetError(
            f"{path} is not a NIfTI file ({e}). Expected .nii or .nii.gz with one volume."
        ) from e


def _check_header(path: Path, image: nib.Nifti1Image) -> None:
    shape = image.shape
    if len(shape) != 3:
        raise DatasetError(
            f"{path} has shape {shape}; one volume with three axes is expected. Split it, or drop "
            "the extra axis."
        )
    if 0 in shape:
        raise DatasetError(f"{path} has shape {shape} and thus no voxels. Replace or remove it.")
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        raise DatasetError(f"{path} stores {kind}; real numbers are expected. Convert the file.")
    sizes = nib.affines.voxel_sizes(image.affine)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise DatasetError(
            f"{path} gives voxel sizes {sizes.tolist()} mm; they must be positive. Repair its "
            "header."
        )
