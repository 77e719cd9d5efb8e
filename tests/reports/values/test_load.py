"""When a machine counts as busy, and what tables say of it."""

import pytest

from cerebench.reports.tables.table import build_table
from cerebench.reports.values import load
from cerebench.reports.values.tidy import values

TRAINING = "{}-quick-89abcdef/seed-0/train/{}/record.json"


def busy(runs, **changes):
    """Say of the training of 3D-DDPM on LGG, with other facts in its record, whether it is busy."""
    runs.edit(TRAINING.format("ddpm", "LGG"), **changes)
    (timed,) = (
        v
        for v in values(runs.read())
        if (v.method, v.class_, v.metric) == ("ddpm", "LGG", "train-seconds")
    )
    return load.busy(timed.facts)


@pytest.mark.parametrize(
    ("threads", "cores", "others", "expected"),
    [
        (1, 2, 1.0, False),  # there was a core for it
        (1, 2, 1.2, True),
        (2, 2, 0.0, False),
        (2, 2, 0.19, False),
        (2, 2, 0.21, True),
        (8, 2, 0.1, False),  # more threads than cores are its own doing
        (8, 2, 0.3, True),
        (4, 64, 50.0, False),
        (4, 64, 61.0, True),
    ],
)
def test_a_machine_is_busy_where_others_leave_less_than_the_threads_can_use(
    runs, threads, cores, others, expected
):
    assert busy(runs, threads=threads, cores=cores, other_cores=others) is expected


def test_beside_a_gpu_one_core_is_enough(runs):
    assert busy(runs, device="NVIDIA H200", threads=16, cores=16, other_cores=14.0) is False
    assert busy(runs, device="NVIDIA H200", threads=16, cores=16, other_cores=15.5) is True


def test_what_is_not_known_or_too_short_to_measure_is_not_called_busy(runs):
    assert busy(runs, cores=None, other_cores=None, cpu_seconds=None) is False
    assert busy(runs, cores=2, other_cores=None) is False
    assert busy(runs, cores=2, other_cores=2.0) is True
    assert busy(runs, cores=2, other_cores=2.0, seconds=2.0) is False


def notes(runs):
    return [line for line in build_table(runs.read()).notes if "machine was busy" in line]


def test_a_busy_machine_is_a_note_that_names_rows_and_cores(runs):
    assert notes(runs) == []
    runs.edit(TRAINING.format("ddpm", "LGG"), other_cores=1.26)
    (told,) = notes(runs)
    assert told == (
        "The machine was busy while 3D-DDPM trained: other processes used 1.3 of 2 cores in 1 of 2 "
        "trainings. Training takes less time on an idle one; CPU time compares better."
    )
    for name in ("ddpm", "wgan-gp"):
        for class_ in ("LGG", "HGG"):
            runs.edit(TRAINING.format(name, class_), other_cores=0.8 if class_ == "LGG" else 1.5)
    (told,) = notes(runs)
    assert "busy while 3D-WGAN-GP, 3D-DDPM trained" in told
    assert "0.8 to 1.5 of 2 cores. " in told
