"""The table that compares every row of a downstream protocol with the reference method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cerebench.reports.formatting import DASH, number, probability, span
from cerebench.reports.statistics.comparison import TESTS, Verdict
from cerebench.reports.statistics.contrast import LEAST_SEEDS, SIGNIFICANT
from cerebench.reports.statistics.results import Result
from cerebench.reports.statistics.significance import Test
from cerebench.reports.tables.downstream_notes import caption
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.table import Column, Table, TableBlock, TableCell, TableRow, explain
from cerebench.reports.values.study import Study

TITLE = "Downstream classification"
LABELS = {"auc": "AUC", "f1": "F1", "accuracy": "accuracy"}  # the CSV file has all metrics
FEW_RUNS = 5  # below which a t test over runs finds only very large differences; metrics.md 9.2
BETTER, WORSE = "*↑", "*↓"


def build_comparison_table(study: Study) -> Table:
    """Build the table; the experiment has a reference and protocols that compare generators."""
    footnotes = Footnotes()
    columns = []
    for metric, label in LABELS.items():
        columns += [Column(label, "difference [95 %]", metric, metric)]
        columns += [Column(label, "p, generators", metric, metric)]
        if _beside(study, metric):
            alone = "patients" if TESTS[study.test][1] else "runs"
            columns += [Column(label, f"p, {alone} alone", metric, metric)]
    controls = [row for block, row in study.others if block.role == "control"]
    blocks, made = [], []
    for block in study.experiments:
        rows = []
        for row in [row for family in study.families(block) for row in family]:
            cells = []
            for metric in LABELS:
                claim = study.verdicts(block, metric)[row]
                cells += _claim(footnotes, claim, row)
                made.append(claim)
                if _beside(study, metric):
                    other = study.verdicts(block, metric, study.test)[row]
                    cells.append(TableCell(p_value(other)))
                    made.append(other)
            role = "control" if row in controls else "method"
            rows.append(TableRow(study.label(block, row), role, tuple(cells)))
        blocks.append(TableBlock(block.label, ("",) * len(columns), tuple(rows)))
    reference = next(filter(None, (study.reference(b) for b in study.experiments)), None)
    name = reference.label if reference else study.experiment.contents.reference
    shown = [r for b in study.experiments for r in b.results]
    return Table(
        title=f"{TITLE}: difference from {name}",
        banner=study.banner,
        caption=f"{caption(study, shown, means=False)} {tested_by(made)}",
        columns=tuple(columns),
        blocks=tuple(blocks),
        footnotes=footnotes.texts,
        notes=tuple(_judging(study, [verdict.test for verdict in made if verdict.test])),
        methods=(),
        recipes=(),
    )


def _beside(study: Study, metric: str) -> bool:
    return study.test != "delong" or metric == "auc"


def _claim(footnotes: Footnotes, verdict: Verdict, row: Result) -> Iterator[TableCell]:
    """Yield the difference of the means over runs, and p of the test of generators."""
    test = verdict.test
    if test is not None and test.low is not None and test.high is not None:
        ends = f"[{_fixed(test.low)}, {_fixed(test.high)}]"
        yield TableCell(f"{_fixed(test.difference)} {ends}")
        yield TableCell(significance(verdict))
        return
    reason = verdict.reason if row.runs else explain(row.missing, row.asked)
    apart = verdict.difference
    yield TableCell(DASH if apart is None else _fixed(apart), mark=footnotes.mark(reason))
    yield TableCell(DASH)


def _fixed(difference: float) -> str:
    """Return a difference with as many decimals as every other."""
    return number(difference, places=3)


def p_value(verdict: Verdict) -> str:
    """Return the corrected p, or a dash."""
    return DASH if verdict.p is None else probability(verdict.p)


def significance(verdict: Verdict) -> str:
    """Return the corrected p of a claim with the mark of its direction where it is below 0.05."""
    return p_value(verdict) + asterisk(verdict)


def asterisk(verdict: Verdict) -> str:
    """Return the mark of a claim: ``*↑`` better than the reference, ``*↓`` worse, or nothing."""
    if verdict.test is None or verdict.p is None or verdict.p >= SIGNIFICANT:
        return ""
    return BETTER if verdict.test.difference > 0 else WORSE


def tested_by(verdicts: Iterable[Verdict]) -> str:
    """Say how rows are tested against the reference, and in families of how many tests, if any."""
    families = [verdict.family for verdict in verdicts if verdict.test]
    if not families:
        return "No row could be tested against the reference."
    return (
        "Differences are of means over runs. Test of generators: t over seeds and test patients "
        "joined, two-sided; p corrected by Holm within each family: one metric of one experiment, "
        f"generators or rows without one ({span(families)} tests each)."
    )


def marks_of(reference: str) -> str:
    """Say what an asterisk means, and when there is none."""
    return (
        f"{BETTER} better, {WORSE} worse than {reference}: p < {SIGNIFICANT} by the test of "
        f"generators after Holm; none below {LEAST_SEEDS} generator seeds."
    )


def _judging(study: Study, tests: Sequence[Test]) -> Iterator[str]:
    """Yield what a reader must know to judge the tests."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for test in tests:
        sizes.setdefault((test.name, test.unit), []).append(test.n)
    for (name, unit), n in sizes.items():
        groups = " in the smaller group" * (unit in ("runs", "seeds"))
        yield f"{name}: n = {span(n)} {unit}{groups}."
    yield marks_of("the reference")
    words, over_cases = TESTS[study.test]
    beside = (
        "the classifiers that were trained, whatever other trainings of the generators would give"
        if over_cases
        else "runs on one test set, whichever patients it holds"
    )
    yield f"Beside it, without a mark: {words} of means over runs, which judges {beside}."
    runs = [n for (_, unit), all_n in sizes.items() if unit == "runs" for n in all_n]
    if runs and min(runs) < FEW_RUNS:
        yield f"n = {span(runs)} runs: low power."
