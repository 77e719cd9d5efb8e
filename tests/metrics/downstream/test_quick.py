"""The quick preset measures something: on phantoms that played no part in choosing it.

It was chosen on the phantoms with numbers 1 to 2700; those of this file begin at 6001,
since 5001 to 5700 were looked at for an earlier choice.
"""

import numpy as np
import pytest

from cerebench.core.statistics import auc
from cerebench.datasets.phantom import Phantom
from cerebench.metrics.downstream.base import Cases, Material
from cerebench.metrics.downstream.controls import RealOnly

FIRST, TRAIN, TEST, SEEDS = 6001, 100, 200, 5
GENERATED = 64  # volumes of each class, as many as the quickstart draws


@pytest.fixture(scope="module")
def phantoms():
    """Return ``cases(first, count)`` of both classes at 32^3; each is drawn once."""
    last = FIRST + SEEDS * TRAIN + TEST
    dataset = Phantom(32, rule={"train": last, "test": 1})
    known = {case.id: case for case in dataset.cases()}
    drawn = {}

    def cases(first, count):
        ids = tuple(
            f"phantom-{name}-{number:04d}"
            for name in ("LGG", "HGG")
            for number in range(first, first + count)
        )
        for name in ids:
            if name not in drawn:
                drawn[name] = dataset.load(known[name]).volume
        volumes = np.stack([drawn[name] for name in ids])
        return Cases(volumes, np.repeat([0, 1], count).astype(np.int64), ids, ids)

    return cases


@pytest.fixture
def given(phantoms):
    """Return ``material(seed)``: training cases of the seed, held-out ones as generated volumes."""

    def material(seed):
        other = FIRST + (seed + 1) % SEEDS * TRAIN  # what trains with the next seed
        return Material(
            development=phantoms(FIRST + seed * TRAIN, TRAIN),
            test=phantoms(FIRST + SEEDS * TRAIN, TEST),
            synthetic=phantoms(other, GENERATED),
            classes=("LGG", "HGG"),
            seed=seed,
        )

    return material


@pytest.mark.slow
def test_real_cases_alone_teach_the_quick_classifier(given, configured, trainer, tmp_path):
    areas = []
    for seed in range(SEEDS):
        data = given(seed)
        fresh = type(trainer)(tmp_path / str(seed))
        outcome = configured(RealOnly, "quick").run(data, fresh)
        areas += [[auc(data.test.labels, repeat.predictions) for repeat in outcome.repeats]]
    print(f"\nreal-only, AUC of seeds and repeats: {np.round(areas, 3).tolist()}")  # noqa: T201
    assert np.mean(areas) >= 0.75
