"""What lies where an image should be: pointers to files that were not fetched, web pages, text."""

from __future__ import annotations

from pathlib import Path

from cerebench.datasets.base import DatasetError

ANNEX = "annex/objects/"  # part of the target of its links, and of the text of its pointers
FETCH_ANNEX = "fetch it with datalad get or git annex get"
_LFS = b"version https://git-lfs"
_PAGES = (b"<!doctype html", b"<html", b"<?xml")
_LOOKED_AT = 512


def refuse_stand_in(path: Path, data: bytes) -> None:
    """Refuse what is certainly no image, and say what it is.

    Args:
        path: The file.
        data: How it begins.

    Raises:
        DatasetError: If it is empty, or text.
    """
    start = data[:_LOOKED_AT]
    if fault := _stand_in(start):
        raise DatasetError(f"{path} {fault}.")


def _stand_in(start: bytes) -> str:
    if not start:
        return "is empty. Copy or download it again"
    if start.startswith(_LFS):
        return "is a pointer of Git LFS, not the image: fetch it with git lfs pull"
    if not _is_text(start):
        return ""
    if ANNEX.encode() in start:
        return f"is a pointer of git-annex, not the image: {FETCH_ANNEX}"
    if start.lstrip().lower().startswith(_PAGES):
        return (
            "is a web page saved under this name, perhaps of a login or an error. Download the "
            "image itself"
        )
    return f"is a text file (it begins {start[:20].decode(errors='replace')!r}), not an image"


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else a character cut by the end of what is looked at
            return False
        text = start[: error.start].decode("utf-8")
    return all(c.isprintable() or c in "\t\r\n" for c in text)
