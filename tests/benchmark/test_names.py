"""No name and no label leads out of the folder of results: an attack table through the command.

Every surface that takes a text from a person or from the data is tried with texts that would be
paths, patterns or no text at all. Whatever the outcome, nothing outside the folder of results
changes, and nobody sees a traceback.
"""

import csv
import hashlib
import importlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cerebench.benchmark.engine.registry import Registries
from cerebench.core.records.files import sealed
from cerebench.datasets.folders.names import folder_names, is_name
from cerebench.datasets.scans.volumes import write_nifti

sys.path.append(str(Path(__file__).parents[1] / "datasets" / "fakes"))
common = importlib.import_module("fake_common")
FAKES = {
    n: importlib.import_module(f"fake_{n}") for n in ("manifest", "bids", "brats2020", "folders")
}

ABSOLUTE = "ABSOLUTE"  # stands for the path of an existing folder, which only a test knows
ATTACKS = {
    "parent": "../../evil",
    "absolute": ABSOLUTE,
    "slash": "a/b",
    "dot": ".",
    "dots": "..",
    "pattern": "a*",
    "nul": "a\0b",
    "long": "x" * 300,
}
LABELS = [name for name in ATTACKS if name not in ("nul", "long")]
OUT = "a/b/c/runs"  # deep inside the watched folder, so that what climbs out of it is seen
QUICK = ("--preset", "smoke", "--size", "16", "--n", "4", "--metrics", "mmd2-kwon", "--out", OUT)


def content(folder: Path) -> dict[str, str]:
    """Return what lies in a folder, without results and cache: links, folders, hashes of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith((OUT, "cache")):
            continue
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


class Trap:
    """The command in a folder with things that must stay."""

    def __init__(self, bench) -> None:
        self.bench, self.folder = bench, bench.folder
        self.out, self.victim = bench.folder / OUT, bench.folder / "victim"
        for place in (self.victim, self.folder / "evil", self.folder / "a/evil"):
            place.mkdir(parents=True)
            (place / "photo.jpg").write_text("mine")
            (place / "model.safetensors").write_text("mine, too")
        self.out.parent.mkdir(parents=True)

    def text(self, attack: str) -> str:
        return str(self.victim) if ATTACKS[attack] == ABSOLUTE else ATTACKS[attack]

    def run(self, *arguments: str, codes=(2,)) -> str:
        """Run the command; return what it printed, after everything outside was found unchanged."""
        before = content(self.folder)
        code, out, err = self.bench(*arguments)
        assert code in codes, (code, err)
        assert "Traceback" not in out + err
        assert content(self.folder) == before
        written = [*self.out.rglob("*"), *(self.folder / "cache").rglob("*")]
        assert [p for p in written if not re.fullmatch(r"[A-Za-z0-9._@-]+", p.name)] == []
        assert not [p for p in written if p.name == "evil"]
        return out + err

    def refused(self, *arguments: str) -> str:
        """Run a command that ends with exit code 2 before anything is written."""
        told = self.run(*arguments)
        assert not self.out.exists()
        return told


@pytest.fixture
def trap(bench):
    return Trap(bench)


attacked = pytest.mark.parametrize("attack", ATTACKS)


# Names that people choose.


def expect_rule(told: str) -> None:
    assert "ASCII letters, digits" in " ".join(told.split())


@attacked
def test_a_row_of_samples(trap, attack):
    expect_rule(trap.refused("run", "tiny.toml", "--samples", f"{trap.text(attack)}=evil", *QUICK))
    # As the folder it is only read, and found to hold no samples.
    trap.run("run", "tiny.toml", "--samples", f"mine={trap.text(attack)}", *QUICK, codes=(2, 3))
    assert not trap.out.exists()


@pytest.mark.parametrize("name", ["a b", "-x", "a\nb", "ä", "x" * 65, "a\\b"])
def test_other_names_that_are_none(trap, name):
    expect_rule(trap.refused("run", "tiny.toml", "--samples", f"{name}=evil", *QUICK))


@attacked
def test_a_row_of_evaluate(trap, attack):
    volumes(trap.folder / "real", 4)
    ask = ("evaluate", "--real", "real", "--metrics", "mmd2-linear", "--floor-only", "--out", OUT)
    expect_rule(trap.refused(*ask, "--fake", f"{trap.text(attack)}=real"))
    trap.run(*ask, "--fake", trap.text(attack), codes=(2, 3))
    trap.run(*ask, "--fake", f"mine={trap.text(attack)}", codes=(2, 3))
    assert not trap.out.exists()


@attacked
def test_structures_of_a_row(trap, attack):
    volumes(trap.folder / "real", 4)
    ask = ("evaluate", "--real", "real", "--fake", "mine=real", "--real-structures", "real")
    ask += ("--metrics", "mmd2-linear", "--out", OUT)
    assert "belongs to no row" in trap.refused(*ask, "--structures", f"{trap.text(attack)}=real")
    trap.run(*ask, "--structures", f"mine={trap.text(attack)}", codes=(2, 3))
    assert not trap.out.exists()


@attacked
def test_an_experiment(trap, attack):
    trap.refused("run", trap.text(attack), "--out", OUT)
    trap.refused("run", f"{trap.text(attack)}.toml", "--out", OUT)


@pytest.mark.parametrize("stem", [".", "..", "a*", "a b", "-x", "x" * 65, "ä", "a\nb"])
def test_an_experiment_file_that_exists(trap, stem):
    (trap.folder / f"{stem}.toml").write_text((trap.folder / "tiny.toml").read_text())
    expect_rule(trap.refused("run", f"./{stem}.toml", "--out", OUT))


@attacked
def test_a_variant_of_an_experiment(trap, attack):
    key = json.dumps(trap.text(attack))
    text = (trap.folder / "tiny.toml").read_text().replace('"wgan-gp"', key)
    (trap.folder / "mine.toml").write_text(
        f"{text}\n[variants.{key}]\nmethod = 'wgan-gp'\nlabel = 'x'\n"
    )
    told = trap.refused("run", "mine.toml", "--out", OUT)
    expect_rule(told)
    assert "mine.toml: a variant" in told


@attacked
def test_paths_of_an_experiment(trap, attack):
    for key, dataset in (("data_root", "scans"), ("split_file", "phantom")):
        text = (trap.folder / "tiny.toml").read_text().replace("phantom", dataset)
        value = json.dumps(trap.text(attack))
        (trap.folder / "mine.toml").write_text(f"{key} = {value}\n{text}")
        trap.run("run", "mine.toml", "--out", OUT, codes=(2, 3))
    assert not trap.out.exists()


@attacked
@pytest.mark.parametrize("option", ["--preset", "--methods", "--protocols", "--dataset"])
def test_names_of_what_must_exist(trap, attack, option):
    trap.refused("run", "tiny.toml", option, trap.text(attack), "--out", OUT)


METHOD = """
from cerebench.methods.base import MethodInfo
from cerebench.methods.wgan_gp import WGANGP
class Mine(WGANGP):
    info = MethodInfo({name!r}, 1, "a paper", "none", "Mine")
"""


@attacked
def test_a_method_of_a_plugin_file(trap, attack):
    name = trap.text(attack)
    (trap.folder / "mine.py").write_text(METHOD.format(name=name))
    for command in (("run", "tiny.toml", "--methods", name, "--out", OUT), ("check", name)):
        expect_rule(trap.refused(*command, "--plugin", "mine.py"))


PLUGINS = {
    "methods": METHOD.replace("Mine(", "Own("),
    "metrics": """
from dataclasses import replace
from cerebench.metrics.voxel.mmd import MMD2_KWON
Own = replace(MMD2_KWON, name={name!r})
""",
    "datasets": """
from dataclasses import replace
from cerebench.datasets.phantom import Phantom
class Own(Phantom):
    info = replace(Phantom.info, name={name!r})
""",
    "protocols": """
from dataclasses import replace
from cerebench.metrics.downstream.controls import RealOnly
class Own(RealOnly):
    info = replace(RealOnly.info, name={name!r})
""",
}


def install(trap, monkeypatch, kind: str, entry: str, text: str) -> None:
    """Put a package with one plugin on the path, as pip would."""
    module = f"plugin_{hashlib.sha256(f'{kind} {entry} {text}'.encode()).hexdigest()[:12]}"
    info = trap.folder / "site" / "plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[cerebench.{kind}]\n{entry} = {module}:Own\n")
    (trap.folder / "site" / f"{module}.py").write_text(text)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(trap.folder / "site")


@attacked
@pytest.mark.parametrize("kind", PLUGINS)
def test_a_plugin_of_a_package_that_names_itself(trap, monkeypatch, kind, attack):
    install(trap, monkeypatch, kind, "own", PLUGINS[kind].format(name=trap.text(attack)))
    option = "--dataset" if kind == "datasets" else f"--{kind}"
    expect_rule(trap.refused("run", "tiny.toml", option, "own", "--out", OUT))


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "nul"])
def test_a_plugin_that_its_package_names(trap, monkeypatch, attack):
    entry = trap.text(attack)
    install(trap, monkeypatch, "metrics", entry, "raise SystemError('its code was run')")
    expect_rule(trap.refused("run", "tiny.toml", "--metrics", entry, "--out", OUT))
    told = trap.run("list", "metrics", codes=(0,))
    assert "not available" in told
    assert "mmd2-kwon" in told


@pytest.mark.parametrize("field", ["channels=('../evil',)", "classes=('a', 'b\\0')"])
def test_other_texts_of_a_dataset_plugin(trap, monkeypatch, field):
    text = PLUGINS["datasets"].replace("name={name!r}", field)
    install(trap, monkeypatch, "datasets", "own", text)
    trap.run("run", "tiny.toml", "--dataset", "own", "--out", OUT, codes=(2, 3))
    assert not trap.out.exists()


def test_the_names_that_come_with_the_suite_are_names():
    registries = Registries()
    for kind in ("methods", "metrics", "datasets", "reports", "extractors", "protocols"):
        registry = getattr(registries, kind)
        assert [n for n in registry.names() if not is_name(n)] == []


@attacked
def test_a_new_method_and_where_others_write(trap, attack):
    trap.refused("new", "method", trap.text(attack))
    trap.run("weights", "import", trap.text(attack), codes=(2, 3, 5))
    trap.run("sample", trap.text(attack), codes=(2,))
    trap.run("report", trap.text(attack), codes=(2,))


# Labels of classes, which come with the data.


def volumes(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        random = np.random.default_rng(index).random((16, 16, 16))
        write_nifti(folder / f"v{index}.nii.gz", (random * 2 - 1).astype(np.float32), (8.0,) * 3)
    return folder


def cases(count: int):
    return [
        replace(case, images={"flair": case.images["flair"]})
        for case in common.make_cases(0, count)
    ]


def rewrite(table: Path, column: str, labels: list[str], delimiter: str = ",") -> None:
    """Give the rows of a table these labels, equally often."""
    with table.open(newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    for index, row in enumerate(rows):
        row[header.index(column)] = labels[index * len(labels) // len(rows)]
    with table.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def in_manifest(root: Path, labels: list[str], each: int = 4) -> None:
    FAKES["manifest"].make(root, cases(each * len(labels)))
    rewrite(root / "manifest.csv", "label", labels)


def in_participants(root: Path, labels: list[str], each: int = 4) -> None:
    FAKES["bids"].make(root, cases(each * len(labels)))
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("\tgrade\t", "\tlabel\t"))
    rewrite(table, "label", labels, "\t")


def in_labels_csv(root: Path, labels: list[str], each: int = 4) -> None:
    names = FAKES["bids"].make(root, cases(each * len(labels)))
    (root / "participants.tsv").unlink()
    rows = "".join(f"{name},\n" for name in names.values())
    (root / "labels.csv").write_text(f"case_id,label\n{rows}")
    rewrite(root / "labels.csv", "label", labels)


def in_name_mapping(root: Path, labels: list[str], each: int = 4) -> None:
    FAKES["brats2020"].make(root, cases(each * len(labels)))
    (table,) = root.rglob("name_mapping.csv")
    rewrite(table, "Grade", labels)


def in_folders(root: Path, labels: list[str]) -> None:
    """Write class folders; ``class_..`` is a class that is labelled ``..``."""
    made = cases(4 * len(labels))
    for index, case in enumerate(made):
        FAKES["folders"].make(root, [replace(case, grade=f"class_{labels[index // 4]}")])


TABLES = {"manifest": in_manifest, "participants": in_participants, "labels": in_labels_csv}


@attacked
@pytest.mark.parametrize("table", [*TABLES, "name_mapping"])
def test_a_class_label_is_used_or_refused_with_its_case(trap, table, attack):
    fits = attack in LABELS and table != "name_mapping"
    write = {**TABLES, "name_mapping": in_name_mapping}[table]
    write(trap.folder / "data", [trap.text(attack), "other"], 3)
    told = trap.run("data", "check", "data", "--size", "16", "--json", codes=(0 if fits else 3,))
    found = json.loads(told)
    if fits:
        assert found["counts"] == {trap.text(attack): 3, "other": 3}
        return
    errors = [f["case"] for f in found["findings"] if f["severity"] == "error"]
    assert len({case for case in errors if case}) >= 3
    root = ("--dataset", "scans", "--data-root", "data")
    told = trap.run("run", "tiny.toml", *root, *QUICK, codes=(3,))
    assert errors[0] in told
    assert not trap.out.exists()


@pytest.mark.parametrize("label", ["x" * 220, "a\x07b", "a\nb", "a\udcff"])
def test_a_class_folder_that_cannot_be_shown(trap, label):
    in_folders(trap.folder / "data", [label, "other"])
    root = ("--dataset", "scans", "--data-root", "data")
    trap.run("run", "tiny.toml", *root, *QUICK, codes=(3,))
    assert not trap.out.exists()


@attacked
@pytest.mark.parametrize("column", ["case_id", "image:flair", "seg"])
def test_other_columns_of_a_manifest(trap, column, attack):
    in_manifest(trap.folder / "data", ["one", "other"], 3)
    rewrite(trap.folder / "data/manifest.csv", column, [trap.text(attack), *"abcde"])
    told = trap.run("data", "check", "data", "--size", "16", "--json", codes=(0, 3))
    errors = {f["case"] for f in json.loads(told)["findings"] if f["severity"] == "error"}
    if column == "case_id":  # a text, but one that can be shown
        assert bool(errors) == (attack not in LABELS)
    else:
        assert "patient-1" in errors


AWKWARD = "50 % [b] a_b & $x$ {"
WHOLE = {
    **{table: (write, [*LABELS, "all", AWKWARD]) for table, write in TABLES.items()},
    "folders": (in_folders, ["dot", "dots", "pattern", "all", AWKWARD]),
}


@pytest.mark.slow
@pytest.mark.parametrize("table", WHOLE)
def test_labels_that_are_no_names_are_trained_sampled_scored_and_shown(trap, table):
    write, attacks = WHOLE[table]
    labels = [trap.text(name) if name in ATTACKS else name for name in attacks]
    write(trap.folder / "data", labels)
    (trap.folder / "mine.toml").write_text(
        'title = "Mine"\ndataset = "scans"\ndata_root = "data"\nmethods = ["wgan-gp"]\n'
    )
    ask = ("run", "mine.toml", *QUICK)
    assert AWKWARD in trap.run(*ask, codes=(0,))
    (cell,) = trap.out.glob("*/wgan-gp-*/seed-0")
    places = folder_names(sorted(labels))
    assert {p.name for p in (cell / "train").iterdir()} == set(places.values())
    subjects = {f"sub-{place}{i:05d}" for place in places.values() for i in range(4)}
    assert {p.name for p in (cell / "sample").glob("sub-*")} == subjects
    for label, place in places.items():
        record = json.loads((cell / "train" / place / "record.json").read_text())
        assert (record["class"], record["n_train"]) == (label, 3)
    assert "Nothing to do" in trap.run(*ask, codes=(0,))
    assert "5 samples per class" in trap.run("sample", str(cell), "-n", "5", codes=(0,))
    trap.run("report", "--latex", "--markdown", "--csv", "--out", OUT, codes=(0,))
    told = {p.suffix: p.read_text() for p in trap.out.rglob("mine.*")}
    assert AWKWARD in told[".csv"]
    assert r"50 % [b] a\_b &amp; \$x\$ {" in told[".md"]
    assert r"50 \% [b] a\_b \& \$x\$ \{" in told[".tex"]


def test_samples_of_such_labels_are_a_row_of_other_runs(trap):
    labels = ["../../evil", "a/b"]
    in_manifest(trap.folder / "data", labels)
    for label, place in folder_names(labels).items():
        volumes(trap.folder / "mine" / place, 4 + labels.index(label))
    ask = ("--dataset", "scans", "--data-root", "data", "--methods", "none", *QUICK)
    told = trap.run("run", "tiny.toml", "--samples", "mine=mine", *ask, codes=(0,))
    assert "a/b" in told
    (record,) = trap.out.glob("*/mine-samples-*/seed-0/sample/record.json")
    assert json.loads(record.read_text())["n"] == {"../../evil": 4, "a/b": 4}


def test_structures_of_a_class_are_those_of_its_own_folder(trap):
    """A class labelled like a folder elsewhere does not take its structures there."""
    for name in ("real", "fake"):
        rows = ["participant_id\tclass"]
        for k, label in enumerate((str(trap.victim), "other")):
            for i in range(4):
                subject = f"sub-{k}{i}"
                volumes(trap.folder / name / subject / "anat", 1)
                rows.append(f"{subject}\t{label}")
        (trap.folder / name / "participants.tsv").write_text("\n".join(rows))
    ids = [f"sub-{k}{i}/anat/v0" for k in range(2) for i in range(4)]
    (trap.folder / "table").mkdir()
    table = "case,ventricles\n" + "".join(f"{name},{n + 1}\n" for n, name in enumerate(ids))
    (trap.folder / "table.csv").write_text(table)
    ask = ("evaluate", "--real", "real", "--fake", "fake", "--metrics", "mmd2-linear", "--out", OUT)
    ask += ("--floor-only", "--real-structures", "table.csv")
    trap.run(*ask, "--structures", "table.csv", codes=(0,))
    told = trap.run(*ask, "--structures", str(trap.folder / "table"), codes=(3,))
    assert str(trap.victim / "sub-00") not in told


def test_an_exported_dataset_stays_in_its_folder(trap):
    in_manifest(trap.folder / "data", ["../../evil", "a/b"])
    rewrite(trap.folder / "data/manifest.csv", "case_id", ["../../e1", "/e2", "e3*", *"45678"])
    before = content(trap.folder)
    ask = ("data", "export", "exported", "data", "--size", "16")
    assert trap.bench(*ask)[0] == 0
    after = content(trap.folder)
    new = [name for name in after if name not in before]
    assert all(name.split("/")[0] == "exported" for name in new)
    assert {n: h for n, h in after.items() if n in before} == before
    assert "exported/sub-e1" in new


# Files that nobody named are not run.

BOOBY_TRAP = "from pathlib import Path\nPath('was-run').touch()\n" + METHOD


@pytest.mark.parametrize("place", ["my_gan.py", "my_gan/my_gan.py"])
@pytest.mark.parametrize("command", ["run", "check", "show", "sample"])
def test_a_file_in_the_working_folder_is_not_loaded_unless_named(trap, tiny_run, place, command):
    path = trap.folder / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(BOOBY_TRAP.format(name="my-gan"))
    (trained,) = tiny_run.folder.rglob("wgan-gp-*/seed-0")
    shutil.copytree(trained, trap.folder / "cell")
    described = trap.folder / "cell/cell.json"
    told = json.loads(described.read_text()) | {"name": "my-gan"}
    described.write_text(json.dumps(sealed(told)))
    arguments = {
        "run": ("run", "tiny.toml", "--methods", "my-gan", "--out", OUT),
        "check": ("check", "my-gan"),
        "show": ("show", "my-gan"),
        "sample": ("sample", "cell", "-n", "11"),
    }[command]
    told = trap.refused(*arguments)
    assert not (trap.folder / "was-run").exists()
    assert f"add --plugin {place}" in " ".join(told.split())
    if command == "show":
        assert trap.bench(*arguments, "--plugin", place)[0] == 0
        assert (trap.folder / "was-run").exists()


def test_a_file_in_the_working_folder_is_not_told_of_where_it_cannot_help(trap):
    (trap.folder / "exp_9.py").write_text(BOOBY_TRAP.format(name="exp-9"))
    told = trap.refused("run", "tiny.toml", "--protocols", "exp-9", "--out", OUT)
    assert "--plugin" not in told


@pytest.mark.parametrize("option", ["--metrics", "--dataset"])
def test_a_file_of_a_metric_or_a_dataset_is_told_of_and_not_loaded(trap, option):
    (trap.folder / "ms_sim.py").write_text(BOOBY_TRAP.format(name="ms-sim"))
    told = trap.refused("run", "tiny.toml", option, "ms-sim", "--out", OUT)
    assert "to use it, add --plugin ms_sim.py" in told


# What is removed is known to be ours.


@pytest.fixture
def trained(trap, tiny_run):
    """Copy the finished run and let its first training look like one of other settings."""
    shutil.copytree(tiny_run.folder / "runs", trap.out)
    shutil.copytree(tiny_run.folder / "cache", trap.folder / "cache", dirs_exist_ok=True)
    ask = ("run", "tiny.toml", "--metrics", "mmd2-kwon", "--out", OUT)
    (place,) = trap.out.glob("*/wgan-gp-*/seed-0/train/LGG")
    (place / "record.json").unlink()
    (place / "config.json").write_text(json.dumps({"key": "another"}))
    return ask, place


@pytest.mark.parametrize("marked", [True, False])
def test_a_training_of_other_settings_is_replaced(trap, trained, marked):
    ask, place = trained
    (place / "left-over").mkdir() if marked else (place / ".cerebench").unlink()
    trap.run(*ask, codes=(0,))
    assert (place / "record.json").exists()
    assert not (place / "left-over").exists()


def test_a_folder_with_something_of_the_users_stops_the_run(trap, trained):
    ask, place = trained
    (place / ".cerebench").unlink()
    (place / "photo.jpg").write_text("mine")
    told = trap.run(*ask, codes=(6,))
    assert f"{place.relative_to(trap.folder)} is in the way" in " ".join(told.split())
    assert (place / "photo.jpg").read_text() == "mine"
    assert not (place / "failure.json").exists()


@pytest.mark.parametrize("level", [0, 1])
def test_a_link_in_the_store_is_neither_followed_nor_written_through(trap, trained, level):
    ask, place = trained
    linked = [place, *place.parents][level]
    linked.rename(trap.folder / "moved")
    linked.symlink_to(trap.folder / "moved")
    assert "is a link to" in " ".join(trap.run(*ask, codes=(6,)).split())


def test_nothing_is_cleared_behind_a_link_to_a_cell(trap, trained):
    ask, place = trained
    place.parents[1].rename(trap.folder / "moved")
    place.parents[1].symlink_to(trap.folder / "moved")
    assert trap.bench(*ask)[0] == 6
    assert (trap.folder / "moved/train/LGG/model.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "key"),
    [("../../evil", "0" * 64), ("..", "0" * 64), ("ok", "../../evil"), ("ok", "/" * 64)],
)
def test_a_report_is_not_written_where_records_say(trap, trained, name, key):
    (path,) = trap.out.glob("*/experiment-*.json")
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "name": name, "key": key}))
    trap.run("report", "--latex", "--out", OUT, codes=(3,))
    assert not (path.parent / "evil").exists()
