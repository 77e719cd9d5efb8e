import numpy as np
import pytest

from cerebench.reports.base import ReportError
from cerebench.reports.figures import slices


def test_real_cases_come_first_and_classes_stand_side_by_side(runs):
    axes = slices.draw(runs.read()).axes
    labels = [a.get_ylabel() for a in axes if a.get_ylabel()]
    assert labels == ["real", "3D-WGAN-GP", "3D-DDPM", "3D-α-WGAN", "mine_v2 & co"]
    assert [a.get_title() for a in axes[:2]] == ["LGG", "HGG"]
    assert len(axes) == 10


def test_all_panels_share_one_window_and_show_three_slices(runs):
    images = [a.images[0] for a in slices.draw(runs.read()).axes if a.images]
    assert len(images) == 6
    assert {image.get_clim() for image in images} == {(0, 255)}
    assert {image.get_array().shape for image in images} == {(16, 48)}


def test_front_is_up_and_the_right_of_the_patient_is_left(runs):
    strip = slices.draw(runs.read()).axes[0].images[0].get_array()
    assert (strip[:4, :4] == 255).all()
    assert (strip[4:] == 60).all()


def test_a_missing_preview_shows_the_reason(runs):
    axes = slices.draw(runs.read()).axes
    texts = [text.get_text().replace("\n", " ") for a in axes[6:] for text in a.texts]
    assert texts == ["train LGG: out of memory at 128³"] * 2 + ["no preview"] * 2


def test_the_figure_says_how_volumes_were_chosen(runs):
    texts = " ".join(text.get_text() for text in slices.draw(runs.read()).texts)
    assert "chosen by seed" in texts
    assert "Window [-1, 1]" in texts
    assert "not which generator is better" in texts


def test_a_preview_of_another_shape_is_named(runs):
    path = runs.folder / "_real/preview.npz"
    np.savez(path, **{"LGG/axial": np.zeros((1, 2, 4, 4), np.uint8)})
    with pytest.raises(ReportError, match=r"expected uint8 \(3, H, W\)"):
        slices.draw(runs.read())


def test_a_truncated_preview_is_named(runs):
    path = runs.folder / "_real/preview.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReportError, match="cannot be read as a preview"):
        slices.draw(runs.read())


def test_a_pickle_in_a_preview_is_refused(runs):
    path = runs.folder / "_real/preview.npz"
    np.savez(path, **{"LGG/axial": np.array([{}], dtype=object)})
    with pytest.raises(ReportError, match="cannot be read as a preview"):
        slices.draw(runs.read())


def test_the_three_slices_of_a_panel_are_parted(runs):
    lines = [line.get_xdata()[0] for line in slices.draw(runs.read()).axes[0].lines]
    assert lines == [15.5, 31.5]


def test_the_first_seed_with_samples_is_shown(three_seeds):
    path = three_seeds.folder / "wgan-gp-quick-89abcdef/seed-0/score/preview.npz"
    path.rename(path.parents[2] / "seed-1/score/preview.npz")
    strip = slices.draw(three_seeds.read()).axes[2].images[0].get_array()
    assert strip[8, 8] == 90


def test_many_classes_keep_their_slices_large_enough_to_see(runs):
    one = slices.draw(runs.read()).get_figwidth()
    runs.contents["dataset"]["classes"] = ["LGG", "HGG", "third", "fourth"]
    figure = slices.draw(runs.read())
    assert one == 3.5
    edges = [a.get_position().width * figure.get_figwidth() / 3 for a in figure.axes]
    assert min(edges) == pytest.approx(slices.LEAST)
