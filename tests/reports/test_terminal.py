import io

import pytest
from rich.console import Console

from cerebench.reports import terminal


def printed(experiment, width, **options):
    file = io.StringIO()
    terminal.render(experiment, Console(file=file, width=width), **options)
    return file.getvalue()


@pytest.mark.parametrize("width", [100, 120])
def test_the_table_looks_as_agreed(runs, golden, width):
    text = printed(runs.read(), width, anchors=True)
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
    assert "bench report --anchors" in short
    assert "bench report --protocol" in short
    assert "bench report --anchors" not in printed(runs.read(), 300, anchors=True)
    full = printed(runs.read(), 120, anchors=True, protocol=True)
    assert "recipe" in full
    assert len(full) > len(short)
