"""Write a fake BraTS 2018: ``{HGG,LGG}/Brats18_<site>_<number>_1/``."""

from fake_common import PLAIN

FOLDER = "MICCAI_BraTS_2018_Data_Training"
PREFIX = "Brats18"
LABELS = {1: 1, 2: 2, 3: 4}
SITES = {"LGG": ("2013", "TCIA13", "TMC"), "HGG": ("2013", "CBICA", "TCIA01")}


def name_of(case, prefix=PREFIX):
    """Return the name of a case: the site has digits, and is of one grade except 2013."""
    site = SITES[case.grade][case.number % 3]
    return f"{prefix}_{site}_{case.number}_1"


def make(root, cases, storage=PLAIN, folder=FOLDER, prefix=PREFIX):
    """Write the cases; return {case number: case id}."""
    names = {}
    for case in cases:
        name = names[case.number] = name_of(case, prefix)
        stem = root / folder / case.grade / name / name
        for modality, image in case.images.items():
            storage.save_image(stem.with_name(f"{name}_{modality}{storage.end}"), image)
        storage.save_mask(stem.with_name(f"{name}_seg{storage.end}"), case.labels, LABELS)
    return names
