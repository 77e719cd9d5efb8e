import numpy as np
import pytest

from cerebench.reports.base import NotDrawn, ReportError
from cerebench.reports.figures import distributions
from cerebench.reports.figures.drawing import METHODS

EDGES = np.linspace(-1, 1, 5)


def give(runs, path, intensity, volumes):
    found = {}
    for class_ in ("LGG", "HGG"):
        found |= {f"{class_}/intensity": np.array(intensity, float), f"{class_}/edges": EDGES}
        found[f"{class_}/volume_ml"] = np.array(volumes, float)
    np.savez(runs.folder / path, **found)


@pytest.fixture
def filled(runs):
    """Real: area 1 in the first bin; 3D-WGAN-GP: in the last; 3D-DDPM has no file."""
    runs.contents["rows"][0]["distributions"] = "_real/distributions.npz"
    give(runs, "_real/distributions.npz", [4, 0, 0, 0], [4, 4, 12])
    for row in runs.contents["rows"]:
        for cell in row.get("cells", ()):
            cell["distributions"] = f"{cell['folder']}/score/distributions.npz"
    give(runs, "wgan-gp-quick-89abcdef/seed-0/score/distributions.npz", [0, 0, 0, 6], [20, 20])
    return runs


def curves(axes):
    """Return heights and edges of the curves of a panel: real, then generated (twice)."""
    return [patch.get_data() for patch in axes.patches]


def test_generated_curves_of_area_one_lie_over_real_ones(filled):
    figure = distributions.draw(filled.read())
    intensity, volume = figure.axes[:2]
    real, *_, generated = curves(intensity)
    assert real.values.tolist() == [2, 0, 0, 0]
    assert generated.values.tolist() == [0, 0, 0, 2]
    assert generated.edges.tolist() == EDGES.tolist()
    assert intensity.patches[-1].get_edgecolor()[:3] == pytest.approx((0.902, 0.624, 0), abs=0.01)
    assert METHODS["wgan-gp"].colour == "#E69F00"
    real, *_, generated = curves(volume)
    assert real.values.tolist() == pytest.approx([0] * 4 + [2 / 3] + [0] * 7 + [1 / 3] + [0] * 7)
    assert generated.values.tolist() == pytest.approx([0] * 19 + [1])
    assert (generated.edges[0], generated.edges[-1]) == (0, 20)


def test_volumes_far_beyond_real_ones_do_not_stretch_the_axis(filled):
    give(filled, "wgan-gp-quick-89abcdef/seed-0/score/distributions.npz", [0, 0, 0, 6], [1, 2000])
    figure = distributions.draw(filled.read())
    real, *_, generated = curves(figure.axes[1])
    assert (generated.edges[0], generated.edges[-1]) == (0, 24)
    assert generated.values.tolist() == pytest.approx([1 / 2.4] + [0] * 18 + [1 / 2.4])
    assert real.values.sum() * 1.2 == pytest.approx(1)
    text = " ".join(t.get_text() for t in figure.texts)
    assert "2 times the largest real volume if any is larger" in text


def test_rows_and_columns_are_named_and_have_units(filled):
    axes = distributions.draw(filled.read()).axes
    assert [a.get_title() for a in axes[:4]] == [
        "LGG\nintensity", "LGG\nvolume", "HGG\nintensity", "HGG\nvolume",
    ]  # fmt: skip
    names = [a.get_ylabel() for a in axes[::4]]
    assert names == ["3D-WGAN-GP", "3D-DDPM", "3D-α-WGAN", "mine_v2 & co"]
    assert [a.get_xlabel() for a in axes[-4:]] == ["in [-1, 1]", "ml"] * 2


def test_missing_files_show_their_reason_and_n_is_stated(filled):
    figure = distributions.draw(filled.read())
    reasons = [a.texts[0].get_text().replace("\n", " ") for a in figure.axes[4::4]]
    assert reasons[0] == reasons[2] == "no distributions"
    assert reasons[1].startswith("train LGG: out of")
    text = " ".join(t.get_text() for t in figure.texts)
    assert "LGG 3 real and 2 generated, HGG 3 real and 2 generated" in text


def test_seeds_are_pooled_by_volume(filled):
    paths = [filled.folder / f"{name}.npz" for name in "ab"]
    give(filled, "a.npz", [2, 0, 0, 0], [5])
    give(filled, "b.npz", [0, 6, 0, 0], [6, 7, 8])
    pooled = distributions.pool(paths)["LGG"]
    assert pooled.intensity.tolist() == [0.5, 1.5, 0, 0]
    assert pooled.volume_ml.tolist() == [5, 6, 7, 8]


def test_without_real_or_generated_distributions_nothing_is_drawn(filled):
    (filled.folder / "wgan-gp-quick-89abcdef/seed-0/score/distributions.npz").unlink()
    with pytest.raises(NotDrawn, match="no distributions of generated volumes"):
        distributions.draw(filled.read())
    (filled.folder / "_real/distributions.npz").unlink()
    with pytest.raises(NotDrawn, match="no distributions of real volumes"):
        distributions.draw(filled.read())


def test_a_set_without_foreground_is_drawn_as_nothing(filled):
    give(filled, "_real/distributions.npz", [0, 0, 0, 0], [0, 0])
    give(filled, "wgan-gp-quick-89abcdef/seed-0/score/distributions.npz", [0, 0, 0, 0], [0])
    intensity, volume = distributions.draw(filled.read()).axes[:2]
    assert not curves(intensity)[-1].values.any()
    assert curves(volume)[-1].values[0] == pytest.approx(20)


def test_arrays_that_do_not_fit_are_named(filled):
    np.savez(filled.folder / "_real/distributions.npz", **{"LGG/edges": EDGES})
    with pytest.raises(ReportError, match="no intensities of 4 bins with volumes for LGG"):
        distributions.draw(filled.read())
