"""How often reports claim what is not so, and how often they find what is: the table of docs.

Binormal scores: every case has a difficulty that all rows share, a part that is of the generator
and one of the run; every training seed of a generator separates the classes by another amount.
The functions are those that reports call. ``python tests/reports/test_level_and_power.py`` prints
the tables of docs/statistics.md.
"""

import itertools
import sys
from statistics import fmean

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from cerebench.core.statistics import auc
from cerebench.reports.statistics.comparison import CLAIM, compare
from cerebench.reports.statistics.contrast import SIGNIFICANT
from cerebench.reports.statistics.generators import leader
from cerebench.reports.statistics.results import Result, ScoredRun
from cerebench.reports.values.summary import leader as best_cell
from cerebench.reports.values.summary import summarise
from cerebench.reports.values.tidy import Value

DRAWS = 1000
AUC = 0.78
SHIFT = 2**0.5 * ndtri(AUC)  # between classes, in standard deviations of a score
GAIN = 2**0.5 * ndtri(AUC + 0.05) - SHIFT
SHARED, OWN = 0.6, 0.2  # of the variance of a score: of the case, of case and generator
SPREAD = 0.12  # standard deviation of the separation over seeds: .025 of AUC
AHEAD = 3.0  # of a quality cell, in standard errors of one value
ROWS, CASES, SEEDS = (2, 4, 7), (25, 200), (3, 5)


def table(rng, rows, cases, seeds, gain=0.0, spread=SPREAD, behind=0.0):
    """Draw rows of one table on one test set, the reference last.

    The first is better by ``gain``; all but the first two are worse by ``behind``.
    """
    labels = (0,) * cases + (1,) * cases
    truth = np.array(labels)
    ids = tuple(f"case-{number}" for number in range(2 * cases))
    shared = SHARED**0.5 * rng.normal(size=2 * cases)
    found = []
    for row in range(rows):
        own = OWN**0.5 * rng.normal(size=2 * cases)
        runs = []
        for seed in range(seeds):
            noise = (1 - SHARED - OWN) ** 0.5 * rng.normal(size=2 * cases)
            apart = SHIFT + gain * (row == 0) - behind * (row > 1) + spread * rng.normal()
            scores = ndtr(shared + own + noise + apart * (truth - 0.5))
            runs.append(ScoredRun(seed, 0, scores, {"auc": float(auc(labels, scores))}))
        name = f"row {row}"
        facts = {"ids": ids, "patients": ids, "labels": labels}
        found.append(Result("method", name, name, tuple(runs), **facts))
    return found


def shares(rows, cases, seeds, draws=DRAWS, **how):
    """Return how often a row has an asterisk, the first one has, any is bold, the first one is."""
    rng, counts = np.random.default_rng(rows + 10 * cases + 10_000 * seeds), np.zeros(4)
    for _ in range(draws):
        found = table(rng, rows, cases, seeds, **how)
        verdicts = compare(found[:-1], found[-1], "auc", CLAIM)
        marked = [v.p is not None and v.p < SIGNIFICANT for v in verdicts.values()]
        bold = leader({row: fmean(row.values("auc")) for row in found}, "auc")
        counts += (any(marked), marked[0], bold is not None, bold is found[0])
    return counts / draws


def cell(rng, row, seeds, real, offset=0.0, better="lower", between=1.0):
    """Draw the values of one cell of an image metric, as a mean of volumes would record them.

    Args:
        rng: Draws.
        row: Its number.
        seeds: Number of values.
        real: (40,) what the real volumes add, shared by all rows; a group of the jackknife is 4.
        offset: Of all seeds.
        better: ``lower``, whose value is a distance from the real volumes, or ``near-real``, whose
            target is their mean.
        between: Standard deviation over seeds; that of a value is 1.
    """
    near, values = better == "near-real", []
    for seed in range(seeds):
        made = rng.normal(scale=40**0.5, size=40) + between * rng.normal() + offset
        own, target = ((x.sum() - x.reshape(10, 4).sum(axis=1)) / 36 for x in (made, real))
        left = {"generated": own, "real": target if near else made.mean() - target}
        left = {side: tuple(x.tolist()) for side, x in left.items()}
        squared = sum(9 * np.var(left[side]) for side in (("generated",) if near else left))
        facts = {"dataset": "d", "size": 16, "fingerprint": "f", "kind": "method", "role": ""}
        facts |= {"method": f"{row}", "label": "", "preset": "", "better": better, "row": row}
        facts |= {"real_value": real.mean()} if near else {}
        value = made.mean() - (0 if near else real.mean())
        values.append(
            Value(seed=seed, value=value, se=squared**0.5, replicates=left, n_real=40, **facts)
        )
    return summarise(values)


def bold_cells(rows, seeds, draws=DRAWS, offsets=None, better="lower"):
    """Return how often a cell of a quality table is bold, and the first one."""
    rng, counts = np.random.default_rng(rows + 100 * seeds), np.zeros(2)
    offsets = offsets or [0.0] * rows
    for _ in range(draws):
        real = rng.normal(scale=40**0.5, size=40)
        cells = {i: cell(rng, i, seeds, real, offsets[i], better) for i in range(rows)}
        found = best_cell(cells)
        counts += (found is not None, found == 0)
    return counts / draws


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("rows", ROWS)
def test_equal_generators_have_few_asterisks_and_less_bold(rows, cases, seeds):
    asterisk, _, bold, _ = shares(rows, cases, seeds)
    assert asterisk <= 0.07
    assert bold <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_the_level_holds_for_seeds_that_agree_and_for_seeds_that_do_not(spread):
    asterisk, _, bold, _ = shares(4, 25, 3, spread=spread)
    assert asterisk <= 0.07
    assert bold <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("rows", [2, 7])
def test_equal_cells_of_a_quality_table_are_seldom_bold(rows, seeds):
    assert bold_cells(rows, seeds)[0] <= 0.05


@pytest.mark.slow
def test_two_equal_rows_far_before_others_are_seldom_bold():
    assert shares(4, 25, 5, behind=3.0)[2] <= 0.05
    assert bold_cells(7, 5, offsets=[0.0, 0.0, *[30.0] * 5])[0] <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("offsets", [(0.0, 0.0), (3.0, 3.0), (3.0, -3.0), (0.5, -0.5)])
def test_rows_equally_near_the_real_value_are_seldom_bold_on_whatever_side(offsets):
    assert bold_cells(2, 5, offsets=offsets, better="near-real")[0] <= 0.05


@pytest.mark.slow
def test_a_better_generator_is_found_with_enough_cases_and_seeds():
    _, found, _, bold = shares(2, 200, 5, gain=GAIN)
    assert found > 0.5
    assert bold > 0.5


@pytest.mark.parametrize("seeds", [1, 2])
def test_below_three_seeds_nothing_is_claimed(seeds):
    assert not shares(4, 25, seeds, draws=20, gain=5.0).any()
    assert not bold_cells(2, seeds, draws=20, offsets=[0.0, 50.0]).any()


def test_what_is_plain_is_claimed():
    assert shares(2, 200, 3, draws=5, gain=5.0).all()
    assert bold_cells(2, 3, draws=5, offsets=[0.0, 50.0]).all()


def main(draws):
    """Write the tables of docs/statistics.md."""
    say("rows", "test cases", "seeds", "asterisk, all equal", "bold, all equal",
        "asterisk, first better", "bold, first better")  # fmt: skip
    say(*["---"] * 7)
    for rows, cases, seeds in itertools.product(ROWS, CASES, SEEDS):
        equal = shares(rows, cases, seeds, draws)
        better = shares(rows, cases, seeds, draws, gain=GAIN)
        told = (equal[0], equal[2], better[1], better[3])
        say(rows, f"{cases} + {cases}", seeds, *(f"{100 * share:.1f} %" for share in told))
    say("rows", "seeds", "bold, all equal", "bold, first better")
    say(*["---"] * 4)
    for rows, seeds in itertools.product(ROWS, SEEDS):
        ahead = [0.0, *[AHEAD] * (rows - 1)]
        told = (bold_cells(rows, seeds, draws)[0], bold_cells(rows, seeds, draws, ahead)[1])
        say(rows, seeds, *(f"{100 * share:.1f} %" for share in told))


def say(*cells):
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2 * DRAWS)
