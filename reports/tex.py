"""Strings as LaTeX: what pdflatex prints as itself, captions, and the note below a float."""

from __future__ import annotations

import re
import unicodedata

WORDS = 60  # of a caption; what does not fit stands in the note below
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


def breakable(text: str) -> str:
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


def caption(title: str, text: str, banner: str = "") -> tuple[str, str]:
    """Return the caption of a float, of at most 60 words where its title allows it, and the rest.

    Args:
        title: What it shows.
        text: Sentences about it; those that fit follow the title.
        banner: Warning to print first, bold.

    Returns:
        Both as LaTeX.

    Example:
        >>> caption("Image quality", "Of 3 methods. " + "Word " * 60)[0]
        'Image quality. Of 3 methods.'
    """
    head = f"{title.rstrip('.')}."
    sentences = re.split(r"(?<=\.) (?=[A-Z±])", text.strip())
    room = WORDS - len(f"{banner} {head}".split())
    fitting = 0
    while fitting < len(sentences) and room >= len(sentences[fitting].split()):
        room -= len(sentences[fitting].split())
        fitting += 1
    warning = rf"\textbf{{{escape(banner)}.}} " if banner else ""
    short = " ".join([head, *sentences[:fitting]]).strip()
    return warning + breakable(short), breakable(" ".join(sentences[fitting:]))
