"""Tables that contradict themselves or the folder, and what cannot be read: nothing vanishes."""

import errno
import os
import shutil
import socket
import subprocess
import sys

import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.dataset import Scans


def make(fakes, layout, root, count=3):
    """Write so many cases of each grade; return {case number: case id}."""
    root.mkdir(exist_ok=True)
    return getattr(fakes, layout).make(root, fakes.common.make_cases(count, count))


def found(root, severity="error"):
    return [(f.case, f.message) for f in Scans(16, root).listed.findings if f.severity == severity]


def errors_of(root, case):
    return [message for name, message in found(root) if name == case]


# --- a case that a table lists twice


def labels(end, names, repeated):
    """Return the name and text of a table of labels, grades by halves, one row repeated."""
    joint = "," if end == "csv" else "\t"
    rows = [(names[n], "LGG" if n <= 3 else "HGG", f"P{n}") for n in names]
    rows += [(names[1], *repeated)]
    lines = [joint.join(("case_id", "label", "patient_id")), *(joint.join(row) for row in rows)]
    return f"labels.{end}", "\n".join(lines) + "\n"


@pytest.mark.parametrize("end", ["csv", "tsv"])
@pytest.mark.parametrize("layout", ["brats2021", "brats2023", "msd"])
@pytest.mark.parametrize(
    ("repeated", "message"),
    [
        (("HGG", "P1"), "with class 'LGG' and 'HGG'"),
        (("LGG", "P9"), "with patient_id 'P1' and 'P9'"),
        (("HGG", "P9"), "with class 'LGG' and 'HGG'; patient_id 'P1' and 'P9'"),
    ],
)
def test_a_case_that_labels_contradict_is_an_error_with_file_and_lines(
    fakes, layout, end, repeated, message, tmp_path
):
    names = make(fakes, layout, tmp_path)
    table, text = labels(end, names, repeated)
    (tmp_path / table).write_text(text)
    (told,) = errors_of(tmp_path, names[1])
    assert told == f"is twice in {table} (lines 2 and 8), {message}. Keep the row that is right"
    with pytest.raises(DatasetError, match=rf"{names[1]}: is twice in {table}"):
        Scans(16, tmp_path).cases()


@pytest.mark.parametrize("end", ["csv", "tsv"])
def test_a_case_that_labels_list_twice_alike_is_a_warning(fakes, end, tmp_path):
    names = make(fakes, "brats2021", tmp_path)
    table, text = labels(end, names, ("LGG", "P1"))
    (tmp_path / table).write_text(text)
    message = f"is twice in {table} (lines 2 and 8), alike: counted once"
    assert found(tmp_path, "warning") == [(names[1], message)]
    assert [c.label for c in Scans(16, tmp_path).cases()] == [0, 0, 0, 1, 1, 1]


def test_lines_are_those_of_the_file_also_behind_empty_ones(fakes, tmp_path):
    names = make(fakes, "brats2021", tmp_path)
    table, text = labels("csv", names, ("HGG", "P1"))
    (tmp_path / table).write_text(text.replace("P3\n", "P3\n\n\n"))
    assert "(lines 2 and 10)" in errors_of(tmp_path, names[1])[0]


@pytest.mark.parametrize(
    ("change", "severity", "message"),
    [
        (("HGG", "P1", "s"), "error", "is twice in participants.tsv (lines 2 and 8), with class"),
        (("LGG", "P2", "s"), "error", "with patient 'P1' and 'P2'. Keep"),
        (("LGG", "P1", "t"), "error", "with site 's' and 't'. Keep"),
        (("LGG", "P1", "s"), "warning", "(lines 2 and 8), alike: counted once"),
    ],
)
def test_a_participant_listed_twice_is_an_error_if_the_rows_differ(
    fakes, change, severity, message, tmp_path
):
    names = make(fakes, "bids", tmp_path)
    rows = [(names[n], "LGG" if n <= 3 else "HGG", f"P{n}", "s") for n in names]
    rows.append((names[1], *change))
    lines = ["participant_id\tgrade\tpatient\tsite", *("\t".join(row) for row in rows)]
    (tmp_path / "participants.tsv").write_text("\n".join(lines) + "\n")
    ((case, told),) = [f for f in found(tmp_path, severity) if "twice" in f[1]]
    assert case == names[1]
    assert message in told
    usable = {c.id for c in Scans(16, tmp_path).listed.cases}
    assert (names[1] in usable) == (severity == "warning")


@pytest.mark.parametrize(
    ("grade", "patient", "severity", "message"),
    [
        ("HGG", "same", "error", "with class 'LGG' and 'HGG'"),
        ("LGG", "BraTS19_2013_99_1", "error", "with patient"),
        ("LGG", "same", "warning", "alike: counted once"),
    ],
)
def test_a_case_mapped_twice_is_an_error_if_the_rows_differ(
    fakes, grade, patient, severity, message, tmp_path
):
    names = make(fakes, "brats2020", tmp_path)
    table = next(tmp_path.rglob("name_mapping.csv"))
    head, first, *_ = table.read_text().splitlines()
    columns = head.split(",")
    row = dict(zip(columns, first.split(","), strict=True))
    row["Grade"] = grade
    row["BraTS_2020_subject_ID"] = row["BraTS_2020_subject_ID"].lower()  # ids ignore case
    if patient != "same":
        row["BraTS_2019_subject_ID"] = patient
    table.write_text(table.read_text().rstrip("\n") + "\n" + ",".join(row.values()) + "\n")
    ((case, told),) = [f for f in found(tmp_path, severity) if "twice" in f[1]]
    assert case == names[1]
    assert f"is twice in name_mapping.csv (lines 2 and 8), {message}" in told
    usable = {c.id for c in Scans(16, tmp_path).listed.cases}
    assert (names[1] in usable) == (severity == "warning")


@pytest.mark.parametrize("end", ["csv", "tsv"])
def test_a_manifest_counts_equal_rows_once_and_refuses_others_of_one_id(fakes, end, tmp_path):
    cases = fakes.common.make_cases(2, 2)
    separator = "," if end == "csv" else "\t"
    fakes.manifest.make(tmp_path, cases, separator=separator)
    table = tmp_path / f"manifest.{end}"
    text = table.read_text()
    first = text.splitlines()[1]
    table.write_text(text + first + "\n")
    message = f"is twice in manifest.{end} (lines 2 and 6), alike: counted once"
    assert found(tmp_path, "warning") == [("patient-1", message)]
    assert len(Scans(16, tmp_path).cases()) == 4
    table.write_text(text + first.replace("LGG", "HGG") + "\n")
    assert errors_of(tmp_path, "patient-1") == [
        f"id occurs twice, here in manifest.{end} line {line}" for line in (2, 6)
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\0b.nii.gz", "is no path"),
        ("x" * 300, "does not exist"),
        ("../outside.nii.gz", "leads outside the root"),
        ("scans", "is a folder, not a file"),
        ("circle/x.nii.gz", "does not exist"),
    ],
)
def test_paths_of_a_manifest_that_cannot_be_are_errors_of_their_case(
    fakes, path, message, tmp_path
):
    fakes.manifest.make(tmp_path, fakes.common.make_cases(1, 1))
    (tmp_path / "circle").symlink_to("circle")
    table = tmp_path / "manifest.csv"
    table.write_text(table.read_text().replace("scans/2-flair.nii.gz", path))
    (told,) = (m for m in errors_of(tmp_path, "patient-2") if "which" in m)
    assert message in told


# --- tables whose ids match no case


@pytest.mark.parametrize("end", ["csv", "tsv"])
@pytest.mark.parametrize(
    ("layout", "change", "near"),
    [
        ("brats2021", str.upper, "BraTS2021_0000"),
        ("brats2021", lambda i: f"{i}.nii.gz", "BraTS2021_0000"),
        ("brats2021", lambda i: f"{i}/{i}_flair.nii.gz", "BraTS2021_0000"),
        ("brats2021", lambda i: i.replace("_0000", "_"), "BraTS2021_0000"),
        ("brats2021", lambda i: i.replace("_", "-"), "BraTS2021_0000"),
        ("msd", lambda i: i.replace("BRATS_00", "brats_"), "BRATS_00"),
        ("brats2023", lambda i: f"BraTS19_TCIA{i[-5]}_1", ""),
    ],
)
def test_labels_that_match_no_case_are_an_error_with_the_expected_ids(
    fakes, layout, change, near, end, tmp_path
):
    names = make(fakes, layout, tmp_path)
    joint = "," if end == "csv" else "\t"
    rows = [f"{change(names[n])}{joint}{'LGG' if n <= 3 else 'HGG'}" for n in names]
    (tmp_path / f"labels.{end}").write_text("\n".join([f"case_id{joint}label", *rows]) + "\n")
    ((case, told),) = found(tmp_path)
    assert case == ""
    assert f"no row of labels.{end} belongs to a case" in told
    assert f"'{change(names[1])}'" in told
    assert names[1] in told
    assert (f"is perhaps {near}" in told) == bool(near)
    report = Scans(16, tmp_path).check(workers=1)
    assert [f.severity for f in report.findings if "class" in f.message] == []
    with pytest.raises(DatasetError, match="no row of labels"):
        Scans(16, tmp_path).split(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id,label\n", "labels.csv has no rows. Give one for each case, with ids such as"),
        ("case_id,label\n,\n,\n", "labels.csv has no rows"),
    ],
)
def test_labels_without_rows_are_an_error(fakes, text, message, tmp_path):
    make(fakes, "brats2021", tmp_path)
    (tmp_path / "labels.csv").write_text(text)
    ((case, told),) = found(tmp_path)
    assert (case, told.startswith(message)) == ("", True)


def test_labels_that_name_no_class_are_an_error_for_each_case(fakes, tmp_path):
    names = make(fakes, "brats2021", tmp_path, 1)
    rows = [f"{names[1]},", f"{names[2]},n/a"]
    (tmp_path / "labels.csv").write_text("\n".join(["case_id,label", *rows]) + "\n")
    assert found(tmp_path) == [
        (names[1], "has no class in labels.csv (line 2)"),
        (names[2], "has no class in labels.csv (line 3)"),
    ]


def test_cases_without_a_row_are_errors_and_rows_without_a_case_warnings_with_a_guess(
    fakes, tmp_path
):
    names = make(fakes, "brats2021", tmp_path, 2)
    rows = [f"{names[n]},{'LGG' if n <= 2 else 'HGG'}" for n in (1, 2, 3)]
    rows += [f"{names[4].upper()},HGG", "somebody,LGG", ",LGG"]
    (tmp_path / "labels.csv").write_text("\n".join(["case_id,label", *rows]) + "\n")
    assert errors_of(tmp_path, names[4]) == ["has no class; expected LGG or HGG"]
    start = "is in labels.csv but not among the cases"
    guess = f"; '{names[4].upper()}' is perhaps {names[4]}"
    assert found(tmp_path, "warning") == [
        ("labels.csv", "line 7 has no case_id: not used"),
        (names[4].upper(), start + guess),
        ("somebody", start),
    ]


def test_labels_that_are_not_read_are_told(fakes, tmp_path):
    make(fakes, "brats2020", tmp_path / "a")
    (tmp_path / "a" / "labels.csv").write_text("case_id,label\nx,LGG\n")
    message = "is not used: this layout has classes of its own"
    assert found(tmp_path / "a", "warning") == [("labels.csv", message)]
    (tmp_path / "b").mkdir()
    make(fakes, "brats2021", tmp_path / "b" / "inner")
    (tmp_path / "b" / "inner" / "labels.csv").write_text("case_id,label\nx,LGG\n")
    told = dict(found(tmp_path / "b", "warning"))["inner/labels.csv"]
    assert told == "belongs to no case: not used; it is read in the root only"
    (tmp_path / "b" / "inner" / "labels.tsv").write_text("case_id\tlabel\nx\tLGG\n")
    with pytest.raises(DatasetError, match=r"labels\.csv and labels\.tsv\. Keep one"):
        Scans(16, tmp_path / "b" / "inner")


def test_participants_without_a_row_are_errors_however_few_rows_there_are(fakes, tmp_path):
    names = make(fakes, "bids", tmp_path, 2)
    (tmp_path / "participants.tsv").write_text(f"participant_id\tgrade\n{names[1]}\tLGG\n")
    for number in (2, 3, 4):
        assert "has no row in participants.tsv" in errors_of(tmp_path, names[number])


# --- what cannot be read


def dangling(path):
    path.unlink(missing_ok=True)
    path.symlink_to("gone.nii.gz")


def circle(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def plug(path):
    path.unlink(missing_ok=True)
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


KINDS = {
    dangling: "is a link to gone.nii.gz, which leads nowhere",
    circle: "which leads nowhere",
    pipe: "is a pipe, a socket or a device, not a file",
    plug: "is a pipe, a socket or a device, not a file",
    folder: "is a folder, not a file",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["brats2020", "bids", "manifest", "folders", "msd"])
@pytest.mark.parametrize("name", ["flair", "seg"])
def test_what_is_no_file_is_an_error_that_names_it(fakes, layout, kind, name, tmp_path):
    make(fakes, layout, tmp_path / "data", 1)
    case = Scans(16, tmp_path / "data").cases()[1]
    path = case.files[name]
    kind(path)
    told = dict(found(tmp_path / "data"))
    place = path.relative_to(tmp_path / "data").as_posix()
    assert told[place].startswith(f"{KINDS[kind].split(' which')[0]}") or kind is circle
    assert KINDS[kind] in told[place]
    assert case.id in told  # the case is not dropped, it lacks a file
    with pytest.raises(DatasetError, match="Repair or remove that"):
        Scans(16, tmp_path / "data").cases()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("layout", "table"),
    [
        ("bids", "participants.tsv"),
        ("brats2021", "labels.csv"),
        ("brats2020", "name_mapping.csv"),
        ("manifest", "manifest.csv"),
        ("msd", "dataset.json"),
    ],
)
def test_a_table_that_is_no_file_is_an_error_and_not_taken_for_absent(
    fakes, layout, table, kind, tmp_path
):
    make(fakes, layout, tmp_path, 1)
    path = next(tmp_path.rglob(table), tmp_path / table)
    kind(path)
    try:
        told = " ".join(message for case, message in found(tmp_path) if not case)
    except DatasetError as error:  # without it, nothing is known at all
        told = str(error)
    assert table in told


def test_the_rest_of_a_folder_with_a_pipe_in_it_is_read_without_waiting(fakes, tmp_path):
    make(fakes, "brats2020", tmp_path)
    os.mkfifo(tmp_path / "notes.txt")
    assert [*dict(found(tmp_path))] == ["notes.txt"]
    report = Scans(16, tmp_path).check(workers=1)
    assert report.facts["counts"] == {"LGG": 3, "HGG": 3}


CODE = """
import sys
from pathlib import Path
from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.dataset import Scans
try:
    listed = Scans(16, Path(sys.argv[1])).listed
except DatasetError as error:
    print("refused:", error)
else:
    for f in listed.findings:
        if f.severity == "error":
            print(f"{f.case}: {f.message}")
"""


@pytest.fixture
def as_user():
    """Return a function that lists a root without root's right to read everything."""
    command = [sys.executable, "-c", CODE]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and there is no setpriv to give that up")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    closed = []

    def listed(root, *paths):
        for path in paths:
            closed.append((path, path.stat().st_mode))
            path.chmod(0)
        done = subprocess.run([*command, str(root)], capture_output=True, text=True)
        assert done.stderr == ""
        return done.stdout

    yield listed
    for path, mode in closed:
        path.chmod(mode)


@pytest.mark.parametrize("layout", ["folders", "brats2020", "brats2021", "bids", "manifest", "msd"])
def test_a_folder_that_may_not_be_read_is_an_error_that_names_it(fakes, layout, as_user, tmp_path):
    root = tmp_path / "data"
    make(fakes, layout, root, 1)
    place = Scans(16, root).cases()[1].files["flair"].parent
    told = as_user(root, place)
    assert f"{place.relative_to(root)}: cannot be read: {os.strerror(errno.EACCES)}" in told


@pytest.mark.parametrize("layout", ["folders", "brats2020", "manifest", "msd"])
@pytest.mark.parametrize("name", ["seg", "t2"])
def test_a_file_that_may_not_be_read_is_an_error_that_names_it(
    fakes, layout, name, as_user, tmp_path
):
    root = tmp_path / "data"
    make(fakes, layout, root, 1)
    case = Scans(16, root).cases()[1]
    told = as_user(root, case.files[name])
    assert f"{case.files[name].relative_to(root)}: cannot be read: " in told
    assert (f"{case.id}: " in told) == (name != "t2" or layout in ("manifest", "msd"))


@pytest.mark.parametrize(
    ("layout", "table"),
    [
        ("bids", "participants.tsv"),
        ("brats2020", "name_mapping.csv"),
        ("manifest", "manifest.csv"),
        ("msd", "dataset.json"),
    ],
)
def test_a_table_that_may_not_be_read_is_an_error_that_names_it(
    fakes, layout, table, as_user, tmp_path
):
    make(fakes, layout, tmp_path / "data")
    told = as_user(tmp_path / "data", next((tmp_path / "data").rglob(table)))
    assert f"{table} cannot be read: {os.strerror(errno.EACCES)}" in told


def test_roots_that_may_not_be_read_are_named(fakes, as_user, tmp_path):
    (tmp_path / "above").mkdir()
    make(fakes, "folders", tmp_path / "above" / "data")
    root = tmp_path / "above" / "data"
    told = as_user(root, root)
    assert told.startswith(f"refused: {root} cannot be read: {os.strerror(errno.EACCES)}")


def test_roots_below_a_folder_that_may_not_be_read_are_named(fakes, as_user, tmp_path):
    (tmp_path / "above").mkdir()
    make(fakes, "folders", tmp_path / "above" / "data")
    told = as_user(tmp_path / "above" / "data", tmp_path / "above")
    assert told.startswith(f"refused: {tmp_path / 'above' / 'data'} cannot be read: ")


def test_a_table_with_a_field_beyond_all_measure_is_named(fakes, tmp_path):
    names = make(fakes, "brats2021", tmp_path)
    (tmp_path / "labels.csv").write_text(f"case_id,label\n{names[1]},{'x' * 200_000}\n")
    with pytest.raises(DatasetError, match=r"labels\.csv cannot be read: field larger than"):
        Scans(16, tmp_path)
