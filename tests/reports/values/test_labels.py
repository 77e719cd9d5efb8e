"""What the heads of columns mean, wherever a table has them."""

import pytest

from cerebench.benchmark.engine.registry import Registries
from cerebench.reports import answer, markdown
from cerebench.reports.tables.table import build_table

LEGEND = "share of made-up volumes; best near 0"


@pytest.fixture
def explained(runs):
    next(m for m in runs.contents["metrics"] if m["name"] == "nn-ratio")["legend"] = LEGEND
    return runs


def test_a_column_whose_head_does_not_tell_has_a_line_in_every_table(explained, tmp_path):
    line = f"NN ratio: {LEGEND}."
    assert line in build_table(explained.read()).notes
    (path,) = markdown.write(explained.read(), tmp_path)
    assert line in path.read_text("utf-8")


def test_the_last_screen_has_the_line_where_it_has_the_column(explained):
    assert not [note for note in answer.build(explained.read()).notes if LEGEND in note]
    explained.contents["metrics"] = [m for m in explained.contents["metrics"] if "nn" in m["name"]]
    assert f"NN ratio: {LEGEND}." in answer.build(explained.read()).notes


def test_a_metric_that_was_not_computed_has_no_line(explained):
    metric = next(m for m in explained.contents["metrics"] if m["name"] == "nn-ratio")
    metric["unavailable"] = "the weights are missing"
    assert not [note for note in build_table(explained.read()).notes if LEGEND in note]


def test_powers_of_ten_are_said_where_numbers_are_printed_with_one(runs):
    (line,) = [note for note in build_table(runs.read()).notes if "in a head" in note]
    assert line == "(10⁴), (10⁻³) in a head: a number times this is the value."
    assert "(10…): a number times this is the value" in answer.build(runs.read()).notes[0]
    for metric in runs.contents["metrics"]:
        metric["scale"] = 1.0
    assert "a number times" not in " ".join(answer.build(runs.read()).notes)
    assert not [note for note in build_table(runs.read()).notes if "in a head" in note]


@pytest.mark.parametrize("name", ["nn-ratio", "ct-z", "authpct"])
def test_scores_of_copying_say_what_they_mean_and_which_direction_is_good(name):
    legend = Registries().metrics.load(name).legend
    assert "best near" in legend
    assert legend.count("copies") == legend.count("unlike any real one") == 1
