"""Plain folders: one subfolder per class, NIfTI files inside, directly or one folder per case.

``LGG/case1_flair.nii.gz`` with ``LGG/case1_seg.nii.gz``, or ``LGG/case1/flair.nii.gz`` with
``LGG/case1/seg.nii.gz`` (``case1_flair.nii.gz`` works there, too).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from cerebench.datasets.base import Finding
from cerebench.datasets.layouts.base import MODALITIES, Entry, Layout, Listing, Tree

_FILE = re.compile(rf"(?:(.+)[_-])?({'|'.join(MODALITIES)}|seg)", re.IGNORECASE)
_TABLES = {"manifest.csv", "manifest.tsv", "participants.tsv", "dataset.json", "name_mapping.csv"}
_OTHERS = re.compile(r"brats|sub-|anat$|ses-|imagesT|labelsT", re.IGNORECASE)


class ClassFolders(Layout):
    """One folder a class, without any table."""

    name, label, family = "folders", "class folders", "folders"
    expected = "LGG/ and HGG/ with files such as case1_flair.nii.gz and case1_seg.nii.gz"

    def signs(self, tree: Tree) -> Sequence[Path]:
        """Return the files whose names end in a modality; none where there is a table."""
        if set(tree.within(tree.root)) & _TABLES:
            return []  # what a table describes is not a plain folder
        return [
            path
            for path in tree.files
            if _parts(tree, path) and not any(_OTHERS.match(p) for p in _parts(tree, path)[:-1])
        ]

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the cases; two files of one modality are a finding."""
        groups: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
        findings = []
        for path in signs:
            *folders, stem = _parts(tree, path)
            prefix, modality = _named(stem)
            case = folders[1] if len(folders) == 2 else prefix
            other = groups[folders[0], case].setdefault(modality, path)
            if other != path:
                message = (
                    f"{other.name} and {path.name} are in one case folder; expected one file per "
                    "modality. Give the folder that holds the class folders"
                )
                findings.append(Finding("error", case, message))
        entries = [
            Entry(case, case, files, str(tree.root / name), _class_name(name))
            for (name, case), files in groups.items()
        ]
        return Listing(tuple(entries), tuple(findings), frozenset(signs))


def _parts(tree: Tree, path: Path) -> tuple[str, ...]:
    """Return (class folder, [case folder,] stem) of a file that has this form, else nothing."""
    parts = path.relative_to(tree.root).parts
    if len(parts) not in (2, 3):
        return ()
    stem = next((s for s, p in tree.images(path.parent).items() if p == path), "")
    prefix, modality = _named(stem)
    if not modality or (len(parts) == 2 and not prefix):
        return ()
    return (*parts[:-1], path.name[: len(stem)])


def _named(stem: str) -> tuple[str, str]:
    """Split ``case1_flair`` into case and modality; the modality of another name is empty."""
    match = _FILE.fullmatch(stem)
    return (match[1] or "", match[2].lower()) if match else ("", "")


def _class_name(folder: str) -> str:
    name = folder.removeprefix("class_")
    return name.upper() if name.upper() in ("LGG", "HGG") else name
