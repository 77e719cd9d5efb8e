"""Write a fake collection of one's own: any names, and a table that tells what they are."""

from fake_common import PLAIN

COLUMNS = ["case_id", "patient_id", "label", "site"]
LABELS = {1: 1, 2: 2, 3: 3}


def make(root, cases, storage=PLAIN, separator=","):
    names, rows = {}, []
    modalities = list(cases[0].images)
    for case in cases:
        name = names[case.number] = f"patient-{case.number}"
        paths = []
        for modality, image in case.images.items():
            paths.append(f"scans/{case.number}-{modality}{storage.end}")
            storage.save_image(root / paths[-1], image)
        paths.append(f"masks/{case.number}{storage.end}")
        storage.save_mask(root / paths[-1], case.labels, LABELS)
        rows.append([name, name, case.grade, f"site{case.number % 2}", *paths])
    header = [*COLUMNS, *(f"image:{m}" for m in modalities), "seg"]
    end = "csv" if separator == "," else "tsv"
    text = "\n".join(separator.join(row) for row in [header, *rows])
    (root / f"manifest.{end}").write_text(text + "\n")
    return names
