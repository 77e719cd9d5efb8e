"""Volumes that are certainly wrong are told on every screen."""

import pytest

from cerebench.reports import answer
from cerebench.reports.tables.table import build_table

SIZE = 32
SAMPLES = "wgan-gp-quick-89abcdef/seed-0/sample/record.json"


@pytest.mark.parametrize(
    ("field", "lgg", "told"),
    [
        ("clip_fraction", 0.51, "most voxels lay outside [-1, 1]"),
        ("foreground", 0, "volumes are empty"),
        ("foreground", SIZE**3, "volumes have no background"),
    ],
)
def test_a_class_of_wrong_volumes_is_named_on_the_screen_and_under_the_table(
    runs, field, lgg, told
):
    good = {"clip_fraction": 0.49, "foreground": 4000.0}[field]
    runs.edit(SAMPLES, **{field: {"LGG": lgg, "HGG": good}})
    for notes in (answer.build(runs.read()).notes, build_table(runs.read()).notes):
        (line,) = [note for note in notes if told in note]
        assert line.startswith("3D-WGAN-GP (LGG): ")


def test_volumes_like_real_ones_are_not_told(runs):
    for notes in (answer.build(runs.read()).notes, build_table(runs.read()).notes):
        assert not [note for note in notes if "Its numbers say nothing else" in note]
