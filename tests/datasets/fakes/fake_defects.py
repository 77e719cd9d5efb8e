"""Write a collection with fifteen planted defects, each in a case of its own, beside good cases.

A manifest, because it can go wrong in more ways than any other layout.
"""

import gzip
import os
from dataclasses import dataclass, replace

import fake_manifest
import numpy as np
from fake_common import MODALITIES, PLAIN, make_case

GOOD = range(1, 9)
FLOAT = replace(PLAIN, image_type=np.float32)


@dataclass(frozen=True)
class Defect:
    """A planted defect: where it must be reported, and what the message must say."""

    name: str
    severity: str
    case: str
    message: str


DEFECTS = [
    Defect("truncated gzip", "error", "patient-11", "damaged or cut short"),
    Defect("zero-byte file", "error", "patient-12", "is empty. Copy or download it again"),
    Defect(
        "swapped modality sizes",
        "error",
        "patient-13",
        r"13-t1\.nii\.gz .* must be equal|13-t1\.nii\.gz has shape",
    ),
    Defect("NaN", "error", "patient-14", "holds 3 NaN values"),
    Defect("infinite", "error", "patient-15", "holds 2 infinite values"),
    Defect("empty mask", "error", "patient-16", "segmentation is empty"),
    Defect("mask of other shape", "error", "patient-17", r"masks/17\.nii\.gz has shape .* equal"),
    Defect("mask with label 7", "error", "patient-18", "holds label 7"),
    Defect("two cases with one id", "error", "twice", "id occurs twice, here in manifest.csv line"),
    Defect("one volume under two ids", "error", "patient-21", "has the same FLAIR as patient-22"),
    Defect("unknown extra file", "warning", "scans/notes.docx", "belongs to no case"),
    Defect("missing FLAIR", "error", "patient-24", "flair is missing"),
    Defect("non-numeric grade", "error", "patient-25", "grade is 'rather high'; expected LGG, HGG"),
    Defect("path traversal", "error", "patient-26", "leads outside"),
    Defect("symlink out of the root", "error", "scans/27-flair.nii.gz", "is a link to .* outside"),
]


def make(root):
    """Write the good cases 1 to 8 and the bad ones 11 to 27; return the path of the manifest."""
    bad = [n for n in range(11, 28) if n != 23]
    cases = [make_case(n, "LGG" if n % 2 else "HGG") for n in (*GOOD, *bad)]
    fake_manifest.make(root, cases)
    by_number = {case.number: case for case in cases}

    def scan(number, modality="flair"):
        return root / "scans" / f"{number}-{modality}.nii.gz"

    def mask(number):
        return root / "masks" / f"{number}.nii.gz"

    data = scan(11).read_bytes()
    scan(11).write_bytes(data[: len(data) // 2])
    scan(12).write_bytes(b"")
    PLAIN.save_image(scan(13, "t1"), by_number[13].images["t1"].transpose(2, 1, 0))
    for number, value, count in ((14, np.nan, 3), (15, np.inf, 2)):
        array = by_number[number].images["flair"].astype(np.float32)
        array.flat[:count] = value
        FLOAT.save_image(scan(number), array)
    PLAIN.save(mask(16), by_number[16].labels * 0, np.uint8)
    PLAIN.save(mask(17), by_number[17].labels[:-2], np.uint8)
    PLAIN.save(mask(18), np.where(by_number[18].labels == 1, 7, by_number[18].labels), np.uint8)
    # Other bytes on disk, the same voxels.
    scan(22).write_bytes(gzip.compress(gzip.decompress(scan(21).read_bytes()), compresslevel=1))
    (root / "scans" / "notes.docx").write_text("x")
    scan(27).rename(root.parent / "elsewhere.nii.gz")
    os.symlink(root.parent / "elsewhere.nii.gz", scan(27))
    table = root / "manifest.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    rows[0][2] = "grade"
    for row in rows[1:]:
        number = int(row[0].removeprefix("patient-"))
        if number in (19, 20):
            row[0] = row[1] = "twice"
        if number == 24:
            row[4 + MODALITIES.index("flair")] = ""
        if number == 25:
            row[2] = "rather high"
        if number == 26:
            row[4 + MODALITIES.index("flair")] = "../../etc/26-flair.nii.gz"
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    scan(24).unlink()
    scan(26).unlink()
    return table
