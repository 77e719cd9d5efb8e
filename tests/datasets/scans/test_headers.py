"""Headers that contradict each other or make no sense are named, and nothing is mirrored by them.

The scans have a bright tumour off the centre of darker tissue, so that a mask which is turned
wrongly lies on something else.
"""

import gzip
import logging
import re
import struct
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.cache import file_hashes
from cerebench.datasets.scans.dataset import Scans
from cerebench.datasets.scans.volumes import read_grid, read_stored

SHAPE = (24, 22, 20)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TISSUE, TUMOUR = 80, 380
TWO = {"modalities": "flair,t1"}


def scan(number):
    """Return four contrasts and labels (X, Y, Z) of one case in RAS+."""
    grid = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:10, 4:9, 5 : 12 + number % 3] = 2
    labels[4:6, 5:7, 7:9] = 1
    # One image is no scaled copy of another, and no voxel of the tumour is as dark as tissue.
    ripple = (grid[0] + 2 * grid[1] + 3 * grid[2] + number) % 9
    base = np.where(labels > 0, TUMOUR, TISSUE) + ripple
    names = ("flair", "t1", "t1ce", "t2")
    return {n: base + i for i, n in enumerate(names)}, labels


@pytest.fixture
def write(fakes):
    """Return a function that writes two LGG and two HGG in a layout: {case number: case id}."""

    def make(layout, root, **storage):
        if layout == "brats2015":
            pytest.importorskip("SimpleITK")
        root.mkdir(exist_ok=True)
        grades = ["LGG", "LGG", "HGG", "HGG"]
        cases = [fakes.common.Fake(n, g, *scan(n)) for n, g in enumerate(grades, start=1)]
        stored = replace(fakes.common.PLAIN, **storage)
        return getattr(fakes, layout).make(root, cases, stored)

    return make


def rewrite(path, affine):
    """Give a file another header and leave its voxels where they are."""
    if path.suffix == ".mha":
        import SimpleITK

        image = SimpleITK.ReadImage(str(path))
        axes = affine[:3, :3] * np.array([[-1], [-1], [1]])
        image.SetSpacing(np.linalg.norm(axes, axis=0).tolist())
        image.SetOrigin((affine[:3, 3] * [-1, -1, 1]).tolist())
        image.SetDirection((axes / np.linalg.norm(axes, axis=0)).ravel().tolist())
        SimpleITK.WriteImage(image, str(path))
        return
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj).copy(), affine), path)  # it is mapped


def files_of(dataset, number):
    return sorted(dataset.listed.cases, key=lambda case: case.id)[number].files


def errors(dataset):
    return {f.case: f.message for f in dataset.check(workers=1).findings if f.severity == "error"}


def turned(degrees):
    """Return the axes of LPS turned about z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    return turn @ LPS


def mean_inside(loaded):
    """Return the mean over the tumour on the scale of the scan."""
    low, high = loaded.facts["minimum"], loaded.facts["maximum"]
    inside = loaded.volume[0][loaded.mask[0] > 0]
    return float((inside.mean() + 1) / 2 * (high - low) + low)


@pytest.mark.parametrize(
    "layout", ["brats2020", "brats2023", "bids", "manifest", "folders", "msd", "brats2015"]
)
def test_a_mask_whose_header_was_lost_is_named_with_its_image_in_every_layout(
    write, layout, tmp_path
):
    write(layout, tmp_path / "data")
    dataset = Scans(16, tmp_path / "data")
    case = dataset.cases()[1]
    rewrite(case.files["seg"], np.eye(4))
    found = errors(Scans(16, tmp_path / "data"))
    assert [*found] == [case.id]
    names = [case.files[n].relative_to(tmp_path / "data").as_posix() for n in ("seg", "flair")]
    assert f"{names[0]} is stored RAS (identity affine) and {names[1]} LPS. " in found[case.id]
    assert "--same-axes" in found[case.id]
    with pytest.raises(DatasetError, match=r"is stored RAS \(identity affine\) and .* LPS"):
        dataset.load(case)


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(4), r"is stored RAS \(identity affine\) and .* LPS"),
        (np.diag([-1.0, 1, 1, 1]), "is stored LAS and .* LPS"),
        (LPS[[1, 0, 2, 3]], "is stored PLS and .* LPS"),
        (turned(6), r"are both stored LPS, but 6\.0° apart"),
        (LPS @ np.diag([1, 1, 2.0, 1]), r"has voxels of 2 × 1 × 1 mm and .* of 1 × 1 × 1 mm"),
        (LPS @ np.diag([1, 1.02, 1, 1]), r"has voxels of 1 × 1\.02 × 1 mm"),
    ],
    ids=["identity", "one axis", "two axes", "turned", "twice as thick", "2 % wider"],
)
@pytest.mark.parametrize("name", ["seg", "t1"])
def test_every_file_that_is_used_is_compared_with_the_first_image(
    write, name, affine, message, end, tmp_path
):
    write("brats2020", tmp_path, end=end)
    dataset = Scans(16, tmp_path, options=TWO)
    rewrite(files_of(dataset, 2)[name], affine)
    found = errors(dataset)
    assert [*found] == [dataset.cases()[2].id]
    with pytest.raises(DatasetError, match=message) as error:
        dataset.load(dataset.cases()[2])
    assert f"_{name}{end} " in str(error.value)
    assert f"_flair{end} " in str(error.value)
    assert "must be equal" not in str(error.value)  # the shape is not what is wrong


@pytest.mark.parametrize("affine", [turned(0.5), LPS @ np.diag([1, 1, 1.005, 1])])
def test_what_rounding_makes_of_a_header_is_no_difference(write, affine, tmp_path):
    write("brats2020", tmp_path)
    dataset = Scans(16, tmp_path)
    rewrite(files_of(dataset, 0)["seg"], affine)
    assert errors(dataset) == {}


def test_origins_may_differ(write, tmp_path):
    write("brats2020", tmp_path)
    dataset = Scans(64, tmp_path)
    before = dataset.load(dataset.cases()[0])
    moved = LPS.copy()
    moved[:3, 3] = [90, -126, 72]
    rewrite(files_of(dataset, 0)["seg"], moved)
    assert errors(dataset) == {}
    assert dataset.load(dataset.cases()[0]).volume.tobytes() == before.volume.tobytes()


@pytest.mark.parametrize("layout", ["brats2020", "bids", "msd", "brats2015"])
@pytest.mark.parametrize("affine", [np.eye(4), LPS[[1, 0, 2, 3]], turned(6)])
def test_same_axes_takes_the_header_of_the_image_and_gives_the_undamaged_bits(
    write, layout, affine, tmp_path
):
    write(layout, tmp_path / "data")
    dataset = Scans(64, tmp_path / "data")
    undamaged = dataset.load(dataset.cases()[1])
    rewrite(files_of(dataset, 1)["seg"], affine)
    given = Scans(64, tmp_path / "data", options={"headers": "image"})
    loaded = given.load(given.cases()[1])
    assert loaded.volume.tobytes() == undamaged.volume.tobytes()
    assert loaded.mask.tobytes() == undamaged.mask.tobytes()
    assert mean_inside(loaded) > (TISSUE + TUMOUR) / 2  # averaged with the background at its rim
    assert errors(given) == {}


def test_same_axes_takes_the_header_of_the_first_image_for_other_contrasts_too(write, tmp_path):
    write("brats2023", tmp_path)
    dataset = Scans(64, tmp_path, options=TWO)
    undamaged = dataset.load(dataset.cases()[1])
    for name in ("t1", "seg"):
        rewrite(files_of(dataset, 1)[name], np.eye(4))
    given = Scans(64, tmp_path, options={**TWO, "headers": "image"})
    assert given.load(given.cases()[1]).volume.tobytes() == undamaged.volume.tobytes()


def test_same_axes_needs_equal_shapes(write, tmp_path):
    write("brats2020", tmp_path)
    dataset = Scans(16, tmp_path, options={"headers": "image"})
    path = files_of(dataset, 0)["seg"]
    nib.save(nib.Nifti1Image(np.ones(SHAPE[::-1], np.uint8), np.eye(4)), path)
    with pytest.raises(DatasetError, match=r"\(20, 22, 24\) voxels .* \(24, 22, 20\)"):
        dataset.load(dataset.cases()[0])


def test_trust_headers_turns_each_file_by_its_own(write, fakes, tmp_path):
    write("brats2020", tmp_path)
    dataset = Scans(64, tmp_path)
    undamaged = dataset.load(dataset.cases()[0])
    # A mask that was saved in another orientation by a program that knew what it did.
    stored = replace(fakes.common.PLAIN, codes="SAR")
    stored.save_mask(files_of(dataset, 0)["seg"], scan(1)[1], {1: 1, 2: 2})
    assert "is stored SAR and" in errors(dataset)[dataset.cases()[0].id]
    given = Scans(64, tmp_path, options={"headers": "own"})
    loaded = given.load(given.cases()[0])
    assert loaded.volume.tobytes() == undamaged.volume.tobytes()
    assert loaded.mask.tobytes() == undamaged.mask.tobytes()
    rewrite(files_of(dataset, 1)["seg"], LPS @ np.diag([1, 1, 2.0, 1]))
    assert "has voxels of 2 × 1 × 1 mm" in errors(given)[dataset.cases()[1].id]


def test_whose_header_holds_is_part_of_the_recipe_only_where_it_is_given(write, tmp_path):
    write("brats2020", tmp_path / "data")
    seen = {}
    for value in ("", "image", "own"):
        dataset = Scans(16, tmp_path / "data", options={"headers": value} if value else {})
        paths = [path for case in dataset.cases() for path in case.files.values()]
        key = dataset.fingerprint(file_hashes(paths, tmp_path / "i.json"))
        seen[value] = key, dataset.recipe.sha256, dataset.recipe_id
    assert all(len(set(column)) == 3 for column in zip(*seen.values(), strict=True))
    assert seen[""][2].endswith("wide=crop)@e60ff343")
    assert "wide=crop,headers=image)@" in seen["image"][2]
    with pytest.raises(DatasetError, match=r"headers is 'mine'\. Known: image"):
        Scans(16, tmp_path / "data", options={"headers": "mine"})


@pytest.mark.parametrize("layout", ["brats2020", "bids", "brats2015"])
@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(4), r"T2 \(not used\): .* is stored RAS \(identity affine\) and .* LPS"),
        (turned(6), r"T2 \(not used\): .* 6\.0° apart"),
        (LPS @ np.diag([1, 1, 2.0, 1]), r"T2 \(not used\): .* has voxels of 2 × 1 × 1 mm"),
    ],
)
def test_a_contrast_that_is_not_used_is_compared_too_as_a_warning(
    write, layout, affine, message, tmp_path
):
    write(layout, tmp_path)
    dataset = Scans(16, tmp_path)
    rewrite(files_of(dataset, 3)["t2"], affine)
    found = [f for f in dataset.check(workers=1).findings if "not used" in f.message]
    assert [(f.severity, f.case) for f in found] == [("warning", dataset.cases()[3].id)]
    assert re.match(message, found[0].message)


def patched(path, *changes):
    """Overwrite fields of a header: (offset, struct format, values)."""
    packed = path.suffix == ".gz"
    data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    for offset, form, *values in changes:
        struct.pack_into(form, data, offset, *values)
    path.write_bytes(gzip.compress(bytes(data), mtime=0) if packed else bytes(data))


CODES = {
    "both": ((252, "<hh", 77, 99), "has qform_code 77 and sform_code 99"),
    "sform": ((254, "<h", 99), "has sform_code 99"),
    "qform": ((252, "<h", -3), "has qform_code -3"),
}


@pytest.mark.parametrize("case", CODES)
@pytest.mark.parametrize("name", ["flair", "seg", "t2"])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_codes_without_a_meaning_are_named_with_the_file(
    write, name, case, end, tmp_path, capfd, caplog
):
    change, message = CODES[case]
    write("brats2020", tmp_path, end=end)
    dataset = Scans(16, tmp_path)
    patched(files_of(dataset, 2)[name], change)
    report = dataset.check(workers=1)
    (found,) = (f for f in report.findings if "NIfTI knows 0 to 5" in f.message)
    assert found.case == dataset.cases()[2].id
    assert found.severity == ("warning" if name == "t2" else "error")
    assert f"_{name}{end} {message}; NIfTI knows 0 to 5" in found.message
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_same_axes_makes_codes_of_a_mask_irrelevant_but_not_those_of_the_image(write, tmp_path):
    write("brats2020", tmp_path)
    dataset = Scans(64, tmp_path, options={"headers": "image"})
    undamaged = dataset.load(dataset.cases()[0])
    patched(files_of(dataset, 0)["seg"], CODES["both"][0])
    assert dataset.load(dataset.cases()[0]).volume.tobytes() == undamaged.volume.tobytes()
    patched(files_of(dataset, 0)["flair"], CODES["both"][0])
    with pytest.raises(DatasetError, match=r"flair\.nii\.gz has qform_code 77"):
        dataset.load(dataset.cases()[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((80, "<f", -1.0), r"pixdim\[1,2,3\] should be positive"),
        ((80, "<f", 0.0), r"pixdim\[1,2,3\] should be non-zero"),
        ((88, "<f", 2.0), r"pixdim gives voxels of 1 × 1 × 2 mm and the sform 1 × 1 × 1 mm"),
        ((84, "<f", float("nan")), "pixdim gives voxels of 1 × nan × 1 mm"),
        ((72, "<h", 64), "bitpix does not match datatype"),
        ((76, "<f", 7.0), r"pixdim\[0\] \(qfac\) should be 1"),
        ((123, "<B", 99), "xyzt_units 99 is no unit"),
        ((123, "<B", 1), "its unit is metres"),
        ((252, "<hh", 0, 0), "it says nothing about the axes .* taken as LAS"),
        ((0, "<i", 349), "sizeof_hdr should be 348"),
        ((284, "<f", 0.1), "not at right angles"),
        ((252, "<hhfff", 1, 2, 0.0, 0.0, 0.0), r"its qform \(RAS\) and sform \(LPS\) differ"),
        ((252, "<hhfff", 1, 2, 3.0, 4.0, 5.0), "its qform cannot be read"),
    ],
)
def test_odd_headers_are_warnings_that_name_case_and_file_and_nothing_else_is_printed(
    write, change, message, tmp_path, capfd, caplog
):
    caplog.set_level(logging.DEBUG)
    write("brats2020", tmp_path)
    dataset = Scans(16, tmp_path, options={"headers": "image"})  # only the first one's is read
    patched(files_of(dataset, 1)["flair"], change)
    report = dataset.check(workers=1)
    found = [f for f in report.findings if "the header of FLAIR is odd" in f.message]
    assert [(f.severity, f.case) for f in found] == [("warning", dataset.cases()[1].id)]
    assert re.search(message, found[0].message)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((280, "<f", float("nan")), "gives voxel sizes .nan"),
        ((280, "<f", 0.0), r"gives voxel sizes .0\.0"),
        ((280, "<12f", *[1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0]), "do not lead in three directions"),
        ((42, "<hhh", 32767, 32767, 32767), "announces .* bytes and has"),
        ((42, "<h", -5), "announces"),
        ((42, "<h", 30), "cut short"),
        ((40, "<h", 9), "is not a NIfTI file"),
        ((70, "<h", 1234), "data code 1234 not recognized"),
        ((344, "<4s", b"xx1\0"), "magic string"),
        ((108, "<f", float("nan")), "cannot convert float NaN"),
        ((108, "<f", 1e9), "cut short"),
        ((116, "<f", float("inf")), "not a NIfTI file"),
    ],
)
@pytest.mark.parametrize("name", ["flair", "seg"])
def test_headers_that_cannot_be_used_are_errors_with_the_file(
    write, change, message, name, tmp_path, capfd, caplog
):
    caplog.set_level(logging.DEBUG)
    write("brats2020", tmp_path)
    dataset = Scans(16, tmp_path)
    patched(files_of(dataset, 1)[name], (112, "<f", 1.0), (254, "<h", 1), change)
    found = errors(dataset)
    assert [*found] == [dataset.cases()[1].id]
    assert f"_{name}.nii.gz " in found[dataset.cases()[1].id]
    assert re.search(message, found[dataset.cases()[1].id])
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_header_of_mha_that_ends_the_program_or_is_ignored_is_an_error(tmp_path, capfd):
    itk = pytest.importorskip("SimpleITK")
    path = tmp_path / "a.mha"
    itk.WriteImage(itk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5)), str(path))
    whole = path.read_bytes()
    damages = {
        (b"NDims = 3", b"NDims = 99"): "has NDims = 99",  # SimpleITK corrupts its memory
        (b"NDims = 3", b"NDims = 2"): "has NDims = 2",
        (b"ElementSpacing = 1 1 1", b"ElementSpacing = -1 1 1"): "gives voxel sizes -1 1 1 mm",
        (b"ElementSpacing = 1 1 1", b"ElementSpacing = nan 1 1"): "gives voxel sizes nan 1 1 mm",
        # SimpleITK only prints this, and hands on what lay in memory.
        (b"CompressedData = False", b"CompressedData = True"): "Uncompress failed",
        (b"DimSize = 5 4 3", b"DimSize = 5 4 30"): "data not read completely",
        (b"MET_SHORT", b"MET_FOO"): "cannot be read",
        (whole[-30:], b""): "data not read completely ideal",
    }
    for (old, new), message in damages.items():
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(DatasetError, match=r"a\.mha") as error:
            read_stored(path)
        assert message.split(" ideal")[0] in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_what_python_prints_while_an_mha_file_is_read_still_appears(tmp_path):
    pytest.importorskip("SimpleITK")
    code = """
import os, sys, threading
from cerebench.datasets.scans.metaimage import _standard_error
heard = []
with _standard_error(heard):
    print("progress", file=sys.stderr)
    os.write(2, b"complaint of a library\\n")
print("later", file=sys.stderr)
print(heard)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['complaint of a library']\n"
    assert done.stderr == "progress\nlater\n"


@pytest.mark.parametrize("layout", ["brats2020", "brats2015"])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_a_header_read_alone_says_what_the_whole_file_says(write, layout, end, tmp_path):
    if layout == "brats2015" and end == ".nii":
        pytest.skip("BRATS 2015 has .mha files only")
    write(layout, tmp_path, end=end, codes="SLA")
    path = files_of(Scans(16, tmp_path), 0)["flair"]
    stored, alone = read_stored(path), read_grid(path)
    assert alone.turned_shape == stored.values.shape
    assert alone.turned_spacing == stored.spacing
    assert alone.codes == stored.grid.codes
    assert np.array_equal(alone.affine, stored.grid.affine)
