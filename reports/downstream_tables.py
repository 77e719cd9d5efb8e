"""Tables of the downstream protocols: how well classifiers do, and against the reference method.

The same values and tests as tidy rows for the CSV file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from cerebench.reports.base import Experiment
from cerebench.reports.classification import METRICS, summary
from cerebench.reports.comparison import (
    DRAWS,
    LEAST_CASES,
    SIGNIFICANT,
    TESTS,
    Drawn,
    Verdict,
    check_test,
    compare,
    leader,
    resample,
    too_few,
)
from cerebench.reports.downstream import DEFAULT_TEST, SHUFFLED, Block, Result, read
from cerebench.reports.formatting import DASH, duration, like, number, plain, span
from cerebench.reports.marks import SMALL, marked_label, marks
from cerebench.reports.notes import of_data, versions
from cerebench.reports.statistics import Test, bootstrap_interval, middle
from cerebench.reports.table import Block as Rows
from cerebench.reports.table import Cell, Column, Row, Table, explain
from cerebench.reports.tidy import OK, values

if TYPE_CHECKING:
    from pandas import DataFrame

TITLE = "Downstream classification"
WITHOUT = "Baselines and controls"
LABELS = dict(zip(METRICS, ("AUC", "F1", "accuracy", "precision", "recall"), strict=True))
TESTED = ("auc", "f1", "accuracy")  # of the table; the CSV file has all
CHANCE = 0.5  # AUC of a classifier that knows nothing
FEW_RUNS = 5  # below which a t test over runs finds only very large differences; metrics.md 9.2
ALONGSIDE = "welch"  # the test over runs beside one over cases


@dataclass
class Study:
    """The protocols of an experiment, resampled once for all tables.

    Attributes:
        test: One of ``comparison.TESTS``.
        marks: Name of a row to why image metrics mark it, as in ``cerebench.reports.marks``.
        footnotes: Text to number, as collected by ``mark`` for the table at work.
    """

    experiment: Experiment
    blocks: list[Block]
    test: str
    drawn: Drawn
    marks: Mapping[str, Mapping[str, Sequence[str]]]
    footnotes: dict[str, int] = field(default_factory=dict)

    def mark(self, *texts: str) -> int:
        """Return the number of a footnote of all texts that say something; 0 if none does."""
        text = plain("; ".join(filter(None, texts)))
        return self.footnotes.setdefault(text, len(self.footnotes) + 1) if text else 0

    def label(self, block: Block, result: Result) -> str:
        """Return the label of a row with its marks behind it."""
        odd = {"unequal data": [""]} if result in unequal(self, block) else {}
        return marked_label(result.label, {**self.marks.get(result.name, {}), **odd})

    @property
    def experiments(self) -> list[Block]:
        """Protocols that compare generators."""
        return [b for b in self.blocks if b.needs_samples and b.role == "experiment"]

    @property
    def others(self) -> list[tuple[Block, Result]]:
        """Rows of all other protocols."""
        blocks = [b for b in self.blocks if b not in self.experiments]
        return [(block, result) for block in blocks for result in block.results]

    def reference(self, block: Block) -> Result | None:
        """Return the row of a protocol that tests compare with."""
        return block.find(self.experiment.contents.reference)

    def families(self, block: Block) -> tuple[list[Result], list[Result]]:
        """Return what is compared with the reference: other generators, and rows without one."""
        methods = [row for row in block.results if row is not self.reference(block)]
        return methods, [row for b, row in self.others if not b.needs_samples]

    def verdicts(self, block: Block, metric: str, test: str) -> dict[Result, Verdict]:
        """Test both families of a protocol against its reference."""
        reference = self.reference(block)
        found: dict[Result, Verdict] = {}
        for family in self.families(block):
            found |= compare(family, reference, metric, test, self.drawn)
        return found


def study(experiment: Experiment, test: str = DEFAULT_TEST) -> Study | None:
    """Read and resample the protocols of an experiment; None if it has none.

    Raises:
        ReportError: If the test is unknown, or as in ``downstream.read``.
    """
    check_test(test)
    blocks = read(experiment)
    if not any(block.results for block in blocks):
        return None
    rows = experiment.contents.rows
    marked = marks(experiment.contents, values(experiment))
    return Study(
        experiment,
        blocks,
        test,
        resample([result for block in blocks for result in block.results]),
        {rows[row].name: told for row, told in marked.items()},
    )


def build(told: Study) -> list[Table]:
    """Build the table of results and, where there is a reference, that of comparisons."""
    tables = [_results(told)]
    if told.experiments and told.experiment.contents.reference:
        tables.append(_comparison(told))
    return tables


# Results -----------------------------------------------------------------------------------------


def _results(told: Study) -> Table:
    told.footnotes = {}
    columns = [Column(label, "mean ± sd", "metrics", name) for name, label in LABELS.items()]
    columns += [
        Column("AUC of mean", "[95 %]", "interval", "auc"),
        Column("AUC", "stage 1", "stage", "auc"),
        Column("runs", "", "n"),
        Column("training", "time", "cost"),
    ]
    blocks = [
        Rows(block.label, ("",) * len(columns), tuple(_rows(told, block.results, block)))
        for block in told.experiments
    ]
    if told.others:
        rows = [row for block, result in told.others for row in _rows(told, [result], block)]
        rows.sort(key=lambda row: row.role == "control")
        blocks.append(Rows(WITHOUT, ("",) * len(columns), tuple(rows)))
    shown = [result for block in told.blocks for result in block.results]
    return Table(
        title=TITLE,
        banner=classifier(told.blocks),
        caption=caption(told, shown),
        columns=tuple(columns),
        blocks=tuple(blocks),
        footnotes=tuple(told.footnotes),
        notes=tuple(_reading(told, shown)),
        methods=(),
        protocol=tuple(_protocol(told)),
    )


def _rows(told: Study, results: Sequence[Result], block: Block) -> Iterator[Row]:
    leaders = {metric: (None, None) for metric in METRICS}
    if block.role == "experiment":
        leaders = {metric: leader(results, metric, told.drawn) for metric in METRICS}
    for result in results:
        cells = [score(told, result, metric, *leaders[metric]) for metric in METRICS]
        cells += [_interval(told, result), _early(result), Cell(str(len(result.runs)))]
        cells += [Cell(DASH if result.seconds is None else duration(result.seconds))]
        role = "control" if block.role == "control" else "method"
        yield Row(told.label(block, result), role, tuple(cells))


def score(
    told: Study, result: Result, metric: str, best: Result | None, second: Result | None
) -> Cell:
    """Return mean ± standard deviation over runs, or a dash with the reason."""
    if not result.runs:
        return Cell(DASH, mark=told.mark(explain(result.missing, result.asked)))
    return Cell(
        _mean(result.values(metric)),
        bold=result is best,
        mark=told.mark(result.stage, _incomplete(result)),
        second=result is second,
    )


def _mean(values: Sequence[float]) -> str:
    """Return mean ± standard deviation with three decimals, finer than cases can tell apart."""
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def _incomplete(result: Result) -> str:
    if not result.missing:
        return ""
    got = result.asked - len(result.missing)
    return f"{got} of {result.asked} seeds; {explain(result.missing, result.asked)}"


def _interval(told: Study, result: Result) -> Cell:
    if not result.runs:
        return Cell(DASH)
    value = float(METRICS["auc"](result.labels, result.scores))
    if result not in told.drawn:
        return Cell(number(value), mark=told.mark("too few patients of a class to draw from"))
    return Cell(_between(value, *middle(told.drawn[result]["auc"])))


def _early(result: Result) -> Cell:
    """Return the AUC before fine-tuning, mean ± standard deviation over runs."""
    auc = METRICS["auc"]
    values = [float(auc(result.labels, run.early)) for run in result.runs if run.early is not None]
    return Cell(_mean(values) if values else DASH)


def _swapped(block: Block) -> Iterator[str]:
    """Name the rows whose classifier ranks the classes the wrong way round after stage 1."""
    auc, found = METRICS["auc"], []
    for row in block.results:
        if row.early is None or too_few(row):
            continue
        low, high = bootstrap_interval(row.labels, row.patients, row.early, auc)
        if high < CHANCE:
            told = _between(float(auc(row.labels, row.early)), low, high)
            found.append(f"{row.label} (AUC {told})")
    if found:
        yield (
            f"{block.label}: stage 1 taught the classes the wrong way round with the volumes of "
            f"{', '.join(found)}: swapped labels, or real against generated where it has both."
        )


def _between(value: float, low: float, high: float) -> str:
    """Return a value with its interval, with the decimals that the width allows."""
    shown = (like(one, high - low) for one in (value, low, high))
    return "{} [{}, {}]".format(*shown)


def unequal(told: Study, block: Block) -> dict[Result, str]:
    """Return the rows whose stage 1 trained on other data than the reference's, and on what.

    Without a result of the reference, the first row that has one takes its place.
    """
    made = [result for result in block.results if result.data]
    reference = told.reference(block)
    usual = reference if reference in made else next(iter(made), None)
    return {row: row.data for row in made if usual is not None and row.data != usual.data}


# Comparisons -------------------------------------------------------------------------------------


def _comparison(told: Study) -> Table:
    told.footnotes = {}
    tested = [metric for metric in TESTED if told.test != "delong" or metric == "auc"]
    columns, made = [], []
    for metric in tested:
        label = LABELS[metric]
        columns += [Column(label, "difference [95 %]", metric, metric)]
        columns += [Column(label, f"p, {_unit(told.test)}", metric, metric)]
        if TESTS[told.test][1]:
            columns += [Column(label, f"p, {_unit(ALONGSIDE)}", metric, metric)]
    controls = [row for block, row in told.others if block.role == "control"]
    blocks = []
    for block in told.experiments:
        verdicts = {
            (metric, test): told.verdicts(block, metric, test)
            for metric in tested
            for test in (told.test, ALONGSIDE)
        }
        rows = []
        for row in [row for family in told.families(block) for row in family]:
            cells = tuple(
                cell for metric in tested for cell in _verdict_cells(told, verdicts, metric, row)
            )
            role = "control" if row in controls else "method"
            rows.append(Row(told.label(block, row), role, cells))
        made += [verdict for found in verdicts.values() for verdict in found.values()]
        blocks.append(Rows(block.label, ("",) * len(columns), tuple(rows)))
    reference = next(filter(None, (told.reference(b) for b in told.experiments)), None)
    name = reference.label if reference else told.experiment.contents.reference
    rows = [r for b in told.experiments for r in b.results]
    return Table(
        title=f"{TITLE}: difference from {name}",
        banner=classifier(told.blocks),
        caption=f"{caption(told, rows, means=False)} {tested_by(told, made)}",
        columns=tuple(columns),
        blocks=tuple(blocks),
        footnotes=tuple(told.footnotes),
        notes=tuple(_judging([verdict.test for verdict in made if verdict.test])),
        methods=(),
        protocol=(),
    )


def _unit(test: str) -> str:
    return "patients" if TESTS[test][1] else "runs"


def _verdict_cells(
    told: Study, verdicts: Mapping[tuple[str, str], dict[Result, Verdict]], metric: str, row: Result
) -> Iterator[Cell]:
    """Yield difference and p of a row in one metric, and p over runs beside one over cases."""
    first = verdicts[metric, told.test][row]
    if first.test is None:
        mark = told.mark(explain(row.missing, row.asked) if not row.runs else first.reason)
        yield Cell(DASH, mark=mark)
    elif first.test.low is None or first.test.high is None:
        yield Cell(number(first.test.difference))
    else:
        yield Cell(_between(first.test.difference, first.test.low, first.test.high))
    yield Cell(significance(first, told.test))
    if TESTS[told.test][1]:
        yield Cell(significance(verdicts[metric, ALONGSIDE][row], ALONGSIDE))


def significance(verdict: Verdict, test: str) -> str:
    """Return the corrected p; an asterisk only where it is over cases and below 0.05."""
    if verdict.p is None:
        return DASH
    mantissa, power, exponent = f"{verdict.p:.2g}".partition("e")
    shown = f"{mantissa}e{int(exponent)}" if power else mantissa
    return shown + "*" * (TESTS[test][1] and verdict.p < SIGNIFICANT)


# Sentences ---------------------------------------------------------------------------------------


def classifier(blocks: Sequence[Block]) -> str:
    """Return the warning above every table of a small classifier, or an empty string."""
    for block in blocks:
        config = block.config
        if block.preset in SMALL and "depth" in config:
            stages = (config[k] for k in ("pretrain_epochs", "finetune_epochs") if k in config)
            epochs = " + ".join(map(str, stages))
            network = config.get("network", "resnet")  # 0.1.0 knew no other
            network += str(config["depth"]) * (network == "resnet")
            return f"{block.preset} classifier: {network}, few epochs ({epochs})"
    return ""


def caption(told: Study, shown: Sequence[Result], *, means: bool = True) -> str:
    """Describe test set, runs, seeds, preset, data and versions of the rows shown.

    Args:
        told: The study.
        shown: Rows of the table.
        means: Whether the table shows means over runs.
    """
    contents = told.experiment.contents
    data, made = contents.dataset, [result for result in shown if result.runs]
    counts = [span(result.of_class()[label] for result in made) for label in (0, 1)]
    classes = ", ".join(f"{n} {c}" for n, c in zip(counts, data.classes, strict=False))
    patients = span(len(set(result.patients)) for result in made)
    seeds = ", ".join(map(str, contents.seeds))
    presets = ", ".join(dict.fromkeys(block.preset for block in told.blocks))
    suites = contents.suites
    over = "Mean ± standard deviation (n − 1) over" if means else "Each row has"
    parts = [
        f"{data.label}, {data.size} voxels an edge; n = {span(len(r.ids) for r in made)} "
        f"test cases ({classes}) of {patients} patients.",
        f"{over} {span(len(result.runs) for result in made)} runs: repeats of generator "
        f"seed{'s' * (len(contents.seeds) > 1)} {seeds}.",
        f"Positive class {data.classes[-1]}, threshold 0.5. Preset of classifiers {presets}, of "
        f"generators {contents.preset or DASH}.",
        f"Suite{'s' * (len(suites) > 1)} {', '.join(suites)}." if suites else "",
        versions(contents),
    ]
    return plain(" ".join(parts))


def tested_by(told: Study, verdicts: Iterable[Verdict]) -> str:
    """Say how rows are tested against the reference, and in families of how many tests, if any."""
    families = [verdict.family for verdict in verdicts if verdict.test]
    if not families:
        return "No row could be tested against the reference."
    words, over_cases = TESTS[told.test]
    what = " of the prediction averaged over runs" if over_cases else ""
    return (
        f"Test: {words}{what}, two-sided, p corrected by Holm within each family: one metric of "
        f"one experiment, generators or rows without one ({span(families)} tests each)."
    )


def _reading(told: Study, shown: Sequence[Result]) -> Iterator[str]:
    """Yield what a reader must know to read the results."""
    yield (
        f"Bold: best generator by the mean, if the paired patient bootstrap ({DRAWS:,} draws) of "
        f"averaged predictions against every other, Holm-corrected, has p < {SIGNIFICANT} for the "
        "next; no bold means a tie. [95 %]: the same bootstrap of the averaged prediction. "
        "Stage 1: before fine-tuning, mean ± sd."
    )
    sizes = {len(result.ids) for result in shown if result.runs}
    for n in sorted(sizes):
        yield (
            f"With {n} test cases accuracy moves in steps of {1 / n:.2g}: rows less than "
            f"{2 / n:.2g} apart differ by fewer than 2 cases a run."
        )
    few = min((min(r.of_class()) for r in shown if r.runs), default=LEAST_CASES)
    if few < LEAST_CASES:
        yield f"{few} test cases of a class, fewer than {LEAST_CASES}: no test, nothing bold."
    if not told.experiment.contents.reference:
        yield "No reference method, so nothing is tested: bench run --reference NAME."
    yield from of_data(told.experiment.contents)
    yield from data_notes(told, told.experiments)
    for block in told.experiments:
        yield from _swapped(block)
    if any(block.name == SHUFFLED for block in told.blocks):
        yield (
            "Shuffled labels teach nothing: before fine-tuning their AUC must be near 0.5. Far "
            "from it, labels leak."
        )
    for block in told.blocks:
        yield f"{block.label}: {block.description}"
    for block in told.blocks:
        for result in block.results:
            yield from (f"{block.label}, {result.label}: {note}" for note in result.notes)


def data_notes(told: Study, blocks: Iterable[Block]) -> Iterator[str]:
    """Yield what stage 1 trained on, and which rows are marked because theirs differs."""
    for block in blocks:
        odd = unequal(told, block)
        usual = [r.data for r in block.results if r.data and r not in odd]
        if usual:
            yield f"{block.label}, stage 1: {usual[0]}."
        for row, data in odd.items():
            yield f"Unequal data: {row.label} in {block.label} trained stage 1 on {data}."


def _judging(tests: Sequence[Test]) -> Iterator[str]:
    """Yield what a reader must know to judge the tests."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for test in tests:
        sizes.setdefault((test.name, test.unit), []).append(test.n)
    for (name, unit), n in sizes.items():
        yield f"{name}: n = {span(n)} {unit}{' in the smaller group' * (unit == 'runs')}."
    yield f"*: p < {SIGNIFICANT} over test patients after Holm. A test over runs earns none."
    runs = [n for (_, unit), all_n in sizes.items() if unit == "runs" for n in all_n]
    if runs and min(runs) < FEW_RUNS:
        yield (
            f"n = {span(runs)} runs: low power. Runs share one test set, so their spread leaves "
            "out which patients it holds, the larger part of the uncertainty."
        )


def _protocol(told: Study) -> Iterator[str]:
    """Yield source, preset and differences of every protocol."""
    for block in told.blocks:
        text = f"{block.label} = {block.name} ({block.source}), preset {block.preset}."
        if block.differences:
            changed = (
                f"{d.setting} {plain(d.value)} (paper: {plain(d.paper)})" for d in block.differences
            )
            text += f" Differs from the paper's settings in {'; '.join(changed)}."
            text += "".join(
                f" The network {plain(d.value)} is not the paper's: {plain(_reason(d.source))}."
                for d in block.differences
                if d.setting == "network"
            )
        yield text


def _reason(source: str) -> str:
    """Return what a provenance tag says, without brackets and kind."""
    return source.strip("[]").partition(": ")[2]


# Tidy rows ---------------------------------------------------------------------------------------


def frame(experiment: Experiment) -> DataFrame | None:
    """Return runs, averaged predictions and tests as tidy rows; None without protocols.

    Columns that the rows of ``tidy.frame`` have too mean the same; ``level`` is ``run``, ``mean
    prediction`` (with the 95 % interval ``low`` to ``high``) or ``comparison`` (``value`` is the
    difference from the reference, by every test of ``comparison.TESTS``).

    Raises:
        ReportError: As in ``study``.
    """
    import pandas as pd

    told = study(experiment)
    if told is None:
        return None
    dataset = experiment.contents.dataset
    start = {"size": dataset.size, "fingerprint": dataset.fingerprint, "dataset": dataset.name}
    rows = [
        start | row
        for block in told.blocks
        for result in block.results
        for row in _tidy(told, block, result)
    ]
    rows += [start | row for block in told.experiments for row in _tidy_tests(told, block)]
    whole = ["seed", "repeat", "n_real", "family", "n"]
    table = pd.DataFrame(rows)
    return table.astype({name: "Int64" for name in whole if name in table})


def _head(block: Block, result: Result) -> dict[str, Any]:
    names = {"kind": result.kind, "method": result.name, "label": result.label}
    more = {"protocol": block.name, "role": block.role, "preset": block.preset, "status": OK}
    return names | more | {"class": "all", "recipe_hash": result.recipe_hash}


def _tidy(told: Study, block: Block, result: Result) -> Iterator[dict[str, Any]]:
    head = _head(block, result)
    for lack in result.missing:
        why = {"seed": lack.seed, "status": lack.status, "reason": lack.reason}
        yield from (head | {"level": "run", "metric": metric} | why for metric in METRICS)
    if not result.runs:
        return
    head |= {"n_real": len(result.ids), "device": result.device}
    for run in result.runs:
        place = {"level": "run", "seed": run.seed, "repeat": run.repeat}
        for metric, value in summary(result.labels, run.scores).items():
            yield head | place | {"metric": metric, "value": value}
    for metric, value in summary(result.labels, result.scores).items():
        row = head | {"level": "mean prediction", "metric": metric, "value": value}
        if metric in told.drawn.get(result, {}):
            low, high = middle(told.drawn[result][metric])
            made = f"patient bootstrap, {DRAWS} draws"
            row |= {"low": low, "high": high, "uncertainty": made}
        yield row


def _tidy_tests(told: Study, block: Block) -> Iterator[dict[str, Any]]:
    reference = told.reference(block)
    if reference is None:
        return
    for metric in METRICS:
        for test in TESTS:
            for result, verdict in told.verdicts(block, metric, test).items():
                head = _head(block, result) | {"level": "comparison", "metric": metric}
                head |= {"test": test, "reference": reference.name}
                if verdict.test is None:
                    yield head | {"status": "not tested", "reason": verdict.reason}
                else:
                    t = verdict.test
                    ends = {"value": t.difference, "low": t.low, "high": t.high}
                    p = {"p": t.p, "p_holm": verdict.p, "family": verdict.family}
                    yield head | ends | p | {"n": t.n, "unit": t.unit}
