"""What reports read: the records of a runs folder. No torch, no plugins, no volumes.

The layout, written by ``cerebench.benchmark.store`` and documented in docs/results.md::

    runs/<dataset>-<size>-<fp8>/
      experiment-<name>-<key8>.json        table of contents: what was asked, and where it lies
      _real/preview.npz                    centre slices of real cases
      _real/score/<anchor>/<metric>@<key8>.json
      <method>-<preset>-<key8>/seed-<n>/
        cell.json
        train/<class|all>/record.json      or failure.json
        sample/record.json                 or failure.json
        score/<metric>@<key8>.json         or <metric>@<key8>.failure.json
        score/preview.npz

Every path inside the table of contents is relative to the folder that holds it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ReportError(ValueError):
    """Records cannot be put into one report; the message names the differing fields."""


@dataclass(frozen=True)
class Experiment:
    """One table of contents with the folder that its paths are relative to.

    ``contents`` holds the JSON object described in docs/results.md, section "Table of contents".
    """

    folder: Path
    contents: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Experiment:
        """Read ``experiment-<name>-<key8>.json``.

        Raises:
            ReportError: If the file is not a table of contents.
        """
        try:
            contents = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ReportError(f"{path} cannot be read as JSON: {error}.") from error
        if not isinstance(contents, dict) or contents.get("kind") != "experiment":
            raise ReportError(f"{path} is not a table of contents (kind: experiment).")
        return cls(path.parent, contents)
