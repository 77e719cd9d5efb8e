r"""LaTeX tables (booktabs) that compile with pdflatex, and a document that shows them.

``<name>.tex`` is the float with every metric, ``<name>-table<N>.tex`` those in the layout of the
MIDL 2024 paper (``tables/paper_tables.py``); ``<name>-downstream.tex``, ``-comparison``,
``-diagnostics`` and ``-published`` are further floats, ``<name>-recipes.tex`` the list for an
appendix, ``main.tex`` a document with all of them and the figures, whose floats
``figures/every.py`` writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cerebench.core.files import write_bytes
from cerebench.reports.base import RecordedExperiment, Renderer
from cerebench.reports.tables.paper_tables import build_paper_tables
from cerebench.reports.tables.sections import further, study
from cerebench.reports.tables.table import Table, TableBlock, TableCell, build_table, panels
from cerebench.reports.tex import breakable, caption, escape
from cerebench.reports.values.downstream import DEFAULT_TEST

# Size of a table, characters of it that fit 16.6 cm, and height of its lines in points; the smaller
# only to spare a float or a panel.
SIZES = ((r"\footnotesize", 110, 10.5), (r"\scriptsize", 120, 8.8))
# Of main.tex, in points: height of its page, of a line of a caption and of notes, of what is around
# a panel and around a float.
PAGE, CAPTION_LINE, NOTE_LINE, RULES, AROUND = 700, 12, 8, 24, 24
STRETCH = 1.1  # of table lines: an underline then stays with its own line
CAPTION_WIDE, NOTE_WIDE = 90, 115  # characters of a line
LARGEST = (6.5, 8.0)  # width and height of a figure, inches


def write(
    experiment: RecordedExperiment,
    folder: Path,
    *,
    siunitx: bool = False,
    controls: bool = False,
    test: str = DEFAULT_TEST,
    published: bool = False,
) -> list[Path]:
    r"""Write one file a float, the recipes, and ``main.tex``; kinds without records are left out.

    Args:
        experiment: Table of contents with its folder.
        folder: Where to write.
        siunitx: Whether numbers are set by ``\num`` of the siunitx package.
        controls: Whether to show the controls; the floor is always shown.
        test: One of ``comparison.TESTS``: what downstream comparisons rest on.
        published: Whether to show what papers printed.

    Raises:
        ReportError: As in ``cerebench.reports.tables.table.build_table`` and ``sections.study``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, name = build_table(experiment, controls=controls), experiment.name
    downstream = study(experiment, test)
    groups: list[dict[str, list[Table]]] = [
        {name: [table]} if table.blocks else {},
        {
            f"{name}-table{number}": [one]
            for number, one in build_paper_tables(experiment, downstream).items()
        },
        {},
    ]
    for kind, one in further(experiment, downstream, published=published):
        groups[2 if kind == "published" else 0].setdefault(f"{name}-{kind}", []).append(one)
    floats = {stem: tables for group in groups for stem, tables in group.items()}
    texts = {f"{stem}.tex": _file(stem, some, siunitx=siunitx) for stem, some in floats.items()}
    recipes = [text for tables in floats.values() for one in tables for text in one.recipes]
    texts[f"{name}-recipes.tex"] = _recipes(list(dict.fromkeys(recipes)))
    texts["main.tex"] = _document(name, [list(g) for g in groups if g], siunitx=siunitx)
    for file, text in texts.items():
        write_bytes(folder / file, text.encode())
    return [folder / file for file in texts]


def figure_float(stem: str, title: str, text: str, size: tuple[float, float]) -> str:
    """Return the float of a figure with its caption; what that has no room for stands below.

    Args:
        stem: Of the name of its file; also its label.
        title: What it shows.
        text: Sentences about it.
        size: Its width and height, inches: it is set as drawn, or as large as the page allows.
    """
    short, rest = caption(title, text)
    scale = min(1.0, *(most / own for most, own in zip(LARGEST, size, strict=True)))
    lines = [
        r"\begin{figure}[tp]",
        rf"\centering\includegraphics[scale={scale:.4g}]{{{stem}.pdf}}",
        rf"\caption{{{short}}}",
        rf"\label{{fig:{stem.replace('_', '-')}}}",
        *_below([rf"\textit{{Note.}} {rest}"] if rest else []),
        r"\end{figure}",
    ]
    return "\n".join(lines)


def _file(stem: str, tables: Sequence[Table], *, siunitx: bool) -> str:
    needs = r"booktabs, siunitx and \sisetup{detect-all}" if siunitx else "booktabs"
    labels = [f"{stem}-{number}" if number > 1 else stem for number in range(1, len(tables) + 1)]
    floats = [
        text
        for label, table in zip(labels, tables, strict=True)
        for text in _floats(table, label, siunitx=siunitx)
    ]
    return f"% Needs {needs}.\n" + "\n\n".join(floats) + "\n"


def _floats(table: Table, name: str, *, siunitx: bool) -> Iterator[str]:
    """Yield the floats of a table, of as many panels each as a page holds.

    One note follows the last panel; where that leaves no room on the page, it follows all floats as
    text, which may break across pages.
    """
    label = f"tab:{name.replace('_', '-')}"
    short, rest = caption(table.title, table.caption, table.banner)
    size, line, floats = _packed(table)
    note = "\\par\n".join(filter(None, (rest, *map(breakable, table.notes))))
    room = not note or _height(table, floats[-1], line, note) < PAGE
    for number, panels_of_it in enumerate(floats):
        texts = _footnotes(table, [column for part in panels_of_it for column in part])
        if note and number == len(floats) - 1:
            texts.append(rf"\textit{{Note.}} {note if room else 'In the text.'}")
        further = rf"{escape(table.title)}, continued from Table~\ref{{{label}}}."
        lines = [
            r"\begin{table}[tp]",
            rf"\centering{size}",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\renewcommand{{\arraystretch}}{{{STRETCH}}}",
            rf"\caption{{{further if number else short}}}",
            rf"\label{{{label}{f'-panel-{number + 1}' if number else ''}}}",
            r"\par\medskip",
            "\n\\par\\medskip\n".join(_grid(table, p, siunitx=siunitx) for p in panels_of_it),
            *_below(texts),
            r"\end{table}",
        ]
        yield "\n".join(lines)
    if not room:
        head = rf"\textbf{{Note to Table~\ref{{{label}}}.}}"
        yield f"{{\\scriptsize\\raggedright\\noindent {head} {note}\\par}}"


def _below(texts: Sequence[str]) -> list[str]:
    """Return lines that set texts below a float, a paragraph each."""
    if not texts:
        return []
    return [
        r"\par\medskip",
        r"\begin{minipage}{\linewidth}\scriptsize\raggedright",
        "\\par\n".join(texts),
        r"\end{minipage}",
    ]


def _packed(table: Table) -> tuple[str, float, list[list[list[int]]]]:
    """Return size of type, height of lines, panels of each float: few floats, then large type."""
    choices = []
    for size, width, line in SIZES:
        floats: list[list[list[int]]] = [[]]
        for part in panels(table, width, length=_length):
            if floats[-1] and _height(table, [*floats[-1], part], line) > PAGE:
                floats.append([])
            floats[-1].append(part)
        # A table that one panel holds is better small than in two panels, one above the other.
        rank = len(floats), sum(map(len, floats)) > 1
        choices.append((rank, (size, line, floats)))
    return min(choices, key=lambda choice: choice[0])[1]


def _height(table: Table, parts: Sequence[Sequence[int]], line: float, note: str = "") -> float:
    """Estimate the height of a float of these panels with lines of this height, in points."""
    rows = sum(len(block.rows) + 1 for block in table.blocks) + 2
    head = len(table.banner) + len(table.title) + len(table.caption)
    used = _used(table, [column for part in parts for column in part])
    texts = [*(table.footnotes[mark - 1] for mark in used), note]
    lines = sum(1 + len(one) // NOTE_WIDE for text in texts for one in text.split("\n"))
    return (
        CAPTION_LINE * (1 + head // CAPTION_WIDE)
        + len(parts) * (line * rows + RULES)
        + NOTE_LINE * lines
        + AROUND
    )


def _length(text: str) -> int:
    """Count characters as they are set: a power of ten takes more room than its e notation."""
    return len(re.sub(r"(?<=\d)e(?=-?\d)", "× 10", text))


def _used(table: Table, part: Sequence[int]) -> list[int]:
    """Return the numbers of the footnotes of some columns."""
    rows = (row for block in table.blocks for row in block.rows)
    return sorted({row.cells[i].mark for row in rows for i in part} - {0})


def _footnotes(table: Table, part: Sequence[int]) -> list[str]:
    seconds = any(row.cells[i].second for block in table.blocks for row in block.rows for i in part)
    marks = _used(table, part)
    return [
        *(rf"\textsuperscript{{{mark}}}~{breakable(table.footnotes[mark - 1])}" for mark in marks),
        *(["Underlined: second best by its value alone, unless values tie."] if seconds else []),
    ]


def _grid(table: Table, part: list[int], *, siunitx: bool) -> str:
    import pandas as pd

    columns = [table.columns[i] for i in part]
    heads = pd.MultiIndex.from_tuples([(escape(c.head), escape(c.detail)) for c in columns])
    if not any(column.detail for column in columns):
        heads = heads.droplevel(1)
    labels, cells = [], []
    for number, block in enumerate(table.blocks):
        for label, row in _block(block, part, first=number == 0, siunitx=siunitx):
            labels.append(label)
            cells.append(row)
    data = pd.DataFrame(cells, index=labels, columns=heads)
    return data.style.to_latex(
        hrules=True, column_format="l" + "r" * len(part), multicol_align="c"
    ).strip()


def _block(
    block: TableBlock, part: list[int], *, first: bool, siunitx: bool
) -> Iterator[tuple[str, list[str]]]:
    rule = "" if first else "\\midrule\n"
    targets = [escape(block.targets[i]) for i in part]
    if block.name or any(targets):
        yield rf"{rule}\textbf{{{escape(block.name)}}}", targets
    before = ""
    for row in block.rows:
        rule = "\\addlinespace\n" if row.role == "control" != before else ""
        label = escape(row.label)
        label = label if row.role == "method" else rf"\textit{{{label}}}"
        yield rule + label, [_cell(row.cells[i], siunitx=siunitx) for i in part]
        before = row.role


def _cell(cell: TableCell, *, siunitx: bool) -> str:
    # The line under a value alone lies close to it; that under brackets would be nearer to the next
    # row, and read as a line over it.
    lead, gap, rest = cell.text.partition(" ") if cell.second else (cell.text, "", "")
    lead, rest = (_numbers(text, siunitx=siunitx) for text in (lead, rest))
    lead = rf"\underline{{{lead}}}" if cell.second else lead
    text = rf"\textbf{{{lead}{gap}{rest}}}" if cell.bold else f"{lead}{gap}{rest}"
    return text + (rf"\textsuperscript{{{cell.mark}}}" if cell.mark else "")


def _numbers(text: str, *, siunitx: bool) -> str:
    """Set minus signs and powers of ten; the digits stay as they are."""
    if siunitx:
        return re.sub(r"(?<![\w.])-?\d[\d.]*(e-?\d+)?", r"\\num{\g<0>}", escape(text))
    text = re.sub(r"(?<![\w.])-(?=\d)", "$-$", escape(text))
    return re.sub(r"(?<=\d)e(-?\d+)", r"$\\times10^{\1}$", text)


def _recipes(texts: Sequence[str]) -> str:
    items = "\n".join(rf"\item {breakable(text)}" for text in texts)
    begin = r"\begin{itemize}\footnotesize\raggedright\setlength{\itemsep}{0pt}"
    return f"{begin}\n{items}\n\\end{{itemize}}\n"


def _document(name: str, groups: list[list[str]], *, siunitx: bool) -> str:
    """Return a document of all floats, figures too where they are drawn; groups do not mix."""
    inputs = ["\n".join(rf"\input{{{stem}}}" for stem in group) for group in groups]
    return "\n".join(
        [
            r"\documentclass[a4paper]{article}",
            r"\usepackage[margin=2.2cm]{geometry}",
            r"\usepackage{booktabs}",
            r"\usepackage{graphicx}",
            *([r"\usepackage{siunitx}", r"\sisetup{detect-all}"] if siunitx else []),
            r"\pdfsuppresswarningpagegroup=1",  # figures may be transparent
            r"\begin{document}\emergencystretch=3em",
            *(f"{text}\n\\clearpage" for text in inputs),
            rf"\IfFileExists{{{name}-figures.tex}}{{\input{{{name}-figures}}\clearpage}}{{}}",
            r"\section*{Recipes}",
            rf"\input{{{name}-recipes}}",
            r"\end{document}",
            "",
        ]
    )


LATEX = Renderer(
    "latex", "LaTeX tables (booktabs), also in the layout of the MIDL 2024 paper", write
)
