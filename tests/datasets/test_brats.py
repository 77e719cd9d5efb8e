"""BraTS folders of 2018, 2019 and 2020, faked with their real names and tiny scans."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.brats import BraTS
from cerebench.datasets.cache import file_hashes

AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 23], [0, 0, 1, 0], [0, 0, 0, 1]])  # LPS, as BraTS
SHAPE = (24, 22, 20)
# (2019 id, 2020 number, grade)
CASES = [
    ("BraTS19_2013_0_1", 1, "LGG"),
    ("BraTS19_TCIA13_653_1", 2, "LGG"),
    ("BraTS19_TMC_06290_1", 3, "LGG"),
    ("BraTS19_2013_2_1", 4, "HGG"),
    ("BraTS19_CBICA_AAB_1", 5, "HGG"),
    ("BraTS19_TCIA01_131_1", 6, "HGG"),
]
COLUMNS = (
    "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,"
    "BraTS_2019_subject_ID,BraTS_2020_subject_ID"
)


def make_scan(seed):
    """(X, Y, Z) int16 FLAIR and uint8 segmentation with labels 1, 2 and 4."""
    rng = np.random.default_rng(seed)
    flair = rng.integers(50, 900, SHAPE).astype(np.int16)
    seg = np.zeros(SHAPE, np.uint8)
    low = rng.integers(2, 6, 3)
    seg[low[0] : low[0] + 9, low[1] : low[1] + 11, low[2] : low[2] + 8] = 2
    seg[low[0] + 2 : low[0] + 5, low[1] + 2 : low[1] + 5, low[2] + 2 : low[2] + 5] = 1
    seg[low[0] + 3, low[1] + 3, low[2] + 3] = 4
    return flair, seg


def write_case(folder, flair, seg, suffix=".nii.gz"):
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(flair, AFFINE), folder / f"{folder.name}_flair{suffix}")
    nib.save(nib.Nifti1Image(seg, AFFINE), folder / f"{folder.name}_seg{suffix}")


def make_2019(root, rename=lambda name: name):
    for name, number, grade in CASES:
        write_case(root / grade / rename(name), *make_scan(number))
    return root


def make_2020(root, suffix=".nii.gz"):
    rows = [COLUMNS]
    for name, number, grade in CASES:
        case = f"BraTS20_Training_{number:03d}"
        write_case(root / case, *make_scan(number), suffix)
        rows.append(f"{grade},NA,NA,NA,{name},{case}")
    (root / "name_mapping.csv").write_text("\n".join(rows) + "\n")
    return root


def edit_flair(root, case, change):
    """Rewrite one FLAIR after ``change(flair, segmentation)`` has worked on it in place."""
    path = next(root.rglob(f"{case}_flair.nii.gz"))
    flair = np.asarray(nib.load(path).dataobj).copy()
    seg = np.asarray(nib.load(str(path).replace("flair", "seg")).dataobj)
    changed = change(flair, seg)
    nib.save(nib.Nifti1Image(flair if changed is None else changed, AFFINE), path)


def messages(root, severity, case, size=64):
    found = [
        f for f in BraTS(size, root).check().findings if f.severity == severity and f.case == case
    ]
    return " | ".join(f.message for f in found)


def fingerprint(dataset, index):
    paths = [path for case in dataset.cases() for path in case.files.values()]
    return dataset.fingerprint(file_hashes(paths, index))


@pytest.fixture
def root_2019(tmp_path):
    return make_2019(tmp_path / "MICCAI_BraTS_2019_Data_Training")


@pytest.fixture
def root_2020(tmp_path):
    return make_2020(tmp_path / "MICCAI_BraTS2020_TrainingData")


def test_2019_takes_the_class_from_the_folder(root_2019):
    cases = BraTS(16, root_2019).cases()
    assert [(c.id, c.label) for c in cases] == sorted(
        (name, int(grade == "HGG")) for name, _, grade in CASES
    )
    assert all(c.patient == c.id for c in cases)


def test_2020_takes_class_and_patient_from_the_table(root_2020):
    cases = BraTS(16, root_2020).cases()
    assert [(c.id, c.patient, c.label) for c in cases] == [
        (f"BraTS20_Training_{number:03d}", name, int(grade == "HGG"))
        for name, number, grade in CASES
    ]


def test_2020_case_without_a_2019_id_is_its_own_patient(root_2020):
    table = root_2020 / "name_mapping.csv"
    table.write_text(table.read_text().replace("BraTS19_2013_2_1", "NA"))
    assert BraTS(16, root_2020).cases()[3].patient == "BraTS20_Training_004"


def test_2018_names_are_accepted(tmp_path):
    root = make_2019(tmp_path, lambda name: name.replace("BraTS19", "Brats18"))
    assert len(BraTS(16, root).cases()) == 6


@pytest.mark.parametrize("above", [".", "..", "../.."])
def test_root_may_lie_above_a_nested_copy(tmp_path, above):
    name = "MICCAI_BraTS_2019_Data_Training"
    inner = make_2019(tmp_path / name / name)
    assert len(BraTS(16, (inner / above).resolve()).cases()) == 6


def test_the_same_case_of_two_editions_is_the_same_tensor_and_split(root_2019, root_2020):
    old, new = BraTS(16, root_2019), BraTS(16, root_2020)
    by_patient = {case.patient: case for case in new.cases()}
    for case in old.cases():
        first, second = old.load(case), new.load(by_patient[case.patient])
        assert first.volume.tobytes() == second.volume.tobytes()
        assert first.mask.tobytes() == second.mask.tobytes()
    patient = {case.id: case.patient for case in new.cases()}
    for seed in range(5):
        assert set(old.split(seed).test) == {patient[i] for i in new.split(seed).test}


def test_loaded_volume_is_the_tumour_on_minus_one(root_2019):
    dataset = BraTS(128, root_2019)
    case = dataset.cases()[0]
    loaded = dataset.load(case)
    flair, seg = make_scan(1)
    inside = flair[seg > 0]
    assert loaded.volume.shape == (1, 128, 128, 128)
    assert loaded.mask.sum() == (seg > 0).sum()
    assert (loaded.volume[loaded.mask == 0] == -1).all()
    assert loaded.facts["maximum"] == inside.max()
    # LPS to RAS turns x and y round, and (X, Y, Z) becomes (Z, Y, X).
    expected = np.flip(flair, (0, 1))[np.flip(seg, (0, 1)) > 0].reshape(9, 11, 8)
    found = loaded.volume[loaded.mask == 1].reshape(8, 11, 9)
    assert np.allclose((found + 1) / 2 * inside.max(), expected.transpose(2, 1, 0), atol=1e-3)


def test_spacing_and_recipe_follow_the_size(root_2019):
    assert BraTS(64, root_2019).spacing == (2.0, 2.0, 2.0)
    assert BraTS(64, root_2019).recipe.name == "roi"


def test_uncompressed_files_and_stray_mask_names_are_read(tmp_path):
    root = make_2020(tmp_path / "data", suffix=".nii")
    case = root / "BraTS20_Training_005"
    (case / "BraTS20_Training_005_seg.nii").rename(case / "W39_1998.09.19_Segm.nii")
    dataset = BraTS(16, root)
    assert dataset.cases()[4].files["seg"].name == "W39_1998.09.19_Segm.nii"
    loaded = dataset.load(dataset.cases()[4])
    assert loaded.facts["mask_voxels"] == (make_scan(5)[1] > 0).sum()


def test_fingerprint_ignores_the_place_and_sees_every_content(root_2020, tmp_path):
    index = tmp_path / "hashes.json"
    first = fingerprint(BraTS(16, root_2020), index)
    copy = shutil.copytree(root_2020, tmp_path / "elsewhere" / "data")
    assert fingerprint(BraTS(16, copy), index) == first
    assert fingerprint(BraTS(32, copy), index) != first
    table = copy / "name_mapping.csv"
    original = table.read_text()
    table.write_text(original.replace("HGG,NA,NA,NA,BraTS19_2013_2_1", "LGG,NA,NA,NA,X"))
    assert fingerprint(BraTS(16, copy), index) != first
    table.write_text(original)
    edit_flair(copy, "BraTS20_Training_001", lambda flair, seg: flair * 2)
    assert fingerprint(BraTS(16, copy), index) != first


def test_a_small_set_holds_out_a_quarter_and_the_rule_can_be_set(root_2020):
    assert len(BraTS(16, root_2020).split(0).test) == 2
    assert len(BraTS(16, root_2020, rule={"test": 1}).split(0).test) == 2
    assert "a quarter of each class" in messages(root_2020, "warning", "")


@pytest.mark.parametrize("size", [0, 129])
def test_sizes_the_crop_cannot_give_are_refused(tmp_path, size):
    with pytest.raises(DatasetError, match=f"size {size}"):
        BraTS(size, tmp_path)


def test_an_unknown_split_setting_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no setting 'train'"):
        BraTS(16, tmp_path, rule={"train": 3})


def test_missing_roots_say_what_to_do(tmp_path):
    with pytest.raises(DatasetNotFound, match="Set --data-root"):
        BraTS(16)
    with pytest.raises(DatasetNotFound, match="there is no folder"):
        BraTS(16, tmp_path / "none").cases()
    with pytest.raises(DatasetNotFound, match=r"Expected .* HGG/ and LGG/"):
        BraTS(16, tmp_path).cases()


def test_two_editions_in_one_root_are_not_guessed(tmp_path):
    make_2019(tmp_path / "old")
    make_2020(tmp_path / "new")
    with pytest.raises(DatasetError, match=r"2019 .* and BraTS 2020 .*, which share patients"):
        BraTS(16, tmp_path).cases()


def test_missing_grades_are_named(root_2020, root_2019):
    (root_2020 / "name_mapping.csv").unlink()
    with pytest.raises(DatasetError, match=r"expected name_mapping\.csv beside"):
        BraTS(16, root_2020).cases()
    flat = root_2019.parent / "flat"
    for case in [*root_2019.glob("*/*")]:
        shutil.move(case, flat / case.name)
    with pytest.raises(DatasetError, match="have no grades"):
        BraTS(16, flat).cases()


def test_cases_without_a_usable_row_are_named(root_2020):
    table = root_2020 / "name_mapping.csv"
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace("LGG", "XGG")
    table.write_text("\n".join([*lines[:3], *lines[4:], lines[6].replace("HGG", "LGG")]))
    with pytest.raises(DatasetError, match="3 things") as error:
        BraTS(16, root_2020).cases()
    assert "BraTS20_Training_001: name_mapping.csv gives XGG" in str(error.value)
    assert "BraTS20_Training_003: name_mapping.csv gives no row" in str(error.value)
    assert (
        "BraTS20_Training_006: is twice in name_mapping.csv (lines 6 and 7), with class 'HGG' "
        "and 'LGG'" in str(error.value)
    )


def test_missing_files_are_named_and_never_dropped(root_2019):
    next(root_2019.rglob("BraTS19_2013_0_1_seg.nii.gz")).unlink()
    next(root_2019.rglob("BraTS19_CBICA_AAB_1_flair.nii.gz")).unlink()
    with pytest.raises(DatasetError, match="2 things") as error:
        BraTS(16, root_2019).cases()
    assert "BraTS19_2013_0_1: seg is missing in" in str(error.value)
    assert "BraTS19_CBICA_AAB_1: flair is missing in" in str(error.value)
    assert "is missing" in messages(root_2019, "error", "BraTS19_2013_0_1")


def test_repeated_ids_are_errors(root_2019):
    shutil.copytree(root_2019 / "LGG/BraTS19_2013_0_1", root_2019 / "HGG/BraTS19_2013_0_1")
    with pytest.raises(DatasetError, match="id occurs twice"):
        BraTS(16, root_2019).cases()


def test_ungraded_cases_beside_graded_ones_are_reported(root_2019):
    write_case(root_2019.parent / "Validation" / "BraTS19_X_9_1", *make_scan(9))
    assert len(BraTS(16, root_2019.parent).cases()) == 6
    assert "no grade" in messages(root_2019.parent, "warning", "BraTS19_X_9_1")


def test_a_clean_set_has_no_errors_and_no_case_warnings(root_2019):
    assert [
        f for f in BraTS(64, root_2019).check().findings if f.severity == "error" or f.case
    ] == []


def test_check_names_saturated_scans(root_2019):
    def saturate(fraction):
        def change(flair, seg):
            inside = np.flatnonzero(seg > 0)
            flair.ravel()[inside[: int(len(inside) * fraction)]] = 32767

        return change

    edit_flair(root_2019, "BraTS19_2013_0_1", saturate(0.05))
    edit_flair(root_2019, "BraTS19_2013_2_1", saturate(0.009))
    assert "saturated" in messages(root_2019, "warning", "BraTS19_2013_0_1")
    assert messages(root_2019, "warning", "BraTS19_2013_2_1") == ""


def test_check_names_negative_background(root_2019):
    edit_flair(root_2019, "BraTS19_2013_0_1", lambda flair, seg: flair - 60)
    assert "are negative" in messages(root_2019, "warning", "BraTS19_2013_0_1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda flair, seg: flair * 0 + 7, "FLAIR is 7 in the whole tumour"),
        (lambda flair, seg: flair[:-1], "must be equal"),
        (lambda flair, seg: np.where(seg > 1, np.nan, flair.astype(np.float32)), "NaN"),
    ],
)
def test_check_names_unusable_scans(root_2019, change, message):
    edit_flair(root_2019, "BraTS19_2013_0_1", change)
    assert message in messages(root_2019, "error", "BraTS19_2013_0_1")


def test_check_names_empty_masks_and_load_refuses_them(root_2019):
    path = next(root_2019.rglob("BraTS19_2013_0_1_seg.nii.gz"))
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), path)
    assert "segmentation is empty" in messages(root_2019, "error", "BraTS19_2013_0_1")
    dataset = BraTS(16, root_2019)
    with pytest.raises(DatasetError, match="BraTS19_2013_0_1: the segmentation is empty"):
        dataset.load(dataset.cases()[0])


def test_check_finds_the_same_scan_under_two_names(root_2019):
    copy = root_2019 / "LGG" / "BraTS19_2013_99_1"
    write_case(copy, *make_scan(1), suffix=".nii")  # other bytes on disk, same voxels
    assert "same FLAIR as BraTS19_2013_99_1" in messages(root_2019, "error", "BraTS19_2013_0_1")


def test_check_names_odd_shapes(root_2019):
    flair, seg = make_scan(9)
    write_case(root_2019 / "LGG" / "BraTS19_2013_99_1", flair[1:], seg[1:])
    assert "most cases have (20, 22, 24)" in messages(root_2019, "warning", "BraTS19_2013_99_1")


def test_check_says_how_much_of_a_wide_tumour_is_lost(root_2019):
    flair = np.ones((160, 4, 4), np.int16)
    flair[3] = 2
    seg = np.zeros((160, 4, 4), np.uint8)
    seg[10:150, 1, 1] = 1
    flair[20] = 5
    write_case(root_2019 / "LGG" / "BraTS19_2013_99_1", flair, seg)
    text = messages(root_2019, "warning", "BraTS19_2013_99_1")
    assert "spans 1 × 1 × 140" in text
    assert "12 of its 140 voxels (8.57%)" in text


def test_check_names_tumours_too_small_for_the_size(root_2019):
    edit = next(root_2019.rglob("BraTS19_2013_0_1_seg.nii.gz"))
    seg = np.zeros(SHAPE, np.uint8)
    seg[3:6, 3:6, 3:6] = 1
    nib.save(nib.Nifti1Image(seg, AFFINE), edit)
    assert "empty" in messages(root_2019, "warning", "BraTS19_2013_0_1", size=16)
    assert messages(root_2019, "warning", "BraTS19_2013_0_1", size=64) == ""


def test_check_names_sites_of_one_class(root_2020):
    text = messages(root_2020, "warning", "")
    assert "CBICA (1 HGG), TCIA01 (1 HGG), TCIA13 (1 LGG), TMC (1 LGG);" in text
    assert "2013 (" not in text


REAL = Path(__file__).parents[2] / "../shared/data/brats2020-tcga-roi"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real volumes are not beside the checkout")
def test_real_cases_load_with_plausible_tumours():
    dataset = BraTS(32, REAL)
    cases = dataset.cases()
    assert len(cases) == 57
    assert [sum(c.label == label for c in cases) for label in (0, 1)] == [36, 21]
    assert {c.label for c in cases if c.id[-3:] >= "260"} == {0}
    first = dataset.load(cases[0])
    assert (first.volume[:, 0, 0, 0] == -1).all()
    assert 1 < first.mask.sum() * 64 / 1000 < 400  # ml
    assert first.volume[first.mask == 1].mean() > 0
