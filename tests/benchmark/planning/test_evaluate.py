"""Folders against folders: layouts, every defect named, roles, resume, equal numbers."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cerebench.benchmark.planning.foreign import row_names
from cerebench.core.errors import UsageError
from cerebench.datasets.scans.volumes import write_nifti

QUICK = ("--metrics", "mmd2-linear,fd-radlite-v1,foreground-volume", "--floor-only")


def blob(seed, size=16, shift=0.0):
    """A smooth object on background -1."""
    rng = np.random.RandomState(seed)
    field = gaussian_filter(rng.standard_normal((size,) * 3), 1.5)
    z = np.linspace(-1, 1, size)
    inside = z[:, None, None] ** 2 + z[:, None] ** 2 + z**2 < 0.4 + 0.3 * rng.rand()
    return np.where(inside, np.clip(3 * field + shift, -0.9, 0.9), -1).astype(np.float32)


def fill(folder, count, seed=0, size=16, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        write_nifti(folder / f"v{i:02d}.nii.gz", blob(seed + i, size, **options), (2.0, 2.0, 2.0))
    return folder


def records(root, metric):
    return {
        json.loads(p.read_text())["key"]: p for p in root.rglob(f"{metric}@*.json")
    }  # fmt: skip


def rows(root, metric, place):
    (path,) = (p for p in records(root, metric).values() if place in p.as_posix())
    return json.loads(path.read_text())["rows"]


def test_two_plain_folders_give_a_table_and_a_second_run_scores_nothing(bench):
    fill(bench.folder / "real", 8)
    fill(bench.folder / "mine", 8, seed=100)
    code, out, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 0, err
    assert "mine against real" in out
    assert "16³ voxels of 2 mm" in out
    assert "real, half vs half" in out
    assert "preset" not in out
    assert "training" not in out.split("↓ lower")[0]  # no column that nothing can fill
    assert "mine · score" in err
    before = {p: p.read_bytes() for p in (bench.folder / "runs").rglob("*@*.json")}
    code, _, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 0
    assert "score" not in err
    assert before == {p: p.read_bytes() for p in (bench.folder / "runs").rglob("*@*.json")}


def test_numbers_are_those_of_the_metric_on_the_volumes(bench):
    from cerebench.metrics.voxel.mmd import mmd2_unbiased, voxel_sums

    fill(bench.folder / "real", 6)
    fill(bench.folder / "mine", 7, seed=100, shift=0.4)
    bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    (row,) = rows(bench.folder / "runs", "mmd2-linear", "mine-samples")
    sums = [
        voxel_sums([blob(first + i, shift=s)[None] for i in range(n)])
        for first, n, s in ((100, 7, 0.4), (0, 6, 0.0))
    ]
    assert row["value"] == pytest.approx(mmd2_unbiased(*sums) / 16**3, rel=1e-9)
    assert (row["n_real"], row["n_generated"]) == (6, 7)
    (volume,) = rows(bench.folder / "runs", "foreground-volume", "mine-samples")
    voxels = [np.count_nonzero(blob(i) > -0.96) for i in range(6)]
    assert volume["real_value"] == pytest.approx(np.mean(voxels) * 8 / 1000, rel=1e-6)


def test_names_and_places_of_the_files_do_not_change_a_key(bench):
    fill(bench.folder / "real", 6)
    fill(bench.folder / "mine", 6, seed=100)
    bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    keys = set(records(bench.folder / "runs", "mmd2-linear"))
    (bench.folder / "moved").mkdir()
    shutil.move(bench.folder / "real", bench.folder / "moved" / "real")
    shutil.move(bench.folder / "mine", bench.folder / "moved" / "mine")
    bench("evaluate", "--real", "moved/real", "--fake", "moved/mine", *QUICK)
    assert set(records(bench.folder / "runs", "mmd2-linear")) == keys


def test_stacks_of_volumes_give_the_numbers_of_the_same_volumes_as_files(bench):
    fill(bench.folder / "real", 6)
    fill(bench.folder / "mine", 6, seed=100)
    for name, first in (("real", 0), ("mine", 100)):
        np.save(bench.folder / f"{name}.npy", np.stack([blob(first + i) for i in range(6)]))
    np.savez(bench.folder / "mine.npz", np.load(bench.folder / "mine.npy")[:, None])
    scored = ("--metrics", "mmd2-linear", "--floor-only")
    assert bench("evaluate", "--real", "real", "--fake", "mine", *scored)[0] == 0
    stacks = ("--fake", "stack=mine.npy", "--fake", "packed=mine.npz")
    code, _, err = bench("evaluate", "--real", "real.npy", *stacks, *scored)
    assert code == 0, err
    assert "1 array of 6 volumes" in err
    found = []
    for name in ("mine", "stack", "packed"):
        (path,) = (bench.folder / "runs").rglob(f"{name}-samples-*/**/mmd2-linear@*.json")
        found.append(json.loads(path.read_text())["rows"][0]["value"])
    assert found[1] == found[2] == pytest.approx(found[0], rel=1e-12)


def test_an_array_beside_files_with_axes_needs_a_word(bench):
    fill(bench.folder / "real", 6)
    np.save(bench.folder / "mine.npy", np.stack([blob(100 + i) for i in range(6)]))
    command = ("evaluate", "--real", "real", "--fake", "mine.npy", *QUICK)
    code, _, err = bench(*command)
    assert code == 3
    assert "mine.npy[0] is stored RAS (no axes)" in err
    assert "Arrays have no header: they are taken as (z, y, x)" in err
    code, out, err = bench(*command, "--same-axes")
    assert code == 0, err
    assert "voxel size" not in out


def test_a_nifti_file_with_a_last_axis_of_one_is_a_volume(bench):
    for name, first in (("real", 0), ("mine", 100)):
        (bench.folder / name).mkdir()
        for i in range(6):
            values = blob(first + i).T[..., None, None]
            image = nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0]))
            nib.save(image, bench.folder / name / f"{i}.nii.gz")
    code, _, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 0, err


def test_faults_that_are_alike_are_one_line_with_a_count(bench):
    fill(bench.folder / "real", 60)
    fill(bench.folder / "mine", 48, seed=100, size=20)
    code, _, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 3
    told = " ".join(err.split())
    assert told.count("has shape (20, 20, 20)") == 1
    assert "The same of 47 others: v01.nii.gz, v02.nii.gz" in told


def spoil(folder):
    """Add one file of each kind of defect, and a stray; return the names of the defects."""
    fill(folder, 6, seed=50)
    good = (folder / "v00.nii.gz").read_bytes()
    (folder / "corrupt.nii.gz").write_bytes(good[: len(good) // 2])
    holed = blob(90)
    holed[3, 4, 5] = np.nan
    write_nifti(folder / "holes.nii.gz", holed, (2.0, 2.0, 2.0))
    write_nifti(folder / "large.nii.gz", blob(91, 20), (2.0, 2.0, 2.0))
    series = nib.Nifti1Image(np.zeros((16, 16, 16, 3), np.float32), np.eye(4))
    (folder / "series.nii.gz").write_bytes(gzip.compress(series.to_bytes()))
    (folder / "gone.nii.gz").symlink_to("/nowhere/gone.nii.gz")
    (folder / "notes.txt").write_text("not a volume")
    return ("corrupt.nii.gz", "holes.nii.gz", "large.nii.gz", "series.nii.gz", "gone.nii.gz")


def test_five_defects_are_all_named_and_nothing_is_scored(bench):
    fill(bench.folder / "real", 6)
    names = spoil(bench.folder / "mine")
    code, _, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 3
    assert "5 of 17 files cannot be used; nothing was scored" in err
    lines = err.split("--skip-bad:")[1].strip().splitlines()
    assert len(lines) == 5
    for name, reason in zip(
        names,
        ("cannot be read", "1 NaN", "(20, 20, 20)", "three axes", "leads nowhere"),
        strict=True,
    ):
        assert any(name in line and reason in line for line in lines), name
    assert not (bench.folder / "runs").exists()


def test_defects_are_left_out_when_told_to_and_the_table_says_so(bench):
    fill(bench.folder / "real", 6)
    spoil(bench.folder / "mine")
    code, out, _ = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK, "--skip-bad")
    assert code == 0
    told = " ".join(out.split())
    assert "5 of its 11 files were left out as unusable" in told
    assert "its files: 1 no NIfTI volume, not read: notes.txt" in told
    (row,) = rows(bench.folder / "runs", "mmd2-linear", "mine-samples")
    assert row["n_generated"] == 6


def test_other_sizes_are_resampled_on_request(bench):
    fill(bench.folder / "real", 5)
    fill(bench.folder / "mine", 5, seed=50, size=20)
    code, _, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 3
    assert "--resample" in err
    command = ("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    code, out, err = bench(*command, "--resample", "12,16,20")
    assert code == 0, err
    assert "12 × 16 × 20 voxels of 1.6–2–2.66667 mm" in out
    code, _, err = bench(*command, "--resample", "big")
    assert code == 2
    assert "--resample 64" in err


def test_classes_come_from_subfolders_or_from_a_table(bench):
    for name, seed in (("LGG", 0), ("HGG", 50)):
        fill(bench.folder / "real" / name, 5, seed=seed)
    table = ["participant_id\tclass"]
    for i in range(10):
        anat = bench.folder / "mine" / f"sub-{i:03d}" / "anat"
        anat.mkdir(parents=True)
        write_nifti(anat / f"sub-{i:03d}_FLAIR.nii.gz", blob(200 + i), (2.0, 2.0, 2.0))
        table.append(f"sub-{i:03d}\t{'lgg' if i < 5 else 'hgg'}")
    (bench.folder / "mine" / "participants.tsv").write_text("\n".join(table) + "\n")
    (bench.folder / "mine" / "dataset_description.json").write_text("{}")
    code, out, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 0, err
    found = rows(bench.folder / "runs", "mmd2-linear", "mine-samples")
    assert [r["class"] for r in found] == ["LGG", "HGG"]
    assert "LGG" in out


def test_missing_folders_and_other_classes_are_refused(bench):
    for command in (
        ("--real", "nowhere", "--fake", "mine"),
        ("--real", "mine", "--fake", "nowhere"),
    ):
        fill(bench.folder / "mine", 2)
        code, _, err = bench("evaluate", *command, *QUICK)
        assert (code, "No folder at nowhere" in err) == (3, True)
    shutil.rmtree(bench.folder / "mine")
    fill(bench.folder / "real" / "LGG", 4)
    fill(bench.folder / "mine" / "HGG", 4)
    code, _, err = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 3
    assert "mine holds the folder HGG/, which is none of the classes LGG" in err


def test_a_wrong_range_is_refused_with_the_option_that_helps(bench):
    fill(bench.folder / "real", 4)
    for i in range(4):
        (bench.folder / "unit").mkdir(exist_ok=True)
        (bench.folder / "raw").mkdir(exist_ok=True)
        unit = (blob(80 + i) + 1) / 2
        write_nifti(bench.folder / "unit" / f"{i}.nii.gz", unit, (2.0, 2.0, 2.0))
        write_nifti(bench.folder / "raw" / f"{i}.nii.gz", 1000 * unit, (2.0, 2.0, 2.0))
    code, _, err = bench("evaluate", "--real", "real", "--fake", "unit", *QUICK)
    assert code == 3
    assert "give --fake-range 0 1" in err
    code, _, err = bench("evaluate", "--real", "real", "--fake", "raw", *QUICK)
    assert code == 3
    assert "have values in [0, 889.092]" in err
    assert "--fake-range LOW HIGH" in err
    ranged = ("--fake", "unit", "--fake-range", "0", "1")
    code, _, err = bench("evaluate", "--real", "real", *ranged, *QUICK)
    assert code == 0, err


def test_overshoot_is_clipped_counted_and_told(bench):
    fill(bench.folder / "real", 4)
    (bench.folder / "mine").mkdir()
    for i in range(4):
        v = blob(80 + i)
        v[0, 0, :8] = 1.03  # 8 of 4096 voxels, 0.195 %
        write_nifti(bench.folder / "mine" / f"{i}.nii.gz", v, (2.0, 2.0, 2.0))
    code, out, _ = bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    assert code == 0
    told = " ".join(out.split())
    assert "0.1953 % of voxels lay outside [-1, 1] and were clipped" in told
    assert "4 with values outside [-1, 1], by at most 2 % of its width (32 voxels clipped)" in told


def test_the_training_folder_is_what_copies_are_looked_for_in(bench):
    fill(bench.folder / "real", 12)
    fill(bench.folder / "train", 12, seed=300)
    fill(bench.folder / "fresh", 12, seed=600)
    shutil.copytree(bench.folder / "train", bench.folder / "copies")
    metrics = ("--metrics", "nn-ratio,ct-z,authpct,max-corr,fd-radlite-v1", "--floor-only")
    fakes = ("--fake", "copies", "--fake", "fresh")
    code, _, err = bench("evaluate", "--real", "real", *fakes, "--train", "train", *metrics)
    assert code == 0, err
    runs = bench.folder / "runs"
    value = {
        (m, f): rows(runs, m, f"{f}-samples")[0]["value"]
        for m in ("nn-ratio", "ct-z", "authpct", "max-corr", "fd-radlite-v1")
        for f in ("copies", "fresh")
    }
    assert value["nn-ratio", "copies"] == 1 > value["nn-ratio", "fresh"]
    assert value["authpct", "copies"] == 0 < value["authpct", "fresh"]
    assert value["ct-z", "copies"] < -4 < value["ct-z", "fresh"]
    assert value["max-corr", "copies"] == pytest.approx(1, abs=1e-5)
    assert value["max-corr", "fresh"] < 0.99
    assert value["fd-radlite-v1", "copies"] > 1  # the reference is the real folder


def test_without_a_training_folder_that_is_the_reason_given(bench):
    fill(bench.folder / "real", 5)
    fill(bench.folder / "mine", 5, seed=40)
    metrics = ("--metrics", "nn-ratio,ct-z,mmd2-linear", "--floor-only")
    code, out, _ = bench("evaluate", "--real", "real", "--fake", "mine", *metrics)
    assert code == 0
    told = " ".join(out.split())
    assert "Not computed: NN ratio, C_T: needs the volumes that the generator was trained" in told


def test_pairs_are_files_of_the_same_name(bench):
    fill(bench.folder / "real", 4)
    shutil.copytree(bench.folder / "real", bench.folder / "same")
    command = ("evaluate", "--real", "real", "--fake", "same", "--metrics", "mae", "--floor-only")
    code, out, _ = bench(*command, "--paired")
    assert code == 0
    assert rows(bench.folder / "runs", "mae", "same-samples")[0]["value"] == 0
    assert "4 of its 4 files are byte by byte real ones" in " ".join(out.split())
    bench(*command)
    unpaired = [
        json.loads(p.read_text())["rows"][0]["status"]
        for p in records(bench.folder / "runs", "mae").values()
        if "same-samples" in p.as_posix()
    ]
    assert sorted(unpaired) == ["ok", "unavailable"]


def test_a_missing_output_of_pairs_counts_as_worst_only_where_the_board_says_so(bench):
    fill(bench.folder / "real", 4)
    fill(bench.folder / "mine", 3, shift=0.2)
    names = "mse-vlm3d,psnr-vlm3d,ssim-vlm3d,ssim"
    command = ("evaluate", "--real", "real", "--fake", "mine", "--metrics", names, "--floor-only")
    code, out, err = bench(*command, "--paired")
    assert code == 0, err
    found = {m: rows(bench.folder / "runs", m, "mine-samples")[0] for m in names.split(",")}
    gaps = [np.mean((blob(i, shift=0.2) - blob(i)).astype(float) ** 2) / 4 for i in range(3)]
    assert found["mse-vlm3d"]["value"] == pytest.approx((sum(gaps) + 1) / 4, rel=1e-5)
    assert found["ssim-vlm3d"]["value"] == pytest.approx((3 * found["ssim"]["value"] - 1) / 4)
    assert found["ssim"]["n_real"] == 3
    assert found["mse-vlm3d"]["facts"]["n_absent"] == 1
    assert "1 of 4 outputs are missing and count as 1 each" in " ".join(out.split())


@pytest.mark.slow
def test_the_core_suite_names_itself_and_its_controls(bench):
    fill(bench.folder / "real", 8)
    fill(bench.folder / "mine", 8, seed=100)
    code, out, err = bench("evaluate", "--real", "real", "--fake", "mine", "--suite", "smoke")
    assert code == 0, err
    assert "suite core" in out
    code, out, _ = bench("report", "--anchors")
    assert code == 0
    for label in ("training copies", "mean volume", "one real repeated", "phase-scrambled"):
        assert label in out


def test_the_reference_is_part_of_the_protocol(bench):
    fill(bench.folder / "real", 4)
    fill(bench.folder / "mine", 4, seed=100)
    bench("evaluate", "--real", "real", "--fake", "mine", *QUICK)
    (contents,) = (bench.folder / "runs").rglob("experiment-*.json")
    shown = json.loads(bench("show", "mmd2-linear", "--json")[1])
    metric = json.loads(contents.read_text())["metrics"][0]
    assert metric["recipe"]["reference"] == "the real folder"
    assert metric["recipe_hash"] != shown["recipe_hash"]


def test_missing_weights_are_an_error_when_asked_for(bench, monkeypatch):
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(bench.folder))
    monkeypatch.setenv("TORCH_HOME", str(bench.folder))
    fill(bench.folder / "real", 4)
    code, _, err = bench("evaluate", "--real", "real", "--fake", "real", "--suite", "core+fid")
    assert code == 5
    assert "bench weights import" in err


def test_rows_have_names_of_their_own(tmp_path):
    named = row_names([f"a={tmp_path}/x", f"{tmp_path}/y"], "--fake")
    assert list(named) == ["a", "y"]
    with pytest.raises(UsageError, match="Two rows are named 'x'"):
        row_names([f"{tmp_path}/1/x", f"{tmp_path}/2/x"], "--fake")


@pytest.mark.parametrize(
    ("folder", "row"),
    [("my samples (v2)", "my-samples-v2"), ("Über", "ber"), ("mine", "mine"), ("v1.2_b", "v1.2_b")],
)
def test_a_row_takes_a_name_like_that_of_its_folder(folder, row):
    assert list(row_names([f"somewhere/{folder}"], "--fake")) == [row]


def test_two_folders_that_would_give_one_name_need_names():
    with pytest.raises(UsageError, match="Two rows are named 'a-b'"):
        row_names(["x/a b", "x/a+b"], "--fake")
    assert list(row_names(["one=x/a b", "x/a+b"], "--fake")) == ["one", "a-b"]
