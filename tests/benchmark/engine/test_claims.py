"""A stage has one owner at a time, whatever dies, sleeps or wakes up."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cerebench.benchmark.engine.claims import FOLDER, Claims
from cerebench.core import machine
from cerebench.core.files import json_bytes
from cerebench.core.records.claims import Claim
from cerebench.core.records.files import dump

RECORD = Path("wgan-gp/seed-0/train/all/record.json")
OTHER = Path("wgan-gp/seed-0/sample/record.json")


def claim_of(pid=1, machine="another computer", began="7", name="a"):
    return Claim(
        record=RECORD.as_posix(),
        id=name,
        host="far",
        machine=machine,
        pid=pid,
        began=began,
        utc="2026-01-01T00:00:00Z",
    )


def stem(folder):
    """Return how claims of RECORD are named: what taking one leaves."""
    with Claims(folder) as claims:
        assert claims.take(RECORD) is None
        (path,) = (folder / FOLDER).iterdir()
        return path.name.rpartition(".")[0]


def put(folder, claim, generation=0, age=0.0):
    path = folder / FOLDER / f"{stem(folder)}.{generation}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(json_bytes(dump(claim)) if claim else b"")
    os.utime(path, (time.time() - age,) * 2)
    return path


def dead_process():
    """Return the number of a process that has ended, and when it began."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = machine.began(child.pid)
    child.communicate(b"\n")
    return child.pid, began


def test_a_stage_has_one_owner_and_others_learn_who(tmp_path):
    with Claims(tmp_path) as one, Claims(tmp_path) as two:
        assert one.take(RECORD) is None
        owner = two.take(RECORD)
        assert (owner.pid, owner.record) == (os.getpid(), RECORD.as_posix())
        assert two.taken(owner)
        assert two.take(OTHER) is None
        assert [c.record for c in two.others()] == [RECORD.as_posix()]
        assert one.held(RECORD)
        assert not two.held(RECORD)
        one.free(RECORD)
        assert not two.taken(owner)
        assert two.take(RECORD) is None


def test_nothing_stays_when_the_last_process_has_ended(tmp_path):
    with Claims(tmp_path) as one:
        one.take(RECORD)
        one.take(OTHER)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_of_this_computer_is_succeeded_at_once(tmp_path):
    pid, began = dead_process()
    put(tmp_path, claim_of(pid, machine.system(), began))
    with Claims(tmp_path) as claims:
        assert claims.take(RECORD) is None
        assert claims.held(RECORD)


def test_a_process_that_has_the_number_of_a_dead_one_is_another(tmp_path):
    put(tmp_path, claim_of(os.getpid(), machine.system(), began="1"))
    with Claims(tmp_path) as claims:
        assert claims.take(RECORD) is None


def test_a_dead_process_that_nobody_has_collected_is_dead(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = machine.began(child.pid)
    assert machine.lives(machine.system(), child.pid, began)
    child.kill()
    deadline = time.monotonic() + 10
    while machine.lives(machine.system(), child.pid, began):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.wait()


@pytest.mark.parametrize(("age", "free"), [(200.0, False), (400.0, True)])
@pytest.mark.parametrize("claim", [claim_of(), None], ids=["whole", "half written"])
def test_a_process_of_another_computer_is_dead_when_its_stamp_is_old(tmp_path, age, free, claim):
    put(tmp_path, claim, age=age)
    with Claims(tmp_path) as claims:
        assert len(list(claims.others())) == (not free)
        assert (claims.take(RECORD) is None) == free


def test_time_is_that_of_the_file_server(tmp_path, monkeypatch):
    put(tmp_path, claim_of(), age=200.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)  # this computer's clock is wrong
    with Claims(tmp_path) as claims:
        assert claims.take(RECORD) is not None


def test_the_owner_renews_its_stamp(tmp_path):
    with Claims(tmp_path, heartbeat=0.05) as claims:
        claims.take(RECORD)
        (path,) = (tmp_path / FOLDER).iterdir()
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_was_taken_for_dead_learns_it_and_publishes_nothing(tmp_path):
    with Claims(tmp_path, heartbeat=0.05) as sleeper:
        sleeper.take(RECORD)
        assert sleeper.held(RECORD)
        (own,) = (tmp_path / FOLDER).iterdir()
        own.with_suffix(".1").write_bytes(json_bytes(dump(claim_of())))
        assert not sleeper.held(RECORD)
        own.unlink()
        deadline = time.monotonic() + 10
        while not sleeper.lost():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        sleeper.free(RECORD)
        assert own.with_suffix(".1").exists()  # what another owns stays


def test_who_takes_over_steps_back_where_a_stranger_has_appeared(tmp_path, monkeypatch):
    """Between a look and the creation of the next generation all may have begun anew."""
    pid, began = dead_process()
    old = put(tmp_path, claim_of(pid, machine.system(), began, "old"))
    fresh = claim_of(os.getpid(), machine.system(), machine.began(os.getpid()), "fresh")
    with Claims(tmp_path) as late:
        create = late._create

        def slow(*arguments):
            old.write_bytes(json_bytes(dump(fresh)))  # succeeded, done, freed, and taken anew
            return create(*arguments)

        monkeypatch.setattr(late, "_create", slow)
        assert late.take(RECORD).id == "fresh"
        assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_claims_and_files_that_dead_processes_left_go_with_the_last_process(tmp_path):
    pid, began = dead_process()
    old = put(tmp_path, claim_of(pid, machine.system(), began, "old"))
    part = old.with_name(f".claim.json.{machine.mark()}-{pid}-0a.part")
    part.touch()
    with Claims(tmp_path) as other:
        assert other.take(Path("another/record.json")) is None
    assert not old.parent.exists()


WORKER = """
import os, sys, time
from pathlib import Path
from cerebench.benchmark.engine.claims import Claims
folder, tasks = Path(sys.argv[1]), int(sys.argv[2])
with Claims(folder) as claims:
    while True:
        open_tasks = [n for n in range(tasks) if not (folder / f"done-{n}").exists()]
        if not open_tasks:
            break
        for n in open_tasks:
            record = Path(f"task-{n}/record.json")
            if claims.take(record) is not None:
                continue
            if not (folder / f"done-{n}").exists():
                with (folder / "attempts").open("a") as log:
                    log.write(f"{n}\\n")
                time.sleep(0.005)
                if claims.held(record):
                    with (folder / "published").open("a") as log:
                        log.write(f"{n}\\n")
                    (folder / f"done-{n}").touch()
            claims.free(record)
"""


def test_eight_workers_and_random_kills_publish_each_task_once(tmp_path):
    """Killed between its publication and its mark, a task may be published twice: never by two."""
    tasks, kills, generator = 200, 0, random.Random(5)
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(tasks)]
    workers = [subprocess.Popen(command) for _ in range(8)]
    deadline = time.monotonic() + 240
    while len(list(tmp_path.glob("done-*"))) < tasks:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        if kills < 20 and (tmp_path / "attempts").exists():
            victim = generator.randrange(8)
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = subprocess.Popen(command)
            kills += 1
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 8
    attempts = (tmp_path / "attempts").read_text().splitlines()
    published = (tmp_path / "published").read_text().splitlines()
    assert set(published) == {str(n) for n in range(tasks)}
    assert len(attempts) <= tasks + kills
    assert len(published) <= tasks + kills
    assert not (tmp_path / FOLDER).exists()
