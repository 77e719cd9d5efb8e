"""Damage to the samples of a run: drawn again to the same bits, or as a whole; never blessed."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from cerebench.benchmark.engine import store
from cerebench.benchmark.stages import sampling
from cerebench.benchmark.stages.training import seeded
from cerebench.core.records.files import as_json, sealed
from cerebench.core.records.trained import SampleRecord
from cerebench.methods.wgan_gp import WGANGP

CPU = torch.device("cpu")


def sample(folder: Path, n: int = 3, *, init: int = 0, record: Path | None = None, **changes):
    """Sample as the engine does; return the record that it leaves."""
    with seeded(init, "init"):
        method = WGANGP(WGANGP.presets["smoke"].config, size=16, classes=("LGG", "HGG"))
    for net in method.nets.values():
        net.eval()
    fields = {
        "classes": ("LGG", "HGG"),
        "channels": ("flair", "t1"),
        "spacing": (8.0, 8.0, 8.0),
        "n": n,
        "seed": 0,
        "key": "k",
        "generator": "test",
        "training": (("a", "p", "LGG"),),
        "networks": {"all": f"weights-{init}"},
    }
    record = record or folder / "record.json"
    made = sampling.sample(
        {"all": _TwoChannels(method)},
        sampling.SampleSpec(**{**fields, **changes}),
        folder,
        device=CPU,
        progress=lambda *_: None,
        stop=lambda: False,
        found=store.read_claim(record, "k", SampleRecord),
        derived=[folder.parent / stage for stage in sampling.DERIVED],
    )
    return store.write_record(record, "k", made)


class _TwoChannels:
    """A method of one channel whose second channel is the first one, negative."""

    def __init__(self, method):
        self.method, self.info, self.size, self.channels = method, method.info, method.size, 2

    def sample(self, conditions, rngs):
        volumes = self.method.sample(conditions, rngs)
        return torch.cat([volumes, -volumes], dim=1)


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "record.json"
    }


def exchange(folder: Path) -> list[Path]:
    a, b = volumes(folder)[:2]
    x, y = a.read_bytes(), b.read_bytes()
    a.write_bytes(y)
    b.write_bytes(x)
    return [a, b]


def truncate(path: Path) -> list[Path]:
    path.write_bytes(path.read_bytes()[:-20])
    return [path]


def flip(path: Path) -> list[Path]:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return [path]


def flip_and_keep_the_time(path: Path) -> list[Path]:
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return [path]


def delete(path: Path) -> list[Path]:
    path.unlink()
    return [path]


def become_a_folder(path: Path) -> list[Path]:
    path.unlink()
    path.mkdir()
    return [path]


def volumes(folder: Path) -> list[Path]:
    return sorted(folder.glob("sub-HGG*/anat/*.nii.gz"))


def sidecars(folder: Path) -> list[Path]:
    return sorted(folder.glob("sub-HGG*/anat/*.json"))


DAMAGE = {
    "two volumes exchanged": exchange,
    "a volume cut short": lambda f: truncate(volumes(f)[1]),
    "a bit of a volume flipped": lambda f: flip(volumes(f)[2]),
    "a bit flipped behind an old time stamp": lambda f: flip_and_keep_the_time(volumes(f)[2]),
    "a volume deleted": lambda f: delete(volumes(f)[0]),
    "the second channel deleted": lambda f: delete(volumes(f)[3]),
    "a sidecar deleted": lambda f: delete(sidecars(f)[0]),
    "a sidecar cut short": lambda f: truncate(sidecars(f)[1]),
    "a digit in a sidecar": lambda f: flip(sidecars(f)[2]),
    "the table deleted": lambda f: delete(f / "participants.tsv"),
    "the table changed": lambda f: flip(f / "participants.tsv"),
    "the description cut short": lambda f: truncate(f / "dataset_description.json"),
    "the training cases deleted": lambda f: delete(f / "training_cases.tsv"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_seen_and_mended_to_the_same_bits(tmp_path, damage):
    folder = tmp_path / "sample"
    first = sample(folder)
    intact = content(folder)
    untouched = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    lost = set(damage(folder))
    assert store.read_record(folder / "record.json", "k", SampleRecord) is None

    record = sample(folder)

    assert content(folder) == intact
    assert store.read_record(folder / "record.json", "k", SampleRecord) is not None
    assert record.redrawn is None
    names = {p.relative_to(folder).as_posix() for p in lost}
    assert set(record.restored) == {n for n in names if n.startswith("sub-")}
    for path in untouched.keys() - lost - {folder / "record.json"}:
        assert path.stat().st_mtime_ns == untouched[path], f"{path.name} was written again"
    for field in ("n", "clip_fraction", "foreground"):
        assert getattr(record, field) == getattr(first, field)


def test_where_the_bits_are_others_the_whole_set_is_drawn_anew(tmp_path):
    """Stands for another processor or torch: the same key, but the record knows other bits."""
    folder = tmp_path / "sample"
    sample(folder, init=1, networks={})
    record = folder / "record.json"
    derived = tmp_path / "score" / "mmd2-kwon@0.json"
    derived.parent.mkdir()
    derived.write_text("{}")
    before = content(folder)
    (lost,) = delete(volumes(folder)[0])

    made = sample(folder, init=0, networks={})

    after = content(folder)
    assert not derived.exists()
    assert lost.name in made.redrawn
    assert all(before[n] != after[n] for n in after if n.endswith(".nii.gz"))
    told = json.loads((folder / "dataset_description.json").read_text())
    assert told["Redrawn"] == made.redrawn
    assert sample(folder, init=0, networks={}).redrawn == made.redrawn
    clean = tmp_path / "clean" / "sample"
    sample(clean, init=0, networks={})
    changed = {n for n in after if content(clean)[n] != after[n]}
    assert changed == {"dataset_description.json"}
    assert store.read_record(record, "k", SampleRecord) is not None


@pytest.mark.parametrize("damage", [DAMAGE["a sidecar deleted"], DAMAGE["a digit in a sidecar"]])
def test_a_sidecar_is_never_computed_from_other_bits_than_its_volume(tmp_path, damage):
    folder = tmp_path / "sample"
    sample(folder, init=1, networks={})
    damage(folder)
    assert sample(folder, init=0, networks={}).redrawn


def test_samples_of_networks_that_were_trained_to_other_weights_are_drawn_anew(tmp_path):
    folder = tmp_path / "sample"
    sample(folder, init=1)
    before = content(folder)
    made = sample(folder, init=0)
    assert "trained again" in made.redrawn
    assert all(before[n] != v for n, v in content(folder).items() if n.endswith(".nii.gz"))


@pytest.mark.parametrize("damage", ["a volume cut short", "a bit of a volume flipped"])
def test_without_a_record_the_sidecar_tells_that_a_volume_is_damaged(tmp_path, damage):
    folder = tmp_path / "sample"
    sample(folder)
    intact = content(folder)
    (folder / "record.json").unlink()  # as after a kill
    DAMAGE[damage](folder)
    sample(folder)
    assert content(folder) == intact


def test_a_set_that_is_larger_than_asked_for_is_mended_whole(tmp_path):
    folder = tmp_path / "sample"
    sample(folder, 9)
    intact = content(folder)
    delete(volumes(folder)[-1])
    assert sample(folder, 3).n == {"LGG": 9, "HGG": 9}
    assert content(folder) == intact


def as_version_0_1_0(folder: Path) -> None:
    """Turn a set into what 0.1.0 left: a record that vouches for volumes, sidecars without hash."""
    path = folder / "record.json"
    record = json.loads(path.read_text())
    record["files"] = {
        name: {k: v for k, v in fact.items() if k != "ctime_ns"}
        for name, fact in record["files"].items()
        if name.endswith(".nii.gz")
    }
    del record["sha256"]
    path.write_text(json.dumps(record))
    for sidecar in folder.rglob("sub-*.json"):
        told = json.loads(sidecar.read_text())
        told.pop("VolumeSHA256", None)
        sidecar.write_text(json.dumps(told))


def test_a_set_of_0_1_0_is_kept_extended_and_mended(tmp_path):
    folder = tmp_path / "sample"
    sample(folder, 8)
    as_version_0_1_0(folder)
    times = {p: p.stat().st_mtime_ns for p in volumes(folder)}
    assert store.read_record(folder / "record.json", "k", SampleRecord) is not None
    sample(folder, 9)
    assert {p: p.stat().st_mtime_ns for p in times} == times
    as_version_0_1_0(folder)
    (lost,) = flip(volumes(folder)[0])
    assert sample(folder, 9).restored == (lost.relative_to(folder).as_posix(),)


def end_to_end(bench, *more: str) -> tuple[int, str, dict]:
    code, out, error = bench("run", "tiny.toml", "--metrics", "ms-ssim,mmd2-kwon", *more)
    (score,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/score/ms-ssim@*.json")
    return code, out + error, json.loads(score.read_text())


def test_a_run_mends_exchanged_samples_and_keeps_its_values(bench):
    _, _, first = end_to_end(bench)
    (folder,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/sample")
    intact = content(folder)
    lgg, hgg = (folder / f"sub-{c}00001" for c in ("LGG", "HGG"))
    for name in ("_space-roi_FLAIR.nii.gz", "_space-roi_FLAIR.json"):
        a, b = lgg / "anat" / f"{lgg.name}{name}", hgg / "anat" / f"{hgg.name}{name}"
        a.rename(bench.folder / "x")
        b.rename(a)
        (bench.folder / "x").rename(b)
    code, told, second = end_to_end(bench)
    assert code == 0
    assert "drawn again to the recorded bits" in told
    assert content(folder) == intact
    assert first == second


@pytest.mark.slow
def test_a_run_on_another_machine_scores_the_set_that_it_drew(bench):
    end_to_end(bench)
    (folder,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/sample")
    (record,) = folder.glob("record.json")
    told = json.loads(record.read_text())
    for name in told["files"]:  # as if each file had other bits when it was recorded
        if name.endswith(".nii.gz"):
            flip(folder / name)
            told["files"][name] = as_json(store.describe_files(folder, [folder / name])[name])
    record.write_text(json.dumps(sealed(told)))
    volumes(folder)[0].unlink()
    (score,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/score/ms-ssim@*.json")
    stale = json.loads(score.read_text())
    stale["rows"][0]["value"] = 0.5  # what those bits scored
    score.write_text(json.dumps(sealed(stale)))

    code, said, scored = end_to_end(bench)

    assert code == 0
    assert "all samples were drawn anew" in said
    assert scored["rows"][0]["value"] != 0.5
    assert json.loads(record.read_text())["redrawn"]


@pytest.mark.parametrize("option", ["--samples", "--fake"])
@pytest.mark.parametrize("damage", ["a volume deleted", "a bit of a volume flipped"])
def test_a_damaged_folder_of_a_run_is_named_where_it_is_given_as_samples(bench, option, damage):
    sample(bench.folder / "made" / "sample", channels=("flair", "t2"))
    for path in bench.folder.glob("made/sample/sub-*/anat/*T2w*"):
        path.unlink()  # one contrast, as comparisons take it
    folder = bench.folder / "sample"
    shutil.copytree(bench.folder / "made" / "sample", folder)
    record = json.loads((folder / "record.json").read_text())
    left = [p for p in folder.rglob("*") if p.is_file() and p.name != "record.json"]
    record["files"] = as_json(store.describe_files(folder, left))
    (folder / "record.json").write_text(json.dumps(sealed(record)))
    commands = {
        "--samples": ("run", "tiny.toml", "--methods", "none", "--n", "3", "--metrics", "ms-ssim"),
        "--fake": ("evaluate", "--real", str(bench.folder / "real"), "--suite", "smoke"),
    }
    shutil.copytree(folder, bench.folder / "real")
    command = (*commands[option], option, f"mine={folder}")
    assert bench(*command)[0] == 0
    (lost,) = DAMAGE[damage](folder)
    code, _, error = bench(*command)
    assert code == 3
    assert lost.name in error
    assert "Traceback" not in error
