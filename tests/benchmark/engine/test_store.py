"""Records, failures, and folders that may be cleared."""

import hashlib
import json
import os

import pytest

from cerebench.benchmark.engine import store
from cerebench.benchmark.errors import ForeignFolder
from cerebench.core.records.scored import FiguresRecord


def record_with_file(folder):
    """Write a file and a record that vouches for it."""
    data = folder / "data.bin"
    data.write_bytes(b"volume")
    files = store.describe_files(folder, [data])
    store.write_record(folder / "record.json", "k", FiguresRecord(files=files))
    return data


def read(folder, key="k"):
    return store.read_record(folder / "record.json", key, FiguresRecord)


def test_a_record_holds_while_its_key_and_files_do(tmp_path):
    record_with_file(tmp_path)
    assert read(tmp_path).files.keys() == {"data.bin"}
    assert read(tmp_path, "other") is None


@pytest.mark.parametrize("damage", [b"volumE", b"longer than before", None])
def test_a_record_does_not_vouch_for_a_changed_file(tmp_path, damage):
    data = record_with_file(tmp_path)
    data.unlink() if damage is None else data.write_bytes(damage)
    assert read(tmp_path) is None


def test_a_touched_file_is_hashed_again_and_still_holds(tmp_path):
    data = record_with_file(tmp_path)
    data.touch()
    assert read(tmp_path) is not None


def test_a_record_cut_short_is_not_done(tmp_path):
    record_with_file(tmp_path)
    path = tmp_path / "record.json"
    path.write_text(path.read_text()[:-20])
    assert read(tmp_path) is None


def test_a_success_clears_the_failure(tmp_path):
    record = tmp_path / "record.json"
    store.write_failure(record, "train", ValueError("no luck"))
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert (failure["reason"], failure["error"]) == ("no luck", "ValueError")
    assert "ValueError: no luck" in failure["traceback"]
    store.write_record(record, "k", FiguresRecord(files={}))
    assert not (tmp_path / "failure.json").exists()


def test_each_metric_has_a_failure_of_its_own(tmp_path):
    path = store.failure_path(tmp_path / "fid@01234567.json")
    assert path.name == "fid@01234567.failure.json"


def fill(folder, *files):
    """Write files below a folder; a name that ends in a slash is an empty folder."""
    for name in files:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    return folder


def content(folder):
    """Return everything below a folder: links with their targets, files with their hashes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


TRAINED = ("model.safetensors", "config.json", "log.jsonl", "record.json", "failure.json")
HALF = (
    *("config.json", "log.jsonl", "checkpoint/state.pt", "checkpoint/.state.pt.a1b2c3d4"),
    *(f"checkpoint/state-00000001-{'0' * 64}.pt", ".log.jsonl.0123abcd-12-a1b2c3d4.part"),
)
SAMPLED = (
    "dataset_description.json",
    "README",
    ".bidsignore",
    "participants.tsv",
    "participants.json",
    "training_cases.tsv",
    "record.json",
    ".record.json.abcd_123",
    "sub-LGG00000/anat/sub-LGG00000_space-roi_FLAIR.nii.gz",
    "sub-LGG00000/anat/sub-LGG00000_space-roi_FLAIR.json",
    "sub-a b00001/anat/.sub-a b00001_space-roi_FLAIR.nii.gz.4711.tmp",
    "sub-LGG00002/anat/",
)
FITTED = (
    *(f"repeat-0/pretrain/{name}" for name in TRAINED),
    *(f"repeat-0/finetune/{name}" for name in HALF),
    "repeat-10/",
)


@pytest.mark.parametrize(
    ("stage", "files"),
    [
        ("train", TRAINED),
        ("train", HALF),
        ("sample", SAMPLED),
        ("downstream", FITTED),
        ("train", ()),
    ],
)
def test_a_folder_of_an_older_version_is_known_by_what_is_in_it(tmp_path, stage, files):
    folder = fill(tmp_path / "runs/cell/x", "./", *files)
    store.clear(folder, tmp_path / "runs", stage)
    assert not folder.exists()
    assert (tmp_path / "runs/cell").is_dir()


@pytest.mark.parametrize("stage", ["train", "sample", "downstream"])
def test_a_marked_folder_is_cleared_whatever_is_in_it_and_links_are_not_followed(tmp_path, stage):
    mine = fill(tmp_path / "mine", "photo.jpg", "album/other.jpg")
    before = content(mine)
    folder = tmp_path / "runs/cell/x"
    store.begin(folder)
    fill(folder, "anything.txt")
    (folder / "album").symlink_to(mine / "album")
    (folder / "photo.jpg").symlink_to(mine / "photo.jpg")
    store.clear(folder, tmp_path / "runs", stage)
    assert not folder.exists()
    assert content(mine) == before


def test_a_stage_does_not_mark_what_was_there_before(tmp_path):
    fill(tmp_path / "x", "photo.jpg")
    store.begin(tmp_path / "x")
    assert content(tmp_path / "x").keys() == {"photo.jpg"}


@pytest.mark.parametrize(
    ("stage", "written", "strange"),
    [
        ("train", TRAINED, "photo.jpg"),
        ("train", TRAINED, "album/"),
        ("train", HALF, "checkpoint/photo.jpg"),
        ("train", HALF, ".photo.jpg.a1b2c3d4"),
        ("train", (), "sub-LGG00000/"),
        ("sample", SAMPLED, "model.safetensors"),
        ("sample", SAMPLED, "sub-LGG00000/photo.jpg"),
        ("sample", SAMPLED, "sub-LGG00000/anat/sub-HGG00000_space-roi_FLAIR.nii.gz"),
        ("sample", SAMPLED, "sub-LGG00000/anat/extra/"),
        ("downstream", FITTED, "photo.jpg"),
        ("downstream", FITTED, "repeat-0/photo.jpg"),
        ("downstream", FITTED, "repeat-0/album/"),
        ("downstream", FITTED, "repeat-0/pretrain/photo.jpg"),
        ("downstream", FITTED, "another/config.json"),
    ],
)
def test_a_folder_with_one_strange_thing_is_left_alone(tmp_path, stage, written, strange):
    folder = fill(tmp_path / "runs/x", *written, strange)
    before = content(tmp_path)
    with pytest.raises(ForeignFolder, match=r"it holds .*, which no stage writes") as e:
        store.clear(folder, tmp_path / "runs", stage)
    assert strange.partition("/")[0] in str(e.value)
    assert "Move it elsewhere" in str(e.value)
    assert e.value.exit_code == 6
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "place", ["evil", "runs/../evil", "runs", "runs/.", "runs-2/x", "runs/x/.."]
)
def test_nothing_outside_the_store_is_cleared(tmp_path, place):
    for folder in ("evil", "runs/x", "runs-2/x"):
        store.begin(tmp_path / folder)
    before = content(tmp_path)
    with pytest.raises(ForeignFolder, match="does not lie in"):
        store.clear(tmp_path / place, tmp_path / "runs", "train")
    assert content(tmp_path) == before


@pytest.mark.parametrize("target", ["outside", "runs/other", "nowhere", "runs/cell"])
@pytest.mark.parametrize("above", [False, True])
def test_a_link_or_a_folder_behind_one_is_left_alone(tmp_path, target, above):
    for folder in ("outside/x", "runs/other/x"):
        store.begin(tmp_path / folder)
    (tmp_path / "runs/cell").symlink_to(tmp_path / target)  # the last one is a circle
    before = content(tmp_path)
    with pytest.raises(ForeignFolder, match=r"is a link to|is no folder"):
        store.clear(tmp_path / "runs/cell" / ("x" if above else ""), tmp_path / "runs", "train")
    assert content(tmp_path) == before


def test_a_linked_store_is_a_store(tmp_path):
    store.begin(tmp_path / "disk/x")
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    store.clear(tmp_path / "runs/x", tmp_path / "runs", "train")
    assert os.listdir(tmp_path / "disk") == []


def test_a_file_in_the_place_of_a_folder_is_left_alone(tmp_path):
    fill(tmp_path, "runs/x")
    with pytest.raises(ForeignFolder, match="it is no folder"):
        store.clear(tmp_path / "runs/x", tmp_path / "runs", "train")
    assert (tmp_path / "runs/x").read_text() == "runs/x"
