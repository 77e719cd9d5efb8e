"""``bench run`` from end to end on a tiny experiment: what a user sees, and what lies on disk."""

import csv
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cerebench.core.records.files import sealed
from cerebench.datasets.scans.volumes import read_nifti, write_nifti

RAISES = """
from cerebench.methods.wgan_gp import WGANGP
from cerebench.methods.base import MethodInfo

class Broken(WGANGP):
    info = MethodInfo("broken", 1, "a paper", "none", "Broken")
    def train(self, data, run):
        raise RuntimeError("the loss fell off the table")
"""


def test_the_data_set_is_named_once_and_every_stage_by_its_number(tiny_run):
    first, *lines = tiny_run.out.splitlines()
    (folder,) = (tiny_run.folder / "runs").iterdir()
    told = [line for line in lines if " · done · " in line and not line.startswith("prepare")]
    assert first == f"{folder.name} · {len(told)} stages to do"
    numbers = [f"{i}/{len(told)}" for i in range(1, len(told) + 1)]
    assert [line.split(" · ")[0] for line in told] == numbers
    assert told[1].startswith(f"2/{len(told)} · wgan-gp · seed 0 · train LGG · done")
    assert not [line for line in told if folder.name in line]


def contents_of(folder: Path) -> Path:
    """Return the only table of contents below a folder."""
    (path,) = folder.glob("runs/*/experiment-*.json")
    return path


def hashes(folder: Path, pattern: str) -> dict[str, str]:
    """Return the SHA-256 of files by relative path."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.glob(pattern))
    }


def values(folder: Path) -> dict[str, list]:
    """Return the raw values of all score records by file."""
    found = {}
    for path in sorted(folder.rglob("*@*.json")):
        rows = json.loads(path.read_text())["rows"]
        found[path.relative_to(folder).as_posix()] = [(r["value"], r["se"]) for r in rows]
    return found


def test_a_run_ends_with_a_table_and_a_second_run_does_nothing(tiny_run, finished):
    assert tiny_run.code == 0
    assert "3D-WGAN-GP" in tiny_run.out
    assert "smoke run: shows that it works, not which generator is better" in tiny_run.out
    before = hashes(finished.folder / "runs", "**/*.json")
    code, out, _ = finished("run", "tiny.toml")
    assert code == 0
    assert "Nothing to do: all" in out
    assert "3D-WGAN-GP" in out
    changed = {
        k for k, v in hashes(finished.folder / "runs", "**/*.json").items() if before.get(k) != v
    }
    assert all("experiment-" in name for name in changed)


@pytest.mark.slow
def test_a_run_that_finds_all_stages_done_writes_its_report_files(bench):
    for seed, name in enumerate("ab"):
        own_samples(bench.folder / name, seed=seed)
    short = ("run", "tiny.toml", "--methods", "none", "--metrics", "mmd2-kwon", "--json")
    rows = {name: ("--samples", f"row-{name}={bench.folder / name}") for name in "ab"}
    for row in rows.values():
        assert bench(*short, *row)[0] == 0

    def both() -> list[Path]:
        code, out, _ = bench(*short, *rows["a"], *rows["b"])
        answer = json.loads(out)
        assert (code, answer["done"]) == (0, 0)
        return [Path(path) for path in answer["reports"]]

    written = both()  # a selection of its own, of finished cells
    table = next(path for path in written if path.name == "tiny.md")
    assert "row-a" in table.read_text()
    assert "row-b" in table.read_text()
    table.write_text("of other records")
    written[-1].unlink()
    assert both() == written
    assert "row-b" in table.read_text()
    assert all(path.exists() for path in written)


def test_every_promised_record_and_file_exists(finished):
    path = contents_of(finished.folder)
    contents = json.loads(path.read_text())
    cell = next(r for r in contents["rows"] if r["kind"] == "method")["cells"][0]
    folder = path.parent / cell["folder"]
    for scope in ("LGG", "HGG"):
        assert (folder / "train" / scope / "model.safetensors").exists()
        assert (folder / "train" / scope / "log.jsonl").exists()
        assert not (folder / "train" / scope / "checkpoint").exists()
    assert len(list(folder.glob("sample/sub-*/anat/*.nii.gz"))) == 20
    listed = [p for r in contents["rows"] for p in r.get("scores", {}).values()]
    listed += [*cell["train"].values(), cell["sample"], *cell["scores"].values(), cell["preview"]]
    assert [p for p in listed if not (path.parent / p).exists()] == []
    facts = json.loads((folder / "cell.json").read_text())
    assert set(facts["sources"]) == set(facts["config"])
    assert set(facts["split"]["train"]).isdisjoint(facts["split"]["test"])


def test_json_output_is_one_object_on_standard_output(bench):
    code, out, _ = bench("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon")
    answer = json.loads(out)
    assert code == 0
    assert answer["failed"] == {}
    assert answer["done"] > 0
    assert all(Path(p).exists() for p in answer["reports"])


def test_csv_has_one_value_a_row_at_full_precision(finished):
    code, out, _ = finished("report", "--csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    wanted = {
        "dataset", "size", "method", "preset", "seed", "class", "metric", "view", "value",
        "n_real", "n_generated", "status", "recipe",
    }  # fmt: skip
    assert wanted <= set(rows[0])
    ours = [r for r in rows if r["method"] == "wgan-gp" and r["metric"] == "fd-rand2d-v1"]
    assert {(r["class"], r["view"]) for r in ours} == {
        (c, v) for c in ("LGG", "HGG") for v in ("axial", "coronal", "sagittal")
    }
    stored = {v for pairs in values(finished.folder).values() for v, _ in pairs}
    assert {float(r["value"]) for r in ours} <= stored


def test_floor_and_methods_have_the_same_counts(finished):
    rows = list(csv.DictReader(io.StringIO(finished("report", "--csv")[1])))
    counts = {
        (r["n_real"], r["n_generated"])
        for r in rows
        if r["metric"] == "fd-radlite-v1" and r["method"] in ("wgan-gp", "real-heldout")
    }
    assert counts == {("12", "10")}


def test_a_method_that_raises_leaves_the_others_finished(bench):
    (bench.folder / "broken.py").write_text(RAISES)
    code, out, _ = bench(
        "run", "tiny.toml", "--methods", "broken,wgan-gp", "--plugin", "broken.py",
        "--metrics", "mmd2-kwon,ms-ssim,nn-ratio",
    )  # fmt: skip
    assert code == 4
    assert "the loss fell off the table" in out
    assert "—" in out
    (failure,) = bench.folder.glob("runs/*/broken-*/seed-0/train/LGG/failure.json")
    assert (
        "RuntimeError: the loss fell off the table" in json.loads(failure.read_text())["traceback"]
    )
    assert len(list(bench.folder.glob("runs/*/wgan-gp-*/seed-0/score/*@*.json"))) == 3
    rows = list(csv.DictReader(io.StringIO(bench("report", "--csv")[1])))
    broken = [r for r in rows if r["method"] == "broken" and r["metric"] == "mmd2-kwon"]
    assert {r["status"] for r in broken} == {"failed"}


STOPPED = """
import os
import signal
from cerebench.methods.wgan_gp import WGANGP
from cerebench.methods.base import MethodInfo

class Stopped(WGANGP):
    info = MethodInfo("stopped", 1, "a paper", "none", "Stopped")
    def train(self, data, run):
        os.kill(os.getpid(), signal.SIGTERM)
        super().train(data, run)
"""


def test_a_report_tells_failed_half_finished_and_missing_cells_and_changes_no_number(bench):
    (bench.folder / "broken.py").write_text(RAISES)
    (bench.folder / "stopped.py").write_text(STOPPED)

    def told(*methods: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        arguments = ("--metrics", "mmd2-kwon,ms-ssim", "--methods", ",".join(methods))
        plugins = ("--plugin", "broken.py", "--plugin", "stopped.py")
        code = bench("run", "tiny.toml", *arguments, *plugins, "--json")[0]
        rows = list(csv.DictReader(io.StringIO(bench("report", "--csv")[1])))
        return code, {m: [r for r in rows if r["method"] == m] for m in methods}

    code, whole = told("wgan-gp")
    assert code == 0
    code, rows = told("wgan-gp", "broken", "stopped", "wgan-gp-c")
    assert code == 75
    numbers = [(r["class"], r["metric"], r["view"], r["value"], r["se"]) for r in rows["wgan-gp"]]
    assert numbers == [
        (r["class"], r["metric"], r["view"], r["value"], r["se"]) for r in whole["wgan-gp"]
    ]
    before = hashes(bench.folder / "runs", "**/*.json")
    table = " ".join(bench("report")[1].split())
    assert hashes(bench.folder / "runs", "**/*.json") == before
    for name, status, reason in (
        ("broken", "failed", "train LGG: the loss fell off the table"),
        ("stopped", "not run", "training of LGG is half-finished, bench run continues it"),
        ("wgan-gp-c", "not run", "not run"),
    ):
        scores = [r for r in rows[name] if r["metric"] in ("mmd2-kwon", "ms-ssim")]
        assert {r["class"] for r in scores} == {"LGG", "HGG"}
        assert {(r["value"], r["status"], r["reason"]) for r in scores} == {("", status, reason)}
        assert reason in table


def test_what_a_method_warns_of_is_said_and_kept_in_the_record(bench):
    warns = """phase = run.phase("last")
        for _ in phase.steps(1):
            phase.warn("all samples look alike")
        super().train(data, run)"""
    plugin = RAISES.replace('raise RuntimeError("the loss fell off the table")', warns)
    (bench.folder / "broken.py").write_text(plugin)
    short = ("--methods", "broken", "--plugin", "broken.py", "--metrics", "mmd2-kwon")
    code, out, _ = bench("run", "tiny.toml", *short)
    assert code == 0
    assert "broken · LGG: all samples look alike" in out
    (record,) = bench.folder.glob("runs/*/broken-*/seed-0/train/LGG/record.json")
    assert json.loads(record.read_text())["warnings"] == ["all samples look alike"]


def test_a_repaired_method_is_tried_again(bench):
    plugin = bench.folder / "broken.py"
    plugin.write_text(RAISES)
    short = ("--methods", "broken", "--plugin", "broken.py", "--metrics", "mmd2-kwon", "--json")
    arguments = ("run", "tiny.toml", *short)
    assert bench(*arguments)[0] == 4
    plugin.write_text(
        RAISES.replace(
            'raise RuntimeError("the loss fell off the table")', "super().train(data, run)"
        )
    )
    assert bench(*arguments)[0] == 0


def test_a_failing_metric_stops_no_other(bench, monkeypatch):
    from cerebench.metrics.voxel import mmd

    def explode(*_: object) -> None:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(mmd, "MMD2_KWON", _with_compute(mmd.MMD2_KWON, explode))
    metrics = "mmd2-kwon,ms-ssim,fd-radlite-v1,nn-ratio"
    code, _, _ = bench("run", "tiny.toml", "--json", "--metrics", metrics)
    assert code == 4
    assert len(list(bench.folder.glob("runs/*/wgan-gp-*/seed-0/score/*.failure.json"))) == 1
    assert len(list(bench.folder.glob("runs/*/wgan-gp-*/seed-0/score/*@*[0-9a-f].json"))) >= 3


def _with_compute(metric, compute):
    import dataclasses

    return dataclasses.replace(metric, compute=compute)


def test_more_samples_extend_the_same_samples(bench):
    bench("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon")
    few = hashes(bench.folder / "runs", "**/sub-*.nii.gz")
    bench("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon", "--n", "13")
    many = hashes(bench.folder / "runs", "**/sub-*.nii.gz")
    assert len(few) == 20
    assert len(many) == 26
    assert few.items() <= many.items()
    times = {p.stat().st_mtime_ns for p in bench.folder.glob("runs/**/train/*/record.json")}
    assert len(times) == 2  # nothing was trained again


@pytest.mark.slow
def test_a_report_shows_the_newest_table_of_a_name_and_all_on_request(bench):
    for n in ("5", "6"):
        bench("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon", "--n", n)
    newest, everything = bench("report")[1], bench("report", "--all")[1]
    assert ("and 6 generated" in newest, "and 5 generated" in newest) == (True, False)
    assert everything.index("and 5 generated") < everything.index("and 6 generated")
    rows = list(csv.DictReader(io.StringIO(bench("report", "--all", "--csv")[1])))
    ours = [r for r in rows if r["method"] == "wgan-gp" and r["metric"] == "mmd2-kwon"]
    assert {r["n_generated"] for r in ours} == {"5", "6"}


def test_bench_sample_extends_a_cell(bench):
    bench("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon")
    (cell,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0")
    few = hashes(cell, "sample/sub-*/anat/*.nii.gz")
    assert bench("sample", str(cell), "-n", "12")[0] == 0
    many = hashes(cell, "sample/sub-*/anat/*.nii.gz")
    assert few.items() <= many.items()
    assert len(many) == 24
    assert "Nothing to do" in bench("sample", str(cell), "-n", "5")[1]


def test_samples_are_a_valid_derivative_of_unit_range(bench):
    bench("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon")
    (folder,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/sample")
    description = json.loads((folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    people = list(csv.DictReader((folder / "participants.tsv").open(), delimiter="\t"))
    assert len(people) == 20
    for person in people:
        (path,) = folder.glob(f"{person['participant_id']}/anat/*.nii.gz")
        volume, spacing = read_nifti(path)
        assert volume.shape == (16, 16, 16)
        assert spacing == (8.0, 8.0, 8.0)
        assert np.abs(volume).max() <= 1


def own_samples(folder: Path, n: int = 10, seed: int = 0) -> Path:
    """Write a folder of somebody's samples, by class."""
    rng = np.random.RandomState(seed)
    for name in ("LGG", "HGG"):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            volume = np.full((16, 16, 16), -1, np.float32)
            volume[4:12, 4:12, 4:12] = rng.uniform(0, 1, (8, 8, 8))
            write_nifti(folder / name / f"case{i}.nii.gz", volume, (8.0, 8.0, 8.0))
    return folder


def test_somebodys_samples_are_a_row_of_the_same_table(bench):
    folder = own_samples(bench.folder / "theirs")
    short = ("run", "tiny.toml", "--metrics", "mmd2-kwon,ms-ssim", "--samples", f"mine={folder}")
    code, out, _ = bench(*short)
    assert code == 0
    assert "mine" in out
    assert "3D-WGAN-GP" in out
    assert bench(*short, "--methods", "none")[0] == 0


@pytest.mark.slow
def test_changed_samples_are_scored_again(bench):
    folder = own_samples(bench.folder / "theirs")
    short = ("--methods", "none", "--metrics", "mmd2-kwon", "--json")
    arguments = ("run", "tiny.toml", "--samples", f"mine={folder}", *short)
    assert json.loads(bench(*arguments)[1])["done"] > 0
    assert json.loads(bench(*arguments)[1])["done"] == 0
    path = folder / "LGG" / "case0.nii.gz"
    write_nifti(path, read_nifti(path)[0] * 0.5 - 0.5, (8.0, 8.0, 8.0))
    assert json.loads(bench(*arguments)[1])["done"] > 0


def test_a_test_case_in_the_training_set_is_refused(bench):
    bench("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon")
    (record,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/train/LGG/record.json")
    trained = json.loads(record.read_text())
    trained["train_ids"].append("phantom-LGG-0012")
    facts = json.loads((record.parents[2] / "cell.json").read_text())
    trained["train_ids"][-1] = facts["split"]["test"][0]
    record.write_text(json.dumps(sealed(trained)))
    code, _, error = bench("run", "tiny.toml", "--metrics", "ms-ssim")
    assert code == 3
    place = record.parent.relative_to(bench.folder)
    leaked = trained["train_ids"][-1]
    assert f"1 test cases are in the training list of wgan-gp, {place}: {leaked}. Remove " in error
    assert not list(bench.folder.glob("runs/*/*/seed-0/score/ms-ssim@*"))


def test_dry_run_lists_cells_time_and_disk_and_writes_nothing(bench):
    code, out, _ = bench("run", "tiny.toml", "--dry-run")
    assert code == 0
    assert "wgan-gp · seed 0" in out
    assert "train LGG, train HGG, sample, score" in out
    assert "MiB" in out
    assert "unknown" not in out
    assert not (bench.folder / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--methods", "wgan_gp"], 2, "Did you mean 'wgan-gp'?"),
        (["run", "--metrics", "ms-sim"], 2, "Did you mean 'ms-ssim'?"),
        (["run", "--set", "wgan-gp.stepz=3"], 2, "Did you mean 'steps'?"),
        (
            ["run", "--set", "wgan-gp.steps=x"],
            2,
            "wgan-gp.steps must be a whole number of at least 1, got 'x'",
        ),
        (["run", "--set", "gan.steps=3"], 2, "--set names 'gan'"),
        (["run", "--preset", "quik"], 2, "Did you mean 'quick'?"),
        (["run", "--protocols", "exp9"], 2, "No protocol named 'exp9'"),
        (["run", "--protocols", "exp1", "--n", "8"], 2, "Use --n"),
        (["run", "--reference", "vqgn"], 2, "Did you mean 'vqgan'?"),
        (["run", "--protocol-preset", "stabl", "--protocols", "exp2"], 2, "mean 'stable'?"),
        (["run", "--protocols", "medicalnet"], 5, "resnet_34_23dataset.pth is needed"),
        (["run", "quikstart"], 2, "Did you mean 'quickstart'?"),
        (["run", "--dataset", "brat"], 2, "Did you mean 'brats'?"),
        (["run", "--size", "20"], 2, "wgan-gp (quick): "),
        (["run", "--seeds", "a"], 2, "--seeds must be whole numbers, got 'a'"),
        (["run", "--samples", "a=x", "--samples", "a=y"], 2, "--samples a=DIR --samples b=DIR"),
        (["run", "--device", "cuda:99"], 2, "Device 'cuda:99' is not there"),
        (["run", "--device", "mps"], 2, "Device 'mps' is not supported"),
        (["run", "--device", "cuda:99", "--dry-run"], 2, "Device 'cuda:99' is not there"),
        (["sample", "x", "--device", "cuda:99"], 2, "Device 'cuda:99' is not there"),
        (
            ["evaluate", "--real", "x", "--fake", "y", "--device", "cuda:99"],
            2,
            "Device 'cuda:99' is not there",
        ),
        (["run", "--plugin", "no.py"], 2, "no.py does not exist"),
        (["run", "--dataset", "brats", "--data-root", "nowhere"], 3, "nowhere"),
        (["run", "--samples", "x=nowhere"], 3, "No folder at nowhere"),
        (["run", "--metrics", "fid"], 5, "bench weights import"),
        (["report", "--out", "nowhere"], 2, "No results in nowhere"),
        (["show", "wgan"], 2, "Did you mean 'wgan-gp'?"),
        (["list", "method"], 2, "Did you mean 'methods'?"),
        (["sample", "nowhere"], 2, "nowhere is not a cell"),
        (["data", "check", "nowhere"], 3, "nowhere"),
        (["new", "method", "My GAN"], 2, "'My GAN' cannot be a method's name"),
        (["run", "--no-such-option"], 2, "--no-such-option"),
    ],
)
def test_a_mistake_gets_one_line_and_its_exit_code(bench, monkeypatch, arguments, code, message):
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(bench.folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(bench.folder))
    monkeypatch.setenv("TORCH_HOME", str(bench.folder))
    found, _, err = bench(*arguments)
    assert found == code
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not (bench.folder / "runs").exists()


def test_a_folder_that_cannot_be_written_is_named(bench):
    (bench.folder / "file").write_text("")
    code, _, err = bench("run", "tiny.toml", "--out", "file/runs")
    assert code == 6
    assert "file" in err
    assert "Traceback" not in err


def test_nothing_opens_a_network_connection(no_network, tiny_run, finished):
    with pytest.raises(AssertionError, match="a connection was attempted"):
        socket.create_connection(("localhost", 9))
    assert tiny_run.code == 0  # a refused connection would have failed a stage
    assert finished("run", "tiny.toml")[0] == 0
    assert finished("report", "--latex")[0] == 0


def test_a_setting_for_all_methods_applies_where_it_exists(bench):
    arguments = ("run", "tiny.toml", "--json", "--metrics", "mmd2-kwon")
    assert bench(*arguments, "--set", "*.precision=bf16")[0] == 0
    (path,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/cell.json")
    cell = json.loads(path.read_text())
    assert cell["config"]["precision"] == "bf16"
    assert cell["sources"]["precision"] == "[user: --set]"


def test_a_setting_for_all_methods_that_none_has_is_refused(bench):
    code, _, error = bench("run", "tiny.toml", "--set", "*.precisoin=bf16")
    assert code == 2
    assert "No setting named 'precisoin'. Did you mean 'precision'?" in error
    assert not (bench.folder / "runs").exists()


def start(folder: Path) -> subprocess.Popen:
    """Start the tiny run, slowed down to some seconds per stage, as a process of its own."""
    command = [sys.executable, "-c", "from cerebench.benchmark.cli import main; main()"]
    arguments = ["run", "tiny.toml", "--json", "--n", "40", "--set", "wgan-gp.steps=150"]
    arguments += ["--metrics", "mmd2-kwon,ms-ssim,fd-radlite-v1"]
    environment = {**os.environ, "CEREBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(process: subprocess.Popen, folder: Path, pattern: str) -> None:
    """Wait until a file of this pattern appears, or the process ends."""
    limit = time.monotonic() + 60
    while not list(folder.glob(pattern)) and process.poll() is None:
        assert time.monotonic() < limit, f"no {pattern} within a minute"
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_continues_to_the_same_bits(bench, number):
    reference, killed = bench.folder / "reference", bench.folder / "killed"
    for folder in (reference, killed):
        folder.mkdir()
        (folder / "tiny.toml").write_text((bench.folder / "tiny.toml").read_text())
    assert start(reference).wait() == 0
    for stage in (
        "runs/*/*/seed-0/train/LGG/log.jsonl",
        "runs/*/*/seed-0/sample/sub-LGG00009/anat/*.nii.gz",
        "runs/*/*/seed-0/score/*@*.json",
    ):
        process = start(killed)
        wait_for(process, killed, stage)
        process.send_signal(number)
        assert process.wait() == (-9 if number == signal.SIGKILL else 75)
    assert start(killed).wait() == 0
    for pattern in ("runs/**/model.safetensors", "runs/**/*.nii.gz"):
        expected = hashes(reference, pattern)
        assert expected
        assert hashes(killed, pattern) == expected
    assert values(killed) == values(reference)


@pytest.mark.parametrize(
    ("sampler", "settings", "told"),
    [("dpmpp", (), "dpmpp 4"), ("ddim", ("--set", "med-ddpm.sampler_steps=2"), "ddim 2")],
)
def test_a_sampler_set_on_the_command_line_is_that_of_the_report(bench, sampler, settings, told):
    """The smoke preset has T = 4 diffusion steps, fewer than a sampler takes by default."""
    short = ("--preset", "smoke", "--methods", "med-ddpm", "--metrics", "mmd2-kwon", "--n", "2")
    chosen = ("--set", f"med-ddpm.sampler={sampler}", *settings)
    assert bench("run", "tiny.toml", *short, *chosen, "--json")[0] == 0
    table = bench("report", "--all-columns")[1]
    assert told in table
    assert "ddpm 4" not in table  # as without these settings
