"""Somebody's folder of volumes, and everything that can be wrong with it.

``make`` writes 3 smooth volumes a class in [-1, 1], background -1, with a header like that of the
suite. A ``Case`` changes such a folder; ``FAULTS`` must be refused with these words, ``FINE`` must
be read, with these words as a note.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

SIZE = 16
CLASSES = ("LGG", "HGG")
COUNT = 3
# 2 mm voxels, RAS+, origin in the centre.
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = -(SIZE - 1)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(seed, size=SIZE):
    """Return (size, size, size) float32 in [-1, 1]: a blob that reaches 1 on background -1."""
    grid = np.indices((size,) * 3) / size * 16
    centre = np.array([6, 5, 8])[:, None, None, None]
    distance = (((grid - centre) / (3 + seed % 3)) ** 2).sum(0)
    noise = 0.05 * np.random.default_rng(seed).random(distance.shape)
    values = np.where(distance < 2, np.exp(-distance) + noise, 0)
    return (2 * values / values.max() - 1).astype(np.float32)


def save(path, values, affine=AFFINE):
    """Write an array (X, Y, Z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def make(root, first=0, classes=CLASSES, affine=AFFINE, change=lambda v: v, count=COUNT):
    """Write class folders of volumes; ``first`` seeds them."""
    for label, name in enumerate(classes):
        for i in range(count):
            values = change(volume(first + 50 * label + i)).astype(np.float32)
            save(root / name / f"s{i:03d}.nii.gz", values, affine)
    return root


def make_bids(root, first=0, classes=CLASSES, affine=AFFINE):
    """Write a BIDS derivative of the same volumes."""
    rows = ["participant_id\tclass"]
    for label, name in enumerate(classes):
        for i in range(COUNT):
            subject = f"sub-{name}{i}"
            path = root / subject / "anat" / f"{subject}_FLAIR.nii.gz"
            save(path, volume(first + 50 * label + i), affine)
            rows.append(f"{subject}\t{name}")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root


def change(path, function):
    """Change the values of a file."""
    image = nib.load(path)
    nib.save(nib.Nifti1Image(function(np.asarray(image.dataobj)), image.affine), path)


def files(root):
    """Return the volumes of a folder by path."""
    return sorted(p for p in root.rglob("*") if p.name.lower().endswith((".nii", ".nii.gz")))


def at(place, values):
    """Return a change that sets the first voxels."""

    def function(array):
        array.flat[place] = values
        return array

    return function


@dataclass(frozen=True)
class Case:
    """What is done to a folder, and what must be said of it.

    Attributes:
        words: Part of the message or of the notes; ``{path}`` is the folder.
        expected: Whether it depends on which classes are expected, so that a folder which decides
            that itself may hold it.
        bids: Whether it is done to a BIDS derivative instead of class folders.
    """

    name: str
    words: str
    spoil: Callable[[Path], object]
    expected: bool = False
    bids: bool = False


def _replace_by(kind):
    def spoil(root):
        path = root / "LGG" / "s001.nii.gz"
        path.unlink()
        kind(path)

    return spoil


def _link_folder(place, target="elsewhere"):
    def spoil(root):
        away = root.parent / f"{root.name}-{target}"
        shutil.copytree(root / "LGG", away)
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).symlink_to(away)

    return spoil


def _table(function):
    def spoil(root):
        table = root / "participants.tsv"
        table.write_text(function(table.read_text()))

    return spoil


def _copy(source, *targets):
    def spoil(root):
        for target in targets:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / source, root / target)

    return spoil


def _every(function, which=lambda i: True):
    def spoil(root):
        for i, path in enumerate(files(root)):
            if which(i):
                change(path, function)

    return spoil


def _one(function):
    return _every(function, lambda i: i == 1)


def _brats(root):
    for folder in CLASSES:
        shutil.rmtree(root / folder)
        for i in range(COUNT):
            case = root / folder / f"BraTS20_{i}"
            for kind in ("flair", "t1", "t1ce", "t2", "seg"):
                save(case / f"BraTS20_{i}_{kind}.nii.gz", np.ones((8, 8, 8), np.int16))


def _scans_of_one_contrast(root):
    for i, path in enumerate(files(root)):
        path.unlink()
        case = path.with_name(path.name.removesuffix(".nii.gz"))
        save(case / "flair.nii.gz", (300 * (i + 2) * (volume(i) + 1)).astype(np.int16))
        save(case / "seg.nii.gz", (volume(i) > 0).astype(np.uint8))


def _decathlon(root):
    for folder in CLASSES:
        shutil.rmtree(root / folder)
    for i in range(COUNT):
        save(root / "imagesTr" / f"BRATS_{i}.nii.gz", np.ones((8, 8, 8, 4), np.int16))
        save(root / "labelsTr" / f"BRATS_{i}.nii.gz", np.ones((8, 8, 8), np.uint8))


def _sessions(*places):
    """Return a change that puts the volume of a subject into these folders below it instead."""

    def spoil(root):
        subject = root / "sub-LGG1"
        content = (subject / "anat" / "sub-LGG1_FLAIR.nii.gz").read_bytes()
        shutil.rmtree(subject)
        for place in places:
            (subject / place).mkdir(parents=True)
            (subject / place / "sub-LGG1_FLAIR.nii.gz").write_bytes(content)

    return spoil


def _label_map(place, count):
    """Return a change that adds a file of so many whole values."""

    def spoil(root):
        values = np.arange(SIZE**3).reshape((SIZE,) * 3) % count
        save(root / place, (values > 0 if count == 2 else values).astype(np.float32))

    return spoil


FAULTS = [
    Case("over the range", "s001.nii.gz has values in [-1, 1.05]", _one(at(slice(9), 1.05))),
    Case("under the range", "s001.nii.gz has values in [-1.05, 1]", _one(at(slice(9), -1.05))),
    Case(
        "one file in [0, 255]",
        "s001.nii.gz has values in [0, 255]; expected [-1, 1], which looks like [0, 255]",
        _one(lambda v: (v + 1) * 127.5),
    ),
    Case("a wild voxel", "s001.nii.gz has values in [-1, 3e+07]", _one(at(slice(1), 3e7))),
    Case("all in [0, 1]", "looks like [0, 1]: give {option} 0 1", _every(lambda v: (v + 1) / 2)),
    Case(
        "all in [0, 255]",
        "have values in [0, 255], not in [-1, 1]. It looks like [0, 255]: give {option} 0 255",
        _every(lambda v: (v + 1) * 127.5),
    ),
    Case(
        "in [0, 1] without the highest tenth",
        "looks like [0, 1]: give {option} 0 1",
        _every(lambda v: (v + 1) * 0.45),
    ),
    *(
        Case(f"all in [0, 1] with overshoot {name}", f"looks like [0, 1]: {words}", _every(f))
        for name, words, f in (
            (
                "above",
                "clip them to it (they reach [0, 1.03]) and give {option} 0 1",
                lambda v: (v + 1) / 2 * 1.03,
            ),
            ("within reach", "give {option} 0 1", lambda v: (v + 1) / 2 * 1.01),
            (
                "below",
                "clip them to it (they reach [-0.03, 1]) and give {option} 0 1",
                lambda v: (v + 1) / 2 * 1.03 - 0.03,
            ),
            (
                "far below",
                "clip them to it (they reach [-0.1, 1]) and give {option} 0 1",
                lambda v: (v + 1) / 2 * 1.1 - 0.1,
            ),
        )
    ),
    Case(
        "one in [0, 1] with overshoot",
        "s001.nii.gz has values in [0, 1.03] where the others reach -1: it looks like [0, 1]",
        _one(lambda v: (v + 1) / 2 * 1.03),
    ),
    *(
        Case(
            f"a label map named {name}", f"{name} holds {n} whole values alone", _label_map(name, n)
        )
        for name, n in (("LGG/s000_mask_v2.nii.gz", 2), ("HGG/truth.nii.gz", 3), ("LGG/x.nii", 16))
    ),
    Case(
        "half in [0, 1]",
        "s000.nii.gz has values in [0, 1] where the others reach -1: it looks like [0, 1]",
        _every(lambda v: (v + 1) / 2, lambda i: i % 2 == 0),
    ),
    Case(
        "one in [0, 1]",
        "s001.nii.gz has values in [0, 1] where the others reach -1: it looks like [0, 1]",
        _one(lambda v: (v + 1) / 2),
    ),
    Case(
        "all but one in [0, 1]",
        "s001.nii.gz has values in [0, 1] where the others reach -1: it looks like [0, 1]",
        _every(lambda v: (v + 1) / 2, lambda i: i > 0),
    ),
    Case(
        "a dangling link",
        "s001.nii.gz is a link to /nowhere/s.nii.gz, which leads nowhere",
        _replace_by(lambda path: path.symlink_to("/nowhere/s.nii.gz")),
    ),
    Case(
        "a link to itself",
        "s001.nii.gz is a link to s001.nii.gz, which leads nowhere",
        _replace_by(lambda path: path.symlink_to(path.name)),
    ),
    Case(
        "a dangling link of another name",
        "LGG/s001 is a link to gone, which leads nowhere",
        _replace_by(lambda path: (path.parent / "s001").symlink_to("gone")),
    ),
    Case("a pipe", "s001.nii.gz is a pipe, a socket or a device", _replace_by(os.mkfifo)),
    Case(
        "a pipe of another name",
        "fifo is a pipe, a socket or a device",
        _replace_by(lambda path: os.mkfifo(path.parent / "fifo")),
    ),
    Case(
        "a device",
        "s001.nii.gz is a pipe, a socket or a device",
        _replace_by(lambda path: path.symlink_to("/dev/null")),
    ),
    Case(
        "a folder named like a file",
        "s001.nii.gz is a folder, not a file",
        _replace_by(lambda path: save(path / "s001.nii", volume(1))),
    ),
    Case(
        "an empty folder named like a file",
        "LGG/deep/x.NII is a folder, not a file",
        lambda root: (root / "LGG/deep/x.NII").mkdir(parents=True),
    ),
    Case("a linked sub-folder", "LGG/more is a linked folder", _link_folder("LGG/more")),
    Case("a linked folder at the top", "linked is a linked folder", _link_folder("linked")),
    Case("a linked folder of volumes", "a.nii.gz is a linked folder", _link_folder("LGG/a.nii.gz")),
    Case(
        "a linked subject",
        "sub-x is a linked folder",
        lambda root: (root / "sub-x").symlink_to(root / "sub-LGG0"),
        bids=True,
    ),
    Case(
        "a file cut short",
        "s001.nii.gz cannot be read",
        lambda root: os.truncate(root / "LGG/s001.nii.gz", 300),
    ),
    Case(
        "a text named like a volume",
        "s001.nii.gz is a pointer of Git LFS, not the image: fetch it with git lfs pull",
        _replace_by(lambda path: path.write_text("version https://git-lfs.github.com/spec/v1")),
    ),
    Case("values that are none", "s001.nii.gz holds 2 NaN values", _one(at(slice(2), np.nan))),
    Case("four axes", "s001.nii.gz has shape (16, 16, 16, 2)", _one(lambda v: np.stack([v, v], 3))),
    Case(
        "another shape",
        "s001.nii.gz has shape (16, 16, 15) (z, y, x); expected (16, 16, 16)",
        _one(lambda v: v[1:]),
    ),
    Case(
        "a third class",
        "{path} holds the folder GBM/, which is none of the classes",
        _copy("LGG/s000.nii.gz", "GBM/s000.nii.gz", "GBM/s001.nii.gz"),
        expected=True,
    ),
    Case(
        "a third class deep down",
        "{path} holds the folder run/, which is none of the classes",
        _copy("LGG/s000.nii.gz", "run/7/LGG/s000.nii.gz"),
        expected=True,
    ),
    Case(
        "a third class in the table",
        "sub-LGG1 has class 'GBM', which is none of the classes",
        _table(lambda t: t.replace("sub-LGG1\tLGG", "sub-LGG1\tGBM")),
        expected=True,
        bids=True,
    ),
    Case(
        "a class that is missing",
        "{path} has no volume of class HGG",
        lambda root: shutil.rmtree(root / "HGG"),
        expected=True,
    ),
    Case(
        "a class of one volume",
        "{path} has fewer than 2 usable volumes of class HGG",
        lambda root: [p.unlink() for p in files(root / "HGG")[1:]],
    ),
    Case(
        "two folders of one class",
        "{path} has LGG/ and class_LGG/, both for class LGG",
        _copy("LGG/s000.nii.gz", "class_LGG/x.nii.gz"),
    ),
    Case(
        "volumes beside folders of volumes",
        "{path} holds volumes (x.nii.gz) beside folders of volumes",
        _copy("LGG/s000.nii.gz", "x.nii.gz"),
    ),
    Case(
        "subjects beside classes",
        "{path} holds subjects (sub-1/) beside other folders of volumes (HGG/)",
        _copy("LGG/s000.nii.gz", "sub-1/x.nii.gz"),
    ),
    Case(
        "a table beside class folders",
        "{path} has both participants.tsv with classes and class subfolders",
        lambda root: (root / "participants.tsv").write_text("participant_id\tclass\nsub-1\tLGG\n"),
    ),
    Case(
        "two sessions",
        "sub-LGG1 holds 2 sessions of one subject: ses-1, ses-2",
        _sessions("ses-1/anat", "ses-2/anat"),
        bids=True,
    ),
    Case(
        "three sessions",
        "sub-LGG1 holds 3 sessions of one subject: ses-a, ses-b, ses-c",
        _sessions("ses-a", "ses-b", "ses-c"),
        bids=True,
    ),
    Case(
        "sessions in names alone",
        "sub-LGG1 holds 2 sessions of one subject: ses-1, ses-2",
        _copy("LGG/s000.nii.gz", "LGG/sub-LGG1_ses-1_FLAIR.nii.gz", "LGG/sub-LGG1_ses-2_FLAIR.nii"),
    ),
    Case(
        "sessions within a class folder",
        "LGG/sub-1 holds 2 sessions of one subject: ses-1, ses-2",
        _copy("LGG/s000.nii.gz", "LGG/sub-1/ses-1/x.nii.gz", "LGG/sub-1/ses-2/x.nii.gz"),
    ),
    *(
        Case(
            f"two sessions as {a} and {b}",
            f"{where} holds 2 sessions of one subject: {told}",
            _copy("LGG/s000.nii.gz", f"LGG/{a}.nii.gz", f"LGG/{b}.nii.gz"),
        )
        for a, b, where, told in (
            ("ses-1/sub-7_T1w", "ses-2/sub-7_T1w", "LGG/sub-7", "ses-1, ses-2"),
            ("ses-1/p7", "ses-2/p7", "LGG/p7", "ses-1, ses-2"),
            ("p7/ses-1/x", "p7/ses-2/y", "LGG/p7", "ses-1, ses-2"),
            ("p7_ses-1", "p7_ses-2", "LGG/p7", "ses-1, ses-2"),
            ("Sub-7/ses-1/x", "Sub-7/ses-2/x", "LGG/Sub-7", "ses-1, ses-2"),
            ("Ses-1/p7", "Ses-2/p7", "LGG/p7", "Ses-1, Ses-2"),
            ("p7-ses-1/x", "p7-ses-2/x", "LGG/p7", "ses-1, ses-2"),
            ("sub-7_ses-1/x", "sub-7_ses-2/y", "LGG/sub-7", "ses-1, ses-2"),
        )
    ),
    Case(
        "contrasts as folders",
        "{path} holds 2 contrasts of one case (flair, t1): these are scans",
        _copy("LGG/s000.nii.gz", "LGG/t1/p1.nii.gz", "LGG/FLAIR/p1.nii.gz"),
    ),
    Case(
        "a volume saved twice",
        "s000.nii.gz has the name of s000.nii: one case would count twice",
        lambda root: save(root / "LGG/s000.nii", volume(0)),
    ),
    Case(
        "a table of classes in capitals with a class missing",
        "sub-LGG1_FLAIR.nii.gz: participants.tsv has no row for sub-LGG1",
        lambda root: (
            _table(lambda t: t.replace("sub-LGG1\tLGG\n", ""))(root),
            (root / "participants.tsv").rename(root / "Participants.TSV"),
        ),
        bids=True,
    ),
    Case(
        "a derivative one level down",
        "deriv/participants.tsv lies below {path}, whose own tables alone are read. Give",
        lambda root: (make_bids(root / "deriv"), [shutil.rmtree(root / c) for c in CLASSES]),
    ),
    Case(
        "training cases one level down",
        "LGG/training_cases.tsv lies below {path}",
        lambda root: (root / "LGG/training_cases.tsv").write_text("case_id\nx\n"),
    ),
    Case(
        "training cases as a folder",
        "training_cases.tsv is a folder; a table was expected",
        lambda root: (root / "training_cases.tsv").mkdir(),
    ),
    Case(
        "two tables of training cases",
        "{path} holds Training_Cases.tsv and training_cases.tsv. Keep one",
        lambda root: [(root / f"{t}raining_{c}ases.tsv").touch() for t, c in ("TC", "tc")],
    ),
    Case(
        "two contrasts",
        "sub-LGG1 holds 2 contrasts of one subject: FLAIR, T1w",
        _copy("sub-LGG1/anat/sub-LGG1_FLAIR.nii.gz", "sub-LGG1/anat/sub-LGG1_T1w.nii.gz"),
        bids=True,
    ),
    Case(
        "two runs",
        "sub-LGG1 holds 2 volumes of one subject: sub-LGG1_FLAIR.nii.gz, sub-LGG1_run-2_FLAIR",
        _copy("sub-LGG1/anat/sub-LGG1_FLAIR.nii.gz", "sub-LGG1/anat/sub-LGG1_run-2_FLAIR.nii.gz"),
        bids=True,
    ),
    Case(
        "a subject twice with two classes",
        "sub-LGG1 is twice in participants.tsv (lines 3 and 8), with class 'LGG' and 'HGG'",
        _table(lambda t: t + "sub-LGG1\tHGG\n"),
        bids=True,
    ),
    Case(
        "a subject three times with two classes",
        "sub-HGG2 is 3 times in participants.tsv (lines 7, 8 and 9), with class 'HGG' and 'LGG'",
        _table(lambda t: t + "sub-HGG2\tLGG\nsub-HGG2\tHGG\n"),
        bids=True,
    ),
    Case(
        "a subject twice, once without a class",
        "sub-LGG1 is twice in participants.tsv (lines 3 and 8), with class 'LGG' and ''",
        _table(lambda t: t + "sub-LGG1\t\n"),
        bids=True,
    ),
    Case(
        "a subject without a row",
        "sub-LGG1_FLAIR.nii.gz: participants.tsv has no row for sub-LGG1",
        _table(lambda t: t.replace("sub-LGG1\tLGG\n", "")),
        bids=True,
    ),
    Case(
        "a subject without a class",
        "participants.tsv names no class for sub-LGG1 (line 3)",
        _table(lambda t: t.replace("sub-LGG1\tLGG", "sub-LGG1\tn/a")),
        bids=True,
    ),
    Case(
        "a row without a subject",
        "participants.tsv lists sub-LGG7, of which there is no volume",
        _table(lambda t: t + "sub-LGG7\tLGG\n"),
        bids=True,
    ),
    Case(
        "a subject of which only a mask is left",
        "participants.tsv lists sub-LGG1, of which there is no volume",
        lambda root: (root / "sub-LGG1/anat/sub-LGG1_FLAIR.nii.gz").rename(
            root / "sub-LGG1/anat/sub-LGG1_mask.nii.gz"
        ),
        bids=True,
    ),
    Case(
        "a row that leads out of the folder",
        "a participant is '../secret'; expected names such as sub-0001",
        _table(lambda t: t + "../secret\tLGG\n"),
        bids=True,
    ),
    Case("scans of BraTS", "these are scans, bench data export first", _brats),
    Case(
        "scans of one contrast", "these are scans, bench data export first", _scans_of_one_contrast
    ),
    Case(
        "scans of BRATS 2015",
        "{path} holds s000.mha: these are scans, bench data export first",
        lambda root: [p.rename(p.with_name(f"{p.name[:4]}.mha")) for p in files(root)],
    ),
    Case("scans of the Decathlon", "these are scans, bench data export first", _decathlon),
    Case(
        "masks alone",
        "{path} holds no volume: the names of all 6 files are those of segmentations",
        lambda root: [p.rename(p.with_name(f"{p.name[:4]}_seg.nii.gz")) for p in files(root)],
    ),
    Case(
        "volumes of another format",
        "{path} holds no .nii, .nii.gz, .npy or .npz file but s000.mgz",
        lambda root: [p.rename(p.with_name(f"{p.name[:4]}.mgz")) for p in files(root)],
    ),
    Case(
        "nothing",
        "{path} holds no .nii, .nii.gz, .npy or .npz file; expected",
        lambda root: [p.unlink() for p in files(root)],
    ),
    Case(
        "some headers without axes",
        "s001.nii.gz is stored RAS (identity affine) and",
        lambda root: save(root / "LGG/s001.nii.gz", volume(1), np.eye(4)),
    ),
]

_SEGMENTATIONS = {
    "_seg": "LGG/s000_seg.nii.gz",
    "_mask in capitals": "HGG/s000_MASK.nii.gz",
    "_dseg of BIDS": "LGG/sub-1_space-roi_dseg.nii.gz",
    "_label": "LGG/s000_label.nii",
    "-seg of BraTS 2023": "LGG/BraTS-GLI-00000-000-seg.nii.gz",
    "mask before a number": "HGG/mask_001.nii.gz",
    "seg in a case folder": "LGG/case7/seg.nii.gz",
    "a numbered seg": "LGG/s000_SEG2.nii.gz",
    "mask in one word": "LGG/s000_tumorMask.nii.gz",
    "mask in brackets": "LGG/s000(mask).nii.gz",
    "labelmap": "HGG/s000-labelmap.nii.gz",
    "a folder of masks": "LGG/masks/s001.nii.gz",
    "a folder of labels at the top": "labels/s001.nii.gz",
}

FINE = [
    Case("as it is", "", lambda root: None),
    Case("a BIDS derivative", "", lambda root: None, bids=True),
    *(
        Case(name, f"1 named like a segmentation, set aside: {place}", _copy(
            "LGG/s000.nii.gz", place))
        for name, place in _SEGMENTATIONS.items()
    ),
    Case(
        "the mask of a subject",
        "1 named like a segmentation, set aside: sub-LGG1/anat/sub-LGG1_desc-tumor_mask.nii.gz",
        _copy("sub-LGG1/anat/sub-LGG1_FLAIR.nii.gz",
              "sub-LGG1/anat/sub-LGG1_desc-tumor_mask.nii.gz"),
        bids=True,
    ),
    Case("a stray text", "1 no NIfTI volume, not read: notes.txt",
         lambda root: (root / "notes.txt").write_text("x")),
    Case("a stray array", "1 no NIfTI volume, not read: LGG/latent.npy",
         lambda root: np.save(root / "LGG/latent.npy", np.ones(3))),
    Case("several strays", "2 no NIfTI volume, not read: GBM/a.png, HGG/b.bval.txt",
         lambda root: [(root / "GBM").mkdir(), (root / "GBM/a.png").touch(),
                       (root / "HGG/b.bval.txt").touch(), (root / "README.md").touch()]),
    Case("what usually lies beside volumes", "", lambda root: [
        (root / name).write_text("case_id\n") for name in (
            "README", "LICENSE.txt", "CHANGES", "split.csv", "training_cases.tsv", "x.json",
            ".bidsignore")], bids=True),
    Case("a document like a readme", "1 no NIfTI volume, not read: readme2.docx",
         lambda root: (root / "readme2.docx").touch(), bids=True),
    Case("a stray whose name cannot be shown", "1 no NIfTI volume, not read: 'LGG/a\\x1b[2J'",
         lambda root: (root / "LGG/a\x1b[2J").touch()),
    Case("a hidden copy", "1 hidden, not read: LGG/._s000.nii.gz",
         _copy("LGG/s000.nii.gz", "LGG/._s000.nii.gz")),
    Case("a hidden folder", "1 hidden, not read: .ipynb_checkpoints",
         _copy("LGG/s000.nii.gz", ".ipynb_checkpoints/s000.nii.gz")),
    Case("an ending in capitals", "", lambda root: (root / "LGG/s001.nii.gz").rename(
        root / "LGG/s001.NII.GZ")),
    Case("other mixed endings", "", lambda root: (root / "LGG/s001.nii.gz").rename(
        root / "LGG/s001.Nii.Gz")),
    Case("class folders in other letters", "", lambda root: [
        (root / "LGG").rename(root / "class_lgg"), (root / "HGG").rename(root / "Hgg")],
        expected=True),
    Case("a little over the range", "1 with values outside [-1, 1], by at most 2 % of its width "
         "(9 voxels clipped)", _one(at(slice(9), 1.04))),
    Case("a little under the range", "1 with values outside [-1, 1], by at most 2 % of its width "
         "(9 voxels clipped)", _one(at(slice(9), -1.04))),
    Case("rounding over the range", "", _one(at(slice(9), np.float32(1.0000001)))),
    Case("a subject twice with one class", "sub-LGG1 is twice in participants.tsv (lines 3 and 8), "
         "alike: counted once", _table(lambda t: t + "sub-LGG1\tLGG\n"), bids=True),
    Case("a session each", "", _sessions("ses-7/anat"), bids=True),
    Case("a copy", "1 byte by byte equal to another one",
         _copy("LGG/s000.nii.gz", "LGG/x.nii.gz")),
]  # fmt: skip
