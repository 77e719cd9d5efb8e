"""A ladder of planted defects as table and figure: what each metric sees, and from which strength.

A cell stands for all classes: the weakest verdict of them, and the strength from which on all of
them see the defect.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cerebench.core.files import write_bytes
from cerebench.core.records.ladder import Ladder, LadderCell
from cerebench.reports.formatting import DASH, first_line
from cerebench.reports.markdown import escape

WORDS = ("inverted", "blind", "seen", "ordered")  # from what is worst
COLOURS = {"inverted": "#D55E00", "blind": "#E8E8E8", "seen": "#A6D8F0", "ordered": "#0072B2"}


@dataclass(frozen=True)
class CardCell:
    """A metric on one defect, over all classes.

    Attributes:
        word: The verdict; empty where the metric is not asked, a dash where there is none.
        text: What tables print.
    """

    word: str
    text: str


@dataclass(frozen=True)
class Card:
    """The whole table.

    Attributes:
        title: Data and sizes of the sets.
        columns: Metric and view of each column.
        heads: Labels of the columns.
        defects: Labels of the rows.
        cells: Of each defect, one a column.
        legend: How to read it.
        inverted: What is inverted, as ``metric, class: defect``.
        judged: Whether any cell has a verdict.
    """

    title: str
    columns: tuple[tuple[str, str], ...]
    heads: tuple[str, ...]
    defects: tuple[str, ...]
    cells: tuple[tuple[CardCell, ...], ...]
    legend: tuple[str, ...]
    inverted: tuple[str, ...]
    judged: bool


def card(ladder: Ladder) -> Card:
    """Lay out what a ladder said."""
    labels = {m.name: m.label for m in ladder.metrics}
    keys = list(dict.fromkeys((column.metric, column.view) for column in ladder.columns))
    heads = tuple(f"{labels[metric]} {view}".strip() for metric, view in keys)
    cells = {
        (column.metric, column.view, column.class_, cell.defect): cell
        for column in ladder.columns
        for cell in column.cells
    }

    def at(defect: str, metric: str, view: str) -> CardCell:
        parts = [cells.get((metric, view, name, defect)) for name in ladder.data.counts]
        return _joined([cell for cell in parts if cell is not None])

    return Card(
        _title(ladder),
        tuple(keys),
        heads,
        tuple(defect.label for defect in ladder.defects),
        tuple(tuple(at(defect.name, *key) for key in keys) for defect in ladder.defects),
        _legend(ladder),
        tuple(
            f"{labels[column.metric]} {column.view}".strip() + f", {column.class_}: {cell.defect}"
            for column in ladder.columns
            for cell in column.cells
            if cell.verdict == "inverted"
        ),
        any(cell.verdict for column in ladder.columns for cell in column.cells),
    )


def _joined(cells: Sequence[LadderCell]) -> CardCell:
    """Return the weakest verdict of some classes."""
    if not cells:
        return CardCell("", "")
    words = [cell.verdict for cell in cells]
    if None in words:
        return CardCell(DASH, DASH)
    word = min((w for w in words if w), key=WORDS.index)
    if word in ("inverted", "blind"):
        return CardCell(word, "INV" if word == "inverted" else "·")
    order = [level.label for level in cells[0].levels]
    last = max((cell.seen_from or "" for cell in cells), key=order.index)
    return CardCell(word, (last or "yes") + ("" if word == "ordered" or not last else "?"))


def _title(ladder: Ladder) -> str:
    data = ladder.data
    sizes = ", ".join(
        f"{name} {n['generated']} against {n['reference']}" for name, n in data.counts.items()
    )
    edge = f"{data.size}³"
    return f"What metrics see on {data.label}, {edge}: {sizes}"


def _legend(ladder: Ladder) -> tuple[str, ...]:
    seeds = len(ladder.seeds)
    needed = "the one seed" if seeds == 1 else f"two thirds of {seeds} seeds"
    return (
        f"A strength: from there on all classes place the defect, in {needed}, further from the "
        f"real volumes than any of {ladder.draws} real draws of the same size, and a stronger one "
        "is worse. With a question mark: seen, but not in order. Yes: seen; it has no strength.",
        "·: blind. INV: inverted: nearer than every real draw, or a stronger level nearer than a "
        "weaker one that is seen, by more than the standard deviation of the draws.",
        *_reasons(ladder),
        "Of copies only metrics that look for copies are asked, since any distance to the training "
        "set is small by construction; of all else only the others.",
    )


def _reasons(ladder: Ladder) -> Iterator[str]:
    """Yield why there is no verdict, each reason once with the metrics and defects that have it."""
    labels = {m.name: m.label for m in ladder.metrics}
    defects = {d.name: d.label for d in ladder.defects}
    reasons: dict[str, dict[str, None]] = {}
    for column in ladder.columns:
        for cell in column.cells:
            if cell.verdict is None:
                place = f"{labels[column.metric]} on {defects[cell.defect]}"
                reasons.setdefault(first_line(cell.reason), {})[place] = None
    for reason, places in reasons.items():
        listed = list(places)
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        yield f"{DASH}: no verdict for {', '.join(listed[:3])}{more}: {reason}."


def write(ladder: Ladder, folder: Path) -> list[Path]:
    """Write ``ladder.md``, ``ladder.pdf``, ``ladder.png`` and ``cards.json`` (``cards``)."""
    folder.mkdir(parents=True, exist_ok=True)
    laid = card(ladder)
    page = folder / "ladder.md"
    write_bytes(page, ("\n".join(markdown(laid)) + "\n").encode())
    short = folder / "cards.json"
    write_bytes(short, (json.dumps(cards(laid), ensure_ascii=False, indent=1) + "\n").encode())
    return [page, short, *_draw(laid, folder)]


def cards(laid: Card) -> dict[str, Any]:
    """Return what each metric sees, in words: the form in which ``bench show`` knows it.

    Returns:
        ``title``, and ``metrics``: metric to view to verdict to defects, with the strength from
        which on they are seen.
    """
    metrics: dict[str, Any] = {}
    for x, (metric, view) in enumerate(laid.columns):
        defects = metrics.setdefault(metric, {}).setdefault(view, {})
        for label, cells in zip(laid.defects, laid.cells, strict=True):
            cell = cells[x]
            if cell.word in WORDS:
                strength = "" if cell.text in ("yes", "·", "INV") else f" {cell.text.rstrip('?')}"
                defects.setdefault(cell.word, []).append(f"{label}{strength}")
    return {"title": laid.title, "metrics": metrics}


def markdown(laid: Card) -> Iterator[str]:
    """Yield the lines of the page."""
    yield from (f"# {escape(laid.title)}", "")
    yield "| | " + " | ".join(escape(head) for head in laid.heads) + " |"
    yield "|---|" + "---|" * len(laid.heads)
    for label, cells in zip(laid.defects, laid.cells, strict=True):
        texts = (f"**{c.text}**" if c.word == "inverted" else escape(c.text) for c in cells)
        yield f"| {escape(label)} | " + " | ".join(texts) + " |"
    yield ""
    yield from (f"- {escape(text)}" for text in laid.legend)


def _draw(laid: Card, folder: Path) -> list[Path]:
    """Draw the table as a matrix of colours with its texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    rows, columns = len(laid.defects), len(laid.heads)
    figure = Figure((2.2 + 0.42 * columns, 1.6 + 0.17 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for y, cells in enumerate(laid.cells):
        for x, cell in enumerate(cells):
            face = COLOURS.get(cell.word, "#FFFFFF")
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="white"))
            ink = "white" if cell.word in ("ordered", "inverted") else "black"
            axes.text(x, y, cell.text, ha="center", va="center", fontsize=5.5, color=ink)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set_xticks(range(columns), laid.heads, rotation=60, ha="left", fontsize=6.5)
    axes.set_yticks(range(rows), laid.defects, fontsize=6.5)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.legend(
        handles=[Patch(facecolor=COLOURS[word], label=word) for word in reversed(WORDS)],
        loc="outside lower center", ncols=4, fontsize=6.5, frameon=False,
    )  # fmt: skip
    figure.suptitle(laid.title, fontsize=7.5)
    paths = [folder / "ladder.pdf", folder / "ladder.png"]
    for path in paths:
        figure.savefig(
            path, dpi=200, metadata={"CreationDate": None} if path.suffix == ".pdf" else {}
        )
    return paths
