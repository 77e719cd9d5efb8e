"""Write a fake BraTS 2021: flat folders, no grades."""

import fake_brats2018
from fake_common import PLAIN


def make(root, cases, storage=PLAIN):
    names = {}
    for case in cases:
        name = names[case.number] = f"BraTS2021_{case.number:05d}"
        for modality, image in case.images.items():
            storage.save_image(root / name / f"{name}_{modality}{storage.end}", image)
        mask = root / name / f"{name}_seg{storage.end}"
        storage.save_mask(mask, case.labels, fake_brats2018.LABELS)
    return names
