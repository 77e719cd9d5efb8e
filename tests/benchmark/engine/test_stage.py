"""Stages as things: done by key and files, run in order of their needs, added in one place."""

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from cerebench.benchmark.engine import rows, store
from cerebench.benchmark.engine.stage import Stage, pending
from cerebench.core.hashing import key_of
from cerebench.core.records.base import Record, Share


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaturationRecord(Record):
    """How many voxels are at the maximum.

    Attributes:
        share: Class to mean share of voxels.
        files: None but in these tests.
    """

    kind = "saturation"

    share: Mapping[str, Share]
    files: Mapping[str, store.FileFact] = dataclasses.field(default_factory=dict)


KEY = key_of("k")


def stage(name="saturation", key=KEY, **changes):
    return Stage(name, key, Path(f"row/{name}/record.json"), lambda bench, task: None, **changes)


def finish(folder, one, share=0.5, files=None):
    record = SaturationRecord(share={"LGG": share}, files=files or {})
    store.write_record(folder / one.record, one.key, record)


def test_a_stage_is_done_when_its_record_has_its_key_and_its_files_hold(tmp_path):
    one = stage()
    assert not one.done(tmp_path)
    path = tmp_path / "row/saturation/data.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    finish(tmp_path, one, files=store.describe_files(path.parent, [path]))
    assert one.done(tmp_path)
    assert not stage(key=key_of("other")).done(tmp_path)
    path.write_bytes(b"y")
    assert not one.done(tmp_path)


def test_a_record_that_no_longer_answers_what_is_asked_is_not_enough(tmp_path):
    asked = {"LGG": 0.3}
    one = stage(holds=lambda folder, record: record.share["LGG"] >= asked["LGG"])
    finish(tmp_path, one, share=0.3)
    assert one.done(tmp_path)
    asked["LGG"] = 0.4
    assert not one.done(tmp_path)


def test_files_that_an_older_version_left_without_a_record_are_enough(tmp_path):
    one = stage(left=(Path("row/a.npz"), Path("row/b.npz")))
    (tmp_path / "row").mkdir()
    (tmp_path / "row/a.npz").touch()
    assert not one.done(tmp_path)
    (tmp_path / "row/b.npz").touch()
    assert one.done(tmp_path)
    finish(tmp_path, stage(key=key_of("other")))  # with a record they are not
    assert not one.done(tmp_path)


def test_pending_keeps_the_order(tmp_path):
    stages = [stage(f"saturation {name}") for name in "abc"]
    finish(tmp_path, stages[1])
    assert [one.name for one in pending(stages, tmp_path)] == ["saturation a", "saturation c"]


def saturation(row, work=None):
    """Return the stage that docs/architecture.md adds."""
    key = key_of({"kind": "saturation", "sample": row.sample_key, "n": row.common.n})

    def count(bench, task):
        if work is not None:
            work()
        volumes = row.volumes(bench)
        share = {c: float(np.mean([(v == 1).mean() for v in vs])) for c, vs in volumes.items()}
        return SaturationRecord(share=share)

    return Stage("saturation", key, row.folder / "saturation/record.json", count, ("sample",))


def test_the_page_changes_lines_that_are_there(page_code):
    diff = page_code("architecture.md", "SaturationRecord", "diff")
    context = [line[1:] for line in diff.splitlines() if line.startswith(" ") and line.strip()]
    assert len(context) >= 3
    assert set(context) <= set(Path(rows.__file__).read_text("utf-8").splitlines())


@pytest.fixture
def added(monkeypatch):
    """Return a function that adds the stage to every trained row."""
    before = rows.TrainedRow.__dict__["stages"].func

    def add(work=None):
        @cached_property
        def stages(self):
            return (*before(self), saturation(self, work))

        stages.__set_name__(rows.TrainedRow, "stages")
        monkeypatch.setattr(rows.TrainedRow, "stages", stages)

    return add


def test_a_stage_that_is_added_in_one_place_is_planned_run_resumed_and_told(bench, added):
    added()
    arguments = ("run", "tiny.toml", "--metrics", "ms-ssim")
    assert "saturation" in bench(*arguments, "--dry-run")[1]
    code, out, _ = bench(*arguments)
    assert code == 0
    assert "wgan-gp · seed 0 · saturation · done" in out
    (path,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/saturation/record.json")
    record = json.loads(path.read_text())
    assert (record["kind"], record["status"]) == ("saturation", "ok")
    assert set(record["share"]) == {"LGG", "HGG"}
    assert json.loads(bench(*arguments, "--json")[1])["done"] == 0
    path.unlink()
    assert json.loads(bench(*arguments, "--json")[1])["done"] == 1


def test_a_stage_that_fails_stops_no_other_and_is_tried_again(bench, added):
    turns = iter([True, False])

    def work():
        if next(turns):
            raise RuntimeError("no luck")

    added(work)
    arguments = ("run", "tiny.toml", "--metrics", "ms-ssim", "--json")
    code, out, _ = bench(*arguments)
    told = json.loads(out)
    assert code == 4
    assert list(told["failed"]) == ["wgan-gp · seed 0 · saturation"]
    (failure,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/saturation/failure.json")
    assert json.loads(failure.read_text())["reason"] == "no luck"
    assert list(bench.folder.glob("runs/*/_real/score/noise/ms-ssim@*.json"))
    assert bench(*arguments)[0] == 0
    assert not failure.exists()


def test_a_stage_waits_for_what_it_needs(bench, added, monkeypatch):
    from cerebench.methods.wgan_gp import WGANGP

    def broken(*_):
        raise RuntimeError("no samples today")

    monkeypatch.setattr(WGANGP, "sample", broken)
    ran = []
    added(lambda: ran.append(1))
    code, out, _ = bench("run", "tiny.toml", "--metrics", "ms-ssim", "--json")
    assert code == 4
    assert [title.split(" · ")[-1] for title in json.loads(out)["failed"]] == ["sample"]
    assert not ran
    assert not list(bench.folder.glob("runs/*/wgan-gp-*/seed-0/score/ms-ssim@*"))
