"""Write a fake BraTS 2024 GLI (post-treatment): time points from 100, label 4 is a cavity."""

import fake_brats2023
from fake_common import PLAIN

FOLDER = "BraTS2024-BraTS-GLI-TrainingData/training_data1_v2"
LABELS = {1: 1, 2: 2, 3: 3, 4: 4}


def make(root, cases, storage=PLAIN, folder=FOLDER):
    return fake_brats2023.make(root, cases, storage, folder=folder, first=100, labels=LABELS)
