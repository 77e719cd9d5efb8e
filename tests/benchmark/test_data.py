"""The data commands as users type them, and runs that bad data stop before training."""

import csv
import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cerebench.benchmark.planning.source import parse_options
from cerebench.core.errors import UsageError
from cerebench.datasets.scans.volumes import read_nifti, write_nifti

sys.path.append(str(Path(__file__).parents[1] / "datasets" / "fakes"))
common = importlib.import_module("fake_common")
brats2020 = importlib.import_module("fake_brats2020")
defects = importlib.import_module("fake_defects")

TRAIN = ("--methods", "wgan-gp", "--preset", "smoke", "--size", "16", "--metrics", "mmd2-kwon")


@pytest.fixture
def root(tmp_path):
    """Four LGG and four HGG in the layout of BraTS 2020."""
    brats2020.make(tmp_path / "data", common.make_cases(4, 4))
    return tmp_path / "data"


def run_on(bench, root, *more):
    return bench("run", "tiny.toml", *TRAIN, "--dataset", "brats", "--data-root", str(root), *more)


def trained(bench):
    return [*bench.folder.glob("runs/**/model.safetensors")]


def test_check_tells_layout_counts_modalities_split_and_recipe(bench, root):
    code, out, _ = bench("data", "check", str(root), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["layout"]["name"] == "brats2020"
    assert found["counts"] == {"LGG": 4, "HGG": 4}
    assert found["modalities"] == dict.fromkeys(["flair", "t1", "t1ce", "t2", "seg"], 8)
    assert found["split"] == {"train": {"LGG": 3, "HGG": 3}, "test": {"LGG": 1, "HGG": 1}}
    assert found["recipe"]["id"].startswith(
        "roi-v1(order=crop-average-scale,crop=128,percentile=none,wide=crop)@"
    )
    assert found["cache_mib"] == 0.8
    assert found["prepare_seconds"] >= 0


@pytest.mark.parametrize("width", [80, 120])
def test_check_fits_the_terminal_and_names_what_is_wrong(bench, tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    defects.make(tmp_path / "broken")
    code, out, _ = bench("data", "check", str(tmp_path / "broken"), "--size", "16")
    assert code == 3
    assert max(map(len, out.splitlines())) <= width
    flat = re.sub(r"\s+", " ", out)
    for planted in defects.DEFECTS:
        assert planted.case in flat, planted.name
    assert "15 errors, " in flat


def test_check_names_the_cases_that_lack_a_modality(bench, root):
    next(root.rglob("*_003_t2.nii.gz")).unlink()
    _, out, _ = bench("data", "check", str(root))
    assert "without t2: BraTS20_Training_003" in out


def test_a_run_on_fifteen_defects_stops_before_training(bench, tmp_path):
    defects.make(tmp_path / "broken")
    code, _, err = run_on(bench, tmp_path / "broken")
    assert code == 3
    assert "patient-24: flair is missing" in err
    assert not trained(bench)


def with_label_7(flair, seg):
    return flair, np.where(seg == 1, 7, seg)


def with_nan(flair, seg):
    flair = flair.astype(np.float32)
    flair.flat[0] = np.nan
    return flair, seg


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_label_7, "holds label 7"),
        (with_nan, "holds 1 NaN"),
        (lambda flair, seg: (flair, seg * 0), "segmentation is empty"),
        (lambda flair, seg: (flair, seg[:-1]), "must be equal"),
        (lambda flair, seg: (flair * 0 + 5, seg), "FLAIR is 5 in the whole tumour"),
    ],
)
def test_a_defect_that_only_shows_in_the_voxels_stops_a_run_before_training(
    bench, root, change, message
):
    paths = [next(root.rglob(f"*_002_{kind}.nii.gz")) for kind in ("flair", "seg")]
    images = [nib.load(path) for path in paths]
    changed = change(*(np.asarray(image.dataobj) for image in images))
    for path, image, array in zip(paths, images, changed, strict=True):
        nib.save(nib.Nifti1Image(array, image.affine), path)
    code, _, err = run_on(bench, root)
    assert code == 3
    assert "BraTS20_Training_002" in err
    assert message in err
    assert not trained(bench)


def test_the_same_scan_under_two_ids_stops_a_run_before_training(bench, root):
    for kind in ("flair", "seg"):
        source = next(root.rglob(f"*_002_{kind}.nii.gz"))
        next(root.rglob(f"*_007_{kind}.nii.gz")).write_bytes(source.read_bytes())
    code, _, err = run_on(bench, root)
    assert code == 3
    assert "BraTS20_Training_002: has the same voxels as BraTS20_Training_007" in err
    assert not trained(bench)


def test_prepare_prints_fingerprint_and_split_and_the_second_call_finds_the_cache(bench, root):
    code, out, _ = bench("data", "prepare", str(root), "--size", "16", "--json")
    made = json.loads(out)
    assert code == 0
    assert made["cases"] == 8
    assert Path(made["folder"]).name == f"brats-16-{made['fingerprint'][:16]}"
    rows = [*csv.DictReader(Path(made["split"]).read_text().splitlines())]
    assert sum(row["role"] == "test" for row in rows) == 2
    assert json.loads(bench("data", "prepare", str(root), "--size", "16", "--json")[1]) == made
    plain = bench("data", "prepare", str(root), "--size", "16")[1]
    assert f"fingerprint {made['fingerprint']}" in plain


def test_export_writes_volumes_masks_tables_and_split(bench, root, tmp_path):
    options = ("--size", "16", "--data", "modalities=t1,t1ce")
    code, _, _ = bench("data", "export", "out", str(root), *options)
    assert code == 0
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir() if p.is_file()) == [
        ".bidsignore",
        "README",
        "dataset_description.json",
        "participants.json",
        "participants.tsv",
        "split.csv",
    ]
    subject = "sub-BraTS20Training001"
    names = ["ce-gadolinium_space-roi_T1w", "space-roi_T1w", "space-roi_desc-tumor_mask"]
    expected = {f"{subject}_{name}{end}" for name in names for end in (".nii.gz", ".json")}
    assert {p.name for p in (out / subject / "anat").iterdir()} == expected
    told = json.loads((out / "dataset_description.json").read_text())
    assert told["DatasetType"] == "derivative"
    assert told["Channels"] == ["t1", "t1ce"]
    rows = [*csv.DictReader((out / "participants.tsv").read_text().splitlines(), delimiter="\t")]
    assert {row["role"] for row in rows} == {"train", "test"}
    made = json.loads(bench("data", "prepare", str(root), *options, "--json")[1])
    volumes = np.load(Path(made["folder"]) / "volumes.npy")
    for index, name in ((0, names[1]), (1, names[0])):
        path = out / subject / "anat" / f"{subject}_{name}.nii.gz"
        assert np.array_equal(read_nifti(path)[0], volumes[0, index].astype(np.float32))
        image = nib.load(path)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (2, 2)
    assert bench("data", "export", "out", str(root))[0] == 3  # not empty


def test_a_published_split_is_used_recorded_and_checked(bench, root, tmp_path):
    made = json.loads(bench("data", "prepare", str(root), "--size", "16", "--json")[1])
    text = Path(made["split"]).read_text()
    ids = [line.split(",")[0] for line in text.splitlines()[1:]]
    rows = [f"{c},,{'test' if i in (0, 1, 6, 7) else 'train'},0" for i, c in enumerate(ids)]
    mine = tmp_path / "mine.csv"
    mine.write_text("\n".join(["case_id,patient_id,role,fold", *rows]) + "\n")
    found = json.loads(bench("data", "check", str(root), "--split", str(mine), "--json")[1])
    assert found["split"]["test"] == {"LGG": 2, "HGG": 2}
    assert found["split_sha256"] != made["split_sha256"]
    mine.write_text(mine.read_text() + "BraTS20_Training_099,,test,0\n")
    code, _, err = run_on(bench, root, "--split", str(mine))
    assert code == 3
    assert "BraTS20_Training_099 not in the data" in err


@pytest.fixture
def samples(tmp_path):
    """Somebody's samples at 16 voxels, in class folders."""
    rng = np.random.default_rng(0)
    for name in ("LGG", "HGG"):
        (tmp_path / "samples" / name).mkdir(parents=True)
        for i in range(10):
            volume = rng.uniform(-1, 1, (16, 16, 16)).astype(np.float32)
            write_nifti(tmp_path / "samples" / name / f"{i}.nii.gz", volume, (8.0, 8.0, 8.0))
    return tmp_path / "samples"


def test_samples_of_a_generator_that_saw_test_cases_are_refused_or_mark_every_table(
    bench, root, samples
):
    split = json.loads(bench("data", "prepare", str(root), "--size", "16", "--json")[1])["split"]
    test = [
        row for row in csv.DictReader(Path(split).read_text().splitlines()) if row["role"] == "test"
    ]
    training = samples / "training_cases.tsv"
    training.write_text(f"case_id\tpatient_id\nother\t{test[0]['patient_id']}\n")
    ask = ("--methods", "none", "--samples", f"mine={samples}", "--n", "4")
    code, _, err = run_on(bench, root, *ask)
    assert code == 3
    assert f"trained on 1 test cases of this split: {test[0]['case_id']}" in err
    code, out, _ = run_on(bench, root, *ask, "--allow-leakage")
    assert code == 0
    assert "leakage allowed: mine was trained on 1 test cases" in re.sub(r"\s+", " ", out)
    table = next(bench.folder.glob("runs/*/experiment-*.json"))
    entry = json.loads(table.read_text())["dataset"]
    assert (table.parent / entry["split"]["file"]).read_text() == Path(split).read_text()
    assert entry["recipe"]["sha256"]
    training.write_text("case_id\tpatient_id\nother\tsomebody\n")
    assert run_on(bench, root, *ask)[0] == 0


def test_options_are_toml_values_or_texts():
    texts = ["modalities=t1,flair", "percentile=99.5", "crop=120", 'recipe="brain"']
    assert parse_options(texts) == {
        "modalities": "t1,flair",
        "percentile": 99.5,
        "crop": 120,
        "recipe": "brain",
    }
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_options(["modalities"])


def test_an_unknown_option_of_a_dataset_is_refused(bench, root):
    code, _, err = bench("data", "check", str(root), "--data", "colour=red")
    assert code == 2
    assert "no option 'colour'. Options: modalities, recipe" in err


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_said_of_several_cases_alike_is_one_row(bench, root, count):
    for path in sorted(root.rglob("*_flair.nii.gz"))[:count]:
        path.write_bytes(b"<html>log in</html>")
    _, out, _ = bench("data", "check", str(root), "--size", "16")
    flat = re.sub(r"\s+", " ", out)
    assert f"{count} error{'s' * (count > 1)}, " in flat
    assert flat.count("is a web page saved under this name") == 1


def test_links_out_of_the_data_are_named_with_where_they_lead(bench, tmp_path, root):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked").symlink_to(root, target_is_directory=True)
    code, _, err = bench("data", "check", str(elsewhere))
    assert code == 3
    assert "1 link out of it, not followed: linked to" in err
    assert "cp -rL" in err


@pytest.mark.parametrize("method", ["wgan-gp", "med-ddpm-mask"])
def test_what_leaves_the_store_names_no_patient_and_another_lab_can_check_it(bench, root, method):
    code, _, err = run_on(
        bench, root, "--methods", method, "--n", "4", "--metrics", "mmd2-kwon", "--preset", "smoke"
    )
    assert code == 0, err
    (samples,) = bench.folder.glob("runs/*/*-smoke-*/seed-0/sample")
    split = next(bench.folder.glob("runs/*/split-*.csv")).read_text()
    rows = list(csv.DictReader(split.splitlines()))
    names = {row[column] for row in rows for column in ("case_id", "patient_id")}
    written = [path for path in samples.rglob("*") if path.suffix in (".tsv", ".json", "")]
    texts = "".join(path.read_text() for path in written if path.is_file())
    assert not [name for name in names if name in texts]

    shared = bench.folder / "shared"
    shutil.copytree(samples, shared, ignore=shutil.ignore_patterns("record.json"))
    swapped = split.replace(",train,", ",x,").replace(",test,", ",train,").replace(",x,", ",test,")
    (bench.folder / "swapped.csv").write_text(swapped)
    code, _, err = run_on(
        bench, root, "--methods", "none", "--samples", "mine=shared", "--split", "swapped.csv"
    )
    trained = sorted(row["case_id"] for row in rows if row["role"] == "train")
    assert code == 3
    assert f"trained on {len(trained)} test cases of this split: {trained[0]}" in err
