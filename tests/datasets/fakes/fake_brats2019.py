"""Write a fake BraTS 2019; ``nested`` copies repeat the official folder, as mirrors do."""

import fake_brats2018
from fake_common import PLAIN

FOLDER = "MICCAI_BraTS_2019_Data_Training"
PREFIX = "BraTS19"


def make(root, cases, storage=PLAIN, nested=False):
    folder = f"{FOLDER}/{FOLDER}" if nested else FOLDER
    names = fake_brats2018.make(root, cases, storage, folder, PREFIX)
    for table in ("name_mapping.csv", "survival_data.csv"):
        (root / folder / table).write_text("BraTS19ID\n")
    return names
