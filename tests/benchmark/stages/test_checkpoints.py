"""Damage to a checkpoint is named and costs an interval; it never gives other weights."""

import pytest
import torch

from cerebench.benchmark.stages.checkpoints import Checkpoints


@pytest.fixture
def said():
    return []


@pytest.fixture
def checkpoints(tmp_path, said):
    return Checkpoints(tmp_path / "checkpoint", "k", said.append)


def state(step):
    return {"step": step, "weights": torch.arange(1000.0) + step}


def load(checkpoints):
    found = checkpoints.load(lambda storage, location: storage)
    return found.get("step")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def become_a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "flip": flip,
    "truncate": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "folder": become_a_folder,
}


def newest_first(folder):
    return sorted((folder / "checkpoint").iterdir(), reverse=True)


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path, checkpoints, said):
    assert load(checkpoints) is None
    for step in range(1, 13):
        checkpoints.save(state(step))
        assert load(checkpoints) == step
    assert [p.name[:15] for p in newest_first(tmp_path)] == ["state-00000012-", "state-00000011-"]
    assert said == []
    checkpoints.remove()
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_where_one_is_damaged_the_one_before_is_loaded_and_said(
    tmp_path, checkpoints, said, damage
):
    for step in (1, 2):
        checkpoints.save(state(step))
    newest, before = newest_first(tmp_path)
    DAMAGE[damage](newest)
    assert load(checkpoints) == 1
    assert said == [
        f"{newest}: this checkpoint is damaged. Training goes on from the checkpoint before it."
    ]
    checkpoints.save(state(3))
    assert before.exists()
    assert load(checkpoints) == 3


@pytest.mark.parametrize("damage", DAMAGE)
def test_where_both_are_damaged_the_training_starts_anew_and_says_so(
    tmp_path, checkpoints, said, damage
):
    for step in (1, 2):
        checkpoints.save(state(step))
    for path in newest_first(tmp_path):
        DAMAGE[damage](path)
    assert load(checkpoints) is None
    assert len(said) == 2
    assert all(line.endswith("the training starts anew.") for line in said)


def test_two_that_were_exchanged_are_not_taken_for_each_other(tmp_path, checkpoints, said):
    for step in (1, 2):
        checkpoints.save(state(step))
    newest, before = newest_first(tmp_path)
    data = newest.read_bytes()
    newest.write_bytes(before.read_bytes())
    before.write_bytes(data)
    assert load(checkpoints) is None
    assert len(said) == 2


@pytest.mark.parametrize("damage", [None, *DAMAGE])
def test_one_that_was_not_yet_named_or_is_of_an_older_version_is_read_if_it_is_whole(
    tmp_path, checkpoints, said, damage
):
    checkpoints.save(state(1))
    unnamed = tmp_path / "checkpoint" / "state.pt"
    torch.save(state(2), unnamed)
    if damage:
        DAMAGE[damage](unnamed)
    assert load(checkpoints) == (1 if damage else 2)
    assert len(said) == bool(damage)


def test_one_of_another_training_is_passed_over(tmp_path, checkpoints, said):
    Checkpoints(tmp_path / "checkpoint", "another", said.append).save(state(7))
    assert load(checkpoints) is None
    checkpoints.save(state(1))
    assert load(checkpoints) == 1
    assert said == []
