"""Every kind of stored file, damaged in every way: the same numbers again, or the file is named.

After the damage a report is made, everything is hashed, and the same run is started again. Never is
another number printed without the file's name beside it, and never does a run end with exit code 0
and another number. The outcomes stand in docs/results.md, which a case that differs from it fails;
WRITE_GOLDEN=1 writes them anew.
"""

import json
import os
import shutil
from dataclasses import dataclass

import pytest

from cerebench.core.records.files import sealed

pytestmark = pytest.mark.faults

CELL = "runs/*/fast-*/seed-0"
OTHER = "runs/*/fast-*/seed-1"


@dataclass(frozen=True)
class Kind:
    """A kind of stored file.

    Attributes:
        path: Where one lies.
        partner: Where the one lies that it is exchanged with.
        redo: Records that are removed, so that the run reads the file.
        figure: The figure that is drawn from it.
        vouched: Whether something in the store tells its content.
        of: The store that has one: ``finished`` or ``stopped``.
    """

    path: str
    partner: str
    redo: tuple[str, ...] = ()
    figure: str = ""
    vouched: bool = True
    of: str = "finished"


SCORES = (f"{CELL}/score/*@*.json", f"{OTHER}/score/*@*.json")
CONTROLS = ("runs/*/_real/score/*/*@*.json",)
TRAINED = f"{CELL}/train/all"
SAMPLE = f"{CELL}/sample"
KINDS = {
    "table of contents": Kind("runs/*/experiment-*.json", f"{CELL}/cell.json"),
    "split": Kind("runs/*/split-*.csv", f"{SAMPLE}/participants.tsv"),
    "cell.json": Kind(f"{CELL}/cell.json", f"{OTHER}/cell.json"),
    "record of a training": Kind(f"{TRAINED}/record.json", f"{OTHER}/train/all/record.json"),
    "weights": Kind(
        f"{TRAINED}/model.safetensors",
        f"{OTHER}/train/all/model.safetensors",
        (f"{CELL}/sample/record.json", f"{CELL}/sample/sub-LGG00001/anat/*.gz"),
    ),
    "config.json": Kind(f"{TRAINED}/config.json", f"{TRAINED}/log.jsonl"),
    "log.jsonl": Kind(f"{TRAINED}/log.jsonl", f"{OTHER}/train/all/log.jsonl"),
    "record of samples": Kind(f"{SAMPLE}/record.json", f"{OTHER}/sample/record.json"),
    "volume": Kind(
        f"{SAMPLE}/sub-LGG00001/anat/*.gz", f"{SAMPLE}/sub-HGG00001/anat/*.gz", SCORES[:1]
    ),
    "sidecar": Kind(
        f"{SAMPLE}/sub-LGG00001/anat/*.json", f"{SAMPLE}/sub-HGG00001/anat/*.json"
    ),
    "dataset_description.json": Kind(
        f"{SAMPLE}/dataset_description.json", f"{OTHER}/sample/dataset_description.json"
    ),
    "participants.tsv": Kind(f"{SAMPLE}/participants.tsv", f"{OTHER}/sample/participants.tsv"),
    "training_cases.tsv": Kind(f"{SAMPLE}/training_cases.tsv", f"{SAMPLE}/participants.tsv"),
    "score": Kind(f"{CELL}/score/mmd2-kwon@*.json", f"{OTHER}/score/mmd2-kwon@*.json"),
    "score of a control": Kind(
        "runs/*/_real/score/blur-1/mmd2-kwon@*.json", "runs/*/_real/score/blur-2/mmd2-kwon@*.json"
    ),
    "record of figures": Kind(f"{CELL}/score/figures.json", f"{OTHER}/score/figures.json"),
    "preview.npz": Kind(
        f"{CELL}/score/preview.npz", f"{OTHER}/score/preview.npz", figure="slices"
    ),
    "distributions.npz": Kind(
        f"{CELL}/score/distributions.npz", f"{OTHER}/score/distributions.npz",
        figure="distributions",
    ),
    "neighbours.npz": Kind(
        f"{CELL}/score/neighbours.npz", f"{OTHER}/score/neighbours.npz", figure="neighbours"
    ),
    "diagnosis": Kind(f"{CELL}/diagnosis/record.json", f"{OTHER}/diagnosis/record.json"),
    "maps.npz": Kind(
        f"{CELL}/diagnosis/maps.npz", f"{OTHER}/diagnosis/maps.npz", figure="importance-maps"
    ),
    "predictions": Kind("runs/*/_real/downstream/*@*.json", f"{CELL}/score/mmd2-kwon@*.json"),
    "checkpoint": Kind(
        f"{TRAINED}/checkpoint/state-00000002-*.pt", f"{TRAINED}/checkpoint/state-00000001-*.pt",
        of="stopped",
    ),
    "cached volumes": Kind(
        "cache/phantom-16-*/volumes.npy", "cache/phantom-16-*/masks.npy", CONTROLS, vouched=False
    ),
    "cached masks": Kind(
        "cache/phantom-16-*/masks.npy", "cache/phantom-16-*/volumes.npy", CONTROLS, vouched=False
    ),
    "cached table of cases": Kind(
        "cache/phantom-16-*/cases.json", "runs/*/experiment-*.json", CONTROLS, vouched=False
    ),
    "cached features": Kind("cache/features/*/*.npy", "", (*SCORES, *CONTROLS), vouched=False),
}  # fmt: skip


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
DOCUMENTED = {0, 3, 4, 6}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named_or_the_same_numbers_come_again(
    store, intact, told, monkeypatch, kind, attack
):
    from cerebench.reports.figures import every

    what, do = KINDS[kind], ATTACKS[attack]
    bench = store(what.of)
    paths = sorted(bench.folder.glob(what.path))
    path = paths[0]
    other = next(iter(bench.folder.glob(what.partner))) if what.partner else paths[-1]
    if what.figure:
        plots = {module.PLOT.name: module.PLOT for module in every.MODULES}
        monkeypatch.setattr(every, "FIGURES", {what.figure: plots[what.figure]})
    do(path, other)
    names = {p.relative_to(bench.folder).as_posix().split("/", 2)[2] for p in (path, other)}

    code, text, found = bench.numbers()
    assert code in DOCUMENTED
    named = any(name in text for name in names)
    same = all(found.get(key) in (value, ("", "", "")) for key, value in intact.items())
    assert same or what.of == "stopped"
    if what.figure:
        code, drawn = bench("report", "--figure")
        assert code == 0, drawn
        named |= any(name in drawn for name in names)
    assert named or what.of == "stopped" or found == intact
    report = f"named ({code})" * bool(named and code) or "named" * named or "same"

    code, text = bench("verify")
    if what.vouched:
        assert (code, any(name in text for name in names)) == (3, True) or attack in MISSING
    else:
        assert code == 0

    for pattern in what.redo:
        for record in bench.folder.glob(pattern):
            if record not in (path, other):
                shutil.rmtree(record) if record.is_dir() else record.unlink()
    code, text = bench(*COMMAND)
    assert "Traceback" not in text
    named = any(name in text for name in names)
    if code:
        assert named, text
        assert code in DOCUMENTED
        told(row_of(kind), kind, list(ATTACKS).index(attack), attack, f"{report}; named ({code})")
        return
    assert bench.numbers()[2] == intact, text
    code, text = bench("verify")
    assert code == 0 or kind == "log.jsonl", text
    outcome = f"{report}; {'named' if named else 'same'}"
    told(row_of(kind), kind, list(ATTACKS).index(attack), attack, outcome)


MISSING = ("delete",)
COMMAND = ("run", "damaged.toml", "--plugin", "fast.py:Fast")


def row_of(kind):
    return list(KINDS).index(kind)
