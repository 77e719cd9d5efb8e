"""Write a fake BraTS 2023 GLI: hyphens, new modality names, label 3 for the enhancing tumour.

Cases 1 and 2, and so on, are two time points of one patient when ``pairs`` is set.
"""

from fake_common import PLAIN

FOLDER = "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData"
NAMES = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}
LABELS = {1: 1, 2: 2, 3: 3}


def name_of(case, pairs, first=0):
    if pairs:
        return f"BraTS-GLI-{(case.number - 1) // 2:05d}-{first + (case.number - 1) % 2:03d}"
    return f"BraTS-GLI-{case.number:05d}-{first:03d}"


def make(root, cases, storage=PLAIN, pairs=False, folder=FOLDER, first=0, labels=LABELS):
    names = {}
    for case in cases:
        name = names[case.number] = name_of(case, pairs, first)
        for modality, image in case.images.items():
            path = root / folder / name / f"{name}-{NAMES[modality]}{storage.end}"
            storage.save_image(path, image)
        mask = root / folder / name / f"{name}-seg{storage.end}"
        storage.save_mask(mask, case.labels, labels)
    return names
