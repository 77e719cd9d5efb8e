"""The table of the downstream protocols: how well classifiers do with each generator's volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np

from cerebench.reports.formatting import DASH, duration, plain
from cerebench.reports.statistics.classification import METRICS
from cerebench.reports.statistics.contrast import LEAST_SEEDS, Contrast
from cerebench.reports.statistics.generators import LEAST_CASES, error, too_few
from cerebench.reports.statistics.results import Result
from cerebench.reports.tables import downstream_comparison
from cerebench.reports.tables.downstream_comparison import TITLE
from cerebench.reports.tables.downstream_notes import bold, caption, data_notes
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.notes import BOLD, changed, of_data
from cerebench.reports.tables.table import Column, Table, TableBlock, TableCell, TableRow, explain
from cerebench.reports.values import shuffled
from cerebench.reports.values.downstream import ProtocolResults
from cerebench.reports.values.study import Study

WITHOUT = "Baselines and controls"
LABELS = dict(zip(METRICS, ("AUC", "F1", "accuracy", "precision", "recall"), strict=True))


def build_downstream_tables(study: Study) -> list[Table]:
    """Build the table of results and, where there is a reference, that of comparisons."""
    tables = [_results(study)]
    if study.experiments and study.experiment.contents.reference:
        tables.append(downstream_comparison.build_comparison_table(study))
    return tables


def _results(study: Study) -> Table:
    footnotes = Footnotes()
    columns = [Column(label, "mean ± se", "metrics", name) for name, label in LABELS.items()]
    columns += [
        Column("AUC", "[95 %]", "interval", "auc"),
        Column("AUC", "stage 1", "stage", "auc"),
        Column("runs", "", "n"),
        Column("training", "time", "cost"),
    ]
    blocks = []
    for block in study.experiments:
        rows = _rows(study, footnotes, [(block, row) for row in block.results], compete=True)
        blocks.append(TableBlock(block.label, ("",) * len(columns), tuple(rows)))
    if study.others:
        rows = list(_rows(study, footnotes, study.others, compete=False))
        rows.sort(key=lambda row: row.role == "control")
        blocks.append(TableBlock(WITHOUT, ("",) * len(columns), tuple(rows)))
    shown = [result for block in study.blocks for result in block.results]
    return Table(
        title=TITLE,
        banner=study.banner,
        caption=caption(study, shown),
        columns=tuple(columns),
        blocks=tuple(blocks),
        footnotes=footnotes.texts,
        notes=tuple(_reading(study, shown)),
        brief=tuple(_reading(study, shown, whole=False)),
        methods=(),
        recipes=tuple(_recipes(study)),
    )


def _rows(
    study: Study,
    footnotes: Footnotes,
    listed: Sequence[tuple[ProtocolResults, Result]],
    *,
    compete: bool,
) -> Iterator[TableRow]:
    leaders = {m: study.best(listed, m) if compete else (None, None) for m in METRICS}
    for block, result in listed:
        cells = [score(footnotes, result, metric, *leaders[metric]) for metric in METRICS]
        cells += [_interval(result), _early(result), TableCell(str(len(result.runs)))]
        cells += [TableCell(DASH if result.seconds is None else duration(result.seconds))]
        role = "control" if block.role == "control" else "method"
        yield TableRow(study.label(block, result), role, tuple(cells))


def score(
    footnotes: Footnotes,
    result: Result,
    metric: str,
    best: Result | None,
    second: Result | None,
) -> TableCell:
    """Return mean ± standard error over patients and seeds, or a dash with the reason."""
    if not result.runs:
        return TableCell(DASH, mark=footnotes.mark(explain(result.missing, result.asked)))
    if (lost := int(np.isnan(result.values(metric)).sum())) > 0:
        reason = (
            f"{metric} does not exist in {lost} of {len(result.runs)} runs: no case is called so"
        )
        return TableCell(DASH, mark=footnotes.mark(reason))
    spread = error(result, metric)
    constant = result.one_class * (metric != "auc")
    sure = "" if spread is not None or constant else "no error: no test case or run changes it"
    return TableCell(
        mean(fmean(result.values(metric)), spread),
        bold=result is best,
        mark=footnotes.mark(result.stage, constant, sure, _incomplete(result)),
        second=result is second,
    )


def mean(value: float, spread: Contrast | None) -> str:
    """Return a share ± error with three decimals, finer than cases can tell apart.

    Where ± would leave 0 to 1 both ends are given, cut there.
    """
    if spread is None:
        return f"{value:.3f}"
    low, high = value - spread.se, value + spread.se
    if low < 0 or high > 1:
        return f"{value:.3f} [{max(low, 0):.3f}, {min(high, 1):.3f}]"
    return f"{value:.3f} ± {spread.se:.3f}"


def _incomplete(result: Result) -> str:
    if not result.missing:
        return ""
    got = result.asked - len(result.missing)
    return f"{got} of {result.asked} seeds; {explain(result.missing, result.asked)}"


def _interval(result: Result) -> TableCell:
    """Return the 95 % interval of the mean AUC, cut at 0 and 1."""
    spread = error(result, "auc") if result.runs else None
    return TableCell(DASH if spread is None else _cut(spread).partition(" ")[2])


def _cut(spread: Contrast) -> str:
    low, high = spread.interval
    return f"{spread.difference:.3f} [{max(low, 0.0):.3f}, {min(high, 1.0):.3f}]"


def _early(result: Result) -> TableCell:
    """Return the AUC before fine-tuning, mean ± standard error."""
    before = result.before
    if not before.runs:
        return TableCell(DASH)
    return TableCell(mean(fmean(before.values("auc")), error(before, "auc")))


def _swapped(block: ProtocolResults) -> Iterator[str]:
    """Name the rows whose classifier ranks the classes the wrong way round after stage 1."""
    labels = []
    for row in block.results:
        if not row.before.runs or too_few(row):
            continue
        value, spread = fmean(row.before.values("auc")), error(row.before, "auc")
        if value < shuffled.CHANCE and (spread is None or spread.interval[1] < shuffled.CHANCE):
            labels.append(f"{row.label} (AUC {_cut(spread) if spread else f'{value:.3f}'})")
    if labels:
        yield (
            f"{block.label}: stage 1 taught the classes the wrong way round with the volumes of "
            f"{', '.join(labels)}: swapped labels, or real against generated where it has both."
        )


def _reading(study: Study, shown: Sequence[Result], *, whole: bool = True) -> Iterator[str]:
    """Yield what a reader must know to read the results.

    Not ``whole``: only what stands in the way of reading the numbers as they are.
    """
    yield bold(study) if whole or study.banner else BOLD
    if whole:
        yield from _errors(study, shown)
    few = min((min(r.of_class()) for r in shown if r.runs), default=LEAST_CASES)
    if few < LEAST_CASES:
        yield f"{few} test cases of a class, fewer than {LEAST_CASES}: no test, nothing bold."
    if not study.experiment.contents.reference:
        yield "No reference method, so nothing is tested: bench run --reference NAME."
    elif len(study.experiment.contents.seeds) < LEAST_SEEDS:
        yield (
            f"Fewer than {LEAST_SEEDS} generator seeds: no asterisk and no bold, since what other "
            "trainings of a generator would give is not known: bench run --seeds 3."
        )
    yield from of_data(study.experiment.contents)
    yield from data_notes(study, study.experiments)
    for block in study.experiments:
        yield from _swapped(block)
    for block in study.blocks:
        yield from shuffled.notes(block)
    if whole:
        yield from _described(study)


def _described(study: Study) -> Iterator[str]:
    """Yield what each protocol trains on, and what it left to read."""
    for block in study.blocks:
        yield f"{block.label}: {block.description}"
    for block in study.blocks:
        for result in block.results:
            yield from (f"{block.label}, {result.label}: {note}" for note in result.notes)


def _errors(study: Study, shown: Sequence[Result]) -> Iterator[str]:
    """Yield what errors leave out, and in which steps accuracy moves."""
    few_seeds = len(study.experiment.contents.seeds) < 2
    yield (
        "± leaves out which real cases fine-tune and validate"
        + (
            ", and with one seed what another training of the generator would give; it then holds "
            "the repeats of the classifier"
            if few_seeds
            else ""
        )
        + ". [from, to]: mean − and + its error where that would leave 0 to 1. [95 %]: its "
        "interval. Stage 1: before fine-tuning."
    )
    sizes = {len(result.ids) for result in shown if result.runs}
    for n in sorted(sizes):
        yield (
            f"With {n} test cases accuracy moves in steps of {1 / n:.2g}: rows less than "
            f"{2 / n:.2g} apart differ by fewer than 2 cases a run."
        )


def _recipes(study: Study) -> Iterator[str]:
    """Yield source, preset and differences of every protocol."""
    for block in study.blocks:
        text = f"{block.label} = {block.name} ({block.source}), preset {block.preset}."
        if block.differences:
            text += f" {changed(block.differences)}"
            text += "".join(
                f" The network {plain(d.value)} is not the paper's: {plain(_reason(d.source))}."
                for d in block.differences
                if d.setting == "network"
            )
        yield text


def _reason(source: str) -> str:
    """Return what a provenance tag says, without brackets and kind."""
    return source.strip("[]").partition(": ")[2]
