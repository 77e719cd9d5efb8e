"""What may name a file or folder, and the folders of class labels, which may be any text.

A *name* is chosen by a person for a row, an experiment, a variant or a plugin, and becomes part of
a path as it is. A *label* comes with the data and is shown as it is; wherever it would be part of a
path, its folder name stands instead: ASCII letters and digits only, since BIDS subjects
(``sub-<folder name>00000``) allow nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from cerebench.core.hashing import sha256_bytes
from cerebench.datasets.base import DatasetError

NAME_LENGTH, LABEL_LENGTH, SLUG_LENGTH = 64, 200, 64
NAME_RULE = (
    f"expected 1 to {NAME_LENGTH} of the ASCII letters, digits, '.', '_' and '-', no '-' at the "
    "start, and not '.' or '..'"
)
_NAME = re.compile(rf"[A-Za-z0-9._][A-Za-z0-9._-]{{0,{NAME_LENGTH - 1}}}")
_SLUG = re.compile(rf"[A-Za-z0-9]{{1,{SLUG_LENGTH}}}")
_HASH_DIGITS = 6
_SHOWN = 60
# Control characters, halves of characters (names of files in another encoding), ends of lines.
_FORBIDDEN = ("Cc", "Cs", "Zl", "Zp")


def is_name(text: str) -> bool:
    """Say whether a text can be part of a path as it is; a '-' in front would read as an option.

    Example:
        >>> is_name("wgan-gp"), is_name("../evil"), is_name(".."), is_name("-x")
        (True, False, False, False)
    """
    return text not in (".", "..") and _NAME.fullmatch(text) is not None


def name_like(text: str, otherwise: str) -> str:
    """Return a name that resembles a text; the text itself where it is a name.

    Example:
        >>> name_like("my samples (v2)", "volumes"), name_like("lr=0.1", "volumes")
        ('my-samples-v2', 'lr-0.1')
    """
    if is_name(text):
        return text
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:NAME_LENGTH] or otherwise


def shown(text: str) -> str:
    """Return a text in quotes for a message, cut where it is long, control characters escaped.

    Example:
        >>> shown("a" * 300) == "'" + "a" * 60 + "…'"
        True
    """
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def label_fault(text: str) -> str:
    """Return why a text cannot be a class label (or another text that comes with data), or ''.

    Example:
        >>> label_fault("a/b"), label_fault("")
        ('', 'is empty')
    """
    if not text:
        return "is empty"
    if len(text) > LABEL_LENGTH:
        return f"{shown(text)} has {len(text)} characters; expected at most {LABEL_LENGTH}"
    if any(unicodedata.category(c) in _FORBIDDEN for c in text):
        return f"{shown(text)} holds control characters or unreadable ones; expected plain text"
    return ""


def check_labels(labels: Iterable[str], where: object) -> None:
    """Refuse class labels that cannot be shown, or that would share a folder.

    Raises:
        DatasetError: Naming the label and where it is.
    """
    labels = tuple(labels)
    for label in labels:
        if fault := label_fault(label):
            raise DatasetError(f"{where}: class label {fault}. Rename the class.")
    folder_names(labels)


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """Return the folder name of each class label of a data set.

    It is the label itself where that is ASCII letters and digits, at most 64, and no other label
    differs from it in case alone. Else the letters and digits of the label are followed by six hex
    digits of its SHA-256, so that ``a/b`` and ``a_b``, or ``LGG`` and ``lgg``, have two folders on
    every file system.

    Raises:
        DatasetError: If two labels would still share a folder.

    Example:
        >>> folder_names(["LGG", "a/b"])
        {'LGG': 'LGG', 'a/b': 'abc14cdd'}
    """
    return dict(_folder_names(tuple(dict.fromkeys(labels))))


@lru_cache
def _folder_names(labels: tuple[str, ...]) -> dict[str, str]:
    alike = Counter(label.casefold() for label in labels)
    names = {
        label: label if _SLUG.fullmatch(label) and alike[label.casefold()] == 1 else _hashed(label)
        for label in labels
    }
    owners: dict[str, str] = {}
    for label, name in names.items():
        other = owners.setdefault(name.casefold(), label)
        if other != label:
            raise DatasetError(
                f"The classes {shown(other)} and {shown(label)} would share the folder '{name}'. "
                "Rename one of them."
            )
    return names


def _hashed(label: str) -> str:
    digits = sha256_bytes(label.encode())[:_HASH_DIGITS]
    kept = re.sub(r"[^A-Za-z0-9]", "", label)[: SLUG_LENGTH - _HASH_DIGITS]
    return f"{kept or 'class'}{digits}"


def find_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the label that a text means: the same one, else the only one that differs in case.

    Example:
        >>> find_label("lgg", ["LGG", "HGG"]), find_label("Lgg", ["LGG", "lgg"])
        ('LGG', None)
    """
    if text in labels:
        return text
    alike = [label for label in labels if label.casefold() == text.casefold()]
    return alike[0] if len(alike) == 1 else None


def find_folder_label(folder: str, labels: Sequence[str]) -> str | None:
    """Return the label whose class folder has this name: ``LGG``, ``class_LGG``, in any case.

    A label that cannot name a folder is found by its folder name.
    """
    names = {name: label for label, name in folder_names(labels).items()}
    for text in (folder, folder[6:] if folder.lower().startswith("class_") else ""):
        if label := find_label(text, labels):
            return label
        if name := find_label(text, list(names)):
            return names[name]
    return None
