import json
import re

import pytest

from cerebench.reports.base import ReportError
from cerebench.reports.tables.downstream_tables import build_downstream_tables
from cerebench.reports.tables.notes import provenance
from cerebench.reports.tables.sections import study
from cerebench.reports.tables.table import build_table, column_width, panels
from cerebench.reports.values.downstream import DEFAULT_TEST
from cerebench.reports.values.frames import frames
from cerebench.reports.values.marks import Reason

SCORE = "{}-quick-89abcdef/seed-0/score/{}@4567cdef.json"


def column(table, metric, view=""):
    return next(i for i, c in enumerate(table.columns) if (c.metric, c.view) == (metric, view))


def cells(table, metric, block=0, view=""):
    index = column(table, metric, view)
    return {row.label: row.cells[index] for row in table.blocks[block].rows}


def change(runs, path, **fields):
    record = json.loads((runs.folder / path).read_text())
    for row in record["rows"]:
        row.update(fields)
    runs.edit(path, rows=record["rows"])


def test_rows_are_floor_then_methods_then_controls_in_every_class(runs):
    table = build_table(runs.read())
    assert [block.name for block in table.blocks] == ["LGG", "HGG"]
    for block in table.blocks:
        assert [row.role for row in block.rows] == ["floor", *["method"] * 4, *["control"] * 2]
        assert [row.label for row in block.rows][:3] == ["real, held out", "3D-WGAN-GP", "3D-DDPM"]


def test_controls_can_be_left_out_but_the_floor_stays(runs):
    table = build_table(runs.read(), controls=False)
    assert {row.role for block in table.blocks for row in block.rows} == {"floor", "method"}
    assert not any("training copies" in line for line in table.recipes)


def test_headers_carry_direction_view_and_scale(runs):
    heads = [(c.head, c.detail) for c in build_table(runs.read()).columns]
    assert heads[:5] == [
        ("MMD", "(10⁴) ↓"),
        ("MS-SSIM", "→ real"),
        ("FD[radlite-v2]", "↓"),
        ("KID[radlite-v2]", "(10⁻³) ↓"),
        ("NN ratio", "→ real"),
    ]
    assert ("FD[rand2d-v1]", "sagittal ↓") in heads
    assert heads[-9:] == [
        ("n", "real/gen."),
        ("training", "time"),
        ("training", "CPU time"),
        ("training", "peak MiB"),
        ("training", "device"),
        ("trained", "parameters"),
        ("sampler", "steps"),
        ("sampling", "s/volume"),
        ("clipped", "%"),
    ]


def test_small_and_negative_values_print_as_themselves(runs):
    kid = {"se": None, "uncertainty": ""}
    change(runs, SCORE.format("ddpm", "fd-radlite-v2"), value=5e-5, **kid)
    change(runs, SCORE.format("wgan-gp", "fd-radlite-v2"), value=-3.0, **kid)
    found = cells(build_table(runs.read()), "fd-radlite-v2")
    assert found["3D-DDPM"].text == "0.00"
    assert found["3D-WGAN-GP"].text == "-3.00"
    for path in runs.folder.glob("**/fd-radlite-v2@*.json"):
        change(runs, str(path.relative_to(runs.folder)), value=5e-9, se=1e-10)
    found = cells(build_table(runs.read()), "fd-radlite-v2")
    assert found["real, held out"].text == "5.0e-9 ± 1.0e-10"  # no decimals show it


def test_all_cells_of_a_column_have_as_many_decimals(runs):
    table = build_table(runs.read())
    for index, shown in enumerate(table.columns):
        if shown.metric in ("mmd2-kwon", "ms-ssim", "fd-radlite-v2", "nn-ratio", "sample-seconds"):
            rows = (row for block in table.blocks for row in block.rows)
            numbers = re.findall(r"\d+\.\d+", " ".join(row.cells[index].text for row in rows))
            assert len({len(one.partition(".")[2]) for one in numbers}) == 1, shown.metric


def test_the_display_factor_multiplies_value_and_uncertainty(runs):
    assert cells(build_table(runs.read()), "mmd2-kwon")["3D-WGAN-GP"].text == "1.720 ± 0.012"


def test_near_real_shows_the_distance_and_the_real_value(runs):
    table = build_table(runs.read())
    assert table.blocks[0].targets[column(table, "ms-ssim")] == "→ 0.641"
    assert cells(table, "ms-ssim")["3D-WGAN-GP"].text == "0.712 ± 0.012 (0.071)"


def bold(table, metric, view=""):
    return [label for label, cell in cells(table, metric, view=view).items() if cell.bold]


def test_the_best_method_is_bold_and_controls_never_are(seeded):
    table = build_table(seeded.read())
    assert bold(table, "fd-radlite-v2") == ["mine_v2 & co"]
    assert bold(table, "ms-ssim") == ["3D-DDPM"]
    assert "in at most 5 % of columns" in " ".join(table.notes)


def test_nothing_is_bold_where_another_is_within_chance(seeded):
    for seed in range(3):
        path = SCORE.format("ddpm", "fd-radlite-v2").replace("seed-0", f"seed-{seed}")
        change(seeded, path, value=7.0 + 0.5 * seed)
    assert bold(build_table(seeded.read()), "fd-radlite-v2") == []


def test_nothing_is_bold_or_second_under_a_banner(seeded):
    seeded.contents["banner"] = "quick run: shows that it works"
    table = build_table(seeded.read())
    assert not any(c.bold or c.second for b in table.blocks for row in b.rows for c in row.cells)
    assert "Nothing is bold: see the warning on top." in table.notes


@pytest.mark.parametrize("seeds", [1, 2])
def test_nothing_is_bold_with_fewer_than_three_seeds(seeded, seeds):
    for row in seeded.contents["rows"]:
        if "cells" in row:
            row["cells"] = row["cells"][:seeds]
    table = build_table(seeded.read())
    assert bold(table, "fd-radlite-v2") == []
    assert "a method has fewer than 3 seeds" in " ".join(table.notes)


def test_a_marked_row_is_neither_bold_nor_second(seeded, monkeypatch):
    rows = [row["name"] for row in seeded.contents["rows"]]
    told = {rows.index("mine"): {"copying": [Reason("max-corr", "copies")]}}
    monkeypatch.setattr("cerebench.reports.tables.table.marks", lambda *_: told)
    table = build_table(seeded.read())
    assert bold(table, "fd-radlite-v2") == []
    second = [c.second for c in cells(table, "fd-radlite-v2").values()]
    assert second.count(True) == 1
    assert not cells(table, "fd-radlite-v2")["mine_v2 & co (copying)"].second


def test_plus_minus_says_what_it_leaves_out(runs, seeded):
    one, three = (" ".join(build_table(made.read()).notes) for made in (runs, seeded))
    assert "± leaves out that real cases of other hospitals" in one
    assert "with one seed also what another training would give" in one
    assert "± leaves out" in three
    assert "with one seed" not in three


def test_a_share_does_not_leave_its_range(runs):
    change(runs, SCORE.format("ddpm", "nn-ratio"), value=0.0, se=1.1)
    assert cells(build_table(runs.read()), "nn-ratio")["3D-DDPM"].text.startswith(
        "0.000 [0.000, 1.000]"
    )


def test_the_target_of_the_neighbour_ratio_is_what_new_cases_score(runs):
    for path in runs.folder.glob("**/nn-ratio@*.json"):
        name = str(path.relative_to(runs.folder))
        change(runs, name, facts={"expected_of_new_cases": 0.095})
    table = build_table(runs.read())
    assert table.blocks[0].targets[column(table, "nn-ratio")] == "→ 0.095"


def test_a_metric_that_rewards_collapse_is_never_bold_and_says_why(runs):
    table = build_table(runs.read())
    assert bold(table, "mmd2-kwon") == []
    assert any("MMD is never bold: it rewards collapse" in note for note in table.notes)


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ("It rewards collapse.", "MMD is never bold: it rewards collapse."),
        ("everything but the mean", "MMD is never bold: it is blind to everything but the mean"),
    ],
)
def test_why_a_metric_is_never_bold_is_a_sentence(runs, recorded, told):
    entry = next(m for m in runs.contents["metrics"] if m["name"] == "mmd2-kwon")
    entry["blind_to"] = recorded
    assert told in build_table(runs.read()).notes


def test_a_single_method_is_not_bold(runs):
    runs.contents["rows"] = [r for r in runs.contents["rows"] if r["name"] in ("ddpm", "copies")]
    runs.contents["banner"] = None
    table = build_table(runs.read())
    assert not any(c.bold for b in table.blocks for row in b.rows for c in row.cells)
    for notes in (table.notes, table.brief):
        assert "Nothing is bold: there is no other row to be better than." in notes
        assert not any(note.startswith("Bold:") for note in notes)


def test_a_failed_cell_is_a_dash_with_its_reason(runs):
    table = build_table(runs.read())
    for cell in cells(table, "ms-ssim").values():
        assert cell.text
    failed = cells(table, "ms-ssim")["3D-α-WGAN"]
    assert failed.text == "—"
    assert table.footnotes[failed.mark - 1] == "failed: train LGG: out of memory at 128³"


def test_every_dash_of_a_score_has_a_footnote(runs):
    (runs.folder / SCORE.format("ddpm", "ms-ssim")).unlink()
    table = build_table(runs.read())
    rows = [row for block in table.blocks for row in block.rows]
    bare = (column(table, ""), column(table, "sampler"))
    dashes = [c for row in rows for i, c in enumerate(row.cells) if c.text == "—" and i not in bare]
    assert dashes
    assert all(1 <= cell.mark <= len(table.footnotes) for cell in dashes)
    assert table.footnotes[cells(table, "ms-ssim")["3D-DDPM"].mark - 1] == "not run"


def test_a_missing_seed_is_marked_and_costs_the_bold(three_seeds):
    table = build_table(three_seeds.read())
    cell = cells(table, "ms-ssim")["3D-WGAN-GP"]
    assert cell.text == "0.716 ± 0.013 (0.075)"
    assert table.footnotes[cell.mark - 1] == (
        "2 of 3 seeds; seed 2 failed: train HGG: loss is NaN at step 12"
    )
    assert not cells(table, "ms-ssim")["3D-DDPM"].mark
    assert "Mean over 3 seeds ± its standard error, volumes (delete-group" in table.caption


def test_the_caption_says_what_the_uncertainty_of_one_seed_is(runs):
    caption = build_table(runs.read()).caption
    assert "±: standard error over volumes (delete-group jackknife, 10 groups)" in caption
    for part in ("n = 100 real and 64 generated", "preset quick", "seed 0", "01234567", "0.1.0"):
        assert part in caption


def test_different_recipes_in_one_column_are_refused_with_the_fields(runs):
    path = SCORE.format("ddpm", "ms-ssim")
    recipe = {"estimator": "of ms-ssim", "split": "test"}
    runs.edit(path, recipe=recipe, recipe_hash="f" * 64)
    with pytest.raises(ReportError, match=r"'ms-ssim'.*differ in: split \(train and test\)"):
        build_table(runs.read())


def test_notes_name_clipping_floor_and_unavailable_metrics(runs):
    notes = build_table(runs.read()).notes
    assert any("3D-WGAN-GP (HGG): 1.23 % of voxels" in note for note in notes)
    assert not any("(LGG): 0.01 %" in note for note in notes)
    assert any(
        "mine_v2 & co lies below the real-vs-real floor in FD[radlite-v2] of LGG" in note
        for note in notes
    )
    assert not any("3D-DDPM lies below" in note for note in notes)
    assert any(note.startswith("Not computed: FID: the Inception weights") for note in notes)
    shared = "FD[radlite-v2], FD[rand2d-v1]: 64 volumes bias a Fréchet distance upwards."
    assert shared in notes


def test_what_has_not_run_says_what_to_do(runs):
    def told():
        return [
            note
            for note in build_table(runs.read()).notes
            if "repeat the bench run command" in note
        ]

    assert told() == []
    (runs.folder / SCORE.format("ddpm", "ms-ssim")).unlink()
    assert len(told()) == 1


def test_a_contradiction_of_mmd_and_ms_ssim_is_noted(runs):
    runs.contents["rows"] = [r for r in runs.contents["rows"] if r["name"] != "broken"]
    assert not any("disagree" in note for note in build_table(runs.read()).notes)
    runs.method("noise", "3D-noise")
    change(runs, SCORE.format("noise", "mmd2-kwon"), value=1.0)
    notes = build_table(runs.read()).notes
    (told,) = [note for note in notes if "disagree" in note]
    assert "Places by mmd2-kwon and by distance to the real ms-ssim" in told
    assert "3D-noise (LGG) 1 and 4 of 4" in told
    assert "3D-noise (HGG) 1 and 4 of 4" in told


def test_what_several_metrics_and_rows_leave_to_read_is_one_line(runs):
    left_out = ["left out, without spread: maximum", "left out, repeats: range (minimum)"]
    for metric in ("fd-radlite-v2", "ms-ssim"):
        for path in runs.folder.glob(f"*/seed-*/score/{metric}@*.json"):
            change(runs, path.relative_to(runs.folder), notes=left_out)
        for path in runs.folder.glob(f"_real/score/*/{metric}@*.json"):
            change(runs, path.relative_to(runs.folder), notes=left_out)
    found = [note for note in build_table(runs.read()).notes if "left out" in note]
    assert found == ["MS-SSIM, FD[radlite-v2]: " + "; ".join(left_out)]


def test_a_note_of_one_class_names_row_and_class_once_for_all_metrics(runs):
    for metric in ("fd-radlite-v2", "ms-ssim"):
        path = SCORE.format("ddpm", metric)
        rows = json.loads((runs.folder / path).read_text())["rows"]
        told = {"LGG": ["7 show no object", "odd"], "HGG": ["odd"]}
        runs.edit(path, rows=[row | {"notes": told[row["class"]]} for row in rows])
    notes = build_table(runs.read()).notes
    assert "MS-SSIM, FD[radlite-v2] (3D-DDPM, LGG): 7 show no object" in notes
    assert "MS-SSIM, FD[radlite-v2] (3D-DDPM): odd" in notes


def test_parts_of_a_recipe_are_words_and_no_json(runs):
    entry = next(m for m in runs.contents["metrics"] if m["name"] == "ms-ssim")
    entry["recipe"] = {"uncertainty": {"method": "jackknife", "groups": 10}, "scales": [1, 2]}
    (line,) = (text for text in build_table(runs.read()).recipes if text.startswith("MS-SSIM ="))
    assert ": uncertainty (method jackknife; groups 10), scales [1, 2]." in line


def test_the_recipes_list_the_differences_from_the_paper(runs):
    recipes = build_table(runs.read()).recipes
    assert any("steps 300 (paper: 12000)" in line for line in recipes)
    assert any("one model for all classes" in line for line in recipes)


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("[paper: table 1]", "(paper: 12000)"),
        ("[ours: the paper does not say]", "(preset paper: 12000, ours)"),
        ("[code: train.py]", "(preset paper: 12000, code)"),
        ("", "(preset paper: 12000)"),  # files by older versions do not tell
    ],
)
def test_only_a_value_that_is_tagged_so_is_called_the_papers(runs, tag, told):
    for row in runs.contents["rows"]:
        if "differences" in row:
            row["differences"] = [one | {"paper_source": tag} for one in row["differences"]]
    text = " ".join(build_table(runs.read()).recipes)
    assert f"Differs from preset paper in steps 300 {told}; batch 8 (" in text


def test_numbers_among_the_facts_are_ranges_of_the_recipes_and_no_notes(runs):
    told = {"n_zero_pairs": 14, "pair_sd": None, "scheme": "a", "sd.CSF": 0.5}
    change(runs, SCORE.format("ddpm", "ms-ssim"), facts=told, notes=["win3/sc3"])
    change(runs, SCORE.format("wgan-gp", "ms-ssim"), facts={"n_zero_pairs": 0})
    table = build_table(runs.read())
    (line,) = (text for text in table.recipes if "over all rows recorded" in text)
    assert line == "MS-SSIM over all rows recorded n_pairs 1000, n_zero_pairs 0 to 14, sd.CSF 0.5."
    assert not any("n_zero_pairs" in note for note in table.notes)
    assert "MS-SSIM (3D-DDPM): win3/sc3" in table.notes


@pytest.mark.parametrize(
    "text",
    [
        "n_zero_pairs=14",
        "welch_p=0.001",
        "welch_p_CSF=0.001",
        "0.91 of the distance is the feature 'range' (generated mean 0.9, real 1)",
    ],
)
def test_a_note_is_printed_as_it_is_whatever_it_says(runs, text):
    before = build_table(runs.read()).recipes
    for metric in ("ms-ssim", "fd-radlite-v2"):
        change(runs, SCORE.format("ddpm", metric), notes=[text])
    table = build_table(runs.read())
    assert f"MS-SSIM, FD[radlite-v2] (3D-DDPM): {text}" in table.notes
    assert not any("Holm" in note or "mostly the distance" in note for note in table.notes)
    assert table.recipes == before


def test_methods_whose_distance_is_one_feature_are_named_once_with_its_largest_share(runs):
    means = {"ruling_generated_mean": 0.9, "ruling_generated_sd": 0.01}
    means |= {"ruling_real_mean": 0.99994, "ruling_real_sd": 0.0007}
    for path, share, more in (("ddpm", 0.907, means), ("wgan-gp", 0.62, {})):
        told = {"ruling_feature": "range", "ruling_share": share} | more
        change(runs, SCORE.format(path, "fd-radlite-v2"), facts=told)
    table = build_table(runs.read())
    assert [note for note in table.notes if "'range'" in note] == [
        "FD[radlite-v2] is mostly the distance of one feature, 'range'; its share, largest of all "
        "seeds: 3D-WGAN-GP 0.62 of LGG; 3D-WGAN-GP 0.62 of HGG; "
        "3D-DDPM 0.91 of LGG (generated mean 0.9 ± 0.01, real 0.9999 ± 0.0007); "
        "3D-DDPM 0.91 of HGG (generated mean 0.9 ± 0.01, real 0.9999 ± 0.0007)."
    ]
    assert not any("ruling" in line for line in table.recipes)


def test_p_values_of_equal_means_are_corrected_for_the_classes_of_a_row(runs):
    path = runs.folder / SCORE.format("ddpm", "ms-ssim")
    record = json.loads(path.read_text())
    for row, p in zip(record["rows"], (0.04, 0.01), strict=True):
        row["facts"] = {"welch_p": p}
    path.write_text(json.dumps(record))
    (note,) = (n for n in build_table(runs.read()).notes if "Holm" in n)
    assert "Holm over the 2 tests of a row" in note
    assert "3D-DDPM LGG 0.04, HGG 0.02." in note
    told = {"welch_p.CSF": 0.004, "welch_p.grey": 0.5, "welch_p.odd": 7, "welch_pair": 0.001}
    change(runs, SCORE.format("ddpm", "ms-ssim"), facts=told)
    (note,) = (n for n in build_table(runs.read()).notes if "Holm" in n)
    assert "over the 4 tests" in note  # 7 is no p-value
    assert "3D-DDPM CSF LGG 0.016, grey LGG 1.0, CSF HGG 0.016, grey HGG 1.0." in note


BAD = {"cases": {"c1": ["seg is missing"], "c2": ["cut"]}, "others": {"LGG/x": ["?"]}, "total": 9}


def test_real_cases_that_were_left_out_are_counted_in_every_table_and_named_in_none(classified):
    whole = [
        build_table(classified.read()),
        *build_downstream_tables(study(classified.read(), DEFAULT_TEST)),
    ]
    assert "left out as unusable" not in str(whole)
    classified.contents["dataset"]["left_out"] = BAD
    experiment = classified.read()
    for table in (
        build_table(experiment),
        *build_downstream_tables(study(experiment, DEFAULT_TEST)),
    ):
        assert "01234567 (2 of 9 cases left out as unusable), Cerebench" in table.caption
        assert "c1" not in str(table)
    for table in (
        build_table(experiment),
        build_downstream_tables(study(experiment, DEFAULT_TEST))[0],
    ):
        (note,) = (n for n in table.notes if "--skip-bad" in n)
        assert note.startswith("2 of 9 cases were left out because they cannot be used")
        assert "besides 1 that are no cases" in note
    for rows in frames(experiment):
        assert set(rows["left_out"]) == {"2 of 9 cases"}
    assert "(2 of 9 cases left out as unusable)" in provenance(experiment.contents)


@pytest.mark.parametrize(("headers", "option"), [("image", "--same-axes"), ("own", "--trust-")])
def test_a_table_says_whose_headers_held(runs, headers, option):
    assert not any("Axes: " in note for note in build_table(runs.read()).notes)
    runs.contents["dataset"]["recipe"]["settings"]["headers"] = headers
    (note,) = (n for n in build_table(runs.read()).notes if n.startswith("Axes: "))
    assert option in note


def test_an_experiment_without_a_banner_has_none(runs):
    runs.contents["banner"] = None
    assert build_table(runs.read()).banner == ""


def test_times_of_different_devices_are_called_incomparable(runs):
    runs.edit("ddpm-quick-89abcdef/seed-0/train/LGG/record.json", device="cuda")
    assert any("do not compare" in line for line in build_table(runs.read()).recipes)


def test_one_model_for_all_classes_answers_for_each(runs):
    cell = runs.contents["rows"][2]["cells"][0]
    cell["train"] = {"all": cell["train"]["LGG"]}
    table = build_table(runs.read())
    texts = [cells(table, "train-seconds", block)["3D-DDPM"].text for block in (0, 1)]
    assert texts == ["100.0 s", "100.0 s"]


def cost(runs, name, label, block=0):
    table = build_table(runs.read())
    cell = cells(table, name, block)[label]
    return cell.text, table.footnotes[cell.mark - 1] if cell.mark else ""


def test_every_cost_of_a_method_has_a_column(runs):
    texts = {
        "train-seconds": "100.0 s",
        "train-cpu-seconds": "3.0 min",
        "peak-mib": "812",
        "device": "cpu, bf16",
        "parameters": "1.5 M",
        "sample-seconds": "0.0500",
        "clip-fraction": "0.0100",
    }
    told = [cost(runs, name, "3D-WGAN-GP") for name in texts]
    assert told == [(text, "") for text in texts.values()]
    failed = "failed: train LGG: out of memory at 128³"
    assert cost(runs, "peak-mib", "3D-α-WGAN") == cost(runs, "device", "3D-α-WGAN") == ("—", failed)
    assert cost(runs, "device", "mine_v2 & co") == ("—", "not recorded")
    told = build_table(runs.read()).recipes
    assert any("a running average of them is not counted again" in line for line in told)


def test_records_that_tell_no_cpu_time_have_a_dash_and_no_column_where_none_tells(runs):
    old = {"cpu_seconds": None, "cores": None, "other_cores": None}
    for name in ("LGG", "HGG"):
        runs.edit(f"ddpm-quick-89abcdef/seed-0/train/{name}/record.json", **old)
    reason = "an older version did not measure it"
    text, note = cost(runs, "train-cpu-seconds", "3D-DDPM")
    assert text == "—"
    assert reason in note
    assert cost(runs, "train-cpu-seconds", "3D-WGAN-GP") == ("3.0 min", "")
    for name in ("LGG", "HGG"):
        runs.edit(f"wgan-gp-quick-89abcdef/seed-0/train/{name}/record.json", **old)
    runs.edit("broken-quick-89abcdef/seed-0/train/HGG/record.json", **old)
    assert not [c for c in build_table(runs.read()).columns if c.metric == "train-cpu-seconds"]


def test_devices_of_seeds_stand_side_by_side(three_seeds):
    path = "ddpm-quick-89abcdef/seed-1/train/LGG/record.json"
    three_seeds.edit(path, device="cuda", precision="fp32")
    assert cost(three_seeds, "device", "3D-DDPM") == ("cpu, bf16 / cuda, fp32", "")


def test_the_sampler_column_says_what_the_configuration_sets(runs):
    assert cost(runs, "sampler", "3D-DDPM") == ("dpmpp 25", "")
    for label in ("3D-WGAN-GP", "3D-α-WGAN", "mine_v2 & co"):
        assert cost(runs, "sampler", label) == ("—", "")
    path = "ddpm-quick-89abcdef/seed-0/cell.json"
    runs.edit(path, config={"sampler": "ddpm", "sampler_steps": 250})
    assert cost(runs, "sampler", "3D-DDPM", block=1) == ("ddpm 250", "")
    runs.edit(path, config={"steps": 300})
    assert not [c for c in build_table(runs.read()).columns if c.metric == "sampler"]


def test_warnings_of_a_training_are_footnotes_of_its_time(runs):
    path = "wgan-gp-quick-89abcdef/seed-0/train/HGG/record.json"
    runs.edit(path, warnings=["samples look alike", "so do\nbatches"])
    note = "training warned: samples look alike; training warned: so do batches"
    assert cost(runs, "train-seconds", "3D-WGAN-GP", block=1) == ("2.5 min", note)
    assert cost(runs, "train-seconds", "3D-WGAN-GP", block=0) == ("100.0 s", "")


def test_warnings_of_several_seeds_name_them_beside_seeds_that_are_missing(three_seeds):
    for seed in (0, 1):
        path = f"wgan-gp-quick-89abcdef/seed-{seed}/train/HGG/record.json"
        three_seeds.edit(path, warnings=["samples look alike"])
    text, note = cost(three_seeds, "train-seconds", "3D-WGAN-GP", block=1)
    assert text == "2.5 min"
    assert note == (
        "2 of 3 seeds; seed 2 failed: train HGG: loss is NaN at step 12; "
        "training of seed 0, 1 warned: samples look alike"
    )


def test_repeated_labels_are_told_apart(runs):
    rows = runs.contents["rows"]
    rows.append(rows[1] | {"preset": "lite"})
    labels = [row.label for row in build_table(runs.read()).blocks[0].rows]
    assert {"3D-WGAN-GP (quick)", "3D-WGAN-GP (lite)"} <= set(labels)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 400])
def test_panels_fit_the_width_keep_every_column_and_do_not_part_fd_from_kid(runs, width):
    table = build_table(runs.read())
    parts = panels(table, width)
    assert [i for part in parts for i in part] == list(range(len(table.columns)))
    label = max(len(row.label) for row in table.blocks[0].rows)
    assert all(label + sum(column_width(table, i) + 2 for i in part) <= width for part in parts)
    fd, kid = column(table, "fd-radlite-v2"), column(table, "kid-radlite-v2")
    assert any(fd in part and kid in part for part in parts)


def test_texts_from_records_become_printable_lines(runs):
    runs.contents["rows"][1]["label"] = "a\x1b[31m\nb"
    assert build_table(runs.read()).blocks[0].rows[1].label == "a [31m b"


def test_a_floor_of_fewer_volumes_than_the_methods_is_no_floor(runs):
    assert not any("no floor for the others" in note for note in build_table(runs.read()).notes)
    for path in runs.folder.glob("_real/score/real-heldout/*.json"):
        change(runs, path.relative_to(runs.folder), n_generated=9)
    notes = build_table(runs.read()).notes
    assert any("real, held out: only 9 of LGG, 9 of HGG, where methods have 64" in n for n in notes)
    assert not any("below the real-vs-real floor" in note for note in notes)


def test_a_cell_with_one_of_two_seeds_keeps_the_error_of_its_volumes(tmp_path, runs):
    two = type(runs)(tmp_path / "two", seeds=(0, 1))
    two.method("wgan-gp", "3D-WGAN-GP")
    two.method("ddpm", "3D-DDPM")
    two.fail("ddpm-quick-89abcdef/seed-1/train/LGG/record.json", "out of memory")
    table = build_table(two.read())
    cell = cells(table, "mmd2-kwon")["3D-DDPM"]
    assert cell.text == "1.590 ± 0.010"
    told = "1 of 2 seeds; seed 1 failed: train LGG: out of memory"
    assert table.footnotes[cell.mark - 1] == told


def test_settings_that_a_user_changed_stand_beside_the_preset(runs):
    changed = {"setting": "steps", "value": 15, "paper": 12000, "source": "[user: --set]"}
    runs.contents["rows"][1]["differences"] = [changed]
    assert "preset quick (3D-WGAN-GP with steps 15);" in build_table(runs.read()).caption
    for row in runs.contents["rows"]:
        if row["kind"] == "method":
            row["differences"] = [changed]
    assert "preset quick with steps 15;" in build_table(runs.read()).caption
