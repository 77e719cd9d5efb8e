"""A record that does not fit its schema is left out and named; nothing else changes."""

import io
import json
import sys

import pytest
from rich.console import Console

from cerebench.benchmark import cli
from cerebench.core.records import files
from cerebench.reports import latex, markdown, terminal
from cerebench.reports.figures import every as figures
from cerebench.reports.statistics import comparison
from cerebench.reports.tables import diagnostics
from cerebench.reports.values import downstream, frames, tidy

DDPM = "ddpm-quick-89abcdef/seed-0"
# Kind of a file -> where one lies, and where in it the field lies that is attacked.
FILES = {
    "train": (f"{DDPM}/train/HGG/record.json", ("seconds",)),
    "sample": (f"{DDPM}/sample/record.json", ("foreground",)),
    "score": (f"{DDPM}/score/ms-ssim@4567cdef.json", ("rows", 1, "se")),
    "diagnosis": (f"{DDPM}/diagnosis/record.json", ("diagnostics", 0, "values")),
    "downstream": (f"{DDPM}/downstream/exp2@01234567.json", ("repeats", 2, "predictions")),
    "cell": (f"{DDPM}/cell.json", ("config",)),
    "failure": ("broken-quick-89abcdef/seed-0/train/LGG/failure.json", ("reason",)),
}


def changed(change):
    """Return an attack on the field; ``change`` gets the object it is in, and its name."""

    def attack(path, place):
        told = json.loads(path.read_text())
        within = told
        for name in place[:-1]:
            within = within[name]
        change(within, place[-1])
        path.write_text(json.dumps(told))

    return attack


def of_another(**head):
    def attack(path, place):
        path.write_text(json.dumps(json.loads(path.read_text()) | head))

    return attack


def as_a_folder(path, place):
    path.unlink()
    path.mkdir()


# What is done to a file, and what is said of it beside its name; None: of the field.
ATTACKS = {
    "field removed": (changed(lambda within, name: within.pop(name)), "is missing"),
    "another type": (changed(lambda within, name: within.update({name: [[]]})), "must be a"),
    "null": (changed(lambda within, name: within.update({name: None})), "must be a"),
    "NaN": (changed(lambda within, name: within.update({name: float("nan")})), "got NaN"),
    "infinity": (changed(lambda within, name: within.update({name: float("inf")})), "got Infinity"),
    "another kind": (of_another(kind="fit"), "kind must be '"),
    "no kind": (of_another(kind=None), "kind must be a text, got null"),
    "a newer version": (of_another(schema=2), "schema is 2, of a newer version; this one reads 1"),
    "cut short": (lambda path, _: path.write_bytes(path.read_bytes()[:-9]), "read as JSON"),
    "empty": (lambda path, _: path.write_bytes(b""), "read as JSON: EOF"),
    "a list": (lambda path, _: path.write_text("[1]"), "it must be an object, got a list of 1"),
    "no JSON": (lambda path, _: path.write_text("<html>"), "it cannot be read as JSON"),
    "not UTF-8": (lambda path, _: path.write_bytes(b'{"schema": "\xff\xfe"}'), "read as JSON"),
    "a folder": (as_a_folder, "it is a folder"),
}
OF_A_FIELD = ("field removed", "another type", "null", "NaN", "infinity")
MAY_BE_NULL = {("score", "null")}
RENDERED = ("field removed", "NaN", "cut short", "a folder")  # others differ in a reason alone


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Draw patients a few times; how often changes no name and no reason."""
    monkeypatch.setattr(comparison, "DRAWS", 50)


@pytest.fixture
def store(runs, request):
    """Return a function: kind of a file to a results folder that has one."""

    def build(kind):
        return request.getfixturevalue("classified") if kind == "downstream" else runs

    return build


def numbers(experiment) -> dict:
    """Return every number that reports are made of, by what it is of, with why it is missing."""
    found = {}
    for v in tidy.values(experiment):
        found[v.row, v.seed, v.class_, v.metric, v.view] = (v.value, v.se, v.text), v.reason
    for r in diagnostics.readings(experiment):
        found["told", r.row, r.class_, r.name, r.set_] = r.values, r.reason
    for block in downstream.read_protocols(experiment):
        for row in block.results:
            reasons = " ".join(lack.reason for lack in row.missing)
            found[block.name, row.name] = [run.values for run in row.runs], reasons
    return found


def rendered(experiment, folder) -> dict[str, str]:
    """Return what every renderer but the figures makes, without white space."""
    shown = Console(file=io.StringIO(), width=150)
    terminal.render(
        experiment, shown, controls=True, recipes=True, all_columns=True, diagnostics=True
    )
    texts = {"terminal": shown.file.getvalue()}
    for name, write in {
        "markdown": markdown.write,
        "csv": frames.write,
        "diagnostics": diagnostics.write,
        "latex": latex.write,
    }.items():
        texts[name] = "".join(path.read_text("utf-8") for path in write(experiment, folder))
    texts["latex"] = texts["latex"].replace(r"\allowbreak{}", "").replace("-{}", "-")
    return {name: "".join(text.split()) for name, text in texts.items()}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_does_not_fit_is_named_and_no_other_number_changes(
    store, tmp_path, kind, attack
):
    if (kind, attack) in MAY_BE_NULL:
        pytest.skip("null is a value of this field")
    builder = store(kind)
    intact = numbers(builder.read())
    (path, place), (do, said) = FILES[kind], ATTACKS[attack]
    do(builder.folder / path, place)
    experiment = builder.read()
    found = numbers(experiment)
    lost = {name: reason for name, (_, reason) in found.items() if path in reason}
    assert lost
    for reason in lost.values():
        assert said in reason
        assert attack not in OF_A_FIELD or ".".join(map(str, place)) in reason
        assert ("run the same bench command again" in reason) == (attack != "a newer version")
    assert not any(
        any(told) for name, (told, _) in found.items() if name in lost and kind != "cell"
    )
    diagnosed = {name for name in intact if name[0] == "told" and kind == "diagnosis"}
    for name in intact.keys() - diagnosed - lost.keys():
        assert found[name] == intact[name]
    if attack not in RENDERED:
        return
    texts = rendered(experiment, tmp_path)
    csv = texts["diagnostics" if kind == "diagnosis" else "csv"]
    for text in (texts["terminal"], texts["markdown"].replace("\\", ""), csv):
        assert path in text
        assert "".join(said.split()) in text or "&#" in text
    assert path.rpartition("/")[0] in texts["latex"].replace("\\", "")


@pytest.mark.parametrize("kind", FILES)
def test_what_a_later_version_adds_to_a_file_changes_nothing(store, kind):
    builder = store(kind)
    intact = numbers(builder.read())
    path, place = FILES[kind]
    changed(lambda within, name: within.update(new=[1]))(builder.folder / path, place)
    assert numbers(builder.read()) == intact


@pytest.mark.parametrize("attack", ["field removed", "a folder"])
def test_figures_are_drawn_of_what_is_left_and_name_the_rest(classified, tmp_path, attack):
    for kind in ("train", "diagnosis", "downstream"):
        path, place = FILES[kind]
        ATTACKS[attack][0](classified.folder / path, place)
    *_, listing = figures.write(classified.read(), tmp_path)
    lines = listing.read_text("utf-8").splitlines()
    told = {line.partition("`")[2].partition("`")[0]: "".join(line.split()) for line in lines}
    for name, kind in {
        "importance-maps": "diagnosis",
        "repeats": "downstream",
        "quality-cost": "train",
        "auc-synthetic-volumes": None,  # exp2 of this store has no number of volumes
    }.items():
        assert kind is None or FILES[kind][0] in told[f"made-up-{name}"]


@pytest.fixture
def report(runs, monkeypatch, capsys):
    """Return a function that runs ``bench report`` on a store with two tables of contents."""
    other = runs.read()
    name = "experiment-other-11111111.json"
    told = json.loads((runs.folder / "experiment-made-up-00000000.json").read_text())
    (runs.folder / name).write_text(
        json.dumps(told | {"name": "other", "title": "The other", "key": "1" * 64})
    )
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        out = str(other.folder.parent)
        monkeypatch.setattr(sys, "argv", ["bench", "report", "--out", out, *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    run.contents = runs.folder / name
    run.folder = runs.folder
    return run


FIELD = ("metrics", 1, "scale")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_table_of_contents_that_does_not_fit_is_named_and_the_others_are_printed(report, attack):
    assert report()[0] == 0
    do, said = ATTACKS[attack]
    do(report.contents, FIELD)
    for form in ((), ("--markdown",), ("--csv",)):
        code, out, error = report(*form)
        assert code == 3
        assert "3D-WGAN-GP" in out
        assert "The other" not in out
        assert "Traceback" not in error
        assert f"{report.contents.name}: " in error
        assert said in error
        assert attack not in OF_A_FIELD or ".".join(map(str, FIELD)) in error
    assert report("made-up")[0] == 0  # it is not the one that was asked for
    code, out, error = report("other")
    assert (code, out) == (3, "")
    assert report.contents.name in error


@pytest.mark.parametrize("path", ["../x.json", "/etc/passwd", "a/../../x.json", "a\0b", "a\nb"])
@pytest.mark.parametrize("field", ["sample", "folder", "scores.mmd2-kwon"])
def test_a_path_that_leads_elsewhere_is_named_with_its_field(report, path, field):
    told = json.loads(report.contents.read_text())
    place = ("rows", 1, "cells", 0, *field.split("."))
    changed(lambda within, name: within.update({name: path}))(report.contents, place)
    assert json.loads(report.contents.read_text()) != told
    code, out, error = report()
    assert code == 3
    assert "3D-WGAN-GP" in out
    assert f"rows.1.cells.0.{field} must be a path inside its folder" in error


def test_a_store_of_broken_tables_of_contents_alone_says_which(report):
    for path in report.folder.glob("experiment-*.json"):
        path.write_text("{")
    code, out, error = report()
    assert (code, out) == (3, "")
    assert "experiment-made-up-00000000.json" in error
    assert "experiment-other-11111111.json" in error


def test_the_command_goes_on_with_broken_records(report):
    for path, _ in FILES.values():
        if (report.folder / path).exists():
            (report.folder / path).write_text("{")
    for form in ((), ("--markdown",), ("--csv",), ("--latex",)):
        code, out, error = report(*form)
        assert code == 0
        assert error.count("\n") == 1
        assert "carry no hash of their content" in error
        assert out


def test_the_command_says_how_many_files_nothing_vouches_for(report):
    for path in report.folder.rglob("*.json"):
        told = json.loads(path.read_text())
        path.write_text(json.dumps(files.sealed(told)))
    code, out, error = report("--csv")
    assert (code, error) == (0, "")
    path = report.folder / FILES["score"][0]
    told = json.loads(path.read_text())
    del told["sha256"]
    path.write_text(json.dumps(told))
    *same, error = report("--csv")
    assert same == [0, out]
    assert error.startswith("bench: 1 of the files read are of an older version")


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "downstream"])
def test_a_digit_that_changed_in_a_file_that_fits_is_seen(runs, kind):
    path = runs.folder / FILES[kind][0]
    told = json.loads(path.read_text())
    path.write_text(json.dumps(files.sealed(told)).replace('"schema": 1', '"schema": 1, "x": 0'))
    lost = [reason for _, reason in numbers(runs.read()).values() if FILES[kind][0] in reason]
    assert lost
    assert all("was changed after it was written" in reason for reason in lost)


def test_a_record_of_another_key_than_the_table_of_contents_lists_is_left_out(runs):
    place = FILES["train"][0]
    key = json.loads((runs.folder / place).read_text())["key"]
    for listed, lost in ((key, 0), ("f" * 64, 1)):
        runs.contents["keys"] = {place: listed}
        reasons = {reason for _, reason in numbers(runs.read()).values() if place in reason}
        assert len(reasons) == lost
    assert "its key is not the one that the table of contents lists" in reasons.pop()
