"""The footnotes of one table."""

from __future__ import annotations

from cerebench.reports.formatting import plain


class Footnotes:
    """The footnotes of one table, numbered from 1 in the order in which its cells need them.

    Example:
        >>> footnotes = Footnotes()
        >>> footnotes.mark("2 of 3 seeds", "not run"), footnotes.mark(""), footnotes.texts
        (1, 0, ('2 of 3 seeds; not run',))
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, *texts: str) -> int:
        """Return the number of a footnote of all texts that say something; 0 if none does.

        Equal texts share a footnote.
        """
        text = plain("; ".join(filter(None, texts)))
        return self._numbers.setdefault(text, len(self._numbers) + 1) if text else 0

    @property
    def texts(self) -> tuple[str, ...]:
        """Text of footnote i at index i - 1."""
        return tuple(self._numbers)
