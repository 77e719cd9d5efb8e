"""The reader of foreign folders: layouts, what is refused, set aside or clipped, and whose axes."""

import importlib
import os
import shutil
import subprocess
import sys
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.folders import folder as folders
from cerebench.datasets.folders.folder import PREPARED, Options, read
from cerebench.datasets.scans.volumes import read_nifti, write_nifti

fakes = importlib.import_module("fake_samples")
CLASSES = fakes.CLASSES
GENERATED = Options(classes=CLASSES, range_option="--samples-range")


def told(folder) -> str:
    return "\n".join([*(fault.reason for fault in folder.faults), *folder.notes])


def whole(root, options=GENERATED):
    """Read a folder as commands do; return it if nothing is wrong."""
    folder = folders.of_shape(read(root, options), (16, 16, 16), "", "")
    folders.refuse_faults([folder])
    folders.refuse_few(folder, CLASSES)
    return folders.settled(folder, None, "compare")


def made(root, case):
    (fakes.make_bids if case.bids else fakes.make)(root)
    case.spoil(root)
    return root


@pytest.mark.parametrize("case", fakes.FAULTS, ids=lambda case: case.name)
def test_what_cannot_be_used_is_refused_and_named(tmp_path, case):
    root = made(tmp_path / "theirs", case)
    with pytest.raises(DatasetError) as error:
        whole(root)
    assert case.words.format(path=root, option="--samples-range") in str(error.value)


@pytest.mark.parametrize("case", fakes.FINE, ids=lambda case: case.name)
def test_what_can_be_used_is_read_and_nothing_is_dropped_without_a_word(tmp_path, case):
    folder = whole(made(tmp_path / "theirs", case))
    assert case.words in told(folder)
    assert bool(folder.notes) == bool(case.words)
    counts = {name: len(files) for name, files in folder.classes.items()}
    assert counts == {"LGG": 3 + (case.name == "a copy"), "HGG": 3}


def test_volumes_are_those_of_the_files_mapped_clipped_and_named(tmp_path):
    fakes.make(tmp_path, change=lambda v: (v + 1) * 127.5)
    fakes.change(tmp_path / "LGG/s001.nii.gz", fakes.at(slice(9), -4))
    folder = whole(tmp_path, Options((0.0, 255.0), classes=CLASSES))
    volumes = folder.volumes("LGG")
    assert volumes.ids == ("LGG/s000", "LGG/s001", "LGG/s002")
    assert folder.classes["LGG"][0].relative == "LGG/s000.nii.gz"
    for i, found in enumerate(volumes):
        assert (found.shape, found.dtype) == ((1, 16, 16, 16), np.float32)
        assert (found.min(), found.max()) == (-1, 1)
        if i != 1:
            assert np.allclose(found[0], fakes.volume(i).T, atol=1e-6)
    assert folder.clip_fraction("LGG") == 9 / (3 * 16**3)
    assert folder.clip_fraction("HGG") == 0


def test_plain_files_are_one_class(tmp_path):
    fakes.make(tmp_path / "x")
    root = tmp_path / "x" / "LGG"
    assert list(read(root, Options()).classes) == ["all"]
    assert list(read(root, Options(classes=("glioma",))).classes) == ["glioma"]
    assert read(root, Options()).volumes("all").ids == ("s000", "s001", "s002")
    with pytest.raises(DatasetError, match=r"Nothing tells the class of s000\.nii\.gz"):
        read(root, GENERATED)


def test_any_class_may_be_there_where_none_is_expected(tmp_path):
    fakes.make(tmp_path, classes=("b", "A c", "a"))
    assert list(read(tmp_path, Options()).classes) == ["A c", "a", "b"]


def test_classes_that_are_grades_stand_in_the_order_of_a_run(tmp_path):
    fakes.make(tmp_path, classes=("HGG", "LGG"))
    assert list(read(tmp_path, Options()).classes) == ["LGG", "HGG"]


def test_classes_may_be_contrasts(tmp_path):
    fakes.make(tmp_path, classes=("T1", "FLAIR"))
    assert list(read(tmp_path, Options()).classes) == ["FLAIR", "T1"]


def test_names_that_differ_in_case_alone_are_two_cases(tmp_path):
    fakes.make(tmp_path)
    fakes.save(tmp_path / "LGG/S000.nii.gz", fakes.volume(7))
    assert len(whole(tmp_path).classes["LGG"]) == 4


def test_subjects_without_a_table_of_classes_are_one_class(tmp_path):
    fakes.make_bids(tmp_path)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-LGG0\t70\n")
    folder = read(tmp_path, Options())
    assert list(folder.classes) == ["all"]
    assert "participants.tsv names no class" in told(folder)
    with pytest.raises(DatasetError, match="lacks the column class"):
        read(tmp_path, GENERATED)
    (tmp_path / "participants.tsv").unlink()
    assert len(read(tmp_path, Options()).entries) == 6
    with pytest.raises(DatasetError, match="Nothing tells the class of sub-HGG0_FLAIR"):
        read(tmp_path, GENERATED)


def test_classes_that_differ_in_case_alone_are_not_exchanged(tmp_path):
    for count, name in enumerate(("lgg", "LGG"), 2):
        fakes.make(tmp_path / "x", classes=(name,), count=count)
    found = read(tmp_path / "x", Options(classes=("LGG", "lgg")))
    assert {name: len(files) for name, files in found.classes.items()} == {"LGG": 3, "lgg": 2}
    fakes.make(tmp_path / "y", classes=("LGG", "Lgg"))
    with pytest.raises(DatasetError, match="folder Lgg/, which is none of the classes LGG, lgg"):
        read(tmp_path / "y", Options(classes=("LGG", "lgg")))


@pytest.mark.parametrize("label", ["a\0b", "a\x1b[2J", "x" * 201])
def test_a_class_that_cannot_be_shown_is_refused_with_the_table(tmp_path, label):
    fakes.save(tmp_path / "sub-1" / "x.nii.gz", fakes.volume(1))
    (tmp_path / "participants.tsv").write_text(f"participant_id\tclass\nsub-1\t{label}\n")
    with pytest.raises(DatasetError, match=r"participants\.tsv: class label "):
        read(tmp_path, Options())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(DatasetNotFound, match=f"No folder at {path}"):
            read(path, GENERATED)


def test_a_link_to_the_folder_itself_and_links_to_files_are_followed(tmp_path):
    root = fakes.make(tmp_path / "there")
    away = tmp_path / "objects" / "abc"
    away.parent.mkdir()
    shutil.move(root / "LGG/s001.nii.gz", away)
    (root / "LGG/s001.nii.gz").symlink_to(away)
    (tmp_path / "here").symlink_to(root)
    assert len(whole(tmp_path / "here").entries) == 6


CODE = """
import sys
from pathlib import Path
from cerebench.datasets.base import DatasetError
from cerebench.datasets.folders.folder import Options, read
try:
    print(*(f.reason for f in read(Path(sys.argv[1]), Options()).faults), sep="\\n")
except DatasetError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    "place", ["", "LGG", "LGG/more", "LGG/s001.nii.gz", "HGG/s000.nii.gz", "participants.tsv"]
)
def test_what_may_not_be_read_is_named(tmp_path, place):
    root = fakes.make(tmp_path / "theirs")
    fakes.save(root / "LGG/more/x.nii.gz", fakes.volume(9))
    (root / "participants.tsv").write_text("participant_id\n")
    command = [sys.executable, "-c", CODE, str(root)]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and there is no setpriv to give that up")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    mode = (root / place).stat().st_mode
    (root / place).chmod(0)
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        (root / place).chmod(mode)
    assert f"{root / place} cannot be read: Permission denied" in done.stdout, done.stderr


# Axes.

TURNED = {
    "LPS": fakes.LPS,
    "identity": np.eye(4),
    "RAS": fakes.AFFINE,
    "oblique": fakes.AFFINE
    @ np.array([[0.94, -0.342, 0, 0], [0.342, 0.94, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    "shifted": np.array([[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "PIR": np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
}


def of_axes(tmp_path, name, **options):
    if not (tmp_path / name).exists():
        fakes.make(tmp_path / name, affine=TURNED[name])
    return read(tmp_path / name, Options(**options))


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("LPS", "identity"),
        ("identity", "LPS"),
        ("RAS", "identity"),
        ("identity", "RAS"),
        ("shifted", "identity"),
        ("LPS", "RAS"),
        ("RAS", "oblique"),
        ("oblique", "RAS"),
        ("PIR", "LPS"),
    ],
)
def test_folders_of_other_axes_are_refused_with_both_named(tmp_path, real, fake):
    ours, theirs = of_axes(tmp_path, real, real=True), of_axes(tmp_path, fake)
    with pytest.raises(DatasetError, match="not stored along the same axes") as error:
        folders.settled(theirs, ours, "compare")
    for word in (str(tmp_path / real), str(tmp_path / fake), "--same-axes", "--trust-headers"):
        assert word in str(error.value)
    if "oblique" in (real, fake):
        assert "both stored RAS, but 20.0° apart" in str(error.value)
    else:
        for name in (real, fake):
            codes = "RAS" if name in ("identity", "shifted") else name
            assert f" {codes}" in str(error.value)
    trusted = folders.settled(theirs, ours, "trust")
    assert "trusted (--trust-headers)" in told(trusted)
    assert np.array_equal(trusted.volumes("LGG")[0], theirs.volumes("LGG")[0])
    assert trusted.turned == {}


@pytest.mark.parametrize(
    ("real", "fake"), [("LPS", "LPS"), ("identity", "identity"), ("RAS", "shifted")]
)
def test_folders_of_equal_axes_need_no_word(tmp_path, real, fake):
    ours, theirs = of_axes(tmp_path, real), of_axes(tmp_path, fake)
    for axes in ("compare", "trust"):
        assert folders.settled(theirs, ours, axes) is theirs
    assert folders.with_axes(theirs, folders.axes_of(ours)) is theirs


@pytest.mark.parametrize("fake", TURNED)
@pytest.mark.parametrize("real", TURNED)
def test_with_the_axes_of_the_real_ones_equal_voxels_are_equal(tmp_path, real, fake):
    ours = of_axes(tmp_path, real)
    theirs = folders.with_axes(of_axes(tmp_path, fake), folders.axes_of(ours))
    assert folders.settled(theirs, ours, "same") is theirs
    for name in CLASSES:
        for a, b in zip(ours.volumes(name), theirs.volumes(name), strict=True):
            assert np.array_equal(a, b)
    codes = [folders.axes_of(of_axes(tmp_path, name)).codes for name in (real, fake)]
    changed = codes[0] != codes[1]
    assert theirs.turned == ({"axes": codes[0]} if changed else {})
    assert ("against their headers (--same-axes)" in told(theirs)) == changed


def test_same_axes_holds_for_shapes_that_are_no_cubes_and_for_spacing(tmp_path):
    values = fakes.volume(1)[:, :14, :12]
    for i in range(2):
        fakes.save(tmp_path / "real" / f"{i}.nii.gz", values, TURNED["PIR"] * [2, 3, 4, 1])
        fakes.save(tmp_path / "fake" / f"{i}.nii.gz", values, np.eye(4))
    ours, fake = (read(tmp_path / name, Options()) for name in ("real", "fake"))
    theirs = folders.with_axes(fake, folders.axes_of(ours))
    assert (fake.entries[0].shape, theirs.entries[0].shape) == ((12, 14, 16), (14, 16, 12))
    assert theirs.entries[0].spacing == ours.entries[0].spacing
    assert np.array_equal(theirs.volumes("all")[0], ours.volumes("all")[0])


@pytest.mark.parametrize("name", [name for name in TURNED if name != "identity"])
def test_beside_prepared_data_each_file_is_turned_by_its_header(tmp_path, name):
    folder = of_axes(tmp_path, name, classes=CLASSES)
    assert folders.settled(folder, None, "compare") is folder
    image = nib.as_closest_canonical(nib.load(tmp_path / name / "LGG/s000.nii.gz"))
    assert np.array_equal(folder.volumes("LGG")[0][0], image.get_fdata(dtype=np.float32).T)


def test_beside_prepared_data_a_placeholder_needs_a_word(tmp_path):
    folder = of_axes(tmp_path, "identity", classes=CLASSES)
    with pytest.raises(DatasetError, match=r"RAS \(identity affine\), prepared data RAS"):
        folders.settled(folder, None, "compare")
    assert "trusted (--trust" in told(folders.settled(folder, None, "trust"))
    assert folders.with_axes(folder, PREPARED) is folder
    lps = folders.with_axes(of_axes(tmp_path, "LPS", classes=CLASSES), PREPARED)
    assert lps.turned == {"axes": "RAS"}
    assert np.array_equal(lps.volumes("LGG")[0], folder.volumes("LGG")[0])


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_header_that_says_nothing_is_a_placeholder_too(tmp_path, kind):
    for i in range(2):
        image = kind(fakes.volume(i), None)
        assert (image.header["sform_code"], image.header["qform_code"]) == (0, 0)
        nib.save(image, tmp_path / f"{i}.nii.gz")
    folder = read(tmp_path, Options())
    assert "2 with an odd header (it says nothing about the axes" in told(folder)
    assert folders.settled(folder, folder, "compare") is folder
    with pytest.raises(DatasetError, match=r"is stored LAS \(no axes\), prepared data RAS"):
        folders.settled(folder, None, "compare")


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_folder_of_headers_with_and_without_axes_is_refused(tmp_path, count):
    fakes.make(tmp_path, affine=fakes.LPS)
    for i, path in enumerate(fakes.files(tmp_path)[:count]):
        fakes.save(path, fakes.volume(50 + i), np.eye(4))
    folder = read(tmp_path, Options())
    for real in (None, folder):
        with pytest.raises(DatasetError, match=r"stored RAS \(identity affine\) and .* LPS"):
            folders.settled(folder, real, "compare")
    like = folders.axes_of(folder)
    assert like.codes == "LPS"
    same = folders.with_axes(folder, like)
    assert f"{count} read as stored LPS, against their headers" in told(same)


def test_files_of_one_folder_that_are_stored_differently_are_turned_each_by_its_header(tmp_path):
    fakes.make(tmp_path)
    plain = whole(tmp_path).volumes("LGG")[0]
    path = tmp_path / "LGG" / "s000.nii.gz"
    nib.save(nib.load(path).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])), path)
    assert np.array_equal(whole(tmp_path).volumes("LGG")[0], plain)


# Range, shape, memory.


def test_odd_ranges_are_taken_as_they_are_when_told_to(tmp_path):
    fakes.make(tmp_path)
    for path in fakes.files(tmp_path)[::2]:
        fakes.change(path, lambda v: (v + 1) / 2)
    with pytest.raises(DatasetError, match=r"--skip-bad; --accept-range takes 3 of them"):
        whole(tmp_path)
    taken = read(tmp_path, Options(classes=CLASSES, accept_range=True))
    assert told(taken) == "3 that look like another range, taken as they are (--accept-range)"
    assert taken.volumes("HGG")[0].min() == 0


def test_values_far_outside_are_not_accepted(tmp_path):
    fakes.make(tmp_path)
    fakes.change(tmp_path / "LGG/s000.nii.gz", lambda v: 2 * v)
    folder = read(tmp_path, Options(classes=CLASSES, accept_range=True))
    assert [fault.odd_range for fault in folder.faults] == [False]


COLLAPSED = {
    "all background": lambda v: 0 * v - 1,
    "grey": lambda v: 0 * v,
    "bright": lambda v: 0 * v + 1,
    "dead with noise": lambda v: 0.02 * v,
    "almost empty": lambda v: np.maximum(v - 1.9, -1),
    "one volume many times": lambda v: fakes.volume(0),
    "noise": lambda v: np.random.default_rng(0).uniform(-1, 1, v.shape),
    "black and white": lambda v: np.where(v > 0, 1, -1),
}


@pytest.mark.parametrize("name", COLLAPSED)
def test_collapsed_sets_stay_scorable(tmp_path, name):
    fakes.make(tmp_path, change=COLLAPSED[name])
    assert len(whole(tmp_path).entries) == 6


def test_shapes_are_those_of_most_volumes_or_all_are_resampled(tmp_path):
    fakes.make(tmp_path)
    fakes.save(tmp_path / "LGG" / "large.nii.gz", fakes.volume(7, 20))
    folder = read(tmp_path, GENERATED)
    (voted,), shape = folders.with_shape([folder], None)
    assert shape == (16, 16, 16)
    assert "which 6 of 7 volumes have" in told(voted)
    (kept,), shape = folders.with_shape([folder], (8, 8, 8))
    assert not kept.faults
    assert {v.shape for v in kept.volumes("LGG", shape)} == {(1, 8, 8, 8)}


def test_resampling_keeps_a_constant_a_ramp_and_the_place_of_things():
    constant = folders.resampled(np.full((8, 8, 8), 0.3), (5, 12, 8))
    np.testing.assert_allclose(constant, 0.3, rtol=1e-12)
    ramp = np.broadcast_to(np.arange(16.0)[:, None, None], (16, 4, 4))
    halved = folders.resampled(ramp, (8, 4, 4))
    np.testing.assert_allclose(halved[:, 0, 0], np.arange(8) * 2 + 0.5)
    left = np.zeros((8, 8, 8))
    left[:, :, :2] = 1
    found = folders.resampled(left, (16, 16, 16))
    assert found[:, :, :3].min() == 1
    assert found[:, :, 5:].max() == 0


def test_all_unusable_volumes_are_named_at_once(tmp_path):
    fakes.make(tmp_path)
    for name in ("LGG/s001", "HGG/s002"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DatasetError, match="2 of 6 files cannot be used") as error:
        whole(tmp_path)
    assert str(tmp_path / "LGG/s001.nii.gz") in str(error.value)
    assert str(tmp_path / "HGG/s002.nii.gz") in str(error.value)


def test_memory_does_not_grow_with_the_number_of_volumes(tmp_path):
    values = np.ascontiguousarray(fakes.volume(0, 48))
    peaks = []
    for count in (4, 24):
        (tmp_path / str(count)).mkdir()
        for i in range(count):
            write_nifti(tmp_path / str(count) / f"{i}.nii", values, (1.0, 1.0, 1.0))
        tracemalloc.start()
        assert sum(v.mean() for v in read(tmp_path / str(count), Options()).volumes("all")) < 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + values.nbytes / 2


def test_a_volume_of_the_suite_is_read_to_the_same_bits(tmp_path):
    values = fakes.volume(3)
    for i in range(2):
        write_nifti(tmp_path / f"{i}.nii.gz", values, (2.0, 2.0, 2.0))
    assert np.array_equal(read(tmp_path, Options()).volumes("all")[0][0], values)
    assert read_nifti(tmp_path / "0.nii.gz")[1] == read(tmp_path, Options()).entries[0].spacing
