"""Invented cases, and how to store them: what all fake collections share.

Tiny scans of random numbers, free of any licence. Arrays are (X, Y, Z) of the RAS+ array; labels
are canonical: 1 necrotic core, 2 oedema, 3 enhancing tumour.
"""

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np

SHAPE = (24, 22, 20)
MODALITIES = ("flair", "t1", "t1ce", "t2")


@dataclass(frozen=True)
class Fake:
    """One invented case; ``number`` decides its content."""

    number: int
    grade: str
    images: dict = field(repr=False)
    labels: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Storage:
    """How arrays are put into files: orientation, origin in mm, ending, types."""

    codes: str = "LPS"
    origin: tuple = (0.0, 23.0, 0.0)
    end: str = ".nii.gz"
    image_type: type = np.int16
    mask_type: type = np.uint8

    def save(self, path, array, dtype):
        """Write an array (X, Y, Z[, modality]) of the RAS+ frame in this orientation."""
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(array.astype(dtype), np.eye(4))
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(np.eye(4)), nib.orientations.axcodes2ornt(self.codes)
        )
        turned = image.as_reoriented(turn)
        affine = turned.affine.copy()
        affine[:3, 3] = self.origin
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), affine), path)

    def save_image(self, path, array):
        self.save(path, array, self.image_type)

    def save_mask(self, path, labels, stored):
        """Write a mask; ``stored`` translates canonical labels to those of the layout."""
        table = np.zeros(8, np.uint8)
        for canonical, label in stored.items():
            table[canonical] = label
        self.save(path, table[labels], self.mask_type)


PLAIN = Storage()


def make_case(number, grade="LGG", shape=SHAPE):
    """Invent a case: four modalities of random whole numbers and a box of a tumour."""
    rng = np.random.default_rng(number)
    images = {m: rng.integers(50, 900, shape) for m in MODALITIES}
    labels = np.zeros(shape, np.uint8)
    low = rng.integers(2, 6, 3)
    labels[low[0] : low[0] + 9, low[1] : low[1] + 11, low[2] : low[2] + 8] = 2
    labels[low[0] + 2 : low[0] + 5, low[1] + 2 : low[1] + 5, low[2] + 2 : low[2] + 5] = 1
    labels[low[0] + 3, low[1] + 3, low[2] + 3] = 3
    return Fake(number, grade, images, labels)


def make_cases(lgg=3, hgg=3):
    """Invent cases of both grades, LGG first, numbered from 1."""
    grades = ["LGG"] * lgg + ["HGG"] * hgg
    return [make_case(number, grade) for number, grade in enumerate(grades, start=1)]
