"""``--skip-bad`` leaves out what cannot be used, says so everywhere, and hides nothing else."""

import csv
import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning.experiment import Experiment
from cerebench.benchmark.planning.plan import make_plan
from cerebench.datasets.base import DatasetError
from cerebench.datasets.cache import prepare
from cerebench.datasets.scans.dataset import Scans
from cerebench.datasets.scans.volumes import write_nifti

sys.path.append(str(Path(__file__).parents[1] / "datasets" / "fakes"))
common = importlib.import_module("fake_common")
LAYOUTS = ("brats2020", "bids", "manifest", "folders")
fakes = {name: importlib.import_module(f"fake_{name}") for name in LAYOUTS}


def make(root, layout="brats2020", count=4):
    """Write so many cases of each grade."""
    root.mkdir()
    fakes[layout].make(root, common.make_cases(count, count))
    return root


def case(root, number):
    """Return the case at a position, by id."""
    return sorted(Scans(16, root).listed.cases, key=lambda c: c.id)[number]


def save(path, change):
    image = nib.load(path)
    array = np.asarray(image.dataobj).copy()
    nib.save(nib.Nifti1Image(change(array), image.affine), path)


def no_mask(files):
    files["seg"].unlink()


def cut(files):
    files["flair"].write_bytes(files["flair"].read_bytes()[:-40])


def empty(files):
    files["seg"].write_bytes(b"")


def no_tumour(files):
    save(files["seg"], lambda seg: seg * 0)


def label_7(files):
    save(files["seg"], lambda seg: np.where(seg == 1, 7, seg).astype(np.uint8))


def not_a_number(files):
    save(files["flair"], lambda flair: np.where(flair == flair.max(), np.nan, flair * 1.0))


def constant(files):
    save(files["flair"], lambda flair: flair * 0 + 5)


def other_shape(files):
    save(files["seg"], lambda seg: seg[:-1])


def lost_header(files):
    image = nib.load(files["seg"])
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj).copy(), np.eye(4)), files["seg"])


def dangling(files):
    files["flair"].unlink()
    files["flair"].symlink_to("gone.nii.gz")


DEFECTS = {
    no_mask: "seg is missing",
    cut: "damaged or cut short",
    empty: "is empty. Copy or download it again",
    no_tumour: "the segmentation is empty",
    label_7: "holds label 7",
    not_a_number: "NaN values",
    constant: "FLAIR is 5 in the whole tumour",
    other_shape: "must be equal",
    lost_header: "is stored RAS (identity affine)",
    dangling: "flair is missing",
}


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("layout", ["brats2020", "bids"])
def test_a_bad_case_is_left_out_and_the_others_are_what_they_were(tmp_path, layout, defect):
    root = make(tmp_path / "data", layout)
    whole = Scans(16, root)
    kept = [c.id for c in whole.cases()]
    bad = case(root, 2)
    defect(bad.files)
    kept.remove(bad.id)
    dataset = Scans(16, root)
    dataset.leave_out_bad(tmp_path / "cache", workers=1)
    assert [c.id for c in dataset.cases()] == kept
    assert [*dataset.left_out.cases] == [bad.id]
    assert DEFECTS[defect] in " ".join(dataset.left_out.cases[bad.id])
    assert str(root) not in " ".join(dataset.left_out.lines)
    assert dataset.left_out.total == 8
    assert dataset.load(dataset.cases()[0]).volume.tobytes() == (
        whole.load(whole.cases()[0]).volume.tobytes()
    )
    with pytest.raises(DatasetError):  # without being asked, nothing is left out
        prepare(Scans(16, root), tmp_path / "cache", workers=1)


def key(dataset):
    """Return the fingerprint, with a hash of its path for each file."""
    files = [path for case in dataset.cases() for path in case.files.values()]
    return dataset.fingerprint({str(path): path.name for path in files})


def test_the_fingerprint_is_neither_that_of_the_complete_nor_that_of_a_smaller_set(tmp_path):
    root = make(tmp_path / "data")
    complete = key(Scans(16, root))
    files = case(root, 2).files
    mask = files["seg"].read_bytes()
    no_mask(files)
    short = [Scans(16, root) for _ in range(2)]
    for dataset in short:
        dataset.leave_out_bad(tmp_path / "cache", workers=1)
    assert key(short[0]) == key(short[1]) != complete
    files["seg"].write_bytes(mask)
    repaired = Scans(16, root)
    repaired.leave_out_bad(tmp_path / "cache", workers=1)
    assert repaired.left_out is None
    assert key(repaired) == complete  # the option alone changes nothing
    for path in files.values():
        path.unlink()
    files["flair"].parent.rmdir()
    assert key(Scans(16, root)) not in (complete, key(short[0]))


def test_of_two_equal_scans_nobody_knows_which_is_right(tmp_path):
    root = make(tmp_path / "data")
    for name in ("flair", "seg"):
        case(root, 6).files[name].write_bytes(case(root, 1).files[name].read_bytes())
    dataset = Scans(16, root)
    dataset.leave_out_bad(tmp_path / "cache", workers=1)
    twins = [case(root, 1).id, case(root, 6).id]
    assert dataset.left_out.cases == {
        twins[0]: (f"has the same FLAIR as {twins[1]}",),
        twins[1]: (f"has the same FLAIR as {twins[0]}",),
    }
    no_tumour(case(root, 6).files)  # now it is bad by itself, and the other one is no twin
    dataset = Scans(16, root)
    dataset.leave_out_bad(tmp_path / "cache", workers=1)
    assert [*dataset.left_out.cases] == [twins[1]]


def test_what_was_seen_is_remembered_by_content_and_not_by_place(tmp_path):
    root = make(tmp_path / "data")
    no_tumour(case(root, 2).files)
    seen = []

    def look(place):
        dataset, looked = Scans(16, place), []
        dataset.leave_out_bad(tmp_path / "cache", lambda *n: looked.append(n), workers=1)
        seen.append(len(looked))
        return dataset.left_out

    first = look(root)
    assert look(root) == first
    root.rename(tmp_path / "moved")
    assert look(tmp_path / "moved") == first
    save(case(tmp_path / "moved", 5).files["flair"], lambda flair: flair[::-1])
    assert look(tmp_path / "moved") == first
    no_tumour(case(tmp_path / "moved", 5).files)
    assert len(look(tmp_path / "moved").cases) == 2
    for damaged in (tmp_path / "cache" / "examined").iterdir():
        damaged.write_text('{"x": {"findings": 3}}')
    assert len(look(tmp_path / "moved").cases) == 2
    assert seen == [8, 0, 0, 1, 1, 8]


def test_a_manifest_that_is_given_itself_gives_the_same_reasons_as_its_folder(tmp_path):
    root = make(tmp_path / "data", "manifest")
    no_mask(case(root, 2).files)
    cut(case(root, 3).files)
    told = []
    for place in (root, root / "manifest.csv"):
        dataset = Scans(16, place)
        dataset.leave_out_bad(tmp_path / "cache", workers=1)
        told.append(dataset.left_out)
    assert told[0] == told[1]
    assert str(tmp_path) not in str(told[0])


def test_another_size_or_option_is_looked_at_anew(tmp_path):
    root = make(tmp_path / "data")
    for options in ({}, {"wide": "reject", "crop": 16}, {"recipe": "brain"}):
        dataset = Scans(16, root, options=options)
        dataset.leave_out_bad(tmp_path / "cache", workers=1)
        with_crop = "crop" in options
        assert bool(dataset.left_out) is False or with_crop
    assert len([*(tmp_path / "cache" / "examined").iterdir()]) == 3


def test_what_is_no_matter_of_a_case_is_not_left_out(tmp_path):
    root = make(tmp_path / "data")
    table = next(root.rglob("name_mapping.csv"))
    (root / "labels.csv").mkdir()  # a table that nobody can read
    with pytest.raises(DatasetError, match=r"labels\.csv is a folder, not a file"):
        Scans(16, root).leave_out_bad(tmp_path / "cache")
    (root / "labels.csv").rmdir()
    (root / "more").mkdir()
    (root / "more" / "odd.nii.gz").symlink_to("gone")
    dataset = Scans(16, root)
    dataset.leave_out_bad(tmp_path / "cache", workers=1)
    assert dataset.left_out.cases == {}
    assert [*dataset.left_out.others] == ["more/odd.nii.gz"]
    assert "0 of 8 cases and 1 other thing left out" in dataset.left_out.lines[0]
    assert key(dataset) != key(Scans(16, make(tmp_path / "same")))
    assert table.exists()


def test_a_plan_with_bad_cases_is_another_plan(tmp_path):
    root = make(tmp_path / "data")
    case(root, 2).files["seg"].unlink()
    asked = Experiment(
        "x", dataset="brats", data_root=str(root), size=16, methods=["wgan-gp"], preset="smoke",
        samples_per_class=10,
    )  # fmt: skip
    with pytest.raises(DatasetError, match="leave out the cases with --skip-bad"):
        make_plan(asked, Registries(), tmp_path / "runs", tmp_path / "cache")
    skipping = dataclasses.replace(asked, skip_bad=True)
    plan = make_plan(skipping, Registries(), tmp_path / "runs", tmp_path / "cache")
    real = plan.common.reference
    assert len(real.cases) == 7
    assert {*real.split.train, *real.split.test} == {c.id for c in real.cases}
    no_mask(case(root, 4).files)
    other = make_plan(skipping, Registries(), tmp_path / "runs", tmp_path / "cache")
    assert other.key != plan.key
    assert other.folder != plan.folder


# --- as users type it

RUN = ("--methods", "none", "--n", "4", "--size", "16", "--preset", "smoke")
SCORE = ("--metrics", "mmd2-kwon", "--dataset", "brats")


@pytest.fixture
def samples(tmp_path):
    """Somebody's samples at 16 voxels, in class folders."""
    rng = np.random.default_rng(0)
    for name in ("LGG", "HGG"):
        (tmp_path / "samples" / name).mkdir(parents=True)
        for i in range(4):
            volume = rng.uniform(-1, 1, (16, 16, 16)).astype(np.float32)
            write_nifti(tmp_path / "samples" / name / f"{i}.nii.gz", volume, (8.0, 8.0, 8.0))
    return tmp_path / "samples"


def flat(text):
    return re.sub(r"\s+", " ", text)


@pytest.mark.slow
def test_a_run_without_some_masks_names_each_and_every_table_counts_them(bench, tmp_path, samples):
    root = make(tmp_path / "data", count=6)
    bad = [case(root, number).id for number in (1, 3, 8)]
    for name, defect in zip(bad, (no_mask, no_mask, cut), strict=True):
        (one,) = (c for c in Scans(16, root).listed.cases if c.id == name)
        defect(one.files)
    ask = ("run", "tiny.toml", *RUN, *SCORE, "--samples", f"mine={samples}")
    ask += ("--data-root", str(root))
    code, _, err = bench(*ask)
    assert code == 3
    assert "--skip-bad" in err
    code, out, _ = bench(*ask, "--skip-bad")
    assert code == 0
    assert "3 of 12 cases left out (--skip-bad):" in out
    for name, reason in zip(bad, ("seg is missing", "seg is missing", "cut short"), strict=True):
        assert re.search(rf"{name}: .*{reason}", out)
    caption, note = "(3 of 12 cases left out as unusable)", "3 of 12 cases were left out because"
    assert caption in flat(out)
    assert note in flat(out)
    (toc,) = tmp_path.glob("runs/*/experiment-*.json")
    entry = json.loads(toc.read_text())["dataset"]
    assert [*entry["left_out"]["cases"]] == bad
    assert entry["counts"] == {"LGG": {"train": 3, "test": 1}, "HGG": {"train": 4, "test": 1}}
    (markdown,) = tmp_path.glob("runs/*/report/*/tiny.md")
    (table,) = tmp_path.glob("runs/*/report/*/tiny.tex")
    for text in (markdown.read_text(), table.read_text()):
        assert "3 of 12 cases left out as unusable" in flat(text)
        assert "3 of 12 cases were left out because" in flat(text)
    (tidy,) = tmp_path.glob("runs/*/report/*/tiny.csv")
    assert {row["left_out"] for row in csv.DictReader(tidy.open())} == {"3 of 12 cases"}
    for text in (markdown.read_text(), table.read_text(), tidy.read_text()):
        assert not any(name in text for name in bad)  # tables name no case
    split = (toc.parent / entry["split"]["file"]).read_text()
    assert not any(name in split for name in bad)
    answer = json.loads(bench(*ask, "--skip-bad", "--json")[1])
    assert answer["done"] == 0
    assert [*answer["left_out"]["cases"]] == bad


def test_check_and_prepare_and_export_leave_out_the_same(bench, tmp_path):
    root = make(tmp_path / "data", "manifest")
    bad = [case(root, 1), case(root, 6)]
    no_mask(bad[0].files)
    no_tumour(bad[1].files)
    names = [c.id for c in bad]
    size = ("--size", "16")
    code, out, _ = bench("data", "check", str(root), *size, "--json")
    assert (code, json.loads(out)["counts"]) == (3, {"LGG": 3, "HGG": 4})
    code, out, _ = bench("data", "check", str(root), *size, "--skip-bad", "--json")
    told = json.loads(out)
    assert (code, told["counts"]) == (0, {"LGG": 3, "HGG": 3})
    assert [*told["left_out"]["cases"]] == names
    warned = {f["case"] for f in told["findings"] if f["message"].startswith("left out: ")}
    assert warned == set(names)
    code, out, _ = bench("data", "check", str(root), *size, "--skip-bad")
    assert (code, "left out 2 of 8 cases (--skip-bad)" in flat(out)) == (0, True)
    assert bench("data", "prepare", str(root), *size)[0] == 3
    code, out, _ = bench("data", "prepare", str(root), *size, "--skip-bad", "--json")
    made = json.loads(out)
    assert (code, made["cases"], [*made["left_out"]["cases"]]) == (0, 6, names)
    code, out, _ = bench("data", "export", "out", str(root), *size, "--skip-bad")
    assert (code, "2 of 8 cases left out" in out) == (0, True)
    rows = [*csv.DictReader((tmp_path / "out/participants.tsv").open(), delimiter="\t")]
    assert len(rows) == 6
    assert not {row["case_id"] for row in rows} & set(names)
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert about["LeftOut"] == {"Cases": 2, "Of": 8}


def test_a_published_split_of_the_complete_set_can_still_be_used(bench, tmp_path):
    root = make(tmp_path / "data")
    size = ("--size", "16")
    made = json.loads(bench("data", "prepare", str(root), *size, "--json")[1])
    bad = case(root, 1)
    no_mask(bad.files)
    ask = ("data", "check", str(root), *size, "--split", made["split"], "--skip-bad", "--json")
    code, out, _ = bench(*ask)
    found = json.loads(out)
    assert code == 0
    before = json.loads(Path(made["folder"], "cases.json").read_text())
    assert sum(found["counts"].values()) == len(before["cases"]) - 1


def test_a_class_that_falls_below_the_minimum_says_that_cases_were_left_out(bench, tmp_path):
    root = make(tmp_path / "data", count=3)
    for bad in (case(root, 0), case(root, 1)):
        no_mask(bad.files)
    code, out, _ = bench("data", "check", str(root), "--size", "16", "--skip-bad")
    assert code == 3
    assert "Class LGG has 1 patients" in flat(out)
    assert "2 of 6 cases were left out by --skip-bad" in flat(out)
    code, _, err = bench("data", "prepare", str(root), "--size", "16", "--skip-bad")
    assert (code, "2 of 6 cases were left out by --skip-bad" in err) == (3, True)


def test_nothing_remains_where_every_case_is_bad(bench, tmp_path):
    root = make(tmp_path / "data", count=2)
    for mask in root.rglob("*_seg.nii.gz"):
        mask.unlink()
    code, _, err = bench("data", "prepare", str(root), "--size", "16", "--skip-bad")
    assert code == 3
    assert "holds no case that can be used. 4 of 4 cases left out" in err


def test_a_dataset_that_cannot_leave_out_cases_says_so(bench):
    code, _, err = bench("run", "tiny.toml", "--skip-bad", "--dry-run")
    assert code == 3
    assert "The dataset phantom cannot leave out cases. Run without --skip-bad." in err


def test_an_experiment_may_ask_for_it(bench, tmp_path):
    root = make(tmp_path / "data", count=3)
    no_mask(case(root, 1).files)
    text = (tmp_path / "tiny.toml").read_text().split("[split]")[0]
    text = text.replace('"phantom"', f'"brats"\ndata_root = "{root}"\nskip_bad = true')
    (tmp_path / "mine.toml").write_text(text)
    code, out, _ = bench("run", "mine.toml", "--dry-run")
    assert (code, "1 of 6 cases left out" in out) == (0, True)


def test_rows_of_labels_without_a_case_are_told_by_a_run_too(bench, tmp_path):
    fake = importlib.import_module("fake_brats2021")
    (tmp_path / "data").mkdir()
    names = fake.make(tmp_path / "data", common.make_cases(4, 4))
    rows = [f"{names[n]},{'LGG' if n < 5 else 'HGG'}" for n in names]
    rows += [f"somebody{i},LGG" for i in range(7)] + [rows[0]]
    (tmp_path / "data" / "labels.csv").write_text("\n".join(["case_id,label", *rows]) + "\n")
    ask = ("run", "tiny.toml", "--dataset", "brats", "--data-root", str(tmp_path / "data"))
    code, out, _ = bench(*ask, "--dry-run")
    assert code == 0
    start = "somebody0, somebody1, somebody2, somebody3, somebody4 and 2 more: is in labels.csv"
    assert start in flat(out)
    assert f"{names[1]}: is twice in labels.csv (lines 2 and 17), alike" in flat(out)


@pytest.mark.parametrize("command", ["run", "check", "prepare", "export"])
def test_every_command_on_data_takes_the_options_for_headers(bench, tmp_path, command):
    root = make(tmp_path / "data", count=3)
    lost_header(case(root, 1).files)
    at = {"run": ("run", "tiny.toml", "--dataset", "brats", "--data-root", str(root), *RUN)}
    place = ("out", str(root)) if command == "export" else (str(root),)
    ask = at.get(command, ("data", command, *place, "--size", "16"))
    if command == "run":
        ask = (*ask, "--methods", "wgan-gp", "--metrics", "mmd2-kwon")
    code, out, err = bench(*ask)
    assert code == 3
    assert "is stored RAS (identity affine)" in flat(out + err)
    code, _, err = bench(*ask, "--same-axes", "--trust-headers")
    assert (code, "exclude each other" in err) == (2, True)
    assert bench(*ask, "--same-axes")[0] == 0
    if command == "run":
        tocs = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/experiment-*.json")]
        settings = [toc["dataset"]["recipe"]["settings"].get("headers") for toc in tocs]
        assert sorted(settings, key=str) == [None, "image"]  # the refused one has a folder, too
        out = bench("report")[1]
        assert "the header of a case's first image was taken for all its files" in flat(out)
