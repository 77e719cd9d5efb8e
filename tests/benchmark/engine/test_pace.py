"""Where a run is, and what is left of it by what its stages took."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cerebench.benchmark.display import Left
from cerebench.benchmark.engine import pace, store
from cerebench.benchmark.engine.pace import Pace
from cerebench.benchmark.engine.stage import Stage
from cerebench.core.hashing import key_of
from cerebench.core.records import scored  # whose kinds stages have
from cerebench.core.records.trained import SampleRecord

assert scored


@pytest.fixture
def now(monkeypatch):
    """Return the time, as a list of one number that a test sets."""
    time = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: time[0])
    return time


def row(name, *stages, seed=0):
    """Return a row of stages, given by name; those of scores are told as one."""
    folder = f"{name}-{seed}"
    return SimpleNamespace(
        name=name,
        stages=tuple(
            Stage(
                each, key_of(folder), Path(folder) / each.replace(" ", "-") / "record.json",
                lambda bench, task: None, line="score" if each.startswith("score") else "",
            )
            for each in stages
        ),
    )  # fmt: skip


CELL = ("train LGG", "train HGG", "sample", "score a", "score b")


def paced(*rows, folder=Path("nowhere"), done=()):
    stages = [stage for row in rows for stage in row.stages if stage.name not in done]
    return Pace(rows, stages, folder)


def finish(running, row, number, seconds, now, names=CELL):
    """Do a line of a row, each of its stages in so many seconds."""
    groups = [[s] for s in row.stages if not s.line] + [[s for s in row.stages if s.line]]
    told = running.begin(row.name, groups[number])
    for stage in groups[number]:
        now[0] += seconds
        running.done(stage)
    return told


def test_stages_are_counted_as_people_see_them(now):
    a, b = row("a", *CELL), row("b", *CELL)
    running = paced(a, b)
    assert running.total == 8
    assert [finish(running, a, i, 1.0, now) for i in range(4)] == ["1/8", "2/8", "3/8", "4/8"]
    assert finish(running, b, 2, 1.0, now) == "7/8"  # its trainings failed, say


def test_a_run_is_at_least_what_is_known_of_it_until_each_kind_was_seen(now):
    a, b = row("a", *CELL), row("b", *CELL)
    running = paced(a, b)
    running.begin("a", [a.stages[0]])
    at = running.position(None, whole=True)
    assert (at.run.seconds, str(at.run)) == (None, "")
    now[0] += 10.0
    # 30 s of this training and 40 of each of the three others; sampling and scores are not known.
    assert running.position(30.0, whole=True).run == Left(30.0 + 3 * 40, least=True)
    assert running.position(30.0, whole=True).stage == Left(30.0)
    now[0] += 90.0
    running.done(a.stages[0])
    finish(running, a, 1, 50.0, now)
    finish(running, a, 2, 5.0, now)
    finish(running, a, 3, 3.0, now)
    running.begin("b", [b.stages[0]])
    at = running.position(None, whole=True)
    assert (at.number, at.total, at.elapsed) == (5, 8, 161.0)
    assert at.run == Left(75.0 + 75.0 + 5.0 + 6.0)
    now[0] += 20.0
    # Its own speed holds for it and for its other class.
    assert running.position(180.0, whole=True).run == Left(180.0 + 200.0 + 5.0 + 6.0)


def test_a_method_is_expected_to_take_what_it_took_not_what_others_took(now):
    a, b, again = row("a", *CELL), row("b", *CELL), row("b", *CELL, seed=1)
    running = paced(a, b, again)
    for number in range(4):
        finish(running, a, number, 10.0, now)
    for number in range(4):
        finish(running, b, number, 100.0, now)
    running.begin("b", [again.stages[0]])
    assert running.position(None, whole=True).run == Left(5 * 100.0)


def test_of_several_stages_told_as_one_each_has_its_own_time(now):
    a, b = row("a", *CELL), row("b", *CELL)
    running = paced(a, b)
    for number in range(3):
        finish(running, a, number, 1.0, now)
    scores = list(a.stages[3:])
    running.begin("a", scores)
    now[0] += 100.0
    running.done(scores[0])
    now[0] += 2.0
    # Of the second nothing is known but how long another of its kind took.
    assert running.position(102.0, whole=True).stage == Left(98.0)
    running.done(scores[1])
    running.begin("b", list(b.stages[3:]))
    now[0] += 30.0
    assert running.position(None, whole=True).stage == Left(70.0 + 2.0)


def test_a_part_of_a_stage_is_the_least_of_it_until_the_same_was_done(now):
    a = row("a", *CELL)
    running = paced(a)
    running.begin("a", [a.stages[0]])
    now[0] += 10.0
    assert running.position(20.0, whole=False).stage == Left(20.0, least=True)
    now[0] += 90.0
    running.done(a.stages[0])
    running.begin("a", [a.stages[1]])
    now[0] += 10.0
    assert running.position(20.0, whole=False).stage == Left(90.0)
    now[0] += 85.0
    assert running.position(20.0, whole=False).stage == Left(20.0)


def test_what_failed_tells_nothing_of_time_and_what_needs_it_is_passed_over(now):
    a, b = row("a", *CELL), row("b", *CELL)
    running = paced(a, b)
    running.begin("a", [a.stages[0]])
    now[0] += 1.0
    running.done(a.stages[0], failed=True)
    assert running.begin("b", [b.stages[0]]) == "5/8"
    assert running.position(None, whole=True).run == Left(None, least=True)


def test_a_stage_that_was_undone_on_the_way_is_counted_too(now):
    a = row("a", *CELL)
    running = paced(a, done=("sample",))
    assert running.total == 3
    finish(running, a, 1, 1.0, now)
    assert running.begin("a", [a.stages[2]]) == "3/4"


def test_rows_of_equal_settings_share_their_stages_which_count_once(now):
    a = row("a", *CELL)
    assert paced(a, SimpleNamespace(name="variant", stages=a.stages)).total == 4


def test_records_of_earlier_runs_tell_what_their_stages_took(now, tmp_path):
    a, b = row("a", *CELL), row("b", *CELL)
    sampled = a.stages[2]
    record = SampleRecord(
        seconds=77.0, seconds_per_sample=1.0, peak_mib=1.0, device="cpu", n={"LGG": 0},
        clip_fraction={}, foreground={}, files={},
    )  # fmt: skip
    store.write_record(tmp_path / sampled.record, sampled.key, record)
    todo = [stage for row in (a, b) for stage in row.stages if stage != sampled]
    running = Pace([a, b], todo, tmp_path)
    running.begin("b", [b.stages[2]])
    assert running.position(None, whole=True).stage == Left(77.0)


def test_a_training_that_was_continued_took_what_its_record_says(now):
    a = row("a", *CELL)
    running = paced(a)
    running.begin("a", [a.stages[0]])
    now[0] += 10.0
    running.done(a.stages[0], 400.0)
    running.begin("a", [a.stages[1]])
    assert running.position(None, whole=True).stage == Left(400.0)


def test_a_terminal_may_ask_between_the_end_of_a_stage_and_its_line(now):
    a = row("a", *CELL)
    running = paced(a)
    finish(running, a, 0, 10.0, now)
    at = running.position(3.0, whole=True)
    assert (at.number, at.stage) == (1, Left(0.0))
    assert at.run == Left(10.0, least=True)
