"""The cache is complete or absent, follows contents, and opens at once."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cerebench.core.files import read_sealed, write_sealed
from cerebench.core.hashing import key_of
from cerebench.datasets.base import (
    Case,
    CheckReport,
    Dataset,
    DatasetError,
    DatasetInfo,
    Loaded,
    Recipe,
    Split,
)
from cerebench.datasets.cache import (
    default_cache,
    file_hashes,
    prepare,
)


class Tiny(Dataset):
    """Six cases without files; ``bad`` ones fail, ``loads`` counts the work."""

    info = DatasetInfo("tiny", "Tiny", ("LGG", "HGG"), ("flair",), "none", "none", True, False)
    recipe = Recipe("tiny", 1, {"note": "none"})
    spacing = (1.0, 1.0, 1.0)

    def __init__(self, size=4, bad=()):
        super().__init__(size)
        self.bad, self.loads = bad, 0

    def cases(self):
        return [Case(f"case-{i}", f"patient-{i // 2}", i % 2) for i in range(6)]

    def fingerprint(self, hashes):
        return key_of({"size": self.size})

    def load(self, case):
        self.loads += 1
        if case.id in self.bad:
            raise DatasetError(f"{case.id}: no tumour")
        return make_loaded(case, self.size)

    def split(self, seed):
        return Split((), ())

    def check(self, progress=None, workers=1):
        return CheckReport(())


def make_loaded(case, size):
    rng = np.random.default_rng(int(case.id[-1]))
    volume = rng.uniform(-1, 1, (1, size, size, size)).astype(np.float32)
    volume[:, 0] = -1
    mask = (volume > -1).astype(np.uint8)
    return Loaded(volume, mask, {"number": int(case.id[-1])})


def test_prepared_volumes_are_the_loaded_ones_within_float16(tmp_path):
    dataset = Tiny()
    prepared = prepare(dataset, tmp_path)
    assert prepared.folder.name == f"tiny-4-{prepared.fingerprint[:16]}"
    assert prepared.ids == tuple(f"case-{i}" for i in range(6))
    assert prepared.patients[2:4] == ("patient-1", "patient-1")
    assert prepared.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert prepared.volumes.dtype == np.float16
    for i, case in enumerate(dataset.cases()):
        expected = make_loaded(case, 4)
        volume = prepared.volume(i)
        assert volume.dtype == np.float32
        assert np.abs(volume - expected.volume).max() <= 2.5e-4
        assert (volume[expected.volume == -1] == -1).all()
        assert np.array_equal(prepared.masks[i], expected.mask)


def test_case_table_keeps_facts_in_order(tmp_path):
    table = json.loads((prepare(Tiny(), tmp_path).folder / "cases.json").read_text())
    assert table["recipe"] == {"name": "tiny", "version": 1, "settings": {"note": "none"}}
    assert table["cases"][3] == {
        "id": "case-3",
        "patient": "patient-1",
        "label": 1,
        "class": "HGG",
        "facts": {"number": 3},
        "crc32": table["cases"][3]["crc32"],
    }


def test_second_call_loads_nothing_and_is_fast(tmp_path):
    prepare(Tiny(), tmp_path)
    again, seconds = Tiny(), []
    for _ in range(5):
        start = time.perf_counter()
        prepare(again, tmp_path)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05  # others may have the cores during some of the calls
    assert again.loads == 0


def test_another_size_is_another_folder(tmp_path):
    assert prepare(Tiny(4), tmp_path).folder != prepare(Tiny(5), tmp_path).folder


def test_arrays_are_mapped_read_only(tmp_path):
    prepared = prepare(Tiny(), tmp_path)
    assert isinstance(prepared.volumes, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        prepared.volumes[0] = 0


def test_progress_counts_every_case(tmp_path):
    seen = []
    prepare(Tiny(), tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_all_bad_cases_are_named_at_once_and_nothing_stays(tmp_path):
    with pytest.raises(DatasetError, match="2 of 6 cases") as error:
        prepare(Tiny(bad=("case-1", "case-4")), tmp_path)
    assert "case-1: no tumour" in str(error.value)
    assert "case-4: no tumour" in str(error.value)
    assert not any(path.is_dir() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, m: Loaded(v[0], m), r"volume of shape \(4, 4, 4\); expected \(1, 4, 4, 4\)"),
        (lambda v, m: Loaded(v, m[..., :2]), r"mask of shape \(1, 4, 4, 2\)"),
        (lambda v, m: Loaded(v * 3, m), "expected \\[-1, 1\\]"),
        (lambda v, m: Loaded(v * np.nan, m), "nan"),
        (lambda v, m: Loaded(v, m * 4), "mask values up to 4"),
    ],
)
def test_what_a_dataset_loads_is_checked(tmp_path, monkeypatch, change, message):
    def load(self, case):
        loaded = make_loaded(case, 4)
        return change(loaded.volume, loaded.mask)

    monkeypatch.setattr(Tiny, "load", load)
    with pytest.raises(DatasetError, match=f"case-0: load.. returned .*{message}"):
        prepare(Tiny(), tmp_path)


def interrupt(cache, after=3):
    """Prepare until so many cases are done; return the folder that is left."""

    def stop(done, total):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(Tiny(), cache, progress=stop)
    (left,) = (path for path in cache.iterdir() if path.is_dir())
    assert left.name.startswith(".")
    return left


def test_an_interruption_leaves_nothing_complete_and_the_next_call_continues(tmp_path):
    interrupt(tmp_path)
    again = Tiny()
    prepared = prepare(again, tmp_path)
    assert again.loads == 3
    whole = prepare(Tiny(), tmp_path / "other")
    assert prepared.volumes.tobytes() == whole.volumes.tobytes()
    assert prepared.masks.tobytes() == whole.masks.tobytes()
    tables = [(p.folder / "cases.json").read_text() for p in (prepared, whole)]
    assert tables[0] == tables[1]
    assert sorted(p.name for p in prepared.folder.iterdir()) == [
        "cases.json",
        "masks.npy",
        "volumes.npy",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda left: (left / "volumes.npy").unlink(),
        lambda left: (left / "masks.npy").write_bytes(b"\x93NUMPY"),
        lambda left: np.lib.format.open_memmap(left / "volumes.npy", "r+").fill(0),
        lambda left: (left / "journal.jsonl").write_text('[0, 1, {"id"'),
    ],
    ids=["no volumes", "cut masks", "other values", "cut journal"],
)
def test_what_an_interruption_damaged_is_loaded_again(tmp_path, damage):
    damage(interrupt(tmp_path))
    again = Tiny()
    prepared = prepare(again, tmp_path)
    assert again.loads == 6
    assert prepared.volumes.tobytes() == prepare(Tiny(), tmp_path / "other").volumes.tobytes()


def test_two_cases_with_the_same_voxels_are_refused(tmp_path, monkeypatch):
    def load(self, case):
        loaded = make_loaded(case, 4)
        return Loaded(loaded.volume, loaded.mask, {"content": [f"{int(case.id[-1]) % 5}"]})

    monkeypatch.setattr(Tiny, "load", load)
    with pytest.raises(DatasetError, match="case-0: has the same voxels as case-5"):
        prepare(Tiny(), tmp_path)


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from cerebench.datasets.base import *
from cerebench.datasets.cache import prepare

class Tiny(Dataset):
    info = DatasetInfo("tiny", "", ("LGG",), ("flair",), "", "", True, False)
    recipe, spacing = Recipe("tiny", 1, {}), (1.0, 1.0, 1.0)
    def cases(self): return [Case("a", "a", 0), Case("b", "b", 0)]
    def fingerprint(self, hashes): return "f" * 64
    def load(self, case): return Loaded(-np.ones((1, 2, 2, 2), "f4"), np.ones((1, 2, 2, 2), "u1"))
    def split(self, seed): ...
    def check(self): ...

stop = lambda done, total: os.kill(os.getpid(), 9) if sys.argv[2] == "kill" else None
prepared = prepare(Tiny(2), Path(sys.argv[1]), progress=stop)
assert "torch" not in sys.modules
print(len(prepared.ids))
"""


def test_a_killed_preparation_is_not_taken_for_complete_and_is_cleared_later(tmp_path):
    def run(what):
        command = [sys.executable, "-c", KILLED, str(tmp_path), what]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert run("kill").returncode == -9
    (leftover,) = (path for path in tmp_path.glob(".*partial*") if path.is_dir())
    assert not (tmp_path / ("tiny-2-" + "f" * 16)).exists()
    old = leftover.rename(tmp_path / ".another-2-abc.partial")
    os.utime(old, (time.time() - 8 * 86_400,) * 2)
    assert run("finish").stdout.strip() == "2"
    assert not old.exists()


def test_only_leftovers_of_our_own_are_removed_and_links_are_not_followed(tmp_path):
    mine = tmp_path / "mine"
    cache = tmp_path / "cache"
    kept = [cache / ".notes.partial", cache / ".notes-2020.partial-draft", cache / ".a-2-x.partial"]
    for folder in (mine, *kept):
        folder.mkdir(parents=True)
        (folder / "photo.jpg").write_text("mine")
    link = cache / f".tiny-2-{'a' * 16}.partial"
    link.symlink_to(mine)
    old = (time.time() - 8 * 86_400,) * 2
    for path in (mine, *kept):
        os.utime(path, old)
    os.utime(link, old, follow_symlinks=False)
    prepare(Tiny(), cache)
    assert not link.is_symlink()
    assert all((folder / "photo.jpg").read_text() == "mine" for folder in (mine, *kept))


def test_of_several_processes_one_prepares_and_the_others_wait(tmp_path):
    script = KILLED.replace(
        "    def load(self, case): ",
        """    def load(self, case):
        import time
        time.sleep(0.3)
        with open(sys.argv[1] + "/loaded", "a") as log:
            log.write(case.id)
        """,
    )
    command = [sys.executable, "-c", script, str(tmp_path), "finish"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in started] == ["2"] * 3
    assert (tmp_path / "loaded").read_text() == "ab"
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["tiny-2-" + "f" * 16]


def test_who_waits_for_another_process_can_be_stopped(tmp_path):
    hold = KILLED.replace("os.kill(os.getpid(), 9)", "(print(flush=True), input())")
    command = [sys.executable, "-c", hold, str(tmp_path), "kill"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen(command, text=True, **pipes)
    holder.stdout.readline()  # it has loaded a case and holds the folder

    class Same(Tiny):
        def fingerprint(self, hashes):
            return "f" * 64

    def stop(done, total):
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            prepare(Same(2), tmp_path, progress=stop)
    finally:
        holder.kill()
        holder.wait()


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def keep_time(do):
    def damage(path):
        stat = path.stat()
        do(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return damage


# What is done to a file -> how many of the six cases are loaded again.
DAMAGE = {
    "a flipped bit": (keep_time(lambda p: flip(p, -1)), 1),
    "another bit of the last case": (lambda p: flip(p, -60), 1),
    "the head": (lambda p: flip(p, 2), 6),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-40]), 6),
    "emptied": (lambda p: p.write_bytes(b""), 6),
    "deleted": (lambda p: p.unlink(), 6),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["volumes.npy", "masks.npy", "cases.json"])
def test_what_is_damaged_is_loaded_again_to_the_same_voxels_and_said(tmp_path, name, damage):
    whole = prepare(Tiny(), tmp_path)
    before = {p.name: p.read_bytes() for p in whole.folder.iterdir()}
    do, lost = DAMAGE[damage]
    do(whole.folder / name)
    again, said = Tiny(), []
    prepare(again, tmp_path, say=said.append)
    assert again.loads == (6 if name == "cases.json" else lost)
    assert {p.name: p.read_bytes() for p in whole.folder.iterdir()} == before
    assert [str(whole.folder) in line for line in said] == [True]
    prepare(again, tmp_path, say=said.append)
    assert len(said) == 1


def test_a_digit_in_the_table_of_cases_is_seen(tmp_path):
    whole = prepare(Tiny(), tmp_path)
    path, said = whole.folder / "cases.json", []
    path.write_text(path.read_text().replace('"label": 0', '"label": 1', 1))
    assert np.array_equal(prepare(Tiny(), tmp_path, say=said.append).labels, whole.labels)
    assert len(said) == 1


def test_damage_that_cannot_be_loaded_to_the_same_voxels_is_refused(tmp_path):
    folder = prepare(Tiny(), tmp_path).folder
    flip(folder / "volumes.npy", -1)
    for fault, said in ((Tiny(bad=("case-5",)), "no tumour"), (Other(), "gave other voxels")):
        with pytest.raises(DatasetError, match=f"case-5 is damaged, and .*{said}.*Delete the"):
            prepare(fault, tmp_path)


class Other(Tiny):
    """As another version of a library would load the cases."""

    def load(self, case):
        loaded = super().load(case)
        return Loaded(loaded.volume * np.float32(0.5), loaded.mask, loaded.facts)


def test_what_an_older_version_prepared_is_given_checksums_and_not_loaded_again(tmp_path):
    folder = prepare(Tiny(), tmp_path).folder
    before = (folder / "cases.json").read_bytes()
    table = json.loads(before)
    del table["sha256"]
    for row in table["cases"]:
        del row["crc32"]
    (folder / "cases.json").write_text(json.dumps(table))
    again, said = Tiny(), []
    prepare(again, tmp_path, say=said.append)
    assert (again.loads, said) == (0, [])
    assert (folder / "cases.json").read_bytes() == before


def test_too_little_memory_is_not_taken_for_damage(tmp_path, monkeypatch):
    folder = prepare(Tiny(), tmp_path).folder
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "memmap", full)
    with pytest.raises(DatasetError, match="memory or address space does not suffice"):
        prepare(Tiny(), tmp_path)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_damaged_folder_that_holds_something_else_is_left(tmp_path):
    folder = prepare(Tiny(), tmp_path).folder
    (folder / "cases.json").write_text("{")
    (folder / "photo.jpg").write_text("mine")
    with pytest.raises(DatasetError, match="Move what is not of Cerebench elsewhere"):
        prepare(Tiny(), tmp_path)
    assert (folder / "photo.jpg").read_text() == "mine"


@pytest.mark.slow
def test_several_processes_give_the_same_arrays(tmp_path):
    import importlib.util

    from cerebench.datasets.brats import BraTS

    spec = importlib.util.spec_from_file_location(
        "fake_brats", Path(__file__).with_name("test_brats.py")
    )
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    root = fake.make_2020(tmp_path / "data")
    one = prepare(BraTS(16, root), tmp_path / "one")
    two = prepare(BraTS(16, root), tmp_path / "two", workers=2)
    assert one.ids == two.ids
    assert one.volumes.tobytes() == two.volumes.tobytes()
    assert one.masks.tobytes() == two.masks.tobytes()


@pytest.fixture
def old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    os.utime(path, ns=(10**18, 10**18))
    return path


def test_hash_is_the_sha256_of_the_content_by_path(tmp_path, old_file):
    expected = hashlib.sha256(b"abc").hexdigest()
    assert file_hashes([old_file], tmp_path / "i.json") == {str(old_file): expected}


def test_index_makes_its_folder_on_a_machine_without_a_cache(tmp_path, old_file):
    index = tmp_path / "new" / "cache" / "i.json"
    file_hashes([old_file], index)
    assert index.exists()


def poison(index, path, **changes):
    """Change what is remembered of a file, so that its use shows."""
    table = read_sealed(index)
    table[str(path)].update(changes)
    write_sealed(index, table)
    return table[str(path)]


def test_unchanged_files_are_not_read_again(tmp_path, old_file):
    index = tmp_path / "i.json"
    file_hashes([old_file], index)
    poison(index, old_file, sha256="remembered")
    assert file_hashes([old_file], index) == {str(old_file): "remembered"}
    os.utime(old_file, ns=(10**18, 10**18 + 1))
    assert file_hashes([old_file], index)[str(old_file)].startswith("ba7816bf")


SIZE = 200_000  # several times what a sample reads
TIME = (315532800, 315532800)


def aged(path, content):
    path.write_bytes(content)
    os.utime(path, TIME)
    return path


def rename(new, old):
    new.replace(old)


def copy_over(new, old):
    old.write_bytes(new.read_bytes())  # the same inode


def swap(new, old):
    other = old.with_name("other")
    old.rename(other)
    new.rename(old)
    other.rename(new)


def swap_folders(new, old):
    swap(new.parent, old.parent)


@pytest.mark.parametrize("replace", [rename, copy_over, swap, swap_folders])
@pytest.mark.parametrize("where", [0, SIZE // 4, SIZE // 2, SIZE - 1])
def test_another_file_of_the_same_size_and_time_is_another_file(tmp_path, replace, where):
    for name in "ab":
        (tmp_path / name).mkdir()
    content = bytearray(SIZE)
    old = aged(tmp_path / "a" / "flair.nii", bytes(content))
    content[where] = 1
    new = aged(tmp_path / "b" / "flair.nii", bytes(content))
    index = tmp_path / "i.json"
    file_hashes([old, new], index)
    assert len(read_sealed(index)) == 2  # both are remembered
    replace(new, old)
    os.utime(old, TIME)
    expected = hashlib.sha256(content).hexdigest()
    assert file_hashes([old], index)[str(old)] == expected


@pytest.mark.parametrize("part", range(5))
def test_every_part_of_a_stamp_tells_files_apart(tmp_path, old_file, part):
    index = tmp_path / "i.json"
    file_hashes([old_file], index)
    stamp = json.loads(index.read_text())[str(old_file)]["stamp"]
    assert len(stamp) == 5
    stamp[part] = 7
    poison(index, old_file, stamp=stamp, sha256="of another file")
    assert file_hashes([old_file], index)[str(old_file)].startswith("ba7816bf")


@pytest.mark.parametrize(
    "entry",
    [
        lambda status: [status.st_size, status.st_mtime_ns, "old"],  # of version 0.1.0
        lambda status: {"sha256": "old"},
        lambda status: None,
    ],
)
def test_an_index_of_another_form_is_not_believed(tmp_path, old_file, entry):
    index = tmp_path / "i.json"
    index.write_text(json.dumps({str(old_file): entry(old_file.stat())}))
    assert file_hashes([old_file], index)[str(old_file)].startswith("ba7816bf")
    assert [*json.loads(index.read_text())[str(old_file)]] == ["stamp", "sha256"]


def test_a_file_just_written_is_read_again(tmp_path):
    path = tmp_path / "new.bin"
    path.write_bytes(b"abc")
    stamp = path.stat().st_mtime_ns
    first = file_hashes([path], tmp_path / "i.json")
    path.write_bytes(b"xyz")
    os.utime(path, ns=(stamp, stamp))
    assert file_hashes([path], tmp_path / "i.json") != first


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"sha256": "0", "x": 1}'])
def test_a_damaged_index_is_only_a_lost_shortcut(tmp_path, old_file, text):
    (tmp_path / "i.json").write_text(text)
    assert file_hashes([old_file], tmp_path / "i.json")[str(old_file)].startswith("ba7816bf")


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.bin cannot be read"):
        file_hashes([tmp_path / "gone.bin"], tmp_path / "i.json")


def test_cache_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CEREBENCH_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("CEREBENCH_CACHE")
    assert default_cache().name == "cerebench"
