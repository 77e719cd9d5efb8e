"""How trainings went: the numbers of the table are those of the logs."""

import math

import pytest

from cerebench.reports.diagnosis.trainings import build_trainings_table, read_log


def cells(table, label, block=0):
    (row,) = [row for row in table.blocks[block].rows if row.label == label]
    return [cell.text for cell in row.cells]


def test_ends_are_means_over_a_tenth_of_the_lines(runs):
    runs.log("ddpm", "diffusion", loss=[float(i) for i in range(20)])
    table = build_trainings_table(runs.read())
    assert [block.name for block in table.blocks] == ["LGG", "HGG"]
    assert cells(table, "3D-DDPM: diffusion loss") == ["0.5", "18.5", "0", "19.0"]


def test_seeds_are_told_as_a_range(three_seeds):
    three_seeds.log("ddpm", "diffusion", loss=[2.0])
    log = "ddpm-quick-89abcdef/seed-1/train/LGG/log.jsonl"
    (three_seeds.folder / log).write_text('{"phase": "diffusion", "step": 1, "loss": 1.0}\n')
    table = build_trainings_table(three_seeds.read())
    assert cells(table, "3D-DDPM: diffusion loss")[0] == "1.0 – 2.0"
    assert cells(table, "3D-DDPM: diffusion loss", block=1)[0] == "2.0"


def test_a_loss_that_is_no_number_is_counted_and_left_out(runs):
    runs.log("ddpm", "diffusion", loss=[1.0, math.nan, 3.0])
    table = build_trainings_table(runs.read())
    (row,) = table.blocks[0].rows
    assert table.footnotes[row.cells[0].mark - 1] == "1 of 3 lines are no finite number"
    assert cells(table, "3D-DDPM: diffusion loss")[2:] == ["1.0", "3.0"]


@pytest.mark.parametrize("line", ["", "[1]", '{"phase": "a", "step": 2, "lo', "\x00"])
def test_lines_that_cannot_be_read_are_skipped(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"phase": "a", "step": 1, "loss": 4}}\n{line}\n')
    assert read_log(path) == {("a", "loss"): [4.0]}


def test_without_logs_there_is_no_table(runs):
    assert build_trainings_table(runs.read()) is None


def test_steps_warnings_and_failures_stand_below(runs):
    runs.log("ddpm", "diffusion", loss=[1.0])
    path = "ddpm-quick-89abcdef/seed-0/train/LGG/record.json"
    runs.edit(path, steps={"diffusion": 300}, volumes_seen=1200, n_train=100, warnings=["slow"])
    notes = build_trainings_table(runs.read()).notes
    told = "100 training cases, 1.2 k volumes seen in steps of diffusion 300. Warned: slow"
    assert f"3D-DDPM, LGG: {told}" in notes
    assert "3D-α-WGAN, LGG: failed: out of memory at 128³" in notes
