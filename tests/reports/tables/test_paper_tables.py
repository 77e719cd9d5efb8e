import json

import pytest

from cerebench.reports.tables.paper_tables import build_paper_tables
from cerebench.reports.tables.sections import study
from cerebench.reports.values.downstream import read_protocols

TEST = "paired_bootstrap"


def build(experiment, test):
    return build_paper_tables(experiment, study(experiment, test))


def cells(table, block, label):
    """Return the texts of a row."""
    rows = next(b.rows for b in table.blocks if b.name == block)
    return [cell.text for cell in next(row.cells for row in rows if row.label == label)]


def heads(table):
    return [f"{column.head} {column.detail}".strip() for column in table.columns]


def ablation(runs, setting, values):
    """Make the store that of an ablation: every method row is a variant of one plugin."""
    runs.contents["rows"] = [r for r in runs.contents["rows"] if r["name"] in ("wgan-gp", "ddpm")]
    for row, value in zip(runs.contents["rows"], values, strict=True):
        changed = {"setting": setting, "value": value, "paper": values[0], "source": "[ours]"}
        row["method"] = "vqgan-cond"
        row["label"] = f"{setting} {value}"
        row["differences"] = [changed] if value != values[0] else []
    return runs


def test_tables_are_made_where_records_have_what_they_need(runs, classified):
    assert list(build(classified.read(), TEST)) == [1, 2, 5, 6, 7]
    del classified.contents["downstream"][1]  # exp2
    assert list(build(classified.read(), TEST)) == [1, 2, 5]
    del classified.contents["downstream"]
    assert list(build(classified.read(), TEST)) == [1]
    runs.contents["metrics"] = [m for m in runs.contents["metrics"] if m["name"] != "mmd2-kwon"]
    assert build(runs.read(), TEST) == {}


def test_table_1_has_a_block_a_class_and_the_papers_units(runs):
    table = build(runs.read(), TEST)[1]
    assert [block.name for block in table.blocks] == ["LGG", "HGG"]
    labels = [row.label for row in table.blocks[0].rows]
    assert labels == ["3D-WGAN-GP", "3D-DDPM", "3D-α-WGAN", "mine_v2 & co"]
    assert heads(table)[:2] == ["MMD (10⁴) ↓", "MS-SSIM (%) → real"]
    # recorded: MMD 17200 ± 120; MS-SSIM .7123 ± .0123, of real volumes .6412
    assert cells(table, "HGG", "3D-WGAN-GP")[:2] == ["1.720 ± 0.012", "71.2 ± 1.2 (7.1)"]
    assert "MS-SSIM of real volumes (%): LGG 64.12, HGG 64.12" in table.caption
    assert not any(row.cells[0].bold for block in table.blocks for row in block.rows)
    assert not any(row.cells[1].bold for row in table.blocks[0].rows)  # one seed, and a banner


def test_table_1_has_bold_where_seeds_and_volumes_allow_it(seeded):
    table = build(seeded.read(), TEST)[1]
    bold = [row.label for row in table.blocks[0].rows if row.cells[1].bold]
    assert bold == ["3D-DDPM"]
    assert not any(row.cells[0].bold for block in table.blocks for row in block.rows)


def test_table_1_never_calls_another_distance_fid(runs):
    table = build(runs.read(), TEST)[1]
    letters = ("A", "C", "S")
    assert heads(table)[2:] == [f"FD[rand2d-v1]-{letter} ↓" for letter in letters]
    assert any("FID: the Inception weights are missing" in note for note in table.notes)
    fid = runs.contents["metrics"][-1]
    fid["unavailable"] = None
    table = build(runs.read(), TEST)[1]
    assert heads(table)[2:] == [f"FID-{letter} ↓" for letter in letters]
    assert not any(note.startswith("FID:") for note in table.notes)


def test_captions_carry_n_seeds_test_preset_fingerprint_and_version(classified):
    tables = build(classified.read(), TEST)
    for table in tables.values():
        for fact in ("seed 0", "quick", "fingerprint 01234567", "Cerebench 0.1.0", "n = "):
            assert fact in table.caption
    for number in (2, 5, 6, 7):
        assert "No row could be tested against the reference." in tables[number].caption
        assert f"Table {number} of Zhou and Khalvati" in tables[number].title


def test_table_2_has_two_parts_with_the_baseline_first(classified):
    table = build(classified.read(), TEST)[2]
    assert [block.name for block in table.blocks] == ["(a) Experiment 1", "(b) Experiment 2"]
    first, second = ([row.label for row in block.rows] for block in table.blocks)
    assert first == ["Trad. Aug.", "3D-WGAN-GP", "3D-DDPM", "3D-α-WGAN", "mine_v2 & co"]
    assert second == first[1:]
    assert heads(table) == ["AUC", "F1", "Acc."]
    assert cells(table, "(b) Experiment 2", "mine_v2 & co") == ["—"] * 3
    assert len(build(classified.read(), TEST)[5].columns) == 5


def test_tables_2_and_5_show_the_same_numbers(classified):
    tables = build(classified.read(), TEST)
    for label in ("3D-WGAN-GP", "3D-DDPM", "Trad. Aug."):
        both = cells(tables[2], "(a) Experiment 1", label), cells(tables[5], "Experiment 1", label)
        assert both[0] == both[1][:3]


@pytest.mark.parametrize("test", [TEST, "delong", "welch"])
def test_asterisks_are_of_generators_and_show_the_direction(seeded, test):
    tables = build(seeded.read(), test)
    assert cells(tables[5], "Experiment 1", "3D-DDPM")[0].endswith("*↑")
    assert cells(tables[6], "Experiment 2", "3D-DDPM")[0].endswith("*↓")
    assert "*" not in cells(tables[5], "Experiment 1", "3D-WGAN-GP")[0]  # the reference itself
    for number in (5, 6):
        assert "*↑ better, *↓ worse than 3D-WGAN-GP: p < 0.05" in tables[number].caption
        assert "none below 3 generator seeds" in tables[number].caption


def test_one_seed_has_no_asterisk(classified):
    tables = build(classified.read(), TEST)
    rows = [row for number in (2, 5, 6) for block in tables[number].blocks for row in block.rows]
    assert not any("*" in cell.text for row in rows for cell in row.cells)


def test_table_7_sets_medicalnet_beside_the_reference(classified):
    classified.contents["downstream"][3]["unavailable"] = None
    classified.predict("_real/downstream/medicalnet@01234567.json", "medicalnet", 0.1, 0, 25)
    table = build(classified.read(), TEST)[7]
    assert [row.label for row in table.blocks[0].rows] == ["MedicalNet", "3D-WGAN-GP"]
    found = next(b for b in read_protocols(classified.read()) if b.name == "medicalnet").results[0]
    assert cells(table, "", "MedicalNet")[0].startswith(f"{sum(found.values('auc')) / 3:.3f}")


@pytest.mark.parametrize(("setting", "number"), [("top_k", 3), ("sides", 4)])
def test_an_ablation_has_its_own_table_with_both_classes_side_by_side(runs, setting, number):
    tables = build(ablation(runs, setting, (1, 2)).read(), TEST)
    assert list(tables) == [number]
    table = tables[number]
    metrics = ("MMD (10⁴) ↓", "MS-SSIM (%) → real")
    assert heads(table) == [f"{name} {metric}" for name in ("LGG", "HGG") for metric in metrics]
    assert [row.label for row in table.blocks[0].rows] == [f"{setting} 1", f"{setting} 2"]
    assert cells(table, "", f"{setting} 2")[1] == "65.1 ± 1.1 (1.0)"
    assert not any("FID" in note for note in table.notes)


def test_variants_that_differ_in_something_else_are_no_ablation_of_the_paper(runs):
    assert list(build(ablation(runs, "steps", (1, 2)).read(), TEST)) == [1]


def test_a_row_that_a_small_preset_left_under_trained_is_marked_in_every_table(classified):
    path = "ddpm-quick-89abcdef/seed-0/score/fd-radlite-v2@4567cdef.json"
    rows = json.loads((classified.folder / path).read_text())["rows"]
    classified.edit(path, rows=[row | {"value": 999.0} for row in rows])
    tables = build(classified.read(), TEST)
    for number in (1, 2, 5, 6):
        labels = [row.label for block in tables[number].blocks for row in block.rows]
        assert "3D-DDPM (under-trained)" in labels
        assert "3D-DDPM" not in labels
