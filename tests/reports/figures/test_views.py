import numpy as np
import pytest

from cerebench.reports.base import NotDrawn, ReportError
from cerebench.reports.figures import views

SHAPES = {"axial": (2, 3, 16, 12), "coronal": (2, 8, 12), "sagittal": (2, 8, 16)}


@pytest.fixture
def seen(runs):
    """Every preview has three views of 8 x 16 x 12 voxels, bright at the last corner."""
    for path in runs.folder.rglob("preview.npz"):
        kept = {}
        for class_ in runs.contents["dataset"]["classes"]:
            for view, shape in SHAPES.items():
                kept[f"{class_}/{view}"] = np.zeros(shape, np.uint8)
                kept[f"{class_}/{view}"][..., -2:, -2:] = 255
        np.savez(path, **kept)
    return runs


def test_each_class_has_three_views_and_real_cases_come_first(seen):
    figure = views.draw(seen.read())
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    names = [f"{c}\n{v}" for c in ("LGG", "HGG") for v in ("axial", "coronal", "sagittal")]
    assert titles == names
    assert [a.get_ylabel() for a in figure.axes if a.get_ylabel()][:2] == ["real", "3D-WGAN-GP"]
    shapes = [a.images[0].get_array().shape for a in figure.axes[:3]]
    assert shapes == [(16, 12), (8, 12), (8, 16)]


def test_head_and_front_are_up_and_the_right_of_the_patient_is_left(seen):
    for axes in views.draw(seen.read()).axes[:3]:
        image = axes.images[0].get_array()
        assert (image[:2, :2] == 255).all()
        assert image.sum() == 4 * 255


def test_pixels_are_as_high_and_wide_as_voxels(seen):
    seen.contents["dataset"]["spacing"] = [3.0, 1.0, 2.0]
    aspects = [axes.get_aspect() for axes in views.draw(seen.read()).axes[:3]]
    assert aspects == pytest.approx([0.5, 1.5, 3.0])


def test_previews_of_older_versions_have_no_such_figure(runs):
    with pytest.raises(NotDrawn, match="older versions did not keep; delete"):
        views.draw(runs.read())


def test_a_row_of_an_older_version_says_what_it_lacks(seen):
    seen.preview("wgan-gp-quick-89abcdef/seed-0/score/preview.npz", 90)
    texts = [text.get_text() for axes in views.draw(seen.read()).axes[6:9] for text in axes.texts]
    assert [text.replace("\n", " ") for text in texts] == ["no coronal slice", "no sagittal slice"]


def test_a_preview_of_another_type_is_named(seen):
    path = seen.folder / "_real/preview.npz"
    np.savez(path, **{"LGG/coronal": np.zeros((1, 4, 4), np.float32)})
    with pytest.raises(ReportError, match=r"holds float32 coronal slices of shape \(1, 4, 4\)"):
        views.draw(seen.read())
