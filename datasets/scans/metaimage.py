"""MetaImage files (``.mha``), read with SimpleITK, which knows every compression and number type.

SimpleITK writes some of its complaints straight to the terminal, without the name of the file, and
goes on with what it could read; and a few headers make it end the whole program. So the header is
looked at first, and what is written meanwhile becomes an error.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.headers import Grid

_HEAD = 4096  # bytes that hold every header
_AXES = 3


def read_metaimage(path: Path) -> nib.Nifti1Image:
    """Read one volume with three axes.

    Raises:
        DatasetError: If the file is no such file, or cannot be read whole.
    """
    itk = _simpleitk(path)
    with _complaints(path) as heard:
        _check_header(path)
        image = itk.ReadImage(str(path), imageIO="MetaImageIO")
    if heard:
        raise _damaged(path, "; ".join(heard))
    return nib.Nifti1Image(itk.GetArrayFromImage(image).T, _affine(image))


def metaimage_grid(path: Path) -> Grid:
    """Read the header alone.

    Raises:
        DatasetError: As ``read_metaimage``.
    """
    itk = _simpleitk(path)
    reader = itk.ImageFileReader()
    with _complaints(path) as heard:
        _check_header(path)
        reader.SetImageIO("MetaImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    if heard:
        raise _damaged(path, "; ".join(heard))
    return Grid(tuple(reader.GetSize()), _affine(reader))


def _simpleitk(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError as e:
        raise DatasetError(
            f"{path} needs SimpleITK. Run: pip install 'cerebench[mha]' (or pip install SimpleITK)."
        ) from e
    return SimpleITK


def _affine(image: Any) -> NDArray[np.float64]:
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK counts towards left and back, NIfTI right, front
    affine[:3] = affine[:3, :3] @ np.column_stack([axes, image.GetOrigin()])
    return affine


def _check_header(path: Path) -> None:
    """Refuse what SimpleITK would not survive, and voxel sizes that it would take for a turn."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    # A header may name another file for its data; .mha files hold their own.
    text, local, _ = head.partition(b"ElementDataFile = LOCAL")
    if not local:
        raise DatasetError(
            f"{path} is not a MetaImage file with its data inside (ElementDataFile = LOCAL). "
            "Copy or download it again."
        )
    fields = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", text.decode("latin-1"), re.MULTILINE))
    if fields.get("NDims") != str(_AXES):
        raise DatasetError(
            f"{path} has NDims = {fields.get('NDims', 'nothing')}; one volume with three axes is "
            "expected. Split it, or replace it."
        )
    sizes = fields.get("ElementSpacing", "1 1 1")
    if not all(_positive(word) for word in sizes.split()):
        raise DatasetError(
            f"{path} gives voxel sizes {sizes} mm; they must be positive. Repair its header."
        )


def _positive(word: str) -> bool:
    try:
        return 0 < float(word) < np.inf
    except ValueError:
        return False


def _damaged(path: Path, reason: str) -> DatasetError:
    why = f" ({reason})" if reason else ""
    return DatasetError(
        f"{path} cannot be read{why}. The file is damaged or cut short; copy or download it again."
    )


@contextmanager
def _complaints(path: Path) -> Iterator[list[str]]:
    """Turn what SimpleITK raises into an error that names the file, and collect what it prints.

    Yields:
        A list that holds the printed lines when the block has ended.
    """
    heard: list[str] = []
    try:
        with _standard_error(heard):
            yield heard
    except FileNotFoundError as e:
        raise DatasetError(f"{path} does not exist.") from e
    except OSError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}. Restore the file.") from e
    except RuntimeError as e:
        raise _damaged(path, "; ".join(heard)) from e


@contextmanager
def _standard_error(heard: list[str]) -> Iterator[None]:
    """Append to ``heard`` what a library of C++ writes to standard error meanwhile.

    What Python itself writes there, such as a progress bar of another thread, still reaches it.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with ExitStack() as undo:
        undo.callback(os.close, kept)
        file = undo.enter_context(tempfile.TemporaryFile())
        if _is_standard_error(sys.stderr):
            sys.stderr.flush()
            undo.enter_context(redirect_stderr(undo.enter_context(os.fdopen(os.dup(kept), "w"))))
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            file.seek(0)
            lines = file.read().decode("utf-8", "replace").splitlines()
            heard += [" ".join(line.split()) for line in lines if line.strip()]


def _is_standard_error(stream: Any) -> bool:
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False
