import json

import pytest

from cerebench.reports import latex, markdown
from cerebench.reports.tables.table import build_table
from cerebench.reports.values import frames
from cerebench.reports.values.marks import marks
from cerebench.reports.values.tidy import values

LABEL = "3D-DDPM"


def told(runs):
    """Return marks and reasons by name of method."""
    experiment = runs.read()
    found = marks(experiment.contents, values(experiment))
    return {runs.contents["rows"][row]["name"]: reasons for row, reasons in found.items()}


def score(runs, metric, value, class_="LGG", name="ddpm", seed=0):
    path = f"{name}-quick-89abcdef/seed-{seed}/score/{metric}@4567cdef.json"
    if name in ("noise", "blur-1"):
        path = f"_real/score/{name}/{metric}@01234567.json"
    rows = json.loads((runs.folder / path).read_text())["rows"]
    runs.edit(path, rows=[r | {"value": value} if r["class"] == class_ else r for r in rows])


def test_structured_samples_are_not_marked(runs):
    assert told(runs) == {}
    assert not any("under-trained" in line for line in build_table(runs.read()).notes)


@pytest.mark.parametrize("value", [410.0, 10774.0])
def test_a_distance_not_below_that_of_noise_is_under_trained_in_whatever_class(runs, value):
    score(runs, "fd-radlite-v2", value, class_="HGG")
    assert told(runs) == {
        "ddpm": {
            "under-trained": [
                f"fd-radlite-v2 {value:g}{'.0' * (value < 1000)} (HGG) is not below that of "
                "control 'noise' (410.0)"
            ]
        }
    }


def test_a_distance_just_below_that_of_noise_is_not_marked(runs):
    score(runs, "fd-radlite-v2", 409.9)
    assert told(runs) == {}


def test_strongly_blurred_volumes_and_an_untrained_network_are_bars_too_and_copies_none(runs):
    score(runs, "fd-radlite-v2", 100.0)
    runs.contents["rows"][-1] |= {"name": "blur-1", "label": "real, blurred 1"}  # at 410
    assert told(runs) == {}
    score(runs, "fd-radlite-v2", 500.0)
    (reason,) = told(runs)["ddpm"]["under-trained"]
    assert reason.endswith("control 'real, blurred 1' (410.0)")
    assert reason.brief == "no nearer than 'real, blurred 1'"  # commas part the reasons
    runs.contents["rows"][-1] |= {"name": "untrained", "label": "untrained"}
    assert "control 'untrained' (410.0)" in told(runs)["ddpm"]["under-trained"][0]
    runs.contents["rows"].pop()  # leaves the copies, whose distance is 0
    assert told(runs) == {}


@pytest.mark.parametrize(
    ("value", "marked"), [(0.53, True), (0.55, False), (0.73, False), (0.75, True)]
)
def test_pairs_less_or_more_alike_than_real_ones_by_a_tenth_are_under_trained(runs, value, marked):
    score(runs, "ms-ssim", value)  # of real pairs: 0.6412
    reasons = {"ddpm": {"under-trained": [
        f"ms-ssim {value} (LGG) is {abs(value - 0.6412):.4f} from that of real volumes, over 0.1"
    ]}}  # fmt: skip
    assert told(runs) == (reasons if marked else {})


def test_many_samples_next_to_training_cases_are_called_copying(runs):
    score(runs, "nn-ratio", 0.15)
    assert told(runs) == {}
    score(runs, "nn-ratio", 0.17)
    assert told(runs) == {"ddpm": {"copying": ["nn-ratio 0.17 (LGG) is over 0.15"]}}


@pytest.mark.parametrize("preset", ["paper", "stable", ""])
def test_larger_presets_and_folders_of_samples_are_never_marked(runs, preset):
    score(runs, "fd-radlite-v2", 10774.0)
    for row in runs.contents["rows"]:
        if row["kind"] == "method":
            row["preset"] = preset
    assert told(runs) == {}  # though the folder 'mine' is .29 from the real MS-SSIM


def test_seeds_are_judged_by_their_mean(three_seeds):
    score(three_seeds, "fd-radlite-v2", 1000.0, seed=1)
    assert told(three_seeds) == {}
    score(three_seeds, "fd-radlite-v2", 500.0, seed=2)
    (reason,) = told(three_seeds)["ddpm"]["under-trained"]
    assert reason.startswith("fd-radlite-v2 510.1 (LGG)")  # (30.25 + 1000 + 500) / 3


def test_what_was_not_measured_is_not_judged(runs):
    score(runs, "fd-radlite-v2", 10774.0)
    for metric in ("fd-radlite-v2", "ms-ssim"):
        (runs.folder / f"ddpm-quick-89abcdef/seed-0/score/{metric}@4567cdef.json").unlink()
    assert told(runs) == {}


def test_every_format_shows_the_mark_and_its_reason(runs, tmp_path):
    score(runs, "fd-radlite-v2", 10774.0)
    experiment = runs.read()
    reason = "fd-radlite-v2 10774 (LGG) is not below that of control 'noise' (410.0)"
    for controls in (True, False):  # hidden controls judge too
        table = build_table(experiment, controls=controls)
        assert table.notes[0] == f"3D-DDPM is under-trained: {reason}."
        for block in table.blocks:
            labels = [row.label for row in block.rows]
            assert "3D-DDPM (under-trained)" in labels
            assert "3D-WGAN-GP" in labels
    (text,) = (path.read_text(encoding="utf-8") for path in markdown.write(experiment, tmp_path))
    assert "| 3D-DDPM (under-trained) |" in text
    assert f"- 3D-DDPM is under-trained: {reason}." in text
    tex = latex.write(experiment, tmp_path)[0].read_text(encoding="utf-8")
    assert "3D-DDPM (under-trained) &" in tex
    assert "3D-DDPM is under-trained: fd-radlite-v2 10774" in tex
    found = frames.frame(experiment)
    assert set(found[found["method"] == "ddpm"]["mark"]) == {f"under-trained: {reason}"}
    assert set(found[found["method"] != "ddpm"]["mark"]) == {""}


def add(runs, metric, value, facts, name="ddpm", n=40):
    """Give a row a metric that the fixture does not have, in both classes."""
    entry = next(m for m in runs.contents["metrics"] if m["name"] == "nn-ratio")
    known = [m["name"] for m in runs.contents["metrics"]]
    if metric not in known:
        runs.contents["metrics"].append(entry | {"name": metric, "label": metric})
    for row in runs.contents["rows"]:
        if row["name"] != name:
            continue
        for cell in row["cells"]:
            record = json.loads((runs.folder / cell["scores"]["nn-ratio"]).read_text())
            place = f"{cell['folder']}/score/{metric}@{record['key'][:8]}.json"
            cell["scores"][metric] = place
            rows = [
                r | {"value": value, "facts": facts, "n_generated": n, "status": "ok", "reason": ""}
                for r in record["rows"]
                if r["class"] == "LGG"
            ]
            (runs.folder / place).parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(record | {"metric": metric, "rows": rows})
            (runs.folder / place).write_text(text)


@pytest.mark.parametrize(("share", "marked"), [(0.0, False), (0.05, False), (0.1, True)])
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_copies_are_marked_at_every_preset(runs, share, marked, preset):
    add(runs, "copies", share, {"voxel": share, "feature": 0.0})
    for row in runs.contents["rows"]:
        if row["kind"] == "method":
            row["preset"] = preset
    reason = f"copies {share} (LGG) is over 0.05, {share} by voxels and 0 by features"
    assert told(runs) == ({"ddpm": {"copying": [reason]}} if marked else {})


def test_folders_of_samples_are_marked_too(runs):
    add(runs, "copies", 1.0, {"voxel": 1.0, "feature": 1.0}, name="mine")
    assert list(told(runs)["mine"]) == ["copying"]


def test_one_copy_among_few_volumes_may_be_chance(runs):
    add(runs, "copies", 0.1, {}, n=10)
    assert told(runs) == {}
    add(runs, "copies", 0.2, {}, n=10)
    assert told(runs) == {"ddpm": {"copying": ["copies 0.2 (LGG) is over 0.05"]}}


def test_copies_decide_where_they_were_computed(runs):
    add(runs, "copies", 0.0, {"voxel": 0.0, "feature": 0.0})
    score(runs, "nn-ratio", 0.9)
    assert told(runs) == {}


def test_voxels_alone_mark_where_only_the_correlation_was_computed(runs):
    add(runs, "max-corr", 0.98, {"copies_fraction": 0.15})
    assert told(runs) == {}
    add(runs, "max-corr", 0.98, {"copies_fraction": 0.4})
    assert told(runs) == {"ddpm": {"copying": ["max-corr copies_fraction 0.4 (LGG) is over 0.15"]}}


def test_few_held_out_cases_raise_the_bar_of_the_ratio(runs):
    add(runs, "nn-ratio", 0.17, {"expected_of_new_cases": 0.095})
    assert "copying" not in told(runs)["ddpm"]  # which has an unequal n
    add(runs, "nn-ratio", 0.21, {"expected_of_new_cases": 0.095})
    assert told(runs)["ddpm"]["copying"] == ["nn-ratio 0.21 (LGG) is over 0.2"]


def volumes(runs, name, n):
    """Score a row on so many generated volumes."""
    for path in runs.folder.glob(f"{name}-*/seed-0/score/*@*.json"):
        rows = json.loads(path.read_text())["rows"]
        runs.edit(path.relative_to(runs.folder), rows=[r | {"n_generated": n} for r in rows])


def test_a_row_of_fewer_volumes_than_others_is_marked_and_not_ranked(seeded):
    table = build_table(seeded.read())
    best = [
        (index, row.label)
        for index, _ in enumerate(table.columns)
        for row in table.blocks[0].rows
        if row.cells[index].bold
    ]
    assert best
    name = next(r["name"] for r in seeded.contents["rows"] if r["label"] == best[0][1])
    for path in seeded.folder.glob(f"{name}-*/seed-*/score/*@*.json"):
        rows = json.loads(path.read_text())["rows"]
        seeded.edit(path.relative_to(seeded.folder), rows=[r | {"n_generated": 32} for r in rows])
    assert told(seeded)[name] == {
        "unequal n": [f"32 {c} volumes where other rows have 64" for c in ("LGG", "HGG")]
    }
    table = build_table(seeded.read())
    (row,) = (row for row in table.blocks[0].rows if row.label == f"{best[0][1]} (unequal n)")
    assert not any(cell.bold or cell.second for cell in row.cells)
    assert any("is unequal n: 32 LGG volumes where other rows have 64" in n for n in table.notes)


def test_of_two_numbers_of_volumes_the_larger_is_the_usual_one(runs):
    runs.contents["rows"] = [r for r in runs.contents["rows"] if r["name"] in ("ddpm", "mine")]
    volumes(runs, "ddpm", 32)
    assert list(told(runs)) == ["ddpm"]
    volumes(runs, "ddpm", 640)
    assert list(told(runs)) == ["mine"]
