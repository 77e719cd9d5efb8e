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
        diagnosis/record.json              or failure.json; only methods that can diagnose
        diagnosis/maps.npz                 importance maps, where the method has them

Every path inside the table of contents is relative to the folder that holds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cerebench.core.errors import UserError


class ReportError(UserError, ValueError):
    """Records cannot be put into one report; the message names the differing fields."""


def left_out(contents: Mapping[str, Any]) -> str:
    """Return how many of all real cases ``--skip-bad`` left out, "41 of 251"; empty for none."""
    told = contents["dataset"].get("left_out")
    return f"{len(told['cases'])} of {told['total']}" if told else ""


@dataclass(frozen=True)
class Experiment:
    """One table of contents with the folder that its paths are relative to.

    ``contents`` holds the JSON object described in docs/results.md, section "Table of contents".
    Records are read once, so that all tables of a report show one state of a run that goes on.
    """

    folder: Path
    contents: dict[str, Any]
    _records: dict[str, dict[str, Any] | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

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

    @property
    def name(self) -> str:
        """Name of the experiment, which is also the stem of the files that reports write.

        Raises:
            ReportError: If the name could not be a file name.
        """
        name = str(self.contents["name"])
        if name in (".", "..") or not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._-]*", name):
            raise ReportError(
                f"The experiment is named {name!r}; expected letters, digits, '.', '_' and '-'. "
                "Rename its TOML file and run it again."
            )
        return name

    @property
    def key8(self) -> str:
        """First digits of the experiment's key, which tell its report folder from others.

        Raises:
            ReportError: If the key is not hexadecimal.
        """
        key = str(self.contents["key"])[:8]
        if not re.fullmatch(r"[0-9a-f]+", key):
            raise ReportError(
                f"The key of the experiment {self.name} begins with {key!r}; expected hexadecimal "
                "digits. Run it again."
            )
        return key

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

    def record(self, relative: str) -> dict[str, Any] | None:
        """Return a record or failure named in the table of contents; None if it does not exist.

        Raises:
            ReportError: If the file exists and is not a JSON object.
        """
        if relative not in self._records:
            self._records[relative] = self._read_record(relative)
        return self._records[relative]

    def _read_record(self, relative: str) -> dict[str, Any] | None:
        path = self.path(relative)
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ReportError(
                f"{path} cannot be read as JSON: {error}. Delete it and run the experiment again."
            ) from error
        if not isinstance(record, dict):
            raise ReportError(
                f"{path} holds no JSON object. Delete it and run the experiment again."
            )
        return record
