"""Tables as other tools write them: the cells, whatever stands between them and encodes them.

Spreadsheets of many countries separate with semicolons, some save as UTF-16, and a table named .csv
may have tabs.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cerebench.core.texts import meant
from cerebench.datasets.base import DatasetError

REST = ""  # the name of what stands in a row behind the last column
_DELIMITERS = (",", ";", "\t")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WORKBOOK = b"PK\x03\x04"


@dataclass(frozen=True)
class Cells:
    """The content of a table; lines count from 1, and a row has the line where it ends."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    remark: str = ""  # of a first line that begins with "# "


def read_cells(path: Path) -> Cells:
    """Read a table with a head: commas, semicolons or tabs, UTF-8 or UTF-16.

    Raises:
        DatasetError: If it cannot be read, or is no such table.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DatasetError(
            f"{path} cannot be read: {e.strerror}. Repair or restore the table."
        ) from e
    text = _text(path, data)
    remark, _, rest = text.partition("\n") if text.startswith("# ") else ("", "", text)
    head = rest.split("\n", 1)[0]
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter = max(_DELIMITERS, key=lambda d: (head.count(d), d == usual))
    try:
        reader = csv.DictReader(io.StringIO(rest, newline=""), delimiter=delimiter)
        columns = tuple(name.strip() for name in reader.fieldnames or ())
        above = 1 if remark else 0
        rows = tuple((above + reader.line_num, _named(row)) for row in reader)
    except csv.Error as e:
        raise DatasetError(f"{path} cannot be read: {e}. Repair or restore the table.") from e
    return Cells(columns, rows, remark[2:].strip())


def _text(path: Path, data: bytes) -> str:
    if data.startswith(_WORKBOOK):
        raise DatasetError(f"{path} is a workbook, not a table of text. Save it as CSV.")
    if data.startswith(_UTF16):
        return data.decode("utf-16", errors="replace")
    if data.count(b"\0") > len(data) / 4:  # UTF-16 without its mark; single ones are told by row
        raise DatasetError(f"{path} is no UTF-8 text, or a binary file. Save it as CSV in UTF-8.")
    return data.decode("utf-8-sig", errors="replace")


def _named(row: Mapping[str | None, str | list[str] | None]) -> dict[str, str]:
    texts = {k: v for k, v in row.items() if k and isinstance(v, str)}
    named = {name.strip(): meant(text.strip()) for name, text in texts.items()}
    rest = row.get(None)
    return named | ({REST: ",".join(rest)} if isinstance(rest, list) and any(rest) else {})
