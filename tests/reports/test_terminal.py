import io

import pytest
from rich.console import Console

from cerebench.reports import terminal
from cerebench.reports.base import ReportError


def printed(experiment, width, **options):
    file = io.StringIO()
    terminal.render(experiment, Console(file=file, width=width), **options)
    return file.getvalue()


@pytest.mark.parametrize("width", [100, 120])
def test_the_table_looks_as_agreed(runs, golden, width):
    text = printed(runs.read(), width, controls=True)
    assert max(map(len, text.splitlines())) <= width
    golden(f"made-up-{width}.txt", text)


def test_several_seeds_look_as_agreed(three_seeds, golden):
    golden("made-up-seeds.txt", printed(three_seeds.read(), 120))


def test_markup_in_a_label_prints_as_itself(runs):
    runs.contents["rows"][1]["label"] = "[bold]x[/bold]"
    runs.contents["title"] = "[red]title[/red]"
    text = printed(runs.read(), 300)
    assert "[bold]x[/bold]" in text
    assert "[red]title[/red]" in text


def test_controls_and_recipes_show_when_asked(runs):
    short = printed(runs.read(), 300)
    assert "bench report --controls" in short
    assert "bench report --recipes" in short
    assert "bench report --controls" not in printed(runs.read(), 300, controls=True)
    full = printed(runs.read(), 120, controls=True, protocol=True)
    assert "recipe" in full
    assert len(full) > len(short)


def test_downstream_tables_look_as_agreed(classified, golden):
    text = printed(classified.read(), 120)
    assert max(map(len, text.splitlines())) <= 120
    start, end = text.index("Downstream classification"), text.index("What the methods say")
    golden("made-up-downstream-120.txt", text[start:end])
    assert "Experiment 1 = exp1" not in text
    assert "Experiment 1 = exp1" in printed(classified.read(), 120, protocol=True)


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
