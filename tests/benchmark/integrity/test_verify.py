"""``bench verify`` on a small finished store; tests/faults damages every kind of file."""

import json

from cerebench.core.machine import mark


def test_an_intact_store_is_hashed_and_nothing_is_changed(finished):
    (folder,) = finished.folder.glob("runs/phantom-*")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, _ = finished("verify")
    vouched = len(list(folder.rglob("*.nii.gz")))
    assert (code, out.endswith(" hashed: nothing damaged.\n")) == (0, True)
    for place in ("runs", str(folder)):
        told = json.loads(finished("verify", place, "--json")[1])
        assert told["files"] > 2 * vouched
        assert told["bytes"] > sum(path.stat().st_size for path in folder.rglob("*.nii.gz"))
        assert told["damaged"] == told["unsealed"] == told["leftovers"] == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_each_damaged_file_is_one_line_and_the_exit_code_is_3(finished):
    (volume, *_) = sorted(finished.folder.glob("runs/*/wgan-gp-*/seed-0/sample/sub-*/anat/*.gz"))
    (score, *_) = finished.folder.glob("runs/*/wgan-gp-*/seed-0/score/ms-ssim@*.json")
    volume.unlink()
    score.write_text(score.read_text().replace("0.", "1.", 1))
    code, out, _ = finished("verify")
    *faults, last = out.splitlines()
    assert (code, last.endswith(" hashed: 2 damaged.")) == (3, True)
    assert sorted(line.partition(": ")[0] for line in faults) == sorted(
        path.relative_to(finished.folder).as_posix() for path in (volume, score)
    )
    code, out, _ = finished("verify", "--json")
    assert (code, json.loads(out)["damaged"]) == (3, faults)


def test_files_without_a_hash_and_half_written_ones_are_told_and_no_damage(finished):
    (cell,) = finished.folder.glob("runs/*/wgan-gp-*/seed-0/cell.json")
    told = json.loads(cell.read_text())
    del told["sha256"]
    cell.write_text(json.dumps(told))
    part = cell.with_name(f".record.json.{mark()}-1-abcd1234.part")
    part.touch()
    claims = cell.parents[2] / ".claims"
    claims.mkdir()
    (claims / "record.json").write_text("{")  # of a process at work
    code, out, _ = finished("verify")
    assert (code, "nothing damaged" in out) == (0, True)
    for what, path in (
        ("Of an older version, without a hash; bench run adds it", cell),
        ("Half written by killed runs; bench run removes it", part),
    ):
        assert f"{what}: {path.relative_to(finished.folder)}\n" in out


def test_a_folder_without_results_is_refused(bench):
    code, _, error = bench("verify", "nowhere")
    assert (code, "No results in nowhere" in error) == (2, True)


def test_damaged_weights_give_no_samples_and_are_named(finished):
    (cell,) = finished.folder.glob("runs/*/wgan-gp-*/seed-0")
    weights = cell / "train/LGG/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    code, _, error = finished("sample", str(cell), "-n", "11")
    assert (code, f"{weights} is not what its record vouches for" in error) == (3, True)
