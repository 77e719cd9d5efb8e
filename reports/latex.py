r"""LaTeX tables (booktabs) that compile with pdflatex, and a document that shows them.

``<name>.tex`` is the float with every metric, ``<name>-table<N>.tex`` those in the layout of the
MIDL 2024 paper (``tables/paper_tables.py``); ``<name>-downstream.tex``, ``-comparison``,
``-diagnostics`` and ``-published`` are further floats, ``<name>-protocol.tex`` the list for an
appendix, ``main.tex`` a document with all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from cerebench.reports.base import RecordedExperiment, Renderer
from cerebench.reports.tables.paper_tables import build_paper_tables
from cerebench.reports.tables.sections import further, study
from cerebench.reports.tables.table import Table, TableBlock, TableCell, build_table, panels
from cerebench.reports.values.downstream import DEFAULT_TEST

# Size of a table, and characters of it that fit 16.6 cm; the smaller only to spare a second float.
SIZES = ((r"\footnotesize", 110), (r"\scriptsize", 120))
# Of main.tex, in points: height of its page, of a line of a caption, a table and notes, of rules.
PAGE, CAPTION_LINE, TABLE_LINE, NOTE_LINE, RULES = 720, 12, 9.5, 8, 40
CAPTION_WIDE, NOTE_WIDE = 90, 115  # characters of a line
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": "{`}",
    "—": "---",
    "–": "--",
    "−": "$-$",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "°": r"$^\circ$",
    "⁻": r"$^-$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "ø": r"\o{}",
    "å": r"\aa{}",
    "ł": r"\l{}",
    "ı": r"\i{}",
    "Æ": r"\AE{}",
    "Ø": r"\O{}",
    "Å": r"\AA{}",
    "Ł": r"\L{}",
    "µ": r"$\mu$",
}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
    "\u0328": "k",
}


def write(
    experiment: RecordedExperiment,
    folder: Path,
    *,
    siunitx: bool = False,
    controls: bool = False,
    test: str = DEFAULT_TEST,
    published: bool = False,
) -> list[Path]:
    r"""Write one file a float, the protocol, and ``main.tex``; kinds without records are left out.

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
    protocol = [text for tables in floats.values() for one in tables for text in one.protocol]
    texts[f"{name}-protocol.tex"] = _protocol(list(dict.fromkeys(protocol)))
    texts["main.tex"] = _document(name, [list(g) for g in groups if g], siunitx=siunitx)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    return [folder / file for file in texts]


def escape(text: str) -> str:
    """Escape a string so that pdflatex prints it as itself, whatever the document's encoding.

    A letter that pdflatex has no glyph for appears as its code point, such as [U+4E2D].
    """
    # Two hyphens would join to one dash.
    letters = re.sub(
        r"(-(?=-))|.",
        lambda match: "-{}" if match[1] else _letter(match[0]),
        unicodedata.normalize("NFC", text),
        flags=re.DOTALL,
    )
    # At the start of a table row, LaTeX would read these as options of the line before.
    return f"{{{letters[0]}}}{letters[1:]}" if letters[:1] in ("[", "*") else letters


def _breakable(text: str) -> str:
    """Escape a sentence and let long words break: addresses, paths, hashes."""
    text = re.sub(r"(?<=[^\s/]/)(?=[^\s/])", r"\\allowbreak{}", escape(text))
    return re.sub(r"[^\s\\{}$]{24}", r"\g<0>\\allowbreak{}", text)


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii():
        return letter
    greek = unicodedata.name(letter, "").removeprefix("GREEK ").removesuffix(" LETTER")
    kind, _, spelled = greek.partition(" LETTER ")
    spelled = {"LAMDA": "LAMBDA"}.get(spelled, spelled)
    command = spelled.lower() if kind == "SMALL" else spelled.capitalize()
    if command in _GREEK.split():
        return f"$\\{command}$"
    apart = unicodedata.normalize("NFKD", letter)
    if unicodedata.decomposition(letter).startswith("<super>"):
        return rf"\textsuperscript{{{escape(apart)}}}"
    if len(apart) == 2 and apart[0].isascii() and apart[1] in _ACCENTS:
        return rf"\{_ACCENTS[apart[1]]}{{{apart[0]}}}"
    return f"[U+{ord(letter):04X}]"


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
    """Yield one float a panel, so that none outgrows a page; the first carries the notes.

    Notes that do not fit there follow all floats as text, which may break across pages.
    """
    label = f"tab:{name.replace('_', '-')}"
    banner = rf"\textbf{{{escape(table.banner)}.}} " if table.banner else ""
    title = escape(table.title)
    size, parts = _parts(table)
    notes = [*map(_breakable, table.notes)]
    room = _fits(table)
    for number, part in enumerate(parts):
        full = rf"{banner}{title}. {_breakable(table.caption)}"
        caption = rf"{banner}{title}, continued from Table~\ref{{{label}}}." if number else full
        texts = _footnotes(table, part)
        if number == 0:
            texts += notes if room else ["Notes: in the text."]
        lines = [
            r"\begin{table}[tp]",
            rf"\centering{size}",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}{f'-panel-{number + 1}' if number else ''}}}",
            r"\par\medskip",
            _grid(table, part, siunitx=siunitx),
            r"\par\medskip",
            r"\begin{minipage}{\linewidth}\scriptsize\raggedright",
            "\\par\n".join(texts),
            r"\end{minipage}",
            r"\end{table}",
        ]
        yield "\n".join(lines)
    if not room:
        text = "\\par\n".join(notes)
        head = rf"\textbf{{Notes to Table~\ref{{{label}}}.}}"
        yield f"{{\\scriptsize\\raggedright\\noindent {head}\\par\n{text}\\par}}"


def _fits(table: Table) -> bool:
    """Say whether caption, rows, footnotes and notes are shorter than a page, by rough count."""
    rows = sum(len(block.rows) + 1 for block in table.blocks) + 2
    head = len(table.banner) + len(table.title) + len(table.caption)
    notes = sum(1 + len(text) // NOTE_WIDE for text in (*table.footnotes, *table.notes))
    height = CAPTION_LINE * (1 + head // CAPTION_WIDE) + TABLE_LINE * rows + NOTE_LINE * notes
    return height + RULES < PAGE


def _parts(table: Table) -> tuple[str, list[list[int]]]:
    """Return the size of type, and the columns of each float."""
    for size, width in SIZES:
        parts = panels(table, width, length=_length)
        if len(parts) == 1:
            return size, parts
    size, width = SIZES[0]
    return size, panels(table, width, length=_length)


def _length(text: str) -> int:
    """Count characters as they are set: a power of ten takes more room than its e notation."""
    return len(re.sub(r"(?<=\d)e(?=-?\d)", "× 10", text))


def _footnotes(table: Table, part: list[int]) -> list[str]:
    rows = (row for block in table.blocks for row in block.rows)
    used = sorted({row.cells[i].mark for row in rows for i in part} - {0})
    seconds = any(row.cells[i].second for block in table.blocks for row in block.rows for i in part)
    return [
        *(rf"\textsuperscript{{{mark}}}~{_breakable(table.footnotes[mark - 1])}" for mark in used),
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
    text = _numbers(cell.text, siunitx=siunitx)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    text = rf"\underline{{{text}}}" if cell.second else text
    return text + (rf"\textsuperscript{{{cell.mark}}}" if cell.mark else "")


def _numbers(text: str, *, siunitx: bool) -> str:
    """Set minus signs and powers of ten; the digits stay as they are."""
    if siunitx:
        return re.sub(r"(?<![\w.])-?\d[\d.]*(e-?\d+)?", r"\\num{\g<0>}", escape(text))
    text = re.sub(r"(?<![\w.])-(?=\d)", "$-$", escape(text))
    return re.sub(r"(?<=\d)e(-?\d+)", r"$\\times10^{\1}$", text)


def _protocol(texts: Sequence[str]) -> str:
    items = "\n".join(rf"\item {_breakable(text)}" for text in texts)
    begin = r"\begin{itemize}\footnotesize\raggedright\setlength{\itemsep}{0pt}"
    return f"{begin}\n{items}\n\\end{{itemize}}\n"


def _document(name: str, groups: list[list[str]], *, siunitx: bool) -> str:
    """Return a document of all floats; groups do not mix on a page."""
    inputs = ["\n".join(rf"\input{{{stem}}}" for stem in group) for group in groups]
    return "\n".join(
        [
            r"\documentclass[a4paper]{article}",
            r"\usepackage[margin=2.2cm]{geometry}",
            r"\usepackage{booktabs}",
            *([r"\usepackage{siunitx}", r"\sisetup{detect-all}"] if siunitx else []),
            r"\begin{document}\emergencystretch=3em",
            *(f"{text}\n\\clearpage" for text in inputs),
            r"\section*{Protocol}",
            rf"\input{{{name}-protocol}}",
            r"\end{document}",
            "",
        ]
    )


LATEX = Renderer(
    "latex", "LaTeX tables (booktabs), also in the layout of the MIDL 2024 paper", write
)
