import json
from statistics import fmean, stdev

import pytest

from cerebench.reports import tidy
from cerebench.reports.comparison import TESTS, Verdict
from cerebench.reports.downstream import DEFAULT_TEST, read
from cerebench.reports.downstream_tables import build as build_tables
from cerebench.reports.downstream_tables import frame, significance
from cerebench.reports.sections import study

GAN = "wgan-gp-quick-89abcdef/seed-0/downstream/{}@01234567.json"
DDPM = "ddpm-quick-89abcdef/seed-0/downstream/{}@01234567.json"


def build(experiment, test=DEFAULT_TEST):
    return build_tables(study(experiment, test))


def cells(table, block, label):
    """Return the cells of a row by head and detail of their column."""
    rows = next(b.rows for b in table.blocks if b.name == block)
    found = next(row.cells for row in rows if row.label == label)
    heads = [f"{column.head} {column.detail}".strip() for column in table.columns]
    return dict(zip(heads, found, strict=True))


def texts(table):
    """Return the text of every cell that has no footnote, by block, row and column."""
    return {
        (block.name, row.label, place): cell.text
        for block in table.blocks
        for row in block.rows
        for place, cell in enumerate(row.cells)
    }


def test_the_table_shows_mean_and_standard_deviation_over_runs(classified):
    experiment = classified.read()
    results, _ = build(experiment)
    row = read(experiment)[0].find("mine")
    for column, metric in (("AUC mean ± sd", "auc"), ("recall mean ± sd", "recall")):
        values = row.values(metric)
        shown = f"{fmean(values):.3f} ± {stdev(values):.3f}"
        assert cells(results, "Experiment 1", "mine_v2 & co")[column].text == shown
    assert cells(results, "Experiment 1", "mine_v2 & co")["runs"].text == "3"
    assert "n = 50 test cases (25 LGG, 25 HGG) of 50 patients" in results.caption
    for fact in ("seed 0", "quick", "fingerprint 01234567", "Cerebench 0.1.0"):
        assert fact in results.caption


def test_what_is_missing_is_a_dash_with_its_reason(classified):
    results, comparison = build(classified.read())
    for table, block, label, reason in (
        (results, "Experiment 1", "3D-α-WGAN", "failed: train LGG: out of memory at 128³"),
        (results, "Experiment 2", "mine_v2 & co", "failed: too few volumes: 12 of 64 LGG"),
        (results, "Baselines and controls", "MedicalNet", "unavailable: the weights are missing"),
        (comparison, "Experiment 2", "mine_v2 & co", "failed: too few volumes: 12 of 64 LGG"),
    ):
        cell = next(iter(cells(table, block, label).values()))
        assert cell.text == "—"
        assert table.footnotes[cell.mark - 1].startswith(reason)


def test_a_lost_record_changes_no_number_of_other_rows(classified):
    before, _ = build(classified.read())
    (classified.folder / DDPM.format("exp1")).unlink()
    after, _ = build(classified.read())
    assert cells(after, "Experiment 1", "3D-DDPM")["AUC mean ± sd"].text == "—"
    assert "not run" in after.footnotes
    kept = {place for place in texts(before) if place[:2] != ("Experiment 1", "3D-DDPM")}
    assert {p: texts(before)[p] for p in kept} == {p: texts(after)[p] for p in kept}


def test_bold_is_who_leads_beyond_doubt_and_nobody_in_a_tie(classified):
    results, _ = build(classified.read())
    assert cells(results, "Experiment 1", "3D-DDPM")["AUC mean ± sd"].bold
    assert cells(results, "Experiment 1", "mine_v2 & co")["AUC mean ± sd"].second
    copied = json.loads((classified.folder / DDPM.format("exp1")).read_text())
    classified.edit(GAN.format("exp1"), repeats=copied["repeats"])
    results, _ = build(classified.read())
    rows = next(b.rows for b in results.blocks if b.name == "Experiment 1")
    assert not any(cell.bold for row in rows for cell in row.cells)


def test_an_asterisk_is_only_for_patients_never_for_runs(classified):
    for test, (_, over_cases) in TESTS.items():
        _, table = build(classified.read(), test)
        found = cells(table, "Experiment 1", "3D-DDPM")
        unit = "patients" if over_cases else "runs"
        p = found[f"AUC p, {unit}"].text
        assert float(p.rstrip("*")) < 0.05
        assert p.endswith("*") == over_cases
        beside = [text for head, text in found.items() if head.endswith("p, runs")]
        assert not any("*" in cell.text for cell in beside)
        assert any("n = 3 runs: low power" in note for note in table.notes)


def test_the_comparison_names_its_test_its_n_and_its_families(classified):
    _, table = build(classified.read())
    assert "paired patient bootstrap, 10,000 draws of the prediction averaged" in table.caption
    assert "Holm within each family" in table.caption
    assert "(1–2 tests each)" in table.caption
    assert "paired patient bootstrap: n = 50 patients." in table.notes
    assert table.title == "Downstream classification: difference from 3D-WGAN-GP"
    shown = cells(table, "Experiment 1", "3D-DDPM")["AUC difference [95 %]"].text
    blocks = read(classified.read())
    assert shown.startswith("0.2")  # of averaged predictions
    assert blocks[0].find("ddpm").values("auc") == [1.0] * 3
    labels = [row.label for row in table.blocks[0].rows]
    assert "3D-WGAN-GP" not in labels
    assert not any("Shuffled" in label for label in labels)


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0123, "0.012*"), (0.049, "0.049*"), (0.05, "0.05"), (1.0, "1"), (3.14e-7, "3.1e-7*")],
)
def test_a_p_value_has_two_digits_and_an_asterisk_below_5_percent(p, shown):
    assert significance(Verdict(p=p), "paired_bootstrap") == shown
    assert significance(Verdict(p=p), "welch") == shown.rstrip("*")
    assert significance(Verdict(reason="no test"), "paired_bootstrap") == "—"


def test_delong_compares_aucs_alone(classified):
    _, table = build(classified.read(), "delong")
    assert {column.head for column in table.columns} == {"AUC"}


def test_too_few_test_cases_show_values_without_any_test(runs):
    runs.protocol("exp2", "Experiment 2", {"wgan-gp": 0.2, "ddpm": 2.0}, n=19)
    results, comparison = build(runs.read())
    cell = cells(results, "Experiment 2", "3D-DDPM")["AUC mean ± sd"]
    assert (cell.text, cell.bold) == ("1.000 ± 0.000", False)
    found = cells(comparison, "Experiment 2", "3D-DDPM")
    assert {cell.text for cell in found.values()} == {"—"}
    assert "No row could be tested against the reference." in comparison.caption
    assert comparison.footnotes == ("no test: 19 test cases of a class, fewer than 20",)
    assert any("fewer than 20: no test, nothing bold" in note for note in results.notes)


def test_accuracy_says_how_coarse_it_is_and_a_small_classifier_that_it_is_small(classified):
    tables = build(classified.read())
    assert any("steps of 0.02: rows less than 0.04 apart" in note for note in tables[0].notes)
    banner = "quick classifier: resnet10, few epochs (4 + 8)"
    assert [table.banner for table in tables] == [banner] * 2
    for protocol in classified.contents["downstream"]:
        protocol["config"]["network"] = "two-conv"
        reason = {"source": "[ours: three layers]", "setting": "network"}
        protocol["differences"] = [reason | {"value": "two-conv", "paper": "resnet"}]
    tables = build(classified.read())
    assert tables[0].banner == "quick classifier: two-conv, few epochs (4 + 8)"
    told = "in network two-conv (paper: resnet). The network two-conv is not the paper's: three"
    assert all(told in line for line in tables[0].protocol)
    for protocol in classified.contents["downstream"]:
        protocol["preset"] = "paper"
    assert [table.banner for table in build(classified.read())] == [""] * 2


def test_shuffled_labels_are_shown_before_fine_tuning(classified):
    results, _ = build(classified.read())
    cell = cells(results, "Baselines and controls", "Shuffled label (3D-WGAN-GP)")["AUC mean ± sd"]
    assert abs(float(cell.text.split()[0]) - 0.5) < 0.1
    assert results.footnotes[cell.mark - 1] == "before fine-tuning"


def test_rows_pretrained_on_other_data_are_marked(classified):
    path = classified.folder / DDPM.format("exp1")
    repeats = json.loads(path.read_text())["repeats"]
    for repeat in repeats:
        repeat["n_synthetic"]["pretrain"]["HGG"] = 64
    classified.edit(DDPM.format("exp1"), repeats=repeats)
    results, _ = build(classified.read())
    labels = [row.label for row in results.blocks[0].rows]
    assert "3D-DDPM (unequal data)" in labels
    assert sum("unequal data" in label for label in labels) == 1
    assert (
        "Unequal data: 3D-DDPM in Experiment 1 trained stage 1 on 64 generated LGG, 64 generated "
        "HGG."
    ) in results.notes
    assert not any("unequal" in row.label for row in results.blocks[1].rows)


def test_volumes_of_swapped_classes_are_told_by_the_auc_before_fine_tuning(classified):
    results, _ = build(classified.read())
    swapped = cells(results, "Experiment 1", "3D-DDPM")
    assert (swapped["AUC mean ± sd"].text, swapped["AUC stage 1"].text) == (
        "1.000 ± 0.000",
        "0.000 ± 0.000",
    )
    told = [note for note in results.notes if "the wrong way round" in note]
    assert len(told) == 1
    assert told[0].startswith("Experiment 1: stage 1 taught")
    assert "3D-DDPM (AUC 0 [0, 0])" in told[0]
    assert cells(results, "Baselines and controls", "Real only")["AUC stage 1"].text == "—"


def test_seeds_add_runs_and_one_that_failed_is_told(three_seeds):
    three_seeds.protocol("exp2", "Experiment 2", {"wgan-gp": 0.2, "ddpm": 1.0})
    (three_seeds.folder / GAN.format("exp2").replace("seed-0", "seed-2")).unlink()
    results, comparison = build(three_seeds.read())
    found = cells(results, "Experiment 2", "3D-WGAN-GP")
    assert found["runs"].text == "6"
    assert cells(results, "Experiment 2", "3D-DDPM")["runs"].text == "9"
    assert results.footnotes[found["AUC mean ± sd"].mark - 1] == (
        "2 of 3 seeds; seed 2 failed: train HGG: loss is NaN at step 12"
    )
    assert "Welch t: n = 6 runs in the smaller group." in comparison.notes


def test_without_a_reference_nothing_is_tested_and_the_table_says_so(classified):
    classified.contents["reference"] = ""
    (results,) = build(classified.read())
    assert any("No reference method" in note for note in results.notes)
    assert set(frame(classified.read())["level"]) == {"run", "mean prediction"}


def test_older_stores_without_protocols_have_no_tables(runs):
    assert study(runs.read(), DEFAULT_TEST) is None
    assert frame(runs.read()) is None


def test_tidy_rows_hold_runs_averages_and_every_test_with_n_and_unit(classified):
    table = frame(classified.read())
    runs = table.query("level == 'run' and protocol == 'exp1' and method == 'ddpm'")
    assert sorted(runs[runs["metric"] == "auc"]["repeat"]) == [0, 1, 2]
    assert {"f1-negative", "f1-macro"} <= set(runs["metric"])
    lost = table.query("level == 'run' and protocol == 'exp2' and method == 'mine'")
    assert set(lost["status"]) == {"failed"}
    assert lost["value"].isna().all()
    tests = table[table["level"] == "comparison"]
    assert set(tests["test"]) == set(TESTS)
    tested = tests[tests["p"].notna()]
    assert (tested["n"] > 0).all()
    assert (tested["p_holm"] >= tested["p"]).all()
    assert set(tested["unit"]) == {"patients", "cases", "runs"}
    assert set(tests[tests["p"].isna()]["status"]) == {"not tested"}
    one = table.query("level == 'mean prediction' and metric == 'auc' and method == 'mine'").iloc[0]
    assert one["low"] < one["value"] < one["high"]


def test_the_csv_file_has_both_kinds_of_rows(classified, tmp_path):
    (path,) = tidy.write(classified.read(), tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    head = lines[0].split(",")
    assert len(head) == len(set(head))
    assert {"value", "protocol", "p_holm", "unit"} <= set(head)
    assert sum("fd-radlite-v1" in line for line in lines) > 0
    assert sum("mean prediction" in line for line in lines) > 0
