"""The table that every renderer draws: rows, columns, bold, dashes and footnotes, as plain text.

One block a class. In a block: the real-vs-real floor, then methods and folders of samples in the
order of the table of contents, then controls. Renderers escape and draw; they decide nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from cerebench.core.facts import PERMUTATION_P, of
from cerebench.core.records.contents import Contents, MetricEntry
from cerebench.core.records.rows import CONTROL_KIND, RowEntry
from cerebench.reports.base import RecordedExperiment, ReportError
from cerebench.reports.formatting import (
    DASH,
    count,
    decimals,
    duration,
    number,
    plain,
    probability,
    span,
)
from cerebench.reports.tables import notes
from cerebench.reports.tables.footnotes import Footnotes
from cerebench.reports.tables.ranges import ends, within
from cerebench.reports.values import floor
from cerebench.reports.values.labels import row_labels, unit
from cerebench.reports.values.marks import brief, explanation, marked_labels, marks
from cerebench.reports.values.summary import Summary, competing, is_p, leader, runner_up, summarise
from cerebench.reports.values.tidy import ALL_CLASSES, DEVICE, OK, SAMPLER, Value, values

CPU = "train-cpu-seconds"
ARROWS = {"lower": "↓", "higher": "↑", "near-real": "→ real"}
# Cost: group, head and detail of its column, and how a number of it is shown; None: with the
# decimals of its column.
COSTS: dict[str, tuple[str, str, str, Callable[[float], str] | None]] = {
    "train-seconds": ("training", "training", "time", duration),
    CPU: ("training", "training", "CPU time", duration),
    "peak-mib": ("training", "training", "peak MiB", "{:.0f}".format),
    DEVICE: ("training", "training", "device", number),
    "parameters": ("training", "trained", "parameters", count),
    SAMPLER: ("sampling", "sampler", "steps", number),
    "sample-seconds": ("sampling", "sampling", "s/volume", None),
    "clip-fraction": ("sampling", "clipped", "%", None),
}
MINOR = {"peak-mib", DEVICE, SAMPLER}  # costs that a terminal shows when asked


@dataclass(frozen=True)
class TableCell:
    """Text of one cell, whether it is bold, and the number of its footnote (0: none).

    ``second`` says that it is second best, which LaTeX underlines.
    """

    text: str = ""
    bold: bool = False
    mark: int = 0
    second: bool = False


@dataclass(frozen=True)
class Column:
    """A column: ``head`` over ``detail`` in the header; equal ``group`` never part across panels.

    ``metric`` and ``view`` say what it shows; ``metric`` is empty for the column of n.
    """

    head: str
    detail: str
    group: str
    metric: str = ""
    view: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row of cells, one a column; ``role`` is ``floor``, ``method`` or ``control``.

    ``of`` is what several rows belong to, with which their labels begin; empty for most.
    """

    label: str
    role: str
    cells: tuple[TableCell, ...]
    of: str = ""


@dataclass(frozen=True)
class TableBlock:
    """The rows of one class; ``targets`` holds the real set's values of near-real columns."""

    name: str
    targets: tuple[str, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class Table:
    """Everything a renderer draws, as unescaped printable lines.

    Attributes:
        title: Of the experiment.
        banner: Warning to print on top, or empty.
        caption: Dataset, n, seeds, preset, fingerprint, suite version and what ± means.
        columns: Metrics, then n and cost.
        blocks: One a class.
        footnotes: Text of mark i at index i - 1.
        notes: What a reader must know to read the table.
        brief: What of it stands in the way of reading the numbers as they are, with the number of
            settings that differ from the papers'; empty where that is all there is.
        methods: What each method is, and how its settings differ from the paper's.
        recipes: What a reader needs to repeat it: definitions, sources, differences from papers.
    """

    title: str
    banner: str
    caption: str
    columns: tuple[Column, ...]
    blocks: tuple[TableBlock, ...]
    footnotes: tuple[str, ...]
    notes: tuple[str, ...]
    methods: tuple[str, ...]
    recipes: tuple[str, ...]
    brief: tuple[str, ...] = ()


@dataclass
class _Sheet:
    """The values of an experiment by place, and the footnotes collected so far."""

    contents: Contents
    places: dict[tuple[int, str, str, str], list[Value]]
    labels: list[str]
    marked: Collection[int] = ()
    shown: Sequence[int] = ()
    footnotes: Footnotes = field(default_factory=Footnotes)
    _summaries: dict[tuple[int, str, str, str], Summary | None] = field(default_factory=dict)

    def summary(self, row: int, class_: str, column: Column) -> Summary | None:
        """Return the summary of a cell; None if no seed has a value."""
        place = (row, class_, column.metric, column.view)
        if place not in self._summaries:
            self._summaries[place] = summarise(self.at(*place))
        return self._summaries[place]

    def places_of(self, column: Column) -> int | None:
        """Return the decimals of a column, the same in every class."""
        classes = self.contents.dataset.classes
        found = [self.summary(row, class_, column) for class_ in classes for row in self.shown]
        return digits([s for s in found if s is not None], self.scale(column))

    def scale(self, column: Column) -> float:
        """Return what values of a column are multiplied by before they are printed."""
        if column.metric == "clip-fraction":
            return 100.0
        return next((m.scale for m in self.contents.metrics if m.name == column.metric), 1.0)

    def at(self, row: int, class_: str, metric: str, view: str = "") -> list[Value]:
        """Return one value a seed; a model of every class answers for each of them."""
        own = self.places.get((row, class_, metric, view))
        return own or self.places.get((row, ALL_CLASSES, metric, view), [])


def build_table(
    experiment: RecordedExperiment, *, controls: bool = True, all_columns: bool = True
) -> Table:
    """Build the table of an experiment.

    Args:
        experiment: Table of contents with its folder.
        controls: Whether to show the controls; the floor is always shown.
        all_columns: Whether to show the costs that few ask for (``MINOR``).

    Raises:
        ReportError: If the path of a record leaves the folder, or a column would hold numbers made
            by different recipes.
    """
    contents, all_values = experiment.contents, values(experiment)
    _refuse_mixed_recipes(all_values)
    places: dict[tuple[int, str, str, str], list[Value]] = {}
    for value in floor.shown(contents, all_values):
        places.setdefault((value.row, value.class_, value.metric, value.view), []).append(value)
    labels, marked = row_labels(contents.rows), marks(contents, all_values)
    shown = [i for i in _order(contents.rows) if controls or _role(contents.rows[i]) != "control"]
    sheet = _Sheet(contents, places, marked_labels(contents, marked), marked, shown)
    measured = {v.metric for v in all_values if v.metric != CPU or v.status == OK}
    costs = _costs(contents.rows, measured - (set() if all_columns else MINOR))
    columns = _columns(contents.metrics, costs)
    blocks = tuple(
        _block(sheet, name, columns)
        for name in contents.dataset.classes
        if shown  # protocols without samples have no row here
    )
    kept = [value for value in all_values if value.row in shown]
    return Table(
        title=plain(contents.title or contents.name),
        banner=plain(contents.banner or ""),
        caption=plain(notes.caption(contents, kept)),
        columns=columns,
        blocks=blocks,
        footnotes=sheet.footnotes.texts,
        notes=_lines(
            (
                *(
                    f"{labels[row]} is {explanation(shown_value)}."
                    for row, shown_value in marked.items()
                ),
                *(notes.reading(contents, kept, labels) if blocks else ()),
            )
        ),
        brief=_lines(
            (
                *(f"{labels[row]} is {brief(why)}." for row, why in marked.items()),
                *(notes.reading(contents, kept, labels, whole=False) if blocks else ()),
                *notes.methods(contents, labels, whole=False),
            )
        ),
        methods=_lines(notes.methods(contents, labels)),
        recipes=_lines(notes.recipes(contents, kept, labels, shown)),
    )


def panels(
    table: Table,
    width: int,
    gap: int = 2,
    length: Callable[[str], int] = len,
    left: int | None = None,
) -> list[list[int]]:
    """Split columns into panels of at most ``width`` characters, labels included.

    Columns of one group stay together unless the group alone is too wide.

    Args:
        table: The table.
        width: Characters a line may have.
        gap: Characters between two columns.
        length: Width of a text in characters.
        left: Width of what stands before the columns; None for the longest label.
    """
    if not table.blocks:
        return []
    labels = [row.label for block in table.blocks for row in block.rows]
    names = [*labels, *(block.name for block in table.blocks)]
    room = width - (max(map(length, names)) if left is None else left)
    sizes = [column_width(table, index, length) + gap for index in range(len(table.columns))]
    groups: list[list[int]] = []
    for index, column in enumerate(table.columns):
        if groups and table.columns[groups[-1][-1]].group == column.group:
            groups[-1].append(index)
        else:
            groups.append([index])
    parts: list[list[int]] = [[]]
    for group in groups:
        whole = sum(sizes[i] for i in group) <= room
        for part in [group] if whole else [[index] for index in group]:
            if parts[-1] and sum(sizes[i] for i in [*parts[-1], *part]) > room:
                parts.append([])
            parts[-1].extend(part)
    return parts


def column_width(table: Table, index: int, length: Callable[[str], int] = len) -> int:
    """Return the width of a column in characters, header and footnote marks included."""
    column = table.columns[index]
    texts = [column.head, column.detail, *(block.targets[index] for block in table.blocks)]
    cells = [row.cells[index] for block in table.blocks for row in block.rows]
    return max(map(length, [*texts, *(c.text + str(c.mark or "") for c in cells)]))


def _lines(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(plain(text) for text in texts))


def _refuse_mixed_recipes(all_values: Sequence[Value]) -> None:
    first: dict[str, Value] = {}
    for value in all_values:
        if not value.recipe_hash:
            continue
        other = first.setdefault(value.metric, value)
        if other.recipe_hash != value.recipe_hash:
            left, right = json.loads(other.recipe), json.loads(value.recipe)
            names = sorted(k for k in {*left, *right} if left.get(k) != right.get(k))
            differing = ", ".join(f"{k} ({left.get(k)} and {right.get(k)})" for k in names)
            raise ReportError(
                f"The column '{value.metric}' would hold numbers made by different recipes "
                f"({other.label}; {value.label}); they differ in: {differing or 'recipe_hash'}. "
                "Score both again with one version: bench run."
            )


def _role(row: RowEntry) -> str:
    return row.role or "method"


def _order(rows: Sequence[RowEntry]) -> list[int]:
    rank = {"floor": 0, "method": 1, "control": 2}
    return sorted(range(len(rows)), key=lambda i: rank[_role(rows[i])])


def _costs(rows: Sequence[RowEntry], recorded: Container[str]) -> list[str]:
    """Return the costs that this table has columns for."""
    if not any(row.kind == "method" for row in rows):
        return ["clip-fraction"]
    optional = {SAMPLER, CPU, *MINOR}
    return [cost for cost in COSTS if cost not in optional or cost in recorded]


def _columns(metrics: Sequence[MetricEntry], costs: Sequence[str]) -> tuple[Column, ...]:
    columns = []
    for metric in metrics:
        if metric.unavailable:
            continue
        label, scale = plain(metric.label), unit(metric)
        _, _, space = label.partition("[")
        for view in metric.views:
            parts = (view, scale, ARROWS[metric.better])
            detail = " ".join(part for part in parts if part)
            columns.append(Column(label, detail, space or label, metric.name, view))
    columns.append(Column("n", "real/gen.", "n"))
    for cost in costs:
        group, head, detail, _ = COSTS[cost]
        columns.append(Column(head, detail, group, cost))
    return tuple(columns)


def _block(sheet: _Sheet, class_: str, columns: Sequence[Column]) -> TableBlock:
    rows, shown = sheet.contents.rows, sheet.shown
    drawn: list[list[TableCell]] = [[] for _ in shown]
    targets = []
    for column in columns:
        seeds = {i: sheet.at(i, class_, column.metric, column.view) for i in shown}
        summaries = {i: s for i in shown if (s := sheet.summary(i, class_, column)) is not None}
        places = sheet.places_of(column) if column.metric else None
        targets.append(_target(column, sheet, summaries, places))
        best, second = _best(column, sheet, summaries)
        for cells, i in zip(drawn, shown, strict=True):
            if not column.metric:
                cells.append(_n(sheet, i, class_))
            elif column.metric in COSTS:
                cells.append(_cost(sheet, column, i, seeds[i], summaries.get(i), places))
            else:
                cell = score(
                    sheet.footnotes, seeds[i], summaries.get(i), bold=i == best, places=places
                )
                cells.append(replace(cell, second=i == second))
    return TableBlock(
        plain(class_),
        tuple(targets),
        tuple(
            TableRow(sheet.labels[i], _role(rows[i]), tuple(cells))
            for i, cells in zip(shown, drawn, strict=True)
        ),
    )


def _best(
    column: Column, sheet: _Sheet, summaries: Mapping[int, Summary]
) -> tuple[int | None, int | None]:
    """Return the method that may be called best, and the second best."""
    declared = {metric.name: metric for metric in sheet.contents.metrics}.get(column.metric)
    if declared is None:
        return None, None
    return best_of(declared, sheet.contents, summaries, sheet.marked)


def best_of(
    metric: MetricEntry,
    contents: Contents,
    summaries: Mapping[int, Summary],
    marked: Iterable[int],
) -> tuple[int | None, int | None]:
    """Return the method that may be called best, and the second best by its value.

    A marked row is neither, and nothing is under a banner, which says that the run shows that
    things work and not which is better.

    Args:
        metric: Of the column.
        contents: Table of contents.
        summaries: Row to its cell.
        marked: Rows with a mark.
    """
    if metric.never_bold or contents.banner:
        return None, None
    able = competing(summaries, marked)
    return leader(able), runner_up(able)


def _target(
    column: Column, sheet: _Sheet, summaries: Mapping[int, Summary], places: int | None
) -> str:
    """Return the real set's value that methods are compared with, '→ 0.6412'."""
    rows = sheet.contents.rows
    methods = [s for i, s in summaries.items() if _role(rows[i]) == "method"]
    near = [s for s in methods or summaries.values() if s.better == "near-real"]
    values = [s.real_value * sheet.scale(column) for s in near if s.real_value is not None]
    reals = dict.fromkeys(number(value, places=places) for value in values)
    return f"→ {' … '.join(reals)}" if reals else ""


def digits(summaries: Iterable[Summary], scale: float) -> int | None:
    """Return the decimals that all cells of a column shall have; None for those of each.

    Args:
        summaries: Of the column.
        scale: What their numbers are multiplied by before they are printed.
    """
    cells = list(summaries)
    errors = [cell.error * scale for cell in cells if cell.error is not None]
    return decimals([cell.value * scale for cell in cells], errors)


def score(
    footnotes: Footnotes,
    seeds: Sequence[Value],
    summary: Summary | None,
    *,
    bold: bool,
    places: int | None = None,
) -> TableCell:
    """Return a value ± error with what belongs to it, or a dash.

    That is in parentheses its distance to the real set's value, and the p-value of a permutation
    test, of several seeds the largest.
    """
    if summary is None:
        return TableCell(DASH, mark=footnotes.mark(explain(seeds, len(seeds))))
    scale = seeds[0].scale
    error = None if summary.error is None else summary.error * scale
    bounds = ends(seeds[0].metric, seeds[0].view)
    scaled = None if bounds is None else (bounds[0] * scale, bounds[1] * scale)
    if is_p(seeds[0].view):
        text = probability(summary.value)
    else:
        text = within(summary.value * scale, error, scaled, places)
    if summary.better == "near-real" and summary.difference is not None:
        text += f" ({number(summary.difference * scale, places=places)})"
    if permuted := [p for v in seeds for _, p in of(v.facts or {}, PERMUTATION_P)]:
        text += f", p {probability(max(permuted))}"
    return TableCell(text, bold, footnotes.mark(_incomplete(seeds, summary)))


def _incomplete(seeds: Sequence[Value], summary: Summary) -> str:
    """Say which seeds a mean lacks; empty if none."""
    if summary.got == summary.asked:
        return ""
    lacking = explain([v for v in seeds if v.status != OK], summary.asked)
    return f"{summary.got} of {summary.asked} seeds; {lacking}"


class Owed(Protocol):
    """Something that a seed owes, with what became of it."""

    @property
    def seed(self) -> int | None:
        """Training seed; None where there is none."""
        ...

    @property
    def status(self) -> str:
        """As of ``tidy.Value``."""
        ...

    @property
    def reason(self) -> str:
        """Why it is missing, or empty."""
        ...


def explain(owed: Sequence[Owed], asked: int) -> str:
    """Say why values are missing, naming seeds where several were asked for."""
    if not owed:
        return "not run"
    seeds: dict[str, list[str]] = {}
    for value in owed:
        same = value.reason in ("", value.status)
        reason = value.status if same else f"{value.status}: {value.reason}"
        seeds.setdefault(reason, []).append(str(value.seed))
    if asked == 1:
        return next(iter(seeds))
    return "; ".join(
        f"seed{'s' * (len(names) > 1)} {', '.join(names)} {reason}"
        for reason, names in seeds.items()
    )


def _n(sheet: _Sheet, row: int, class_: str) -> TableCell:
    scored = [
        value
        for (i, name, _, _), seeds in sheet.places.items()
        for value in seeds
        if i == row and name == class_ and value.n_real is not None and value.status == OK
    ]
    if not scored:
        return TableCell(DASH)
    real = span(v.n_real for v in scored if v.n_real is not None)
    generated = span(v.n_generated for v in scored if v.n_generated is not None)
    return TableCell(f"{real}/{generated}")


def _cost(
    sheet: _Sheet,
    column: Column,
    row: int,
    seeds: Sequence[Value],
    summary: Summary | None,
    places: int | None,
) -> TableCell:
    cost, kind = column.metric, sheet.contents.rows[row].kind
    if kind == CONTROL_KIND:
        return TableCell()
    if cost == SAMPLER and not seeds:
        return TableCell(DASH)  # a method without a choice of sampler lacks nothing
    if not seeds and kind == "samples":
        return TableCell(DASH, mark=sheet.footnotes.mark("not recorded"))
    if words := dict.fromkeys(value.text for value in seeds if value.text):
        return TableCell(" / ".join(words))
    if summary is None:
        return TableCell(DASH, mark=sheet.footnotes.mark(explain(seeds, len(seeds))))
    warnings = _warnings(seeds) if cost == "train-seconds" else ""
    *_, show = COSTS[cost]
    scaled = summary.value * sheet.scale(column)
    text = number(scaled, places=places) if show is None else show(scaled)
    return TableCell(text, mark=sheet.footnotes.mark(_incomplete(seeds, summary), warnings))


def _warnings(of_seeds: Sequence[Value]) -> str:
    """Say what trainings warned of, naming seeds where several were asked for."""
    seeds: dict[str, list[str]] = {}
    for value in of_seeds:
        for text in value.notes:
            seeds.setdefault(text, []).append(str(value.seed))
    return "; ".join(
        f"training of seed {', '.join(names)} warned: {text}"
        if len(of_seeds) > 1
        else f"training warned: {text}"
        for text, names in seeds.items()
    )
