"""Write a fake Task01 of the Decathlon: four modalities in a file, labels in another order."""

import json

import numpy as np
from fake_common import PLAIN

FOLDER = "Task01_BrainTumour"
ORDER = ("flair", "t1", "t1ce", "t2")
LABELS = {1: 2, 2: 1, 3: 3}


def make(root, cases, storage=PLAIN):
    task, names = root / FOLDER, {}
    for case in cases:
        name = names[case.number] = f"BRATS_{case.number:03d}"
        stacked = np.stack([case.images[m] for m in ORDER], axis=-1)
        storage.save(task / "imagesTr" / f"{name}.nii.gz", stacked, np.float32)
        storage.save_mask(task / "labelsTr" / f"{name}.nii.gz", case.labels, LABELS)
    (task / "imagesTs").mkdir()
    storage.save(task / "imagesTs" / "BRATS_485.nii.gz", stacked, np.float32)
    description = {
        "name": "BRATS",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor",
                   "3": "enhancing tumour"},
    }  # fmt: skip
    (task / "dataset.json").write_text(json.dumps(description))
    return names
