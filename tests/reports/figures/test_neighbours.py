import numpy as np
import pytest

from cerebench.reports.base import NotDrawn, ReportError
from cerebench.reports.figures import neighbours

PATH = "{}-quick-89abcdef/seed-0/score/neighbours.npz"


def give(runs, name, cases, classes=("LGG", "HGG"), **changes):
    found = {}
    for class_ in classes:
        k = len(cases)
        generated, neighbour = np.full((k, 8, 8), 90, np.uint8), np.full((k, 8, 8), 30, np.uint8)
        generated[:, 6:, 6:] = 255  # front right
        found |= {f"{class_}/generated": generated, f"{class_}/neighbour": neighbour}
        found[f"{class_}/distance"] = np.arange(k) + 2.5
        found[f"{class_}/ids"] = np.array([[f"sample-{i}", case] for i, case in enumerate(cases)])
    np.savez(runs.folder / PATH.format(name), **(found | changes))


@pytest.fixture
def filled(runs):
    for row in runs.contents["rows"]:
        for cell in row.get("cells", ()):
            cell["neighbours"] = f"{cell['folder']}/score/neighbours.npz"
    give(runs, "wgan-gp", ["case-seven", "case-two", "case-nine"])
    give(runs, "ddpm", ["case-two"], classes=("LGG",))
    return runs


def test_a_generated_volume_stands_left_of_its_case_front_up(filled):
    axes = neighbours.draw(filled.read()).axes
    pair = axes[0].images[0].get_array()
    assert pair.shape == (8, 16)
    assert (pair[:2, :2] == 255).all()
    assert (pair[2:, :8] == 90).all()
    assert (pair[:, 8:] == 30).all()
    assert axes[0].images[0].get_clim() == (0, 255)


def test_distances_and_numbers_of_cases_stand_below_but_no_identifier(filled):
    figure = neighbours.draw(filled.read())
    assert [a.get_xlabel() for a in figure.axes[:5]] == [
        "2.5 · case 1", "3.5 · case 2", "2.5 · case 1", "3.5 · case 2", "2.5 · case 2",
    ]  # fmt: skip
    titles = [a.get_title() for a in figure.axes[:4]]
    assert titles == ["LGG, closest", "LGG, #2", "HGG, closest", "HGG, #2"]
    shown = [t.get_text() for a in figure.axes for t in (*a.texts, a.xaxis.label, a.title)]
    everything = " ".join([*shown, *(t.get_text() for t in figure.texts)])
    assert "case-" not in everything
    assert "sample-" not in everything
    assert "Euclidean, standardised features" in everything


def test_what_is_missing_is_said(filled):
    axes = neighbours.draw(filled.read()).axes
    texts = [" ".join(t.get_text() for t in a.texts).replace("\n", " ") for a in axes[4:]]
    assert texts[1] == "no such pair"
    assert texts[2:4] == ["no pairs: NN ratio was not computed"] * 2
    assert texts[4].startswith("train LGG: out of")
    assert len(axes) == 16


def test_without_pairs_nothing_is_drawn(filled):
    for name in ("wgan-gp", "ddpm"):
        (filled.folder / PATH.format(name)).unlink()
    with pytest.raises(NotDrawn, match="they come with the metric nn-ratio"):
        neighbours.draw(filled.read())


def test_arrays_that_do_not_fit_are_named(filled):
    give(filled, "wgan-gp", ["case"], **{"HGG/neighbour": np.zeros((2, 8, 8), np.uint8)})
    with pytest.raises(ReportError, match="no slices and distances of 1 pairs for HGG"):
        neighbours.draw(filled.read())


def by_voxels(ids, level=200):
    """What a file holds beside its pairs, for one class."""
    return {
        "LGG/voxel_neighbour": np.full((len(ids), 8, 8), level, np.uint8),
        "LGG/voxel_correlation": np.linspace(0.987, 0.9, len(ids)),
        "LGG/voxel_ids": np.array(ids),
    }


def test_another_case_by_voxels_stands_third_and_is_labelled(filled):
    voxels = by_voxels(["case-six", "case-seven"])
    give(filled, "ddpm", ["case-two", "case-seven"], ("LGG",), **voxels)
    figure = neighbours.draw(filled.read())
    first, second = figure.axes[4:6]
    assert first.images[0].get_array().shape == (8, 24)
    assert (first.images[0].get_array()[:, 16:] == 200).all()
    assert second.images[0].get_array().shape == (8, 16)  # both find case-seven
    assert first.get_xlabel() == "2.5 · case 2\nr 0.99 · case 3"
    assert second.get_xlabel() == "3.5 · case 1"
    assert "voxels of another case correlate" in " ".join(t.get_text() for t in figure.texts)


def test_cases_by_voxels_that_do_not_fit_are_named(filled):
    give(filled, "ddpm", ["case-two", "case-seven"], ("LGG",), **by_voxels(["case-six"]))
    with pytest.raises(ReportError, match="by voxels of 2 pairs for LGG"):
        neighbours.draw(filled.read())
