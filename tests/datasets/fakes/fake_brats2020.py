"""Write a fake BraTS 2020 with ``name_mapping.csv``; one mask may have the name from the clinic."""

import fake_brats2018
from fake_common import PLAIN

FOLDER = "MICCAI_BraTS2020_TrainingData"
COLUMNS = (
    "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,"
    "BraTS_2019_subject_ID,BraTS_2020_subject_ID"
)


def make(root, cases, storage=PLAIN, stray_mask=None, new=()):
    """Write the cases; those numbered in ``new`` have no 2019 id."""
    names, rows = {}, [COLUMNS]
    for case in cases:
        name = names[case.number] = f"BraTS20_Training_{case.number:03d}"
        folder = root / FOLDER / name
        for modality, image in case.images.items():
            storage.save_image(folder / f"{name}_{modality}{storage.end}", image)
        mask = "W39_1998.09.19_Segm" if case.number == stray_mask else f"{name}_seg"
        storage.save_mask(folder / f"{mask}{storage.end}", case.labels, fake_brats2018.LABELS)
        old = "NA" if case.number in new else fake_brats2018.name_of(case, "BraTS19")
        rows.append(f"{case.grade},NA,NA,NA,{old},{name}")
    (root / FOLDER / "name_mapping.csv").write_text("\n".join(rows) + "\n")
    (root / FOLDER / "survival_info.csv").write_text("Brats20ID,Age,Survival_days\n")
    return names
