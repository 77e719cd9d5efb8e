"""Sample folders of others: layouts, ranges, and what is refused."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.samples import SampleFolder
from cerebench.datasets.volumes import write_nifti

CLASSES = ("LGG", "HGG")
MM = (8.0, 8.0, 8.0)


def make_volume(seed, size=16):
    """(S, S, S) float32 in [-1, 1] with both ends present."""
    volume = np.random.default_rng(seed).uniform(-1, 1, (size,) * 3).astype(np.float32)
    volume.flat[:2] = -1, 1
    return volume


def make_folders(root, names=("LGG", "HGG"), change=lambda v: v):
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(3):
            volume = change(make_volume(10 * label + i)).astype(np.float32)
            write_nifti(root / name / f"sample_{i}.nii.gz", volume, MM)
    return root


def make_bids(root):
    rows = ["participant_id\tclass\tseed"]
    for label, name in enumerate(CLASSES):
        for i in range(3):
            subject = f"sub-{name}{i}"
            anat = root / subject / "anat"
            anat.mkdir(parents=True)
            path = anat / f"{subject}_space-roi_FLAIR.nii.gz"
            write_nifti(path, make_volume(10 * label + i), MM)
            rows.append(f"{subject}\t{name}\t0")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root


def edit_table(root, change):
    table = root / "participants.tsv"
    table.write_text(change(table.read_text()))


@pytest.mark.parametrize("names", [("LGG", "HGG"), ("class_LGG", "class_HGG"), ("lgg", "Hgg")])
def test_class_folders_are_found(tmp_path, names):
    opened = SampleFolder.open(make_folders(tmp_path, names), CLASSES, 16)
    assert list(opened.classes) == ["LGG", "HGG"]
    assert opened.classes["HGG"].ids == tuple(f"{names[1]}/sample_{i}.nii.gz" for i in range(3))
    for label, name in enumerate(CLASSES):
        assert len(opened.classes[name]) == 3
        for i, volume in enumerate(opened.classes[name]):
            assert volume.dtype == np.float32
            assert np.array_equal(volume, make_volume(10 * label + i)[None])


def test_a_bids_derivative_is_read_by_its_table(tmp_path):
    opened = SampleFolder.open(make_bids(tmp_path), CLASSES, 16)
    samples = opened.classes["HGG"]
    assert samples.ids[1] == "sub-HGG1/anat/sub-HGG1_space-roi_FLAIR.nii.gz"
    assert np.array_equal(samples[1], make_volume(11)[None])


def test_deeper_folders_are_searched_and_hidden_files_are_not(tmp_path):
    make_folders(tmp_path)
    deeper = tmp_path / "LGG" / "more"
    deeper.mkdir()
    write_nifti(deeper / "x.nii", make_volume(7), MM)
    (tmp_path / "LGG" / "._sample_0.nii.gz").write_bytes(b"resource fork")
    (tmp_path / "LGG" / "notes.txt").write_text("none")
    samples = SampleFolder.open(tmp_path, CLASSES, 16).classes["LGG"]
    assert samples.ids[0] == "LGG/more/x.nii"
    assert len(samples) == 4


def test_key_follows_contents_and_range_but_not_the_place(tmp_path):
    first = SampleFolder.open(make_folders(tmp_path / "a"), CLASSES, 16)
    copy = shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert SampleFolder.open(copy, CLASSES, 16).sha256 == first.sha256
    assert SampleFolder.open(copy, CLASSES, 16, (-2.0, 2.0)).sha256 != first.sha256
    write_nifti(copy / "HGG" / "sample_2.nii.gz", make_volume(99), MM)
    changed = SampleFolder.open(copy, CLASSES, 16)
    assert changed.sha256 != first.sha256
    assert changed.classes["HGG"].hashes[:2] == first.classes["HGG"].hashes[:2]


def test_another_range_is_mapped_exactly_at_both_ends(tmp_path):
    make_folders(tmp_path, change=lambda v: (v + 1) / 2 * 255)
    opened = SampleFolder.open(tmp_path, CLASSES, 16, (0.0, 255.0))
    volume = opened.classes["LGG"][0]
    assert np.allclose(volume, make_volume(0)[None], atol=1e-6)
    assert (volume.min(), volume.max()) == (-1, 1)


def test_values_just_outside_are_clipped_and_counted(tmp_path):
    def push(volume):
        volume.flat[:8] = 1.0005
        return volume

    make_folders(tmp_path, change=push)
    samples = SampleFolder.open(tmp_path, CLASSES, 16).classes["LGG"]
    assert samples.clip_fraction == 8 / 16**3
    assert samples[0].max() == 1


@pytest.mark.parametrize(
    ("change", "value_range", "message"),
    [
        (lambda v: v * 1.01, (-1.0, 1.0), r"sample_0\.nii\.gz has values in \[-1\.01, 1\.01\]"),
        (lambda v: v * 128 + 127, (0.0, 255.0), r"values in \[-1, 255\]; expected \[0, 255\]"),
        (lambda v: (v + 1) / 2, (-1.0, 1.0), r"looks like \[0, 1\]: pass --samples-range 0 1"),
        (lambda v: v[:15], (-1.0, 1.0), r"shape \(15, 16, 16\) .*; expected \(16, 16, 16\)"),
        (lambda v: v * np.nan, (-1.0, 1.0), "NaN"),
    ],
)
def test_unusable_volumes_are_named(tmp_path, change, value_range, message):
    make_folders(tmp_path, change=change)
    with pytest.raises(DatasetError, match=message):
        SampleFolder.open(tmp_path, CLASSES, 16, value_range)


def test_all_unusable_volumes_are_named_at_once(tmp_path):
    make_folders(tmp_path)
    for name in ("LGG/sample_1", "HGG/sample_2"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DatasetError, match="2 of 6 volumes") as error:
        SampleFolder.open(tmp_path, CLASSES, 16)
    assert str(tmp_path / "LGG/sample_1.nii.gz") in str(error.value)
    assert str(tmp_path / "HGG/sample_2.nii.gz") in str(error.value)


def test_orientation_of_the_file_does_not_matter(tmp_path):
    make_folders(tmp_path)
    path = tmp_path / "LGG" / "sample_0.nii.gz"
    image = nib.load(path)
    nib.save(image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])), path)
    samples = SampleFolder.open(tmp_path, CLASSES, 16).classes["LGG"]
    assert np.array_equal(samples[0], make_volume(0)[None])


def test_unknown_layouts_say_what_is_expected(tmp_path):
    with pytest.raises(DatasetNotFound, match="No sample folder"):
        SampleFolder.open(tmp_path / "none", CLASSES, 16)
    with pytest.raises(DatasetError, match=r"expected LGG/, HGG/.* participants\.tsv"):
        SampleFolder.open(tmp_path, CLASSES, 16)


def test_a_class_without_volumes_is_named(tmp_path):
    make_folders(tmp_path, names=("LGG",))
    with pytest.raises(DatasetError, match="of class HGG"):
        SampleFolder.open(tmp_path, CLASSES, 16)


def test_ambiguous_layouts_are_not_guessed(tmp_path):
    make_folders(tmp_path / "a", ("LGG", "HGG", "class_LGG"))
    with pytest.raises(DatasetError, match="both for class LGG"):
        SampleFolder.open(tmp_path / "a", CLASSES, 16)
    make_bids(make_folders(tmp_path / "b"))
    with pytest.raises(DatasetError, match=r"both participants\.tsv and class subfolders"):
        SampleFolder.open(tmp_path / "b", CLASSES, 16)


@pytest.mark.parametrize("value_range", [(1.0, 0.0), (0.0, float("nan"))])
def test_an_impossible_range_is_refused(tmp_path, value_range):
    with pytest.raises(DatasetError, match="the lower one first"):
        SampleFolder.open(make_folders(tmp_path), CLASSES, 16, value_range)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("sub-LGG0", "../secret"), "leads outside the folder"),
        (lambda t: t.replace("sub-LGG0", "/etc"), "leads outside the folder"),
        (lambda t: t.replace("sub-LGG0\tLGG", "sub-LGG0\tGBM"), "has class 'GBM'"),
        (lambda t: t + "sub-LGG0\tHGG\t0\n", "lists sub-LGG0 twice"),
        (lambda t: t.replace("sub-LGG0\tLGG\t0\n", ""), "no row for sub-LGG0"),
        (lambda t: t + "sub-LGG9\tLGG\t0\n", "holds 0 volumes"),
        (lambda t: t.replace("class", "grade"), "lacks the column class"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, change, message):
    edit_table(make_bids(tmp_path), change)
    with pytest.raises(DatasetError, match=message):
        SampleFolder.open(tmp_path, CLASSES, 16)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path):
    root = make_bids(tmp_path / "samples")
    shutil.move(root / "sub-LGG0", tmp_path / "outside")
    (root / "sub-LGG0").symlink_to(tmp_path / "outside")
    with pytest.raises(DatasetError, match="leads outside the folder"):
        SampleFolder.open(root, CLASSES, 16)
