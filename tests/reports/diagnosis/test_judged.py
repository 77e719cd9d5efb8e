"""Marks with their numbers, and what a probe reads of the labels."""

import json

from cerebench.reports.diagnosis.judged import build_labels_table, build_marks_table
from tests.reports.conftest import metric

SIMILARITY = "wgan-gp-quick-89abcdef/seed-0/score/ms-ssim@4567cdef.json"


def test_every_row_is_told_with_the_numbers_of_its_marks_or_as_free(runs):
    rows = json.loads((runs.folder / SIMILARITY).read_text())["rows"]
    runs.edit(SIMILARITY, rows=[row | {"value": 0.95} for row in rows])
    marked, free = build_marks_table(runs.read()).notes
    assert marked.startswith("3D-WGAN-GP: under-trained: ms-ssim 0.95 (LGG) is 0.3088 from")
    assert "ms-ssim 0.95 (HGG)" in marked
    assert free == "No mark: 3D-DDPM, 3D-α-WGAN, mine_v2 & co."


def test_what_the_probe_reads_stands_beside_what_it_reads_of_real_cases(runs):
    declared = metric("class-fidelity", "class bits", better="near-real")
    runs.contents["metrics"].append(declared)
    facts = {"auc": 0.6, "balanced_accuracy": 0.55}
    facts |= {"real_auc": 0.8, "real_balanced_accuracy": 0.75}
    usual = {"view": "", "value": 0.1, "real_value": 0.2, "se": 0.1, "uncertainty": "", "notes": []}
    usual |= {"n_real": 100, "n_generated": 64, "status": "ok", "reason": ""}
    scored = [usual | {"class": name, "facts": facts} for name in ("LGG", "HGG")]
    path = "ddpm-quick-89abcdef/seed-0/score/class-fidelity@4567cdef.json"
    recipe = {"recipe": declared["recipe"], "recipe_hash": declared["recipe_hash"]}
    runs.write(path, "score", metric="class-fidelity", rows=scored, **recipe)
    row = next(row for row in runs.contents["rows"] if row["name"] == "ddpm")
    row["cells"][0]["scores"]["class-fidelity"] = path
    (block,) = build_labels_table(runs.read()).blocks
    assert block.targets == ("→ 0.8", "→ 0.75")
    assert [(row.label, *(c.text for c in row.cells)) for row in block.rows] == [
        ("3D-DDPM", "0.6", "0.55")
    ]


def test_without_the_metric_there_is_no_table_of_labels(runs):
    assert build_labels_table(runs.read()) is None
