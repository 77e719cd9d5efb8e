"""Folders of others through both commands: the same folder gets the same words.

Everything that ``fake_samples`` does to a folder is given to ``bench run --samples``, to ``bench
evaluate --fake`` and, where it applies, ``--real``.
"""

import csv
import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "datasets" / "fakes"))
fakes = importlib.import_module("fake_samples")

RUN = ("run", "tiny.toml", "--methods", "none", "--n", "3", "--metrics", "mmd2-linear")
EVALUATE = ("evaluate", "--metrics", "mmd2-linear", "--floor-only")
OPTIONS = {"--samples": "--samples-range", "--fake": "--fake-range", "--real": "--range"}
# Here the two commands have another remedy each.
REMEDIES = (
    r"\. Generate at that size, or compare at another one with --size\.",
    r", which \d+ of \d+ volumes have\. Resample it, or all of them with --resample N\.",
)


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def ask(bench):
    """Return a function that gives a folder to an option of a command, beside a good folder."""

    def run(option: str, folder: str, *more: str) -> tuple[int, str]:
        good = "good_bids" if (bench.folder / folder / "participants.tsv").exists() else "good"
        if option == "--samples":
            command = (*RUN, "--samples", f"mine={folder}")
        else:
            sides = {"--fake": ("--real", good), "--real": ("--fake", f"mine={good}")}
            ours = f"mine={folder}" if option == "--fake" else folder
            command = (*EVALUATE, *sides[option], option, ours)
        code, out, err = bench(*command, *more)
        assert "Traceback" not in out + err
        return code, flat(out + " " + err)

    run.bench, run.folder = bench, bench.folder
    fakes.make(bench.folder / "good", first=20)
    fakes.make_bids(bench.folder / "good_bids", first=20)
    return run


def prepare(folder: Path, case) -> None:
    (fakes.make_bids if case.bids else fakes.make)(folder)
    case.spoil(folder)


def common(text: str, option: str) -> str:
    """Return an error without what depends on the command.

    That is the name of the option, the number of all files, and which classes are expected, in
    their order; a real folder decides that itself.
    """
    _, _, error = text.rpartition("bench: ")
    for remedy in REMEDIES:
        error = re.sub(remedy, "", error)
    error = error.replace("HGG, LGG", "LGG, HGG").replace("HGG/ and LGG/", "LGG/ and HGG/")
    error = error.replace("plain files, one subfolder a class,", "LGG/ and HGG/,")
    error = error.replace(OPTIONS[option], "--the-range")
    return re.sub(r"of \d+ files cannot be used", "of all files cannot be used", error)


@pytest.mark.parametrize("case", fakes.FAULTS, ids=lambda case: case.name)
def test_both_commands_refuse_a_folder_in_the_same_words(ask, case):
    prepare(ask.folder / "theirs", case)
    said = {}
    for option, range_option in OPTIONS.items():
        if option == "--real" and case.expected:
            continue
        code, told = ask(option, "theirs")
        assert code == 3, told
        assert case.words.format(path="theirs", option=range_option) in told
        said[option] = common(told, option)
    assert said["--samples"] == said["--fake"] == said.get("--real", said["--fake"])
    assert not (ask.folder / "runs").exists()


FINE = [case for case in fakes.FINE if case.words]


@pytest.mark.parametrize("case", FINE, ids=lambda case: case.name)
def test_both_commands_say_what_they_set_aside(ask, case):
    prepare(ask.folder / "theirs", case)
    for option in ("--samples", "--fake"):
        more = ("--dry-run",) if option == "--samples" else ()
        code, told = ask(option, "theirs", *more)
        assert code == 0, told
        assert "check theirs · done" in told
        assert case.words in told
    assert f"its files: {case.words}" in told  # in the table, too


def test_the_table_of_a_run_tells_what_was_set_aside_and_clipped(ask):
    fakes.make(ask.folder / "theirs")
    shutil.copy(ask.folder / "theirs/LGG/s000.nii.gz", ask.folder / "theirs/LGG/s000_seg.nii.gz")
    fakes.change(ask.folder / "theirs/LGG/s000.nii.gz", fakes.at(slice(20), 1.03))
    (ask.folder / "theirs/HGG/s000.nii.gz").write_bytes(b"")
    code, told = ask("--samples", "theirs", "--skip-bad")
    assert code == 0, told
    assert "1 of 6 files in theirs left out (--skip-bad): theirs/HGG/s000.nii.gz is empty" in told
    for words in (
        "1 of its 6 files were left out as unusable",
        "1 named like a segmentation, set aside: LGG/s000_seg.nii.gz",
        "(20 voxels clipped)",
        "0.1628 % of voxels lay outside [-1, 1] and were clipped",
    ):
        assert words in told
    (record,) = ask.folder.glob("runs/*/mine-samples-*/seed-0/sample/record.json")
    found = json.loads(record.read_text())
    assert found["n"] == {"LGG": 3, "HGG": 2}
    assert found["clip_fraction"] == {"LGG": 20 / (3 * 16**3), "HGG": 0}


@pytest.mark.slow
def test_what_is_known_of_training_and_how_many_are_scored_is_told(ask):
    fakes.make(ask.folder / "theirs", count=5)
    table = ask.folder / "theirs/Training_Cases.TSV"
    for content, run in (
        ("case_id\n", "which cases it was trained on is not known"),
        ("case_id\nx\ny\n", "names 2 cases it was trained on, none of them in the test set"),
    ):
        table.write_text(content)
        code, told = ask("--samples", "theirs")
        assert code == 0, told
        assert run in told
        assert "of up to 5 volumes a class the first 3 by name" in told
        code, told = ask("--fake", "theirs")
        assert code == 0, told
        assert run.partition(",")[0] in told
        assert "the first" not in told
    fakes.make(ask.folder / "few")
    assert "the first" not in ask("--samples", "few")[1]


@pytest.mark.parametrize("name", ["training_cases.tsv", "Training_Cases.tsv", "TRAINING_CASES.TSV"])
def test_a_test_case_in_the_training_list_is_found_in_any_case(ask, name):
    fakes.make(ask.folder / "theirs")
    (split,) = split_of(ask)
    rows = list(csv.DictReader(split.read_text().splitlines()))
    (test,) = [row["case_id"] for row in rows if row["role"] == "test"][:1]
    (ask.folder / "theirs" / name).write_text(f"case_id\n{test}\n")
    code, told = ask("--samples", "theirs")
    assert code == 3
    assert f"trained on 1 test cases of this split: {test}" in told


def split_of(ask) -> list[Path]:
    """Return the published split of the tiny experiment."""
    fakes.make(ask.folder / "other")
    assert ask("--samples", "other")[0] == 0
    return list(ask.folder.glob("runs/*/split-*.csv"))


@pytest.mark.parametrize("option", OPTIONS)
def test_bad_files_are_left_out_and_named_when_told_to(ask, option):
    fakes.make(ask.folder / "theirs")
    (ask.folder / "theirs/LGG/s000.nii.gz").write_bytes(b"")
    fakes.change(ask.folder / "theirs/HGG/s001.nii.gz", lambda v: (v + 1) / 2)
    more = ("--skip-bad", *(("--dry-run",) if option == "--samples" else ()))
    code, told = ask(option, "theirs", *more)
    assert code == 0, told
    assert "2 of 6 files in theirs left out (--skip-bad)" in told
    assert "LGG/s000.nii.gz is empty" in told
    assert "HGG/s001.nii.gz has values in [0, 1] where the others reach -1" in told


def test_files_of_mixed_ranges_are_scored_as_they_are_when_told_to_and_the_table_says_so(ask):
    fakes.make(ask.folder / "theirs")
    for path in fakes.files(ask.folder / "theirs")[::2]:
        fakes.change(path, lambda v: (v + 1) / 2)
    words = "3 that look like another range, taken as they are (--accept-range)"
    code, told = ask("--fake", "theirs", "--accept-range")
    assert code == 0, told
    assert f"its files: {words}" in told
    code, told = ask("--samples", "theirs", "--accept-range", "--dry-run")
    assert code == 0, told
    assert words in told


def values(ask, metric: str, place: str) -> list[float]:
    (path,) = ask.folder.rglob(f"*{place}*/**/{metric}@*.json")
    return [row["value"] for row in json.loads(path.read_text())["rows"]]


def test_following_the_advice_scores_both_folders_in_the_range_that_they_use(ask):
    """What was advised for generated volumes in [0, 255] used to be applied to the real ones."""
    fakes.make(ask.folder / "theirs", change=lambda v: (v + 1) * 127.5)
    code, told = ask("--fake", "theirs")
    assert code == 3
    assert "give --fake-range 0 255" in told
    code, told = ask("--fake", "theirs", "--range", "0", "255")
    assert code == 3
    assert "The volumes in good have values in [-1, 1], less than a tenth of" in told
    assert "looks like [-1, 1]: give --range -1 1" in told
    code, told = ask("--fake", "theirs", "--fake-range", "0", "255", "--out", "advised")
    assert code == 0, told
    fakes.make(ask.folder / "plain")
    assert ask("--fake", "plain", "--out", "plain_out")[0] == 0
    advised, plain = (
        [json.loads(p.read_text())["rows"] for p in (ask.folder / out).rglob("*mine-*/**/mmd2*@*")]
        for out in ("advised", "plain_out")
    )
    for a, b in zip(advised[0], plain[0], strict=True):
        assert a["value"] == pytest.approx(b["value"], abs=1e-6)


def lost(ask) -> None:
    """Write real volumes as BraTS stores them, and the same voxels with an identity affine."""
    fakes.make(ask.folder / "real", affine=fakes.LPS, count=4)
    fakes.make(ask.folder / "fake", affine=np.eye(4), count=4)


def test_equal_voxels_with_a_lost_header_are_refused_and_score_0_with_the_axes_of_the_real_ones(
    ask,
):
    lost(ask)
    command = ("evaluate", "--real", "real", "--fake", "fake", "--floor-only")
    command += ("--metrics", "fd-rand3d-v1,mae", "--paired")
    code, _, err = ask.bench(*command)
    assert code == 3
    for words in ("fake/HGG/s000.nii.gz is stored RAS (identity affine)", "s000.nii.gz LPS"):
        assert words in flat(err)
    assert "--same-axes" in err
    assert "--trust-headers" in err
    code, out, err = ask.bench(*command, "--same-axes")
    assert code == 0, err
    assert "8 read as stored LPS, against their headers (--same-axes)" in flat(out)
    assert values(ask, "mae", "fake-samples") == [0, 0]
    assert values(ask, "fd-rand3d-v1", "fake-samples") == pytest.approx([0, 0], abs=1e-6)
    code, out, err = ask.bench(*command, "--trust-headers", "--out", "trusted")
    assert code == 0, err
    assert "trusted (--trust-headers)" in flat(out)
    (mae,) = (ask.folder / "trusted").rglob("*fake-samples*/**/mae@*.json")
    assert min(row["value"] for row in json.loads(mae.read_text())["rows"]) > 0.01


@pytest.mark.slow
def test_an_option_for_axes_is_part_of_the_key_only_where_it_changes_a_voxel(ask):
    keys = {}
    fakes.make(ask.folder / "lps", affine=fakes.LPS)
    fakes.make(ask.folder / "lost", affine=np.eye(4))
    for name, real, fake, more in (
        ("plain", "lps", "lps", ()),
        ("needless same", "lps", "lps", ("--same-axes",)),
        ("needless trust", "lps", "lps", ("--trust-headers",)),
        ("same", "lps", "lost", ("--same-axes",)),
        ("trust", "lps", "lost", ("--trust-headers",)),
        ("both lost", "lost", "lost", ()),
    ):
        command = (*EVALUATE, "--real", real, "--fake", f"mine={fake}", "--out", name, "--json")
        code, _, err = ask.bench(*command, *more)
        assert code == 0, err
        keys[name] = {p.name for p in (ask.folder / name).rglob("*mine-samples*/**/mmd2*@*")}
    assert keys["plain"] == keys["needless same"] == keys["needless trust"]
    assert len({*map(frozenset, keys.values())}) == 4


@pytest.mark.parametrize("flag", ["--same-axes", "--trust-headers"])
def test_samples_with_an_identity_affine_are_read_when_told_how(ask, flag):
    fakes.make(ask.folder / "theirs", affine=np.eye(4))
    code, told = ask("--samples", "theirs")
    assert code == 3
    assert "s000.nii.gz is stored RAS (identity affine), prepared data RAS" in told
    code, told = ask("--samples", "theirs", flag, "--dry-run")
    assert code == 0, told
    assert ("--trust-headers" in told) == (flag == "--trust-headers")
    for option in OPTIONS:
        code, told = ask(option, "theirs", "--same-axes", "--trust-headers")
        assert (code, "exclude each other" in told) == (2, True)


def test_an_option_for_the_headers_of_samples_leaves_data_alone_that_need_none(ask, monkeypatch):
    """Else everything that was trained on them would have to be trained again."""
    from cerebench.benchmark.commands.run import chosen_experiment
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.planning import plan

    brats = importlib.import_module("fake_brats2020")
    cases = importlib.import_module("fake_common").make_cases()
    brats.make(ask.folder / "data", cases)
    chosen = chosen_experiment(
        "tiny.toml", settings=[], dataset="brats", data_root=str(ask.folder / "data")
    )
    headers = {"headers": "image"}
    assert plan.with_headers(chosen, headers, Registries()).data == {}
    (mask,) = (ask.folder / "data").rglob("*_002_seg.nii.gz")
    image = fakes.nib.load(mask)
    fakes.save(mask, np.asarray(image.dataobj), np.eye(4))
    assert plan.with_headers(chosen, headers, Registries()).data == headers
    assert plan.with_headers(chosen, {}, Registries()).data == {}
    phantom = chosen_experiment("tiny.toml", settings=[])
    assert plan.with_headers(phantom, headers, Registries()).data == {}


def test_the_same_folder_has_the_same_volumes_in_both_commands(ask):
    from cerebench.benchmark.display import Silent
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.planning import evaluate, plan
    from cerebench.benchmark.planning.experiment import read

    fakes.make(ask.folder / "theirs")
    (ask.folder / "theirs/HGG/s000.nii.gz").rename(ask.folder / "theirs/HGG/s000.NII.GZ")
    experiment = plan.dataclasses.replace(read("tiny.toml"), methods=[], samples_per_class=2)
    theirs = plan.Samples("mine", Path("theirs"))
    ran = plan.make_plan(experiment, Registries(), Path("r"), Path("c"), [theirs])
    request = evaluate.Request(Path("good"), {"mine": Path("theirs")}, metrics=["mmd2-linear"])
    evaluated = evaluate.make_plan(request, Registries(), Silent())
    rows = [p.of_kind("samples")[0] for p in (ran, evaluated)]
    for name in fakes.CLASSES:
        first, second = (row.given[name] for row in rows)
        assert (len(first), len(second)) == (2, 3)
        for a, b in zip(first, second, strict=False):
            assert np.array_equal(a, b)
    assert rows[0].given["HGG"].ids == ("HGG/s000.NII.GZ", "HGG/s001.nii.gz")
    assert rows[1].given["HGG"].ids == ("HGG/s000", "HGG/s001", "HGG/s002")


def test_a_run_takes_the_first_volumes_by_their_paths_as_text(ask):
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.planning import plan
    from cerebench.benchmark.planning.experiment import read

    fakes.make(ask.folder / "theirs")
    for i, place in enumerate(("b", "a", "a-b")):
        fakes.save(ask.folder / f"theirs/LGG/{place}/x.nii.gz", fakes.volume(90 + i))
    experiment = plan.dataclasses.replace(read("tiny.toml"), methods=[], samples_per_class=2)
    theirs = plan.Samples("mine", Path("theirs"))
    ran = plan.make_plan(experiment, Registries(), Path("r"), Path("c"), [theirs])
    (row,) = ran.of_kind("samples")
    assert row.given["LGG"].ids == ("LGG/a-b/x.nii.gz", "LGG/a/x.nii.gz")
    assert np.array_equal(row.given["LGG"][0][0], fakes.volume(92).T)


def test_the_key_of_samples_follows_contents_and_range_but_not_the_place(ask):
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.planning import plan
    from cerebench.benchmark.planning.experiment import read

    experiment = plan.dataclasses.replace(read("tiny.toml"), methods=[])

    def key(folder: str, **options) -> str:
        row = plan.Samples("mine", Path(folder), **options)
        made = plan.make_plan(experiment, Registries(), Path("r"), Path("c"), [row])
        return made.of_kind("samples")[0].sample_key

    fakes.make(ask.folder / "theirs")
    shutil.copytree(ask.folder / "theirs", ask.folder / "copy")
    assert key("theirs") == key("copy") == key("copy", axes="same") == key("copy", axes="trust")
    assert key("copy") == key("copy", accept_range=True)
    assert key("copy", value_range=(-2.0, 2.0)) != key("copy")
    before = key("copy")
    fakes.change(ask.folder / "copy/HGG/s002.nii.gz", fakes.at(0, -0.5))
    assert key("copy") != before
    fakes.make(ask.folder / "lps", affine=fakes.LPS)
    assert key("lps", axes="same") != key("lps")


def test_volumes_without_a_class_are_not_compared_with_those_that_have_one(ask):
    code, _, err = ask.bench(*EVALUATE, "--real", "good/LGG", "--fake", "good")
    assert code == 3
    assert "good/LGG have no class, but good has the classes LGG, HGG" in flat(err)
    code, _, err = ask.bench(*EVALUATE, "--real", "good", "--fake", "good/LGG")
    assert code == 3
    assert "Nothing tells the class of s000.nii.gz and others in good/LGG" in flat(err)


def test_the_training_folder_is_read_as_the_real_one(ask):
    fakes.make(ask.folder / "train", first=70, change=lambda v: (v + 1) / 2)
    code, told = ask("--fake", "good", "--train", "train")
    assert code == 3
    assert "looks like [0, 1]: give --range 0 1" in told
    shutil.rmtree(ask.folder / "train")
    fakes.make(ask.folder / "train", first=70, affine=fakes.LPS)
    code, told = ask("--fake", "good", "--train", "train")
    assert code == 3
    assert "train and good are not stored along the same axes" in told
    (ask.folder / "train/LGG/notes.txt").touch()
    code, told = ask("--fake", "good", "--train", "train", "--trust-headers")
    assert code == 0, told
    assert "the training folder's files: 1 no NIfTI volume, not read: LGG/notes.txt" in told


def arrays_of(folder, **stacks):
    """Write stacks of volumes (z, y, x), by class."""
    for name, values in stacks.items():
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "samples.npy", values)


def volumes_of(first):
    return np.stack([fakes.volume(first + i).T for i in range(fakes.COUNT)])


# What a stack may have instead of volumes, and what is said of it.
ARRAYS = {
    "objects": (np.array([{}, {}]), "LGG/samples.npy stores object; real numbers are expected"),
    "complex": (volumes_of(0).astype(complex), "LGG/samples.npy stores complex128; real numbers"),
    "two axes": (np.zeros((4, 16)), "LGG/samples.npy has shape (4, 16); (D, H, W), (N, D, H, W)"),
    "none": (np.zeros((0, 16, 16, 16)), "LGG/samples.npy has shape (0, 16, 16, 16) and thus no"),
    "not finite": (volumes_of(0) / 0, "LGG/samples.npy[0] holds"),
    "another size": (np.zeros((4, 8, 8, 8)) - 1, "LGG/samples.npy[0] has shape (8, 8, 8) (z, y"),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_cannot_be_used_are_one_line_in_both_commands(ask, name):
    values, told = ARRAYS[name]
    arrays_of(ask.folder / "theirs", HGG=volumes_of(50), LGG=values)
    for option in ("--samples", "--fake"):
        code, said = ask(option, "theirs", "--same-axes")
        assert code == 3
        assert said.count(told) == 1, said


def test_arrays_are_samples_beside_prepared_data_once_their_axes_are_settled(ask):
    arrays_of(ask.folder / "theirs", HGG=volumes_of(50), LGG=volumes_of(0))
    code, told = ask("--samples", "theirs")
    assert code == 3
    assert "stored RAS (no axes), prepared data RAS" in told
    code, told = ask("--samples", "theirs", "--same-axes")
    assert code == 0, told
    ranges = ("--samples-range", "-1", "1")
    for command in ((*RUN, "--same-axes"), (*EVALUATE, "--real", "theirs")):
        code, _, error = ask.bench(*command, "--samples", "theirs", *ranges)  # one name for both
        assert code == 0, error
    assert "2 arrays of 6 volumes, their axes taken as (z, y, x)" in told


def test_a_pipe_in_the_place_of_a_record_or_a_table_does_not_stop_the_check(ask):
    fakes.make(ask.folder / "theirs")
    for name in ("record.json", "participants.tsv", "training_cases.tsv"):
        fakes.os.mkfifo(ask.folder / "theirs" / name)
    for option in ("--samples", "--fake", "--real"):
        code, told = ask(option, "theirs")
        assert code == 3
        assert "3 of" in told
        assert "record.json is a pipe" in told
