"""BRATS 2015: ``.mha`` files, each in a folder of its own, named by a server.

``HGG/brats_tcia_pat105_0001/VSD.Brain.XX.O.MR_Flair.54193/VSD.Brain.XX.O.MR_Flair.54193.mha``; the
mask is the one with ``.OT.`` in its name. Reading needs SimpleITK.

Source: Menze et al. 2015 (IEEE TMI).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cerebench.datasets.base import DatasetError, Finding
from cerebench.datasets.layouts.base import LABELS, Entry, Layout, Listing, Tree

_CASE = re.compile(r"brats_(.+)_pat(\d+)_(\d+)", re.IGNORECASE)
_FILES = {
    "flair": re.compile(r"mr_flair", re.IGNORECASE),
    "t1ce": re.compile(r"mr_t1c", re.IGNORECASE),
    "t1": re.compile(r"mr_t1(?!c)", re.IGNORECASE),
    "t2": re.compile(r"mr_t2", re.IGNORECASE),
    "seg": re.compile(r"\.ot\.", re.IGNORECASE),
}


class BraTS2015(Layout):
    """The training set of 2015: a folder for each image."""

    name, label, family = "brats2015", "BRATS 2015", "brats"
    source = "Menze et al. 2015"
    licence = "data use terms of the BRATS challenge; TCIA parts CC BY 3.0"
    labels = LABELS["brats2015"]
    expected = "HGG/ and LGG/ with folders such as brats_tcia_pat105_0001 that hold .mha files"

    def signs(self, tree: Tree) -> Sequence[Path]:
        """Return the folders whose names are those of cases."""
        return [f for f in tree.folders if _CASE.fullmatch(f.name)]

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the cases; one outside HGG/ and LGG/ has no grade and is left out."""
        entries, findings, unused = [], [], set()
        for folder in signs:
            images = [p for p in tree.files if p.is_relative_to(folder) and p.suffix == ".mha"]
            grade = folder.parent.name.upper()
            if grade not in ("LGG", "HGG"):
                message = "is not inside HGG/ or LGG/, so it has no grade: left out"
                findings.append(Finding("warning", folder.name, message))
                unused |= set(images)
                continue
            files, refused = {}, set()
            for modality, name in _FILES.items():
                match = [p for p in images if name.search(p.name)]
                if len(match) == 1:
                    files[modality] = match[0]
                elif match:
                    message = f"has {len(match)} files for {modality}; expected one"
                    findings.append(Finding("error", folder.name, message))
                    refused.add(modality)
            # brats_<site>_pat<number>_<scan>: the scans of a patient differ in the last number.
            patient = folder.name.rpartition("_")[0]
            site = _CASE.sub(r"\1", folder.name)
            place = str(folder)
            entries.append(
                Entry(folder.name, patient, files, place, grade, site, frozenset(refused))
            )
        if not entries:
            raise DatasetError(
                f"The BRATS 2015 cases in {tree.root} have no grades (expected them inside HGG/ "
                "and LGG/). Use the training set in its original layout, see docs/datasets.md."
            )
        known = {
            p for p in tree.files if any(p.is_relative_to(f) for f in signs) and p.suffix == ".txt"
        }
        return Listing(tuple(entries), tuple(findings), frozenset(known | unused))
