import json
import math

import pytest

from cerebench.reports.base import NotDrawn
from cerebench.reports.figures import quality_cost
from cerebench.reports.figures.drawing import METHODS
from cerebench.reports.figures.quality_cost import Point, front


def at(cost, loss, row=0):
    return Point(row, cost, loss, None, "cpu")


def costs(runs, name, lgg, hgg, **changes):
    for class_, seconds in (("LGG", lgg), ("HGG", hgg)):
        path = f"{name}-quick-89abcdef/seed-0/train/{class_}/record.json"
        runs.edit(path, seconds=seconds, **changes)


def markers(axes):
    return {line.get_marker(): line for line in axes.lines if line.get_marker() != "None"}


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([at(1, 9), at(2, 5), at(3, 6), at(4, 1)], [at(1, 9), at(2, 5), at(4, 1)]),
        ([at(2, 5), at(1, 5)], [at(1, 5)]),  # as good and cheaper
        ([at(1, 5), at(1, 4)], [at(1, 4)]),  # as cheap and better
        ([at(1, 5, 0), at(1, 5, 1)], [at(1, 5, 0), at(1, 5, 1)]),  # neither beats the other
        ([], []),
    ],
)
def test_the_front_holds_what_no_other_dominates(found, kept):
    assert front(found) == kept


def test_a_marked_row_is_never_in_the_front():
    copied = Point(0, 1, 0.1, None, "cpu", marked=True)
    assert front([copied, at(2, 5), at(3, 6)]) == [at(2, 5)]


def test_a_marked_row_is_drawn_beside_the_front(runs, monkeypatch):
    monkeypatch.setattr(quality_cost, "marks", lambda *_: {1: {"copying": ["nn-ratio"]}})
    costs(runs, "wgan-gp", 100, 200)
    costs(runs, "ddpm", 600, 1200)
    figure = quality_cost.draw(runs.read())
    assert len([line for line in figure.axes[0].lines if line.get_markersize() == 4.5]) == 2
    (edge,) = (line for line in figure.axes[0].lines if line.get_gid() == "front")
    assert edge.get_xdata().tolist() == pytest.approx([30])


def test_points_lie_at_the_time_of_all_classes_and_at_the_value(runs):
    costs(runs, "wgan-gp", 100, 200)
    costs(runs, "ddpm", 600, 1200)
    figure = quality_cost.draw(runs.read())
    gan, ddpm = (line for line in figure.axes[0].lines if line.get_markersize() == 4.5 * 1)
    assert gan.get_xdata()[0] == pytest.approx(300 / 60)
    assert gan.get_ydata()[0] == pytest.approx(31.5)
    assert gan.get_color() == METHODS["wgan-gp"].colour
    assert ddpm.get_xdata()[0] == pytest.approx(1800 / 60)
    assert ddpm.get_ydata()[0] == pytest.approx(30.25)
    assert figure.axes[1].get_xlabel() == "training time, min"
    assert figure.axes[0].get_ylabel() == "FD[radlite-v2]"
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    (edge,) = (line for line in figure.axes[0].lines if line.get_gid() == "front")
    assert edge.get_xdata().tolist() == pytest.approx([5, 30])


def test_bars_are_the_spread_and_fit_into_the_panel(runs):
    axes = quality_cost.draw(runs.read()).axes[0]
    bars = [line.get_ydata() for line in axes.lines if line.get_color() == "0.2"]
    assert bars[0] == pytest.approx([31.5 - 1.25, 31.5 + 1.25])
    assert axes.get_ylim()[0] < min(map(min, bars))


def test_controls_are_dotted_and_named(runs):
    axes = quality_cost.draw(runs.read()).axes[0]
    dotted = {line.get_ydata()[0]: line for line in axes.lines if line.get_linestyle() == ":"}
    assert set(dotted) == {8.25, 410.0}
    assert dotted[8.25].get_color() == "#000000"
    names = [text.get_text() for text in axes.texts]
    assert names == ["↓ training copies: 0", "real, held out", "noise"]


def test_what_is_missing_is_said_with_n_and_device(runs):
    told = texts(quality_cost.draw(runs.read()))
    assert "Not shown: 3D-α-WGAN (failed: train LGG: out of memory at 128³" in told
    assert "Not shown: mine_v2 & co (a folder of samples has no cost)." in told
    assert "n per class: 100 real, 64 generated" in told
    assert "device: cpu" in told
    assert "not which generator is better" in told


def test_devices_have_panels_and_fronts_of_their_own(runs):
    costs(runs, "ddpm", 10, 10, device="H100")
    axes = quality_cost.draw(runs.read()).axes
    titles = [a.get_title() for a in axes if a.get_title()]
    assert titles == ["LGG, H100", "LGG, cpu", "HGG, H100", "HGG, cpu"]
    edges = [line for a in axes for line in a.lines if line.get_gid() == "front"]
    assert [len(edge.get_xdata()) for edge in edges] == [1, 1, 1, 1]


def test_a_metric_near_that_of_real_volumes_is_drawn_as_distance(runs):
    figure = quality_cost.draw(runs.read(), "ms-ssim")
    assert figure.axes[0].get_ylabel() == "|MS-SSIM − real|"
    heights = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_markersize() == 4.5]
    assert heights == pytest.approx([0.7123 - 0.6412, 0.6512 - 0.6412])


def test_where_higher_is_better_the_front_rises(runs):
    costs(runs, "ddpm", 600, 1200)
    declared = next(m for m in runs.contents["metrics"] if m["name"] == "fd-radlite-v2")
    declared["better"] = "higher"
    figure = quality_cost.draw(runs.read())
    (edge,) = (line for line in figure.axes[0].lines if line.get_gid() == "front")
    assert edge.get_ydata().tolist() == [31.5]
    assert "Higher is better" in texts(figure)


def test_the_mean_over_seeds_leaves_out_seeds_without_every_class(three_seeds):
    figure = quality_cost.draw(three_seeds.read())
    gan = next(line for line in figure.axes[0].lines if line.get_markersize() == 4.5)
    both = [(100 + s) + (150 + s) for s in (0, 1)]  # seed 2 failed
    assert gan.get_xdata()[0] * 60 == pytest.approx(math.fsum(both) / 2)


def test_a_metric_that_rewards_collapse_is_refused(runs):
    with pytest.raises(NotDrawn, match="no metric mmd2-kwon of this experiment can rank"):
        quality_cost.draw(runs.read(), "mmd2-kwon")


def test_without_a_cost_nothing_is_drawn(runs):
    runs.contents["rows"] = [r for r in runs.contents["rows"] if r["kind"] != "method"]
    with pytest.raises(NotDrawn, match=r"no method has both FD\[radlite-v2\] and a training time"):
        quality_cost.draw(runs.read())


def without_values(runs, *classes):
    """Take the values of classes out of every record of the metric on the axis."""
    for path in runs.folder.rglob("score/**/fd-radlite-v2@*.json"):
        record = json.loads(path.read_text())
        for row in record["rows"]:
            if row["class"] in classes:
                reason = "needs at least 2 volumes per set"
                row |= {"value": None, "se": None, "status": "unavailable", "reason": reason}
        path.write_text(json.dumps(record))


@pytest.mark.parametrize("empty", ["LGG", "HGG"])
def test_a_class_in_which_no_method_has_a_value_is_named_instead_of_drawn(runs, empty):
    without_values(runs, empty)
    figure = quality_cost.draw(runs.read())
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == [{"LGG": "HGG", "HGG": "LGG"}[empty]]
    told = f"Not shown: class {empty} (unavailable: needs at least 2 volumes per set)."
    assert told in texts(figure)


def test_without_a_value_in_any_class_nothing_is_drawn(runs):
    without_values(runs, "LGG", "HGG")
    with pytest.raises(NotDrawn, match="no method has both"):
        quality_cost.draw(runs.read())


def test_a_value_of_zero_is_drawn_on_a_linear_axis(runs):
    for path in runs.folder.rglob("wgan-gp*/seed-0/score/fd-radlite-v2@*.json"):
        record = json.loads(path.read_text())
        for row in record["rows"]:
            row |= {"value": 0.0, "se": None}
        path.write_text(json.dumps(record))
    assert quality_cost.draw(runs.read()).axes[0].get_yscale() == "linear"
