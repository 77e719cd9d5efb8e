"""One case is one tensor, whatever the layout, orientation, origin, ending and number type."""

import hashlib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.cache import file_hashes
from cerebench.datasets.scans.dataset import Scans
from cerebench.datasets.scans.reading import read_scan

LAYOUTS = [
    "brats2018",
    "brats2019",
    "brats2020",
    "brats2021",
    "brats2023",
    "brats2024",
    "msd",
    "bids",
    "manifest",
    "folders",
]
EVERY = [*LAYOUTS, "brats2015"]
GRADED = [name for name in EVERY if name not in ("brats2021", "brats2023", "brats2024", "msd")]
ALL = {"modalities": "t1,t1ce,t2,flair"}
STORAGES = {
    "LPS": {},
    "RAS": {"codes": "RAS", "origin": (-120.0, -100.0, 7.5)},
    "LPS, origin 0": {"origin": (0.0, 0.0, 0.0)},
    "RAS, origin 0": {"codes": "RAS", "origin": (0.0, 0.0, 0.0)},
    "SLA": {"codes": "SLA"},
    ".nii": {"end": ".nii"},
    "float mask": {"mask_type": np.float32},
    "uint16": {"image_type": np.uint16, "mask_type": np.uint16},
    "int16 mask": {"image_type": np.float32, "mask_type": np.int16},
}


def make(fakes, layout, root, cases, **changes):
    """Write a fake copy; return {case number: case id}."""
    if layout == "brats2015":
        pytest.importorskip("SimpleITK")
    root.mkdir(exist_ok=True)
    return getattr(fakes, layout).make(root, cases, replace(fakes.common.PLAIN, **changes))


def load(root, case_id, size=16, options=None):
    dataset = Scans(size, root, options=options)
    (case,) = (c for c in dataset.cases() if c.id == case_id)
    return dataset.load(case)


def fingerprint(dataset, index):
    paths = [path for case in dataset.cases() for path in case.files.values()]
    return dataset.fingerprint(file_hashes(paths, index))


@pytest.fixture(scope="module")
def reference(fakes, tmp_path_factory):
    """Case 2 of every layout, as BraTS 2020 gives it: FLAIR, and all modalities."""
    root = tmp_path_factory.mktemp("reference")
    names = make(fakes, "brats2020", root, fakes.common.make_cases(2, 2))
    return load(root, names[2]), load(root, names[2], options=ALL)


@pytest.mark.parametrize("layout", EVERY)
def test_the_same_case_is_the_same_tensor_in_every_layout(fakes, reference, layout, tmp_path):
    names = make(fakes, layout, tmp_path / "data", fakes.common.make_cases(2, 2))
    for expected, options in zip(reference, ({}, ALL), strict=True):
        loaded = load(tmp_path / "data", names[2], options=options)
        assert loaded.volume.tobytes() == expected.volume.tobytes()
        assert loaded.mask.tobytes() == expected.mask.tobytes()
        assert loaded.facts == expected.facts


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("layout", ["brats2020", "msd"])
def test_the_same_case_is_the_same_tensor_in_every_storage(
    fakes, reference, layout, storage, tmp_path
):
    if layout == "msd" and storage == ".nii":
        pytest.skip("the Decathlon has compressed files only")
    names = make(fakes, layout, tmp_path, fakes.common.make_cases(2, 2), **STORAGES[storage])
    loaded = load(tmp_path, names[2], options=ALL)
    assert loaded.volume.tobytes() == reference[1].volume.tobytes()
    assert loaded.mask.tobytes() == reference[1].mask.tobytes()


def test_another_case_is_another_tensor(fakes, reference, tmp_path):
    names = make(fakes, "bids", tmp_path, fakes.common.make_cases(2, 2))
    assert load(tmp_path, names[1]).volume.tobytes() != reference[0].volume.tobytes()


def test_slope_and_intercept_of_each_file_are_applied(fakes, reference, tmp_path):
    names = make(fakes, "manifest", tmp_path, fakes.common.make_cases(2, 2))
    path = tmp_path / "scans" / "2-flair.nii.gz"
    image = nib.load(path)
    halved = nib.Nifti1Image((np.asarray(image.dataobj) - 10) * 2, image.affine)
    raw = bytearray(halved.to_bytes())
    raw[112:120] = np.array([0.5, 10], dtype="<f4").tobytes()
    path.unlink()
    path.with_suffix("").write_bytes(bytes(raw))  # .nii
    table = tmp_path / "manifest.csv"
    table.write_text(table.read_text().replace("2-flair.nii.gz", "2-flair.nii"))
    assert load(tmp_path, names[2]).volume.tobytes() == reference[0].volume.tobytes()


@pytest.mark.parametrize("layout", EVERY)
def test_labels_are_translated_by_layout(fakes, layout, tmp_path):
    cases = fakes.common.make_cases(2, 2)
    names = make(fakes, layout, tmp_path, cases)
    dataset = Scans(16, tmp_path)
    (case,) = (c for c in dataset.cases() if c.id == names[2])
    scan = read_scan(case, ["flair"], dataset.listed.layout, dataset.labels)
    expected = cases[1].labels.T
    if layout in ("bids", "manifest", "folders"):  # nothing there says which label is which
        expected = (expected > 0).astype(np.uint8)
    assert np.array_equal(scan.labels, expected)


def test_the_meaning_of_labels_can_be_named_where_the_layout_has_none(fakes, tmp_path):
    cases = fakes.common.make_cases(2, 2)
    make(fakes, "manifest", tmp_path, cases)
    dataset = Scans(16, tmp_path, options={"labels": "brats2023"})
    scan = read_scan(dataset.cases()[0], ["flair"], dataset.listed.layout, dataset.labels)
    assert np.array_equal(scan.labels, cases[0].labels.T)


def test_label_4_is_tumour_until_2021_and_a_cavity_in_2024(fakes, tmp_path):
    cases = fakes.common.make_cases(2, 2)
    cavity = [replace(c, labels=np.where(c.labels == 3, 4, c.labels)) for c in cases]
    new = make(fakes, "brats2024", tmp_path / "new", cavity)
    old = make(fakes, "brats2021", tmp_path / "old", cases)
    with_four = load(tmp_path / "old", old[1]).facts["mask_voxels"]
    assert load(tmp_path / "new", new[1]).facts["mask_voxels"] == with_four - 1
    make(fakes, "brats2023", tmp_path / "2023", cases)
    mask = next((tmp_path / "2023").rglob("*00001-000-seg.nii.gz"))
    fakes.common.PLAIN.save_mask(mask, cavity[0].labels, {1: 1, 2: 2, 4: 4})
    with pytest.raises(DatasetError, match=r"holds label 4; this layout knows 0, 1, 2, 3"):
        load(tmp_path / "2023", "BraTS-GLI-00001-000")


@pytest.mark.parametrize("layout", EVERY)
def test_every_layout_is_recognised_and_listed_whole(fakes, layout, tmp_path):
    cases = fakes.common.make_cases(3, 3)
    names = make(fakes, layout, tmp_path, cases)
    dataset = Scans(16, tmp_path)
    assert dataset.listed.layout.name == layout
    assert {c.id for c in dataset.cases()} == set(names.values())
    if layout in GRADED:
        labels = {c.id: dataset.info.classes[c.label] for c in dataset.cases()}
        assert labels == {names[c.number]: c.grade for c in cases}
    else:
        assert dataset.info.classes == ("glioma",)
    errors = [f for f in dataset.check().findings if f.severity == "error"]
    assert errors == []
    strays = [f.case for f in dataset.listed.findings if "belongs to no case" in f.message]
    assert strays == []


def test_labels_csv_gives_grades_to_layouts_without(fakes, tmp_path):
    names = make(fakes, "msd", tmp_path, fakes.common.make_cases(2, 2))
    table = tmp_path / "labels.csv"
    rows = [f"{names[n]},{'LGG' if n < 3 else 'HGG'},P{n // 2}" for n in names]
    table.write_text("\n".join(["case_id,label,patient_id", *rows, "BRATS_999,LGG,P9"]) + "\n")
    dataset = Scans(16, tmp_path)
    assert dataset.info.classes == ("LGG", "HGG")
    assert [(c.label, c.patient) for c in dataset.cases()] == [
        (0, "P0"), (0, "P1"), (1, "P1"), (1, "P2"),
    ]  # fmt: skip
    assert [f.case for f in dataset.listed.findings] == ["BRATS_999"]


def test_time_points_of_a_patient_are_one_patient(fakes, tmp_path):
    fakes.brats2023.make(tmp_path, fakes.common.make_cases(4, 4), pairs=True)
    dataset = Scans(16, tmp_path)
    patients = {c.id: c.patient for c in dataset.cases()}
    assert patients["BraTS-GLI-00000-001"] == patients["BraTS-GLI-00000-000"] == "BraTS-GLI-00000"
    for seed in range(8):
        test = set(dataset.split(seed).test)
        for number in range(4):
            pair = {f"BraTS-GLI-{number:05d}-{point:03d}" for point in (0, 1)}
            assert len(pair & test) in (0, 2)


def test_2023_and_2024_are_told_apart_without_a_year_in_the_folder(fakes, tmp_path):
    cases = fakes.common.make_cases(1, 1)
    fakes.brats2023.make(tmp_path / "a", cases, folder="data")
    fakes.brats2024.make(tmp_path / "b", cases, folder="data")
    assert Scans(16, tmp_path / "a").listed.layout.name == "brats2023"
    assert Scans(16, tmp_path / "b").listed.layout.name == "brats2024"


def test_subset_brats2019_keeps_what_2019_had_and_says_what_it_left_out(fakes, tmp_path):
    fakes.brats2020.make(tmp_path, fakes.common.make_cases(3, 3), new=(5,))
    dataset = Scans(16, tmp_path, options={"subset": "brats2019"})
    assert [c.id[-3:] for c in dataset.cases()] == ["001", "002", "003", "004", "006"]
    assert "1 case without a 2019 id" in dataset.listed.findings[0].message
    make(fakes, "bids", tmp_path / "b", fakes.common.make_cases(1, 1))
    with pytest.raises(DatasetError, match="Leave it out"):
        Scans(16, tmp_path / "b", options={"subset": "brats2019"})


def test_a_manifest_may_be_given_itself_and_be_tab_separated(fakes, tmp_path):
    cases = fakes.common.make_cases(1, 1)
    fakes.manifest.make(tmp_path, cases, separator="\t")
    assert len(Scans(16, tmp_path / "manifest.tsv").cases()) == 2


def test_class_folders_may_hold_a_folder_per_case(fakes, tmp_path):
    fakes.folders.make(tmp_path, fakes.common.make_cases(2, 1), by_case=True)
    assert [c.id for c in Scans(16, tmp_path).cases()] == ["case1", "case2", "case3"]


def test_class_folders_seen_from_above_are_not_misread(fakes, tmp_path):
    fakes.folders.make(tmp_path / "data", fakes.common.make_cases(2, 2))
    with pytest.raises(DatasetError, match="Give the folder that holds the class folders"):
        Scans(16, tmp_path).cases()


def test_sessions_of_a_participant_are_cases_of_one_patient(fakes, tmp_path):
    fakes.bids.make(tmp_path, fakes.common.make_cases(1, 1), session="ses-01")
    assert [(c.id, c.patient) for c in Scans(16, tmp_path).cases()] == [
        ("sub-0001_ses-01", "sub-0001"),
        ("sub-0002_ses-01", "sub-0002"),
    ]


@pytest.mark.parametrize(
    "others", [("brats2019", "brats2020"), ("msd", "bids"), ("brats2021", "manifest")]
)
def test_two_layouts_are_an_error_unless_one_is_chosen(fakes, others, tmp_path):
    for layout in others:
        make(fakes, layout, tmp_path, fakes.common.make_cases(1, 1))
    with pytest.raises(DatasetError, match=rf"layout={others[0]} or layout={others[1]}"):
        Scans(16, tmp_path)
    for layout in others:
        assert len(Scans(16, tmp_path, options={"layout": layout}).cases()) == 2


def test_an_unknown_folder_says_what_is_known(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DatasetNotFound, match=r"BIDS: sub-\*/anat/") as error:
        Scans(16, tmp_path)
    assert "BraTS 2019: HGG/ and LGG/" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "flair,pd"}, "no modality 'pd'"),
        ({"modalities": "t1,t1"}, "each name once"),
        ({"recipe": "head"}, "no recipe 'head'. Known: roi, brain"),
        ({"recipe": "brain", "wide": "shrink"}, "no option 'wide'"),
        ({"wide": "squeeze"}, "expected one of crop, shrink, reject"),
        ({"percentile": 20}, "a number from 50 to 100"),
        ({"crop": 4}, "from 16 to 256"),
        ({"layout": "brats1999"}, "no layout 'brats1999'"),
        ({"labels": "mine"}, "labels is 'mine'"),
        ({"colour": 1}, "no option 'colour'"),
    ],
)
def test_impossible_options_are_refused(fakes, options, message, tmp_path):
    make(fakes, "bids", tmp_path, fakes.common.make_cases(1, 1))
    with pytest.raises(DatasetError, match=message):
        Scans(16, tmp_path, options=options)


def test_channels_come_in_the_order_asked_for_and_are_scaled_each(fakes, tmp_path):
    names = make(fakes, "brats2023", tmp_path, fakes.common.make_cases(1, 1))
    both = load(tmp_path, names[1], options={"modalities": "t2,flair"})
    flair = load(tmp_path, names[1])
    assert both.volume.shape == (2, 16, 16, 16)
    assert np.array_equal(both.volume[1:], flair.volume)
    assert both.volume[0].max() == 1
    assert Scans(16, tmp_path, options={"modalities": ["t2", "flair"]}).info.channels == (
        "t2",
        "flair",
    )


def test_fingerprint_sees_modalities_recipe_options_and_the_meaning_of_labels(fakes, tmp_path):
    make(fakes, "brats2020", tmp_path / "data", fakes.common.make_cases(1, 1))
    variants = [
        {},
        {"modalities": "t1"},
        {"modalities": "t1,flair"},
        {"modalities": "flair,t1"},
        {"recipe": "brain"},
        {"percentile": 99.5},
        {"wide": "shrink"},
        {"crop": 120},
        {"labels": "brats2024"},
    ]
    seen = [
        fingerprint(Scans(16, tmp_path / "data", options=o), tmp_path / "i.json") for o in variants
    ]
    assert len(set(seen)) == len(variants)


# FLAIR; t1 and flair; the recipe brain. The first 16 digits, from version 0.1.0.
KNOWN = {
    "brats2018": ("c103188c1a44bcb4", "8cf53b9e2789e0fc", "c2b7efcc45ba45f6"),
    "brats2019": ("dc414da0a0b8cc7a", "be52c71251f00807", "eab8949ba6940557"),
    "brats2020": ("fdc847b63c622713", "a58dc3acc25063cf", "e9c3d19e3802c514"),
    "brats2021": ("f3d871795c53bc49", "c6caea36b07689be", "b072c2bf5691e535"),
    "brats2023": ("d0abc0a54ced605d", "7e32273c4b222566", "a2da01bcbd4f7493"),
    "brats2024": ("a6f234220c638630", "cdaf1e4f7e307f0e", "144514251e10f5bb"),
    "msd": ("897be8711800e60b", "9c369c5dec0babf5", "da306864aa66da35"),
    "bids": ("1056d24fbf29c74c", "d7a056dde0fddfec", "b76be09e67b74670"),
    "manifest": ("ba468a9f667b1cb0", "78071aa6bd3b4bc8", "b5ce6268d7a24206"),
    "folders": ("c4a4eab6b4ed5bf7", "3dccf4600712a230", "6f21d84fcc2d2a9c"),
    "brats2015": ("8c3038040d313ea6", "f4d21d5fc2355cd9", "e2b051be9d8e1386"),
}


@pytest.mark.parametrize("layout", EVERY)
def test_fingerprints_of_good_data_never_change(fakes, layout, tmp_path):
    make(fakes, layout, tmp_path, fakes.common.make_cases(2, 2))
    found = []
    for options in ({}, {"modalities": "t1,flair"}, {"recipe": "brain"}):
        dataset = Scans(16, tmp_path, options=options)
        files = [path for case in dataset.cases() for path in case.files.values()]
        names = {str(p): p.relative_to(tmp_path).as_posix() for p in files}
        hashes = {path: hashlib.sha256(name.encode()).hexdigest() for path, name in names.items()}
        found.append(dataset.fingerprint(hashes)[:16])
    assert tuple(found) == KNOWN[layout]


def test_the_name_of_run_and_cache_folders_follows_the_layout(fakes, tmp_path):
    make(fakes, "msd", tmp_path / "a", fakes.common.make_cases(1, 1))
    make(fakes, "brats2021", tmp_path / "b", fakes.common.make_cases(1, 1))
    assert Scans(16, tmp_path / "a").info.name == "msd"
    assert Scans(16, tmp_path / "b").info.name == "brats"
