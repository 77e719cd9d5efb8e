import io
import itertools
import json
from dataclasses import replace

import pytest
from rich.console import Console

from cerebench.reports import terminal
from cerebench.reports.base import ReportError
from cerebench.reports.tables.table import build_table


def printed(experiment, width, **options):
    file = io.StringIO()
    terminal.render(experiment, Console(file=file, width=width), **options)
    return file.getvalue()


@pytest.mark.parametrize("width", [100, 120])
def test_the_table_looks_as_agreed(runs, golden, width):
    text = printed(runs.read(), width, controls=True, notes=True, all_columns=True)
    assert max(map(len, text.splitlines())) <= width
    golden(f"made-up-{width}.txt", text)


def test_without_options_the_table_looks_as_agreed(runs, golden):
    text = printed(runs.read(), 80)
    assert max(map(len, text.splitlines())) <= 80
    golden("made-up-80.txt", text)


def test_the_diagnosis_looks_as_agreed(runs, golden):
    runs.log("ddpm", "diffusion", loss=[1.0, 0.5, 0.25])
    text = printed(runs.read(), 80, diagnostics=True)
    golden("made-up-diagnosis-80.txt", text[text.index("\nMarks\n") :])


def test_several_seeds_look_as_agreed(three_seeds, golden):
    golden("made-up-seeds.txt", printed(three_seeds.read(), 120, notes=True))


def test_markup_in_a_label_prints_as_itself(runs):
    runs.contents["rows"][1]["label"] = "[bold]x[/bold]"
    runs.contents["title"] = "[red]title[/red]"
    text = printed(runs.read(), 300)
    assert "[bold]x[/bold]" in text
    assert "[red]title[/red]" in text


def test_a_row_is_named_once_in_a_panel_with_a_line_a_class(runs):
    first, *_ = printed(runs.read(), 80).split("\n\n")[1:]
    lines = first.splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith("3D-WGAN-GP")]
    assert lines[place].split()[1] == "LGG"
    assert lines[place + 1].split()[0] == "HGG"


def test_a_block_with_rows_of_its_own_has_its_name_on_top(classified):
    text = printed(classified.read(), 120)
    text = text[text.index("Downstream classification") : text.index("difference from")]
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(line.startswith("3D-WGAN-GP Experiment 1 0.7") for line in lines)
    assert any(line.startswith("Experiment 2 0.8") for line in lines)
    place = lines.index("Baselines and controls")
    assert lines[place + 1].startswith("Trad. Aug. 0.7")


@pytest.mark.parametrize(("name", "top"), [("all", "real set"), ("glioma", "glioma")])
def test_volumes_without_classes_stand_under_no_name(runs, monkeypatch, name, top):
    table = build_table(runs.read())
    one = replace(table, blocks=(replace(table.blocks[0], name=name),))
    monkeypatch.setattr(terminal, "build_table", lambda *_, **__: one)
    lines = [" ".join(line.split()) for line in printed(runs.read(), 200).splitlines()]
    assert any(line.startswith(f"{top} →") for line in lines)
    assert not any(line.startswith("all") for line in lines)


def test_a_mark_stands_under_the_name_of_its_row(runs):
    path = "wgan-gp-quick-89abcdef/seed-0/score/ms-ssim@4567cdef.json"
    rows = json.loads((runs.folder / path).read_text())["rows"]
    runs.edit(path, rows=[row | {"value": 0.95} for row in rows])
    text = printed(runs.read(), 80)
    assert "3D-WGAN-GP (under-trained)" not in text
    (after,) = {b.split()[0] for a, b in pairs(text) if a.startswith("3D-WGAN-GP")}
    assert after == "(under-trained)"
    assert "3D-WGAN-GP is under-trained: volumes too alike." in text
    whole = printed(runs.read(), 300, notes=True)
    assert "3D-WGAN-GP is under-trained: ms-ssim 0.95 (LGG) is 0.3088 from that of real" in whole


def pairs(text):
    lines = text.splitlines()
    return itertools.pairwise(lines)


def test_a_panel_leaves_out_rows_that_have_nothing_in_it(runs):
    *_, costs = [part for part in printed(runs.read(), 80).split("\n\n") if "s/volume" in part]
    assert "real, held out" not in costs
    assert "3D-DDPM" in costs


def test_what_was_not_asked_for_is_offered(runs):
    told = printed(runs.read(), 80, command="bench report made-up")
    assert "bench report made-up shows more with" in told
    options = {"notes": "notes", "all_columns": "all-columns", "diagnostics": "diagnostics"}
    options |= {"recipes": "recipes", "controls": "controls"}
    for name, option in options.items():
        assert f"    --{option} " in told
        assert f"    --{option} " not in printed(runs.read(), 80, **{name: True})
    assert "shows more" not in printed(runs.read(), 80, **dict.fromkeys(options, True))


def test_notes_and_settings_are_whole_when_asked_and_counted_else(runs):
    short, whole = (printed(runs.read(), 300, notes=asked) for asked in (False, True))
    assert "± leaves out" not in short
    assert "± leaves out" in whole
    assert "Settings that differ from preset paper: 3D-WGAN-GP 2, 3D-DDPM 2" in short
    assert "Differs from preset paper in steps 300" in whole
    for warning in ("MMD is never bold", "Not computed: FID", "lies below the real-vs-real floor"):
        assert warning in short
    assert "mine_v2 & co: source folder of samples." in short  # what must be known of a folder


def test_few_costs_show_unless_all_columns_are_asked_for(runs):
    short, whole = (printed(runs.read(), 300, all_columns=asked) for asked in (False, True))
    for head in ("peak MiB", "device", "sampler"):
        assert head not in short.partition("shows more")[0]
        assert head in whole
    assert "CPU time" in short


def test_controls_and_recipes_show_when_asked(runs):
    short = printed(runs.read(), 300)
    full = printed(runs.read(), 120, controls=True, recipes=True)
    assert "recipe" in full
    assert len(full) > len(short)


def test_downstream_tables_look_as_agreed(classified, golden):
    text = printed(classified.read(), 120, notes=True)
    assert max(map(len, text.splitlines())) <= 120
    golden("made-up-downstream-120.txt", text[text.index("Downstream classification") :])
    assert "Experiment 1 = exp1" not in text
    assert "Experiment 1 = exp1" in printed(classified.read(), 120, recipes=True)


def test_published_numbers_stand_apart_and_only_when_asked_for(classified):
    quoted = {"table": "Table 2 (a)", "title": "classification", "columns": ["Method", "AUC"]}
    quoted |= {"rows": [["[b]3D-VQGAN", "0.72 ± 0.03"], ["best", "0.99"]], "note": "p = .02"}
    classified.contents |= {"published": [quoted], "cite": "A. Author, Venue 2024"}
    without, text = (printed(classified.read(), 120, published=asked) for asked in (False, True))
    assert "0.72 ± 0.03" not in without
    assert text.startswith(without)
    added = text[len(without) :]
    for words in ("reported in the paper, not made here", "[b]3D-VQGAN", "p = .02", "Venue 2024"):
        assert words in added


def test_the_test_behind_a_comparison_can_be_chosen(classified):
    text = printed(classified.read(), 200, test="welch")
    assert "Beside it, without a mark: Welch t test over runs" in text
    with pytest.raises(ReportError, match="no test named 'anova'"):
        printed(classified.read(), 200, test="anova")
