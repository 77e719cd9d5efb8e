"""Write a fake plain folder: one subfolder per class, files directly inside or by case."""

from fake_common import PLAIN

LABELS = {1: 1, 2: 2, 3: 3}


def make(root, cases, storage=PLAIN, by_case=False):
    names = {}
    for case in cases:
        name = names[case.number] = f"case{case.number}"
        folder = root / case.grade / name if by_case else root / case.grade
        prefix = "" if by_case else f"{name}_"
        for modality, image in case.images.items():
            storage.save_image(folder / f"{prefix}{modality}{storage.end}", image)
        storage.save_mask(folder / f"{prefix}seg{storage.end}", case.labels, LABELS)
    return names
