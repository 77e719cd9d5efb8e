"""The screen that a run ends with: what a reader must see on 24 lines of 80 characters."""

import io
import json
import re

import pytest
from rich.console import Console

from cerebench.reports.answer import build, render

SIMILARITY = "wgan-gp-quick-89abcdef/seed-0/score/ms-ssim@4567cdef.json"


def printed(experiment, width=80):
    file = io.StringIO()
    render(experiment, Console(file=file, width=width))
    return file.getvalue()


def lines_of(experiment, label, width=80):
    return [line for line in printed(experiment, width).splitlines() if line.startswith(label)]


def scored(runs, **of_classes):
    """Change the MS-SSIM of 3D-WGAN-GP in some classes."""
    rows = json.loads((runs.folder / SIMILARITY).read_text())["rows"]
    rows = [row | {"value": of_classes.get(row["class"], row["value"])} for row in rows]
    runs.edit(SIMILARITY, rows=rows)


@pytest.fixture
def seven(runs):
    for number in range(5):
        runs.method(f"further-{number}", f"Medical Diffusion-{number}")
    return runs


def test_the_screen_looks_as_agreed(runs, golden):
    golden("made-up-answer-80.txt", printed(runs.read()))


@pytest.mark.parametrize("width", [80, 100, 120])
def test_seven_methods_fit_a_screen(seven, width):
    lines = printed(seven.read(), width).splitlines()
    assert len(lines) <= 21  # three more say where the rest is
    assert max(map(len, lines)) <= width


def test_every_method_has_one_line_with_both_classes(runs):
    (line,) = lines_of(runs.read(), "3D-WGAN-GP")
    assert " / " not in line  # the made-up values are equal in both classes
    assert line.split() == ["3D-WGAN-GP", "31.5", ".71", "1.72", "21.3", "4.2", "min"]
    scored(runs, HGG=0.25)
    (line,) = lines_of(runs.read(), "3D-WGAN-GP")
    assert ".71 / .25" in line


def test_at_most_five_columns_and_controls_are_left_out(runs):
    answer = build(runs.read())
    assert len(answer.heads) <= 5
    labels = [label for label, _ in answer.rows]
    assert not any("noise" in label or "copies" in label for label in labels)
    assert labels[0] == "real, held out"


def test_a_metric_that_was_asked_for_by_name_stands_first(runs):
    def columns(*named):
        return ["".join(head[:2]) for head in build(runs.read(), named).heads]

    usable = [entry for entry in runs.contents["metrics"] if not entry["unavailable"]]
    last = next(entry for entry in reversed(usable) if entry["label"] not in columns())
    assert columns(last["name"])[0] == last["label"]
    assert len(columns(last["name"])) == len(columns())


@pytest.mark.parametrize(("value", "shown"), [(-1.6e-16, ".00"), (2e-12, "2.0e-12")])
def test_what_rounding_leaves_of_a_zero_is_a_zero(runs, value, shown):
    scored(runs, LGG=value, HGG=value)
    (line,) = lines_of(runs.read(), "3D-WGAN-GP")
    assert line.split()[2] == shown


def test_a_narrow_screen_keeps_the_first_column_and_the_time(runs):
    text = printed(runs.read(), 44)
    assert "radlite-v2" in text
    assert "training" in text
    assert "KID" not in text
    assert max(map(len, text.splitlines())) <= 44


def test_a_mark_stands_at_the_row_and_its_reason_below(runs):
    for value, reason in ((0.9, "too alike"), (0.3, "too unlike")):
        scored(runs, LGG=value)
        text = printed(runs.read())
        assert "3D-WGAN-GP¹" in text
        (note,) = [line for line in text.splitlines() if line.startswith("¹")]
        assert note == f"¹ under-trained: volumes {reason}."


def test_what_is_missing_is_counted(runs):
    runs.fail("wgan-gp-quick-89abcdef/seed-0/train/LGG/record.json", "out of memory")
    text = printed(runs.read())
    assert re.search(r"— \d+ values failed: bench report says why\.", text)
    assert "3D-WGAN-GP" in text


def test_protocols_have_an_auc_each_and_baselines_a_line(classified):
    answer = build(classified.read())
    heads = [" ".join(head) for head in answer.heads]
    assert len(heads) <= 5
    assert [h for h in heads if h.endswith("AUC")] == ["Experiment 1  AUC", "Experiment 2  AUC"]
    rows = dict(answer.rows)
    assert re.fullmatch(r"\.\d\d|1\.00", rows["3D-WGAN-GP"][-3])


def test_markup_prints_as_itself(runs):
    runs.contents["rows"][1]["label"] = "[bold]x[/bold]"
    runs.contents["title"] = "[red]title[/red]"
    text = printed(runs.read(), 200)
    assert "[bold]x[/bold]" in text
    assert "[red]title[/red]" in text
