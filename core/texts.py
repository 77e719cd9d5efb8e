"""Texts from outside, made fit for a screen, a spreadsheet or a value of an option.

Names of files, cells of tables and what people type may hold anything: codes that a terminal obeys,
formulas that a spreadsheet runs, and words without an end.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and end of line
_ENDLESS = re.compile(r"\S{501,}")
_KEPT = 60
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    r"""Return a text with its control characters written out, so that a terminal obeys none.

    Example:
        >>> visible("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def readable(text: str) -> str:
    """Return a message for a screen: visible, and words that nobody would read to the end cut.

    Example:
        >>> len(readable("no method named '" + "x" * 200_000 + "'")) < 100
        True
    """
    return visible(_ENDLESS.sub(lambda found: f"{found[0][:_KEPT]}…", text))


def counted(number: int, thing: str) -> str:
    """Return how many things there are, as ``1 error`` or ``2 errors``.

    Example:
        >>> counted(1, "error"), counted(0, "warning")
        ('1 error', '0 warnings')
    """
    return f"{number} {thing}{'s' * (number != 1)}"


def harmless(cell: str) -> str:
    """Return a cell of a table that no spreadsheet takes for a formula; numbers stay numbers.

    Example:
        >>> harmless("=1+1"), harmless("-0.5"), harmless("LGG")
        ("'=1+1", '-0.5', 'LGG')
    """
    return f"'{visible(cell)}" if cell.startswith(_FORMULA) and not _number(cell) else visible(cell)


def meant(cell: str) -> str:
    """Return what a cell said before ``harmless``.

    Example:
        >>> meant("'=1+1"), meant("'quoted'")
        ('=1+1', "'quoted'")
    """
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def toml_table(data: bytes) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ValueError: If it is none, with the reason as a part of a sentence.
    """
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise ValueError("its lists are nested too deeply") from error


def toml_value(text: str) -> Any:
    """Return a value as TOML has it; what is no TOML is a plain text.

    Example:
        >>> toml_value("2e-4"), toml_value("t1,flair")
        (0.0002, 't1,flair')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # also of whole numbers without an end
        return text.strip()
