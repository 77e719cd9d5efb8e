"""Medical Segmentation Decathlon, Task01: one file with four modalities per case, no grades.

Source: Antonelli et al. 2022 (Nature Communications 13:4128); scans of BraTS 2016 and 2017.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cerebench.datasets.base import DatasetError
from cerebench.datasets.layouts.base import LABELS, Entry, Layout, Listing, Tree, ending

_CHANNELS = {"flair": "flair", "t1w": "t1", "t1gd": "t1ce", "t2w": "t2"}
_ORDER = {"flair": 0, "t1": 1, "t1ce": 2, "t2": 3}


class Decathlon(Layout):
    """Task01, one file with all modalities a case."""

    name, label, family = "msd", "MSD Task01 (Decathlon)", "msd"
    source = "Antonelli et al. 2022; Menze et al. 2015"
    licence = "CC BY-SA 4.0"
    labels = LABELS["msd"]
    channels = _ORDER
    expected = "dataset.json with imagesTr/ and labelsTr/"

    def signs(self, tree: Tree) -> Sequence[Path]:
        """Return the folders that hold a description and training images."""
        return [
            f
            for f in tree.folders
            if "dataset.json" in tree.within(f) and f / "imagesTr" in tree.folders
        ]

    def read(self, tree: Tree, signs: Sequence[Path]) -> Listing:
        """List the training images with their masks."""
        if len(signs) > 1:
            raise DatasetError(
                f"{tree.root} holds {len(signs)} Decathlon tasks: "
                f"{', '.join(f.name for f in signs)}. Set --data-root to one of them."
            )
        (task,) = signs
        _check_description(tree.within(task)["dataset.json"])
        images, masks = tree.images(task / "imagesTr"), tree.images(task / "labelsTr")
        entries = []
        for stem in sorted({*images, *masks}):
            image, mask = images.get(stem), masks.get(stem)
            files = dict.fromkeys(_ORDER, image) if image else {}
            if mask:
                files["seg"] = mask
            name = next(iter(files.values())).name
            case = name[: -len(ending(name))]
            entries.append(Entry(case, case, files, str(task)))
        unused = {p for p in tree.files if p.parent == task / "imagesTs"}
        return Listing(tuple(entries), known=frozenset({task / "dataset.json", *unused}))


def _check_description(path: Path) -> None:
    """Refuse another task, or another order of the modalities than that of Task01."""
    try:
        channels = json.loads(path.read_text("utf-8-sig"))["modality"]
        order = [_CHANNELS.get(channels[str(i)].lower()) for i in range(4)]
    except OSError as e:
        raise DatasetError(f"{path} cannot be read: {e.strerror}. Restore the file.") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DatasetError(
            f"{path} does not name four modalities under 'modality' ({e!r}). Use the file of "
            "Task01_BrainTumour."
        ) from e
    if order != list(_ORDER):
        raise DatasetError(
            f"{path} gives the modalities {', '.join(channels.values())}; expected FLAIR, T1w, "
            "t1gd, T2w. Use Task01_BrainTumour, or describe the files in a manifest."
        )
