"""Whether a machine was busy with something else while a training was timed.

Other processes cost time where they leave fewer cores than the training can use. CPU time well
below wall time times threads would not tell it: a training that does not fill its threads looks
alike on an idle machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from cerebench.core.facts import Fact, is_number
from cerebench.core.records.trained import TrainRecord

CORES = "cores"  # that the process was allowed
USABLE = "usable_cores"  # of these, what the training's threads can fill
OTHERS = "other_cores"  # of these, what other processes used, on average

ENOUGH = 0.9  # share of the usable cores; with them a lack of cores costs a ninth of the time
SHORTEST = 5.0  # seconds; below, the hundredths to which systems count CPU time are too coarse


def facts(record: TrainRecord) -> dict[str, Fact | None]:
    """Return the load during a training as facts; empty where it is not known, or it was short."""
    if record.cores is None or record.other_cores is None or record.seconds < SHORTEST:
        return {}
    # Beside a GPU one thread keeps it at work.
    threads = record.threads if record.device == "cpu" else 1
    return {
        CORES: record.cores,
        USABLE: min(threads, record.cores),
        OTHERS: record.other_cores,
    }


def busy(of_training: Mapping[str, Fact | None] | None) -> bool:
    """Say whether other processes left a training less than ``ENOUGH`` of its cores."""
    cores, usable, others = (number(of_training, name) for name in (CORES, USABLE, OTHERS))
    return cores - others < ENOUGH * usable


def number(of_training: Mapping[str, Fact | None] | None, name: str) -> float:
    """Return one of the facts; 0 where it is not known."""
    value = (of_training or {}).get(name)
    return float(value) if is_number(value) else 0.0
