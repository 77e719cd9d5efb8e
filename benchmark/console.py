"""The console of all commands: control characters of foreign texts are shown, not obeyed.

The name of a file cannot clear the screen then, or set the title of its window.
"""

from __future__ import annotations

from collections.abc import Iterable

import rich.console
from rich.segment import Segment

from cerebench.core.texts import visible


class Console(rich.console.Console):
    """A console that sends no control characters but its own."""

    def render(
        self,
        renderable: rich.console.RenderableType,
        options: rich.console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Render, with the control characters of texts written out."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or text.isprintable() or (shown := visible(text)) == text:
                yield segment
            else:
                yield Segment(shown, segment.style)
