import numpy as np
import pytest

from cerebench.reports import figures
from cerebench.reports.base import ReportError


def test_pdf_and_png_are_written(runs, tmp_path):
    pdf, png, *_ = figures.write(runs.read(), tmp_path / "out")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_real_cases_come_first_and_classes_stand_side_by_side(runs):
    axes = figures.draw(runs.read()).axes
    labels = [a.get_ylabel() for a in axes if a.get_ylabel()]
    assert labels == ["real", "3D-WGAN-GP", "3D-DDPM", "3D-α-WGAN", "mine_v2 & co"]
    assert [a.get_title() for a in axes[:2]] == ["LGG", "HGG"]
    assert len(axes) == 10


def test_all_panels_share_one_window_and_show_three_slices(runs):
    images = [a.images[0] for a in figures.draw(runs.read()).axes if a.images]
    assert len(images) == 6
    assert {image.get_clim() for image in images} == {(0, 255)}
    assert {image.get_array().shape for image in images} == {(16, 48)}


def test_front_is_up_and_the_right_of_the_patient_is_left(runs):
    strip = figures.draw(runs.read()).axes[0].images[0].get_array()
    assert (strip[:4, :4] == 255).all()
    assert (strip[4:] == 60).all()


def test_a_missing_preview_shows_the_reason(runs):
    axes = figures.draw(runs.read()).axes
    texts = [text.get_text().replace("\n", " ") for a in axes[6:] for text in a.texts]
    assert texts == ["train LGG: out of memory at 128³"] * 2 + ["no preview"] * 2


def test_the_figure_says_how_volumes_were_chosen(runs):
    texts = " ".join(text.get_text() for text in figures.draw(runs.read()).texts)
    assert "chosen by seed" in texts
    assert "window [-1, 1]" in texts
    assert "not which generator is better" in texts


def test_a_preview_of_another_shape_is_named(runs):
    path = runs.folder / "_real/preview.npz"
    np.savez(path, **{"LGG/axial": np.zeros((1, 2, 4, 4), np.uint8)})
    with pytest.raises(ReportError, match=r"expected uint8 \(3, H, W\)"):
        figures.draw(runs.read())


def test_a_truncated_preview_is_named(runs):
    path = runs.folder / "_real/preview.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReportError, match="cannot be read as a preview"):
        figures.draw(runs.read())


def test_a_pickle_in_a_preview_is_refused(runs):
    path = runs.folder / "_real/preview.npz"
    np.savez(path, **{"LGG/axial": np.array([{}], dtype=object)})
    with pytest.raises(ReportError, match="cannot be read as a preview"):
        figures.draw(runs.read())


def test_a_dollar_in_a_label_is_no_formula(runs, tmp_path):
    runs.contents["rows"][1]["label"] = "$\\nosuch$"
    assert len(figures.write(runs.read(), tmp_path)) == 4
