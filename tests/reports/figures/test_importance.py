import numpy as np
import pytest

from cerebench.reports.base import NotDrawn, ReportError
from cerebench.reports.figures import importance

MAPS = "ddpm-quick-89abcdef/seed-{}/diagnosis/maps.npz"


def panels(figure):
    """Return the panels of cases; the last axes are the colour bar."""
    return figure.axes[:-1]


def change(runs, **arrays):
    path = runs.folder / MAPS.format(0)
    with np.load(path) as stored:
        kept = dict(stored)
    np.savez(path, **(kept | {name.replace("_", "/"): array for name, array in arrays.items()}))
    runs.vouch(MAPS.format(0))


def test_a_method_with_maps_has_two_cases_a_class(runs):
    runs.diagnose("wgan-gp", maps=False)
    axes = panels(importance.draw(runs.read()))
    labels = ["3D-DDPM\nseed 0, case 1", "", "3D-DDPM\nseed 0, case 2", ""]
    assert [a.get_ylabel() for a in axes] == labels
    assert [a.get_title() for a in axes] == ["LGG", "HGG", "", ""]


def test_all_maps_share_one_scale_from_zero_to_one_and_keep_their_values(runs):
    change(runs, LGG_importance=np.full((2, 16, 16), 0.25, np.float32))
    figure = importance.draw(runs.read())
    maps = [a.images[1] for a in panels(figure)]
    assert {m.get_clim() for m in maps} == {(0, 1)}
    assert {m.get_alpha() for m in maps} == {None}
    assert (maps[0].get_array() == 0.25).all()
    assert figure.axes[-1].get_ylim() == (0, 1)
    slices = [a.images[0] for a in panels(figure)]
    assert {s.get_clim() for s in slices} == {(0, 255)}


def test_slice_and_map_are_turned_alike(runs):
    image, shown = panels(importance.draw(runs.read()))[0].images
    assert (image.get_array()[:4, :4] == 255).all()
    assert (shown.get_array()[:4, :4] == 1).all()
    assert image.get_array()[8, 8] == 90
    assert shown.get_array()[8, 4] > shown.get_array()[8, 12]


def test_slice_and_map_stand_side_by_side(runs):
    image, shown = panels(importance.draw(runs.read()))[0].images
    assert tuple(image.get_extent()) == (0, 16, 16, 0)
    assert tuple(shown.get_extent()) == (16, 32, 16, 0)


def test_the_outline_lies_on_the_map_at_the_edge_of_the_foreground(runs):
    slices = np.zeros((2, 16, 16), np.uint8)
    slices[:, 2:5, 2:5] = 6
    change(runs, LGG_axial=slices)
    axes = panels(importance.draw(runs.read()))[0]
    x, y = np.concatenate([p.vertices for p in axes.collections[0].get_paths()]).T
    assert (x.min(), x.max()) == (16 + 11, 16 + 14)
    assert (y.min(), y.max()) == (11, 14)
    change(runs, LGG_axial=np.full((2, 16, 16), 5, np.uint8))
    assert not panels(importance.draw(runs.read()))[0].collections


def test_the_first_seed_with_maps_is_shown(three_seeds):
    path = MAPS.format(0).replace("maps.npz", "record.json")
    (three_seeds.folder / path).unlink()
    axes = panels(importance.draw(three_seeds.read()))
    assert axes[0].get_ylabel() == "3D-DDPM\nseed 1, case 1"
    assert axes[0].images[1].get_array()[15, 15] == 0.25


def test_the_figure_says_what_it_shows_but_not_who(runs):
    figure = importance.draw(runs.read())
    texts = " ".join(text.get_text() for text in figure.texts)
    for fact in ("Held-out cases chosen by seed", "first seed", "patient's right on the left"):
        assert fact in texts
    assert "not which generator is better" in texts
    everywhere = texts + " ".join(a.get_title() + a.get_ylabel() for a in figure.axes)
    assert "one" not in everywhere.split()
    assert "two" not in everywhere.split()


def test_there_is_no_figure_without_maps(runs):
    runs.diagnose("ddpm", maps=False)
    with pytest.raises(NotDrawn, match="no method of this experiment has importance maps"):
        importance.draw(runs.read())


def test_a_case_or_class_that_is_missing_is_said(runs):
    path = runs.folder / MAPS.format(0)
    with np.load(path) as stored:
        np.savez(path, **{key: stored[key][:1] for key in stored.files if "LGG" in key})
    runs.vouch(MAPS.format(0))
    axes = panels(importance.draw(runs.read()))
    texts = [[text.get_text() for text in a.texts] for a in axes]
    assert texts == [[], ["no map"], ["no such case"], ["no map"]]


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan])
def test_importance_outside_its_range_is_refused(runs, value):
    wrong = np.zeros((2, 16, 16), np.float32)
    wrong[1, 3, 3] = value
    change(runs, HGG_importance=wrong)
    with pytest.raises(ReportError, match=r"for HGG; expected float32 in \[0, 1\]"):
        importance.draw(runs.read())


def test_maps_of_another_shape_are_named(runs):
    change(runs, HGG_importance=np.zeros((2, 8, 8), np.float32))
    with pytest.raises(ReportError, match=r"maps of shape \(2, 8, 8\) for HGG"):
        importance.draw(runs.read())


def test_a_pickle_or_a_truncated_file_is_refused(runs):
    path = runs.folder / MAPS.format(0)
    np.savez(path, **{"LGG/axial": np.array([{}], dtype=object)})
    runs.vouch(MAPS.format(0))
    with pytest.raises(ReportError, match="cannot be read as importance maps"):
        importance.draw(runs.read())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReportError, match="is not what its record vouches for"):
        importance.draw(runs.read())
    runs.vouch(MAPS.format(0))
    with pytest.raises(ReportError, match="cannot be read as importance maps"):
        importance.draw(runs.read())


def test_a_path_outside_the_folder_is_refused(runs):
    runs.contents["rows"][2]["cells"][0]["diagnosis"] = "../../etc/record.json"
    with pytest.raises(ReportError, match="must be a path inside its folder"):
        importance.draw(runs.read())
