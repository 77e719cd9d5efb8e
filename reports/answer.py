"""The screen that a run ends with: one line a row, what is marked, and where the rest is.

It fits 24 lines of 80 characters for up to eight rows of generated volumes. It decides nothing:
numbers, marks and labels are those of the full tables, which ``bench report`` prints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from cerebench.core.records.contents import Contents, MetricEntry
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import DASH, duration, plain, span, superscript
from cerebench.reports.spoiled import spoiled
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.sections import study
from cerebench.reports.tables.table import ARROWS
from cerebench.reports.values import floor
from cerebench.reports.values.downstream import DEFAULT_TEST
from cerebench.reports.values.labels import legends, powers_of_ten, row_labels, unit
from cerebench.reports.values.marks import brief, marks
from cerebench.reports.values.summary import is_p, summarise
from cerebench.reports.values.tidy import OK, Value, values

if TYPE_CHECKING:
    from rich.console import Console

    from cerebench.reports.values.study import Study

GAP = 2  # spaces between columns
COLUMNS = 5  # at most, the time of training included
# Which columns are shown first; then the others in their order.
FIRST = ("fd-radlite-v2", "ms-ssim", "class-fidelity", "copies")
TIME = "train-seconds"
ROUNDING = 1e-12  # what sums of float64 numbers leave of a zero


@dataclass(frozen=True)
class Answer:
    """What the screen says, as unescaped printable lines.

    Attributes:
        title: Of the experiment.
        banner: Warning to print on top, or empty.
        caption: Data, numbers of volumes, preset and seeds.
        heads: Three header lines for each column.
        rows: Label and one cell a column; those of real volumes first.
        notes: What a reader must know.
    """

    title: str
    banner: str
    caption: str
    heads: tuple[tuple[str, str, str], ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def build(experiment: RecordedExperiment, named: Collection[str] = ()) -> Answer:
    """Take the few numbers that answer what a run asked.

    Args:
        experiment: Table of contents with its folder.
        named: Metrics that the user asked for by name: they stand before those of a suite.

    Raises:
        ReportError: As in ``cerebench.reports.tables.sections.study``.
    """
    contents, recorded = experiment.contents, values(experiment)
    sheet = _Sheet(contents, recorded)
    labels, marked = row_labels(contents.rows), marks(contents, recorded)
    footnotes = Footnotes()
    signs = {row: superscript(footnotes.mark(brief(why))) for row, why in marked.items()}
    protocols = study(experiment, DEFAULT_TEST)
    classified = _classified(protocols)[: COLUMNS - 2]
    timed = any(row.kind == "method" for row in contents.rows)
    metrics = _chosen(contents.metrics, COLUMNS - timed - len(classified), named)
    heads = [_head(metric, view) for metric, view in metrics]
    heads += [(label, "", "AUC") for label, _ in classified]
    heads += [("training", "", "time")] * timed
    rows = []
    for i in sheet.shown:
        entry = contents.rows[i]
        cells = [sheet.cell(i, metric, view) for metric, view in metrics]
        cells += [of_rows.get(entry.name, "") for _, of_rows in classified]
        cells += [sheet.time(i)] * timed
        rows.append((labels[i] + signs.get(i, ""), tuple(cells)))
    for label, aucs in _alone(protocols, classified):
        rows.append((label, ("",) * len(metrics) + aucs + ("",) * timed))
    notes = [f"{superscript(n)} {text}." for n, text in enumerate(footnotes.texts, 1)]
    return Answer(
        title=plain(contents.title or contents.name),
        banner=plain(contents.banner or ""),
        caption=plain(sheet.caption),
        heads=tuple(heads),
        rows=tuple(rows),
        notes=(
            *spoiled(recorded, labels, contents.dataset.size),
            *_legend(contents, [m for m, _ in metrics]),
            *notes,
            *sheet.gaps(),
        ),
    )


def render(experiment: RecordedExperiment, console: Console, named: Collection[str] = ()) -> None:
    """Print the screen; ``named`` as in ``build``."""
    from rich.table import Table as Grid
    from rich.text import Text

    answer = build(experiment, named)
    console.print(Text(answer.title, style="bold"))
    if answer.banner:
        console.print(Text(answer.banner, style="bold yellow"))
    console.print(Text(answer.caption, style="dim"))
    if answer.rows:
        shown = _fitting(answer, console.width)
        grid = Grid(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        grid.add_column("", overflow="ellipsis", no_wrap=True)
        for i in shown:
            head = "\n".join(line for line in answer.heads[i] if line)
            grid.add_column(Text(head), justify="right", no_wrap=True, vertical="bottom")
        for label, cells in answer.rows:
            grid.add_row(Text(label), *(Text(cells[i]) for i in shown))
        console.print(grid)
    for text in answer.notes:
        console.print(Text(text, style="dim"))


def _fitting(answer: Answer, width: int) -> list[int]:
    """Return the columns that a line has room for; the last before the time of training go first.

    One always stays, and so does the time.
    """
    labels = max(len(label) for label, _ in answer.rows)
    widths = [
        max(map(len, [*head, *(cells[i] for _, cells in answer.rows)]))
        for i, head in enumerate(answer.heads)
    ]
    shown = list(range(len(widths)))
    while len(shown) > 2 and labels + sum(widths[i] + GAP for i in shown) > width:
        shown.pop(-2)
    return shown


class _Sheet:
    """The values of an experiment, ready to be put into cells."""

    def __init__(self, contents: Contents, recorded: Sequence[Value]) -> None:
        self._contents = contents
        self._places: dict[tuple[int, str, str, str], list[Value]] = {}
        for value in floor.shown(contents, recorded):
            place = (value.row, value.class_, value.metric, value.view)
            self._places.setdefault(place, []).append(value)
        roles = {i: row.role or "method" for i, row in enumerate(contents.rows)}
        floors = [i for i, role in roles.items() if role == "floor"]
        # The last floor is the one of held-out volumes, whose number is that of the methods.
        self.shown = [*floors[-1:], *(i for i, role in roles.items() if role == "method")]
        self._missing: dict[str, int] = {}

    def cell(self, row: int, metric: MetricEntry, view: str) -> str:
        """Return the value of each class, 'a / b', or once where classes share it."""
        texts = []
        for name in self._contents.dataset.classes:
            seeds = self._places.get((row, name, metric.name, view), [])
            found = summarise(seeds)
            if found is None:
                status = next((v.status for v in seeds), "not run")
                self._missing[status] = self._missing.get(status, 0) + 1
            texts.append(DASH if found is None else _short(found.value * metric.scale))
        return texts[0] if len(set(texts)) == 1 else " / ".join(texts)

    def time(self, row: int) -> str:
        """Return how long all instances of a row were trained, mean over seeds."""
        seconds = [
            fmean(numbers)
            for (i, _, metric, _), of_seeds in self._places.items()
            if i == row
            and metric == TIME
            and (numbers := [v.value for v in of_seeds if v.status == OK and v.value is not None])
        ]
        if self._contents.rows[row].kind != "method":
            return ""
        return duration(sum(seconds)) if seconds else DASH

    @property
    def caption(self) -> str:
        """Data, numbers of volumes a class, presets and seeds."""
        data, rows = self._contents.dataset, self._contents.rows
        scored = [v for of in self._places.values() for v in of if v.row in self.shown]
        presets = dict.fromkeys(r.preset for r in rows if r.kind == "method" and r.preset)
        counts = [
            f"{span(n for n in numbers if n is not None)} {what}"
            for what, numbers in (
                ("real", {v.n_real for v in scored}),
                ("generated", {v.n_generated for v in scored}),
            )
        ]
        parts = [
            f"{data.label}, {data.size}³",
            f"{' and '.join(counts)} a class ({' / '.join(data.classes)})",
            *(f"preset {name}" for name in presets),
        ]
        if presets:
            seeds = self._contents.seeds
            parts.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
        return "; ".join(parts)

    def gaps(self) -> Iterator[str]:
        """Say how many values are missing."""
        for status, number in self._missing.items():
            yield f"{DASH} {number} value{'s' * (number > 1)} {status}: bench report says why."


def _chosen(
    metrics: Sequence[MetricEntry], most: int, named: Collection[str]
) -> list[tuple[MetricEntry, str]]:
    """Return metrics with the view to show, named ones and then those that say most first."""
    usable = [m for m in metrics if not m.unavailable]
    rank = {name: place for place, name in enumerate(FIRST)}
    ranked = sorted(usable, key=lambda m: (m.name not in named, rank.get(m.name, len(rank))))
    views = [(m, next((v for v in m.views if not is_p(v)), None)) for m in ranked]
    return [(m, view) for m, view in views if view is not None][:most]


def _head(metric: MetricEntry, view: str) -> tuple[str, str, str]:
    label, bracket, space = plain(metric.label).partition("[")
    detail = " ".join(part for part in (view, unit(metric), ARROWS[metric.better]) if part)
    return label, bracket + space, detail


def _short(value: float) -> str:
    """Format a number with the digits that can be read aloud: 12.3, 6.34, .66."""
    if abs(value) < ROUNDING:
        value = 0.0
    if value == 0 or 0.005 <= abs(value) < 1e4:
        text = f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
        return text.replace("0.", ".", 1) if abs(value) < 1 and text.strip("-") < "1" else text
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _classified(protocols: Study | None) -> list[tuple[str, Mapping[str, str]]]:
    """Return label of each protocol that uses samples, and AUC by name of the row."""
    if protocols is None:
        return []
    return [
        (block.label, {r.name: _auc(r.values("auc")) for r in block.results if r.runs})
        for block in protocols.experiments
    ]


def _alone(
    protocols: Study | None, classified: Sequence[object]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield baselines without generated volumes: one AUC, under the last protocol."""
    if protocols is None or not classified:
        return
    for block, result in protocols.others:
        if block.role == "baseline" and result.runs:
            aucs = ("",) * (len(classified) - 1) + (_auc(result.values("auc")),)
            yield protocols.label(block, result), aucs


def _auc(numbers: Sequence[float]) -> str:
    return _short(fmean(numbers))


def _legend(contents: Contents, metrics: Sequence[MetricEntry]) -> Iterator[str]:
    """Say how to read the numbers."""
    parts = []
    if len(contents.dataset.classes) > 1:
        parts.append(f"{' / '.join(contents.dataset.classes)}")
    if any(metric.as_ratio for metric in metrics):
        parts.append("× real: 1 is as good as other real volumes")
    if any(metric.better == "near-real" for metric in metrics):
        parts.append("→ real: best near the top row")
    if powers_of_ten(metrics):
        parts.append("(10…): a number times this is the value")
    if parts:
        yield plain("; ".join(parts) + ".")
    yield from map(plain, legends(metrics))
