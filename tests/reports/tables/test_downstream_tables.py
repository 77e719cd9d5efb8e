import json
from dataclasses import replace
from statistics import fmean

import pytest

from cerebench.reports.statistics.comparison import CLAIM, TESTS, Verdict
from cerebench.reports.statistics.contrast import Contrast, Part
from cerebench.reports.statistics.generators import estimate
from cerebench.reports.statistics.significance import Test
from cerebench.reports.tables.downstream_comparison import p_value, significance
from cerebench.reports.tables.downstream_tables import build_downstream_tables, mean
from cerebench.reports.tables.sections import study
from cerebench.reports.values import frames
from cerebench.reports.values.downstream import DEFAULT_TEST, read_protocols
from cerebench.reports.values.downstream_tidy import frame

GAN = "wgan-gp-quick-89abcdef/seed-0/downstream/{}@01234567.json"
DDPM = "ddpm-quick-89abcdef/seed-0/downstream/{}@01234567.json"


def build(experiment, test=DEFAULT_TEST):
    return build_downstream_tables(study(experiment, test))


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


def test_the_table_shows_mean_and_error_over_patients_and_runs(classified):
    experiment = classified.read()
    results, _ = build(experiment)
    row = read_protocols(experiment)[0].find("mine")
    for column, metric in (("AUC mean ± se", "auc"), ("recall mean ± se", "recall")):
        shown = f"{fmean(row.values(metric)):.3f} ± {estimate(row, metric).error.se:.3f}"
        assert cells(results, "Experiment 1", "mine_v2 & co")[column].text == shown
    assert cells(results, "Experiment 1", "mine_v2 & co")["runs"].text == "3"
    assert "n = 50 test cases (25 LGG, 25 HGG) of 50 patients" in results.caption
    assert "± its standard error, test patients and seeds joined" in results.caption
    assert "F1 of calling every case so: 0.667" in results.caption
    for fact in ("seed 0", "quick", "fingerprint 01234567", "Cerebench 0.1.0"):
        assert fact in results.caption
    assert any("with one seed what another training" in note for note in results.notes)


def test_an_error_never_leaves_0_to_1():
    assert mean(0.9, Contrast(0.9, (Part(0.01, 5),))) == "0.900 ± 0.100"
    assert mean(0.98, Contrast(0.98, (Part(0.01, 5),))) == "0.980 [0.880, 1.000]"
    assert mean(0.0, Contrast(0.0, (Part(1.21, 5),))) == "0.000 [0.000, 1.000]"
    assert mean(1.0, None) == "1.000"


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
    assert cells(after, "Experiment 1", "3D-DDPM")["AUC mean ± se"].text == "—"
    assert "not run" in after.footnotes
    kept = {place for place in texts(before) if place[:2] != ("Experiment 1", "3D-DDPM")}
    assert {p: texts(before)[p] for p in kept} == {p: texts(after)[p] for p in kept}


def test_bold_is_who_leads_beyond_doubt_and_nobody_in_a_tie(seeded):
    results, _ = build(seeded.read())
    assert cells(results, "Experiment 1", "3D-DDPM")["AUC mean ± se"].bold
    assert cells(results, "Experiment 1", "3D-WGAN-GP")["AUC mean ± se"].second
    for seed in range(3):
        other = GAN.format("exp1").replace("seed-0", f"seed-{seed}")
        copied = DDPM.format("exp1").replace("seed-0", f"seed-{seed}")
        repeats = json.loads((seeded.folder / copied).read_text())["repeats"]
        seeded.edit(other, repeats=repeats)
    results, _ = build(seeded.read())
    rows = next(b.rows for b in results.blocks if b.name == "Experiment 1")
    assert not any(cell.bold for row in rows for cell in row.cells)


def anything_bold(builder):
    return any(c.bold for b in build(builder.read())[0].blocks for r in b.rows for c in r.cells)


def test_nothing_is_bold_under_a_banner_nor_in_a_marked_row(seeded):
    assert anything_bold(seeded)
    seeded.contents["banner"] = "phantoms"
    assert not anything_bold(seeded)
    seeded.contents["banner"] = None
    seeded.contents["downstream"][0]["preset"] = "quick"
    assert not anything_bold(seeded)
    seeded.contents["downstream"][0]["preset"] = "paper"
    told = study(seeded.read(), DEFAULT_TEST)
    marked = replace(told, marks={"ddpm": {"copying": ["max-corr"]}})
    results = build_downstream_tables(marked)[0]
    assert not any(c.bold for b in results.blocks for row in b.rows for c in row.cells)
    assert "3D-DDPM (copying)" in {row.label for b in results.blocks for row in b.rows}


def test_an_asterisk_is_for_generators_alone_and_shows_the_direction(seeded):
    for test in TESTS:
        _, table = build(seeded.read(), test)
        better = cells(table, "Experiment 1", "3D-DDPM")
        worse = cells(table, "Experiment 2", "3D-DDPM")
        assert better["AUC p, generators"].text.endswith("*↑")
        assert worse["AUC p, generators"].text.endswith("*↓")
        beside = [c.text for head, c in (better | worse).items() if head.endswith("alone")]
        assert beside
        assert not any("*" in text for text in beside)
        assert any("*↑ better, *↓ worse than the reference" in note for note in table.notes)


def test_below_three_seeds_there_is_no_asterisk_and_the_table_says_why(seeded):
    for row in seeded.contents["downstream"][0]["rows"]:
        row["cells"] = row["cells"][:2]
    _, table = build(seeded.read())
    found = cells(table, "Experiment 1", "3D-DDPM")
    assert found["AUC p, generators"].text == "—"
    assert "*" not in "".join(cell.text for cell in found.values())
    shown = found["AUC difference [95 %]"]
    blocks = read_protocols(seeded.read())
    means = [fmean(blocks[0].find(name).values("auc")) for name in ("ddpm", "wgan-gp")]
    assert float(shown.text) == pytest.approx(means[0] - means[1], abs=1e-3)
    assert table.footnotes[shown.mark - 1] == (
        "no asterisk: 2 generator seeds of 3D-DDPM; a claim about generators needs 3"
    )


def test_the_comparison_names_its_tests_its_n_and_its_families(seeded):
    _, table = build(seeded.read())
    assert "Differences are of means over runs. Test of generators: t over seeds" in table.caption
    assert "Holm within each family" in table.caption
    assert "(1 tests each)" in table.caption
    claim = "t of generators over seeds and patients: n = 3 seeds in the smaller group."
    assert claim in table.notes
    assert "paired patient bootstrap: n = 50 patients." in table.notes
    assert any("2,000 draws of means over runs, which judges the cl" in n for n in table.notes)
    assert table.title == "Downstream classification: difference from 3D-WGAN-GP"
    assert [row.label for row in table.blocks[0].rows] == ["3D-DDPM", "Trad. Aug."]


VERDICT = Test("t", 0.5, 1.0, 0.1, 0.0, 0.2, 3, "seeds")


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0123, "0.012*"), (0.049, "0.049*"), (0.05, "0.050"), (1.0, "1.000"), (3.14e-7, "<0.001*")],
)
def test_a_p_value_has_three_decimals_and_a_mark_below_5_percent(p, shown):
    arrow = "↑" * shown.endswith("*"), "↓" * shown.endswith("*")
    assert significance(Verdict(VERDICT, p)) == shown + arrow[0]
    assert significance(Verdict(replace(VERDICT, difference=-0.1), p)) == shown + arrow[1]
    assert p_value(Verdict(VERDICT, p)) == shown.rstrip("*")
    assert significance(Verdict(reason="no test")) == "—"


def test_delong_compares_aucs_alone(seeded):
    _, table = build(seeded.read(), "delong")
    alone = [column.head for column in table.columns if column.detail == "p, patients alone"]
    assert alone == ["AUC"]


def one_class(builder, path, level):
    """Let the first repeat call every case the same."""
    repeats = json.loads((builder.folder / path).read_text())["repeats"]
    first = repeats[0]["predictions"]
    repeats[0]["predictions"] = [level + 0.4 * p for p in first]
    builder.edit(path, repeats=repeats)


def test_a_run_that_predicts_one_class_is_marked_and_never_bold(seeded):
    one_class(seeded, DDPM.format("exp1"), 0.55)
    results, comparison = build(seeded.read())
    found = cells(results, "Experiment 1", "3D-DDPM")
    assert not any(cell.bold for cell in found.values())
    for head in ("F1", "accuracy", "precision", "recall"):
        note = results.footnotes[found[f"{head} mean ± se"].mark - 1]
        assert note == "1 of 9 runs predict one class for every case"
    tested = cells(comparison, "Experiment 1", "3D-DDPM")
    assert tested["AUC p, generators"].text.endswith("*↑")
    assert tested["F1 p, generators"].text == "—"
    assert "no test: 1 of 9 runs predict one class" in " ".join(comparison.footnotes)


def test_a_precision_that_does_not_exist_is_a_dash_and_no_zero(seeded):
    one_class(seeded, DDPM.format("exp1"), 0.05)
    results, _ = build(seeded.read())
    cell = cells(results, "Experiment 1", "3D-DDPM")["precision mean ± se"]
    assert cell.text == "—"
    assert results.footnotes[cell.mark - 1] == (
        "precision does not exist in 1 of 9 runs: no case is called so"
    )
    table = frame(seeded.read()).query("protocol == 'exp1' and method == 'ddpm'")
    precision = table[(table["metric"] == "precision") & (table["level"] != "comparison")]
    lost = precision[precision["status"] == "undefined"]
    assert sorted(lost["level"]) == ["mean", "run"]
    assert lost["value"].isna().all()


def test_too_few_test_cases_show_values_without_any_test(runs):
    runs.protocol("exp2", "Experiment 2", {"wgan-gp": 0.2, "ddpm": 2.0}, n=19)
    results, comparison = build(runs.read())
    cell = cells(results, "Experiment 2", "3D-DDPM")["AUC mean ± se"]
    assert (cell.text, cell.bold) == ("1.000", False)
    assert results.footnotes[cell.mark - 1] == "no error: no test case or run changes it"
    found = cells(comparison, "Experiment 2", "3D-DDPM")
    assert {c.text for head, c in found.items() if "difference" not in head} == {"—"}
    assert "No row could be tested against the reference." in comparison.caption
    assert comparison.footnotes == ("no test: 19 test cases of a class, fewer than 20",)
    assert any("fewer than 20: no test, nothing bold" in note for note in results.notes)


def test_accuracy_says_how_coarse_it_is_and_a_small_classifier_that_it_is_small(classified):
    tables = build(classified.read())
    assert any("steps of 0.02: rows less than 0.04 apart" in note for note in tables[0].notes)
    quick = classified.contents["banner"]
    banner = f"{quick}; quick classifier: resnet10, few epochs (4 + 8)"
    assert [table.banner for table in tables] == [banner] * 2
    for protocol in classified.contents["downstream"]:
        protocol["config"]["network"] = "two-conv"
        reason = {"source": "[ours: three layers]", "setting": "network"}
        reason |= {"paper_source": "[paper: section 2]"}
        protocol["differences"] = [reason | {"value": "two-conv", "paper": "resnet"}]
    tables = build(classified.read())
    assert tables[0].banner == f"{quick}; quick classifier: two-conv, few epochs (4 + 8)"
    told = "in network two-conv (paper: resnet). The network two-conv is not the paper's: three"
    assert all(told in line for line in tables[0].recipes)
    for protocol in classified.contents["downstream"]:
        protocol["preset"] = "paper"
    assert [table.banner for table in build(classified.read())] == [quick] * 2


def test_shuffled_labels_are_shown_before_fine_tuning(classified):
    results, _ = build(classified.read())
    cell = cells(results, "Baselines and controls", "Shuffled label (3D-WGAN-GP)")["AUC mean ± se"]
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
    assert (swapped["AUC mean ± se"].text, swapped["AUC stage 1"].text) == ("1.000", "0.000")
    told = [note for note in results.notes if "the wrong way round" in note]
    assert len(told) == 1
    assert told[0].startswith("Experiment 1: stage 1 taught")
    assert "3D-DDPM (AUC 0.000)" in told[0]
    assert cells(results, "Baselines and controls", "Real only")["AUC stage 1"].text == "—"


def test_seeds_add_runs_and_one_that_failed_is_told(three_seeds):
    three_seeds.protocol("exp2", "Experiment 2", {"wgan-gp": 0.2, "ddpm": 1.0})
    (three_seeds.folder / GAN.format("exp2").replace("seed-0", "seed-2")).unlink()
    results, comparison = build(three_seeds.read())
    found = cells(results, "Experiment 2", "3D-WGAN-GP")
    assert found["runs"].text == "6"
    assert cells(results, "Experiment 2", "3D-DDPM")["runs"].text == "9"
    assert results.footnotes[found["AUC mean ± se"].mark - 1] == (
        "2 of 3 seeds; seed 2 failed: train HGG: loss is NaN at step 12"
    )
    assert "2 generator seeds of 3D-WGAN-GP" in " ".join(comparison.footnotes)


def test_without_a_reference_nothing_is_tested_and_the_table_says_so(classified):
    classified.contents["reference"] = ""
    (results,) = build(classified.read())
    assert any("No reference method" in note for note in results.notes)
    assert set(frame(classified.read())["level"]) == {"run", "mean"}


def test_older_stores_without_protocols_have_no_tables(runs):
    assert study(runs.read(), DEFAULT_TEST) is None
    assert frame(runs.read()) is None


def test_tidy_rows_hold_runs_means_and_every_test_with_n_and_unit(seeded):
    table = frame(seeded.read())
    runs = table.query("level == 'run' and protocol == 'exp1' and method == 'ddpm'")
    assert sorted(runs[runs["metric"] == "auc"]["repeat"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert {"f1-negative", "f1-macro"} <= set(runs["metric"])
    tests = table[table["level"] == "comparison"]
    assert set(tests["test"]) == {CLAIM, *TESTS}
    tested = tests[tests["p"].notna()]
    assert (tested["n"] > 0).all()
    assert (tested["p_holm"] >= tested["p"]).all()
    assert set(tested["unit"]) == {"patients", "cases", "runs", "seeds"}
    assert set(tests[tests["p"].isna()]["status"]) == {"not tested"}
    one = table.query("level == 'mean' and metric == 'auc' and method == 'wgan-gp'").iloc[0]
    assert one["low"] < one["value"] < one["high"]
    assert one["se"] > 0


def test_tidy_rows_name_what_is_lost(classified):
    table = frame(classified.read())
    lost = table.query("level == 'run' and protocol == 'exp2' and method == 'mine'")
    assert set(lost["status"]) == {"failed"}
    assert lost["value"].isna().all()


def test_the_csv_file_has_both_kinds_of_rows(classified, tmp_path):
    (path,) = frames.write(classified.read(), tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    head = lines[0].split(",")
    assert len(head) == len(set(head))
    assert {"value", "protocol", "p_holm", "unit"} <= set(head)
    assert sum("fd-radlite-v2" in line for line in lines) > 0
    assert sum(",mean," in line for line in lines) > 0


def test_a_preset_with_other_settings_is_not_called_by_its_name_alone(classified):
    given = {"source": "[user: --set]", "paper_source": "[paper: app. D]"}
    classified.contents["banner"] = None
    classified.contents["preset"] = "paper"
    changed = [
        {"setting": "depth", "value": 10, "paper": 50} | given,
        {"setting": "lr", "value": 0.001, "paper": 0.01} | given,
    ]
    for protocol in classified.contents["downstream"]:
        protocol |= {"preset": "paper", "differences": changed}
    classified.contents["rows"][1]["differences"] = [
        {"setting": "steps", "value": 15, "paper": 12000} | given
    ]
    tables = build(classified.read())
    for table in tables:
        assert table.banner == "changed paper classifier: resnet10, few epochs (4 + 8)"
        assert "Preset of classifiers paper with depth 10, lr 0.001, of generators" in table.caption
        assert "of generators paper (3D-WGAN-GP with steps 15)." in table.caption
    assert not any(c.bold for t in tables for b in t.blocks for r in b.rows for c in r.cells)
