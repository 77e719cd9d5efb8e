"""Write a fake BIDS dataset: raw images, grades in ``participants.tsv``, a ``dseg`` mask."""

import json

from fake_common import PLAIN

NAMES = {"flair": "FLAIR", "t1": "T1w", "t1ce": "ce-gadolinium_T1w", "t2": "T2w"}
LABELS = {1: 1, 2: 2, 3: 3}


def make(root, cases, storage=PLAIN, session=""):
    """Write the cases, in a session if one is named."""
    names, rows = {}, ["participant_id\tgrade\tsite"]
    for case in cases:
        subject = f"sub-{case.number:04d}"
        stem = f"{subject}_{session}" if session else subject
        folder = root / subject / session / "anat"
        names[case.number] = stem
        for modality, image in case.images.items():
            storage.save_image(folder / f"{stem}_{NAMES[modality]}{storage.end}", image)
        storage.save_mask(folder / f"{stem}_dseg{storage.end}", case.labels, LABELS)
        (folder / f"{stem}_FLAIR.json").write_text("{}")
        rows.append(f"{subject}\t{case.grade}\tsite{case.number % 2}")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "Fake"}))
    (root / "dseg.tsv").write_text("index\tname\n1\tnecrosis\n2\toedema\n3\tenhancing\n")
    (root / "README").write_text("Fake\n")
    return names
