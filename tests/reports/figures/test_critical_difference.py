import json

import numpy as np
import pytest

from cerebench.reports.base import NotDrawn
from cerebench.reports.figures import critical_difference, drawing
from cerebench.reports.statistics import significance as statistics

NAMES = ("wgan-gp", "ddpm", "mine", "vqgan")
ROW = {"view": "", "real_value": None, "se": None, "uncertainty": "", "n_real": 9, "notes": []}
ROW |= {"n_generated": 9, "status": "ok", "reason": ""}


@pytest.fixture
def store(tmp_path, runs):
    """Return a function: losses (data sets, methods) to the experiment on the first data set."""

    def build(table, sizes=1):
        made = []
        for number, losses in enumerate(table):
            builder = type(runs)(tmp_path / f"store/data{number}-32-aa")
            data = builder.contents["dataset"]
            data["name"] = f"data{number // sizes}"
            data["size"] = 32 * (1 + number % sizes)
            data["fingerprint"] = f"{number:08x}" * 8
            metric = next(m for m in builder.contents["metrics"] if m["name"] == "fd-radlite-v2")
            facts = {name: metric[name] for name in ("recipe", "recipe_hash")}
            for name, loss in zip(NAMES, losses, strict=False):
                builder.method(name, name)
                path = builder.contents["rows"][-1]["cells"][0]["scores"]["fd-radlite-v2"]
                classes = (("LGG", loss - 1), ("HGG", loss + 1))
                rows = [ROW | {"class": class_, "value": value} for class_, value in classes]
                builder.write(path, "score", rows=rows, **facts)
            for row in builder.contents["rows"]:
                row["preset"] = "paper"  # larger presets have no marks
            made.append(builder.read())
        return made[0]

    return build


def clear(k=6):
    """Every data set ranks the methods alike; their losses grow from one to the next."""
    return np.arange(1, 5) * 10.0 + np.arange(k)[:, None]


def lines(figure, gid):
    return [line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_gid() == gid]


def test_ranks_and_critical_difference_are_drawn(store):
    figure = critical_difference.draw(store(clear()))
    names = [t.get_text() for t in figure.axes[0].texts if "(" in t.get_text()]
    assert names == ["wgan-gp (1.00)", "ddpm (2.00)", "mine (3.00)", "vqgan (4.00)"]
    width = statistics.critical_difference(4, 6)
    assert lines(figure, "CD") == [[1, pytest.approx(1 + width)]]
    assert [[round(x) for x in tie] for tie in lines(figure, "tie")] == [[1, 2], [2, 3], [3, 4]]
    text = " ".join(t.get_text() for t in figure.texts).replace("\n", " ")
    assert "6 data sets" in text
    assert "data0 32³ (00000000), data1 32³ (00000001)" in text
    assert "preset quick; seeds 0." in text
    assert "Left out" not in text


@pytest.mark.parametrize(
    ("ranks", "width", "joined"),
    [
        ([1.0, 1.8, 2.4, 4.0], 1.0, [(1.0, 1.8), (1.8, 2.4)]),
        ([4.0, 1.8, 1.0, 2.4], 1.5, [(1.0, 2.4)]),
        ([1.0, 2.0, 3.0], 0.5, []),
        ([1.0, 2.0, 3.0], 2.5, [(1.0, 3.0)]),
        ([1.0, 2.0, 3.0], 2.0, [(1.0, 2.0), (2.0, 3.0)]),  # a whole CD apart is a difference
    ],
)
def test_bars_join_the_longest_runs_within_the_critical_difference(ranks, width, joined):
    assert critical_difference.ties(ranks, width) == joined


def test_fewer_than_five_data_sets_are_not_enough(store):
    with pytest.raises(NotDrawn, match="needs at least 5 independent data sets, this store has 4"):
        critical_difference.draw(store(clear(4)))


def test_sizes_of_one_data_set_are_not_independent(store):
    with pytest.raises(NotDrawn, match="this store has 3"):
        critical_difference.draw(store(clear(6), sizes=2))


def test_data_sets_of_one_name_are_told_apart_by_their_files(store, tmp_path):
    experiment = store(clear(6))
    for path in tmp_path.glob("store/*/experiment-*.json"):
        contents = json.loads(path.read_text())
        contents["dataset"]["name"] = "brats"
        path.write_text(json.dumps(contents))
    experiment = type(experiment).read(next(experiment.folder.glob("experiment-*.json")))
    assert len(critical_difference.peers(experiment)[0]) == 6
    assert "6 data sets" in drawing.caption(critical_difference.draw(experiment))


def test_a_data_set_that_was_run_twice_counts_once(store, tmp_path):
    experiment = store(clear(6))
    for path in tmp_path.glob("store/*/experiment-*.json"):
        contents = json.loads(path.read_text())
        contents["dataset"]["fingerprint"] = "ab" * 32
        contents["dataset"]["name"] = "brats"
        path.write_text(json.dumps(contents))
    experiment = type(experiment).read(next(experiment.folder.glob("experiment-*.json")))
    assert len(critical_difference.peers(experiment)[0]) == 1


def test_without_a_difference_nothing_is_drawn(store):
    table = np.array([[1, 2, 3, 4], [4, 3, 2, 1]] * 3) * 1.0
    with pytest.raises(NotDrawn, match=r"Friedman's test finds no difference .* \(p = 1\.0\)"):
        critical_difference.draw(store(table))


def test_a_method_that_one_data_set_lacks_is_left_out(store):
    with pytest.raises(NotDrawn, match=r"needs at least 3 methods .* got 2"):
        critical_difference.draw(store([*clear(5).tolist(), [1.0, 2.0]]))


def test_the_figure_names_the_methods_that_it_leaves_out(store):
    figure = critical_difference.draw(store([*clear(5).tolist(), [1.0, 2.0, 3.0]]))
    text = "Left out, without a value on every data set or with a mark: vqgan."
    assert text in drawing.caption(figure)
    names = [t.get_text() for t in figure.axes[0].texts if "(" in t.get_text()]
    assert names == ["wgan-gp (1.00)", "ddpm (2.00)", "mine (3.00)"]


def test_a_marked_row_is_left_out(store, monkeypatch):
    monkeypatch.setattr(critical_difference, "marks", lambda *_: {0: {"copying": ["nn-ratio"]}})
    figure = critical_difference.draw(store(clear()))
    names = [t.get_text() for t in figure.axes[0].texts if "(" in t.get_text()]
    assert names == ["ddpm (1.00)", "mine (2.00)", "vqgan (3.00)"]
