"""``bench report`` on a made-up store: options of downstream comparisons and published numbers."""

import csv
import io
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
