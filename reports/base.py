"""What reports read: the records of a runs folder. No torch, no plugins, no volumes.

The layout, written by ``cerebench.benchmark.engine.store`` and documented in docs/results.md::

    runs/<dataset>-<size>-<fp8>/
      experiment-<name>-<key8>.json        table of contents: what was asked, and where it lies
      _real/preview.npz                    centre slices of real cases
      _real/score/<control>/<metric>@<key8>.json
      <method>-<preset>-<key8>/seed-<n>/
        cell.json
        train/<class|all>/record.json      or failure.json
        sample/record.json                 or failure.json
        score/<metric>@<key8>.json         or <metric>@<key8>.failure.json
        score/preview.npz
        diagnosis/record.json              or failure.json; only methods that can diagnose
        diagnosis/maps.npz                 importance maps, where the method has them

Every path inside the table of contents is relative to the folder that holds it. What a file holds
says its dataclass in ``cerebench.core.records``; one that does not fit is left out and named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cerebench.core.errors import EXIT_DATA, UserError
from cerebench.core.records.base import File, Head, Misfit, RecordHead
from cerebench.core.records.contents import Contents
from cerebench.core.records.files import read
from cerebench.reports.formatting import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Whole = TypeVar("Whole", bound=File)
_AGAIN = "; run the same bench command again to make it anew"
_OF_ANOTHER = "its key is not the one that the table of contents lists, so it is another result"


class ReportError(UserError, ValueError):
    """Records cannot be put into one report; the message names the differing fields."""


class BadContents(ReportError):
    """A table of contents cannot be read; the message names file and field."""

    exit_code = EXIT_DATA


class NotDrawn(Exception):
    """There is nothing to draw; the message says in one line why."""


@dataclass(frozen=True)
class Renderer:
    """Writes an experiment's tables in one format; a plugin of the group ``cerebench.reports``.

    Attributes:
        name: Slug, as in ``bench report --format NAME``.
        label: What it writes, in a few words.
        write: (experiment, folder to write to, which may not exist yet, further options by name)
            to the files written. It reads records through the experiment, never volumes, and
            imports no torch; a ``ReportError`` says what in the records prevents it.
    """

    name: str
    label: str
    write: Callable[..., list[Path]]


@dataclass(frozen=True)
class Plot:
    """Draws one figure of an experiment; a plugin of the same group.

    Attributes:
        name: Slug, the ending of the file's name.
        label: What it shows, in a few words.
        draw: Experiment to matplotlib figure; raises ``NotDrawn`` where there is nothing to show.
    """

    name: str
    label: str
    draw: Callable[[RecordedExperiment], Figure]


def left_out(contents: Contents) -> str:
    """Return how many of all real cases ``--skip-bad`` left out, "41 of 251"; empty for none."""
    cases = contents.dataset.left_out
    return f"{len(cases.cases)} of {cases.total}" if cases else ""


@dataclass(frozen=True)
class RecordedExperiment:
    """One table of contents with the folder that its paths are relative to.

    Files are read once, so that all tables of a report show one state of a run that goes on.

    Attributes:
        folder: The data set's folder.
        contents: The table of contents.
        unsealed: Those of the files read so far that carry no hash of themselves: an older version
            wrote them, and a digit that has changed since would not be seen.
    """

    folder: Path
    contents: Contents
    _read: dict[tuple[str, type[File]], tuple[Any, str]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    unsealed: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> RecordedExperiment:
        """Read ``experiment-<name>-<key8>.json``.

        Raises:
            BadContents: If the file is not a table of contents.
        """
        head, contents, reason = _load(Contents, path)
        if head is None or contents is None:
            reason = reason or f"{path}: it does not exist"
            raise BadContents(f"This is not a table of contents: {reason}.")
        found = cls(path.parent, contents)
        if head.sha256 is None:
            found.unsealed.add(path.name)
        return found

    @property
    def name(self) -> str:
        """Name of the experiment, which is also the stem of the files that reports write."""
        return self.contents.name

    @property
    def key8(self) -> str:
        """First digits of the experiment's key, which tell its report folder from others."""
        return self.contents.key[:8]

    def path(self, relative: str) -> Path:
        """Locate a file named in the table of contents.

        Raises:
            ReportError: If the path leaves the folder of the table of contents.
        """
        path = (self.folder / relative).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise ReportError(
                f"{relative!r} lies outside {self.folder}; expected a path inside it."
            )
        return path

    def record(self, relative: str, kind: type[Whole]) -> tuple[Whole | None, str]:
        """Return a file named in the table of contents, or why it cannot be used.

        Args:
            relative: Where it lies.
            kind: What it should be.

        Returns:
            The file, or None with the reason, which names file and field; None with an empty
            reason where there is no such file.

        Raises:
            ReportError: If the path leaves the folder of the table of contents.
        """
        if (relative, kind) not in self._read:
            self.path(relative)
            head, whole, reason = _load(kind, self.folder / relative)
            asked = self.contents.keys.get(relative)
            if isinstance(head, RecordHead) and asked and head.key != asked:
                whole, reason = None, plain(f"{self.folder / relative}: {_OF_ANOTHER}{_AGAIN}")
            if head is not None and head.sha256 is None:
                self.unsealed.add(relative)
            self._read[relative, kind] = whole, reason
        return self._read[relative, kind]


def _load(kind: type[Whole], path: Path) -> tuple[Head | None, Whole | None, str]:
    """Read a file that may be missing; else the reason why it cannot be used."""
    try:
        file = read(kind, path)
    except Misfit as fault:
        return None, None, plain(f"{fault}{'' if fault.newer else _AGAIN}")
    except OSError as error:
        return None, None, plain(f"{path}: it cannot be read: {error.strerror or error}")
    return (None, None, "") if file is None else (*file, "")
