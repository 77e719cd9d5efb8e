"""What an earlier run of the same name held is told, and nothing where this one shows it all."""

import json

import pytest

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.history import earlier


@pytest.fixture
def store(runs):
    """Return a function that saves the table of contents under another key, with changes."""

    def save(key, day, **changes):
        contents = json.loads(json.dumps(runs.contents)) | {"key": key * 64} | changes
        contents["utc"] = f"2026-01-{day:02d}T12:00:00Z"
        path = runs.folder / f"experiment-{contents['name']}-{key * 8}.json"
        path.write_text(json.dumps(contents), encoding="utf-8")
        return RecordedExperiment.read(path)

    save.rows = {row["name"]: row for row in runs.contents["rows"]}
    save.metrics = runs.contents["metrics"]
    return save


def test_rows_metrics_and_numbers_that_a_later_run_lacks_are_named(store):
    before = store("1", 1, samples_per_class=32)
    now = store("2", 2, rows=[store.rows["ddpm"]], metrics=store.metrics[:-2])
    (line,) = earlier(now, [before, now])
    assert line == (
        "An earlier run of made-up (2026-01-01 12:00 UTC, 11111111) held 3D-WGAN-GP (quick), "
        "3D-α-WGAN (quick), mine_v2 & co; the metrics FD[rand2d-v1], FID; "
        "32 volumes a class, not 64."
    )


def test_seeds_recipes_and_protocols_are_named(store, classified):
    before = store("1", 1)
    row = json.loads(json.dumps(store.rows["ddpm"]))
    row["cells"][0] |= {"seed": 7, "folder": "ddpm-quick-89abcdef/seed-7"}
    changed = [
        m | {"recipe_hash": "f" * 64} if m["name"] == "ms-ssim" else m for m in store.metrics
    ]
    rows = [row if r["name"] == "ddpm" else r for r in store.rows.values()]
    now = store("2", 2, rows=rows, metrics=changed, downstream=[])
    (line,) = earlier(now, [before, now])
    for words in ("3D-DDPM (quick)", "seed 0", "other recipes of MS-SSIM", "Experiment 1, "):
        assert words in line


def test_nothing_is_said_where_the_later_run_shows_all(store):
    before, now = store("1", 1, rows=[store.rows["ddpm"]]), store("2", 2)
    assert earlier(now, [before, now]) == []
    other = store("3", 3, name="another", rows=[])
    assert earlier(now, [before, now, other]) == []


def test_many_earlier_runs_are_three_lines_and_a_count(store):
    before = [store(str(i), i) for i in range(1, 6)]
    now = store("9", 9, rows=[store.rows["ddpm"]])
    lines = earlier(now, [*before, now])
    assert len(lines) == 4
    assert "55555555" in lines[0]
    assert lines[-1] == "2 more earlier runs held others."
