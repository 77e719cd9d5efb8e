"""Rows of several experiments in one table: what goes together, what does not, and what it says."""

import json

import pytest

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.side_by_side import join, with_every_metric
from cerebench.reports.tables.sections import study
from cerebench.reports.tables.table import build_table
from cerebench.reports.values.downstream import DEFAULT_TEST


def saved(folder, contents, key, **changes):
    told = json.loads(json.dumps(contents)) | {"key": key * 64} | changes
    path = folder / f"experiment-{told['name']}-{key * 8}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told), encoding="utf-8")
    return RecordedExperiment.read(path)


@pytest.fixture
def store(runs):
    """Return a function that saves the table of contents under another key, with changes."""

    def save(key, **changes):
        return saved(runs.folder, runs.contents, key, **changes)

    save.row = {row["name"]: row for row in runs.contents["rows"]}
    save.controls = [row for row in runs.contents["rows"] if row["kind"] == "anchor"]
    save.metrics, save.runs = runs.contents["metrics"], runs
    return save


def again(runs, name, folder, **changes):
    """Return a row of a method as another configuration of it left it."""
    before = next(row for row in runs.contents["rows"] if row["name"] == name)
    cells = [
        runs.cell(f"{folder}/seed-{cell['seed']}", name, cell["seed"]) for cell in before["cells"]
    ]
    return before | {"cells": cells} | changes


def labels(joined):
    return [row.label for row in joined.experiment.contents.rows if row.kind != "anchor"]


def test_rows_of_equal_data_size_and_metrics_stand_in_one_table(store):
    one = store("1", rows=[*store.controls, store.row["wgan-gp"]], name="one")
    two = store("2", rows=[*store.controls, store.row["ddpm"]], name="two")
    joined = join(two, [one, two])
    assert labels(joined) == ["3D-DDPM", "3D-WGAN-GP"]
    assert joined.left_out == ()
    table = build_table(joined.experiment)
    assert [row.label for row in table.blocks[0].rows].count("real, held out") == 1
    assert len(table.blocks[0].rows) == 2 + len(store.controls)
    alone = build_table(one).blocks[0].rows
    (of_one,) = [row.cells for row in alone if row.label == "3D-WGAN-GP"]
    (of_joined,) = [row.cells for row in table.blocks[0].rows if row.label == "3D-WGAN-GP"]
    scores = len([column for column in table.columns if column.group != "sampling"]) - 5
    # Decimals are those of a column, and another row may ask for more.
    shown = zip(of_joined[:scores], of_one[:scores], strict=True)
    for left, right in ((a.text.split(" ± ")[0], b.text.split(" ± ")[0]) for a, b in shown):
        assert left == right or float(left) == float(right)


def test_presets_versions_and_settings_of_a_method_are_told_apart(store):
    runs = store.runs
    lite = again(runs, "ddpm", "ddpm-lite-11111111", preset="lite")
    fast = [{**d, "value": 7} if d["setting"] == "steps" else d for d in lite["differences"]]
    fast = again(runs, "ddpm", "ddpm-quick-22222222", differences=fast)
    newer = again(runs, "ddpm", "ddpm-quick-33333333")
    for name in ("LGG", "HGG"):
        runs.edit(f"ddpm-quick-33333333/seed-0/train/{name}/record.json", method_version=2)
    same = again(runs, "ddpm", "ddpm-quick-44444444")
    rows = [store.row["ddpm"], lite, fast, newer, same]
    every = [store(str(i), rows=[row], name=f"e{i}") for i, row in enumerate(rows, 1)]
    joined = join(every[0], every)
    assert labels(joined) == [
        "3D-DDPM (quick, version 1, steps 300, 89abcdef)",
        "3D-DDPM (quick, version 1, steps 300, 44444444)",
        "3D-DDPM (quick, version 2, steps 300)",
        "3D-DDPM (quick, version 1, steps 7)",
        "3D-DDPM (lite)",
    ]
    names = [row.name for row in joined.experiment.contents.rows]
    assert names[0] == "ddpm"
    assert len(set(names)) == len(names)


def test_seeds_of_one_configuration_are_one_row(store):
    runs = store.runs
    one = store("1", rows=[store.row["ddpm"]], name="one")
    cell = runs.cell("ddpm-quick-89abcdef/seed-1", "ddpm", 1)
    two = store("2", rows=[store.row["ddpm"] | {"cells": [cell]}], seeds=[1], name="two")
    contents = join(one, [one, two]).experiment.contents
    (row,) = contents.rows
    assert [cell.seed for cell in row.cells] == [0, 1]
    assert contents.seeds == (0, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"samples_per_class": 32}, "32 volumes a class and not 64"),
        ({"metrics": slice(2, None)}, "no MMD, MS-SSIM, which --all-columns accepts"),
        ({"metrics": "recipe"}, "another recipe of MMD"),
        ({"dataset": {"size": 64}}, "other size, 64³ and not 32³"),
        ({"dataset": {"fingerprint": "f" * 64}}, "other data, Tumour-ROI phantoms ffffffff"),
        ({"dataset": {"split": "s"}}, "another split into training and test cases"),
    ],
)
def test_what_cannot_be_put_together_is_named_with_the_reason(store, changes, reason):
    split = {"file": "split.csv", "published": False}
    data = store.runs.contents["dataset"] | {"split": split | {"sha256": "0" * 64}}
    base = store("1", rows=[store.row["wgan-gp"]], name="base", dataset=data)
    given = dict(changes)
    if isinstance(given.get("metrics"), slice):
        given["metrics"] = store.metrics[given["metrics"]]
    elif "metrics" in given:
        given["metrics"] = [store.metrics[0] | {"recipe_hash": "e" * 64}, *store.metrics[1:]]
    if "split" in given.get("dataset", {}):
        given["dataset"] = {"split": split | {"sha256": "1" * 64}}
    given["dataset"] = data | given.get("dataset", {})
    other = store("2", rows=[store.row["ddpm"]], name="other", **given)
    joined = join(base, [base, other])
    assert labels(joined) == ["3D-WGAN-GP"]
    (line,) = joined.left_out
    folder = base.folder.name
    assert line == f"Not in this table: 3D-DDPM (quick): {reason} (bench report other, {folder})."


def test_a_row_that_another_experiment_brings_in_is_not_called_missing(store):
    base = store("1", rows=[store.row["wgan-gp"]], name="base")
    few = store("2", rows=[store.row["ddpm"]], name="few", metrics=store.metrics[2:])
    whole = store("3", rows=[store.row["ddpm"]], name="whole")
    joined = join(base, [base, few, whole])
    assert labels(joined) == ["3D-WGAN-GP", "3D-DDPM"]
    assert joined.left_out == ()


def test_only_the_rows_asked_for_are_in_it(store):
    base = store("1")
    assert labels(join(base, [base], {"ddpm", "mine"})) == ["3D-DDPM", "mine_v2 & co"]


def test_a_banner_and_a_preset_of_any_row_is_that_of_the_table(store):
    paper = store("1", rows=[store.row["ddpm"] | {"preset": "paper"}], banner=None, name="paper")
    quick = store("2", rows=[store.row["wgan-gp"]], name="quick")
    contents = join(paper, [paper, quick]).experiment.contents
    assert contents.banner.startswith("quick run")
    assert contents.preset == "paper, quick"


def test_metrics_that_another_experiment_recorded_for_a_row_are_columns_when_asked_for(store):
    one = store("1", rows=[store.row["ddpm"], store.row["wgan-gp"]], name="one")
    few = [row | {"cells": [dict(row["cells"][0])]} for row in (store.row["ddpm"],)]
    few[0]["cells"][0]["scores"] = {
        k: v for k, v in few[0]["cells"][0]["scores"].items() if k == "mmd2-kwon"
    }
    two = store("2", rows=few, metrics=store.metrics[:1], name="two")
    table = build_table(with_every_metric(two, [one, two]))
    assert [column.metric for column in table.columns][:3] == [
        "mmd2-kwon",
        "ms-ssim",
        "fd-radlite-v2",
    ]
    (row,) = table.blocks[0].rows
    assert row.cells[1].text.startswith("0.651")
    assert len(build_table(two).columns) < len(table.columns)


def test_a_recipe_that_differs_is_no_column_beside_its_namesake(store):
    other = store.metrics[1] | {"recipe_hash": "e" * 64}
    one = store("1", rows=[store.row["ddpm"]], metrics=[other], name="one")
    few = json.loads(json.dumps(store.row["ddpm"]))
    few["cells"][0]["scores"] = {}
    two = store("2", rows=[few], metrics=store.metrics[1:2], name="two")
    added = with_every_metric(two, [one, two]).contents
    assert added.rows[0].cells[0].scores == {}


def test_protocols_of_all_rows_stand_in_one_table(classified):
    rows = {row["name"]: row for row in classified.contents["rows"]}

    def of(name):
        return [
            p | {"rows": [r for r in p["rows"] if r["name"] in (name, p["name"])]}
            for p in classified.contents["downstream"]
            if p["name"] in ("exp2", "trad-aug")
        ]

    folder, contents = classified.folder, classified.contents
    one = saved(folder, contents, "1", rows=[rows["ddpm"]], downstream=of("ddpm"), name="one")
    two = saved(folder, contents, "2", rows=[rows["wgan-gp"]], downstream=of("wgan-gp"), name="two")
    read = study(join(two, [one, two]).experiment, DEFAULT_TEST)
    (block,) = read.experiments
    assert [result.name for result in block.results] == ["wgan-gp", "ddpm"]
    assert all(result.runs for result in block.results)
    assert [result.name for _, result in read.others] == ["trad-aug"]
