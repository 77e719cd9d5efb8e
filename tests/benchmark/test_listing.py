"""``bench list``, ``show``, ``doctor``, ``weights``, ``data``: what scripts rely on."""

import inspect
import json
import re
from pathlib import Path

import pytest

from cerebench.benchmark import doctor, listing
from cerebench.benchmark.commands import run


def parsed(bench, *arguments):
    code, out, err = bench(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("kind", ["methods", "metrics", "datasets", "protocols", "extractors"])
def test_lists_are_arrays_of_named_objects(bench, kind):
    rows = parsed(bench, "list", kind)
    assert isinstance(rows, list)
    assert all({"name", "label", "source", "available"} <= set(row) for row in rows)
    assert all(row["source"] and row["label"] for row in rows)


def test_methods_list_what_the_contract_promises(bench):
    (row,) = (r for r in parsed(bench, "list", "methods") if r["name"] == "wgan-gp")
    assert {"name", "label", "source", "conditioning", "presets", "available"} <= set(row)
    assert row["presets"] == ["paper", "kwon", "kwon-asis", "lite", "quick", "smoke"]
    assert row["available"] is True


def test_missing_weights_make_a_metric_unavailable_with_the_next_step(bench, monkeypatch):
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(bench.folder))
    listed = {r["name"]: r for r in parsed(bench, "list", "metrics")}
    assert listed["fid"]["available"] is False
    assert "bench weights import" in listed["fid"]["reason"]
    assert listed["fd-inception-unverified"]["available"] is False
    found = parsed(bench, "doctor")
    assert found["offline"]["ready"] is False
    assert parsed(bench, "weights", "list")[0]["path"] is None


def test_a_missing_package_makes_an_extractor_and_its_metric_unavailable(bench, monkeypatch):
    monkeypatch.setattr(listing, "find_spec", lambda name: None)
    for kind, name in (("extractors", "mirp-v1"), ("metrics", "fd-mirp-v1")):
        (row,) = (r for r in parsed(bench, "list", kind) if r["name"] == name)
        assert row["available"] is False
        assert row["reason"] == "mirp is not installed. Run: pip install 'cerebench[radiomics]'"
    states = {row["name"]: row["reason"] for row in parsed(bench, "doctor")["extractors"]}
    assert "cerebench[radiomics]" in states["mirp-v1"]
    assert states["radlite-v1"] == ""


def test_weight_files_of_extractors_and_methods_are_listed(bench, monkeypatch):
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(bench.folder))
    listed = parsed(bench, "weights", "list")
    assert {"inception-2015-12-05", "vgg16-imagenet"} <= {row["name"] for row in listed}
    assert all(row["state"] == "missing" and row["origin"] and row["licence"] for row in listed)
    found = parsed(bench, "doctor")
    assert found["weights"] == listed
    assert "vgg16-imagenet" in found["offline"]["note"]


def test_show_prints_every_setting_with_its_source_and_the_counts(bench):
    found = parsed(bench, "show", "wgan-gp")
    paper = found["presets"]["paper"]
    assert paper["size"] == 128
    assert paper["parameters"] == {"generator": 84_407_872, "critic": 11_176_929}
    assert found["presets"]["kwon"]["parameters"] == {
        "generator": 37_449_280,
        "critic": 11_049_665,
    }
    for preset in found["presets"].values():
        for setting in preset["settings"].values():
            assert re.fullmatch(r"\[(paper|code|ours): .+\]", setting["source"])
            assert setting["meaning"]
            assert setting["accepts"]
    assert paper["settings"]["critic_steps"]["value"] == 5
    assert paper["settings"]["critic_steps"]["accepts"] == "a whole number of at least 1"
    assert paper["settings"]["precision"]["accepts"] == "fp32 or bf16"
    assert found["departures"]


@pytest.mark.parametrize("name", ["mmd2-kwon", "phantom", "radlite-v1", "quickstart", "fid"])
def test_everything_else_can_be_shown_too(bench, name):
    found = parsed(bench, "show", name)
    assert found["kind"] in ("metric", "dataset", "extractor", "experiment")
    code, out, _ = bench("show", name)
    assert code == 0
    assert name in out


@pytest.mark.parametrize("width", ["80", "120"])
@pytest.mark.parametrize(("name", "presets"), [("vqgan-cond", 5), ("exp1", 5)])
def test_what_settings_accept_is_shown_once_for_all_presets(
    bench, monkeypatch, width, name, presets
):
    monkeypatch.setenv("COLUMNS", width)
    code, out, _ = bench("show", name)
    assert code == 0
    assert max(map(len, out.splitlines())) <= int(width)
    accepted, *tables = out.split("\nsettings ")[1].split("\npreset ")
    assert len(tables) == presets
    words = " ".join(accepted.split())
    assert "a whole number of at least 1" in words
    assert "precision fp32 or bf16" in words
    assert not any("of at least" in table for table in tables)


def test_one_preset_is_shown_whole_and_the_others_by_what_they_differ_in(bench):
    settings = len(parsed(bench, "show", "wgan-gp")["presets"]["paper"]["settings"])
    _, out, _ = bench("show", "wgan-gp")
    whole, *others = out.split("\npreset ")[1:]
    assert whole.startswith("paper · 128³")
    assert whole.count("[") == settings
    assert all(", as paper but for" in " ".join(other.split()) for other in others)
    assert all(other.count("[") < settings for other in others)
    _, out, _ = bench("show", "wgan-gp", "--preset", "quick")
    whole, paper, *_ = out.split("\npreset ")[1:]
    assert whole.startswith("quick · 32³")
    assert whole.count("[") == settings
    assert "12000" in paper  # what paper has where quick has something else


@pytest.mark.parametrize(
    ("name", "told"), [("wgan-gp", "Did you mean 'quick'?"), ("ms-ssim", "ms-ssim has none")]
)
def test_a_preset_that_is_not_there_is_refused(bench, name, told):
    code, _, err = bench("show", name, "--preset", "quik")
    assert code == 2
    assert told in err


def test_lists_and_shows_are_readable_too(bench):
    code, out, _ = bench("list")
    assert code == 0
    assert all(f"\n{kind}" in f"\n{out}" for kind in listing.KINDS)
    code, out, _ = bench("show", "wgan-gp")
    assert code == 0
    assert "84,407,872" in out
    assert "[paper: lambda]" in out


@pytest.mark.parametrize("kind", ["metrics", "extractors"])
def test_lists_have_a_line_for_each_and_say_below_why_something_cannot_be_used(
    bench, monkeypatch, kind
):
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(bench.folder))
    rows = parsed(bench, "list", kind)
    _, out, _ = bench("list", kind)
    table, _, below = out.partition("source, definition and every setting: bench show NAME")
    lines = table.rstrip().splitlines()
    assert max(map(len, lines)) <= 120
    assert len(lines) == 2 + len(rows)
    for row in rows:
        assert any(line.startswith(f"{row['name']} ") and row["label"] in line for line in lines)
    told = " ".join(below.split())
    for row in rows:
        assert row["available"] or (row["name"] in told and row["reason"] in told)


def test_data_check_prints_counts_and_what_is_wrong(bench):
    found = parsed(bench, "data", "check", "--dataset", "phantom", "--size", "16")
    assert found["counts"] == {"LGG": 300, "HGG": 300}
    assert found["split"] == {"train": {"LGG": 100, "HGG": 100}, "test": {"LGG": 200, "HGG": 200}}
    assert found["findings"] == []
    code, out, _ = bench("data", "check", "--dataset", "phantom", "--size", "16")
    assert code == 0
    assert "Nothing wrong" in out


def test_a_folder_with_a_broken_case_fails_the_check(bench):
    case = bench.folder / "brats" / "HGG" / "BraTS19_2013_2_1"
    case.mkdir(parents=True)
    (case / "BraTS19_2013_2_1_flair.nii.gz").write_bytes(b"not gzip")
    code, out, _ = bench("data", "check", str(bench.folder / "brats"))
    assert code == 3
    assert "BraTS19_2013_2_1" in out
    assert "error" in out


@pytest.mark.parametrize("kind", listing.KINDS)
def test_lists_break_no_word_at_80_columns(bench, monkeypatch, kind):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = bench("list", kind)
    table = out.partition("not available:")[0].partition("missing weight files")[0]
    assert max(map(len, table.splitlines())) <= 80
    whole = set(table.replace(",", " ").split())
    for row in parsed(bench, "list", kind):
        said = [row["name"], row.get("label", ""), *row.get("views", ()), *row.get("classes", ())]
        assert set(" ".join(said).replace(",", " ").split()) <= whole


@pytest.mark.parametrize("command", [("list",), ("weights", "list"), ("doctor",)])
def test_where_to_get_a_missing_weight_file_stands_once_and_in_one_piece(
    bench, monkeypatch, command
):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(bench.folder))
    _, out, _ = bench(*command)
    for row in parsed(bench, "weights", "list"):
        assert row["url"].startswith("https://")
        assert row["url"].endswith(row["file"])
        assert out.split().count(row["url"]) == 1


def test_the_first_options_of_run_are_the_six_that_everybody_needs(bench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = bench("run", "--help")
    assert code == 0
    groups = dict(re.findall(r"─ ([A-Z][a-z ]+) ─+╮\n(.*?)╰", out, re.DOTALL))
    first = re.findall(r"^│ (--[a-z-]+)", groups["Options"], re.MULTILINE)
    assert first == ["--methods", "--dataset", "--data-root", "--preset", "--seeds", "--dry-run"]
    told = set(re.findall(r"--[a-z][a-z-]+", out))
    declared = {p.name for p in inspect.signature(run.run).parameters.values()}
    assert {name for names in run.GROUPS.values() for name in names} - {"help"} == (
        declared - {"experiment"}
    )
    assert {"--methods", "--set", "--out", "--samples", "--skip-bad", "--help"} <= told


@pytest.mark.parametrize(("mode", "told"), [(0o755, True), (0o750, False), (0o711, False)])
def test_doctor_names_a_store_that_everyone_can_read(bench, monkeypatch, mode, told):
    store = bench.folder / "runs"
    store.mkdir()
    store.chmod(mode)
    monkeypatch.setattr(Path, "parents", property(lambda path: []))  # of tests: closed to others
    found = doctor.open_to_everyone(doctor.STORE, bench.folder / "none")
    assert found == ([str(store)] if told else [])


def test_doctor_says_how_to_close_a_store(bench, monkeypatch):
    monkeypatch.setattr(doctor, "open_to_everyone", lambda *_: ["/data/[x]/runs"])
    code, out, _ = bench("doctor")
    assert code == 0
    flat = " ".join(out.split())
    assert "everyone on this machine can read /data/[x]/runs" in flat
    assert "chmod -R o-rwx" in flat
