import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cerebench.core.records.rows import ControlEntry, GeneratorRow
from cerebench.methods import BUILTIN
from cerebench.reports.base import ReportError
from cerebench.reports.figures import drawing
from cerebench.reports.figures.drawing import METHODS, REAL, styles

# Machado, Oliveira and Fernandes 2009, table 1, severity 1: protan, deutan, tritan; linear RGB.
BLINDNESS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
    ]
)


def row(name, kind="method", **more):
    head = {"kind": kind, "name": name, "label": name} | more
    if kind == "anchor":
        return ControlEntry(**head, note="", scores={})
    told = {"preset": "quick", "conditioning": "", "source": "", "differences": (), "cells": ()}
    return GeneratorRow(**(told | head))


def lab(colour, matrix):
    """Return CIELAB (D65) of a colour as somebody sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(matrix @ linear, 0, 1)
    xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    t = xyz @ seen / [0.9505, 1, 1.0888]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_every_method_has_a_colour_and_a_marker_of_its_own():
    assert set(METHODS) == set(BUILTIN)
    assert len({s.colour for s in METHODS.values()} | {REAL}) == len(BUILTIN) + 1
    assert len({s.marker for s in METHODS.values()}) == len(BUILTIN)


def test_colours_stay_apart_for_the_colour_blind():
    paper = [METHODS[n].colour for n, (_, facts) in BUILTIN.items() if facts["paper_row"]]
    everyone = [REAL, *(s.colour for s in METHODS.values())]
    for colours, least in (([REAL, *paper], 16), (everyone, 10)):
        for matrix in BLINDNESS:
            seen = [lab(colour, matrix) for colour in colours]
            gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
            assert min(gaps) > least


def test_a_method_looks_the_same_whatever_stands_beside_it():
    rows = [row("vqgan"), row("real-heldout", "anchor", role="floor"), row("mine"), row("wgan-gp")]
    assert styles(rows)[0] == METHODS["vqgan"]
    assert styles(rows)[3] == styles(rows[3:])[0] == METHODS["wgan-gp"]
    assert styles(rows)[1].colour == REAL
    assert styles(rows) == styles([replace(r) for r in rows])


def test_unknown_rows_and_second_rows_of_a_method_look_like_no_other():
    rows = [row("vqgan"), row("vqgan", preset="paper"), row("wgan-gp", "samples")]
    rows += [row(f"plugin-{i}") for i in range(6)]
    found = styles(rows)
    assert found[0] == METHODS["vqgan"]
    assert len({s.colour for s in found}) == len({s.marker for s in found}) == len(rows)
    many = styles([*rows, *(row(f"more-{i}") for i in range(40))])
    assert many[: len(rows)] == found
    assert len(set(many)) == len(many)


def test_front_is_up_and_the_right_of_the_patient_is_left():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert drawing.radiological(image).tolist() == [[5, 4, 3], [2, 1, 0]]


def test_the_heading_stays_inside_a_column_and_ends_with_the_banner(runs):
    runs.contents["title"] = "A title that is far too long for one column of a paper " * 3
    figure, place = drawing.canvas(
        runs.read(), "What it shows", ["A fact."], body=1, foot=["Lost."]
    )
    assert figure.get_figwidth() == drawing.COLUMN
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [t.get_window_extent(renderer) for t in figure.texts]
    assert max(box.x1 for box in boxes) < figure.bbox.width
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "What it shows"
    assert texts[-2:] == [runs.contents["banner"], "Lost."]
    told = " ".join(texts[texts.index("A fact.") + 1 : -2])
    assert "; preset quick; seed 0. Dataset fingerprint " in told
    assert told.endswith(f"{runs.contents['dataset']['fingerprint'][:8]}, Cerebench 0.1.0.")
    assert boxes[-2].y0 > place["top"] * figure.bbox.height
    assert boxes[-1].y1 < place["bottom"] * figure.bbox.height
    assert (place["top"] - place["bottom"]) * figure.get_figheight() == pytest.approx(1)


def test_the_caption_holds_every_part_with_a_full_stop(runs):
    runs.contents["title"] = "A title " * 20 + "ends"
    figure, _ = drawing.canvas(runs.read(), "What it shows", ["A fact."], body=1, foot=["Lost."])
    banner = runs.contents["banner"]
    assert drawing.caption(figure) == (
        f"What it shows. {runs.contents['title']}. A fact. Tumour-ROI phantoms, 32 voxels an edge; "
        f"preset quick; seed 0. Dataset fingerprint 01234567, Cerebench 0.1.0. {banner}. Lost."
    )


def test_a_reason_is_cut_to_what_the_panel_holds():
    axes = Figure((3, 1)).add_axes((0, 0, 0.3, 0.3))
    drawing.blank(axes, "a reason of many words " * 20)
    text = axes.texts[0].get_text()
    assert text.endswith("…")
    assert len(text.split("\n")) == 3


def test_heights_move_apart_and_stay_in_the_panel():
    assert drawing.spread_out([0.1, 0.11, 0.5], 0.1) == pytest.approx([0.1, 0.2, 0.5])
    assert drawing.spread_out([0.97, 0.98, 0.99], 0.1) == pytest.approx([0.8, 0.9, 1.0])


def test_a_log_axis_is_a_decade_long_at_least_and_has_plain_numbers():
    axes = Figure().subplots()
    drawing.log_axis(axes, "x", [3.0, 3.3])
    low, high = axes.get_xlim()
    assert high / low == pytest.approx(10)
    assert low * high == pytest.approx(3.0 * 3.3)
    drawing.log_axis(axes, "y", [0.02, 4000])
    assert axes.get_ylim() == pytest.approx((0.02 / 1.3, 4000 * 1.3))
    assert axes.yaxis.get_major_formatter()(100, 0) == "100"
    assert axes.yaxis.get_major_formatter()(1e6, 0) == "10⁶"


def test_levels_that_a_log_axis_cannot_hold_are_named_with_their_value():
    axes = Figure().subplots()
    drawing.log_axis(axes, "y", [1, 100])
    drawing.levels(axes, [(10.0, "noise", "grey"), (0.0, "copies", "grey")])
    assert [line.get_ydata()[0] for line in axes.lines] == [10.0]
    assert [text.get_text() for text in axes.texts] == ["↓ copies: 0", "noise"]
    assert axes.texts[1].xy == pytest.approx((1, 0.5))


def test_the_legend_names_every_marker():
    figure = Figure((3.5, 2))
    drawing.legend(figure, [("one", METHODS["vqgan"]), ("two", METHODS["wgan-gp"])], 0.5, 0.3)
    axes = figure.axes[0]
    pairs = zip(axes.texts, axes.lines, strict=True)
    named = [(text.get_text(), line.get_marker()) for text, line in pairs]
    assert named == [("one", "^"), ("two", "o")]
    assert min(line.get_ydata()[0] for line in axes.lines) > 0


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=r"broken\.npz cannot be read as numbers.*Delete it"):
        drawing.arrays(path, "numbers")


def test_files_of_the_same_figure_are_the_same(tmp_path):
    one, other = ([p.read_bytes() for p in drawing.save(Figure(), tmp_path, n)] for n in "ab")
    assert one == other
    assert one[0].startswith(b"%PDF")
    assert one[1].startswith(b"\x89PNG")
