"""``bench report`` on a made-up store: options of downstream comparisons and published numbers."""

import csv
import io
import json
import sys

import pytest

from cerebench.benchmark import cli

QUOTED = {"table": "Table 2", "title": "classification", "columns": ["Method", "AUC"], "note": ""}


@pytest.fixture
def report(classified, monkeypatch, capsys):
    classified.contents["published"] = [QUOTED | {"rows": [["3D-VQGAN", "0.72 ± 0.03"]]}]
    classified.read()
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        out = str(classified.folder.parent)
        monkeypatch.setattr(sys, "argv", ["bench", "report", "--out", out, *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_another_test_stands_beside_that_of_generators_when_asked_for(report):
    code, text, _ = report()
    assert code == 0
    assert "Beside it, without a mark: paired patient bootstrap" in " ".join(text.split())
    code, text, _ = report("--test", "paired")
    assert code == 0
    assert "Beside it, without a mark: paired t test over runs" in " ".join(text.split())
    code, _, error = report("--test", "anova")
    assert code != 0
    assert "Known: paired_bootstrap, delong, welch, student, paired" in " ".join(error.split())


def test_published_numbers_show_in_every_format_only_when_asked_for(report, tmp_path):
    for form in ((), ("--markdown",)):
        assert "0.72 ± 0.03" not in report(*form)[1]
        assert "0.72 ± 0.03" in report(*form, "--with-published")[1]
    folder = tmp_path / "files"
    _, listed, _ = report("--latex", "--siunitx", "--with-published", "--to", str(folder))
    assert sorted(listed.split()) == sorted(map(str, folder.iterdir()))
    assert r"\num{0.72} $\pm$ \num{0.03}" in (folder / "made-up-published.tex").read_text()
    assert (folder / "made-up-table7.tex").exists()


def test_tidy_rows_hold_what_classifiers_reached_and_what_is_missing(report):
    rows = list(csv.DictReader(io.StringIO(report("--csv")[1])))
    told = [row for row in rows if row["protocol"] == "exp2" and row["metric"] == "auc"]
    assert {row["status"] for row in told} == {"ok", "failed", "not tested"}
    (lost,) = [row for row in told if row["method"] == "mine" and row["level"] == "run"]
    assert (lost["value"], lost["reason"]) == ("", "too few volumes: 12 of 64 LGG")
    assert "nan" not in {row["value"] for row in rows}


@pytest.fixture
def replaced(report, classified):
    """The store with an earlier run of the same name, which alone held 3D-WGAN-GP."""
    contents = json.loads((classified.folder / "experiment-made-up-00000000.json").read_text())
    rows = [row for row in contents["rows"] if row["name"] != "ddpm"]
    before = contents | {"key": "1" * 64, "utc": "2026-01-01T12:00:00Z", "rows": rows}
    now = [row for row in contents["rows"] if row["name"] != "wgan-gp"]
    for name, told in (("1" * 8, before), ("0" * 8, contents | {"rows": now})):
        path = classified.folder / f"experiment-made-up-{name}.json"
        path.write_text(json.dumps(told), encoding="utf-8")
    return report


def test_an_earlier_run_of_the_same_name_is_told_with_what_it_held(replaced):
    code, text, error = replaced()
    (line,) = error.splitlines()  # made-up records carry no hash, and that is all
    assert (code, "of an older version" in line) == (0, True)
    told = " ".join(text.split())
    assert "An earlier run of made-up (2026-01-01 12:00 UTC, 11111111) held 3D-WGAN-GP" in told
    assert "bench report --all" in told
    assert text.count("Made-up numbers") == 1
    code, text, _ = replaced("--all")
    assert text.count("Made-up numbers") == 2
    assert "An earlier run" not in text


def test_what_is_told_of_earlier_runs_is_never_among_rows_of_a_file(replaced):
    for form in ("--csv", "--markdown"):
        _, text, error = replaced(form)
        assert "An earlier run" not in text
        assert "An earlier run of made-up" in error


def test_rows_of_all_runs_stand_in_one_table(replaced):
    code, text, _ = replaced("--rows", "all")
    assert code == 0
    for label in ("3D-WGAN-GP", "3D-DDPM", "mine_v2 & co"):
        assert label in text
    assert text.count("side by side") == 1
    assert "An earlier run" not in text
    names = {
        row["method"] for row in csv.DictReader(io.StringIO(replaced("--rows", "all", "--csv")[1]))
    }
    assert {"wgan-gp", "ddpm", "mine"} <= names


def test_rows_are_chosen_by_name_and_an_unknown_one_is_an_error(replaced):
    code, text, _ = replaced("--rows", "wgan-gp, mine")
    assert code == 0
    assert "3D-DDPM" not in text.partition("Downstream")[0]
    code, _, error = replaced("--rows", "wgan_gp")
    assert code == 2
    assert "No row with results named 'wgan_gp'. Did you mean 'wgan-gp'?" in error


def test_rows_that_cannot_be_put_together_are_named_below_the_table(report, classified):
    contents = json.loads((classified.folder / "experiment-made-up-00000000.json").read_text())
    other = contents | {"key": "2" * 64, "name": "other", "samples_per_class": 8}
    other["rows"] = [row for row in contents["rows"] if row["name"] == "ddpm"]
    cell = other["rows"][0]["cells"][0]
    other["rows"][0] |= {"cells": [cell | {"folder": "ddpm-quick-22222222/seed-0"}]}
    other["utc"] = "2026-01-01T12:00:00Z"
    (classified.folder / "experiment-other-22222222.json").write_text(json.dumps(other))
    _, text, _ = report("--rows", "all")
    told = " ".join(text.split())
    assert "Not in this table: 3D-DDPM (quick): 8 volumes a class and not 64" in told
    assert "bench report other" in told


def test_every_recorded_column_shows_when_asked_for(report):
    assert "peak MiB" not in report()[1]
    assert "peak MiB" in report("--all-columns")[1]


def test_marks_trainings_and_what_methods_say_show_when_asked_for(report):
    assert "What the methods say about themselves" not in report()[1]
    text = report("--diagnostics")[1]
    for title in ("Marks", "What the methods say about themselves"):
        assert f"\n{title}\n" in text
