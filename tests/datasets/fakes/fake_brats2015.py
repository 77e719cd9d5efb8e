"""Write a fake BRATS 2015: ``.mha`` files in folders named by a server. Needs SimpleITK."""

import numpy as np
from fake_common import PLAIN

FOLDER = "BRATS2015_Training"
NAMES = {"flair": "MR_Flair", "t1": "MR_T1", "t1ce": "MR_T1c", "t2": "MR_T2"}
LABELS = {1: 1, 2: 2, 3: 4}
ORIGIN = (0.0, -23.0, 0.0)


def make(root, cases, storage=PLAIN, compress=True):
    """Write the cases; ``storage`` is not used, because there is one way only."""
    import SimpleITK as itk  # noqa: N813

    def save(folder, kind, number, array):
        name = f"VSD.Brain.XX.O.{kind}.{54000 + number}"
        (folder / name).mkdir(parents=True)
        # (X, Y, Z) RAS to (z, y, x) LPS, the axes of ITK.
        image = itk.GetImageFromArray(np.flip(array, (0, 1)).T.astype(np.int16))
        image.SetOrigin(ORIGIN)
        itk.WriteImage(image, str(folder / name / f"{name}.mha"), compress)
        (folder / name / "Licence_VSD.txt").write_text("fake\n")

    names = {}
    for case in cases:
        name = names[case.number] = f"brats_tcia_pat{case.number:03d}_0001"
        folder = root / FOLDER / case.grade / name
        for index, (modality, image) in enumerate(case.images.items()):
            save(folder, NAMES[modality], 10 * case.number + index, image)
        table = np.zeros(8, np.int16)
        for canonical, label in LABELS.items():
            table[canonical] = label
        save(folder, "OT", 10 * case.number + 9, table[case.labels])
    return names
