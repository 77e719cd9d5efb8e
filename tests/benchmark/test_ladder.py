"""``bench ladder`` from end to end: sets, verdicts, table, figure and record."""

import dataclasses
import json
from pathlib import Path

import pytest

from cerebench.benchmark.display import Silent
from cerebench.benchmark.ladder import Bench, Planted, Request, measure
from cerebench.benchmark.planning.source import Source
from cerebench.core.errors import UsageError
from cerebench.core.records.files import read
from cerebench.core.records.ladder import Ladder
from cerebench.datasets.base import DatasetError
from cerebench.metrics.base import MissingWeights
from cerebench.metrics.defects import DEFECTS
from cerebench.metrics.suites import SUITES
from cerebench.reports.ladder import card, markdown

SOURCE = Source("phantom", None, 16, rule={"train": 24, "test": 48})


def request(**changes):
    return Request(SOURCE, **{"n": 16, "seeds": 2, "draws": 10, **changes})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def noisy(cache):
    asked = request(
        metrics=["fd-radlite-v1", "fd-radlite-v2", "nn-ratio"],
        defects=["noise-background", "copies", "few-modes"],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cerebench.benchmark.ladder.usable_cores", lambda: 1)
        return measure(asked, cache, Silent())[0]


def verdicts(ladder, metric, defect):
    return {
        column.class_: next(c.verdict for c in column.cells if c.defect == defect)
        for column in ladder.columns
        if column.metric == metric
    }


@pytest.mark.slow
def test_noise_in_the_background_is_inverted_for_v1_and_not_for_v2(noisy):
    assert verdicts(noisy, "fd-radlite-v1", "noise-background")["LGG"] == "inverted"
    assert verdicts(noisy, "fd-radlite-v2", "noise-background") == {
        "LGG": "ordered",
        "HGG": "blind",
    }


def test_of_copies_only_metrics_that_look_for_them_are_asked(noisy):
    asked = {c.metric: {cell.defect for cell in c.cells} for c in noisy.columns}
    assert asked["nn-ratio"] == {"copies"}
    assert asked["fd-radlite-v2"] == {"noise-background", "few-modes"}
    assert set(verdicts(noisy, "nn-ratio", "copies").values()) == {"ordered"}


def test_levels_that_no_set_of_this_size_can_have_are_left_out(noisy):
    cell = next(c for c in noisy.columns[0].cells if c.defect == "few-modes")
    assert [level.label for level in cell.levels] == ["8"]


def test_every_value_is_kept_with_its_seed(noisy):
    for column in noisy.columns:
        assert len(column.draws) == 10
        assert all(len(level.values) == 2 for cell in column.cells for level in cell.levels)


def test_sets_are_dealt_by_patient_and_without_overlap(cache):
    bench = Bench(request(metrics=["ms-ssim"]), cache, cache / "scratch")
    real, materials = bench.split(0)
    assert bench.counts["LGG"] == {"reference": 36, "generated": 16, "held_out": 20}
    for name, material in materials.items():
        known = {v.tobytes() for v in real.train[name]}
        assert len(known) == 36
        assert not known & {v.tobytes() for v in material.unseen}
        assert len({v.tobytes() for v in material.unseen}) == 36
        held_out = {v.tobytes() for v in real.test[name]}
        assert not held_out & {v.tobytes() for v in material.clean}
        others = next(m for other, m in materials.items() if other != name)
        assert len(material.others) == len(others.clean)
    again = bench.split(1)[1]
    assert {v.tobytes() for v in again["LGG"].clean} != {
        v.tobytes() for v in materials["LGG"].clean
    }


def test_a_patient_with_several_cases_is_on_one_side(cache, monkeypatch):
    bench = Bench(request(metrics=["ms-ssim"]), cache, cache / "scratch")
    ids = {name: list(own) for name, own in bench._ids.items()}
    owners = {case: f"{name}-{i // 3}" for name, own in ids.items() for i, case in enumerate(own)}
    monkeypatch.setattr(bench, "_patients", owners)
    for k in range(3):
        parts = bench._dealt(k, 0, "LGG")
        assert [len(part) for part in parts[:2]] == [36, 16]
        people = [{owners[case] for case in part} for part in parts]
        assert not people[0] & people[1]
        assert not people[0] & people[2]
        assert not people[1] & people[2]


def test_a_metric_that_raises_is_told_and_stops_no_other(noisy, cache, monkeypatch):
    bench = Bench(request(metrics=["ms-ssim", "foreground-volume"]), cache, cache / "scratch")
    broken, fine = bench.metrics

    def compute(sets, view):
        raise ZeroDivisionError("no voxels")

    broken = dataclasses.replace(broken, metric=dataclasses.replace(broken.metric, compute=compute))
    monkeypatch.setattr(bench, "metrics", (broken, fine))
    rows = bench.score(Planted(0))
    assert {row.reason for row in rows["ms-ssim"]} == {"ZeroDivisionError: no voxels"}
    assert all(row.status == "ok" for row in rows["foreground-volume"])


def test_metrics_that_are_asked_about_no_defect_are_refused_before_any_work(cache):
    with pytest.raises(UsageError, match="None of these metrics is asked"):
        measure(request(metrics=["copies"], defects=["blur"]), cache, Silent())


def test_a_cell_without_a_verdict_has_its_reason_in_the_legend(noisy):
    column = noisy.columns[0]
    lost = dataclasses.replace(column.cells[0], verdict=None, reason="no slices", seen_from=None)
    columns = (dataclasses.replace(column, cells=(lost,)), *noisy.columns[1:])
    laid = card(dataclasses.replace(noisy, columns=columns))
    told = "—: no verdict for FD[radlite-v1] on noise, background, sd: no slices."
    assert told in laid.legend


def test_a_folder_is_read_and_not_left_aside_for_phantoms(bench, tmp_path):
    code, _, error = bench("ladder", str(tmp_path / "nowhere"), "--metrics", "background")
    assert code == 3
    assert "nowhere" in error
    code, _, error = bench("ladder", str(tmp_path), "--dataset", "phantom")
    assert code == 2
    assert "phantom needs no files" in error


def test_too_few_cases_unknown_defects_and_missing_weights_are_named(cache):
    few = Source("phantom", None, 16, rule={"train": 4, "test": 4})
    with pytest.raises(DatasetError, match="at least 12 cases a class, and LGG has 8"):
        measure(Request(few, ["ms-ssim"]), cache, Silent())
    with pytest.raises(UsageError, match="blurr"):
        measure(request(metrics=["ms-ssim"], defects=["blurr"]), cache, Silent())
    with pytest.raises(MissingWeights):
        measure(request(metrics=["fid"], explicit=True), cache, Silent())


def test_a_cell_of_the_table_is_the_weakest_of_all_classes(noisy):
    laid = card(noisy)
    row = laid.cells[laid.defects.index("noise, background, sd")]
    by_head = dict(zip(laid.heads, row, strict=True))
    assert by_head["FD[radlite-v1]"].text == "INV"
    assert by_head["FD[radlite-v2]"].text == "·"  # 16 HGG are too few
    assert by_head["NN ratio"].text == ""
    assert "FD[radlite-v1], LGG: noise-background" in laid.inverted
    page = "\n".join(markdown(laid))
    assert "| noise, background, sd | **INV** |" in page


def test_the_strength_is_the_one_from_which_every_class_sees_it(noisy):
    def seen_from(column):
        strength = {"LGG": "0.05", "HGG": "0.2"}[column.class_]
        cells = tuple(dataclasses.replace(c, verdict="ordered", seen_from=strength)
                      for c in column.cells if c.defect == "noise-background")  # fmt: skip
        return dataclasses.replace(column, cells=cells)

    columns = tuple(seen_from(c) for c in noisy.columns if c.metric == "fd-radlite-v2")
    laid = card(dataclasses.replace(noisy, columns=columns))
    assert laid.cells[laid.defects.index("noise, background, sd")][0].text == "0.2"


def test_a_strength_that_all_classes_see_is_printed(noisy):
    one = dataclasses.replace(
        noisy,
        data=dataclasses.replace(noisy.data, counts={"LGG": noisy.data.counts["LGG"]}),
        columns=tuple(c for c in noisy.columns if c.class_ == "LGG"),
    )
    laid = card(one)
    row = laid.cells[laid.defects.index("noise, background, sd")]
    assert row[laid.heads.index("FD[radlite-v2]")].text == "0.2"


@pytest.mark.slow
def test_the_command_prints_the_table_and_writes_record_page_and_figure(bench, tmp_path):
    command = (
        "ladder --size 16 --metrics foreground-volume --defects blur,empty "
        f"-n 8 --seeds 1 --draws 10 --out {tmp_path}"
    )
    code, told, _ = bench(*command.split())
    assert code == 0
    assert "foreground ml" in told
    assert "saturated" not in told
    (path,) = tmp_path.glob("phantom-16-*/ladder-*.json")
    found = read(Ladder, path)[1]
    assert {d.name for d in found.defects} == {"blur", "empty"}
    written = {p.name for p in path.parent.glob(f"report/{path.stem}/*")}
    assert written == {"ladder.md", "cards.json", "ladder.pdf", "ladder.png"}


@pytest.mark.slow
def test_json_is_the_record(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("cerebench.benchmark.ladder.usable_cores", lambda: 1)
    command = (
        "ladder --size 16 --metrics foreground-volume --defects empty -n 8 --seeds 1 --draws 10 "
        f"--out {tmp_path} --json"
    )
    code, answer, _ = bench(*command.split())
    (path,) = tmp_path.glob("phantom-16-*/ladder-*.json")
    assert code == 0
    assert json.loads(answer) == json.loads(path.read_text())


def test_check_gives_a_metric_its_card_and_fails_one_that_is_inverted(bench, monkeypatch, noisy):
    asked = []

    def measured(name, cache, display, plugins):
        asked.append(name)
        return noisy

    monkeypatch.setattr("cerebench.benchmark.ladder.of_metric", measured)
    code, told, _ = bench("check", "fd-radlite-v2")
    assert asked == ["fd-radlite-v2"]
    assert code == 4  # the made-up card holds fd-radlite-v1, which is inverted
    assert "noise, background" in told
    assert bench("check", "mmd2-kwon")[0] == 0  # says of itself that it rewards collapse


CARDS = sorted((Path(__file__).parents[2] / "metrics" / "cards").glob("*.json"), key=str)


@pytest.mark.parametrize("path", CARDS, ids=[path.stem for path in CARDS])
def test_no_default_metric_is_inverted_in_what_was_measured(path):
    cards = json.loads(path.read_text("utf-8"))
    default = SUITES["core"].metrics
    assert set(default) <= set(cards["metrics"])
    assert not [
        (name, view)
        for name in default
        for view, told in cards["metrics"][name].items()
        if "inverted" in told
    ]


def test_nearly_every_defect_is_seen_by_a_default_metric():
    (path,) = (path for path in CARDS if path.stem == "phantom-32")
    cards = json.loads(path.read_text("utf-8"))["metrics"]
    seen = {
        text
        for name in SUITES["core"].metrics
        for told in cards[name].values()
        for word in ("ordered", "seen")
        for text in told.get(word, [])
    }
    unseen = {d.label for d in DEFECTS if not any(t.startswith(d.label) for t in seen)}
    assert unseen == {"axes D and W swapped", "flip, left-right", "flip, up-down"}


def test_show_tells_what_a_metric_was_measured_to_see(bench):
    _, told, _ = bench("show", "fd-radlite-v2")
    assert "measured · Tumour-ROI phantoms, 32³" in " ".join(told.split())
    assert "blur, σ 0.5" in told
