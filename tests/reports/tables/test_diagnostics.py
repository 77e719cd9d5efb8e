import io
import json
import math

import pytest
from rich.console import Console

from cerebench.reports import latex, markdown, terminal
from cerebench.reports.tables import diagnostics

RECORD = "ddpm-quick-89abcdef/seed-{}/diagnosis/record.json"


def lines(table, block=0):
    return {row.label: [cell.text for cell in row.cells] for row in table.blocks[block].rows}


def reasons(table, label, block=0):
    row = next(row for row in table.blocks[block].rows if row.label == label)
    return [table.footnotes[cell.mark - 1] if cell.mark else "" for cell in row.cells]


def tell(runs, values, seed=0, **changes):
    """Replace the diagnostics of a seed by one of LGG."""
    told = {"class": "LGG", "name": "distance", "meaning": "how far", "values": values}
    runs.edit(RECORD.format(seed), diagnostics=[told | changes])


def without(runs):
    for row in runs.contents["rows"]:
        for cell in row.get("cells", ()):
            cell.pop("diagnosis", None)
    return runs.read()


def test_the_csv_looks_as_agreed(runs, tmp_path, golden):
    (path,) = diagnostics.write(runs.read(), tmp_path / "out")
    assert path.name == "made-up-diagnostics.csv"
    golden("made-up-diagnostics.csv", path.read_text(encoding="utf-8"))


def test_percentiles_are_those_of_a_skewed_distribution():
    values = [float(n * n) for n in range(101)]
    assert diagnostics.spread(values) == pytest.approx((2500.0, 25.0, 9025.0))
    assert diagnostics.spread([3.0, 1.0]) == pytest.approx((2.0, 1.1, 2.9))


def test_a_row_of_the_frame_is_one_set_of_one_seed(three_seeds):
    table = diagnostics.frame(three_seeds.read())
    found = table[(table["name"] == "token-hamming") & (table["class"] == "HGG")]
    found = found[found["set"] == "test"]
    assert found["seed"].tolist() == [0, 1, 2]
    assert found["n"].tolist() == [201] * 3
    assert found["median"].tolist() == [0.75 + 100**2 / 2**17 + seed / 64 for seed in range(3)]
    assert found["p5"].iloc[0] == 0.75 + 10**2 / 2**17
    assert found["p95"].iloc[0] == 0.75 + 190**2 / 2**17


def test_a_column_is_a_set_and_a_single_value_stands_alone(runs):
    table = diagnostics.build_diagnostics_table(runs.read())
    assert [(c.head, c.detail) for c in table.columns] == [
        ("train", "n = 101"),
        ("test", "n = 201"),
        ("generated", "n = 61"),
    ]
    assert [block.name for block in table.blocks] == ["LGG", "HGG"]
    shown = lines(table)["3D-DDPM: token-hamming"]
    assert shown[:2] == ["0.519 [0.500, 0.569]", "0.70 [0.63, 0.90]"]
    assert lines(table)["3D-DDPM: codebook-use"][0] == "812.0"


def test_raw_values_of_all_seeds_are_pooled(three_seeds):
    for seed, values in enumerate(([0.0, 0.0, 0.0], [1.0], [9.0])):
        tell(three_seeds, {"train": values}, seed)
    table = diagnostics.build_diagnostics_table(three_seeds.read())
    median = lines(table)["3D-DDPM: distance"][0].partition(" [")[0]
    assert float(median) == 0  # the mean of the seeds' medians would be 3.3, their median 1
    assert "the values of 3 seeds pooled" in table.caption
    assert table.columns[0].detail == "n = 5"


def test_a_seed_without_diagnosis_is_named(three_seeds):
    (three_seeds.folder / RECORD.format(1)).unlink()
    path = RECORD.format(1).replace("record", "failure")
    three_seeds.write(path, "failure", reason="codes are missing\nmore")
    table = diagnostics.build_diagnostics_table(three_seeds.read())
    assert reasons(table, "3D-DDPM: token-hamming")[0] == (
        "2 of 3 seeds; seed 1 failed: codes are missing"
    )
    assert table.columns[0].detail == "n = 202"


def test_a_failed_training_explains_the_missing_diagnosis(runs):
    table = diagnostics.build_diagnostics_table(runs.read())
    assert lines(table)["3D-α-WGAN"] == ["—"] * 3
    assert set(reasons(table, "3D-α-WGAN", 1)) == {"failed: train LGG: out of memory at 128³"}


def test_a_listed_diagnosis_that_is_missing_has_not_run(runs):
    (runs.folder / RECORD.format(0)).unlink()
    table = diagnostics.build_diagnostics_table(runs.read())
    assert lines(table)["3D-DDPM"] == ["—"] * 3
    assert set(reasons(table, "3D-DDPM")) == {"not run"}


def test_a_set_that_the_method_leaves_out_is_a_dash_with_its_reason(runs):
    table = diagnostics.build_diagnostics_table(runs.read())
    assert lines(table)["3D-DDPM: codebook-use"][1:] == ["—", "—"]
    assert reasons(table, "3D-DDPM: codebook-use") == ["", *["left out by the method"] * 2]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0, math.nan], "generated.1 must be a finite number, got NaN"),
        ([None], "generated.0 must be a number, got null"),
    ],
)
def test_a_record_with_values_that_are_no_numbers_is_left_out(runs, values, reason):
    tell(runs, {"generated": values})
    table = diagnostics.build_diagnostics_table(runs.read())
    for class_ in (0, 1):
        assert lines(table, class_)["3D-DDPM"] == ["—"] * 3
        for told in reasons(table, "3D-DDPM", class_):
            assert f"{RECORD.format(0)}: diagnostics.0.values.{reason}; run the same" in told


def test_a_diagnostic_without_values_is_a_failure(runs):
    tell(runs, {"generated": []})
    table = diagnostics.build_diagnostics_table(runs.read())
    assert lines(table)["3D-DDPM: distance"][2] == "—"
    assert reasons(table, "3D-DDPM: distance")[2] == "failed: no values"


def test_negative_and_tiny_values_print_as_themselves(runs):
    tell(runs, {"train": [-2.0, -1.0, 0.00001], "test": [-5e-6]})
    shown = lines(diagnostics.build_diagnostics_table(runs.read()))["3D-DDPM: distance"]
    assert shown[:2] == ["-1.0 [-1.9, -0.1]", "-5.0e-6"]


def test_a_name_with_two_meanings_names_its_methods(runs):
    runs.diagnose("wgan-gp")
    path = "wgan-gp-quick-89abcdef/seed-0/diagnosis/record.json"
    told = json.loads((runs.folder / path).read_text())["diagnostics"]
    runs.edit(path, diagnostics=[d | {"meaning": "another"} for d in told[:1]])
    notes = diagnostics.build_diagnostics_table(runs.read()).notes
    assert notes[0] == "token-hamming (3D-WGAN-GP): another"
    assert notes[1].startswith("token-hamming (3D-DDPM): fraction of tokens")
    assert notes[2].startswith("codebook-use: ")


def test_a_method_with_maps_alone_has_no_line(runs):
    runs.diagnose("ddpm", diagnostics=False)
    assert list(lines(diagnostics.build_diagnostics_table(runs.read()))) == ["3D-α-WGAN"]


def test_nothing_is_shown_where_no_method_can_diagnose(runs, tmp_path):
    experiment, file = without(runs), io.StringIO()
    assert diagnostics.readings(experiment) == []
    assert diagnostics.build_diagnostics_table(experiment) is None
    assert diagnostics.write(experiment, tmp_path) == []
    terminal.render(experiment, Console(file=file, width=120))
    assert diagnostics.TITLE not in file.getvalue()
    assert diagnostics.TITLE not in markdown.write(experiment, tmp_path)[0].read_text()
    paths = latex.write(experiment, tmp_path)
    assert not any("diagnostics" in path.name for path in paths)
    assert "diagnostics" not in paths[-1].read_text()


def test_nothing_is_shown_where_the_only_diagnosis_holds_maps_alone(runs):
    without(runs)
    runs.diagnose("wgan-gp", diagnostics=False)
    assert diagnostics.build_diagnostics_table(runs.read()) is None
