"""Every kind of stored file, damaged in every way: the same numbers again, or the file is named.

After the damage a report is made, everything is hashed, and the same run is started again. Never is
another number printed without the file's name beside it, and never does a run end with exit code 0
and another number. The outcomes stand in docs/results.md, which a case that differs from it fails;
WRITE_GOLDEN=1 writes them anew.
"""

import json
import os
from dataclasses import dataclass

import pytest

from cerebench.core.records.files import sealed

from .conftest import COMMAND, OTHER_COMMAND, on_the_page

pytestmark = pytest.mark.faults

CELL = "runs/*/fast-*/seed-0"
OTHER = "runs/*/fast-*/seed-1"


@dataclass(frozen=True)
class Kind:
    """A kind of stored file.

    Attributes:
        path: Where one lies.
        partner: Where the one lies that it is exchanged with; any other of its kind if not given.
        redo: Records that are removed, so that the run reads the file.
        figure: The figure that is drawn from it.
        told_by: What ``bench verify`` knows of it: from a ``record`` that it must be there and what
            it holds; from ``itself`` what it holds, where it is there; ``nothing``.
        of: The store that has one: ``finished`` or ``stopped``.
        lost: Whether a run cannot make it again; it says what is lost.
        made_by: The commands that make it, and what it is exchanged with.
    """

    path: str
    partner: str = ""
    redo: tuple[str, ...] = ()
    figure: str = ""
    told_by: str = "record"
    of: str = "finished"
    lost: bool = False
    made_by: tuple[tuple[str, ...], ...] = (COMMAND,)


SCORES = (f"{CELL}/score/*@*.json", f"{OTHER}/score/*@*.json")
CONTROLS = ("runs/*/_real/score/*/*@*.json",)
TRAINED, SAMPLE = f"{CELL}/train/all", f"{CELL}/sample"
ANAT = f"{SAMPLE}/sub-LGG00001/anat"
KINDS = {
    "table of contents": Kind(
        "runs/*/experiment-damaged-*.json",
        "runs/*/experiment-other-*.json",
        told_by="itself",
        made_by=(COMMAND, OTHER_COMMAND),
    ),
    "that of another experiment": Kind(
        "runs/*/experiment-other-*.json",
        f"{CELL}/cell.json",
        told_by="itself",
        made_by=(OTHER_COMMAND,),
    ),
    "split": Kind("runs/*/split-*.csv", f"{SAMPLE}/participants.tsv"),
    "`cell.json`": Kind(f"{CELL}/cell.json", f"{OTHER}/cell.json", told_by="itself"),
    "record of a training": Kind(
        f"{TRAINED}/record.json", f"{OTHER}/train/all/record.json", told_by="itself"
    ),
    "weights": Kind(
        f"{TRAINED}/model.safetensors",
        f"{OTHER}/train/all/model.safetensors",
        (f"{SAMPLE}/record.json", f"{ANAT}/*.gz"),
    ),
    "`config.json`": Kind(f"{TRAINED}/config.json", f"{OTHER}/train/all/config.json"),
    "`log.jsonl`": Kind(f"{TRAINED}/log.jsonl", f"{OTHER}/train/all/log.jsonl", lost=True),
    "checkpoint": Kind(
        f"{TRAINED}/checkpoint/state-00000002-*.pt",
        f"{TRAINED}/checkpoint/state-00000001-*.pt",
        told_by="itself",
        of="stopped",
    ),
    "record of samples": Kind(
        f"{SAMPLE}/record.json", f"{OTHER}/sample/record.json", told_by="itself"
    ),
    "volume": Kind(f"{ANAT}/*.gz", f"{SAMPLE}/sub-HGG00001/anat/*.gz", SCORES[:1]),
    "sidecar": Kind(f"{ANAT}/*.json", f"{SAMPLE}/sub-HGG00001/anat/*.json"),
    "`dataset_description.json`": Kind(
        f"{SAMPLE}/dataset_description.json", f"{OTHER}/sample/dataset_description.json"
    ),
    "`participants.tsv`": Kind(f"{SAMPLE}/participants.tsv", f"{OTHER}/sample/participants.tsv"),
    "`training_cases.tsv`": Kind(f"{SAMPLE}/training_cases.tsv", f"{SAMPLE}/participants.tsv"),
    "`README`": Kind(f"{SAMPLE}/README", f"{SAMPLE}/participants.json"),
    "score": Kind(
        f"{CELL}/score/mmd2-kwon@*.json", f"{OTHER}/score/mmd2-kwon@*.json", told_by="itself"
    ),
    "score of a control": Kind(
        "runs/*/_real/score/blur-1/mmd2-kwon@*.json",
        "runs/*/_real/score/blur-2/mmd2-kwon@*.json",
        told_by="itself",
    ),
    "record of figures": Kind(
        f"{CELL}/score/figures.json", f"{OTHER}/score/figures.json", told_by="itself"
    ),
    "`preview.npz`": Kind(
        f"{CELL}/score/preview.npz", f"{OTHER}/score/preview.npz", figure="slices"
    ),
    "that of real cases": Kind(
        "runs/*/_real/preview.npz", "runs/*/_real/distributions.npz", figure="slices"
    ),
    "`distributions.npz`": Kind(
        f"{CELL}/score/distributions.npz",
        f"{OTHER}/score/distributions.npz",
        figure="distributions",
    ),
    "`neighbours.npz`": Kind(
        f"{CELL}/score/neighbours.npz", f"{OTHER}/score/neighbours.npz", figure="neighbours"
    ),
    "diagnosis": Kind(
        f"{CELL}/diagnosis/record.json", f"{OTHER}/diagnosis/record.json", told_by="itself"
    ),
    "`maps.npz`": Kind(
        f"{CELL}/diagnosis/maps.npz", f"{OTHER}/diagnosis/maps.npz", figure="importance-maps"
    ),
    "predictions": Kind(
        "runs/*/_real/downstream/*@*.json", f"{CELL}/score/mmd2-kwon@*.json", told_by="itself"
    ),
    "written table": Kind("runs/*/report/*/damaged.csv", told_by="nothing"),
    "cached volumes": Kind(
        "cache/phantom-16-*/volumes.npy",
        "cache/phantom-16-*/masks.npy",
        CONTROLS,
        told_by="nothing",
    ),
    "cached masks": Kind(
        "cache/phantom-16-*/masks.npy",
        "cache/phantom-16-*/volumes.npy",
        CONTROLS,
        told_by="nothing",
    ),
    "cached table of cases": Kind(
        "cache/phantom-16-*/cases.json",
        "cache/phantom-16-*/volumes.npy",
        CONTROLS,
        told_by="nothing",
    ),
    "cached features": Kind("cache/features/*/*.npy", redo=(*SCORES, *CONTROLS), told_by="nothing"),
}


def flip(path, other):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def keeping_time(path, other):
    stat = path.stat()
    flip(path, other)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def rot(path, other):
    """Flip a bit so that size and all times are as recorded: as a disk does."""
    keeping_time(path, other)
    stat = path.stat()
    for record in path.parents[2].rglob("*.json"):
        if record.is_file() and path != record:
            told = json.loads(record.read_text("utf-8"))
            for files in (told.get("files", {}), told.get("beside", {})):
                for name in files:
                    if record.parent / name == path:
                        files[name]["ctime_ns"] = stat.st_ctime_ns
                        record.write_text(json.dumps(sealed(told), indent=1) + "\n", "utf-8")


def truncate(path, other):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path, other):
    path.write_bytes(b"")


def delete(path, other):
    path.unlink()


def exchange(path, other):
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


def folder(path, other):
    path.unlink()
    path.mkdir()


ATTACKS = {
    "flip": flip,
    "flip, time kept": keeping_time,
    "flip, all times kept": rot,
    "truncate": truncate,
    "empty": empty,
    "delete": delete,
    "exchange": exchange,
    "folder": folder,
}
DOCUMENTED = {0, 2, 3, 4, 6}
ROT = "flip, all times kept"
CASES = [(kind, attack) for kind in KINDS for attack in ATTACKS]


def test_the_page_has_every_case_and_no_other():
    assert set(on_the_page()) == set(CASES) or os.environ.get("WRITE_GOLDEN") == "1"


@pytest.mark.parametrize(("kind", "attack"), CASES)
def test_damage_is_named_or_the_same_numbers_come_again(store, intact, told, kind, attack):
    what = KINDS[kind]
    bench, plots = store(what.of)
    path = sorted(bench.folder.glob(what.path))[0]
    other = sorted(bench.folder.glob(what.partner or what.path))[-1]
    ATTACKS[attack](path, other)
    names = named_by(path) | (named_by(other) if attack == "exchange" else set())

    def names_it(text):
        return any(name in text for name in names)

    plots(*filter(None, [what.figure]))
    outcomes = [reported(bench, what, attack, intact, names_it)]
    plots()
    if attack != ROT:
        verified(bench, what, attack, names_it)
    for pattern in what.redo:
        for record in bench.folder.glob(pattern):
            if record not in (path, other):
                record.unlink()
    outcomes.append(run(bench, what, attack, intact, names_it, path))
    told(
        CASES.index((kind, attack)), kind, list(ATTACKS).index(attack), attack, "; ".join(outcomes)
    )


def named_by(path):
    """Return how a file is named: with its folder, where many have its name; caches by folder."""
    if "cache" in path.parts:
        return {path.parent.name if path.parent.name.startswith("phantom") else path.name}
    many = ("record.json", "cell.json", "README")
    return {f"{path.parent.name}/{path.name}"} if path.name in many else {path.name}


def reported(bench, what, attack, intact, names_it):
    """Make a report; return what it says: the same, or the file's name, or that it was not run."""
    code, text, found = bench.numbers()
    assert code in DOCUMENTED
    for key, told in found.items():
        assert told[:2] in (intact.get(key, ("", ""))[:2], ("", "")), key
    lacking = [key for key, told in intact.items() if found.get(key) != told]
    says = names_it(text)
    if what.figure:
        code, drawn = bench("report", "damaged", "--figure")
        assert code == 0, drawn
        says |= names_it(drawn)
    if says:
        return f"named ({code})" if code else "named"
    if not lacking or what.of == "stopped":
        return "same"
    assert (attack, code) == ("delete", 0)
    reasons = [found[key][2] for key in lacking if key in found]
    assert all(reasons), "a value is missing, and no reason is told"
    return "not run" if reasons else "not listed"


def verified(bench, what, attack, names_it):
    """Hash the store: what a record vouches for is named, also where it is gone."""
    code, text = bench("verify")
    if what.told_by == "nothing" or (what.told_by == "itself" and attack == "delete"):
        assert code == 0, text
    else:
        assert (code, names_it(text)) == (3, True)


def run(bench, what, attack, intact, names_it, path):
    """Start the run again; return what it says, after the numbers were found to be the same."""
    code, text = again(bench, what)
    assert "Traceback" not in text
    says = names_it(text)
    outcome = "named" if says else "same"
    if code:
        assert says, text
        assert code in DOCUMENTED
        assert attack == "folder", "only what is not ours needs a hand"
        outcome = f"named ({code})"
    if path.is_dir():
        path.rmdir()
        code, text = again(bench, what)
    assert code == 0, text
    code, text = bench("verify")
    if attack == ROT and code and not says:  # size and times hide it from a run that need not read
        assert names_it(text)
        outcome = "verify"
        code, text = again(bench, what)
        assert (code, names_it(text)) == (0, True), text
        code, text = bench("verify")
    assert bench.numbers()[2] == intact, text
    assert code == 0 or (what.lost and names_it(text)), text
    return outcome


def again(bench, what):
    """Run the commands that make a file; return the highest exit code, and what they say."""
    told = [bench(*command) for command in what.made_by]
    return max(code for code, _ in told), "".join(text for _, text in told)
